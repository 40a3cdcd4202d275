//! The session's end of one subscription: encodes what the session sends and gives it to the subscriber's sink,
//! within the sink's window. Where the sink is a socket of the session's own thread and nothing waits for that,
//! frames are written to it directly; otherwise they are a message, and across threads only bytes travel.
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
    /// Where the socket is of the session's own thread.
    direct: Option<Rc<DirectWriter>>,
    encoder: FrameEncoder,
}

impl Subscriber {
    pub fn new(sink: Sink, direct: Option<Rc<DirectWriter>>, encoder: FrameEncoder) -> Self {
        let Sink { recipient, window, socket: _ } = sink;
        Subscriber { recipient, window, direct, encoder }
    }

    /// Sends, or gives back what the subscriber cannot take; then, and with `ask`, `session` gets [`Ready`]
    /// when what is on its way has been written.
    pub fn try_push(
        &mut self,
        session: impl Fn() -> Recipient<Ready>,
        id: SubscriberId,
        outgoing: Outgoing,
        ask: bool,
    ) -> Result<(), Outgoing> {
        if !ask
            && self.window.is_clear()
            && let Outgoing::Frame(frame) = &outgoing
            && let Some(direct) = &self.direct
            && direct.is_free()
        {
            self.window.charge(direct.write(|bytes| encode(&mut self.encoder, frame, bytes)));
            return Ok(());
        }
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
        // What has no bytes costs something too: a clear window is one with nothing on its way.
        let cost = bytes.len().max(1);
        self.window.charge(cost);
        // Where the subscriber is gone, its `Detach` is on the way.
        let Err(refused) = mailbox::offer(&self.recipient, Push::Frames { bytes, close, cost }) else {
            return Ok(());
        };
        self.window.wait(id.0, &session);
        // The mailbox may have been emptied before the writer could see that we wait.
        mailbox::offer(&self.recipient, refused).map_err(|_| {
            self.window.refund(cost);
            self.encoder = before; // It was not sent.
            outgoing
        })
    }

    /// The subscriber got everything that it asked for.
    pub fn finish(self, id: SubscriberId) {
        mailbox::notify(&self.recipient, Push::Finished { subscriber: id });
    }

    /// The session ends without an end for this subscriber.
    pub fn lose(&self, id: SubscriberId) {
        mailbox::notify(&self.recipient, Push::Lost { subscriber: id });
    }
}

fn encode(encoder: &mut FrameEncoder, frame: &ServerFrame, into: &mut Vec<u8>) {
    encoder.encode(frame, |text| write_frame(into, 1, text.as_bytes()));
}
