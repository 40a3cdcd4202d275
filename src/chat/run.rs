//! One upstream generation: what is asked, what is heard, and how it can end.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use super::Message;
use std::{fmt, time::Duration};

/// What the model is asked: the messages of the history window, the new user message last.
#[derive(Clone, Debug)]
pub struct RunRequest {
    pub messages: Vec<Message>,
    /// Turns of the conversation that did not fit into the budget.
    pub omitted_turns: usize,
}

/// What a run says, in order. [`RunEvent::End`] comes exactly once and last.
#[derive(Clone, Debug, PartialEq)]
pub enum RunEvent {
    /// The run waits for a slot; `place` counts from 1.
    Queued { place: u32 },
    /// An attempt failed before any text; the next one starts after `after`.
    Retrying { attempt: u32, after: Duration },
    /// Thinking of the model, not part of the answer.
    Reasoning(String),
    /// Answer text.
    Delta(String),
    /// What it has used so far: told before it is cut short, when no end of its own will tell.
    Usage(Usage),
    /// The end, with the last usage that was reported.
    End(Box<RunEnd>),
}

impl RunEvent {
    /// Adds answer text, joined to the last event where that is answer text too, so that
    /// what came in one network read leaves as one delta. Empty text is dropped.
    pub fn push_delta(events: &mut Vec<RunEvent>, text: &str) {
        match events.last_mut() {
            _ if text.is_empty() => {}
            Some(RunEvent::Delta(open)) => open.push_str(text),
            _ => events.push(RunEvent::Delta(text.to_owned())),
        }
    }

    /// The same for thinking.
    pub fn push_reasoning(events: &mut Vec<RunEvent>, text: &str) {
        match events.last_mut() {
            _ if text.is_empty() => {}
            Some(RunEvent::Reasoning(open)) => open.push_str(text),
            _ => events.push(RunEvent::Reasoning(text.to_owned())),
        }
    }

    /// Follows the last event, joined to it where both are text of one kind; otherwise it comes back.
    pub fn join(self, last: &mut RunEvent) -> Option<RunEvent> {
        match (self, last) {
            (RunEvent::Delta(text), RunEvent::Delta(open))
            | (RunEvent::Reasoning(text), RunEvent::Reasoning(open)) => {
                open.push_str(&text);
                None
            }
            (event, _) => Some(event),
        }
    }

    /// Bytes of answer or thinking in it.
    pub fn text_bytes(&self) -> usize {
        match self {
            RunEvent::Delta(text) | RunEvent::Reasoning(text) => text.len(),
            RunEvent::Queued { .. } | RunEvent::Retrying { .. } | RunEvent::Usage(_) | RunEvent::End(_) => 0,
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct RunEnd {
    pub outcome: Result<FinishReason, RunError>,
    /// The last running total that the upstream gave; `None` is unknown, never zero.
    pub usage: Option<Usage>,
    /// The upstream's id of the request, for its support desk.
    pub request_id: Option<String>,
    pub timing: Timing,
}

/// How long a run took, from the moment in which the session asked for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// To the first text; `None` when there was none.
    pub first_delta: Option<Duration>,
    /// To the end.
    pub duration: Duration,
}

impl RunEnd {
    /// An end with nothing but its error.
    pub fn failed(error: RunError) -> Self {
        let request_id = error.request_id.clone();
        RunEnd { outcome: Err(error), usage: None, request_id, timing: Timing::default() }
    }
}

/// Why a model stopped writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// A natural end or a stop word.
    Stop,
    /// The token cap was reached.
    Length,
    /// The model wants a tool to be called.
    ToolCalls,
    /// Somebody who follows the answer stopped it. Never said by an upstream.
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

/// Token counts of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Part of `output_tokens`.
    pub reasoning_tokens: u64,
    /// Part of `input_tokens`.
    pub cached_tokens: u64,
}

impl Usage {
    /// What was counted since `before`.
    pub fn beyond(self, before: Usage) -> Usage {
        Usage {
            input_tokens: self.input_tokens.saturating_sub(before.input_tokens),
            output_tokens: self.output_tokens.saturating_sub(before.output_tokens),
            reasoning_tokens: self.reasoning_tokens.saturating_sub(before.reasoning_tokens),
            cached_tokens: self.cached_tokens.saturating_sub(before.cached_tokens),
        }
    }
}

/// Whether the same request may be sent again, provided that no text was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// A person must change something first.
    No,
    /// One more attempt.
    Once,
    /// Back off and try again, up to the configured attempts. `slow` doubles the first pause.
    BackOff { slow: bool },
}

