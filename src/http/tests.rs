//! What orchestrators are told in every state of the process.
use super::*;
use crate::{dispatch::admission, metrics::Metrics, upstream::breaker, ws::Phase};
use actix::prelude::*;
use actix_web::test::{TestRequest, call_and_read_body, call_service, init_service};

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
        trusted_proxies: Vec::new(),
        model: "m".into(),
        upstream: "u".into(),
        simulated: false,
        queue: 2,
        separate_ops: false,
        limits: api::Limits::default(),
        features: api::Features::default(),
        page: api::Page::default(),
    }
}

fn site() -> Arc<Site> {
    let second = Duration::from_secs(1);
    let metrics = Arc::new(Metrics::default());
    let breaker = breaker::Settings { failures: 1, share: 100, window: second, pause: 60 * second };
    let breaker = Arc::new(Breaker::new(breaker, Arc::clone(&metrics)));
    let admission = admission::Settings { runs: 1, queue: 2, queue_wait: second };
    Arc::new(Site {
        settings: settings(),
        life: Arc::new(Life::new(1, 0)),
        registry: Arc::new(ws::Registry::new(ws::Caps::default())),
        dispatcher: Dispatcher::new(admission, 0, Arc::clone(&breaker), Arc::clone(&metrics)).start(),
        metrics,
        breaker,
        started: Instant::now(),
    })
}

// faults: G107, C45
#[actix::test]
async fn liveness_and_readiness_in_every_state() {
    let site = site();
    let app = init_service(
        App::new().app_data(web::Data::from(Arc::clone(&site))).configure(super::ops::configure),
    )
    .await;
    let status = async |path: &str| {
        call_service(&app, TestRequest::get().uri(path).to_request()).await.status().as_u16()
    };
    let is = async |state: &str, live: u16, ready: u16| {
        assert_eq!((status("/livez").await, status("/readyz").await), (live, ready), "{state}");
    };
    let says = async |part: &str| {
        let body = call_and_read_body(&app, TestRequest::get().uri("/readyz").to_request()).await;
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains(part), "{part}: {body}");
    };
    is("start", 200, 503).await;
    says("starting").await;
    site.life.enter(Phase::Ready);
    is("serving", 200, 200).await;
    site.breaker.trip();
    let health = call_and_read_body(&app, TestRequest::get().uri("/health").to_request()).await;
    assert!(String::from_utf8(health.to_vec()).unwrap().contains("\"state\":\"open\""));
    is("breaker open", 200, 200).await;
    site.metrics.runs_queued.set(2);
    is("queue full", 200, 503).await;
    says("2 of 2 places").await;
    site.metrics.runs_queued.set(0);
    let seat = site.life.take_seat(None).unwrap();
    is("no seat left", 200, 503).await;
    says("1 of 1 sockets").await;
    drop(seat);
    is("room again", 200, 200).await;
    assert!(site.dispatcher.send(Die).await.is_err());
    is("dispatcher dead", 503, 503).await;
    says("dispatcher does not answer").await;
    let site = self::site();
    site.life.enter(Phase::Ready);
    site.life.enter(Phase::Draining);
    let app = init_service(
        App::new().app_data(web::Data::from(Arc::clone(&site))).configure(super::ops::configure),
    )
    .await;
    for (path, expected) in [("/livez", 200), ("/readyz", 503)] {
        let status = call_service(&app, TestRequest::get().uri(path).to_request()).await.status();
        assert_eq!(status, expected, "drain: {path}");
    }
}
