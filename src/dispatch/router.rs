//! The route, shared by the dispatcher and all lanes behind one lock; its changes are logged and counted.
use crate::{
    chat::RunError,
    mailbox,
    metrics::Metrics,
    upstream::{
        breaker::State,
        route::{
            self, Blame, Event, Health, Permit, Pick, Place, Probe, ProbeResult, ProbeSubject, RoomRequest,
            Route, RouteRequest, Target,
        },
    },
};
use actix::{Message, WeakRecipient};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

pub struct Router {
    /// Locked for a few comparisons, never across an await.
    inner: Mutex<Inner>,
    metrics: Arc<Metrics>,
    /// The dispatcher.
    waiting: OnceLock<WeakRecipient<RoomChanged>>,
}

/// Runs that wait for room at an upstream may find it now. Sent to the dispatcher, once for each time that it found none.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct RoomChanged;

/// Whether a run can be started, see [`route::Room`].
pub(super) enum Room {
    Free(KeptPlace),
    Full { again: Option<Duration> },
    Down(RunError),
}

/// The place that is kept for a run, if its upstream limits runs; dropping it gives it back.
pub(super) struct KeptPlace {
    router: Arc<Router>,
    place: Option<Place>,
}

impl KeptPlace {
    /// For [`RouteRequest::with_place`].
    pub(super) fn into_place(mut self) -> Option<Place> {
        self.place.take()
    }
}

impl Drop for KeptPlace {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.router.with(|route| route.give_back(place));
        }
    }
}

struct Inner {
    route: Route,
    /// By upstream: the state that was last logged and counted.
    shown: Vec<State>,
    /// The dispatcher found no room for a run, and no change was reported since.
    is_awaited: bool,
}

/// The permit of the current attempt. If it is dropped before an outcome was reported, for example because the run is
/// cancelled, the attempt counts neither as a success nor as a failure.
pub(super) struct AttemptGuard {
    router: Arc<Router>,
    permit: Permit,
    is_reported: bool,
    /// Its place was given back, or is given back by the holder of the permit.
    is_released: bool,
}

impl Router {
    pub fn new(settings: route::Settings, metrics: Arc<Metrics>) -> Self {
        let route = Route::new(settings);
        metrics.upstreams.publish(&route.health(now()));
        let inner = Mutex::new(Inner { route, shown: Vec::new(), is_awaited: false });
        Router { inner, metrics, waiting: OnceLock::new() }
    }

    /// Who is notified when there may be room for a run.
    pub(super) fn set_waiting(&self, dispatcher: WeakRecipient<RoomChanged>) {
        // Set by the one dispatcher, when it starts.
        let _ = self.waiting.set(dispatcher);
    }

    /// The state of the breakers of an upstream.
    pub fn upstream_state(&self, number: usize) -> State {
        self.lock().route.upstream_state(number)
    }

    /// The state of upstreams, keys and models. Also sets their metrics.
    pub fn health(&self) -> Health {
        let health = self.lock().route.health(now());
        self.metrics.upstreams.publish(&health);
        health
    }

    /// Whether a run can be started, see [`Route::room`].
    pub(super) fn room(self: &Arc<Self>, ask: &RoomRequest) -> Room {
        let mut inner = self.lock();
        match inner.route.room(now(), ask) {
            route::Room::Free(place) => Room::Free(KeptPlace { router: Arc::clone(self), place }),
            route::Room::Full { again } => {
                // Under the lock that any change needs, so that none is missed.
                inner.route.take_has_room();
                inner.is_awaited = true;
                Room::Full { again }
            }
            route::Room::Down(error) => Room::Down(error),
        }
    }

    /// The run picks no more, see [`Route::give_up`].
    pub(super) fn give_up(&self, request: &mut RouteRequest) {
        if request.has_place() {
            self.with(|route| route.give_up(request));
        }
    }

    /// What is to be probed now, see [`Route::take_probes`].
    pub fn take_probes(&self) -> Vec<Probe> {
        self.lock().route.take_probes(now())
    }

    /// A probe has ended, see [`Route::report_probe`].
    pub fn report_probe(&self, probe: Probe, result: ProbeResult) {
        self.with(|route| {
            let upstream = route.upstream_name(probe.upstream).map_or("", |name| name);
            let of = if probe.subject == ProbeSubject::Key { probe.key.0 + 1 } else { 0 };
            log::debug!(upstream, key = of, result:? = result; "probed");
            route.report_probe(now(), probe, result);
        });
    }

