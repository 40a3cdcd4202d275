//! Parses and validates a generation request as the service does.
//!
//! Source: the vendor's API reference (parameters, ranges) and its error-code page (messages).
use super::{Endpoint, Format};
use crate::simulator::script::{
    Dialect, Mode, Request, ServiceError, Turn,
    error::Kind,
    models::Family,
    request::{INPUT_MAX, input_tokens, stop_words, take_prefix},
};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Body {
    model: Option<String>,
    input: Option<Input>,
    parameters: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Input {
    messages: Option<Vec<Message>>,
    prompt: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: Option<Content>,
    /// The beginning of the answer, which is to be continued.
    #[serde(default)]
    partial: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
}

impl Content {
    fn text(self) -> String {
        match self {
            Content::Text(text) => text,
            Content::Parts(parts) => parts.into_iter().filter_map(|part| part.text).collect(),
        }
    }
}

/// Parses a body.
///
/// # Errors
/// The error that the service would return.
pub fn parse(body: &[u8], endpoint: Endpoint, stream: bool) -> Result<Request, ServiceError> {
    let body: Body = serde_json::from_slice(body).map_err(|_| {
        ServiceError::parameter("Required body invalid, please check the request body format.")
    })?;
    let model = body
        .model
        .filter(|model| !model.is_empty())
        .ok_or_else(|| ServiceError::coded("BadRequest.EmptyModel"))?;
    let input = body.input.ok_or_else(|| ServiceError::coded("BadRequest.EmptyInput"))?;
    let parameters = body.parameters.ok_or_else(|| ServiceError::coded("BadRequest.EmptyParameters"))?;
    let family = Family::of(&model);
    check_endpoint(&family, endpoint)?;
    let (mut turns, is_partial) = turns(input)?;
    check_ranges(&parameters)?;
    let flag = |name: &str| parameters.get(name).and_then(Value::as_bool);
    let count = |name: &str| parameters.get(name).and_then(Value::as_u64);
    if family.refuses_completion_cap && count("max_completion_tokens").is_some() {
        return Err(ServiceError::parameter(
            "Parameter max_completion_tokens is not supported by this model.",
        ));
    }
    let input_tokens = input_tokens(&turns)?;
    let prefix = if is_partial { take_prefix(&mut turns, &family)? } else { None };
    let thinking = family.thinks_always || flag("enable_thinking") == Some(true);
    let incremental = flag("incremental_output");
    check_thinking(&family, stream, thinking, incremental)?;
    let incremental = incremental.unwrap_or(family.is_incremental || thinking);
    let format = match parameters.get("result_format").and_then(Value::as_str) {
        Some("message") => Format::Message,
        Some(_) if thinking || endpoint == Endpoint::Multimodal => Format::Message,
        Some(_) => Format::Text,
        None if family.has_messages || thinking || endpoint == Endpoint::Multimodal => Format::Message,
        None => Format::Text,
    };
    Ok(Request {
        model,
        dialect: Dialect::DashScope { endpoint, format },
        stream,
        turns,
        mode: if incremental { Mode::Incremental } else { Mode::Cumulative },
        thinking,
        thinking_budget: count("thinking_budget"),
        max_tokens: count("max_tokens"),
        max_completion_tokens: count("max_completion_tokens"),
        seed: count("seed"),
        stop: stop_words(parameters.get("stop")),
        input_tokens,
        prefix,
    })
}

/// The conversation, from `messages` or the older `prompt`, and whether its last message is to be continued.
fn turns(input: Input) -> Result<(Vec<Turn>, bool), ServiceError> {
    let is_partial =
        input.messages.as_ref().and_then(|messages| messages.last()).is_some_and(|last| last.partial);
    let turns: Vec<Turn> = match (input.messages, input.prompt) {
        (Some(messages), _) => messages
            .into_iter()
            .map(|message| Turn {
                role: message.role,
                text: message.content.map_or(String::new(), Content::text),
            })
            .collect(),
        (None, Some(prompt)) => vec![Turn { role: "user".to_owned(), text: prompt }],
        (None, None) => return Err(ServiceError::coded("BadRequest.EmptyInput")),
    };
    if let Some(turn) =
        turns.iter().find(|turn| !["system", "user", "assistant", "tool"].contains(&&*turn.role))
    {
        return Err(ServiceError::parameter(format!("Role must be user or assistant, got {:?}.", turn.role)));
    }
    if turns.iter().all(|turn| turn.text.is_empty()) {
        return Err(ServiceError::parameter(format!("Range of input length should be [1, {INPUT_MAX}]")));
    }
    Ok((turns, is_partial))
}

/// Rejects parameters outside their ranges. Unknown ones are accepted, as by the service.
fn check_ranges(parameters: &Map<String, Value>) -> Result<(), ServiceError> {
    type Check = fn(&Value) -> bool;
    fn within(value: &Value, allowed: impl Fn(f64) -> bool) -> bool {
        value.as_f64().is_some_and(allowed)
    }
    fn positive(value: &Value) -> bool {
        value.as_u64().is_some_and(|count| count >= 1)
    }
    const CHECKS: &[(&str, Check, &str)] = &[
        ("temperature", Value::is_number, "'temperature' must be Float"),
        ("temperature", |v| within(v, |x| (0.0..2.0).contains(&x)), "Temperature should be in [0.0, 2.0)"),
        ("top_p", |v| within(v, |x| x > 0.0 && x <= 1.0), "Range of top_p should be (0.0, 1.0]"),
        ("top_k", Value::is_u64, "Parameter top_k be greater than or equal to 0"),
        (
            "max_tokens",
            |v| v.as_u64().is_some_and(|n| (1..=8192).contains(&n)),
            "Range of max_tokens should be [1, 8192]",
        ),
        ("max_completion_tokens", positive, "Range of max_completion_tokens should be [1, 65536]"),
        ("repetition_penalty", |v| within(v, |x| x > 0.0), "Repetition_penalty should be greater than 0.0"),
        (
            "presence_penalty",
            |v| within(v, |x| (-2.0..=2.0).contains(&x)),
            "Presence_penalty should be in [-2.0, 2.0]",
        ),
        ("seed", |v| v.as_u64().is_some_and(|n| n < 1 << 31), "Range of seed should be [0, 2147483647]"),
        ("n", |v| v.as_u64().is_some_and(|n| (1..=4).contains(&n)), "Range of n should be [1, 4]"),
        ("top_logprobs", |v| v.as_u64().is_some_and(|n| n <= 5), "Range of top_logprobs should be [0, 5]"),
        (
            "thinking_budget",
            |v| v.as_u64().is_some_and(|n| (1..=38_912).contains(&n)),
            "The thinking_budget parameter must be a positive integer and not greater than 38912",
        ),
        ("incremental_output", Value::is_boolean, "'incremental_output' must be Boolean"),
        ("enable_thinking", Value::is_boolean, "'enable_thinking' must be Boolean"),
        (
            "result_format",
            |v| matches!(v.as_str(), Some("text" | "message")),
            "result_format must be one of text, message",
        ),
    ];
    for (name, passes, message) in CHECKS {
        if parameters.get(*name).is_some_and(|value| !value.is_null() && !passes(value)) {
            return Err(ServiceError::parameter(*message));
        }
    }
    Ok(())
}

/// The simulator's own models are on both paths; others on one.
fn check_endpoint(family: &Family, endpoint: Endpoint) -> Result<(), ServiceError> {
    if !family.is_known {
        return Err(ServiceError::of(Kind::Model));
    }
    if !family.is_sim && family.is_multimodal != (endpoint == Endpoint::Multimodal) {
        return Err(ServiceError::of(Kind::Image));
    }
    Ok(())
}

fn check_thinking(
    family: &Family,
    stream: bool,
    thinking: bool,
    incremental: Option<bool>,
) -> Result<(), ServiceError> {
    if family.thinks_always && !stream {
        return Err(ServiceError::parameter(
            "This model only support stream mode, please enable the stream parameter to access the model. ",
        ));
    }
    if thinking && !stream {
        return Err(ServiceError::parameter(
            "parameter.enable_thinking must be set to false for non-streaming calls",
        ));
    }
    if family.only_incremental && incremental == Some(false) {
        return Err(ServiceError::parameter(
            "The incremental_output parameter of this model cannot be set to False.",
        ));
    }
    if thinking && incremental == Some(false) {
        return Err(ServiceError::parameter(
            "The incremental_output parameter must be \"true\" when enable_thinking is true",
        ));
    }
    Ok(())
}
