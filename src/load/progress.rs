//! Progress display: a few updating lines on a terminal, otherwise a line every few seconds.
use super::{measure::Measure, recorder::Recorder, table::number};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

/// Seconds between lines when standard error is not a terminal.
const EVERY_S: f64 = 5.0;
/// Maximum number of error kinds in a line.
const KINDS: usize = 3;

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    printed_s: f64,
    prefix: String,
}

impl Progress {
    pub(super) fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(4));
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Progress { bar, printed_s: 0.0, prefix: String::new() }
    }

    /// Sets the prefix that tells several runs apart.
    pub(super) fn stage(&mut self, prefix: String) {
        self.prefix = prefix;
        self.printed_s = 0.0;
    }

    pub(super) fn show(&mut self, recorder: &Recorder, at_s: f64) {
        match &self.bar {
            Some(bar) => bar.set_message(self.prefix.clone() + &line(recorder, at_s)),
            None if at_s - self.printed_s >= EVERY_S => {
                self.printed_s = at_s;
                let _ = writeln!(io::stderr(), "{}{}", self.prefix, pairs(recorder, at_s));
            }
            None => {}
        }
    }

    /// Prints a permanent line.
    pub(super) fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => _ = writeln!(io::stderr(), "{text}"),
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn quantiles(recorder: &Recorder) -> (&'static str, String, String) {
    let measure = [Measure::Delivery, Measure::FirstDelta]
        .into_iter()
        .find(|measure| !recorder.total.of(*measure).is_empty())
        .unwrap_or(Measure::Connect);
    let values = recorder.total.of(measure);
    let ms = |share| number((!values.is_empty()).then(|| values.value_at_quantile(share) as f64 / 1e3));
    (measure.name(), ms(0.5), ms(0.99))
}

fn errors(recorder: &Recorder) -> String {
    let errors = recorder.errors();
    let mut kinds: Vec<_> = errors.0.iter().map(|(kind, errors)| (errors.count, kind)).collect();
    kinds.sort_by(|left, right| right.cmp(left));
    kinds.iter().take(KINDS).map(|(count, kind)| format!(" {kind}={count}")).collect()
}

fn line(recorder: &Recorder, at_s: f64) -> String {
    let (counts, point) = (recorder.counts(), recorder.points.last().copied().unwrap_or_default());
    let (name, p50, p99) = quantiles(recorder);
    let server = match (point.cores, point.rss) {
        (Some(cores), Some(rss)) => format!("\n  server: {cores:.2} cores, {} MiB", rss >> 20),
        _ => String::new(),
    };
    let errors = match recorder.errors().total() {
        0 => String::new(),
        total => format!("\n  {total} errors:{}", errors(recorder)),
    };
    // No line is wider than a narrow terminal.
    format!(
        "{at_s:.0} s · {} open, {} opening, {} failed · {} answers under way\n  {:.1} turns/s, {:.0} deltas/s · {name} p50 {p50} ms, p99 {p99} ms{server}{errors}",
        counts.open, counts.opening, counts.refused, counts.answering, point.turns_per_s, point.deltas_per_s,
    )
}

fn pairs(recorder: &Recorder, at_s: f64) -> String {
    let (counts, point) = (recorder.counts(), recorder.points.last().copied().unwrap_or_default());
    let (name, p50, p99) = quantiles(recorder);
    let server = match (point.cores, point.rss) {
        (Some(cores), Some(rss)) => format!(" server_cores={cores:.2} server_rss={rss}"),
        _ => String::new(),
    };
    format!(
        "at_s={at_s:.0} open={} opening={} refused={} answering={} turns_per_s={:.1} deltas_per_s={:.0} {name}_p50_ms={p50} {name}_p99_ms={p99}{server} errors={}{}",
        counts.open,
        counts.opening,
        counts.refused,
        counts.answering,
        point.turns_per_s,
        point.deltas_per_s,
        recorder.errors().total(),
        errors(recorder)
    )
}
