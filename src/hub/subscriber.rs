//! How a session reaches one subscriber: encodes frames and sends them to the subscriber's sink, within the
//! sink's window. If the sink is a socket of the session's own thread without pending output, frames are
//! written to it directly; otherwise they are sent as a message, so only bytes cross threads.
use super::messages::{Push, Sink};
use crate::{
    chat::SubscriberId,
    mailbox,
    protocol::{FrameEncoder, ServerFrame},
    session::Outgoing,
    socket::{
        direct::DirectWriter,
        frame::write_frame,
        window::{Ready, SendWindow},
    },
};
use actix::Recipient;
use std::{rc::Rc, sync::Arc};

pub struct Subscriber {
    recipient: Recipient<Push>,
    window: Arc<SendWindow>,
    /// Set if the socket belongs to the session's own thread.
    direct: Option<Rc<DirectWriter>>,
    encoder: FrameEncoder,
    /// It refused a push of this batch of effects, so it takes no later one of the same batch.
    behind: bool,
}

impl Subscriber {
    pub fn new(sink: Sink, direct: Option<Rc<DirectWriter>>, encoder: FrameEncoder) -> Self {
        let Sink { recipient, window, socket: _ } = sink;
        Subscriber { recipient, window, direct, encoder, behind: false }
    }

    /// Sends, or returns what the subscriber cannot take. In that case, and with `ask`, `session` gets
    /// [`Ready`] when the output in flight has been written.
    pub fn try_push(
        &mut self,
        session: impl Fn() -> Recipient<Ready>,
        id: SubscriberId,
        outgoing: Outgoing,
        ask: bool,
    ) -> Result<(), Outgoing> {
        if self.behind {
            return Err(outgoing);
        }
        if !ask
            && self.window.is_clear()
            && let Outgoing::Frame(frame) = &outgoing
            && let Some(direct) = &self.direct
            && direct.is_free()
        {
            direct.write(|bytes| encode(&mut self.encoder, frame, bytes));
            return Ok(());
        }
        self.try_send(session, id, outgoing, ask).inspect_err(|_| self.behind = true)
    }

    /// The refused pushes of a batch of effects have been returned to the session.
    pub fn end_batch(&mut self) {
        self.behind = false;
    }

    /// Sends through the sink's mailbox.
    fn try_send(
        &mut self,
        session: impl Fn() -> Recipient<Ready>,
        id: SubscriberId,
        outgoing: Outgoing,
        ask: bool,
    ) -> Result<(), Outgoing> {
        if ask {
            self.window.wait(id.0, &session);
        }
        if !self.window.has_room(id.0, &session) {
            return Err(outgoing);
        }
        let before = self.encoder.clone();
        let (mut bytes, mut close) = (Vec::new(), None);
        match &outgoing {
            Outgoing::Frame(frame) => encode(&mut self.encoder, frame, &mut bytes),
            Outgoing::Close(why) => close = Some(*why),
        }
        if bytes.is_empty() && close.is_none() && !ask {
            return Ok(()); // The dialect has no frame for it.
        }
        // A push without bytes has a cost too: a window is clear only if nothing is in flight.
        let cost = bytes.len().max(1);
        self.window.charge(cost);
        // If the sink has ended, its `Detach` is in flight.
        let Err(refused) = mailbox::offer(&self.recipient, Push::Frames { bytes, close, cost }) else {
            return Ok(());
        };
        self.window.wait(id.0, &session);
        // The mailbox may have been drained before the writer could see the waiter.
        mailbox::offer(&self.recipient, refused).map_err(|_| {
            self.window.refund(cost);
            self.encoder = before; // It was not sent.
            outgoing
        })
    }

    /// Ends a complete subscription.
    pub fn finish(self, id: SubscriberId) {
        mailbox::notify(&self.recipient, Push::Finished { subscriber: id });
    }

    /// Ends a subscription that is not complete, because the session ends.
    pub fn lose(&self, id: SubscriberId) {
        mailbox::notify(&self.recipient, Push::Lost { subscriber: id });
    }
}

fn encode(encoder: &mut FrameEncoder, frame: &ServerFrame, into: &mut Vec<u8>) {
    encoder.encode(frame, |text| write_frame(into, 1, text.as_bytes()));
}
