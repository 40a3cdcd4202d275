//! The text of a good answer, known in advance, so that a load tester can compare what it receives.
use super::{Script, plan::seed_of, source::Source, switches, value};
use std::fmt::Write as _;

/// The text of an answer, piece by piece, without time stamps.
#[derive(Clone, Debug)]
pub struct Expected {
    source: Source,
    pieces: u64,
    think: u64,
    next: u64,
    stamped: bool,
    numbered: bool,
}

impl Expected {
    /// The answer to a `/sim` message; `None` if it is not predictable: other messages, faults, help.
    pub fn of(message: &str) -> Option<Expected> {
        if !Script::is_script(message) {
            return None;
        }
        let settings = value::settings(message.strip_prefix(super::PREFIX)?).ok()?;
        if settings.iter().any(|setting| switches::find(&setting.name).map_or(true, |switch| switch.fault)) {
            return None;
        }
        let script = Script::parse(message).ok()?;
        if script.help || script.finish.is_some() || !script.after_finish.is_empty() {
            return None;
        }
        let (think, tokens) = (script.think.unwrap_or(0), script.answer_tokens());
        let seed = script.seed.unwrap_or_else(|| seed_of(message));
        let source = match script.text {
            Some(text) => Source::text(text),
            None => Source::Filler { alphabet: script.alphabet, word_len: script.word_len, seed },
        };
        let pieces = tokens.or(source.len()).unwrap_or(0);
        Some(Expected { source, pieces, think, next: 0, stamped: script.stamp, numbered: script.number })
    }

    /// The answer of `sim-echo`.
    pub fn echo(message: &str) -> Expected {
        let source = Source::text(message.to_owned());
        let pieces = source.len().unwrap_or(0);
        Expected { source, pieces, think: 0, next: 0, stamped: false, numbered: false }
    }

    /// Whether each piece is preceded by a time stamp.
    pub fn is_stamped(&self) -> bool {
        self.stamped
    }

    /// Number of pieces taken so far.
    pub fn taken(&self) -> u64 {
        self.next
    }

    /// Moves to this piece.
    pub fn seek(&mut self, piece: u64) {
        self.next = piece.min(self.pieces);
    }

    /// Appends the next piece; false after the last one.
    pub fn piece(&mut self, out: &mut String) -> bool {
        if self.next == self.pieces {
            return false;
        }
        if self.numbered {
            // Writing to a String cannot fail.
            let _ = write!(out, "#{} ", self.next + self.think);
        }
        self.source.piece(self.next, out);
        self.next += 1;
        true
    }
}
