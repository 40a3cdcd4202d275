//! The HTTP side: routes, the checks before an upgrade, health, metrics and the page.
mod answer;
pub mod api;
mod auth;
mod connection;
pub mod door;
pub mod exchange;
mod form;
mod framing;
mod hand_over;
mod host;
mod methods;
mod misdirected;
pub mod ops;
mod origin;
pub mod page;
#[cfg(test)]
mod tests;
mod upgrade;

pub use door::Door;

use crate::{
    dispatch::{DispatchState, Dispatcher, Router},
    hub::{Connections, Registry, SharedParts},
    lifecycle::Lifecycle,
    log_throttle::LogThrottle,
    memory::Memory,
    metrics::Metrics,
};
use actix::Addr;
use actix_codec::Framed;
use actix_http::{HttpServiceBuilder, KeepAlive, Request, error::DispatchError, h1};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, fn_service, map_config,
};
use actix_web::{
    App, body::BoxBody, dev::AppConfig, error::ErrorInternalServerError, http::header, middleware::from_fn,
    web,
};
use connection::HttpStream;
use ipnet::IpNet;
use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

/// Bytes of an answer that wait in user space before the socket is asked to take them.
const WRITE_BUFFER: usize = 16 * 1024;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Origins that may open a WebSocket; empty: those of the request's own host.
    pub origins: Vec<String>,
    pub allow_any_origin: bool,
    /// Names under which the gateway may be asked, in addition to those that public DNS does not have; `None`:
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
        is_among(&self.trusted_proxies, address)
    }
}

/// Whether an address is in one of these networks.
fn is_among(networks: &[IpNet], address: &std::net::IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// What the routes of all workers share.
pub struct AppState {
    pub settings: Settings,
    pub lifecycle: Arc<Lifecycle>,
    pub memory: Arc<Memory>,
    pub registry: Arc<Registry>,
    pub door: Arc<Door>,
    pub metrics: Arc<Metrics>,
    pub dispatcher: Addr<Dispatcher>,
    /// For the probes.
    pub dispatch_state: Arc<DispatchState>,
    pub router: Arc<Router>,
    pub started: Instant,
}

impl AppState {
    /// What workers share.
    pub(crate) fn shared(&self) -> SharedParts {
        SharedParts {
            dispatcher: self.dispatcher.clone(),
            registry: Arc::clone(&self.registry),
            lifecycle: Arc::clone(&self.lifecycle),
            memory: Arc::clone(&self.memory),
            metrics: Arc::clone(&self.metrics),
        }
    }
}

/// The service of one worker's public listener.
pub fn service(
    site: Arc<AppState>,
    sockets: Rc<Connections>,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    let door = Arc::clone(&site.door);
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
    with_sockets(sockets, door, routes)
}

/// A listener whose routes may open WebSockets: an App for HTTP, and the same App in front of the
/// upgrade hook for whatever asks for an upgrade.
fn with_sockets(
    sockets: Rc<Connections>,
    door: Arc<Door>,
    routes: impl Fn(&mut web::ServiceConfig) + Clone + 'static,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    let app = || {
        let app = App::new().configure(routes.clone());
        let app = app.wrap(from_fn(misdirected::check)).wrap(from_fn(form::check));
        let app = app.into_factory().map_err(|error: actix_web::Error| error.error_response());
        map_config(app, |()| AppConfig::default())
    };
    let patience = door.settings.limits.request_timeout;
    let upgrade = apply_fn_factory(
        app().map_err(|_| ErrorInternalServerError("")),
        move |(request, framed): (Request, Framed<HttpStream, h1::Codec>), app: &_| {
            let answer = timeout(patience, Service::<Request>::call(app, request));
            let sockets = Rc::clone(&sockets);
            async move {
                match answer.await {
                    Ok(answer) => hand_over::hand_over(sockets, answer?, framed).await,
                    Err(_) => Ok(()),
                }
            }
        },
    );
    connections(door, builder().upgrade(upgrade).h1(app()))
}

/// The service of one worker's operator listener.
pub fn ops_service(
    site: Arc<AppState>,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    let door = Arc::clone(&site.door);
    let routes = |config: &mut web::ServiceConfig| ops::configure(config, ops::Listener::Ops);
    let app = App::new().app_data(web::Data::from(site)).configure(routes);
    let app = app.wrap(from_fn(misdirected::check)).wrap(from_fn(form::check));
    let app = app.into_factory().map_err(|error: actix_web::Error| error.error_response());
    connections(door, builder().h1(map_config(app, |()| AppConfig::default())))
}

/// What is common to all listeners. All time limits are those of [`HttpStream`]: the library's own know neither the
/// second request of a connection, nor a body, nor a client that does not read.
fn builder<S>() -> HttpServiceBuilder<HttpStream, S>
where
    S: ServiceFactory<Request, Config = ()>,
    S::Error: Into<actix_http::Response<BoxBody>> + 'static,
    S::InitError: std::fmt::Debug,
    <S::Service as Service<Request>>::Future: 'static,
{
    HttpServiceBuilder::default()
        .on_connect_ext(form::share)
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(Duration::ZERO)
        .h1_allow_half_closed(false)
        .h1_write_buffer_size(WRITE_BUFFER)
}

/// Admits connections, and puts a stream of ours between the socket and the library.
fn connections<S>(
    door: Arc<Door>,
    service: S,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()>
where
    S: ServiceFactory<
            (HttpStream, Option<SocketAddr>),
            Config = (),
            Response = (),
            Error = DispatchError,
            InitError = (),
        > + 'static,
{
    fn_service(move |io: TcpStream| {
        let stream = HttpStream::new(io, &door).map_err(DispatchError::Io);
        async move { stream }
    })
    .and_then(service)
}

/// Time between two log lines of one kind that strangers can cause.
const LOG_PERIOD: Duration = Duration::from_secs(60);

static FOREIGN_ORIGINS: LogThrottle = LogThrottle::new(LOG_PERIOD);

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
    if let Some(omitted) = (!is_allowed).then(|| FOREIGN_ORIGINS.due(Instant::now().into_std())).flatten() {
        let address = client_address(settings, request);
        log::warn!(
            address:% = shown(address), omitted = omitted;
            "request refused: its Origin is another site's; if pages of that site may connect, list it in \
             server.origins"
        );
    }
    is_allowed
}

/// An address for the log.
fn shown(address: Option<std::net::IpAddr>) -> String {
    address.map_or_else(|| "-".to_owned(), |address| address.to_string())
}

/// The client's address: the peer's, unless the peer is a trusted proxy that names another. Read
/// from the right, because everything left of the last trusted hop can be forged.
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
