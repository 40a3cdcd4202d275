//! The replay log: the one place where an answer's text lives while it is written and read.
//!
//! Append-only. The answer is one string, the reasoning another; an entry is where a delta ended, four
//! bytes for each, since most of an answer's deltas are shorter than what one could note of them.
//! A subscriber has a cursor. While no subscriber can take more, text gathers in the open entry, so that a
//! slow client gets fewer and larger deltas and the numbers stay free of gaps. No entry is larger than a
//! push: a cursor never stands inside one.
use super::{
    PUSH_BYTES_MAX,
    snapshot::{RunSnapshot, RunState},
};
use crate::{
    chat::{MessageId, RunId, TextKind},
    protocol::{
        ReplayPosition, ServerFrame, TurnEnd, TurnStart,
        position::{self, BEGINNING, ENDING},
    },
};
use std::sync::Arc;

/// Where a subscriber stands: log by log, and in a log by entries. Ordered by what has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    log: u32,
    /// The turn's beginning has been told.
    begun: bool,
    /// Entries read.
    entries: u32,
}

impl Cursor {
    pub(super) fn start_of(log: u32) -> Self {
        Cursor { log, begun: false, entries: 0 }
    }

    /// Where who is not told any turn stands: behind all logs.
    pub(super) fn nowhere() -> Self {
        Cursor::start_of(u32::MAX)
    }

    pub(super) fn log(self) -> u32 {
        self.log
    }
}

/// One turn as it is told: its beginning, its entries, its end.
#[derive(Debug)]
pub struct TurnLog {
    run: RunId,
    /// The ID of its question; a plain conversation has none.
    question: Option<MessageId>,
    start: Arc<TurnStart>,
    text: String,
    reasoning: String,
    /// Where each entry ends, in bytes of both texts together.
    ends: Vec<u32>,
    /// Entries of one kind that follow each other: hardly ever more than two such parts, but a model may change
    /// between thinking and text with every delta.
    parts: Vec<Part>,
    /// The last entry may still grow, because nobody has been told of it.
    open: bool,
    /// Made from the history when the log itself was gone: its entries are not those that were told.
    is_rebuilt: bool,
    end: Option<Box<TurnEnd>>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    kind: TextKind,
    /// Its first entry.
    entry: u32,
    /// Bytes of both texts before it.
    total: u32,
    /// Bytes of its kind's text before it.
    begin: u32,
}

/// A text that is full grows by this part of itself, and by this much at least: doubling would
/// leave half of it empty, for each of thousands of answers.
const GROWTH: usize = 4;
const GROWTH_MIN: usize = 256;

/// The opening and the end of a turn.
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
            end: None,
        }
    }

    /// The log of an answer whose own log is gone.
    pub fn rebuild(question: MessageId, start: Arc<TurnStart>, text: String, end: TurnEnd) -> Self {
        let mut log = TurnLog { text, is_rebuilt: true, ..TurnLog::new(RunId(0), Some(question), start) };
        if !log.text.is_empty() {
            log.parts.push(Part { kind: TextKind::Answer, entry: 0, total: 0, begin: 0 });
        }
        let mut told = 0;
        while told < log.text.len() {
            told += log.text[told..].floor_char_boundary(PUSH_BYTES_MAX);
            log.ends.push(told as u32);
        }
        log.end(end);
        log
    }

    /// The answer's name.
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

    /// How the turn ended, once it has.
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
        let RunSnapshot { run, question, start, entries, is_rebuilt, state: _ } = run;
        let mut log = TurnLog::new(run, Some(question), Arc::new(start));
        log.is_rebuilt = is_rebuilt;
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

    /// Bytes held.
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
        let mut told = if self.open { self.fill(text) } else { 0 };
        while told < text.len() {
            told += text[told..].floor_char_boundary(PUSH_BYTES_MAX);
            self.ends.push((total + told) as u32);
        }
        self.open = !cut;
        self.ends.len() as u32
    }

    /// Lets the open entry grow by as much of a text as fits into it; returns how much that is.
    fn fill(&mut self, text: &str) -> usize {
        let Some(last) = self.ends.len().checked_sub(1) else { return 0 };
        let begin = self.total_before(last);
        let room = PUSH_BYTES_MAX - (self.ends[last] as usize - begin);
        let told = text.floor_char_boundary(room);
        self.ends[last] += told as u32;
        told
    }

    pub fn end(&mut self, end: TurnEnd) {
        self.end = Some(Box::new(end));
        self.open = false;
    }

    /// Where a subscriber stands that has been told everything but the end.
    pub(super) fn end_cursor(&self, log: u32) -> Cursor {
        Cursor { log, begun: true, entries: self.ends.len() as u32 }
    }

    /// What comes next for a subscriber that stands at `from`, and where it stands then: neighbouring
    /// entries of one kind in one frame of at most `bytes_max` bytes. `None` when there is nothing.
    pub fn read(&mut self, from: Cursor, bytes_max: usize) -> Option<(ServerFrame, Cursor)> {
        if !from.begun {
            let next = Cursor { begun: true, ..from };
            let start = Arc::clone(&self.start);
            return Some((ServerFrame::Accepted { run: self.run, start }, next));
        }
        let at = from.entries as usize;
        if at >= self.ends.len() {
            let end = self.end.clone()?;
            return Some((ServerFrame::TurnEnd { run: self.run, end }, Cursor::start_of(from.log + 1)));
        }
        self.open = false; // From now on somebody knows of the last entry.
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
        Some((
            ServerFrame::Text { kind: part.kind, entry: next as u32, text },
            Cursor { entries: next as u32, ..from },
        ))
    }

    /// Where a subscriber goes on that has been told everything up to number `after`; `None` when there is no
    /// such number.
    pub fn position(&mut self, after: Option<u32>) -> Option<ReplayPosition> {
        let mut entries = 0;
        if let Some(after) = after {
            if self.is_rebuilt || after > self.last_number() {
                return None;
            }
            entries = self.entries_up_to(after);
        }
        // Somebody may know of the last entry.
        self.open = false;
        let before = self.parts.partition_point(|part| part.entry < entries);
        Some(ReplayPosition {
            run: self.run,
            answer: self.start.answer.clone(),
            after,
            begun: after.is_some_and(|after| after + 1 >= BEGINNING),
            entries,
            parts: before as u32,
            open: before.checked_sub(1).map(|part| self.parts[part].kind),
        })
    }

    /// Where a subscriber stands that begins at a place in this log, which is number `log`.
    pub(super) fn cursor_at(log: u32, position: &ReplayPosition) -> Cursor {
        Cursor { log, begun: position.begun, entries: position.entries }
    }

    /// The highest number that has been written.
    fn last_number(&self) -> u32 {
        let (entries, parts) = (self.ends.len() as u32, self.parts.len() as u32);
        let last = if entries == 0 { BEGINNING - 1 } else { position::number(entries, parts) };
        let closing = u32::from(entries > 0);
        last + self.end.as_ref().map_or(0, |_| closing + ENDING)
    }

    /// Entries whose numbers are not above this one.
    fn entries_up_to(&self, number: u32) -> u32 {
        let first = |at: usize| position::number(self.parts[at].entry + 1, at as u32 + 1);
        // The parts whose first entry is among them, by bisection: their numbers grow.
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

    /// Bytes of this log, which is number `log`, that a subscriber has not been given.
    pub fn unread(&self, log: u32, cursor: Cursor) -> usize {
        let all = self.text.len() + self.reasoning.len();
        if cursor.log < log {
            return all;
        }
        if cursor.log > log {
            return 0;
        }
        all - self.total_before(cursor.entries as usize)
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
