//! The echo as a program, for the conformance suite: listens on a free port and prints its address.
mod echo;

use std::io::{self, Write as _};
use tokio::net::TcpListener;

#[actix::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(io::stdout(), "the echo listens on http://{}/chat", listener.local_addr()?)?;
    echo::serve(listener).await
}
