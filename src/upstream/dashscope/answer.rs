//! The answer of one run: lines of the event stream in, run events out.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use std::mem;

use super::Limits;
use super::cumulative::{Cumulative, New};
use super::errors::classify;
use super::event::{Finish, Frame, Refusal, Said, Text, Unreadable, inner};
use super::outlet::{Outlet, Trouble, boundary};
use super::repeats::Repeats;
use super::template::Template;
use crate::chat::{FinishReason, RunError, RunErrorKind, RunEvent, Usage};
use crate::upstream::sse::Line;

/// How much of an upstream's code or id is kept, in bytes.
const NAME_BYTES: usize = 128;

/// What has been heard so far.
#[derive(Debug)]
pub(super) struct Answer {
    limits: Limits,
    /// The status of the response's head; a frame may carry a truer one.
    head_status: u16,
    /// Present in cumulative mode.
    cumulative: Option<Box<Cumulative>>,
    /// In incremental mode: whether the service has another one.
    repeats: Repeats,
    template: Template,
    event: Event,
    outlet: Outlet,
    request_id_of_body: bool,
    pub(super) request_id: Option<String>,
    /// The totals of the last frame that was parsed and had any.
    usage: Option<Usage>,
    pub(super) finish: Option<FinishReason>,
    /// A `data:` line with something in it has come.
    pub(super) heard: bool,
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

impl Answer {
    pub(super) fn new(limits: Limits, head_status: u16, incremental: bool, request_id: Option<&str>) -> Self {
        Answer {
            limits,
            head_status,
            cumulative: (!incremental).then(Box::default),
            repeats: Repeats::default(),
            template: Template::default(),
            event: Event::default(),
            outlet: Outlet::new(limits.answer_bytes),
            request_id_of_body: false,
            request_id: request_id.filter(|id| is_plain_id(id)).map(str::to_owned),
            usage: None,
            finish: None,
            heard: false,
        }
    }

    /// Reads the text so far where increments were asked for, unless the answer shows otherwise.
    pub(super) fn expect_repeats(&mut self) {
        if self.cumulative.is_none() {
            self.repeats.expect();
            self.cumulative = Some(Box::default());
        }
    }

    pub(super) fn shown(&self) -> Option<bool> {
        self.repeats.shown()
    }

    /// The last running totals.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.template.usage().or(self.usage)
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
        self.heard = !body.trim_ascii().is_empty();
        if !self.heard {
            return Ok(());
        }
        self.frame(body, events).map_err(|trouble| match trouble {
            Trouble::Run(error) => error,
            Trouble::Unreadable(Unreadable::Malformed(detail)) => protocol(detail),
            Trouble::Unreadable(Unreadable::Incomplete) => protocol("the JSON answer is cut off"),
        })
    }

    /// The error that the upstream told, in our words.
    pub(super) fn refused(&self, refusal: Refusal) -> RunError {
        let code = refusal.code.as_deref();
        let numeric = code.and_then(|code| code.parse::<u16>().ok());
        let status = [self.event.status, Some(self.head_status), numeric]
            .into_iter()
            .flatten()
            .find(|status| (400..600).contains(status))
            .unwrap_or(self.head_status);
        let (kind, retry) = classify(code, status, &refusal.message);
        let kind = match kind {
            RunErrorKind::InputRefused if self.outlet.spoke() => RunErrorKind::OutputRefused,
            kind => kind,
        };
        let mut error = RunError::new(kind, refusal.message);
        error.retry = retry;
        error.status = Some(status);
        error.code = refusal.code.map(|mut code| {
            code.truncate(boundary(&code, NAME_BYTES));
            code
        });
        error
    }

