//! The page until there is a better one: three files in the binary, a policy that allows nothing else.
use actix_web::{
    HttpResponse,
    web::{self, ServiceConfig},
};

/// Only what comes from here; scripts may not make HTML from text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'";

pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .route("/", web::get().to(index))
        .route("/page.js", web::get().to(script))
        .route("/page.css", web::get().to(style));
}

async fn index() -> HttpResponse {
    asset("text/html; charset=utf-8", include_str!("page/index.html"))
}

async fn script() -> HttpResponse {
    asset("text/javascript; charset=utf-8", include_str!("page/page.js"))
}

async fn style() -> HttpResponse {
    asset("text/css; charset=utf-8", include_str!("page/page.css"))
}

fn asset(content_type: &'static str, body: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(content_type)
        .insert_header(("Content-Security-Policy", POLICY))
        .insert_header(("X-Content-Type-Options", "nosniff"))
        .insert_header(("Referrer-Policy", "no-referrer"))
        .insert_header(("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=()"))
        .insert_header(("Cross-Origin-Opener-Policy", "same-origin"))
        .insert_header(("Cross-Origin-Resource-Policy", "same-origin"))
        .insert_header(("Cache-Control", "no-cache"))
        .body(body)
}
