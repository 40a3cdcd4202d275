//! One conversation as a pure state machine: inputs in, effects out, no I/O.
//!
//! All rules about turns are here. The actor in `hub::session_actor` translates messages into inputs and performs
//! the effects.
mod ask;
mod continuation;
mod event;
mod memory;
mod pacing;
mod queue;
mod replay;
mod restart;
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
pub use restart::LogRestart;
pub use snapshot::{RunSnapshot, RunState, Snapshot};

use crate::chat::{Budget, ChatMessage, History, Role, RunId, SessionId, SubscriberId};
use queue::Queue;
use retention::{Expired, Retention};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use subscribers::{Joining, Subscriber};
use turn::Run;

/// The limits and defaults of a session.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Maximum number of queued messages; one more is rejected.
    pub queued_messages_max: usize,
    /// Maximum number of subscribers; when one more joins, the oldest is removed.
    pub subscribers_max: usize,
    /// How long a run continues without subscribers before it is cancelled.
    pub detached_timeout: Duration,
    /// How long a session without subscribers and runs is kept before it ends.
    pub idle_timeout: Duration,
    /// How long a finished turn can be replayed.
    pub replay_time: Duration,
    /// Bytes of unread text; when every subscriber has more than this, the run is held.
    pub lag_bytes_max: usize,
    pub history: Budget,
}

impl Settings {
    /// Roughly the gateway's defaults, for tests, fuzzing and benchmarks; each overrides the fields it tests.
    #[doc(hidden)]
    pub fn for_test() -> Self {
        Settings {
            queued_messages_max: 8,
            subscribers_max: 8,
            detached_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(1800),
            replay_time: Duration::from_secs(120),
            lag_bytes_max: 64 * 1024,
            history: Budget { tokens_max: 32_000, bytes_max: 256 * 1024, messages_max: 200 },
        }
    }
}

/// Maximum text in one push, in bytes. After that much the subscriber must report that it is ready for more, so that
/// the memory for unwritten pushes is bounded.
pub const PUSH_BYTES_MAX: usize = 16 * 1024;

/// Bytes that each pushed frame counts in addition to its text, against [`PUSH_BYTES_MAX`]. A refused push is built
/// again later, so without this a slow subscriber could cause a long answer of small frames to be built many times.
const FRAME_COST: usize = 256;

/// Maximum number of finished turns kept for slow subscribers. A subscriber that is further behind is closed with
/// [`Close::TooSlow`](crate::protocol::Close::TooSlow).
const LOGS_MAX: usize = 16;

/// Maximum number of pending notices (rejections) of one subscriber; beyond it the oldest is dropped.
const PENDING_NOTICES_MAX: usize = 64;

/// Maximum number of rejected subscribers whose rejection is not yet sent; beyond it the oldest is released unsent.
const LEAVING_MAX: usize = 64;

/// What the lifetime of a session is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The connection that started it: when the last subscriber leaves, the session ends and its run is cancelled.
    OfSocket,
    /// The chat: connections come and go, see [`Settings::detached_timeout`] and [`Settings::idle_timeout`].
    OfChat,
}

/// What would be lost if a session ended, in increasing order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Occupancy {
    /// Nothing: the client has the whole conversation, from which the session can be rebuilt.
    Quiet,
    /// A finished answer that a client can still replay, see [`Settings::replay_time`].
    Retained,
    /// A finished answer that a slow subscriber has not read completely.
    Unread,
    /// An answer that is being written or is queued.
    InUse,
}

/// The messages of a conversation at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    /// Oldest first.
    pub messages: Vec<ChatMessage>,
    /// The last message is an answer that is still being written.
    pub is_writing: bool,
}

/// `S` is the sink of a subscriber: how the actor reaches it. The session keeps it with the subscription and hands it
/// out, but does not use it.
#[derive(Debug)]
pub struct Session<S = ()> {
    id: SessionId,
    settings: Arc<Settings>,
    history: History,
    subscribers: Vec<Subscriber<S>>,
    /// The log of the running turn is the last one. Before it are finished turns that some subscriber has not read
    /// completely, or the one that is kept for replay.
    logs: VecDeque<TurnLog>,
    /// Number of the first log in `logs`.
    first_log: u32,
    queue: Queue,
    run: Option<Run>,
    last_run: RunId,
    /// Only for a session that outlives its subscribers ([`Lifetime::OfChat`]).
    retention: Option<Box<Retention>>,
    draining: bool,
    ended: bool,
}

