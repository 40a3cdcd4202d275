//! `tidegate health`: checks a running gateway at the address in its configuration.
use crate::{config::Config, io_error::describe, logging};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Timeout of the whole exchange; then the gateway is unhealthy. Container health checks usually allow three
/// seconds.
const TIME_MAX: Duration = Duration::from_secs(2);
/// Maximum bytes of a response that are read; the gateway's own are far shorter.
const RESPONSE_BYTES_MAX: u64 = 4096;
/// Maximum characters of a response that are printed.
const REASON_CHARS_MAX: usize = 200;

/// The probe to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// `/livez`: the process can answer.
    Live,
    /// `/readyz`: new sockets are accepted.
    Ready,
}

impl Probe {
    fn path(self) -> &'static str {
        match self {
            Probe::Live => "/livez",
            Probe::Ready => "/readyz",
        }
    }
}

/// The outcome, with one line for people.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    pub healthy: bool,
    pub line: String,
}

/// The configuration does not determine where the gateway listens.
#[derive(Debug, thiserror::Error)]
#[error("{key} has port 0, so the configuration does not say which port the gateway took; set a port")]
pub struct UnknownPort {
    key: &'static str,
}

/// Sends one request, for at most two seconds.
///
/// # Errors
/// [`UnknownPort`] when the configured port is 0.
pub async fn ask(config: &Config, probe: Probe) -> Result<Report, UnknownPort> {
    let address = address(config)?;
    let url = format!("http://{address}{}", probe.path());
    let (good, bad) = match probe {
        Probe::Live => ("alive", "not alive"),
        Probe::Ready => ("ready", "not ready"),
    };
    let report = match timeout(TIME_MAX, get(address, probe.path())).await {
        Err(_) => (false, format!("{bad}: {url}: no answer within {} s", TIME_MAX.as_secs())),
        Ok(Err(error)) => (false, format!("{bad}: {url}: {}", describe(&error))),
        Ok(Ok((200, _))) => (true, format!("{good}: {url}")),
        Ok(Ok((status, reason))) => (false, format!("{bad}: {url}: status {status}: {reason}")),
    };
    Ok(Report { healthy: report.0, line: report.1 })
}

/// Address of the operator's routes. For a wildcard address it is loopback.
fn address(config: &Config) -> Result<SocketAddr, UnknownPort> {
    let (key, mut address) = match config.server.ops_listen {
        Some(address) => ("server.ops_listen", address),
        None => ("server.listen", config.server.listen),
    };
    if address.port() == 0 {
        return Err(UnknownPort { key });
    }
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(address)
}

/// Status and first line of the body.
async fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::new();
    stream.take(RESPONSE_BYTES_MAX).read_to_end(&mut response).await?;
    let response = String::from_utf8_lossy(&response);
    parse(&response).ok_or_else(|| io::Error::other("the answer is not HTTP"))
}

fn parse(response: &str) -> Option<(u16, String)> {
    let status = response.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let body = response.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let reason: String = body.lines().next().unwrap_or_default().chars().take(REASON_CHARS_MAX).collect();
    Some((status, logging::escape(&reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_that_of_the_operators_routes() {
        let mut config = Config::default();
        for (listen, ops_listen, asked) in [
            ("127.0.0.1:8000", "", Some("127.0.0.1:8000")),
            ("0.0.0.0:8000", "", Some("127.0.0.1:8000")),
            ("[::]:8000", "", Some("[::1]:8000")),
            ("192.0.2.7:8000", "", Some("192.0.2.7:8000")),
            ("0.0.0.0:8000", "10.0.0.1:9000", Some("10.0.0.1:9000")),
            ("0.0.0.0:0", "0.0.0.0:9000", Some("127.0.0.1:9000")),
            ("127.0.0.1:0", "", None),
            ("127.0.0.1:8000", "127.0.0.1:0", None),
        ] {
            config.server.listen = listen.parse().unwrap();
            config.server.ops_listen = ops_listen.parse().ok();
            let found = address(&config).ok().map(|address| address.to_string());
            assert_eq!(found.as_deref(), asked, "{listen} {ops_listen}");
        }
    }

    #[test]
    fn only_an_http_response_is_read() {
        let response = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\ndraining\nmore";
        assert_eq!(parse(response), Some((503, "draining".to_owned())));
        assert_eq!(parse("HTTP/1.1 200 OK\r\n\r\n\u{1b}[31m"), Some((200, "\\u{1b}[31m".to_owned())));
        for text in ["", "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1", "HTTP/1.1 ok\r\n\r\n"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
