//! Fields that the operator adds to the JSON of a request.
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::{collections::BTreeMap, fmt};

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

    /// These fields, and those of `below` that have other names.
    pub fn over(&self, below: &JsonFields) -> JsonFields {
        let fields = |of: &JsonFields| {
            let object = format!("{{{}}}", of.0);
            serde_json::from_str::<Fields>(&object).map(|fields| fields.0).unwrap_or_default()
        };
        let (mut all, below) = (fields(self), fields(below));
        let is_other = |(name, _): &(String, Box<RawValue>)| all.iter().all(|(own, _)| own != name);
        let below: Vec<_> = below.into_iter().filter(is_other).collect();
        all.extend(below);
        let text: Vec<_> = all
            .iter()
            .map(|(name, value)| format!("{}:{}", serde_json::Value::from(name.as_str()), value.get()))
            .collect();
        JsonFields(text.join(",").into())
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

/// Further fields of the requests to one upstream: its own, and those of single models, which are over its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    own: JsonFields,
    /// By what clients ask for and what the upstream calls it: a model may be answered by another one's target.
    models: BTreeMap<(Box<str>, Box<str>), JsonFields>,
}

impl From<JsonFields> for Extra {
    fn from(own: JsonFields) -> Self {
        Extra { own, models: BTreeMap::new() }
    }
}

impl Extra {
    /// Adds the fields of a model where clients ask for `asked` and the upstream is asked for `there`. Those that are
    /// known already stay: an earlier level is asked first.
    pub fn add(&mut self, asked: &str, there: &str, fields: &JsonFields) {
        let over = fields.over(&self.own);
        self.models.entry((asked.into(), there.into())).or_insert(over);
    }

    /// The fields of a request.
    pub fn of(&self, asked: &str, there: &str) -> &JsonFields {
        if self.models.is_empty() {
            return &self.own;
        }
        self.models.get(&(asked.into(), there.into())).unwrap_or(&self.own)
    }
}

/// The fields of an object, in their order.
struct Fields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Vec<(String, Box<RawValue>)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(field) = fields.next_entry()? {
                    all.push(field);
                }
                Ok(all)
            }
        }
        deserializer.deserialize_map(Each).map(Fields)
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
    fn a_field_stands_over_another_of_its_name() {
        for (own, below, expected) in [
            ("", "", ""),
            ("", r#"{"a": 1.50}"#, r#""a":1.50"#),
            (r#"{"a":1}"#, "", r#""a":1"#),
            (r#"{"\u0061":{"x":[1]},"b":2}"#, r#"{"a":3,"c":"\"}"}"#, r#""a":{"x":[1]},"b":2,"c":"\"}""#),
        ] {
            let over = JsonFields::new(own).unwrap().over(&JsonFields::new(below).unwrap());
            assert_eq!(over.as_str(), expected);
        }
    }

    #[test]
    fn fields_of_a_model_go_to_its_targets_alone() {
        let fields = |text| JsonFields::new(text).unwrap();
        let mut extra = Extra::from(fields(r#"{"a":1,"b":1}"#));
        extra.add("m", "there", &fields(r#"{"a":2}"#));
        extra.add("m", "there", &fields(r#"{"a":3}"#));
        assert_eq!(extra.of("m", "there").as_str(), r#""a":2,"b":1"#);
        assert_eq!(extra.of("other", "there").as_str(), r#""a":1,"b":1"#);
        assert_eq!(extra.of("m", "elsewhere").as_str(), r#""a":1,"b":1"#);
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
