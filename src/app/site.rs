//! What of the configuration the HTTP side wants to know.
use crate::{
    config::{self, Config},
    http::{self, door, exchange},
};
use rustix::system::uname;
use std::time::Duration;
use url::Url;

pub(super) fn settings(config: &Config, simulated: bool) -> http::Settings {
    http::Settings {
        origins: config.server.origins.clone(),
        allow_any_origin: config.server.allow_any_origin,
        hosts: Some(host_names(config)),
        trusted_proxies: config.server.trusted_proxies.clone(),
        model: config.upstream.model.clone(),
        upstream: config.upstream.base_url.host_str().unwrap_or_default().to_owned(),
        simulated,
        queue: config.dispatch.queue_max,
        separate_ops: config.server.ops_listen.is_some(),
        limits: page_limits(config),
        features: page_features(config),
        page: page_words(config),
    }
}

/// Under which the gateway may be asked: as configured, those of the pages that may open a socket, and
/// this machine's own.
fn host_names(config: &Config) -> Vec<String> {
    let origins = config.server.origins.iter().filter_map(|origin| Url::parse(origin).ok());
    let origins = origins.filter_map(|origin| origin.host_str().map(str::to_owned));
    let own = uname().nodename().to_str().ok().map(|name| name.trim_end_matches('.').to_owned());
    config.server.hosts.iter().cloned().chain(origins).chain(own).collect()
}

fn page_limits(config: &Config) -> http::api::Limits {
    let (connection, session) = (&config.connection, &config.session);
    // The table's own ranges are far below 2^64 ms.
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
        reasoning: config.upstream.thinking != config::Thinking::Off,
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

pub(super) fn door(config: &Config) -> door::Settings {
    let http = &config.http;
    door::Settings {
        limits: exchange::Limits {
            header_timeout: http.header_timeout,
            header_bytes_max: http.header_bytes_max,
            body_timeout: http.body_timeout,
            body_bytes_max: http.body_bytes_max as u64,
            takes_bodies: false,
            request_timeout: http.request_timeout,
            idle_timeout: http.idle_timeout,
        },
        write_timeout: http.write_timeout,
        send_buffer: http.send_buffer,
        connections_max: http.connections_max,
        per_address_max: http.connections_per_address_max,
        trusted_proxies: config.server.trusted_proxies.clone(),
    }
}
