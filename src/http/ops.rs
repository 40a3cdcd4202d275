//! Routes for operators and orchestrators: liveness, readiness, health, metrics.
use super::{AppState, methods};
use crate::{
    lifecycle::Phase,
    upstream::route::{Health, ModelHealth, ModelState, UpstreamHealth},
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, ContentType},
    web::{Data, Query, ServiceConfig},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

/// What the configuration says of an upstream.
#[derive(Clone, Debug)]
pub struct ShownUpstream {
    /// The row of the table of services.
    pub service: &'static str,
    /// Shown on the operator's listener only.
    pub host: String,
}

/// Which listener serves the operator's routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listener {
    /// Open to everyone: `/health` does not show the upstream's host.
    Public,
    Ops,
}

pub(super) fn configure(config: &mut ServiceConfig, listener: Listener) {
    config
        .service(methods::read_only("/livez", livez))
        .service(methods::read_only("/readyz", readyz))
        .service(methods::read_only("/health", move |state| health(state, listener)))
        .service(methods::read_only("/metrics", metrics));
}

/// For the proxy in front of the gateway; always on the public listener.
pub(super) fn configure_proxy_probe(config: &mut ServiceConfig) {
    config.service(methods::read_only("/-/ready", accepts_sockets));
}

/// Liveness: a failure means that only a restart helps.
async fn livez(state: Data<AppState>) -> HttpResponse {
    answer(&vital_checks(&state), false)
}

#[derive(Deserialize)]
struct ReadyQuery {
    verbose: Option<String>,
}

/// Readiness: whether new sockets are accepted.
async fn readyz(state: Data<AppState>, query: Query<ReadyQuery>) -> HttpResponse {
    let mut checks = ready_checks(&state);
    if query.verbose.is_some() {
        checks.extend(load(&state));
        checks.push(models_down(&state));
    }
    answer(&checks, query.verbose.is_some())
}

fn answer(checks: &[Check], verbose: bool) -> HttpResponse {
    let passed = passed(checks);
    let mut response = if passed { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    if verbose {
        return response.json(json!({ "ready": passed, "checks": checks }));
    }
    let failed = checks.iter().filter(|check| check.ok == Some(false));
    let reasons: Vec<_> = failed.map(|check| check.says.as_str()).collect();
    let text = if passed { "ok".to_owned() } else { reasons.join("; ") };
    response.content_type(ContentType::plaintext()).body(format!("{text}\n"))
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    /// `None` if informative only. A full process stays ready: otherwise its load would move to the others and fill them.
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<bool>,
    says: String,
}

impl Check {
    fn of(name: &'static str, fault: Option<String>, well: &str) -> Self {
        Check { name, ok: Some(fault.is_none()), says: fault.unwrap_or_else(|| well.to_owned()) }
    }
}

fn passed(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.ok != Some(false))
}

/// Conditions of liveness.
fn vital_checks(state: &AppState) -> Vec<Check> {
    let now = Instant::now();
    let dispatcher = if state.dispatcher.connected() {
        state.dispatch_state.dispatcher_fault(now).map(|fault| fault.to_string())
    } else {
        Some("the dispatcher is dead".to_owned())
    };
    let worker = state.dispatch_state.worker_fault(now).map(|fault| fault.to_string());
    vec![Check::of("dispatcher", dispatcher, "answers"), Check::of("workers", worker, "answer")]
}

/// Conditions of readiness.
fn ready_checks(state: &AppState) -> Vec<Check> {
    let phase = state.lifecycle.phase();
    let fault = (phase != Phase::Ready).then(|| phase.as_str().to_owned());
    let mut checks = vec![Check::of("phase", fault, phase.as_str())];
    checks.extend(vital_checks(state));
    checks
}

/// Models that no upstream can answer now. Informative: any upstream may recover at any moment, and sockets are welcome.
fn models_down(state: &AppState) -> Check {
    let models = state.router.health().models;
    let down = models.iter().filter(|model| model.state == ModelState::Down).map(|model| &*model.name);
    let down: Vec<_> = down.collect();
    let says = if down.is_empty() {
        "each has an upstream".to_owned()
    } else {
        format!("no upstream for {}", down.join(", "))
    };
    Check { name: "models", ok: None, says }
}

/// Informative checks of the load.
fn load(state: &AppState) -> [Check; 2] {
    let (sockets, sockets_max) = (state.lifecycle.sockets(), state.lifecycle.sockets_max());
    let (queued, queue) = (state.dispatch_state.load().queued, state.settings.queue);
    let says = |name, says| Check { name, ok: None, says };
    [
        says("sockets", format!("{sockets} of {sockets_max} sockets open")),
        says("queue", format!("{queued} of {queue} places in the queue taken")),
    ]
}

/// Whether a socket opened now would be accepted. Unlike `/readyz` this fails when all sockets are in use: a proxy should
/// then choose another gateway, but an orchestrator must not take this one out of service.
async fn accepts_sockets(state: Data<AppState>) -> HttpResponse {
    if passed(&ready_checks(&state)) && state.lifecycle.sockets() < state.lifecycle.sockets_max() {
        return HttpResponse::Ok().content_type(ContentType::plaintext()).body("ready\n");
    }
    HttpResponse::ServiceUnavailable().content_type(ContentType::plaintext()).body("not ready\n")
}

