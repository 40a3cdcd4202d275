//! The check before routing: rejects requests that the parser accepts but no honest client sends.
use super::{
    connection::{HttpStream, SharedExchange},
    framing::Framing,
    response_body::{OpenRequest, ResponseBody},
};
use actix_http::{ConnectionType, header::HeaderMap};
use actix_web::{
    Error, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{Extensions, ServiceRequest, ServiceResponse},
    http::{StatusCode, header, uri::Authority},
    middleware::Next,
};
use std::rc::Rc;
use tokio::time::Instant;

/// Makes the exchange of a connection available to its requests.
pub(super) fn share_exchange(stream: &HttpStream, data: &mut Extensions) {
    data.insert(Rc::clone(stream.exchange()));
}

/// Passes valid requests on; rejects others and closes the connection. The stream gives the parser no bytes after a
/// request until that is answered, and none at all after one that was rejected.
pub(super) async fn check(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    // Only tests have no connection.
    let Some(exchange) = request.request().conn_data::<SharedExchange>().cloned() else {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    };
    let framing = framing(request.headers());
    let of_connection = request.head().connection_type();
    let now = Instant::now().into_std();
    let body_may_come =
        exchange.borrow_mut().head_received(now, framing, of_connection == ConnectionType::Close);
    let open = OpenRequest(Rc::clone(&exchange));
    let fault =
        fault(&request).or_else(|| (!body_may_come).then(|| too_large(exchange.borrow().takes_bodies())));
    let mut response = match fault {
        Some(fault) => {
            log::debug!(reason = fault.text, address:? = request.peer_addr(); "request rejected");
            exchange.borrow_mut().close();
            request.into_response(fault.response())
        }
        None => next.call(request).await?.map_into_boxed_body(),
    };
    // The library closes a connection whose client asked for an upgrade.
    if of_connection == ConnectionType::Upgrade && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        exchange.borrow_mut().close();
    }
    if exchange.borrow().closes() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response.map_body(|_, body| BoxBody::new(ResponseBody::new(body, open))))
}

/// How the end of the body is found. The parser ensures that there is at most one length, and none in a chunked request.
fn framing(headers: &HeaderMap) -> Framing {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Framing::Chunked;
    }
    match headers.get(header::CONTENT_LENGTH) {
        Some(length) => {
            Framing::Length(length.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX))
        }
        None => Framing::None,
    }
}

/// Why a request is rejected.
struct Fault {
    status: StatusCode,
    text: &'static str,
}

impl Fault {
    fn response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response.content_type("text/plain; charset=utf-8").body(format!("{}\n", self.text))
    }
}

fn too_large(takes_bodies: bool) -> Fault {
    let text = if takes_bodies { "the body is too large" } else { "no route here takes a body" };
    Fault { status: StatusCode::PAYLOAD_TOO_LARGE, text }
}

fn fault(request: &ServiceRequest) -> Option<Fault> {
    let bad = |text| Some(Fault { status: StatusCode::BAD_REQUEST, text });
    let headers = request.headers();
    // Only requests to a forward proxy have this form. A host here could differ from `Host` and evade the check of that.
    if request.uri().authority().is_some() {
        return bad("the target must be a path, without a host");
    }
    // The parser ensures that there is at most one, and in HTTP/1.1 exactly one.
    if headers.get(header::HOST).is_some_and(|host| !is_host(host.as_bytes())) {
        return bad("Host must be a name or an address, with a port at most");
    }
    // If there were a body, the parser would not hand over the socket after the 101, but wait for the next request.
    let has_body = !matches!(framing(headers), Framing::None | Framing::Length(0));
    if has_body && headers.contains_key(header::UPGRADE) {
        return bad("a request for an upgrade has no body");
    }
    None
}

/// RFC 9112 §3.2: `uri-host [":" port]`, not empty.
fn is_host(host: &[u8]) -> bool {
    !host.contains(&b'@') && Authority::try_from(host).is_ok_and(|host| !host.host().is_empty())
}

#[cfg(test)]
mod tests {
    // faults: B34
    #[test]
    fn hosts() {
        for good in ["a", "chat.example.com", "chat.example.com:8080", "127.0.0.1:80", "[::1]:8000"] {
            assert!(super::is_host(good.as_bytes()), "{good}");
        }
        for bad in ["", " ", "a b", "a/b", "user@a", ":80", "a:b:c", "a\\b"] {
            assert!(!super::is_host(bad.as_bytes()), "{bad}");
        }
    }
}
