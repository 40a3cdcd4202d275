//! One connection to the model service, plain or over TLS, with the kernel's limits for a silent peer.
use rustix::net::{RecvFlags, recv};
use socket2::{SockRef, TcpKeepalive};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

/// Unanswered keepalive probes in a row after which the kernel closes a connection: enough for a stream to survive a
/// minute without network.
const PROBES: u32 = 27;

/// A connection. Dropping it closes it at once, over TLS with `close_notify`.
pub(super) struct Link {
    io: Io,
    /// How long a kept connection may leave a request unacknowledged.
    silence: Duration,
    /// The kernel gives the connection up if it is silent for longer than that.
    is_impatient: bool,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Link {
    pub(super) fn plain(tcp: TcpStream, silence: Duration) -> Self {
        Link::new(Io::Plain(tcp), silence)
    }

    pub(super) fn tls(tls: TlsStream<TcpStream>, silence: Duration) -> Self {
        Link::new(Io::Tls(Box::new(tls)), silence)
    }

    fn new(io: Io, silence: Duration) -> Self {
        let link = Link { io, silence, is_impatient: false };
        // Probes also keep the connection known to firewalls that forget idle ones.
        let keepalive = TcpKeepalive::new()
            .with_time((silence / 2).max(Duration::from_secs(1)))
            .with_interval((silence / 5).max(Duration::from_secs(1)))
            .with_retries(PROBES);
        if let Err(error) = SockRef::from(link.tcp()).set_tcp_keepalive(&keepalive) {
            log::debug!(error:% = error; "an upstream connection without keepalive");
        }
        link
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        match &self.io {
            Io::Plain(tcp) => tcp,
            Io::Tls(tls) => tls.get_ref().0,
        }
    }

    /// A kept connection may be dead, and the kernel would send a request again for minutes. So it is given
    /// up when the request is not acknowledged in time (TCP_USER_TIMEOUT, RFC 5482), until [`Link::be_patient`]
    /// says that it lives. A connection that was just made is known to live.
    pub(super) fn be_impatient(&mut self) {
        self.is_impatient = true;
        self.limit_silence(Some(self.silence));
    }

    /// The first byte of a response came.
    #[inline]
    pub(super) fn be_patient(&mut self) {
        if self.is_impatient {
            self.is_impatient = false;
            self.limit_silence(None);
        }
    }

    fn limit_silence(&self, timeout: Option<Duration>) {
        if let Err(error) = SockRef::from(self.tcp()).set_tcp_user_timeout(timeout) {
            log::debug!(error:% = error; "an upstream connection without time limit");
        }
    }

    /// Lets acknowledgements wait for more data to acknowledge, up to the kernel's timer (40 ms on Linux). It sends them at
    /// once otherwise, for each small piece that is read.
    pub(super) fn acknowledge_late(&self) {
        #[cfg(target_os = "linux")]
        if let Err(error) = SockRef::from(self.tcp()).set_tcp_quickack(false) {
            log::debug!(error:% = error; "an upstream connection without late acknowledgements");
        }
    }

    /// Whether an idle connection can be used: it is open, and nothing was received that no request asked for.
    pub(super) fn is_quiet(&mut self) -> bool {
        // Over TLS there may be records without data, such as session tickets; they are taken here.
        if matches!(self.io, Io::Tls(_)) {
            let mut byte = [0];
            let mut context = Context::from_waker(Waker::noop());
            if self.poll_read(&mut context, &mut ReadBuf::new(&mut byte)).is_ready() {
                return false;
            }
        }
        // The kernel itself is asked: the runtime may not have noticed yet.
        let mut byte = [0u8; 1];
        let peeked = recv(self.tcp(), byte.as_mut_slice(), RecvFlags::PEEK | RecvFlags::DONTWAIT);
        peeked.is_err_and(|error| error == rustix::io::Errno::WOULDBLOCK)
    }

    #[inline]
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Io::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, buffer),
        }
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Io::Tls(tls) => Pin::new(&mut **tls).poll_write(cx, bytes),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Io::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Io::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
        }
    }
}

impl Drop for Link {
    /// Sends `close_notify`, as far as the kernel takes it at once.
    fn drop(&mut self) {
        if let Io::Tls(tls) = &mut self.io {
            let _ = Pin::new(&mut **tls).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }
}
