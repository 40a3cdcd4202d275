//! Reads the frames of one response in the cheapest way that gives the same as parsing each of them whole.
use super::{cumulative::Cumulative, errors::TABLE, frame::WireFrame, repeats::Repeats};
use crate::{
    chat::{TextKind, Usage},
    upstream::{
        error_table::Table,
        frame::{
            Content, Expect, FrameContent, FrameError, FramePart, Frames, NewText, RawText, ServiceError,
            Take,
        },
        template::{Fit, Template},
    },
};
use std::mem;

/// Hides which way a frame was read: by the shape of the last one (`Template`), by what its line has more than the
/// last one (`Cumulative`), or by the parser. Decides when an answer that repeats its text is read as such
/// (`Repeats`).
#[derive(Debug, Default)]
pub struct FrameSource {
    template: Template,
    /// Present while each frame is read as the text so far.
    cumulative: Option<Box<Cumulative>>,
    /// In incremental mode: whether the service has another one.
    repeats: Repeats,
}

impl Frames for FrameSource {
    const PLAIN_TEXT: bool = true;
    const DONE_ENDS: bool = false;

    fn errors(&self) -> Table {
        TABLE
    }

    fn error_in(&mut self, body: &[u8]) -> Option<(ServiceError, Option<String>)> {
        let frame = WireFrame::parse(body).ok()?;
        Some((frame.error(), frame.request_id().map(str::to_owned)))
    }

    fn read(&mut self, line: &[u8], expect: Expect, take: &mut impl Take) -> Result<(), FrameError> {
        let Some(mut cumulative) = self.cumulative.take() else { return self.increment(line, expect, take) };
        let read = self.text_so_far(&mut cumulative, line, expect, take);
        if read.is_err() && cumulative.was_rewritten() && self.repeats.is_guess() {
            self.repeats.withdraw();
            return self.increment(line, expect, take); // No text of the frame was handed out.
        }
        self.cumulative = Some(cumulative);
        read
    }

    #[inline]
    fn read_event<'a>(&mut self, bytes: &'a [u8], length_max: usize) -> Option<Fit<'a>> {
        if self.cumulative.is_some() {
            return None;
        }
        let repeats = &self.repeats;
        self.template.read_event(bytes, length_max, |kind| repeats.is_settled(kind))
    }

    /// Not for cumulative answers: their long texts would be scanned for nothing.
    fn learn_event(&mut self, event: &[u8]) {
        if self.cumulative.is_none() {
            self.template.learn_event(event);
        }
    }

    fn usage(&self) -> Option<Usage> {
        self.template.usage()
    }
}

impl FrameSource {
    /// `incremental`: only new text was asked for. `repeats`: the service was seen to send the text so far all the
    /// same, so that is expected unless the answer shows otherwise.
    pub(super) fn new(incremental: bool, repeats: bool) -> Self {
        let mut source = FrameSource::default();
        if incremental && repeats {
            source.repeats.expect();
        }
        source.cumulative = (!incremental || repeats).then(Box::default);
        source
    }

    #[cfg(test)]
    pub(super) fn without_template(&mut self) {
        self.template = Template::off();
    }

    /// What the answer has shown that was not expected: it repeats its text, or it does not.
    pub(super) fn shown(&self) -> Option<bool> {
        self.repeats.shown()
    }

    /// Reads a frame that holds only new text.
    #[inline(always)] // The way of every delta; its other caller is rare.
    fn increment(&mut self, line: &[u8], expect: Expect, take: &mut impl Take) -> Result<(), FrameError> {
        if expect == Expect::Answer
            && let Some(Fit { kind, text, .. }) = self.template.read(line)
        {
            if self.repeats.notices(kind, text) {
                return self.repeated(line, expect, take);
            }
            return take(FramePart::Text(kind, text));
        }
        let frame = WireFrame::parse(line)?;
        if !self.has_content(&frame, expect, take)? {
            return Ok(());
        }
        let content = frame.content()?;
        if self.repeats.notices_in(&content) {
            return self.repeated(line, expect, take);
        }
        self.template.learn(line, frame.sample(&content));
        take(FramePart::Content(content.into()))
    }

    /// From this frame on the answer is read as the text so far.
    fn repeated(&mut self, line: &[u8], expect: Expect, take: &mut impl Take) -> Result<(), FrameError> {
        let mut cumulative = Box::new(self.repeats.begin()?);
        let read = self.text_so_far(&mut cumulative, line, expect, take);
        self.cumulative = Some(cumulative);
        read
    }

    /// Reads a frame that holds the text so far.
    fn text_so_far(
        &mut self,
        cumulative: &mut Cumulative,
        line: &[u8],
        expect: Expect,
        take: &mut impl Take,
    ) -> Result<(), FrameError> {
        if let Some(spliced) = cumulative.splice(line) {
            let read = self.piece(cumulative, &spliced, expect, take);
            cumulative.recycle(spliced);
            if let Some(read) = read {
                return read;
            }
        }
        let frame = WireFrame::parse(line)?;
        if !self.has_content(&frame, expect, take)? {
            return Ok(());
        }
        let Content { answer, reasoning, finish, has_tool_call } = frame.content()?;
        let reasoning = cumulative.compare_reasoning(&reasoning)?;
        let answer = cumulative.compare(line, answer)?;
        take(FramePart::Content(FrameContent { answer, reasoning, finish, has_tool_call }))
    }

    /// Reads a frame out of which the known text was cut; `None`: its whole line must be read.
    fn piece(
        &mut self,
        cumulative: &mut Cumulative,
        spliced: &[u8],
        expect: Expect,
        take: &mut impl Take,
    ) -> Option<Result<(), FrameError>> {
        if expect == Expect::Answer
            && let Some(Fit { text, .. }) = self.template.read(spliced)
            && cumulative.is_piece(spliced, &RawText::of(text))
        {
            cumulative.grow(&RawText::of(text));
            return Some(take(FramePart::Text(TextKind::Answer, text)));
        }
        let frame = WireFrame::parse(spliced).ok()?;
        let mut content = frame.content().ok()?;
        if !cumulative.is_piece(spliced, &content.answer) {
            return None;
        }
        if content.reasoning.is_empty() {
            self.template.learn(spliced, frame.sample(&content));
        }
        let answer = mem::take(&mut content.answer);
        cumulative.grow(&answer);
        Some(self.has_content(&frame, expect, take).and_then(|has_content| {
            if !has_content {
                return Ok(());
            }
            let Content { reasoning, finish, has_tool_call, .. } = content;
            let (answer, reasoning) = (NewText::Raw(answer), cumulative.compare_reasoning(&reasoning)?);
            take(FramePart::Content(FrameContent { answer, reasoning, finish, has_tool_call }))
        }))
    }

    /// Hands out what a frame carries beside its content. `false`: its content is not wanted, or is an error, which
    /// is handed out too.
    fn has_content(
        &mut self,
        frame: &WireFrame<'_>,
        expect: Expect,
        take: &mut impl Take,
    ) -> Result<bool, FrameError> {
        let usage = frame.usage().or(self.template.take_usage());
        take(FramePart::Meta { usage, request_id: frame.request_id() })?;
        match expect {
            Expect::Usage => Ok(false),
            Expect::Answer if !frame.is_error() => Ok(true),
            Expect::Answer | Expect::Error => take(FramePart::Error(frame.error())).map(|()| false),
        }
    }
}
