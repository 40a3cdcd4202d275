//! One upstream generation: its request, its events, and how it can end.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use super::{Ending, Parameters, PromptMessage, Role, RunError, TokenEstimate, Usage, seam};
use std::{sync::Arc, time::Duration};

/// The request of a run: the messages of the history window, the new user message last. Behind it may stand the beginning of
/// its answer, which the model is to go on with.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// The model, by the name that clients use.
    pub model: Arc<str>,
    /// What the operator or the client set; what is not set here is the upstream's to decide.
    pub parameters: Parameters,
    pub messages: Vec<PromptMessage>,
    /// How long it is, and how long its answer is where no service counts it.
    pub tokens: TokenEstimate,
    /// Turns of the conversation that did not fit into the budget.
    pub omitted_turns: usize,
}

impl RunRequest {
    /// Whether the model is to go on with the last message, which is the beginning of its answer.
    pub fn continues(&self) -> bool {
        self.messages.last().is_some_and(|last| last.role == Role::Assistant)
    }

    /// The request to go on with what was shown of an answer. The model does not reason before: what it wrote then would
    /// stand between both texts, and some services take it for the answer itself.
    #[must_use]
    pub fn continued(mut self, shown: &str) -> Self {
        self.messages.push(PromptMessage::new(Role::Assistant, seam::beginning(shown)));
        self.parameters.thinking = Some(false);
        self
    }
}

/// The two texts of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKind {
    /// The model's reasoning, which is not part of the answer.
    Reasoning,
    Answer,
}

/// The events of a run, in order. [`RunEvent::End`] comes exactly once and last.
#[derive(Clone, Debug, PartialEq)]
pub enum RunEvent {
    /// The run waits for a slot; `position` counts from 1.
    Queued { position: u32 },
    /// An attempt failed before any text; the next one starts after `after`.
    Retrying { attempt: u32, after: Duration },
    /// Text was shown, the attempt failed, and another one follows: the text stays until that has some.
    Moving,
    /// The answer begins anew, by this model: text that was sent before is withdrawn. The first new text follows.
    Restarted { model: Arc<str> },
    /// Another attempt goes on with the text that was shown. The first new text follows.
    Continued,
    /// New text.
    Text { kind: TextKind, text: String },
    /// The usage so far: sent before the run is cancelled, because it then has no end of its own.
    Usage(Usage),
    /// The end, with the last usage that was reported.
    End(Box<RunEnd>),
}

impl RunEvent {
    pub fn answer(text: impl Into<String>) -> Self {
        RunEvent::Text { kind: TextKind::Answer, text: text.into() }
    }

    pub fn reasoning(text: impl Into<String>) -> Self {
        RunEvent::Text { kind: TextKind::Reasoning, text: text.into() }
    }

    /// Appends text, joined to the last event if that is text of the same kind, so that one network read
    /// becomes one delta. Empty text is dropped.
    pub fn push_text(events: &mut Vec<RunEvent>, kind: TextKind, text: &str) {
        match events.last_mut() {
            _ if text.is_empty() => {}
            Some(RunEvent::Text { kind: last, text: open }) if *last == kind => open.push_str(text),
            _ => events.push(RunEvent::Text { kind, text: text.to_owned() }),
        }
    }

    /// Joins this event to the last one if both are text of one kind; otherwise returns it.
    pub fn join(self, last: &mut RunEvent) -> Option<RunEvent> {
        match (self, last) {
            (RunEvent::Text { kind, text }, RunEvent::Text { kind: last, text: open }) if kind == *last => {
                open.push_str(&text);
                None
            }
            (event, _) => Some(event),
        }
    }

    /// Bytes of text in the event.
    pub fn text_bytes(&self) -> usize {
        match self {
            RunEvent::Text { text, .. } => text.len(),
            RunEvent::Queued { .. }
            | RunEvent::Retrying { .. }
            | RunEvent::Moving
            | RunEvent::Restarted { .. }
            | RunEvent::Continued
            | RunEvent::Usage(_)
            | RunEvent::End(_) => 0,
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct RunEnd {
    pub outcome: Result<FinishReason, RunError>,
    /// The last running total that the upstream reported; `None` if unknown.
    pub usage: Option<Usage>,
    /// The upstream's ID of the request, for its support.
    pub request_id: Option<String>,
    pub timing: Timing,
}

/// Times of a run, from the session's request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// To the first text; `None` if there was none.
    pub first_delta: Option<Duration>,
    /// To the end.
    pub duration: Duration,
}

impl RunEnd {
    /// An end with only an error.
    pub fn failed(error: RunError) -> Self {
        let request_id = error.request_id.clone();
        RunEnd { outcome: Err(error), usage: None, request_id, timing: Timing::default() }
    }
}

/// Of an answer that has text.
impl From<&Result<FinishReason, RunError>> for Ending {
    fn from(outcome: &Result<FinishReason, RunError>) -> Self {
        match outcome {
            Ok(FinishReason::Stop | FinishReason::ToolCalls) => Ending::Whole,
            Ok(FinishReason::Length) => Ending::Cut,
            Ok(FinishReason::Stopped) | Err(_) => Ending::Incomplete,
        }
    }
}

/// Why a model stopped writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// A natural end or a stop word.
    Stop,
    /// The token limit was reached.
    Length,
    /// The model requested a tool call.
    ToolCalls,
    /// A subscriber of the answer stopped it. Never reported by an upstream.
    Stopped,
}

impl FinishReason {
    pub fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::ToolCalls => "tool_calls",
            FinishReason::Stopped => "stopped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::RunErrorKind;

    #[test]
    fn text_of_one_kind_is_joined_and_nothing_is_dropped() {
        let mut events = Vec::new();
        use TextKind::{Answer, Reasoning};
        for (kind, text) in [
            (Answer, "a"),
            (Answer, "b"),
            (Answer, ""),
            (Reasoning, "c"),
            (Reasoning, "d"),
            (Reasoning, ""),
            (Answer, "e"),
        ] {
            RunEvent::push_text(&mut events, kind, text);
        }
        assert_eq!(events, [RunEvent::answer("ab"), RunEvent::reasoning("cd"), RunEvent::answer("e")]);
        let mut last = RunEvent::answer("a");
        assert_eq!(RunEvent::answer("b").join(&mut last), None);
        assert_eq!(RunEvent::reasoning("c").join(&mut last), Some(RunEvent::reasoning("c")));
        assert_eq!(last, RunEvent::answer("ab"));
    }

    #[test]
    fn a_failed_end_keeps_the_request_id_of_its_error() {
        let finishes = [FinishReason::Stop, FinishReason::Length, FinishReason::ToolCalls];
        assert_eq!(finishes.map(FinishReason::as_str), ["stop", "length", "tool_calls"]);
        let mut error = RunError::new(RunErrorKind::RateLimited, "");
        error.request_id = Some("r-1".to_owned());
        let end = RunEnd::failed(error.clone());
        assert_eq!((end.request_id.as_deref(), end.usage, end.outcome), (Some("r-1"), None, Err(error)));
    }
}
