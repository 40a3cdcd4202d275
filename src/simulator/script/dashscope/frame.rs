//! The bytes of one frame, exactly as DashScope writes them.
//!
//! Source: the vendor's API reference and published captures. A frame is four lines and a blank one: `id`,
//! `event`, a comment with the frame's actual status, `data`; no space after a colon.
use super::{Endpoint, Format, payloads};
use crate::{
    json::{push_number, push_string},
    simulator::script::{
        Spelling, UsageKind,
        delta::{Delta, Finish, Odd},
        error::ErrorAnswer,
    },
};
use bytes::BytesMut;
use std::borrow::Cow;

/// Fields that are the same in all frames of a response.
#[derive(Clone, Debug)]
pub(in crate::simulator::script) struct Shape {
    pub format: Format,
    pub endpoint: Endpoint,
    /// A reasoning model: frames carry `reasoning_content` and count its tokens.
    pub thinking: bool,
    pub index: bool,
    pub usage: UsageKind,
    pub spelling: Spelling,
    /// If empty, frames carry none.
    pub request_id: String,
    pub input_tokens: u64,
    /// Running frames have JSON null instead of the string `"null"`.
    pub running_null: bool,
}

/// Builds frames and assigns their ids.
#[derive(Debug)]
pub(in crate::simulator::script) struct Frames {
    shape: Shape,
    id: u64,
    /// The end of every payload: request id and closing brace.
    tail: Vec<u8>,
    plain: bool,
}

impl Frames {
    pub(in crate::simulator::script) fn new(shape: Shape) -> Self {
        let mut tail = Vec::with_capacity(64);
        if !shape.request_id.is_empty() {
            tail.extend_from_slice(b",\"request_id\":");
            push_string(&mut tail, &shape.request_id);
        }
        tail.push(b'}');
        let plain = shape.spelling.is_plain();
        Frames { shape, id: 0, tail, plain }
    }

    /// Appends one result frame.
    pub(in crate::simulator::script) fn result(&mut self, out: &mut BytesMut, delta: &Delta<'_>) {
        if self.plain {
            self.open(out, "result", 200);
            self.payload(out, delta);
            out.extend_from_slice(b"\n\n");
        } else {
            let mut payload = BytesMut::new();
            self.payload(&mut payload, delta);
            self.data(out, "result", 200, &payload);
        }
    }

    /// Appends the frame of an error.
    pub(in crate::simulator::script) fn error(&mut self, out: &mut BytesMut, error: &ErrorAnswer) {
        let payload = error_json(error, &self.shape.request_id);
        self.data(out, "error", error.status, &payload);
    }

    /// Appends a frame with a payload that a correct service would not send.
    pub(in crate::simulator::script) fn odd(&mut self, out: &mut BytesMut, odd: Odd) {
        let payload: Cow<'_, [u8]> = payloads::odd(odd);
        self.data(out, "result", 200, &payload);
    }

    /// Appends a frame with only usage.
    pub(in crate::simulator::script) fn late_usage(&mut self, out: &mut BytesMut, total: u64) {
        let payload = format!(
            "{{\"output\":{{\"choices\":[]}},\"usage\":{{\"total_tokens\":{total},\"output_tokens\":{total},\"input_tokens\":0}}}}"
        );
        self.data(out, "result", 200, payload.as_bytes());
    }

    /// Appends a frame with a fragment of a tool call.
    pub(in crate::simulator::script) fn tool_fragment(&mut self, out: &mut BytesMut, fragment: &str) {
        let payload = format!(
            "{{\"output\":{{\"choices\":[{{\"message\":{{\"content\":\"\",\"role\":\"assistant\",\"tool_calls\":[{fragment}]}},\"finish_reason\":\"null\"}}]}}}}"
        );
        self.data(out, "result", 200, payload.as_bytes());
    }

    /// Appends a frame with an arbitrary payload.
    pub(in crate::simulator::script) fn data(
        &mut self,
        out: &mut BytesMut,
        event: &str,
        status: u16,
        payload: &[u8],
    ) {
        if self.plain {
            self.open(out, event, status);
            out.extend_from_slice(payload);
            out.extend_from_slice(b"\n\n");
            return;
        }
        let mut canonical = BytesMut::new();
        self.open(&mut canonical, event, status);
        canonical.extend_from_slice(payload);
        canonical.extend_from_slice(b"\n\n");
        let mut spelled = Vec::with_capacity(canonical.len() + 64);
        self.shape.spelling.respell(&canonical, &mut spelled);
        out.extend_from_slice(&spelled);
    }

