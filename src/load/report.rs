//! The result of a run: every figure by its name, and the report as JSON.
use super::{
    measure::{Counts, ErrorCounts, Histograms, Measure},
    recorder::{Point, Recorder, Server},
    require::{Requirement, Verdict},
};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Quantiles reported for each measure.
const SHARES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];
/// Names of the figures that are not times.
const OTHERS: [&str; 19] = [
    "errors",
    "opened",
    "open_max",
    "connects_per_s",
    "messages",
    "turns",
    "turns_per_s",
    "verified",
    "deltas",
    "deltas_per_s",
    "cuts",
    "resumes",
    "no_active",
    "restarts",
    "replayed",
    "cpu_us_per_delta",
    "cores",
    "rss_mib",
    "rss_kib_per_socket",
];
/// Number of points of a percentile curve.
const CURVE: usize = 48;

/// Machine and program of the run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory: u64,
    pub(crate) kernel: String,
    /// Start of the run, as an HTTP date.
    pub(crate) date: String,
    pub(crate) version: String,
    pub(crate) command: String,
}

/// One level of a search for the knee.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    pub(crate) sockets: u64,
    pub(crate) value: Option<f64>,
    pub(crate) deltas_per_s: f64,
    pub(crate) cpu_us_per_delta: Option<f64>,
    pub(crate) late_ms: f64,
    pub(crate) errors: u64,
    pub(crate) holds: bool,
}

/// A search for the knee.
#[derive(Clone, Debug)]
pub(crate) struct Knee {
    pub(crate) limit: String,
    pub(crate) levels: Vec<Level>,
    /// The highest number of sockets at which the limit held.
    pub(crate) good: Option<u64>,
}

/// The report of a finished run.
pub(crate) struct Report {
    pub(crate) url: String,
    pub(crate) machine: Machine,
    pub(crate) elapsed_s: f64,
    /// Length of the measured window.
    pub(crate) measured_s: f64,
    pub(crate) counts: Counts,
    pub(crate) errors: ErrorCounts,
    pub(crate) total: Histograms,
    pub(crate) open_max: u64,
    pub(crate) points: Vec<Point>,
    pub(crate) server: Option<Server>,
    pub(crate) verdicts: Vec<Verdict>,
    /// Number of the signal that ended the run early.
    pub(crate) interrupted: Option<u8>,
    /// Why the run was aborted; the figures are those measured until then.
    pub(crate) broken: Option<String>,
    pub(crate) knee: Option<Knee>,
}

/// Names of all figures.
pub(crate) fn figures() -> Vec<String> {
    let kinds = SHARES.iter().map(|(name, _)| *name).chain(["max", "mean"]);
    let times = kinds.flat_map(|kind| Measure::ALL.map(|measure| format!("{kind}_{}_ms", measure.name())));
    times.chain(OTHERS.map(str::to_owned)).collect()
}

impl Report {
    pub(crate) fn new(
        recorder: Recorder,
        url: &str,
        machine: Machine,
        times: (f64, f64),
        interrupted: Option<u8>,
    ) -> Self {
        Report {
            url: url.to_owned(),
            machine,
            elapsed_s: times.0,
            measured_s: times.1,
            counts: recorder.counts(),
            errors: recorder.errors(),
            total: recorder.total,
            open_max: recorder.open_max,
            points: recorder.points,
            server: recorder.server,
            verdicts: Vec::new(),
            interrupted,
            broken: None,
            knee: None,
        }
    }

    pub(crate) fn judge(&mut self, requirements: &[Requirement]) {
        self.verdicts = requirements.iter().map(|one| one.judge(self.figure(&one.figure))).collect();
    }

    /// Whether the run was not aborted, every requirement holds and no text was wrong.
    pub(crate) fn is_good(&self) -> bool {
        self.broken.is_none()
            && self.verdicts.iter().all(|verdict| verdict.holds)
            && self.errors.wrong_texts() == 0
    }

