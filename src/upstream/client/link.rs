//! A connection to the model service, and what is needed to notice that a kept one is dead: whether a
//! request uses a connection that was made for it, and the kernel's limits for a silent peer.
use actix_rt::net::{ActixStream, Ready};
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection, ConnectorService, Resolver};
use awc::http::Uri;
use futures_core::future::LocalBoxFuture;
use socket2::{SockRef, TcpKeepalive};
use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Unanswered keepalive probes in a row after which the kernel closes a connection: enough for a stream to survive a
/// minute without network.
const PROBES: u32 = 27;

/// Whether the request that is being polled made its connection. Set around each poll of a request; the
/// library makes a connection within the poll of the request that wants it.
pub(super) type Made = Rc<Cell<bool>>;

/// Makes connections, and notes for whom.
#[derive(Clone)]
pub(super) struct Connector {
    inner: ConnectorService,
    made: Made,
    silence: Duration,
}

impl Connector {
    /// `silence`: how long a kept connection may leave a request unacknowledged.
    pub(super) fn new(made: Made, silence: Duration) -> Self {
        let inner = actix_tls::connect::Connector::new(Resolver::default()).service();
        Connector { inner, made, silence }
    }
}

impl Service<ConnectInfo<Uri>> for Connector {
    type Response = Connection<Uri, Link>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    actix_service::always_ready!();

    fn call(&self, request: ConnectInfo<Uri>) -> Self::Future {
        self.made.set(true);
        let connecting = self.inner.call(request);
        let (made, silence) = (Rc::clone(&self.made), self.silence);
        Box::pin(async move {
            let (io, uri) = connecting.await?.into_parts();
            Ok(Connection::new(uri, Link::new(io, made, silence)))
        })
    }
}

/// A TCP connection.
#[derive(Debug)]
pub(super) struct Link {
    io: TcpStream,
    made: Made,
    silence: Duration,
    /// The kernel gives the connection up if it is silent for too long.
    impatient: bool,
}

impl Link {
    fn new(io: TcpStream, made: Made, silence: Duration) -> Self {
        // Probes also keep the connection known to firewalls that forget idle ones.
        let keepalive = TcpKeepalive::new()
            .with_time((silence / 2).max(Duration::from_secs(1)))
            .with_interval((silence / 5).max(Duration::from_secs(1)))
            .with_retries(PROBES);
        if let Err(error) = SockRef::from(&io).set_tcp_keepalive(&keepalive) {
            log::debug!(error:% = error; "an upstream connection without keepalive");
        }
        Link { io, made, silence, impatient: false }
    }

    /// A kept connection may be dead, and the kernel would send a request again for minutes. So it is given
    /// up when the request is not acknowledged in time (TCP_USER_TIMEOUT, RFC 5482), until the first byte
    /// of the answer shows that it lives. A connection that was just made is known to live.
    #[cold]
    fn be_impatient(&mut self, impatient: bool) {
        self.impatient = impatient;
        let timeout = impatient.then_some(self.silence);
        if let Err(error) = SockRef::from(&self.io).set_tcp_user_timeout(timeout) {
            log::debug!(error:% = error; "an upstream connection without time limit");
        }
    }

    fn before_write(&mut self) {
        if !self.impatient && !self.made.get() {
            self.be_impatient(true);
        }
    }
}

impl AsyncRead for Link {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.impatient {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.be_impatient(false);
        }
        polled
    }
}

impl AsyncWrite for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.before_write();
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.before_write();
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl ActixStream for Link {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.io, cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.io, cx)
    }
}
