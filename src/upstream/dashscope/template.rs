//! Frames that differ from one that was parsed in nothing but their text and their token counts.
use super::event::{Finish, Frame, Said, Text};
use super::usage;
use crate::chat::Usage;
use std::ops::Range;

/// Digits of a count that always fit into 64 bits.
const COUNT_DIGITS: usize = 19;
/// Holes of a frame: its text and its counts. A frame with more is parsed each time.
const HOLES_MAX: usize = 16;
/// Frames in a row that did not fit; after these the service is taken to spell each one anew.
const MISSES_MAX: u8 = 16;

/// Reads most frames of an answer without parsing them.
///
/// A service spells the frames of one answer alike: only the text and the numbers inside `usage`
/// differ. So a frame that was parsed is kept as a template with holes, one in place of the string
/// that was its text and one for each number in `usage`. A line that is the same bytes round the
/// holes, with a JSON string in the one and plain numbers in the others, parses to the same frame
/// with that text and those counts. Whatever else comes is parsed, and becomes the template.
#[derive(Debug, Default)]
pub(super) struct Template {
    line: Vec<u8>,
    /// What must be the same: ranges of `line`. A hole stands between each and the next.
    fixed: Vec<Range<u32>>,
    /// Which hole is the text's.
    text: usize,
    is_thought: bool,
    /// `usage` of the last line that fitted, unparsed: only the last one is ever wanted.
    usage: Vec<u8>,
    /// The holes of `usage`, none if it has no numbers, and what of it lies round them.
    counts: Range<usize>,
    lead: usize,
    trail: usize,
    misses: u8,
}

/// The text of a line that fitted, as it stands between its quotes.
pub(super) struct Piece<'a> {
    pub(super) raw: &'a str,
    pub(super) is_thought: bool,
}

impl Template {
    /// The text of a line that fits. An empty text never does: there another field may hold it.
    pub(super) fn read<'a>(&mut self, line: &'a [u8]) -> Option<Piece<'a>> {
        let (last, others) = self.fixed.split_last()?;
        let (mut at, mut text, mut counts) = (0, 0..0, 0..0);
        for (hole, fixed) in others.iter().enumerate() {
            at = self.skip(line, at, fixed)?;
            let end = at + if hole == self.text { string(&line[at..]) } else { count(&line[at..]) }?;
            if hole == self.text {
                text = at..end;
            } else {
                if hole == self.counts.start {
                    counts.start = at;
                }
                counts.end = end;
            }
            at = end;
        }
        if self.skip(line, at, last)? != line.len() {
            return None;
        }
        let raw = std::str::from_utf8(&line[text]).ok()?;
        if !self.counts.is_empty() {
            self.usage.clear();
            self.usage.extend_from_slice(&line[counts.start - self.lead..counts.end + self.trail]);
        }
        self.misses = 0;
        Some(Piece { raw, is_thought: self.is_thought })
    }

    /// Makes a template of a frame that was parsed from `line`, if it is one of text alone.
    pub(super) fn learn(&mut self, line: &[u8], frame: &Frame<'_>, said: &Said<'_>) {
        self.fixed.clear();
        let (text, is_thought) = match (said.text.is_empty(), said.reasoning.is_empty()) {
            (false, true) => (&said.text, false),
            (true, false) => (&said.reasoning, true),
            _ => return,
        };
        if said.finish != Finish::NotYet || said.tools || self.misses >= MISSES_MAX {
            return;
        }
        let Some(text) = range(line, text) else { return };
        let usage = frame.usage_raw().and_then(|raw| offset(line, raw).map(|at| at..at + raw.len()));
        let usage = usage.unwrap_or(0..0);
        let mut holes = numbers(line, usage.clone());
        if usage.contains(&text.start) || holes.len() >= HOLES_MAX {
            return;
        }
        self.misses += 1;
        let before = text.start < usage.start;
        self.text = if before { 0 } else { holes.len() };
        let first = usize::from(before);
        self.counts = first..first + holes.len();
        self.lead = holes.first().map_or(0, |hole| hole.start - usage.start);
        self.trail = holes.last().map_or(0, |hole| usage.end - hole.end);
        holes.insert(self.text, text);
        self.is_thought = is_thought;
        self.line.clear();
        self.line.extend_from_slice(line);
        let starts = std::iter::once(0).chain(holes.iter().map(|hole| hole.end));
        let ends = holes.iter().map(|hole| hole.start).chain([line.len()]);
        self.fixed.extend(starts.zip(ends).map(|(start, end)| start as u32..end as u32));
    }

    /// The counts of the last line that fitted, if one did since the last parsed frame.
    pub(super) fn usage(&self) -> Option<Usage> {
        std::str::from_utf8(&self.usage).ok().and_then(usage::totals)
    }

    /// A frame is parsed: its own counts are the last ones from here on.
    pub(super) fn take_usage(&mut self) -> Option<Usage> {
        let usage = self.usage();
        self.usage.clear();
        usage
    }

    /// Where `line` goes on after what must be the same.
    fn skip(&self, line: &[u8], at: usize, fixed: &Range<u32>) -> Option<usize> {
        let fixed = &self.line[fixed.start as usize..fixed.end as usize];
        let end = at + fixed.len();
        (line.get(at..end)? == fixed).then_some(end)
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

/// The length of a whole number without sign, as JSON spells one.
fn count(bytes: &[u8]) -> Option<usize> {
    let length = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let spelled = length == 1 || (length > 1 && bytes[0] != b'0');
    (spelled && length <= COUNT_DIGITS).then_some(length)
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

/// Where the text stands in the line, if it is in one piece.
fn range(line: &[u8], text: &Text<'_>) -> Option<Range<usize>> {
    let raw = text.single()?;
    offset(line, raw).map(|at| at..at + raw.len())
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
    fn what_means_something_else_is_parsed() {
        let first = line("He", ["9", "2"]);
        for other in [
            line("", ["9", "2"]),
            line("a\u{1}b", ["9", "2"]),
            line("a\\", ["9", "2"]),
            line("x", ["09", "2"]),
            line("x", ["-9", "2"]),
            line("x", ["9.5", "2"]),
            line("x", ["12345678901234567890", "2"]),
            line("x", ["9", "2"]).replace("\"index\":0", "\"index\":1"),
            line("x", ["9", "2"]).replace("null", "stop"),
            line("x", ["9", "2"]).replace("r-1", "r-2"),
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
        assert!(learnt(&line("x", ["9", "2"]).replace("null", "stop")).fixed.is_empty());
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
