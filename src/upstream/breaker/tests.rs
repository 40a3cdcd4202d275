//! When the breaker opens, whom it lets through, and that it is never stuck.
#![expect(clippy::disallowed_methods, reason = "a starting point; nothing depends on where the clock stands")]
use super::*;
use AttemptResult::{Answered, Unknown};
use proptest::prelude::*;

/// No connection; whose request it was does not matter.
const FAILS: AttemptResult = AttemptResult::Failed(Failure::Connect);
/// Failures that a message could have provoked.
const NO_ANSWER: AttemptResult = AttemptResult::Failed(Failure::Answer);
const REPORTED: AttemptResult = AttemptResult::Failed(Failure::Reported);

const SETTINGS: Settings = Settings {
    failures: 5,
    failure_percent: 50,
    window: Duration::from_secs(10),
    open_time: Duration::from_secs(5),
};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A session of a client.
fn asker(client: u64, session: u64) -> Asker {
    Asker { client: FairShareKey::numbered(client), session: SessionId(u128::from(session)) }
}

/// A breaker and its clock.
struct Bench {
    breaker: Breaker,
    start: Instant,
    /// The last client that was used where each request is of another one.
    client: u64,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        Bench { breaker: Breaker::new(settings), start: Instant::now(), client: 1_000 }
    }

    /// Leave for a request of a client of its own.
    fn pass(&mut self, at: u64) -> Result<BreakerPermit, Duration> {
        self.client += 1;
        self.pass_of(at, asker(self.client, self.client))
    }

    fn pass_of(&mut self, at: u64, asker: Asker) -> Result<BreakerPermit, Duration> {
        self.breaker.admit(self.start + ms(at), asker)
    }

    fn report(&mut self, at: u64, pass: BreakerPermit, verdict: AttemptResult) -> State {
        self.breaker.report(self.start + ms(at), pass, verdict);
        self.breaker.state()
    }

    /// A request that is sent and over in the same moment.
    fn request(&mut self, at: u64, verdict: AttemptResult) -> State {
        let pass = self.pass(at).expect("it is let through");
        self.report(at, pass, verdict)
    }

    fn request_of(&mut self, at: u64, asker: Asker, verdict: AttemptResult) -> State {
        let pass = self.pass_of(at, asker).expect("it is let through");
        self.report(at, pass, verdict)
    }

    fn open(&mut self, at: u64) {
        for n in 1..=5 {
            let expected = if n < 5 { State::Closed } else { State::Open };
            assert_eq!(self.request(at, FAILS), expected, "failure {n}");
        }
    }
}

// faults: C45
#[test]
fn five_failures_in_a_row_open_it_and_a_good_probe_closes_it() {
    let mut bench = Bench::new(SETTINGS);
    for _ in 0..4 {
        bench.request(0, FAILS);
    }
    bench.request(0, Answered);
    bench.open(0);
    assert_eq!(bench.pass(0), Err(ms(5_000)));
    assert_eq!(bench.pass(4_999), Err(ms(1)));
    let probe = bench.pass(5_000).expect("the probe");
    assert_eq!(bench.breaker.state(), State::HalfOpen);
    assert_eq!(bench.pass(5_000), Err(ms(5_000)), "there is one probe");
    assert_eq!(bench.report(5_100, probe, Answered), State::Closed);
    assert_eq!(bench.request(5_100, FAILS), State::Closed, "it begins anew");
}

// faults: C45
#[test]
fn a_bad_probe_opens_it_again_and_a_cancelled_one_frees_its_place() {
    let mut bench = Bench::new(SETTINGS);
    bench.open(0);
    let probe = bench.pass(5_000).expect("the probe");
    assert_eq!(bench.report(6_000, probe, FAILS), State::Open);
    assert_eq!(bench.pass(10_999), Err(ms(1)));
    let probe = bench.pass(11_000).expect("the next probe");
    assert_eq!(bench.report(11_500, probe, Unknown), State::Open);
    assert_eq!(bench.request(11_500, Answered), State::Closed);
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
            state = bench.request(n * pace, if n % 2 == 1 { FAILS } else { Answered });
        }
        assert_eq!(state == State::Open, opens, "at a pace of {pace} ms");
    }
}

