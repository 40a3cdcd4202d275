//! Frames that differ from one that was parsed in nothing but their text and their token counts.
use super::event::{Finish, Frame, Said, inner};
use crate::{chat::Usage, upstream::usage};
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
/// A service spells the frames of one answer alike: only the text and the numbers inside `usage`
/// differ. So a frame that was parsed is kept as a shape with holes, one in place of the string that was
/// its text, one for each number in `usage` and one for the request's id, of which the first frame has told.
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
    is_thought: bool,
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

/// The text of a line that fitted, as it stands between its quotes.
pub(super) struct Piece<'a> {
    pub(super) raw: &'a str,
    pub(super) is_thought: bool,
}

impl Template {
    /// The text of a line that fits. An empty text never does: there another field may hold it.
    pub(super) fn read<'a>(&mut self, line: &'a [u8]) -> Option<Piece<'a>> {
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
        let is_thought = shape.is_thought;
        if counted > 0 {
            (self.counts, self.counted) = (counts, true);
        }
        self.misses = 0;
        Some(Piece { raw, is_thought })
    }

    /// Takes the shape of a frame that was parsed from `line`, if it is one of text alone.
    pub(super) fn learn(&mut self, line: &[u8], frame: &Frame<'_>, said: &Said<'_>) {
        (self.shape, self.counted) = (None, false);
        if self.misses < MISSES_MAX
            && let Some(shape) = Shape::of(line, frame, said)
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
    fn of(line: &[u8], frame: &Frame<'_>, said: &Said<'_>) -> Option<Shape> {
        let (text, is_thought) = match (said.text.is_empty(), said.reasoning.is_empty()) {
            (false, true) => (&said.text, false),
            (true, false) => (&said.reasoning, true),
            _ => return None,
        };
        if said.finish != Finish::NotYet || said.tools {
            return None;
        }
        let text = range(line, text.single()?)?;
        let usage = frame.usage_raw().and_then(|raw| range(line, raw)).unwrap_or(0..0);
        let counts = numbers(line, usage.clone());
        if usage.contains(&text.start) || counts.len() > COUNTS_MAX {
            return None;
        }
        let mut holes: Vec<_> = counts.into_iter().map(|count| (count, Hole::Count)).collect();
        holes.push((text, Hole::Text));
        let named = frame.request_id.and_then(inner).and_then(|id| range(line, id));
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
        let mut shape = Shape { line: line.to_vec(), fixed, usage, totals: None, is_thought };
        shape.totals = shape.find_totals();
        Some(shape)
    }

    /// Reads the totals of a line whose counts are marks that no count can be, and sees which mark is where.
    fn find_totals(&self) -> Option<Totals> {
        let marks: [u32; COUNTS_MAX] = std::array::from_fn(|at| u32::MAX - at as u32);
        let usage = usage::totals(&self.usage(&marks)?)?;
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
        self.is_thought == other.is_thought
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(text: &str, counts: [&str; 2]) -> String {
        format!(
            "{{\"output\":{{\"choices\":[{{\"message\":{{\"content\":\"{text}\",\"role\":\"assistant\"}},\
             \"finish_reason\":\"null\",\"index\":0}}]}},\"usage\":{{\"total_tokens\":{},\"input_tokens\":7,\
             \"output_tokens\":{},\"model\":\"v2\"}},\"request_id\":\"r-1\"}}",
            counts[0], counts[1]
        )
    }

    fn learnt(from: &str) -> Template {
        let mut template = Template::default();
        let frame = Frame::parse(from.as_bytes()).unwrap();
        template.learn(from.as_bytes(), &frame, &frame.said().unwrap());
        template
    }

    /// The parser reads whatever the template does not take, so only this tells that it works.
    #[test]
    fn a_frame_that_is_spelled_alike_is_not_parsed() {
        let mut template = learnt(&line("He", ["9", "2"]));
        for text in ["l", "lo, 你好", r#"a\n\"b\\"#, "longer than the first one"] {
            let next = line(text, ["12", "5"]);
            assert_eq!(template.read(next.as_bytes()).unwrap().raw, text);
        }
        let usage = Usage { input_tokens: 7, output_tokens: 5, ..Usage::default() };
        assert_eq!(template.take_usage(), Some(usage));
        assert_eq!(template.take_usage(), None);
        let thought = line("", ["9", "2"]).replace("\"role\"", "\"reasoning_content\":\"hm\",\"role\"");
        let mut template = learnt(&thought);
        let next = thought.replace("hm", "so");
        assert!(template.read(next.as_bytes()).is_some_and(|piece| piece.is_thought && piece.raw == "so"));
    }

    #[test]
    fn answers_that_are_spelled_alike_share_a_shape_and_not_their_counts() {
        let (mut one, mut other) = (learnt(&line("He", ["9", "2"])), learnt(&line("你", ["1", "1"])));
        let shape = |template: &Template| template.shape.as_ref().map(Rc::as_ptr);
        assert_eq!(shape(&one), shape(&other));
        let next = |id: &str, counts| line("x", counts).replace("r-1", id);
        assert!(one.read(next("one", ["12", "5"]).as_bytes()).is_some());
        assert!(other.read(next("other", ["13", "6"]).as_bytes()).is_some());
        assert_eq!(one.usage().map(|usage| usage.output_tokens), Some(5));
        assert_eq!(other.usage().map(|usage| usage.output_tokens), Some(6));
        let thought = line("", ["9", "2"]).replace("\"role\"", "\"reasoning_content\":\"hm\",\"role\"");
        assert_ne!(shape(&one), shape(&learnt(&thought)));
        for number in 0..2 * SHAPES_MAX {
            learnt(&line("x", ["9", "2"]).replace("v2", &format!("v-{number}")));
        }
        assert_eq!(SHAPES.with_borrow(Vec::len), SHAPES_MAX);
        assert!(one.read(next("one", ["12", "5"]).as_bytes()).is_some(), "forgotten by the thread alone");
    }

    #[test]
    fn what_means_something_else_is_parsed() {
        let first = line("He", ["9", "2"]);
        for other in [
            line("", ["9", "2"]),
            line("a\u{1}b", ["9", "2"]),
            line("a\\", ["9", "2"]),
            line("x", ["09", "2"]),
            line("x", ["-9", "2"]),
            line("x", ["9.5", "2"]),
            line("x", ["1234567890", "2"]),
            line("x", ["9", "2"]).replace("\"index\":0", "\"index\":1"),
            line("x", ["9", "2"]).replace("null", "stop"),
            line("x", ["9", "2"]).replace("r-1", "r\\u002d2"),
            line("x", ["9", "2"]).replace("r-1", ""),
            line("x", ["9", "2"]).replace("\"r-1\"", "null"),
            line("x", ["9", "2"]).replace("v2", "v3"),
            line("x", ["9", "2"]) + " ",
            line("x", ["9", "2"]).trim_end_matches('}').to_owned(),
        ] {
            assert!(learnt(&first).read(other.as_bytes()).is_none(), "{other}");
        }
        let mut bytes = line("?", ["9", "2"]).into_bytes();
        let at = bytes.iter().position(|&byte| byte == b'?').unwrap();
        bytes[at] = 0xff;
        assert!(learnt(&first).read(&bytes).is_none());
        assert!(learnt(&line("x", ["9", "2"]).replace("null", "stop")).shape.is_none());
    }

    const FRAMES: [&str; 3] = [
        r#"{"output":{"text":null,"choices":[{"message":{"content":"TEXT","reasoning_content":""},"finish_reason":"null"}]},"usage":{"input_tokens":1,"output_tokens":COUNT,"output_tokens_details":{"reasoning_tokens":COUNT}},"request_id":"r"}"#,
        r#"{"usage": {"input_tokens": COUNT, "output_tokens": 3, "x": [1, COUNT]},"output":{"text":"TEXT","finish_reason":null}}"#,
        r#"{"output":{"choices":[{"index":0,"message":{"content":[{"text":"TEXT"}]}},{"index":1,"message":{"content":"no"}}]},"request_id":"COUNT"}"#,
    ];

    proptest! {
        /// Whatever the template takes, the parser reads alike; broken and foreign lines included.
        #[test]
        fn agrees_with_the_parser(
            form in 0..FRAMES.len(),
            texts in prop::collection::vec(r#"([a-z你"{},]|\\["\\nux]|\\u00e9|\\ud83d){0,6}"#, 2),
            counts in prop::collection::vec("(0|[1-9][0-9]{0,20}|-1|1e3|0[1-9]|x)", 2),
            cut in 0..400usize,
        ) {
            let spell = |at: usize| FRAMES[form].replace("TEXT", &texts[at]).replace("COUNT", &counts[at]);
            let (first, second) = (spell(0), spell(1));
            let Ok(frame) = Frame::parse(first.as_bytes()) else { return Ok(()) };
            let Ok(said) = frame.said() else { return Ok(()) };
            let mut template = Template::default();
            template.learn(first.as_bytes(), &frame, &said);
            for line in [second.as_bytes(), first.as_bytes(), &second.as_bytes()[..cut.min(second.len())]] {
                let Some(piece) = template.read(line) else { continue };
                let told = template.take_usage();
                let mut decoded = String::new();
                if crate::upstream::json_string::unescape(piece.raw, &mut decoded).is_err() {
                    continue; // It fails, as the parser's does.
                }
                let frame = Frame::parse(line).unwrap();
                let said = frame.said().unwrap();
                prop_assert_eq!(said.text.single(), Some(piece.raw));
                prop_assert!(said.reasoning.is_empty() && said.finish == Finish::NotYet && !said.tools);
                if told.is_some() {
                    prop_assert_eq!(told, frame.usage());
                }
            }
        }
    }
}