    /// A figure by its name; `None` if it was not measured.
    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        if let Some((kind, measure)) = name.strip_suffix("_ms").and_then(|name| name.split_once('_')) {
            let measure = Measure::ALL.into_iter().find(|one| one.name() == measure)?;
            return self.time_ms(kind, measure);
        }
        let Counts { opened, messages, turns, verified, deltas, .. } = self.counts;
        let per_s = |count: u64| (self.measured_s > 0.0).then(|| count as f64 / self.measured_s);
        let server = self.server.filter(|_| self.measured_s > 0.0);
        let cpu_s = server.map(|server| server.cpu_ns.1.saturating_sub(server.cpu_ns.0) as f64 / 1e9);
        let mib = f64::from(1 << 20);
        match name {
            "errors" => Some(self.errors.total() as f64),
            "opened" => Some(opened as f64),
            "open_max" => Some(self.open_max as f64),
            "connects_per_s" => self.points.iter().map(|point| point.connects_per_s).reduce(f64::max),
            "messages" => Some(messages as f64),
            "turns" => Some(turns as f64),
            "turns_per_s" => per_s(self.counts.turns_measured),
            "verified" => Some(verified as f64),
            "deltas" => Some(deltas as f64),
            "deltas_per_s" => per_s(self.counts.deltas_measured),
            "cuts" => Some(self.counts.cuts as f64),
            "resumes" => Some(self.counts.resumes as f64),
            "no_active" => Some(self.counts.no_active as f64),
            "restarts" => Some(self.counts.restarts as f64),
            "replayed" => Some(self.counts.replayed as f64),
            "cpu_us_per_delta" => {
                let deltas = self.counts.deltas_measured;
                cpu_s.filter(|_| deltas > 0).map(|cpu| cpu * 1e6 / deltas as f64)
            }
            "cores" => cpu_s.map(|cpu| cpu / self.measured_s),
            "rss_mib" => self.server.map(|server| server.rss_max as f64 / mib),
            "rss_kib_per_socket" => {
                let server = self.server.filter(|server| self.open_max > 0 && server.rss_full > 0)?;
                let grown = server.rss_full as f64 - server.rss_before as f64;
                Some(grown / self.open_max as f64 / 1024.0)
            }
            _ => Some(self.errors.of(name.strip_prefix("errors_")?) as f64),
        }
    }

    /// A statistic of a measure, in milliseconds.
    pub(crate) fn time_ms(&self, kind: &str, measure: Measure) -> Option<f64> {
        let values = self.total.of(measure);
        if values.is_empty() {
            return None;
        }
        let us = match kind {
            "max" => values.max() as f64,
            "mean" => values.mean(),
            kind => {
                let (_, share) = SHARES.iter().find(|(name, _)| *name == kind)?;
                values.value_at_quantile(*share) as f64
            }
        };
        Some(us / 1e3)
    }

    /// The complete report as JSON.
    pub(crate) fn json(&self) -> Value {
        let figures: serde_json::Map<String, Value> =
            figures().into_iter().map(|name| (name.clone(), json!(self.figure(&name)))).collect();
        let errors: serde_json::Map<String, Value> = self
            .errors
            .0
            .iter()
            .map(|(kind, errors)| (kind.clone(), json!({ "count": errors.count, "example": errors.example })))
            .collect();
        let verdicts = self.verdicts.iter().map(|verdict| {
            json!({ "requirement": verdict.requirement, "value": verdict.value, "holds": verdict.holds })
        });
        let curves: serde_json::Map<String, Value> = Measure::ALL
            .into_iter()
            .map(|measure| (measure.name().to_owned(), json!(curve(self.total.of(measure)))))
            .collect();
        json!({
            "url": self.url,
            "version": self.machine.version,
            "date": self.machine.date,
            "command": self.machine.command,
            "machine": { "cpu": self.machine.cpu, "cores": self.machine.cores,
                "memory": self.machine.memory, "kernel": self.machine.kernel },
            "good": self.is_good(),
            "interrupted": self.interrupted.is_some(),
            "broken": self.broken,
            "elapsed_s": self.elapsed_s,
            "measured_s": self.measured_s,
            "figures": figures,
            "counts": self.counts,
            "errors": errors,
            "requirements": verdicts.collect::<Vec<_>>(),
            "server": self.server.map(|server| json!({ "rss_before": server.rss_before,
                "rss_max": server.rss_max, "rss_full": server.rss_full })),
            "series": self.points,
            "curves_ms": curves,
            "knee": self.knee.as_ref().map(Knee::json),
        })
    }
}

impl Knee {
    fn json(&self) -> Value {
        let level = |level: &Level| {
            json!({ "sockets": level.sockets, "value": level.value, "deltas_per_s": level.deltas_per_s,
                "cpu_us_per_delta": level.cpu_us_per_delta, "late_p99_ms": level.late_ms,
                "errors": level.errors, "holds": level.holds })
        };
        let levels = self.levels.iter().map(level).collect::<Vec<_>>();
        json!({ "limit": self.limit, "sockets": self.good, "levels": levels })
    }
}

