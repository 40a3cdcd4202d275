//! Who is told what: subscribers with their cursors, those that come and go, and what is pushed to them.
use super::{
    Cursor, Effect, FRAME_COST, LEAVING_MAX, Outgoing, PENDING_NOTICES_MAX, PUSH_BYTES_MAX, Session, TurnLog,
    queue::QueueTicket,
};
use crate::{
    chat::{MessageId, SubscriberId},
    protocol::{Close, Rejection, ServerFrame},
};
use std::collections::VecDeque;

/// Somebody who is told something.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub id: SubscriberId,
    /// Where it stands in the logs; behind all of them while it follows none.
    pub cursor: Cursor,
    pub scope: Scope,
    /// It took the last push; otherwise it is behind until [`Input::Ready`](super::Input::Ready).
    pub ready: bool,
    /// It is to be closed, whatever it has read.
    pub close_reason: Option<Close>,
    /// The end was pushed; it gets nothing more.
    closed: bool,
    /// Words that are not part of a turn and have no place in a log.
    pending_notices: VecDeque<Outgoing>,
}

/// What a subscriber is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Every turn.
    Session,
    /// The turn of the log with this number.
    Turn(u32),
    /// The turn that will answer a question; `told` is the place that it was told, 0 none.
    Queued { ticket: QueueTicket, last_sent_position: u32 },
    /// Nothing more, beside its pending notices.
    Leaving,
}

impl Subscriber {
    fn new(id: SubscriberId, cursor: Cursor, scope: Scope) -> Self {
        Subscriber {
            id,
            cursor,
            scope,
            ready: true,
            close_reason: None,
            closed: false,
            pending_notices: VecDeque::new(),
        }
    }

    /// It is told of the log with this number, or will be.
    pub(super) fn wants(&self, log: u32) -> bool {
        self.cursor.log() <= log
            && match self.scope {
                Scope::Session => true,
                Scope::Turn(turn) => log <= turn,
                Scope::Queued { .. } | Scope::Leaving => false,
            }
    }

    /// Its question is to be answered now.
    pub(super) fn begin_turn(&mut self, log: u32) {
        (self.scope, self.cursor) = (Scope::Turn(log), Cursor::start_of(log));
    }

    /// It scope one turn, and was told all that there is for it.
    fn is_done(&self) -> bool {
        let told = match self.scope {
            Scope::Turn(turn) => turn < self.cursor.log(),
            Scope::Leaving => true,
            Scope::Session | Scope::Queued { .. } => false,
        };
        told && self.pending_notices.is_empty() && self.close_reason.is_none()
    }
}

impl Session {
    pub(super) fn on_attach(&mut self, fx: &mut Vec<Effect>, id: SubscriberId) {
        let cursor = Cursor::start_of(self.first_log + self.logs.len() as u32);
        self.subscribers.push(Subscriber::new(id, cursor, Scope::Session));
        if self.draining {
            self.pump_all(fx);
        }
    }

    pub(super) fn on_detach(&mut self, fx: &mut Vec<Effect>, id: SubscriberId) {
        self.subscribers.retain(|subscriber| subscriber.id != id);
        if self.subscribers.is_empty() && self.retention.is_none() {
            if let Some(run) = self.run.take() {
                fx.push(Effect::CancelRun { run: run.id });
            }
            self.finish(fx);
        }
    }

    pub(super) fn on_resume(
        &mut self,
        fx: &mut Vec<Effect>,
        id: SubscriberId,
        turn: Option<&MessageId>,
        after: Option<u32>,
    ) {
        if let Err(reason) = self.admit() {
            return self.reject(fx, id, ServerFrame::Rejected { reason });
        }
        let number = self.newest_log();
        let log = self.logs.back_mut().filter(|log| turn.is_none_or(|turn| log.is_named(turn)));
        let Some(log) = log else { return self.reject(fx, id, ServerFrame::NoActive) };
        let Some(position) = log.position(after) else {
            return self.reject(fx, id, ServerFrame::Rejected { reason: Rejection::BadResume });
        };
        let mut subscriber = Subscriber::new(id, TurnLog::cursor_at(number, &position), Scope::Turn(number));
        subscriber
            .pending_notices
            .push_back(Outgoing::Frame(ServerFrame::Resumed { position: Box::new(position) }));
        self.join(fx, subscriber);
    }

    /// Lets a subscriber follow one turn from its beginning.
    pub(super) fn follow(&mut self, fx: &mut Vec<Effect>, id: SubscriberId, log: u32) {
        self.join(fx, Subscriber::new(id, Cursor::start_of(log), Scope::Turn(log)));
    }

    /// Lets a subscriber wait for the turn that will answer a question.
    pub(super) fn await_answer(&mut self, fx: &mut Vec<Effect>, id: SubscriberId, ticket: QueueTicket) {
        let scope = Scope::Queued { ticket, last_sent_position: 0 };
        self.join(fx, Subscriber::new(id, Cursor::nowhere(), scope));
        self.send_positions(fx);
    }

    /// One more subscriber; the oldest has to go when there are too many.
    fn join(&mut self, fx: &mut Vec<Effect>, subscriber: Subscriber) {
        let is_subscriber = |subscriber: &Subscriber| subscriber.scope != Scope::Leaving;
        if self.subscribers.iter().filter(|subscriber| is_subscriber(subscriber)).count()
            >= self.settings.subscribers_max.max(1)
            && let Some(oldest) = self.subscribers.iter().position(is_subscriber)
        {
            self.dismiss(fx, oldest, ServerFrame::Rejected { reason: Rejection::TakenOver });
        }
        self.subscribers.push(subscriber);
        self.pump_one(fx, self.subscribers.len() - 1);
    }

