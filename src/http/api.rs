//! HTTP endpoints for pages: the configuration of the gateway, and the transcript of a chat.
mod models;

use super::{AppState, auth, auth::NotAdmitted, methods, page};
use crate::{
    access::Denied,
    chat::{ChatId, ChatKey, ChatMessage, Ending},
    lifecycle::Phase,
    session::Transcript,
};
use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
    web::{self, Data, Path, ServiceConfig},
};
use serde::Serialize;
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;

/// Longest wait for a session's transcript; then the response is 503.
const TRANSCRIPT_TIMEOUT: Duration = Duration::from_secs(2);
/// `Retry-After` of temporary errors, in seconds.
const RETRY_AFTER: &str = "5";

pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(methods::read_only("/api/config", page_config).default_service(web::to(wrong_method)))
        .service(methods::read_only("/api/chats/{id}", chat).default_service(web::to(wrong_method)))
        .service(methods::read_only("/v1/models", models::list).default_service(web::to(wrong_method)));
}

/// The limits that a page should respect.
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

/// The functions that a page may offer.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Features {
    pub stop: bool,
    pub resume: bool,
    pub regenerate: bool,
    pub edit: bool,
    /// Messages can be sent while an answer is being written.
    pub queue: bool,
    /// The model's reasoning is sent.
    pub reasoning: bool,
    pub client_system_prompt: bool,
}

/// Texts of the operator for the page, as plain text. Empty ones are omitted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Page {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub notice: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<PageLink>,
}

#[derive(Clone, Debug, Serialize)]
pub struct PageLink {
    pub label: String,
    /// `http:`, `https:` or `mailto:`.
    pub url: String,
}

#[derive(Serialize)]
struct BuiltPage<'a> {
    build: &'static str,
    #[serde(flatten)]
    texts: &'a Page,
}

async fn page_config(request: HttpRequest, state: Data<AppState>) -> HttpResponse {
    let settings = &state.settings;
    let caller = match auth::caller(&request, settings) {
        Ok(caller) => caller,
        Err(why) => return ApiError::from(why).response(),
    };
    // The page is about to open a socket, which a draining gateway rejects; with the error a proxy tries another one.
    if state.lifecycle.phase() >= Phase::Draining {
        return ApiError::Draining.response();
    }
    let mut response = private_response(StatusCode::OK);
    for cookie in caller.set_cookies() {
        response.append_header((header::SET_COOKIE, cookie));
    }
    response.json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "page": BuiltPage { build: page::BUILD_ID, texts: &settings.page },
        "simulated": settings.simulated,
        "models": models::for_page(&state.models.now(), &state.router.health().models),
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

/// The transcript of a chat. For a chat of another principal the response is that for a chat that does not exist.
async fn chat(request: HttpRequest, state: Data<AppState>, id: Path<String>) -> HttpResponse {
    match transcript(&request, &state, &id).await {
        Ok((chat, transcript)) => {
            private_response(StatusCode::OK).json(Conversation::new(&chat, &transcript))
        }
        Err(error) => error.response(),
    }
}

async fn transcript(
    request: &HttpRequest,
    state: &AppState,
    id: &str,
) -> Result<(ChatId, Transcript), ApiError> {
    let caller = auth::caller(request, &state.settings)?;
    let chat = ChatId::new(id).map_err(|_| ApiError::BadId)?;
    let key = ChatKey { principal: caller.pass.principal(), chat };
    let session = state.registry.chat(&key).ok_or(ApiError::UnknownChat)?;
    match timeout(TRANSCRIPT_TIMEOUT, session.transcript()).await {
        Ok(Some(transcript)) => Ok((key.chat, transcript)),
        // The session has just ended.
        Ok(None) => Err(ApiError::UnknownChat),
        Err(_) => Err(ApiError::Unavailable),
    }
}

/// A chat in the format of the AI SDK's pages.
#[derive(Serialize)]
struct Conversation<'a> {
    id: &'a str,
    messages: Vec<UiMessage<'a>>,
}

