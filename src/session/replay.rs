//! The replay log: the one place where an answer's text lives while it is written and read.
//!
//! Append-only. The answer is one string, the reasoning another; an entry is where a delta ended.
//! A reader has a cursor. While no reader can take more, text gathers in the open entry, so that a
//! slow client gets fewer and larger deltas and the numbers stay free of gaps.
use crate::{
    chat::RunId,
    protocol::{ServerFrame, TurnEnd},
};
use std::sync::Arc;

/// Which of the two texts an entry belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Reasoning,
    Answer,
}

impl Kind {
    pub(super) fn frame(self, entry: u32, text: String) -> ServerFrame {
        match self {
            Kind::Reasoning => ServerFrame::Reasoning { entry, text },
            Kind::Answer => ServerFrame::Delta { entry, text },
        }
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
    text: Arc<String>,
    reasoning: String,
    entries: Vec<Entry>,
    /// The last entry may still grow, because nobody has been told of it.
    open: bool,
    end: Option<Box<TurnEnd>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    kind: Kind,
    /// Offset in the kind's text, in bytes.
    end: u32,
    /// Bytes of both texts up to here.
    total: u32,
}

impl TurnLog {
    pub fn new(run: RunId) -> Self {
        TurnLog {
            run,
            text: Arc::default(),
            reasoning: String::new(),
            entries: Vec::new(),
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
        whole.push_str(text);
        let end = whole.len() as u32;
        let total = (self.text.len() + self.reasoning.len()) as u32;
        match self.entries.last_mut() {
            Some(entry) if self.open && entry.kind == kind => *entry = Entry { kind, end, total },
            _ => self.entries.push(Entry { kind, end, total }),
        }
        self.open = !cut;
        self.entries.len() as u32
    }

    pub fn end(&mut self, end: TurnEnd) {
        self.end = Some(Box::new(end));
        self.open = false;
    }

    /// Where a reader stands that has been told everything but the end.
    pub(super) fn end_cursor(&self, log: u32) -> Cursor {
        Cursor { log, begun: true, entries: self.entries.len() as u32, bytes: 0 }
    }

    /// What comes next for a reader that stands at `from`, and where it stands then: neighbouring
    /// entries of one kind in one frame of at most `bytes_max` bytes. `None` when there is nothing.
    pub fn read(&mut self, from: Cursor, bytes_max: usize) -> Option<(ServerFrame, Cursor)> {
        if !from.begun {
            let next = Cursor { begun: true, ..from };
            return Some((ServerFrame::Accepted { run: self.run }, next));
        }
        let at = from.entries as usize;
        let Some(first) = self.entries.get(at).copied() else {
            let end = self.end.clone()?;
            return Some((ServerFrame::TurnEnd { run: self.run, end }, Cursor::start_of(from.log + 1)));
        };
        self.open = false; // From now on somebody knows of the last entry.
        let whole = match first.kind {
            Kind::Reasoning => self.reasoning.as_str(),
            Kind::Answer => self.text.as_str(),
        };
        let begin = self.begin_of(at) + from.bytes as usize;
        let mut next = at;
        while self
            .entries
            .get(next)
            .is_some_and(|e| e.kind == first.kind && e.end as usize - begin <= bytes_max)
        {
            next += 1;
        }
        let (end, cursor) = if next > at {
            let end = self.entries[next - 1].end as usize;
            (end, Cursor { entries: next as u32, bytes: 0, ..from })
        } else {
            // One entry that is larger than a push: a piece of it, whole characters only.
            let mut end = begin + bytes_max;
            while !whole.is_char_boundary(end) {
                end -= 1;
            }
            (end, Cursor { bytes: from.bytes + (end - begin) as u32, ..from })
        };
        let entry = (next.max(at + 1)) as u32;
        Some((first.kind.frame(entry, whole[begin..end].to_owned()), cursor))
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

    /// Where entry `at` begins in its text.
    fn begin_of(&self, at: usize) -> usize {
        let Entry { end, total, .. } = self.entries[at];
        end as usize - (total as usize - self.total_before(at))
    }

    /// Bytes of both texts before entry `at`.
    fn total_before(&self, at: usize) -> usize {
        self.entries[..at].last().map_or(0, |entry| entry.total as usize)
    }
}
