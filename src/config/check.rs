//! What no single key can know: contradictions, risky choices, and what serving needs.
use super::{Config, ConfigError, Fault, Origin, address, keys::find, renamed::RENAMED};
use crate::{memory, upstream::dashscope};
use std::time::Duration;

/// Above it two pings no longer fit into the time after which nginx/server.conf cuts a quiet socket.
pub const PING_BEHIND_PROXY: Duration = Duration::from_secs(20);

impl Config {
    /// Finds contradictions between keys. Keys that are themselves at fault hold their default here,
    /// so that `bad` names them and no second fault is made of the first.
    pub(super) fn contradictions(&self, bad: &[String]) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut check = |wrong: bool, key: &str, others: &[&str], problem: String| {
            if wrong && !bad.iter().any(|name| name == key || others.contains(&name.as_str())) {
                faults.push(self.fault(key, problem));
            }
        };
        let (connection, retry, upstream) = (&self.connection, &self.retry, &self.upstream);
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
        let url = &upstream.base_url;
        check(
            url.scheme() == "http" && !address::is_loopback(url) && !upstream.allow_insecure,
            "upstream.base_url",
            &["upstream.allow_insecure"],
            "http to another machine sends the key in the clear; \
             use https, or upstream.allow_insecure = true"
                .to_owned(),
        );
        check(
            address::is_private(url) && !upstream.allow_private,
            "upstream.base_url",
            &["upstream.allow_private"],
            "a private address; only with upstream.allow_private = true".to_owned(),
        );
        faults
    }

    /// What clients may make the process hold in memory, here.
    pub fn memory_limit(&self) -> memory::Limit {
        memory::Limit::new(self.memory.max, |file| std::fs::read_to_string(file).ok())
    }

    /// What a log should say loudly at the start, because it makes the gateway less safe.
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
        let url = &self.upstream.base_url;
        if url.scheme() == "http" && !address::is_loopback(url) {
            warnings.push("upstream.base_url is plain http: the key travels in the clear".to_owned());
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

    /// Who could use the service at the operator's cost. Not for a gateway whose service is simulated.
    pub fn open_to_strangers(&self) -> Option<String> {
        (!self.server.listen.ip().to_canonical().is_loopback()).then(|| {
            format!(
                "server.listen = {} is open to other machines, and there is no log-in: \
                 whoever reaches this address spends your quota",
                self.server.listen
            )
        })
    }

    /// That nobody can open the gateway by a public name yet.
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

    /// What is good to know about a configuration that is not wrong.
    pub fn notes(&self) -> Vec<String> {
        let host = self.upstream.base_url.host_str().unwrap_or_default();
        let region = dashscope::other_region(host);
        let region = region.map(|advice| format!("upstream.base_url: {advice}"));
        self.without_a_name().into_iter().chain(region).collect()
    }

    /// Whether `tidegate serve` can start: there is a key, or an upstream that needs none.
    ///
    /// # Errors
    /// One fault that names the variables of the key and the way without one.
    pub fn check_for_serve(&self) -> Result<(), ConfigError> {
        if self.upstream.api_key.is_some() || !address::needs_key(&self.upstream.base_url) {
            return Ok(());
        }
        let host = self.upstream.base_url.host_str().unwrap_or_default();
        let problem = format!(
            "no key for {host}; set API_KEY, or API_KEY_FILE to the name of a file that holds it. \
             `tidegate demo` runs without a key"
        );
        let fault = Fault { value: None, ..self.fault("upstream.api_key", problem) };
        Err(ConfigError { faults: vec![fault] })
    }

    /// One sentence for each old name in use, with every place where it stands.
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
        find(key).map(|key| (key.show)(self)).unwrap_or_default()
    }

    fn fault(&self, key: &str, problem: String) -> Fault {
        let origin = self.origins.get(key).cloned().unwrap_or(Origin::Default);
        Fault { key: key.to_owned(), origin, value: Some(self.text(key)), problem, allowed: None }
    }
}
