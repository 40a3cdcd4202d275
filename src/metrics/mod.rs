//! Every metric, declared once. Label values are from closed sets: never an ID, never a text from outside. Counters and
//! gauges are exported as 0 from the start, so that `rate()` sees their first event.
mod codes;
mod inference;
mod names;
mod process;
mod upstreams;

pub use codes::Codes;
pub use inference::{Inference, TargetInference};
pub use upstreams::Upstreams;

use crate::{
    chat::{FinishReason, RESTARTS, RunErrorKind, RunOutcome, RunRecord, RunSink, price::PriceList},
    logging,
    memory::Kind,
    protocol::{Close, Codec, Rejection},
    upstream::route::plan::{RoutePlan, Times},
};
use names::{ModelNames, SeriesBudget};
use process::Process;
pub(crate) use process::resident_bytes;
use prometheus_client::{
    encoding::{prometheus_text, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Metric, Registry, Unit},
};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// One label with a value from a closed set.
type Label = [(&'static str, &'static str); 1];
/// Histograms by labels, each created by its first observation.
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Why a socket was closed without a close frame.
pub(crate) const LOST: &str = "lost";
/// Why an upgrade was rejected; the cases are in `http`.
const UPGRADE_REJECTIONS: [&str; 9] =
    ["no_upgrade", "version", "handshake", "origin", "model", "draining", "full", "address_full", "internal"];
/// Why the gateway closed or rejected an HTTP connection; the cases are in `http`.
const HTTP_CLOSES: [&str; 9] = [
    "header_timeout",
    "header_bytes",
    "body_timeout",
    "body_bytes",
    "request_timeout",
    "write_timeout",
    "idle_timeout",
    "evicted",
    "full",
];
/// What is released when memory is low.
const RECLAIMED: [&str; 3] = ["messages", "answers", "chats"];
/// The outcome of a resume.
const RESUMES: [&str; 4] = ["replayed", "queued", "no_active", "refused"];

const TURN: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0];
const FIRST_DELTA: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 60.0];
const QUEUE_WAIT: [f64; 12] = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
const LAG: [f64; 11] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];

/// Label values that are known at the start.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The build of the embedded page.
    pub page: &'a str,
    /// The upstreams, models and targets of the configuration.
    pub plan: &'a RoutePlan,
    /// Of each upstream of the plan, the provider in OpenTelemetry's convention.
    pub providers: &'a [&'static str],
    /// The models that have a cost, and its currency.
    pub prices: &'a PriceList,
}

