//! Subscribers: how they join and leave, their cursors, and what is pushed to them.
use super::{
    Cursor, Effect, FRAME_COST, LEAVING_MAX, Outgoing, PENDING_NOTICES_MAX, PUSH_BYTES_MAX, Session, TurnLog,
    queue::QueueTicket,
};
use crate::{
    chat::{MessageId, SubscriberId},
    protocol::{Close, NumberInRun, Rejection, ReplayPosition, ServerFrame},
};
use std::collections::VecDeque;

/// A subscriber that joins.
pub(super) struct Joining<S> {
    pub id: SubscriberId,
    pub sink: S,
}

/// One subscription to the session.
#[derive(Debug)]
pub(super) struct Subscriber<S> {
    pub id: SubscriberId,
    /// Its position in the logs; [`Cursor::nowhere`] while it follows none.
    pub cursor: Cursor,
    pub scope: Scope,
    /// It accepted the last push; otherwise nothing is pushed until [`Input::Ready`](super::Input::Ready).
    pub ready: bool,
    /// If set, it is closed with this reason, whatever it has read.
    pub close_reason: Option<Close>,
    /// The close was pushed; nothing more is sent.
    closed: bool,
    /// Frames that are not part of a turn's log.
    pending_notices: VecDeque<Outgoing>,
    pub sink: S,
}

/// What a subscriber follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Every turn.
    Session,
    /// The turn of the log with this number.
    Turn(u32),
    /// The turn that will answer a queued question. `last_sent_position` is the queue position that was last sent, 0 if
    /// none was.
    Queued { ticket: QueueTicket, last_sent_position: u32 },
    /// Nothing; its pending notices are still sent.
    Leaving,
}

impl<S> Subscriber<S> {
    fn new(Joining { id, sink }: Joining<S>, cursor: Cursor, scope: Scope) -> Self {
        Subscriber {
            id,
            sink,
            cursor,
            scope,
            ready: true,
            close_reason: None,
            closed: false,
            pending_notices: VecDeque::new(),
        }
    }

    /// Whether the log with this number is to be sent to it, now or later.
    pub(super) fn wants(&self, log: u32) -> bool {
        self.cursor.log() <= log
            && match self.scope {
                Scope::Session => true,
                Scope::Turn(turn) => log <= turn,
                Scope::Queued { .. } | Scope::Leaving => false,
            }
    }

    /// The answer to its question starts.
    pub(super) fn begin_turn(&mut self, log: u32) {
        (self.scope, self.cursor) = (Scope::Turn(log), Cursor::start_of(log));
    }

    /// Whether it followed one turn and was sent all of it.
    fn is_done(&self) -> bool {
        let has_read_all = match self.scope {
            Scope::Turn(turn) => turn < self.cursor.log(),
            Scope::Leaving => true,
            Scope::Session | Scope::Queued { .. } => false,
        };
        has_read_all && self.pending_notices.is_empty() && self.close_reason.is_none()
    }
}

impl<S> Session<S> {
    pub(super) fn on_attach(&mut self, fx: &mut Vec<Effect<S>>, joining: Joining<S>) {
        let cursor = Cursor::start_of(self.first_log + self.logs.len() as u32);
        self.subscribers.reserve_exact(1); // A session has one, as a rule.
        self.subscribers.push(Subscriber::new(joining, cursor, Scope::Session));
        if self.draining {
            self.pump_all(fx);
        }
    }

    pub(super) fn on_detach(&mut self, fx: &mut Vec<Effect<S>>, id: SubscriberId) {
        self.subscribers.retain(|subscriber| subscriber.id != id);
        if self.subscribers.is_empty() && self.retention.is_none() {
            self.drop_run(fx);
            self.finish(fx);
        }
    }

