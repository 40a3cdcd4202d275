//! The check before routing: what the parser lets through and no honest client sends is refused.
use actix_web::{
    Error, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{Extensions, ServiceRequest, ServiceResponse},
    http::{header, uri::Authority},
    middleware::Next,
};
use std::cell::Cell;
use tokio::net::TcpStream;

/// Of a connection: a request on it was refused. The parser may have read others behind it already, of
/// which none is served.
#[derive(Default)]
pub(super) struct Refused(Cell<bool>);

/// Remembers of a new connection that nothing bad came on it yet.
pub(super) fn watch(_: &TcpStream, data: &mut Extensions) {
    data.insert(Refused::default());
}

/// Passes good requests on; answers others with 400 and closes the connection, so that nothing that
/// came behind them is taken for a request.
pub(super) async fn check(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let refused = request.request().conn_data::<Refused>();
    let behind = refused.is_some_and(|refused| refused.0.get()).then_some("it came behind a bad request");
    let Some(fault) = behind.or_else(|| fault(&request)) else {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    };
    if let Some(refused) = refused {
        refused.0.set(true);
    }
    log::debug!("request refused reason={fault:?} address={:?}", request.peer_addr());
    let mut response = HttpResponse::BadRequest();
    response.force_close().content_type("text/plain; charset=utf-8");
    Ok(request.into_response(response.body(format!("{fault}\n"))))
}

fn fault(request: &ServiceRequest) -> Option<&'static str> {
    let headers = request.headers();
    // Somebody else's proxy would be asked this way; a name here that differs from `Host` is a trick.
    if request.uri().authority().is_some() {
        return Some("the target must be a path, without a host");
    }
    // The parser has made sure that there is at most one, and in HTTP/1.1 exactly one.
    if headers.get(header::HOST).is_some_and(|host| !is_host(host.as_bytes())) {
        return Some("Host must be a name or an address, with a port at most");
    }
    // With a body the parser would not hand the socket over after the 101, but wait for a request.
    let length = headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    let has_body = length || headers.contains_key(header::TRANSFER_ENCODING);
    if has_body && headers.contains_key(header::UPGRADE) {
        return Some("a request for an upgrade has no body");
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