    /// The lines before the payload.
    fn open(&mut self, out: &mut BytesMut, event: &str, status: u16) {
        self.id += 1;
        out.extend_from_slice(b"id:");
        push_number(out, self.id);
        out.extend_from_slice(b"\nevent:");
        out.extend_from_slice(event.as_bytes());
        out.extend_from_slice(b"\n:HTTP_STATUS/");
        push_number(out, u64::from(status));
        out.extend_from_slice(b"\ndata:");
    }

    /// Appends only the JSON: the payload of a frame, or the body of a non-streamed response.
    pub(in crate::simulator::script) fn payload(&self, out: &mut BytesMut, delta: &Delta<'_>) {
        match self.shape.format {
            Format::Text => {
                out.extend_from_slice(b"{\"output\":{\"finish_reason\":");
                self.finish(out, delta.finish);
                out.extend_from_slice(b",\"text\":\"");
                out.extend_from_slice(delta.content);
                out.extend_from_slice(b"\"}");
            }
            Format::Message => {
                out.extend_from_slice(b"{\"output\":{\"choices\":[{\"message\":{");
                self.message(out, delta);
                out.extend_from_slice(b",\"role\":\"assistant\"}");
                if self.shape.index {
                    out.extend_from_slice(b",\"index\":0");
                }
                out.extend_from_slice(b",\"finish_reason\":");
                self.finish(out, delta.finish);
                out.extend_from_slice(b"}]}");
            }
        }
        self.usage(out, delta);
        out.extend_from_slice(&self.tail);
    }

    /// Content and reasoning. The multimodal endpoint writes content as a list, which is empty during
    /// reasoning, and omits the reasoning once it is over.
    fn message(&self, out: &mut BytesMut, delta: &Delta<'_>) {
        match self.shape.endpoint {
            Endpoint::Text => {
                out.extend_from_slice(b"\"content\":\"");
                out.extend_from_slice(delta.content);
                out.extend_from_slice(b"\"");
            }
            Endpoint::Multimodal if delta.content.is_empty() => out.extend_from_slice(b"\"content\":[]"),
            Endpoint::Multimodal => {
                out.extend_from_slice(b"\"content\":[{\"text\":\"");
                out.extend_from_slice(delta.content);
                out.extend_from_slice(b"\"}]");
            }
        }
        let always = self.shape.thinking && self.shape.endpoint == Endpoint::Text;
        if always || !delta.reasoning.is_empty() {
            out.extend_from_slice(b",\"reasoning_content\":\"");
            out.extend_from_slice(delta.reasoning);
            out.extend_from_slice(b"\"");
        }
    }

    /// The finish reason. Until the end it is the string "null", not JSON null.
    fn finish(&self, out: &mut BytesMut, finish: Option<Finish<'_>>) {
        match finish {
            None if self.shape.running_null => out.extend_from_slice(b"null"),
            None => out.extend_from_slice(b"\"null\""),
            Some(Finish::Null) => out.extend_from_slice(b"null"),
            Some(Finish::Reason(reason)) => push_string(out, reason),
        }
    }

    /// Totals so far, in every frame.
    fn usage(&self, out: &mut BytesMut, delta: &Delta<'_>) {
        match self.shape.usage {
            UsageKind::Absent => return,
            UsageKind::Empty => return out.extend_from_slice(b",\"usage\":{}"),
            UsageKind::RunningTotals => {}
        }
        let input = self.shape.input_tokens;
        out.extend_from_slice(b",\"usage\":{\"total_tokens\":");
        push_number(out, input + delta.output_tokens);
        out.extend_from_slice(b",\"output_tokens\":");
        push_number(out, delta.output_tokens);
        out.extend_from_slice(b",\"input_tokens\":");
        push_number(out, input);
        out.extend_from_slice(b",\"prompt_tokens_details\":{\"cached_tokens\":0}");
        if self.shape.endpoint == Endpoint::Multimodal {
            out.extend_from_slice(b",\"input_tokens_details\":{\"text_tokens\":");
            push_number(out, input);
            out.extend_from_slice(b"}");
        }
        if self.shape.thinking || delta.reasoning_tokens > 0 {
            out.extend_from_slice(b",\"output_tokens_details\":{\"reasoning_tokens\":");
            push_number(out, delta.reasoning_tokens);
            out.extend_from_slice(b"}");
        }
        out.extend_from_slice(b"}");
    }
}

/// The JSON of an error; without request id if `request_id` is empty.
pub(in crate::simulator::script) fn error_json(error: &ErrorAnswer, request_id: &str) -> Vec<u8> {
    let mut fields = serde_json::Map::new();
    fields.insert("code".to_owned(), error.code.clone().into());
    fields.insert("message".to_owned(), error.message.clone().into());
    if !request_id.is_empty() {
        fields.insert("request_id".to_owned(), request_id.into());
    }
    serde_json::Value::Object(fields).to_string().into_bytes()
}
