//! The record of a run: one value, made once at its end, for everything that accounts for runs.
use super::{
    FinishReason, RunError, RunErrorKind, RunId, SessionId, Timing, TokenEstimate, Usage,
    price::{Cost, PriceList},
};
use std::{fmt, sync::Arc, time::Duration};

/// One run, from its session's request to its end. Contains no text of the conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    pub session: SessionId,
    pub run: RunId,
    /// The requested model.
    pub model: Arc<str>,
    /// The wire format of its clients, as metrics name it.
    pub codec: &'static str,
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
    /// What the answer cost; `None` if its model has no prices.
    pub cost: Option<Cost>,
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
    /// Bytes of text that it passed to the session.
    pub bytes: u64,
    /// It went on with the text of the attempts before.
    pub continues: bool,
    /// What it used; `None` if the request was not sent, or was refused.
    pub tokens: Option<TokenCount>,
}

/// What becomes of an answer that broke off: it began anew, another attempt went on with it, no other attempt had text, or it was cancelled before one had.
pub const RESTARTS: [&str; 4] = ["restarted", "continued", "failed", "cancelled"];

/// The tokens of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenCount {
    pub usage: Usage,
    /// The service reported none: the request was estimated, and so was the text that came.
    pub is_estimated: bool,
}

/// What the response of an attempt reported of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// The request was not sent.
    NotSent,
    /// There was no response.
    NoResponse,
    /// The response has begun. Its last running totals; `None` if it had none yet.
    Totals(Option<Usage>),
}

impl TokenCount {
    /// What an attempt used that ended with this error, or without one, after so many bytes of text.
    pub fn of(
        reported: Reported,
        error: Option<&RunError>,
        estimate: &TokenEstimate,
        bytes: u64,
    ) -> Option<Self> {
        if let Reported::Totals(Some(usage)) = reported {
            return Some(TokenCount { usage, is_estimated: false });
        }
        let is_refused = |error: &RunError| error.status.is_some() || error.code.is_some();
        let is_used = match (reported, error) {
            (Reported::NotSent, _) => false,
            // Without a response a service that is silent may work on the request all the same.
            (Reported::NoResponse, Some(error)) => {
                error.kind == RunErrorKind::UpstreamTimeout && !is_refused(error)
            }
            (Reported::Totals(_), Some(error)) => bytes > 0 || !is_refused(error),
            (_, None) => true,
        };
        is_used.then(|| TokenCount { usage: estimate.usage(bytes), is_estimated: true })
    }
}

