//! Merges the snapshots of all workers into totals and a series of points, during the run.
use super::measure::{Counts, ErrorCounts, Histograms, Measure, Snapshot};
use serde::Serialize;

/// Maximum number of points; in a longer run, neighbours are merged in pairs each time it is reached.
const POINTS_MAX: usize = 1200;

/// One point of the series. Rates are per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Point {
    /// End of the point's interval, in seconds since the start.
    pub(crate) at_s: f64,
    pub(crate) open: u64,
    pub(crate) opening: u64,
    pub(crate) answering: u64,
    pub(crate) deltas_per_s: f64,
    pub(crate) turns_per_s: f64,
    pub(crate) connects_per_s: f64,
    pub(crate) errors: u64,
    /// In milliseconds: of deliveries where there are stamps, else of first deltas.
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    /// CPU used by the server, in cores.
    pub(crate) cores: Option<f64>,
    pub(crate) rss: Option<u64>,
}

/// Samples of the server's process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Server {
    /// CPU time at the beginning and at the end of the measured window.
    pub(crate) cpu_ns: (u64, u64),
    pub(crate) rss_before: u64,
    pub(crate) rss_max: u64,
    /// While the maximum number of sockets was open.
    pub(crate) rss_full: u64,
}

/// Everything recorded in a run so far.
pub(crate) struct Recorder {
    parts: Vec<(Counts, ErrorCounts)>,
    pub(crate) total: Histograms,
    interval: Histograms,
    before: Counts,
    errors_before: u64,
    cpu_before: Option<u64>,
    at_before: f64,
    pub(crate) points: Vec<Point>,
    /// Seconds covered by one point.
    every: f64,
    pub(crate) open_max: u64,
    pub(crate) server: Option<Server>,
    has_ended: bool,
}

impl Recorder {
    /// # Errors
    /// As [`Histograms::new`].
    pub(crate) fn new(parts: u32) -> Result<Self, hdrhistogram::CreationError> {
        Ok(Recorder {
            parts: vec![Default::default(); parts as usize],
            total: Histograms::new()?,
            interval: Histograms::new()?,
            before: Counts::default(),
            errors_before: 0,
            cpu_before: None,
            at_before: 0.0,
            points: Vec::new(),
            every: 0.5,
            open_max: 0,
            server: None,
            has_ended: false,
        })
    }

    pub(crate) fn take(&mut self, snapshot: Snapshot) {
        self.total.add(&snapshot.values);
        self.interval.add(&snapshot.values);
        if let Some(part) = self.parts.get_mut(snapshot.part as usize) {
            *part = (snapshot.counts, snapshot.errors);
        }
        self.open_max = self.open_max.max(self.counts().open);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.parts.iter().fold(Counts::default(), |sum, (counts, _)| sum.plus(*counts))
    }

    pub(crate) fn errors(&self) -> ErrorCounts {
        let mut sum = ErrorCounts::default();
        self.parts.iter().for_each(|(_, errors)| sum.add_all(errors));
        sum
    }

    /// Records a sample of the server's process.
    pub(crate) fn sample(&mut self, cpu_ns: u64, rss: u64) {
        let open = self.counts().open;
        let server = self.server.get_or_insert(Server { rss_before: rss, ..Server::default() });
        server.rss_max = server.rss_max.max(rss);
        if open > 0 && open >= self.open_max {
            server.rss_full = rss;
        }
        if !self.has_ended {
            server.cpu_ns.1 = cpu_ns;
        }
    }

    /// Ends the measured window at the last sample's CPU time.
    pub(crate) fn end(&mut self) {
        self.has_ended = true;
    }

    /// Begins the measured window at the last sample's CPU time.
    pub(crate) fn begin(&mut self) {
        if let Some(server) = &mut self.server {
            server.cpu_ns.0 = server.cpu_ns.1;
        }
    }

