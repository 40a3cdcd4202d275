//! The HTTP half of the simulator: routes, key check, and responses as planned.
//!
//! Source of paths and headers: the vendors' API references.
use super::{
    Shared,
    body::{Bomb, Broken, Stream},
    script::{
        self, Dialect, Endpoint, Fixed, Format, Head, Kind, MODELS, Plan, RandomInputs, ServiceError,
        Situation, Spell,
    },
    stats::{ActiveRequest, Attempt, BODY_MAX, Outcome, Recorded},
    wire::Wire,
};
use crate::{clock, units::nanos};
use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    web,
};
use secrecy::ExposeSecret as _;
use std::{
    sync::PoisonError,
    time::{Duration, SystemTime},
};

/// Maximum size of a request body, in bytes; a larger one gets `BadRequest.TooLarge`.
const REQUEST_MAX: usize = 16 << 20;

/// Adds the paths of both dialects, under any prefix, and a 404 for every other path.
pub(super) fn routes(app: &mut web::ServiceConfig, spell: &'static Spell) {
    let text = "/{prefix:.*}api/v1/services/aigc/text-generation/generation";
    let multimodal = "/{prefix:.*}api/v1/services/aigc/multimodal-generation/generation";
    let dashscope = |endpoint| Dialect::DashScope { endpoint, format: Format::Message };
    let chat = Dialect::Chat { include_usage: false, spell };
    for (path, dialect) in [
        (text, dashscope(Endpoint::Text)),
        (multimodal, dashscope(Endpoint::Multimodal)),
        ("/{prefix:.*}chat/completions", chat),
    ] {
        app.service(web::resource(path).route(
            web::post().to(move |shared, request, payload| generate(shared, request, payload, dialect)),
        ));
    }
    app.service(web::resource("/{prefix:.*}models").route(web::get().to(models)))
        .service(web::resource("/health").route(web::get().to(health)))
        .service(web::resource("/api/version").route(web::get().to(health)))
        .service(web::resource("/sim/attempts").route(web::get().to(attempts)))
        .default_service(web::to(move |request: HttpRequest| async move {
            let dialect = if request.path().contains("/api/v1/") { dashscope(Endpoint::Text) } else { chat };
            fixed(Fixed::error(&dialect, &ServiceError::of(Kind::Path), &uuid()), &[])
        }));
}

/// The list of models, for those who have a key.
async fn models(shared: web::Data<Shared>, request: HttpRequest) -> HttpResponse {
    let spell = shared.spell;
    let key_optional = spell.key_optional();
    match check_loaded(&shared).and_then(|()| check_key(&shared, key_of(request.headers()), key_optional)) {
        Ok(()) => {
            let names = shared.models.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let names = names.unwrap_or_else(|| MODELS.map(str::to_owned).to_vec());
            fixed(Fixed::json(script::model_list(spell, &names, unix_seconds())), &[])
        }
        Err(error) => refuse(&shared, &error),
    }
}

