//! The JSON of frames, as all dialects read it: borrowed, with strings left as they stand.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use super::frame::{FrameError, RawText};
use serde::{
    Deserialize,
    de::{Deserializer, Error as _, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{fmt, marker::PhantomData};

/// Reads a frame, which must be a JSON object in UTF-8 from its first byte to its last.
pub(super) fn json_object<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, FrameError> {
    let line = std::str::from_utf8(line).map_err(|_| FrameError::malformed("invalid UTF-8 in an event"))?;
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

/// What is in a field named `error`. Services differ in which of its fields they fill, and with what.
#[derive(Default, Deserialize)]
pub(super) struct ErrorObject<'a> {
    #[serde(borrow)]
    pub(super) code: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) message: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) param: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) metadata: Option<ErrorMetadata<'a>>,
}

/// What OpenRouter says of an error beside.
#[derive(Deserialize)]
pub(super) struct ErrorMetadata<'a> {
    #[serde(borrow)]
    pub(super) reasons: Option<&'a RawValue>,
}

impl<'a> ErrorObject<'a> {
    /// Reads the value of the field: an object; a string, or something else, is a message alone.
    pub(super) fn of(error: &'a RawValue) -> Self {
        let message = |_| ErrorObject { message: Some(error), ..ErrorObject::default() };
        serde_json::from_str(error.get()).unwrap_or_else(message)
    }
}

/// Reads a string, an array of parts with texts, or nothing.
pub(super) fn text(raw: Option<&RawValue>) -> Result<RawText<'_>, FrameError> {
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

/// What has a place in a list, which may differ from its position.
pub(super) trait Indexed {
    fn index(&self) -> i64;
}

/// The entry of a list with index 0. Others are passed over: one answer is asked for.
pub(super) struct First<T>(pub(super) Option<T>);

impl<'de, T: Deserialize<'de> + Indexed> Deserialize<'de> for First<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Indexed> Visitor<'de> for Each<T> {
            type Value = Option<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of choices")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut choices: A) -> Result<Self::Value, A::Error> {
                let mut first = None;
                while let Some(choice) = choices.next_element::<T>()? {
                    if first.is_none() && choice.index() == 0 {
                        first = Some(choice);
                    }
                }
                Ok(first)
            }
        }
        deserializer.deserialize_seq(Each(PhantomData)).map(First)
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
pub(super) fn has_items(raw: &RawValue) -> bool {
    let inside = raw.get().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inside.is_none_or(|inside| !inside.trim_ascii().is_empty())
}
