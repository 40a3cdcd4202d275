//! Rejects requests for another host (RFC 9110 §15.5.20), before all routes of both listeners.
use super::{AppState, LOG_PERIOD, client_address, host, shown};
use crate::log_throttle::LogThrottle;
use actix_web::{
    Error, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header,
    middleware::Next,
    web::Data,
};
use tokio::time::Instant;

/// For operators, and for users of a foreign page that points here. Contains nothing of the request.
const BODY: &str = "This gateway does not know the name by which it was asked.\n\
    \n\
    If you run it: list the name that stands in the browser's address bar in server.hosts and restart it.\n\
    Any one of these sets it:\n\
    \n\
    \x20   hosts = [\"NAME\"]                  in tidegate.toml, below [server]\n\
    \x20   TIDEGATE_SERVER__HOSTS=NAME       in its environment\n\
    \x20   HOSTS=NAME docker compose ...     with docker/compose.yaml\n\
    \n\
    IP addresses, names without a dot, this machine's own name, localhost, *.localhost, *.local,\n\
    *.internal, *.home.arpa and the hosts of server.origins need not be listed.\n";

static THROTTLE: LogThrottle = LogThrottle::new(LOG_PERIOD);

/// Passes on requests with one of our hosts or without `Host`. Browsers always send `Host`; HTTP/1.0 clients need not.
pub(super) async fn check(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(state) = request.app_data::<Data<AppState>>().filter(|state| !is_meant(state, &request)) else {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    };
    state.metrics.hosts_rejected.inc();
    if let Some(omitted) = THROTTLE.due(Instant::now().into_std()) {
        let address = client_address(&state.settings, request.request());
        log::warn!(
            address:% = shown(address), omitted = omitted;
            "request rejected: its Host is none of this gateway's names; if people open the gateway by a name, \
             list it in server.hosts"
        );
    }
    let mut response = HttpResponse::MisdirectedRequest();
    response.content_type("text/plain; charset=utf-8");
    response.insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
    Ok(request.into_response(response.body(BODY)))
}

fn is_meant(state: &AppState, request: &ServiceRequest) -> bool {
    let (Some(names), Some(header)) = (&state.settings.hosts, request.headers().get(header::HOST)) else {
        return true;
    };
    // The parser ensures that there is only one.
    header.to_str().is_ok_and(|header| host::is_own(header, names))
}
