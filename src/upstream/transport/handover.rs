//! A connection of ours as the HTTP library uses it: for one request and the head of its response.
use super::{head::EmptyLine, link::Link};
use actix_rt::net::{ActixStream, Ready};
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use std::{
    cell::RefCell,
    fmt,
    future::{self, Future},
    io, mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What the library takes for its connector: it hands out the connection that the client offers for the request
/// that is being polled. The library asks for one within the poll of the request that wants it.
#[derive(Clone, Default)]
pub(in crate::upstream) struct Handover(Rc<RefCell<Option<Wire>>>);

impl Handover {
    /// Polls a request, which takes the connection that is offered.
    pub(in crate::upstream) fn poll<F: Future>(
        &self,
        request: Pin<&mut F>,
        cx: &mut Context<'_>,
        offered: &mut Option<Wire>,
    ) -> Poll<F::Output> {
        self.0.replace(offered.take());
        let polled = request.poll(cx);
        *offered = self.0.take();
        polled
    }
}

impl Service<ConnectInfo<Uri>> for Handover {
    type Response = Connection<Uri, Wire>;
    type Error = ConnectError;
    type Future = future::Ready<Result<Self::Response, Self::Error>>;

    actix_service::always_ready!();

    fn call(&self, request: ConnectInfo<Uri>) -> Self::Future {
        let offered = self.0.take().ok_or(ConnectError::Unresolved);
        future::ready(offered.map(|wire| Connection::new(request.request().clone(), wire)))
    }
}

/// A connection that the library holds and that is taken back once the head of the response is there. Until then
/// no byte that follows the head is given to the library; afterwards the connection has ended, for all that the
/// library knows, so that nothing is left which it could keep.
#[derive(Clone)]
pub(in crate::upstream) struct Wire(Rc<RefCell<State>>);

struct State {
    link: Option<Link>,
    head: EmptyLine,
    /// Read with the head, and not part of it.
    early: Vec<u8>,
}

impl Wire {
    pub(super) fn new(link: Link) -> Self {
        Wire(Rc::new(RefCell::new(State { link: Some(link), head: EmptyLine::default(), early: Vec::new() })))
    }

    /// The connection, and what was read behind the head that the library has just parsed; `None` where the
    /// last byte given to it is not the end of a head.
    pub(super) fn take_back(&self) -> Option<(Link, Vec<u8>)> {
        let mut state = self.0.borrow_mut();
        let link = state.link.take();
        link.filter(|_| state.head.is_found()).map(|link| (link, mem::take(&mut state.early)))
    }

    /// The connection for a write.
    fn with_link<T>(&self, write: impl FnOnce(&mut Link) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &mut self.0.borrow_mut().link {
            Some(link) => write(link),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let state = &mut *self.0.borrow_mut();
        let Some(link) = &mut state.link else { return Poll::Ready(Ok(())) };
        // The parser passes over blank lines before a head: then there is more to give.
        if !state.early.is_empty() {
            let room = buffer.remaining().min(state.early.len());
            let given = state.head.find(&state.early[..room]).unwrap_or(room);
            buffer.put_slice(&state.early[..given]);
            state.early.drain(..given);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        std::task::ready!(link.poll_read(cx, buffer))?;
        let read = &buffer.filled()[before..];
        if !read.is_empty() {
            link.be_patient();
        }
        if let Some(end) = state.head.find(read) {
            state.early.extend_from_slice(&read[end..]);
            buffer.set_filled(before + end);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with_link(|link| link.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_link(|link| link.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_link(|link| link.poll_shutdown(cx))
    }
}

impl ActixStream for Wire {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.with_link(|link| ActixStream::poll_read_ready(link.tcp(), cx))
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.with_link(|link| ActixStream::poll_write_ready(link.tcp(), cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::transport::Link;
    use std::time::Duration;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    async fn pair() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        (Wire::new(Link::plain(here, Duration::from_secs(1))), peer)
    }

    // faults: D59
    #[tokio::test]
    async fn the_library_gets_the_head_and_no_byte_behind_it() {
        const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\na: b\r\n\r\n";
        for blank in [b"".as_slice(), b"\r\n\r\n"] {
            for room in [1, 3, 1000] {
                let (mut wire, mut peer) = pair().await;
                peer.write_all(&[blank, HEAD, b"5\r\nhello"].concat()).await.unwrap();
                let mut given = Vec::new();
                while given.len() < blank.len() + HEAD.len() {
                    let mut buffer = vec![0; room];
                    let read = wire.read(&mut buffer).await.unwrap();
                    assert!(read > 0);
                    given.extend_from_slice(&buffer[..read]);
                }
                assert_eq!(given, [blank, HEAD].concat());
                let (mut link, mut early) = wire.take_back().unwrap();
                let mut buffer = [0; 100];
                if early.len() < 8 {
                    let mut rest = ReadBuf::new(&mut buffer);
                    future::poll_fn(|cx| link.poll_read(cx, &mut rest)).await.unwrap();
                    early.extend_from_slice(rest.filled());
                }
                assert_eq!(early, b"5\r\nhello");
                // For the library the connection has ended.
                assert_eq!(wire.read(&mut buffer).await.unwrap(), 0);
                assert!(wire.write(b"x").await.is_err());
                assert!(wire.take_back().is_none());
            }
        }
    }

    #[tokio::test]
    async fn a_connection_is_not_taken_back_in_the_middle_of_a_head() {
        let (mut wire, mut peer) = pair().await;
        peer.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        wire.read_exact(&mut [0; 17]).await.unwrap();
        assert!(wire.take_back().is_none());
    }
}
