//! One conversation as a pure machine: inputs in, effects out, no world.
//!
//! Every rule about turns is here. The actor in `hub::session_actor` translates, calls and performs.
mod ask;
mod event;
mod held;
mod life;
mod pacing;
mod queue;
mod readers;
mod replay;
mod restore;
pub mod snapshot;
#[cfg(test)]
mod tests;
mod turn;

pub use event::{Effect, Input, Outgoing};
pub use held::Held;
pub use replay::{Cursor, TurnLog};
pub use snapshot::{RunSnapshot, RunState, Snapshot};

use crate::{
    chat::{Budget, ChatMessage, History, Role, RunId, SessionId, Text},
    protocol::ClientFrame,
};
use life::{Due, Life};
use queue::Queue;
use readers::Reader;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use turn::Run;

/// What a session may do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Messages that may wait while an answer is running.
    pub queued_messages: usize,
    /// Readers at the same time; the oldest goes when one more comes.
    pub readers: usize,
    /// The model that answers, for the run and for [`TurnStart`](crate::protocol::TurnStart).
    pub model: Arc<str>,
    /// How long a run goes on without readers.
    pub linger: Duration,
    /// How long a conversation without readers and runs is kept.
    pub idle: Duration,
    /// How long a finished turn can be followed again.
    pub retain: Duration,
    /// When every reader has at least this much text still to read, the run is held.
    pub behind_bytes: usize,
    pub system_prompt: Option<Text>,
    pub history: Budget,
}

impl Settings {
    /// About what the gateway has by default, for tests, fuzzing and benchmarks: each changes what it is about.
    #[doc(hidden)]
    pub fn for_test() -> Self {
        Settings {
            queued_messages: 8,
            readers: 8,
            model: "m".into(),
            linger: Duration::from_secs(60),
            idle: Duration::from_secs(1800),
            retain: Duration::from_secs(120),
            behind_bytes: 64 * 1024,
            system_prompt: None,
            history: Budget { tokens: 32_000, bytes: 256 * 1024, messages: 200 },
        }
    }
}

/// A text that is pushed in one piece has at most this many bytes; beyond it the reader is asked
/// again, so that what one reader can hold up is bounded.
pub const PUSH_BYTES_MAX: usize = 16 * 1024;

/// What each pushed frame counts beside its text. Who reads slowly is asked again after so many frames: what it
/// does not take is made anew, so a whole answer at once would be made as often as there is room for a part of it.
const FRAME_COST: usize = 256;

/// Finished turns that are kept for a reader that has not seen their end. A reader that is
/// further behind than this is let go.
const LOGS_MAX: usize = 16;

/// Words beside the answer (refusals) that may wait for one reader.
const OWED_MAX: usize = 64;

/// Readers that were sent away and could not yet be told; beyond it the oldest is not told.
const LEAVING_MAX: usize = 64;

/// What a session lives as long as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The socket that it began with: when the last reader goes, it ends and its run is cancelled.
    OfSocket,
    /// Its conversation: sockets come and go, see [`Settings::linger`] and [`Settings::idle`].
    OfChat,
}

/// What would be lost with a session, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Occupancy {
    /// Nothing: its page has the whole conversation, from which it can be rebuilt.
    Quiet,
    /// A finished answer that a client can still follow again, see [`Settings::retain`].
    Retained,
    /// A finished answer that a slow reader is still being told.
    Unread,
    /// An answer is being written or waits.
    InUse,
}

/// A conversation as it can be read at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    /// Oldest first.
    pub messages: Vec<ChatMessage>,
    /// The last of them is an answer that is still being written.
    pub is_writing: bool,
}

#[derive(Debug)]
pub struct Session {
    id: SessionId,
    settings: Arc<Settings>,
    history: History,
    readers: Vec<Reader>,
    /// The running turn's log last; before it the finished ones that some reader has not read, or the
    /// one that is kept for who may come.
    logs: VecDeque<TurnLog>,
    /// Number of the log at the front.
    first_log: u32,
    queue: Queue,
    run: Option<Run>,
    last_run: RunId,
    /// Of a session that outlives its readers.
    life: Option<Box<Life>>,
    draining: bool,
    ended: bool,
}

