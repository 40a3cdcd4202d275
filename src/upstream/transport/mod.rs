//! Connections to one model service, below the HTTP library: they are made and kept here, and bodies are read here. The
//! library sends the request and parses the head of the response.
mod body;
mod chunked;
mod handover;
mod head;
mod link;
mod pool;
mod proxy;
mod tls;

pub(super) use body::{Body, BodyError, Read};
pub(super) use handover::{Handover, Wire};
pub use proxy::Proxy;
pub use tls::{TlsConfigs, TlsSetupError};

use crate::io_error::describe;
use awc::{
    ClientResponse,
    http::{Version, header},
};
use head::{Facts, closes, framing};
use link::Link;
use pool::{Origin, Pool};
use std::{cell::RefCell, io, path::Path, rc::Rc, time::Duration};
use tls::{Tls, is_tls};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

/// Where a service is, and how it is reached. May cross threads.
#[derive(Clone)]
pub(super) struct Destination {
    /// A name, or an IP address without brackets.
    host: String,
    port: u16,
    tls: Option<Tls>,
    /// The way to it; `None`: straight.
    proxy: Option<Proxy>,
    /// For TCP, for a proxy's answer and for TLS, each.
    connect_timeout: Duration,
    lazy_acks: bool,
}

/// No connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0} took longer than {1:?}")]
    Timeout(&'static str, Duration),
    #[error("{0}")]
    Tls(io::Error),
    #[error("the proxy answers with status {0}")]
    Proxy(u16),
    #[error("{}", describe(.0))]
    Io(io::Error),
}

/// A connection for one request.
pub(super) struct Connected {
    pub(super) wire: Wire,
    /// It was used by other requests before.
    pub(super) is_reused: bool,
    origin: Origin,
}

impl Destination {
    /// # Errors
    /// TLS cannot be set up.
    pub(super) fn new(
        (host, port): (&str, u16),
        (tls, ca_file, configs): (bool, Option<&Path>, &mut TlsConfigs),
        proxy: Option<Proxy>,
        connect_timeout: Duration,
        lazy_acks: bool,
    ) -> Result<Self, TlsSetupError> {
        // A file that cannot be read is a fault also where it is not needed.
        let made = if tls || ca_file.is_some() { Some(Tls::new(host, ca_file, configs)?) } else { None };
        let tls = made.filter(|_| tls);
        Ok(Destination { host: host.to_owned(), port, tls, proxy, connect_timeout, lazy_acks })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    async fn connect(&self) -> Result<Link, ConnectError> {
        let limit = self.connect_timeout;
        let target = (self.host.as_str(), self.port);
        let first = self.proxy.as_ref().map_or(target, |proxy| (proxy.host.as_str(), proxy.port));
        let tcp = timeout(limit, TcpStream::connect(first)).await;
        let mut tcp =
            tcp.map_err(|_| ConnectError::Timeout("connecting", limit))?.map_err(ConnectError::Io)?;
        if let Some(proxy) = &self.proxy {
            let opened = timeout(limit, proxy.open(&mut tcp, target)).await;
            opened.map_err(|_| ConnectError::Timeout("the answer of the proxy", limit))??;
        }
        let silence = 2 * limit;
        let Some(tls) = &self.tls else { return Ok(Link::plain(tcp, silence)) };
        match timeout(limit, tls.handshake(tcp)).await {
            Err(_) => Err(ConnectError::Timeout("the TLS handshake", limit)),
            Ok(Err(error)) if is_tls(&error) => Err(ConnectError::Tls(error)),
            Ok(Err(error)) => Err(ConnectError::Io(error)),
            Ok(Ok(tls)) => Ok(Link::tls(tls, silence)),
        }
    }
}

/// The connections of one worker to a service.
pub(super) struct Transport {
    destination: Destination,
    pool: Rc<RefCell<Pool<Link>>>,
}

impl Transport {
    pub(super) fn new(destination: Destination) -> Self {
        Transport { destination, pool: Rc::default() }
    }

    /// A kept connection, or a new one.
    pub(super) async fn connect(&self) -> Result<Connected, ConnectError> {
        let kept = self.pool.borrow_mut().take(Instant::now().into_std(), Link::is_quiet);
        if let Some((mut link, origin)) = kept {
            link.be_impatient();
            return Ok(Connected { wire: Wire::new(link), is_reused: true, origin });
        }
        let link = self.destination.connect().await?;
        let origin = self.pool.borrow().origin(Instant::now().into_std());
        Ok(Connected { wire: Wire::new(link), is_reused: false, origin })
    }

    /// Closes the kept connections, because one of them was dead; whether that was not done for it already.
    pub(super) fn empty(&self, dead: &Connected) -> bool {
        self.pool.borrow_mut().empty(dead.origin)
    }

    /// Closes connections that were idle for too long. Called now and then, so that none stays open when no request comes.
    pub(super) fn close_idle(&self, now: Instant) {
        self.pool.borrow_mut().close_idle(now.into_std());
    }

    /// The body of a response, whose head was just read; `None` if the library read on behind that head.
    pub(super) fn body(&self, connected: &Connected, response: &ClientResponse) -> Option<Body> {
        let (link, early) = connected.wire.take_back()?;
        let headers = response.headers();
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let connection = headers.get_all(header::CONNECTION).filter_map(|value| value.to_str().ok());
        let framing = framing(Facts {
            status: response.status().as_u16(),
            is_http_11: response.version() == Version::HTTP_11,
            transfer_encoding: text(header::TRANSFER_ENCODING),
            content_length: text(header::CONTENT_LENGTH),
            closes: closes(connection),
        });
        let lazy_acks = self.destination.lazy_acks;
        Some(Body::new(link, connected.origin, early, framing, lazy_acks, Rc::clone(&self.pool)))
    }
}
