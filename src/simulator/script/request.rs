//! Parses and validates a generation request as the service does.
//!
//! Source: the vendor's API reference (parameters, ranges) and its error-code page (messages).
use super::{MODELS, ServiceError, pieces};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Maximum input, in tokens; longer input is rejected.
const INPUT_MAX: u64 = 98_304;

/// The generation path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Text,
    Multimodal,
}

/// `result_format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Message,
}

/// Whether a frame contains the whole text so far or only the new piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Cumulative,
    Incremental,
}

/// One message of the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    pub role: String,
    pub text: String,
}

/// A valid request, with the model's defaults filled in.
#[derive(Clone, Debug)]
pub struct Request {
    pub model: String,
    pub endpoint: Endpoint,
    /// Answer as an event stream.
    pub stream: bool,
    pub turns: Vec<Turn>,
    pub format: Format,
    pub mode: Mode,
    pub thinking: bool,
    pub thinking_budget: Option<u64>,
    pub max_tokens: Option<u64>,
    pub max_completion_tokens: Option<u64>,
    pub seed: Option<u64>,
    pub stop: Vec<String>,
    pub input_tokens: u64,
}

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

impl Request {
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
            .ok_or(ServiceError::known("BadRequest.EmptyModel"))?;
        let input = body.input.ok_or(ServiceError::known("BadRequest.EmptyInput"))?;
        let parameters = body.parameters.ok_or(ServiceError::known("BadRequest.EmptyParameters"))?;
        let family = Family::of(&model);
        family.check_endpoint(endpoint)?;
        let turns = turns(input)?;
        check_ranges(&parameters)?;
        let input_tokens = turns.iter().map(|turn| pieces::count(&turn.text) + 4).sum();
        if input_tokens > INPUT_MAX {
            return Err(ServiceError::parameter(format!("Range of input length should be [1, {INPUT_MAX}]")));
        }
        let flag = |name: &str| parameters.get(name).and_then(Value::as_bool);
        let count = |name: &str| parameters.get(name).and_then(Value::as_u64);
        let thinking = family.thinks_always || flag("enable_thinking") == Some(true);
        let incremental = flag("incremental_output");
        family.check_thinking(stream, thinking, incremental)?;
        let incremental = incremental.unwrap_or(family.incremental || thinking);
        let format = match parameters.get("result_format").and_then(Value::as_str) {
            Some("message") => Format::Message,
            Some(_) if thinking || endpoint == Endpoint::Multimodal => Format::Message,
            Some(_) => Format::Text,
            None if family.message || thinking || endpoint == Endpoint::Multimodal => Format::Message,
            None => Format::Text,
        };
        Ok(Request {
            model,
            endpoint,
            stream,
            turns,
            format,
            mode: if incremental { Mode::Incremental } else { Mode::Cumulative },
            thinking,
            thinking_budget: count("thinking_budget"),
            max_tokens: count("max_tokens"),
            max_completion_tokens: count("max_completion_tokens"),
            seed: count("seed"),
            stop: stop_words(parameters.get("stop")),
            input_tokens,
        })
    }

    /// The text of the last user message.
    pub fn last_user_text(&self) -> &str {
        self.turns.iter().rev().find(|turn| turn.role == "user").map_or("", |turn| &turn.text)
    }
}

/// The conversation, from `messages` or the older `prompt`.
fn turns(input: Input) -> Result<Vec<Turn>, ServiceError> {
    let turns: Vec<Turn> = match (input.messages, input.prompt) {
        (Some(messages), _) => messages
            .into_iter()
            .map(|message| Turn {
                role: message.role,
                text: message.content.map_or(String::new(), Content::text),
            })
            .collect(),
        (None, Some(prompt)) => vec![Turn { role: "user".to_owned(), text: prompt }],
        (None, None) => return Err(ServiceError::known("BadRequest.EmptyInput")),
    };
    if let Some(turn) =
        turns.iter().find(|turn| !["system", "user", "assistant", "tool"].contains(&&*turn.role))
    {
        return Err(ServiceError::parameter(format!("Role must be user or assistant, got {:?}.", turn.role)));
    }
    if turns.iter().all(|turn| turn.text.is_empty()) {
        return Err(ServiceError::parameter(format!("Range of input length should be [1, {INPUT_MAX}]")));
    }
    Ok(turns)
}

fn stop_words(stop: Option<&Value>) -> Vec<String> {
    match stop {
        Some(Value::String(word)) => vec![word.clone()],
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
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

/// Properties of a model, inferred from its name.
struct Family {
    sim: bool,
    known: bool,
    multimodal: bool,
    thinks_always: bool,
    /// `incremental_output` is true by default.
    incremental: bool,
    /// `incremental_output` cannot be false.
    only_incremental: bool,
    /// `result_format` is `message` by default.
    message: bool,
}

impl Family {
    fn of(model: &str) -> Family {
        let name = model.to_ascii_lowercase();
        let begins = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
        let sim = name.starts_with("sim-");
        let open =
            name.strip_prefix("qwen3-").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let thinks_always = begins(&["sim-think", "qwq", "qvq", "deepseek-r1"]) || name.contains("-thinking");
        let modern = open || begins(&["qwen3-max", "qwen3-vl", "qwq", "qvq"]) || thinks_always;
        Family {
            sim,
            known: !sim || MODELS.contains(&&*name),
            multimodal: name.contains("-vl")
                || begins(&["qvq", "qwen3.5-plus", "qwen3.6-plus", "qwen3.7-plus"]),
            thinks_always,
            incremental: modern,
            only_incremental: open || thinks_always,
            message: modern,
        }
    }

    /// The simulator's own models are on both paths; others on one.
    fn check_endpoint(&self, endpoint: Endpoint) -> Result<(), ServiceError> {
        if !self.known {
            return Err(ServiceError::known("ModelNotFound"));
        }
        if !self.sim && self.multimodal != (endpoint == Endpoint::Multimodal) {
            return Err(ServiceError::parameter("url error, please check url！"));
        }
        Ok(())
    }

    fn check_thinking(
        &self,
        stream: bool,
        thinking: bool,
        incremental: Option<bool>,
    ) -> Result<(), ServiceError> {
        if self.thinks_always && !stream {
            return Err(ServiceError::parameter(
                "This model only support stream mode, please enable the stream parameter to access the model. ",
            ));
        }
        if thinking && !stream {
            return Err(ServiceError::parameter(
                "parameter.enable_thinking must be set to false for non-streaming calls",
            ));
        }
        if self.only_incremental && incremental == Some(false) {
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
}
