//! Derives the settings of all components from the checked configuration and the machine, once.
use super::{listing::Listing, models, prober::ProbePaths};
use crate::{
    chat::{Catalog, price::PriceList},
    config::{self, Config, SectionName},
    descriptors::{self, Shares},
    dispatch::{self, admission},
    http::{self, ShownUpstream, exchange},
    hub::{self, ChatLimits},
    memory, protocol, session,
    socket::{guard, rate, task, unfinished, worker},
    upstream::{
        Dialect, Limits,
        chat::{self, Chat},
        client,
        dashscope::{self, DashScope},
        json_fields::Extra,
        route,
        service::{Continues, DialectKind},
    },
};
use rustix::system::uname;
use std::{net::SocketAddr, num::NonZero, sync::Arc, thread::available_parallelism, time::Duration};
use url::Url;

/// What stands for the default model where an upstream lists the models.
const LISTED: &str = "listed";

/// How long a run waits for room in the mailbox of its session; then the run is cancelled.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// The resources of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Cores; `server.workers = 0` starts one worker thread for each.
    pub cores: usize,
    /// Limit of open descriptors. The limits of WebSockets and HTTP connections are reduced to what fits.
    pub descriptors: usize,
}

impl Machine {
    /// This machine, with the limits of this process.
    pub fn here() -> Self {
        Machine { cores: available_parallelism().map_or(1, NonZero::get), descriptors: descriptors::limit() }
    }
}

/// The settings of one upstream.
#[derive(Debug)]
pub struct UpstreamSettings {
    pub client: client::Settings,
    pub dialect: Arc<Dialect>,
    pub limits: Limits,
    /// Maximum time between two bytes of an answer.
    pub stall: Duration,
    /// Its name in OpenTelemetry's convention.
    pub provider: &'static str,
    pub probes: ProbePaths,
}

/// The settings of a gateway.
#[derive(Debug)]
pub struct Settings {
    pub listen: SocketAddr,
    pub ops_listen: Option<SocketAddr>,
    /// Worker threads, at least one.
    pub workers: usize,
    pub drain_timeout: Duration,
    /// Limit of open WebSockets: as configured, or as many as the descriptors allow.
    pub connections_max: usize,
    /// Limit of open WebSockets of one source; 0: seven eighths of `connections_max`.
    pub connections_per_source_max: usize,
    pub chats: ChatLimits,
    pub memory: memory::Limit,
    /// One at least.
    pub upstreams: Vec<UpstreamSettings>,
    pub runs: dispatch::Settings,
    pub admission: admission::Settings,
    pub prices: PriceList,
    pub route: route::Settings,
    pub hub: hub::Settings,
    pub session: Arc<session::Settings>,
    /// What clients may choose.
    pub catalog: Catalog,
    /// What upstreams list, if some do.
    pub listing: Option<Listing>,
    pub http_connections: exchange::Limits,
    pub http: http::Settings,
    /// Messages about settings that have less effect than configured, because of the machine.
    pub warnings: Vec<String>,
}

impl Settings {
    /// `simulated`: the answers come from the built-in simulator; shown on the page.
    pub fn new(config: &Config, machine: Machine, simulated: bool) -> Self {
        let workers = if config.server.workers == 0 { machine.cores } else { config.server.workers };
        let wanted =
            Shares { sockets: config.connection.count_max, connections: config.http.connections_max };
        let shares = descriptors::shares(machine.descriptors, wanted, workers, config.dispatch.runs_max);
        let reduced = [
            ("connection.count_max", wanted.sockets, shares.sockets),
            ("http.connections_max", wanted.connections, shares.connections),
        ];
        let reduced = reduced.into_iter().filter(|(_, wanted, effective)| effective < wanted);
        Settings {
            listen: config.server.listen,
            ops_listen: config.server.ops_listen,
            workers,
            drain_timeout: config.server.drain_timeout,
            connections_max: shares.sockets,
            connections_per_source_max: config.connection.count_per_address_max,
            chats: ChatLimits {
                chats: config.session.count_max,
                per_principal: config.session.count_per_principal_max,
            },
            memory: config.memory_limit(),
            upstreams: config
                .upstreams_in_use()
                .into_iter()
                .enumerate()
                .map(|(at, upstream)| upstream_settings(config, at, upstream))
                .collect(),
            runs: run_settings(config),
            admission: config.dispatch,
            prices: config.price_list(),
            route: route::Settings {
                plan: models::plan(config),
                limits: route::Limits {
                    wait: config.route.wait,
                    attempts: config.route.attempts,
                    mid_answer: config.route.mid_answer,
                },
                retry: config.retry,
                breaker: config.breaker,
            },
            hub: hub_settings(config),
            session: Arc::new(session_settings(config)),
            catalog: models::catalog(config),
            listing: models::listing(config),
            http_connections: exchange::Limits { connections_max: shares.connections, ..config.http },
            http: http_settings(config, simulated),
            warnings: reduced
                .map(|(key, wanted, effective)| {
                    format!(
                        "{key} is {effective} instead of {wanted}: only {} files may be open; \
                         raise the hard limit (ulimit -Hn) or lower the key",
                        machine.descriptors
                    )
                })
                .chain(ack_warnings(config))
                .collect(),
        }
    }

