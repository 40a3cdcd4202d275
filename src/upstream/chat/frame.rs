//! One frame of chat completions on the wire: its JSON, borrowed, and what its fields say.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use super::errors::{MODERATED, PARAM, status_of};
use crate::{
    chat::Usage,
    upstream::{
        frame::{Content, Finish, FrameError, RawText, ServiceError},
        json_string::unescape,
        template::Sample,
        usage,
        wire::{ErrorObject, First, Indexed, has_items, inner, json_object, text, text_of},
    },
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The frame as it is on the wire. Unknown fields are no error.
#[derive(Deserialize)]
pub(in crate::upstream) struct ChatFrame<'a> {
    #[serde(borrow)]
    choices: Option<First<Choice<'a>>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    /// Where Groq has its usage.
    #[serde(borrow)]
    x_groq: Option<Beside<'a>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    /// DashScope has it in errors.
    #[serde(borrow)]
    request_id: Option<&'a RawValue>,
    #[serde(borrow)]
    created: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    param: Option<&'a RawValue>,
    /// What FastAPI has in place of `message`.
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Beside<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    index: Option<i64>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    /// In an answer that is not a stream.
    #[serde(borrow)]
    message: Option<Delta<'a>>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
    /// Where Moonshot has its usage.
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

impl Indexed for Choice<'_> {
    fn index(&self) -> i64 {
        self.index.unwrap_or(0)
    }
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    /// Reasoning: DashScope, DeepSeek, Moonshot, SGLang, llama.cpp.
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    /// Reasoning: vLLM, Ollama, OpenRouter.
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    function_call: Option<&'a RawValue>,
}

impl<'a> ChatFrame<'a> {
    /// See [`json_object`].
    pub(in crate::upstream) fn parse(line: &'a [u8]) -> Result<Self, FrameError> {
        json_object(line)
    }

    /// The running totals, if this frame gives any.
    pub(in crate::upstream) fn usage(&self) -> Option<Usage> {
        let choice = self.choice().and_then(|choice| choice.usage);
        let beside = self.x_groq.as_ref().and_then(|beside| beside.usage);
        [self.usage, choice, beside].into_iter().flatten().find_map(|raw| usage::totals(raw.get()))
    }

    /// The request's id, as it stands in its string.
    pub(super) fn request_id(&self) -> Option<&'a str> {
        self.request_id.or(self.id).and_then(inner)
    }

    /// Whether the frame is an error by its own fields: `error`, or no choices but a code, a list of faults or the
    /// name of one.
    pub(super) fn is_error(&self) -> bool {
        let has_text = |raw: Option<&RawValue>| text_of(raw).is_some();
        let is_flat = || {
            has_text(self.code)
                || self.detail.is_some()
                || (self.object.and_then(inner) == Some("error") && has_text(self.message))
        };
        self.error.is_some() || (self.choices.is_none() && is_flat())
    }

    /// The error, from whichever fields carry it.
    pub(super) fn error(&self) -> ServiceError {
        let flat = ErrorObject {
            code: self.code,
            kind: self.kind,
            message: self.message.or(self.detail),
            param: self.param,
            metadata: None,
        };
        let flat = service_error(&flat);
        let Some(error) = self.error else { return flat };
        let mut read = service_error(&ErrorObject::of(error));
        read.code = read.code.or(flat.code);
        read.status = read.status.or(flat.status);
        if read.message.is_empty() {
            read.message = flat.message;
        }
        read
    }

    /// What the frame adds to the answer.
    ///
    /// # Errors
    /// [`FrameError::Malformed`] where a field is of the wrong type.
    pub(in crate::upstream) fn content(&self) -> Result<Content<'a>, FrameError> {
        let choice = self.choice();
        let delta = choice.and_then(|choice| choice.delta.as_ref().or(choice.message.as_ref()));
        let mut reasoning = text(delta.and_then(|delta| delta.reasoning_content))?;
        if reasoning.is_empty() {
            reasoning = text(delta.and_then(|delta| delta.reasoning))?;
        }
        let tool_calls = delta.and_then(|delta| delta.tool_calls).is_some_and(has_items);
        Ok(Content {
            answer: text(delta.and_then(|delta| delta.content))?,
            reasoning,
            finish: finish(choice.and_then(|choice| choice.finish_reason))?,
            has_tool_call: tool_calls || delta.is_some_and(|delta| delta.function_call.is_some()),
        })
    }

    /// The frame for a [template](crate::upstream::template::Template), if it is text of one kind and nothing else.
    pub(in crate::upstream) fn sample(&self, content: &Content<'a>) -> Option<Sample<'a>> {
        let (kind, text) = content.text_alone()?;
        Some(Sample {
            kind,
            text,
            usage: self.usage.map(RawValue::get),
            request_id: self.id.and_then(inner),
            created: self.created.map(RawValue::get),
            read_totals: usage::totals,
        })
    }

    fn choice(&self) -> Option<&Choice<'a>> {
        self.choices.as_ref()?.0.as_ref()
    }
}

/// A number in place of a code is the status and says no more than that. A parameter is added to the message,
/// which it explains.
fn service_error(error: &ErrorObject<'_>) -> ServiceError {
    let (mut code, kind) = (text_of(error.code), text_of(error.kind));
    let number = code.as_deref().and_then(|code| code.parse::<u16>().ok());
    code = code.filter(|_| number.is_none());
    let status = number.or_else(|| status_of(code.as_deref().or(kind.as_deref())?));
    let mut message =
        text_of(error.message).or_else(|| error.message.map(|raw| raw.get().to_owned())).unwrap_or_default();
    if let Some(param) = text_of(error.param).filter(|param| !message.contains(param.as_str())) {
        message.push_str(&format!(" {PARAM}{param:.40})"));
    }
    if error.metadata.as_ref().and_then(|metadata| metadata.reasons).is_some_and(has_items) {
        message.push_str(&format!(" {MODERATED}"));
    }
    ServiceError { code: code.or(kind), message, status }
}

/// Reads a finish reason; null, absent and empty while generating.
fn finish(raw: Option<&RawValue>) -> Result<Finish<'_>, FrameError> {
    let Some(raw) = raw else { return Ok(Finish::NotYet) };
    let reason = inner(raw).ok_or_else(|| FrameError::malformed("a finish reason is no string"))?;
    Ok(match reason {
        "" => Finish::NotYet,
        "stop" => Finish::Stop,
        "length" => Finish::Length,
        "tool_calls" | "function_call" => Finish::ToolCalls,
        "content_filter" => Finish::ContentFilter,
        other => Finish::Unknown(other),
    })
}

/// The error that a finish reason stands for, where there is such a one. The text of its frame may be the sentence of
/// that error.
pub(super) fn failed_finish(content: &Content<'_>) -> Option<ServiceError> {
    let Finish::Unknown(reason) = content.finish else { return None };
    let is_known = ["error_finish", "error", "abort", "insufficient_system_resource"].contains(&reason);
    is_known.then(|| {
        let message = match content.answer.is_empty() {
            true => format!("finish reason {reason}"),
            false => decoded(&content.answer),
        };
        ServiceError { code: Some(reason.to_owned()), message, status: None }
    })
}

/// A text for the log, where an escape that stands for no character does not matter.
fn decoded(text: &RawText<'_>) -> String {
    let mut out = String::new();
    for piece in text.pieces() {
        let _ = unescape(piece, &mut out);
    }
    out
}
