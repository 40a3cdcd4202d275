//! The echo of the conformance suite, in this process.
#[path = "../../conformance/echo.rs"]
mod server;

use std::{net::SocketAddr, thread};
use tokio::net::TcpListener;

/// Starts an echo server on a thread that ends with the process, and returns its address.
pub(crate) fn echo() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(|| {
        let serve = async { server::serve(TcpListener::from_std(listener)?).await };
        actix::System::new().block_on(serve)
    });
    address
}
