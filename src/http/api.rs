//! What a page reads beside its socket: how this gateway is set up, and a chat whose copy it lost.
use super::{Site, methods, origin_is_allowed, page, principal};
use crate::{
    chat::{ChatId, ChatKey, ChatMessage},
    hub::session_actor::GetTranscript,
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

/// A session has this long to say what it remembers.
const PATIENCE: Duration = Duration::from_secs(2);
/// When what is not there now may be asked for again, in seconds.
const RETRY_AFTER: &str = "5";

pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(methods::read_only("/api/config", page_config).default_service(web::to(wrong_method)))
        .service(methods::read_only("/api/chats/{id}", chat).default_service(web::to(wrong_method)));
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

/// What the operator tells the people at the page: plain text. What is empty is left out.
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
    words: &'a Page,
}

async fn page_config(request: HttpRequest, site: Data<Site>) -> HttpResponse {
    let settings = &site.settings;
    if !origin_is_allowed(&request, settings) {
        return Refusal::ForeignOrigin.response();
    }
    // A page that asks is about to open a socket, which it would not get here; a proxy asks another gateway.
    if site.lifecycle.phase() >= Phase::Draining {
        return Refusal::Draining.response();
    }
    let Ok((_, cookies)) = principal::of(&request, settings) else {
        log::error!("the operating system has no randomness for a cookie");
        return Refusal::Internal.response();
    };
    let mut response = ours(StatusCode::OK);
    for cookie in cookies {
        response.append_header((header::SET_COOKIE, cookie));
    }
    response.json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "page": BuiltPage { build: page::BUILD_ID, words: &settings.page },
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

/// Of a chat that is somebody else's nothing is said that is not said of one that never was.
async fn chat(request: HttpRequest, site: Data<Site>, id: Path<String>) -> HttpResponse {
    match transcript(&request, &site, &id).await {
        Ok((chat, transcript)) => ours(StatusCode::OK).json(Conversation::new(&chat, &transcript)),
        Err(refusal) => refusal.response(),
    }
}

async fn transcript(request: &HttpRequest, site: &Site, id: &str) -> Result<(ChatId, Transcript), Refusal> {
    if !origin_is_allowed(request, &site.settings) {
        return Err(Refusal::ForeignOrigin);
    }
    let chat = ChatId::new(id).map_err(|_| Refusal::BadId)?;
    let principal = principal::known(request).ok_or(Refusal::UnknownChat)?;
    let key = ChatKey { principal, chat };
    let session = site.registry.chat(&key).ok_or(Refusal::UnknownChat)?;
    match timeout(PATIENCE, session.send(GetTranscript)).await {
        Ok(Ok(transcript)) => Ok((key.chat, transcript)),
        // It has just ended.
        Ok(Err(_)) => Err(Refusal::UnknownChat),
        Err(_) => Err(Refusal::Unavailable),
    }
}

/// A chat as the AI SDK's pages keep it.
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
    metadata: Option<Metadata>,
}

#[derive(Serialize)]
struct TextPart<'a> {
    r#type: &'static str,
    text: &'a str,
    state: &'static str,
}

#[derive(Serialize)]
struct Metadata {
    incomplete: bool,
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
            metadata: message.incomplete.then_some(Metadata { incomplete: true }),
        };
        Conversation { id: id.as_str(), messages: messages.iter().enumerate().map(message).collect() }
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    ForeignOrigin,
    WrongMethod,
    BadId,
    UnknownChat,
    Unavailable,
    /// This process is stopping.
    Draining,
    Internal,
}

impl Refusal {
    fn response(self) -> HttpResponse {
        let (status, code, message) = match self {
            Refusal::ForeignOrigin => (
                StatusCode::FORBIDDEN,
                "foreign_origin",
                "Pages of this origin may not read this. Whoever runs this gateway allows them with server.origins.",
            ),
            Refusal::WrongMethod => {
                (StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "Only GET and HEAD are allowed.")
            }
            Refusal::BadId => (
                StatusCode::BAD_REQUEST,
                "bad_id",
                "A chat's id has 1 to 128 letters, digits and . _ : ~ @ = + - only.",
            ),
            Refusal::UnknownChat => {
                (StatusCode::NOT_FOUND, "unknown_chat", "There is no such chat. Start a new one.")
            }
            Refusal::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The chat did not answer. Try again.")
            }
            Refusal::Draining => (
                StatusCode::SERVICE_UNAVAILABLE,
                "draining",
                "The service is restarting. Try again in a moment.",
            ),
            Refusal::Internal => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong here. Try again.")
            }
        };
        let mut response = ours(status);
        match self {
            Refusal::WrongMethod => {
                response.insert_header((header::ALLOW, methods::ALLOWED));
            }
            Refusal::Unavailable | Refusal::Draining => {
                response.insert_header((header::RETRY_AFTER, RETRY_AFTER));
            }
            _ => {}
        }
        response.json(json!({ "code": code, "message": message }))
    }
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

async fn wrong_method() -> HttpResponse {
    Refusal::WrongMethod.response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn a_fault_of_ours_has_a_code_and_a_sentence() {
        let response = Refusal::Internal.response();
        assert_eq!(response.status(), 500);
        let body = actix_web::body::to_bytes(response.into_body()).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["code"], "internal");
        assert!(body["message"].as_str().unwrap().ends_with("Try again."));
    }
}
