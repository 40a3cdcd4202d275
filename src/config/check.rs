//! Checks that involve several keys: contradictions, risky values, and the requirements of `serve`.
use super::{
    Config, ConfigError, Fault, Key, Origin, SECTIONS, SectionName, Upstream, address,
    lookup::{KeyPath, Resolved, resolve},
    renamed::RENAMED,
};
use crate::{
    memory,
    upstream::{dashscope, service::DialectKind},
};
use std::time::Duration;

/// Longest ping interval of which two fit into the idle timeout of nginx/server.conf.
pub const PING_BEHIND_PROXY: Duration = Duration::from_secs(20);

impl Config {
    /// Finds contradictions between keys. `bad` are keys with invalid values, which have their defaults here; they are
    /// ignored, so that one mistake is not reported twice.
    pub(super) fn contradictions(&self, bad: &[String]) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut check = |wrong: bool, key: &str, others: &[&str], problem: String| {
            if wrong && !bad.iter().any(|name| name == key || others.contains(&name.as_str())) {
                faults.push(self.fault(key, problem));
            }
        };
        let (connection, retry) = (&self.connection, &self.retry);
        check(
            self.server.ops_listen == Some(self.server.listen) && self.server.listen.port() != 0,
            "server.ops_listen",
            &["server.listen"],
            "the same as server.listen".to_owned(),
        );
        check(
            self.server.origins.iter().any(|origin| origin == "*") && !self.server.allow_any_origin,
            "server.origins",
            &["server.allow_any_origin"],
            "`*` lets every page of the web in; only with server.allow_any_origin = true".to_owned(),
        );
        check(
            connection.frame_bytes_max < connection.message_bytes_max,
            "connection.frame_bytes_max",
            &["connection.message_bytes_max"],
            format!("less than connection.message_bytes_max = {}", self.text("connection.message_bytes_max")),
        );
        check(
            connection.ping_interval >= connection.idle_timeout,
            "connection.ping_interval",
            &["connection.idle_timeout"],
            format!("not below connection.idle_timeout = {}", self.text("connection.idle_timeout")),
        );
        check(
            retry.backoff_min > retry.backoff_max,
            "retry.backoff_min",
            &["retry.backoff_max"],
            format!("more than retry.backoff_max = {}", self.text("retry.backoff_max")),
        );
        check(
            (1..memory::MIN).contains(&self.memory.max),
            "memory.max",
            &[],
            format!("less than {} MiB; 0 = three quarters of what there is", memory::MIN >> 20),
        );
        faults.extend(self.addresses(bad));
        faults
    }

    /// Faults of the addresses of upstreams.
    fn addresses(&self, bad: &[String]) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut check = |wrong: bool, key: &str, others: &[&str], problem: String| {
            if wrong && !bad.iter().any(|name| name == key || others.contains(&name.as_str())) {
                faults.push(self.fault(key, problem));
            }
        };
        for (name, upstream) in self.upstreams_in_use() {
            let (key, url) = (upstream_key(name), &upstream.base_url);
            check(
                url.scheme() == "http" && !address::is_loopback(url) && !upstream.allow_insecure,
                &key("base_url"),
                &[&key("allow_insecure")],
                format!(
                    "http to another machine sends the key in the clear; use https, or {} = true",
                    key("allow_insecure")
                ),
            );
            let own =
                [("server.listen", Some(self.server.listen)), ("server.ops_listen", self.server.ops_listen)];
            for (listener, address) in own.iter().filter_map(|(key, address)| Some((*key, (*address)?))) {
                check(
                    address::is_listener(url, address),
                    &key("base_url"),
                    &[listener],
                    format!("the gateway's own address, {listener}: it would ask itself"),
                );
            }
            check(
                address::is_private(url) && !upstream.allow_private,
                &key("base_url"),
                &[&key("allow_private")],
                format!("a private address; only with {} = true", key("allow_private")),
            );
        }
        faults
    }

    /// Faults of named sections: too many of a kind, and keys of the unnamed section that none of them inherits.
    pub(super) fn misplaced(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for kind in SECTIONS {
            let named: Vec<_> = self.places.iter().filter(|((of, _), _)| *of == kind.kind).collect();
            if let Some(((_, first), _)) = named.first() {
                for ((_, name), origin) in named.iter().skip(kind.named_max) {
                    let problem = format!(
                        "one section too many: there can be {} with a name, such as {}.{first}",
                        kind.named_max, kind.kind
                    );
                    let key = format!("{}.{name}", kind.kind);
                    faults.push(Fault {
                        key,
                        origin: (*origin).clone(),
                        value: None,
                        problem,
                        allowed: None,
                    });
                }
            }
            let first = named.first().map(|((_, name), _)| name);
            let is_own = |key: &&Key| match (kind.has_unnamed, first) {
                (false, _) => true,
                (true, Some(_)) => !key.is_inherited() && !self.is_unnamed_in_use(),
                (true, None) => false,
            };
            for key in kind.keys.iter().filter(is_own).filter(|key| self.origins.contains_key(key.name)) {
                let problem = match first {
                    Some(first) => {
                        let own = KeyPath::from(key).within(first);
                        let variable = own.variables().pop().unwrap_or_default();
                        format!(
                            "belongs to one {}, and no section inherits it; set {} ({variable})",
                            if kind.has_unnamed { "service" } else { kind.kind },
                            own.name()
                        )
                    }
                    None => format!("belongs to one {0}: write it in a section [{0}.NAME]", kind.kind),
                };
                faults.push(Fault { value: None, ..self.fault(key.name, problem) });
            }
        }
        faults
    }

    /// The memory limit on this machine.
    pub fn memory_limit(&self) -> memory::Limit {
        memory::Limit::new(self.memory.max, |file| std::fs::read_to_string(file).ok())
    }

    /// Warnings for the log at start: settings that make the gateway less secure, and old names.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.server.origins.iter().any(|origin| origin == "*") {
            warnings.push("server.origins has `*`: every page of the web may open a socket".to_owned());
        }
        if self.server.trusted_proxies.iter().any(|net| net.prefix_len() == 0) {
            warnings.push("server.trusted_proxies has everybody: client addresses can be forged".to_owned());
        }
        if self.connection.ping_interval > PING_BEHIND_PROXY {
            warnings.push(format!(
                "connection.ping_interval = {} is slow: proxies cut quiet sockets (nginx/server.conf after 45s); \
                 keep it at 20s or less",
                self.text("connection.ping_interval"),
            ));
        }
        warnings.extend(self.old_name_warnings());
        warnings.extend(self.model_warnings());
        warnings.extend(self.service_warnings());
        for (name, upstream) in self.upstreams_in_use() {
            let url = &upstream.base_url;
            if url.scheme() == "http" && !address::is_loopback(url) {
                let key = upstream_key(name)("base_url");
                warnings.push(format!("{key} is plain http: the key travels in the clear"));
            }
        }
        let place = |origin: &Origin| match origin {
            Origin::Variable(name) => format!("the file that {name} names"),
            other => format!("{other}, which holds the key,"),
        };
        warnings.extend(self.exposed.iter().map(|origin| {
            let place = place(origin);
            format!(
                "{place} can be read by every user of this machine; let its owner alone read it (chmod 600)"
            )
        }));
        warnings
    }

    /// A warning that others can use the service at the operator's cost. Not for a simulated service.
    pub fn open_to_strangers(&self) -> Option<String> {
        (!self.server.listen.ip().to_canonical().is_loopback()).then(|| {
            format!(
                "server.listen = {} is open to other machines, and there is no log-in: \
                 anyone who reaches this address spends your quota",
                self.server.listen
            )
        })
    }

    /// A note that no public name of the gateway is configured.
    pub fn without_a_name(&self) -> Option<String> {
        let server = &self.server;
        let is_reached =
            !server.listen.ip().to_canonical().is_loopback() || !server.trusted_proxies.is_empty();
        (is_reached && server.hosts.is_empty() && server.origins.iter().all(|origin| origin == "*")).then(|| {
            "server.hosts is empty: the gateway is opened by IP address, by a name without a dot or by a local name. \
             If people open it by another name, also by that of a proxy in front of it, list the name there"
                .to_owned()
        })
    }

    /// Notes about a configuration that is valid.
    pub fn notes(&self) -> Vec<String> {
        let native = |upstream: &&Upstream| upstream.service.dialect == DialectKind::DashScope;
        let upstreams = self.upstreams_in_use().into_iter().filter(|(_, upstream)| native(upstream));
        let regions = upstreams.filter_map(|(name, upstream)| {
            let advice = dashscope::other_region(upstream.base_url.host_str().unwrap_or_default())?;
            Some(format!("{}: {advice}", upstream_key(name)("base_url")))
        });
        self.without_a_name().into_iter().chain(regions).collect()
    }

    /// Checks whether `tidegate serve` can start: there is a key, or an upstream that needs none.
    ///
    /// # Errors
    /// One fault that names the variables of the key and the alternative without one.
    pub fn check_for_serve(&self) -> Result<(), ConfigError> {
        let without =
            |upstream: &Upstream| upstream.api_key.is_none() && address::needs_key(&upstream.base_url);
        let upstreams = self.upstreams_in_use().into_iter().filter(|(_, upstream)| without(upstream));
        let faults = upstreams.map(|(name, upstream)| {
            let host = upstream.base_url.host_str().unwrap_or_default();
            let key = upstream_key(name)("api_key");
            let variable = match resolve(&key) {
                Resolved::Value(path, _) => path.variables().pop().unwrap_or_default(),
                _ => String::new(),
            };
            let problem = format!(
                "no key for {host}; set {variable}, or {variable}_FILE to the name of a file that holds it. \
                 `tidegate demo` runs without a key"
            );
            Fault { value: None, ..self.fault(&key, problem) }
        });
        ConfigError::unless_empty(faults.collect())
    }

    /// One sentence for each old name in use, with every place where it is used.
    fn old_name_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (old, new) in RENAMED {
            let places = self.old_names.iter().filter(|used| used.old == *old);
            let places: Vec<_> = places.map(|used| used.origin.to_string()).collect();
            if !places.is_empty() {
                let places = places.join(", ");
                warnings.push(format!(
                    "{old} ({places}) is now {new}; the next release will not accept the old name"
                ));
            }
        }
        warnings
    }

    fn text(&self, key: &str) -> String {
        match resolve(key) {
            Resolved::Value(path, _) => path.show(self),
            _ => String::new(),
        }
    }

    pub(super) fn fault(&self, key: &str, problem: String) -> Fault {
        let origin = self.origins.get(key).cloned().unwrap_or(Origin::Default);
        Fault { key: key.to_owned(), origin, value: Some(self.text(key)), problem, allowed: None }
    }
}

/// The dotted names of an upstream's keys.
pub(super) fn upstream_key(name: Option<&SectionName>) -> impl Fn(&str) -> String {
    let section = name.map_or_else(|| "upstream".to_owned(), |name| format!("upstream.{name}"));
    move |field| format!("{section}.{field}")
}
