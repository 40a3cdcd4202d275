//! The `body` of a request: the model and its parameters, among other data of the application.
use super::{Field, JsonText, OBJECT, Reading, Value};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::{fmt, marker::PhantomData};

/// The fields that are used, of whatever type; all others are ignored.
#[derive(Default)]
pub(in super::super) struct Body<'a> {
    pub model: Option<Value<'a>>,
    pub temperature: Option<Value<'a>>,
    pub top_p: Option<Value<'a>>,
    pub max_tokens: Option<Value<'a>>,
    pub thinking: Option<Value<'a>>,
}

// A wrong type is reported later, so these are named only if a field is given twice.
const MODEL: Field = Field("body.model", "");
const TEMPERATURE: Field = Field("body.temperature", "");
const TOP_P: Field = Field("body.top_p", "");
const MAX_TOKENS: Field = Field("body.max_tokens", "");
const THINKING: Field = Field("body.thinking", "");

/// Reads an object, or `null`.
pub(super) struct BodySeed<'r>(pub(super) &'r Reading);

impl<'de> DeserializeSeed<'de> for BodySeed<'_> {
    type Value = Body<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Body<'de>, D::Error> {
        json.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for BodySeed<'_> {
    type Value = Body<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(OBJECT)
    }

    fn visit_none<E>(self) -> Result<Body<'de>, E> {
        Ok(Body::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<Body<'de>, D::Error> {
        json.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body<'de>, A::Error> {
        let reading = self.0;
        let any = || PhantomData::<Value<'de>>;
        let mut body = Body::default();
        while let Some(JsonText(key)) = map.next_key()? {
            match key.as_ref() {
                "model" => reading.value(&mut map, MODEL, &mut body.model, any())?,
                "temperature" => reading.value(&mut map, TEMPERATURE, &mut body.temperature, any())?,
                "top_p" => reading.value(&mut map, TOP_P, &mut body.top_p, any())?,
                "max_tokens" => reading.value(&mut map, MAX_TOKENS, &mut body.max_tokens, any())?,
                "thinking" => reading.value(&mut map, THINKING, &mut body.thinking, any())?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(body)
    }
}
