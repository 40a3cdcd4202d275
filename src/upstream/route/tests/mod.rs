//! What a run does next, attempt by attempt, and that no order of failures exceeds the bounds. Here: a model that is alone.
#![expect(clippy::disallowed_methods, reason = "a starting point; nothing depends on where the clock stands")]
mod after_text;
mod continuation;
mod going_on;
mod many;
mod probes;
mod properties;
mod room;

use super::*;
use crate::{
    chat::{FairShareKey, Retry, SessionId},
    upstream::breaker::Asker,
};
use LostConnection::{New, Reused};
use proptest::prelude::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn settings() -> Settings {
    Settings {
        plan: Plan::alone("m", 1, plan::Times::UNLIMITED),
        limits: Limits::default(),
        retry: retry::Settings {
            attempts: 3,
            backoff_min: ms(500),
            backoff_max: ms(8_000),
            retry_after_max: ms(60_000),
            budget_percent: 10,
        },
        breaker: breaker::Settings {
            failures: 5,
            failure_percent: 100,
            window: ms(10_000),
            open_time: ms(5_000),
        },
    }
}

/// One run at a route, under a clock of its own. All pauses are the longest ones.
struct Bench {
    route: Route,
    request: RouteRequest,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        Bench { route: Route::new(settings()), request: request(7, now + ms(300_000)), now }
    }

    /// Another run, of another client.
    fn next_run(&mut self, client: u64) {
        self.request = request(client, self.now + ms(300_000));
    }

    fn pick(&mut self) -> Pick {
        self.route.pick(self.now, 1.0, &mut self.request)
    }

    /// Picks, which must be an attempt, and fails it; what follows.
    fn fail(&mut self, error: &RunError, lost: Option<LostConnection>) -> String {
        let go = self.go();
        self.request.fail(go.permit, error.clone(), lost);
        self.describe()
    }

    fn go(&mut self) -> Go {
        match self.pick() {
            Pick::Go(go) => go,
            other => panic!("no attempt: {other:?}"),
        }
    }

    /// What comes next. An attempt is put back, and a pause waited for.
    fn describe(&mut self) -> String {
        match self.pick() {
            Pick::Go(go) => {
                self.route.record(self.now, 0.0, go.permit, Err(Blame::None));
                self.route.release(go.permit);
                self.request.attempts -= 1;
                let repeats = go.repeats.map(|lost| format!(" again: {lost:?}")).unwrap_or_default();
                format!("attempt {}{repeats}", self.request.attempts + 1)
            }
            Pick::Wait { after, .. } => {
                self.now += after;
                format!("wait {}", after.as_millis())
            }
            Pick::Full => "full".to_owned(),
            Pick::End(error) => format!("end {}", error.kind.code()),
        }
    }
}

fn request(client: u64, deadline: Instant) -> RouteRequest {
    RouteRequest::new("m".into(), asker(client), deadline)
}

fn room_request(model: &str, client: u64, tokens: u64) -> RoomRequest {
    RoomRequest { model: model.into(), asker: asker(client), tokens, continues: false }
}

fn asker(client: u64) -> Asker {
    Asker { client: FairShareKey::numbered(client), session: SessionId(u128::from(client)) }
}

fn error(kind: RunErrorKind) -> RunError {
    RunError::new(kind, "")
}

// faults: C45, D54
#[test]
fn a_run_is_retried_as_its_error_allows_and_no_more() {
    for (kind, expected) in [
        (RunErrorKind::UpstreamError, &["wait 500", "wait 1000", "end upstream_error"][..]),
        (RunErrorKind::RateLimited, &["wait 500", "wait 1000", "end rate_limited"]),
        (RunErrorKind::UpstreamTimeout, &["wait 500", "end upstream_timeout"]),
        (RunErrorKind::NotSetUp, &["end not_set_up"]),
        (RunErrorKind::InputRefused, &["end input_refused"]),
        (RunErrorKind::Overloaded, &["end overloaded"]),
    ] {
        let mut bench = Bench::new();
        let next: Vec<_> = expected.iter().map(|_| bench.fail(&error(kind), None)).collect();
        assert_eq!(next, expected, "{kind:?}");
        assert_eq!(bench.request.attempts() as usize, expected.len());
    }
}

