//! Parses addresses in the configuration: the upstream's base URL, origins of pages, networks of proxies.
use super::kind::{Setting, ValueKind};
use crate::upstream::service::{DialectKind, Service};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use url::{Host, ParseError, Url};

/// Origins as browsers send them (`https://host[:port]`, ASCII, lower case, no default port), or `*`.
pub type Origins = Vec<String>;

/// Host names as in URLs: ASCII, lower case, without a trailing dot.
pub type Hosts = Vec<String>;

/// Parses the base URL of the upstream. The path of the result never ends with a slash, unless it is `/`.
fn base_url(text: &str) -> Result<Url, String> {
    let mut url = http_url(text)?;
    if url.query().is_some() {
        return Err("has a query".to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// The fault of a path that belongs to another API, or that is an endpoint and not a base.
pub(super) fn other_api(url: &Url, dialect: DialectKind) -> Option<String> {
    match dialect {
        DialectKind::DashScope => not_of_dashscope(url, url.path()),
        DialectKind::Chat => not_of_chat(url, url.path()),
    }
}

fn base_of(url: &Url, path: &str) -> Url {
    let mut base = url.clone();
    base.set_path(path);
    base
}

fn not_of_chat(url: &Url, path: &str) -> Option<String> {
    for endpoint in ["/chat/completions", "/completions", "/responses", "/models"] {
        if let Some(before) = path.strip_suffix(endpoint) {
            return Some(format!("is an endpoint; leave out its path: {}", base_of(url, before)));
        }
    }
    let native = is_of_dashscope(url) && path.split('/').nth(1) == Some("api");
    native.then(|| {
        let compatible = base_of(url, "/compatible-mode/v1");
        format!("is an address of DashScope's own API; for chat completions it is {compatible}")
    })
}

fn not_of_dashscope(url: &Url, path: &str) -> Option<String> {
    let base = |path: &str| base_of(url, path);
    // The endpoint is added by the client.
    if let Some((before, _)) = path.split_once("/services/aigc/").filter(|_| path.ends_with("/generation")) {
        return Some(format!("is an endpoint; its base URL is {}", base(before)));
    }
    let is_openai = path.split('/').any(|part| part == "compatible-mode")
        || path.ends_with("/chat/completions")
        || path.ends_with("/responses");
    // Another host's own API cannot be known.
    let own = if is_of_dashscope(url) { base("/api/v1").to_string() } else { MAINLAND.to_owned() };
    is_openai.then(|| {
        format!("is an address of the OpenAI-compatible API; DashScope's own is needed, such as {own}")
    })
}

const MAINLAND: &str = "https://dashscope.aliyuncs.com/api/v1";

/// Checks that base URLs and origins share. The parser silently corrects backslashes, line breaks and blanks; here they
/// are reported.
fn http_url(text: &str) -> Result<Url, String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err("has a blank, a control character or a backslash".to_owned());
    }
    let url = Url::parse(text).map_err(|error| match error {
        ParseError::RelativeUrlWithoutBase => "has no scheme".to_owned(),
        other => other.to_string(),
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("scheme is neither http nor https".to_owned());
    }
    // The parser accepts `https:host`, and drops an empty `@`.
    let Some((_, rest)) = text.split_once("://") else {
        return Err("has no `//` after the scheme".to_owned());
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    if authority.contains('@') {
        return Err("has a user name or a password".to_owned());
    }
    if url.fragment().is_some() {
        return Err("has a fragment".to_owned());
    }
    if url.port() == Some(0) {
        return Err("has port 0".to_owned());
    }
    if url.host_str().is_some_and(|host| host.contains('*')) {
        return Err("has a `*` in the host".to_owned());
    }
    Ok(url)
}

/// Whether the host is this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match host(url) {
        Place::Ip(ip) => ip.is_loopback(),
        Place::Name(name) => name == "localhost" || name.ends_with(".localhost"),
    }
}

/// Whether this is the address of a listener on this machine.
pub(super) fn is_listener(url: &Url, listener: SocketAddr) -> bool {
    let ip = listener.ip().to_canonical();
    let is_host = match host(url) {
        Place::Ip(host) => host == ip || (host.is_loopback() && ip.is_unspecified()),
        Place::Name(_) => is_loopback(url) && (ip.is_loopback() || ip.is_unspecified()),
    };
    is_host && url.port_or_known_default() == Some(listener.port())
}

/// Whether the host is an IP address that the public network does not route. False for loopback.
pub(super) fn is_private(url: &Url) -> bool {
    match host(url) {
        Place::Ip(IpAddr::V4(ip)) => is_private_v4(ip),
        Place::Ip(IpAddr::V6(ip)) => {
            ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast()
        }
        Place::Name(_) => false,
    }
}

fn is_private_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b); // Carrier-grade NAT.
    ip.is_private() || ip.is_link_local() || ip.is_multicast() || ip.is_broadcast() || a == 0 || shared
}

