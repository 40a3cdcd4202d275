//! For operators and orchestrators: alive, ready, health, metrics; and the list of models.
use super::{AppState, methods};
use crate::lifecycle::Phase;
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, ContentType},
    web::{Data, Query, ServiceConfig},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

/// Which listener serves the operator's routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listener {
    /// Open to strangers: `/health` does not name the upstream's host.
    Public,
    Ops,
}

pub(super) fn configure(config: &mut ServiceConfig, listener: Listener) {
    config
        .service(methods::read_only("/livez", livez))
        .service(methods::read_only("/readyz", readyz))
        .service(methods::read_only("/health", move |site| health(site, listener)))
        .service(methods::read_only("/metrics", metrics));
}

/// For the proxy in front, so on the public listener wherever the operator's routes are.
pub(super) fn configure_proxy_probe(config: &mut ServiceConfig) {
    config.service(methods::read_only("/-/ready", accepts_sockets));
}

pub(super) fn configure_models(config: &mut ServiceConfig) {
    config.service(methods::read_only("/v1/models", models));
}

/// Whether the process should go on: red means that only a restart helps.
async fn livez(site: Data<AppState>) -> HttpResponse {
    answer(&vital_checks(&site), false)
}

#[derive(Deserialize)]
struct ReadyQuery {
    verbose: Option<String>,
}

/// Whether new sockets are welcome.
async fn readyz(site: Data<AppState>, query: Query<ReadyQuery>) -> HttpResponse {
    let mut checks = ready_checks(&site);
    if query.verbose.is_some() {
        checks.extend(load(&site));
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
    /// Nothing where it only informs: a full process is no reason to send its load to the others, which
    /// would then be full too.
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

/// Conditions of being alive.
fn vital_checks(site: &AppState) -> Vec<Check> {
    let now = Instant::now();
    let dispatcher = if site.dispatcher.connected() {
        site.dispatch_state.dispatcher_fault(now).map(|fault| fault.to_string())
    } else {
        Some("the dispatcher is dead".to_owned())
    };
    let worker = site.dispatch_state.worker_fault(now).map(|fault| fault.to_string());
    vec![Check::of("dispatcher", dispatcher, "answers"), Check::of("workers", worker, "answer")]
}

/// Conditions of being ready.
fn ready_checks(site: &AppState) -> Vec<Check> {
    let phase = site.lifecycle.phase();
    let fault = (phase != Phase::Ready).then(|| phase.as_str().to_owned());
    let mut checks = vec![Check::of("phase", fault, phase.as_str())];
    checks.extend(vital_checks(site));
    checks
}

/// How full it is.
fn load(site: &AppState) -> [Check; 2] {
    let (sockets, sockets_max) = (site.lifecycle.sockets(), site.lifecycle.sockets_max());
    let (queued, queue) = (site.dispatch_state.load().queued, site.settings.queue);
    let says = |name, says| Check { name, ok: None, says };
    [
        says("sockets", format!("{sockets} of {sockets_max} sockets open")),
        says("queue", format!("{queued} of {queue} places in the queue taken")),
    ]
}

/// Whether a socket opened now would be accepted. A full gateway is as good as none to a proxy that
/// has others to ask; an orchestrator must not take it out of service for that (`/readyz`).
async fn accepts_sockets(site: Data<AppState>) -> HttpResponse {
    if passed(&ready_checks(&site)) && site.lifecycle.sockets() < site.lifecycle.sockets_max() {
        return HttpResponse::Ok().content_type(ContentType::plaintext()).body("ready\n");
    }
    HttpResponse::ServiceUnavailable().content_type(ContentType::plaintext()).body("not ready\n")
}

async fn health(site: Data<AppState>, listener: Listener) -> HttpResponse {
    let status = match site.lifecycle.phase() {
        Phase::Ready if passed(&vital_checks(&site)) => "ok",
        Phase::Ready => "failing",
        phase => phase.as_str(),
    };
    let mut upstream = json!({
        "name": "default",
        "model": site.settings.model,
        "state": site.router.state().as_str(),
    });
    if listener == Listener::Ops {
        upstream["host"] = site.settings.upstream.as_str().into();
    }
    let load = site.dispatch_state.load();
    HttpResponse::Ok().json(json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": site.started.elapsed().as_secs(),
        "model": site.settings.model,
        "simulated": site.settings.simulated,
        "sockets": site.lifecycle.sockets(),
        "sockets_max": site.lifecycle.sockets_max(),
        "sessions": site.registry.len(),
        "runs": load.running,
        "queued": load.queued,
        "upstreams": [upstream],
    }))
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

async fn metrics(site: Data<AppState>, request: HttpRequest) -> HttpResponse {
    let accept = request.headers().get_all(header::ACCEPT).filter_map(|value| value.to_str().ok());
    let (kind, text) = if prefers_openmetrics(accept) {
        (OPENMETRICS, site.metrics.openmetrics())
    } else {
        (PROMETHEUS_TEXT, site.metrics.text())
    };
    match text {
        Ok(text) => HttpResponse::Ok().content_type(kind).insert_header((header::VARY, "accept")).body(text),
        Err(_) => HttpResponse::InternalServerError().body("metrics could not be written\n"),
    }
}

/// Whether `Accept` names OpenMetrics 1.0, and Prometheus' text no more than it (RFC 9110 §12.5.1).
/// A client that accepts anything gets the text, which every tool reads.
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

/// As `GET /v1/models` of the OpenAI API.
async fn models(site: Data<AppState>) -> HttpResponse {
    let owner = if site.settings.simulated { "tidegate-simulator" } else { "dashscope" };
    HttpResponse::Ok().json(json!({
        "object": "list",
        "data": [{ "id": site.settings.model, "object": "model", "created": 0, "owned_by": owner }],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        // Prometheus 2.42 and 3.5 as they ask, then what people and other tools send.
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
