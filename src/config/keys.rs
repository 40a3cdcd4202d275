//! The table of sections and their keys: name, type, default, allowed values and purpose.
#[macro_use]
mod macros;

use super::{
    Origin,
    address::{Hosts, Origins},
    kind::{Setting, ValueKind},
    links::Links,
    proxy::{ProxyChoice, ProxyEnvironment},
    renamed::OldName,
    section::{SectionName, SectionNames},
    service::Headers,
    targets::Levels,
    value::{Ack, Choice, ModelThinking, Names, Thinking},
};
use crate::{
    chat::price::{Currency, Price},
    logging::Format,
    upstream::{
        dashscope::Endpoint,
        json_fields::JsonFields,
        route::{MidAnswer, plan::KeysLimited},
        service::{Continues, ModelSource, Service, ThinkingField, TokenCap},
    },
};
use ipnet::IpNet;
use secrecy::SecretString;
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};
use url::Url;

/// The weakest place where each named section occurs, by its kind and name.
pub type Places = BTreeMap<(&'static str, SectionName), Origin>;

/// One row of the table.
pub struct Key {
    /// Dotted name, as in the file and in `--set`.
    pub name: &'static str,
    /// The default in its text form; empty = nothing.
    pub default: &'static str,
    /// How the text form is parsed, with the allowed range.
    pub kind: ValueKind,
    /// One line for people.
    pub help: &'static str,
    /// Only of keys whose sections can have a name or none: each of these has one.
    pub(super) scope: Option<Scope>,
    /// Parses the text form into its field; the error never contains the text.
    pub(super) set: fn(&mut Config, Option<&SectionName>, &str) -> Result<(), String>,
    /// The field in its text form.
    pub(super) show: fn(&Config, Option<&SectionName>) -> String,
}

/// Where the value of a key in a section without a name holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// In named sections too, unless they have their own.
    Shared,
    /// The same. It is about the way to a real service, so the simulated one of the demo has its own value.
    Real,
    /// Only there: it belongs to one service, and an API key would be sent to another host. The simulated service has its
    /// own value.
    Own,
}

/// A kind of section, with its keys.
pub struct Section {
    /// The name in brackets in the file: `server`.
    pub kind: &'static str,
    /// How many sections `[kind.NAME]` there may be; 0 = only `[kind]`.
    pub named_max: usize,
    /// Whether there can be a section `[kind]` without a name.
    pub has_unnamed: bool,
    /// In the order of the documentation.
    pub keys: &'static [Key],
    /// Creates the section of this name, if it does not exist.
    pub(super) open: fn(&mut Config, &SectionName),
    /// The names of its sections.
    pub(super) names: fn(&Config) -> Vec<&SectionName>,
}

/// The struct of one kind of section.
trait Group: Sized {
    /// Every field at the default of the table.
    fn at_defaults() -> Self;
    /// The section of this name, if it exists; without a name, the one that always exists.
    fn of<'a>(config: &'a Config, name: Option<&SectionName>) -> Option<&'a Self>;
    /// The same, mutable; a named section is created.
    fn of_mut<'a>(config: &'a mut Config, name: Option<&SectionName>) -> &'a mut Self;
    /// The names of the named sections.
    fn names(config: &Config) -> Vec<&SectionName>;
}

#[expect(clippy::expect_used, reason = "literals of this file; the default configuration is made in a test")]
fn literal<T: Setting>(text: &str, kind: &ValueKind) -> T {
    T::read(text, kind).expect("the table's own default")
}

const MS: u64 = 1;
const SEC: u64 = 1000 * MS;
const MIN: u64 = 60 * SEC;
const HOUR: u64 = 60 * MIN;
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

const fn time(min: u64, max: u64) -> ValueKind {
    ValueKind::Duration(Duration::from_millis(min), Duration::from_millis(max))
}

const fn moment() -> ValueKind {
    ValueKind::MaybeDuration(Duration::from_millis(100 * MS), Duration::from_millis(10 * MIN))
}