#[test]
fn a_share_opens_it_when_it_is_reached_and_not_before() {
    let mut bench = Bench::new(Settings { failures: 1_000, failure_percent: 25, ..SETTINGS });
    for _ in 0..19 {
        bench.request(0, Answered);
    }
    for failures in 1..=7 {
        // Seven of twenty-six are the first that make a quarter.
        let expected = if failures < 7 { State::Closed } else { State::Open };
        assert_eq!(bench.request(0, FAILS), expected, "{failures} failures");
    }
}

#[test]
fn the_window_moves_on_in_parts() {
    let mut bench = Bench::new(Settings { failures: 1_000, ..SETTINGS });
    for _ in 0..19 {
        bench.request(0, Answered);
    }
    for _ in 0..9 {
        bench.request(9_000, FAILS);
    }
    // The answers are forgotten, the failures are not.
    for failures in 10..=20 {
        let expected = if failures < 20 { State::Closed } else { State::Open };
        assert_eq!(bench.request(10_000, FAILS), expected, "{failures} failures");
    }
    for at in 0..100_000 {
        bench.request(20_000 + at, Answered);
        assert!(bench.breaker.parts.len() <= PARTS as usize + 1);
    }
}

#[test]
fn states_have_names() {
    assert_eq!(State::ALL.map(State::as_str), ["closed", "open", "half_open"]);
}

#[test]
fn results_of_attempts_from_before_the_last_change_are_ignored() {
    let mut bench = Bench::new(SETTINGS);
    let old: Vec<_> = (0..9).map(|_| bench.pass(0).expect("it is closed")).collect();
    bench.open(0);
    bench.report(1, old[0], Answered);
    assert_eq!(bench.breaker.state(), State::Open);
    assert_eq!(bench.request(5_000, Answered), State::Closed);
    for pass in old {
        assert_eq!(bench.report(5_001, pass, FAILS), State::Closed);
    }
}

#[test]
fn nought_means_never() {
    let mut bench = Bench::new(Settings { failures: 0, ..SETTINGS });
    for _ in 0..100 {
        assert_eq!(bench.request(0, FAILS), State::Closed);
    }
}

// faults: K138
#[test]
fn failures_that_a_message_provokes_need_three_clients_and_a_session_counts_once() {
    // Clients and sessions that fail, in this order; after which of them it opens.
    type Row<'a> = (AttemptResult, &'a [(u64, u64)], Option<usize>);
    let rows: &[Row<'_>] = &[
        (NO_ANSWER, &[(1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (1, 7), (1, 8)], None),
        (NO_ANSWER, &[(1, 1), (2, 2), (1, 3), (2, 4), (1, 5), (2, 6), (1, 7), (2, 8)], None),
        (NO_ANSWER, &[(1, 1), (2, 2), (3, 3), (1, 1), (2, 2), (3, 3), (1, 1), (2, 2)], None),
        (NO_ANSWER, &[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)], Some(5)),
        (NO_ANSWER, &[(1, 1), (2, 2), (3, 3), (1, 4), (2, 5)], Some(5)),
        // Of one client three count, where five open it.
        (NO_ANSWER, &[(1, 1), (1, 2), (1, 3), (1, 4), (2, 5), (3, 6)], Some(6)),
        (NO_ANSWER, &[(2, 2), (1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6)], None),
        // The first two do not count: no other client had failed yet.
        (REPORTED, &[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7)], Some(7)),
        (REPORTED, &[(1, 1), (2, 2), (3, 3), (1, 1), (2, 2), (4, 4), (5, 5)], Some(7)),
        (REPORTED, &[(1, 1), (2, 2), (1, 3), (2, 4), (1, 5), (2, 6), (1, 7)], None),
        (FAILS, &[(1, 1), (1, 1), (1, 1), (1, 1), (1, 1)], Some(5)),
    ];
    for (verdict, askers, opens) in rows {
        let mut bench = Bench::new(SETTINGS);
        for (n, (client, session)) in askers.iter().enumerate() {
            let state = bench.request_of(n as u64, asker(*client, *session), *verdict);
            let expected = if Some(n + 1) == *opens { State::Open } else { State::Closed };
            assert_eq!(state, expected, "{verdict:?} {askers:?} at {n}");
            assert!(bench.breaker.row.len() < 2 * SETTINGS.failures as usize);
        }
    }
}

