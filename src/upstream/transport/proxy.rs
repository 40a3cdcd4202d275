//! A tunnel through an HTTP proxy, which carries the connection and reads nothing of it (RFC 9110 §9.3.6).
use super::{ConnectError, head::EmptyLine};
use secrecy::{ExposeSecret, SecretString};
use std::{fmt::Write as _, io};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Maximum bytes of the proxy's answer; a longer one ends the attempt.
const ANSWER_BYTES_MAX: usize = 8 * 1024;

/// An HTTP proxy. `Debug` does not show the credentials.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// A name, or an IP address without brackets.
    pub host: String,
    pub port: u16,
    /// `user:password`, for `Proxy-Authorization`.
    pub credentials: Option<SecretString>,
}

impl Proxy {
    /// Asks for a tunnel to this host, over a connection to the proxy. The key is never sent here: the request for the model
    /// service follows within the tunnel.
    pub(super) async fn open(
        &self,
        tcp: &mut TcpStream,
        (host, port): (&str, u16),
    ) -> Result<(), ConnectError> {
        tcp.write_all(self.request(host, port).as_bytes()).await.map_err(ConnectError::Io)?;
        let (mut answer, mut end) = (Vec::new(), EmptyLine::default());
        let mut buffer = [0; 1024];
        loop {
            let read = tcp.read(&mut buffer).await.map_err(ConnectError::Io)?;
            let read = buffer.get(..read).unwrap_or_default();
            answer.extend_from_slice(read);
            match end.find(read) {
                // Who is asked first has nothing to say before.
                Some(at) if at < read.len() => return Err(invalid("the proxy sent more than its answer")),
                Some(_) => break,
                None if read.is_empty() => return Err(invalid("the proxy closed the connection")),
                None if answer.len() > ANSWER_BYTES_MAX => {
                    return Err(invalid("the proxy's answer is too long"));
                }
                None => {}
            }
        }
        match status(&answer) {
            Some(200..=299) => Ok(()),
            Some(status) => Err(ConnectError::Proxy(status)),
            None => Err(invalid("the proxy does not answer in HTTP")),
        }
    }

    fn request(&self, host: &str, port: u16) -> String {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
        if let Some(credentials) = &self.credentials {
            let credentials = base64(credentials.expose_secret().as_bytes());
            // Writing to a String cannot fail.
            let _ = write!(request, "Proxy-Authorization: Basic {credentials}\r\n");
        }
        request.push_str("\r\n");
        request
    }
}

fn invalid(problem: &str) -> ConnectError {
    ConnectError::Io(io::Error::other(problem))
}

/// The status of an answer.
fn status(answer: &[u8]) -> Option<u16> {
    let line = str::from_utf8(answer.split(|byte| *byte == b'\n').next()?).ok()?;
    let (version, rest) = line.trim().split_once(' ')?;
    let code = rest.split(' ').next().filter(|code| version.starts_with("HTTP/1.") && code.len() == 3)?;
    code.parse().ok()
}

/// Base64 with padding (RFC 4648 §4).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at)) as usize % 64];
            text.push(if at > three.len() { '=' } else { letter.into() });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("user:pass", "dXNlcjpwYXNz"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn the_request_names_the_host_and_the_status_is_read() {
        let proxy = Proxy { host: "p".into(), port: 1, credentials: None };
        assert_eq!(
            proxy.request("a.example", 443),
            "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"
        );
        assert!(proxy.request("::1", 80).starts_with("CONNECT [::1]:80 HTTP/1.1\r\n"));
        for (answer, expected) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", Some(200)),
            ("HTTP/1.0 407\r\n\r\n", Some(407)),
            ("HTTP/2 200\r\n\r\n", None),
            ("SSH-2.0-x\r\n\r\n", None),
            ("HTTP/1.1 20\r\n\r\n", None),
            ("", None),
        ] {
            assert_eq!(status(answer.as_bytes()), expected, "{answer:?}");
        }
        let secret = Proxy { credentials: Some("user:CANARY".into()), ..proxy };
        assert!(!format!("{secret:?}").contains("CANARY"));
    }
}