/// Quantiles with their values in milliseconds, increasingly dense towards the maximum.
pub(crate) fn curve(values: &Histogram<u64>) -> Vec<(f64, f64)> {
    if values.is_empty() {
        return Vec::new();
    }
    // Five decades: the last point is the quantile 0.99999.
    let share = |step: usize| 1.0 - 10_f64.powf(-5.0 * step as f64 / (CURVE - 1) as f64);
    (0..CURVE).map(|step| (share(step), values.value_at_quantile(share(step)) as f64 / 1e3)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::load::measure::{ErrorKind, Tally};

    /// A report with every kind of figure.
    pub(crate) fn sample() -> Report {
        let mut recorder = Recorder::new(1).expect("bounds");
        let mut tally = Tally::new((0, u64::MAX)).expect("bounds");
        recorder.sample(0, 10 << 20);
        recorder.begin();
        for second in 1..=10_u64 {
            tally.counts.open = 100;
            tally.counts.opened = 100;
            tally.counts.messages = 10 * second;
            tally.counts.turns = 10 * second;
            tally.counts.turns_measured = 10 * second;
            tally.counts.deltas = 1000 * second;
            tally.counts.deltas_measured = 1000 * second;
            for k in 1..=1000_u64 {
                tally.record(0, Measure::Delivery, k * 1_000_000);
            }
            if second == 5 {
                tally.errors.count(ErrorKind::Closed(1013), "the server closed with 1013 <script>");
            }
            recorder.take(tally.snapshot(0, second == 10));
            let sample = (second * 10_000_000, (10 << 20) + 100 * 1024 * second);
            recorder.sample(sample.0, sample.1);
            recorder.tick(second as f64, Some(sample));
        }
        let machine = Machine { cpu: "CPU & co".into(), version: "0.1.0".into(), ..Machine::default() };
        Report::new(recorder, "ws://127.0.0.1:1/chat?a=<b>", machine, (10.5, 10.0), None)
    }

    #[test]
    fn figures_have_the_values_that_were_measured() {
        let mut report = sample();
        report.counts = Counts { cuts: 7, resumes: 6, replayed: 40, ..report.counts };
        report.total.record(Measure::Resume, 30_000_000);
        let near = |name: &str, wanted: f64| {
            let value = report.figure(name).unwrap_or_else(|| panic!("{name}"));
            assert!((value / wanted - 1.0).abs() < 0.01, "{name}: {value}, not {wanted}");
        };
        near("p50_delivery_ms", 500.0);
        near("p99_delivery_ms", 990.0);
        near("max_delivery_ms", 1000.0);
        near("mean_delivery_ms", 500.5);
        near("deltas_per_s", 1000.0);
        near("cpu_us_per_delta", 10.0);
        near("cores", 0.01);
        near("rss_kib_per_socket", 10.0);
        near("cuts", 7.0);
        near("resumes", 6.0);
        near("replayed", 40.0);
        near("p99_resume_ms", 30.0);
        near("errors", 1.0);
        near("errors_closed_1013", 1.0);
        assert_eq!((report.figure("p99_turn_ms"), report.figure("no_active")), (None, Some(0.0)));
        assert_eq!(report.figure("errors_lost_text"), Some(0.0));
        for name in figures() {
            assert!(Requirement::parse(&format!("{name}<1"), &figures()).is_ok(), "{name}");
        }
    }

    #[test]
    fn requirements_and_wrong_text_decide() {
        let mut report = sample();
        let require = |text: &str| Requirement::parse(text, &figures()).expect(text);
        assert!(report.is_good());
        report.judge(&[require("p99_delivery_ms<1000"), require("deltas>=10000")]);
        assert!(report.is_good(), "{:?}", report.verdicts);
        report.judge(&[require("p99_delivery_ms<1000"), require("errors==0")]);
        assert!(!report.is_good());
        report.judge(&[]);
        report.errors.count(ErrorKind::DoubledText, "");
        assert!(!report.is_good(), "wrong text fails a run without any requirement");
    }

    #[test]
    fn the_json_has_the_same_figures() {
        let report = sample();
        let json = report.json();
        assert_eq!(json["figures"]["errors"], 1.0);
        assert_eq!(json["errors"]["closed_1013"]["count"], 1);
        assert_eq!(json["series"].as_array().map(Vec::len), Some(10));
        assert_eq!(json["figures"]["p99_turn_ms"], Value::Null);
        let curve = json["curves_ms"]["delivery"].as_array().expect("a curve");
        assert!(curve.len() == CURVE && curve[0][1].as_f64() < curve[CURVE - 1][1].as_f64());
    }
}
