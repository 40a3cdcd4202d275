//! The HTTP client of a model service: awc, configured for long streams.
//!
//! These defaults of awc are turned off: a timeout of five seconds for the head, a limit of a hundred connections,
//! following redirects (with our key), decompression, and treating a truncated body as complete.
mod link;

use super::{
    exchange::{Head, Header, Outbound},
    route::{Key, LostConnection},
};
use crate::{
    chat::{Retry, RunError, RunErrorKind},
    io_error::describe,
};
use actix_http::{BoxedPayloadStream, HttpMessage as _, Payload, error::PayloadError, header};
use awc::{
    ClientResponse, Connector,
    error::{ConnectError, SendRequestError},
    http::{
        StatusCode, Version,
        header::{HeaderName, HeaderValue},
    },
};
use bytes::Bytes;
use futures_core::Stream;
use link::Made;
use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer,
        pem::{self, PemObject},
    },
};
use secrecy::{ExposeSecret, SecretString};
use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    path::{Path, PathBuf},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;

/// A pooled connection that was idle for this long is closed: a little less than the minute after which many services
/// and load balancers close it themselves.
const KEEP_ALIVE: Duration = Duration::from_secs(50);
/// Maximum age of a pooled connection; an older one is replaced, so that changes in DNS take effect.
const LIFETIME: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
pub struct Settings {
    /// `https://…/api/v1`, without a trailing slash.
    pub base_url: String,
    /// API keys; [`Key`] is an index into this list.
    pub api_keys: Vec<SecretString>,
    /// PEM file with the certificate authorities to trust instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// For the TCP connection and again for the TLS handshake; then the attempt fails.
    pub connect_timeout: Duration,
    /// From sending the request to the head of the response; then the attempt fails.
    pub first_byte: Duration,
}

/// Why no client can be built. Reported before a port is bound.
#[derive(Debug, thiserror::Error)]
pub enum ClientBuildError {
    #[error("upstream.ca_file {path}: {reason}")]
    CaFile { path: String, reason: String },
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("upstream.api_key cannot stand in a header: only visible ASCII is allowed")]
    Key,
    #[error("a header of the upstream request is not valid: {0}")]
    Header(String),
}

/// The configuration that the clients of all lanes share. Unlike a client it can be sent to other threads.
#[derive(Clone)]
pub struct ClientConfig {
    base_url: String,
    keys: Arc<[ApiKey]>,
    tls: Arc<rustls::ClientConfig>,
    connect_timeout: Duration,
    first_byte: Duration,
}

struct ApiKey {
    secret: SecretString,
    /// The value of `Authorization`.
    header: HeaderValue,
}

impl ApiKey {
    fn new(secret: &SecretString) -> Result<Self, ClientBuildError> {
        let value = format!("Bearer {}", secret.expose_secret());
        let mut header = HeaderValue::from_str(&value).map_err(|_| ClientBuildError::Key)?;
        header.set_sensitive(true);
        Ok(ApiKey { secret: secret.clone(), header })
    }
}

/// Converts a header to the library's types.
fn parse_header((name, value): &Header) -> Result<(HeaderName, HeaderValue), ClientBuildError> {
    let invalid = || ClientBuildError::Header((*name).to_owned());
    let value = HeaderValue::from_str(value).map_err(|_| invalid())?;
    Ok((HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?, value))
}

impl ClientConfig {
    /// `headers`: those of all requests, checked here, before a port is bound.
    pub fn new(settings: &Settings, headers: &[Header]) -> Result<Self, ClientBuildError> {
        for header in headers {
            parse_header(header)?;
        }
        Ok(ClientConfig {
            base_url: settings.base_url.trim_end_matches('/').to_owned(),
            keys: settings.api_keys.iter().map(ApiKey::new).collect::<Result<_, _>>()?,
            tls: Arc::new(tls_config(settings.ca_file.as_deref())?),
            connect_timeout: settings.connect_timeout,
            first_byte: settings.first_byte,
        })
    }

    /// Host and port.
    fn authority(&self) -> &str {
        self.base_url.split('/').nth(2).unwrap_or_default()
    }
}

