//! The methods of routes that only read.
use actix_web::{FromRequest, Handler, HttpResponse, Resource, Responder, http::header, web};

/// `Allow` of these routes.
pub(super) const ALLOWED: &str = "GET, HEAD";

/// A read-only route: GET, and HEAD with the same response but no body (RFC 9110 §9.3.2). Other methods get 405.
pub(super) fn read_only<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path).get(handler.clone()).head(handler).default_service(web::to(async || refused()))
}

/// The response to other methods (RFC 9110 §15.5.6).
pub(super) fn refused() -> HttpResponse {
    HttpResponse::MethodNotAllowed()
        .insert_header((header::ALLOW, ALLOWED))
        .content_type("text/plain; charset=utf-8")
        .body("only GET and HEAD are allowed here\n")
}
