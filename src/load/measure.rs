//! Measurements and counters, in a form that can be merged across processes.
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Shortest recorded duration: one microsecond.
const LOWEST_US: u64 = 1;
/// Longest recorded duration: one hour; longer values are recorded as an hour.
const HIGHEST_US: u64 = 3_600_000_000;
/// Significant digits of each value.
const DIGITS: u8 = 3;
/// Maximum number of error kinds; further kinds are counted as `other`.
const KINDS_MAX: usize = 64;
/// Characters of an example that are kept; the rest is cut.
const EXAMPLE_MAX: usize = 200;

/// Durations that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    /// From the planned start of a socket until it is open.
    Connect,
    /// From a message to the first delta of its answer.
    FirstDelta,
    /// Between two messages that carry deltas.
    Gap,
    /// From the simulator's time stamp to the arrival here.
    Delivery,
    /// From a message to the last delta of its answer.
    Turn,
    /// The longest gap of each answer.
    Stall,
    /// From the start of a reconnect to the first piece that was missed.
    Resume,
    /// From the sending of the resume to the same piece.
    Replay,
    /// How late the load tester's own actions were.
    Late,
}

impl Measure {
    pub(crate) const ALL: [Measure; 9] = [
        Measure::Connect,
        Measure::FirstDelta,
        Measure::Gap,
        Measure::Delivery,
        Measure::Turn,
        Measure::Stall,
        Measure::Resume,
        Measure::Replay,
        Measure::Late,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Measure::Connect => "connect",
            Measure::FirstDelta => "first_delta",
            Measure::Gap => "gap",
            Measure::Delivery => "delivery",
            Measure::Turn => "turn",
            Measure::Stall => "stall",
            Measure::Resume => "resume",
            Measure::Replay => "replay",
            Measure::Late => "late",
        }
    }

    /// Label for people.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Measure::Connect => "connect",
            Measure::FirstDelta => "first delta",
            Measure::Gap => "gap between deltas",
            Measure::Delivery => "delivery of a delta",
            Measure::Turn => "whole turn",
            Measure::Stall => "longest gap of a turn",
            Measure::Resume => "back on a new socket",
            Measure::Replay => "from resume to replay",
            Measure::Late => "load tester late",
        }
    }
}

/// One histogram for each measure, in microseconds.
#[derive(Clone)]
pub(crate) struct Histograms(Vec<Histogram<u64>>);

/// Values with their counts; one list per measure.
pub(crate) type Sparse = Vec<Vec<(u64, u64)>>;

impl Histograms {
    /// # Errors
    /// Never with these constants.
    pub(crate) fn new() -> Result<Self, hdrhistogram::CreationError> {
        let one = || Histogram::new_with_bounds(LOWEST_US, HIGHEST_US, DIGITS);
        Measure::ALL.iter().map(|_| one()).collect::<Result<_, _>>().map(Histograms)
    }

    pub(crate) fn record(&mut self, measure: Measure, ns: u64) {
        self.0[measure as usize].saturating_record((ns / 1000).max(LOWEST_US));
    }

    pub(crate) fn of(&self, measure: Measure) -> &Histogram<u64> {
        &self.0[measure as usize]
    }

    /// Returns all values and resets the histograms.
    pub(crate) fn take(&mut self) -> Sparse {
        let take = |histogram: &mut Histogram<u64>| {
            let values = histogram
                .iter_recorded()
                .map(|value| (value.value_iterated_to(), value.count_since_last_iteration()))
                .collect();
            histogram.reset();
            values
        };
        self.0.iter_mut().map(take).collect()
    }