    /// Other models from now on.
    pub fn set_plan(&self, plan: route::Plan) {
        self.with(|route| route.set_plan(plan));
    }

    /// What a run does next, see [`Route::pick`].
    pub(super) fn pick(&self, request: &mut RouteRequest) -> Pick {
        self.with(|route| route.pick(now(), fastrand::f64(), request))
    }

    /// The run has ended well, see [`Route::remember`].
    pub(super) fn remember(&self, request: &mut RouteRequest, target: &Target) {
        self.lock().route.remember(now(), request, target);
    }

    /// Acts as if the upstream had failed once more.
    #[cfg(test)]
    pub(crate) fn trip(&self) {
        use crate::{
            chat::{FairShareKey, RunErrorKind, SessionId},
            upstream::breaker::Asker,
        };
        self.with(|route| {
            let asker = Asker { client: FairShareKey::default(), session: SessionId(0) };
            let mut request = RouteRequest::new("m".into(), asker, now());
            let Pick::Go(go) = route.pick(now(), 0.0, &mut request) else {
                panic!("the breaker is open already")
            };
            route.record(now(), 0.0, go.permit, Err(Blame::Connect(RunErrorKind::UpstreamUnreachable)));
            route.release(go.permit);
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Route) -> T) -> T {
        let mut inner = self.lock();
        let outcome = act(&mut inner.route);
        // Under the lock, so that log lines and gauges are in the order of the changes.
        for event in inner.route.take_events() {
            self.tell(&mut inner, event);
        }
        if inner.is_awaited && inner.route.take_has_room() {
            inner.is_awaited = false;
            if let Some(dispatcher) = self.waiting.get().and_then(WeakRecipient::upgrade) {
                mailbox::notify(&dispatcher, RoomChanged);
            }
        }
        outcome
    }

    fn tell(&self, Inner { route, shown, .. }: &mut Inner, event: Event) {
        let name = |upstream: usize| route.upstream_name(upstream).cloned().unwrap_or_default();
        match event {
            Event::Breaker => {
                shown.resize(route.upstreams(), State::Closed);
                for (number, was) in shown.iter_mut().enumerate() {
                    let state = route.upstream_state(number);
                    if *was != state {
                        let level = if state == State::Open { log::Level::Warn } else { log::Level::Info };
                        let (was, state) = (std::mem::replace(was, state).as_str(), state.as_str());
                        log::log!(level, upstream = &*name(number), was = was; "upstream breaker {state}");
                    }
                }
                self.metrics.upstreams.publish(&route.health(now()));
            }
            Event::KeyOut { upstream, key, kind } => {
                log::error!(upstream = &*name(upstream), key:% = Numbered(key), error = kind.code(); "key refused");
            }
            Event::PairOut { upstream, key, model, kind } => {
                log::error!(
                    upstream = &*name(upstream), key:% = Numbered(key), model = &*model, error = kind.code();
                    "key refused for a model"
                );
            }
            Event::ModelOut { upstream, model } => {
                log::error!(upstream = &*name(upstream), model = &*model; "the upstream does not know the model");
            }
        }
    }
}

/// A key as logs call it: `k1` is the first of its upstream.
pub(super) struct Numbered(pub(super) usize);

impl fmt::Display for Numbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}", self.0 + 1)
    }
}

impl AttemptGuard {
    pub(super) fn new(router: &Arc<Router>, permit: Permit) -> Self {
        AttemptGuard { router: Arc::clone(router), permit, is_reported: false, is_released: false }
    }

    /// Reports the outcome of the attempt, see [`Route::record`]. A success is reported once.
    #[inline]
    pub(super) fn report(&mut self, result: Result<(), Blame>) {
        if !(self.is_reported && result.is_ok()) {
            self.is_reported = true;
            let permit = self.permit;
            self.router.with(|route| route.record(now(), fastrand::f64(), permit, result));
        }
    }

    /// The permit, for [`RouteRequest::fail`].
    pub(super) fn into_permit(mut self) -> Permit {
        (self.is_reported, self.is_released) = (true, true);
        self.permit
    }
}

impl Drop for AttemptGuard {
    fn drop(&mut self) {
        if !self.is_reported {
            self.report(Err(Blame::None));
        }
        if !self.is_released {
            let permit = self.permit;
            self.router.with(|route| route.release(permit));
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
