//! The dialects of model services: how a request is written and a response is read. Closed enums: a new dialect is one
//! variant in each.
use super::{
    chat::{Chat, ChatFrames},
    dashscope::{self, DashScope, FrameSource},
    exchange::{Head, Header, Limits, Outbound},
    reader::BodyReader,
};
use crate::chat::{Parameters, RunEnd, RunError, RunEvent, RunRequest, Usage};
use std::sync::Arc;

/// A dialect with its settings. Shared by all lanes.
#[derive(Debug)]
pub enum Dialect {
    DashScope(DashScope),
    Chat(Chat),
}

impl Dialect {
    /// The headers of every request.
    pub fn headers(&self) -> &Arc<[Header]> {
        match self {
            Dialect::DashScope(dialect) => dialect.headers(),
            Dialect::Chat(dialect) => dialect.headers(),
        }
    }

    /// The request for a run, by the upstream's own name for the model.
    pub fn request(&self, model: &str, request: &RunRequest) -> Outbound {
        match self {
            Dialect::DashScope(dialect) => dialect.request(model, request),
            Dialect::Chat(dialect) => dialect.request(model, request),
        }
    }

    /// The reader of a response to a request with these parameters.
    pub fn reader(&self, set: &Parameters, head: Head<'_>, limits: Limits) -> Reader {
        match self {
            Dialect::DashScope(dialect) => Reader::DashScope(dialect.reader(set, head, limits)),
            Dialect::Chat(dialect) => Reader::Chat(dialect.reader(head, limits)),
        }
    }

    /// Learns from a finished response how the service answers and which requests it takes for this model. Returns
    /// what the operator is to be warned of, once.
    pub fn learn(&self, model: &str, reader: &Reader) -> Option<&'static str> {
        match (self, reader) {
            (Dialect::DashScope(dialect), Reader::DashScope(reader)) => dialect.learn(reader),
            (Dialect::Chat(dialect), Reader::Chat(reader)) => dialect.learn(model, reader),
            (Dialect::DashScope(_), Reader::Chat(_)) | (Dialect::Chat(_), Reader::DashScope(_)) => None,
        }
    }

    /// What the operator may try when the service at this host answers with this error.
    pub fn advice(&self, host: &str, error: &RunError) -> Option<&'static str> {
        match self {
            Dialect::DashScope(_) => dashscope::advice(host, error.code.as_deref()),
            Dialect::Chat(_) => None,
        }
    }
}

/// Reads one response. Its arm is chosen with the head; each call costs one branch per network read.
///
/// Feed it the body, then call [`Reader::end`] once: when the body has ended, or after an error.
#[derive(Debug)]
pub enum Reader {
    DashScope(BodyReader<FrameSource>),
    Chat(BodyReader<ChatFrames>),
}

impl Reader {
    /// Takes the next bytes of the body and pushes what they say.
    ///
    /// # Errors
    /// The run has failed; what was pushed before, in this call too, is text that counts. Every later call gives the
    /// same error.
    #[inline]
    pub fn feed(&mut self, chunk: &[u8], events: &mut Vec<RunEvent>) -> Result<(), RunError> {
        match self {
            Reader::DashScope(reader) => reader.feed(chunk, events),
            Reader::Chat(reader) => reader.feed(chunk, events),
        }
    }

    /// Whether a terminal finish reason was read. Reading on is worth while for usage alone.
    #[inline]
    pub fn finished(&self) -> bool {
        match self {
            Reader::DashScope(reader) => reader.finished(),
            Reader::Chat(reader) => reader.finished(),
        }
    }

    /// The end of an answer whose terminal finish reason was read: nothing that follows changes it.
    pub fn finish(&self) -> Option<RunEnd> {
        match self {
            Reader::DashScope(reader) => reader.finish(),
            Reader::Chat(reader) => reader.finish(),
        }
    }

    /// The body has ended, or nothing more will be fed: reads what is left and tells how the run ended. The end of a
    /// body proves nothing; only a terminal finish reason makes an answer.
    pub fn end(&mut self, events: &mut Vec<RunEvent>) -> RunEnd {
        match self {
            Reader::DashScope(reader) => reader.end(events),
            Reader::Chat(reader) => reader.end(events),
        }
    }

    /// The last running totals; `None` while unknown.
    #[inline]
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Reader::DashScope(reader) => reader.usage(),
            Reader::Chat(reader) => reader.usage(),
        }
    }

    /// The upstream's id of the request: the body's, else the header's.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Reader::DashScope(reader) => reader.request_id(),
            Reader::Chat(reader) => reader.request_id(),
        }
    }
}
