//! Who is told what: readers with their cursors, those that come and go, and what is pushed to them.
use super::{
    Cursor, Effect, FRAME_COST, LEAVING_MAX, OWED_MAX, Outgoing, PUSH_BYTES_MAX, Session, TurnLog,
    queue::Ticket,
};
use crate::{
    chat::{MessageId, ReaderId},
    protocol::{Close, Rejection, ServerFrame},
};
use std::collections::VecDeque;

/// Somebody who is told something.
#[derive(Debug)]
pub(super) struct Reader {
    pub id: ReaderId,
    /// Where it stands in the logs; behind all of them while it follows none.
    pub cursor: Cursor,
    pub follows: Follows,
    /// It took the last push; otherwise it is behind until [`Input::Ready`](super::Input::Ready).
    pub ready: bool,
    /// It is to be closed, whatever it has read.
    pub farewell: Option<Close>,
    /// The end was pushed; it gets nothing more.
    closed: bool,
    /// Words that are not part of a turn and have no place in a log.
    owed: VecDeque<Outgoing>,
}

/// What a reader is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// Every turn.
    Everything,
    /// The turn of the log with this number.
    Turn(u32),
    /// The turn that will answer a question; `told` is the place that it was told, 0 none.
    Question { ticket: Ticket, told: u32 },
    /// Nothing more, beside what it is owed.
    Nothing,
}

impl Reader {
    fn new(id: ReaderId, cursor: Cursor, follows: Follows) -> Self {
        Reader { id, cursor, follows, ready: true, farewell: None, closed: false, owed: VecDeque::new() }
    }

    /// It is told of the log with this number, or will be.
    pub(super) fn wants(&self, log: u32) -> bool {
        self.cursor.log() <= log
            && match self.follows {
                Follows::Everything => true,
                Follows::Turn(turn) => log <= turn,
                Follows::Question { .. } | Follows::Nothing => false,
            }
    }

    /// Its question is to be answered now.
    pub(super) fn begin_turn(&mut self, log: u32) {
        (self.follows, self.cursor) = (Follows::Turn(log), Cursor::start_of(log));
    }

    /// It follows one turn, and was told all that there is for it.
    fn is_done(&self) -> bool {
        let told = match self.follows {
            Follows::Turn(turn) => turn < self.cursor.log(),
            Follows::Nothing => true,
            Follows::Everything | Follows::Question { .. } => false,
        };
        told && self.owed.is_empty() && self.farewell.is_none()
    }
}

impl Session {
    pub(super) fn on_attach(&mut self, fx: &mut Vec<Effect>, id: ReaderId) {
        let cursor = Cursor::start_of(self.first_log + self.logs.len() as u32);
        self.readers.push(Reader::new(id, cursor, Follows::Everything));
        if self.draining {
            self.pump_all(fx);
        }
    }

    pub(super) fn on_detach(&mut self, fx: &mut Vec<Effect>, id: ReaderId) {
        self.readers.retain(|reader| reader.id != id);
        if self.readers.is_empty() && self.life.is_none() {
            if let Some(run) = self.run.take() {
                fx.push(Effect::CancelRun { run: run.id });
            }
            self.finish(fx);
        }
    }

    pub(super) fn on_resume(
        &mut self,
        fx: &mut Vec<Effect>,
        id: ReaderId,
        turn: Option<&MessageId>,
        after: Option<u32>,
    ) {
        if let Err(reason) = self.admit() {
            return self.send_away(fx, id, ServerFrame::Rejected { reason });
        }
        let number = self.newest_log();
        let log = self.logs.back_mut().filter(|log| turn.is_none_or(|turn| log.is_named(turn)));
        let Some(log) = log else { return self.send_away(fx, id, ServerFrame::NoActive) };
        let Some(position) = log.position(after) else {
            return self.send_away(fx, id, ServerFrame::Rejected { reason: Rejection::BadResume });
        };
        let mut reader = Reader::new(id, TurnLog::cursor_at(number, &position), Follows::Turn(number));
        reader.owed.push_back(Outgoing::Frame(ServerFrame::Resumed { position: Box::new(position) }));
        self.join(fx, reader);
    }

    /// Lets a reader follow one turn from its beginning.
    pub(super) fn follow(&mut self, fx: &mut Vec<Effect>, id: ReaderId, log: u32) {
        self.join(fx, Reader::new(id, Cursor::start_of(log), Follows::Turn(log)));
    }

