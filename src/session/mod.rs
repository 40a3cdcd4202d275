//! One conversation as a pure machine: inputs in, effects out, no world.
//!
//! Every rule about turns is here. The actor in `ws::session_actor` translates, calls and performs.
mod event;
mod queue;
mod replay;
#[cfg(test)]
mod tests;

pub use event::{Effect, Input, Outgoing};
pub use replay::{Cursor, TurnLog};

use crate::{
    chat::{
        Budget, FinishReason, History, MessageId, ReaderId, RunEnd, RunError, RunErrorKind, RunEvent, RunId,
        RunRequest, SessionId,
    },
    protocol::{ClientFrame, Close, Opening, Refusal, ServerFrame, TurnEnd},
};
use queue::Queue;
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// What a session may do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Messages that may wait while an answer is running.
    pub queued_messages: usize,
    /// Readers at the same time; the oldest goes when one more comes.
    pub readers: usize,
    /// What is told of the model in [`Opening`](crate::protocol::Opening).
    pub model: Arc<str>,
    /// How long a run goes on without readers.
    pub linger: Duration,
    /// How long a conversation without readers and runs is kept.
    pub idle: Duration,
    /// How long a finished turn can be followed again.
    pub retain: Duration,
    /// When every reader has at least this much text still to read, the run is held.
    pub behind_bytes: usize,
    pub system_prompt: Option<Arc<String>>,
    pub history: Budget,
}

/// A text that is pushed in one piece has at most this many bytes; beyond it the reader is asked
/// again, so that what one reader can hold up is bounded.
pub const PUSH_BYTES_MAX: usize = 16 * 1024;

/// Finished turns that are kept for a reader that has not seen their end. A reader that is
/// further behind than this is let go.
const LOGS_MAX: usize = 16;

/// Words beside the answer (refusals) that may wait for one reader.
const OWED_MAX: usize = 64;

/// What a session lives as long as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The socket that it began with: when the last reader goes, it ends and its run is cancelled.
    OfSocket,
    /// Its conversation: sockets come and go, see [`Settings::linger`] and [`Settings::idle`].
    OfChat,
}

#[derive(Debug)]
pub struct Session {
    id: SessionId,
    settings: Arc<Settings>,
    history: History,
    readers: Vec<Reader>,
    /// The running turn's log last; before it the finished ones that some reader has not read.
    logs: VecDeque<TurnLog>,
    /// Number of the log at the front.
    first_log: u32,
    queue: Queue,
    run: Option<Run>,
    last_run: RunId,
    draining: bool,
    ended: bool,
}

/// The one open run.
#[derive(Debug)]
struct Run {
    id: RunId,
    held: bool,
    /// What [`History::window`] thought of its request.
    estimated_tokens: u32,
}

/// Somebody who is told everything.
#[derive(Debug)]
struct Reader {
    id: ReaderId,
    cursor: Cursor,
    /// It took the last push; otherwise it is behind until [`Input::Ready`].
    ready: bool,
    /// It is to be closed, whatever it has read.
    farewell: Option<Close>,
    /// The end was pushed; it gets nothing more.
    closed: bool,
    /// Words that are not part of a turn and have no place in a log.
    owed: VecDeque<Outgoing>,
}

