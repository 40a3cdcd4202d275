//! Identifies the client of a request: checks the origin, and makes a pass from the credentials. Every route that serves
//! a client's data starts here.
use super::{Settings, client_address, origin_is_allowed};
use crate::{
    access::{Credential, Denied, Pass, cookie},
    chat::Source,
};
use actix_web::{
    HttpRequest,
    http::header::{self, HeaderValue},
};
use std::{net::IpAddr, sync::Arc};

const X_FORWARDED_PROTO: &str = "x-forwarded-proto";

/// The client behind a request.
pub(super) struct Caller {
    pub(super) pass: Arc<Pass>,
    pub(super) address: Option<IpAddr>,
    credential: Credential,
    secure: bool,
}

/// Why no client is identified; the request is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAdmitted {
    /// It comes from a page of another origin.
    ForeignOrigin,
    Denied(Denied),
}

/// The client of a request. A rejected origin and a denied pass are logged here.
pub(super) fn caller(request: &HttpRequest, settings: &Settings) -> Result<Caller, NotAdmitted> {
    if !origin_is_allowed(request, settings) {
        return Err(NotAdmitted::ForeignOrigin);
    }
    let address = client_address(settings, request);
    let credential = cookie::credential(request.headers().get_all(header::COOKIE).map(HeaderValue::as_bytes));
    let pass = Pass::of(&credential, Source::of(address), getrandom::fill).map_err(|denied| {
        log::error!(why:% = denied; "a request gets no pass");
        NotAdmitted::Denied(denied)
    })?;
    Ok(Caller { pass, address, credential, secure: came_over_tls(request, settings) })
}

impl Caller {
    /// The cookies to set in responses of routes with the client's chats. Marked as sensitive, so that they are not
    /// printed by accident.
    pub(super) fn set_cookies(&self) -> impl Iterator<Item = HeaderValue> {
        let cookies = cookie::set_cookies(&self.credential, self.pass.principal(), self.secure);
        cookies.into_iter().filter_map(|cookie| {
            let mut value = HeaderValue::try_from(cookie).ok()?;
            value.set_sensitive(true);
            Some(value)
        })
    }
}

/// Whether a trusted proxy reports that the browser uses TLS. Our own listener does not support it.
fn came_over_tls(request: &HttpRequest, settings: &Settings) -> bool {
    let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
    if !peer.is_some_and(|peer| settings.trusts(&peer)) {
        return false;
    }
    // If every proxy appends its scheme, the first one is the browser's.
    let schemes = request.headers().get(X_FORWARDED_PROTO).and_then(|value| value.to_str().ok());
    let first = schemes.and_then(|schemes| schemes.split(',').next());
    first.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    /// What the response to a request sets.
    fn cookies(request: TestRequest) -> Vec<HeaderValue> {
        let mut settings = super::super::tests::settings();
        settings.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        caller(&request.to_http_request(), &settings).ok().unwrap().set_cookies().collect()
    }

    #[test]
    fn the_cookies_of_all_headers_count_and_do_not_print() {
        let ours = "tidegate_principal=00112233445566778899aabbccddeeff";
        let request = || TestRequest::get().append_header((header::COOKIE, "a=b"));
        let new = cookies(request());
        assert_eq!(new.len(), 2);
        assert!(new.iter().all(|cookie| format!("{cookie:?}") == "Sensitive"), "{new:?}");
        let [route] = cookies(request().append_header((header::COOKIE, ours))).try_into().unwrap();
        assert!(route.to_str().unwrap().starts_with("tidegate_route="));
    }

    #[test]
    fn secure_is_set_only_if_a_trusted_proxy_reports_tls() {
        let is_secure = |peer: &str, proto: &[&str]| {
            let mut request = TestRequest::get().peer_addr(peer.parse().unwrap());
            for proto in proto {
                request = request.append_header((X_FORWARDED_PROTO, *proto));
            }
            cookies(request)[0].to_str().unwrap().ends_with("; Secure")
        };
        let (trusted, stranger) = ("10.1.2.3:80", "192.0.2.1:80");
        for (peer, proto, secure) in [
            (trusted, &["https"][..], true),
            (trusted, &["HTTPS"], true),
            (trusted, &["https, http"], true),
            ("[::ffff:10.1.2.3]:80", &["https"], true),
            (trusted, &["http"], false),
            (trusted, &["http, https"], false),
            (trusted, &["httpsx"], false),
            (trusted, &[""], false),
            (trusted, &[], false),
            (stranger, &["https"], false),
            (stranger, &[], false),
        ] {
            assert_eq!(is_secure(peer, proto), secure, "{peer} {proto:?}");
        }
    }

    #[test]
    fn a_page_of_another_origin_gets_no_pass() {
        let request = TestRequest::get()
            .insert_header((header::HOST, "chat.example.com"))
            .insert_header((header::ORIGIN, "https://evil.example.org"));
        let refused = caller(&request.to_http_request(), &super::super::tests::settings()).err();
        assert_eq!(refused, Some(NotAdmitted::ForeignOrigin));
    }
}
