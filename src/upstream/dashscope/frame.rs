//! One DashScope frame on the wire: its JSON, borrowed, and what its fields say.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use crate::{
    chat::Usage,
    upstream::{
        frame::{Content, Finish, FrameError, ServiceError},
        template::Sample,
        usage,
        wire::{ErrorObject, First, Indexed, has_items, inner, json_object, text, text_of},
    },
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The frame as it is on the wire. Strings stay raw, because most of them are not looked at and
/// the content of a cumulative answer is mostly known already. Unknown fields are no error.
#[derive(Deserialize)]
pub(in crate::upstream) struct WireFrame<'a> {
    #[serde(borrow)]
    output: Option<Output<'a>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    request_id: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    choices: Option<First<Choice<'a>>>,
    /// The text of `result_format: text`.
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    index: Option<i64>,
    #[serde(borrow)]
    message: Option<WireMessage<'a>>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
}

impl Indexed for Choice<'_> {
    fn index(&self) -> i64 {
        self.index.unwrap_or(0)
    }
}

#[derive(Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
}

impl<'a> WireFrame<'a> {
    /// See [`json_object`].
    pub(in crate::upstream) fn parse(line: &'a [u8]) -> Result<Self, FrameError> {
        json_object(line)
    }

    /// The running totals, if this frame gives any.
    pub(in crate::upstream) fn usage(&self) -> Option<Usage> {
        self.usage.map(RawValue::get).and_then(usage::totals)
    }

    /// The request's id, as it stands in its string.
    pub(super) fn request_id(&self) -> Option<&'a str> {
        self.request_id.and_then(inner)
    }

    /// Whether the frame is an error by its own fields: `error`, or a code without output.
    pub(super) fn is_error(&self) -> bool {
        let coded = self.code.is_some_and(|code| code.get() != "\"\"");
        self.error.is_some() || (coded && self.output.is_none())
    }

    /// The error, from whichever fields carry it.
    pub(super) fn error(&self) -> ServiceError {
        let mut reported = ServiceError {
            code: text_of(self.code),
            message: text_of(self.message).unwrap_or_default(),
            status: None,
        };
        if let Some(error) = self.error {
            let error = ErrorObject::of(error);
            reported.code = reported.code.or(text_of(error.code)).or(text_of(error.kind));
            if reported.message.is_empty() {
                reported.message = text_of(error.message).unwrap_or_default();
            }
        }
        reported
    }

    /// What the frame adds to the answer.
    ///
    /// # Errors
    /// [`FrameError::Malformed`] where a field is of the wrong type.
    pub(in crate::upstream) fn content(&self) -> Result<Content<'a>, FrameError> {
        let output = self.output.as_ref();
        let choice = output.and_then(|output| output.choices.as_ref()).and_then(|first| first.0.as_ref());
        let message = choice.and_then(|choice| choice.message.as_ref());
        let mut answer = text(message.and_then(|message| message.content))?;
        if let Some(whole) = output.and_then(|output| output.text)
            && answer.is_empty()
        {
            answer = text(Some(whole))?;
        }
        let reason = choice.and_then(|choice| choice.finish_reason);
        Ok(Content {
            answer,
            reasoning: text(message.and_then(|message| message.reasoning_content))?,
            finish: finish(reason.or_else(|| output.and_then(|output| output.finish_reason)))?,
            has_tool_call: message.and_then(|message| message.tool_calls).is_some_and(has_items),
        })
    }

    /// The frame for a [template](crate::upstream::template::Template), if it is text of one kind and nothing else.
    pub(in crate::upstream) fn sample(&self, content: &Content<'a>) -> Option<Sample<'a>> {
        let (kind, text) = content.text_alone()?;
        Some(Sample {
            kind,
            text,
            created: None,
            usage: self.usage.map(RawValue::get),
            request_id: self.request_id(),
            read_totals: usage::totals,
        })
    }
}

/// Reads a finish reason: the string `"null"` while generating; JSON null, absent or empty alike.
fn finish(raw: Option<&RawValue>) -> Result<Finish<'_>, FrameError> {
    let Some(raw) = raw else { return Ok(Finish::NotYet) };
    let reason = inner(raw).ok_or_else(|| FrameError::malformed("a finish reason is no string"))?;
    Ok(match reason {
        "" | "null" => Finish::NotYet,
        "stop" => Finish::Stop,
        "length" => Finish::Length,
        "tool_calls" => Finish::ToolCalls,
        "content_filter" => Finish::ContentFilter,
        unknown => Finish::Unknown(unknown),
    })
}
