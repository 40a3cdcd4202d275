//! Fields that the operator adds to the JSON of a request.
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// Fields as they stand between the braces of a JSON object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JsonFields(Box<str>);

impl JsonFields {
    /// Reads an object; an empty text is one without fields.
    ///
    /// # Errors
    /// What is wrong: it is no object, or a field stands in it twice.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(JsonFields::default());
        }
        serde_json::from_str::<Names>(text).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => {
                error.to_string().split(" at line").next().unwrap_or_default().to_owned()
            }
            _ => format!("is no JSON (column {})", error.column()),
        })?;
        let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
        Ok(JsonFields(inner.trim().into()))
    }

    /// The first of its fields that has one of these names.
    pub fn has_any(&self, names: &[&'static str]) -> Option<&'static str> {
        let own = serde_json::from_str::<Names>(&format!("{{{}}}", self.0))
            .map(|names| names.0)
            .unwrap_or_default();
        names.iter().copied().find(|name| own.iter().any(|own| own == name))
    }

    /// The fields, without braces.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Adds the fields to an object with at least one field, which ends the JSON in `bytes`.
    pub fn append_to(&self, bytes: &mut Vec<u8>) {
        if !self.0.is_empty() && bytes.pop_if(|last| *last == b'}').is_some() {
            bytes.push(b',');
            bytes.extend_from_slice(self.0.as_bytes());
            bytes.push(b'}');
        }
    }
}

/// The names of an object's fields.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Vec<String>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = fields.next_entry::<String, IgnoredAny>()? {
                    if names.contains(&name) {
                        return Err(serde::de::Error::custom(format_args!("has the field {name:.40} twice")));
                    }
                    names.push(name);
                }
                Ok(names)
            }
        }
        deserializer.deserialize_map(Fields).map(Names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_added_to_an_object() {
        for (text, expected) in [
            ("", r#"{"a":1}"#),
            (" {} ", r#"{"a":1}"#),
            (r#"{ "b": {"c": [1, "}"]} }"#, r#"{"a":1,"b": {"c": [1, "}"]}}"#),
        ] {
            let mut bytes = br#"{"a":1}"#.to_vec();
            JsonFields::new(text).unwrap().append_to(&mut bytes);
            assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for (text, problem) in [
            ("[1]", "invalid type: sequence, expected a JSON object"),
            ("1", "invalid type: integer `1`, expected a JSON object"),
            ("{\"a\":", "is no JSON (column 5)"),
            ("{\"a\":1}}", "is no JSON (column 8)"),
            ("{'a':1}", "is no JSON (column 2)"),
            (r#"{"a":1,"\u0061":2}"#, "has the field a twice"),
        ] {
            assert_eq!(JsonFields::new(text).unwrap_err(), problem, "{text}");
        }
    }

    #[test]
    fn a_name_is_found_however_it_is_spelled() {
        let fields = JsonFields::new(r#"{"top_k":1,"\u006dodel":"x","o":{"stream":1}}"#).unwrap();
        assert_eq!(fields.has_any(&["stream", "model"]), Some("model"));
        assert_eq!(fields.has_any(&["stream"]), None);
    }
}
