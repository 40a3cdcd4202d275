//! Frames that differ from one that was parsed in nothing but their text and their token counts.
use super::usage;
use crate::chat::{TextKind, Usage};
use std::{cell::RefCell, fmt::Write, ops::Range, rc::Rc};

/// Numbers inside `usage`. A frame with more is parsed each time.
const COUNTS_MAX: usize = 12;
/// Letters of a request's id.
const ID_BYTES_MAX: usize = 128;
/// Frames in a row that did not fit; after these the service is taken to spell each one anew.
const MISSES_MAX: u8 = 16;
/// Shapes that a thread shares among its answers; beyond it the oldest is forgotten.
const SHAPES_MAX: usize = 16;

thread_local! {
    /// Shapes that were learnt last. A service spells all of its answers alike, and one copy of that
    /// stays in the cache where a thousand do not.
    static SHAPES: RefCell<Vec<Rc<Shape>>> = const { RefCell::new(Vec::new()) };
}

/// Reads most frames of an answer without parsing them.
///
/// A service spells the frames of one answer alike, in whichever dialect: only the text and the numbers inside `usage`
/// differ. So a frame that was parsed is kept as a shape with holes, one in place of the string that was
/// its text, one for each number in `usage` and one for the request's id, which the first frame has given.
/// A line that is the same bytes round the holes, with a JSON string in the one, plain numbers and a plain id
/// in the others, parses to the same frame with that text and those counts. Whatever else comes is
/// parsed, and becomes the shape.
#[derive(Debug, Default)]
pub(super) struct Template {
    shape: Option<Rc<Shape>>,
    /// Numbers of the last line that fitted: only the last ones are ever wanted.
    counts: [u32; COUNTS_MAX],
    /// One fitted since the last frame that was parsed.
    counted: bool,
    misses: u8,
}

/// A frame that was parsed, with holes.
#[derive(Debug)]
struct Shape {
    line: Vec<u8>,
    /// What must be the same, each a range of `line` and the hole behind it.
    fixed: Vec<(Range<u32>, Hole)>,
    /// `usage`, as a range of `line`.
    usage: Range<usize>,
    /// Where its totals stand among the counts; `None`: it has none.
    totals: Option<Totals>,
    kind: TextKind,
    /// Reads the totals out of the value of `usage`.
    read_totals: ReadTotals,
}

/// Reads the totals out of the value of a field `usage`.
pub(super) type ReadTotals = fn(&str) -> Option<Usage>;

/// A frame that was parsed and is nothing but text: its parts as slices of its line.
#[derive(Debug)]
pub(super) struct Sample<'a> {
    pub(super) kind: TextKind,
    /// The inside of the string that is the text.
    pub(super) text: &'a str,
    /// The value of `usage`.
    pub(super) usage: Option<&'a str>,
    /// The inside of the string that is the request's id.
    pub(super) request_id: Option<&'a str>,
    pub(super) read_totals: ReadTotals,
}

/// Where a total of a line is found.
#[derive(Clone, Copy, Debug)]
enum Total {
    /// Among the counts of the line.
    Count(usize),
    /// The same in every line of the shape.
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
    /// The line ends here.
    End,
}

