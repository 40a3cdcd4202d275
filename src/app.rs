//! Builds and runs the whole server, for `main` and every test. Determines the order of start and stop.
mod listing;
mod models;
mod probe;
mod prober;
mod settings;

pub use listing::{ListSettings, Listing};
pub use probe::UpstreamProbe;
pub use prober::ProbePaths;
pub use settings::{Machine, Settings, UpstreamSettings};

use crate::{
    chat::Models,
    clock, descriptors,
    dispatch::{self, Dispatcher, Lane, Router, RunSinks},
    http::{self, ConnectionLimiter},
    hub::{self, Connections, Registry, Worker, heartbeat},
    lifecycle::{Lifecycle, Phase},
    listen::{self, BACKLOG, bind},
    memory::Memory,
    metrics::{Metrics, Names},
    session,
    worker_clock::WorkerClock,
};
use actix::prelude::*;
use anyhow::Context as _;
use std::{
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

/// Interval of the dispatcher's health check, and the time it has to answer.
const WATCH: Duration = Duration::from_secs(1);
/// Timeout for the start of all workers; then the start fails.
const START: Duration = Duration::from_secs(5);
/// How long sockets that are closed with unfinished answers have to receive the close frame.
const CLOSING: Duration = Duration::from_secs(1);

/// A running gateway.
pub struct Gateway {
    pub address: SocketAddr,
    pub ops_address: Option<SocketAddr>,
    app_state: Arc<http::AppState>,
    server: actix_server::ServerHandle,
    drain: Duration,
    /// Set when the gateway cannot continue: the cause.
    broken: watch::Receiver<Option<&'static str>>,
}

/// How a gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every answer was finished and every socket was closed with a close frame.
    Drained,
    /// The drain timeout was over; this many connections were closed with their answers unfinished.
    GraceOver(usize),
    /// A second signal ended the drain; this many connections were closed with their answers unfinished.
    Hurried(usize),
}

/// Everything that a worker thread is built from. Cloned for each worker.
#[derive(Clone)]
struct WorkerParts {
    upstreams: Arc<[dispatch::Upstream]>,
    runs: Arc<dispatch::Settings>,
    sinks: RunSinks,
    hub: hub::Settings,
    session: Arc<session::Settings>,
    next_worker: Arc<AtomicUsize>,
    app_state: Arc<http::AppState>,
}

impl Gateway {
    /// Binds the listeners and starts the server. Must be called inside [`crate::runtime::block_on`].
    ///
    /// # Errors
    /// [`crate::upstream::client::ClientBuildError`] for a faulty configuration, before anything is bound; [`listen::BindError`] if an
    /// address cannot be bound.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        let upstreams = settings.connect_upstreams()?;
        let listener = bind(settings.listen, listen::FLAG)?;
        let ops_listen = settings.ops_listen;
        let ops_listener = ops_listen.map(|address| bind(address, listen::OPS_FLAG)).transpose()?;
        let (workers, drain) = (settings.workers, settings.drain_timeout);
        let (listing, plan) = (settings.listing.clone(), settings.route.plan.clone());
        let probes = settings.upstreams.iter().map(|upstream| upstream.probes.clone()).collect();
        let parts = worker_parts(settings, upstreams);
        let (app_state, asked) = (Arc::clone(&parts.app_state), Arc::clone(&parts.upstreams));
        let address = listener.local_addr()?;
        let ops_address = ops_listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let server = serve(listener, ops_listener, workers, parts)?;
        let handle = server.handle();
        actix::spawn(async move {
            if let Err(error) = server.await {
                log::error!(error:% = error; "the server ended");
            }
        });
        let (broke, broken) = watch::channel(None);
        actix::spawn(watch_dispatcher(Arc::clone(&app_state), broke));
        let gateway = Gateway { address, ops_address, app_state, server: handle, drain, broken };
        gateway.wait_for_lanes(workers).await?;
        prober::start(probes, Arc::clone(&asked), &gateway.app_state);
        if let Some(listing) = listing {
            listing.start(&asked, plan, &gateway.app_state);
        }
        Ok(gateway)
    }

    /// Waits until every worker has registered its lane, then becomes ready.
    async fn wait_for_lanes(&self, workers: usize) -> anyhow::Result<()> {
        let started = async {
            while self.app_state.dispatcher.send(dispatch::CountLanes).await? < workers {
                sleep(Duration::from_millis(2)).await;
            }
            Ok::<(), MailboxError>(())
        };
        timeout(START, started).await.context("the workers did not start in time")??;
        self.app_state.lifecycle.enter(Phase::Ready);
        Ok(())
    }

    pub fn app_state(&self) -> &Arc<http::AppState> {
        &self.app_state
    }

    /// Resolves when the gateway cannot continue.
    pub async fn broken(&self) -> &'static str {
        let mut broken = self.broken.clone();
        loop {
            if let Some(why) = *broken.borrow_and_update() {
                return why;
            }
            if broken.changed().await.is_err() {
                return "the watchdog is gone";
            }
        }
    }

    /// Stops in order: unready, no new sockets, running answers finish, sockets are closed with 1012. What is left when the
    /// drain timeout is over or `hurry` resolves is cut.
    pub async fn stop(self, hurry: impl Future<Output = ()>) -> Ended {
        let lifecycle = &self.app_state.lifecycle;
        lifecycle.enter(Phase::Draining);
        log::info!(sockets = lifecycle.sockets(), grace_ms = self.drain.as_millis() as u64; "draining");
        let all_closed = async || {
            while lifecycle.sockets() > 0 || !self.app_state.registry.is_empty() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let ended = tokio::select! {
            drained = timeout(self.drain, all_closed()) => match drained {
                Ok(()) => Ended::Drained,
                Err(_) => Ended::GraceOver(lifecycle.sockets()),
            },
            () = hurry => Ended::Hurried(lifecycle.sockets()),
        };
        if ended != Ended::Drained {
            log::warn!(sockets = lifecycle.sockets(); "closing sockets whose answers are not finished");
            lifecycle.enter(Phase::Closing);
            let _ = timeout(CLOSING, all_closed()).await;
        }
        // The listeners are closed last. Connections that are left are cut.
        if timeout(CLOSING * 2, self.server.stop(false)).await.is_err() {
            log::warn!("the server did not stop in time");
        }
        log::info!("stopped: {ended:?}");
        ended
    }
}

