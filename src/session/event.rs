//! The inputs and effects of the session machine.
use super::Cursor;
use crate::{
    chat::{Catalog, Choice, Chosen, MessageId, RunEvent, RunId, RunRequest, SubscriberId, TurnRequest},
    protocol::{Close, NumberInRun, Rejection, ServerFrame},
};
use std::sync::Arc;

/// An input of a session. `S` is the sink of a subscriber, see [`Session`](super::Session).
#[derive(Debug)]
pub enum Input<S = ()> {
    /// A connection subscribes to every turn from now on.
    Attach { subscriber: SubscriberId, sink: S },
    /// A subscriber joins with a question and follows the turn that answers it. If its choice is not accepted, only a
    /// question that was asked before has an answer.
    Ask { subscriber: SubscriberId, sink: S, turn: Box<TurnRequest>, chosen: Result<Chosen, Rejection> },
    /// A subscriber joins and follows the newest turn, if it is running or kept for replay: from the frame after number
    /// `after`, or from the start, where the number is of another run. With `turn`, the ID of a question or an
    /// answer, it follows that turn: if it is the newest one, or its question is queued.
    Resume { subscriber: SubscriberId, sink: S, turn: Option<MessageId>, after: Option<NumberInRun> },
    /// A subscriber joins and has the newest answer continued, by a model of `catalog`. It follows that.
    Continue { subscriber: SubscriberId, sink: S, answer: MessageId, choice: Choice, catalog: Arc<Catalog> },
    /// A subscriber stops the turn that it follows, or withdraws the queued question that it waits for.
    Abort { subscriber: SubscriberId },
    /// The time returned by [`Session::settle`](super::Session::settle) is reached.
    Wake,
    /// A connection is closed or lost.
    Detach { subscriber: SubscriberId },
    /// A message from a subscriber of the whole session.
    Message { subscriber: SubscriberId, text: String, chosen: Chosen },
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
    /// The grace period of the shutdown is over: the session of a chat ends. Its subscribers are closed by their
    /// connections; a session with [`Lifetime::OfSocket`](super::Lifetime::OfSocket) ends with its subscriber.
    Close,
    /// The session ends, because another chat needs its place.
    Evict,
}

impl<S> Input<S> {
    /// Whether this is text of a run, the most frequent input.
    pub fn is_text(&self) -> bool {
        matches!(self, Input::Run { event: RunEvent::Text { .. }, .. })
    }
}

/// An effect that a session asks for. Effects must be performed in order.
#[derive(Debug)]
pub enum Effect<S = ()> {
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
    /// Push to a subscriber, whose sink is [`Session::sink_mut`](super::Session::sink_mut). `from` is its cursor before
    /// the push; it is returned in [`Input::PushRefused`]. With `ask`, nothing more is pushed until [`Input::Ready`]
    /// reports that this push was written.
    Push {
        subscriber: SubscriberId,
        outgoing: Outgoing,
        from: Cursor,
        ask: bool,
    },
    /// A subscriber that followed one turn was sent all of it and is removed.
    Release {
        subscriber: SubscriberId,
        sink: Box<S>,
    },
    /// A subscriber is removed before it was sent everything, because the session ends.
    Lose {
        subscriber: SubscriberId,
        sink: Box<S>,
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