    pub(super) fn on_resume(
        &mut self,
        fx: &mut Vec<Effect<S>>,
        joining: Joining<S>,
        turn: Option<&MessageId>,
        after: Option<NumberInRun>,
    ) {
        let placed = self.admit().map_err(|reason| ServerFrame::Rejected { reason });
        let (cursor, scope, position) = match placed.and_then(|()| self.place_resume(turn, after)) {
            Ok(placed) => placed,
            Err(frame) => return self.reject(fx, joining, frame),
        };
        let mut subscriber = Subscriber::new(joining, cursor, scope);
        let resumed = ServerFrame::Resumed { position: position.map(Box::new) };
        subscriber.pending_notices.push_back(Outgoing::Frame(resumed));
        self.join(fx, subscriber);
        self.send_positions(fx);
    }

    /// Finds what a resume follows: a queued question, or a position in the newest turn. Where several turns have the
    /// ID, because a question is edited or answered again, it means the newest of them.
    fn place_resume(
        &mut self,
        turn: Option<&MessageId>,
        after: Option<NumberInRun>,
    ) -> Result<(Cursor, Scope, Option<ReplayPosition>), ServerFrame> {
        let bad_resume = ServerFrame::Rejected { reason: Rejection::BadResume };
        if let Some(ticket) = turn.and_then(|turn| self.queue.find_named(turn)) {
            // Nothing of its answer has a number yet.
            let scope = Scope::Queued { ticket, last_sent_position: 0 };
            return if after.is_none() { Ok((Cursor::nowhere(), scope, None)) } else { Err(bad_resume) };
        }
        let number = self.newest_log();
        let log = self.logs.back_mut().filter(|log| turn.is_none_or(|turn| log.is_named(turn)));
        let log = log.ok_or(ServerFrame::NoActive)?;
        // Each run of a turn has numbers of its own.
        let after = after.filter(|after| after.run == log.continued_by()).map(|after| after.number);
        let position = log.position(after).ok_or(bad_resume)?;
        Ok((TurnLog::cursor_at(number, &position), Scope::Turn(number), Some(position)))
    }

    /// Adds a subscriber that follows one turn from its start.
    pub(super) fn follow(&mut self, fx: &mut Vec<Effect<S>>, joining: Joining<S>, log: u32) {
        self.join(fx, Subscriber::new(joining, Cursor::start_of(log), Scope::Turn(log)));
    }

    /// Adds a subscriber that waits for the answer to a queued question.
    pub(super) fn await_answer(&mut self, fx: &mut Vec<Effect<S>>, joining: Joining<S>, ticket: QueueTicket) {
        let scope = Scope::Queued { ticket, last_sent_position: 0 };
        self.join(fx, Subscriber::new(joining, Cursor::nowhere(), scope));
        self.send_positions(fx);
    }

    /// Adds a subscriber; when there are too many, the oldest is dismissed.
    fn join(&mut self, fx: &mut Vec<Effect<S>>, subscriber: Subscriber<S>) {
        let is_subscriber = |subscriber: &Subscriber<S>| subscriber.scope != Scope::Leaving;
        if self.subscribers.iter().filter(|subscriber| is_subscriber(subscriber)).count()
            >= self.settings.subscribers_max.max(1)
            && let Some(oldest) = self.subscribers.iter().position(is_subscriber)
        {
            self.dismiss(fx, oldest, ServerFrame::Rejected { reason: Rejection::TakenOver });
        }
        self.subscribers.push(subscriber);
        self.pump_one(fx, self.subscribers.len() - 1);
    }

    /// Checks the rate at which subscribers may join.
    pub(super) fn admit(&mut self) -> Result<(), Rejection> {
        let admitted = self.retention.as_mut().map_or(Ok(()), |retention| retention.admit());
        admitted.map_err(|after| Rejection::TooOften { after })
    }

    /// Answers a subscriber that asked for one turn with a single frame and releases it.
    pub(super) fn reject(&mut self, fx: &mut Vec<Effect<S>>, joining: Joining<S>, frame: ServerFrame) {
        let is_leaving = |subscriber: &Subscriber<S>| subscriber.scope == Scope::Leaving;
        if self.subscribers.iter().filter(|subscriber| is_leaving(subscriber)).count() >= LEAVING_MAX
            && let Some(oldest) = self.subscribers.iter().position(is_leaving)
        {
            self.release(fx, oldest); // It sends without reading, and will soon be closed.
        }
        self.subscribers.push(Subscriber::new(joining, Cursor::nowhere(), Scope::Leaving));
        self.dismiss(fx, self.subscribers.len() - 1, frame);
    }