const FLAG: ValueKind = ValueKind::Bool;

sections! {
    /// The listeners, the public names and the worker threads.
    server: Server {
        listen: SocketAddr = "127.0.0.1:8000", ValueKind::Address, "where browsers and clients connect";
        ops_listen: Option<SocketAddr> = "", ValueKind::MaybeAddress,
            "where `/metrics` and the operator's routes are served; empty = with everything else";
        workers: usize = "0", ValueKind::Count(0, 512), "worker threads; 0 = one per core";
        drain_timeout: Duration = "30s", time(SEC, HOUR), "how long running answers may take to finish at shutdown";
        trusted_proxies: Vec<IpNet> = "", ValueKind::Networks,
            "proxies whose information about the client's address is used";
        origins: Origins = "", ValueKind::Origins,
            "pages that may open a WebSocket; empty = those of the gateway's own host";
        hosts: Hosts = "", ValueKind::Hosts,
            "names under which people open the gateway; IP addresses, names without a dot and local names need not be listed";
        allow_any_origin: bool = "false", FLAG, "makes `*` in `server.origins` possible; for development";
    }
    /// WebSockets: how many there may be, what a client may send, and what happens to a slow one.
    connection: Connection {
        count_max: usize = "18000", ValueKind::Count(1, 10_000_000),
            "open WebSockets of the process; keep it below the limit of open files";
        count_per_address_max: usize = "0", ValueKind::Count(0, 10_000_000),
            "open WebSockets of one client address (of an IPv6 /64); 0 = seven eighths of `connection.count_max`";
        message_bytes_max: usize = "64KiB", ValueKind::Bytes(1, MIB), "one message of a client";
        frame_bytes_max: usize = "128KiB", ValueKind::Bytes(1, 16 * MIB),
            "one WebSocket frame, or what its fragments make together";
        fragments_max: usize = "1024", ValueKind::Count(1, 1_000_000), "fragments of one message";
        frames_per_second_max: u32 = "20", ValueKind::Count(0, 1_000_000),
            "frames that a client may send in the long run, pings and pongs counted; 0 = no limit";
        frames_burst_max: u32 = "40", ValueKind::Count(2, 1_000_000),
            "frames that it may send at once; the fragments of one message count as a quarter of them at most";
        requests_max: usize = "64", ValueKind::Count(1, 10_000), "requests that a WebSocket on `/api/chat` may have open";
        message_idle_timeout: Duration = "30s", time(100 * MS, HOUR),
            "longest pause inside a message that a client has begun to send";
        message_timeout: Duration = "60s", time(100 * MS, HOUR),
            "longest time for a whole message, without that for its length";
        message_rate_min: u32 = "4096", ValueKind::Count(1, 1_000_000_000),
            "bytes per second at which the length of a message adds to `connection.message_timeout`";
        read_rate_max: usize = "32MiB", ValueKind::Bytes(MIB, 16 * KIB * MIB),
            "bytes per second that a worker thread reads from WebSockets, each read as 2 KiB at least; near it, client networks take turns";
        output_bytes_max: usize = "32KiB", ValueKind::Bytes(4 * KIB, MIB),
            "unsent output at which a WebSocket accepts no more";
        send_buffer: usize = "16KiB", ValueKind::Bytes(4 * KIB, 16 * MIB), "kernel send buffer of a WebSocket";
        write_timeout: Duration = "12s", time(SEC, 10 * MIN),
            "a WebSocket with output and no progress is closed after this time";
        idle_timeout: Duration = "30s", time(SEC, HOUR),
            "a WebSocket from which nothing arrives, not even a pong, is closed after this time";
        ping_interval: Duration = "15s", time(100 * MS, HOUR), "time between pings; below `connection.idle_timeout`";
    }
    /// Plain HTTP connections, up to the answer or to the upgrade.
    http: Http = crate::http::exchange::Limits {
        header_timeout: Duration = "5s", time(100 * MS, 10 * MIN),
            "a connection whose request has no complete head by then is closed; counted from the connection or from the request's first byte";
        header_bytes_max: usize = "40KiB", ValueKind::Bytes(KIB, 128 * KIB), "the head of a request";
        body_timeout: Duration = "10s", time(100 * MS, 10 * MIN),
            "the body of a request must be complete by then, counted from its head; no route takes a body yet";
        body_bytes_max: usize = "1MiB", ValueKind::Bytes(1, 64 * MIB),
            "the body of a request; no route takes a body yet";
        request_timeout: Duration = "60s", time(SEC, HOUR),
            "a request must be answered by then and its answer received, counted from its head";
        write_timeout: Duration = "12s", time(SEC, 10 * MIN),
            "a connection whose client does not read its answer is reset after this time without progress";
        idle_timeout: Duration = "5s", time(100 * MS, HOUR),
            "a connection is kept for the next request; a proxy in front must close its own sooner";
        connections_max: usize = "4096", ValueKind::Count(8, 1_000_000),
            "open HTTP connections, without WebSockets; beyond it, the client address with the most loses the one that waits longest";
        connections_per_address_max: usize = "512", ValueKind::Count(0, 1_000_000),
            "the same of one client address (IPv6: /64), `server.trusted_proxies` excepted; 0 = no cap";
        send_buffer: usize = "32KiB", ValueKind::Bytes(4 * KIB, 16 * MIB), "kernel send buffer of a connection";
    }
    /// What clients may make the process hold in memory, all together.
    memory: Memory {
        max: usize = "0", ValueKind::Bytes(0, 1 << 44),
            "memory for sockets, messages, conversations and answers together, at least 64MiB; at the bound those who hold most give back first; 0 = three quarters of the control group's limit or of the machine's memory";
    }
    /// Conversations: how they start, how long they are kept, and what may wait in one.
    session: Session {
        system_prompt: String = "", ValueKind::Text(64 * KIB),
            "instructions to the model, before every conversation";
        client_system_prompt: bool = "false", FLAG,
            "accept instructions to the model in the transcripts of clients";
        count_max: usize = "20000", ValueKind::Count(1, 10_000_000),
            "conversations of `/api/chat` that are kept; beyond it the client address with the most gives up an idle one";
        count_per_principal_max: usize = "100", ValueKind::Count(1, 100_000), "the same, of one browser";
        subscribers_max: usize = "8", ValueKind::Count(1, 1000),
            "requests that may follow one conversation at the same time; the oldest gives way";
        queued_messages_max: usize = "8", ValueKind::Count(0, 1000), "messages that wait while an answer is running";
        transcript_bytes_max: usize = "1MiB", ValueKind::Bytes(KIB, 16 * MIB),
            "one frame on `/api/chat`, which may hold a whole conversation";
        lag_bytes_max: usize = "32KiB", ValueKind::Bytes(KIB, 16 * MIB),
            "how far all subscribers may be behind before the upstream has to wait";
        detached_timeout: Duration = "60s", time(100 * MS, HOUR),
            "how long an answer goes on without a subscriber";
        idle_timeout: Duration = "30m", time(SEC, 24 * HOUR), "how long a conversation without subscribers is kept";
        replay_time: Duration = "120s", time(SEC, HOUR), "how long a finished answer can be followed again";
    }
    /// How much of a conversation goes to the model.
    history: History = crate::chat::Budget {
        tokens_max: u32 = "32000", ValueKind::Count(1, 10_000_000), "estimated tokens of one request";
        bytes_max: usize = "256KiB", ValueKind::Bytes(KIB, 64 * MIB), "bytes of text of one request";
        messages_max: usize = "200", ValueKind::Count(1, 100_000), "messages of one request";
    }
    /// Admission of runs.
    dispatch: Dispatch = crate::dispatch::admission::Settings {
        runs_max: usize = "4096", ValueKind::Count(1, 1_000_000), "answers that are written at the same time; from four on, one client address has at most seven eighths of them";
        queue_max: usize = "1024", ValueKind::Count(0, 1_000_000), "messages that may wait for a free slot or for room at an upstream; the address that holds the fewest slots is next";
        queue_timeout: Duration = "30s", time(100 * MS, 10 * MIN), "how long a message may wait for a free slot or for room at an upstream";
    }
    /// The language model's service.
    upstream (many upstreams 64): Upstream {
        service: &'static Service = "dashscope", ValueKind::Choice(&Service::NAMES),
            "which service or engine it is; the address, the fields of requests and more follow from it", Own;
        base_url: Url = "https://dashscope.aliyuncs.com/api/v1", ValueKind::Url,
            "the service, without the endpoint's path; if not set, that of `upstream.service`", Own;
        model: String = "qwen-plus", ValueKind::Word(1, 128),
            "the model that answers; must be set where the service is not one of DashScope's and does not list its models", Shared;
        api_key: Option<SecretString> = "", ValueKind::Secret,
            "the service's key, or several; every variable for it has a twin in `_FILE` that names a file holding it, one key in a line", Own;
        api_key_env: String = "", ValueKind::Variable,
            "the variable that holds the key, or with `_FILE` behind it the name of a file; empty = the variables of `upstream.api_key`", Own;
        models: Option<ModelSource> = "", ValueKind::ByService(ModelSource::NAMES),
            "where the models come from: the configuration, or the service's own list, which is asked for again and again. Engines list them unless a model is configured; then `upstream.model` names the default", Own;
        list_path: String = "", ValueKind::Word(0, 256),
            "where the models are listed, below `upstream.base_url`; empty = as the service has it", Own;
        probe_path: String = "", ValueKind::Word(0, 256),
            "what answers while the upstream works, from the root of its host; asked after failures; empty = as the service has it, else the list", Own;
        context: u32 = "0", ValueKind::Count(0, 10_000_000),
            "tokens of a request and its answer, for its models that have no size of their own; 0 = unknown", Real;
        api_version: String = "", ValueKind::Word(0, 32), "Azure, by deployment: the version of its interface", Own;
        headers: Headers = "", ValueKind::Headers, "further headers of every request, such as `OpenAI-Organization: org`", Own;
        extra: JsonFields = "", ValueKind::Fields,
            "further fields of every request; for DashScope's own dialect in its `parameters`", Own;
        token_cap_field: Option<TokenCap> = "", ValueKind::ByService(TokenCap::NAMES),
            "the field for `upstream.max_tokens`", Own;
        thinking_field: Option<ThinkingField> = "", ValueKind::ByService(ThinkingField::NAMES),
            "the field for `upstream.thinking`", Own;
        include_usage: Option<bool> = "", ValueKind::ByService(&["true", "false"]),
            "ask for token counts (`stream_options`)", Own;
        continues: Option<Continues> = "", ValueKind::ByService(Continues::NAMES),
            "how an answer that broke off is continued: by a field of its last message, by a field of the request, or by the last message alone", Own;
        endpoint: Endpoint = "auto", ValueKind::Choice(Endpoint::NAMES),
            "which endpoint of the service; auto = by the model's name", Shared;
        incremental: bool = "true", FLAG, "ask for new text only instead of the text so far", Shared;
        thinking: Thinking = "default", ValueKind::Choice(Thinking::NAMES), "whether the model thinks first", Shared;
        max_tokens: u32 = "0", ValueKind::Count(0, 10_000_000), "longest answer in tokens; 0 = not sent", Shared;
        workspace: String = "", ValueKind::Word(0, 128), "DashScope workspace; empty = not sent", Own;
        ca_file: Option<PathBuf> = "", ValueKind::Path,
            "certificate authorities in PEM, trusted instead of the public ones; empty = the public ones", Real;
        proxy: ProxyChoice = "", ValueKind::Proxy,
            "HTTP proxy through which the service is reached by a tunnel; empty = that of `HTTPS_PROXY`, for https and unless `NO_PROXY` excludes the host", Real;
        allow_insecure: bool = "false", FLAG, "makes plain http to another machine possible", Own;
        allow_private: bool = "false", FLAG, "makes private and link-local addresses possible", Own;
        connect_timeout: Duration = "5s", time(100 * MS, MIN), "to connect, TLS included; for twice as long a kept connection may leave a request unacknowledged", Shared;
        first_byte_timeout: Duration = "60s", time(100 * MS, 10 * MIN),
            "from the request to the first byte of the answer", Shared;
        first_token_timeout: Option<Duration> = "", moment(),
            "from the request to the first text or thinking, while another target could be asked instead; empty = 30s or 300s, by the service", Shared;
        first_token_timeout_last: Option<Duration> = "", moment(),
            "the same where none could; empty = 60s or 300s, by the service, and `upstream.first_byte_timeout` at least", Shared;
        text_timeout: Option<Duration> = "", moment(),
            "between two pieces of text or thinking, while another target could begin the answer anew; empty = 20s", Shared;
        text_timeout_last: Option<Duration> = "", moment(),
            "the same where none could; empty = 60s, and `upstream.idle_timeout` at least", Shared;
        keys_limited: KeysLimited = "together", ValueKind::Choice(KeysLimited::NAMES),
            "whether its keys share the limits of one billing account; apart = each has its own", Shared;
        runs_max: usize = "0", ValueKind::Count(0, 1_000_000), "answers that it writes at the same time, further ones wait or are written elsewhere; 0 = no limit", Shared;
        idle_timeout: Duration = "60s", time(100 * MS, 10 * MIN), "between two bytes of the answer", Shared;
        run_timeout: Duration = "300s", time(SEC, HOUR), "a whole answer", Shared;
        ack: Ack = "prompt", ValueKind::Choice(Ack::NAMES),
            "when the pieces of an answer are acknowledged; lazy = several at once, for a service that is known to send without Nagle's algorithm; Linux only", Shared;
        line_bytes_max: usize = "256KiB", ValueKind::Bytes(KIB, 16 * MIB), "one line of the event stream", Shared;
        event_bytes_max: usize = "1MiB", ValueKind::Bytes(KIB, 64 * MIB), "one event of the stream", Shared;
        answer_bytes_max: usize = "4MiB", ValueKind::Bytes(KIB, 64 * MIB), "text of one answer", Shared;
    }
    /// A model that clients may ask for. Never set: each has a section with a name.
    model (many models 256 only): Model {
        name: String = "", ValueKind::Word(0, 128), "what clients call it; empty = the name of its section";
        title: String = "", ValueKind::Line(128), "its name for people; empty = the same as for clients";
        aliases: Names = "", ValueKind::Names(16), "further names that clients may use";
        upstreams: Levels = "", ValueKind::Targets,
            "where it is answered, one level per entry; a level is used when none before it can be";
        fallback: SectionNames = "", ValueKind::Sections(8),
            "models that answer when none of its upstreams can, by their sections, in order";
        context: u32 = "0", ValueKind::Count(0, 10_000_000),
            "tokens of a request and its answer together; 0 = the smallest `upstream.context` of its targets";
        thinking: ModelThinking = "default", ValueKind::Choice(ModelThinking::NAMES),
            "whether it thinks first; default = as `upstream.thinking` says, always = this cannot be switched off";
        max_tokens: u32 = "0", ValueKind::Count(0, 10_000_000),
            "longest answer in tokens; 0 = `upstream.max_tokens`";
        temperature: Option<f32> = "", ValueKind::Decimal(0.0, 2.0), "how freely it words its answers; empty = not sent";
        top_p: Option<f32> = "", ValueKind::Share, "the share of likely words that it picks from; empty = not sent";
        client: Names = "", ValueKind::Subset(&["temperature", "top_p", "max_tokens", "thinking"]),
            "what a client may set for an answer; empty = nothing";
        system_prompt: String = "", ValueKind::Text(64 * KIB),
            "instructions to this model; empty = `session.system_prompt`";
        extra: JsonFields = "", ValueKind::Fields,
            "further fields of every request for this model, at each of its targets; over those of `upstream.extra`";
        first_token_timeout: Option<Duration> = "", moment(), "as `upstream.first_token_timeout`, for this model";
        first_token_timeout_last: Option<Duration> = "", moment(), "as `upstream.first_token_timeout_last`, for this model";
        text_timeout: Option<Duration> = "", moment(), "as `upstream.text_timeout`, for this model";
        text_timeout_last: Option<Duration> = "", moment(), "as `upstream.text_timeout_last`, for this model";
        price_input: Option<Price> = "", ValueKind::Price,
            "price of a million input tokens in `route.currency`; empty = not known, 0 = free";
        price_cached: Option<Price> = "", ValueKind::Price,
            "the same of input that the service had in its cache; empty = as other input";
        price_output: Option<Price> = "", ValueKind::Price, "the same of output, reasoning included";
        hidden: bool = "false", FLAG, "not offered to clients, only a fallback of other models";
    }
    /// Which model answers.
    route: Route {
        default: String = "", ValueKind::Word(0, 128),
            "the section or name of the model of clients that ask for none; empty = the only one";
        wait: Duration = "3s", time(0, MIN),
            "the longest stated time that is waited for a target where another could answer later";
        attempts: u32 = "6", ValueKind::Count(1, 20), "attempts of one answer at all targets together, where there are several";
        mid_answer: MidAnswer = "restart", ValueKind::Choice(MidAnswer::NAMES),
            "what follows an answer that breaks off after some of it was shown, once: restart = another target begins it anew; continue = one with the same model goes on with it, also where there is one target, else as restart; off = it ends incomplete";
        currency: Option<Currency> = "", ValueKind::Currency, "the currency of all prices of models";
    }
    /// Second attempts, made only while nothing of an answer was shown.
    retry: Retry = crate::upstream::route::retry::Settings {
        attempts: u32 = "3", ValueKind::Count(1, 10), "attempts in all; 1 = no second one";
        backoff_min: Duration = "500ms", time(MS, MIN),
            "longest pause before the second attempt; doubles with each attempt";
        backoff_max: Duration = "8s", time(MS, 10 * MIN), "longest pause of all";
        retry_after_max: Duration = "60s", time(SEC, HOUR), "longest `Retry-After` that is waited for";
        budget_percent: u32 = "10", ValueKind::Count(0, 100),
            "retries per hundred runs, so that an outage is not multiplied";
    }
    /// When an upstream that fails is left alone.
    breaker: Breaker = crate::upstream::breaker::Settings {
        failures: u32 = "5", ValueKind::Count(0, 1000),
            "failures in a row after which the upstream is left alone; 0 = never. Failures that a message could have caused must be of three client addresses";
        failure_percent: u32 = "50", ValueKind::Count(1, 100),
            "percentage of failures, of at least 20 attempts within `breaker.window`, that does the same";
        window: Duration = "10s", time(SEC, 10 * MIN), "how long an attempt counts for `breaker.failure_percent`";
        open_time: Duration = "5s", time(100 * MS, 10 * MIN),
            "how long it is left alone before one attempt tries it again; an address that failed waits twice as long";
    }
    /// What the page shows on the operator's behalf.
    page: Page {
        title: String = "", ValueKind::Line(120), "name of the page, in its header and in the browser's tab; empty = Tidegate";
        notice: String = "", ValueKind::Line(KIB), "a sentence above the box, which a reader can put away; empty = none";
        links: Links = "", ValueKind::Links, "links below the list of conversations, such as help or terms of use";
    }
    /// What is written to standard error.
    log: Log {
        format: Format = "plain", ValueKind::Choice(Format::NAMES),
            "spelling of a log line; `RUST_LOG` chooses which";
    }
}
