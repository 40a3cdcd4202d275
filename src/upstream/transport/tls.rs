//! TLS to the model service: whom it trusts, and the handshake.
use crate::io_error::describe;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{
        CertificateDer, ServerName,
        pem::{self, PemObject},
    },
};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Why TLS cannot be set up; reported before a port is bound.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    #[error("ca_file {}: {reason}", path.display())]
    CaFile { path: PathBuf, reason: String },
    #[error("base_url: TLS cannot be set up: {0}")]
    Rustls(#[from] rustls::Error),
    #[error("base_url: no certificate can be for the host {0}")]
    Host(String),
}

/// The configurations of TLS that were made, by their authorities. Upstreams with the same ones share one, because each
/// holds a copy of all certificates.
#[derive(Default)]
pub struct TlsConfigs(BTreeMap<Option<PathBuf>, Arc<ClientConfig>>);

impl TlsConfigs {
    fn get(&mut self, ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsSetupError> {
        let name = ca_file.map(Path::to_owned);
        if let Some(config) = self.0.get(&name) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(config(ca_file)?);
        self.0.insert(name, Arc::clone(&config));
        Ok(config)
    }
}

/// Makes TLS connections to one host. May cross threads.
#[derive(Clone)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    /// What the certificate must be for, and what is sent as SNI where it is a name.
    host: ServerName<'static>,
}

impl Tls {
    /// `host`: a name or an IP address without brackets. `ca_file`: PEM with the authorities to trust instead of the
    /// public ones.
    pub(super) fn new(
        host: &str,
        ca_file: Option<&Path>,
        configs: &mut TlsConfigs,
    ) -> Result<Self, TlsSetupError> {
        let config = configs.get(ca_file)?;
        let host = ServerName::try_from(host.to_owned()).map_err(|_| TlsSetupError::Host(host.to_owned()))?;
        Ok(Tls { config, host })
    }

    pub(super) async fn handshake(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(Arc::clone(&self.config)).connect(self.host.clone(), tcp).await
    }
}

/// HTTP/1.1 alone is offered: with HTTP/2 the library opens a connection per request anyway, and its `h2` is not
/// maintained.
fn config(ca_file: Option<&Path>) -> Result<ClientConfig, TlsSetupError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(ca_file)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsSetupError> {
    let Some(path) = ca_file else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    let fault = |reason: String| TlsSetupError::CaFile { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| fault(unreadable(error)))? {
        let certificate = certificate.map_err(|error| fault(unreadable(error)))?;
        roots.add(certificate).map_err(|error| fault(error.to_string()))?;
    }
    if roots.is_empty() { Err(fault("no certificate in it".into())) } else { Ok(roots) }
}

fn unreadable(error: pem::Error) -> String {
    match error {
        pem::Error::Io(error) => describe(&error),
        other => other.to_string(),
    }
}

/// Whether TLS failed, and not the connection below it: rustls hides its errors in an I/O error.
pub(super) fn is_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}
