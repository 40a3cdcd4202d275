//! One response as lines of an event stream, or as one JSON body: run events out.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use super::{
    error_table::{Table, classify},
    exchange::Limits,
    frame::{Expect, Finish, FrameContent, FrameError, FramePart, Frames, ServiceError},
    output::{TextOutput, boundary},
    sse::Line,
    template::Fit,
};
use crate::chat::{FinishReason, RunError, RunErrorKind, RunEvent, TextKind, Usage};
use std::mem;

/// What ends a stream of chat completions.
const DONE: &[u8] = b"[DONE]";
/// How much of an upstream's code or id is kept, in bytes.
const NAME_BYTES: usize = 128;

/// Joins lines to events, and has the frames in them read. Knows its dialect by its [`Frames`] alone.
#[derive(Debug)]
pub(super) struct ResponseReader<F> {
    limits: Limits,
    pub(super) frames: F,
    event: Event,
    answer: Answer,
    /// A `data:` line with something in it has arrived.
    pub(super) saw_data: bool,
}

/// What has been read of the answer.
#[derive(Debug)]
struct Answer {
    /// The status of the response's head; an event may carry a truer one.
    head_status: u16,
    errors: Table,
    output: TextOutput,
    request_id_of_body: bool,
    request_id: Option<String>,
    /// The totals of the last frame that was parsed and had any.
    usage: Option<Usage>,
    finish: Option<FinishReason>,
}

/// The event of the stream that is under way.
#[derive(Debug, Default)]
struct Event {
    /// `event:error`, or a field named `error`.
    error: bool,
    /// The comment `:HTTP_STATUS/NNN`: the only place of the true status of an error in mid-stream.
    status: Option<u16>,
    /// `data:` lines that are not JSON yet.
    pending: Vec<u8>,
    /// A `data:` line was passed on as text.
    plain: bool,
}

impl Event {
    fn has_data(&self) -> bool {
        self.plain || !self.pending.is_empty()
    }

    fn is_error(&self) -> bool {
        self.error || self.status.is_some_and(|status| status >= 400)
    }
}

impl<F: Frames> ResponseReader<F> {
    pub(super) fn new(limits: Limits, head_status: u16, frames: F, request_id: Option<&str>) -> Self {
        ResponseReader {
            limits,
            event: Event::default(),
            answer: Answer {
                head_status,
                errors: frames.errors(),
                output: TextOutput::new(limits.answer_bytes),
                request_id_of_body: false,
                request_id: request_id.filter(|id| is_plain_id(id)).map(str::to_owned),
                usage: None,
                finish: None,
            },
            frames,
            saw_data: false,
        }
    }