pub struct Metrics {
    registry: Registry,
    pub connections: Gauge,
    pub connections_opened: Counter,
    pub connections_closed: Codes,
    pub reads_deferred: Counter,
    pub upgrades_rejected: Codes,
    pub hosts_rejected: Counter,
    pub http_connections: Gauge,
    pub http_connections_closed: Codes,
    pub sessions: Gauge,
    pub sessions_evicted: Counter,
    pub messages: Counter,
    pub messages_rejected: Codes,
    pub resumes: Codes,
    pub turns_truncated: Counter,
    pub runs: Gauge,
    pub runs_queued: Gauge,
    pub queue_wait: Histogram,
    runs_ended: Codes,
    turn_duration: Histograms<Label>,
    restarts: Family<[(&'static str, &'static str); 2], Counter>,
    pub turn_first_delta: Histogram,
    pub deltas: Counter,
    pub retries: Counter,
    pub bytes: Bytes,
    pub inference: Inference,
    pub upstreams: Upstreams,
    pub upstream_dead_connections: Counter,
    event_loop_lag: Histograms<[(&'static str, usize); 1]>,
    pub worker_stalls: Counter,
    memory_held: Family<Label, Gauge>,
    pub memory_max: Gauge,
    pub memory_reclaimed: Codes,
    /// Updated from [`logging::DROPPED_LINES`] when metrics are read.
    lines_dropped: Counter,
    process: Process,
}

/// Traffic by direction, from the gateway's point of view.
pub struct Bytes {
    pub client_in: Counter,
    pub client_out: Counter,
    pub upstream_in: Counter,
    pub upstream_out: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let (plan, prices) = (RoutePlan::alone("none", 1, Times::UNLIMITED), PriceList::default());
        Metrics::new(Names { page: "none", plan: &plan, providers: &["dashscope"], prices: &prices })
    }
}

impl Metrics {
    #[expect(clippy::too_many_lines, reason = "a list of what there is, without a decision")]
    pub fn new(names: Names<'_>) -> Self {
        let mut registry = Registry::default();
        let models = names.plan.models.iter().flat_map(|model| {
            let targets = model.levels.iter().flatten().map(|target| &target.model);
            targets.chain([&model.table, &model.name])
        });
        let (models, mut budget) = (Arc::new(ModelNames::new(models)), SeriesBudget::new());
        let upstreams = Upstreams::declare(&mut registry, names.plan, names.prices, &models, &mut budget);
        let inference = Inference::declare(&mut registry, names.plan, names.providers, &models, &mut budget);
        let bytes = Bytes::declare(&mut registry);
        let process = Process::declare(&mut registry);
        let labels = vec![("version", env!("CARGO_PKG_VERSION")), ("page", names.page)];
        let labels: Vec<_> = labels.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        registry.register(
            "tidegate_build",
            "What runs: the program's version and its page",
            Info::new(labels),
        );
        let mut of = Declare(&mut registry);
        let closed = Close::ALL.map(Close::label).into_iter().chain([LOST]);
        let outcomes =
            [FinishReason::Stop, FinishReason::Length, FinishReason::ToolCalls].map(FinishReason::as_str);
        let outcomes = outcomes.into_iter().chain(RunErrorKind::ALL.map(RunErrorKind::code));
        Metrics {
            connections: of.one("tidegate_connections", "WebSockets open now"),
            connections_opened: of.one("tidegate_connections_opened", "WebSockets opened"),
            connections_closed: of.codes(
                "tidegate_connections_closed",
                "WebSockets closed, by reason",
                "reason",
                closed,
            ),
            reads_deferred: of.one(
                "tidegate_reads_deferred",
                "Reads of a WebSocket put off because its client's network had used its share of `connection.read_rate_max`",
            ),
            upgrades_rejected: of.codes(
                "tidegate_upgrades_rejected",
                "WebSocket upgrades rejected, by reason",
                "reason",
                UPGRADE_REJECTIONS,
            ),
            hosts_rejected: of.one(
                "tidegate_hosts_rejected",
                "Requests rejected because their Host is none of the gateway's names (`server.hosts`)",
            ),
            http_connections: of
                .one("tidegate_http_connections", "HTTP connections open now, without WebSockets"),
            http_connections_closed: of.codes(
                "tidegate_http_connections_closed",
                "HTTP connections that the gateway closed or refused on its own account, by reason",
                "reason",
                HTTP_CLOSES,
            ),
            sessions: of.one("tidegate_sessions", "Sessions alive now"),
            sessions_evicted: of
                .one("tidegate_sessions_evicted", "Idle sessions ended early to make room for another"),
            messages: of.one("tidegate_messages", "Messages received from clients"),
            messages_rejected: of.codes(
                "tidegate_messages_rejected",
                "Messages rejected, by reason",
                "reason",
                Rejection::CODES,
            ),
            resumes: of.codes(
                "tidegate_resumes",
                "Attempts to resume an answer, by outcome",
                "outcome",
                RESUMES,
            ),
            turns_truncated: of.one(
                "tidegate_history_turns_truncated",
                "Turns left out of requests because the history budget was full",
            ),
            runs: of.one("tidegate_runs", "Runs that hold a slot now"),
            runs_queued: of.one("tidegate_runs_queued", "Runs waiting for a slot now"),
            queue_wait: of.seconds("tidegate_queue_wait", "Wait of a run for its slot", QUEUE_WAIT),
            runs_ended: of.codes(
                "tidegate_runs_ended",
                "Runs ended or refused, by outcome",
                "outcome",
                outcomes,
            ),
            turn_duration: of.family_of_seconds(
                "tidegate_turn_duration",
                "From a question to the end of its answer, including queue, attempts and pauses",
                || Histogram::new(TURN),
            ),
            restarts: restarts(&mut of),
            turn_first_delta: of.seconds(
                "tidegate_turn_first_delta",
                "From a question to the first delta of its answer, including queue, attempts and pauses",
                FIRST_DELTA,
            ),
            deltas: of.one("tidegate_deltas", "Deltas received from the upstream, merged per read"),
            retries: of.one("tidegate_retries", "Attempts beyond the first of a run"),
            event_loop_lag: of.family_of_seconds(
                "tidegate_event_loop_lag",
                "How late a worker's clock ran; it ticks every 100 ms",
                || Histogram::new(LAG),
            ),
            upstream_dead_connections: of.one(
                "tidegate_upstream_dead_connections",
                "Requests whose kept connection to the model service was dead; each was sent again",
            ),
            worker_stalls: of.one("tidegate_worker_stalls", "Times that a worker stood still for a second"),
            memory_held: memory_held(&mut of),
            memory_max: of.one("tidegate_memory_max_bytes", "What clients may make the process hold in memory, in bytes"),
            memory_reclaimed: of.codes(
                "tidegate_memory_reclaimed",
                "What was ended early because memory was short: unfinished messages, kept answers, idle chats",
                "what",
                RECLAIMED,
            ),
            lines_dropped: of.one("tidegate_log_lines_dropped", "Log lines dropped because the output was blocked"),
            bytes,
            inference,
            upstreams,
            process,
            registry,
        }
    }

    /// Counts a run that ended or was rejected, and the time since its question.
    pub fn turn_ended(&self, outcome: &'static str, after: Duration) {
        self.runs_ended.inc(outcome);
        self.turn_duration.get_or_create(&[("outcome", outcome)]).observe(after.as_secs_f64());
    }

