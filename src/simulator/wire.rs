//! Direct access to the socket of a request, for what the HTTP library cannot do: resets and malformed HTTP.
use actix_web::{HttpRequest, dev::Extensions, rt::net::TcpStream};
use socket2::{SockRef, Socket};
use std::{
    any::Any,
    io,
    net::Shutdown,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::io::AsyncWriteExt as _;

/// A second handle of a connection's socket, valid as long as the connection.
#[derive(Clone)]
pub(super) struct Wire {
    socket: Arc<Socket>,
    /// Nagle's algorithm was switched on.
    has_nagle: Arc<AtomicBool>,
}

/// Stores a handle of each new connection. Without one, the switches that need it do nothing.
pub(super) fn remember(connection: &dyn Any, extensions: &mut Extensions) {
    if let Some(stream) = connection.downcast_ref::<TcpStream>()
        && let Ok(socket) = SockRef::from(stream).try_clone()
    {
        extensions.insert(Wire { socket: Arc::new(socket), has_nagle: Arc::default() });
    }
}

impl Wire {
    pub(super) fn of(request: &HttpRequest) -> Option<Wire> {
        request.conn_data::<Wire>().cloned()
    }

    /// Makes the next close of the connection a reset.
    pub(super) fn reset_on_close(&self) {
        if let Err(error) = self.socket.set_linger(Some(Duration::ZERO)) {
            log::warn!(error:% = error; "simulator cannot reset a connection");
        }
    }

    /// Whether the kernel holds small writes back, from now on.
    pub(super) fn set_nagle(&self, on: bool) {
        if self.has_nagle.swap(on, Relaxed) != on
            && let Err(error) = self.socket.set_tcp_nodelay(!on)
        {
            log::warn!(error:% = error; "simulator cannot switch Nagle's algorithm");
        }
    }

    pub(super) fn close(&self) {
        // It may already be closed.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Writes bytes directly, bypassing the HTTP library.
    pub(super) async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stream = tokio::net::TcpStream::from_std(self.socket.try_clone()?.into())?;
        stream.write_all(bytes).await
    }
}