fn is_of_dashscope(url: &Url) -> bool {
    match host(url) {
        Place::Name(name) => name == "aliyuncs.com" || name.ends_with(".aliyuncs.com"),
        Place::Ip(_) => false,
    }
}

/// Whether this host is that of a service that answers nothing without a key.
pub(super) fn needs_key(url: &Url) -> bool {
    match host(url) {
        Place::Name(name) => Service::host_needs_key(&name),
        Place::Ip(_) => false,
    }
}

enum Place {
    Ip(IpAddr),
    Name(String),
}

fn host(url: &Url) -> Place {
    match url.host() {
        Some(Host::Ipv4(ip)) => Place::Ip(IpAddr::V4(ip)),
        Some(Host::Ipv6(ip)) => Place::Ip(embedded_v4(ip).map_or(IpAddr::V6(ip), IpAddr::V4)),
        Some(Host::Domain(name)) => Place::Name(name.trim_end_matches('.').to_ascii_lowercase()),
        None => Place::Name(String::new()),
    }
}

/// The IPv4 address within a mapped (`::ffff:a.b.c.d`) or NAT64 (`64:ff9b::a.b.c.d`) one.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    if let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = ip.segments() {
        return Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    }
    ip.to_ipv4_mapped()
}

/// Splits a list at commas and parses every entry. An invalid one is reported by its position, because its text may contain
/// a password.
pub(super) fn list<T: PartialEq>(
    text: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let mut values = Vec::new();
    if text.trim().is_empty() {
        return Ok(values);
    }
    for (index, entry) in text.split(',').map(str::trim).enumerate() {
        let value = read(entry).map_err(|problem| format!("entry {}: {problem}", index + 1))?;
        if !values.contains(&value) {
            values.push(value);
        }
    }
    Ok(values)
}

fn origin(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let url = http_url(text)?;
    if url.path() != "/" || url.query().is_some() {
        return Err("has a path; an origin is `https://host[:port]`".to_owned());
    }
    Ok(url.origin().ascii_serialization())
}

/// Each entry is exactly one host: the operator does not control every host that `*.example.com` would allow.
fn host_name(text: &str) -> Result<String, String> {
    let problem = if text.is_empty() {
        "is empty"
    } else if text.contains("://") {
        "has a scheme; a host name has none"
    } else if text.contains('/') {
        "has a path; a host name has none"
    } else if text.contains('*') {
        "has a `*`; every name is listed by itself"
    } else if text.contains(':') && !text.starts_with('[') || text.contains("]:") {
        "has a port; a host is known under all ports"
    } else {
        let host = Host::parse(text.strip_suffix('.').unwrap_or(text));
        return host.map(|host| host.to_string()).map_err(|_| "is not a host name".to_owned());
    };
    Err(problem.to_owned())
}

fn network(text: &str) -> Result<IpNet, String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    let ip = text.parse::<IpAddr>().map(IpNet::from);
    let net = ip.or_else(|_| text.parse::<IpNet>());
    net.map(|net| net.trunc()).map_err(|_| "neither an address nor a network".to_owned())
}

impl Setting for Url {
    fn read(text: &str, _: &ValueKind) -> Result<Self, String> {
        base_url(text.trim())
    }
    fn show(&self, _: &ValueKind) -> String {
        self.to_string()
    }
}

impl Setting for Origins {
    fn read(text: &str, kind: &ValueKind) -> Result<Self, String> {
        list(text, if matches!(kind, ValueKind::Hosts) { host_name } else { origin })
    }
    fn show(&self, _: &ValueKind) -> String {
        self.join(", ")
    }
}

impl Setting for Vec<IpNet> {
    fn read(text: &str, _: &ValueKind) -> Result<Self, String> {
        list(text, network)
    }
    fn show(&self, _: &ValueKind) -> String {
        self.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", ")
    }
}