impl Session {
    /// `id` is what the names of its answers are made from.
    pub fn new(settings: Arc<Settings>, id: SessionId, _lifetime: Lifetime) -> Self {
        let history = History::new(settings.system_prompt.clone(), settings.history);
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
            draining: false,
            ended: false,
        }
    }

    /// Takes one input; every consequence is pushed as an [`Effect`]. A push that was not taken comes
    /// back as [`Input::PushRefused`] before any other input; then [`Session::settle`] is called.
    ///
    /// `now` is the time since any fixed moment; it may be coarse, and never goes back.
    pub fn handle(&mut self, fx: &mut Vec<Effect>, _now: Duration, input: Input) {
        if self.ended {
            return; // Late words to a session that is over.
        }
        match input {
            Input::Attach { reader } => self.on_attach(fx, reader),
            Input::Detach { reader } => self.on_detach(fx, reader),
            Input::Client { reader, frame: ClientFrame::Message { text } } => {
                self.on_message(fx, reader, text)
            }
            Input::Client { .. }
            | Input::Ask { .. }
            | Input::Resume { .. }
            | Input::Abort { .. }
            | Input::Wake => {}
            Input::Run { run, event } => self.on_run(fx, run, event),
            Input::Ready { reader } => self.on_ready(fx, reader),
            Input::PushRefused { reader, outgoing, from } => self.on_push_refused(reader, outgoing, from),
            Input::Drain => self.on_drain(fx),
        }
    }

    /// Called when all effects were performed and refused pushes have come back: forgets what every
    /// reader has taken, and holds or continues the run.
    pub fn settle(&mut self, fx: &mut Vec<Effect>) {
        if !self.ended {
            self.drop_read_logs(fx);
            self.pace_run(fx);
        }
    }

    fn on_attach(&mut self, fx: &mut Vec<Effect>, id: ReaderId) {
        let cursor = Cursor::start_of(self.first_log + self.logs.len() as u32);
        self.readers.push(Reader {
            id,
            cursor,
            ready: true,
            farewell: None,
            closed: false,
            owed: VecDeque::new(),
        });
        if self.draining {
            self.pump_all(fx);
        }
    }

    fn on_detach(&mut self, fx: &mut Vec<Effect>, id: ReaderId) {
        self.readers.retain(|reader| reader.id != id);
        if self.readers.is_empty() {
            if let Some(run) = self.run.take() {
                fx.push(Effect::CancelRun { run: run.id });
            }
            self.ended = true;
            fx.push(Effect::End);
        }
    }

    fn on_message(&mut self, fx: &mut Vec<Effect>, reader: ReaderId, text: String) {
        if let Err(reason) = self.take_message(fx, reader, text) {
            self.tell(fx, reader, Outgoing::Frame(ServerFrame::Refused { reason }));
        }
    }

    fn take_message(&mut self, fx: &mut Vec<Effect>, reader: ReaderId, text: String) -> Result<(), Refusal> {
        if self.draining {
            return Err(Refusal::Draining);
        }
        if self.run.is_some() {
            return self.queue.push(reader, text, self.settings.queued_messages);
        }
        self.start_turn(fx, text);
        Ok(())
    }

    fn start_turn(&mut self, fx: &mut Vec<Effect>, text: String) {
        self.last_run = RunId(self.last_run.0.wrapping_add(1));
        self.history.begin(text);
        let window = self.history.window();
        self.run = Some(Run { id: self.last_run, held: false, estimated_tokens: window.estimated_tokens });
        let opening = Opening {
            answer: self.answer_id(),
            model: Arc::clone(&self.settings.model),
            omitted_turns: window.omitted_turns,
        };
        self.logs.push_back(TurnLog::new(self.last_run, Arc::new(opening)));
        self.pump_all(fx);
        let request = RunRequest { messages: window.messages, omitted_turns: window.omitted_turns };
        fx.push(Effect::StartRun { run: self.last_run, request });
    }

    /// The name of the answer that the last run writes.
    #[expect(clippy::expect_used, reason = "letters, digits and hyphens, and short")]
    fn answer_id(&self) -> MessageId {
        MessageId::new(&format!("msg-{}-{}", self.id, self.last_run)).expect("a good name")
    }

    fn on_run(&mut self, fx: &mut Vec<Effect>, run: RunId, event: RunEvent) {
        if self.run.as_ref().is_none_or(|current| current.id != run) {
            return; // A run that was cancelled may still talk for a moment.
        }
        match event {
            RunEvent::Queued { place } => self.tell_all(fx, ServerFrame::Queued { run, place }),
            RunEvent::Retrying { attempt, after } => {
                self.tell_all(fx, ServerFrame::Retrying { run, attempt, after })
            }
            RunEvent::Reasoning(text) => self.on_text(fx, replay::Kind::Reasoning, text),
            RunEvent::Delta(text) => self.on_text(fx, replay::Kind::Answer, text),
            RunEvent::End(end) => self.on_run_end(fx, run, *end),
        }
    }

    fn on_text(&mut self, fx: &mut Vec<Effect>, kind: replay::Kind, text: String) {
        if text.is_empty() {
            return;
        }
        let newest = self.first_log + self.logs.len() as u32 - 1;
        let Some(log) = self.logs.back_mut() else { return };
        let before = log.end_cursor(newest);
        let cut = self.readers.iter().any(|reader| reader.ready);
        let entry = log.append(kind, &text, cut);
        let mut text = Some(text);
        let last = self.readers.len();
        for at in 0..last {
            let reader = &mut self.readers[at];
            if reader.ready
                && reader.cursor == before
                && text.as_ref().is_some_and(|t| t.len() <= PUSH_BYTES_MAX)
            {
                // The common case: this reader has read everything, so it gets the delta as it came.
                let piece = if at + 1 == last { text.take() } else { text.clone() };
                reader.cursor = log.end_cursor(newest);
                let outgoing = Outgoing::Frame(replay::frame(kind, entry, piece.unwrap_or_default()));
                fx.push(Effect::Push { reader: reader.id, outgoing, from: before, ask: false });
            } else {
                Self::pump(fx, reader, self.first_log, &mut self.logs, None);
                return self.pump_from(fx, at + 1);
            }
        }
    }

    fn on_run_end(&mut self, fx: &mut Vec<Effect>, id: RunId, end: RunEnd) {
        let Some(run) = self.run.take() else { return };
        let Some(log) = self.logs.back_mut() else { return };
        if let Some(usage) = &end.usage {
            self.history.observe(run.estimated_tokens, usage);
        }
        let outcome = match end.outcome {
            Ok(FinishReason::Stop | FinishReason::Length) if log.text().is_empty() => {
                Err(RunError::new(RunErrorKind::EmptyAnswer, "the model ended without a word"))
            }
            outcome => outcome,
        };
        match &outcome {
            Err(error) if error.kind.is_refusal() || log.text().is_empty() => self.history.withdraw(),
            outcome => self.history.complete(log.share_text(), outcome.is_err()),
        }
        debug_assert_eq!(log.run(), id);
        log.end(TurnEnd { outcome, usage: end.usage, timing: end.timing });
        self.pump_all(fx);
        if let Some(text) = self.queue.pop() {
            self.start_turn(fx, text);
        }
    }

    fn on_ready(&mut self, fx: &mut Vec<Effect>, id: ReaderId) {
        if let Some(at) = self.readers.iter().position(|reader| reader.id == id) {
            self.readers[at].ready = true;
            self.pump_one(fx, at);
        }
    }

    fn on_push_refused(&mut self, id: ReaderId, outgoing: Outgoing, from: Cursor) {
        let Some(reader) = self.readers.iter_mut().find(|reader| reader.id == id) else { return };
        reader.ready = false;
        match outgoing {
            // What stands in a log is read again from there.
            Outgoing::Frame(
                ServerFrame::Accepted { .. }
                | ServerFrame::Delta { .. }
                | ServerFrame::Reasoning { .. }
                | ServerFrame::TurnEnd { .. }
                | ServerFrame::Resumed { .. },
            ) => reader.cursor = reader.cursor.min(from),
            Outgoing::Close(_) => reader.closed = false,
            // A place in the queue or a retry is old news by the time it could be read.
            Outgoing::Frame(
                ServerFrame::Queued { .. }
                | ServerFrame::Waiting { .. }
                | ServerFrame::Retrying { .. }
                | ServerFrame::Pong,
            ) => {}
            outgoing @ Outgoing::Frame(ServerFrame::Refused { .. } | ServerFrame::NoActive) => {
                reader.owed.push_back(outgoing)
            }
        }
    }

    fn on_drain(&mut self, fx: &mut Vec<Effect>) {
        self.draining = true;
        while let Some((reader, _)) = self.queue.pop_with_reader() {
            self.tell(fx, reader, Outgoing::Frame(ServerFrame::Refused { reason: Refusal::Draining }));
        }
        self.pump_all(fx);
    }

    /// Pushes a word that is not part of a turn, or remembers it while the reader is behind.
    fn tell(&mut self, fx: &mut Vec<Effect>, id: ReaderId, outgoing: Outgoing) {
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

    fn tell_all(&mut self, fx: &mut Vec<Effect>, frame: ServerFrame) {
        for reader in self.readers.iter().filter(|reader| reader.ready && !reader.closed) {
            let outgoing = Outgoing::Frame(frame.clone());
            fx.push(Effect::Push { reader: reader.id, outgoing, from: reader.cursor, ask: false });
        }
    }

    fn pump_all(&mut self, fx: &mut Vec<Effect>) {
        self.pump_from(fx, 0);
    }

    fn pump_from(&mut self, fx: &mut Vec<Effect>, first: usize) {
        for at in first..self.readers.len() {
            self.pump_one(fx, at);
        }
    }

    fn pump_one(&mut self, fx: &mut Vec<Effect>, at: usize) {
        let restart = (self.draining && self.run.is_none()).then_some(Close::Restart);
        Self::pump(fx, &mut self.readers[at], self.first_log, &mut self.logs, restart);
    }

    /// Pushes all that a reader has not been told, as far as it can take it: large texts one piece
    /// at a time. With `restart`, the reader is closed once it has been told everything.
    fn pump(
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
        while let Some(log) = logs.get_mut((reader.cursor.log() - first_log) as usize) {
            let from = reader.cursor;
            let Some((frame, next)) = log.read(from, PUSH_BYTES_MAX) else { break };
            let ask = frame.text_bytes() > PUSH_BYTES_MAX - char::MAX_LEN_UTF8;
            reader.cursor = next;
            fx.push(Effect::Push { reader: id, outgoing: Outgoing::Frame(frame), from, ask });
            if ask {
                reader.ready = false;
                return;
            }
        }
        let told_all = reader.cursor.log() == first_log + logs.len() as u32;
        if let Some(close) = restart.filter(|_| told_all) {
            reader.closed = true;
            let (outgoing, from) = (Outgoing::Close(close), reader.cursor);
            fx.push(Effect::Push { reader: id, outgoing, from, ask: false });
        }
    }

    /// Forgets finished logs that every reader has read, and lets a reader go that is so far
    /// behind that it would keep too many.
    fn drop_read_logs(&mut self, fx: &mut Vec<Effect>) {
        let finished = self.logs.len() - usize::from(self.run.is_some());
        if finished > LOGS_MAX {
            for at in 0..self.readers.len() {
                if self.readers[at].cursor.log() == self.first_log {
                    self.readers[at].farewell = Some(Close::TooSlow);
                    self.pump_one(fx, at);
                }
            }
        }
        let newest = self.first_log + finished as u32;
        let oldest = self.readers.iter().filter(|r| r.farewell.is_none()).map(|r| r.cursor.log());
        let keep_from = oldest.min().unwrap_or(newest).min(newest);
        while self.first_log < keep_from {
            self.logs.pop_front();
            self.first_log += 1;
        }
        for reader in &mut self.readers {
            reader.cursor = reader.cursor.max(Cursor::start_of(self.first_log));
        }
    }

    /// Holds the run while all readers are behind by more than the bound.
    fn pace_run(&mut self, fx: &mut Vec<Effect>) {
        let (Some(run), Some(log)) = (self.run.as_mut(), self.logs.back()) else { return };
        let newest = self.first_log + self.logs.len() as u32 - 1;
        let unread = self.readers.iter().map(|reader| log.unread(newest, reader.cursor)).min().unwrap_or(0);
        // Between the two bounds it stays as it is, so that it does not flutter.
        if !run.held && unread > self.settings.behind_bytes {
            run.held = true;
            fx.push(Effect::HoldRun { run: run.id });
        } else if run.held && unread <= self.settings.behind_bytes / 2 {
            run.held = false;
            fx.push(Effect::ContinueRun { run: run.id });
        }
    }
}
