//! Attempts that fail after text was shown: whether another one begins the answer anew, and where.
use super::{
    many::{plan, with},
    *,
};
use RunErrorKind::*;

/// Model `m` at upstream `a`; its fallback is model `f` at upstream `b`.
fn with_fallback() -> Plan {
    plan(&[("a", 1), ("b", 1)], &[("m", &[&[(0, 1)]], &[1]), ("f", &[&[(1, 1)]], &[])])
}

fn bench(plan: Plan, mid_answer: MidAnswer) -> Bench {
    let mut bench = Bench::new();
    let limits = Limits { mid_answer, ..Limits::default() };
    bench.route = Route::new(Settings { plan, limits, ..settings() });
    bench
}

/// What follows, and the place that it has.
fn next(bench: &mut Bench) -> (String, Option<Go>) {
    match bench.pick() {
        Pick::Go(go) => (format!("{} as {}", go.upstream, go.model), Some(go)),
        Pick::Wait { after, .. } => {
            bench.now += after;
            let (then, go) = next(bench);
            (format!("{} {then}", after.as_millis()), go)
        }
        Pick::Full => ("full".to_owned(), None),
        Pick::End(error) => (format!("end {}", error.kind.code()), None),
    }
}

/// A new run whose first attempt fails like this after its text was shown; what follows.
fn after(bench: &mut Bench, error: &RunError) -> (String, Option<Go>) {
    bench.next_run(7);
    let go = bench.go();
    bench.route.record(bench.now, 0.0, go.permit, Ok(()));
    bench.request.break_off(go.permit, error.clone(), Shown::Some);
    next(bench)
}

#[test]
fn an_answer_that_breaks_off_begins_anew_where_its_failure_allows_it() {
    for (stated, then) in [
        (error(Interrupted), "b as f"),
        (error(UpstreamProtocol), "b as f"),
        (error(UpstreamTimeout), "b as f"),
        (with(UpstreamError, 500, Some("InternalError"), None), "500 a as m"),
        (with(RateLimited, 429, None, Some(9_000)), "b as f"),
        (error(OutputRefused), "end output_refused"),
        (error(InputRefused), "end input_refused"),
        (error(AnswerTooLong), "end answer_too_long"),
        (error(Overloaded), "end overloaded"),
        (error(Internal), "end internal"),
    ] {
        let (next, _) = after(&mut bench(with_fallback(), MidAnswer::Restart), &stated);
        assert_eq!(next, then, "{stated}");
        let (next, _) = after(&mut bench(with_fallback(), MidAnswer::Off), &stated);
        assert_eq!(next, format!("end {}", stated.kind.code()), "off");
        let alone = Plan::alone("m", 2, plan::Times::UNLIMITED);
        let (next, _) = after(&mut bench(alone, MidAnswer::Restart), &stated);
        assert_eq!(next, format!("end {}", stated.kind.code()), "alone");
    }
}

#[test]
fn an_answer_that_a_person_had_continued_never_begins_anew() {
    let mut plan = with_fallback();
    plan.upstreams.iter_mut().for_each(|upstream| upstream.continues = true);
    for mid_answer in [MidAnswer::Restart, MidAnswer::Continue] {
        let mut bench = bench(plan.clone(), mid_answer);
        bench.request = request(7, bench.now + ms(300_000)).with_continuation(true);
        let go = bench.go();
        assert!(!go.keeps_text);
        bench.request.break_off(go.permit, error(Interrupted), Shown::Some);
        assert_eq!(next(&mut bench).0, "end interrupted");
    }
}

#[test]
fn an_answer_begins_anew_once() {
    let mut bench = bench(
        plan(&[("a", 1), ("b", 1), ("c", 1)], &[("m", &[&[(0, 1)], &[(1, 1)], &[(2, 1)]], &[])]),
        MidAnswer::Restart,
    );
    let (name, go) = after(&mut bench, &error(Interrupted));
    assert_eq!(name, "b as m");
    let permit = go.expect("it goes on").permit;
    // No text yet: the next one is asked.
    bench.request.fail(permit, error(UpstreamTimeout), None);
    let (name, go) = next(&mut bench);
    assert_eq!(name, "c as m");
    bench.request.break_off(go.expect("it goes on").permit, error(UpstreamProtocol), Shown::Some);
    assert_eq!(next(&mut bench).0, "end upstream_protocol", "at two targets after its text");
    let held: usize = bench.route.state.targets.iter().map(|target| target.running).sum();
    assert_eq!(held, 0);
}

#[test]
fn the_same_target_begins_a_broken_answer_anew_where_no_other_can() {
    let mut bench = bench(with_fallback(), MidAnswer::Restart);
    for client in 20..25 {
        bench.next_run(client);
        bench.request.affinity.avoid = 1;
        let go = bench.go();
        assert_eq!(&*go.upstream, "b");
        bench.request.fail(go.permit, error(UpstreamUnreachable), None);
        let (_, go) = next(&mut bench);
        go.into_iter().for_each(|go| bench.route.release(go.permit));
    }
    assert_eq!(bench.route.upstream_state(1), breaker::State::Open);
    let (name, go) = after(&mut bench, &error(Interrupted));
    assert_eq!(name, "0 a as m");
    bench.request.fail(go.expect("it goes on").permit, error(Interrupted), None);
    assert_eq!(next(&mut bench).0, "end interrupted", "once");
    let (name, _) = after(&mut bench, &error(UpstreamTimeout));
    assert_eq!(name, "end upstream_timeout", "a silent one stays silent");
}

#[test]
fn text_that_stops_counts_against_its_target_and_a_deadline_against_none() {
    let failing = |bench: &mut Bench, passed: u64| {
        for client in 0..6 {
            bench.next_run(client);
            let Pick::Go(go) = bench.pick() else { return true };
            if go.target.upstream != 0 {
                bench.route.release(go.permit);
                return true;
            }
            bench.now += ms(passed);
            bench.request.break_off(go.permit, error(UpstreamTimeout), Shown::Some);
            let (_, go) = next(bench);
            go.into_iter().for_each(|go| bench.route.release(go.permit));
        }
        false
    };
    assert!(failing(&mut bench(with_fallback(), MidAnswer::Restart), 10), "its breaker opens");
    assert!(
        !failing(&mut bench(with_fallback(), MidAnswer::Restart), 300_000),
        "long answers take their time"
    );
}

#[test]
fn the_limit_on_pauses_is_the_short_one_while_an_answer_can_begin_anew() {
    let of = |mid_answer| {
        let mut plan = with_fallback();
        for upstream in &mut plan.upstreams {
            (upstream.times.text, upstream.times.text_last) = (ms(20_000), ms(60_000));
        }
        let mut bench = bench(plan, mid_answer);
        let first = bench.go();
        bench.request.break_off(first.permit, error(Interrupted), Shown::Some);
        let second = next(&mut bench).1.map(|go| go.text);
        (first.text, second)
    };
    assert_eq!(of(MidAnswer::Restart), (ms(20_000), Some(ms(60_000))));
    assert_eq!(of(MidAnswer::Off), (ms(60_000), None));
}