/// Where a request was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptedBy {
    /// The upstream's name in the configuration.
    pub upstream: Arc<str>,
    /// The upstream's own name for the model.
    pub model: Arc<str>,
    /// The model's name in the configuration.
    pub table: Arc<str>,
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
        (model, codec): (&Arc<str>, &'static str),
        error: RunError,
        waited: Duration,
    ) -> Self {
        RunRecord {
            session,
            run,
            model: Arc::clone(model),
            codec,
            outcome: RunOutcome::Failed(error),
            timing: Timing { first_delta: None, duration: waited },
            queue_wait: None,
            attempts: Vec::new(),
            deltas: 0,
            bytes: 0,
            cost: None,
            request_id: None,
        }
    }

    /// Number of requests that count as attempts.
    pub fn attempts_counted(&self) -> usize {
        self.attempts.iter().filter(|attempt| attempt.is_counted).count()
    }

    /// The attempt whose text is kept; without any text the one that ended well or was cancelled. What it used is the usage of
    /// the run. All others are wasted.
    pub fn answer(&self) -> Option<&AttemptRecord> {
        self.answer_at().map(|at| &self.attempts[at])
    }

    fn answer_at(&self) -> Option<usize> {
        let with_text = self.attempts.iter().rposition(|attempt| attempt.bytes > 0);
        with_text.or_else(|| self.attempts.iter().rposition(|attempt| attempt.error.is_none()))
    }

    /// All attempts, and whether each of them is the answer's.
    pub fn attempts_by_use(&self) -> impl Iterator<Item = (&AttemptRecord, bool)> {
        let answer = self.answer_at();
        self.attempts.iter().enumerate().map(move |(at, attempt)| (attempt, Some(at) == answer))
    }

    /// Sets the cost by these prices.
    pub fn settle(&mut self, prices: &PriceList) {
        let cost = |answer: &AttemptRecord| prices.cost(&answer.by.table, &answer.tokens?.usage);
        self.cost = self.answer().and_then(cost);
    }

    /// Who answered, if text came or the run ended well.
    pub fn answered_by(&self) -> Option<&AttemptedBy> {
        let has_answer = self.deltas > 0 || matches!(self.outcome, RunOutcome::Finished(_));
        self.answer().filter(|_| has_answer).map(|attempt| &attempt.by)
    }

    /// What became of the attempts to begin the answer anew after it broke off; one of [`RESTARTS`], or `None` if there was none.
    pub fn restart(&self) -> Option<&'static str> {
        let [restarted, continued, failed, cancelled] = RESTARTS;
        if self.restarts() > 0 {
            return Some(restarted);
        }
        if self.attempts.iter().any(|attempt| attempt.continues && attempt.bytes > 0) {
            return Some(continued);
        }
        let later = self.attempts.iter().skip_while(|attempt| attempt.bytes == 0).skip(1);
        later.last().map(|attempt| if attempt.error.is_some() { failed } else { cancelled })
    }

    /// How often text was withdrawn, because the answer began anew.
    pub fn restarts(&self) -> usize {
        let begun = self.attempts.iter().filter(|attempt| attempt.bytes > 0 && !attempt.continues);
        begun.count().saturating_sub(1)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{
        price::{Price, Prices},
        tokens::Estimate,
    };

    fn estimate() -> TokenEstimate {
        TokenEstimate::new(10, Estimate::default())
    }

    fn reported() -> Usage {
        Usage { input_tokens: 7, output_tokens: 3, ..Usage::default() }
    }

    fn attempt(bytes: u64, error: Option<RunErrorKind>) -> AttemptRecord {
        AttemptRecord {
            by: AttemptedBy { upstream: "a".into(), model: "m".into(), table: "t".into(), key: 0 },
            sent: Duration::ZERO,
            first_chunk: None,
            duration: Duration::ZERO,
            error,
            is_counted: true,
            bytes,
            continues: false,
            tokens: None,
        }
    }

    #[test]
    fn what_no_service_has_counted_is_estimated_unless_it_was_refused() {
        let failed = |kind| Some(RunError::new(kind, ""));
        let refused =
            |status| Some(RunError { status: Some(status), ..failed(RunErrorKind::RateLimited).unwrap() });
        let coded =
            Some(RunError { code: Some("busy".to_owned()), ..failed(RunErrorKind::UpstreamError).unwrap() });
        let estimated = |output_tokens| {
            let usage = Usage { input_tokens: 10, output_tokens, ..Usage::default() };
            Some(TokenCount { usage, is_estimated: true })
        };
        let counted = Some(TokenCount { usage: reported(), is_estimated: false });
        let (silent, begun, totals) =
            (Reported::NoResponse, Reported::Totals(None), Reported::Totals(Some(reported())));
        for (reported, error, bytes, expected) in [
            (totals, None, 100, counted),
            (totals, failed(RunErrorKind::Interrupted), 100, counted),
            // A good answer without totals, one that was cut, one that was cancelled.
            (begun, None, 100, estimated(25)),
            (begun, failed(RunErrorKind::Interrupted), 101, estimated(26)),
            (begun, failed(RunErrorKind::UpstreamTimeout), 0, estimated(0)),
            (silent, None, 0, estimated(0)),
            // It may be at work.
            (silent, failed(RunErrorKind::UpstreamTimeout), 0, estimated(0)),
            // Not sent, or refused.
            (Reported::NotSent, None, 0, None),
            (Reported::NotSent, failed(RunErrorKind::UpstreamTimeout), 0, None),
            (silent, failed(RunErrorKind::UpstreamUnreachable), 0, None),
            (begun, refused(429), 0, None),
            (begun, refused(504), 0, None),
            (begun, coded.clone(), 0, None),
            (begun, coded, 8, estimated(2)),
        ] {
            let tokens = TokenCount::of(reported, error.as_ref(), &estimate(), bytes);
            assert_eq!(tokens, expected, "{reported:?} {error:?} {bytes}");
        }
    }

    #[test]
    fn the_cost_is_that_of_the_answer_by_the_prices_of_its_model() {
        let price = |text| Price::parse(text).unwrap();
        let prices = Prices { input: price("1"), cached: price("1"), output: price("2") };
        let prices = PriceList { currency: None, models: [("t".into(), prices)].into() };
        let used = |usage: Usage, is_estimated| Some(TokenCount { usage, is_estimated });
        let cost = |attempts: Vec<AttemptRecord>| {
            let error = RunError::new(RunErrorKind::Interrupted, "");
            let mut record =
                RunRecord::rejected((SessionId(1), RunId(1)), (&"m".into(), "plain"), error, Duration::ZERO);
            record.attempts = attempts;
            record.settle(&prices);
            record.cost.map(Cost::billionths)
        };
        let wasted =
            AttemptRecord { tokens: used(reported(), true), ..attempt(0, Some(RunErrorKind::Interrupted)) };
        let answer = AttemptRecord { tokens: used(reported(), false), ..attempt(5, None) };
        let elsewhere = AttemptedBy { table: "without prices".into(), ..answer.by.clone() };
        assert_eq!(cost(vec![wasted.clone(), answer.clone()]), Some(7 * 1_000 + 3 * 2_000));
        assert_eq!(cost(vec![wasted.clone()]), None, "there is no answer");
        assert_eq!(cost(vec![wasted, AttemptRecord { by: elsewhere, ..answer }]), None);
    }

    #[test]
    fn the_answer_is_of_the_attempt_whose_text_is_kept() {
        use RunErrorKind::{Interrupted, UpstreamError};
        let continued = AttemptRecord { continues: true, ..attempt(9, None) };
        for (attempts, answer, restart) in [
            (vec![], None, None),
            (vec![attempt(0, Some(UpstreamError))], None, None),
            (vec![attempt(0, Some(UpstreamError)), attempt(0, None)], Some(1), None),
            (vec![attempt(0, Some(UpstreamError)), attempt(5, Some(Interrupted))], Some(1), None),
            // It began anew; or nothing new came, and the old text stays.
            (vec![attempt(5, Some(Interrupted)), attempt(9, None)], Some(1), Some("restarted")),
            (vec![attempt(5, Some(Interrupted)), attempt(9, Some(Interrupted))], Some(1), Some("restarted")),
            (vec![attempt(5, Some(Interrupted)), continued.clone()], Some(1), Some("continued")),
            (
                vec![
                    attempt(5, Some(Interrupted)),
                    AttemptRecord { bytes: 0, ..continued },
                    attempt(9, None),
                ],
                Some(2),
                Some("restarted"),
            ),
            (vec![attempt(5, Some(Interrupted)), attempt(0, Some(UpstreamError))], Some(0), Some("failed")),
            (vec![attempt(5, Some(Interrupted)), attempt(0, None)], Some(0), Some("cancelled")),
        ] {
            let error = RunError::new(UpstreamError, "");
            let mut record =
                RunRecord::rejected((SessionId(1), RunId(1)), (&"m".into(), "plain"), error, Duration::ZERO);
            record.attempts = attempts;
            let used = record.attempts_by_use().position(|(_, is_answer)| is_answer);
            assert_eq!((used, record.restart()), (answer, restart), "{:?}", record.attempts);
            assert_eq!(record.restarts(), usize::from(restart == Some("restarted")));
            assert_eq!(record.answer(), answer.map(|at| &record.attempts[at]));
        }
    }
}
