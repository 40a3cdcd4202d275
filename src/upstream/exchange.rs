//! One request and its response as every dialect has them: what is sent, the head that comes back, and the bounds on
//! what is read behind it.
use bytes::Bytes;
use std::{borrow::Cow, sync::Arc, time::Duration};

/// Name and value of a request header. Names are in lower case.
pub type Header = (&'static str, String);

/// A request as it is sent. It holds no key: only the client does.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// Below the base URL, with its leading slash.
    pub path: Cow<'static, str>,
    /// Shared by all requests of a dialect.
    pub headers: Arc<[Header]>,
    pub body: Bytes,
}

/// The head of a response. Strings are header values as they came.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub status: u16,
    pub content_type: Option<&'a str>,
    /// What [`super::status::retry_after`] made of the headers.
    pub retry_after: Option<Duration>,
    /// `x-request-id`.
    pub request_id: Option<&'a str>,
}

/// Bounds on what is read of one response; beyond each of them the run fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One line of the event stream, in bytes. In cumulative mode a line holds the whole text.
    pub line_bytes: usize,
    /// One event of several lines, or an answer that is not a stream, in bytes.
    pub event_bytes: usize,
    /// Answer and reasoning together, in bytes of text. What fits is kept.
    pub answer_bytes: usize,
}
