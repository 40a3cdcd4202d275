//! When the breaker opens, whom it lets through, and that it is never stuck.
#![expect(clippy::disallowed_methods, reason = "a starting point; nothing depends on where the clock stands")]
use super::*;
use Verdict::{Answers, Fails, Unknown};
use proptest::prelude::*;

const SETTINGS: Settings =
    Settings { failures: 5, share: 50, window: Duration::from_secs(10), pause: Duration::from_secs(5) };

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A breaker and its clock.
struct Bench {
    breaker: Breaker,
    start: Instant,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        Bench { breaker: Breaker::new(settings), start: Instant::now() }
    }

    fn pass(&mut self, at: u64) -> Result<Pass, Duration> {
        self.breaker.pass(self.start + ms(at))
    }

    fn report(&mut self, at: u64, pass: Pass, verdict: Verdict) -> State {
        self.breaker.report(self.start + ms(at), pass, verdict);
        self.breaker.state()
    }

    /// A request that is sent and over in the same moment.
    fn request(&mut self, at: u64, verdict: Verdict) -> State {
        let pass = self.pass(at).expect("it is let through");
        self.report(at, pass, verdict)
    }

    fn open(&mut self, at: u64) {
        for n in 1..=5 {
            let expected = if n < 5 { State::Closed } else { State::Open };
            assert_eq!(self.request(at, Fails), expected, "failure {n}");
        }
    }
}

// faults: C45
#[test]
fn five_failures_in_a_row_open_it_and_a_good_probe_closes_it() {
    let mut bench = Bench::new(SETTINGS);
    for _ in 0..4 {
        bench.request(0, Fails);
    }
    bench.request(0, Answers);
    bench.open(0);
    assert_eq!(bench.pass(0), Err(ms(5_000)));
    assert_eq!(bench.pass(4_999), Err(ms(1)));
    let probe = bench.pass(5_000).expect("the probe");
    assert_eq!(bench.breaker.state(), State::HalfOpen);
    assert_eq!(bench.pass(5_000), Err(ms(5_000)), "there is one probe");
    assert_eq!(bench.report(5_100, probe, Answers), State::Closed);
    assert_eq!(bench.request(5_100, Fails), State::Closed, "it begins anew");
}

// faults: C45
#[test]
fn a_bad_probe_opens_it_again_and_a_cancelled_one_frees_its_place() {
    let mut bench = Bench::new(SETTINGS);
    bench.open(0);
    let probe = bench.pass(5_000).expect("the probe");
    assert_eq!(bench.report(6_000, probe, Fails), State::Open);
    assert_eq!(bench.pass(10_999), Err(ms(1)));
    let probe = bench.pass(11_000).expect("the next probe");
    assert_eq!(bench.report(11_500, probe, Unknown), State::Open);
    assert_eq!(bench.request(11_500, Answers), State::Closed);
}

// faults: C45
#[test]
fn half_of_twenty_opens_it_within_the_window_only() {
    // Never two failures in a row.
    for (pace, opens) in [(100, true), (1_100, false)] {
        let mut bench = Bench::new(SETTINGS);
        let mut state = State::Closed;
        for n in 0..20 {
            assert_eq!(state, State::Closed, "{n} at a pace of {pace} ms");
            state = bench.request(n * pace, if n % 2 == 1 { Fails } else { Answers });
        }
        assert_eq!(state == State::Open, opens, "at a pace of {pace} ms");
    }
}

#[test]
fn a_share_opens_it_when_it_is_reached_and_not_before() {
    let mut bench = Bench::new(Settings { failures: 1_000, share: 25, ..SETTINGS });
    for _ in 0..19 {
        bench.request(0, Answers);
    }
    for failures in 1..=7 {
        // Seven of twenty-six are the first that make a quarter.
        let expected = if failures < 7 { State::Closed } else { State::Open };
        assert_eq!(bench.request(0, Fails), expected, "{failures} failures");
    }
}

