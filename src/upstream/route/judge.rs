//! Attributes the failure of an attempt: to the request, the key, the upstream, or the model there.
use crate::{
    chat::{Retry, RunError, RunErrorKind},
    upstream::breaker::{AttemptResult, Failure},
};
use std::time::Duration;

/// What the failure of an attempt says, and of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Nothing: the run was cancelled, or ended for a reason of our own.
    None,
    /// What was asked, or the answer itself: the service is there and responded.
    Request,
    /// How the request was written. It is written differently when it is sent again.
    Spelling,
    /// A content filter refused. No other target is asked.
    Filter,
    /// The prompt is too long for the model.
    TooLong,
    /// The key is refused (401).
    Key,
    /// The key has no rights to the model (403).
    Pair(RunErrorKind),
    /// The billing account has no money or no quota left (402).
    Account,
    /// A rate limit. `after`: the service stated when to come back.
    Rate { after: Option<Duration> },
    /// The upstream does not know the model.
    Model,
    /// The address is wrong: a path, a redirect. No message can provoke that.
    Setup,
    /// There was no connection. No message can provoke that.
    Connect(RunErrorKind),
    /// The engine is loading the model.
    Loading,
    /// The engine has no room.
    Full { is_reported: bool },
    /// The connection ended before the head of a response.
    Reset,
    /// The service reported a fault, or sent something that is no answer.
    Fault {
        /// The service reported it itself: status 5xx with an error code. Many services do so for
        /// messages that they cannot cope with.
        is_reported: bool,
    },
    /// No text in time.
    Silent { is_reported: bool },
    /// The answer broke off or could not be read.
    Broken { is_reported: bool },
    /// The answer has no text.
    Empty,
}

/// The first pause after a rate limit without a time; it doubles.
pub(super) const RATE: Duration = Duration::from_millis(500);
/// The same for a target that has no room.
pub(super) const FULL: Duration = Duration::from_secs(1);
/// A target that loads its model is asked again after this time, or up to twice of it.
pub(super) const LOADING: Duration = Duration::from_secs(1);

/// Codes that tell of an account without money or quota, whatever its status.
const NO_MONEY: &[&str] = &[
    "Arrearage",
    "PrepaidBillOverdue",
    "PostpaidBillOverdue",
    "insufficient_quota",
    "exceeded_current_quota_error",
];
/// llama.cpp, on every path, until the model is loaded.
const IS_LOADING: &str = "unavailable_error";
/// OpenAI's and others' code of a server without room, beside 503.
const OVERLOADED: u16 = 529;

/// Attributes the failure of an attempt with this error. `shown`: text of its answer had arrived;
/// `connected`: there was a connection for the request.
pub fn judge(error: &RunError, shown: bool, connected: bool) -> Blame {
    let is_5xx = error.status.is_some_and(|status| (500..600).contains(&status));
    let is_reported = is_5xx && error.code.is_some();
    let says = |codes: &[&str]| error.code.as_deref().is_some_and(|code| codes.contains(&code));
    match error.kind {
        RunErrorKind::NotSetUp => match error.status {
            Some(401) => Blame::Key,
            Some(403) => Blame::Pair(error.kind),
            // The address is right, but not for this model.
            Some(400) => Blame::Model,
            _ => Blame::Setup,
        },
        RunErrorKind::NotAvailable if !says(NO_MONEY) && matches!(error.status, Some(403 | 429)) => {
            Blame::Pair(error.kind)
        }
        RunErrorKind::NotAvailable => Blame::Account,
        RunErrorKind::ModelNotFound => Blame::Model,
        RunErrorKind::InputTooLong => Blame::TooLong,
        RunErrorKind::BadRequest if error.retry != Retry::No => Blame::Spelling,
        RunErrorKind::BadRequest | RunErrorKind::AnswerTooLong | RunErrorKind::ToolsNotSupported => {
            Blame::Request
        }
        RunErrorKind::InputRefused | RunErrorKind::OutputRefused => Blame::Filter,
        RunErrorKind::RateLimited => Blame::Rate { after: error.retry_after },
        RunErrorKind::UpstreamError if error.status == Some(503) && says(&[IS_LOADING]) => Blame::Loading,
        RunErrorKind::UpstreamError if matches!(error.status, Some(503 | OVERLOADED)) => {
            Blame::Full { is_reported }
        }
        RunErrorKind::UpstreamError => Blame::Fault { is_reported },
        RunErrorKind::UpstreamUnreachable if connected => Blame::Reset,
        RunErrorKind::UpstreamUnreachable | RunErrorKind::UpstreamTls => Blame::Connect(error.kind),
        // After the first text, time runs out for long answers too.
        RunErrorKind::UpstreamTimeout if shown => Blame::None,
        RunErrorKind::UpstreamTimeout => Blame::Silent { is_reported },
        RunErrorKind::UpstreamProtocol | RunErrorKind::Interrupted => Blame::Broken { is_reported },
        RunErrorKind::EmptyAnswer => Blame::Empty,
        RunErrorKind::UpstreamDown
        | RunErrorKind::Overloaded
        | RunErrorKind::QueueTimeout
        | RunErrorKind::Draining
        | RunErrorKind::Cancelled
        | RunErrorKind::Internal => Blame::None,
    }
}