    /// The upstreams for the lanes: reads the certificate authorities and sets up TLS.
    ///
    /// # Errors
    /// The setting with which no client can be built.
    pub fn connect_upstreams(&self) -> Result<Vec<dispatch::Upstream>, client::ClientBuildError> {
        let mut tls = client::TlsConfigs::default();
        let upstream = |settings: &UpstreamSettings| {
            let dialect = Arc::clone(&settings.dialect);
            let client = client::ClientConfig::new(&settings.client, dialect.headers(), &mut tls)?;
            let (client, limits, stall) = (Arc::new(client), settings.limits, settings.stall);
            Ok(dispatch::Upstream { client, dialect, limits, stall })
        };
        self.upstreams.iter().map(upstream).collect()
    }
}

/// Where the kernel has no such option.
fn ack_warnings(config: &Config) -> Vec<String> {
    let upstreams = config.upstreams_in_use().into_iter();
    let ignored =
        upstreams.filter(|(_, upstream)| upstream.ack == config::Ack::Lazy && !cfg!(target_os = "linux"));
    let warning =
        |(name, _)| format!("{}.ack = lazy has no effect on this system, only on Linux", section(name));
    ignored.map(warning).collect()
}

/// The section of an upstream.
fn section(name: Option<&SectionName>) -> String {
    name.map_or_else(|| "upstream".to_owned(), |name| format!("upstream.{name}"))
}

fn dialect(upstream: &config::Upstream, extra: Extra) -> Dialect {
    let thinking = match upstream.thinking {
        config::Thinking::Default => None,
        config::Thinking::On => Some(true),
        config::Thinking::Off => Some(false),
    };
    let max_tokens = (upstream.max_tokens > 0).then_some(upstream.max_tokens);
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let headers = upstream.headers.clone();
    match upstream.service.dialect {
        DialectKind::DashScope => Dialect::DashScope(DashScope::new(dashscope::Settings {
            endpoint: upstream.endpoint,
            incremental: upstream.incremental,
            thinking,
            max_tokens,
            continues: upstream.continues() != Continues::No,
            workspace: some(&upstream.workspace),
            headers,
            extra,
        })),
        DialectKind::Chat => Dialect::Chat(Chat::new(chat::Settings {
            thinking,
            thinking_field: upstream.thinking_field(),
            max_tokens,
            token_cap: upstream.token_cap(),
            include_usage: upstream.include_usage(),
            continues: upstream.continues(),
            continue_path: upstream.continue_path(),
            insufficient_quota: upstream.service.insufficient_quota,
            api_version: some(&upstream.api_version),
            headers,
            extra,
        })),
    }
}

fn upstream_settings(
    config: &Config,
    at: usize,
    (name, upstream): (Option<&SectionName>, &config::Upstream),
) -> UpstreamSettings {
    UpstreamSettings {
        client: client::Settings {
            section: section(name),
            base_url: upstream.base_url.clone(),
            api_keys: upstream.api_keys(),
            key_header: upstream.service.key_header,
            ca_file: upstream.ca_file.clone(),
            proxy: upstream.proxy.proxy_for(&upstream.base_url, &config.proxies).cloned(),
            connect_timeout: upstream.connect_timeout,
            lazy_acks: upstream.ack == config::Ack::Lazy,
            first_byte: models::first_byte(config, &section(name), upstream),
        },
        dialect: Arc::new(dialect(upstream, models::extra(config, at, upstream))),
        limits: Limits {
            line_bytes: upstream.line_bytes_max,
            event_bytes: upstream.event_bytes_max,
            answer_bytes: upstream.answer_bytes_max,
        },
        stall: upstream.idle_timeout,
        provider: upstream.service.provider,
        probes: ProbePaths {
            service: upstream.probe_path().map(str::to_owned),
            list: upstream.list_path().map(str::to_owned),
        },
    }
}

fn run_settings(config: &Config) -> dispatch::Settings {
    dispatch::Settings {
        run_time: config
            .upstreams_in_use()
            .iter()
            .map(|(_, upstream)| upstream.run_timeout)
            .max()
            .unwrap_or_default(),
        delivery: DELIVERY_TIMEOUT,
        mailbox: config.dispatch.runs_max,
    }
}

