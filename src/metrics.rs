//! Every metric, declared once. Label sets are closed: never an id, never a foreign text.
use crate::logging;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use rustix::time::{ClockId, clock_gettime};
use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// One label with a value from a closed set.
type Label = [(&'static str, &'static str); 1];

pub struct Metrics {
    registry: Registry,
    pub sockets: Gauge,
    pub sockets_opened: Counter,
    pub sockets_closed: Family<Label, Counter>,
    pub handshakes_refused: Family<Label, Counter>,
    pub sessions: Gauge,
    pub chats_displaced: Counter,
    pub messages: Counter,
    pub messages_refused: Family<Label, Counter>,
    pub omitted_turns: Counter,
    pub runs: Gauge,
    pub runs_queued: Gauge,
    pub runs_ended: Family<Label, Counter>,
    pub run_duration: Histogram,
    pub time_to_first_delta: Histogram,
    pub deltas: Counter,
    pub tokens: Family<Label, Counter>,
    pub retries: Counter,
    pub upstream_errors: Family<Label, Counter>,
    /// 1 for the state that the breaker is in.
    pub upstream_state: Family<Label, Gauge>,
    pub slow_peers: Counter,
    pub worker_stalls: Counter,
    /// Follows [`logging::DROPPED_LINES`] when it is read.
    lines_dropped: Counter,
    /// These two follow the kernel when they are read; their names are those of every Prometheus client.
    process_cpu: Counter<f64, AtomicU64>,
    process_memory: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let mut of = Declare(&mut registry);
        Metrics {
            sockets: of.one("tidegate_sockets", "WebSockets open now"),
            sockets_opened: of.one("tidegate_sockets_opened", "WebSockets opened"),
            sockets_closed: of.one("tidegate_sockets_closed", "WebSockets closed, by reason"),
            handshakes_refused: of.one("tidegate_handshakes_refused", "Upgrades refused, by reason"),
            sessions: of.one("tidegate_sessions", "Sessions alive now"),
            chats_displaced: of
                .one("tidegate_chats_displaced", "Chats at rest that ended early to make room for another"),
            messages: of.one("tidegate_messages", "User messages received"),
            messages_refused: of.one("tidegate_messages_refused", "User messages refused, by reason"),
            omitted_turns: of.one(
                "tidegate_history_omitted_turns",
                "Turns left out of requests because the history budget was full",
            ),
            runs: of.one("tidegate_runs", "Runs that hold a slot now"),
            runs_queued: of.one("tidegate_runs_queued", "Runs that wait for a slot now"),
            runs_ended: of.one("tidegate_runs_ended", "Runs ended or refused, by outcome"),
            run_duration: of.seconds(
                "gen_ai_client_operation_duration",
                "Duration of a run, all attempts and pauses counted",
                [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0],
            ),
            time_to_first_delta: of.seconds(
                "gen_ai_client_operation_time_to_first_chunk",
                "From a message to the first delta of its answer, the queue counted",
                [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 60.0],
            ),
            deltas: of.one("tidegate_deltas", "Deltas received from the upstream, merged per read"),
            tokens: of.one("gen_ai_client_token_usage", "Tokens as the upstream counted them, by type"),
            retries: of.one("tidegate_retries", "Attempts beyond the first of a run"),
            upstream_errors: of.one("tidegate_upstream_errors", "Failed attempts and runs, by kind"),
            upstream_state: of.one(
                "tidegate_upstream_state",
                "1 for the state of the breaker before the upstream: closed, open or half_open",
            ),
            slow_peers: of.one("tidegate_slow_peers", "WebSockets cut because the peer did not read"),
            worker_stalls: of.one("tidegate_worker_stalls", "Times that a worker stood still for a second"),
            lines_dropped: of.one("tidegate_log_lines_dropped", "Log lines lost because nobody took them"),
            process_cpu: of.one("process_cpu_seconds", "CPU time of the process, user and system"),
            process_memory: of.one("process_resident_memory_bytes", "Resident memory of the process"),
            registry,
        }
    }
}

impl Metrics {
    /// The Prometheus text (OpenMetrics 1.0).
    pub fn text(&self) -> Result<String, fmt::Error> {
        let dropped = logging::DROPPED_LINES.load(Relaxed);
        self.lines_dropped.inc_by(dropped.saturating_sub(self.lines_dropped.get()));
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        self.process_cpu.inc_by((cpu - self.process_cpu.get()).max(0.0));
        if let Some(bytes) = resident_bytes() {
            self.process_memory.set(bytes);
        }
        let mut text = String::with_capacity(8 * 1024);
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

struct Declare<'a>(&'a mut Registry);

/// Where the kernel does not tell, the metric keeps what it had.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()? << 10)
}

impl Declare<'_> {
    fn one<M>(&mut self, name: &str, help: &str) -> M
    where
        M: prometheus_client::registry::Metric + Clone + Default,
    {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    fn seconds<const N: usize>(&mut self, name: &str, help: &str, buckets: [f64; N]) -> Histogram {
        let metric = Histogram::new(buckets);
        self.0.register_with_unit(name, help, Unit::Seconds, metric.clone());
        metric
    }
}
