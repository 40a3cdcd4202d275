//! Plays one streamed answer: given the time, it returns the next step.
use super::{
    AfterFinish, Fault, Mode, ServiceError, Split,
    delta::{Delta, Finish},
    frames::Frames,
    source::Source,
};
use crate::{json, units::nanos};
use bytes::{Bytes, BytesMut};
use std::{collections::VecDeque, fmt::Write as _, time::Duration};

/// The next step of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send these bytes.
    Write(Bytes),
    /// Call again at this offset from the start.
    Wait(Duration),
    /// Flush to the socket, then call again.
    Flush,
    /// End the body normally.
    End,
    /// Close the connection in the middle of the body.
    Cut,
    /// Reset the connection.
    Reset,
    /// Send nothing until the client disconnects.
    Hang,
}

/// Contents of one answer. Times are nanoseconds since the start.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(super) frames: Frames,
    pub(crate) reasoning: Source,
    pub(crate) answer: Source,
    pub(crate) think: u64,
    /// Reasoning and answer deltas in total.
    pub(crate) total: u64,
    pub(crate) mode: Mode,
    pub(crate) finish: String,
    pub(crate) last_null: bool,
    pub(crate) no_last_blank: bool,
    pub(crate) stamp: bool,
    pub(crate) number: bool,
    pub(crate) empty_every: u64,
    pub(crate) after_finish: Vec<AfterFinish>,
    pub(crate) faults: VecDeque<(u64, Fault)>,
    pub(crate) first: u64,
    pub(crate) pace: u64,
    pub(crate) phase: u64,
    pub(crate) group: u64,
    pub(crate) keepalive: Option<u64>,
    pub(crate) split: Split,
    pub(crate) bom: bool,
    /// The error reported in mid-stream.
    pub(crate) error: ServiceError,
}

/// State of one answer.
#[derive(Debug)]
pub struct Player {
    parts: Parts,
    stage: Stage,
    /// The next delta, from 0.
    next: u64,
    out: BytesMut,
    /// A part was written; the next one waits until it is flushed.
    flush_next: bool,
    part_due: u64,
    /// Writes that are left for the pending bytes; 0 before their first one.
    writes_left: usize,
    flushed: bool,
    last_write: u64,
    piece: String,
    escaped: Vec<u8>,
    /// The piece of text for the terminal frame, escaped.
    last: Vec<u8>,
    /// The text so far, escaped; only kept in cumulative mode.
    so_far: [Vec<u8>; 2],
}

#[derive(Debug)]
enum Stage {
    Text,
    /// Remaining bytes of a long line.
    LongLine(u64),
    Hang,
    Last(Step),
}

/// What ends an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Terminal {
    Frame,
    /// What follows the terminal frame.
    Close,
}

impl Player {
    pub(crate) fn new(parts: Parts) -> Self {
        let mut out = BytesMut::with_capacity(1024);
        if parts.bom {
            out.extend_from_slice("\u{feff}".as_bytes());
        }
        Player {
            parts,
            stage: Stage::Text,
            next: 0,
            out,
            flush_next: false,
            part_due: 0,
            writes_left: 0,
            flushed: false,
            last_write: 0,
            piece: String::new(),
            escaped: Vec::new(),
            last: Vec::new(),
            so_far: [Vec::new(), Vec::new()],
        }
    }

