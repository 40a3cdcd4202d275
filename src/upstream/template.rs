//! Reads frames that differ from an already parsed one only in their text and token counts, and whole events that
//! differ from the previous one only in such a frame.
mod envelope;

use super::usage;
use crate::{
    chat::{TextKind, Usage},
    json,
};
use envelope::Envelope;
use std::{cell::RefCell, fmt::Write, ops::Range, rc::Rc};

/// Numbers inside `usage`. Frames with more are always parsed.
const COUNTS_MAX: usize = 12;
/// Digits of a number that is not read.
const NUMBER_MAX: usize = 20;
/// Consecutive shapes, and consecutive envelopes, that no later frame or event matched. After that many, no more are
/// learned: the service does not repeat itself.
const MISSES_MAX: u8 = 16;
/// Shapes, and envelopes, that a thread shares among its answers. Beyond that the oldest is dropped.
const SHARED_MAX: usize = 16;

thread_local! {
    /// The shapes learned last. All answers of a service have the same shape, and one shared copy stays in the
    /// processor's cache where a thousand copies would not.
    static SHAPES: RefCell<Vec<Rc<Shape>>> = const { RefCell::new(Vec::new()) };
    /// The envelopes learned last.
    static ENVELOPES: RefCell<Vec<Rc<Envelope>>> = const { RefCell::new(Vec::new()) };
}

/// Reads most frames of an answer without parsing them.
///
/// In every dialect, the frames of one answer differ only in their text and in the numbers inside `usage`. So a parsed
/// frame is kept as a shape with holes: one for the string with the text, one for each number in `usage`, and one for
/// the ID of the request, which is only read from the first frame, and one for the time at which the answer was created,
/// which is not read. A line with the same bytes around the holes, a string in the first, and plain numbers and a plain ID
/// in the others, would be parsed to the same frame with that text and those counts. Any other line is parsed and replaces the shape.
///
/// The lines around the frame in its event are kept in the same way, as an envelope. An event that matches both is read
/// without being split into lines.
#[derive(Debug, Default)]
pub(super) struct Template {
    shape: Option<Rc<Shape>>,
    envelope: Option<Rc<Envelope>>,
    /// The numbers of the last matching frame; earlier ones are never needed.
    counts: [u32; COUNTS_MAX],
    /// A frame with numbers has matched since the last one that was parsed.
    counted: bool,
    /// Shapes learned since the last match.
    misses: u8,
    /// Envelopes learned since the last match.
    envelope_misses: u8,
}

/// The text of a matching frame or event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fit<'a> {
    pub(super) kind: TextKind,
    /// The content of the JSON string, escapes included.
    pub(super) text: &'a str,
    /// The length of the frame or of the event, in bytes.
    pub(super) length: usize,
}

/// A parsed frame, with holes.
#[derive(Debug)]
struct Shape {
    line: Vec<u8>,
    /// The parts that must be equal, as ranges of `line`, each with the hole after it.
    fixed: Vec<(Range<u32>, Hole)>,
    has_counts: bool,
    /// `usage`, as a range of `line`.
    usage: Range<usize>,
    /// Where the totals are among the counts; `None` if the frame has none.
    totals: Option<Totals>,
    kind: TextKind,
    /// Parses the value of `usage`.
    read_totals: ReadTotals,
}

/// Parses the value of a field `usage`.
pub(super) type ReadTotals = fn(&str) -> Option<Usage>;

/// A parsed frame of nothing but text, its parts as slices of its line.
#[derive(Debug)]
pub(super) struct Sample<'a> {
    pub(super) kind: TextKind,
    /// The content of the JSON string that is the text.
    pub(super) text: &'a str,
    /// The value of `usage`.
    pub(super) usage: Option<&'a str>,
    /// The content of the JSON string that is the ID of the request.
    pub(super) request_id: Option<&'a str>,
    /// A number that no dialect reads and that differs from answer to answer.
    pub(super) created: Option<&'a str>,
    pub(super) read_totals: ReadTotals,
}

