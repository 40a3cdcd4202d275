//! Cumulative answers: finds the new text in a frame that contains the whole text so far.
use std::mem;

use crate::upstream::{
    frame::{FrameError, NewText, RawText},
    json_string::unescape,
    template::offset,
};

/// Finds the new part of each frame at a cost that depends on the new part, not on the whole text.
///
/// The lines of one answer are identical up to the end of the text so far: the keys before the text do not change, and
/// the text only grows. `seen` is the previous line up to the closing quote of its text. If a new line begins with
/// `seen`, a JSON parser at that point is inside the same string, between whole characters and escapes, because the
/// previous line was valid. Removing the known text from the line therefore yields JSON that is valid if and only if
/// the whole line is, and that differs only in the string, which is now the new text. That shorter JSON is parsed (the
/// fast path). Every other line takes the slow path: it is parsed whole, and the texts are compared.
#[derive(Debug, Default)]
pub(super) struct Cumulative {
    /// The last line with text, up to but not including the closing quote of the text.
    seen: Vec<u8>,
    /// Offset in `seen` of the text, after its opening quote.
    open: usize,
    /// The last text, decoded, if it was not a single string; then `seen` is empty.
    parts: Option<String>,
    /// The reasoning so far, decoded.
    reasoning: String,
    /// A buffer for lines without the known text.
    spliced: Vec<u8>,
    was_rewritten: bool,
}

impl Cumulative {
    /// Starts with these texts as the text so far.
    pub(super) fn after(text: String, reasoning: String) -> Self {
        Cumulative { parts: Some(text).filter(|text| !text.is_empty()), reasoning, ..Cumulative::default() }
    }

    /// Whether some text did not begin with the text before it.
    pub(super) fn was_rewritten(&self) -> bool {
        self.was_rewritten
    }

    /// Fast path: the line without the known text, if it begins with `seen`. Return the buffer by
    /// [`Cumulative::recycle`].
    pub(super) fn splice(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        if self.seen.is_empty() {
            return None;
        }
        let rest = line.strip_prefix(self.seen.as_slice())?;
        let mut spliced = mem::take(&mut self.spliced);
        spliced.clear();
        spliced.extend_from_slice(&line[..self.open]);
        spliced.extend_from_slice(rest);
        Some(spliced)
    }

    pub(super) fn recycle(&mut self, spliced: Vec<u8>) {
        self.spliced = spliced;
    }

    /// Whether `text`, parsed from `spliced`, is the string that was shortened: what follows it in the line can select
    /// another choice's text.
    pub(super) fn is_piece(&self, spliced: &[u8], text: &RawText<'_>) -> bool {
        text.single().is_some_and(|piece| offset(spliced, piece) == Some(self.open))
    }

    /// Adds new text for which [`Cumulative::is_piece`] holds.
    pub(super) fn grow(&mut self, piece: &RawText<'_>) {
        let raw = piece.single().unwrap_or_default();
        self.seen.extend_from_slice(raw.as_bytes());
    }