// faults: K138
#[test]
fn a_reported_error_counts_only_while_others_fail_too() {
    let mut bench = Bench::new(SETTINGS);
    for client in 1..=2 {
        bench.request_of(0, asker(client, client), NO_ANSWER);
    }
    // They have failed too long ago.
    for session in 10..20 {
        assert_eq!(bench.request_of(10_000, asker(3, session), REPORTED), State::Closed);
    }
    assert_eq!(bench.breaker.row.len(), 2);
}

// faults: K138
#[test]
fn a_share_of_failures_must_show_without_the_client_that_fails_the_most() {
    let never_in_a_row = Settings { failures: 1_000, ..SETTINGS };
    // One client of which most fails, two that fail once, and many that are answered.
    let mut bench = Bench::new(never_in_a_row);
    for n in 0..2_000 {
        let verdict = if n % 10 < 8 { NO_ANSWER } else { REPORTED };
        assert_eq!(bench.request_of(0, asker(7, n), verdict), State::Closed, "{n}");
        if n < 2 {
            assert_eq!(bench.request_of(0, asker(8 + n, 5_000 + n), NO_ANSWER), State::Closed);
        }
        if n % 40 == 0 {
            bench.request(0, Answered);
        }
    }
    // An outage of part of the service, for many.
    let mut bench = Bench::new(never_in_a_row);
    let opened =
        (0..40).find(|n| bench.request(*n, if n % 3 == 0 { Answered } else { NO_ANSWER }) == State::Open);
    assert_eq!(opened, Some(20), "as soon as twenty other results were recorded");
}

// faults: K138
#[test]
fn the_trial_is_of_a_client_that_did_not_fail() {
    let mut bench = Bench::new(SETTINGS);
    for client in 1..=5 {
        bench.request_of(0, asker(client, client), NO_ANSWER);
    }
    assert_eq!(bench.breaker.state(), State::Open);
    assert_eq!(bench.pass_of(5_000, asker(5, 99)), Err(ms(5_000)), "another session of a client that failed");
    let trial = bench.pass_of(5_000, asker(6, 6)).expect("the trial");
    // One that hangs keeps others out for no longer than a pause, and its client until then too.
    assert_eq!(bench.pass_of(9_999, asker(7, 7)), Err(ms(1)));
    assert_eq!(bench.pass_of(10_000, asker(6, 6)), Err(ms(5_000)));
    let second = bench.pass_of(10_000, asker(7, 7)).expect("a second trial");
    assert_eq!(bench.report(10_100, second, REPORTED), State::HalfOpen);
    assert_eq!(bench.report(10_200, trial, Answered), State::Closed, "the first one was only slow");
    // There is no other client: the client that failed is let through after another pause.
    for client in 1..=5 {
        bench.request_of(20_000, asker(client, client), NO_ANSWER);
    }
    assert_eq!(bench.pass_of(29_999, asker(1, 1)), Err(ms(1)));
    let trial = bench.pass_of(30_000, asker(1, 1)).expect("anybody");
    // Others need not wait for it.
    let other = bench.pass_of(30_001, asker(6, 6)).expect("another trial");
    assert_eq!(bench.report(30_002, trial, REPORTED), State::HalfOpen);
    assert_eq!(bench.report(30_003, other, Answered), State::Closed);
    // After failures to connect anybody will do.
    bench.open(40_000);
    assert_eq!(bench.request_of(45_000, asker(1_003, 1), Answered), State::Closed);
}

