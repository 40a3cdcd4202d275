//! HTTP: the connections, the checks before routing and before an upgrade, and the routes for probes, metrics, chats and
//! the page.
pub mod api;
mod auth;
mod connection;
pub mod connection_limiter;
pub mod exchange;
mod framing;
mod hand_over;
mod host;
mod methods;
mod misdirected;
pub mod ops;
mod origin;
pub mod page;
mod request_check;
mod response_body;
#[cfg(test)]
mod tests;
mod upgrade;

pub use connection_limiter::ConnectionLimiter;
pub use ops::ShownUpstream;

use crate::{
    chat::Models,
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

/// Whether any route accepts a body; otherwise every request with one is rejected.
pub const TAKES_BODIES: bool = false;
/// Size of a connection's write buffer, in bytes; when it is full, it is written to the socket.
const WRITE_BUFFER: usize = 16 * 1024;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Origins that may open a WebSocket; empty: only those with the request's own host.
    pub origins: Vec<String>,
    pub allow_any_origin: bool,
    /// Accepted values of `Host`, in addition to names that public DNS does not have; `None`: any.
    pub hosts: Option<Vec<String>>,
    /// Peers whose `X-Forwarded-For` and `X-Forwarded-Proto` are used.
    pub trusted_proxies: Vec<IpNet>,
    /// The model, for clients to see.
    pub model: String,
    /// In the order of the configuration, for `/health`.
    pub upstreams: Vec<ops::ShownUpstream>,
    /// Whether the answers come from the built-in simulator.
    pub simulated: bool,
    /// Capacity of the queue of runs, for `/readyz?verbose`.
    pub queue: usize,
    /// Whether the operator's routes have a listener of their own.
    pub separate_ops: bool,
    /// For `/api/config`.
    pub limits: api::Limits,
    pub features: api::Features,
    pub page: api::Page,
}

impl Settings {
    /// Whether this is the address of a trusted proxy.
    fn trusts(&self, address: &std::net::IpAddr) -> bool {
        is_among(&self.trusted_proxies, address)
    }
}

/// Whether an address is in one of these networks.
fn is_among(networks: &[IpNet], address: &std::net::IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// State that the routes of all workers share.
pub struct AppState {
    pub settings: Settings,
    pub lifecycle: Arc<Lifecycle>,
    pub memory: Arc<Memory>,
    pub registry: Arc<Registry>,
    pub limiter: Arc<ConnectionLimiter>,
    pub metrics: Arc<Metrics>,
    /// What clients may choose.
    pub models: Models,
    pub dispatcher: Addr<Dispatcher>,
    /// For the probes.
    pub dispatch_state: Arc<DispatchState>,
    pub router: Arc<Router>,
    pub started: Instant,
    /// The same, in seconds since 1970.
    pub created: u64,
}

impl AppState {
    /// The parts of it that sessions and connections need.
    pub(crate) fn shared(&self) -> SharedParts {
        SharedParts {
            dispatcher: self.dispatcher.clone(),
            registry: Arc::clone(&self.registry),
            lifecycle: Arc::clone(&self.lifecycle),
            memory: Arc::clone(&self.memory),
            metrics: Arc::clone(&self.metrics),
            models: self.models.clone(),
        }
    }
}

/// The service of the public listener, for one worker.
pub fn service(
    state: Arc<AppState>,
    sockets: Rc<Connections>,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    let limiter = Arc::clone(&state.limiter);
    let routes = move |config: &mut web::ServiceConfig| {
        upgrade::configure(config);
        api::configure(config);
        page::configure(config);
        ops::configure_proxy_probe(config);
        if !state.settings.separate_ops {
            ops::configure(config, ops::Listener::Public);
        }
        config.app_data(web::Data::from(Arc::clone(&state)));
    };
    with_sockets(sockets, limiter, routes)
}

/// A service whose routes may open WebSockets: one App for HTTP requests, and another of the same routes, followed by the
/// upgrade hook, for upgrade requests.
fn with_sockets(
    sockets: Rc<Connections>,
    limiter: Arc<ConnectionLimiter>,
    routes: impl Fn(&mut web::ServiceConfig) + Clone + 'static,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    let app = || {
        let app = App::new().configure(routes.clone());
        let app = app.wrap(from_fn(misdirected::check)).wrap(from_fn(request_check::check));
        let app = app.into_factory().map_err(|error: actix_web::Error| error.error_response());
        map_config(app, |()| AppConfig::default())
    };
    let request_timeout = limiter.limits.request_timeout;
    let upgrade = apply_fn_factory(
        app().map_err(|_| ErrorInternalServerError("")),
        move |(request, framed): (Request, Framed<HttpStream, h1::Codec>), app: &_| {
            let response = timeout(request_timeout, Service::<Request>::call(app, request));
            let sockets = Rc::clone(&sockets);
            async move {
                match response.await {
                    Ok(response) => hand_over::hand_over(sockets, response?, framed).await,
                    Err(_) => Ok(()),
                }
            }
        },
    );
    connections(limiter, builder().upgrade(upgrade).h1(app()))
}

/// The service of the operator's listener, for one worker.
pub fn ops_service(
    state: Arc<AppState>,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    let limiter = Arc::clone(&state.limiter);
    let routes = |config: &mut web::ServiceConfig| ops::configure(config, ops::Listener::Ops);
    let app = App::new().app_data(web::Data::from(state)).configure(routes);
    let app = app.wrap(from_fn(misdirected::check)).wrap(from_fn(request_check::check));
    let app = app.into_factory().map_err(|error: actix_web::Error| error.error_response());
    connections(limiter, builder().h1(map_config(app, |()| AppConfig::default())))
}

/// Settings of the library that all listeners share. Its timeouts are turned off in favour of those of [`HttpStream`],
/// because they do not cover later requests of a connection, bodies, and clients that do not read.
fn builder<S>() -> HttpServiceBuilder<HttpStream, S>
where
    S: ServiceFactory<Request, Config = ()>,
    S::Error: Into<actix_http::Response<BoxBody>> + 'static,
    S::InitError: std::fmt::Debug,
    <S::Service as Service<Request>>::Future: 'static,
{
    HttpServiceBuilder::default()
        .on_connect_ext(request_check::share_exchange)
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(Duration::ZERO)
        .h1_allow_half_closed(false)
        .h1_write_buffer_size(WRITE_BUFFER)
}

/// Admits connections and wraps each socket in an [`HttpStream`] before the library gets it.
fn connections<S>(
    limiter: Arc<ConnectionLimiter>,
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
        let stream = HttpStream::new(io, &limiter).map_err(DispatchError::Io);
        async move { stream }
    })
    .and_then(service)
}

/// Minimum time between two log lines of a kind that clients can provoke; those in between are counted.
const LOG_PERIOD: Duration = Duration::from_secs(60);

static FOREIGN_ORIGINS: LogThrottle = LogThrottle::new(LOG_PERIOD);

/// Whether pages of this request's origin are allowed. If not, that is logged.
fn origin_is_allowed(request: &actix_web::HttpRequest, settings: &Settings) -> bool {
    let values = |name| {
        // A value that is not ASCII is neither a valid origin nor a valid host.
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
            "request rejected: its Origin is another site's; if pages of that site may connect, list it in \
             server.origins"
        );
    }
    is_allowed
}

/// An address for the log.
fn shown(address: Option<std::net::IpAddr>) -> String {
    address.map_or_else(|| "-".to_owned(), |address| address.to_string())
}

/// The client's address: the peer's, or the one that a trusted proxy reports. `X-Forwarded-For` is read from the right,
/// because everything to the left of the first untrusted hop can be forged.
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