    pub(crate) fn add(&mut self, sparse: &Sparse) {
        for (histogram, values) in self.0.iter_mut().zip(sparse) {
            for (value, count) in values {
                histogram.saturating_record_n(*value, *count);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.iter_mut().for_each(Histogram::reset);
    }
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Sockets due to be opened so far.
    pub(crate) arrivals: u64,
    /// Sockets opened.
    pub(crate) opened: u64,
    /// Sockets that failed to open.
    pub(crate) refused: u64,
    /// Sockets open now.
    pub(crate) open: u64,
    /// Handshakes in progress now.
    pub(crate) opening: u64,
    /// Answers in progress now.
    pub(crate) answering: u64,
    /// Messages sent.
    pub(crate) messages: u64,
    /// Complete answers.
    pub(crate) turns: u64,
    /// Answers compared byte by byte and found right.
    pub(crate) verified: u64,
    /// Answers in progress at the end of the run; not errors.
    pub(crate) unfinished: u64,
    pub(crate) deltas: u64,
    /// Messages with text received from the server.
    pub(crate) texts: u64,
    /// Deltas and turns inside the measured window.
    pub(crate) deltas_measured: u64,
    pub(crate) turns_measured: u64,
    /// Sockets cut on purpose.
    pub(crate) cuts: u64,
    /// Answers resumed on a new socket.
    pub(crate) resumes: u64,
    /// Resumes that found nothing.
    pub(crate) no_active: u64,
    /// Answers that the gateway began anew after some of their text.
    pub(crate) restarts: u64,
    /// Deltas received again because a resume asked for the whole answer, or the answer began anew.
    pub(crate) replayed: u64,
    /// CPU time of the load tester, in nanoseconds.
    pub(crate) own_cpu_ns: u64,
    /// Resident memory of the load tester, in bytes.
    pub(crate) own_rss: u64,
}

impl Counts {
    pub(crate) fn plus(self, other: Counts) -> Counts {
        Counts {
            arrivals: self.arrivals + other.arrivals,
            opened: self.opened + other.opened,
            refused: self.refused + other.refused,
            open: self.open + other.open,
            opening: self.opening + other.opening,
            answering: self.answering + other.answering,
            messages: self.messages + other.messages,
            turns: self.turns + other.turns,
            verified: self.verified + other.verified,
            unfinished: self.unfinished + other.unfinished,
            deltas: self.deltas + other.deltas,
            texts: self.texts + other.texts,
            deltas_measured: self.deltas_measured + other.deltas_measured,
            turns_measured: self.turns_measured + other.turns_measured,
            cuts: self.cuts + other.cuts,
            resumes: self.resumes + other.resumes,
            no_active: self.no_active + other.no_active,
            restarts: self.restarts + other.restarts,
            replayed: self.replayed + other.replayed,
            own_cpu_ns: self.own_cpu_ns + other.own_cpu_ns,
            own_rss: self.own_rss + other.own_rss,
        }
    }
}

/// A kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    ConnectRefused,
    ConnectTimeout,
    ConnectFailed,
    HandshakeTimeout,
    /// The upgrade was answered with another status than 101.
    Http(u16),
    Handshake,
    /// The maximum number of sockets was open when another one was due.
    TooMany,
    /// The server sent a close frame with this code.
    Closed(u16),
    /// The connection ended without a close frame.
    Lost,
    /// A frame that violates RFC 6455 or is unexpected here.
    Frame,
    /// An error message of the server.
    ErrorText,
    NoAnswer,
    LostText,
    DoubledText,
    ForeignText,
    /// A chunk with an unexpected sequence number.
    BadSequence,
    /// An answer continued under another message id.
    WrongMessage,
    /// A resume found nothing although its answer had begun.
    NoActive,
}

impl ErrorKind {
    pub(crate) fn name(self) -> String {
        match self {
            ErrorKind::ConnectRefused => "connect_refused".into(),
            ErrorKind::ConnectTimeout => "connect_timeout".into(),
            ErrorKind::ConnectFailed => "connect_failed".into(),
            ErrorKind::HandshakeTimeout => "handshake_timeout".into(),
            ErrorKind::Http(status) => format!("http_{status}"),
            ErrorKind::Handshake => "handshake".into(),
            ErrorKind::TooMany => "too_many".into(),
            ErrorKind::Closed(code) => format!("closed_{code}"),
            ErrorKind::Lost => "lost_connection".into(),
            ErrorKind::Frame => "bad_frame".into(),
            ErrorKind::ErrorText => "error_text".into(),
            ErrorKind::NoAnswer => "no_answer".into(),
            ErrorKind::LostText => "lost_text".into(),
            ErrorKind::DoubledText => "doubled_text".into(),
            ErrorKind::ForeignText => "foreign_text".into(),
            ErrorKind::BadSequence => "bad_sequence".into(),
            ErrorKind::WrongMessage => "wrong_message".into(),
            ErrorKind::NoActive => "no_active".into(),
        }
    }

    /// Wrong text or wrong sequence numbers fail a run; other errors are left to `--require`.
    pub(crate) fn is_wrong_text(name: &str) -> bool {
        ["lost_text", "doubled_text", "foreign_text", "bad_sequence", "wrong_message"].contains(&name)
    }
}

/// An error with its kind and a description for the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) why: String,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, why: impl Into<String>) -> Self {
        Failure { kind, why: why.into() }
    }
}

/// Errors of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Errors {
    pub(crate) count: u64,
    /// Description of the first one.
    pub(crate) example: String,
}

/// Errors by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorCounts(pub(crate) BTreeMap<String, Errors>);

impl ErrorCounts {
    pub(crate) fn count(&mut self, kind: ErrorKind, example: &str) {
        let example: String = example.chars().filter(|c| !c.is_control()).take(EXAMPLE_MAX).collect();
        self.add(&kind.name(), &Errors { count: 1, example });
    }

