//! A certificate authority, and TLS in front of an upstream that speaks plain HTTP.
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tempfile::TempDir;
use tidegate::config::Config;
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its certificate as a file.
    pub(crate) fn pem_file(&self, folder: &TempDir) -> PathBuf {
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, self.0.pem()).unwrap();
        path
    }

    /// A server with a certificate for this name that ends in this year.
    pub(crate) fn server(&self, name: &str, until_year: i32) -> TlsAcceptor {
        TlsAcceptor::from(Arc::new(self.server_config(name, until_year)))
    }

    pub(crate) fn server_config(&self, name: &str, until_year: i32) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until_year, 1, 1);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            );
        config.unwrap()
    }
}

/// Kernel buffers of [`TlsFront`], in bytes.
const NARROW: usize = 16 << 10;

/// How the gateway reaches its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Plain,
    Tls,
}

impl Over {
    pub(crate) const ALL: [Over; 2] = [Over::Plain, Over::Tls];
}

/// Speaks TLS for an upstream, and passes on how each side ends its connection.
pub(crate) struct TlsFront {
    port: u16,
    authority: PathBuf,
    _folder: TempDir,
    task: JoinHandle<()>,
}

impl TlsFront {
    pub(crate) async fn before(upstream: SocketAddr) -> Self {
        let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
        let acceptor = authority.server("localhost", 4000);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass_on(acceptor.clone(), stream, upstream));
            }
        });
        TlsFront { port, authority: authority.pem_file(&folder), _folder: folder, task }
    }

    /// Has a gateway reach the upstream through this.
    pub(crate) fn apply(&self, config: &mut Config) {
        config.upstream.base_url = format!("https://localhost:{}/api/v1", self.port).parse().unwrap();
        config.upstream.ca_file = Some(self.authority.clone());
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(acceptor: TlsAcceptor, stream: TcpStream, upstream: SocketAddr) {
    stream.set_nodelay(true).unwrap();
    let Ok(mut tls) = acceptor.accept(stream).await else { return };
    let Ok(mut plain) = TcpStream::connect(upstream).await else { return };
    plain.set_nodelay(true).unwrap();
    // Narrow, so that a gateway that does not read is felt by the upstream.
    socket2::SockRef::from(tls.get_ref().0).set_send_buffer_size(NARROW).unwrap();
    socket2::SockRef::from(&plain).set_recv_buffer_size(NARROW).unwrap();
    if copy_bidirectional(&mut tls, &mut plain).await.is_err() {
        for socket in [tls.get_ref().0, &plain] {
            let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
        return;
    }
    let _ = tls.shutdown().await;
}
