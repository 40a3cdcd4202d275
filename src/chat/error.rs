//! Why a run failed: one row per kind, and the error that carries the details.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use std::{fmt, time::Duration};

/// Whether the same request may be sent again, provided that no text was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Not before a person has changed something.
    No,
    /// Once more.
    Once,
    /// After a pause, up to the configured attempts. `slow` doubles the first pause.
    BackOff { slow: bool },
}

/// What a failure says about the model service, for the circuit breaker and the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The service responded; the request, the account or the answer is at fault.
    Request,
    /// The content filter rejected the message or the answer.
    Filter,
    /// No connection could be established, or it was lost at once.
    Connection,
    /// The request was sent, and there was no valid response.
    Service,
    /// As `Service`, but only before the first text: later, a long answer may simply exceed its time.
    ServiceBeforeText,
    /// The gateway's own fault; it says nothing about the service.
    Gateway,
    /// Nothing was sent to the service.
    NotSent,
}

/// Declares [`RunErrorKind`] with one row per kind.
macro_rules! run_error_kinds {
    ($($(#[$doc:meta])* $Kind:ident $code:literal $retry:ident $again:ident $Fault:ident $sentence:literal)*) => {
        /// The kind of an error: a stable code, a sentence for a person, and whether asking again can help.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum RunErrorKind {
            $($(#[$doc])* $Kind,)*
        }

        impl RunErrorKind {
            /// Every kind, in the order of the documentation.
            pub const ALL: [RunErrorKind; [$($code),*].len()] = [$(RunErrorKind::$Kind),*];

            const fn row(self) -> &'static Row {
                match self {
                    $(RunErrorKind::$Kind => {
                        &Row { code: $code, sentence: $sentence, retry: $retry, again: $again, fault: Fault::$Fault }
                    })*
                }
            }
        }
    };
}

/// The properties of one kind.
struct Row {
    code: &'static str,
    sentence: &'static str,
    retry: Retry,
    again: bool,
    fault: Fault,
}

const NEVER: Retry = Retry::No;
const ONCE: Retry = Retry::Once;
const SOON: Retry = Retry::BackOff { slow: false };

/// Whether a person who asks the same again may get an answer.
const AGAIN: bool = true;
const IN_VAIN: bool = false;

run_error_kinds! {
    /// Key, permissions or host are wrong; the operator must act.
    NotSetUp "not_set_up" NEVER IN_VAIN Request "The service is not set up correctly. Tell the operator."
    /// Account overdue, quota used up, product not activated; the operator must act.
    NotAvailable "not_available" NEVER IN_VAIN Request
        "The service is not available at the moment. Tell the operator."
    /// The model service does not know the model.
    ModelNotFound "model_not_found" NEVER IN_VAIN Request "This model is not available. Choose another."
    /// The conversation is longer than the model accepts.
    InputTooLong "input_too_long" NEVER IN_VAIN Request
        "The conversation is too long. Shorten it or start a new one."
    /// The model service rejected the request as invalid: a bug here or in the configuration.
    BadRequest "bad_request" NEVER IN_VAIN Request "The model service refused the request. Tell the operator."
    /// The content filter or a rule rejected the message.
    InputRefused "input_refused" NEVER IN_VAIN Filter
        "Your message was refused by the content filter. Rephrase it."
    /// The content filter stopped the answer.
    OutputRefused "output_refused" NEVER IN_VAIN Filter "The answer was stopped by the content filter."
    /// Rate or token limits of the account.
    RateLimited "rate_limited" SOON AGAIN Request "The model is busy. Try again in a moment."
    /// The model service reported an internal error.
    UpstreamError "upstream_error" SOON AGAIN Service "The model service had a fault. Try again."
    /// No connection, or the host name is unknown.
    UpstreamUnreachable "upstream_unreachable" SOON AGAIN Connection
        "The model service cannot be reached. Try again later."
    /// The circuit breaker is open.
    UpstreamDown "upstream_down" NEVER AGAIN NotSent
        "The model service is not working. Try again in a few seconds."
    /// The TLS handshake failed: certificate, name, version.
    UpstreamTls "upstream_tls" NEVER IN_VAIN Connection
        "No safe connection to the model service. Tell the operator."
    /// The response violates the protocol.
    UpstreamProtocol "upstream_protocol" NEVER AGAIN Service
        "The model service sent something that could not be read. Try again."
    /// No first byte, no next byte, or no end in time.
    UpstreamTimeout "upstream_timeout" ONCE AGAIN ServiceBeforeText "The model took too long. Try again."
    /// The stream ended without a finish reason: the answer is incomplete.
    Interrupted "interrupted" ONCE AGAIN Service
        "The connection to the model broke; the answer is incomplete. Ask again."
    /// The answer exceeded its size limit.
    AnswerTooLong "answer_too_long" NEVER IN_VAIN Request "The answer was longer than allowed and was cut."
    /// The model asked for a tool, which this gateway does not offer.
    ToolsNotSupported "tools_not_supported" NEVER IN_VAIN Request
        "The model asked for a tool, which this service does not offer."
    /// The model ended without any answer text.
    EmptyAnswer "empty_answer" NEVER AGAIN Request "The model gave no answer. Ask again."
    /// No slot and no room in the queue, or a full mailbox.
    Overloaded "overloaded" NEVER AGAIN NotSent "The service is busy. Try again in a few seconds."
    /// The run waited in the queue for the allowed time.
    QueueTimeout "queue_timeout" NEVER AGAIN NotSent
        "The service is busy and your message waited too long. Try again."
    /// The gateway is shutting down.
    Draining "draining" NEVER AGAIN NotSent "The service is restarting. Reconnect and ask again."
    /// Cancelled by the client.
    Cancelled "cancelled" NEVER IN_VAIN NotSent "The answer was stopped."
    /// A bug here.
    Internal "internal" NEVER AGAIN Gateway "Something went wrong here. Try again."
}

impl RunErrorKind {
    /// The stable name on wires, in logs and in metrics.
    pub fn code(self) -> &'static str {
        self.row().code
    }

    /// The sentence for a person. It never names a host, a key or text from outside.
    pub fn sentence(self) -> &'static str {
        self.row().sentence
    }

    /// The default retry policy of the kind; the upstream's error table refines it.
    pub fn retry(self) -> Retry {
        self.row().retry
    }

    /// Asking again may bring an answer: advice for a person, not what the gateway does by itself.
    pub fn can_be_asked_again(self) -> bool {
        self.row().again
    }

    /// What the failure says about the model service.
    pub fn fault(self) -> Fault {
        self.row().fault
    }

    /// Rejected by the content filter: the turn leaves the history, otherwise all later turns would fail too.
    pub fn is_filtered(self) -> bool {
        self.fault() == Fault::Filter
    }
}

