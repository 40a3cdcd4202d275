//! A run that goes on with the beginning of an answer: which targets it may use.
use super::{many::plan, *};

/// What is picked for a run whose attempts fail, at the upstreams `able` of a plan.
fn picked(mut plan: Plan, able: &[usize]) -> Vec<String> {
    for upstream in able {
        plan.upstreams[*upstream].continues = true;
    }
    let mut bench = Bench::of(plan);
    bench.request = request(1, bench.now + ms(300_000)).with_continuation(true);
    let mut names = Vec::new();
    for _ in 0..10 {
        match bench.pick() {
            Pick::Go(go) => {
                names.push(bench.route.upstream_name(go.target.upstream).expect("it is known").to_string());
                bench.request.fail(go.permit, error(RunErrorKind::UpstreamUnreachable), None);
            }
            Pick::Wait { after, .. } => bench.now += after,
            Pick::Full => names.push("full".to_owned()),
            Pick::End(error) => {
                names.push(error.kind.code().to_owned());
                break;
            }
        }
    }
    names
}

#[test]
fn only_targets_of_the_model_that_go_on_with_an_answer_are_asked() {
    let two = || plan(&[("a", 1), ("b", 1), ("c", 1)], &[("m", &[&[(0, 1)], &[(1, 1), (2, 1)]], &[])]);
    assert_eq!(picked(two(), &[1]), ["b", "upstream_unreachable"]);
    assert_eq!(picked(two(), &[0, 2]), ["a", "c", "upstream_unreachable"]);
    assert_eq!(picked(two(), &[]), ["not_available"]);
    let fallback = || plan(&[("a", 1), ("b", 1)], &[("m", &[&[(0, 1)]], &[1]), ("f", &[&[(1, 1)]], &[])]);
    assert_eq!(picked(fallback(), &[0, 1]), ["a", "upstream_unreachable"], "another model wrote otherwise");
    assert_eq!(picked(fallback(), &[1]), ["not_available"]);
    let alone = || plan(&[("a", 1)], &[("m", &[&[(0, 1)]], &[])]);
    assert_eq!(picked(alone(), &[]), ["not_available"]);
    assert_eq!(picked(alone(), &[0])[0], "a");
}

#[test]
fn an_answer_that_breaks_off_again_is_not_begun_anew() {
    let mut plan = plan(&[("a", 1), ("b", 1)], &[("m", &[&[(0, 1)], &[(1, 1)]], &[])]);
    for upstream in &mut plan.upstreams {
        upstream.continues = true;
        (upstream.times.text, upstream.times.text_last) = (ms(1), ms(2));
    }
    for (continues, text, then) in [(true, ms(2), "end"), (false, ms(1), "go")] {
        let mut bench = Bench::of(plan.clone());
        bench.request = request(1, bench.now + ms(300_000)).with_continuation(continues);
        let go = bench.go();
        assert_eq!(go.text, text);
        bench.route.record(bench.now, 0.0, go.permit, Ok(()));
        bench.request.break_off(go.permit, error(RunErrorKind::Interrupted), Shown::Some);
        let next = match bench.pick() {
            Pick::End(_) => "end",
            Pick::Go(_) => "go",
            Pick::Wait { .. } | Pick::Full => "other",
        };
        assert_eq!(next, then);
    }
}
