//! Reads the frames of one response, by the shape of the last one or by the parser.
use super::{
    errors,
    frame::{ChatFrame, failed_finish},
};
use crate::{
    chat::Usage,
    upstream::{
        error_table::{Table, classify},
        frame::{Expect, FrameError, FramePart, Frames, ServiceError, Take},
        service::QuotaError,
        template::{Fit, Template},
    },
};

#[derive(Debug)]
pub struct ChatFrames {
    template: Template,
    quota: QuotaError,
    refuses_token_cap: bool,
}

impl ChatFrames {
    pub(super) fn new(quota: QuotaError) -> Self {
        ChatFrames { template: Template::default(), quota, refuses_token_cap: false }
    }

    /// Whether the response was an error about the field `max_completion_tokens`.
    pub(super) fn refuses_token_cap(&self) -> bool {
        self.refuses_token_cap
    }

    #[cfg(test)]
    pub(super) fn without_template(&mut self) {
        self.template = Template::off();
    }
}

impl Frames for ChatFrames {
    const PLAIN_TEXT: bool = false;
    const DONE_ENDS: bool = true;

    fn errors(&self) -> Table {
        errors::table(self.quota)
    }

    fn error_in(&mut self, body: &[u8]) -> Option<(ServiceError, Option<String>)> {
        let frame = ChatFrame::parse(body).ok()?;
        let error = frame.error();
        self.refuses_token_cap =
            classify(self.errors(), error.code.as_deref(), 400, &error.message) == errors::REFUSES_TOKEN_CAP;
        Some((error, frame.request_id().map(str::to_owned)))
    }

    fn read(&mut self, line: &[u8], expect: Expect, take: &mut impl Take) -> Result<(), FrameError> {
        if expect == Expect::Answer
            && let Some(Fit { kind, text, .. }) = self.template.read(line)
        {
            return take(FramePart::Text(kind, text));
        }
        let frame = ChatFrame::parse(line)?;
        let usage = frame.usage().or(self.template.take_usage());
        take(FramePart::Meta { usage, request_id: frame.request_id() })?;
        match expect {
            Expect::Usage => return Ok(()),
            Expect::Answer if !frame.is_error() => {}
            Expect::Answer | Expect::Error => return take(FramePart::Error(frame.error())),
        }
        let content = frame.content()?;
        if let Some(error) = failed_finish(&content) {
            return take(FramePart::Error(error));
        }
        self.template.learn(line, frame.sample(&content));
        take(FramePart::Content(content.into()))
    }

    #[inline]
    fn read_event<'a>(&mut self, bytes: &'a [u8], length_max: usize) -> Option<Fit<'a>> {
        self.template.read_event(bytes, length_max, |_| true)
    }

    fn learn_event(&mut self, event: &[u8]) {
        self.template.learn_event(event);
    }

    fn usage(&self) -> Option<Usage> {
        self.template.usage()
    }
}
