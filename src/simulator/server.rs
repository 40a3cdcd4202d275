//! The HTTP half of the simulator: routes, key check, and responses as planned.
//!
//! Source of paths and headers: the vendors' API references.
use super::{
    Shared,
    body::{Bomb, Stream},
    script::{
        self, Dialect, Endpoint, Fixed, Format, Head, Kind, MODELS, Plan, RandomInputs, Script, ServiceError,
        Spell,
    },
    stats::{ActiveRequest, BODY_MAX, Outcome, Recorded},
    wire::Wire,
};
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
    app.service(web::resource("/{prefix:.*}models").route(web::get().to(models))).default_service(web::to(
        move |request: HttpRequest| async move {
            let dialect = if request.path().contains("/api/v1/") { dashscope(Endpoint::Text) } else { chat };
            fixed(Fixed::error(&dialect, &ServiceError::of(Kind::Path), &uuid()), &[])
        },
    ));
}

/// The list of models, for those who have a key.
async fn models(shared: web::Data<Shared>, request: HttpRequest) -> HttpResponse {
    let spell = shared.spell;
    match check_key(&shared, request.headers(), spell.key_optional()) {
        Ok(()) => {
            let names = MODELS.map(str::to_owned);
            fixed(Fixed::json(script::model_list(spell, &names, unix_seconds())), &[])
        }
        Err(error) => fixed(Fixed::error(&Dialect::Chat { include_usage: false, spell }, &error, ""), &[]),
    }
}

async fn generate(
    shared: web::Data<Shared>,
    request: HttpRequest,
    payload: web::Payload,
    dialect: Dialect,
) -> HttpResponse {
    let mut live = ActiveRequest::new(&shared.stats);
    let random = RandomInputs { request_id: uuid(), phase: fastrand::f64(), created: unix_seconds() };
    match plan(&shared, &request, payload, dialect, &random).await {
        Ok(plan) => respond(plan, Wire::of(&request), live).await,
        Err(error) => {
            live.end(Outcome::Completed);
            let headers = [("x-request-id".to_owned(), random.request_id.clone())];
            fixed(Fixed::error(&dialect, &error, &random.request_id), &headers)
        }
    }
}

/// Everything before the first byte of the response: body, key, checks, script.
async fn plan(
    shared: &Shared,
    request: &HttpRequest,
    payload: web::Payload,
    dialect: Dialect,
    random: &RandomInputs,
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
    let key_optional = matches!(dialect, Dialect::Chat { spell, .. } if spell.key_optional());
    check_key(shared, request.headers(), key_optional)?;
    let asked = match dialect {
        Dialect::DashScope { endpoint, .. } => {
            script::parse_dashscope(&body, endpoint, wants_stream(request.headers()))?
        }
        Dialect::Chat { spell, .. } => script::parse_chat(&body, spell)?,
    };
    let message = asked.last_user_text();
    let script = if Script::is_script(message) { Some(read_script(shared, message)?) } else { None };
    script::plan(&asked, script, shared.pacing, random)
}

/// Parses the switches; once their faults are used up, the remaining answer is a good one.
fn read_script(shared: &Shared, message: &str) -> Result<Script, ServiceError> {
    let script = Script::parse(message).map_err(ServiceError::parameter)?;
    let Some(times) = script.times else { return Ok(script) };
    let faulty = shared.times.lock().unwrap_or_else(PoisonError::into_inner).is_faulty(message, times);
    if faulty { Ok(script) } else { Script::parse_healthy(message).map_err(ServiceError::parameter) }
}

/// The key in one of the headers that services read.
fn key_of(headers: &HeaderMap) -> &str {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let bearer = text("authorization").strip_prefix("Bearer ").unwrap_or_default().trim();
    if bearer.is_empty() { text("api-key").trim() } else { bearer }
}

fn check_key(shared: &Shared, headers: &HeaderMap, key_optional: bool) -> Result<(), ServiceError> {
    let key = key_of(headers);
    let is_right = match &shared.api_key {
        Some(wanted) => key == wanted.expose_secret(),
        None => (key_optional || !key.is_empty()) && !key.starts_with("sk-invalid"),
    };
    if is_right { Ok(()) } else { Err(ServiceError::of(Kind::Key)) }
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
