//! The replay log: the only place where an answer's text is stored while it is written and read.
//!
//! Append-only. The answer is one string, the reasoning another; an entry is the offset where a delta ended (four
//! bytes), because most deltas are so short that a larger record would outweigh the text. Each subscriber has a
//! cursor. While no subscriber is ready, text is appended to the open entry, so that a slow client gets fewer and
//! larger deltas and the numbers have no gaps. No entry is larger than a push, so a cursor is never inside one.
use super::{
    PUSH_BYTES_MAX,
    restart::LogRestart,
    snapshot::{RunSnapshot, RunState},
};
use crate::{
    chat::{MessageId, RunId, TextKind},
    protocol::{
        ReplayPosition, Restart, ServerFrame, TurnEnd, TurnStart, Withdrawn,
        position::{self, BEGINNING, ENDING},
    },
};
use std::sync::Arc;

/// A subscriber's position: a log, and an entry in it. Ordered by reading progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    log: u32,
    /// The start of the turn was sent.
    started: bool,
    /// Restarts that it was sent.
    restarts: u8,
    /// Entries read.
    entries: u32,
}

impl Cursor {
    pub(super) fn start_of(log: u32) -> Self {
        Cursor { log, started: false, restarts: 0, entries: 0 }
    }

    /// The position of a subscriber that follows no turn: after all logs.
    pub(super) fn nowhere() -> Self {
        Cursor::start_of(u32::MAX)
    }

    pub(super) fn log(self) -> u32 {
        self.log
    }
}

/// The log of one turn: its start, its entries, its end.
#[derive(Debug)]
pub struct TurnLog {
    run: RunId,
    /// The ID of its question; `None` in a plain conversation.
    question: Option<MessageId>,
    start: Arc<TurnStart>,
    text: String,
    reasoning: String,
    /// The end of each entry, in bytes of both texts together.
    ends: Vec<u32>,
    /// Runs of consecutive entries of one kind: rarely more than two, but a model may switch between reasoning and
    /// answer with every delta.
    parts: Vec<Part>,
    /// The last entry may still grow, because no subscriber has read it.
    open: bool,
    /// Rebuilt from the history: its entries differ from those that were sent before.
    is_rebuilt: bool,
    /// From where on the answer is valid.
    restart: LogRestart,
    end: Option<Box<TurnEnd>>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    kind: TextKind,
    /// Its first entry.
    entry: u32,
    /// Bytes of both texts before it.
    total: u32,
    /// Bytes of the text of its own kind before it.
    begin: u32,
}

/// A full text buffer grows by one part in this many. Doubling would leave half of it unused, for thousands of answers.
const GROWTH: usize = 4;
/// Minimum growth of a text buffer, in bytes.
const GROWTH_MIN: usize = 256;

/// Estimated bytes of a turn's start and end, for [`TurnLog::capacity`].
const FIXED_BYTES: usize = 256;

impl TurnLog {
    pub fn new(run: RunId, question: Option<MessageId>, start: Arc<TurnStart>) -> Self {
        TurnLog {
            run,
            question,
            start,
            text: String::new(),
            reasoning: String::new(),
            ends: Vec::new(),
            parts: Vec::new(),
            open: false,
            is_rebuilt: false,
            restart: LogRestart::NONE,
            end: None,
        }
    }

    /// A log for an answer from the history.
    pub fn rebuild(question: MessageId, start: Arc<TurnStart>, text: String, end: TurnEnd) -> Self {
        let mut log = TurnLog { text, is_rebuilt: true, ..TurnLog::new(RunId(0), Some(question), start) };
        if !log.text.is_empty() {
            log.parts.push(Part { kind: TextKind::Answer, entry: 0, total: 0, begin: 0 });
        }
        let mut end_of_entry = 0;
        while end_of_entry < log.text.len() {
            end_of_entry += log.text[end_of_entry..].floor_char_boundary(PUSH_BYTES_MAX);
            log.ends.push(end_of_entry as u32);
        }
        log.end(end);
        log
    }