proptest! {
    /// Not many trials at once, never stuck open, and closed lets everything pass.
    #[test]
    fn any_order_of_requests(
        failures in 1..6u32,
        steps in prop::collection::vec((0..3u8, 0..12usize, 0..3_000u64, 0..12u64), 1..300),
    ) {
        let mut bench = Bench::new(Settings { failures, ..SETTINGS });
        let (mut at, mut under_way) = (0, Vec::new());
        for (step, which, wait, client) in steps {
            at += if which % 4 == 0 { wait } else { wait / 100 };
            let before = bench.breaker.state();
            if step == 0 || under_way.is_empty() {
                match bench.pass_of(at, asker(client, at)) {
                    Ok(pass) => under_way.push((pass, before != State::Closed)),
                    Err(wait) => {
                        prop_assert!(before != State::Closed, "closed, and admits no request");
                        prop_assert!(wait > Duration::ZERO && wait <= 2 * SETTINGS.open_time);
                    }
                }
            } else {
                let (pass, trial) = under_way.remove(which % under_way.len());
                let verdict = [Answered, FAILS, NO_ANSWER, REPORTED, Unknown][which % 5];
                let after = bench.report(at, pass, verdict);
                if trial && pass.epoch == bench.breaker.epoch.saturating_sub(1) && before == State::HalfOpen {
                    let expected = if verdict == Answered { State::Closed } else { State::Open };
                    prop_assert_eq!(after, expected);
                }
            }
            let trials = |(pass, trial): &&(BreakerPermit, bool)| *trial && pass.epoch == bench.breaker.epoch;
            let trials = under_way.iter().filter(trials).count();
            prop_assert_eq!(trials > 0, bench.breaker.state() == State::HalfOpen);
            prop_assert!(bench.breaker.blamed.len() <= BLAMED_MAX && bench.breaker.row.len() <= 2 * 6);
            prop_assert!(bench.breaker.parts.iter().all(|part| part.clients.len() <= KEPT_APART));
        }
        // Whatever was: once all are back and the pause is over, one good answer closes it.
        for (pass, _) in under_way {
            bench.report(at, pass, Unknown);
        }
        at += SETTINGS.open_time.as_millis() as u64;
        prop_assert_eq!(bench.request(at, Answered), State::Closed);
    }

    /// Whatever one client sends and however that ends: the breaker does not open, also if two others fail
    /// now and then, and an open one lets another client try within three pauses.
    #[test]
    fn one_client_neither_opens_it_nor_keeps_it_open(
        failures in 3..9u32,
        begins_open in any::<bool>(),
        steps in prop::collection::vec((0..8u8, 0..5usize, 0..400u64), 1..400),
    ) {
        let mut bench = Bench::new(Settings { failures, ..SETTINGS });
        let (mut at, mut under_way, mut session) = (0, Vec::new(), 0);
        if begins_open {
            for _ in 0..failures {
                bench.request(0, FAILS);
            }
            prop_assert_eq!(bench.breaker.state(), State::Open);
        }
        for (step, which, wait) in steps {
            at += wait;
            match step {
                0..=3 => {
                    session += 1;
                    under_way.extend(bench.pass_of(at, asker(1, session)));
                }
                4..=6 if !under_way.is_empty() => {
                    let pass = under_way.remove(which % under_way.len());
                    bench.report(at, pass, [Answered, NO_ANSWER, REPORTED, NO_ANSWER, Unknown][which]);
                }
                // Each of them once for ten answers of others.
                7 if !begins_open => {
                    bench.request_of(at, asker(2 + which as u64 % 2, at), REPORTED);
                    for _ in 0..10 {
                        bench.request(at, Answered);
                    }
                }
                _ => {}
            }
            prop_assert!(begins_open || bench.breaker.state() == State::Closed, "it is open");
        }
        if begins_open {
            at = at.max(3 * SETTINGS.open_time.as_millis() as u64);
            prop_assert_eq!(bench.request(at, Answered), State::Closed);
        }
    }
}
