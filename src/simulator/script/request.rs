//! A generation request as both dialects state it, with the model's defaults filled in.
use super::{
    chat::Spell,
    dashscope::{Endpoint, Format},
    error::{Kind, ServiceError},
    models::Family,
    pieces,
};
use serde_json::Value;

/// Maximum input, in tokens; longer input is rejected.
pub(super) const INPUT_MAX: u64 = 98_304;

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

/// The language of a request, with what only this one states.
#[derive(Clone, Copy, Debug)]
pub enum Dialect {
    DashScope {
        endpoint: Endpoint,
        format: Format,
    },
    Chat {
        /// Usage is reported at the end of a stream.
        include_usage: bool,
        spell: &'static Spell,
    },
}

/// A valid request.
#[derive(Clone, Debug)]
pub struct Request {
    pub model: String,
    pub dialect: Dialect,
    /// Answer as an event stream.
    pub stream: bool,
    /// Without the prefix.
    pub turns: Vec<Turn>,
    pub mode: Mode,
    pub thinking: bool,
    pub thinking_budget: Option<u64>,
    /// Bound of the answer, in deltas.
    pub max_tokens: Option<u64>,
    /// Bound of reasoning and answer together, in deltas.
    pub max_completion_tokens: Option<u64>,
    pub seed: Option<u64>,
    pub stop: Vec<String>,
    pub input_tokens: u64,
    /// The beginning of the answer, which is to be continued.
    pub prefix: Option<String>,
}

impl Request {
    /// The text of the last user message.
    pub fn last_user_text(&self) -> &str {
        self.turns.iter().rev().find(|turn| turn.role == "user").map_or("", |turn| &turn.text)
    }
}

/// The tokens of a conversation.
///
/// # Errors
/// There are more than [`INPUT_MAX`].
pub(super) fn input_tokens(turns: &[Turn]) -> Result<u64, ServiceError> {
    let tokens = turns.iter().map(|turn| pieces::count(&turn.text) + 4).sum();
    if tokens > INPUT_MAX { Err(ServiceError::of(Kind::TooLong)) } else { Ok(tokens) }
}

/// Takes the last message off the conversation as the beginning of the answer, if it is the assistant's.
///
/// # Errors
/// The model does not continue an answer.
pub(super) fn take_prefix(turns: &mut Vec<Turn>, family: &Family) -> Result<Option<String>, ServiceError> {
    let Some(last) = turns.pop_if(|turn| turn.role == "assistant") else { return Ok(None) };
    if family.refuses_prefix {
        return Err(ServiceError::parameter(
            "The model does not support continuing a partial assistant message.",
        ));
    }
    Ok(Some(last.text))
}

/// The stop sequences of a request: a text, or a list of them.
pub(super) fn stop_words(stop: Option<&Value>) -> Vec<String> {
    match stop {
        Some(Value::String(word)) => vec![word.clone()],
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}
