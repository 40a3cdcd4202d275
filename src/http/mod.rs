//! The HTTP side: routes, the checks before an upgrade, health, metrics and the page.
pub mod api;
mod form;
mod host;
mod methods;
mod misdirected;
mod notice;
pub mod ops;
mod origin;
pub mod page;
pub(crate) mod principal;
#[cfg(test)]
mod tests;
mod upgrade;

pub(crate) use upgrade::open;

use crate::{
    dispatch::{Breaker, Dispatcher, Pulse},
    metrics::Metrics,
    ws::{self, Life, Registry, Worker},
};
use actix::Addr;
use actix_codec::Framed;
use actix_http::{HttpService, Request, h1};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, map_config,
};
use actix_web::{
    App, dev::AppConfig, error::ErrorInternalServerError, http::header, middleware::from_fn, web,
};
use ipnet::IpNet;
use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};
use tokio::{net::TcpStream, time::Instant};

/// How long a client may take for a request head; half of it may be sent by then, the rest is refused.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// 0 would be a FIN at once; between 1 and 499 ms actix-http leaks sockets.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub struct Settings {
    /// Origins that may open a WebSocket; empty: those of the request's own host.
    pub origins: Vec<String>,
    pub allow_any_origin: bool,
    /// Names under which the gateway may be asked, beside those that public DNS does not have; nothing:
    /// under any name.
    pub hosts: Option<Vec<String>>,
    /// Peers whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The model that answers.
    pub model: String,
    /// Host of the model service, for `/health` on the operator's own address.
    pub upstream: String,
    /// The answers come from the built-in simulator.
    pub simulated: bool,
    /// Runs that may wait, for `/readyz?verbose`.
    pub queue: usize,
    /// The operator's routes are on another address.
    pub separate_ops: bool,
    /// For `/api/config`.
    pub limits: api::Limits,
    pub features: api::Features,
    pub page: api::Page,
}

impl Settings {
    /// Whether this address is a proxy's whose word is taken.
    fn trusts(&self, address: &std::net::IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(address))
    }
}

/// What the routes of all workers share.
pub struct Site {
    pub settings: Settings,
    pub life: Arc<Life>,
    pub registry: Arc<Registry>,
    pub metrics: Arc<Metrics>,
    pub dispatcher: Addr<Dispatcher>,
    /// For the probes.
    pub pulse: Arc<Pulse>,
    pub breaker: Arc<Breaker>,
    pub started: Instant,
}

/// The service of one worker's public listener.
pub fn service(
    site: Arc<Site>,
    worker: Rc<Worker>,
) -> impl ServiceFactory<
    TcpStream,
    Config = (),
    Response = (),
    Error = actix_http::error::DispatchError,
    InitError = (),
> {
    let routes = move |config: &mut web::ServiceConfig| {
        upgrade::configure(config);
        api::configure(config);
        page::configure(config);
        ops::configure_models(config);
        ops::configure_proxy_probe(config);
        if !site.settings.separate_ops {
            ops::configure(config, ops::Listener::Public);
        }
        config.app_data(web::Data::from(Arc::clone(&site)));
    };
    with_sockets(worker, routes)
}

/// A listener whose routes may open WebSockets: an App for HTTP, and the same App in front of the
/// upgrade hook for whatever asks for an upgrade.
pub(crate) fn with_sockets(
    worker: Rc<Worker>,
    routes: impl Fn(&mut web::ServiceConfig) + Clone + 'static,
) -> impl ServiceFactory<
    TcpStream,
    Config = (),
    Response = (),
    Error = actix_http::error::DispatchError,
    InitError = (),
> {
    let app = {
        let worker = Rc::clone(&worker);
        move || {
            let app = App::new().app_data(Rc::clone(&worker)).configure(routes.clone());
            let app = app.wrap(from_fn(misdirected::check)).wrap(from_fn(form::check));
            let app = app.into_factory().map_err(|error: actix_web::Error| error.error_response());
            map_config(app, |()| AppConfig::default())
        }
    };
    let upgrade = apply_fn_factory(
        app().map_err(|_| ErrorInternalServerError("")),
        move |(request, framed): (Request, Framed<TcpStream, h1::Codec>), app: &_| {
            let answer = Service::<Request>::call(app, request);
            let worker = Rc::clone(&worker);
            async move { ws::take_over::take_over(worker, answer.await?, framed).await }
        },
    );
    HttpService::build()
        .on_connect_ext(form::watch)
        .client_request_timeout(REQUEST_TIMEOUT)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        .upgrade(upgrade)
        .h1(app())
        .tcp()
}

/// The service of one worker's operator listener.
pub fn ops_service(
    site: Arc<Site>,
) -> impl ServiceFactory<
    TcpStream,
    Config = (),
    Response = (),
    Error = actix_http::error::DispatchError,
    InitError = (),
> {
    let routes = |config: &mut web::ServiceConfig| ops::configure(config, ops::Listener::Ops);
    let app = App::new().app_data(web::Data::from(site)).configure(routes);
    let app = app.wrap(from_fn(misdirected::check)).wrap(from_fn(form::check));
    let app = app.into_factory().map_err(|error: actix_web::Error| error.error_response());
    HttpService::build()
        .on_connect_ext(form::watch)
        .client_request_timeout(REQUEST_TIMEOUT)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        .h1(map_config(app, |()| AppConfig::default()))
        .tcp()
}

static FOREIGN_ORIGINS: notice::Notice = notice::Notice::new();

/// Whether a page of this request's origin may have an answer. Its refusal is logged.
fn origin_is_allowed(request: &actix_web::HttpRequest, settings: &Settings) -> bool {
    let values = |name| {
        // One that is not ASCII is no origin and no host.
        request.headers().get_all(name).map(|value| value.to_str().unwrap_or_default()).collect::<Vec<_>>()
    };
    let hosts = values(header::HOST);
    let host = if let [host] = hosts[..] { Some(host) } else { None };
    let origins = values(header::ORIGIN);
    let is_allowed = origin::is_allowed(&settings.origins, settings.allow_any_origin, &origins, host);
    if let Some(omitted) = (!is_allowed).then(|| FOREIGN_ORIGINS.due(Instant::now())).flatten() {
        let address = client_address(settings, request);
        log::warn!(
            "request refused: its Origin is another site's; if pages of that site may connect, list it in \
             server.origins address={address:?} omitted={omitted}"
        );
    }
    is_allowed
}

/// The client's address: the peer's, unless the peer is a trusted proxy that names another. Read
/// from the right, because everything left of the last trusted hop is a stranger's word.
fn client_address(settings: &Settings, request: &actix_web::HttpRequest) -> Option<std::net::IpAddr> {
    let peer = request.peer_addr().map(|peer: SocketAddr| peer.ip().to_canonical())?;
    if !settings.trusts(&peer) {
        return Some(peer);
    }
    let forwarded = request.headers().get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
    let mut hops: Vec<_> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
    let mut client = peer;
    while let Some(hop) = hops.pop() {
        match hop.parse::<std::net::IpAddr>() {
            Ok(address) => client = address.to_canonical(),
            Err(_) => break,
        }
        if !settings.trusts(&client) {
            break;
        }
    }
    Some(client)
}
