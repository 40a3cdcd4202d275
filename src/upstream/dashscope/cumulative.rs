//! Cumulative answers: finds the new text in a frame that carries the whole text so far.
use std::mem;

use crate::upstream::{
    frame::{FrameError, NewText, RawText},
    json_string::unescape,
    template::offset,
};

/// Finds the new part of each frame at a cost that grows with the new part, not with the text.
///
/// The frames of one answer are the same bytes up to the end of the text so far: the keys before
/// it do not change, and the text only grows. So the last line is kept up to the closing quote of
/// its text, as `seen`. Where a new line begins with `seen`, a JSON parser that has read that far
/// stands inside the same string, after whole characters and whole escapes (the last line was
/// valid). Cutting the known text out of the line therefore leaves JSON that is valid exactly
/// where the whole line is, and that differs in nothing but the string, which is now the new
/// piece. That shorter JSON is what gets parsed. Whatever does not fit takes the slow way, which
/// parses the whole line and compares texts.
#[derive(Debug, Default)]
pub(super) struct Cumulative {
    /// The last line with text, up to and without the closing quote of the text.
    seen: Vec<u8>,
    /// Where in `seen` the text begins, after its opening quote.
    open: usize,
    /// The last text, decoded, where it was not one string; `seen` is empty then.
    parts: Option<String>,
    /// The reasoning so far, decoded.
    reasoning: String,
    /// The buffer for lines with the known text cut out.
    spliced: Vec<u8>,
    was_rewritten: bool,
}

impl Cumulative {
    /// Continues after these texts.
    pub(super) fn after(text: String, reasoning: String) -> Self {
        Cumulative { parts: Some(text).filter(|text| !text.is_empty()), reasoning, ..Cumulative::default() }
    }

    /// Whether a text did not begin with the text so far.
    pub(super) fn was_rewritten(&self) -> bool {
        self.was_rewritten
    }

    /// The line without the text that is known, if it begins like the last one. The buffer comes
    /// back through [`Cumulative::give_back`].
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

    pub(super) fn give_back(&mut self, spliced: Vec<u8>) {
        self.spliced = spliced;
    }

    /// Whether `text`, parsed from `spliced`, is the string that was cut: what stands after it in
    /// the line may have made it another choice's.
    pub(super) fn is_piece(&self, spliced: &[u8], text: &RawText<'_>) -> bool {
        text.single().is_some_and(|piece| offset(spliced, piece) == Some(self.open))
    }

    /// Notes a piece for which [`Cumulative::is_piece`] holds.
    pub(super) fn grow(&mut self, piece: &RawText<'_>) {
        let raw = piece.single().unwrap_or_default();
        self.seen.extend_from_slice(raw.as_bytes());
    }

    /// The slow way: what `text`, parsed from the whole of `line`, has more than the last text.
    /// No text at all says nothing about the text so far.
    ///
    /// # Errors
    /// Text that does not begin with the text so far: shown text cannot be taken back, and a
    /// difference would be a guess.
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
        // The same text may be spelled with other escapes, or in other parts.
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

    /// The same for reasoning, which is short and rarely cumulative: always by the decoded text.
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

    /// What the fast way parses of `line`, if it is taken.
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

    /// The slow way repairs whatever the fast way cannot do, so only this tells that it works.
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
            // Another beginning, or another choice by what stands behind.
            assert_eq!(fast(&mut cumulative, &line(&content("x"), "\"usage\":{}")), None);
            let other =
                line(&content(r"你\n\ud83d\ude00!"), "\"usage\":{}").replace("}}]}", "},\"index\":1}]}");
            assert_eq!(fast(&mut cumulative, &other), None);
        }
    }
}
