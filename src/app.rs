//! Builds and runs the whole server; main and every test come through here. Owns the order of
//! start and stop.
mod site;

use crate::{
    chat, config,
    config::Config,
    descriptors,
    dispatch::{self, Dispatcher, Lane, Router, RunSinks, admission},
    http::{self, Door},
    hub::{self, ChatLimits, Connections, Registry, Worker, heartbeat},
    lifecycle::{Lifecycle, Phase},
    listen::{self, BACKLOG, bind},
    memory::Memory,
    metrics::{Metrics, Names},
    protocol, session,
    socket::{guard, rate, task, unfinished},
    upstream::{
        Dialect, Limits, breaker, client,
        dashscope::{self, DashScope},
        route::{self, retry},
    },
};
use actix::prelude::*;
use anyhow::Context as _;
use std::{
    net::{SocketAddr, TcpListener},
    num::NonZero,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::available_parallelism,
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

/// How often the dispatcher is asked whether it is alive.
const WATCH: Duration = Duration::from_secs(1);
/// The workers have this long to start.
const START: Duration = Duration::from_secs(5);
/// A session's mailbox may be full for so long before its run is given up.
const DELIVERY: Duration = Duration::from_secs(30);
/// Sockets that are closed before their answers are out have this long to take the close frame.
const CLOSING: Duration = Duration::from_secs(1);

/// A running gateway.
pub struct Gateway {
    pub address: SocketAddr,
    pub ops_address: Option<SocketAddr>,
    site: Arc<http::Site>,
    server: actix_server::ServerHandle,
    drain: Duration,
    /// Says why the gateway cannot go on.
    broken: watch::Receiver<Option<&'static str>>,
}

/// How a gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every answer was finished and every socket closed in order.
    Drained,
    /// The grace period was over; so many sockets were closed with their answers unfinished.
    GraceOver(usize),
    /// It was told to hurry.
    Hurried(usize),
}

/// What workers are made from; it crosses threads.
#[derive(Clone)]
struct Plan {
    client: client::Plan,
    runs: Arc<dispatch::Settings>,
    sinks: RunSinks,
    hub: hub::Settings,
    session: Arc<session::Settings>,
    next_worker: Arc<AtomicUsize>,
    site: Arc<http::Site>,
}

impl Gateway {
    /// Binds and starts. Must be called inside [`crate::runtime::block_on`].
    ///
    /// # Errors
    /// [`client::SetUpError`] for a fault of the configuration, before anything is bound;
    /// [`listen::BindError`] when an address cannot be had.
    pub async fn start(config: &Config, simulated: bool) -> anyhow::Result<Self> {
        let client = client_plan(config)?;
        let listener = bind(config.server.listen, listen::FLAG)?;
        let ops_listen = config.server.ops_listen;
        let ops_listener = ops_listen.map(|address| bind(address, listen::OPS_FLAG)).transpose()?;
        let workers = match config.server.workers {
            0 => available_parallelism().map_or(1, NonZero::get),
            workers => workers,
        };
        let metrics = Arc::new(Metrics::new(metrics_names(config)));
        let memory = Memory::new(config.memory_limit(), Instant::now().into_std());
        metrics.memory_max.set(i64::try_from(memory.limit().bytes).unwrap_or(i64::MAX));
        let admission = admission_settings(config);
        // On this thread, which has nothing else to do.
        let router = Arc::new(Router::new(route_settings(config), Arc::clone(&metrics)));
        let sinks = RunSinks::standard(&metrics);
        let dispatcher =
            Dispatcher::new(admission, workers, Arc::clone(&router), Arc::clone(&metrics), sinks.clone());
        let (dispatch_state, dispatcher) = (dispatcher.state(), dispatcher.start());
        let site = Arc::new(http::Site {
            settings: site::settings(config, simulated),
            lifecycle: Arc::new(Lifecycle::new(
                config.connection.count_max,
                config.connection.count_per_address_max,
            )),
            memory: Arc::new(memory),
            registry: Arc::new(Registry::new(ChatLimits {
                chats: config.session.count_max,
                per_principal: config.session.count_per_principal_max,
            })),
            door: Arc::new(Door::new(site::door(config), Arc::clone(&metrics))),
            metrics,
            dispatcher,
            dispatch_state,
            router,
            started: Instant::now(),
        });
        let plan = plan(config, client, sinks, Arc::clone(&site));
        let address = listener.local_addr()?;
        let ops_address = ops_listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let server = serve(listener, ops_listener, workers, plan)?;
        let handle = server.handle();
        actix::spawn(async move {
            if let Err(error) = server.await {
                log::error!("the server ended: {error}");
            }
        });
        let (broke, broken) = watch::channel(None);
        actix::spawn(watch_dispatcher(Arc::clone(&site), broke));
        let drain = config.server.drain_timeout;
        let gateway = Gateway { address, ops_address, site, server: handle, drain, broken };
        gateway.wait_for_lanes(workers).await?;
        Ok(gateway)
    }

