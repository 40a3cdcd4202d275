//! Parses and validates a request as a compatible service does.
//!
//! Source: OpenAI's API reference; what engines refuse, from their sources and captures.
use super::{
    Spell,
    spell::{Caps, Continues},
};
use crate::simulator::script::{
    Dialect, Mode, Request, Script, ServiceError, Turn,
    error::Kind,
    models::Family,
    request::{input_tokens, stop_words, take_prefix},
};
use serde_json::{Map, Value};

const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];
const NO_COMPLETION_CAP: &str = "Unsupported parameter: 'max_completion_tokens' is not supported with this model. Use 'max_tokens' instead.";
const NO_PLAIN_CAP: &str = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";

/// Parses a body.
///
/// # Errors
/// The error that the service would return.
pub fn parse(body: &[u8], usual: &'static Spell) -> Result<Request, ServiceError> {
    let body: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|_| ServiceError::parameter("We could not parse the JSON body of your request."))?;
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let count = |name: &str| body.get(name).and_then(Value::as_u64);
    let model = text("model").filter(|model| !model.is_empty());
    let model = model.ok_or_else(|| ServiceError::parameter("you must provide a model parameter"))?;
    let family = Family::of(model);
    if !family.is_known {
        return Err(ServiceError {
            message: Some(format!("The model `{model}` does not exist or you do not have access to it.")),
            ..ServiceError::of(Kind::Model)
        });
    }
    let messages = body.get("messages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut turns = turns(messages, &family)?;
    let last_user = turns.iter().rev().find(|turn| turn.role == "user");
    let spell = last_user.and_then(|turn| Script::spell_of(&turn.text)).unwrap_or(usual);
    check_ranges(&body)?;
    check_caps(&body, &family, spell)?;
    let stream = body.get("stream").and_then(Value::as_bool) == Some(true);
    let options = body.get("stream_options").filter(|options| !options.is_null());
    if options.is_some() && !stream {
        return Err(ServiceError::parameter(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        ));
    }
    let input_tokens = input_tokens(&turns)?;
    let prefix = if is_continued(&body, messages, spell)? { take_prefix(&mut turns, &family)? } else { None };
    Ok(Request {
        model: model.to_owned(),
        dialect: Dialect::Chat {
            include_usage: options.and_then(|options| options["include_usage"].as_bool()) == Some(true),
            spell,
        },
        stream,
        turns,
        mode: Mode::Incremental,
        thinking: thinks(&body).unwrap_or(family.thinks_always),
        thinking_budget: count("thinking_budget"),
        max_tokens: None,
        max_completion_tokens: match spell.caps {
            Caps::OnlyPlain => count("max_tokens"),
            _ => count("max_completion_tokens").or(count("max_tokens")),
        },
        seed: count("seed"),
        stop: stop_words(body.get("stop")),
        input_tokens,
        prefix,
    })
}

/// The conversation.
fn turns(messages: &[Value], family: &Family) -> Result<Vec<Turn>, ServiceError> {
    if messages.is_empty() {
        return Err(ServiceError::parameter("[] is too short - 'messages'"));
    }
    let turn = |message: &Value| {
        let role = message["role"].as_str().unwrap_or_default();
        if !ROLES.contains(&role) {
            return Err(ServiceError::parameter(format!(
                "Invalid value: {role:?}. Supported values are: {ROLES:?}."
            )));
        }
        let text = match &message["content"] {
            Value::String(text) => text.clone(),
            Value::Array(parts) => {
                if parts.iter().any(|part| part["type"] == "image_url") && !family.is_multimodal {
                    return Err(ServiceError::of(Kind::Image));
                }
                parts.iter().filter_map(|part| part["text"].as_str()).collect()
            }
            Value::Null if role == "assistant" => String::new(),
            _ => return Err(ServiceError::parameter("Invalid value for 'content': expected a string.")),
        };
        Ok(Turn { role: role.to_owned(), text })
    };
    messages.iter().map(turn).collect()
}

/// Whether the last message is the beginning of the answer.
fn is_continued(body: &Map<String, Value>, messages: &[Value], spell: &Spell) -> Result<bool, ServiceError> {
    let assistants = messages.iter().rev().take_while(|message| message["role"] == "assistant").count();
    let flag = |value: Option<&Value>| value.and_then(Value::as_bool) == Some(true);
    Ok(match spell.continues {
        Continues::No => false,
        Continues::MessageField(name) => flag(messages.last().and_then(|last| last.get(name))),
        Continues::RequestField => flag(body.get("continue_final_message")),
        Continues::Last if assistants > 1 => {
            return Err(ServiceError::parameter(
                "Cannot have 2 or more assistant messages at the end of the list.",
            ));
        }
        Continues::Last => assistants == 1,
    })
}

/// Whether reasoning was switched on or off, in one of the ways of the services.
fn thinks(body: &Map<String, Value>) -> Option<bool> {
    let field = |name: &str| body.get(name);
    let template = field("chat_template_kwargs").and_then(|arguments| arguments["enable_thinking"].as_bool());
    let kind = field("thinking").and_then(|thinking| thinking["type"].as_str()).map(|kind| kind == "enabled");
    let effort = field("reasoning_effort").and_then(Value::as_str).map(|effort| effort != "none");
    field("enable_thinking").and_then(Value::as_bool).or(template).or(kind).or(effort)
}

/// Rejects the field for the number of tokens that the model or the service does not take.
fn check_caps(body: &Map<String, Value>, family: &Family, spell: &Spell) -> Result<(), ServiceError> {
    let has = |name: &str| body.get(name).is_some_and(|value| !value.is_null());
    let refused = |message: &str| ServiceError {
        code: Some("unsupported_parameter".to_owned()),
        ..ServiceError::parameter(message)
    };
    if family.refuses_completion_cap && has("max_completion_tokens") {
        return Err(refused(NO_COMPLETION_CAP));
    }
    if spell.caps == Caps::OnlyCompletion && has("max_tokens") {
        return Err(refused(NO_PLAIN_CAP));
    }
    Ok(())
}

/// Rejects parameters outside their ranges. Unknown ones are accepted.
fn check_ranges(body: &Map<String, Value>) -> Result<(), ServiceError> {
    let number = |name: &str, low: f64, high: f64| match body.get(name) {
        None | Some(Value::Null) => Ok(()),
        Some(value) if value.as_f64().is_some_and(|number| (low..=high).contains(&number)) => Ok(()),
        Some(value) => Err(ServiceError::parameter(format!(
            "Invalid value for '{name}': expected a number from {low} to {high}, but got {value}."
        ))),
    };
    number("temperature", 0.0, 2.0)?;
    number("top_p", 0.0, 1.0)?;
    number("presence_penalty", -2.0, 2.0)?;
    number("frequency_penalty", -2.0, 2.0)?;
    number("n", 1.0, 128.0)?;
    for name in ["max_tokens", "max_completion_tokens"] {
        let value = body.get(name).filter(|value| !value.is_null());
        if value.is_some_and(|value| value.as_u64().is_none_or(|count| count == 0)) {
            return Err(ServiceError {
                message: Some(format!("Invalid '{name}': expected a whole number of at least 1.")),
                ..ServiceError::of(Kind::Cap)
            });
        }
    }
    Ok(())
}