#[test]
fn no_pause_reaches_beyond_the_deadline() {
    let mut bench = Bench::new();
    bench.request = request(7, bench.now + ms(500));
    assert_eq!(bench.fail(&error(RunErrorKind::UpstreamError), None), "end upstream_error");
    bench.request = request(7, bench.now + ms(501));
    assert_eq!(bench.fail(&error(RunErrorKind::UpstreamError), None), "wait 500");
}

// faults: D56
#[test]
fn a_dead_reused_connection_is_replaced_once_and_costs_nothing() {
    let mut bench = Bench::new();
    let lost = error(RunErrorKind::UpstreamUnreachable);
    for client in 100..200 {
        bench.route.state.upstreams[0].budget.withdraw(FairShareKey::numbered(client));
    }
    assert_eq!(bench.fail(&lost, Some(Reused)), "attempt 1 again: Reused");
    assert_eq!(bench.fail(&lost, Some(Reused)), "end upstream_unreachable", "and the budget is empty");
}

#[test]
fn a_new_connection_that_is_closed_is_excused_once_and_as_the_first_thing() {
    let mut bench = Bench::new();
    let lost = error(RunErrorKind::UpstreamUnreachable);
    assert_eq!(bench.fail(&lost, Some(New)), "attempt 1 again: New");
    assert_eq!(bench.fail(&lost, Some(New)), "wait 500", "the second one counts");
    assert_eq!(bench.fail(&lost, Some(Reused)), "attempt 2 again: Reused");
    assert_eq!(bench.fail(&lost, Some(Reused)), "wait 1000");
    assert_eq!(bench.fail(&lost, Some(New)), "end upstream_unreachable");
    let mut bench = Bench::new();
    assert_eq!(bench.fail(&error(RunErrorKind::UpstreamError), None), "wait 500");
    assert_eq!(bench.fail(&lost, Some(New)), "wait 1000", "not the first attempt");
}

#[test]
fn the_target_of_the_model_is_asked_and_no_other_model() {
    let mut bench = Bench::new();
    let go = bench.go();
    assert_eq!((&*go.target.model, go.key), ("m", Key(0)));
    bench.request = RouteRequest::new("other".into(), asker(7), bench.now + ms(300_000));
    assert_eq!(bench.describe(), "end model_not_found");
    assert_eq!(bench.request.attempts(), 0);
}

// faults: C45
#[test]
fn the_budget_bounds_the_retries_of_all_runs() {
    let mut bench = Bench::new();
    let mut retries = 0;
    for run in 0..1_000 {
        bench.next_run(run % 50);
        retries += usize::from(bench.fail(&error(RunErrorKind::RateLimited), None).starts_with("wait"));
    }
    assert!((100..=110).contains(&retries), "{retries} retries for 1,000 runs");
}

// faults: C45
#[test]
fn an_open_breaker_ends_runs_and_is_asked_before_a_pause_and_after_it() {
    let mut bench = Bench::new();
    let refused = error(RunErrorKind::UpstreamUnreachable);
    assert_eq!(bench.fail(&refused, None), "wait 500");
    let waiting = std::mem::replace(&mut bench.request, request(8, bench.now + ms(300_000)));
    for client in 9..12 {
        assert_eq!(bench.fail(&refused, None), "wait 500");
        bench.next_run(client);
    }
    assert!(bench.route.rejection(bench.now, FairShareKey::numbered(99), "m").is_none());
    assert_eq!(bench.fail(&refused, None), "end upstream_unreachable", "the fifth in a row opens it");
    let down = bench.route.rejection(bench.now, FairShareKey::numbered(99), "m").expect("no target");
    assert_eq!((down.kind, down.retry_after), (RunErrorKind::UpstreamDown, Some(ms(5_000))));
    bench.request = waiting;
    assert_eq!(bench.describe(), "end upstream_down", "the pause was over too late");
}

#[test]
fn a_stated_time_is_waited_for_by_the_run_that_got_it_only() {
    let mut bench = Bench::new();
    let mut limited = error(RunErrorKind::RateLimited);
    limited.retry_after = Some(ms(40_000));
    assert_eq!(bench.fail(&limited, None), "wait 40500");
    bench.now -= ms(40_500);
    bench.next_run(8);
    assert_eq!(bench.describe(), "attempt 1");
    // Longer than is obeyed.
    limited.retry_after = Some(ms(61_000));
    assert_eq!(bench.fail(&limited, None), "end rate_limited");
}