    /// Ready means that every worker has its lane.
    async fn wait_for_lanes(&self, workers: usize) -> anyhow::Result<()> {
        let started = async {
            while self.site.dispatcher.send(dispatch::CountLanes).await? < workers {
                sleep(Duration::from_millis(2)).await;
            }
            Ok::<(), MailboxError>(())
        };
        timeout(START, started).await.context("the workers did not start in time")??;
        self.site.lifecycle.enter(Phase::Ready);
        Ok(())
    }

    pub fn site(&self) -> &Arc<http::Site> {
        &self.site
    }

    /// Resolves when the gateway cannot go on.
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

    /// Stops in order: unready, no new sockets, running answers finish, sockets are closed with
    /// 1012, the rest is cut when the grace period is over or `hurry` resolves.
    pub async fn stop(self, hurry: impl Future<Output = ()>) -> Ended {
        let lifecycle = &self.site.lifecycle;
        lifecycle.enter(Phase::Draining);
        log::info!("draining: sockets={} grace_ms={}", lifecycle.sockets(), self.drain.as_millis());
        let all_closed = async || {
            while lifecycle.sockets() > 0 || !self.site.registry.is_empty() {
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
            log::warn!("closing {} sockets whose answers are not finished", lifecycle.sockets());
            lifecycle.enter(Phase::Closing);
            let _ = timeout(CLOSING, all_closed()).await;
        }
        // The listener goes last. What is left now is cut.
        if timeout(CLOSING * 2, self.server.stop(false)).await.is_err() {
            log::warn!("the server did not stop in time");
        }
        log::info!("stopped: {ended:?}");
        ended
    }
}

fn serve(
    listener: TcpListener,
    ops_listener: Option<TcpListener>,
    workers: usize,
    plan: Plan,
) -> std::io::Result<actix_server::Server> {
    let ops_site = Arc::clone(&plan.site);
    let connections_max = descriptors::for_connections(plan.site.door.connections_max());
    let mut server = actix_server::Server::build()
        .workers(workers)
        .backlog(BACKLOG as u32)
        .disable_signals()
        .shutdown_timeout(1)
        // The door makes room long before; this is for connections that wait to come to it. Taken-over
        // sockets are not counted.
        .max_concurrent_connections(connections_max.div_ceil(workers))
        .listen("gateway", listener, move || http::service(Arc::clone(&plan.site), worker(&plan)))?;
    if let Some(listener) = ops_listener {
        server = server.listen("ops", listener, move || http::ops_service(Arc::clone(&ops_site)))?;
    }
    Ok(server.run())
}

/// Makes this thread's worker: its lane, its reaper, and what its sockets share.
fn worker(plan: &Plan) -> Rc<Connections> {
    let index = plan.next_worker.fetch_add(1, Relaxed);
    let site = &plan.site;
    let client = client::Client::new(plan.client.clone());
    let (settings, router) = (Arc::clone(&plan.runs), Arc::clone(&site.router));
    let (metrics, sinks) = (Arc::clone(&site.metrics), plan.sinks.clone());
    let lane = Lane::new(client, settings, router, metrics, sinks).start();
    if site.dispatcher.try_send(dispatch::Register { worker: index, lane }).is_err() {
        log::error!("worker {index} could not register its lane");
    }
    let worker = Worker::new(index, plan.hub, Arc::clone(&plan.session), site.shared());
    let connections = Connections::new(worker);
    actix::spawn(heartbeat::run(Rc::clone(&connections)));
    connections
}

/// A dead dispatcher or lane cannot be mended from inside: a panic closes its mailbox for good.
async fn watch_dispatcher(site: Arc<http::Site>, broke: watch::Sender<Option<&'static str>>) {
    while !broke.is_closed() {
        sleep(WATCH).await;
        let why = match timeout(WATCH, site.dispatcher.send(dispatch::Alive)).await {
            Ok(Ok(true)) => {
                site.dispatch_state.dispatcher_answered(Instant::now());
                None
            }
            Ok(Ok(false)) => Some("a lane is dead"),
            Ok(Err(_)) => Some("the dispatcher is dead"),
            Err(_) => {
                log::error!("the dispatcher has not answered for {} ms", WATCH.as_millis());
                None
            }
        };
        if why.is_some() {
            broke.send_replace(why);
            return;
        }
    }
}

/// What all clients of the upstream are made from: reads the authorities, sets up TLS.
///
/// # Errors
/// What in the configuration no client can be made from.
pub fn client_plan(config: &Config) -> Result<client::Plan, client::SetUpError> {
    let upstream = &config.upstream;
    let settings = client::Settings {
        base_url: upstream.base_url.to_string(),
        api_keys: upstream.api_key.iter().cloned().collect(),
        ca_file: upstream.ca_file.clone(),
        connect_timeout: upstream.connect_timeout,
        first_byte: upstream.first_byte_timeout,
    };
    client::Plan::new(&settings, dialect(config).headers())
}

fn plan(config: &Config, client: client::Plan, sinks: RunSinks, site: Arc<http::Site>) -> Plan {
    let upstream = &config.upstream;
    Plan {
        client,
        runs: Arc::new(dispatch::Settings {
            dialect: dialect(config),
            limits: Limits {
                line_bytes: upstream.line_bytes_max,
                event_bytes: upstream.event_bytes_max,
                answer_bytes: upstream.answer_bytes_max,
            },
            stall: upstream.idle_timeout,
            run_time: upstream.run_timeout,
            delivery: DELIVERY,
            mailbox: config.dispatch.runs_max,
        }),
        sinks,
        hub: hub_settings(config),
        session: Arc::new(session_settings(config)),
        next_worker: Arc::default(),
        site,
    }
}

fn metrics_names(config: &Config) -> Names<'_> {
    Names { model: &config.upstream.model, page: http::page::BUILD_ID }
}

