//! Parses a client's JSON in one pass, so that a long transcript is read only once, and reports the invalid field.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
mod body;
mod value;

pub(super) use body::Body;
pub(super) use value::Value;

use super::super::Rejection;
use crate::chat::Role;
use body::BodySeed;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::{borrow::Cow, cell::Cell, fmt, marker::PhantomData};

/// A field of a frame, and the type that it must have.
#[derive(Clone, Copy)]
pub(super) struct Field(pub &'static str, &'static str);

const STRING: &str = "must be a string";
const OBJECT: &str = "must be a JSON object";
const LIST: &str = "must be a list";

pub(super) const FRAME: Field = Field("frame", OBJECT);
pub(super) const TYPE: Field = Field("type", STRING);
pub(super) const REQUEST: Field = Field("requestId", STRING);
pub(super) const CHAT: Field = Field("id", STRING);
pub(super) const TRIGGER: Field = Field("trigger", STRING);
pub(super) const MESSAGE: Field = Field("messageId", STRING);
const LAST_SEQUENCE: Field = Field("lastSequence", "must be a whole number from 0 to 4294967295");
const RUN: Field = Field("run", "must be a whole number from 0 to 4294967295");
const HEADERS: Field = Field("headers", OBJECT);
const BODY: Field = Field("body", OBJECT);
pub(super) const MESSAGES: Field = Field("messages", LIST);
const ENTRY: Field = Field("messages[]", OBJECT);
pub(super) const ID: Field = Field("messages[].id", STRING);
pub(super) const ROLE: Field = Field("messages[].role", STRING);
const PARTS: Field = Field("messages[].parts", LIST);
const PART: Field = Field("messages[].parts[]", OBJECT);
const PART_TYPE: Field = Field("messages[].parts[].type", STRING);
const PART_TEXT: Field = Field("messages[].parts[].text", STRING);

pub(super) const MISSING: &str = "is missing";
const TWICE: &str = "is given twice";
const UNREADABLE: &str = "is not JSON that can be read";

/// The fields of a frame that are used; all others are ignored.
#[derive(Default)]
pub(super) struct Frame<'a> {
    pub kind: Option<Cow<'a, str>>,
    pub request: Option<Cow<'a, str>>,
    pub chat: Option<Cow<'a, str>>,
    pub trigger: Option<Cow<'a, str>>,
    pub message: Option<Cow<'a, str>>,
    pub last_sequence: Option<u32>,
    pub run: Option<u32>,
    pub messages: Option<Vec<ClientMessage<'a>>>,
    pub body: Body<'a>,
}

/// A message of the client's copy of the conversation.
pub(super) struct ClientMessage<'a> {
    pub id: Cow<'a, str>,
    pub role: Role,
    /// The joined text of all text parts.
    pub text: Cow<'a, str>,
    /// Type of the first part whose content is not in `text`, such as a file.
    pub foreign: Option<&'static str>,
}

impl<'a> Frame<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Rejection> {
        let reading = Reading { field: Cell::new(FRAME), fault: Cell::new(None) };
        let mut json = serde_json::Deserializer::from_str(text);
        let read = FrameSeed(&reading).deserialize(&mut json).and_then(|frame| json.end().map(|()| frame));
        read.map_err(|error| {
            let Field(field, must) = reading.field.get();
            let fault = match error.classify() {
                serde_json::error::Category::Data => reading.fault.get().unwrap_or(must),
                _ => UNREADABLE,
            };
            Rejection::Malformed { field, fault }
        })
    }
}

/// The request ID of a frame that could not be parsed, if it can be found.
pub(super) fn find_request(text: &str) -> Option<Cow<'_, str>> {
    let found = Cell::new(None);
    // The error of the frame is already known.
    let _ = serde_json::Deserializer::from_str(text).deserialize_map(RequestVisitor(&found));
    found.into_inner()
}

struct RequestVisitor<'c, 'de>(&'c Cell<Option<Cow<'de, str>>>);