    /// Returns the next step. `elapsed` counts from the start of the answer; `clock` is the machine's
    /// monotonic clock in nanoseconds, written into stamped deltas.
    pub fn step(&mut self, elapsed: Duration, clock: u64) -> Step {
        let now = nanos(elapsed);
        loop {
            if !self.out.is_empty() {
                return self.emit(now);
            }
            match self.stage {
                // Flush before closing, so that written bytes reach the socket.
                Stage::Last(Step::Cut | Step::Reset) if !self.flushed => {
                    self.flushed = true;
                    return Step::Flush;
                }
                Stage::Last(ref step) => return step.clone(),
                Stage::Hang => return self.wait(None, now),
                Stage::LongLine(left) => self.long_line(left),
                Stage::Text => {
                    if let Some(fault) = self.due_fault() {
                        self.provoke(fault);
                    } else if self.next == self.parts.total {
                        self.finish();
                    } else {
                        let end = self.group_end();
                        let due = self.due(end - 1);
                        if now < due {
                            return self.wait(Some(due), now);
                        }
                        (self.next..end).for_each(|k| self.delta(k, clock));
                        self.next = end;
                    }
                }
            }
        }
    }

    /// When delta `k` is due. The first is due exactly as scripted; the others keep a fixed rate from there,
    /// shifted by this stream's phase so that streams are not synchronized.
    fn due(&self, k: u64) -> u64 {
        match k {
            0 => self.parts.first,
            k => self.parts.first + k.saturating_mul(self.parts.pace) - self.parts.phase,
        }
    }

    /// The end of the next group of deltas; a fault ends it early.
    fn group_end(&self) -> u64 {
        let fault = self.parts.faults.front().map_or(u64::MAX, |(after, _)| *after);
        (self.next + self.parts.group).min(self.parts.total).min(fault)
    }

    /// The next fault, if its delta was written or none is left.
    fn due_fault(&mut self) -> Option<Fault> {
        let (after, _) = self.parts.faults.front()?;
        let due = *after <= self.next || self.next == self.parts.total;
        due.then(|| self.parts.faults.pop_front().map(|(_, fault)| fault)).flatten()
    }

    /// Waits, or writes a keep-alive comment if one is due earlier.
    fn wait(&mut self, due: Option<u64>, now: u64) -> Step {
        let Some(keepalive) = self.parts.keepalive else {
            return due.map_or(Step::Hang, |due| Step::Wait(Duration::from_nanos(due)));
        };
        let comment = self.last_write + keepalive;
        if now >= comment {
            self.out.extend_from_slice(self.parts.frames.keepalive().as_bytes());
            return self.emit(now);
        }
        Step::Wait(Duration::from_nanos(due.unwrap_or(u64::MAX).min(comment)))
    }

    /// Returns pending bytes, whole or in parts.
    fn emit(&mut self, now: u64) -> Step {
        let split = self.parts.split;
        if split.bytes == 0 && split.writes < 2 && !split.inside_characters {
            self.last_write = now;
            return Step::Write(self.out.split().freeze());
        }
        if self.flush_next {
            if now < self.part_due {
                return Step::Wait(Duration::from_nanos(self.part_due));
            }
            self.flush_next = false;
            if split.gap.is_zero() {
                return Step::Flush;
            }
        }
        if self.writes_left == 0 {
            self.writes_left = split.writes.max(1);
        }
        let bound = if split.bytes == 0 {
            self.out.len().div_ceil(self.writes_left)
        } else {
            split.bytes.min(self.out.len())
        };
        let inside =
            split.inside_characters.then(|| self.out.iter().position(|byte| *byte >= 0xc0)).flatten();
        let length = inside.map_or(bound, |at| bound.min(at + 1));
        self.flush_next = true;
        self.part_due = now + nanos(split.gap);
        self.last_write = now;
        self.writes_left = if length < self.out.len() { self.writes_left.saturating_sub(1) } else { 0 };
        Step::Write(self.out.split_to(length).freeze())
    }

