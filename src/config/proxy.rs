//! The proxy on the way to an upstream: `upstream.proxy`, else the variables that other programs obey.
use super::{
    address::is_loopback,
    environment::Environment,
    fault::{Fault, Origin},
    kind::{Setting, ValueKind},
};
use crate::upstream::transport::Proxy;
use ipnet::IpNet;
use secrecy::SecretString;
use std::net::IpAddr;
use url::{Host, Url};

/// The variables, each stronger than the next.
const PROXY_VARIABLES: [&str; 2] = ["https_proxy", "HTTPS_PROXY"];
const EXCEPTION_VARIABLES: [&str; 2] = ["no_proxy", "NO_PROXY"];
/// The word for no proxy.
const NONE: &str = "none";

/// `upstream.proxy`.
#[derive(Clone, Debug, Default)]
pub enum ProxyChoice {
    /// What the environment says.
    #[default]
    Environment,
    /// No proxy.
    None,
    Through(Proxy),
}

/// What the environment says about proxies.
#[derive(Clone, Debug, Default)]
pub struct ProxyEnvironment {
    proxy: Option<Proxy>,
    exceptions: Vec<Exception>,
}

/// Hosts that are reached without a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    All,
    /// A name and all below it, and the port if it is given.
    Name(String, Option<u16>),
    Network(IpNet),
}

impl ProxyEnvironment {
    /// Reads the variables. One that holds no proxy that can be used is a fault, which is returned with its place.
    pub(super) fn read(source: &dyn Environment) -> Result<Self, Box<Fault>> {
        let variables = source.variables();
        let find = |names: [&'static str; 2]| {
            names.into_iter().find_map(|wanted| {
                let found = variables.iter().find(|(name, _)| name == wanted)?;
                found.1.to_str().filter(|text| !text.trim().is_empty()).map(|text| (wanted, text.trim()))
            })
        };
        let fault = |name: &str, problem: String| {
            let problem = format!("{problem}; upstream.proxy = \"{NONE}\" does without");
            let origin = Origin::Variable(name.to_owned());
            Box::new(Fault { key: String::new(), origin, value: None, problem, allowed: None })
        };
        let proxy = find(PROXY_VARIABLES)
            .map(|(name, text)| proxy(text).map_err(|problem| fault(name, problem)))
            .transpose()?;
        let exceptions = find(EXCEPTION_VARIABLES).map_or("", |(_, text)| text);
        let exceptions = exceptions.split([',', ' ']).filter(|entry| !entry.is_empty()).map(exception);
        Ok(ProxyEnvironment { proxy, exceptions: exceptions.collect() })
    }

    /// The proxy for this address. The machine itself and plain http are reached without one.
    fn proxy_for(&self, url: &Url) -> Option<&Proxy> {
        let is_meant = url.scheme() == "https"
            && !is_loopback(url)
            && !self.exceptions.iter().any(|exception| exception.has(url));
        self.proxy.as_ref().filter(|_| is_meant)
    }
}

impl ProxyChoice {
    /// Whether this address is reached as the environment says.
    pub(super) fn is_of_environment(&self, url: &Url) -> bool {
        matches!(self, ProxyChoice::Environment) && url.scheme() == "https" && !is_loopback(url)
    }

    /// The proxy on the way to this address.
    pub fn proxy_for<'a>(&'a self, url: &Url, environment: &'a ProxyEnvironment) -> Option<&'a Proxy> {
        match self {
            ProxyChoice::Environment => environment.proxy_for(url),
            ProxyChoice::None => None,
            ProxyChoice::Through(proxy) => Some(proxy),
        }
    }
}

impl Exception {
    fn has(&self, url: &Url) -> bool {
        match (self, url.host()) {
            (Exception::All, _) => true,
            (Exception::Name(name, port), Some(Host::Domain(host))) => {
                let host = host.trim_end_matches('.');
                let is_below = host
                    .strip_suffix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
                is_below && port.is_none_or(|port| url.port_or_known_default() == Some(port))
            }
            (Exception::Network(network), Some(Host::Ipv4(ip))) => network.contains(&IpAddr::V4(ip)),
            (Exception::Network(network), Some(Host::Ipv6(ip))) => network.contains(&IpAddr::V6(ip)),
            _ => false,
        }
    }
}

fn exception(text: &str) -> Exception {
    let network = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse::<IpNet>());
    match network {
        _ if text == "*" => Exception::All,
        Ok(network) => Exception::Network(network),
        Err(_) => {
            let (name, port) = match text.rsplit_once(':') {
                Some((name, port)) => (name, port.parse().ok()),
                None => (text, None),
            };
            let name = name.trim_start_matches('*').trim_start_matches('.');
            Exception::Name(name.to_ascii_lowercase(), port)
        }
    }
}

