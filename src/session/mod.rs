//! One conversation as a pure machine: inputs in, effects out, no world.
//!
//! Every rule about turns is here. The actor in `hub::session_actor` translates, calls and performs.
mod ask;
mod event;
mod memory;
mod pacing;
mod queue;
mod replay;
mod restore;
mod retention;
pub mod snapshot;
mod subscribers;
#[cfg(test)]
mod tests;
mod turn;

pub use event::{Effect, Input, Outgoing};
pub use memory::MemoryUse;
pub use replay::{Cursor, TurnLog};
pub use snapshot::{RunSnapshot, RunState, Snapshot};

use crate::{
    chat::{Budget, ChatMessage, History, Role, RunId, SessionId, Text},
    protocol::ClientFrame,
};
use queue::Queue;
use retention::{Expired, Retention};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use subscribers::Subscriber;
use turn::Run;

/// What a session may do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Messages that may wait while an answer is running.
    pub queued_messages_max: usize,
    /// Readers at the same time; the oldest goes when one more comes.
    pub subscribers_max: usize,
    /// The model that answers, for the run and for [`TurnStart`](crate::protocol::TurnStart).
    pub model: Arc<str>,
    /// How long a run goes on without subscribers.
    pub detached_timeout: Duration,
    /// How long a conversation without subscribers and runs is kept.
    pub idle_timeout: Duration,
    /// How long a finished turn can be followed again.
    pub replay_time: Duration,
    /// When every subscriber has at least this much text still to read, the run is held.
    pub lag_bytes_max: usize,
    pub system_prompt: Option<Text>,
    pub history: Budget,
}

impl Settings {
    /// About what the gateway has by default, for tests, fuzzing and benchmarks: each changes what it is about.
    #[doc(hidden)]
    pub fn for_test() -> Self {
        Settings {
            queued_messages_max: 8,
            subscribers_max: 8,
            model: "m".into(),
            detached_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(1800),
            replay_time: Duration::from_secs(120),
            lag_bytes_max: 64 * 1024,
            system_prompt: None,
            history: Budget { tokens: 32_000, bytes: 256 * 1024, messages: 200 },
        }
    }
}

/// A text that is pushed in one piece has at most this many bytes; beyond it the subscriber is asked
/// again, so that what one subscriber can hold up is bounded.
pub const PUSH_BYTES_MAX: usize = 16 * 1024;

/// What each pushed frame counts beside its text. Who reads slowly is asked again after so many frames: what it
/// does not take is made anew, so a whole answer at once would be made as often as there is room for a part of it.
const FRAME_COST: usize = 256;

/// Finished turns that are kept for a subscriber that has not seen their end. A subscriber that is
/// further behind than this is let go.
const LOGS_MAX: usize = 16;

/// Words beside the answer (refusals) that may wait for one subscriber.
const PENDING_NOTICES_MAX: usize = 64;

/// Readers that were sent away and could not yet be told; beyond it the oldest is not told.
const LEAVING_MAX: usize = 64;

/// What a session lives as long as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The socket that it began with: when the last subscriber goes, it ends and its run is cancelled.
    OfSocket,
    /// Its conversation: sockets come and go, see [`Settings::detached_timeout`] and [`Settings::idle_timeout`].
    OfChat,
}

/// What would be lost with a session, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Occupancy {
    /// Nothing: its page has the whole conversation, from which it can be rebuilt.
    Quiet,
    /// A finished answer that a client can still follow again, see [`Settings::replay_time`].
    Retained,
    /// A finished answer that a slow subscriber is still being told.
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
    subscribers: Vec<Subscriber>,
    /// The running turn's log last; before it the finished ones that some subscriber has not read, or the
    /// one that is kept for who may come.
    logs: VecDeque<TurnLog>,
    /// Number of the log at the front.
    first_log: u32,
    queue: Queue,
    run: Option<Run>,
    last_run: RunId,
    /// Of a session that outlives its subscribers.
    retention: Option<Box<Retention>>,
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
            subscribers: Vec::new(),
            logs: VecDeque::new(),
            first_log: 0,
            queue: Queue::default(),
            run: None,
            last_run: RunId(0),
            retention: (lifetime == Lifetime::OfChat).then(Box::default),
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
        if let Some(retention) = &mut self.retention {
            retention.now = now;
        }
        match input {
            Input::Attach { subscriber } => self.on_attach(fx, subscriber),
            Input::Detach { subscriber } => self.on_detach(fx, subscriber),
            Input::Client { subscriber, frame: ClientFrame::Message { text } } => {
                self.on_message(fx, subscriber, text)
            }
            // The connection says these in words of their own.
            Input::Client { .. } => {}
            Input::Ask { subscriber, turn } => self.on_ask(fx, subscriber, *turn),
            Input::Resume { subscriber, turn, after } => self.on_resume(fx, subscriber, turn.as_ref(), after),
            Input::Abort { subscriber } => self.on_abort(fx, subscriber),
            Input::Wake => {} // What is due is found by `settle`.
            Input::Run { run, event } => self.on_run(fx, run, event),
            Input::Ready { subscriber } => self.on_ready(fx, subscriber),
            Input::PushRefused { subscriber, outgoing, from } => {
                self.on_push_refused(subscriber, outgoing, from)
            }
            Input::GiveBack => self.give_back(fx),
            Input::Drain => self.on_drain(fx),
        }
    }

    /// Called when all effects were performed and refused pushes have come back: releases subscribers that were
    /// sent everything, applies timeouts, drops logs that every subscriber has read, and holds or continues the
    /// run. Returns when to send [`Input::Wake`], which replaces the time that was returned before; `None`: never.
    pub fn settle(&mut self, fx: &mut Vec<Effect>) -> Option<Duration> {
        if self.ended {
            return None;
        }
        if self.retention.is_some() {
            self.release_subscribers(fx);
            self.expire(fx);
            if self.ended {
                return None;
            }
        }
        self.drop_read_logs(fx);
        self.pace_run(fx);
        self.retention.as_ref().and_then(|retention| retention.wake_at(&self.settings))
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
        let keeps = || self.retention.as_ref().is_some_and(|retention| retention.replay_until.is_some());
        if self.run.is_some() {
            Occupancy::InUse
        } else if !self.subscribers.is_empty() {
            Occupancy::Unread
        } else if keeps() {
            Occupancy::Retained
        } else {
            Occupancy::Quiet
        }
    }

    fn expire(&mut self, fx: &mut Vec<Effect>) {
        self.observe();
        match self.retention.as_ref().and_then(|retention| retention.expired(&self.settings)) {
            Some(Expired::Idle) => self.finish(fx),
            Some(Expired::Detached) => {
                self.abandon_run(fx);
                self.observe();
            }
            None => {}
        }
        if self.draining && self.run.is_none() && self.subscribers.is_empty() {
            self.finish(fx);
        }
    }

    fn observe(&mut self) {
        let (has_subscribers, has_run) = (!self.subscribers.is_empty(), self.run.is_some());
        if let Some(retention) = &mut self.retention {
            retention.observe(has_subscribers, has_run);
        }
    }

    fn finish(&mut self, fx: &mut Vec<Effect>) {
        if !self.ended {
            self.ended = true;
            fx.push(Effect::End);
        }
    }
}