    /// Writes delta `k`.
    fn delta(&mut self, k: u64, clock: u64) {
        let thinks = k < self.parts.think;
        if self.parts.empty_every > 0 && (k + 1).is_multiple_of(self.parts.empty_every) {
            // An empty piece; in a cumulative stream it repeats the last frame.
            self.escaped.clear();
            self.write_delta(thinks, k);
        }
        self.piece.clear();
        // Writing to a String cannot fail.
        if self.parts.stamp {
            let _ = write!(self.piece, "@{clock} ");
        }
        if self.parts.number {
            let _ = write!(self.piece, "#{k} ");
        }
        if thinks {
            self.parts.reasoning.piece(k, &mut self.piece);
        } else {
            self.parts.answer.piece(k - self.parts.think, &mut self.piece);
        }
        self.escaped.clear();
        json::push_escaped(&mut self.escaped, &self.piece);
        if self.parts.mode == Mode::Cumulative {
            self.so_far[usize::from(thinks)].extend_from_slice(&self.escaped);
        }
        let is_last = k + 1 == self.parts.total;
        if is_last && !thinks && self.parts.frames.ends_with_text() {
            // The terminal frame holds it.
            self.last = std::mem::take(&mut self.escaped);
        } else {
            self.write_delta(thinks, k + 1);
        }
    }

    /// Writes a frame with the contents of `escaped`, or with the text so far.
    fn write_delta(&mut self, thinks: bool, output_tokens: u64) {
        let (content, reasoning): (&[u8], &[u8]) = match self.parts.mode {
            Mode::Cumulative => (&self.so_far[0], &self.so_far[1]),
            Mode::Incremental if thinks => (b"", &self.escaped),
            Mode::Incremental => (&self.escaped, b""),
        };
        let reasoning_tokens = output_tokens.min(self.parts.think);
        let delta = Delta { content, reasoning, finish: None, output_tokens, reasoning_tokens };
        self.parts.frames.result(&mut self.out, &delta);
    }

    /// Writes the terminal frame and what follows it.
    fn finish(&mut self) {
        if self.parts.finish == "tool_calls" {
            self.tool_call();
        }
        let before = self.out.len();
        self.terminal(Terminal::Frame);
        for extra in std::mem::take(&mut self.parts.after_finish) {
            match extra {
                AfterFinish::SecondFinish => self.terminal(Terminal::Frame),
                AfterFinish::Done => self.out.extend_from_slice(b"data:[DONE]\n\n"),
                AfterFinish::Usage => {
                    self.parts.frames.late_usage(&mut self.out, self.parts.total + 1000);
                }
                AfterFinish::Text => {
                    self.escaped.clear();
                    self.escaped.extend_from_slice(b"text after the finish");
                    self.write_delta(false, self.parts.total + 1);
                }
            }
        }
        self.terminal(Terminal::Close);
        if self.parts.no_last_blank && self.out.len() > before {
            self.out.truncate(self.out.len() - 1);
        }
        self.stage = Stage::Last(Step::End);
    }

    fn terminal(&mut self, what: Terminal) {
        let last = std::mem::take(&mut self.last);
        let (content, reasoning): (&[u8], &[u8]) = match self.parts.mode {
            Mode::Cumulative => (&self.so_far[0], &self.so_far[1]),
            Mode::Incremental => (&last, b""),
        };
        let finish = if self.parts.last_null { Finish::Null } else { Finish::Reason(&self.parts.finish) };
        let delta = Delta {
            content,
            reasoning,
            finish: Some(finish),
            output_tokens: self.parts.total,
            reasoning_tokens: self.parts.think,
        };
        match what {
            Terminal::Frame => self.parts.frames.result(&mut self.out, &delta),
            Terminal::Close => self.parts.frames.close(&mut self.out, &delta),
        }
    }

    /// Fragments of a tool call: id and name once at the beginning, then arguments in pieces.
    fn tool_call(&mut self) {
        const FRAGMENTS: [&str; 2] = [
            r#"{"index":0,"id":"call_sim_1","type":"function","function":{"name":"get_weather","arguments":"{\"city\": "}}"#,
            r#"{"index":0,"id":"","type":"function","function":{"arguments":"\"Hangzhou\"}"}}"#,
        ];
        for fragment in FRAGMENTS {
            self.parts.frames.tool_fragment(&mut self.out, fragment);
        }
    }
}

mod provoke;