#[derive(Serialize)]
struct UiMessage<'a> {
    id: &'a str,
    role: &'static str,
    parts: [TextPart<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata<'a>>,
}

#[derive(Serialize)]
struct TextPart<'a> {
    r#type: &'static str,
    text: &'a str,
    state: &'static str,
}

#[derive(Serialize)]
struct Metadata<'a> {
    /// The model that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
}

impl<'a> Metadata<'a> {
    fn of(message: &'a ChatMessage) -> Option<Self> {
        let (model, incomplete) = (message.model.as_deref(), message.ending == Ending::Incomplete);
        (model.is_some() || incomplete).then_some(Metadata { model, incomplete })
    }
}

impl<'a> Conversation<'a> {
    fn new(id: &'a ChatId, Transcript { messages, is_writing }: &'a Transcript) -> Self {
        let last = messages.len().wrapping_sub(1);
        let message = |(at, message): (usize, &'a ChatMessage)| UiMessage {
            id: message.id.as_str(),
            role: message.role.as_str(),
            parts: [TextPart {
                r#type: "text",
                text: &message.text,
                state: if *is_writing && at == last { "streaming" } else { "done" },
            }],
            metadata: Metadata::of(message),
        };
        Conversation { id: id.as_str(), messages: messages.iter().enumerate().map(message).collect() }
    }
}

/// Why a request is rejected.
#[derive(Clone, Copy, Debug)]
enum ApiError {
    ForeignOrigin,
    WrongMethod,
    BadId,
    UnknownChat,
    Unavailable,
    /// This process is stopping.
    Draining,
    Internal,
}

impl From<NotAdmitted> for ApiError {
    fn from(why: NotAdmitted) -> Self {
        match why {
            NotAdmitted::ForeignOrigin => ApiError::ForeignOrigin,
            NotAdmitted::Denied(Denied::NoRandomness) => ApiError::Internal,
        }
    }
}

impl ApiError {
    fn response(self) -> HttpResponse {
        let (status, code, message) = match self {
            ApiError::ForeignOrigin => (
                StatusCode::FORBIDDEN,
                "foreign_origin",
                "Pages of this origin may not read this. The gateway's operator allows them with server.origins.",
            ),
            ApiError::WrongMethod => {
                (StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "Only GET and HEAD are allowed.")
            }
            ApiError::BadId => (
                StatusCode::BAD_REQUEST,
                "bad_id",
                "A chat's id has 1 to 128 letters, digits and . _ : ~ @ = + - only.",
            ),
            ApiError::UnknownChat => {
                (StatusCode::NOT_FOUND, "unknown_chat", "There is no such chat. Start a new one.")
            }
            ApiError::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The chat did not answer. Try again.")
            }
            ApiError::Draining => (
                StatusCode::SERVICE_UNAVAILABLE,
                "draining",
                "The service is restarting. Try again in a moment.",
            ),
            ApiError::Internal => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong here. Try again.")
            }
        };
        let mut response = private_response(status);
        match self {
            ApiError::WrongMethod => {
                response.insert_header((header::ALLOW, methods::ALLOWED));
            }
            ApiError::Unavailable | ApiError::Draining => {
                response.insert_header((header::RETRY_AFTER, RETRY_AFTER));
            }
            _ => {}
        }
        response.json(json!({ "code": code, "message": message }))
    }
}

/// A response for one browser: caches do not store it, and pages of other origins cannot read it.
fn private_response(status: StatusCode) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header(("Cross-Origin-Resource-Policy", "same-origin"));
    response
}

async fn wrong_method() -> HttpResponse {
    ApiError::WrongMethod.response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn an_internal_error_has_a_code_and_a_sentence() {
        let response = ApiError::Internal.response();
        assert_eq!(response.status(), 500);
        let body = actix_web::body::to_bytes(response.into_body()).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["code"], "internal");
        assert!(body["message"].as_str().unwrap().ends_with("Try again."));
    }
}