    /// The error in a frame that was read already or could be.
    pub(super) fn refused_by(&mut self, frame: &Frame<'_>) -> RunError {
        self.note_request_id(frame);
        self.refused(frame.refusal())
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
            Some(b'[') if payload == b"[DONE]" => {}
            Some(b'{' | b'[') => {
                self.heard = true;
                self.check_event(value.len())?;
                match self.frame(value, events) {
                    Ok(()) => {}
                    Err(Trouble::Unreadable(Unreadable::Incomplete)) => {
                        self.event.pending.extend_from_slice(value);
                        return Ok(());
                    }
                    Err(Trouble::Unreadable(Unreadable::Malformed(detail))) => {
                        return Err(self.malformed(value, detail));
                    }
                    Err(Trouble::Run(error)) => return Err(error),
                }
            }
            _ => return self.plain(value, events),
        }
        self.event = Event::default();
        Ok(())
    }

    /// A payload that is not JSON at all is text, as it comes; lines of one event stay lines.
    fn plain(&mut self, value: &[u8], events: &mut Vec<RunEvent>) -> Result<(), RunError> {
        let text = std::str::from_utf8(value).map_err(|_| protocol("invalid UTF-8 in an event"))?;
        self.heard = true;
        if self.finish.is_some() {
            return Ok(());
        }
        if self.event.is_error() || self.is_refused_by_head() {
            return Err(self.refused(Refusal { code: None, message: text.to_owned() }));
        }
        if mem::replace(&mut self.event.plain, true) {
            self.outlet.text("\n", events)?;
        }
        self.outlet.text(text, events)
    }

    /// Ends the event under way. `cut` tells that the body ended here, so that JSON which has not
    /// ended is an interruption and not a fault.
    fn close_event(&mut self, events: &mut Vec<RunEvent>, cut: bool) -> Result<(), RunError> {
        let pending = mem::take(&mut self.event.pending);
        let mut read = Ok(());
        if !pending.is_empty() {
            read = match self.frame(&pending, events) {
                Ok(()) => Ok(()),
                Err(Trouble::Run(error)) => Err(error),
                Err(Trouble::Unreadable(Unreadable::Malformed(detail))) => {
                    Err(self.malformed(&pending, detail))
                }
                Err(Trouble::Unreadable(Unreadable::Incomplete)) if cut && !self.event.is_error() => Ok(()),
                Err(Trouble::Unreadable(Unreadable::Incomplete)) => {
                    Err(self.malformed(&pending, "the JSON of an event has no end".to_owned()))
                }
            };
        } else if self.event.is_error() && self.finish.is_none() {
            read =
                Err(self.refused(Refusal { code: None, message: "an error event without data".to_owned() }));
        }
        self.event = Event::default();
        read
    }

    /// What an unreadable frame means: an error is an error even where its JSON is broken.
    fn malformed(&self, line: &[u8], detail: String) -> RunError {
        if !self.event.is_error() && !self.is_refused_by_head() {
            return protocol(detail);
        }
        self.refused(Refusal { code: None, message: String::from_utf8_lossy(line).into_owned() })
    }

    fn frame(&mut self, line: &[u8], events: &mut Vec<RunEvent>) -> Result<(), Trouble> {
        let Some(mut cumulative) = self.cumulative.take() else { return self.increment(line, events) };
        let taken = self.cumulative_frame(&mut cumulative, line, events);
        if taken.is_err() && cumulative.was_rewritten() && self.repeats.is_guess() {
            self.repeats.withdraw();
            return self.increment(line, events); // Nothing of the frame was handed out.
        }
        self.cumulative = Some(cumulative);
        taken
    }

    #[inline(always)] // The way of every delta; its other caller is rare.
    fn increment(&mut self, line: &[u8], events: &mut Vec<RunEvent>) -> Result<(), Trouble> {
        if self.expects_text()
            && let Some(piece) = self.template.read(line)
        {
            if self.repeats.notices(piece.raw, piece.is_thought) {
                return self.repeated(line, events);
            }
            let text = New::Raw(Text::of(piece.raw));
            return match piece.is_thought {
                true => self.outlet.thought_new(text, events),
                false => self.outlet.text_new(text, events),
            };
        }
        let frame = Frame::parse(line)?;
        if !self.note(&frame)? {
            return Ok(());
        }
        let mut said = frame.said()?;
        if self.repeats.notices_in(&said) {
            return self.repeated(line, events);
        }
        self.template.learn(line, &frame, &said);
        let (thought, text) = (mem::take(&mut said.reasoning), mem::take(&mut said.text));
        self.say(&said, New::Raw(thought), New::Raw(text), events)
    }

    /// From this frame on the answer is read as the text so far.
    fn repeated(&mut self, line: &[u8], events: &mut Vec<RunEvent>) -> Result<(), Trouble> {
        self.cumulative = Some(Box::new(self.repeats.begin()?));
        self.frame(line, events)
    }

    fn cumulative_frame(
        &mut self,
        cumulative: &mut Cumulative,
        line: &[u8],
        events: &mut Vec<RunEvent>,
    ) -> Result<(), Trouble> {
        if let Some(spliced) = cumulative.splice(line) {
            let taken = self.piece(cumulative, &spliced, events);
            cumulative.give_back(spliced);
            if let Some(taken) = taken {
                return taken;
            }
        }
        let frame = Frame::parse(line)?;
        if !self.note(&frame)? {
            return Ok(());
        }
        let mut said = frame.said()?;
        let thought = cumulative.compare_thought(&said.reasoning)?;
        let text = cumulative.compare(line, mem::take(&mut said.text))?;
        self.say(&said, thought, text, events)
    }

    /// The fast way; `None` means that the whole line must be looked at.
    fn piece(
        &mut self,
        cumulative: &mut Cumulative,
        spliced: &[u8],
        events: &mut Vec<RunEvent>,
    ) -> Option<Result<(), Trouble>> {
        if self.expects_text()
            && let Some(text) = self.template.read(spliced).map(|piece| Text::of(piece.raw))
            && cumulative.is_piece(spliced, &text)
        {
            cumulative.grow(&text);
            return Some(self.outlet.text_new(New::Raw(text), events));
        }
        let frame = Frame::parse(spliced).ok()?;
        let mut said = frame.said().ok()?;
        if !cumulative.is_piece(spliced, &said.text) {
            return None;
        }
        if said.reasoning.is_empty() {
            self.template.learn(spliced, &frame, &said);
        }
        let text = mem::take(&mut said.text);
        cumulative.grow(&text);
        Some(self.note(&frame).map_err(Trouble::from).and_then(|listening| {
            if !listening {
                return Ok(());
            }
            let thought = cumulative.compare_thought(&said.reasoning)?;
            self.say(&said, thought, New::Raw(text), events)
        }))
    }

    /// Whether a frame is answer text unless it says otherwise itself.
    fn expects_text(&self) -> bool {
        self.finish.is_none() && self.head_status < 400 && !self.event.is_error()
    }

    /// Takes what a frame carries beside text. `false` once the answer is finished: then only
    /// this is wanted.
    fn note(&mut self, frame: &Frame<'_>) -> Result<bool, RunError> {
        self.note_request_id(frame);
        self.usage = frame.usage().or(self.template.take_usage()).or(self.usage);
        if self.finish.is_some() {
            return Ok(false);
        }
        if self.event.is_error() || self.is_refused_by_head() || frame.is_refusal() {
            return Err(self.refused(frame.refusal()));
        }
        Ok(true)
    }

    /// Under such a status nothing is an answer, whatever it looks like; a redirect's body neither.
    fn is_refused_by_head(&self) -> bool {
        !(200..300).contains(&self.head_status)
    }

    fn note_request_id(&mut self, frame: &Frame<'_>) {
        if !self.request_id_of_body
            && let Some(id) = frame.request_id.and_then(inner).filter(|id| is_plain_id(id))
        {
            self.request_id = Some(id.to_owned());
            self.request_id_of_body = true;
        }
    }

    /// Hands out what is new, thinking first, as one frame may hold the end of it and the
    /// beginning of the answer. Where the finish is a failure, the text may be an error's.
    fn say(
        &mut self,
        said: &Said<'_>,
        thought: New<'_>,
        text: New<'_>,
        events: &mut Vec<RunEvent>,
    ) -> Result<(), Trouble> {
        let finish = match said.finish {
            Finish::NotYet | Finish::ToolCalls => None,
            Finish::Stop => Some(FinishReason::Stop),
            Finish::Length => Some(FinishReason::Length),
            Finish::ContentFilter => {
                return Err(RunError::new(RunErrorKind::OutputRefused, "finish reason content_filter").into());
            }
            Finish::Unknown(reason) => {
                return Err(protocol(format!("unknown finish reason {:.40}", reason)).into());
            }
        };
        self.outlet.thought_new(thought, events)?;
        self.outlet.text_new(text, events)?;
        if said.tools || said.finish == Finish::ToolCalls {
            return Err(RunError::new(RunErrorKind::ToolsNotSupported, "the model called a tool").into());
        }
        self.finish = finish;
        Ok(())
    }

    fn check_event(&self, length: usize) -> Result<(), RunError> {
        let limit = self.limits.event_bytes;
        if length <= limit { Ok(()) } else { Err(protocol(format!("an event is longer than {limit} bytes"))) }
    }
}

pub(super) fn protocol(detail: impl AsRef<str>) -> RunError {
    RunError::new(RunErrorKind::UpstreamProtocol, detail)
}

/// An id is shown to people, so only what an id is made of may be in it.
fn is_plain_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    !id.is_empty() && id.len() <= NAME_BYTES && id.bytes().all(plain)
}