    /// Adds a point that covers the time since the previous one, if that is long enough.
    pub(crate) fn tick(&mut self, at_s: f64, sample: Option<(u64, u64)>) {
        let span = at_s - self.at_before;
        if span < self.every {
            return;
        }
        let (counts, errors) = (self.counts(), self.errors().total());
        let per_s = |now: u64, before: u64| now.saturating_sub(before) as f64 / span;
        let stamped = !self.total.of(Measure::Delivery).is_empty();
        let shown = self.interval.of(if stamped { Measure::Delivery } else { Measure::FirstDelta });
        let quantile = |share| (!shown.is_empty()).then(|| shown.value_at_quantile(share) as f64 / 1e3);
        let cpu = sample.zip(self.cpu_before).map(|((now, _), before)| per_s(now, before) / 1e9);
        self.points.push(Point {
            at_s,
            open: counts.open,
            opening: counts.opening,
            answering: counts.answering,
            deltas_per_s: per_s(counts.deltas, self.before.deltas),
            turns_per_s: per_s(counts.turns, self.before.turns),
            connects_per_s: per_s(counts.opened, self.before.opened),
            errors: errors - self.errors_before,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            cores: cpu,
            rss: sample.map(|(_, rss)| rss),
        });
        self.cpu_before = sample.map(|(cpu, _)| cpu).or(self.cpu_before);
        (self.before, self.errors_before, self.at_before) = (counts, errors, at_s);
        self.interval.clear();
        if self.points.len() >= POINTS_MAX {
            self.points =
                self.points.chunks(2).map(|pair| join(pair[0], *pair.last().unwrap_or(&pair[0]))).collect();
            self.every *= 2.0;
        }
    }
}

/// Merges two neighbouring points: rates are averaged; of times, the worse is kept.
fn join(left: Point, right: Point) -> Point {
    let mean = |left: f64, right: f64| f64::midpoint(left, right);
    let worse = |left: Option<f64>, right: Option<f64>| left.into_iter().chain(right).reduce(f64::max);
    Point {
        deltas_per_s: mean(left.deltas_per_s, right.deltas_per_s),
        turns_per_s: mean(left.turns_per_s, right.turns_per_s),
        connects_per_s: mean(left.connects_per_s, right.connects_per_s),
        errors: left.errors + right.errors,
        p50_ms: worse(left.p50_ms, right.p50_ms),
        p99_ms: worse(left.p99_ms, right.p99_ms),
        cores: left.cores.zip(right.cores).map(|(left, right)| mean(left, right)),
        ..right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::measure::{ErrorKind, Tally};

    #[test]
    fn parts_make_one_story_with_rates() {
        let mut recorder = Recorder::new(2).expect("bounds");
        let mut tallies = [Tally::new((0, 100)).expect("bounds"), Tally::new((0, 100)).expect("bounds")];
        for (part, tally) in tallies.iter_mut().enumerate() {
            tally.counts.open = 10;
            tally.counts.deltas = 500;
            tally.record(1, Measure::Delivery, 2_000_000);
            tally.errors.count(ErrorKind::Lost, "gone");
            recorder.take(tally.snapshot(part as u32, false));
        }
        recorder.sample(1_000_000_000, 50 << 20);
        recorder.begin();
        recorder.tick(1.0, Some((1_000_000_000, 50 << 20)));
        recorder.sample(1_500_000_000, 60 << 20);
        recorder.tick(2.0, Some((1_500_000_000, 60 << 20)));
        let [first, second] = recorder.points[..] else { panic!("two points") };
        assert_eq!((first.open, first.deltas_per_s, first.errors), (20, 1000.0, 2));
        assert!(first.p99_ms.is_some_and(|ms| (1.9..2.1).contains(&ms)), "{first:?}");
        assert_eq!((second.deltas_per_s, second.errors, second.p99_ms), (0.0, 0, None));
        assert_eq!(second.cores, Some(0.5));
        let server = recorder.server.expect("a server");
        assert_eq!((server.rss_before, server.rss_full), (50 << 20, 60 << 20));
        assert_eq!(server.cpu_ns, (1_000_000_000, 1_500_000_000));
    }

    #[test]
    fn a_long_run_keeps_a_short_series() {
        let mut recorder = Recorder::new(1).expect("bounds");
        let seconds = 6 * POINTS_MAX as u32;
        for second in 1..seconds {
            recorder.tick(f64::from(second), None);
        }
        assert!(recorder.points.len() <= POINTS_MAX, "{}", recorder.points.len());
        assert!(recorder.points.last().is_some_and(|point| point.at_s > f64::from(seconds - 100)));
        assert!(recorder.points.windows(2).all(|pair| pair[0].at_s < pair[1].at_s));
    }
}