impl<S> Session<S> {
    /// The IDs of the session's answers are derived from `id`.
    pub fn new(settings: Arc<Settings>, id: SessionId, lifetime: Lifetime) -> Self {
        let history = History::new(id, settings.history);
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

    /// Handles one input and appends the resulting effects to `fx`. A refused push must be returned as
    /// [`Input::PushRefused`] before any other input; after that, [`Session::settle`] must be called.
    ///
    /// `now` is the time since any fixed moment; it may be coarse, but must not decrease.
    pub fn handle(&mut self, fx: &mut Vec<Effect<S>>, now: Duration, input: Input<S>) {
        if self.ended {
            return; // Late inputs after the end.
        }
        if let Some(retention) = &mut self.retention {
            retention.now = now;
        }
        match input {
            Input::Attach { subscriber, sink } => self.on_attach(fx, Joining { id: subscriber, sink }),
            Input::Detach { subscriber } => self.on_detach(fx, subscriber),
            Input::Message { subscriber, text, chosen } => self.on_message(fx, subscriber, text, chosen),
            Input::Ask { subscriber, sink, turn, chosen } => {
                self.on_ask(fx, Joining { id: subscriber, sink }, *turn, chosen)
            }
            Input::Resume { subscriber, sink, turn, after } => {
                self.on_resume(fx, Joining { id: subscriber, sink }, turn.as_ref(), after)
            }
            Input::Continue { subscriber, sink, answer, choice, catalog } => {
                self.on_continue(fx, Joining { id: subscriber, sink }, &answer, choice, &catalog)
            }
            Input::Abort { subscriber } => self.on_abort(fx, subscriber),
            Input::Wake => {} // `settle` applies the timeouts.
            Input::Run { run, event } => self.on_run(fx, run, event),
            Input::Ready { subscriber } => self.on_ready(fx, subscriber),
            Input::PushRefused { subscriber, outgoing, from } => {
                self.on_push_refused(subscriber, outgoing, from)
            }
            Input::ReleaseRetained => self.release_retained(fx),
            Input::Drain => self.on_drain(fx),
            Input::Close => self.on_close(fx),
            Input::Evict => self.on_evict(fx),
        }
    }

    /// Called when all effects were performed and refused pushes have come back: releases subscribers that were
    /// sent everything, applies timeouts, drops logs that every subscriber has read, and holds or continues the
    /// run. Returns when to send [`Input::Wake`], which replaces the time that was returned before; `None`: never.
    pub fn settle(&mut self, fx: &mut Vec<Effect<S>>) -> Option<Duration> {
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

    /// All messages of the history that have an ID, oldest first, and the answer that is being written.
    pub fn transcript(&self) -> Transcript {
        let mut messages = self.history.transcript();
        let log = self.run.as_ref().and_then(|_| self.logs.back());
        if self.run.as_ref().is_some_and(Run::is_continuation) {
            messages.pop(); // The log has this answer, with what is new.
        }
        messages.extend(log.map(|log| ChatMessage {
            model: log.model().cloned(),
            ..ChatMessage::new(log.answer().clone(), Role::Assistant, log.text())
        }));
        Transcript { messages, is_writing: log.is_some() }
    }

    /// What would be lost if the session ended now.
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

    /// Whether the session has ended; it handles no more inputs.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The sink of a subscriber.
    pub fn sink_mut(&mut self, id: SubscriberId) -> Option<&mut S> {
        self.subscribers.iter_mut().find(|subscriber| subscriber.id == id).map(|known| &mut known.sink)
    }

    /// The sinks of all subscribers.
    pub fn sinks_mut(&mut self) -> impl Iterator<Item = (SubscriberId, &mut S)> {
        self.subscribers.iter_mut().map(|subscriber| (subscriber.id, &mut subscriber.sink))
    }

    #[cfg(test)]
    pub fn set_ended(&mut self, ended: bool) {
        self.ended = ended;
    }

    fn expire(&mut self, fx: &mut Vec<Effect<S>>) {
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

    fn on_close(&mut self, fx: &mut Vec<Effect<S>>) {
        if self.retention.is_some() {
            self.drop_run(fx);
            self.finish(fx);
        }
    }

    fn on_evict(&mut self, fx: &mut Vec<Effect<S>>) {
        self.drop_run(fx);
        for Subscriber { id, sink, .. } in self.subscribers.drain(..) {
            fx.push(Effect::Lose { subscriber: id, sink: Box::new(sink) });
        }
        self.finish(fx);
    }

    /// Cancels the run without an end of its turn.
    fn drop_run(&mut self, fx: &mut Vec<Effect<S>>) {
        if let Some(run) = self.run.take() {
            fx.push(Effect::CancelRun { run: run.id });
        }
    }

    fn finish(&mut self, fx: &mut Vec<Effect<S>>) {
        if !self.ended {
            self.ended = true;
            fx.push(Effect::End);
        }
    }
}
