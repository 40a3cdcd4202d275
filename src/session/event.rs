//! What goes into the session machine, and what comes out of it.
use std::time::Duration;

use super::Cursor;
use crate::{
    chat::{MessageId, ReaderId, RunEvent, RunId, RunRequest, TurnRequest},
    protocol::{ClientFrame, Close, ServerFrame},
};

/// What can happen to a session.
#[derive(Debug)]
pub enum Input {
    /// A connection joins and is told everything from now on.
    Attach { reader: ReaderId },
    /// A reader joins with a question and is told the one turn that answers it.
    Ask { reader: ReaderId, turn: Box<TurnRequest> },
    /// A reader joins and follows the newest turn, while it runs or is retained: what comes after number
    /// `after` (see [`crate::protocol::ReplayPosition`]), or all of it. With `turn` only if that turn has this
    /// question or this answer.
    Resume { reader: ReaderId, turn: Option<MessageId>, after: Option<u32> },
    /// A reader stops the turn that it is told, or takes back its question that waits.
    Abort { reader: ReaderId },
    /// The time of an [`Effect::WakeAt`] has come.
    Wake,
    /// A connection is gone.
    Detach { reader: ReaderId },
    /// A client said something.
    Client { reader: ReaderId, frame: ClientFrame },
    /// A run said something.
    Run { run: RunId, event: RunEvent },
    /// A reader that was refused an [`Effect::Push`] can take more.
    Ready { reader: ReaderId },
    /// A reader did not take what was pushed; it comes back untouched.
    PushRefused { reader: ReaderId, outgoing: Outgoing, from: Cursor },
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
    /// `from` is where the reader stood before; it comes back in [`Input::PushRefused`]. With `ask`
    /// the reader gets nothing more until [`Input::Ready`] says that this push was written.
    Push {
        reader: ReaderId,
        outgoing: Outgoing,
        from: Cursor,
        ask: bool,
    },
    /// A reader that followed one turn has been told all of it, and is forgotten.
    Release {
        reader: ReaderId,
    },
    /// Send [`Input::Wake`] at this time, in place of what was asked for before; never, without one.
    WakeAt {
        at: Option<Duration>,
    },
    /// It is over. The last effect.
    End,
}

/// What is pushed to a reader.
#[derive(Clone, Debug, PartialEq)]
pub enum Outgoing {
    Frame(ServerFrame),
    /// The last thing that a reader gets.
    Close(Close),
}