fn admission_settings(config: &Config) -> admission::Settings {
    let dispatch = &config.dispatch;
    admission::Settings {
        runs: dispatch.runs_max,
        queue: dispatch.queue_max,
        queue_wait: dispatch.queue_timeout,
    }
}

fn route_settings(config: &Config) -> route::Settings {
    let (retry, breaker) = (&config.retry, &config.breaker);
    route::Settings {
        target: route::Target { model: config.upstream.model.as_str().into() },
        retry: retry::Settings {
            attempts: retry.attempts,
            pause: retry.backoff_min,
            pause_max: retry.backoff_max,
            after_max: retry.retry_after_max,
            budget_percent: retry.budget_percent,
        },
        breaker: breaker::Settings {
            failures: breaker.failures,
            share: breaker.failure_percent,
            window: breaker.window,
            pause: breaker.open_time,
        },
    }
}

fn dialect(config: &Config) -> Dialect {
    let upstream = &config.upstream;
    Dialect::DashScope(DashScope::new(dashscope::Settings {
        endpoint: match upstream.endpoint {
            config::Endpoint::Auto => dashscope::Endpoint::Auto,
            config::Endpoint::Text => dashscope::Endpoint::Text,
            config::Endpoint::Multimodal => dashscope::Endpoint::Multimodal,
        },
        incremental: upstream.incremental,
        thinking: match upstream.thinking {
            config::Thinking::Default => None,
            config::Thinking::On => Some(true),
            config::Thinking::Off => Some(false),
        },
        max_tokens: (upstream.max_tokens > 0).then_some(upstream.max_tokens),
        workspace: Some(upstream.workspace.clone()).filter(|workspace| !workspace.is_empty()),
    }))
}

fn hub_settings(config: &Config) -> hub::Settings {
    let connection = &config.connection;
    let fragments = u32::try_from(connection.fragments_max).unwrap_or(u32::MAX);
    hub::Settings {
        limits: guard::Limits {
            frame_bytes: u32::try_from(connection.frame_bytes_max).unwrap_or(u32::MAX),
            fragments,
            rate: rate::Allowance::new(
                connection.frames_per_second_max,
                connection.frames_burst_max,
                fragments,
            ),
        },
        transcript_bytes: u32::try_from(config.session.transcript_bytes_max).unwrap_or(u32::MAX),
        requests: connection.requests_max,
        messages: protocol::Limits {
            message_bytes: connection.message_bytes_max,
            client_system_prompt: config.session.client_system_prompt,
        },
        bounds: task::Bounds {
            high_water: connection.output_bytes_max,
            slow_client: connection.write_timeout,
        },
        deadlines: unfinished::Deadlines {
            idle: config.connection.message_idle_timeout,
            total: config.connection.message_timeout,
            rate_min: config.connection.message_rate_min,
        },
        send_buffer: connection.send_buffer,
        silence: connection.idle_timeout,
        ping: connection.ping_interval,
        read_rate: connection.read_rate_max,
    }
}

fn session_settings(config: &Config) -> session::Settings {
    let prompt = &config.session.system_prompt;
    session::Settings {
        queued_messages: config.session.queued_messages_max,
        readers: config.session.subscribers_max,
        model: config.upstream.model.as_str().into(),
        linger: config.session.detached_timeout,
        idle: config.session.idle_timeout,
        retain: config.session.replay_time,
        behind_bytes: config.session.lag_bytes_max,
        system_prompt: (!prompt.is_empty()).then(|| prompt.as_str().into()),
        history: chat::Budget {
            tokens: config.history.tokens_max,
            bytes: config.history.bytes_max,
            messages: config.history.messages_max,
        },
    }
}
