//! The route, shared by the dispatcher and all lanes behind one lock; its changes are logged and counted.
use crate::{
    chat::{FairShareKey, RunError},
    metrics::Metrics,
    upstream::{
        breaker::{BreakerPermit, State},
        route::{self, Blame, Pick, Route, RouteRequest},
    },
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

pub struct Router {
    /// Locked for a few comparisons, never across an await.
    route: Mutex<Route>,
    metrics: Arc<Metrics>,
}

/// The permit of the current attempt. If it is dropped before an outcome was reported, for example because the run is
/// cancelled, the attempt counts neither as a success nor as a failure.
pub(super) struct AttemptGuard {
    router: Arc<Router>,
    permit: BreakerPermit,
    is_reported: bool,
}

impl Router {
    pub fn new(settings: route::Settings, metrics: Arc<Metrics>) -> Self {
        metrics.upstream_is(State::Closed);
        Router { route: Mutex::new(Route::new(settings)), metrics }
    }

    /// The state of the breaker.
    pub fn state(&self) -> State {
        self.route.lock().unwrap_or_else(PoisonError::into_inner).state()
    }

    /// Why no target accepts a request of this client now, see [`Route::rejection`].
    pub(super) fn rejection(&self, client: FairShareKey) -> Option<RunError> {
        self.route.lock().unwrap_or_else(PoisonError::into_inner).rejection(now(), client)
    }

    /// What a run does next, see [`Route::pick`].
    pub(super) fn pick(&self, request: &mut RouteRequest) -> Pick {
        self.with(|route| route.pick(now(), fastrand::f64(), request))
    }

    /// Acts as if the upstream had failed once more.
    #[cfg(test)]
    pub(crate) fn trip(&self) {
        use crate::{chat::SessionId, upstream::breaker::Asker};
        self.with(|route| {
            let asker = Asker { client: FairShareKey::default(), session: SessionId(0) };
            let mut request = RouteRequest::new("m".into(), asker, now());
            let Pick::Go(go) = route.pick(now(), 0.0, &mut request) else {
                panic!("the breaker is open already")
            };
            route.record(now(), go.permit, Err(Blame::Upstream));
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Route) -> T) -> T {
        let mut route = self.route.lock().unwrap_or_else(PoisonError::into_inner);
        let before = route.state();
        let outcome = act(&mut route);
        let after = route.state();
        if before != after {
            // Under the lock, so that log lines and gauges are in the order of the changes.
            self.metrics.upstream_is(after);
            let level = if after == State::Open { log::Level::Warn } else { log::Level::Info };
            log::log!(level, was = before.as_str(); "upstream breaker {}", after.as_str());
        }
        outcome
    }
}

impl AttemptGuard {
    pub(super) fn new(router: &Arc<Router>, permit: BreakerPermit) -> Self {
        AttemptGuard { router: Arc::clone(router), permit, is_reported: false }
    }

    /// Reports the outcome of the attempt, see [`Route::record`]. A success is reported once.
    #[inline]
    pub(super) fn report(&mut self, result: Result<(), Blame>) {
        if !(self.is_reported && result.is_ok()) {
            self.is_reported = true;
            let permit = self.permit;
            self.router.with(|route| route.record(now(), permit, result));
        }
    }

    /// The permit, for [`RouteRequest::fail`].
    pub(super) fn into_permit(mut self) -> BreakerPermit {
        self.is_reported = true;
        self.permit
    }
}

impl Drop for AttemptGuard {
    fn drop(&mut self) {
        if !self.is_reported {
            self.report(Err(Blame::None));
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
