//! For operators and orchestrators: alive, ready, health, metrics; and the list of models.
use super::Site;
use crate::{dispatch::Alive, ws::Phase};
use actix_web::{
    HttpResponse,
    http::header::ContentType,
    web::{self, Data, Query, ServiceConfig},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

/// The dispatcher has this long to answer.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .route("/livez", web::get().to(livez))
        .route("/readyz", web::get().to(readyz))
        .route("/health", web::get().to(health))
        .route("/metrics", web::get().to(metrics));
}

pub(super) fn configure_models(config: &mut ServiceConfig) {
    config.route("/v1/models", web::get().to(models));
}

/// Whether the dispatcher and the lanes answer.
pub async fn is_alive(site: &Site) -> bool {
    let answer = tokio::time::timeout(ALIVE_TIMEOUT, site.dispatcher.send(Alive)).await;
    matches!(answer, Ok(Ok(true)))
}

async fn livez(site: Data<Site>) -> HttpResponse {
    if is_alive(&site).await {
        HttpResponse::Ok().body("ok\n")
    } else {
        HttpResponse::ServiceUnavailable().body("the dispatcher does not answer\n")
    }
}

#[derive(Deserialize)]
struct ReadyQuery {
    verbose: Option<String>,
}

/// One condition of being ready.
#[derive(Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    #[serde(rename = "says")]
    says: String,
}

async fn readyz(site: Data<Site>, query: Query<ReadyQuery>) -> HttpResponse {
    let checks = checks(&site).await;
    let ready = checks.iter().all(|check| check.ok);
    let mut response = if ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    if query.verbose.is_some() {
        return response.json(json!({ "ready": ready, "checks": checks }));
    }
    let reasons: Vec<_> = checks.iter().filter(|check| !check.ok).map(|check| check.says.as_str()).collect();
    let text = if ready { "ok".to_owned() } else { reasons.join("; ") };
    response.content_type(ContentType::plaintext()).body(format!("{text}\n"))
}

async fn checks(site: &Site) -> Vec<Check> {
    let phase = site.life.phase();
    let (sockets, sockets_max) = (site.life.sockets(), site.life.sockets_max());
    let (queued, queue) = (site.metrics.runs_queued.get(), site.settings.queue);
    let alive = is_alive(site).await;
    vec![
        Check { name: "phase", ok: phase == Phase::Ready, says: phase.as_str().to_owned() },
        Check {
            name: "dispatcher",
            ok: alive,
            says: if alive { "answers" } else { "dispatcher does not answer" }.to_owned(),
        },
        Check {
            name: "sockets",
            ok: sockets < sockets_max,
            says: format!("{sockets} of {sockets_max} sockets open"),
        },
        Check {
            name: "queue",
            ok: queue == 0 || queued < queue as i64,
            says: format!("{queued} of {queue} places in the queue taken"),
        },
    ]
}

async fn health(site: Data<Site>) -> HttpResponse {
    let ready = checks(&site).await.iter().all(|check| check.ok);
    let metrics = &site.metrics;
    HttpResponse::Ok().json(json!({
        "status": if ready { "ok" } else { site.life.phase().as_str() },
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": site.started.elapsed().as_secs(),
        "model": site.settings.model,
        "simulated": site.settings.simulated,
        "sockets": site.life.sockets(),
        "sockets_max": site.life.sockets_max(),
        "sessions": site.registry.len(),
        "runs": metrics.runs.get(),
        "queued": metrics.runs_queued.get(),
        "upstreams": [{
            "name": "default",
            "host": site.settings.upstream,
            "model": site.settings.model,
            "state": site.breaker.state().as_str(),
        }],
    }))
}

async fn metrics(site: Data<Site>) -> HttpResponse {
    match site.metrics.text() {
        Ok(text) => HttpResponse::Ok()
            .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
            .body(text),
        Err(_) => HttpResponse::InternalServerError().body("metrics could not be written\n"),
    }
}

/// As `GET /v1/models` of the OpenAI API.
async fn models(site: Data<Site>) -> HttpResponse {
    let owner = if site.settings.simulated { "tidegate-simulator" } else { "dashscope" };
    HttpResponse::Ok().json(json!({
        "object": "list",
        "data": [{ "id": site.settings.model, "object": "model", "created": 0, "owned_by": owner }],
    }))
}
