//! The reader of one response, in any dialect: head and bytes in, run events and one end out.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use std::mem;
use std::time::Duration;

use super::{
    exchange::{Head, Limits},
    frame::{Frames, ServiceError},
    response::{ResponseReader, protocol, unfinished},
    sse::{Decoder, Line},
};
use crate::chat::{FinishReason, Retry, RunEnd, RunError, RunEvent, Timing, Usage};

/// Reads one response, whatever it turns out to be: a stream, a JSON answer, or an error in any
/// of the shapes that a service and the proxies before it give one. `F` reads the frames of a dialect.
#[derive(Debug)]
pub struct BodyReader<F> {
    status: u16,
    retry_after: Option<Duration>,
    limits: Limits,
    body: Body,
    decoder: Decoder,
    response: ResponseReader<F>,
    failed: Option<Box<RunError>>,
    /// The answer is finished and what followed could not be read: nothing more is read.
    ignore_rest: bool,
}

/// What the head says that the body is.
#[derive(Debug)]
enum Body {
    /// Server-sent events, of an answer or of an error.
    Stream,
    /// A JSON answer, or an error that came with a good status.
    Json(Vec<u8>),
    /// The body of an error status, of any kind.
    Refused(Vec<u8>),
    /// A good status with a body of another kind: its content type.
    Foreign(String),
}

#[expect(private_bounds, reason = "only dialects read frames")]
impl<F: Frames> BodyReader<F> {
    /// A reader for the response with this head.
    pub(super) fn new(frames: F, head: Head<'_>, limits: Limits) -> Self {
        let Head { status, content_type, retry_after, request_id } = head;
        let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
        let body = match essence.to_ascii_lowercase().as_str() {
            "text/event-stream" if !(300..400).contains(&status) => Body::Stream,
            _ if !(200..300).contains(&status) => Body::Refused(Vec::new()),
            "application/json" => Body::Json(Vec::new()),
            other => Body::Foreign(other.to_owned()),
        };
        BodyReader {
            status,
            retry_after,
            limits,
            body,
            decoder: Decoder::new(limits.line_bytes),
            response: ResponseReader::new(limits, status, frames, request_id),
            failed: None,
            ignore_rest: false,
        }
    }

    /// What has read the frames.
    pub(super) fn frames(&self) -> &F {
        &self.response.frames
    }

    #[cfg(test)]
    pub(super) fn frames_mut(&mut self) -> &mut F {
        &mut self.response.frames
    }

    /// See [`crate::upstream::Reader::feed`].
    ///
    /// # Errors
    /// As there.
    pub fn feed(&mut self, chunk: &[u8], events: &mut Vec<RunEvent>) -> Result<(), RunError> {
        if let Some(error) = &self.failed {
            return Err(RunError::clone(error));
        }
        if self.ignore_rest {
            return Ok(());
        }
        let limit = self.limits.event_bytes;
        let read = match &mut self.body {
            Body::Stream => self.stream(chunk, events),
            Body::Json(body) if body.len().saturating_add(chunk.len()) > limit => {
                Err(protocol(format!("a JSON answer of more than {limit} bytes")))
            }
            Body::Json(body) => {
                body.extend_from_slice(chunk);
                Ok(())
            }
            // The beginning of an error page is enough.
            Body::Refused(body) => {
                let room = limit.saturating_sub(body.len());
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                Ok(())
            }
            Body::Foreign(_) if chunk.is_empty() => Ok(()),
            Body::Foreign(content_type) => Err(foreign(content_type)),
        };
        self.settle(read)
    }

    /// Reads bytes of an event stream: whole events that match the template at once, everything else line by line.
    fn stream(&mut self, chunk: &[u8], events: &mut Vec<RunEvent>) -> Result<(), RunError> {
        let mut rest = chunk;
        loop {
            let begins = self.decoder.held() == 0 && self.response.is_between_events();
            if begins {
                rest = self.response.whole_events(rest, events)?;
            }
            if rest.is_empty() {
                return Ok(());
            }
            let event = rest;
            rest = self.decoder.feed_until(event, |line| {
                self.response.line(line, events)?;
                Ok::<bool, RunError>(line == Line::Blank)
            })?;
            if begins {
                self.response.learn_event(&event[..event.len().saturating_sub(rest.len())]);
            }
        }
    }

