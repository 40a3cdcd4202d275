//! The probes in every state of the process, and request bodies.
use super::*;
use crate::{
    chat::{Catalog, Models, price::PriceList},
    dispatch::{Load, RunSinks, SILENCE_MAX, admission},
    hub::ChatLimits,
    lifecycle::{Lifecycle, Phase},
    memory::Limit,
    metrics::Metrics,
    upstream::{breaker, route},
};
use actix::prelude::*;
use actix_web::test::{TestRequest, call_and_read_body, call_and_read_body_json, call_service, init_service};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Message)]
#[rtype(result = "()")]
struct Die;

impl Handler<Die> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: Die, _: &mut Self::Context) {
        panic!("as the test wants");
    }
}

pub(super) fn settings() -> Settings {
    Settings {
        origins: Vec::new(),
        allow_any_origin: false,
        hosts: Some(Vec::new()),
        trusted_proxies: Vec::new(),
        model: "m".into(),
        upstreams: vec![ShownUpstream { service: "other", host: "u".to_owned() }],
        simulated: false,
        queue: 2,
        separate_ops: false,
        limits: api::Limits::default(),
        features: api::Features::default(),
        page: api::Page::default(),
    }
}

fn limiter(takes_bodies: bool) -> Arc<ConnectionLimiter> {
    let limits = exchange::tests::limits();
    Arc::new(ConnectionLimiter::new(limits, Vec::new(), takes_bodies, Arc::default()))
}

fn state() -> Arc<AppState> {
    let second = Duration::from_secs(1);
    let metrics = Arc::new(Metrics::default());
    let breaker =
        breaker::Settings { failures: 1, failure_percent: 100, window: second, open_time: 60 * second };
    let route = route::Settings {
        plan: route::Plan::alone("m", 1, route::plan::Times::UNLIMITED),
        breaker,
        ..route::Settings::default()
    };
    let router = Arc::new(Router::new(route, Arc::clone(&metrics)));
    let admission = admission::Settings { runs_max: 1, queue_max: 2, queue_timeout: second };
    let sinks = RunSinks::standard(PriceList::default(), &metrics);
    let dispatcher = Dispatcher::new(admission, 0, Arc::clone(&router), Arc::clone(&metrics), sinks);
    Arc::new(AppState {
        settings: settings(),
        lifecycle: Arc::new(Lifecycle::new(1, 0)),
        limiter: limiter(false),
        memory: Arc::new(Memory::new(Limit::new(0, |_| None), Instant::now().into_std())),
        registry: Arc::new(Registry::new(ChatLimits::default())),
        dispatch_state: dispatcher.state(),
        dispatcher: dispatcher.start(),
        metrics,
        router,
        started: Instant::now(),
        created: 0,
        models: Models::new(Catalog::of_one("m")),
    })
}

fn routes(state: &Arc<AppState>, listener: ops::Listener) -> impl FnOnce(&mut web::ServiceConfig) {
    let state = web::Data::from(Arc::clone(state));
    move |config| {
        config.app_data(state);
        ops::configure(config, listener);
        ops::configure_proxy_probe(config);
    }
}

