//! One DashScope frame on the wire: its JSON, borrowed, and what its fields say.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::{
    chat::{TextKind, Usage},
    upstream::{
        frame::{Finish, FrameError, RawText, ServiceError},
        template::Sample,
        usage,
    },
};

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
    choices: Option<First<'a>>,
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

#[derive(Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
}

/// What a frame adds to the answer, as it stands in the JSON.
#[derive(Debug)]
pub(in crate::upstream) struct Content<'a> {
    pub(in crate::upstream) answer: RawText<'a>,
    pub(in crate::upstream) reasoning: RawText<'a>,
    pub(in crate::upstream) finish: Finish<'a>,
    pub(in crate::upstream) has_tool_call: bool,
}

impl<'a> WireFrame<'a> {
    /// Reads a frame, which must be a JSON object in UTF-8 from its first byte to its last.
    pub(in crate::upstream) fn parse(line: &'a [u8]) -> Result<Self, FrameError> {
        let line =
            std::str::from_utf8(line).map_err(|_| FrameError::malformed("invalid UTF-8 in an event"))?;
        // A derived struct would take an array too.
        if !line.trim_ascii_start().starts_with('{') {
            return Err(FrameError::malformed("an event is JSON but no object"));
        }
        serde_json::from_str(line).map_err(|error| match error.classify() {
            serde_json::error::Category::Eof => FrameError::Incomplete,
            // The error's own words may quote the text.
            category => FrameError::Malformed(format!(
                "malformed event: {category:?} error at line {} column {}",
                error.line(),
                error.column()
            )),
        })
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
        let mut reported =
            ServiceError { code: text_of(self.code), message: text_of(self.message).unwrap_or_default() };
        if let Some(error) = self.error {
            let inner = service_error(error);
            reported.code = reported.code.or(inner.code);
            if reported.message.is_empty() {
                reported.message = inner.message;
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
        let (kind, text) = match (content.answer.is_empty(), content.reasoning.is_empty()) {
            (false, true) => (TextKind::Answer, &content.answer),
            (true, false) => (TextKind::Reasoning, &content.reasoning),
            _ => return None,
        };
        if content.finish != Finish::NotYet || content.has_tool_call {
            return None;
        }
        Some(Sample {
            kind,
            text: text.single()?,
            usage: self.usage.map(RawValue::get),
            request_id: self.request_id(),
            read_totals: usage::totals,
        })
    }
}

/// Reads the value of a field named `error`: an object, a string, or something else.
fn service_error(error: &RawValue) -> ServiceError {
    #[derive(Deserialize)]
    struct Inner<'a> {
        #[serde(borrow)]
        code: Option<&'a RawValue>,
        #[serde(borrow, rename = "type")]
        kind: Option<&'a RawValue>,
        #[serde(borrow)]
        message: Option<&'a RawValue>,
    }
    match serde_json::from_str::<Inner<'_>>(error.get()) {
        Ok(inner) => ServiceError {
            code: text_of(inner.code).or_else(|| text_of(inner.kind)),
            message: text_of(inner.message).unwrap_or_default(),
        },
        Err(_) => ServiceError::uncoded(text_of(Some(error)).unwrap_or_default()),
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

/// Reads a string, an array of parts with texts, or nothing.
fn text(raw: Option<&RawValue>) -> Result<RawText<'_>, FrameError> {
    let Some(raw) = raw else { return Ok(RawText::default()) };
    if let Some(inner) = inner(raw) {
        return Ok(RawText::of(inner));
    }
    let wrong = |_| FrameError::malformed("a content is neither string nor array of parts");
    serde_json::from_str::<Parts<'_>>(raw.get()).map(|parts| parts.0).map_err(wrong)
}

/// The texts of a content array; parts of another kind are passed over.
struct Parts<'a>(RawText<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Parts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Part<'a> {
            #[serde(borrow)]
            text: Option<&'a RawValue>,
        }
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = RawText<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of parts")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
                let mut text = RawText::default();
                while let Some(part) = parts.next_element::<Part<'de>>()? {
                    let Some(raw) = part.text else { continue };
                    let piece = inner(raw).ok_or_else(|| A::Error::custom("a text that is no string"))?;
                    text.push(piece);
                }
                Ok(text)
            }
        }
        deserializer.deserialize_seq(Each).map(Parts)
    }
}

/// The choice with index 0. Others are passed over: one answer is asked for.
struct First<'a>(Option<Choice<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for First<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Option<Choice<'de>>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of choices")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut choices: A) -> Result<Self::Value, A::Error> {
                let mut first = None;
                while let Some(choice) = choices.next_element::<Choice<'de>>()? {
                    if first.is_none() && choice.index.unwrap_or(0) == 0 {
                        first = Some(choice);
                    }
                }
                Ok(first)
            }
        }
        deserializer.deserialize_seq(Each).map(First)
    }
}

/// What stands between the quotes, if the value is a string.
fn inner(raw: &RawValue) -> Option<&str> {
    raw.get().strip_prefix('"')?.strip_suffix('"')
}

/// A string decoded, or a number as it is written; nothing for the rest and for empty strings.
fn text_of(raw: Option<&RawValue>) -> Option<String> {
    let raw = raw?;
    match raw.get().as_bytes().first()? {
        b'"' => serde_json::from_str(raw.get()).ok().filter(|text: &String| !text.is_empty()),
        b'-' | b'0'..=b'9' => Some(raw.get().to_owned()),
        _ => None,
    }
}

/// Whether an array (or whatever stands in its place) has something in it.
fn has_items(raw: &RawValue) -> bool {
    let inside = raw.get().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inside.is_none_or(|inside| !inside.trim_ascii().is_empty())
}