    /// The last running totals.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.frames.usage().or(self.answer.usage)
    }

    pub(super) fn finish(&self) -> Option<FinishReason> {
        self.answer.finish
    }

    pub(super) fn request_id(&self) -> Option<&str> {
        self.answer.request_id.as_deref()
    }

    /// Whether no part of the next event has been read.
    pub(super) fn is_between_events(&self) -> bool {
        let Event { error, status, pending, plain } = &self.event;
        !error && status.is_none() && pending.is_empty() && !plain
    }

    /// Reads the events at the beginning of `bytes` that match the template, and returns the rest. Only between events.
    #[inline]
    pub(super) fn whole_events<'a>(
        &mut self,
        mut bytes: &'a [u8],
        events: &mut Vec<RunEvent>,
    ) -> Result<&'a [u8], RunError> {
        // Within both limits, as no line is longer than its event. Other events are rejected line by line.
        let length_max = self.limits.line_bytes.min(self.limits.event_bytes);
        while let Some(Fit { kind, text, length }) = self.frames.read_event(bytes, length_max) {
            debug_assert!(
                self.answer.finish.is_none(),
                "a frame that finishes leaves the template without a shape"
            );
            self.answer.output.push_raw(kind, text, events).map_err(|error| match error {
                FrameError::Run(error) => error,
                FrameError::Malformed(detail) => protocol(detail),
                FrameError::Incomplete => protocol("an event is cut off"),
            })?;
            bytes = &bytes[length..];
        }
        Ok(bytes)
    }

    /// These bytes, from the beginning of an event on, were read line by line.
    pub(super) fn learn_event(&mut self, event: &[u8]) {
        self.frames.learn_event(event);
    }

    /// Takes one line of the event stream.
    pub(super) fn line(&mut self, line: Line<'_>, events: &mut Vec<RunEvent>) -> Result<(), RunError> {
        match line {
            Line::Field { name: b"data", value } => return self.data(value, events),
            Line::Blank => return self.close_event(events, false),
            // Streams without blank lines begin each event with its id.
            Line::Field { name: b"id", .. } if self.event.has_data() => {
                return self.close_event(events, false);
            }
            Line::Field { name: b"event", value } => self.event.error = value.trim_ascii() == b"error",
            Line::Field { name: b"error", value } => {
                self.event.error = true;
                return self.data(value, events);
            }
            Line::Comment(comment) => {
                if let Some(status) = comment.trim_ascii().strip_prefix(b"HTTP_STATUS/") {
                    self.event.status = std::str::from_utf8(status).ok().and_then(|text| text.parse().ok());
                }
            }
            Line::Field { .. } => {}
        }
        Ok(())
    }

    /// The stream has ended: what is left of its last event counts too.
    pub(super) fn ended(&mut self, events: &mut Vec<RunEvent>) -> Result<(), RunError> {
        self.close_event(events, true)
    }

    /// Takes the body of an answer that is no stream.
    pub(super) fn whole(&mut self, body: &[u8], events: &mut Vec<RunEvent>) -> Result<(), RunError> {
        self.saw_data = !body.trim_ascii().is_empty();
        if !self.saw_data {
            return Ok(());
        }
        self.frame(body, events).map_err(|error| match error {
            FrameError::Run(error) => error,
            FrameError::Malformed(detail) => protocol(detail),
            FrameError::Incomplete => protocol("the JSON answer is cut off"),
        })
    }

    /// The error in the body of an error status, if that is a JSON object.
    pub(super) fn error_in(&mut self, body: &[u8]) -> Option<RunError> {
        let (error, request_id) = self.frames.error_in(body)?;
        self.answer.note_request_id(request_id.as_deref());
        Some(self.error(error))
    }

    /// An error of the service as the error of the run.
    pub(super) fn error(&self, error: ServiceError) -> RunError {
        self.answer.error(error, self.event.status)
    }

    fn data(&mut self, value: &[u8], events: &mut Vec<RunEvent>) -> Result<(), RunError> {
        if !self.event.pending.is_empty() {
            self.event.pending.push(b'\n');
            self.event.pending.extend_from_slice(value);
            return self.check_event(self.event.pending.len());
        }
        let payload = value.trim_ascii();
        match payload.first() {
            None if !self.event.plain => return Ok(()),
            Some(b'[') if F::DONE_ENDS && payload.starts_with(DONE) => return self.done(),
            Some(b'[') if payload == DONE => {}
            Some(b'{' | b'[') => {
                self.saw_data = true;
                self.check_event(value.len())?;
                match self.frame(value, events) {
                    Ok(()) => {}
                    Err(FrameError::Incomplete) => {
                        self.event.pending.extend_from_slice(value);
                        return Ok(());
                    }
                    Err(FrameError::Malformed(detail)) => {
                        return Err(self.malformed(value, detail));
                    }
                    Err(FrameError::Run(error)) => return Err(error),
                }
            }
            _ if F::PLAIN_TEXT || self.answer.finish.is_some() => return self.plain(value, events),
            _ => return Err(self.malformed(value, "an event is no JSON".to_owned())),
        }
        self.event = Event::default();
        Ok(())
    }

    /// The stream is over, whatever follows.
    fn done(&mut self) -> Result<(), RunError> {
        self.event = Event::default();
        if self.answer.finish.is_some() { Ok(()) } else { Err(unfinished()) }
    }

    /// A payload that is not JSON at all is text, as it comes; lines of one event stay lines.
    fn plain(&mut self, value: &[u8], events: &mut Vec<RunEvent>) -> Result<(), RunError> {
        let text = std::str::from_utf8(value).map_err(|_| protocol("invalid UTF-8 in an event"))?;
        self.saw_data = true;
        if self.answer.finish.is_some() {
            return Ok(());
        }
        if self.event.is_error() || self.is_refused_by_head() {
            return Err(self.error(ServiceError::uncoded(text)));
        }
        if mem::replace(&mut self.event.plain, true) {
            self.answer.output.push(TextKind::Answer, "\n", events)?;
        }
        self.answer.output.push(TextKind::Answer, text, events)
    }

    /// Ends the event under way. `cut` tells that the body ended here, so that JSON which has not
    /// ended is an interruption and not a fault.
    fn close_event(&mut self, events: &mut Vec<RunEvent>, cut: bool) -> Result<(), RunError> {
        let pending = mem::take(&mut self.event.pending);
        let mut read = Ok(());
        if !pending.is_empty() {
            read = match self.frame(&pending, events) {
                Ok(()) => Ok(()),
                Err(FrameError::Run(error)) => Err(error),
                Err(FrameError::Malformed(detail)) => Err(self.malformed(&pending, detail)),
                Err(FrameError::Incomplete) if cut && !self.event.is_error() => Ok(()),
                Err(FrameError::Incomplete) => {
                    Err(self.malformed(&pending, "the JSON of an event has no end".to_owned()))
                }
            };
        } else if self.event.is_error() && self.answer.finish.is_none() {
            read = Err(self.error(ServiceError::uncoded("an error event without data")));
        }
        self.event = Event::default();
        read
    }

    /// What an unreadable frame means: an error is an error even where its JSON is broken.
    fn malformed(&self, line: &[u8], detail: String) -> RunError {
        if !self.event.is_error() && !self.is_refused_by_head() {
            return protocol(detail);
        }
        self.error(ServiceError::uncoded(String::from_utf8_lossy(line)))
    }

    fn frame(&mut self, line: &[u8], events: &mut Vec<RunEvent>) -> Result<(), FrameError> {
        let expect = if self.answer.finish.is_some() {
            Expect::Usage
        } else if self.event.is_error() || self.is_refused_by_head() {
            Expect::Error
        } else {
            Expect::Answer
        };
        let ResponseReader { frames, event, answer, .. } = self;
        frames.read(line, expect, &mut |part: FramePart<'_>| answer.take(part, event.status, events))
    }

    /// Under such a status nothing is an answer, whatever it looks like; a redirect's body neither.
    fn is_refused_by_head(&self) -> bool {
        !(200..300).contains(&self.answer.head_status)
    }

    fn check_event(&self, length: usize) -> Result<(), RunError> {
        let limit = self.limits.event_bytes;
        if length <= limit { Ok(()) } else { Err(protocol(format!("an event is longer than {limit} bytes"))) }
    }
}