async fn health(state: Data<AppState>, listener: Listener) -> HttpResponse {
    let status = match state.lifecycle.phase() {
        Phase::Ready if passed(&vital_checks(&state)) => "ok",
        Phase::Ready => "failing",
        phase => phase.as_str(),
    };
    let Health { upstreams, models } = state.router.health();
    let upstreams = upstreams.iter().enumerate().map(|(number, upstream)| {
        let mut shown = upstream_health(upstream);
        if number == 0 {
            shown["model"] = state.settings.model.as_str().into();
        }
        if let Some(settings) = state.settings.upstreams.get(number) {
            shown["service"] = settings.service.into();
            if listener == Listener::Ops {
                shown["host"] = settings.host.as_str().into();
            }
        }
        shown
    });
    let load = state.dispatch_state.load();
    HttpResponse::Ok().json(json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": state.started.elapsed().as_secs(),
        "model": state.settings.model,
        "simulated": state.settings.simulated,
        "sockets": state.lifecycle.sockets(),
        "sockets_max": state.lifecycle.sockets_max(),
        "sessions": state.registry.len(),
        "runs": load.running,
        "queued": load.queued,
        "upstreams": upstreams.collect::<Vec<_>>(),
        "models": models.iter().map(model_health).collect::<Vec<_>>(),
    }))
}

fn upstream_health(upstream: &UpstreamHealth) -> serde_json::Value {
    let UpstreamHealth { name, state, running, runs_max, keys, first_token_p50, last_error } = upstream;
    let p50 = first_token_p50.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let last_error = last_error.map(|(kind, ago)| json!({ "kind": kind, "ago_s": ago.as_secs() }));
    json!({
        "name": **name,
        "state": state.as_str(),
        "running": running,
        "runs_max": runs_max,
        "keys": { "ok": keys.ok, "cooling": keys.cooling, "out": keys.out },
        "first_token_p50_ms": p50,
        "last_error": last_error,
    })
}

fn model_health(model: &ModelHealth) -> serde_json::Value {
    let targets = model.targets.iter().map(|target| {
        let free_in = target.free_in.map(|time| time.as_secs_f64().ceil() as u64);
        json!({ "upstream": *target.upstream, "state": target.state.as_str(), "free_in_s": free_in })
    });
    json!({
        "name": *model.name,
        "state": model.state.as_str(),
        "targets": targets.collect::<Vec<_>>(),
    })
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

async fn metrics(state: Data<AppState>, request: HttpRequest) -> HttpResponse {
    state.router.health(); // Sets the gauges of upstreams.
    let accept = request.headers().get_all(header::ACCEPT).filter_map(|value| value.to_str().ok());
    let (kind, text) = if prefers_openmetrics(accept) {
        (OPENMETRICS, state.metrics.openmetrics())
    } else {
        (PROMETHEUS_TEXT, state.metrics.text())
    };
    match text {
        Ok(text) => HttpResponse::Ok().content_type(kind).insert_header((header::VARY, "accept")).body(text),
        Err(_) => HttpResponse::InternalServerError().body("metrics could not be written\n"),
    }
}

/// Whether `Accept` contains OpenMetrics 1.0 and does not prefer Prometheus' text format (RFC 9110 §12.5.1). A client that
/// accepts anything gets the text format, which every tool reads.
fn prefers_openmetrics<'a>(accept: impl Iterator<Item = &'a str>) -> bool {
    let (mut openmetrics, mut text) = (0.0_f32, 0.0_f32);
    for range in accept.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut version) = (1.0_f32, "1.0.0");
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key.trim().to_ascii_lowercase().as_str() {
                "q" => quality = value.trim().parse().unwrap_or(0.0),
                "version" => version = value.trim().trim_matches('"'),
                _ => {}
            }
        }
        match name.as_str() {
            "application/openmetrics-text" if version == "1.0.0" => openmetrics = quality.max(openmetrics),
            "text/plain" | "text/*" => text = quality.max(text),
            _ => {}
        }
    }
    openmetrics > 0.0 && openmetrics >= text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_sent_only_on_request() {
        // Requests of Prometheus 2.42 and 3.5, then those of other tools and people.
        for (accept, expected) in [
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                true,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                true,
            ),
            ("application/openmetrics-text", true),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"; Q=0.1", true),
            ("text/plain;version=0.0.4", false),
            ("text/plain, application/openmetrics-text;q=0.9", false),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text;q=much", false),
            ("application/openmetrics-text;version=0.0.1", false),
            ("*/*", false),
            ("text/html,application/xhtml+xml,*/*;q=0.8", false),
            ("", false),
            (";;q=,,=", false),
        ] {
            assert_eq!(prefers_openmetrics([accept].into_iter()), expected, "{accept}");
        }
        assert!(prefers_openmetrics(["text/plain;q=0.1", "application/openmetrics-text"].into_iter()));
        assert!(!prefers_openmetrics(std::iter::empty()));
    }
}