impl Template {
    /// The text of a line that fits. An empty text never does: there another field may hold it.
    pub(super) fn read<'a>(&mut self, line: &'a [u8]) -> Option<(TextKind, &'a str)> {
        let shape = self.shape.as_deref()?;
        let (mut at, mut text, mut counts, mut counted) = (0, 0..0, self.counts, 0);
        for (fixed, hole) in &shape.fixed {
            let fixed = shape.piece(fixed);
            let begin = at + fixed.len();
            if line.get(at..begin)? != fixed {
                return None;
            }
            at = begin;
            match hole {
                Hole::Text => {
                    at += string(&line[at..])?;
                    text = begin..at;
                }
                Hole::Count => {
                    let (number, digits) = usage::count(&line[at..])?;
                    counts[counted] = number;
                    counted += 1;
                    at += digits;
                }
                Hole::Id => at += id(&line[at..])?,
                Hole::End if at != line.len() => return None,
                Hole::End => {}
            }
        }
        let raw = std::str::from_utf8(&line[text]).ok()?;
        let kind = shape.kind;
        if counted > 0 {
            (self.counts, self.counted) = (counts, true);
        }
        self.misses = 0;
        Some((kind, raw))
    }

    /// Takes the shape of a frame that was parsed from `line`; `None`: it is not one of text alone.
    pub(super) fn learn(&mut self, line: &[u8], sample: Option<Sample<'_>>) {
        (self.shape, self.counted) = (None, false);
        if self.misses < MISSES_MAX
            && let Some(shape) = sample.and_then(|sample| Shape::of(line, &sample))
        {
            self.misses += 1;
            self.shape = Some(shape.shared());
        }
    }

    /// The counts of the last line that fitted, if one did since the last parsed frame. Asked with every
    /// network read, so nothing is parsed or allocated for it.
    pub(super) fn usage(&self) -> Option<Usage> {
        let shape = self.shape.as_deref().filter(|_| self.counted)?;
        shape.totals.map(|totals| totals.of(&self.counts))
    }

    /// A frame is parsed: its own counts are the last ones from here on.
    pub(super) fn take_usage(&mut self) -> Option<Usage> {
        let usage = self.usage();
        self.counted = false;
        usage
    }
}

impl Shape {
    fn of(line: &[u8], sample: &Sample<'_>) -> Option<Shape> {
        let text = range(line, sample.text)?;
        let usage = sample.usage.and_then(|raw| range(line, raw)).unwrap_or(0..0);
        let counts = numbers(line, usage.clone());
        if usage.contains(&text.start) || counts.len() > COUNTS_MAX {
            return None;
        }
        let mut holes: Vec<_> = counts.into_iter().map(|count| (count, Hole::Count)).collect();
        holes.push((text, Hole::Text));
        let named = sample.request_id.and_then(|id| range(line, id));
        if let Some(name) = named.filter(|name| id(&line[name.start..]) == Some(name.len())) {
            holes.push((name, Hole::Id));
        }
        holes.sort_by_key(|(hole, _)| hole.start);
        let (mut fixed, mut at) = (Vec::with_capacity(holes.len() + 1), 0);
        for (hole, kind) in holes {
            fixed.push((at..u32::try_from(hole.start).ok()?, kind));
            at = u32::try_from(hole.end).ok()?;
        }
        fixed.push((at..u32::try_from(line.len()).ok()?, Hole::End));
        let (kind, read_totals) = (sample.kind, sample.read_totals);
        let mut shape = Shape { line: line.to_vec(), fixed, usage, totals: None, kind, read_totals };
        shape.totals = shape.find_totals();
        Some(shape)
    }

    /// Reads the totals of a line whose counts are marks that no count can be, and sees which mark is where.
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

    /// The copy of it that the thread has, if it has one: the same but for what is in the holes.
    fn shared(self) -> Rc<Shape> {
        SHAPES.with_borrow_mut(|shapes| {
            if let Some(known) = shapes.iter().find(|known| known.is_like(&self)) {
                return Rc::clone(known);
            }
            let shape = Rc::new(self);
            if shapes.len() >= SHAPES_MAX {
                shapes.remove(0);
            }
            shapes.push(Rc::clone(&shape));
            shape
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

/// The length of the inside of a JSON string. Escapes are looked at where they are decoded.
fn string(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            b'"' => return (at > 0).then_some(at),
            b'\\' => at += 2,
            0..0x20 => return None,
            _ => at += 1,
        }
    }
}

/// The length of a request's id, if it is a plain one.
fn id(bytes: &[u8]) -> Option<usize> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let length = bytes.iter().take(ID_BYTES_MAX + 1).take_while(|byte| plain(byte)).count();
    (length > 0 && length <= ID_BYTES_MAX && bytes.get(length) == Some(&b'"')).then_some(length)
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
