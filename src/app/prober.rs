//! Asks upstreams that failed, and keys that were refused, whether they work again: without a model, so that it costs nothing.
//! The route decides what is asked when.
use crate::{
    chat::RunError,
    dispatch::{self, Router},
    http::AppState,
    lifecycle::Phase,
    upstream::{
        client::{Client, Question},
        route::{PROBE_TIME, Probe, ProbeResult, ProbeSubject},
    },
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// Nothing is probed for so long after the start.
const FIRST: Duration = Duration::from_secs(1);
/// How often the route is asked what is due.
const INTERVAL: Duration = Duration::from_millis(250);

/// Where an upstream is probed.
#[derive(Clone, Debug, Default)]
pub struct ProbePaths {
    /// What answers while it works, from the root of its host; without one, the list.
    pub service: Option<String>,
    /// The list of models, below the base URL; it needs a key.
    pub list: Option<String>,
}

/// Starts the task that probes, unless no upstream can be probed. It ends with the gateway.
pub(super) fn start(paths: Vec<ProbePaths>, upstreams: Arc<[dispatch::Upstream]>, app: &Arc<AppState>) {
    if paths.iter().any(|paths| paths.service.is_some() || paths.list.is_some()) {
        actix::spawn(keep(paths, upstreams, Arc::clone(app)));
    }
}

async fn keep(paths: Vec<ProbePaths>, upstreams: Arc<[dispatch::Upstream]>, app: Arc<AppState>) {
    sleep(FIRST).await;
    while app.lifecycle.phase() < Phase::Draining {
        for probe in app.router.take_probes() {
            let of = (paths.get(probe.upstream), upstreams.get(probe.upstream));
            if let (Some(paths), Some(upstream)) = of {
                actix::spawn(ask(probe, paths.clone(), upstream.clone(), Arc::clone(&app.router)));
            }
        }
        sleep(INTERVAL).await;
    }
}

async fn ask(probe: Probe, paths: ProbePaths, upstream: dispatch::Upstream, router: Arc<Router>) {
    let service = paths.service.filter(|_| probe.subject == ProbeSubject::Service);
    let is_from_root = service.is_some();
    let Some(path) = service.or(paths.list) else { return };
    let question = Question {
        is_from_root,
        deadline: Instant::now() + PROBE_TIME,
        ..Question::list(&path, probe.key, upstream.dialect.headers())
    };
    // A connection of its own: those of before the failure may be dead.
    let answer = Client::new(Arc::clone(&upstream.client)).ask(&question).await;
    router.report_probe(probe, result(answer.err().as_ref()));
}

/// What an answer says, by its error. A list that is not there says that the service responds.
fn result(error: Option<&RunError>) -> ProbeResult {
    match error {
        None => ProbeResult::Answered,
        Some(error) => match error.status {
            Some(401 | 403) => ProbeResult::Refused,
            Some(status) if status < 500 => ProbeResult::Answered,
            _ => ProbeResult::Failed,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::RunErrorKind;

    #[test]
    fn a_probe_fails_by_a_fault_of_the_service_or_by_silence() {
        let of = |status| {
            let mut error = RunError::new(RunErrorKind::UpstreamTimeout, "");
            error.status = status;
            result(Some(&error))
        };
        assert_eq!(result(None), ProbeResult::Answered);
        for (status, expected) in [
            (Some(401), ProbeResult::Refused),
            (Some(403), ProbeResult::Refused),
            (Some(404), ProbeResult::Answered),
            (Some(429), ProbeResult::Answered),
            (Some(307), ProbeResult::Answered),
            (Some(500), ProbeResult::Failed),
            (Some(503), ProbeResult::Failed),
            (None, ProbeResult::Failed),
        ] {
            assert_eq!(of(status), expected, "{status:?}");
        }
    }
}