    /// Counts a closed socket by its reason; without one, it was lost.
    pub fn connection_closed(&self, why: Option<Close>) {
        self.connections.dec();
        self.connections_closed.inc(why.map_or(LOST, Close::label));
    }

    /// Number of runs with this outcome.
    pub fn runs_ended(&self, outcome: &'static str) -> u64 {
        self.runs_ended.get(outcome)
    }

    /// Sets the memory in use for this kind.
    pub fn memory_held(&self, kind: Kind, bytes: usize) {
        let gauge = self.memory_held.get_or_create(&[("kind", kind.as_str())]);
        gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// The histogram of one worker, for its clock.
    pub fn event_loop_lag(&self, worker: usize) -> Histogram {
        self.event_loop_lag.get_or_create(&[("worker", worker)]).clone()
    }

    /// Prometheus' own text format, 0.0.4.
    ///
    /// # Errors
    /// None: writing to a `String` cannot fail.
    pub fn text(&self) -> Result<String, fmt::Error> {
        self.refresh();
        let mut out = String::with_capacity(32 * 1024);
        prometheus_text::encode(&mut out, &self.registry)?;
        Ok(out)
    }

    /// OpenMetrics 1.0.
    ///
    /// # Errors
    /// As above.
    pub fn openmetrics(&self) -> Result<String, fmt::Error> {
        self.refresh();
        let mut out = String::with_capacity(32 * 1024);
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }

    /// Updates metrics that are counted elsewhere.
    fn refresh(&self) {
        let dropped = logging::DROPPED_LINES.load(Relaxed);
        self.lines_dropped.inc_by(dropped.saturating_sub(self.lines_dropped.get()));
        self.process.refresh();
    }
}

impl RunSink for Metrics {
    fn record(&self, record: &RunRecord) {
        self.turn_ended(record.outcome.code(), record.timing.duration);
        let has_finished = matches!(record.outcome, RunOutcome::Finished(_));
        for (attempt, is_answer) in record.attempts_by_use() {
            self.upstreams.attempted(&attempt.by.upstream, attempt.error, has_finished);
            if let Some(tokens) = &attempt.tokens {
                self.inference.target(&attempt.by.upstream, &attempt.by.model).used(tokens, is_answer);
            }
        }
        if let Some(outcome) = record.restart() {
            self.restarts.get_or_create(&[("dialect", record.codec), ("outcome", outcome)]).inc();
        }
        if let (Some(cost), Some(answer)) = (record.cost, record.answer()) {
            self.upstreams.cost(&answer.by.table, cost);
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Bytes {
    fn declare(registry: &mut Registry) -> Self {
        let mut of = Declare(registry);
        let bytes: Family<[(&'static str, &'static str); 2], Counter> =
            of.one("tidegate_bytes", "Bytes of WebSockets and of bodies to and from the upstream");
        let one = |leg, direction| bytes.get_or_create(&[("leg", leg), ("direction", direction)]).clone();
        Bytes {
            client_in: one("client", "in"),
            client_out: one("client", "out"),
            upstream_in: one("upstream", "in"),
            upstream_out: one("upstream", "out"),
        }
    }
}

fn restarts(of: &mut Declare<'_>) -> Family<[(&'static str, &'static str); 2], Counter> {
    let restarts: Family<_, Counter> = of.one(
        "tidegate_restarts",
        "Answers that broke off and were to begin anew, by the dialect of their clients and by what became of it",
    );
    for dialect in Codec::NAMES {
        for outcome in RESTARTS {
            drop(restarts.get_or_create(&[("dialect", dialect), ("outcome", outcome)]));
        }
    }
    restarts
}

fn memory_held(of: &mut Declare<'_>) -> Family<Label, Gauge> {
    let held: Family<Label, Gauge> =
        of.one("tidegate_memory_bytes", "Memory held for clients, as counted for `memory.max`");
    for kind in Kind::ALL {
        held.get_or_create(&[("kind", kind.as_str())]).set(0);
    }
    held
}

struct Declare<'a>(&'a mut Registry);

impl Declare<'_> {
    fn one<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    fn codes(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        codes: impl IntoIterator<Item = &'static str>,
    ) -> Codes {
        let family = self.one(name, help);
        Codes::new(family, label, codes)
    }

    fn seconds<const N: usize>(&mut self, name: &str, help: &str, buckets: [f64; N]) -> Histogram {
        let metric = Histogram::new(buckets);
        self.0.register_with_unit(name, help, Unit::Seconds, metric.clone());
        metric
    }

    fn family_of_seconds<L>(&mut self, name: &str, help: &str, make: fn() -> Histogram) -> Histograms<L>
    where
        Histograms<L>: Metric,
        L: Clone + std::hash::Hash + Eq,
    {
        let metric = Family::new_with_constructor(make);
        self.0.register_with_unit(name, help, Unit::Seconds, metric.clone());
        metric
    }
}

/// Of the process's own gauges.
type Real = Gauge<f64, AtomicU64>;

#[cfg(test)]
mod tests;