/// Where a total is in a frame.
#[derive(Clone, Copy, Debug)]
enum Total {
    /// An index into the counts.
    Count(usize),
    /// The same in every frame of the shape.
    Constant(u64),
}

impl Total {
    fn of(self, counts: &[u32; COUNTS_MAX]) -> u64 {
        match self {
            Total::Count(at) => u64::from(counts[at]),
            Total::Constant(total) => total,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Totals {
    input: Total,
    output: Total,
    reasoning: Total,
    cached: Total,
}

impl Totals {
    fn of(&self, counts: &[u32; COUNTS_MAX]) -> Usage {
        Usage {
            input_tokens: self.input.of(counts),
            output_tokens: self.output.of(counts),
            reasoning_tokens: self.reasoning.of(counts),
            cached_tokens: self.cached.of(counts),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Hole {
    Text,
    Count,
    Id,
    /// A whole number that is not read.
    Number,
    /// The end of the frame.
    End,
}

impl Template {
    /// A template that never matches.
    #[cfg(test)]
    pub(super) fn off() -> Self {
        Template { misses: MISSES_MAX, ..Template::default() }
    }

    /// Matches a line. A frame with an empty text never matches, because another of its fields may hold text.
    pub(super) fn read<'a>(&mut self, line: &'a [u8]) -> Option<Fit<'a>> {
        let (shape, mut counts) = (self.shape.as_deref()?, self.counts);
        let fit = shape.read(line, &mut counts).filter(|fit| fit.length == line.len())?;
        self.counted |= shape.has_counts;
        self.counts = counts;
        self.misses = 0;
        Some(fit)
    }

    /// Matches a whole event of at most `length_max` bytes at the beginning of `bytes`. `wanted` tells for which kinds of
    /// text that is allowed.
    pub(super) fn read_event<'a>(
        &mut self,
        bytes: &'a [u8],
        length_max: usize,
        wanted: impl Fn(TextKind) -> bool,
    ) -> Option<Fit<'a>> {
        let (shape, envelope) = (self.shape.as_deref()?, self.envelope.as_deref()?);
        if !wanted(shape.kind) {
            return None;
        }
        let (begin, mut counts) = (envelope.open(bytes)?, self.counts);
        let mut fit = shape.read(&bytes[begin..], &mut counts)?;
        let end = begin + fit.length;
        fit.length = end + envelope::end(&bytes[end..])?;
        if fit.length > length_max {
            return None;
        }
        self.counted |= shape.has_counts;
        self.counts = counts;
        (self.misses, self.envelope_misses) = (0, 0);
        Some(fit)
    }

    /// Learns the envelope of an event that was read line by line, from its beginning and while no other event was
    /// open. Ignores anything but a whole event that matches the shape.
    pub(super) fn learn_event(&mut self, event: &[u8]) {
        let Some(shape) = self.shape.as_deref() else { return };
        if self.envelope_misses >= MISSES_MAX {
            return;
        }
        let Some((envelope, frame)) = Envelope::of(event) else { return };
        let fit = shape.read(frame, &mut [0; COUNTS_MAX]);
        if fit.is_none_or(|fit| fit.length != frame.len()) || self.envelope.as_deref() == Some(&envelope) {
            return;
        }
        self.envelope_misses += 1;
        self.envelope = Some(ENVELOPES.with_borrow_mut(|known| shared(known, envelope, Envelope::eq)));
    }

    /// Learns the shape of a frame that was parsed from `line`; `None` if it holds more than text.
    pub(super) fn learn(&mut self, line: &[u8], sample: Option<Sample<'_>>) {
        (self.shape, self.counted) = (None, false);
        if self.misses < MISSES_MAX
            && let Some(shape) = sample.and_then(|sample| Shape::of(line, &sample))
        {
            self.misses += 1;
            self.shape = Some(SHAPES.with_borrow_mut(|known| shared(known, shape, Shape::is_like)));
        }
    }

    /// The totals of the last matching frame, if one has matched since the last frame that was parsed. Called after every
    /// network read, so it parses and allocates nothing.
    pub(super) fn usage(&self) -> Option<Usage> {
        let shape = self.shape.as_deref().filter(|_| self.counted)?;
        shape.totals.map(|totals| totals.of(&self.counts))
    }

    /// The same, for a frame that is being parsed: from here on its own counts are the last ones.
    pub(super) fn take_usage(&mut self) -> Option<Usage> {
        let usage = self.usage();
        self.counted = false;
        usage
    }
}

impl Shape {
    /// Matches a frame at the beginning of `bytes` and writes its numbers to `counts`, which are undefined if it does not
    /// match.
    fn read<'a>(&self, bytes: &'a [u8], counts: &mut [u32; COUNTS_MAX]) -> Option<Fit<'a>> {
        let (mut at, mut text, mut counted) = (0, 0..0, 0);
        for (fixed, hole) in &self.fixed {
            let fixed = self.piece(fixed);
            let begin = at + fixed.len();
            if bytes.get(at..begin)? != fixed {
                return None;
            }
            at = begin;
            match hole {
                Hole::Text => {
                    at += string(&bytes[at..])?;
                    text = begin..at;
                }
                Hole::Count => {
                    let (number, digits) = usage::count(&bytes[at..])?;
                    counts[counted] = number;
                    counted += 1;
                    at += digits;
                }
                Hole::Id => at += id(&bytes[at..])?,
                Hole::Number => at += number(&bytes[at..])?,
                Hole::End => {}
            }
        }
        let text = std::str::from_utf8(&bytes[text]).ok()?;
        Some(Fit { kind: self.kind, text, length: at })
    }

