//! The page: its files, embedded in the binary, each uncompressed and, where that is smaller, with gzip and brotli.
use super::methods;
use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{
        Method, StatusCode,
        header::{self, AcceptEncoding, ContentEncoding, ETag, Encoding, EntityTag, Header, IfNoneMatch},
    },
    web::{self, ServiceConfig},
};
use bytes::Bytes;
use rust_embed::{EmbeddedFile, RustEmbed};
use std::borrow::Cow;

/// Built by `web/build.rs`.
#[derive(RustEmbed)]
#[folder = "$WEB_DIR"]
struct Files;

/// Identifies the embedded page: the digest of its source.
pub const BUILD_ID: &str = env!("WEB_BUILD_ID");

/// Content security policy: everything from this origin only, and no conversion of strings to HTML or scripts. The one
/// trusted-types policy accepts nothing but the URL of the service worker (web/src/app/offline.ts).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
                      font-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types tidegate";

/// Sent with every file. nginx/page.conf has the same ones, for an nginx that serves the files itself.
const HEADERS: [(&str, &str); 6] = [
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=()"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
];

const INDEX: &str = "index.html";
/// Folder of the files whose names change with their content, so that they can be cached for good.
const ASSETS: &str = "assets/";

/// Adds one route per file, so that no other path can reach a file.
pub(super) fn configure(config: &mut ServiceConfig) {
    for name in names() {
        let path = if name == INDEX { String::from("/") } else { format!("/{name}") };
        config.service(web::resource(path).to(move |request: HttpRequest| {
            let name = name.clone();
            async move { serve(&request, &name) }
        }));
    }
}

/// Names of the files, without the compressed variants.
fn names() -> impl Iterator<Item = String> {
    Files::iter().filter(|name| !name.ends_with(".br") && !name.ends_with(".gz")).map(String::from)
}

/// All files with their content, including the compressed variants, as nginx needs them in a folder.
pub fn files() -> impl Iterator<Item = (String, Vec<u8>)> {
    Files::iter().filter_map(|name| Some((name.to_string(), Files::get(&name)?.data.into_owned())))
}

fn serve(request: &HttpRequest, name: &str) -> HttpResponse {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return methods::refused();
    }
    let Some((file, encoding, has_others)) = choose(request, name) else {
        return HttpResponse::NotFound().finish();
    };
    let tag = EntityTag::new_strong(hex(&file.metadata.sha256_hash()[..16]));
    let is_known = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => request.headers().contains_key(header::IF_NONE_MATCH),
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
        Err(_) => false,
    };
    let mut response = HttpResponse::build(if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
    describe(&mut response, name);
    response.insert_header(ETag(tag));
    if has_others {
        response.insert_header((header::VARY, "Accept-Encoding"));
    }
    if is_known {
        return response.finish();
    }
    if let Some(encoding) = encoding {
        response.insert_header(encoding);
    }
    let body = match file.data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    response.content_type(type_of(name)).body(body)
}

fn describe(response: &mut HttpResponseBuilder, name: &str) {
    for header in HEADERS {
        response.insert_header(header);
    }
    let caching = if name.starts_with(ASSETS) { "public, max-age=31536000, immutable" } else { "no-cache" };
    response.insert_header((header::CACHE_CONTROL, caching));
}

/// The existing variant of a file that the client prefers, its encoding, and whether there are several variants.
fn choose(request: &HttpRequest, name: &str) -> Option<(EmbeddedFile, Option<ContentEncoding>, bool)> {
    let plain = Files::get(name)?;
    let brotli = Files::get(&format!("{name}.br"));
    let gzip = Files::get(&format!("{name}.gz"));
    let has_others = brotli.is_some() || gzip.is_some();
    let offered: Vec<Encoding> = [(brotli.is_some(), Encoding::brotli()), (gzip.is_some(), Encoding::gzip())]
        .into_iter()
        .filter_map(|(is_there, encoding)| is_there.then_some(encoding))
        .chain([Encoding::identity()])
        .collect();
    let wanted = AcceptEncoding::parse(request)
        .ok()
        .filter(|_| request.headers().contains_key(header::ACCEPT_ENCODING))
        .and_then(|accepted| accepted.negotiate(offered.iter()));
    Some(match (wanted, brotli, gzip) {
        (Some(wanted), Some(brotli), _) if wanted == Encoding::brotli() => {
            (brotli, Some(ContentEncoding::Brotli), has_others)
        }
        (Some(wanted), _, Some(gzip)) if wanted == Encoding::gzip() => {
            (gzip, Some(ContentEncoding::Gzip), has_others)
        }
        _ => (plain, None, has_others),
    })
}

fn type_of(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