    /// Whether a terminal finish reason was seen. Reading on is worth while for usage alone.
    pub fn finished(&self) -> bool {
        self.response.finish().is_some()
    }

    /// The end of an answer whose terminal finish reason was seen: nothing that follows changes it.
    pub fn finish(&self) -> Option<RunEnd> {
        self.response.finish().map(|reason| self.run_end(Ok(reason)))
    }

    fn run_end(&self, outcome: Result<FinishReason, RunError>) -> RunEnd {
        RunEnd {
            outcome,
            usage: self.usage(),
            request_id: self.response.request_id().map(str::to_owned),
            timing: Timing::default(),
        }
    }

    /// The body has ended, or nothing more will be fed: reads what is left and tells how the run
    /// ended. The end of a body proves nothing; only a terminal finish reason makes an answer.
    pub fn end(&mut self, events: &mut Vec<RunEvent>) -> RunEnd {
        let outcome = match self.rest(events) {
            Err(error) => Err(error),
            Ok(()) => self.response.finish().ok_or_else(|| self.complete(self.unfinished())),
        };
        self.run_end(outcome)
    }

    /// The last running totals; `None` while unknown.
    pub fn usage(&self) -> Option<Usage> {
        self.response.usage()
    }

    /// The upstream's id of the request: the body's, else the header's.
    pub fn request_id(&self) -> Option<&str> {
        self.response.request_id()
    }

    fn rest(&mut self, events: &mut Vec<RunEvent>) -> Result<(), RunError> {
        if let Some(error) = &self.failed {
            return Err(RunError::clone(error));
        }
        if self.ignore_rest {
            return Ok(());
        }
        let read = match mem::replace(&mut self.body, Body::Stream) {
            Body::Stream => self
                .decoder
                .finish(|line| self.response.line(line, events))
                .and_then(|()| self.response.ended(events)),
            Body::Json(body) => self.response.whole(&body, events),
            Body::Refused(body) => Err(self.error_of(&body, events)),
            Body::Foreign(content_type) => Err(foreign(&content_type)),
        };
        self.settle(read)
    }

    /// The error in the body of an error status: JSON, an event stream under another content
    /// type, or anything, of which the status is all that counts.
    fn error_of(&mut self, body: &[u8], events: &mut Vec<RunEvent>) -> RunError {
        if let Some(error) = self.response.error_in(body) {
            return error;
        }
        let start = body.trim_ascii_start();
        if [&b"id:"[..], b"event:", b"data:", b":"].iter().any(|field| start.starts_with(field)) {
            let mut decoder = Decoder::new(self.limits.line_bytes);
            let read = decoder
                .feed(body, |line| self.response.line(line, events))
                .and_then(|()| decoder.finish(|line| self.response.line(line, events)))
                .and_then(|()| self.response.ended(events));
            if let Err(error) = read {
                return error;
            }
        }
        let message = match start {
            b"" => "an empty body".to_owned(),
            _ => String::from_utf8_lossy(&start[..start.len().min(4 * RunError::DETAIL_MAX)]).into_owned(),
        };
        self.response.error(ServiceError::uncoded(message))
    }

    /// The error of a body that ended before the answer did.
    fn unfinished(&self) -> RunError {
        if !(200..300).contains(&self.status) {
            return self.response.error(ServiceError::uncoded("an error without an event"));
        }
        if self.response.saw_data {
            return unfinished();
        }
        // Some clients lose a body that is ended by close, so it may well be there next time.
        let mut error = protocol("an empty answer: not one event came");
        error.retry = Retry::Once;
        error
    }

    /// A finished answer stays finished, whatever follows it.
    fn settle(&mut self, read: Result<(), RunError>) -> Result<(), RunError> {
        let Err(error) = read else { return Ok(()) };
        if self.finished() {
            self.ignore_rest = true;
            return Ok(());
        }
        let error = self.complete(error);
        self.failed = Some(Box::new(error.clone()));
        Err(error)
    }

    /// Adds what the head says.
    fn complete(&self, mut error: RunError) -> RunError {
        error.status = error.status.or(Some(self.status));
        error.request_id = self.response.request_id().map(str::to_owned);
        error.retry_after = self.retry_after;
        error
    }
}

/// Quotes nothing of the body: with a good status it may hold the answer to another client.
fn foreign(content_type: &str) -> RunError {
    match content_type {
        "" => protocol("an answer without content type"),
        content_type => protocol(format!("an answer of type {content_type}")),
    }
}