    /// The model that answers; `None` if unknown.
    pub(super) fn model(&self) -> Option<&Arc<str>> {
        self.restart.model.as_ref().or(self.start.model.as_ref())
    }

    /// The run, if it goes on with an answer.
    pub(super) fn continued_by(&self) -> Option<RunId> {
        self.start.continued_by
    }

    /// The ID of the answer.
    pub fn answer(&self) -> &MessageId {
        &self.start.answer
    }

    /// Whether this is the ID of its question or of its answer.
    pub(super) fn is_named(&self, id: &MessageId) -> bool {
        self.start.answer == *id || self.question.as_ref() == Some(id)
    }

    pub fn run(&self) -> RunId {
        self.run
    }

    /// How the turn ended; `None` while it runs.
    pub(super) fn ended(&self) -> Option<&TurnEnd> {
        self.end.as_deref()
    }

    /// The log as data; `None` if its question has no ID. Its entries are closed, as if they had been read.
    pub(super) fn snapshot(&mut self, state: RunState) -> Option<RunSnapshot> {
        self.open = false;
        Some(RunSnapshot {
            run: self.run,
            question: self.question.clone()?,
            start: TurnStart::clone(&self.start),
            entries: (0..self.ends.len()).filter_map(|at| self.entry(at)).collect(),
            restart: self.restart.clone(),
            is_rebuilt: self.is_rebuilt,
            state,
        })
    }

    fn entry(&self, at: usize) -> Option<(TextKind, String)> {
        let part = self.parts[self.parts.partition_point(|part| part.entry as usize <= at).checked_sub(1)?];
        let whole = match part.kind {
            TextKind::Reasoning => &self.reasoning,
            TextKind::Answer => &self.text,
        };
        let place = |total: usize| part.begin as usize + (total - part.total as usize);
        Some((part.kind, whole[place(self.total_before(at))..place(self.total_before(at + 1))].to_owned()))
    }

    /// The log of a snapshot, with its end.
    pub(super) fn restore(run: RunSnapshot, end: TurnEnd) -> Self {
        let RunSnapshot { run, question, start, entries, restart, is_rebuilt, state: _ } = run;
        let mut log = TurnLog::new(run, Some(question), Arc::new(start));
        (log.is_rebuilt, log.restart) = (is_rebuilt, restart);
        for (kind, text) in entries {
            log.append(kind, &text, true);
        }
        log.end(end);
        log
    }

    /// Bytes of both texts.
    pub(super) fn len(&self) -> usize {
        self.text.len() + self.reasoning.len()
    }

    /// Allocated bytes.
    pub(super) fn capacity(&self) -> usize {
        let lists = self.ends.capacity() * size_of::<u32>() + self.parts.capacity() * size_of::<Part>();
        let question = self.question.as_ref().map_or(0, |id| id.as_str().len());
        self.text.capacity()
            + self.reasoning.capacity()
            + lists
            + question
            + size_of::<TurnLog>()
            + FIXED_BYTES
    }

    /// The answer so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Adds text and returns the number of its last entry, counting from 1. With `cut` the entry is
    /// closed; without, later text may join it.
    pub fn append(&mut self, kind: TextKind, text: &str, cut: bool) -> u32 {
        let total = self.total_before(self.ends.len());
        let whole = match kind {
            TextKind::Reasoning => &mut self.reasoning,
            TextKind::Answer => &mut self.text,
        };
        let begin = whole.len() as u32;
        push(whole, text);
        if self.parts.last().is_none_or(|part| part.kind != kind) {
            self.open = false;
            self.parts.push(Part { kind, entry: self.ends.len() as u32, total: total as u32, begin });
        }
        let mut appended = if self.open { self.fill(text) } else { 0 };
        while appended < text.len() {
            appended += text[appended..].floor_char_boundary(PUSH_BYTES_MAX);
            self.ends.push((total + appended) as u32);
        }
        self.open = !cut;
        self.entries()
    }