    /// Sends a subscriber of one turn its last frame; whatever was pending is dropped.
    pub(super) fn dismiss(&mut self, fx: &mut Vec<Effect<S>>, at: usize, frame: ServerFrame) {
        let subscriber = &mut self.subscribers[at];
        subscriber.scope = Scope::Leaving;
        subscriber.cursor = Cursor::nowhere();
        subscriber.pending_notices.clear();
        subscriber.pending_notices.push_back(Outgoing::Frame(frame));
        self.pump_one(fx, at);
    }

    /// Removes a subscriber that is sent nothing more.
    pub(super) fn release(&mut self, fx: &mut Vec<Effect<S>>, at: usize) {
        let Subscriber { id, sink, .. } = self.subscribers.remove(at);
        fx.push(Effect::Release { subscriber: id, sink: Box::new(sink) });
    }

    /// Removes subscribers that followed one turn and were sent all of it.
    pub(super) fn release_subscribers(&mut self, fx: &mut Vec<Effect<S>>) {
        for Subscriber { id, sink, .. } in self.subscribers.extract_if(.., |known| known.is_done()) {
            fx.push(Effect::Release { subscriber: id, sink: Box::new(sink) });
        }
        if self.subscribers.is_empty() {
            self.subscribers = Vec::new(); // Frees the memory: most sessions are idle.
        }
    }

    pub(super) fn on_ready(&mut self, fx: &mut Vec<Effect<S>>, id: SubscriberId) {
        if let Some(at) = self.subscribers.iter().position(|subscriber| subscriber.id == id) {
            self.subscribers[at].ready = true;
            self.pump_one(fx, at);
            if matches!(self.subscribers[at].scope, Scope::Queued { .. }) {
                self.send_positions(fx);
            }
        }
    }

    pub(super) fn on_push_refused(&mut self, id: SubscriberId, outgoing: Outgoing, from: Cursor) {
        let Some(subscriber) = self.subscribers.iter_mut().find(|subscriber| subscriber.id == id) else {
            return;
        };
        subscriber.ready = false;
        if subscriber.scope == Scope::Leaving {
            return subscriber.pending_notices.push_back(outgoing);
        }
        match outgoing {
            // Content of a log is read again from the log.
            Outgoing::Frame(
                ServerFrame::Accepted { .. }
                | ServerFrame::Restarted { .. }
                | ServerFrame::Text { .. }
                | ServerFrame::TurnEnd { .. },
            ) => subscriber.cursor = subscriber.cursor.min(from),
            Outgoing::Close(_) => subscriber.closed = false,
            // A retry or a queue position is outdated by the time it could be sent.
            Outgoing::Frame(
                ServerFrame::Queued { .. }
                | ServerFrame::Retrying { .. }
                | ServerFrame::Moving { .. }
                | ServerFrame::Continued { .. }
                | ServerFrame::Pong,
            ) => {}
            Outgoing::Frame(ServerFrame::Waiting { .. }) => {
                if let Scope::Queued { last_sent_position, .. } = &mut subscriber.scope {
                    *last_sent_position = 0;
                }
            }
            outgoing @ Outgoing::Frame(
                ServerFrame::Rejected { .. } | ServerFrame::NoActive | ServerFrame::Resumed { .. },
            ) => {
                subscriber.pending_notices.push_back(outgoing);
            }
        }
    }

    /// Pushes a frame that is not part of a turn, or keeps it until the subscriber is ready.
    pub(super) fn send_notice(&mut self, fx: &mut Vec<Effect<S>>, id: SubscriberId, outgoing: Outgoing) {
        let Some(subscriber) = self.subscribers.iter_mut().find(|subscriber| subscriber.id == id) else {
            return;
        };
        if subscriber.ready && subscriber.pending_notices.is_empty() && !subscriber.closed {
            fx.push(Effect::Push { subscriber: id, outgoing, from: subscriber.cursor, ask: false });
        } else {
            if subscriber.pending_notices.len() >= PENDING_NOTICES_MAX {
                subscriber.pending_notices.pop_front(); // It sends without reading, and will soon be closed for that.
            }
            subscriber.pending_notices.push_back(outgoing);
        }
    }

