//! The request to DashScope: path, headers and JSON body.
use serde::{Serialize, Serializer};

use super::{Header, Settings};
use crate::chat::{PromptMessage, RunRequest};

/// The path below the base URL (`https://dashscope.aliyuncs.com/api/v1`), with its leading slash.
pub(super) fn path(settings: &Settings, model: &str) -> &'static str {
    if settings.is_multimodal(model) {
        "/services/aigc/multimodal-generation/generation"
    } else {
        "/services/aigc/text-generation/generation"
    }
}

/// The request headers. The stream is asked for by a header alone; the body has no such field. Compression is
/// declined, because a compressed stream arrives in blocks and not as it is written.
pub(super) fn headers(settings: &Settings) -> Vec<Header> {
    let mut headers = vec![
        Header::new("content-type", "application/json"),
        Header::new("accept", "text/event-stream"),
        Header::new("accept-encoding", "identity"),
        Header::new("x-dashscope-sse", "enable"),
    ];
    if let Some(workspace) = &settings.workspace {
        headers.push(Header::new("x-dashscope-workspace", workspace.as_str()));
    }
    headers.extend(settings.headers.iter().cloned());
    headers
}

/// Fields of `parameters` that the operator cannot set by `upstream.extra` and `model.extra`: the gateway writes them or reads by them.
pub const OWN_FIELDS: &[&str] =
    &["result_format", "incremental_output", "stream", "max_tokens", "n", "tools", "temperature", "top_p"];

/// The request body as JSON. `result_format` and `incremental_output` are always written, as
/// their defaults differ from model to model (DashScope API reference).
pub(super) fn body(settings: &Settings, model: &str, request: &RunRequest) -> Vec<u8> {
    let multimodal = settings.is_multimodal(model);
    let set = &request.parameters;
    let messages = request.messages.iter().map(|message| WireMessage {
        role: message.role.as_str(),
        content: content(message, multimodal),
        partial: None,
    });
    let mut messages: Vec<_> = messages.collect();
    if let Some(last) = messages.last_mut().filter(|_| request.continues() && settings.continues) {
        last.partial = Some(true);
    }
    let body = Body {
        model,
        input: Input { messages },
        parameters: Parameters {
            result_format: "message",
            incremental_output: settings.is_incremental(set),
            enable_thinking: set.thinking.or(settings.thinking),
            max_tokens: set.max_tokens.or(settings.max_tokens),
            temperature: set.temperature,
            top_p: set.top_p,
        },
    };
    let text: usize = request.messages.iter().map(|message| message.text.len() + 48).sum();
    let mut bytes = Vec::with_capacity(text + 192);
    // Writing strings and numbers to memory cannot fail, and an empty body would be refused.
    let written = serde_json::to_writer(&mut bytes, &body);
    debug_assert!(written.is_ok(), "a body of strings and numbers is always JSON");
    // `parameters` stands last.
    if bytes.pop_if(|last| *last == b'}').is_some() {
        settings.extra.of(&request.model, model).append_to(&mut bytes);
        bytes.push(b'}');
    }
    bytes
}

fn content(message: &PromptMessage, multimodal: bool) -> Content<'_> {
    if multimodal { Content::Array(&message.text) } else { Content::String(&message.text) }
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: Input<'a>,
    parameters: Parameters,
}

#[derive(Serialize)]
struct Input<'a> {
    messages: Vec<WireMessage<'a>>,
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: Content<'a>,
    /// The beginning of the answer, which is to be continued.
    #[serde(skip_serializing_if = "Option::is_none")]
    partial: Option<bool>,
}

enum Content<'a> {
    String(&'a str),
    Array(&'a str),
}

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Part<'a> {
            text: &'a str,
        }
        match *self {
            Content::String(text) => serializer.serialize_str(text),
            Content::Array(text) => [Part { text }].serialize(serializer),
        }
    }
}

#[derive(Serialize)]
struct Parameters {
    result_format: &'static str,
    incremental_output: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_thinking: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
}