    /// Drops the text so far: the answer begins anew, by this model.
    pub(super) fn restart(&mut self, model: &Arc<str>) {
        let LogRestart { count, parts, reasoning, .. } = self.restart;
        let answer = self.parts.iter().find(|part| part.kind == TextKind::Answer);
        let reasoning = answer.map_or(u32::MAX, |part| self.restart.entries + part.entry).min(reasoning);
        self.restart = LogRestart {
            count: count.saturating_add(1),
            entries: self.entries(),
            parts: parts + self.parts.len() as u32,
            reasoning,
            model: Some(Arc::clone(model)),
        };
        (self.text, self.reasoning, self.ends, self.parts) = Default::default();
        self.open = false;
    }

    /// Entries so far, withdrawn ones included.
    fn entries(&self) -> u32 {
        self.restart.entries + self.ends.len() as u32
    }

    /// The restart as a frame for a subscriber at `from`, which was sent so many entries.
    fn restarted(&self, from: Cursor, model: &Arc<str>) -> ServerFrame {
        let LogRestart { count, entries, parts, reasoning, .. } = self.restart;
        let withdrawn = match from.entries {
            0 => Withdrawn::Nothing,
            sent if sent > reasoning => Withdrawn::Answer,
            _ => Withdrawn::Reasoning,
        };
        let (model, number) = (Arc::clone(model), self.restart.number());
        let restart = Restart { model, number, count: count.into(), entries, parts, withdrawn };
        ServerFrame::Restarted { run: self.run, restart: Box::new(restart) }
    }

    /// Extends the open entry with as much of `text` as fits, and returns that number of bytes.
    fn fill(&mut self, text: &str) -> usize {
        let Some(last) = self.ends.len().checked_sub(1) else { return 0 };
        let begin = self.total_before(last);
        let room = PUSH_BYTES_MAX - (self.ends[last] as usize - begin);
        let fitting = text.floor_char_boundary(room);
        self.ends[last] += fitting as u32;
        fitting
    }

    pub fn end(&mut self, end: TurnEnd) {
        self.end = Some(Box::new(end));
        self.open = false;
    }

    /// The cursor of a subscriber that has read everything but the end.
    pub(super) fn end_cursor(&self, log: u32) -> Cursor {
        Cursor { log, started: true, restarts: self.restart.count, entries: self.entries() }
    }

    /// The next frame for a subscriber at `from`, and its cursor afterwards. Adjacent entries of one kind are merged into
    /// one frame of at most `bytes_max` bytes. `None` if there is nothing to read.
    pub fn read(&mut self, from: Cursor, bytes_max: usize) -> Option<(ServerFrame, Cursor)> {
        if !from.started {
            let next = Cursor { started: true, ..from };
            let start = Arc::clone(&self.start);
            return Some((ServerFrame::Accepted { run: self.run, start }, next));
        }
        if let Some(model) = self.restart.model.as_ref().filter(|_| from.restarts < self.restart.count) {
            let LogRestart { count, entries, .. } = self.restart;
            return Some((self.restarted(from, model), Cursor { restarts: count, entries, ..from }));
        }
        let at = (from.entries - self.restart.entries) as usize;
        if at >= self.ends.len() {
            let end = self.end.clone()?;
            return Some((ServerFrame::TurnEnd { run: self.run, end }, Cursor::start_of(from.log + 1)));
        }
        self.open = false; // The last entry is read from now on, so it must not grow.
        let number = self.parts.partition_point(|part| part.entry as usize <= at).checked_sub(1)?;
        let part = self.parts[number];
        let last = self.parts.get(number + 1).map_or(self.ends.len(), |part| part.entry as usize);
        let whole = match part.kind {
            TextKind::Reasoning => self.reasoning.as_str(),
            TextKind::Answer => self.text.as_str(),
        };
        let place = |total: usize| part.begin as usize + (total - part.total as usize);
        let begin = place(self.total_before(at));
        let mut next = at + 1;
        while next < last && place(self.ends[next] as usize) - begin <= bytes_max {
            next += 1;
        }
        let text = whole[begin..place(self.total_before(next))].to_owned();
        let entry = self.restart.entries + next as u32;
        Some((ServerFrame::Text { kind: part.kind, entry, text }, Cursor { entries: entry, ..from }))
    }

