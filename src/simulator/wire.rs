//! The socket behind a request, for what the HTTP library does not do: resets and broken HTTP.
use actix_web::{HttpRequest, dev::Extensions, rt::net::TcpStream};
use socket2::{SockRef, Socket};
use std::{any::Any, io, net::Shutdown, sync::Arc, time::Duration};
use tokio::io::AsyncWriteExt as _;

/// A second handle of a connection's socket. It lives as long as the connection.
#[derive(Clone)]
pub(super) struct Wire(Arc<Socket>);

/// Keeps a handle of each new connection. Without one, the switches that need it do nothing.
pub(super) fn remember(connection: &dyn Any, extensions: &mut Extensions) {
    if let Some(stream) = connection.downcast_ref::<TcpStream>()
        && let Ok(socket) = SockRef::from(stream).try_clone()
    {
        extensions.insert(Wire(Arc::new(socket)));
    }
}

impl Wire {
    pub(super) fn of(request: &HttpRequest) -> Option<Wire> {
        request.conn_data::<Wire>().cloned()
    }

    /// The next close of the connection is a reset.
    pub(super) fn reset_on_close(&self) {
        if let Err(error) = self.0.set_linger(Some(Duration::ZERO)) {
            log::warn!("simulator cannot reset a connection error=\"{error}\"");
        }
    }

    pub(super) fn close(&self) {
        // It may be closed already.
        let _ = self.0.shutdown(Shutdown::Both);
    }

    /// Writes bytes past the HTTP library.
    pub(super) async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stream = tokio::net::TcpStream::from_std(self.0.try_clone()?.into())?;
        stream.write_all(bytes).await
    }
}