/// Whether the model is loaded, without a key.
async fn health(shared: web::Data<Shared>) -> HttpResponse {
    match check_loaded(&shared) {
        Ok(()) => fixed(Fixed::json(r#"{"status":"ok","version":"0.0.0"}"#), &[]),
        Err(error) => refuse(&shared, &error),
    }
}

/// The last attempts, for tests and operators.
async fn attempts(shared: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok().json(shared.stats.attempts())
}

fn refuse(shared: &Shared, error: &ServiceError) -> HttpResponse {
    fixed(Fixed::error(&Dialect::Chat { include_usage: false, spell: shared.spell }, error, ""), &[])
}

/// For a time after the start, every path says that the model is being loaded.
fn check_loaded(shared: &Shared) -> Result<(), ServiceError> {
    let is_loading = clock::now_ns() - shared.started_ns < nanos(shared.loads_for);
    if is_loading { Err(ServiceError::of(Kind::Loading)) } else { Ok(()) }
}

async fn generate(
    shared: web::Data<Shared>,
    request: HttpRequest,
    payload: web::Payload,
    dialect: Dialect,
) -> HttpResponse {
    let mut live = ActiveRequest::new(&shared.stats);
    let random = RandomInputs { request_id: uuid(), phase: fastrand::f64(), created: unix_seconds() };
    let mut attempt = Attempt {
        at_ms: clock::now_ns() / 1_000_000,
        upstream: shared.name.clone(),
        model: String::new(),
        key: script::mark(key_of(request.headers())),
        status: 0,
    };
    match plan(&shared, &request, payload, dialect, &random, &mut attempt.model).await {
        Ok(plan) => {
            attempt.status = plan.head.status();
            shared.stats.attempt(attempt);
            respond(plan, Wire::of(&request), live).await
        }
        Err(error) => {
            let answer = Fixed::error(&dialect, &error, &random.request_id);
            attempt.status = answer.status;
            shared.stats.attempt(attempt);
            live.end(Outcome::Completed);
            let mut headers = vec![("x-request-id".to_owned(), random.request_id.clone())];
            headers.extend(error.retry_after.map(|seconds| ("retry-after".to_owned(), seconds.to_string())));
            fixed(answer, &headers)
        }
    }
}

/// Everything before the first byte of the response: body, key, checks, script. Sets the model that was asked for.
async fn plan(
    shared: &Shared,
    request: &HttpRequest,
    payload: web::Payload,
    dialect: Dialect,
    random: &RandomInputs,
    model: &mut String,
) -> Result<Plan, ServiceError> {
    let body = match payload.to_bytes_limited(REQUEST_MAX).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            return Err(ServiceError::parameter(
                "Required body invalid, please check the request body format.",
            ));
        }
        Err(_) => return Err(ServiceError::of(Kind::TooLarge)),
    };
    shared.stats.record(Recorded {
        path: request.path().to_owned(),
        headers: recorded_headers(request.headers()),
        body: String::from_utf8_lossy(&body[..body.len().min(BODY_MAX)]).into_owned(),
    });
    check_loaded(shared)?;
    let key = key_of(request.headers());
    let key_optional = matches!(dialect, Dialect::Chat { spell, .. } if spell.key_optional());
    check_key(shared, key, key_optional)?;
    let asked = match dialect {
        Dialect::DashScope { endpoint, .. } => {
            script::parse_dashscope(&body, endpoint, wants_stream(request.headers()))?
        }
        Dialect::Chat { spell, .. } => script::parse_chat(&body, spell)?,
    };
    model.clone_from(&asked.model);
    check_offered(shared, &asked.model)?;
    script::check_rights(key, &asked.model)?;
    let running = shared.stats.open_streams();
    if shared.runs_max > 0 && running > shared.runs_max {
        return Err(ServiceError::of(Kind::Full));
    }
    let situation = Situation { place: &shared.name, now: Duration::from_nanos(clock::now_ns()), running };
    let script = {
        let mut times = shared.times.lock().unwrap_or_else(PoisonError::into_inner);
        script::choose(&asked, situation, &mut times)?
    };
    script::plan(&asked, &script, shared.pacing, random)
}

/// Where a list was set, there is no other model.
fn check_offered(shared: &Shared, model: &str) -> Result<(), ServiceError> {
    let models = shared.models.lock().unwrap_or_else(PoisonError::into_inner);
    let is_offered = models.as_ref().is_none_or(|models| models.iter().any(|offered| offered == model));
    if is_offered { Ok(()) } else { Err(ServiceError::of(Kind::Model)) }
}

/// The key in one of the headers that services read.
fn key_of(headers: &HeaderMap) -> &str {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let bearer = text("authorization").strip_prefix("Bearer ").unwrap_or_default().trim();
    if bearer.is_empty() { text("api-key").trim() } else { bearer }
}

fn check_key(shared: &Shared, key: &str, is_optional: bool) -> Result<(), ServiceError> {
    match &shared.api_key {
        Some(wanted) if key == wanted.expose_secret() => Ok(()),
        Some(_) => Err(ServiceError::of(Kind::Key)),
        None => script::check_key(key, is_optional),
    }
}

