//! The checks before the 101: the handshake itself, the origin, the caps, the drain.
use super::{Site, client_address, methods, origin_is_allowed, principal, shown};
use crate::{
    chat::{Principal, Source},
    hub::{Consumer, take_over::Accepted},
    lifecycle::Refused,
    protocol::Codec,
};
use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    http::{Method, StatusCode, Version, header},
    web::{Data, ServiceConfig},
};
use actix_web_actors::ws;

/// The subprotocol of both routes. Nobody has to offer it, but a browser that offers any gives the socket up
/// unless one of its offers is chosen.
const SUBPROTOCOL: &str = "tidegate";

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(methods::read_only("/chat", chat)).service(methods::read_only("/api/chat", chats));
}

/// What a route makes of its sockets.
struct Entrance {
    consumer: Consumer,
    principal: Principal,
    cookies: Vec<header::HeaderValue>,
    /// Frames may hold whole conversations.
    transcripts: bool,
}

/// `GET /chat`: the plain dialect.
async fn chat(request: HttpRequest, site: Data<Site>) -> HttpResponse {
    open(&request, &site, Consumer::Session(Codec::Plain))
}

/// `GET /api/chat`: the dialect of the AI SDK.
async fn chats(request: HttpRequest, site: Data<Site>) -> HttpResponse {
    let Ok((principal, cookies)) = principal::of(&request, &site.settings) else {
        log::error!("the operating system has no randomness for a cookie");
        return refuse(&request, &site, Refusal::Internal);
    };
    let consumer = Consumer::Session(Codec::AiSdk);
    enter(&request, &site, Entrance { consumer, principal, cookies, transcripts: true })
}

/// A socket with nobody behind it but its consumer.
pub(crate) fn open(request: &HttpRequest, site: &Site, consumer: Consumer) -> HttpResponse {
    // It has no chats that could be somebody's.
    let principal = Principal::new(0);
    enter(request, site, Entrance { consumer, principal, cookies: Vec::new(), transcripts: false })
}

/// Agrees to an upgrade, or says why not. The upgrade hook does the rest.
fn enter(request: &HttpRequest, site: &Site, entrance: Entrance) -> HttpResponse {
    accept(request, site, entrance).unwrap_or_else(|refusal| refuse(request, site, refusal))
}

fn refuse(request: &HttpRequest, site: &Site, refusal: Refusal) -> HttpResponse {
    site.metrics.upgrades_rejected.inc(refusal.reason());
    log::debug!("socket refused reason={} address={:?}", refusal.reason(), request.peer_addr());
    refusal.response()
}

/// Why a WebSocket was not opened. A browser sees none of this, only that it failed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Refusal {
    NoUpgrade,
    Version,
    Handshake(&'static str),
    Origin,
    NoPermit(Refused),
    /// There is no randomness for a cookie.
    Internal,
}

impl Refusal {
    fn reason(self) -> &'static str {
        match self {
            Refusal::NoUpgrade => "no_upgrade",
            Refusal::Version => "version",
            Refusal::Handshake(_) => "handshake",
            Refusal::Origin => "origin",
            Refusal::NoPermit(Refused::Draining) => "draining",
            Refusal::NoPermit(Refused::Full) => "full",
            Refusal::NoPermit(Refused::AddressFull) => "address_full",
            Refusal::Internal => "internal",
        }
    }

    fn response(self) -> HttpResponse {
        let (status, text) = match self {
            Refusal::NoUpgrade => {
                (StatusCode::UPGRADE_REQUIRED, "this is a WebSocket: send an upgrade request")
            }
            Refusal::Version => (StatusCode::UPGRADE_REQUIRED, "Sec-WebSocket-Version must be 13"),
            Refusal::Handshake(fault) => (StatusCode::BAD_REQUEST, fault),
            Refusal::Origin => (
                StatusCode::FORBIDDEN,
                "pages of this origin may not connect; whoever runs this gateway allows them with server.origins",
            ),
            Refusal::NoPermit(Refused::Draining) => {
                (StatusCode::SERVICE_UNAVAILABLE, "the service is restarting")
            }
            Refusal::NoPermit(Refused::Full) => (StatusCode::SERVICE_UNAVAILABLE, "the service is full"),
            Refusal::NoPermit(Refused::AddressFull) => {
                (StatusCode::TOO_MANY_REQUESTS, "too many connections from this address")
            }
            Refusal::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "something went wrong here: try again"),
        };
        let mut response = HttpResponse::build(status);
        if status == StatusCode::UPGRADE_REQUIRED {
            // RFC 9110 §15.5.22, RFC 6455 §4.4.
            response.insert_header((header::UPGRADE, "websocket"));
            response.insert_header((header::SEC_WEBSOCKET_VERSION, "13"));
        }
        if let Refusal::NoPermit(_) = self {
            response.insert_header((header::RETRY_AFTER, "5"));
        }
        response.content_type("text/plain; charset=utf-8").body(format!("{text}\n"))
    }
}