    fn add(&mut self, name: &str, errors: &Errors) {
        let known = self.0.len() < KINDS_MAX || self.0.contains_key(name);
        let name = if known { name } else { "other" };
        match self.0.get_mut(name) {
            Some(one) => one.count += errors.count,
            None => _ = self.0.insert(name.to_owned(), errors.clone()),
        }
    }

    pub(crate) fn add_all(&mut self, other: &ErrorCounts) {
        for (name, errors) in &other.0 {
            self.add(name, errors);
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.values().map(|errors| errors.count).sum()
    }

    pub(crate) fn of(&self, name: &str) -> u64 {
        self.0.get(name).map_or(0, |errors| errors.count)
    }

    pub(crate) fn wrong_texts(&self) -> u64 {
        let wrong = self.0.iter().filter(|(name, _)| ErrorKind::is_wrong_text(name));
        wrong.map(|(_, errors)| errors.count).sum()
    }
}

/// Report of one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) part: u32,
    /// Since the start.
    pub(crate) counts: Counts,
    /// Since the start.
    pub(crate) errors: ErrorCounts,
    /// Since the last snapshot.
    pub(crate) values: Sparse,
    pub(crate) is_last: bool,
}

/// Counters and measurements of one thread.
#[derive(Clone)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    pub(crate) errors: ErrorCounts,
    values: Histograms,
    /// The measured window, in nanoseconds of the machine-wide clock.
    window: (u64, u64),
}

impl Tally {
    /// # Errors
    /// As [`Histograms::new`].
    pub(crate) fn new(window: (u64, u64)) -> Result<Self, hdrhistogram::CreationError> {
        let values = Histograms::new()?;
        Ok(Tally { counts: Counts::default(), errors: ErrorCounts::default(), values, window })
    }

    pub(crate) fn is_measured(&self, now: u64) -> bool {
        (self.window.0..self.window.1).contains(&now)
    }

    /// Records a duration that ended at `now`, if that is inside the measured window.
    pub(crate) fn record(&mut self, now: u64, measure: Measure, ns: u64) {
        if self.is_measured(now) {
            self.values.record(measure, ns);
        }
    }

    /// Records without regard to the window: connects happen before it.
    pub(crate) fn record_always(&mut self, measure: Measure, ns: u64) {
        self.values.record(measure, ns);
    }

    pub(crate) fn snapshot(&mut self, part: u32, is_last: bool) -> Snapshot {
        Snapshot {
            part,
            counts: self.counts,
            errors: self.errors.clone(),
            values: self.values.take(),
            is_last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_what_one_would_have_measured() {
        let mut whole = Histograms::new().expect("bounds");
        let mut parts = [Histograms::new().expect("bounds"), Histograms::new().expect("bounds")];
        for k in 0..10_000_u64 {
            whole.record(Measure::Delivery, k * k * 10);
            parts[(k % 2) as usize].record(Measure::Delivery, k * k * 10);
        }
        let mut sum = Histograms::new().expect("bounds");
        for part in &mut parts {
            let spelled = serde_json::to_string(&part.take()).expect("JSON");
            sum.add(&serde_json::from_str(&spelled).expect("JSON"));
            assert!(part.of(Measure::Delivery).is_empty());
        }
        for share in [0.0, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let of = |histograms: &Histograms| histograms.of(Measure::Delivery).value_at_quantile(share);
            assert_eq!(of(&sum), of(&whole), "{share}");
        }
        assert_eq!(sum.of(Measure::Delivery).len(), 10_000);
        sum.record(Measure::Turn, u64::MAX);
        assert!(sum.of(Measure::Turn).max() >= HIGHEST_US, "what is too long counts as an hour");
    }

    #[test]
    fn errors_are_counted_by_kind_and_their_kinds_are_bounded() {
        let mut errors = ErrorCounts::default();
        errors.count(ErrorKind::ErrorText, "busy\u{1b}[2J");
        errors.count(ErrorKind::ErrorText, "another");
        errors.count(ErrorKind::DoubledText, "");
        assert_eq!((errors.total(), errors.of("error_text"), errors.wrong_texts()), (3, 2, 1));
        assert_eq!(errors.0["error_text"].example, "busy[2J");
        let mut sum = ErrorCounts::default();
        sum.add_all(&errors);
        sum.add_all(&errors);
        assert_eq!(sum.total(), 6);
        for code in 0..1000 {
            sum.count(ErrorKind::Closed(code), "");
        }
        assert!(sum.0.len() <= KINDS_MAX + 1 && sum.of("other") > 900);
    }

    #[test]
    fn only_the_window_is_measured() {
        let mut tally = Tally::new((10, 20)).expect("bounds");
        for now in [9, 10, 19, 20] {
            tally.record(now, Measure::Gap, 1000);
        }
        let snapshot = tally.snapshot(0, true);
        assert_eq!(snapshot.values[Measure::Gap as usize], [(1, 2)]);
    }
}
