//! The parts of an exchange that all dialects share: the request, the head of the response, and limits on its body.
use bytes::Bytes;
use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

/// A request header. `Debug` does not show its value.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// In lower case.
    pub name: Cow<'static, str>,
    pub value: String,
    /// Its value is removed from what the service says.
    pub is_secret: bool,
}

impl Header {
    pub fn new(name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        Header { name: name.into(), value: value.into(), is_secret: false }
    }

    /// A header whose value may be a secret.
    pub fn secret(name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        Header { is_secret: true, ..Header::new(name, value) }
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: …", self.name)
    }
}

/// A request without its key, which the client adds.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// Relative to the base URL, with a leading slash.
    pub path: Cow<'static, str>,
    /// Shared by all requests of a dialect.
    pub headers: Arc<[Header]>,
    pub body: Bytes,
}

/// The head of a response. Strings are unchanged header values.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub status: u16,
    pub content_type: Option<&'a str>,
    /// The result of [`super::status::retry_after`].
    pub retry_after: Option<Duration>,
    /// `x-request-id`.
    pub request_id: Option<&'a str>,
}

/// Limits on the body of a response; when one is exceeded, the run fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One line of the event stream, in bytes. In cumulative mode a line contains the whole text.
    pub line_bytes: usize,
    /// One event of several lines, or an answer that is not a stream, in bytes.
    pub event_bytes: usize,
    /// Answer and reasoning together, in bytes of text. The text up to the limit is kept.
    pub answer_bytes: usize,
}
