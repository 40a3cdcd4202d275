//! What goes into the session machine, and what comes out of it.
use super::Cursor;
use crate::{
    chat::{MessageId, RunEvent, RunId, RunRequest, SubscriberId, TurnRequest},
    protocol::{ClientFrame, Close, ServerFrame},
};

/// What can happen to a session.
#[derive(Debug)]
pub enum Input {
    /// A connection joins and is told everything from now on.
    Attach { subscriber: SubscriberId },
    /// A subscriber joins with a question and is told the one turn that answers it.
    Ask { subscriber: SubscriberId, turn: Box<TurnRequest> },
    /// A subscriber joins and scope the newest turn, while it runs or is replay_until: what comes after number
    /// `after` (see [`crate::protocol::ReplayPosition`]), or all of it. With `turn` only if that turn has this
    /// question or this answer.
    Resume { subscriber: SubscriberId, turn: Option<MessageId>, after: Option<u32> },
    /// A subscriber stops the turn that it is told, or takes back its question that waits.
    Abort { subscriber: SubscriberId },
    /// The time that [`Session::settle`](super::Session::settle) returned has come.
    Wake,
    /// A connection is gone.
    Detach { subscriber: SubscriberId },
    /// A client said something.
    Client { subscriber: SubscriberId, frame: ClientFrame },
    /// A run said something.
    Run { run: RunId, event: RunEvent },
    /// A subscriber that was refused an [`Effect::Push`] can take more.
    Ready { subscriber: SubscriberId },
    /// A subscriber did not take what was pushed; it comes back untouched.
    PushRefused { subscriber: SubscriberId, outgoing: Outgoing, from: Cursor },
    /// Memory is short: finished answers are not kept any longer.
    GiveBack,
    /// The gateway is stopping: finish the answer, take nothing new, then close.
    Drain,
}

impl Input {
    /// Text of a run, of which there is most.
    pub fn is_text(&self) -> bool {
        matches!(self, Input::Run { event: RunEvent::Text { .. }, .. })
    }
}

/// What a session wants done, in this order.
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
    /// `from` is where the subscriber stood before; it comes back in [`Input::PushRefused`]. With `ask`
    /// the subscriber gets nothing more until [`Input::Ready`] says that this push was written.
    Push {
        subscriber: SubscriberId,
        outgoing: Outgoing,
        from: Cursor,
        ask: bool,
    },
    /// A subscriber that followed one turn has been told all of it, and is forgotten.
    Release {
        subscriber: SubscriberId,
    },
    /// It is over. The last effect.
    End,
}

/// What is pushed to a subscriber.
#[derive(Clone, Debug, PartialEq)]
pub enum Outgoing {
    Frame(ServerFrame),
    /// The last thing that a subscriber gets.
    Close(Close),
}
