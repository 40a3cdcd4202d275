//! Models with several targets: where a run goes after each failure, row by row.
use super::*;
use plan::{KeysLimited, ModelPlan, ModelTimes, TargetPlan, Times, UpstreamPlan};

/// A model: its name, its levels with the upstreams and weights of each, and its fallbacks.
type ModelWords<'a> = (&'a str, &'a [&'a [(usize, u32)]], &'a [usize]);

/// A plan: upstreams by name with the number of their keys, and models.
pub(super) fn plan(upstreams: &[(&str, usize)], models: &[ModelWords<'_>]) -> Plan {
    let times = Times { first_token: ms(10_000), first_token_last: ms(60_000), ..Times::UNLIMITED };
    Plan {
        upstreams: upstreams
            .iter()
            .map(|(name, keys)| UpstreamPlan {
                name: (*name).into(),
                keys: *keys,
                keys_limited: KeysLimited::Together,
                runs_max: 0,
                continues: false,
                times,
                probed: plan::Probed::default(),
            })
            .collect(),
        models: models
            .iter()
            .map(|(name, levels, fallback)| ModelPlan {
                table: (*name).into(),
                name: (*name).into(),
                levels: levels.iter().map(|level| targets(name, level)).collect(),
                fallback: fallback.to_vec(),
                context: 0,
                times: ModelTimes::default(),
            })
            .collect(),
    }
}

fn targets(model: &str, level: &[(usize, u32)]) -> Vec<TargetPlan> {
    let target = |(upstream, weight): &(usize, u32)| TargetPlan {
        upstream: *upstream,
        model: model.into(),
        weight: *weight,
    };
    level.iter().map(target).collect()
}

/// Model `m` at upstream `a`; its fallback is model `f` at upstream `b`.
fn with_fallback() -> Plan {
    plan(&[("a", 1), ("b", 1)], &[("m", &[&[(0, 1)]], &[1]), ("f", &[&[(1, 1)]], &[])])
}

/// Model `m` at upstream `a`, then at upstream `b`.
fn with_second() -> Plan {
    plan(&[("a", 1), ("b", 1)], &[("m", &[&[(0, 1)], &[(1, 1)]], &[])])
}

impl Bench {
    pub(super) fn of(plan: Plan) -> Self {
        let mut bench = Bench::new();
        bench.route = Route::new(Settings { plan, ..settings() });
        bench
    }

    fn name(&self, go: &Go) -> String {
        let upstream = self.route.upstream_name(go.target.upstream).expect("it is known");
        format!("{upstream}/k{}", go.key.0 + 1)
    }

    /// What comes next, with the place kept.
    fn next(&mut self) -> (String, Option<Go>) {
        match self.pick() {
            Pick::Go(go) => (self.name(&go), Some(go)),
            Pick::Wait { after, .. } => {
                self.now += after;
                let (then, go) = self.next();
                (format!("{} {then}", after.as_millis()), go)
            }
            Pick::Full => ("full".to_owned(), None),
            Pick::End(error) => (format!("end {}", error.kind.code()), None),
        }
    }

    /// The attempts of a new run whose attempts at upstream `a` all fail like this, and so do the others if they are to.
    fn run(&mut self, client: u64, error: &RunError, b_fails: bool) -> String {
        self.next_run(client);
        let mut stated = Vec::new();
        for _ in 0..20 {
            let (next, go) = self.next();
            stated.push(next);
            let Some(go) = go else { break };
            if go.target.upstream == 0 || b_fails {
                self.request.fail(go.permit, error.clone(), None);
                continue;
            }
            self.answer(&go);
            break;
        }
        stated.join(", ")
    }

    fn answer(&mut self, go: &Go) {
        self.route.record(self.now, 0.0, go.permit, Ok(()));
        self.route.release(go.permit);
        self.route.remember(self.now, &mut self.request, &go.target);
    }
}

pub(super) fn with(kind: RunErrorKind, status: u16, code: Option<&str>, after: Option<u64>) -> RunError {
    let mut error = error(kind);
    (error.status, error.code) = (Some(status), code.map(str::to_owned));
    error.retry_after = after.map(ms);
    error
}

/// Pauses are the longest ones. The first column is stated, the next where the model has a fallback, the last where it has a second
/// target.
#[test]
fn each_failure_goes_where_the_table_says() {
    use RunErrorKind::*;
    for (stated, fallback, second) in [
        (with(BadRequest, 400, None, None), "a/k1, end bad_request", "a/k1, end bad_request"),
        (
            RunError { retry: Retry::Once, ..with(BadRequest, 400, None, None) },
            "a/k1, 0 a/k1, b/k1",
            "a/k1, 0 a/k1, b/k1",
        ),
        (with(InputRefused, 400, None, None), "a/k1, end input_refused", "a/k1, end input_refused"),
        (with(NotSetUp, 401, None, None), "a/k1, b/k1", "a/k1, b/k1"),
        (with(NotSetUp, 403, None, None), "a/k1, b/k1", "a/k1, b/k1"),
        (with(NotAvailable, 402, None, None), "a/k1, b/k1", "a/k1, b/k1"),
        (with(RateLimited, 429, None, Some(2_000)), "a/k1, 2500 a/k1, 2500 a/k1, b/k1", "a/k1, b/k1"),
        (with(RateLimited, 429, None, Some(3_001)), "a/k1, b/k1", "a/k1, b/k1"),
        (with(RateLimited, 429, None, None), "a/k1, 500 a/k1, 1000 a/k1, b/k1", "a/k1, b/k1"),
        (with(ModelNotFound, 404, None, None), "a/k1, b/k1", "a/k1, b/k1"),
        (with(NotSetUp, 404, None, None), "a/k1, b/k1", "a/k1, b/k1"),
        (with(UpstreamError, 503, Some("unavailable_error"), None), "a/k1, b/k1", "a/k1, b/k1"),
        (with(UpstreamError, 503, None, None), "a/k1, b/k1", "a/k1, b/k1"),
        (error(UpstreamUnreachable), "a/k1, b/k1", "a/k1, b/k1"),
        (error(UpstreamTls), "a/k1, b/k1", "a/k1, b/k1"),
        (with(UpstreamError, 500, None, None), "a/k1, 500 a/k1, b/k1", "a/k1, b/k1"),
        (error(UpstreamTimeout), "a/k1, b/k1", "a/k1, b/k1"),
        (error(UpstreamProtocol), "a/k1, b/k1", "a/k1, b/k1"),
        (error(Interrupted), "a/k1, b/k1", "a/k1, b/k1"),
        (error(EmptyAnswer), "a/k1, 0 a/k1, b/k1", "a/k1, 0 a/k1, b/k1"),
        (error(Internal), "a/k1, end internal", "a/k1, end internal"),
    ] {
        assert_eq!(Bench::of(with_fallback()).run(7, &stated, false), fallback, "{stated} and a fallback");
        assert_eq!(Bench::of(with_second()).run(7, &stated, false), second, "{stated} and a second target");
    }
}

/// Where everybody fails alike, a run comes back to a target that may be asked again.
#[test]
fn a_target_is_asked_again_when_no_other_can_be() {
    use RunErrorKind::*;
    for (stated, expected) in [
        (with(UpstreamError, 503, None, None), "a/k1, b/k1, 1000 b/k1, end upstream_error"),
        (with(UpstreamError, 500, None, None), "a/k1, b/k1, 500 b/k1, end upstream_error"),
        (error(UpstreamUnreachable), "a/k1, b/k1, end upstream_unreachable"),
        (error(UpstreamTimeout), "a/k1, b/k1, end upstream_timeout"),
        (error(Interrupted), "a/k1, b/k1, 0 b/k1, end interrupted"),
        (with(NotSetUp, 401, None, None), "a/k1, b/k1, end not_set_up"),
    ] {
        assert_eq!(Bench::of(with_second()).run(7, &stated, true), expected, "{stated}");
    }
    let mut bench = Bench::of(with_second());
    let loading = with(UpstreamError, 503, Some("unavailable_error"), None);
    let next = bench.run(7, &loading, true);
    assert!(next.starts_with("a/k1, b/k1, 2000 b/k1, 2000 b/k1, 2000 b/k1"), "{next}");
}

#[test]
fn a_prompt_that_is_too_long_goes_to_a_larger_context_only() {
    let too_long = error(RunErrorKind::InputTooLong);
    for (own, fallback, expected) in [
        (8_000, 32_000, "a/k1, b/k1"),
        (8_000, 8_000, "a/k1, end input_too_long"),
        (8_000, 0, "a/k1, end input_too_long"),
        (0, 32_000, "a/k1, b/k1"),
    ] {
        let mut plan = with_fallback();
        (plan.models[0].context, plan.models[1].context) = (own, fallback);
        assert_eq!(Bench::of(plan).run(7, &too_long, false), expected, "{own} {fallback}");
    }
    // What is known not to fit is not asked at all.
    let mut plan = with_fallback();
    (plan.models[0].context, plan.models[1].context) = (1_000, 32_000);
    let mut bench = Bench::of(plan);
    for (tokens, expected) in [(900, "a/k1"), (910, "b/k1"), (40_000, "end input_too_long")] {
        bench.request = request(7, bench.now + ms(300_000)).with_tokens(tokens);
        let (next, go) = bench.next();
        assert_eq!(next, expected, "{tokens}");
        go.iter().for_each(|go| bench.answer(go));
    }
}

#[test]
fn a_refused_key_is_out_and_comes_back() {
    let refused = with(RunErrorKind::NotSetUp, 401, None, None);
    let mut bench = Bench::of(plan(&[("a", 2), ("b", 1)], &[("m", &[&[(0, 1)], &[(1, 1)]], &[])]));
    bench.next_run(1);
    let first = bench.go();
    bench.request.fail(first.permit, refused.clone(), None);
    let second = bench.go();
    assert_eq!((first.target.upstream, second.target.upstream), (0, 0));
    assert_ne!(first.key, second.key);
    bench.answer(&second);
    let keys_of = |bench: &mut Bench, runs: u64| -> Vec<_> {
        (0..runs)
            .map(|run| {
                bench.next_run(100 + run);
                let go = bench.go();
                bench.answer(&go);
                go.key
            })
            .collect()
    };
    assert!(keys_of(&mut bench, 20).iter().all(|key| *key == second.key));
    bench.now += state::REFUSED;
    bench.next_run(2);
    let again = bench.go();
    assert_eq!(again.key, first.key, "its time is over: the next run asks again");
    bench.next_run(3);
    assert_eq!(bench.go().key, second.key, "and no other does");
    bench.request.fail(again.permit, refused, None);
    bench.go();
    bench.now += state::REFUSED * 2 - ms(1);
    assert!(keys_of(&mut bench, 20).iter().all(|key| *key == second.key), "twice the time");
    bench.now += ms(1);
    assert_eq!(keys_of(&mut bench, 1), [first.key]);
    assert!(keys_of(&mut bench, 20).contains(&first.key), "it answered");
}

// routing: one key without rights to one model
#[test]
fn a_key_without_rights_to_a_model_serves_the_others() {
    let forbidden = with(RunErrorKind::NotSetUp, 403, None, None);
    let upstreams = [("a", 1), ("b", 1)];
    let mut bench = Bench::of(plan(
        &upstreams,
        &[("m", &[&[(0, 1)], &[(1, 1)]], &[]), ("n", &[&[(0, 1)], &[(1, 1)]], &[])],
    ));
    assert_eq!(bench.run(1, &forbidden, false), "a/k1, b/k1");
    assert_eq!(bench.run(2, &forbidden, false), "b/k1", "out for this model");
    let ask_n = |bench: &mut Bench| {
        bench.request = RouteRequest::new("n".into(), asker(9), bench.now + ms(300_000));
        bench.next()
    };
    let (next, go) = ask_n(&mut bench);
    assert_eq!(next, "a/k1", "good for the other");
    assert_eq!(bench.route.health(bench.now).upstreams[0].keys, KeyCounts { ok: 1, cooling: 0, out: 0 });
    // Refused by all models of the upstream: the key is out.
    bench.request.fail(go.expect("it goes").permit, forbidden, None);
    assert_eq!(bench.next().0, "b/k1");
    assert_eq!(bench.route.health(bench.now).upstreams[0].keys, KeyCounts { ok: 0, cooling: 0, out: 1 });
}

#[test]
fn a_rate_limit_cools_all_keys_of_an_account_for_one_model() {
    for limited in [KeysLimited::Together, KeysLimited::Apart] {
        let mut plan = plan(
            &[("a", 2), ("b", 1)],
            &[("m", &[&[(0, 1)], &[(1, 1)]], &[]), ("n", &[&[(0, 1)], &[(1, 1)]], &[])],
        );
        plan.upstreams[0].keys_limited = limited;
        let mut bench = Bench::of(plan);
        let stated = with(RunErrorKind::RateLimited, 429, None, Some(20_000));
        bench.next_run(1);
        let first = bench.go();
        bench.request.fail(first.permit, stated, None);
        let second = bench.go();
        match limited {
            KeysLimited::Together => assert_eq!(second.target.upstream, 1),
            KeysLimited::Apart => assert_eq!((second.target.upstream, second.key.0), (0, 1 - first.key.0)),
        }
        bench.request = RouteRequest::new("n".into(), asker(2), bench.now + ms(300_000));
        assert_eq!(bench.go().target.upstream, 0, "the other model is not cooled");
    }
}

#[test]
fn a_shorter_time_does_not_end_a_longer_one() {
    let limited = |after| with(RunErrorKind::RateLimited, 429, None, Some(after));
    let mut bench = Bench::of(with_second());
    let first = bench.go();
    let mut other = request(8, bench.now + ms(300_000));
    std::mem::swap(&mut bench.request, &mut other);
    let second = bench.go();
    assert_eq!((first.target.upstream, second.target.upstream), (0, 0));
    bench.request.fail(second.permit, limited(30_000), None);
    assert_eq!(bench.next().0, "b/k1");
    std::mem::swap(&mut bench.request, &mut other);
    bench.request.fail(first.permit, limited(2_000), None);
    assert_eq!(bench.next().0, "b/k1");
    for (passed, expected) in [(29_000, "b/k1"), (1_000, "a/k1")] {
        bench.now += ms(passed);
        bench.next_run(9);
        assert_eq!(bench.next().0, expected);
    }
}

#[test]
fn all_cooling_is_waited_for_if_it_is_short_and_refused_else() {
    let limited = |after| with(RunErrorKind::RateLimited, 429, None, Some(after));
    let mut bench = Bench::of(with_second());
    assert_eq!(bench.run(1, &limited(3_000), false), "a/k1, b/k1");
    bench.next_run(2);
    let go = bench.go();
    bench.request.fail(go.permit, limited(4_000), None);
    assert!(matches!(bench.pick(), Pick::End(_)));
    // Upstream a is free in 3 s, b in 4 s.
    bench.next_run(3);
    assert!(matches!(bench.pick(), Pick::Wait { after, error: None } if after == ms(3_000)));
    let mut bench = Bench::of(with_second());
    assert_eq!(bench.run(1, &limited(30_000), true), "a/k1, b/k1, end rate_limited");
    bench.next_run(2);
    let Pick::End(refused) = bench.pick() else { panic!("it is refused") };
    assert_eq!((refused.kind, refused.retry_after), (RunErrorKind::RateLimited, Some(ms(30_000))));
    // No time was stated how long: the last target is asked.
    let mut bench = Bench::of(with_second());
    bench.run(1, &with(RunErrorKind::RateLimited, 429, None, None), true);
    bench.next_run(2);
    assert!(matches!(bench.pick(), Pick::Go(_)));
}

#[test]
fn a_full_upstream_is_passed_by_and_a_full_model_queues() {
    let mut plan = with_second();
    (plan.upstreams[0].runs_max, plan.upstreams[1].runs_max) = (2, 1);
    let mut bench = Bench::of(plan);
    let mut took = Vec::new();
    for client in 0..4 {
        bench.next_run(client);
        took.push(bench.next());
    }
    let names: Vec<_> = took.iter().map(|(next, _)| next.as_str()).collect();
    assert_eq!(names, ["a/k1", "a/k1", "b/k1", "full"]);
    let go = took[0].1.as_ref().expect("it went");
    bench.route.record(bench.now, 0.0, go.permit, Err(Blame::None));
    bench.route.release(go.permit);
    bench.next_run(9);
    assert_eq!(bench.next().0, "a/k1");
}

#[test]
fn the_first_token_limit_is_the_short_one_while_another_target_is_left() {
    let mut bench = Bench::of(with_fallback());
    let first = bench.go();
    assert_eq!(first.first_token, ms(10_000));
    bench.request.fail(first.permit, error(RunErrorKind::UpstreamTimeout), None);
    assert_eq!(bench.go().first_token, ms(60_000));
}

#[test]
fn a_conversation_passes_over_the_target_that_failed_it_for_a_while() {
    let mut bench = Bench::of(with_second());
    assert_eq!(bench.run(1, &error(RunErrorKind::UpstreamTimeout), true), "a/k1, b/k1, end upstream_timeout");
    let affinity = bench.request.affinity();
    let next = |bench: &mut Bench| {
        bench.request = request(1, bench.now + ms(300_000)).with_affinity(affinity);
        let (next, go) = bench.next();
        go.iter().for_each(|go| {
            bench.route.record(bench.now, 0.0, go.permit, Err(Blame::None));
            bench.route.release(go.permit);
        });
        next
    };
    assert_eq!(next(&mut bench), "a/k1", "b has failed last");
    // Upstream a alone is left out by a breaker: rather the one that failed than none.
    bench.now += ms(5_000);
    assert_eq!(next(&mut bench), "a/k1");
    let mut bench = Bench::of(with_fallback());
    bench.run(1, &error(RunErrorKind::UpstreamTimeout), false);
    let mut asks =
        request(1, bench.now + ms(300_000)).with_affinity(Affinity { avoid: 1, ..bench.request.affinity() });
    asks.affinity.avoided_at = bench.route.milliseconds(bench.now);
    bench.request = asks;
    assert_eq!(bench.next().0, "b/k1");
}

#[test]
fn listed_models_that_change_keep_the_state_of_those_that_stay() {
    let mut bench = Bench::of(with_second());
    let refused = with(RunErrorKind::ModelNotFound, 404, None, None);
    assert_eq!(bench.run(1, &refused, false), "a/k1, b/k1");
    bench.next_run(2);
    let mut waiting = std::mem::replace(&mut bench.request, request(3, bench.now + ms(300_000)));
    let held = bench.go();
    bench.route.set_plan(plan(
        &[("a", 1), ("b", 1)],
        &[("other", &[&[(1, 1)]], &[]), ("m", &[&[(0, 1)], &[(1, 1)]], &[])],
    ));
    std::mem::swap(&mut bench.request, &mut waiting);
    assert_eq!(bench.next().0, "b/k1", "a is still out for this model");
    // A run that has begun keeps its targets when its model goes away.
    bench.route.set_plan(plan(&[("a", 1), ("b", 1)], &[("other", &[&[(1, 1)]], &[])]));
    bench.request = waiting;
    bench.request.fail(held.permit, with(RunErrorKind::UpstreamError, 500, None, None), None);
    assert_eq!(bench.next().0, "500 b/k1");
    bench.next_run(4);
    assert_eq!(bench.next().0, "end model_not_found");
}

#[test]
fn health_has_the_median_of_the_latest_first_texts() {
    let mut bench = Bench::of(with_second());
    let median = |bench: &Bench| bench.route.health(bench.now).upstreams[0].first_token_p50;
    assert_eq!(median(&bench), None);
    let mut answers = |times: &[u64]| {
        for time in times {
            bench.next_run(1);
            let go = bench.go();
            bench.now += ms(*time);
            bench.answer(&go);
        }
        median(&bench)
    };
    assert_eq!(answers(&[100]), Some(ms(100)));
    assert_eq!(answers(&[900, 300]), Some(ms(300)), "the one in the middle");
    assert_eq!(answers(&[50; 33]), Some(ms(50)), "older ones are forgotten");
    assert_eq!(answers(&[70; 20]), Some(ms(70)));
}

#[test]
fn health_tells_what_can_be_asked() {
    let mut bench = Bench::of(with_second());
    let of = |bench: &Bench| bench.route.health(bench.now).models[0].clone();
    assert_eq!(of(&bench).state, ModelState::Ok);
    bench.run(1, &with(RunErrorKind::RateLimited, 429, None, Some(7_000)), false);
    let model = of(&bench);
    assert_eq!(model.state, ModelState::Degraded);
    assert_eq!(
        (model.targets[0].state, model.targets[0].free_in),
        (TargetStanding::Cooling, Some(ms(7_000)))
    );
    assert_eq!(bench.route.health(bench.now).upstreams[0].keys, KeyCounts { ok: 0, cooling: 1, out: 0 });
    bench.run(2, &with(RunErrorKind::NotSetUp, 401, None, None), true);
    let model = of(&bench);
    assert_eq!((model.targets[1].state, model.state), (TargetStanding::Out, ModelState::Down));
    let last = bench.route.health(bench.now).upstreams[1].last_error;
    assert_eq!(last.map(|(kind, _)| kind), Some("not_set_up"));
    bench.now += ms(7_000);
    assert_eq!(of(&bench).targets[0].state, TargetStanding::Ok);
}