/// Starts what all workers share, and collects the parts from which each worker is built.
fn worker_parts(settings: Settings, upstreams: Vec<dispatch::Upstream>) -> WorkerParts {
    let providers: Vec<_> = settings.upstreams.iter().map(|upstream| upstream.provider).collect();
    let names = Names {
        page: http::page::BUILD_ID,
        plan: &settings.route.plan,
        providers: &providers,
        prices: &settings.prices,
    };
    let metrics = Arc::new(Metrics::new(names));
    let memory = Memory::new(settings.memory, Instant::now().into_std());
    metrics.memory_max.set(i64::try_from(memory.limit().bytes).unwrap_or(i64::MAX));
    // The dispatcher runs on this thread, which has nothing else to do.
    let router = Arc::new(Router::new(settings.route, Arc::clone(&metrics)));
    let sinks = RunSinks::standard(settings.prices, &metrics);
    let dispatcher = Dispatcher::new(
        settings.admission,
        settings.workers,
        Arc::clone(&router),
        Arc::clone(&metrics),
        sinks.clone(),
    );
    let (dispatch_state, dispatcher) = (dispatcher.state(), dispatcher.start());
    let limiter = ConnectionLimiter::new(
        settings.http_connections,
        settings.http.trusted_proxies.clone(),
        http::TAKES_BODIES,
        Arc::clone(&metrics),
    );
    let lifecycle = Lifecycle::new(settings.connections_max, settings.connections_per_source_max);
    let app_state = http::AppState {
        settings: settings.http,
        lifecycle: Arc::new(lifecycle),
        memory: Arc::new(memory),
        registry: Arc::new(Registry::new(settings.chats)),
        limiter: Arc::new(limiter),
        metrics,
        models: Models::new(settings.catalog),
        dispatcher,
        dispatch_state,
        router,
        started: Instant::now(),
        created: clock::unix_seconds(),
    };
    WorkerParts {
        upstreams: upstreams.into(),
        runs: Arc::new(settings.runs),
        sinks,
        hub: settings.hub,
        session: settings.session,
        next_worker: Arc::default(),
        app_state: Arc::new(app_state),
    }
}

fn serve(
    listener: TcpListener,
    ops_listener: Option<TcpListener>,
    workers: usize,
    parts: WorkerParts,
) -> std::io::Result<actix_server::Server> {
    let ops_state = Arc::clone(&parts.app_state);
    let connections_max = descriptors::for_connections(parts.app_state.limiter.connections_max());
    let mut server = actix_server::Server::build()
        .workers(workers)
        .backlog(BACKLOG as u32)
        .disable_signals()
        .shutdown_timeout(1)
        // The limiter closes idle connections long before; this bounds those that wait for it. Taken-over
        // sockets are not counted.
        .max_concurrent_connections(connections_max.div_ceil(workers))
        .listen("gateway", listener, move || http::service(Arc::clone(&parts.app_state), worker(&parts)))?;
    if let Some(listener) = ops_listener {
        server = server.listen("ops", listener, move || http::ops_service(Arc::clone(&ops_state)))?;
    }
    Ok(server.run())
}

/// Creates this thread's worker: its clock, its lane, and the state that its sockets share.
fn worker(parts: &WorkerParts) -> Rc<Connections> {
    let index = parts.next_worker.fetch_add(1, Relaxed);
    let app_state = &parts.app_state;
    let (settings, router) = (Arc::clone(&parts.runs), Arc::clone(&app_state.router));
    let (metrics, sinks) = (Arc::clone(&app_state.metrics), parts.sinks.clone());
    let clock = WorkerClock::start();
    let lane = Lane::new(&parts.upstreams, settings, router, metrics, sinks, &clock);
    let (local_runs, lane) = (lane.local_runs(), lane.start());
    if app_state.dispatcher.try_send(dispatch::Register { worker: index, lane }).is_err() {
        log::error!(worker = index; "a worker could not register its lane");
    }
    let worker =
        Worker::new(index, parts.hub, Arc::clone(&parts.session), app_state.shared(), local_runs, clock);
    let connections = Connections::new(worker);
    heartbeat::start(&connections);
    connections
}

/// Reports a dead dispatcher or lane, which cannot be restarted: a panic closes its mailbox for good.
async fn watch_dispatcher(app_state: Arc<http::AppState>, broke: watch::Sender<Option<&'static str>>) {
    while !broke.is_closed() {
        sleep(WATCH).await;
        let why = match timeout(WATCH, app_state.dispatcher.send(dispatch::HealthCheck)).await {
            Ok(Ok(true)) => {
                app_state.dispatch_state.dispatcher_answered(Instant::now());
                None
            }
            Ok(Ok(false)) => Some("a lane is dead"),
            Ok(Err(_)) => Some("the dispatcher is dead"),
            Err(_) => {
                log::error!(silent_ms = WATCH.as_millis() as u64; "the dispatcher does not answer");
                None
            }
        };
        if why.is_some() {
            broke.send_replace(why);
            return;
        }
    }
}
