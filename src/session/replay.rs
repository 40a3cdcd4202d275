//! The replay log: the one place where an answer's text lives while it is written and read.
//!
//! Append-only. The answer is one string, the reasoning another; an entry is where a delta ended, four
//! bytes for each, since most of an answer's deltas are shorter than what one could note of them.
//! A reader has a cursor. While no reader can take more, text gathers in the open entry, so that a
//! slow client gets fewer and larger deltas and the numbers stay free of gaps.
use crate::{
    chat::RunId,
    protocol::{Opening, ServerFrame, TurnEnd},
};
use std::sync::Arc;

pub(super) use crate::protocol::Kind;

pub(super) fn frame(kind: Kind, entry: u32, text: String) -> ServerFrame {
    match kind {
        Kind::Reasoning => ServerFrame::Reasoning { entry, text },
        Kind::Answer => ServerFrame::Delta { entry, text },
    }
}

/// Where a reader stands: log by log, and in a log by entries. Ordered by what has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    log: u32,
    /// The turn's beginning has been told.
    begun: bool,
    /// Entries read to their ends.
    entries: u32,
    /// Bytes read of the entry after them.
    bytes: u32,
}

impl Cursor {
    pub(super) fn start_of(log: u32) -> Self {
        Cursor { log, begun: false, entries: 0, bytes: 0 }
    }

    pub(super) fn log(self) -> u32 {
        self.log
    }
}

/// One turn as it is told: its beginning, its entries, its end.
#[derive(Debug)]
pub struct TurnLog {
    run: RunId,
    opening: Arc<Opening>,
    text: Arc<String>,
    reasoning: String,
    /// Where each entry ends, in bytes of both texts together.
    ends: Vec<u32>,
    /// Entries of one kind that follow each other: hardly ever more than two such parts.
    parts: Vec<Part>,
    /// The last entry may still grow, because nobody has been told of it.
    open: bool,
    end: Option<Box<TurnEnd>>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    kind: Kind,
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

impl TurnLog {
    pub fn new(run: RunId, opening: Arc<Opening>) -> Self {
        TurnLog {
            run,
            opening,
            text: Arc::default(),
            reasoning: String::new(),
            ends: Vec::new(),
            parts: Vec::new(),
            open: false,
            end: None,
        }
    }

    pub fn run(&self) -> RunId {
        self.run
    }

    /// The answer so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The answer for the history; the bytes are shared, not copied.
    pub fn share_text(&self) -> Arc<String> {
        Arc::clone(&self.text)
    }

    /// Adds text and returns the number of its entry, counting from 1. With `cut` the entry is
    /// closed; without, later text may join it.
    pub fn append(&mut self, kind: Kind, text: &str, cut: bool) -> u32 {
        let whole = match kind {
            Kind::Reasoning => &mut self.reasoning,
            Kind::Answer => Arc::make_mut(&mut self.text),
        };
        let begin = whole.len() as u32;
        push(whole, text);
        let total = (self.text.len() + self.reasoning.len()) as u32;
        let continues = self.parts.last().is_some_and(|part| part.kind == kind);
        match self.ends.last_mut() {
            Some(end) if self.open && continues => *end = total,
            _ => {
                if !continues {
                    let (entry, total) = (self.ends.len() as u32, total - text.len() as u32);
                    self.parts.push(Part { kind, entry, total, begin });
                }
                self.ends.push(total);
            }
        }
        self.open = !cut;
        self.ends.len() as u32
    }

    pub fn end(&mut self, end: TurnEnd) {
        self.end = Some(Box::new(end));
        self.open = false;
    }

    /// Where a reader stands that has been told everything but the end.
    pub(super) fn end_cursor(&self, log: u32) -> Cursor {
        Cursor { log, begun: true, entries: self.ends.len() as u32, bytes: 0 }
    }

    /// What comes next for a reader that stands at `from`, and where it stands then: neighbouring
    /// entries of one kind in one frame of at most `bytes_max` bytes. `None` when there is nothing.
    pub fn read(&mut self, from: Cursor, bytes_max: usize) -> Option<(ServerFrame, Cursor)> {
        if !from.begun {
            let next = Cursor { begun: true, ..from };
            let opening = Arc::clone(&self.opening);
            return Some((ServerFrame::Accepted { run: self.run, opening }, next));
        }
        let at = from.entries as usize;
        if at >= self.ends.len() {
            let end = self.end.clone()?;
            return Some((ServerFrame::TurnEnd { run: self.run, end }, Cursor::start_of(from.log + 1)));
        }
        self.open = false; // From now on somebody knows of the last entry.
        let number = self.parts.iter().rposition(|part| part.entry as usize <= at)?;
        let part = self.parts[number];
        let last = self.parts.get(number + 1).map_or(self.ends.len(), |part| part.entry as usize);
        let whole = match part.kind {
            Kind::Reasoning => self.reasoning.as_str(),
            Kind::Answer => self.text.as_str(),
        };
        let place = |total: usize| part.begin as usize + (total - part.total as usize);
        let begin = place(self.total_before(at)) + from.bytes as usize;
        let mut next = at;
        while next < last && place(self.ends[next] as usize) - begin <= bytes_max {
            next += 1;
        }
        let (end, cursor) = if next > at {
            (place(self.total_before(next)), Cursor { entries: next as u32, bytes: 0, ..from })
        } else {
            // One entry that is larger than a push: a piece of it, whole characters only.
            let mut end = begin + bytes_max;
            while !whole.is_char_boundary(end) {
                end -= 1;
            }
            (end, Cursor { bytes: from.bytes + (end - begin) as u32, ..from })
        };
        let entry = (next.max(at + 1)) as u32;
        Some((frame(part.kind, entry, whole[begin..end].to_owned()), cursor))
    }

    /// Bytes of this log, which is number `log`, that a reader has not been given.
    pub fn unread(&self, log: u32, cursor: Cursor) -> usize {
        let all = self.text.len() + self.reasoning.len();
        if cursor.log < log {
            return all;
        }
        if cursor.log > log {
            return 0;
        }
        all - self.total_before(cursor.entries as usize) - cursor.bytes as usize
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
