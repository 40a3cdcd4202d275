//! The request for chat completions: path, headers and JSON body.
use super::{Header, Settings};
use crate::{
    chat::RunRequest,
    upstream::service::{Continues, ThinkingField, TokenCap},
};
use serde::Serialize;
use std::borrow::Cow;

/// The path below the base URL, with what stands before it. Every request to an Azure deployment names the version of the
/// interface.
pub(super) fn path(before: &str, api_version: Option<&str>) -> Cow<'static, str> {
    const PATH: &str = "/chat/completions";
    match (before, api_version) {
        ("", None) => PATH.into(),
        (before, None) => format!("{before}{PATH}").into(),
        (before, Some(version)) => format!("{before}{PATH}?api-version={version}").into(),
    }
}

/// The request headers. Compression is declined, because a compressed stream arrives in blocks and not as it is
/// written. vLLM refuses a body without its type.
pub(super) fn headers(more: &[Header]) -> Vec<Header> {
    let own = [
        ("content-type", "application/json"),
        ("accept", "text/event-stream"),
        ("accept-encoding", "identity"),
    ];
    own.into_iter().map(|(name, value)| Header::new(name, value)).chain(more.iter().cloned()).collect()
}

/// Fields of a body that the operator cannot set by `upstream.extra` and `model.extra`: the gateway writes or reads by them.
pub const OWN_FIELDS: &[&str] = &[
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "n",
    "tools",
    "functions",
];

/// The request body as JSON. Only what was set is written: strict services refuse unknown fields.
pub(super) fn body(settings: &Settings, token_cap: TokenCap, model: &str, request: &RunRequest) -> Vec<u8> {
    let messages = request.messages.iter().map(|message| WireMessage {
        role: message.role.as_str(),
        content: &message.text,
        partial: None,
        prefix: None,
    });
    let set = &request.parameters;
    let cap = set.max_tokens.or(settings.max_tokens);
    let (max_tokens, max_completion_tokens) = match token_cap {
        TokenCap::MaxTokens => (cap, None),
        TokenCap::MaxCompletionTokens => (None, cap),
    };
    let mut body = Body {
        model,
        messages: messages.collect(),
        stream: true,
        stream_options: settings.include_usage.then_some(StreamOptions { include_usage: true }),
        max_tokens,
        max_completion_tokens,
        temperature: set.temperature,
        top_p: set.top_p,
        ..Body::default()
    };
    if request.continues() {
        body.go_on(settings.continues);
    }
    if let Some(thinking) = set.thinking.or(settings.thinking) {
        body.think(settings.thinking_field, thinking);
    }
    let text: usize = request.messages.iter().map(|message| message.text.len() + 40).sum();
    let extra = settings.extra.of(&request.model, model);
    let mut bytes = Vec::with_capacity(text + 192 + extra.as_str().len());
    // Writing strings and numbers to memory cannot fail, and an empty body would be refused.
    let written = serde_json::to_writer(&mut bytes, &body);
    debug_assert!(written.is_ok(), "a body of strings and numbers is always JSON");
    extra.append_to(&mut bytes);
    bytes
}

#[derive(Default, Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<WireMessage<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_thinking: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_template_kwargs: Option<ChatTemplateKwargs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    continue_final_message: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    add_generation_prompt: Option<bool>,
}

impl Body<'_> {
    /// Asks to go on with the last message.
    fn go_on(&mut self, continues: Continues) {
        let Some(last) = self.messages.last_mut() else { return };
        match continues {
            Continues::No | Continues::Last => {}
            Continues::ContinueFinalMessage => {
                (self.continue_final_message, self.add_generation_prompt) = (Some(true), Some(false));
            }
            Continues::Partial => last.partial = Some(true),
            Continues::Prefix => last.prefix = Some(true),
        }
    }

    fn think(&mut self, field: ThinkingField, on: bool) {
        match field {
            ThinkingField::None => {}
            ThinkingField::EnableThinking => self.enable_thinking = Some(on),
            ThinkingField::ReasoningEffort => {
                self.reasoning_effort = Some(if on { "medium" } else { "none" })
            }
            ThinkingField::ChatTemplateKwargs => {
                self.chat_template_kwargs = Some(ChatTemplateKwargs { enable_thinking: on });
            }
            ThinkingField::ThinkingType => {
                self.thinking = Some(Thinking { kind: if on { "enabled" } else { "disabled" } });
            }
        }
    }
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: &'a str,
    /// Either of these marks the beginning of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    partial: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<bool>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct ChatTemplateKwargs {
    enable_thinking: bool,
}

#[derive(Serialize)]
struct Thinking {
    #[serde(rename = "type")]
    kind: &'static str,
}