impl<'de> Visitor<'de> for RequestVisitor<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(OBJECT)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(JsonText(key)) = map.next_key()? {
            if key == REQUEST.0 {
                self.0.set(Some(map.next_value::<JsonText<'de>>()?.0));
                return Ok(());
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// The parser's position: the field that an error is attributed to.
struct Reading {
    field: Cell<Field>,
    /// What is wrong with it, if it is not simply the type.
    fault: Cell<Option<&'static str>>,
}

impl Reading {
    fn fail<E: Error>(&self, field: Field, fault: &'static str) -> E {
        self.field.set(field);
        self.fault.set(Some(fault));
        E::custom(fault)
    }

    /// Reads the value of a field that may occur only once.
    fn value<'de, A: MapAccess<'de>, S: DeserializeSeed<'de>>(
        &self,
        map: &mut A,
        field: Field,
        slot: &mut Option<S::Value>,
        seed: S,
    ) -> Result<(), A::Error> {
        if slot.is_some() {
            return Err(self.fail(field, TWICE));
        }
        let outer = self.field.replace(field);
        *slot = Some(map.next_value_seed(seed)?);
        self.field.set(outer);
        Ok(())
    }
}

/// A string, borrowed from the frame if it contains no escapes.
struct JsonText<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for JsonText<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = JsonText<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STRING)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(JsonText(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(JsonText(Cow::Owned(text.to_owned())))
    }
}

/// An object whose content is ignored.
struct Object;

impl<'de> serde::Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(Object)
    }
}

impl<'de> Visitor<'de> for Object {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(OBJECT)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Object)
    }
}

fn maybe_text<'de>() -> PhantomData<Option<JsonText<'de>>> {
    PhantomData
}

fn text<'de>() -> PhantomData<JsonText<'de>> {
    PhantomData
}

struct FrameSeed<'r>(&'r Reading);

impl<'de> DeserializeSeed<'de> for FrameSeed<'_> {
    type Value = Frame<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Frame<'de>, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FrameSeed<'_> {
    type Value = Frame<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(OBJECT)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Frame<'de>, A::Error> {
        let reading = self.0;
        let (mut kind, mut request, mut chat, mut trigger) = (None, None, None, None);
        let (mut message, mut last_sequence, mut run, mut messages) = (None, None, None, None);
        let (mut headers, mut body) = (None, None);
        let object = || PhantomData::<Option<Object>>;
        while let Some(JsonText(key)) = map.next_key()? {
            match key.as_ref() {
                "type" => reading.value(&mut map, TYPE, &mut kind, text())?,
                "requestId" => reading.value(&mut map, REQUEST, &mut request, maybe_text())?,
                "id" => reading.value(&mut map, CHAT, &mut chat, text())?,
                "trigger" => reading.value(&mut map, TRIGGER, &mut trigger, text())?,
                "messageId" => reading.value(&mut map, MESSAGE, &mut message, maybe_text())?,
                "lastSequence" => {
                    let seed = PhantomData::<Option<u32>>;
                    reading.value(&mut map, LAST_SEQUENCE, &mut last_sequence, seed)?;
                }
                "run" => reading.value(&mut map, RUN, &mut run, PhantomData::<Option<u32>>)?,
                "messages" => reading.value(&mut map, MESSAGES, &mut messages, MessagesSeed(reading))?,
                "headers" => reading.value(&mut map, HEADERS, &mut headers, object())?,
                "body" => reading.value(&mut map, BODY, &mut body, BodySeed(reading))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Frame {
            kind: kind.map(|text| text.0),
            request: request.flatten().map(|text| text.0),
            chat: chat.map(|text| text.0),
            trigger: trigger.map(|text| text.0),
            message: message.flatten().map(|text| text.0),
            last_sequence: last_sequence.flatten(),
            run: run.flatten(),
            messages,
            body: body.unwrap_or_default(),
        })
    }
}

struct MessagesSeed<'r>(&'r Reading);

impl<'de> DeserializeSeed<'de> for MessagesSeed<'_> {
    type Value = Vec<ClientMessage<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for MessagesSeed<'_> {
    type Value = Vec<ClientMessage<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LIST)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut messages = Vec::new();
        let outer = self.0.field.replace(ENTRY);
        while let Some(message) = list.next_element_seed(MessageSeed(self.0))? {
            messages.push(message);
        }
        self.0.field.set(outer);
        Ok(messages)
    }
}