/// Parses `http://[user[:password]@]host[:port]`, also without the scheme.
fn proxy(text: &str) -> Result<Proxy, String> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&with_scheme).map_err(|_| "not the address of a proxy".to_owned())?;
    if url.scheme() != "http" {
        return Err("the scheme of a proxy is http: it is asked for a tunnel".to_owned());
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("the address of a proxy has no path".to_owned());
    }
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err("not the address of a proxy".to_owned());
    };
    let credentials = if url.username().is_empty() {
        None
    } else {
        let decoded = (decode(url.username()), decode(url.password().unwrap_or_default()));
        let (Some(user), Some(password)) = decoded else {
            return Err("the user name or the password is not encoded as in an address".to_owned());
        };
        Some(SecretString::from(format!("{user}:{password}")))
    };
    Ok(Proxy { host: host.trim_matches(['[', ']']).to_owned(), port, credentials })
}

/// Decodes `%` and two digits to a byte.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = rest.get(2..)?;
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains(char::is_control))
}

impl Setting for ProxyChoice {
    fn read(text: &str, _: &ValueKind) -> Result<Self, String> {
        match text.trim() {
            "" => Ok(ProxyChoice::Environment),
            NONE => Ok(ProxyChoice::None),
            text => proxy(text).map(ProxyChoice::Through),
        }
    }
    fn show(&self, _: &ValueKind) -> String {
        match self {
            ProxyChoice::Environment => String::new(),
            ProxyChoice::None => NONE.to_owned(),
            ProxyChoice::Through(Proxy { host, port, credentials }) => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                let user = if credentials.is_some() { "(set)@" } else { "" };
                format!("http://{user}{host}:{port}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Map;

    fn through(text: &str) -> Result<String, String> {
        ProxyChoice::read(text, &ValueKind::Proxy).map(|choice| choice.show(&ValueKind::Proxy))
    }

    #[test]
    fn a_proxy_is_read_and_its_credentials_are_not_shown() {
        for (text, shown) in [
            ("", ""),
            ("none", "none"),
            ("http://proxy.example:3128", "http://proxy.example:3128"),
            ("proxy.example:3128/", "http://proxy.example:3128"),
            ("http://proxy.example", "http://proxy.example:80"),
            ("http://[::1]:3128", "http://[::1]:3128"),
            ("http://user:CANARY@10.0.0.1:3128", "http://(set)@10.0.0.1:3128"),
        ] {
            assert_eq!(through(text).as_deref(), Ok(shown));
        }
        for text in ["https://p:1", "socks5://p:1", "http://p:1/path", "http://", "http://u:%zz@p:1", "a b"] {
            assert!(through(text).is_err(), "{text}");
        }
        let choice = ProxyChoice::read("http://us%40er:p%3Aw@h:1", &ValueKind::Proxy).unwrap();
        let ProxyChoice::Through(Proxy { credentials: Some(credentials), .. }) = choice else { panic!() };
        assert_eq!(secrecy::ExposeSecret::expose_secret(&credentials), "us@er:p:w");
    }

    #[test]
    fn the_environment_names_a_proxy_and_its_exceptions() {
        let source = Map::default()
            .variable("HTTPS_PROXY", "http://weaker:1")
            .variable("https_proxy", "http://proxy:3128")
            .variable("NO_PROXY", "corp.example,.inner.example, other.example:8443,10.0.0.0/8,fd00::1");
        let environment = ProxyEnvironment::read(&source).unwrap();
        for (url, is_through) in [
            ("https://dashscope.aliyuncs.com/api/v1", true),
            ("http://dashscope.aliyuncs.com/api/v1", false),
            ("https://localhost:8443", false),
            ("https://127.0.0.1", false),
            ("https://corp.example", false),
            ("https://llm.corp.example.", false),
            ("https://notcorp.example", true),
            ("https://a.inner.example", false),
            ("https://other.example", true),
            ("https://other.example:8443", false),
            ("https://10.1.2.3", false),
            ("https://11.1.2.3", true),
            ("https://[fd00::1]", false),
        ] {
            let proxy = ProxyChoice::Environment.proxy_for(&url.parse().unwrap(), &environment).cloned();
            assert_eq!(proxy.map(|proxy| proxy.host).as_deref(), is_through.then_some("proxy"), "{url}");
        }
        let none = |url: &str| ProxyChoice::None.proxy_for(&url.parse().unwrap(), &environment).is_none();
        assert!(none("https://dashscope.aliyuncs.com"));
        let all = ProxyEnvironment::read(&source.variable("no_proxy", "*")).unwrap();
        assert!(all.proxy_for(&"https://a.example".parse().unwrap()).is_none());
        let fault = ProxyEnvironment::read(&Map::default().variable("HTTPS_PROXY", "socks5://u:CANARY@p:1"));
        let fault = fault.unwrap_err().to_string();
        assert!(
            fault.starts_with("HTTPS_PROXY: the scheme of a proxy is http") && !fault.contains("CANARY"),
            "{fault}"
        );
    }
}