    /// The position at which a subscriber continues that has received everything up to number `after`; `None` if the
    /// log has no such number. Behind a number of withdrawn text the restart follows.
    pub fn position(&mut self, after: Option<u32>) -> Option<ReplayPosition> {
        if after.is_some_and(|after| self.is_rebuilt || after > self.last_number()) {
            return None;
        }
        // The last entry may have been received, so it must not grow.
        self.open = false;
        let LogRestart { count, entries: base, parts: withdrawn, .. } = self.restart;
        let started = after.is_some_and(|after| after + 1 >= BEGINNING);
        let position = |restarts: u8, entries: u32, parts: u32, open| ReplayPosition {
            run: self.run,
            answer: self.start.answer.clone(),
            continued_by: self.start.continued_by,
            after,
            started,
            entries,
            parts,
            open,
            restarts: restarts.into(),
            restarted_by: self.restart.model.clone().filter(|_| restarts > 0),
        };
        let after = after.unwrap_or(0);
        if after < self.restart.number() {
            // Which of the withdrawn text it has does not matter, only whether it has any.
            return Some(position(0, u32::from(after >= BEGINNING), 0, None));
        }
        let entries = self.entries_up_to(after - u32::from(count));
        let before = self.parts.partition_point(|part| part.entry < entries);
        let open = before.checked_sub(1).map(|part| self.parts[part].kind);
        Some(position(count, base + entries, withdrawn + before as u32, open))
    }

    /// The cursor for a replay position in this log, which has the number `log`.
    pub(super) fn cursor_at(log: u32, position: &ReplayPosition) -> Cursor {
        let restarts = position.restarts as u8;
        Cursor { log, started: position.started, restarts, entries: position.entries }
    }

    /// The highest number in the log so far.
    fn last_number(&self) -> u32 {
        let LogRestart { count, parts, .. } = self.restart;
        let (entries, parts) = (self.entries(), parts + self.parts.len() as u32);
        let (last, closing) = match self.ends.len() {
            0 if count == 0 => (BEGINNING - 1, 0),
            0 => (self.restart.number(), 0),
            _ => (position::number(entries, parts) + u32::from(count), 1),
        };
        last + self.end.as_ref().map_or(0, |_| closing + ENDING)
    }

    /// The number of entries since the restart whose numbers, without those of restarts, are at most `number`.
    fn entries_up_to(&self, number: u32) -> u32 {
        let LogRestart { entries: base, parts: withdrawn, .. } = self.restart;
        let first = |at: usize| position::number(base + self.parts[at].entry + 1, withdrawn + at as u32 + 1);
        // Binary search for the parts that start at or before `number`.
        let (mut parts, mut beyond) = (0, self.parts.len());
        while parts < beyond {
            let middle = parts.midpoint(beyond);
            match first(middle) <= number {
                true => parts = middle + 1,
                false => beyond = middle,
            }
        }
        let Some(part) = parts.checked_sub(1) else { return 0 };
        let end = self.parts.get(parts).map_or(self.ends.len() as u32, |next| next.entry);
        (self.parts[part].entry + 1 + (number - first(part))).min(end)
    }

    /// Bytes of this log, which has the number `log`, that the subscriber has not read.
    pub fn unread(&self, log: u32, cursor: Cursor) -> usize {
        let all = self.text.len() + self.reasoning.len();
        if cursor.log < log {
            return all;
        }
        if cursor.log > log {
            return 0;
        }
        let read = cursor.entries.saturating_sub(self.restart.entries) as usize;
        all - if cursor.restarts < self.restart.count { 0 } else { self.total_before(read) }
    }

    /// Bytes of both texts before entry `at`.
    fn total_before(&self, at: usize) -> usize {
        self.ends[..at].last().map_or(0, |end| *end as usize)
    }
}

fn push(whole: &mut String, text: &str) {
    if whole.capacity() - whole.len() < text.len() {
        whole.reserve_exact(text.len().max(whole.len() / GROWTH).max(GROWTH_MIN));
    }
    whole.push_str(text);
}