/// Sets up TLS, since awc has neither root certificates nor a crypto provider. Only HTTP/1.1 is offered: with HTTP/2, awc
/// opens a connection per request anyway, and the version of `h2` that it uses is not maintained.
fn tls_config(ca_file: Option<&Path>) -> Result<rustls::ClientConfig, ClientBuildError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let fault =
                |reason: String| ClientBuildError::CaFile { path: path.display().to_string(), reason };
            for certificate in CertificateDer::pem_file_iter(path).map_err(|e| fault(unreadable(e)))? {
                let certificate = certificate.map_err(|e| fault(unreadable(e)))?;
                roots.add(certificate).map_err(|e| fault(e.to_string()))?;
            }
            if roots.is_empty() {
                return Err(fault("no certificate in it".into()));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn unreadable(error: pem::Error) -> String {
    match error {
        pem::Error::Io(error) => describe(&error),
        other => other.to_string(),
    }
}

/// A client and its connection pool. Not `Send`: each worker makes its own.
pub struct Client {
    pool: RefCell<Pool>,
    made: Made,
    config: ClientConfig,
}

/// awc's client with its pool. The pool cannot be emptied, so the client is replaced instead.
struct Pool {
    awc: awc::Client,
    /// The number of this pool among those that the client has had.
    number: u64,
}

/// Why there is no response.
#[derive(Debug)]
pub struct OpenError {
    pub error: RunError,
    /// Set if the connection ended before the first byte of a response.
    pub lost: Option<LostConnection>,
}

impl Client {
    pub fn new(config: ClientConfig) -> Self {
        let made = Made::default();
        let pool = Pool { awc: connect(&config, &made), number: 0 };
        Client { pool: RefCell::new(pool), made, config }
    }

    /// Sends a request and waits for the head, until `first_byte` or `deadline`.
    pub async fn send(
        &self,
        outbound: &Outbound,
        key: Key,
        deadline: Instant,
    ) -> Result<Response, OpenError> {
        let (mut request, pool) = {
            let pool = self.pool.borrow();
            let url = format!("{}{}", self.config.base_url, outbound.path);
            (pool.awc.post(url).no_decompress(), pool.number)
        };
        for (name, value) in outbound.headers.iter().filter_map(|header| parse_header(header).ok()) {
            request.headers_mut().insert(name, value);
        }
        if let Some(key) = self.config.keys.get(key.0) {
            request.headers_mut().insert(header::AUTHORIZATION, key.header.clone());
        }
        let wait = self.config.first_byte.min(deadline.saturating_duration_since(Instant::now()));
        let mut sending = pin!(request.timeout(wait).send_body(outbound.body.clone()));
        let mut made = false;
        let sent = poll_fn(|cx| {
            self.made.set(made);
            let polled = sending.as_mut().poll(cx);
            made = self.made.replace(false);
            polled
        })
        .await;
        let response = sent.map_err(|error| {
            let mut failed = open_error(&error);
            if failed.lost.is_some() && !made {
                failed.lost = Some(LostConnection::Reused);
                self.empty(pool, &failed.error.detail);
            }
            self.named(failed)
        })?;
        if leaves_bytes_behind(&response) {
            let status = response.status().as_u16();
            self.empty(pool, &format!("a response without length, status {status}"));
        }
        Response::new(response).map_err(|error| OpenError { error, lost: None })
    }

    /// Closes the connections of the pool with this number. Does nothing if that pool was already replaced: of many
    /// requests that fail at once, only the first replaces the pool.
    fn empty(&self, number: u64, why: &str) {
        let mut pool = self.pool.borrow_mut();
        if pool.number == number {
            log::info!(why:? = why; "kept connections to the model service are dropped");
            *pool = Pool { awc: connect(&self.config, &self.made), number: number + 1 };
        }
    }

    /// Adds the host to the error for the log, since the library's errors do not contain it.
    fn named(&self, mut failed: OpenError) -> OpenError {
        if failed.error.kind == RunErrorKind::UpstreamUnreachable {
            failed.error.detail = format!("{}: {}", self.config.authority(), failed.error.detail);
        }
        failed
    }

    /// The host of the model service.
    pub fn host(&self) -> &str {
        self.config.authority().split(':').next().unwrap_or_default()
    }

    /// Removes all keys from a text of the upstream, which may repeat the key that was sent.
    pub fn redact(&self, text: &mut String) {
        for key in self.config.keys.iter() {
            redact(text, key.secret.expose_secret());
        }
    }
}

/// Removes a key from a text, regardless of case, since a header's value may have been lower-cased. Also removes a prefix
/// of the key at the end of the text, where the text may have been truncated.
fn redact(text: &mut String, key: &str) {
    /// Length of the prefix that all keys share, in bytes. Only longer prefixes of a key are removed.
    const PREFIX: usize = 3;
    // ASCII conversion keeps all byte offsets.
    let (mut lower, key) = (text.to_ascii_lowercase(), key.to_ascii_lowercase());
    let cut = (PREFIX + 1..key.len()).rev().filter_map(|end| key.get(..end)).find(|cut| lower.ends_with(cut));
    if let Some(cut) = cut.filter(|_| !lower.ends_with(&key)) {
        text.truncate(text.len() - cut.len());
        text.push_str("***");
        lower.truncate(lower.len() - cut.len());
    }
    for (at, key) in lower.rmatch_indices(&key) {
        text.replace_range(at..at + key.len(), "***");
    }
}

/// awc's client with an empty pool.
fn connect(config: &ClientConfig, made: &Made) -> awc::Client {
    let connector = Connector::new()
        .connector(link::Connector::new(Rc::clone(made), 2 * config.connect_timeout))
        .rustls_0_23(Arc::clone(&config.tls))
        .limit(0) // Unlimited: the admission limits concurrent requests.
        .timeout(config.connect_timeout)
        .handshake_timeout(config.connect_timeout)
        .conn_keep_alive(KEEP_ALIVE)
        .conn_lifetime(LIFETIME);
    awc::Client::builder()
        .connector(connector)
        .disable_timeout()
        .disable_redirects()
        .no_default_headers()
        .add_default_header((header::USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION"))))
        .finish()
}

/// Whether awc considers a response complete although more of it will follow: it takes an interim response for the final
/// one and, in HTTP/1.1, a body that ends with the connection for an empty one. The connection is then already back in
/// the pool, and the rest would be read as the response to another request.
fn leaves_bytes_behind(response: &ClientResponse) -> bool {
    let (status, headers) = (response.status(), response.headers());
    let framed =
        headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING);
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
    status.is_informational() || !(framed || bodiless || response.version() < Version::HTTP_11)
}

/// The head of a response, and its body as it arrives.
pub struct Response {
    pub status: u16,
    pub content_type: Option<String>,
    pub retry_after: Option<Duration>,
    pub request_id: Option<String>,
    /// Only the body is kept: the headers would keep awc's first read buffer alive.
    body: Payload<BoxedPayloadStream>,
}

impl Response {
    fn new(mut response: ClientResponse) -> Result<Self, RunError> {
        let text = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        let fault = |kind, detail: String| {
            let mut error = RunError::new(kind, detail);
            error.status = Some(status);
            error
        };
        if (300..400).contains(&status) {
            let to = text("location").unwrap_or_default();
            return Err(fault(RunErrorKind::NotSetUp, format!("redirects are not followed: {to}")));
        }
        if let Some(coding) = text("content-encoding").filter(|coding| coding != "identity") {
            return Err(fault(
                RunErrorKind::UpstreamProtocol,
                format!("content-encoding {coding} was not asked for"),
            ));
        }
        let retry_after = super::status::retry_after(
            text("retry-after-ms").as_deref(),
            text("retry-after").as_deref(),
            wall_clock_seconds(),
        );
        let (content_type, request_id) = (text("content-type"), text("x-request-id"));
        let body = response.take_payload();
        Ok(Response { status, content_type, retry_after, request_id, body })
    }

    pub fn head(&self) -> Head<'_> {
        Head {
            status: self.status,
            content_type: self.content_type.as_deref(),
            retry_after: self.retry_after,
            request_id: self.request_id.as_deref(),
        }
    }

    /// The next bytes of the body. They point into awc's read buffer, which stays allocated while they are kept.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, RunError>>> {
        Pin::new(&mut self.body)
            .poll_next(cx)
            .map(|chunk| chunk.map(|chunk| chunk.map_err(|e| body_error(&e))))
    }
}