/// A failed run, with two faces: [`RunErrorKind`] is for the client, `Display` is for the log.
#[derive(Clone, Debug, PartialEq)]
pub struct RunError {
    pub kind: RunErrorKind,
    pub retry: Retry,
    /// The upstream's own code, `Throttling.RateQuota` for example.
    pub code: Option<String>,
    /// The upstream's HTTP status, of the head or of the frame.
    pub status: Option<u16>,
    pub request_id: Option<String>,
    /// How long the upstream asked us to wait.
    pub retry_after: Option<Duration>,
    /// For the log alone: at most [`RunError::DETAIL_MAX`] characters, never shown to a client.
    pub detail: String,
}

impl RunError {
    /// How much of a foreign text goes into the log, in characters.
    pub const DETAIL_MAX: usize = 300;

    pub fn new(kind: RunErrorKind, detail: impl AsRef<str>) -> Self {
        let detail = detail.as_ref().chars().take(Self::DETAIL_MAX).collect();
        RunError {
            kind,
            retry: kind.retry(),
            code: None,
            status: None,
            request_id: None,
            retry_after: None,
            detail,
        }
    }

    /// The same, with when it is worth trying again.
    pub fn wait(kind: RunErrorKind, after: Duration, detail: &str) -> Self {
        RunError { retry_after: Some(after), ..RunError::new(kind, detail) }
    }

    /// When to try again, where that is known and not beyond all patience.
    pub fn wait_told(&self) -> Option<Duration> {
        self.retry_after.filter(|after| *after <= WAIT_MAX)
    }

    /// The sentence for a person, with when to try again and the upstream's request id where they are known.
    pub fn client_text(&self) -> String {
        let sentence = self.kind.sentence();
        let exact = self.wait_told().and_then(|after| {
            let vague = VAGUE.iter().find_map(|vague| sentence.strip_suffix(vague))?;
            Some(format!("{vague} Try again in {}.", rounded(after)?))
        });
        let text = exact.unwrap_or_else(|| sentence.to_owned());
        match &self.request_id {
            Some(id) => format!("{text} (request {id})"),
            None => text,
        }
    }
}

/// Ends of sentences in whose place a known time stands.
const VAGUE: [&str; 2] = [" Try again in a few seconds.", " Try again in a moment."];

/// A longer wait is as good as none that is known: nobody sits it out, and a timer of a browser overflows.
const WAIT_MAX: Duration = Duration::from_secs(360_000);

/// A wait in words, never shorter than it is; `None` when it is longer than [`WAIT_MAX`].
fn rounded(wait: Duration) -> Option<String> {
    let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
    match seconds {
        0..=1 => Some("1 s".to_owned()),
        2..=119 => Some(format!("{seconds} s")),
        120..=7_199 => Some(format!("{} min", seconds.div_ceil(60))),
        7_200.. if wait <= WAIT_MAX => Some(format!("{} h", seconds.div_ceil(3_600))),
        _ => None,
    }
}

/// The log's face. Foreign text is escaped, so that it cannot forge a log line.
impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.code())?;
        if let Some(status) = self.status {
            write!(f, " status={status}")?;
        }
        if let Some(code) = &self.code {
            write!(f, " upstream_code={}", code.escape_default())?;
        }
        if let Some(id) = &self.request_id {
            write!(f, " upstream_request={}", id.escape_default())?;
        }
        if !self.detail.is_empty() {
            write!(f, " detail=\"{}\"", self.detail.escape_debug())?;
        }
        Ok(())
    }
}

impl std::error::Error for RunError {}

