//! What is probed when, and what follows.
use super::{many::plan, *};
use breaker::OVERDUE;
use plan::Probed;
use state::REFUSED;

/// Model `m` at upstream `a`, which can be probed and has two keys, else at `b`.
fn probed() -> Plan {
    let mut plan = plan(&[("a", 2), ("b", 1)], &[("m", &[&[(0, 1)], &[(1, 1)]], &[])]);
    plan.upstreams[0].probed = Probed { service: true, keys: true };
    plan
}

fn bench(plan: Plan) -> Bench {
    let mut bench = Bench::new();
    bench.route = Route::new(Settings { plan, ..settings() });
    bench
}

fn refused() -> RunError {
    let mut error = error(RunErrorKind::NotSetUp);
    error.status = Some(401);
    error
}

impl Bench {
    /// The upstreams that a run of this client asks, whose attempts at `a` fail like this, if they are to.
    fn asks(&mut self, client: u64, failure: Option<&RunError>) -> Vec<usize> {
        self.request = request(client, self.now + ms(300_000));
        let mut asked = Vec::new();
        while let Pick::Go(go) = self.pick() {
            asked.push(go.target.upstream);
            match failure.filter(|_| go.target.upstream == 0) {
                Some(error) => self.request.fail(go.permit, error.clone(), None),
                None => {
                    self.route.record(self.now, 0.0, go.permit, Ok(()));
                    self.route.release(go.permit);
                    return asked;
                }
            }
        }
        asked
    }

    /// Opens a breaker of upstream `a`.
    fn open(&mut self, failure: &RunError) {
        for client in 0..5 {
            self.asks(client, Some(failure));
        }
        assert_eq!(self.route.upstream_state(0), breaker::State::Open);
    }

    /// Passes time until a probe is due, in steps of 100 ms; the probe, and how long that took.
    fn until_probe(&mut self) -> (Probe, u64) {
        for waited in 0..40_000 {
            if let [probe] = self.route.take_probes(self.now)[..] {
                return (probe, waited * 100);
            }
            self.now += ms(100);
        }
        panic!("no probe");
    }

    fn probe(&mut self, result: ProbeResult) -> u64 {
        let (probe, waited) = self.until_probe();
        self.route.report_probe(self.now, probe, result);
        waited
    }
}

#[test]
fn nothing_is_probed_while_all_is_well_nor_what_cannot_be() {
    let mut bench = bench(probed());
    for client in 0..50 {
        bench.asks(client, None);
        bench.now += ms(10_000);
        assert_eq!(bench.route.take_probes(bench.now), []);
    }
    let mut plan = probed();
    plan.upstreams[0].probed = Probed::default();
    let mut bench = self::bench(plan);
    bench.open(&error(RunErrorKind::UpstreamUnreachable));
    bench.asks(9, Some(&refused()));
    for _ in 0..50 {
        bench.now += ms(10_000);
        assert_eq!(bench.route.take_probes(bench.now), []);
    }
}

#[test]
fn only_a_good_probe_lets_a_run_try_and_only_one() {
    for failure in [RunErrorKind::UpstreamUnreachable, RunErrorKind::Interrupted] {
        let failure = error(failure);
        let mut bench = bench(probed());
        bench.open(&failure);
        assert_eq!(bench.route.take_probes(bench.now), [], "its time is not over");
        let (probe, waited) = bench.until_probe();
        assert!((4_000..=6_000).contains(&waited), "{waited}");
        assert_eq!(bench.route.take_probes(bench.now), [], "one at a time");
        assert_eq!(bench.asks(20, Some(&failure)), [1], "no run while it is probed");
        bench.route.report_probe(bench.now, probe, ProbeResult::Failed);
        assert_eq!(bench.asks(21, Some(&failure)), [1]);
        assert!((8_000..=12_000).contains(&bench.probe(ProbeResult::Failed)), "twice the time");
        assert!((16_000..=24_000).contains(&bench.probe(ProbeResult::Failed)), "four times");
        assert!((16_000..=24_000).contains(&bench.probe(ProbeResult::Answered)), "and no longer");
        assert_eq!(bench.route.upstream_state(0), breaker::State::HalfOpen);
        assert_eq!(bench.asks(22, Some(&failure)), [0, 1], "one run tries");
        assert_eq!(bench.asks(23, Some(&failure)), [1], "and fails");
        bench.probe(ProbeResult::Answered);
        bench.request = request(24, bench.now + ms(300_000));
        let trial = bench.go();
        assert_eq!(trial.target.upstream, 0);
        assert_eq!(bench.asks(25, None), [1], "one at a time");
        bench.route.record(bench.now, 0.0, trial.permit, Ok(()));
        bench.route.release(trial.permit);
        assert_eq!(bench.asks(26, None), [0]);
    }
}