impl Session {
    /// `id` is what the names of its answers are made from.
    pub fn new(settings: Arc<Settings>, id: SessionId, lifetime: Lifetime) -> Self {
        let history = History::new(id, settings.system_prompt.clone(), settings.history);
        Session {
            id,
            settings,
            history,
            readers: Vec::new(),
            logs: VecDeque::new(),
            first_log: 0,
            queue: Queue::default(),
            run: None,
            last_run: RunId(0),
            life: (lifetime == Lifetime::OfChat).then(Box::default),
            draining: false,
            ended: false,
        }
    }

    /// Takes one input; every consequence is pushed as an [`Effect`]. A push that was not taken comes
    /// back as [`Input::PushRefused`] before any other input; then [`Session::settle`] is called.
    ///
    /// `now` is the time since any fixed moment; it may be coarse, and never goes back.
    pub fn handle(&mut self, fx: &mut Vec<Effect>, now: Duration, input: Input) {
        if self.ended {
            return; // Late words to a session that is over.
        }
        if let Some(life) = &mut self.life {
            life.now = now;
        }
        match input {
            Input::Attach { reader } => self.on_attach(fx, reader),
            Input::Detach { reader } => self.on_detach(fx, reader),
            Input::Client { reader, frame: ClientFrame::Message { text } } => {
                self.on_message(fx, reader, text)
            }
            // The connection says these in words of their own.
            Input::Client { .. } => {}
            Input::Ask { reader, turn } => self.on_ask(fx, reader, *turn),
            Input::Resume { reader, turn, after } => self.on_resume(fx, reader, turn.as_ref(), after),
            Input::Abort { reader } => self.on_abort(fx, reader),
            Input::Wake => self.on_wake(),
            Input::Run { run, event } => self.on_run(fx, run, event),
            Input::Ready { reader } => self.on_ready(fx, reader),
            Input::PushRefused { reader, outgoing, from } => self.on_push_refused(reader, outgoing, from),
            Input::GiveBack => self.give_back(fx),
            Input::Drain => self.on_drain(fx),
        }
    }

    /// Called when all effects were performed and refused pushes have come back: lets readers go that were
    /// told everything, does what is due, forgets what every reader has taken, and holds or continues
    /// the run.
    pub fn settle(&mut self, fx: &mut Vec<Effect>) {
        if self.ended {
            return;
        }
        if self.life.is_some() {
            self.release_readers(fx);
            self.do_what_is_due(fx);
            if self.ended {
                return;
            }
        }
        self.drop_read_logs(fx);
        self.pace_run(fx);
        let wake = self.life.as_mut().and_then(|life| life.wake_at(&self.settings));
        fx.extend(wake.map(|at| Effect::WakeAt { at }));
    }

    /// All that is remembered of the conversation and has a name, oldest first, and what is being written.
    pub fn transcript(&self) -> Transcript {
        let mut messages = self.history.transcript();
        let log = self.run.as_ref().and_then(|_| self.logs.back());
        messages.extend(log.map(|log| ChatMessage::new(log.answer().clone(), Role::Assistant, log.text())));
        Transcript { messages, is_writing: log.is_some() }
    }

    /// What would be lost if it ended now.
    pub fn occupancy(&self) -> Occupancy {
        let keeps = || self.life.as_ref().is_some_and(|life| life.retained.is_some());
        if self.run.is_some() {
            Occupancy::InUse
        } else if !self.readers.is_empty() {
            Occupancy::Unread
        } else if keeps() {
            Occupancy::Retained
        } else {
            Occupancy::Quiet
        }
    }

    fn on_wake(&mut self) {
        if let Some(life) = &mut self.life {
            life.wake();
        }
    }

    fn do_what_is_due(&mut self, fx: &mut Vec<Effect>) {
        self.observe();
        match self.life.as_ref().and_then(|life| life.due(&self.settings)) {
            Some(Due::Idle) => self.finish(fx),
            Some(Due::Linger) => {
                self.leave_alone(fx);
                self.observe();
            }
            None => {}
        }
        if self.draining && self.run.is_none() && self.readers.is_empty() {
            self.finish(fx);
        }
    }

    fn observe(&mut self) {
        let (has_readers, has_run) = (!self.readers.is_empty(), self.run.is_some());
        if let Some(life) = &mut self.life {
            life.observe(has_readers, has_run);
        }
    }

    fn finish(&mut self, fx: &mut Vec<Effect>) {
        if !self.ended {
            self.ended = true;
            fx.push(Effect::End);
        }
    }
}
