//! Takes over the socket after an accepted upgrade.
//!
//! actix-http keeps two 8 KiB buffers and its dispatcher for every WebSocket, and stops polling the actor
//! when the peer stops reading. Its upgrade hook hands out the bare socket, so all of this is freed.
use super::{
    connection::{Connection, Connections},
    worker::Settings,
};
use crate::{
    access::Pass,
    chat::Choice,
    lifecycle::ConnectionPermit,
    memory::{Account, Kind},
    protocol::Codec,
    socket::{
        handler::{self, Upgraded},
        task,
    },
};
use std::{rc::Rc, sync::Arc};
use tokio::net::TcpStream;

/// Memory accounted per connection, in bytes: its socket, task and actor, see [`Connection`].
const CONNECTION_BYTES: usize = 2048;

/// An accepted upgrade, passed in the request's extensions.
pub struct Upgrade {
    /// Identifies the connection in logs.
    pub id: u64,
    pub codec: Codec,
    pub pass: Arc<Pass>,
    /// What the client chose for all of its messages.
    pub choice: Option<Box<Choice>>,
    /// Whether its frames may hold whole conversations.
    pub transcripts: bool,
    pub permit: ConnectionPermit,
}

/// Starts the connection; `early` are bytes that the client sent with its request.
pub(crate) fn open(
    connections: Rc<Connections>,
    upgrade: Upgrade,
    io: TcpStream,
    head: Vec<u8>,
    early: &[u8],
) {
    let worker = &connections.worker;
    let source = upgrade.pass.source();
    let mut account = Account::new(&worker.memory, source, [Kind::Connections, Kind::Output]);
    account.set(0, CONNECTION_BYTES);
    let resources = ConnectionResources { account, _permit: upgrade.permit };
    let Settings { socket, transcript_bytes, .. } = worker.settings;
    let frame_bytes = if upgrade.transcripts { transcript_bytes } else { socket.limits.frame_bytes };
    let upgraded = Upgraded { id: upgrade.id, io, head, early, source, frame_bytes };
    handler::open(&Rc::clone(&worker.sockets), upgraded, resources, |io| {
        Connection::new(connections, io, upgrade.id, upgrade.codec, upgrade.pass, upgrade.choice)
    });
}

/// A connection's part of shared resources: memory and a connection permit.
struct ConnectionResources {
    account: Account<2>,
    _permit: ConnectionPermit,
}

impl task::Resources for ConnectionResources {
    fn set_buffered_output(&mut self, bytes: usize) {
        self.account.set(1, bytes);
    }
}