/// Where else a run may go before its target is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum After {
    /// Nowhere.
    Nothing,
    /// Other targets of the model.
    Model,
    /// And the fallback models.
    All,
}

/// How a target is asked again by a run that could go elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Again {
    pub(super) after: After,
    pub(super) pause: Duration,
    /// It is no retry: the run waits for the target.
    pub(super) is_wait: bool,
}

impl Blame {
    /// What it says to the breaker of the upstream's connections, and to that of the model there. `alone`: the run had
    /// nowhere else to go; an open breaker would then hide the sentence that names a wrong address.
    pub(super) fn for_breakers(self, alone: bool) -> (AttemptResult, AttemptResult) {
        use AttemptResult::{Answered, Failed, Unknown};
        let failed = |is_reported| if is_reported { Failure::Reported } else { Failure::Answer };
        match self {
            Blame::None => (Unknown, Unknown),
            Blame::Setup if !alone => (Failed(Failure::Connect), Unknown),
            Blame::Setup
            | Blame::Request
            | Blame::Spelling
            | Blame::Filter
            | Blame::TooLong
            | Blame::Key
            | Blame::Pair(_)
            | Blame::Account
            | Blame::Rate { .. }
            | Blame::Model
            | Blame::Empty => (Answered, Answered),
            Blame::Connect(_) => (Failed(Failure::Connect), Unknown),
            Blame::Loading => (Answered, Unknown),
            Blame::Reset => (Answered, Failed(Failure::Answer)),
            Blame::Full { is_reported }
            | Blame::Fault { is_reported }
            | Blame::Silent { is_reported }
            | Blame::Broken { is_reported } => (Answered, Failed(failed(is_reported))),
        }
    }

    /// Whether another key of the same target may be good, given that the keys' limits are apart.
    pub(super) fn is_of_key(self) -> bool {
        matches!(self, Blame::Key | Blame::Pair(_) | Blame::Account | Blame::Rate { .. })
    }

    /// Whether another target or model may answer.
    pub(super) fn may_move(self) -> bool {
        !matches!(self, Blame::None | Blame::Request | Blame::Filter)
    }

    /// Whether and how the same target is asked again, after it failed `failed` times for this run, where another target
    /// exists. `random` is in 0..1; `wait`: the longest stated time that is waited for.
    pub(super) fn again(self, failed: u32, random: f64, wait: Duration) -> Option<Again> {
        let retry = |after, pause| Some(Again { after, pause, is_wait: false });
        match self {
            Blame::Rate { after: Some(stated) } => {
                // A little later than stated, so that runs with the same time do not ask together.
                let pause = stated.saturating_add(stated.min(RATE).mul_f64(random));
                if stated <= wait { retry(After::Model, pause) } else { None }
            }
            Blame::Rate { after: None } if failed <= 2 => {
                let pause = RATE.saturating_mul(2_u32.saturating_pow(failed.saturating_sub(1)));
                retry(After::Model, pause.mul_f64(random))
            }
            Blame::Loading => {
                Some(Again { after: After::All, pause: LOADING.mul_f64(1.0 + random), is_wait: true })
            }
            Blame::Full { .. } if failed == 1 => retry(After::All, FULL),
            Blame::Fault { .. } if failed == 1 => retry(After::Model, RATE.mul_f64(random)),
            Blame::Broken { .. } if failed == 1 => retry(After::All, Duration::ZERO),
            Blame::Empty | Blame::Spelling if failed == 1 => retry(After::Nothing, Duration::ZERO),
            _ => None,
        }
    }