fn saturated(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

fn socket_settings(connection: &config::Connection) -> worker::Settings {
    let fragments = saturated(connection.fragments_max);
    worker::Settings {
        limits: guard::Limits {
            frame_bytes: saturated(connection.frame_bytes_max),
            fragments,
            rate: rate::Allowance::new(
                connection.frames_per_second_max,
                connection.frames_burst_max,
                fragments,
            ),
        },
        bounds: task::Bounds {
            high_water: connection.output_bytes_max,
            slow_client: connection.write_timeout,
        },
        deadlines: unfinished::Deadlines {
            idle: connection.message_idle_timeout,
            total: connection.message_timeout,
            rate_min: connection.message_rate_min,
        },
        send_buffer: connection.send_buffer,
        read_rate: connection.read_rate_max,
    }
}

fn hub_settings(config: &Config) -> hub::Settings {
    let (connection, session) = (&config.connection, &config.session);
    hub::Settings {
        socket: socket_settings(connection),
        transcript_bytes: saturated(session.transcript_bytes_max),
        requests: connection.requests_max,
        messages: protocol::Limits {
            message_bytes: connection.message_bytes_max,
            client_system_prompt: session.client_system_prompt,
        },
        silence: connection.idle_timeout,
        ping: connection.ping_interval,
    }
}

/// The name of the model of those who ask for none.
fn default_model(config: &Config) -> String {
    let models = config.models_in_use();
    models.get(config.default_model()).map_or(LISTED, |model| model.name).to_owned()
}

fn session_settings(config: &Config) -> session::Settings {
    let session = &config.session;
    session::Settings {
        queued_messages_max: session.queued_messages_max,
        subscribers_max: session.subscribers_max,
        detached_timeout: session.detached_timeout,
        idle_timeout: session.idle_timeout,
        replay_time: session.replay_time,
        lag_bytes_max: session.lag_bytes_max,
        history: config.history,
    }
}

fn http_settings(config: &Config, simulated: bool) -> http::Settings {
    let server = &config.server;
    let shown = |upstream: &config::Upstream| ShownUpstream {
        service: upstream.service.name,
        host: upstream.base_url.host_str().unwrap_or_default().to_owned(),
    };
    http::Settings {
        origins: server.origins.clone(),
        allow_any_origin: server.allow_any_origin,
        hosts: Some(host_names(config)),
        trusted_proxies: server.trusted_proxies.clone(),
        model: default_model(config),
        upstreams: config.upstreams_in_use().into_iter().map(|(_, upstream)| shown(upstream)).collect(),
        simulated,
        queue: config.dispatch.queue_max,
        separate_ops: server.ops_listen.is_some(),
        limits: page_limits(config),
        features: page_features(config),
        page: page_words(config),
    }
}

/// Accepted host names: those of `server.hosts`, those of `server.origins`, and this machine's own.
fn host_names(config: &Config) -> Vec<String> {
    let origins = config.server.origins.iter().filter_map(|origin| Url::parse(origin).ok());
    let origins = origins.filter_map(|origin| origin.host_str().map(str::to_owned));
    let own = uname().nodename().to_str().ok().map(|name| name.trim_end_matches('.').to_owned());
    config.server.hosts.iter().cloned().chain(origins).chain(own).collect()
}

fn page_limits(config: &Config) -> http::api::Limits {
    let (connection, session) = (&config.connection, &config.session);
    // The ranges of the keys are far below 2^64 ms.
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    http::api::Limits {
        message_bytes: connection.message_bytes_max,
        transcript_bytes: session.transcript_bytes_max,
        requests: connection.requests_max,
        readers: session.subscribers_max,
        queued_messages: session.queued_messages_max,
        frames_per_second: connection.frames_per_second_max,
        frames_burst: connection.frames_burst_max,
        linger_ms: ms(session.detached_timeout),
        idle_ms: ms(session.idle_timeout),
        retain_ms: ms(session.replay_time),
        silence_ms: ms(connection.idle_timeout),
    }
}

fn page_features(config: &Config) -> http::api::Features {
    http::api::Features {
        stop: true,
        resume: true,
        regenerate: true,
        edit: true,
        queue: config.session.queued_messages_max > 0,
        reasoning: config
            .upstreams_in_use()
            .iter()
            .any(|(_, upstream)| upstream.thinking != config::Thinking::Off),
        client_system_prompt: config.session.client_system_prompt,
    }
}

fn page_words(config: &Config) -> http::api::Page {
    let links = config.page.links.iter();
    http::api::Page {
        title: config.page.title.clone(),
        notice: config.page.notice.clone(),
        links: links
            .map(|link| http::api::PageLink { label: link.label.clone(), url: link.url.to_string() })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_fit_the_machine() {
        let mut config = Config::default();
        let plenty = Settings::new(&config, Machine { cores: 3, descriptors: 1 << 20 }, false);
        assert_eq!(
            (plenty.workers, plenty.connections_max, plenty.http_connections.connections_max),
            (3, 18_000, 4_096)
        );
        assert!(plenty.warnings.is_empty() && !plenty.http.simulated, "{:?}", plenty.warnings);
        // The keys' values, limited by the machine.
        config.server.workers = 2;
        let little = Settings::new(&config, Machine { cores: 3, descriptors: 64 }, true);
        assert_eq!(
            (little.workers, little.connections_max, little.http_connections.connections_max),
            (2, 12, 6)
        );
        assert!(little.http.simulated);
        expect_test::expect![[r#"
            connection.count_max is 12 instead of 18000: only 64 files may be open; raise the hard limit (ulimit -Hn) or lower the key
            http.connections_max is 6 instead of 4096: only 64 files may be open; raise the hard limit (ulimit -Hn) or lower the key"#]]
        .assert_eq(&little.warnings.join("\n"));
        // The configuration itself is unchanged.
        assert_eq!(config.connection.count_max, 18_000);
    }
}
