//! The record of a run: one value, made once at its end, for everything that accounts for runs.
use super::{FinishReason, RunError, RunErrorKind, RunId, SessionId, Timing, Usage};
use std::{fmt, sync::Arc, time::Duration};

/// One run, from its session's request to its end. Contains no text of the conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    pub session: SessionId,
    pub run: RunId,
    /// The requested model.
    pub model: Arc<str>,
    pub outcome: RunOutcome,
    /// Times from the session's request to the first delta and to the end.
    pub timing: Timing,
    /// Time until the run got a slot; `None` if it never did.
    pub queue_wait: Option<Duration>,
    /// Requests to the model service, in order: at most the configured attempts, and two that are not counted.
    pub attempts: Vec<AttemptRecord>,
    /// Deltas passed to the session, and the bytes of their text.
    pub deltas: u64,
    pub bytes: u64,
    /// The last running total that the service reported; `None` if unknown.
    pub usage: Option<Usage>,
    /// The service's ID of the last request.
    pub request_id: Option<String>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum RunOutcome {
    Finished(FinishReason),
    Failed(RunError),
    /// Its session dropped it.
    Cancelled,
}

/// One request to a model service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    pub by: AttemptedBy,
    /// When it was sent, from the session's request.
    pub sent: Duration,
    /// From sending to the first output; `None` if there was none.
    pub first_chunk: Option<Duration>,
    /// From sending to the end of the attempt, without the rest of the response after the finish reason.
    pub duration: Duration,
    /// Why it failed; `None` if it succeeded or was cancelled.
    pub error: Option<RunErrorKind>,
    /// False for a request that found its connection dead and was repeated without being counted.
    pub is_counted: bool,
}

/// Where a request was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptedBy {
    /// The upstream's name in the configuration.
    pub upstream: Arc<str>,
    /// The upstream's own name for the model.
    pub model: Arc<str>,
    /// The position of its key, from 0.
    pub key: usize,
}

/// As in logs: `UPSTREAM/k1`, by the position of the key and never by its letters.
impl fmt::Display for AttemptedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/k{}", self.upstream, self.key.saturating_add(1))
    }
}

/// Receives the record of every run at its end, once. Called on the run's thread, so it must not block.
pub trait RunSink: Send + Sync {
    fn record(&self, record: &RunRecord);
}

impl RunRecord {
    /// The record of a run that never got a slot, `waited` after the session's request.
    pub fn rejected(
        (session, run): (SessionId, RunId),
        model: &Arc<str>,
        error: RunError,
        waited: Duration,
    ) -> Self {
        RunRecord {
            session,
            run,
            model: Arc::clone(model),
            outcome: RunOutcome::Failed(error),
            timing: Timing { first_delta: None, duration: waited },
            queue_wait: None,
            attempts: Vec::new(),
            deltas: 0,
            bytes: 0,
            usage: None,
            request_id: None,
        }
    }

    /// Number of requests that count as attempts.
    pub fn attempts_counted(&self) -> usize {
        self.attempts.iter().filter(|attempt| attempt.is_counted).count()
    }

    /// Who answered: the last attempt, if text came of it or it ended well.
    pub fn answered_by(&self) -> Option<&AttemptedBy> {
        let has_answer = self.deltas > 0 || matches!(self.outcome, RunOutcome::Finished(_));
        self.attempts.last().filter(|_| has_answer).map(|attempt| &attempt.by)
    }

    /// How often an attempt went to another target than the one before.
    pub fn moves(&self) -> usize {
        let target =
            |attempt: &AttemptRecord| (Arc::clone(&attempt.by.upstream), Arc::clone(&attempt.by.model));
        self.attempts.windows(2).filter(|pair| target(&pair[0]) != target(&pair[1])).count()
    }

    /// Time that the run held a slot.
    pub fn time_running(&self) -> Duration {
        self.timing.duration.saturating_sub(self.queue_wait.unwrap_or(self.timing.duration))
    }

    /// The part of [`RunRecord::time_running`] before the first delta.
    pub fn first_delta_running(&self) -> Option<Duration> {
        Some(self.timing.first_delta?.saturating_sub(self.queue_wait?))
    }
}

impl RunOutcome {
    /// The stable name in logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            RunOutcome::Finished(reason) => reason.as_str(),
            RunOutcome::Failed(error) => error.kind.code(),
            RunOutcome::Cancelled => RunErrorKind::Cancelled.code(),
        }
    }

    pub fn error(&self) -> Option<&RunError> {
        match self {
            RunOutcome::Failed(error) => Some(error),
            RunOutcome::Finished(_) | RunOutcome::Cancelled => None,
        }
    }
}

impl From<Result<FinishReason, RunError>> for RunOutcome {
    fn from(outcome: Result<FinishReason, RunError>) -> Self {
        outcome.map_or_else(RunOutcome::Failed, RunOutcome::Finished)
    }
}
