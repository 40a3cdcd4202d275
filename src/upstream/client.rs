//! The HTTP client of a model service: awc, over a transport of ours.
//!
//! awc sends a request and parses the head of its response. These defaults of it are turned off: a timeout of five seconds for
//! the head, a limit of a hundred connections, following redirects (with our key), and decompression. Its pool is
//! not used, nor does it read bodies: it takes a truncated one for complete.
mod question;

pub use super::transport::{Proxy, TlsConfigs};
pub use question::Question;

use super::{
    exchange::{Head, Header, Outbound},
    route::{Key, LostConnection},
    service::KeyHeader,
    transport::{
        Body, BodyError, ConnectError, Connected, Destination, Handover, Read, TlsSetupError, Transport,
    },
};
use crate::chat::{Retry, RunError, RunErrorKind};
use actix_http::header;
use awc::{
    ClientRequest, ClientResponse, Connector, SendClientRequest,
    error::{ConnectError as LibraryConnectError, SendRequestError},
    http::header::{HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use std::{
    future::poll_fn,
    path::PathBuf,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, timeout_at};
use url::Url;

#[derive(Clone, Debug)]
pub struct Settings {
    /// The section of the configuration, for errors: `upstream`.
    pub section: String,
    /// `https://…/api/v1`, with a host.
    pub base_url: Url,
    /// API keys; [`Key`] is an index into this list.
    pub api_keys: Vec<SecretString>,
    pub key_header: KeyHeader,
    /// PEM file with the certificate authorities to trust instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// The proxy on the way to it.
    pub proxy: Option<Proxy>,
    /// For the TCP connection, for the proxy's answer, and again for the TLS handshake; then the attempt fails.
    pub connect_timeout: Duration,
    /// Acknowledges several pieces of an answer at once. Linux only.
    pub lazy_acks: bool,
    /// From sending the request to the head of the response; then the attempt fails.
    pub first_byte: Duration,
}

/// Why no client can be built. Reported before a port is bound.
#[derive(Debug, thiserror::Error)]
#[error("{section}.{problem}")]
pub struct ClientBuildError {
    section: String,
    problem: BuildProblem,
}

#[derive(Debug, thiserror::Error)]
enum BuildProblem {
    #[error("{0}")]
    Tls(#[from] TlsSetupError),
    #[error("api_key cannot stand in a header: only visible ASCII is allowed")]
    Key,
    #[error("headers: {0} is not valid")]
    Header(String),
}

/// The configuration that the clients of all lanes share. Unlike a client it can be sent to other threads.
pub struct ClientConfig {
    /// The base URL for awc: always with `http://`, because the transport does TLS.
    base: String,
    /// Host, and port unless it is the default one: the header `Host`.
    authority: String,
    host: HeaderValue,
    keys: Box<[ApiKey]>,
    key_header: HeaderName,
    /// Values of headers that may be secrets.
    secrets: Box<[SecretString]>,
    destination: Destination,
    first_byte: Duration,
}

/// Shorter values of headers are not taken for secrets: they could be parts of any text.
const SECRET_BYTES_MIN: usize = 6;

struct ApiKey {
    secret: SecretString,
    /// The value of the header with the key.
    header: HeaderValue,
}

impl ApiKey {
    fn new(secret: &SecretString, header: KeyHeader) -> Result<Self, BuildProblem> {
        let value = match header {
            KeyHeader::Bearer => format!("Bearer {}", secret.expose_secret()),
            KeyHeader::ApiKey => secret.expose_secret().to_owned(),
        };
        let mut header = HeaderValue::from_str(&value).map_err(|_| BuildProblem::Key)?;
        header.set_sensitive(true);
        Ok(ApiKey { secret: secret.clone(), header })
    }
}

/// Converts a header to the library's types.
fn parse_header(Header { name, value, .. }: &Header) -> Result<(HeaderName, HeaderValue), BuildProblem> {
    let invalid = || BuildProblem::Header(name.clone().into_owned());
    let value = HeaderValue::from_str(value).map_err(|_| invalid())?;
    Ok((HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?, value))
}

impl ClientConfig {
    /// `headers`: those of all requests, checked here, before a port is bound.
    pub fn new(
        settings: &Settings,
        headers: &[Header],
        tls: &mut TlsConfigs,
    ) -> Result<Self, ClientBuildError> {
        let section = settings.section.clone();
        ClientConfig::build(settings, headers, tls).map_err(|problem| ClientBuildError { section, problem })
    }

    /// The base URL without its path.
    fn root(&self) -> &str {
        let authority = self.base.find("://").map_or(0, |scheme| scheme + 3);
        let path = self.base[authority..].find('/');
        path.map_or(self.base.as_str(), |path| &self.base[..authority + path])
    }

    fn build(settings: &Settings, headers: &[Header], tls: &mut TlsConfigs) -> Result<Self, BuildProblem> {
        for header in headers {
            parse_header(header)?;
        }
        let url = &settings.base_url;
        let host = url.host_str().unwrap_or_default();
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let is_tls = url.scheme() == "https";
        let port = url.port().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(ClientConfig {
            base: format!("http://{host}:{port}{}", url.path().trim_end_matches('/')),
            host: HeaderValue::from_str(&authority).map_err(|_| BuildProblem::Header("host".to_owned()))?,
            authority,
            keys: settings
                .api_keys
                .iter()
                .map(|key| ApiKey::new(key, settings.key_header))
                .collect::<Result<_, _>>()?,
            secrets: headers
                .iter()
                .filter(|header| header.is_secret && header.value.len() >= SECRET_BYTES_MIN)
                .map(|header| SecretString::from(header.value.as_str()))
                .collect(),
            key_header: match settings.key_header {
                KeyHeader::Bearer => header::AUTHORIZATION,
                KeyHeader::ApiKey => HeaderName::from_static("api-key"),
            },
            destination: Destination::new(
                (host.trim_start_matches('[').trim_end_matches(']'), port),
                (is_tls, settings.ca_file.as_deref(), tls),
                settings.proxy.clone(),
                settings.connect_timeout,
                settings.lazy_acks,
            )?,
            first_byte: settings.first_byte,
        })
    }

    /// The host of the model service.
    pub fn host(&self) -> &str {
        self.destination.host()
    }

    /// Removes all keys and the values of secret headers from a text of the upstream, which may repeat what was sent.
    pub fn redact(&self, text: &mut String) {
        let keys = self.keys.iter().map(|key| &key.secret);
        for secret in keys.chain(&self.secrets) {
            redact(text, secret.expose_secret());
        }
    }
}

/// A client and its connections. Not `Send`: it belongs to the worker that made it.
pub struct Client {
    awc: awc::Client,
    handover: Handover,
    transport: Transport,
    config: Arc<ClientConfig>,
}

/// Why there is no response.
#[derive(Debug)]
pub struct OpenError {
    pub error: RunError,
    /// Set if the connection ended before the first byte of a response.
    pub lost: Option<LostConnection>,
}

impl Client {
    pub fn new(config: Arc<ClientConfig>) -> Self {
        let handover = Handover::default();
        let awc = library(&handover);
        Client { awc, handover, transport: Transport::new(config.destination.clone()), config }
    }

    /// Sends a request and waits for the head, until `first_byte` or `deadline`. `is_sent` is set when there is a connection for
    /// it: from then on the service may work on it.
    pub async fn send(
        &self,
        outbound: &Outbound,
        key: Key,
        deadline: Instant,
        is_sent: &mut bool,
    ) -> Result<Response, OpenError> {
        let deadline = deadline.min(Instant::now() + self.config.first_byte);
        let connected = match timeout_at(deadline, self.transport.connect()).await {
            Ok(connected) => connected.map_err(|error| self.named(connect_error(&error)))?,
            Err(_) => return Err(open_error(&SendRequestError::Timeout)),
        };
        *is_sent = true;
        let response = self.send_over(&connected, outbound, key, deadline).await.map_err(|error| {
            let mut failed = open_error(&error);
            if failed.lost.is_some() && connected.is_reused {
                failed.lost = Some(LostConnection::Reused);
                if self.transport.empty(&connected) {
                    let why = &failed.error.detail;
                    log::info!(why:? = why; "kept connections to the model service are dropped");
                }
            }
            self.named(failed)
        })?;
        let body = self.transport.body(&connected, &response);
        Response::new(&response, body).map_err(|error| OpenError { error, lost: None })
    }

    /// Has the library send a request over this connection, and parse the head of the response.
    async fn send_over(
        &self,
        connected: &Connected,
        outbound: &Outbound,
        key: Key,
        deadline: Instant,
    ) -> Result<ClientResponse, SendRequestError> {
        let request = self.awc.post(format!("{}{}", self.config.base, outbound.path));
        let wait = deadline.saturating_duration_since(Instant::now());
        let request = self.with_headers(request, &outbound.headers, key).timeout(wait);
        self.over(connected, request.send_body(outbound.body.clone())).await
    }

    fn with_headers(&self, request: ClientRequest, all: &[Header], key: Key) -> ClientRequest {
        let mut request = request.no_decompress();
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.config.host.clone());
        for (name, value) in all.iter().filter_map(|header| parse_header(header).ok()) {
            headers.insert(name, value);
        }
        if let Some(key) = self.config.keys.get(key.0) {
            headers.insert(self.config.key_header.clone(), key.header.clone());
        }
        request
    }

    async fn over(
        &self,
        connected: &Connected,
        sending: SendClientRequest,
    ) -> Result<ClientResponse, SendRequestError> {
        let mut sending = pin!(sending);
        let mut offered = Some(connected.wire.clone());
        poll_fn(|cx| self.handover.poll(sending.as_mut(), cx, &mut offered)).await
    }

    /// Adds the host that could not be reached for the log: errors of connections do not contain it.
    fn named(&self, mut failed: OpenError) -> OpenError {
        if failed.error.kind == RunErrorKind::UpstreamUnreachable {
            failed.error.detail = format!("{}: {}", self.config.authority, failed.error.detail);
        }
        failed
    }

    /// Closes kept connections that were idle for too long.
    pub fn close_idle(&self, now: Instant) {
        self.transport.close_idle(now);
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

/// The library's client. It is given each connection anew and has none left after a response, so its pool stays empty.
fn library(handover: &Handover) -> awc::Client {
    let connector = Connector::new()
        .connector(handover.clone())
        .limit(0) // Admission is the limit.
        .conn_keep_alive(Duration::ZERO);
    awc::Client::builder()
        .connector(connector)
        .disable_timeout()
        .disable_redirects()
        .no_default_headers()
        .add_default_header((header::USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION"))))
        .finish()
}

/// The head of a response, and its body as it comes.
pub struct Response {
    pub status: u16,
    pub content_type: Option<String>,
    pub retry_after: Option<Duration>,
    pub request_id: Option<String>,
    body: Body,
}

impl Response {
    /// Nothing of the library's response is kept: its headers would keep a read buffer.
    fn new(response: &ClientResponse, body: Option<Body>) -> Result<Self, RunError> {
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
        let Some(body) = body else {
            return Err(fault(RunErrorKind::Internal, "the head of the response has no end".to_owned()));
        };
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

    /// Hands on the next bytes of the body; how many were read for them, or `None` at the end. An error may come
    /// behind bytes of the same read.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnMut(&[u8]),
    ) -> Poll<Option<Result<usize, RunError>>> {
        Poll::Ready(match ready!(self.body.poll_read(cx, take)) {
            Ok(Read::Bytes(read)) => Some(Ok(read)),
            // Whether an answer is whole is seen by its finish.
            Ok(Read::End | Read::Cut) => None,
            Err(error) => Some(Err(body_error(&error))),
        })
    }
}

/// The wall clock in seconds, needed because `Retry-After` may be a date.
fn wall_clock_seconds() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "an HTTP date can only be compared with the wall clock")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn connect_error(error: &ConnectError) -> OpenError {
    let kind = match error {
        ConnectError::Tls(_) => RunErrorKind::UpstreamTls,
        // The operator must give credentials.
        ConnectError::Proxy(407) => RunErrorKind::NotSetUp,
        ConnectError::Timeout(..) | ConnectError::Io(_) | ConnectError::Proxy(_) => {
            RunErrorKind::UpstreamUnreachable
        }
    };
    let mut failed = RunError::new(kind, format!("cannot connect: {error}"));
    if matches!(error, ConnectError::Timeout(..)) {
        failed.retry = Retry::Once;
    }
    OpenError { error: failed, lost: None }
}

fn open_error(error: &SendRequestError) -> OpenError {
    use RunErrorKind as Kind;
    let (kind, lost) = match error {
        SendRequestError::Timeout => (Kind::UpstreamTimeout, None),
        // The connection ended, or failed, before the head of a response was there.
        SendRequestError::Connect(LibraryConnectError::Disconnected)
        | SendRequestError::Send(_)
        | SendRequestError::Response(
            actix_http::error::ParseError::Incomplete | actix_http::error::ParseError::Io(_),
        ) => (Kind::UpstreamUnreachable, Some(LostConnection::New)),
        SendRequestError::Response(_) => (Kind::UpstreamProtocol, None),
        SendRequestError::Url(_) | SendRequestError::Http(_) => (Kind::NotSetUp, None),
        _ => (Kind::UpstreamError, None),
    };
    OpenError { error: RunError::new(kind, error.to_string()), lost }
}

fn body_error(error: &BodyError) -> RunError {
    RunError::new(RunErrorKind::Interrupted, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_host_has_no_default_port_and_the_base_url_always_one() {
        for (url, host, base, name) in [
            ("https://a.example/api/v1", "a.example", "http://a.example:443/api/v1", "a.example"),
            ("https://a.example:443/", "a.example", "http://a.example:443", "a.example"),
            ("https://a.example:80/v1/", "a.example:80", "http://a.example:80/v1", "a.example"),
            ("http://127.0.0.1", "127.0.0.1", "http://127.0.0.1:80", "127.0.0.1"),
            ("http://[::1]:8080/v1", "[::1]:8080", "http://[::1]:8080/v1", "::1"),
            ("https://[2001:db8::1]/", "[2001:db8::1]", "http://[2001:db8::1]:443", "2001:db8::1"),
        ] {
            let second = Duration::from_secs(1);
            let settings = Settings {
                section: "upstream".to_owned(),
                base_url: url.parse().unwrap(),
                api_keys: Vec::new(),
                key_header: KeyHeader::Bearer,
                ca_file: None,
                proxy: None,
                connect_timeout: second,
                lazy_acks: false,
                first_byte: second,
            };
            let config = ClientConfig::new(&settings, &[], &mut TlsConfigs::default()).unwrap();
            assert_eq!((config.host.to_str().unwrap(), config.base.as_str()), (host, base), "{url}");
            assert_eq!(config.destination.host(), name, "{url}");
        }
    }

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