    /// Lets a reader wait for the turn that will answer a question.
    pub(super) fn await_answer(&mut self, fx: &mut Vec<Effect>, id: ReaderId, ticket: Ticket) {
        let follows = Follows::Question { ticket, told: 0 };
        self.join(fx, Reader::new(id, Cursor::nowhere(), follows));
        self.tell_places(fx);
    }

    /// One more reader; the oldest has to go when there are too many.
    fn join(&mut self, fx: &mut Vec<Effect>, reader: Reader) {
        let is_reader = |reader: &Reader| reader.follows != Follows::Nothing;
        if self.readers.iter().filter(|reader| is_reader(reader)).count() >= self.settings.readers.max(1)
            && let Some(oldest) = self.readers.iter().position(is_reader)
        {
            self.dismiss(fx, oldest, ServerFrame::Rejected { reason: Rejection::TakenOver });
        }
        self.readers.push(reader);
        self.pump_one(fx, self.readers.len() - 1);
    }

    /// Whether one more reader may join just now.
    pub(super) fn admit(&mut self) -> Result<(), Rejection> {
        let admitted = self.life.as_mut().map_or(Ok(()), |life| life.admit());
        admitted.map_err(|after| Rejection::TooOften { after })
    }

    /// Tells a reader that came for one turn that there is none for it.
    pub(super) fn send_away(&mut self, fx: &mut Vec<Effect>, id: ReaderId, word: ServerFrame) {
        let is_leaving = |reader: &Reader| reader.follows == Follows::Nothing;
        if self.readers.iter().filter(|reader| is_leaving(reader)).count() >= LEAVING_MAX
            && let Some(oldest) = self.readers.iter().position(is_leaving)
        {
            let reader = self.readers.remove(oldest).id; // It asks without reading, and is about to be cut.
            fx.push(Effect::Release { reader });
        }
        self.readers.push(Reader::new(id, Cursor::nowhere(), Follows::Nothing));
        self.dismiss(fx, self.readers.len() - 1, word);
    }

    /// The last word to a reader of one turn, whatever it was still to be told.
    pub(super) fn dismiss(&mut self, fx: &mut Vec<Effect>, at: usize, word: ServerFrame) {
        let reader = &mut self.readers[at];
        reader.follows = Follows::Nothing;
        reader.cursor = Cursor::nowhere();
        reader.owed.clear();
        reader.owed.push_back(Outgoing::Frame(word));
        self.pump_one(fx, at);
    }

    /// Forgets readers that followed one turn and were told everything.
    pub(super) fn release_readers(&mut self, fx: &mut Vec<Effect>) {
        self.readers.retain(|reader| {
            let done = reader.is_done();
            if done {
                fx.push(Effect::Release { reader: reader.id });
            }
            !done
        });
        if self.readers.is_empty() {
            self.readers = Vec::new(); // A conversation at rest keeps no room for them.
        }
    }

    pub(super) fn on_ready(&mut self, fx: &mut Vec<Effect>, id: ReaderId) {
        if let Some(at) = self.readers.iter().position(|reader| reader.id == id) {
            self.readers[at].ready = true;
            self.pump_one(fx, at);
            if matches!(self.readers[at].follows, Follows::Question { .. }) {
                self.tell_places(fx);
            }
        }
    }

    pub(super) fn on_push_refused(&mut self, id: ReaderId, outgoing: Outgoing, from: Cursor) {
        let Some(reader) = self.readers.iter_mut().find(|reader| reader.id == id) else { return };
        reader.ready = false;
        if reader.follows == Follows::Nothing {
            return reader.owed.push_back(outgoing);
        }
        match outgoing {
            // What stands in a log is read again from there.
            Outgoing::Frame(
                ServerFrame::Accepted { .. } | ServerFrame::Text { .. } | ServerFrame::TurnEnd { .. },
            ) => reader.cursor = reader.cursor.min(from),
            Outgoing::Close(_) => reader.closed = false,
            // A retry or a place for a slot is old news by the time it could be read.
            Outgoing::Frame(
                ServerFrame::Queued { .. } | ServerFrame::Retrying { .. } | ServerFrame::Pong,
            ) => {}
            Outgoing::Frame(ServerFrame::Waiting { .. }) => {
                if let Follows::Question { told, .. } = &mut reader.follows {
                    *told = 0;
                }
            }
            outgoing @ Outgoing::Frame(
                ServerFrame::Rejected { .. } | ServerFrame::NoActive | ServerFrame::Resumed { .. },
            ) => {
                reader.owed.push_back(outgoing);
            }
        }
    }