/// The wall clock in seconds, needed because `Retry-After` may be a date.
fn wall_clock_seconds() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "an HTTP date can only be compared with the wall clock")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn open_error(error: &SendRequestError) -> OpenError {
    use RunErrorKind as Kind;
    let (kind, retry, lost) = match error {
        SendRequestError::Timeout => (Kind::UpstreamTimeout, None, None),
        SendRequestError::Connect(ConnectError::Timeout) => {
            (Kind::UpstreamUnreachable, Some(Retry::Once), None)
        }
        SendRequestError::Connect(ConnectError::Io(error)) if is_tls(error) => {
            (Kind::UpstreamTls, None, None)
        }
        SendRequestError::Connect(ConnectError::SslIsNotSupported) => (Kind::NotSetUp, None, None),
        SendRequestError::Connect(ConnectError::Disconnected) | SendRequestError::Send(_) => {
            (Kind::UpstreamUnreachable, None, Some(LostConnection::New))
        }
        SendRequestError::Connect(_) => (Kind::UpstreamUnreachable, None, None),
        SendRequestError::Response(
            actix_http::error::ParseError::Incomplete | actix_http::error::ParseError::Io(_),
        ) => (Kind::UpstreamUnreachable, None, Some(LostConnection::New)),
        SendRequestError::Response(_) => (Kind::UpstreamProtocol, None, None),
        SendRequestError::Url(_) | SendRequestError::Http(_) => (Kind::NotSetUp, None, None),
        _ => (Kind::UpstreamError, None, None),
    };
    let mut failed = RunError::new(kind, error.to_string());
    failed.retry = retry.unwrap_or(failed.retry);
    OpenError { error: failed, lost }
}

/// Whether this I/O error contains an error of rustls.
fn is_tls(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn body_error(error: &PayloadError) -> RunError {
    let kind = match error {
        PayloadError::Incomplete(_) | PayloadError::Io(_) => RunErrorKind::Interrupted,
        _ => RunErrorKind::UpstreamProtocol,
    };
    RunError::new(kind, error.to_string())
}

#[cfg(test)]
mod tests {
    // faults: I119
    #[test]
    fn a_key_is_taken_out_whole_and_in_part() {
        for (text, left) in [
            ("nothing", "nothing"),
            ("wrong key sk-abcdef!", "wrong key ***!"),
            ("sk-abcdef sk-abcdef", "*** ***"),
            ("cut sk-abc", "cut ***"),
            ("cut é sk-abcdef SK-ABCdef sk-ABC", "cut é *** *** ***"),
            ("sk-abcdef", "***"),
            ("ask-", "ask-"),
        ] {
            let mut text = text.to_owned();
            super::redact(&mut text, "sk-abcdef");
            assert_eq!(text, left);
        }
    }
}
