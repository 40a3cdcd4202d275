//! The checks before the 101: the handshake, the origin, the limits, the phase of the process.
use super::{AppState, auth, auth::NotAdmitted, methods, shown};
use crate::{
    access::Denied,
    chat::{Choice, ChoiceFault},
    hub::take_over::Upgrade,
    lifecycle::NoPermit,
    protocol::{Codec, Rejection},
};
use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    http::{Method, StatusCode, Version, header},
    web::{Data, Query, ServiceConfig},
};
use actix_web_actors::ws;
use serde::Deserialize;
use serde_json::json;

/// The subprotocol of both routes. Clients need not offer it, but a browser that offers subprotocols closes the socket
/// unless one of them is selected (RFC 6455 §4.1).
const SUBPROTOCOL: &str = "tidegate";

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(methods::read_only("/chat", chat)).service(methods::read_only("/api/chat", chats));
}

/// The properties of a route's sockets.
#[derive(Clone, Copy)]
struct UpgradeRequest {
    codec: Codec,
    /// The browser is recognized by cookies, since the chats are its own.
    sets_cookies: bool,
    /// Frames may contain whole conversations.
    transcripts: bool,
    /// The address may name a model: `?model=NAME`.
    names_model: bool,
}

/// `GET /chat`: the plain dialect.
async fn chat(request: HttpRequest, state: Data<AppState>) -> HttpResponse {
    let codec = Codec::Plain;
    open(
        &request,
        &state,
        UpgradeRequest { codec, sets_cookies: false, transcripts: false, names_model: true },
    )
}

/// `GET /api/chat`: the dialect of the AI SDK.
async fn chats(request: HttpRequest, state: Data<AppState>) -> HttpResponse {
    let codec = Codec::AiSdk;
    open(
        &request,
        &state,
        UpgradeRequest { codec, sets_cookies: true, transcripts: true, names_model: false },
    )
}

/// Accepts an upgrade or rejects it. The upgrade hook takes over the socket.
fn open(request: &HttpRequest, state: &AppState, wanted: UpgradeRequest) -> HttpResponse {
    accept(request, state, wanted).unwrap_or_else(|error| reject(request, state, error))
}

fn reject(request: &HttpRequest, state: &AppState, error: UpgradeError) -> HttpResponse {
    state.metrics.upgrades_rejected.inc(error.reason());
    log::debug!(reason = error.reason(), address:? = request.peer_addr(); "socket rejected");
    error.response()
}

/// Why a WebSocket was not opened. A browser's page sees only that it failed.
#[derive(Clone, Debug, PartialEq)]
enum UpgradeError {
    NoUpgrade,
    Version,
    Handshake(&'static str),
    Origin,
    /// The model that the address names is not on offer.
    Model(Rejection),
    NoPermit(NoPermit),
    /// The system has no randomness for a cookie.
    Internal,
}

impl From<NotAdmitted> for UpgradeError {
    fn from(why: NotAdmitted) -> Self {
        match why {
            NotAdmitted::ForeignOrigin => UpgradeError::Origin,
            NotAdmitted::Denied(Denied::NoRandomness) => UpgradeError::Internal,
        }
    }
}

impl UpgradeError {
    fn reason(&self) -> &'static str {
        match self {
            UpgradeError::NoUpgrade => "no_upgrade",
            UpgradeError::Version => "version",
            UpgradeError::Handshake(_) => "handshake",
            UpgradeError::Origin => "origin",
            UpgradeError::Model(_) => "model",
            UpgradeError::NoPermit(NoPermit::Draining) => "draining",
            UpgradeError::NoPermit(NoPermit::Full) => "full",
            UpgradeError::NoPermit(NoPermit::AddressFull) => "address_full",
            UpgradeError::Internal => "internal",
        }
    }

    fn response(&self) -> HttpResponse {
        let (status, text) = match self {
            UpgradeError::Model(reason) => {
                let body = json!({ "code": reason.code(), "message": reason.to_string() });
                return HttpResponse::BadRequest().json(body);
            }
            UpgradeError::NoUpgrade => {
                (StatusCode::UPGRADE_REQUIRED, "this is a WebSocket: send an upgrade request")
            }
            UpgradeError::Version => (StatusCode::UPGRADE_REQUIRED, "Sec-WebSocket-Version must be 13"),
            UpgradeError::Handshake(fault) => (StatusCode::BAD_REQUEST, *fault),
            UpgradeError::Origin => (
                StatusCode::FORBIDDEN,
                "pages of this origin may not connect; the gateway's operator allows them with server.origins",
            ),
            UpgradeError::NoPermit(NoPermit::Draining) => {
                (StatusCode::SERVICE_UNAVAILABLE, "the service is restarting")
            }
            UpgradeError::NoPermit(NoPermit::Full) => {
                (StatusCode::SERVICE_UNAVAILABLE, "the service is full")
            }
            UpgradeError::NoPermit(NoPermit::AddressFull) => {
                (StatusCode::TOO_MANY_REQUESTS, "too many connections from this address")
            }
            UpgradeError::Internal => {
                (StatusCode::INTERNAL_SERVER_ERROR, "something went wrong here: try again")
            }
        };
        let mut response = HttpResponse::build(status);
        if status == StatusCode::UPGRADE_REQUIRED {
            // RFC 9110 §15.5.22, RFC 6455 §4.4.
            response.insert_header((header::UPGRADE, "websocket"));
            response.insert_header((header::SEC_WEBSOCKET_VERSION, "13"));
        }
        if let UpgradeError::NoPermit(_) = self {
            response.insert_header((header::RETRY_AFTER, "5"));
        }
        response.content_type("text/plain; charset=utf-8").body(format!("{text}\n"))
    }
}

