//! Answers that break off and are gone on with by the gateway itself: by whom, how often, and what follows a refusal.
use super::{many::plan, *};
use RunErrorKind::*;

/// Model `m` at upstreams `a` and `b`, by these names there. The upstreams in `able` go on with an answer.
fn two(names: [&str; 2], able: &[usize]) -> Plan {
    let mut plan = plan(&[("a", 1), ("b", 1)], &[("m", &[&[(0, 1)], &[(1, 1)]], &[])]);
    for (level, name) in plan.models[0].levels.iter_mut().zip(names) {
        level[0].model = name.into();
    }
    with_able(plan, able)
}

fn with_able(mut plan: Plan, able: &[usize]) -> Plan {
    able.iter().for_each(|upstream| plan.upstreams[*upstream].continues = true);
    plan
}

fn alone(able: &[usize]) -> Plan {
    with_able(Plan::alone("m", 1, plan::Times::UNLIMITED), able)
}

fn bench(plan: Plan, mid_answer: MidAnswer) -> Bench {
    let mut bench = Bench::new();
    let limits = Limits { mid_answer, ..Limits::default() };
    bench.route = Route::new(Settings { plan, limits, ..settings() });
    bench
}

/// What follows, without pauses.
fn next(bench: &mut Bench) -> (String, Option<Go>) {
    match bench.pick() {
        Pick::Go(go) => {
            let how = if go.continues { "goes on" } else { "begins anew" };
            (format!("{} {how}", go.upstream), Some(go))
        }
        Pick::Wait { after, .. } => {
            bench.now += after;
            next(bench)
        }
        Pick::Full => ("full".to_owned(), None),
        Pick::End(error) => (format!("end {}", error.kind.code()), None),
    }
}

/// The first attempt of a run breaks off like this; what follows, and whether its text had to be kept.
fn after(bench: &mut Bench, kind: RunErrorKind, shown: Shown) -> (String, Option<Go>, bool) {
    bench.next_run(7);
    let go = bench.go();
    bench.route.record(bench.now, 0.0, go.permit, Ok(()));
    bench.request.break_off(go.permit, error(kind), shown);
    let (then, next) = next(bench);
    (then, next, go.keeps_text)
}

#[test]
fn an_answer_goes_on_where_its_model_has_the_same_name() {
    let fallback = plan(&[("a", 1), ("b", 1)], &[("m", &[&[(0, 1)]], &[1]), ("f", &[&[(1, 1)]], &[])]);
    for (plan, then, keeps) in [
        (two(["m", "m"], &[0, 1]), "b goes on", true),
        (two(["m", "m"], &[1]), "b goes on", true),
        (two(["m", "m"], &[0]), "a goes on", true),
        (two(["m", "m"], &[]), "b begins anew", false),
        (two(["m", "other"], &[0, 1]), "a goes on", true),
        (two(["m", "other"], &[1]), "b begins anew", false),
        (with_able(fallback.clone(), &[1]), "b begins anew", false),
        (with_able(fallback, &[0, 1]), "a goes on", true),
        (alone(&[0]), "default goes on", true),
        (alone(&[]), "end interrupted", false),
    ] {
        let planned = format!("{plan:?}");
        let mut going_on = bench(plan.clone(), MidAnswer::Continue);
        // The run keeps the text where that is asked for, and only there.
        let shown = if keeps { Shown::Kept } else { Shown::Some };
        let (next, _, kept) = after(&mut going_on, Interrupted, shown);
        assert_eq!((&*next, kept), (then, keeps), "{planned}");
        let is_alone = plan.models[0].levels.len() == 1 && plan.models[0].fallback.is_empty();
        let anew = if is_alone { "end interrupted" } else { "b begins anew" };
        assert_eq!(after(&mut going_on, Interrupted, Shown::Some).0, anew, "thinking was shown: {planned}");
        let (next, _, kept) = after(&mut bench(plan.clone(), MidAnswer::Restart), Interrupted, Shown::Some);
        assert_eq!((&*next, kept), (anew, false), "restart: {planned}");
        let (next, _, kept) = after(&mut bench(plan, MidAnswer::Off), Interrupted, Shown::Some);
        assert_eq!((&*next, kept), ("end interrupted", false), "off: {planned}");
    }
}

