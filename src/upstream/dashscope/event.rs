//! One DashScope frame: the JSON of a `data:` line, borrowed and told apart into what it says.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::chat::Usage;
use crate::upstream::{json_string::BadEscape, usage};

/// Why a frame could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// The JSON has not ended; more lines of the event may complete it.
    Incomplete,
    /// What is wrong, without any of the text: it goes into the log.
    Malformed(String),
}

impl Unreadable {
    fn malformed(detail: &str) -> Self {
        Unreadable::Malformed(detail.to_owned())
    }
}

impl From<BadEscape> for Unreadable {
    fn from(error: BadEscape) -> Self {
        Unreadable::Malformed(error.to_string())
    }
}

/// The frame as it is on the wire. Strings stay raw, because most of them are not looked at and
/// the content of a cumulative answer is mostly known already. Unknown fields are no error.
#[derive(Deserialize)]
pub(super) struct Frame<'a> {
    #[serde(borrow)]
    pub(super) output: Option<Output<'a>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) request_id: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Output<'a> {
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

/// An error as the upstream told it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: Option<String>,
    pub(super) message: String,
}

/// What a frame says to the reader of the answer.
pub(super) struct Said<'a> {
    pub(super) text: Text<'a>,
    pub(super) reasoning: Text<'a>,
    pub(super) finish: Finish<'a>,
    /// A call of a tool is in the frame.
    pub(super) tools: bool,
}

/// The finish reason of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finish<'a> {
    /// Still writing: the string `"null"` while generating; JSON null, absent or empty alike.
    NotYet,
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
    /// Anything else, as it came. The content of such a frame may be the text of an error.
    Unknown(&'a str),
}

impl<'a> Frame<'a> {
    /// Reads a frame, which must be a JSON object in UTF-8 from its first byte to its last.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, Unreadable> {
        let line =
            std::str::from_utf8(line).map_err(|_| Unreadable::malformed("invalid UTF-8 in an event"))?;
        // A derived struct would take an array too.
        if !line.trim_ascii_start().starts_with('{') {
            return Err(Unreadable::malformed("an event is JSON but no object"));
        }
        serde_json::from_str(line).map_err(|error| match error.classify() {
            serde_json::error::Category::Eof => Unreadable::Incomplete,
            // The error's own words may quote the text.
            category => Unreadable::Malformed(format!(
                "malformed event: {category:?} error at line {} column {}",
                error.line(),
                error.column()
            )),
        })
    }

    /// The running totals, if this frame gives any.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.usage_raw().and_then(usage::totals)
    }

    /// The running totals as they came.
    pub(super) fn usage_raw(&self) -> Option<&'a str> {
        self.usage.map(RawValue::get)
    }

    /// Whether the frame is an error by its own fields: `error`, or a code without output.
    pub(super) fn is_refusal(&self) -> bool {
        let coded = self.code.is_some_and(|code| code.get() != "\"\"");
        self.error.is_some() || (coded && self.output.is_none())
    }

    /// The error, from whichever fields carry it.
    pub(super) fn refusal(&self) -> Refusal {
        let mut refusal =
            Refusal { code: text_of(self.code), message: text_of(self.message).unwrap_or_default() };
        if let Some(error) = self.error {
            let inner = Refusal::of_error(error);
            refusal.code = refusal.code.or(inner.code);
            if refusal.message.is_empty() {
                refusal.message = inner.message;
            }
        }
        refusal
    }

    /// What the frame says.
    ///
    /// # Errors
    /// [`Unreadable::Malformed`] where a field is of the wrong type.
    pub(super) fn said(&self) -> Result<Said<'a>, Unreadable> {
        let output = self.output.as_ref();
        let choice = output.and_then(|output| output.choices.as_ref()).and_then(|first| first.0.as_ref());
        let message = choice.and_then(|choice| choice.message.as_ref());
        let mut text = Text::parse(message.and_then(|message| message.content))?;
        if let Some(whole) = output.and_then(|output| output.text)
            && text.is_empty()
        {
            text = Text::parse(Some(whole))?;
        }
        let finish = choice.and_then(|choice| choice.finish_reason);
        Ok(Said {
            text,
            reasoning: Text::parse(message.and_then(|message| message.reasoning_content))?,
            finish: Finish::parse(finish.or_else(|| output.and_then(|output| output.finish_reason)))?,
            tools: message.and_then(|message| message.tool_calls).is_some_and(has_items),
        })
    }
}

impl Refusal {
    /// The value of a field named `error`: an object, a string, or something else.
    pub(super) fn of_error(error: &RawValue) -> Self {
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
            Ok(inner) => Refusal {
                code: text_of(inner.code).or_else(|| text_of(inner.kind)),
                message: text_of(inner.message).unwrap_or_default(),
            },
            Err(_) => Refusal { code: None, message: text_of(Some(error)).unwrap_or_default() },
        }
    }
}

impl<'a> Finish<'a> {
    fn parse(raw: Option<&'a RawValue>) -> Result<Self, Unreadable> {
        let Some(raw) = raw else { return Ok(Finish::NotYet) };
        let reason = inner(raw).ok_or_else(|| Unreadable::malformed("a finish reason is no string"))?;
        Ok(match reason {
            "" | "null" => Finish::NotYet,
            "stop" => Finish::Stop,
            "length" => Finish::Length,
            "tool_calls" => Finish::ToolCalls,
            "content_filter" => Finish::ContentFilter,
            unknown => Finish::Unknown(unknown),
        })
    }
}

/// A text in pieces, each the raw inside of a JSON string. Almost always it is one piece: only
/// the multimodal endpoint's array can have more, and then `more` allocates.
#[derive(Debug, Default)]
pub(super) struct Text<'a> {
    first: Option<&'a str>,
    more: Vec<&'a str>,
}

impl<'a> Text<'a> {
    pub(super) fn of(raw: &'a str) -> Self {
        Text { first: Some(raw), more: Vec::new() }
    }

    /// Reads a string, an array of parts with texts, or nothing.
    fn parse(raw: Option<&'a RawValue>) -> Result<Self, Unreadable> {
        let Some(raw) = raw else { return Ok(Text::default()) };
        if let Some(inner) = inner(raw) {
            return Ok(Text::of(inner));
        }
        let wrong = |_| Unreadable::malformed("a content is neither string nor array of parts");
        serde_json::from_str::<Parts<'a>>(raw.get()).map(|parts| parts.0).map_err(wrong)
    }

    pub(super) fn pieces(&self) -> impl Iterator<Item = &'a str> {
        self.first.into_iter().chain(self.more.iter().copied())
    }

    /// The text, if it is in one piece.
    pub(super) fn single(&self) -> Option<&'a str> {
        if self.more.is_empty() { self.first } else { None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces().all(str::is_empty)
    }
}

/// The texts of a content array; parts of another kind are passed over.
struct Parts<'a>(Text<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Parts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Part<'a> {
            #[serde(borrow)]
            text: Option<&'a RawValue>,
        }
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of parts")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
                let mut text = Text::default();
                while let Some(part) = parts.next_element::<Part<'de>>()? {
                    let Some(raw) = part.text else { continue };
                    let piece = inner(raw).ok_or_else(|| A::Error::custom("a text that is no string"))?;
                    match text.first {
                        None => text.first = Some(piece),
                        Some(_) => text.more.push(piece),
                    }
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
pub(super) fn inner(raw: &RawValue) -> Option<&str> {
    raw.get().strip_prefix('"')?.strip_suffix('"')
}

/// A string decoded, or a number as it is written; nothing for the rest and for empty strings.
pub(super) fn text_of(raw: Option<&RawValue>) -> Option<String> {
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