fn accept(request: &HttpRequest, site: &Site, entrance: Entrance) -> Result<HttpResponse, Refusal> {
    check_handshake(request)?;
    let settings = &site.settings;
    if !origin_is_allowed(request, settings) {
        return Err(Refusal::Origin);
    }
    let address = client_address(settings, request);
    let is_shared = address.is_some_and(|address| address.is_loopback() || settings.trusts(&address));
    let permit = site.lifecycle.admit(address, is_shared).map_err(Refusal::NoPermit)?;
    let mut response =
        ws::handshake(request).map_err(|_| Refusal::Handshake("the handshake is not that of a WebSocket"))?;
    if offers_subprotocol(request) {
        response.insert_header((header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL));
    }
    let Entrance { consumer, principal, cookies, transcripts } = entrance;
    for cookie in cookies {
        response.append_header((header::SET_COOKIE, cookie));
    }
    let id = fastrand::u64(..);
    let source = Source::of(address);
    log::info!("socket opened connection={id:016x} address={}", shown(address));
    request.extensions_mut().insert(Accepted { id, consumer, source, principal, transcripts, permit });
    Ok(response.finish())
}

/// RFC 6455 §4.2.1, more strictly than the handshake of the library: one exact `websocket`, one key
/// of 16 bytes, version 13.
fn check_handshake(request: &HttpRequest) -> Result<(), Refusal> {
    let upgrade = values(request, &header::UPGRADE);
    // Only GET opens a WebSocket (RFC 6455 §4.1); HEAD is told what it would be told without an upgrade.
    if upgrade.is_empty() || request.method() != Method::GET {
        return Err(Refusal::NoUpgrade);
    }
    if !matches!(upgrade[..], [one] if one.trim().eq_ignore_ascii_case("websocket")) {
        return Err(Refusal::Handshake("Upgrade must be websocket and nothing else"));
    }
    if request.version() != Version::HTTP_11 || !request.head().upgrade() {
        return Err(Refusal::Handshake("a WebSocket needs HTTP/1.1 and Connection: upgrade"));
    }
    if values(request, &header::SEC_WEBSOCKET_VERSION) != ["13"] {
        return Err(Refusal::Version);
    }
    match values(request, &header::SEC_WEBSOCKET_KEY)[..] {
        [key] if is_key(key) => Ok(()),
        _ => Err(Refusal::Handshake("Sec-WebSocket-Key must be there once and have 16 bytes in base64")),
    }
}

/// Whether [`SUBPROTOCOL`] is among what the client offers, in one header or several (RFC 6455 §11.3.4).
/// Others are passed over: a client that insists on one of them notices that none was chosen.
fn offers_subprotocol(request: &HttpRequest) -> bool {
    let offers = values(request, &header::SEC_WEBSOCKET_PROTOCOL);
    offers.iter().flat_map(|offer| offer.split(',')).any(|name| name.trim() == SUBPROTOCOL)
}

/// Base64 of 16 bytes: 22 letters and two signs of padding.
fn is_key(key: &str) -> bool {
    key.strip_suffix("==").is_some_and(|letters| {
        letters.len() == 22 && letters.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
    })
}

/// All values of a header; one that is not ASCII counts as empty.
fn values<'a>(request: &'a HttpRequest, name: &header::HeaderName) -> Vec<&'a str> {
    request.headers().get_all(name).map(|value| value.to_str().unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn a_refusal_that_is_our_fault_says_what_to_do() {
        let response = Refusal::Internal.response();
        assert_eq!(response.status(), 500);
        let body = actix_web::body::to_bytes(response.into_body()).await.unwrap();
        assert_eq!(body, "something went wrong here: try again\n");
    }
}