fn accept(
    request: &HttpRequest,
    state: &AppState,
    wanted: UpgradeRequest,
) -> Result<HttpResponse, UpgradeError> {
    check_handshake(request)?;
    let settings = &state.settings;
    let caller = auth::caller(request, settings)?;
    let UpgradeRequest { codec, sets_cookies, transcripts, names_model } = wanted;
    let choice = if names_model { named_model(request, state)? } else { None };
    let address = caller.address;
    let is_shared = address.is_some_and(|address| address.is_loopback() || settings.trusts(&address));
    let permit = state.lifecycle.admit(address, is_shared).map_err(UpgradeError::NoPermit)?;
    let mut response = ws::handshake(request)
        .map_err(|_| UpgradeError::Handshake("the handshake is not that of a WebSocket"))?;
    if offers_subprotocol(request) {
        response.insert_header((header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL));
    }
    if sets_cookies {
        for cookie in caller.set_cookies() {
            response.append_header((header::SET_COOKIE, cookie));
        }
    }
    let id = fastrand::u64(..);
    log::info!(connection:% = format_args!("{id:016x}"), address:% = shown(address); "socket opened");
    request.extensions_mut().insert(Upgrade { id, codec, pass: caller.pass, choice, transcripts, permit });
    Ok(response.finish())
}

#[derive(Deserialize)]
struct ModelQuery {
    model: Option<String>,
}

/// The model that the address names. While none is on offer, each message is rejected instead.
fn named_model(request: &HttpRequest, state: &AppState) -> Result<Option<Box<Choice>>, UpgradeError> {
    let query = Query::<ModelQuery>::from_query(request.query_string());
    let Ok(Query(ModelQuery { model })) = query else {
        return Err(UpgradeError::Handshake("the address must name one model: ?model=NAME"));
    };
    match state.models.now().find(model.as_deref()) {
        Err(fault @ ChoiceFault::Unknown { .. }) => Err(UpgradeError::Model(fault.into())),
        _ => Ok(model.map(|model| Box::new(Choice { model: Some(model.into()), ..Choice::default() }))),
    }
}

/// Checks the handshake by RFC 6455 §4.2.1, more strictly than the library: exactly one `websocket`, one key of 16 bytes,
/// version 13.
fn check_handshake(request: &HttpRequest) -> Result<(), UpgradeError> {
    let upgrade = values(request, &header::UPGRADE);
    // Only GET opens a WebSocket (RFC 6455 §4.1); HEAD gets the same response as without an upgrade.
    if upgrade.is_empty() || request.method() != Method::GET {
        return Err(UpgradeError::NoUpgrade);
    }
    if !matches!(upgrade[..], [one] if one.trim().eq_ignore_ascii_case("websocket")) {
        return Err(UpgradeError::Handshake("Upgrade must be websocket and nothing else"));
    }
    if request.version() != Version::HTTP_11 || !request.head().upgrade() {
        return Err(UpgradeError::Handshake("a WebSocket needs HTTP/1.1 and Connection: upgrade"));
    }
    if values(request, &header::SEC_WEBSOCKET_VERSION) != ["13"] {
        return Err(UpgradeError::Version);
    }
    match values(request, &header::SEC_WEBSOCKET_KEY)[..] {
        [key] if is_key(key) => Ok(()),
        _ => Err(UpgradeError::Handshake("Sec-WebSocket-Key must be there once and have 16 bytes in base64")),
    }
}

/// Whether the client offers [`SUBPROTOCOL`], in one header or several (RFC 6455 §11.3.4). Other subprotocols are ignored:
/// a client that needs one notices that none was selected.
fn offers_subprotocol(request: &HttpRequest) -> bool {
    let offers = values(request, &header::SEC_WEBSOCKET_PROTOCOL);
    offers.iter().flat_map(|offer| offer.split(',')).any(|name| name.trim() == SUBPROTOCOL)
}

/// Whether this is 16 bytes in base64: 22 characters and two of padding.
fn is_key(key: &str) -> bool {
    key.strip_suffix("==").is_some_and(|letters| {
        letters.len() == 22 && letters.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
    })
}

/// All values of a header; a value that is not ASCII counts as empty.
fn values<'a>(request: &'a HttpRequest, name: &header::HeaderName) -> Vec<&'a str> {
    request.headers().get_all(name).map(|value| value.to_str().unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn an_internal_error_gives_advice() {
        let response = UpgradeError::Internal.response();
        assert_eq!(response.status(), 500);
        let body = actix_web::body::to_bytes(response.into_body()).await.unwrap();
        assert_eq!(body, "something went wrong here: try again\n");
    }
}
