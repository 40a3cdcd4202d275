//! A WebSocket that says everything again, for conformance suites: the gateway's own handshake
//! checks, upgrade hook, guard, connection and socket, with nobody behind them.
use super::{BACKLOG, CONNECTIONS_MAX, KEEP_ALIVE};
use crate::{
    dispatch::{Dispatcher, Router, RunSinks, admission},
    http::{self, Door, Site, door, exchange},
    hub::{self, ChatLimits, Connections, Consumer, Registry, Worker},
    lifecycle::{Lifecycle, Phase},
    listen,
    memory::{Limit, Memory},
    metrics::Metrics,
    protocol, session,
    socket::{guard, rate::Allowance, task, unfinished::Deadlines},
    upstream::route,
    worker_clock::WorkerClock,
};
use actix::Actor as _;
use actix_server::Server;
use actix_web::{HttpRequest, web};
use std::{
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::Instant;

/// A suite sends messages of 16 MiB, in fragments of 64 bytes too: far more than a gateway takes.
const LIMITS: guard::Limits =
    guard::Limits { frame_bytes: 16 << 20, fragments: 1 << 18, rate: Allowance::UNLIMITED };

/// Serves the echo at `/chat` beside the other `routes`, and where it listens.
///
/// # Errors
/// [`listen::BindError`] when the address cannot be had.
pub(super) fn serve(
    listen_on: SocketAddr,
    workers: usize,
    routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
) -> anyhow::Result<(Server, SocketAddr)> {
    let listener = listen::bind(listen_on, listen::FLAG)?;
    let address = listener.local_addr()?;
    let site = Arc::new(site(workers));
    let next = Arc::new(AtomicUsize::new(0));
    let server = Server::build()
        .workers(workers)
        .backlog(BACKLOG)
        .max_concurrent_connections(CONNECTIONS_MAX)
        .disable_signals()
        .shutdown_timeout(0)
        .listen("simulator", listener, move || {
            let (site, routes) = (Arc::clone(&site), routes.clone());
            let worker = worker(next.fetch_add(1, Relaxed), &site);
            http::with_sockets(worker, Arc::clone(&site.door), move |config| {
                config.app_data(web::Data::from(Arc::clone(&site)));
                config.route("/chat", web::get().to(echo));
                // nginx asks before each handshake (nginx/server.conf).
                config.route("/-/ready", web::get().to(actix_web::HttpResponse::Ok));
                routes(config);
            })
        })?;
    Ok((server.run(), address))
}

async fn echo(request: HttpRequest, site: web::Data<Site>) -> actix_web::HttpResponse {
    http::open(&request, &site, Consumer::Echo)
}

/// What the checks before an upgrade need. Nothing is ever dispatched.
fn site(workers: usize) -> Site {
    let metrics = Arc::new(Metrics::default());
    let admission = admission::Settings { runs_max: 0, queue_max: 0, queue_timeout: Duration::ZERO };
    let router = Arc::new(Router::new(route::Settings::default(), Arc::clone(&metrics)));
    let lifecycle = Lifecycle::new(CONNECTIONS_MAX, 0);
    lifecycle.enter(Phase::Ready);
    let sinks = RunSinks::standard(&metrics);
    let dispatcher = Dispatcher::new(admission, workers, Arc::clone(&router), Arc::clone(&metrics), sinks);
    Site {
        settings: http::Settings {
            origins: Vec::new(),
            allow_any_origin: false,
            // It has nothing that a page could want.
            hosts: None,
            trusted_proxies: Vec::new(),
            model: String::new(),
            upstream: String::new(),
            simulated: true,
            queue: 0,
            separate_ops: true,
            limits: http::api::Limits::default(),
            features: http::api::Features::default(),
            page: http::api::Page::default(),
        },
        lifecycle: Arc::new(lifecycle),
        door: Arc::new(Door::new(door(), Arc::clone(&metrics))),
        memory: Arc::new(Memory::new(Limit::new(0, |_| None), Instant::now().into_std())),
        registry: Arc::new(Registry::new(ChatLimits::default())),
        dispatch_state: dispatcher.state(),
        dispatcher: dispatcher.start(),
        metrics,
        router,
        started: Instant::now(),
    }
}

/// Answers are streams here, which may last as long as a test wants.
fn door() -> door::Settings {
    let minute = Duration::from_secs(60);
    door::Settings {
        limits: exchange::Limits {
            header_timeout: minute,
            header_bytes_max: 64 << 10,
            body_timeout: minute,
            body_bytes_max: 64 << 20,
            takes_bodies: true,
            request_timeout: 60 * minute,
            idle_timeout: KEEP_ALIVE,
        },
        write_timeout: 10 * minute,
        send_buffer: 64 << 10,
        connections_max: CONNECTIONS_MAX,
        per_address_max: 0,
        trusted_proxies: Vec::new(),
    }
}

fn worker(index: usize, site: &Site) -> Rc<Connections> {
    let settings = hub::Settings {
        limits: LIMITS,
        transcript_bytes: LIMITS.frame_bytes,
        requests: 0,
        messages: protocol::Limits {
            message_bytes: LIMITS.frame_bytes as usize,
            client_system_prompt: false,
        },
        bounds: task::Bounds { high_water: 32 << 10, slow_client: Duration::from_secs(12) },
        deadlines: Deadlines {
            idle: Duration::from_secs(60),
            total: Duration::from_secs(60),
            rate_min: 4096,
        },
        send_buffer: 64 << 10,
        silence: Duration::from_secs(60),
        ping: Duration::from_secs(15),
        read_rate: usize::MAX,
    };
    let no_session = session::Settings {
        readers: 0,
        model: "".into(),
        linger: Duration::ZERO,
        idle: Duration::ZERO,
        retain: Duration::ZERO,
        queued_messages: 0,
        behind_bytes: 0,
        system_prompt: None,
        history: crate::chat::Budget { tokens: 0, bytes: 0, messages: 0 },
    };
    Connections::new(Worker::new(index, settings, Arc::new(no_session), site.shared(), WorkerClock::start()))
}