#[test]
fn a_trial_that_is_cancelled_needs_no_other_probe() {
    let mut bench = bench(probed());
    bench.open(&error(RunErrorKind::UpstreamUnreachable));
    bench.probe(ProbeResult::Answered);
    bench.request = request(24, bench.now + ms(300_000));
    let trial = bench.go();
    bench.route.record(bench.now, 0.0, trial.permit, Err(Blame::None));
    bench.route.release(trial.permit);
    assert_eq!(bench.route.take_probes(bench.now), []);
    assert_eq!(bench.asks(25, None), [0]);
}

/// The model breaker: first a client that did not fail, then any.
#[test]
fn the_trial_behind_a_probe_is_of_another_client_than_those_that_failed() {
    let mut bench = bench(probed());
    let failure = error(RunErrorKind::Interrupted);
    bench.open(&failure);
    bench.probe(ProbeResult::Answered);
    assert_eq!(bench.asks(4, None), [1], "it has failed");
    bench.now += ms(4_999);
    assert_eq!(bench.asks(4, None), [1]);
    bench.now += ms(1);
    assert_eq!(bench.asks(4, None), [0], "no other came");
    bench.open(&failure);
    bench.probe(ProbeResult::Answered);
    assert_eq!(bench.asks(9, None), [0]);
}

#[test]
fn a_probe_without_a_result_keeps_no_run_back_for_ever() {
    let mut bench = bench(probed());
    bench.open(&error(RunErrorKind::UpstreamUnreachable));
    bench.until_probe();
    bench.now += OVERDUE - ms(200);
    assert_eq!(bench.asks(20, None), [1]);
    bench.now += ms(200);
    assert_eq!(bench.asks(20, None), [0]);
    let mut bench = self::bench(probed());
    bench.asks(1, Some(&refused()));
    bench.now += REFUSED + OVERDUE;
    assert_eq!(bench.route.take_probes(bench.now).len(), 1);
    assert_eq!(bench.asks(2, None), [0], "a key alike");
}

#[test]
fn a_key_that_is_out_is_probed_before_a_run_asks_with_it() {
    let mut bench = bench(probed());
    assert_eq!(bench.asks(1, Some(&refused())), [0, 0, 1], "both keys");
    bench.now += REFUSED - ms(1);
    assert_eq!(bench.route.take_probes(bench.now), []);
    bench.now += ms(1);
    let (first, _) = bench.until_probe();
    assert_eq!((first.subject, first.upstream), (ProbeSubject::Key, 0));
    assert_eq!(bench.asks(2, None), [1], "no run while it is probed");
    bench.route.report_probe(bench.now, first, ProbeResult::Refused);
    let (second, waited) = bench.until_probe();
    assert!(second.key != first.key && waited == 0);
    bench.route.report_probe(bench.now, second, ProbeResult::Failed);
    assert_eq!(bench.asks(3, None), [1], "silence changes nothing");
    let (again, waited) = bench.until_probe();
    assert_eq!((again.key, waited), (second.key, 30_000));
    bench.route.report_probe(bench.now, again, ProbeResult::Answered);
    bench.request = request(4, bench.now + ms(300_000));
    let go = bench.go();
    assert_eq!((go.target.upstream, go.key), (0, second.key), "one run asks");
    assert_eq!(bench.asks(5, None), [1], "and no other");
    // The list may be open to everybody: the refusal of the run counts, and doubles the time.
    bench.request = request(4, bench.now + ms(300_000));
    bench.request.has_begun = true;
    bench.request.fail(go.permit, refused(), None);
    bench.request.model = Some(Arc::clone(&bench.route.models[0]));
    assert_eq!(bench.go().target.upstream, 1);
    let (probe, _) = bench.until_probe();
    assert_eq!(probe.key, first.key, "twice the time from its own refusal");
    bench.route.report_probe(bench.now, probe, ProbeResult::Answered);
    assert_eq!(bench.asks(6, None), [0]);
    assert_eq!(bench.asks(7, None), [0]);
}

