//! The inputs and effects of the session machine.
use super::Cursor;
use crate::{
    chat::{MessageId, RunEvent, RunId, RunRequest, SubscriberId, TurnRequest},
    protocol::{ClientFrame, Close, ServerFrame},
};

/// An input of a session.
#[derive(Debug)]
pub enum Input {
    /// A connection subscribes to every turn from now on.
    Attach { subscriber: SubscriberId },
    /// A subscriber joins with a question and follows the turn that answers it.
    Ask { subscriber: SubscriberId, turn: Box<TurnRequest> },
    /// A subscriber joins and follows the newest turn, if it is running or kept for replay: from the frame after number
    /// `after` (see [`crate::protocol::ReplayPosition`]), or from the start. With `turn`, only if that is the ID of the
    /// turn's question or answer.
    Resume { subscriber: SubscriberId, turn: Option<MessageId>, after: Option<u32> },
    /// A subscriber stops the turn that it follows, or withdraws its queued question.
    Abort { subscriber: SubscriberId },
    /// The time returned by [`Session::settle`](super::Session::settle) is reached.
    Wake,
    /// A connection is closed or lost.
    Detach { subscriber: SubscriberId },
    /// A frame from a client.
    Client { subscriber: SubscriberId, frame: ClientFrame },
    /// An event of a run.
    Run { run: RunId, event: RunEvent },
    /// A subscriber that refused an [`Effect::Push`] is ready for more.
    Ready { subscriber: SubscriberId },
    /// A subscriber refused a push; `outgoing` is returned unchanged.
    PushRefused { subscriber: SubscriberId, outgoing: Outgoing, from: Cursor },
    /// Memory is low: release the finished answers that are kept for replay.
    ReleaseRetained,
    /// The gateway is shutting down: finish the running answer, accept nothing new, then close.
    Drain,
}

impl Input {
    /// Whether this is text of a run, the most frequent input.
    pub fn is_text(&self) -> bool {
        matches!(self, Input::Run { event: RunEvent::Text { .. }, .. })
    }
}

/// An effect that a session asks for. Effects must be performed in order.
#[derive(Debug)]
pub enum Effect {
    StartRun {
        run: RunId,
        request: RunRequest,
    },
    CancelRun {
        run: RunId,
    },
    /// Stop reading from the upstream until [`Effect::ContinueRun`].
    HoldRun {
        run: RunId,
    },
    ContinueRun {
        run: RunId,
    },
    /// `from` is the subscriber's cursor before the push; it is returned in [`Input::PushRefused`]. With `ask`, nothing
    /// more is pushed until [`Input::Ready`] reports that this push was written.
    Push {
        subscriber: SubscriberId,
        outgoing: Outgoing,
        from: Cursor,
        ask: bool,
    },
    /// A subscriber that followed one turn was sent all of it and is removed.
    Release {
        subscriber: SubscriberId,
    },
    /// The session has ended. The last effect.
    End,
}

/// What is pushed to a subscriber.
#[derive(Clone, Debug, PartialEq)]
pub enum Outgoing {
    Frame(ServerFrame),
    /// Closes the subscriber; the last push to it.
    Close(Close),
}
