//! What a session pushes through to one reader, and how much of it may be on its way. A window,
//! which works across threads, bounds what waits for a socket, whoever pushes; on the socket's own
//! thread a line saves the way through its mailbox: while nothing is waiting, a frame goes straight to
//! the socket. Across threads a push is bytes.
use super::{
    connection::{Connection, Push, Released, SessionLost},
    session_actor::SessionActor,
};
use crate::{
    chat::ReaderId,
    protocol::{FrameEncoder, ServerFrame},
    session::Outgoing,
    socket::{
        direct::Line,
        frame::write_frame,
        window::{Hungry, Window},
    },
};
use actix::{Addr, AsyncContext as _, Context, dev::SendError};
use std::{rc::Rc, sync::Arc};

/// The session's end of the way to one reader.
pub struct Outlet {
    connection: Addr<Connection>,
    window: Arc<Window>,
    /// Where the socket is of the session's own thread.
    line: Option<Rc<Line>>,
    encoder: FrameEncoder,
}

impl Outlet {
    pub fn new(
        connection: Addr<Connection>,
        window: Arc<Window>,
        line: Option<Rc<Line>>,
        encoder: FrameEncoder,
    ) -> Self {
        Outlet { connection, window, line, encoder }
    }

    /// Sends, or gives the word back when the reader cannot take it; then, and with `ask`, the
    /// session gets [`Ready`](crate::socket::window::Ready) when what is on its way has been written.
    pub fn try_push(
        &mut self,
        ctx: &Context<SessionActor>,
        reader: ReaderId,
        outgoing: Outgoing,
        ask: bool,
    ) -> Result<(), Outgoing> {
        if !ask
            && self.window.is_clear()
            && let Outgoing::Frame(frame) = &outgoing
            && let Some(line) = &self.line
            && line.is_free()
        {
            self.window.add(line.write(|bytes| spell(&mut self.encoder, frame, bytes)));
            return Ok(());
        }
        let hungry = || Hungry { id: reader.0, recipient: ctx.address().recipient() };
        if ask {
            self.window.ask(hungry());
        }
        if !self.window.has_room(hungry) {
            return Err(outgoing);
        }
        let before = self.encoder.clone();
        let (mut frames, mut close) = (Vec::new(), None);
        match &outgoing {
            Outgoing::Frame(frame) => spell(&mut self.encoder, frame, &mut frames),
            Outgoing::Close(why) => close = Some(*why),
        }
        if frames.is_empty() && close.is_none() && !ask {
            return Ok(()); // The dialect has no spelling for it.
        }
        // Also what has no text costs something: a clear window is one with nothing on its way.
        let cost = frames.len().max(1);
        self.window.add(cost);
        let refused = match self.connection.try_send(Push { frames, close, cost }) {
            Ok(()) | Err(SendError::Closed(_)) => return Ok(()), // Its `Detach` is on the way.
            Err(SendError::Full(push)) => push,
        };
        self.window.ask(hungry());
        // The connection may have emptied its mailbox before it could see that we ask.
        match self.connection.try_send(refused) {
            Ok(()) | Err(SendError::Closed(_)) => Ok(()),
            Err(SendError::Full(_)) => {
                self.window.give_back(cost);
                self.encoder = before; // It was not said.
                Err(outgoing)
            }
        }
    }

    /// The reader has been told all that it came for.
    pub fn release(self, reader: ReaderId) {
        // A new address has a place of its own in the mailbox: this is never refused.
        let _ = self.connection.clone().try_send(Released { reader });
    }

    /// The session is no more.
    pub fn lose(&self, reader: ReaderId) {
        let _ = self.connection.clone().try_send(SessionLost { reader }); // Likewise.
    }
}

fn spell(encoder: &mut FrameEncoder, frame: &ServerFrame, into: &mut Vec<u8>) {
    encoder.encode(frame, |text| write_frame(into, 1, text.as_bytes()));
}