    fn of(line: &[u8], sample: &Sample<'_>) -> Option<Shape> {
        let text = range(line, sample.text)?;
        let usage = sample.usage.and_then(|raw| range(line, raw)).unwrap_or(0..0);
        let counts = numbers(line, usage.clone());
        if usage.contains(&text.start) || counts.len() > COUNTS_MAX {
            return None;
        }
        let has_counts = !counts.is_empty();
        let mut holes: Vec<_> = counts.into_iter().map(|count| (count, Hole::Count)).collect();
        holes.push((text, Hole::Text));
        let named = sample.request_id.and_then(|id| range(line, id));
        if let Some(name) = named.filter(|name| id(&line[name.start..]) == Some(name.len())) {
            holes.push((name, Hole::Id));
        }
        let created = sample.created.and_then(|created| range(line, created));
        if let Some(created) = created.filter(|range| number(&line[range.start..]) == Some(range.len())) {
            holes.push((created, Hole::Number));
        }
        holes.sort_by_key(|(hole, _)| hole.start);
        let (mut fixed, mut at) = (Vec::with_capacity(holes.len() + 1), 0);
        for (hole, kind) in holes {
            fixed.push((at..u32::try_from(hole.start).ok()?, kind));
            at = u32::try_from(hole.end).ok()?;
        }
        fixed.push((at..u32::try_from(line.len()).ok()?, Hole::End));
        let (kind, read_totals) = (sample.kind, sample.read_totals);
        let line = line.to_vec();
        let mut shape = Shape { line, fixed, has_counts, usage, totals: None, kind, read_totals };
        shape.totals = shape.find_totals();
        Some(shape)
    }

    /// Finds the totals by parsing a `usage` whose numbers are marks that no count can reach.
    fn find_totals(&self) -> Option<Totals> {
        let marks: [u32; COUNTS_MAX] = std::array::from_fn(|at| u32::MAX - at as u32);
        let usage = (self.read_totals)(&self.usage(&marks)?)?;
        let find = |total| match marks.iter().position(|mark| u64::from(*mark) == total) {
            Some(at) => Total::Count(at),
            None => Total::Constant(total),
        };
        Some(Totals {
            input: find(usage.input_tokens),
            output: find(usage.output_tokens),
            reasoning: find(usage.reasoning_tokens),
            cached: find(usage.cached_tokens),
        })
    }

    fn is_like(&self, other: &Shape) -> bool {
        let pairs = || self.fixed.iter().zip(&other.fixed);
        self.kind == other.kind
            && std::ptr::fn_addr_eq(self.read_totals, other.read_totals)
            && self.fixed.len() == other.fixed.len()
            && pairs().all(|((mine, hole), (its, its_hole))| {
                hole == its_hole && self.piece(mine) == other.piece(its)
            })
    }