#[test]
fn a_refused_key_is_asked_by_every_run_and_another_key_stands_in() {
    let mut refused = error(RunErrorKind::NotSetUp);
    refused.status = Some(401);
    let mut bench = Bench::new();
    for client in 0..3 {
        bench.next_run(client);
        assert_eq!(bench.fail(&refused, None), "end not_set_up");
        assert_eq!(bench.request.attempts(), 1);
    }
    let mut settings = settings();
    settings.plan = Plan::alone("m", 2, plan::Times::UNLIMITED);
    bench.route = Route::new(settings);
    bench.next_run(7);
    let first = bench.go();
    bench.request.fail(first.permit, refused.clone(), None);
    let second = bench.go();
    assert_ne!(first.key, second.key);
    assert_eq!(bench.request.attempts(), 1, "no attempt more for another key");
    bench.route.record(bench.now, 0.0, second.permit, Ok(()));
    bench.route.release(second.permit);
    bench.next_run(8);
    assert_eq!(bench.go().key, second.key);
}

#[test]
fn an_engine_that_loads_is_asked_again_until_its_time_is_over() {
    let mut loading = error(RunErrorKind::UpstreamError);
    (loading.status, loading.code) = (Some(503), Some("unavailable_error".to_owned()));
    let mut bench = Bench::new();
    let mut settings = settings();
    let times = plan::Times { first_token_last: ms(60_000), ..plan::Times::UNLIMITED };
    settings.plan = Plan::alone("m", 1, times);
    bench.route = Route::new(settings);
    let waits = (0..100).map(|_| bench.fail(&loading, None)).take_while(|next| next == "wait 2000").count();
    assert_eq!(waits, 30);
    assert_eq!(bench.request.attempts(), 1, "only the last one counts");
    assert_eq!(bench.route.upstream_state(0), breaker::State::Closed);
}

/// What an attempt of the property comes to.
#[derive(Clone, Copy, Debug)]
enum End {
    Answers,
    Fails(RunErrorKind, Option<LostConnection>),
    Cancelled,
}

fn ends() -> impl Strategy<Value = End> {
    let kinds = prop::sample::select(RunErrorKind::ALL.to_vec());
    let lost = prop_oneof![4 => Just(None), 1 => Just(Some(New)), 1 => Just(Some(Reused))];
    prop_oneof![
        2 => Just(End::Answers),
        1 => Just(End::Cancelled),
        6 => (kinds, lost).prop_map(|(kind, lost)| End::Fails(kind, lost)),
    ]
}

proptest! {
    /// Runs of any luck, one after the other: each ends once, within its bounds, and none leaves a breaker behind
    /// that lets no request through.
    #[test]
    fn every_run_ends_within_its_bounds(
        runs in prop::collection::vec((0..6_u64, prop::collection::vec((ends(), 0..4_000_u64), 8)), 1..40),
    ) {
        let mut bench = Bench::new();
        for (client, attempts) in runs {
            bench.next_run(client);
            let deadline = bench.request.deadline;
            let mut luck = attempts.into_iter();
            let mut sent = 0;
            loop {
                match bench.pick() {
                    Pick::End(error) => {
                        prop_assert!(error.kind == RunErrorKind::UpstreamDown || sent > 0, "{error}");
                        break;
                    }
                    Pick::Full => prop_assert!(false, "there is no limit"),
                    Pick::Wait { after, error } => {
                        let error = error.expect("something failed");
                        prop_assert!(error.retry != Retry::No && bench.now + after < deadline);
                        bench.now += after;
                    }
                    Pick::Go(go) => {
                        sent += 1;
                        // One more for a dead connection, one more for one that the service closed.
                        prop_assert!(sent <= bench.request.attempts() + 2 && bench.request.attempts() <= 3);
                        let (end, takes) = luck.next().unwrap_or((End::Answers, 0));
                        bench.now += ms(takes);
                        match end {
                            End::Fails(kind, lost) => bench.request.fail(go.permit, error(kind), lost),
                            End::Answers => {
                                bench.route.record(bench.now, 0.0, go.permit, Ok(()));
                                bench.route.release(go.permit);
                                break;
                            }
                            End::Cancelled => {
                                bench.route.record(bench.now, 0.0, go.permit, Err(Blame::None));
                                bench.route.release(go.permit);
                                break;
                            }
                        }
                    }
                }
            }
        }
        // Whatever happened, after two pauses anybody is let through.
        bench.now += ms(10_000);
        bench.next_run(1);
        prop_assert!(matches!(bench.pick(), Pick::Go(_)));
    }
}