/// DashScope's streams are requested by header only.
fn wants_stream(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text("x-dashscope-sse").trim().eq_ignore_ascii_case("enable")
        || text("accept").contains("text/event-stream")
}

fn recorded_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            let secret = *name == header::AUTHORIZATION || name.as_str() == "api-key";
            let value = if secret { "(hidden)".into() } else { String::from_utf8_lossy(value.as_bytes()) };
            (name.as_str().to_owned(), value.into_owned())
        })
        .collect()
}

async fn respond(plan: Plan, wire: Option<Wire>, mut live: ActiveRequest) -> HttpResponse {
    if !plan.wait.is_zero() {
        tokio::time::sleep(plan.wait).await;
    }
    if let Some(wire) = &wire {
        wire.set_nagle(plan.nagle);
    }
    if let Some(wire) = &wire
        && plan.early_hints > 0
    {
        let hint = "HTTP/1.1 103 Early Hints\r\nlink: </nowhere>; rel=preload\r\n\r\n";
        // The HTTP library notices a client that has gone.
        let _ = wire.write(hint.repeat(plan.early_hints as usize).as_bytes()).await;
    }
    match plan.head {
        Head::Never => std::future::pending().await,
        Head::Reset => {
            if let Some(wire) = wire {
                wire.reset_on_close();
            }
            live.end(Outcome::Broken);
            HttpResponse::Ok().body(Broken)
        }
        Head::Raw(bytes) => {
            if let Some(wire) = wire {
                let _ = wire.write(&bytes).await;
                live.end(Outcome::Broken);
                wire.close();
            }
            // The connection is closed; the returned response is never sent.
            HttpResponse::InternalServerError().finish()
        }
        Head::Fixed(ready) => {
            live.end(Outcome::Completed);
            close_later(plan.close_idle, wire);
            fixed(ready, &plan.headers)
        }
        Head::Stream { content_type, player } => {
            let mut response = HttpResponse::Ok();
            if let Some(content_type) = content_type {
                response.insert_header((header::CONTENT_TYPE, content_type));
            }
            if plan.gzip || plan.bomb_mib > 0 {
                response.insert_header((header::CONTENT_ENCODING, "gzip"));
            }
            let mut response = if plan.bomb_mib > 0 {
                response.body(Bomb::new(plan.bomb_mib, live))
            } else {
                let stream = Stream::new(player, plan.gzip, wire, live);
                response.body(stream.close_idle(plan.close_idle).promise(plan.promised))
            };
            add(&mut response, &plan.headers);
            response
        }
    }
}

fn close_later(after: Option<Duration>, wire: Option<Wire>) {
    if let (Some(after), Some(wire)) = (after, wire) {
        actix_web::rt::spawn(async move {
            tokio::time::sleep(after).await;
            wire.close();
        });
    }
}

fn fixed(ready: Fixed, headers: &[(String, String)]) -> HttpResponse {
    let status = StatusCode::from_u16(ready.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    if let Some(content_type) = ready.content_type {
        response.insert_header((header::CONTENT_TYPE, content_type));
    }
    if let Some(location) = ready.location {
        response.insert_header((header::LOCATION, location));
    }
    let mut response = response.body(ready.body);
    add(&mut response, headers);
    response
}

/// Adds headers unchanged; those that are invalid in HTTP are left out.
fn add(response: &mut HttpResponse, headers: &[(String, String)]) {
    response.headers_mut().insert(header::SERVER, HeaderValue::from_static("istio-envoy"));
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_str(value)) {
            response.headers_mut().append(name, value);
        }
    }
}

/// A random request id in the usual form (UUID version 4).
fn uuid() -> String {
    let bits = fastrand::u128(..) & !(0xf << 76) | (0x4 << 76);
    let bits = bits & !(0b11 << 62) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Seconds since 1970; 0 before.
#[expect(clippy::disallowed_methods, reason = "a field of the wire format")]
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