#[test]
fn an_answer_goes_on_after_the_failures_after_which_it_would_begin_anew() {
    for (kind, among_two, at_the_same) in [
        (Interrupted, "b goes on", "a goes on"),
        (UpstreamProtocol, "b goes on", "a goes on"),
        (UpstreamTimeout, "b goes on", "b begins anew"),
        (OutputRefused, "end output_refused", "end output_refused"),
        (AnswerTooLong, "end answer_too_long", "end answer_too_long"),
        (Internal, "end internal", "end internal"),
    ] {
        let mut both = bench(two(["m", "m"], &[0, 1]), MidAnswer::Continue);
        assert_eq!(after(&mut both, kind, Shown::Kept).0, among_two);
        let mut one = bench(two(["m", "other"], &[0]), MidAnswer::Continue);
        assert_eq!(after(&mut one, kind, Shown::Kept).0, at_the_same, "{kind:?}");
    }
    let mut alone = bench(alone(&[0]), MidAnswer::Continue);
    assert_eq!(after(&mut alone, UpstreamTimeout, Shown::Kept).0, "end upstream_timeout");
}

#[test]
fn an_answer_goes_on_once() {
    for (plan, first) in [(two(["m", "m"], &[0, 1]), "b goes on"), (alone(&[0]), "default goes on")] {
        let mut bench = bench(plan, MidAnswer::Continue);
        let (then, go, _) = after(&mut bench, Interrupted, Shown::Kept);
        assert_eq!(then, first);
        let go = go.expect("it goes on");
        assert!(!go.keeps_text, "it is not kept again");
        bench.request.break_off(go.permit, error(UpstreamProtocol), Shown::Some);
        assert_eq!(next(&mut bench).0, "end upstream_protocol");
        let held: usize = bench.route.state.targets.iter().map(|target| target.running).sum();
        assert_eq!(held, 0);
    }
}

#[test]
fn a_target_that_cannot_be_reached_leaves_it_to_the_next_one() {
    let mut three = plan(&[("a", 1), ("b", 1), ("c", 1)], &[("m", &[&[(0, 1)], &[(1, 1)], &[(2, 1)]], &[])]);
    three = with_able(three, &[1, 2]);
    let mut bench = bench(three, MidAnswer::Continue);
    let (then, go, _) = after(&mut bench, Interrupted, Shown::Kept);
    assert_eq!(then, "b goes on");
    bench.request.fail(go.expect("it goes on").permit, error(UpstreamUnreachable), None);
    let (then, go) = next(&mut bench);
    assert_eq!(then, "c goes on");
    bench.request.fail(go.expect("it goes on").permit, error(UpstreamUnreachable), None);
    assert_eq!(next(&mut bench).0, "end upstream_unreachable");
}

#[test]
fn a_target_that_refuses_to_go_on_begins_the_answer_anew_once() {
    let cases = [(two(["m", "m"], &[0, 1]), "b"), (two(["m", "other"], &[0]), "a"), (alone(&[0]), "default")];
    for (plan, at) in cases {
        let mut bench = bench(plan, MidAnswer::Continue);
        let (then, go, _) = after(&mut bench, Interrupted, Shown::Kept);
        assert_eq!(then, format!("{at} goes on"));
        bench.request.fail(go.expect("it goes on").permit, error(BadRequest), None);
        let (then, go) = next(&mut bench);
        assert_eq!(then, format!("{at} begins anew"));
        bench.request.fail(go.expect("it goes on").permit, error(BadRequest), None);
        assert_eq!(next(&mut bench).0, "end bad_request");
    }
}
