//! The bytes of a stream, in the dialect of the request.
use super::{
    chat, dashscope,
    delta::{Delta, Odd},
    error::ServiceError,
};
use bytes::BytesMut;

/// Builds the frames of one answer.
#[derive(Debug)]
pub(super) enum Frames {
    DashScope(dashscope::Frames),
    Chat(Box<chat::Frames>),
}

impl Frames {
    /// Appends a frame with new text, or the terminal one.
    pub(super) fn result(&mut self, out: &mut BytesMut, delta: &Delta<'_>) {
        match self {
            Frames::DashScope(frames) => frames.result(out, delta),
            Frames::Chat(frames) => frames.result(out, delta),
        }
    }

    /// Appends what follows the terminal frame.
    pub(super) fn close(&mut self, out: &mut BytesMut, delta: &Delta<'_>) {
        match self {
            Frames::DashScope(_) => {}
            Frames::Chat(frames) => frames.close(out, delta),
        }
    }

    /// Appends the frames of an error.
    pub(super) fn error(&mut self, out: &mut BytesMut, error: &ServiceError) {
        match self {
            Frames::DashScope(frames) => frames.error(out, &dashscope::answer(error)),
            Frames::Chat(frames) => frames.error(out, error),
        }
    }

    /// Appends a frame with an arbitrary payload.
    pub(super) fn data(&mut self, out: &mut BytesMut, payload: &[u8]) {
        match self {
            Frames::DashScope(frames) => frames.data(out, "result", 200, payload),
            Frames::Chat(frames) => frames.data(out, payload),
        }
    }

    /// Appends a frame with a payload that a correct service would not send.
    pub(super) fn odd(&mut self, out: &mut BytesMut, odd: Odd) {
        match self {
            Frames::DashScope(frames) => frames.odd(out, odd),
            Frames::Chat(frames) => frames.data(out, &chat::odd(odd)),
        }
    }

    /// Appends a frame with only usage, beyond what was reported.
    pub(super) fn late_usage(&mut self, out: &mut BytesMut, total: u64) {
        match self {
            Frames::DashScope(frames) => frames.late_usage(out, total),
            Frames::Chat(frames) => frames.late_usage(out, total),
        }
    }

    /// Appends a frame with a fragment of a tool call.
    pub(super) fn tool_fragment(&mut self, out: &mut BytesMut, fragment: &str) {
        match self {
            Frames::DashScope(frames) => frames.tool_fragment(out, fragment),
            Frames::Chat(frames) => frames.tool_fragment(out, fragment),
        }
    }

    /// A comment that keeps the connection alive.
    pub(super) fn keepalive(&self) -> &'static str {
        match self {
            Frames::DashScope(_) => ":keepalive\n\n",
            Frames::Chat(frames) => frames.keepalive(),
        }
    }

    /// Whether the dialect has cumulative text.
    pub(super) fn has_modes(&self) -> bool {
        matches!(self, Frames::DashScope(_))
    }

    /// Whether the terminal frame holds the last piece of text.
    pub(super) fn ends_with_text(&self) -> bool {
        match self {
            Frames::DashScope(_) => false,
            Frames::Chat(frames) => frames.ends_with_text(),
        }
    }

    /// Appends the body of a response that is no stream.
    pub(super) fn whole(&self, out: &mut BytesMut, delta: &Delta<'_>) {
        match self {
            Frames::DashScope(frames) => frames.payload(out, delta),
            Frames::Chat(frames) => frames.whole(out, delta),
        }
    }
}
