//! Values of keys about a service: its row, the columns that replace the row's, headers and fields of requests.
use super::{
    address,
    kind::{Setting, ValueKind},
    value::Choice,
};
use crate::upstream::{
    exchange::Header,
    json_fields::JsonFields,
    service::{Continues, ModelSource, Service, ThinkingField, TokenCap},
};

/// Limits of `upstream.headers`; more are rejected.
const HEADERS_MAX: usize = 16;
const HEADERS_BYTES: usize = 4096;
/// Maximum bytes of `upstream.extra`; more are rejected.
const EXTRA_BYTES: usize = 16 * 1024;

impl Setting for &'static Service {
    fn read(text: &str, _: &ValueKind) -> Result<Self, String> {
        match text.trim() {
            "" => Err("is empty".to_owned()),
            name => Service::find(name).ok_or_else(|| "not one of the words".to_owned()),
        }
    }
    fn show(&self, _: &ValueKind) -> String {
        self.name.to_owned()
    }
}

impl Choice for TokenCap {
    const NAMES: &'static [&'static str] = &["max_tokens", "max_completion_tokens"];
    const VALUES: &'static [Self] = &[TokenCap::MaxTokens, TokenCap::MaxCompletionTokens];
}

impl Choice for ThinkingField {
    const NAMES: &'static [&'static str] =
        &["none", "enable_thinking", "reasoning_effort", "chat_template_kwargs", "thinking.type"];
    const VALUES: &'static [Self] = &[
        ThinkingField::None,
        ThinkingField::EnableThinking,
        ThinkingField::ReasoningEffort,
        ThinkingField::ChatTemplateKwargs,
        ThinkingField::ThinkingType,
    ];
}

impl Choice for Continues {
    const NAMES: &'static [&'static str] = &["no", "partial", "prefix", "continue_final_message", "last"];
    const VALUES: &'static [Self] = &[
        Continues::No,
        Continues::Partial,
        Continues::Prefix,
        Continues::ContinueFinalMessage,
        Continues::Last,
    ];
}

impl Choice for ModelSource {
    const NAMES: &'static [&'static str] = &["named", "listed"];
    const VALUES: &'static [Self] = &[ModelSource::Named, ModelSource::Listed];
}

/// A column of the row, unless there is a value.
impl<T: Choice> Setting for Option<T> {
    fn read(text: &str, kind: &ValueKind) -> Result<Self, String> {
        if text.trim().is_empty() { Ok(None) } else { T::read(text, kind).map(Some) }
    }
    fn show(&self, kind: &ValueKind) -> String {
        self.map(|value| value.show(kind)).unwrap_or_default()
    }
}

impl Setting for Option<bool> {
    fn read(text: &str, kind: &ValueKind) -> Result<Self, String> {
        if text.trim().is_empty() { Ok(None) } else { bool::read(text, kind).map(Some) }
    }
    fn show(&self, kind: &ValueKind) -> String {
        self.map(|value| value.show(kind)).unwrap_or_default()
    }
}

impl Setting for JsonFields {
    fn read(text: &str, _: &ValueKind) -> Result<Self, String> {
        if text.len() > EXTRA_BYTES { Err("too long".to_owned()) } else { JsonFields::new(text) }
    }
    fn show(&self, _: &ValueKind) -> String {
        if self.as_str().is_empty() { String::new() } else { format!("{{{}}}", self.as_str()) }
    }
}

/// Headers of requests, some of which are secrets.
pub(super) type Headers = Vec<Header>;

/// Names of headers that the gateway or the connection determines: whole, and by their beginning.
const OWN_HEADERS: [&str; 14] = [
    "authorization",
    "api-key",
    "x-api-key",
    "host",
    "cookie",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const OWN_HEADERS_BEGIN: [&str; 3] = ["accept", "content-", "x-dashscope-"];

fn header(text: &str) -> Result<Header, String> {
    let (name, value) = text.split_once(':').ok_or("has no `:` between name and value")?;
    let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err("its name is not that of a header".to_owned());
    }
    if value.is_empty() || !value.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        return Err("its value is empty or has a character that is not allowed".to_owned());
    }
    if OWN_HEADERS.contains(&name.as_str()) || OWN_HEADERS_BEGIN.iter().any(|own| name.starts_with(own)) {
        return Err(format!("{name} is sent by the gateway itself"));
    }
    Ok(Header::secret(name, value))
}

impl Setting for Headers {
    fn read(text: &str, _: &ValueKind) -> Result<Self, String> {
        let headers = address::list(text, header)?;
        if headers.len() > HEADERS_MAX {
            return Err(format!("more than {HEADERS_MAX}"));
        }
        if text.len() > HEADERS_BYTES { Err("too long".to_owned()) } else { Ok(headers) }
    }
    fn show(&self, _: &ValueKind) -> String {
        if self.is_empty() { String::new() } else { "(set)".to_owned() }
    }
}
