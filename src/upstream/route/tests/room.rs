//! Room for runs at upstreams that limit them: who is started, who waits, and whose place is kept.
use super::{many::plan, *};
use crate::chat::RunErrorKind::{RateLimited, UpstreamError, UpstreamUnreachable};

/// Model `m` at upstream `a` alone, which may have one run, and model `n` there, else at `b`.
fn limited() -> Plan {
    let mut plan =
        plan(&[("a", 1), ("b", 1)], &[("m", &[&[(0, 1)]], &[]), ("n", &[&[(0, 1)], &[(1, 1)]], &[])]);
    plan.upstreams[0].runs_max = 1;
    plan
}

fn bench(plan: Plan) -> Bench {
    let mut bench = Bench::new();
    bench.route = Route::new(Settings { plan, ..settings() });
    bench
}

impl Bench {
    fn room(&mut self, model: &str, tokens: u64) -> Room {
        self.route.room(self.now, &room_request(model, 9, tokens))
    }

    fn describe_room(&mut self, model: &str) -> String {
        match self.room(model, 0) {
            Room::Free(place) => {
                let is_kept = place.is_some();
                place.into_iter().for_each(|place| self.route.give_back(place));
                (if is_kept { "kept" } else { "free" }).to_owned()
            }
            Room::Full { again } => format!("full {:?}", again.map(|again| again.as_millis())),
            Room::Down(error) => error.kind.code().to_owned(),
        }
    }

    /// A run of model `m` with the place that is kept for it.
    fn run_with_place(&mut self) -> Go {
        let Room::Free(place) = self.room("m", 0) else { panic!("no room") };
        self.request = request(7, self.now + ms(300_000)).with_place(place);
        self.go()
    }
}

#[test]
fn a_place_is_kept_from_the_start_of_a_run_to_its_attempt() {
    let mut bench = bench(limited());
    let Room::Free(Some(place)) = bench.room("m", 0) else { panic!("no place") };
    assert_eq!(bench.describe_room("m"), "full None");
    assert_eq!(bench.describe_room("n"), "free", "elsewhere");
    bench.next_run(3);
    assert_eq!(bench.describe(), "full", "no other run takes it");
    bench.request = request(7, bench.now + ms(300_000)).with_place(Some(place));
    let go = bench.go();
    assert!(!bench.request.has_place());
    assert_eq!(bench.describe_room("m"), "full None");
    bench.route.take_has_room();
    bench.route.release(go.permit);
    assert!(bench.route.take_has_room() && !bench.route.take_has_room(), "once");
    assert_eq!(bench.describe_room("m"), "kept");
}

#[test]
fn a_run_that_pauses_keeps_its_place_and_one_that_moves_does_not() {
    let mut bench = bench(limited());
    let go = bench.run_with_place();
    bench.request.fail(go.permit, error(UpstreamError), None);
    assert!(matches!(bench.pick(), Pick::Wait { .. }));
    assert_eq!(bench.describe_room("m"), "full None");
    bench.now += ms(500);
    let go = bench.go();
    bench.request.fail(go.permit, error(UpstreamError), None);
    assert!(matches!(bench.pick(), Pick::Wait { .. }));
    bench.route.give_up(&mut bench.request);
    assert_eq!(bench.describe_room("m"), "kept", "the run was cancelled in its pause");
    bench.request = RouteRequest::new("n".into(), asker(7), bench.now + ms(300_000));
    let go = bench.go();
    bench.request.fail(go.permit, error(UpstreamUnreachable), None);
    assert_eq!(bench.go().target.upstream, 1);
    assert_eq!(bench.describe_room("m"), "kept");
}

#[test]
fn a_move_passes_a_full_target_on() {
    let mut plan = plan(&[("a", 1), ("b", 1), ("c", 1)], &[("m", &[&[(0, 1)], &[(1, 1)], &[(2, 1)]], &[])]);
    plan.upstreams[1].runs_max = 1;
    let mut bench = bench(plan);
    let mut asked = Vec::new();
    for client in 0..2 {
        bench.next_run(client);
        let go = bench.go();
        bench.request.fail(go.permit, error(UpstreamUnreachable), None);
        asked.push(bench.go().target.upstream);
    }
    assert_eq!(asked, [1, 2]);
}

#[test]
fn a_full_model_is_looked_at_again_when_another_target_is_free() {
    let mut bench = bench(limited());
    let held = bench.run_with_place();
    let mut stated = error(RateLimited);
    stated.retry_after = Some(ms(2_000));
    bench.request = RouteRequest::new("n".into(), asker(7), bench.now + ms(300_000));
    let go = bench.go();
    assert_eq!(go.target.upstream, 1);
    bench.request.fail(go.permit, stated, None);
    assert!(matches!(bench.pick(), Pick::Wait { .. }));
    assert_eq!(bench.describe_room("n"), "full Some(2000)");
    bench.now += ms(2_000);
    assert_eq!(bench.describe_room("n"), "free");
    bench.route.release(held.permit);
}

#[test]
fn a_run_that_waits_for_a_stated_time_has_its_place_then() {
    let mut plan = plan(&[("a", 1), ("b", 1)], &[("m", &[&[(0, 1)], &[(1, 1)]], &[])]);
    plan.upstreams[0].runs_max = 1;
    let mut bench = bench(plan);
    let mut stated = error(RateLimited);
    for (upstream, after) in [(0, 2_000), (1, 9_000)] {
        stated.retry_after = Some(ms(after));
        bench.next_run(upstream);
        let go = bench.go();
        assert_eq!(go.target.upstream as u64, upstream);
        bench.request.fail(go.permit, stated.clone(), None);
        if let Pick::Go(go) = bench.pick() {
            bench.route.release(go.permit);
        }
    }
    bench.next_run(5);
    assert!(matches!(bench.pick(), Pick::Wait { after, error: None } if after == ms(2_000)));
    let waiting = std::mem::replace(&mut bench.request, request(6, bench.now + ms(300_000)));
    bench.now += ms(2_000);
    assert_eq!(bench.describe_room("m"), "full Some(7000)", "its place is kept");
    bench.request = waiting;
    assert_eq!(bench.go().target.upstream, 0);
}

#[test]
fn a_prompt_that_fits_nowhere_with_room_waits_for_none() {
    let mut plan = limited();
    (plan.models[1].context, plan.upstreams[1].runs_max) = (1_000, 1);
    let mut bench = bench(plan);
    assert!(matches!(bench.room("n", 5_000), Room::Free(None)), "the pick says why");
    bench.request = RouteRequest::new("n".into(), asker(7), bench.now + ms(300_000)).with_tokens(5_000);
    assert_eq!(bench.describe(), "end input_too_long");
}