/// A run that asks with a key again, and fails for another reason, has shown nothing of the key.
#[test]
fn a_key_is_asked_again_by_the_next_run_when_another_failure_came_between() {
    let mut plan = probed();
    (plan.upstreams[0].probed, plan.upstreams[0].keys) = (Probed::default(), 1);
    let mut bench = bench(plan);
    bench.asks(1, Some(&refused()));
    bench.now += REFUSED;
    assert_eq!(bench.asks(2, Some(&error(RunErrorKind::Interrupted))), [0, 1]);
    assert_eq!(bench.asks(3, None), [0]);
}

proptest! {
    // I8, I14
    #[test]
    fn an_outage_costs_no_attempt_behind_probes_and_is_over_in_time(pace in 1..400_u64, lasts in 1..90_u64, kind in 0..3_usize) {
        let mut bench = bench(probed());
        let failure = [RunErrorKind::UpstreamUnreachable, RunErrorKind::UpstreamError, RunErrorKind::Interrupted][kind];
        let failure = error(failure);
        let (start, mut attempts, mut client) = (bench.now, 0, 0);
        let over = start + ms(lasts * 1_000);
        let (mut probing, mut back) = (None::<(Probe, Instant)>, None);
        while back.is_none() {
            client += 1;
            bench.request = request(0, bench.now);
            let fails = (bench.now < over).then_some(&failure);
            let asked = bench.asks(client, fails);
            prop_assert!(!asked.is_empty());
            if bench.now < over {
                attempts += asked.iter().filter(|upstream| **upstream == 0).count();
            } else if asked == [0] {
                back = Some(bench.now);
            }
            bench.now += ms(pace);
            // A probe takes its full time, and fails in the outage.
            if let Some((probe, ends)) = probing.filter(|(_, ends)| *ends <= bench.now) {
                let result = if ends < over { ProbeResult::Failed } else { ProbeResult::Answered };
                bench.route.report_probe(bench.now, probe, result);
                probing = None;
            }
            for probe in bench.route.take_probes(bench.now) {
                prop_assert!(probing.is_none(), "one at a time");
                probing = Some((probe, bench.now + PROBE_TIME));
            }
        }
        prop_assert!(attempts <= 2 * 5, "{} attempts", attempts);
        // Four times the time, its jitter, the probe and the pace of the runs.
        let within = ms(24_000) + PROBE_TIME + ms(2 * pace);
        prop_assert!(back.is_some_and(|back| back <= over + within), "{:?}", back.map(|back| back - over));
    }

    // I9
    #[test]
    fn a_key_that_is_out_is_probed_for_ever(results in prop::collection::vec(0..3_u8, 1..12)) {
        let mut bench = bench(probed());
        bench.asks(1, Some(&refused()));
        for result in results {
            let (probe, waited) = bench.until_probe();
            prop_assert!(waited <= 3_600_000, "{}", waited);
            let result = [ProbeResult::Refused, ProbeResult::Failed, ProbeResult::Answered][usize::from(result)];
            bench.route.report_probe(bench.now, probe, result);
            if result == ProbeResult::Answered {
                prop_assert_eq!(bench.asks(2, Some(&refused()))[0], 0, "a run asks");
            }
        }
    }
}