/// What went wrong, in words of our own: a stable code, a sentence for a person, and whether
/// asking again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunErrorKind {
    /// Key, rights or host are wrong: the operator's matter.
    NotSetUp,
    /// Account overdue, quota bought up, product not activated: the operator's matter.
    NotAvailable,
    /// The upstream does not know the model.
    ModelNotFound,
    /// The conversation is longer than the model takes.
    InputTooLong,
    /// The upstream refused the request as wrong: a bug of ours or of the configuration.
    BadRequest,
    /// The content filter or a rule refused the message.
    InputRefused,
    /// The content filter stopped the answer.
    OutputRefused,
    /// Rate or token limits of the account.
    RateLimited,
    /// The model service had a fault.
    UpstreamError,
    /// No connection, or the name is unknown.
    UpstreamUnreachable,
    /// The service failed so often that it is left alone for a while.
    UpstreamDown,
    /// TLS failed: certificate, name, version.
    UpstreamTls,
    /// What came was not the protocol.
    UpstreamProtocol,
    /// No first byte, no next byte, or no end in time.
    UpstreamTimeout,
    /// The stream ended without a finish reason: the answer is incomplete.
    Interrupted,
    /// The answer passed its bound.
    AnswerTooLong,
    /// The model wants tools, which this gateway does not offer.
    ToolsNotSupported,
    /// The model ended without a word.
    EmptyAnswer,
    /// No slot and no place in the queue, or a full mailbox.
    Overloaded,
    /// Waited in the queue for as long as allowed.
    QueueTimeout,
    /// The gateway is stopping.
    Draining,
    /// Cancelled by the client.
    Cancelled,
    /// A bug of ours.
    Internal,
}

impl RunErrorKind {
    /// Every kind, for tables and tests.
    pub const ALL: [RunErrorKind; 23] = [
        RunErrorKind::NotSetUp,
        RunErrorKind::NotAvailable,
        RunErrorKind::ModelNotFound,
        RunErrorKind::InputTooLong,
        RunErrorKind::BadRequest,
        RunErrorKind::InputRefused,
        RunErrorKind::OutputRefused,
        RunErrorKind::RateLimited,
        RunErrorKind::UpstreamError,
        RunErrorKind::UpstreamUnreachable,
        RunErrorKind::UpstreamDown,
        RunErrorKind::UpstreamTls,
        RunErrorKind::UpstreamProtocol,
        RunErrorKind::UpstreamTimeout,
        RunErrorKind::Interrupted,
        RunErrorKind::AnswerTooLong,
        RunErrorKind::ToolsNotSupported,
        RunErrorKind::EmptyAnswer,
        RunErrorKind::Overloaded,
        RunErrorKind::QueueTimeout,
        RunErrorKind::Draining,
        RunErrorKind::Cancelled,
        RunErrorKind::Internal,
    ];