impl Answer {
    #[inline(always)] // The way of every delta.
    fn take(
        &mut self,
        part: FramePart<'_>,
        event_status: Option<u16>,
        events: &mut Vec<RunEvent>,
    ) -> Result<(), FrameError> {
        match part {
            FramePart::Text(kind, raw) => self.output.push_raw(kind, raw, events),
            FramePart::Meta { usage, request_id } => {
                self.note_request_id(request_id);
                self.usage = usage.or(self.usage);
                Ok(())
            }
            FramePart::Error(error) => Err(self.error(error, event_status).into()),
            FramePart::Content(content) => self.push(&content, events),
        }
    }

    /// Pushes what is new, reasoning first, as one frame may hold the end of it and the beginning of the answer.
    /// Where the finish is a failure, the text may be an error's.
    fn push(&mut self, content: &FrameContent<'_>, events: &mut Vec<RunEvent>) -> Result<(), FrameError> {
        let finish = match content.finish {
            Finish::NotYet | Finish::ToolCalls => None,
            Finish::Stop => Some(FinishReason::Stop),
            Finish::Length => Some(FinishReason::Length),
            Finish::ContentFilter => {
                return Err(RunError::new(RunErrorKind::OutputRefused, "finish reason content_filter").into());
            }
            Finish::Unknown(reason) => {
                return Err(protocol(format!("unknown finish reason {reason:.40}")).into());
            }
        };
        self.output.push_new(TextKind::Reasoning, &content.reasoning, events)?;
        self.output.push_new(TextKind::Answer, &content.answer, events)?;
        if content.has_tool_call || content.finish == Finish::ToolCalls {
            return Err(RunError::new(RunErrorKind::ToolsNotSupported, "the model called a tool").into());
        }
        self.finish = finish;
        Ok(())
    }

    fn note_request_id(&mut self, id: Option<&str>) {
        if !self.request_id_of_body
            && let Some(id) = id.filter(|id| is_plain_id(id))
        {
            self.request_id = Some(id.to_owned());
            self.request_id_of_body = true;
        }
    }

    /// An error of the service as the error of the run. `event_status`: the status given by its event.
    fn error(&self, error: ServiceError, event_status: Option<u16>) -> RunError {
        let code = error.code.as_deref();
        let numeric = error.status.or_else(|| code?.parse::<u16>().ok());
        let status = [event_status, Some(self.head_status), numeric]
            .into_iter()
            .flatten()
            .find(|status| (400..600).contains(status))
            .unwrap_or(self.head_status);
        let (kind, retry) = classify(self.errors, code, status, &error.message);
        let kind = match kind {
            RunErrorKind::InputRefused if self.output.has_text() => RunErrorKind::OutputRefused,
            kind => kind,
        };
        let mut failed = RunError::new(kind, error.message);
        failed.retry = retry;
        failed.status = Some(status);
        failed.code = error.code.map(|mut code| {
            code.truncate(boundary(&code, NAME_BYTES));
            code
        });
        failed
    }
}

/// The error of an answer that ended before its finish reason.
pub(super) fn unfinished() -> RunError {
    RunError::new(RunErrorKind::Interrupted, "the answer ended without a finish reason")
}

pub(super) fn protocol(detail: impl AsRef<str>) -> RunError {
    RunError::new(RunErrorKind::UpstreamProtocol, detail)
}

/// An id is shown to people, so only what an id is made of may be in it.
fn is_plain_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    !id.is_empty() && id.len() <= NAME_BYTES && id.bytes().all(plain)
}