// faults: G107, C45
#[actix::test]
async fn liveness_and_readiness_in_every_state() {
    let state = state();
    let app = init_service(App::new().configure(routes(&state, ops::Listener::Public))).await;
    let status = async |path: &str| {
        call_service(&app, TestRequest::get().uri(path).to_request()).await.status().as_u16()
    };
    let is = async |name: &str, live: u16, ready: u16| {
        assert_eq!((status("/livez").await, status("/readyz").await), (live, ready), "{name}");
        // The probe of a proxy differs only while all sockets are in use.
        let probe = if state.lifecycle.sockets() == 0 { ready } else { 503 };
        assert_eq!(status("/-/ready").await, probe, "{name}");
    };
    let says = async |part: &str| {
        let body = call_and_read_body(&app, TestRequest::get().uri("/readyz").to_request()).await;
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains(part), "{part}: {body}");
    };
    is("start", 200, 503).await;
    says("starting").await;
    state.lifecycle.enter(Phase::Ready);
    is("serving", 200, 200).await;
    state.router.trip();
    let health = call_and_read_body(&app, TestRequest::get().uri("/health").to_request()).await;
    assert!(String::from_utf8(health.to_vec()).unwrap().contains("\"state\":\"open\""));
    is("breaker open", 200, 200).await;
    // A full gateway is ready: only the verbose form shows that it is full.
    state.dispatch_state.set_load(Load { running: 1, queued: 2 });
    let health: serde_json::Value =
        call_and_read_body_json(&app, TestRequest::get().uri("/health").to_request()).await;
    assert_eq!((&health["runs"], &health["queued"]), (&json!(1), &json!(2)), "state, not gauges");
    let permit = state.lifecycle.admit(None, false).unwrap();
    is("queue and sockets full", 200, 200).await;
    for path in ["/-/ready", "/-/ready?verbose"] {
        let body = call_and_read_body(&app, TestRequest::get().uri(path).to_request()).await;
        assert_eq!(body, "not ready\n", "strangers learn nothing more");
    }
    let verbose = TestRequest::get().uri("/readyz?verbose").to_request();
    let verbose: serde_json::Value = call_and_read_body_json(&app, verbose).await;
    let check = |name: &str, ok: bool, says: &str| json!({ "name": name, "ok": ok, "says": says });
    let checks = json!([
        check("phase", true, "ready"),
        check("dispatcher", true, "answers"),
        check("workers", true, "answer"),
        { "name": "sockets", "says": "1 of 1 sockets open" },
        { "name": "queue", "says": "2 of 2 places in the queue taken" },
        { "name": "models", "says": "no upstream for m" },
    ]);
    assert_eq!(verbose, json!({ "ready": true, "checks": checks }));
    drop(permit);
    let long_ago = Instant::now() - SILENCE_MAX - Duration::from_secs(1);
    state.dispatch_state.worker_answered(3, long_ago);
    is("a worker silent", 503, 503).await;
    says("worker 3 has not answered for 11 s").await;
    state.dispatch_state.worker_answered(3, Instant::now());
    is("it answers again", 200, 200).await;
    state.dispatch_state.dispatcher_answered(long_ago);
    is("dispatcher silent", 503, 503).await;
    says("the dispatcher has not answered for 11 s").await;
    state.dispatch_state.dispatcher_answered(Instant::now());
    is("it answers again", 200, 200).await;
    assert!(state.dispatcher.send(Die).await.is_err());
    is("dispatcher dead", 503, 503).await;
    says("the dispatcher is dead").await;
    let state = self::state();
    state.lifecycle.enter(Phase::Ready);
    state.lifecycle.enter(Phase::Draining);
    let app = init_service(App::new().configure(routes(&state, ops::Listener::Public))).await;
    for (path, expected) in [("/livez", 200), ("/readyz", 503), ("/-/ready", 503)] {
        let status = call_service(&app, TestRequest::get().uri(path).to_request()).await.status();
        assert_eq!(status, expected, "drain: {path}");
    }
}

#[actix::test]
async fn only_the_operators_listener_shows_the_host_of_the_upstream() {
    for (listener, host) in [(ops::Listener::Public, json!(null)), (ops::Listener::Ops, json!("u"))] {
        let app = init_service(App::new().configure(routes(&state(), listener))).await;
        let request = TestRequest::get().uri("/health").to_request();
        let health: serde_json::Value = call_and_read_body_json(&app, request).await;
        let upstream = &health["upstreams"][0];
        assert_eq!((&upstream["host"], &upstream["model"]), (&host, &json!("m")), "{listener:?}");
    }
}

/// Bodies are accepted by routes that read them.
// faults: K128
#[actix::test]
async fn a_route_that_reads_a_body_gets_it_in_any_framing() {
    let limiter = limiter(true);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let service = move || {
        let app = App::new().route("/", web::post().to(async |body: web::Bytes| body));
        let app = app.wrap(from_fn(request_check::check)).into_factory();
        let app = app.map_err(|error: actix_web::Error| error.error_response());
        connections(Arc::clone(&limiter), builder().h1(map_config(app, |()| AppConfig::default())))
    };
    let server = actix_server::Server::build().workers(1).disable_signals();
    let server = server.listen("bodies", listener, service).unwrap().run();
    let handle = server.handle();
    actix::spawn(server);
    let post = |headers: &str, body: &str| format!("POST / HTTP/1.1\r\nhost: a\r\n{headers}\r\n\r\n{body}");
    let length = post("content-length: 4", "fine");
    let chunked = post("transfer-encoding: chunked", "4\r\nfine\r\n0\r\n\r\n");
    let last = "GET /nowhere HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all([&*length, &length, &chunked, &length, last].concat().as_bytes()).await.unwrap();
    let mut text = String::new();
    timeout(Duration::from_secs(10), stream.read_to_string(&mut text)).await.unwrap().unwrap();
    assert_eq!((text.matches("HTTP/1.1 200 ").count(), text.matches("fine").count()), (4, 4), "{text}");
    assert_eq!(text.matches("HTTP/1.1 404 ").count(), 1, "{text}");
    handle.stop(false).await;
}