    /// What `/health` tells of the upstream's last failure; `None` if nothing is to be stated of it.
    pub(super) fn shown_of_upstream(self) -> Option<RunErrorKind> {
        Some(match self {
            Blame::None
            | Blame::Request
            | Blame::Spelling
            | Blame::Filter
            | Blame::TooLong
            | Blame::Empty => return None,
            Blame::Key | Blame::Setup => RunErrorKind::NotSetUp,
            Blame::Pair(kind) | Blame::Connect(kind) => kind,
            Blame::Account => RunErrorKind::NotAvailable,
            Blame::Rate { .. } => RunErrorKind::RateLimited,
            Blame::Model => RunErrorKind::ModelNotFound,
            Blame::Reset => RunErrorKind::UpstreamUnreachable,
            Blame::Loading | Blame::Full { .. } | Blame::Fault { .. } => RunErrorKind::UpstreamError,
            Blame::Silent { .. } => RunErrorKind::UpstreamTimeout,
            Blame::Broken { .. } => RunErrorKind::Interrupted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: RunErrorKind, status: Option<u16>, code: Option<&str>) -> Blame {
        let mut error = RunError::new(kind, "");
        (error.status, error.code) = (status, code.map(str::to_owned));
        judge(&error, false, true)
    }

    // faults: C45, D51, D52, D54, D55
    #[test]
    fn only_faults_of_the_service_or_the_way_to_it_count() {
        let fails = [
            RunErrorKind::UpstreamError,
            RunErrorKind::UpstreamUnreachable,
            RunErrorKind::UpstreamTls,
            RunErrorKind::UpstreamProtocol,
            RunErrorKind::UpstreamTimeout,
            RunErrorKind::Interrupted,
        ];
        for kind in RunErrorKind::ALL {
            for connected in [false, true] {
                let (connection, model) =
                    judge(&RunError::new(kind, ""), false, connected).for_breakers(true);
                let counts = |result| matches!(result, AttemptResult::Failed(_));
                assert_eq!(counts(connection) || counts(model), fails.contains(&kind), "{kind:?}");
                assert!(!(counts(connection) && counts(model)), "{kind:?} counts once");
            }
        }
        let of = |kind, shown, connected| judge(&RunError::new(kind, ""), shown, connected);
        assert_eq!(of(RunErrorKind::UpstreamTimeout, true, true), Blame::None);
        assert_eq!(of(RunErrorKind::Interrupted, true, true), Blame::Broken { is_reported: false });
        assert_eq!(of(RunErrorKind::Overloaded, false, true), Blame::None);
        // faults: K138
        let unreachable = RunErrorKind::UpstreamUnreachable;
        assert_eq!(of(unreachable, false, false), Blame::Connect(unreachable));
        assert_eq!(of(unreachable, false, true), Blame::Reset);
        assert_eq!(of(RunErrorKind::UpstreamTls, false, true), Blame::Connect(RunErrorKind::UpstreamTls));
    }

    // faults: K138
    #[test]
    fn a_fault_that_the_service_reports_itself_is_marked() {
        use RunErrorKind::{UpstreamError, UpstreamTimeout};
        for (status, code, is_reported) in [
            (Some(500), Some("InternalError"), true),
            (Some(502), None, false),
            (Some(200), Some("InternalError"), false),
            (None, Some("InternalError"), false),
        ] {
            assert_eq!(of(UpstreamError, status, code), Blame::Fault { is_reported });
            assert_eq!(of(UpstreamTimeout, status, code), Blame::Silent { is_reported });
        }
        assert_eq!(
            of(UpstreamError, Some(503), Some("ServiceUnavailable")),
            Blame::Full { is_reported: true }
        );
        assert_eq!(of(UpstreamError, Some(529), None), Blame::Full { is_reported: false });
        assert_eq!(of(UpstreamError, Some(503), Some("unavailable_error")), Blame::Loading);
        assert_eq!(
            of(UpstreamError, Some(500), Some("unavailable_error")),
            Blame::Fault { is_reported: true }
        );
    }

    #[test]
    fn a_refusal_is_of_the_key_of_its_rights_of_its_account_or_of_the_address() {
        use RunErrorKind::{ModelNotFound, NotAvailable, NotSetUp};
        assert_eq!(of(NotSetUp, Some(401), Some("InvalidApiKey")), Blame::Key);
        assert_eq!(of(NotSetUp, Some(403), Some("Model.AccessDenied")), Blame::Pair(NotSetUp));
        assert_eq!(of(NotAvailable, Some(403), Some("AccessDenied.Unpurchased")), Blame::Pair(NotAvailable));
        assert_eq!(
            of(NotAvailable, Some(429), Some("Throttling.AllocationQuota")),
            Blame::Pair(NotAvailable)
        );
        assert_eq!(of(NotAvailable, Some(429), Some("insufficient_quota")), Blame::Account);
        assert_eq!(of(NotAvailable, Some(402), None), Blame::Account);
        assert_eq!(of(NotAvailable, Some(400), Some("Arrearage")), Blame::Account);
        assert_eq!(of(NotSetUp, Some(404), None), Blame::Setup);
        assert_eq!(of(NotSetUp, Some(307), None), Blame::Setup);
        assert_eq!(of(NotSetUp, Some(400), Some("InvalidParameter")), Blame::Model);
        assert_eq!(of(ModelNotFound, Some(404), None), Blame::Model);
    }
}