    /// Whether one more subscriber may join just now.
    pub(super) fn admit(&mut self) -> Result<(), Rejection> {
        let admitted = self.retention.as_mut().map_or(Ok(()), |retention| retention.admit());
        admitted.map_err(|after| Rejection::TooOften { after })
    }

    /// Tells a subscriber that came for one turn that there is none for it.
    pub(super) fn reject(&mut self, fx: &mut Vec<Effect>, id: SubscriberId, word: ServerFrame) {
        let is_leaving = |subscriber: &Subscriber| subscriber.scope == Scope::Leaving;
        if self.subscribers.iter().filter(|subscriber| is_leaving(subscriber)).count() >= LEAVING_MAX
            && let Some(oldest) = self.subscribers.iter().position(is_leaving)
        {
            let subscriber = self.subscribers.remove(oldest).id; // It asks without reading, and is about to be cut.
            fx.push(Effect::Release { subscriber });
        }
        self.subscribers.push(Subscriber::new(id, Cursor::nowhere(), Scope::Leaving));
        self.dismiss(fx, self.subscribers.len() - 1, word);
    }

    /// The last word to a subscriber of one turn, whatever it was still to be told.
    pub(super) fn dismiss(&mut self, fx: &mut Vec<Effect>, at: usize, word: ServerFrame) {
        let subscriber = &mut self.subscribers[at];
        subscriber.scope = Scope::Leaving;
        subscriber.cursor = Cursor::nowhere();
        subscriber.pending_notices.clear();
        subscriber.pending_notices.push_back(Outgoing::Frame(word));
        self.pump_one(fx, at);
    }

    /// Forgets subscribers that followed one turn and were told everything.
    pub(super) fn release_subscribers(&mut self, fx: &mut Vec<Effect>) {
        self.subscribers.retain(|subscriber| {
            let done = subscriber.is_done();
            if done {
                fx.push(Effect::Release { subscriber: subscriber.id });
            }
            !done
        });
        if self.subscribers.is_empty() {
            self.subscribers = Vec::new(); // A conversation at rest keeps no room for them.
        }
    }

    pub(super) fn on_ready(&mut self, fx: &mut Vec<Effect>, id: SubscriberId) {
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
            // What stands in a log is read again from there.
            Outgoing::Frame(
                ServerFrame::Accepted { .. } | ServerFrame::Text { .. } | ServerFrame::TurnEnd { .. },
            ) => subscriber.cursor = subscriber.cursor.min(from),
            Outgoing::Close(_) => subscriber.closed = false,
            // A retry or a place for a slot is old news by the time it could be read.
            Outgoing::Frame(
                ServerFrame::Queued { .. } | ServerFrame::Retrying { .. } | ServerFrame::Pong,
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

    /// Pushes a word that is not part of a turn, or remembers it while the subscriber is behind.
    pub(super) fn send_notice(&mut self, fx: &mut Vec<Effect>, id: SubscriberId, outgoing: Outgoing) {
        let Some(subscriber) = self.subscribers.iter_mut().find(|subscriber| subscriber.id == id) else {
            return;
        };
        if subscriber.ready && subscriber.pending_notices.is_empty() && !subscriber.closed {
            fx.push(Effect::Push { subscriber: id, outgoing, from: subscriber.cursor, ask: false });
        } else {
            if subscriber.pending_notices.len() >= PENDING_NOTICES_MAX {
                subscriber.pending_notices.pop_front(); // It sends without reading, and is about to be cut for that.
            }
            subscriber.pending_notices.push_back(outgoing);
        }
    }

    /// Tells those who follow the newest turn and can take it.
    pub(super) fn broadcast(&mut self, fx: &mut Vec<Effect>, frame: &ServerFrame) {
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

    /// Tells those who wait where their questions stand, as far as they do not know.
    pub(super) fn send_positions(&mut self, fx: &mut Vec<Effect>) {
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

    pub(super) fn pump_all(&mut self, fx: &mut Vec<Effect>) {
        for at in 0..self.subscribers.len() {
            self.pump_one(fx, at);
        }
    }

    pub(super) fn pump_one(&mut self, fx: &mut Vec<Effect>, at: usize) {
        let restart = (self.draining && self.run.is_none()).then_some(Close::Restart);
        Self::pump(fx, &mut self.subscribers[at], self.first_log, &mut self.logs, restart);
    }

    /// Pushes what a subscriber has not been told, as far as it can take it: [`PUSH_BYTES_MAX`] at a time, so that
    /// the work of a replay grows with the answer and not with its square. With `restart`, one that scope everything is closed once it has been told everything.
    pub(super) fn pump(
        fx: &mut Vec<Effect>,
        subscriber: &mut Subscriber,
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
        let told_all = subscriber.cursor.log() == first_log + logs.len() as u32;
        let follows_session = subscriber.scope == Scope::Session;
        if let Some(close) = restart.filter(|_| told_all && follows_session) {
            subscriber.closed = true;
            let (outgoing, from) = (Outgoing::Close(close), subscriber.cursor);
            fx.push(Effect::Push { subscriber: id, outgoing, from, ask: false });
        }
    }
}