    /// The stable name on wires, in logs and in metrics.
    pub fn code(self) -> &'static str {
        match self {
            RunErrorKind::NotSetUp => "not_set_up",
            RunErrorKind::NotAvailable => "not_available",
            RunErrorKind::ModelNotFound => "model_not_found",
            RunErrorKind::InputTooLong => "input_too_long",
            RunErrorKind::BadRequest => "bad_request",
            RunErrorKind::InputRefused => "input_refused",
            RunErrorKind::OutputRefused => "output_refused",
            RunErrorKind::RateLimited => "rate_limited",
            RunErrorKind::UpstreamError => "upstream_error",
            RunErrorKind::UpstreamUnreachable => "upstream_unreachable",
            RunErrorKind::UpstreamDown => "upstream_down",
            RunErrorKind::UpstreamTls => "upstream_tls",
            RunErrorKind::UpstreamProtocol => "upstream_protocol",
            RunErrorKind::UpstreamTimeout => "upstream_timeout",
            RunErrorKind::Interrupted => "interrupted",
            RunErrorKind::AnswerTooLong => "answer_too_long",
            RunErrorKind::ToolsNotSupported => "tools_not_supported",
            RunErrorKind::EmptyAnswer => "empty_answer",
            RunErrorKind::Overloaded => "overloaded",
            RunErrorKind::QueueTimeout => "queue_timeout",
            RunErrorKind::Draining => "draining",
            RunErrorKind::Cancelled => "cancelled",
            RunErrorKind::Internal => "internal",
        }
    }

    /// What a person is told. Never names a host, a key or a foreign text.
    pub fn sentence(self) -> &'static str {
        match self {
            RunErrorKind::NotSetUp => "The service is not set up correctly. Tell the operator.",
            RunErrorKind::NotAvailable => "The service is not available at the moment. Tell the operator.",
            RunErrorKind::ModelNotFound => "This model is not available. Choose another.",
            RunErrorKind::InputTooLong => "The conversation is too long. Shorten it or start a new one.",
            RunErrorKind::BadRequest => "The model service refused the request. Tell the operator.",
            RunErrorKind::InputRefused => "Your message was refused by the content filter. Rephrase it.",
            RunErrorKind::OutputRefused => "The answer was stopped by the content filter.",
            RunErrorKind::RateLimited => "The model is busy. Try again in a moment.",
            RunErrorKind::UpstreamError => "The model service had a fault. Try again.",
            RunErrorKind::UpstreamUnreachable => "The model service cannot be reached. Try again later.",
            RunErrorKind::UpstreamDown => "The model service is not working. Try again in a few seconds.",
            RunErrorKind::UpstreamTls => "No safe connection to the model service. Tell the operator.",
            RunErrorKind::UpstreamProtocol => {
                "The model service sent something that could not be read. Try again."
            }
            RunErrorKind::UpstreamTimeout => "The model took too long. Try again.",
            RunErrorKind::Interrupted => {
                "The connection to the model broke; the answer is incomplete. Ask again."
            }
            RunErrorKind::AnswerTooLong => "The answer was longer than allowed and was cut.",
            RunErrorKind::ToolsNotSupported => {
                "The model asked for a tool, which this service does not offer."
            }
            RunErrorKind::EmptyAnswer => "The model gave no answer. Ask again.",
            RunErrorKind::Overloaded => "The service is busy. Try again in a few seconds.",
            RunErrorKind::QueueTimeout => "The service is busy and your message waited too long. Try again.",
            RunErrorKind::Draining => "The service is restarting. Reconnect and ask again.",
            RunErrorKind::Cancelled => "The answer was stopped.",
            RunErrorKind::Internal => "Something went wrong here. Try again.",
        }
    }

    /// What the kind alone says about trying again; the upstream's error table refines it.
    pub fn retry(self) -> Retry {
        match self {
            RunErrorKind::RateLimited | RunErrorKind::UpstreamError | RunErrorKind::UpstreamUnreachable => {
                Retry::BackOff { slow: false }
            }
            RunErrorKind::UpstreamTimeout | RunErrorKind::Interrupted => Retry::Once,
            RunErrorKind::NotSetUp
            | RunErrorKind::NotAvailable
            | RunErrorKind::ModelNotFound
            | RunErrorKind::InputTooLong
            | RunErrorKind::BadRequest
            | RunErrorKind::InputRefused
            | RunErrorKind::OutputRefused
            | RunErrorKind::UpstreamDown
            | RunErrorKind::UpstreamTls
            | RunErrorKind::UpstreamProtocol
            | RunErrorKind::AnswerTooLong
            | RunErrorKind::ToolsNotSupported
            | RunErrorKind::EmptyAnswer
            | RunErrorKind::Overloaded
            | RunErrorKind::QueueTimeout
            | RunErrorKind::Draining
            | RunErrorKind::Cancelled
            | RunErrorKind::Internal => Retry::No,
        }
    }

    /// Asking once more may bring an answer: what a person is told, not what the gateway does by itself.
    pub fn can_be_asked_again(self) -> bool {
        match self {
            RunErrorKind::RateLimited
            | RunErrorKind::UpstreamError
            | RunErrorKind::UpstreamUnreachable
            | RunErrorKind::UpstreamDown
            | RunErrorKind::UpstreamProtocol
            | RunErrorKind::UpstreamTimeout
            | RunErrorKind::Interrupted
            | RunErrorKind::EmptyAnswer
            | RunErrorKind::Overloaded
            | RunErrorKind::QueueTimeout
            | RunErrorKind::Draining
            | RunErrorKind::Internal => true,
            RunErrorKind::NotSetUp
            | RunErrorKind::NotAvailable
            | RunErrorKind::ModelNotFound
            | RunErrorKind::InputTooLong
            | RunErrorKind::BadRequest
            | RunErrorKind::InputRefused
            | RunErrorKind::OutputRefused
            | RunErrorKind::UpstreamTls
            | RunErrorKind::AnswerTooLong
            | RunErrorKind::ToolsNotSupported
            | RunErrorKind::Cancelled => false,
        }
    }

    /// A refusal by the content filter: the turn leaves the history, else all later turns fail too.
    pub fn is_refusal(self) -> bool {
        matches!(self, RunErrorKind::InputRefused | RunErrorKind::OutputRefused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_kind_has_its_own_code_and_a_sentence_that_says_what_to_do() {
        let codes: HashSet<_> = RunErrorKind::ALL.iter().map(|kind| kind.code()).collect();
        let sentences: HashSet<_> = RunErrorKind::ALL.iter().map(|kind| kind.sentence()).collect();
        assert_eq!((codes.len(), sentences.len()), (RunErrorKind::ALL.len(), RunErrorKind::ALL.len()));
        assert!(
            codes
                .iter()
                .all(|code| code.len() > 5 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        );
        assert!(sentences.iter().all(|text| text.ends_with('.') && text.starts_with(char::is_uppercase)));
        let finishes = [FinishReason::Stop, FinishReason::Length, FinishReason::ToolCalls];
        assert_eq!(finishes.map(FinishReason::as_str), ["stop", "length", "tool_calls"]);
    }

    #[test]
    fn what_can_be_tried_again() {
        let again: Vec<_> = RunErrorKind::ALL.into_iter().filter(|kind| kind.retry() != Retry::No).collect();
        assert_eq!(
            again,
            [
                RunErrorKind::RateLimited,
                RunErrorKind::UpstreamError,
                RunErrorKind::UpstreamUnreachable,
                RunErrorKind::UpstreamTimeout,
                RunErrorKind::Interrupted,
            ]
        );
    }

    #[test]
    fn an_error_has_a_face_for_the_client_and_one_for_the_log() {
        let mut error = RunError::new(RunErrorKind::RateLimited, "");
        assert_eq!(error.client_text(), "The model is busy. Try again in a moment.");
        assert_eq!(error.to_string(), "rate_limited");
        error = RunError::new(RunErrorKind::RateLimited, "x\n".repeat(RunError::DETAIL_MAX));
        assert_eq!(error.detail.chars().count(), RunError::DETAIL_MAX, "cut");
        error.detail = "a\nforged line".to_owned();
        error.status = Some(429);
        error.code = Some("Throttling\n".to_owned());
        error.request_id = Some("r-1".to_owned());
        assert_eq!(
            error.to_string(),
            "rate_limited status=429 upstream_code=Throttling\\n upstream_request=r-1 detail=\"a\\nforged line\""
        );
        assert!(!error.client_text().contains("forged"));
        let end = RunEnd::failed(error.clone());
        assert_eq!((end.request_id.as_deref(), end.usage, end.outcome), (Some("r-1"), None, Err(error)));
    }

    #[test]
    fn text_of_one_kind_is_joined_and_nothing_is_dropped() {
        let mut events = Vec::new();
        for (is_answer, text) in
            [(true, "a"), (true, "b"), (true, ""), (false, "c"), (false, "d"), (false, ""), (true, "e")]
        {
            let push = if is_answer { RunEvent::push_delta } else { RunEvent::push_reasoning };
            push(&mut events, text);
        }
        let [first, second, third] = ["ab", "cd", "e"].map(str::to_owned);
        assert_eq!(events, [RunEvent::Delta(first), RunEvent::Reasoning(second), RunEvent::Delta(third)]);
    }

    // faults: C38, D54, K146
    #[test]
    fn whoever_is_sent_away_is_told_for_how_long() {
        for (kind, ms, text) in [
            (RunErrorKind::Overloaded, 0, "The service is busy. Try again in 1 s."),
            (RunErrorKind::Overloaded, 1_001, "The service is busy. Try again in 2 s."),
            (RunErrorKind::UpstreamDown, 4_900, "The model service is not working. Try again in 5 s."),
            (RunErrorKind::RateLimited, 150_000, "The model is busy. Try again in 3 min."),
            (RunErrorKind::RateLimited, 86_400_000, "The model is busy. Try again in 24 h."),
            (RunErrorKind::RateLimited, 360_000_000, "The model is busy. Try again in 100 h."),
            (RunErrorKind::RateLimited, 360_000_001, "The model is busy. Try again in a moment."),
            (RunErrorKind::RateLimited, u64::MAX, "The model is busy. Try again in a moment."),
            (RunErrorKind::UpstreamError, 5_000, "The model service had a fault. Try again."),
        ] {
            assert_eq!(RunError::wait(kind, Duration::from_millis(ms), "").client_text(), text);
        }
        let endless = RunError::wait(RunErrorKind::RateLimited, Duration::MAX, "");
        assert_eq!(endless.client_text(), "The model is busy. Try again in a moment.");
        assert_eq!(endless.wait_told(), None);
        let plain = RunError::new(RunErrorKind::Overloaded, "");
        assert_eq!(plain.client_text(), "The service is busy. Try again in a few seconds.");
    }
}