    /// Slow path: the part of `text`, parsed from the whole `line`, that follows the last text. A line without text leaves
    /// the text so far unchanged.
    ///
    /// # Errors
    /// `text` does not begin with the text so far: text that was sent cannot be withdrawn, and a difference would be a
    /// guess.
    pub(super) fn compare<'a>(&mut self, line: &[u8], text: RawText<'a>) -> Result<NewText<'a>, FrameError> {
        if text.is_empty() {
            return Ok(NewText::Raw(RawText::default()));
        }
        let place = text.single().and_then(|raw| offset(line, raw).map(|at| (raw, at)));
        let known = self.seen.get(self.open..).unwrap_or_default();
        if let Some((raw, at)) = place
            && self.parts.is_none()
            && raw.as_bytes().starts_with(known)
            && let Some(rest) = raw.get(known.len()..)
        {
            self.remember(line, at + raw.len(), at);
            return Ok(NewText::Raw(RawText::of(rest)));
        }
        // The same text may be written with other escapes or divided into other parts.
        let old = match self.parts.take() {
            Some(parts) => parts,
            None => decoded([std::str::from_utf8(known).unwrap_or_default()])?,
        };
        let new = decoded(text.pieces())?;
        let rest = self.beyond(&new, &old)?;
        match place {
            Some((raw, at)) => self.remember(line, at + raw.len(), at),
            None => {
                self.seen.clear();
                self.open = 0;
                self.parts = Some(new);
            }
        }
        Ok(NewText::Decoded(rest))
    }

    /// The same for reasoning, which is short and rarely cumulative, so the decoded texts are always compared.
    ///
    /// # Errors
    /// As [`Cumulative::compare`].
    pub(super) fn compare_reasoning<'a>(&mut self, text: &RawText<'a>) -> Result<NewText<'a>, FrameError> {
        if text.is_empty() {
            return Ok(NewText::Raw(RawText::default()));
        }
        let new = decoded(text.pieces())?;
        let known = mem::take(&mut self.reasoning);
        let rest = self.beyond(&new, &known)?;
        self.reasoning = new;
        Ok(NewText::Decoded(rest))
    }

    fn beyond(&mut self, new: &str, old: &str) -> Result<String, FrameError> {
        let rest = new.strip_prefix(old).map(str::to_owned);
        self.was_rewritten = rest.is_none();
        rest.ok_or_else(|| FrameError::Malformed("the text so far was rewritten".to_owned()))
    }

    fn remember(&mut self, line: &[u8], close: usize, open: usize) {
        self.seen.clear();
        self.seen.extend_from_slice(&line[..close]);
        self.open = open;
    }
}

fn decoded<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Result<String, FrameError> {
    let mut text = String::new();
    for piece in pieces {
        unescape(piece, &mut text)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::dashscope::frame::WireFrame;

    /// What the fast path parses of `line`, if it applies.
    fn fast(cumulative: &mut Cumulative, line: &str) -> Option<String> {
        let spliced = cumulative.splice(line.as_bytes())?;
        let text = WireFrame::parse(&spliced).ok()?.content().ok()?.answer;
        if !cumulative.is_piece(&spliced, &text) {
            return None;
        }
        cumulative.grow(&text);
        String::from_utf8(spliced.clone()).ok()
    }

    fn slow(cumulative: &mut Cumulative, line: &str) {
        let text = WireFrame::parse(line.as_bytes()).unwrap().content().unwrap().answer;
        assert!(cumulative.compare(line.as_bytes(), text).is_ok());
    }

    /// The slow path handles every line that the fast path does not, so only this test shows that the fast path works.
    #[test]
    fn only_what_is_new_is_parsed() {
        let line = |content: &str, rest: &str| {
            format!("{{\"output\":{{\"choices\":[{{\"message\":{{\"content\":{content}}}}}]}},{rest}}}")
        };
        for (open, close) in [("\"", "\""), ("[{\"text\":\"", "\"}]")] {
            let content = |text: &str| format!("{open}{text}{close}");
            let mut cumulative = Cumulative::default();
            assert_eq!(fast(&mut cumulative, &line(&content("你"), "\"usage\":{}")), None);
            slow(&mut cumulative, &line(&content("你"), "\"usage\":{}"));
            for (text, piece) in
                [(r"你\n", r"\n"), (r"你\n\ud83d\ude00", r"\ud83d\ude00"), (r"你\n\ud83d\ude00", "")]
            {
                let rest = format!("\"request_id\":\"{}\"", text.len());
                let spliced = fast(&mut cumulative, &line(&content(text), &rest));
                assert_eq!(spliced, Some(line(&content(piece), &rest)));
            }
            // A line with another beginning, or one in which the text is another choice's because of what follows it.
            assert_eq!(fast(&mut cumulative, &line(&content("x"), "\"usage\":{}")), None);
            let other =
                line(&content(r"你\n\ud83d\ude00!"), "\"usage\":{}").replace("}}]}", "},\"index\":1}]}");
            assert_eq!(fast(&mut cumulative, &other), None);
        }
    }
}