#[test]
fn the_window_moves_on_in_parts() {
    let mut bench = Bench::new(Settings { failures: 1_000, ..SETTINGS });
    for _ in 0..19 {
        bench.request(0, Answers);
    }
    for _ in 0..9 {
        bench.request(9_000, Fails);
    }
    // The answers are forgotten, the failures are not.
    for failures in 10..=20 {
        let expected = if failures < 20 { State::Closed } else { State::Open };
        assert_eq!(bench.request(10_000, Fails), expected, "{failures} failures");
    }
    for at in 0..100_000 {
        bench.request(20_000 + at, Answers);
        assert!(bench.breaker.parts.len() <= PARTS as usize + 1);
    }
}

#[test]
fn states_have_names() {
    assert_eq!(State::ALL.map(State::as_str), ["closed", "open", "half_open"]);
}

#[test]
fn what_was_sent_before_the_last_change_says_nothing() {
    let mut bench = Bench::new(SETTINGS);
    let old: Vec<_> = (0..9).map(|_| bench.pass(0).expect("it is closed")).collect();
    bench.open(0);
    bench.report(1, old[0], Answers);
    assert_eq!(bench.breaker.state(), State::Open);
    assert_eq!(bench.request(5_000, Answers), State::Closed);
    for pass in old {
        assert_eq!(bench.report(5_001, pass, Fails), State::Closed);
    }
}

#[test]
fn nought_means_never() {
    let mut bench = Bench::new(Settings { failures: 0, ..SETTINGS });
    for _ in 0..100 {
        assert_eq!(bench.request(0, Fails), State::Closed);
    }
}

// faults: C45, D51, D52, D54, D55
#[test]
fn only_faults_of_the_service_or_the_way_to_it_count() {
    let fails = [
        RunErrorKind::UpstreamError,
        RunErrorKind::UpstreamUnreachable,
        RunErrorKind::UpstreamTls,
        RunErrorKind::UpstreamProtocol,
        RunErrorKind::UpstreamTimeout,
        RunErrorKind::Interrupted,
    ];
    for kind in RunErrorKind::ALL {
        let verdict = Verdict::of(&RunError::new(kind, ""), false);
        assert_eq!(verdict == Fails, fails.contains(&kind), "{kind:?}");
    }
    assert_eq!(Verdict::of(&RunError::new(RunErrorKind::UpstreamTimeout, ""), true), Unknown);
    assert_eq!(Verdict::of(&RunError::new(RunErrorKind::Interrupted, ""), true), Fails);
}

proptest! {
    /// Never more than one probe, never stuck open, and closed lets everything pass.
    #[test]
    fn any_order_of_requests(
        failures in 1..6u32,
        steps in prop::collection::vec((0..3u8, 0..4usize, 0..3_000u64), 1..300),
    ) {
        let mut bench = Bench::new(Settings { failures, ..SETTINGS });
        let (mut at, mut under_way) = (0, Vec::new());
        for (step, which, wait) in steps {
            at += if which == 0 { wait } else { wait / 100 };
            let before = bench.breaker.state();
            if step == 0 || under_way.is_empty() {
                match bench.pass(at) {
                    Ok(pass) => {
                        prop_assert!(before != State::HalfOpen, "two probes");
                        under_way.push((pass, before != State::Closed));
                    }
                    Err(wait) => {
                        prop_assert!(before != State::Closed, "closed, and refuses");
                        prop_assert!(wait > Duration::ZERO && wait <= SETTINGS.pause);
                    }
                }
            } else {
                let (pass, probe) = under_way.remove(which % under_way.len());
                let verdict = [Answers, Fails, Unknown][which % 3];
                let after = bench.report(at, pass, verdict);
                if probe {
                    let expected = if verdict == Answers { State::Closed } else { State::Open };
                    prop_assert_eq!((before, after), (State::HalfOpen, expected));
                }
            }
            let probes = under_way.iter().filter(|(_, probe)| *probe).count();
            prop_assert_eq!(probes, usize::from(bench.breaker.state() == State::HalfOpen));
        }
        // Whatever was: once all are back and the pause is over, one good answer closes it.
        for (pass, _) in under_way {
            bench.report(at, pass, Unknown);
        }
        at += SETTINGS.pause.as_millis() as u64;
        prop_assert_eq!(bench.request(at, Answers), State::Closed);
    }
}