    fn piece(&self, fixed: &Range<u32>) -> &[u8] {
        &self.line[fixed.start as usize..fixed.end as usize]
    }

    /// The text of `usage` with these numbers in it.
    fn usage(&self, counts: &[u32]) -> Option<String> {
        let (mut text, mut at, mut counts) = (String::new(), self.usage.start, counts.iter());
        let holes = self.fixed.windows(2).filter(|pair| pair[0].1 == Hole::Count);
        for (begin, end) in holes.map(|pair| (pair[0].0.end as usize, pair[1].0.start as usize)) {
            text.push_str(std::str::from_utf8(&self.line[at..begin]).ok()?);
            write!(text, "{}", counts.next()?).ok()?;
            at = end;
        }
        text.push_str(std::str::from_utf8(&self.line[at..self.usage.end]).ok()?);
        Some(text)
    }
}

/// The known copy of an equal value, or else this one, which becomes known.
fn shared<T>(known: &mut Vec<Rc<T>>, new: T, is_like: fn(&T, &T) -> bool) -> Rc<T> {
    if let Some(known) = known.iter().find(|known| is_like(known, &new)) {
        return Rc::clone(known);
    }
    let new = Rc::new(new);
    if known.len() >= SHARED_MAX {
        known.remove(0);
    }
    known.push(Rc::clone(&new));
    new
}

/// The length of the content of a JSON string, up to its closing quote; `None` if it is empty or malformed
/// (RFC 8259 §7). Escapes are decoded later.
fn string(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at = json::plain(bytes, at);
        match *bytes.get(at)? {
            b'"' => return (at > 0).then_some(at),
            b'\\' => match *bytes.get(at + 1)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                b'u' if bytes.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => at += 6,
                _ => return None,
            },
            _ => return None,
        }
    }
}

/// The length of a request's ID: an ASCII string without escapes. Its value is not compared, since only the first frame
/// is asked for it.
fn id(bytes: &[u8]) -> Option<usize> {
    let length = json::plain(bytes, 0);
    (length > 0 && bytes.get(length) == Some(&b'"') && bytes[..length].is_ascii()).then_some(length)
}

/// The length of a whole number without sign, as JSON spells one; of no more than [`NUMBER_MAX`] digits.
fn number(bytes: &[u8]) -> Option<usize> {
    let length = bytes.iter().take(NUMBER_MAX).take_while(|byte| byte.is_ascii_digit()).count();
    let is_spelled = length == 1 || (length > 1 && bytes[0] != b'0');
    // What follows is compared, so a longer or a broken number does not match.
    is_spelled.then_some(length)
}

/// The whole numbers in a part of a line that is JSON.
fn numbers(line: &[u8], part: Range<usize>) -> Vec<Range<usize>> {
    let (mut found, mut at) = (Vec::new(), part.start);
    let (mut in_string, mut value_begins) = (false, false);
    while at < part.end {
        match line[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'0'..=b'9' if !in_string && value_begins => {
                let end = at + line[at..part.end].iter().take_while(|byte| byte.is_ascii_digit()).count();
                if end < part.end && matches!(line[end], b',' | b'}' | b']' | b' ') {
                    found.push(at..end);
                }
                at = end - 1;
            }
            _ => {}
        }
        value_begins = !in_string && matches!(line[at], b':' | b',' | b'[' | b' ');
        at += 1;
    }
    found
}

/// Where `part`, a slice of `line`, stands in it.
fn range(line: &[u8], part: &str) -> Option<Range<usize>> {
    offset(line, part).map(|at| at..at + part.len())
}

/// Where `part`, a slice of `line`, begins in it.
pub(super) fn offset(line: &[u8], part: &str) -> Option<usize> {
    let at = part.as_ptr().addr().checked_sub(line.as_ptr().addr())?;
    (at + part.len() <= line.len()).then_some(at)
}

#[cfg(test)]
mod tests;
