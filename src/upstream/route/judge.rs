//! Attributes the failure of an attempt: to the request, the upstream, or the model there.
use crate::{
    chat::{Fault, RunError, RunErrorKind},
    upstream::breaker::{AttemptResult, Failure},
};

/// What the failure of an attempt is attributed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Nothing: the run was cancelled, or ended for a reason of our own.
    None,
    /// What was asked, or the key or account it was asked with: the service is there and responded.
    ///
    /// A wrong key, an unpaid bill and a rate limit belong here. Such attempts have rules of their own, and an open
    /// breaker would hide the sentence that names the cause.
    Request,
    /// The upstream as a whole: there was no connection. No message can provoke that.
    Upstream,
    /// The model there: the request was sent and no valid answer came of it.
    Target {
        /// The service reported it itself: status 5xx with an error code. Many services do so for
        /// messages that they cannot cope with.
        is_reported: bool,
    },
}

/// Attributes the failure of an attempt with this error. `shown`: text of its answer had arrived;
/// `connected`: there was a connection for the request.
pub fn judge(error: &RunError, shown: bool, connected: bool) -> Blame {
    let is_5xx = error.status.is_some_and(|status| (500..600).contains(&status));
    match error.kind.fault() {
        Fault::Connection if !connected || error.kind == RunErrorKind::UpstreamTls => Blame::Upstream,
        // After the first text, time runs out for long answers too.
        Fault::ServiceBeforeText if shown => Blame::None,
        Fault::Connection | Fault::Service | Fault::ServiceBeforeText => {
            Blame::Target { is_reported: is_5xx && error.code.is_some() }
        }
        Fault::Request | Fault::Filter => Blame::Request,
        Fault::Gateway | Fault::NotSent => Blame::None,
    }
}

impl Blame {
    /// The same for the breaker of the one upstream, which is the breaker of its one model too.
    pub(super) fn for_breaker(self) -> AttemptResult {
        match self {
            Blame::None => AttemptResult::Unknown,
            Blame::Request => AttemptResult::Answered,
            Blame::Upstream => AttemptResult::Failed(Failure::Connect),
            Blame::Target { is_reported: false } => AttemptResult::Failed(Failure::Answer),
            Blame::Target { is_reported: true } => AttemptResult::Failed(Failure::Reported),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Blame = Blame::Target { is_reported: false };
    const REPORTED: Blame = Blame::Target { is_reported: true };

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
                let result = judge(&RunError::new(kind, ""), false, connected).for_breaker();
                assert_eq!(matches!(result, AttemptResult::Failed(_)), fails.contains(&kind), "{kind:?}");
            }
        }
        let of = |kind, shown, connected| judge(&RunError::new(kind, ""), shown, connected);
        assert_eq!(of(RunErrorKind::UpstreamTimeout, true, true), Blame::None);
        assert_eq!(of(RunErrorKind::Interrupted, true, true), TARGET);
        assert_eq!(of(RunErrorKind::NotSetUp, false, true), Blame::Request);
        assert_eq!(of(RunErrorKind::Overloaded, false, true), Blame::None);
        // faults: K138
        assert_eq!(of(RunErrorKind::UpstreamUnreachable, false, false), Blame::Upstream);
        assert_eq!(of(RunErrorKind::UpstreamUnreachable, false, true), TARGET, "a reset");
        assert_eq!(of(RunErrorKind::UpstreamTls, false, true), Blame::Upstream);
        for (status, code, expected) in [
            (Some(500), Some("InternalError"), REPORTED),
            (Some(503), Some("ServiceUnavailable"), REPORTED),
            (Some(502), None, TARGET),
            (Some(200), Some("InternalError"), TARGET),
            (None, Some("InternalError"), TARGET),
        ] {
            for kind in [RunErrorKind::UpstreamError, RunErrorKind::UpstreamTimeout] {
                let mut error = RunError::new(kind, "");
                (error.status, error.code) = (status, code.map(str::to_owned));
                assert_eq!(judge(&error, false, true), expected, "{kind:?} {status:?} {code:?}");
            }
        }
    }
}