    /// Pushes a word that is not part of a turn, or remembers it while the reader is behind.
    pub(super) fn tell(&mut self, fx: &mut Vec<Effect>, id: ReaderId, outgoing: Outgoing) {
        let Some(reader) = self.readers.iter_mut().find(|reader| reader.id == id) else { return };
        if reader.ready && reader.owed.is_empty() && !reader.closed {
            fx.push(Effect::Push { reader: id, outgoing, from: reader.cursor, ask: false });
        } else {
            if reader.owed.len() >= OWED_MAX {
                reader.owed.pop_front(); // It sends without reading, and is about to be cut for that.
            }
            reader.owed.push_back(outgoing);
        }
    }

    /// Tells those who follow the newest turn and can take it.
    pub(super) fn tell_all(&mut self, fx: &mut Vec<Effect>, frame: &ServerFrame) {
        let newest = self.newest_log();
        for reader in &self.readers {
            if reader.ready && !reader.closed && reader.wants(newest) {
                let outgoing = Outgoing::Frame(frame.clone());
                fx.push(Effect::Push { reader: reader.id, outgoing, from: reader.cursor, ask: false });
            }
        }
    }

    /// Tells those who wait where their questions stand, as far as they do not know.
    pub(super) fn tell_places(&mut self, fx: &mut Vec<Effect>) {
        for reader in self.readers.iter_mut().filter(|reader| reader.ready) {
            let Follows::Question { ticket, told } = &mut reader.follows else { continue };
            let position = self.queue.position(*ticket).filter(|position| position != told);
            let Some(position) = position else { continue };
            *told = position;
            let outgoing = Outgoing::Frame(ServerFrame::Waiting { position });
            fx.push(Effect::Push { reader: reader.id, outgoing, from: reader.cursor, ask: false });
        }
    }

    pub(super) fn pump_all(&mut self, fx: &mut Vec<Effect>) {
        for at in 0..self.readers.len() {
            self.pump_one(fx, at);
        }
    }

    pub(super) fn pump_one(&mut self, fx: &mut Vec<Effect>, at: usize) {
        let restart = (self.draining && self.run.is_none()).then_some(Close::Restart);
        Self::pump(fx, &mut self.readers[at], self.first_log, &mut self.logs, restart);
    }

    /// Pushes what a reader has not been told, as far as it can take it: [`PUSH_BYTES_MAX`] at a time, so that
    /// the work of a replay grows with the answer and not with its square. With `restart`, one that follows everything is closed once it has been told everything.
    pub(super) fn pump(
        fx: &mut Vec<Effect>,
        reader: &mut Reader,
        first_log: u32,
        logs: &mut VecDeque<TurnLog>,
        restart: Option<Close>,
    ) {
        if !reader.ready || reader.closed {
            return;
        }
        let id = reader.id;
        if let Some(close) = reader.farewell {
            reader.closed = true;
            let (outgoing, from) = (Outgoing::Close(close), reader.cursor);
            return fx.push(Effect::Push { reader: id, outgoing, from, ask: false });
        }
        while let Some(outgoing) = reader.owed.pop_front() {
            fx.push(Effect::Push { reader: id, outgoing, from: reader.cursor, ask: false });
        }
        let mut pushed = 0;
        while reader.wants(reader.cursor.log()) {
            let Some(log) = logs.get_mut((reader.cursor.log() - first_log) as usize) else { break };
            let from = reader.cursor;
            let Some((frame, next)) = log.read(from, PUSH_BYTES_MAX) else { break };
            pushed += frame.text_bytes() + FRAME_COST;
            let ask = pushed > PUSH_BYTES_MAX;
            reader.cursor = next;
            fx.push(Effect::Push { reader: id, outgoing: Outgoing::Frame(frame), from, ask });
            if ask {
                reader.ready = false;
                return;
            }
        }
        let told_all = reader.cursor.log() == first_log + logs.len() as u32;
        let follows_all = reader.follows == Follows::Everything;
        if let Some(close) = restart.filter(|_| told_all && follows_all) {
            reader.closed = true;
            let (outgoing, from) = (Outgoing::Close(close), reader.cursor);
            fx.push(Effect::Push { reader: id, outgoing, from, ask: false });
        }
    }
}