struct MessageSeed<'r>(&'r Reading);

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = ClientMessage<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<ClientMessage<'de>, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = ClientMessage<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(OBJECT)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ClientMessage<'de>, A::Error> {
        let reading = self.0;
        let (mut id, mut role, mut parts) = (None, None, None);
        while let Some(JsonText(key)) = map.next_key()? {
            match key.as_ref() {
                "id" => reading.value(&mut map, ID, &mut id, text())?,
                "role" => reading.value(&mut map, ROLE, &mut role, text())?,
                "parts" => reading.value(&mut map, PARTS, &mut parts, PartsSeed(reading))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let id = id.ok_or_else(|| reading.fail(ID, MISSING))?.0;
        let role = role.ok_or_else(|| reading.fail(ROLE, MISSING))?;
        let (text, foreign) = parts.ok_or_else(|| reading.fail(PARTS, MISSING))?;
        let role = match role.0.as_ref() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            _ => return Err(reading.fail(ROLE, "must be `user` or `assistant`")),
        };
        Ok(ClientMessage { id, role, text, foreign })
    }
}

/// Reads the parts of one message: their text, and the type of the first part that is not text.
struct PartsSeed<'r>(&'r Reading);

impl<'de> DeserializeSeed<'de> for PartsSeed<'_> {
    type Value = (Cow<'de, str>, Option<&'static str>);

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for PartsSeed<'_> {
    type Value = (Cow<'de, str>, Option<&'static str>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LIST)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let (mut whole, mut foreign) = (Cow::Borrowed(""), None);
        let outer = self.0.field.replace(PART);
        while let Some(part) = list.next_element_seed(PartSeed(self.0))? {
            match part {
                Part::Text(text) if whole.is_empty() => whole = text,
                Part::Text(text) => whole.to_mut().push_str(&text),
                Part::Foreign(kind) => foreign = foreign.or(Some(kind)),
                Part::Skipped => {}
            }
        }
        self.0.field.set(outer);
        Ok((whole, foreign))
    }
}

enum Part<'a> {
    Text(Cow<'a, str>),
    Foreign(&'static str),
    Skipped,
}

struct PartSeed<'r>(&'r Reading);

impl<'de> DeserializeSeed<'de> for PartSeed<'_> {
    type Value = Part<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Part<'de>, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PartSeed<'_> {
    type Value = Part<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(OBJECT)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Part<'de>, A::Error> {
        let reading = self.0;
        let (mut kind, mut text): (Option<JsonText<'de>>, Option<Value<'de>>) = (None, None);
        while let Some(JsonText(key)) = map.next_key()? {
            match key.as_ref() {
                "type" => reading.value(&mut map, PART_TYPE, &mut kind, self::text())?,
                "text" if kind.as_ref().is_none_or(|kind| kind.0 == "text") => {
                    reading.value(&mut map, PART_TEXT, &mut text, PhantomData::<Value<'de>>)?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let kind = kind.ok_or_else(|| reading.fail(PART_TYPE, MISSING))?.0;
        match (classify(&kind), text) {
            (Part::Text(_), Some(Value::Text(text))) => Ok(Part::Text(text)),
            (Part::Text(_), Some(_)) => Err(reading.fail(PART_TEXT, STRING)),
            (Part::Text(_), None) => Err(reading.fail(PART_TEXT, MISSING)),
            (Part::Foreign(kind), _) => Ok(Part::Foreign(kind)),
            (Part::Skipped, _) => Ok(Part::Skipped),
        }
    }
}

/// How a part is treated, by its type.
fn classify(kind: &str) -> Part<'static> {
    const BESIDE: [&str; 3] = ["data-", "source-", "tool-"];
    match kind {
        "text" => Part::Text(Cow::Borrowed("")),
        "reasoning" | "step-start" | "dynamic-tool" => Part::Skipped,
        _ if BESIDE.iter().any(|beginning| kind.starts_with(beginning)) => Part::Skipped,
        "file" => Part::Foreign("file"),
        _ => Part::Foreign("unknown"),
    }
}
