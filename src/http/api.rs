//! What a page reads beside its socket: how this gateway is set up, and a chat whose copy it lost.
use super::{Site, origin, principal};
use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
    web::{self, Data, ServiceConfig},
};
use serde::Serialize;
use serde_json::json;

pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(web::resource("/api/config").route(web::get().to(page_config)).route(web::to(wrong_method)));
}

/// The bounds that a page should know before it meets them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Limits {
    pub message_bytes: usize,
    pub transcript_bytes: usize,
    pub requests: usize,
    pub readers: usize,
    pub queued_messages: usize,
    pub frames_per_second: u32,
    pub frames_burst: u32,
    pub linger_ms: u64,
    pub idle_ms: u64,
    pub retain_ms: u64,
    pub silence_ms: u64,
}

/// What a page may offer to its user.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Features {
    pub stop: bool,
    pub resume: bool,
    pub regenerate: bool,
    pub edit: bool,
    /// Messages may wait behind an answer.
    pub queue: bool,
    /// The model's thinking may be shown.
    pub reasoning: bool,
    pub client_system_prompt: bool,
}

async fn page_config(request: HttpRequest, site: Data<Site>) -> HttpResponse {
    let settings = &site.settings;
    if !origin::of_request_is_allowed(&request, settings) {
        return foreign();
    }
    let Ok((_, cookie)) = principal::of(&request, settings) else {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "the system has no randomness; try again");
    };
    let mut response = ours(StatusCode::OK);
    if let Some(cookie) = cookie {
        response.insert_header((header::SET_COOKIE, cookie));
    }
    response.json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "simulated": settings.simulated,
        "models": [{ "id": settings.model }],
        "limits": settings.limits,
        "features": settings.features,
        "routes": {
            "chat": "/api/chat",
            "transcript": "/api/chats/{id}",
            "plain": "/chat",
            "models": "/v1/models",
        },
    }))
}

/// An answer that is one browser's own: nobody keeps it, and no page of another origin is given it.
fn ours(status: StatusCode) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header(("Cross-Origin-Resource-Policy", "same-origin"));
    response
}

fn plain(status: StatusCode, text: &'static str) -> HttpResponse {
    ours(status).content_type("text/plain; charset=utf-8").body(format!("{text}\n"))
}

fn foreign() -> HttpResponse {
    plain(StatusCode::FORBIDDEN, "pages of this origin may not read this")
}

async fn wrong_method() -> HttpResponse {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is allowed");
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET"));
    response
}