/// A failed run. [`RunErrorKind`] is for the client, `Display` is for the log.
#[derive(Clone, Debug, PartialEq)]
pub struct RunError {
    pub kind: RunErrorKind,
    pub retry: Retry,
    /// The upstream's own code, `Throttling.RateQuota` for example.
    pub code: Option<String>,
    /// The upstream's HTTP status, of the head or of the frame.
    pub status: Option<u16>,
    pub request_id: Option<String>,
    /// How long the upstream asks us to wait.
    pub retry_after: Option<Duration>,
    /// For the log only: at most [`RunError::DETAIL_MAX`] characters, never shown to a client.
    pub detail: String,
}

impl RunError {
    /// Characters of text from outside that are logged; the rest is cut off.
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

    /// The same, with the time after which it is worth trying again.
    pub fn wait(kind: RunErrorKind, after: Duration, detail: &str) -> Self {
        RunError { retry_after: Some(after), ..RunError::new(kind, detail) }
    }

    /// When to try again, if that is known and at most `WAIT_MAX`.
    pub fn retry_time(&self) -> Option<Duration> {
        self.retry_after.filter(|after| *after <= WAIT_MAX)
    }

    /// The sentence for a person, with when to try again and the upstream's request id where they are known.
    pub fn client_text(&self) -> String {
        let sentence = self.kind.sentence();
        let exact = self.retry_time().and_then(|after| {
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

/// Endings of sentences that a known time replaces.
const VAGUE: [&str; 2] = [" Try again in a few seconds.", " Try again in a moment."];

/// A longer wait is treated as unknown: no user waits that long, and a browser's timer overflows.
const WAIT_MAX: Duration = Duration::from_secs(360_000);

/// A wait in words, rounded up; `None` if it is longer than [`WAIT_MAX`].
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

/// For the log. Text from outside is escaped, so that it cannot forge a log line.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_kind_has_its_own_code_and_a_sentence_with_advice() {
        let codes: HashSet<_> = RunErrorKind::ALL.iter().map(|kind| kind.code()).collect();
        let sentences: HashSet<_> = RunErrorKind::ALL.iter().map(|kind| kind.sentence()).collect();
        assert_eq!((codes.len(), sentences.len()), (RunErrorKind::ALL.len(), RunErrorKind::ALL.len()));
        assert!(
            codes
                .iter()
                .all(|code| code.len() > 5 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        );
        assert!(sentences.iter().all(|text| text.ends_with('.') && text.starts_with(char::is_uppercase)));
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
    fn an_error_has_a_text_for_the_client_and_one_for_the_log() {
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
    }

    // faults: C38, D54, K146
    #[test]
    fn a_rejected_client_learns_how_long_to_wait() {
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
        assert_eq!(endless.retry_time(), None);
        let plain = RunError::new(RunErrorKind::Overloaded, "");
        assert_eq!(plain.client_text(), "The service is busy. Try again in a few seconds.");
    }
}