    /// Pushes a frame to all ready subscribers of the newest turn.
    pub(super) fn broadcast(&mut self, fx: &mut Vec<Effect<S>>, frame: &ServerFrame) {
        let newest = self.newest_log();
        for subscriber in &self.subscribers {
            if subscriber.ready && !subscriber.closed && subscriber.wants(newest) {
                let outgoing = Outgoing::Frame(frame.clone());
                fx.push(Effect::Push {
                    subscriber: subscriber.id,
                    outgoing,
                    from: subscriber.cursor,
                    ask: false,
                });
            }
        }
    }

    /// Sends waiting subscribers the queue positions that have changed.
    pub(super) fn send_positions(&mut self, fx: &mut Vec<Effect<S>>) {
        for subscriber in self.subscribers.iter_mut().filter(|subscriber| subscriber.ready) {
            let Scope::Queued { ticket, last_sent_position } = &mut subscriber.scope else { continue };
            let position = self.queue.position(*ticket).filter(|position| position != last_sent_position);
            let Some(position) = position else { continue };
            *last_sent_position = position;
            let outgoing = Outgoing::Frame(ServerFrame::Waiting { position });
            fx.push(Effect::Push {
                subscriber: subscriber.id,
                outgoing,
                from: subscriber.cursor,
                ask: false,
            });
        }
    }

    pub(super) fn pump_all(&mut self, fx: &mut Vec<Effect<S>>) {
        for at in 0..self.subscribers.len() {
            self.pump_one(fx, at);
        }
    }

    pub(super) fn pump_one(&mut self, fx: &mut Vec<Effect<S>>, at: usize) {
        let restart = (self.draining && self.run.is_none()).then_some(Close::Restart);
        Self::pump(fx, &mut self.subscribers[at], self.first_log, &mut self.logs, restart);
    }

    /// Pushes what a subscriber has not read yet, at most about [`PUSH_BYTES_MAX`] at a time, so that the cost of a replay
    /// is linear in the length of the answer. With `restart`, a subscriber of the whole session is closed once it has
    /// read everything.
    pub(super) fn pump(
        fx: &mut Vec<Effect<S>>,
        subscriber: &mut Subscriber<S>,
        first_log: u32,
        logs: &mut VecDeque<TurnLog>,
        restart: Option<Close>,
    ) {
        if !subscriber.ready || subscriber.closed {
            return;
        }
        let id = subscriber.id;
        if let Some(close) = subscriber.close_reason {
            subscriber.closed = true;
            let (outgoing, from) = (Outgoing::Close(close), subscriber.cursor);
            return fx.push(Effect::Push { subscriber: id, outgoing, from, ask: false });
        }
        while let Some(outgoing) = subscriber.pending_notices.pop_front() {
            fx.push(Effect::Push { subscriber: id, outgoing, from: subscriber.cursor, ask: false });
        }
        let mut pushed = 0;
        while subscriber.wants(subscriber.cursor.log()) {
            let Some(log) = logs.get_mut((subscriber.cursor.log() - first_log) as usize) else { break };
            let from = subscriber.cursor;
            let Some((frame, next)) = log.read(from, PUSH_BYTES_MAX) else { break };
            pushed += frame.text_bytes() + FRAME_COST;
            let ask = pushed > PUSH_BYTES_MAX;
            subscriber.cursor = next;
            fx.push(Effect::Push { subscriber: id, outgoing: Outgoing::Frame(frame), from, ask });
            if ask {
                subscriber.ready = false;
                return;
            }
        }
        let has_read_all = subscriber.cursor.log() == first_log + logs.len() as u32;
        let follows_session = subscriber.scope == Scope::Session;
        if let Some(close) = restart.filter(|_| has_read_all && follows_session) {
            subscriber.closed = true;
            let (outgoing, from) = (Outgoing::Close(close), subscriber.cursor);
            fx.push(Effect::Push { subscriber: id, outgoing, from, ask: false });
        }
    }
}
