//! What holds for any plan, any failures and any times.
use super::*;
use many::plan;
use plan::KeysLimited;
use std::collections::BTreeMap;

/// What becomes of an attempt.
#[derive(Clone, Debug)]
enum Fate {
    Answers,
    Cancelled,
    Fails(RunErrorKind, Option<u16>, Option<u64>, Option<LostConnection>),
    /// It fails after its text was shown.
    BreaksOff(RunErrorKind, Option<u16>),
}

fn fates() -> impl Strategy<Value = Fate> {
    let kinds = prop::sample::select(RunErrorKind::ALL.to_vec());
    let status =
        prop::sample::select(vec![None, Some(401), Some(403), Some(404), Some(429), Some(500), Some(503)]);
    let stated =
        prop::sample::select(vec![None, None, Some(0), Some(700), Some(2_900), Some(30_000), Some(200_000)]);
    let lost = prop_oneof![6 => Just(None), 1 => Just(Some(New)), 1 => Just(Some(Reused))];
    prop_oneof![
        3 => Just(Fate::Answers),
        1 => Just(Fate::Cancelled),
        2 => (kinds.clone(), status.clone()).prop_map(|(kind, status)| Fate::BreaksOff(kind, status)),
        8 => (kinds, status, stated, lost).prop_map(|(kind, status, stated, lost)| {
            // Only a connection that ended is lost.
            let lost = lost.filter(|_| kind == RunErrorKind::UpstreamUnreachable);
            Fate::Fails(kind, status, stated, lost)
        }),
    ]
}

fn failure(kind: RunErrorKind, status: Option<u16>, stated: Option<u64>) -> RunError {
    let mut error = error(kind);
    (error.status, error.retry_after) = (status, stated.map(ms));
    error
}

/// The same failure most of the time, of some sessions.
fn mostly_one() -> impl Strategy<Value = Vec<(Fate, u64, u64)>> {
    fates().prop_flat_map(|fate| {
        let fate = prop_oneof![9 => Just(fate), 1 => fates()];
        prop::collection::vec((fate, 0..3_000_u64, 0..8_u64), 1..150)
    })
}

/// Upstreams with keys and limits, and models with levels and fallbacks, circles of them too.
fn plans() -> impl Strategy<Value = Plan> {
    let upstreams = prop::collection::vec((1..4_usize, 0..4_usize, any::<bool>()), 1..5);
    upstreams.prop_flat_map(|upstreams| {
        let count = upstreams.len();
        let level = prop::collection::vec((0..count, 1..4_u32), 1..3);
        let model = (prop::collection::vec(level, 1..3), prop::collection::vec(0..3_usize, 0..3), 0..2_u64);
        prop::collection::vec(model, 1..4).prop_map(move |models| {
            let names = ["a", "b", "c", "d"];
            let mut plan = plan(&[], &[]);
            plan.upstreams = upstreams
                .iter()
                .zip(names)
                .map(|((keys, runs_max, apart), name)| plan::UpstreamPlan {
                    name: name.into(),
                    keys: *keys,
                    keys_limited: if *apart { KeysLimited::Apart } else { KeysLimited::Together },
                    runs_max: *runs_max,
                    continues: false,
                    times: plan::Times { first_token_last: ms(30_000), ..plan::Times::UNLIMITED },
                    probed: plan::Probed::default(),
                })
                .collect();
            let count = models.len();
            for (number, (levels, fallback, context)) in models.iter().enumerate() {
                let name: Arc<str> = format!("m{number}").into();
                let target = |(upstream, weight): &(usize, u32)| plan::TargetPlan {
                    upstream: *upstream,
                    model: Arc::clone(&name),
                    weight: *weight,
                };
                plan.models.push(plan::ModelPlan {
                    table: Arc::clone(&name),
                    name: Arc::clone(&name),
                    levels: levels.iter().map(|level| level.iter().map(target).collect()).collect(),
                    fallback: fallback
                        .iter()
                        .copied()
                        .filter(|other| *other < count && *other != number)
                        .collect(),
                    context: context * 1_000,
                    times: plan::ModelTimes::default(),
                });
            }
            plan
        })
    })
}

/// A run of the property, with what has become of its attempts.
struct Run {
    request: RouteRequest,
    alone: bool,
    go: Option<Go>,
    sent: u32,
    /// By target and key: how the last attempt ended, and when the target may be asked again.
    last: BTreeMap<(usize, usize), (Blame, Option<LostConnection>)>,
    waits_until: Option<Instant>,
    filtered: bool,
    /// There was room for it when it began.
    was_free: bool,
    /// How often text of it was shown and broke off.
    broken: u32,
    /// How often a target refused to go on with it.
    refused: u32,
}

impl Run {
    fn new(request: RouteRequest, alone: bool, was_free: bool) -> Self {
        let (last, waits_until) = (BTreeMap::new(), None);
        let (filtered, broken, refused) = (false, 0, 0);
        Run { request, alone, go: None, sent: 0, last, waits_until, filtered, was_free, broken, refused }
    }
}

struct World {
    route: Route,
    now: Instant,
    runs: Vec<Run>,
    /// By target and key: stated to be free not before this.
    stated: BTreeMap<(usize, usize), Instant>,
}

impl World {
    /// Of each target, and of each key there.
    fn free_at(&self) -> Vec<Option<Instant>> {
        let of = |target: &state::TargetState| {
            let keys = self.route.state.upstreams[target.upstream].keys.len();
            let pair =
                |key| target.pairs.get(key).and_then(|pair: &state::Pair| pair.cooling.until(self.now));
            std::iter::once(target.cooling.until(self.now)).chain((0..keys).map(pair)).collect::<Vec<_>>()
        };
        self.route.state.targets.iter().flat_map(of).collect()
    }

    /// I5: However one counts, the number of attempts under way is the same.
    fn check_places(&self) -> Result<(), TestCaseError> {
        let held = self.runs.iter().filter(|run| run.go.is_some()).count();
        let Known { upstreams, targets, .. } = &self.route.state;
        prop_assert_eq!(upstreams.iter().map(|upstream| upstream.running).sum::<usize>(), held);
        prop_assert_eq!(targets.iter().map(|target| target.running).sum::<usize>(), held);
        let keys = upstreams.iter().flat_map(|upstream| &upstream.keys);
        prop_assert_eq!(keys.map(|key| key.running).sum::<usize>(), held);
        let waiting = self.runs.iter().filter(|run| run.request.has_place()).count();
        prop_assert_eq!(upstreams.iter().map(|upstream| upstream.kept).sum::<usize>(), waiting);
        for upstream in upstreams {
            let taken = upstream.running + upstream.kept;
            let is_within = upstream.plan.runs_max == 0 || taken <= upstream.plan.runs_max;
            prop_assert!(is_within, "{taken} runs at {}", upstream.plan.name);
        }
        Ok(())
    }

    /// Lets a run do its next step; false if it has ended.
    fn step(&mut self, run: &mut Run, random: f64) -> Result<bool, TestCaseError> {
        let fell = run.request.failed.as_ref().map(|failed| (failed.permit.target, failed.permit.key));
        match self.route.pick(self.now, random, &mut run.request) {
            Pick::Go(go) => {
                let at = (go.permit.target, go.key.0);
                prop_assert!(!run.filtered, "I13: a refusal by a filter is the last attempt");
                prop_assert!(run.broken < 2, "text has broken off twice");
                let is_off = self.route.limits.mid_answer != MidAnswer::Continue;
                prop_assert!(
                    run.broken == 0 || !run.alone || !is_off,
                    "an answer of a lone target begins anew"
                );
                prop_assert!(
                    !is_off || !go.continues && !go.keeps_text,
                    "nothing is kept where none goes on"
                );
                prop_assert!(!go.continues || run.broken == 1 && run.refused == 0, "it goes on once");
                self.check_go(run, &go, fell)?;
                run.sent += 1;
                // Those that count, two that lost their connection, and one for each further key.
                let most = if run.alone { 3 + 2 + 2 + run.refused } else { 6 + 2 };
                let loading = run.last.values().any(|(blame, _)| *blame == Blame::Loading);
                prop_assert!(loading || run.sent <= most, "I4: {} attempts", run.sent);
                prop_assert!(self.now < run.request.deadline || run.sent == 1, "I4: beyond the deadline");
                run.last.remove(&at);
                run.go = Some(go);
                run.waits_until = None;
                Ok(true)
            }
            Pick::Wait { after, .. } => {
                prop_assert!(self.now + after < run.request.deadline, "I4: a pause beyond the deadline");
                run.waits_until = Some(self.now + after);
                Ok(true)
            }
            Pick::Full => {
                prop_assert!(
                    !run.was_free || run.sent > 0 || run.waits_until.is_some(),
                    "its place was taken"
                );
                Ok(false)
            }
            Pick::End(_) => Ok(false),
        }
    }

    fn check_go(&self, run: &Run, go: &Go, fell: Option<(usize, usize)>) -> Result<(), TestCaseError> {
        let at = (go.permit.target, go.key.0);
        let again = run.waits_until.is_some();
        // Another key was refused, and this one stands in for it.
        let stands_in = fell.is_some_and(|fell| fell.0 == at.0 && fell.1 != at.1);
        if let Some((blame, lost)) = run.last.get(&at) {
            let may = match blame {
                Blame::Rate { .. }
                | Blame::Loading
                | Blame::Full { .. }
                | Blame::Fault { .. }
                | Blame::Broken { .. }
                | Blame::Empty
                | Blame::Spelling => again || stands_in,
                Blame::Reset => lost.is_some() || run.alone || stands_in,
                Blame::Connect(_) | Blame::Silent { .. } => {
                    run.alone && (again || stands_in) || lost.is_some()
                }
                // Every run asks where nothing else is left.
                _ => lost.is_some() || run.alone,
            };
            prop_assert!(may, "I3: {blame:?} at {at:?} is asked again");
        }
        if let Some(stated) = self.stated.get(&at)
            && !run.alone
            && !again
            && fell.is_none_or(|fell| fell.0 != at.0)
        {
            prop_assert!(*stated <= self.now, "I2: {at:?} is asked while it cools");
        }
        let key = self.route.state.upstreams[go.target.upstream].keys[go.key.0];
        if !run.alone && !again {
            // Its time is over, so this attempt is the one that asks again, and has put the time off for all others.
            prop_assert!(key.out.is_none_or(|out| out.until > self.now), "I2: an out key is asked by many");
        }
        Ok(())
    }

    fn end(&mut self, run: &mut Run, fate: &Fate, random: f64) -> bool {
        let Some(go) = run.go.take() else { return true };
        let at = (go.permit.target, go.key.0);
        match fate {
            Fate::Answers => {
                self.route.record(self.now, random, go.permit, Ok(()));
                self.stated.remove(&at);
                // An answer ends what was known of the key and the target, for other runs too.
                for other in &mut self.runs {
                    other.last.retain(|_, (blame, _)| *blame == Blame::Loading);
                }
                self.route.release(go.permit);
                false
            }
            Fate::Cancelled => {
                self.route.record(self.now, random, go.permit, Err(Blame::None));
                self.route.release(go.permit);
                false
            }
            Fate::Fails(kind, status, stated, lost) => {
                let error = failure(*kind, *status, *stated);
                let blame = judge(&error, false, lost.is_some());
                if let (Blame::Rate { after: Some(after) }, None) = (blame, lost) {
                    let stated = self.stated.entry(at).or_insert(self.now);
                    *stated = (*stated).max(self.now + after);
                }
                run.filtered |= blame == Blame::Filter && lost.is_none();
                run.last.insert(at, (blame, *lost));
                if go.continues && blame == Blame::Request {
                    run.last.remove(&at); // It begins the answer anew.
                    run.refused += 1;
                }
                run.request.fail(go.permit, error, *lost);
                true
            }
            Fate::BreaksOff(kind, status) => {
                let error = failure(*kind, *status, None);
                let blame = judge(&error, false, true);
                run.filtered |= blame == Blame::Filter;
                run.broken += 1;
                run.last.insert(at, (blame, None));
                let shown = if go.keeps_text { Shown::Kept } else { Shown::Some };
                run.request.break_off(go.permit, error, shown);
                true
            }
        }
    }
}

type Script = Vec<(u8, usize, u64, Fate, u64, f64)>;

fn scripts() -> impl Strategy<Value = Script> {
    prop::collection::vec((0..4_u8, 0..8_usize, 0..6_u64, fates(), 0..3_000_u64, 0.0..1.0_f64), 1..120)
}

/// Begins runs, ends attempts and passes time as the script says.
fn play(plan: Plan, script: Script, mid_answer: MidAnswer) -> Result<(), TestCaseError> {
    let now = Instant::now();
    let alone: Vec<_> = plan.models.iter().map(plan::ModelPlan::is_alone).collect();
    let models = plan.models.len();
    let limits = Limits { mid_answer, ..Limits::default() };
    let route = Route::new(Settings { plan, limits, ..settings() });
    let mut world = World { route, now, runs: Vec::new(), stated: BTreeMap::new() };
    let step =
        |world: &mut World, at: usize, fate: Option<&Fate>, random: f64| -> Result<(), TestCaseError> {
            let mut run = world.runs.remove(at);
            let before = world.free_at();
            let goes_on = fate.is_none_or(|fate| world.end(&mut run, fate, random));
            let goes_on = goes_on && world.step(&mut run, random)?;
            if !goes_on {
                world.route.give_up(&mut run.request);
            }
            let is_back = before.iter().zip(world.free_at()).any(|(before, after)| after < *before);
            prop_assert!(!is_back || matches!(fate, Some(Fate::Answers)), "I6: free_at went back");
            if goes_on {
                world.runs.insert(at.min(world.runs.len()), run);
            }
            world.check_places()
        };
    for (what, number, client, fate, time, random) in script {
        world.now += ms(time);
        if what == 0 || world.runs.is_empty() {
            let model = number % models;
            let deadline = world.now + ms(20_000 + time);
            let name: Arc<str> = format!("m{model}").into();
            let ask = room_request(&name, client, time / 3);
            let mut request = RouteRequest::new(name, asker(client), deadline).with_tokens(time / 3);
            // Some come without a place, as runs that have waited for a cooling target do.
            let mut was_free = false;
            if random < 0.7 {
                match world.route.room(world.now, &ask) {
                    Room::Free(place) => (request, was_free) = (request.with_place(place), true),
                    Room::Full { .. } | Room::Down(_) => continue,
                }
            }
            world.runs.insert(0, Run::new(request, alone[model], was_free));
            step(&mut world, 0, None, random)?;
            continue;
        }
        let at = number % world.runs.len();
        match world.runs[at].waits_until {
            Some(until) if world.runs[at].go.is_none() => {
                world.now = world.now.max(until);
                step(&mut world, at, None, random)?;
            }
            _ => step(&mut world, at, Some(&fate), random)?,
        }
    }
    // I1, I4, I15: every run ends, however it fails from now on.
    let mut steps = 0;
    while let Some(run) = world.runs.first() {
        steps += 1;
        prop_assert!(steps < 2_000, "a run does not end");
        match run.waits_until {
            Some(until) if run.go.is_none() => {
                world.now = world.now.max(until);
                step(&mut world, 0, None, 0.5)?;
            }
            _ => {
                let fate = Fate::Fails(RunErrorKind::UpstreamError, Some(500), None, None);
                step(&mut world, 0, Some(&fate), 0.5)?;
            }
        }
    }
    world.check_places()
}

/// An attempt of a run of this client at model `m`, which ends at once.
fn attempt(
    bench: &mut Bench,
    client: u64,
    random: f64,
    fate: impl Fn(&Go) -> Result<(), RunError>,
) -> Vec<usize> {
    bench.request = request(client, bench.now + ms(300_000)).with_affinity(bench.request.affinity());
    let mut asked = Vec::new();
    loop {
        match bench.route.pick(bench.now, random, &mut bench.request) {
            Pick::Go(go) => {
                asked.push(go.target.upstream);
                match fate(&go) {
                    Ok(()) => {
                        bench.route.record(bench.now, random, go.permit, Ok(()));
                        bench.route.release(go.permit);
                        bench.route.remember(bench.now, &mut bench.request, &go.target);
                        return asked;
                    }
                    Err(error) => bench.request.fail(go.permit, error, None),
                }
            }
            Pick::Wait { after, .. } => bench.now += after,
            Pick::Full | Pick::End(_) => return asked,
        }
    }
}

fn bench(plan: Plan) -> Bench {
    let mut bench = Bench::new();
    bench.route = Route::new(Settings { plan, ..settings() });
    bench
}

/// Model `m` at two upstreams of one level, with these weights.
fn shared(weights: [u32; 2]) -> Plan {
    plan(&[("a", 1), ("b", 1)], &[("m", &[&[(0, weights[0]), (1, weights[1])]], &[])])
}

/// Model `m` at upstream a, then at upstream b.
fn primary() -> Plan {
    plan(&[("a", 2), ("b", 1)], &[("m", &[&[(0, 1)], &[(1, 1)]], &[]), ("n", &[&[(0, 1)], &[(1, 1)]], &[])])
}

proptest! {
    // I1, I2, I3, I4, I5, I6, I13, I15
    #[test]
    fn any_runs_of_any_plan_keep_the_rules(plan in plans(), script in scripts()) {
        play(plan, script, MidAnswer::Restart)?;
    }

    #[test]
    fn runs_whose_answers_go_on_keep_the_rules_too(
        mut plan in plans(),
        able in prop::collection::vec(any::<bool>(), 4),
        script in scripts(),
    ) {
        plan.upstreams.iter_mut().zip(able).for_each(|(upstream, able)| upstream.continues = able);
        play(plan, script, MidAnswer::Continue)?;
    }

    // I7
    #[test]
    fn one_source_opens_no_breaker(fates in mostly_one()) {
        let mut bench = bench(primary());
        for (fate, time, session) in fates {
            bench.now += ms(time);
            let Fate::Fails(kind, status, stated, _) = fate else { continue };
            let error = failure(kind, status, stated);
            // What no message provokes may open it.
            if matches!(judge(&error, false, false), Blame::Connect(_) | Blame::Setup) {
                continue;
            }
            bench.request = RouteRequest::new(
                "m".into(),
                Asker { client: FairShareKey::numbered(1), session: SessionId(u128::from(session)) },
                bench.now + ms(300_000),
            );
            while let Pick::Go(go) = bench.route.pick(bench.now, 0.5, &mut bench.request) {
                bench.request.fail(go.permit, error.clone(), None);
            }
            for upstream in [0, 1] {
                prop_assert_eq!(bench.route.upstream_state(upstream), breaker::State::Closed);
            }
        }
    }

    // I8
    #[test]
    fn an_open_breaker_is_tried_again_in_time(fails in 0..9_usize, seed in any::<u64>()) {
        let mut bench = bench(primary());
        let refused = |go: &Go| if go.target.upstream == 0 { Err(error(RunErrorKind::UpstreamUnreachable)) } else { Ok(()) };
        for client in 0..5 {
            attempt(&mut bench, client, 0.5, refused);
        }
        prop_assert_eq!(bench.route.upstream_state(0), breaker::State::Open);
        for trial in 0..fails {
            let mut waited = 0;
            while attempt(&mut bench, seed % 1_000 + 100 + waited, 0.5, refused) == [1] {
                bench.request = request(0, bench.now);
                bench.now += ms(100);
                waited += 100;
                prop_assert!(waited <= 26_000, "trial {trial} after {waited} ms");
            }
        }
    }

    // I9
    #[test]
    fn what_is_out_is_asked_again_for_ever(
        statuses in prop::collection::vec(prop::sample::select(vec![401_u16, 402, 403, 404]), 1..12),
    ) {
        let mut bench = bench(primary());
        for status in statuses {
            let kind = match status {
                401 | 403 => RunErrorKind::NotSetUp,
                402 => RunErrorKind::NotAvailable,
                _ => RunErrorKind::ModelNotFound,
            };
            let refuses = |go: &Go| if go.target.upstream == 0 { Err(failure(kind, Some(status), None)) } else { Ok(()) };
            for client in 0..4 {
                bench.request = request(0, bench.now);
                attempt(&mut bench, client, 0.5, refuses);
            }
            bench.now += state::REFUSED_MAX;
            bench.request = request(0, bench.now);
            prop_assert_eq!(attempt(&mut bench, 9, 0.5, refuses)[0], 0, "after {}", status);
        }
    }

    // I10
    #[test]
    fn equal_targets_have_equal_shares(randoms in prop::collection::vec(0.0..1.0_f64, 1..60)) {
        let mut bench = bench(shared([1, 1]));
        let mut running = [0_usize; 2];
        for random in randoms {
            bench.next_run(1);
            let Pick::Go(go) = bench.route.pick(bench.now, random, &mut bench.request) else { panic!("it goes") };
            running[go.target.upstream] += 1;
            prop_assert!(running[0].abs_diff(running[1]) <= 1, "{:?}", running);
        }
    }

    // I11
    #[test]
    fn a_conversation_stays_where_it_was_answered(
        others in prop::collection::vec((0.0..1.0_f64, any::<bool>()), 1..60),
    ) {
        let mut bench = bench(shared([1, 1]));
        let home = attempt(&mut bench, 1, 0.3, |_| Ok(()))[0];
        let affinity = bench.request.affinity();
        let mut held: Vec<Go> = Vec::new();
        for (random, leaves) in others {
            if leaves && let Some(go) = held.pop() {
                bench.route.release(go.permit);
            } else {
                bench.next_run(2);
                let Pick::Go(go) = bench.route.pick(bench.now, random, &mut bench.request) else { panic!("it goes") };
                held.push(go);
            }
            let load = |upstream: usize| held.iter().filter(|go| go.target.upstream == upstream).count();
            // 1.25 × the mean of both, and one more.
            let is_over = 8 * load(home) > 5 * (load(0) + load(1)) + 8;
            bench.request = request(1, bench.now).with_affinity(affinity);
            let asked = attempt(&mut bench, 1, random, |_| Ok(()))[0];
            prop_assert!(asked == home || is_over, "{} of {}", load(home), held.len());
            bench.request.affinity = affinity;
        }
    }

    // I14
    #[test]
    fn an_outage_costs_few_attempts(pace in 1..400_u64, kind in 0..3_usize) {
        let mut bench = bench(primary());
        let stated = [
            error(RunErrorKind::UpstreamUnreachable),
            failure(RunErrorKind::UpstreamError, Some(503), None),
            error(RunErrorKind::Interrupted),
        ];
        let fails = |go: &Go| if go.target.upstream == 0 { Err(stated[kind].clone()) } else { Ok(()) };
        let (start, mut asked) = (bench.now, 0);
        let mut client = 0;
        while bench.now < start + ms(120_000) {
            client += 1;
            bench.request = request(0, bench.now);
            let attempts = attempt(&mut bench, client, 0.5, fails);
            prop_assert_eq!(*attempts.last().expect("an attempt"), 1, "all are answered");
            asked += attempts.iter().filter(|upstream| **upstream == 0).count();
            bench.now += ms(pace);
        }
        // Twice the failures that open it; then at most one each 4 s, of 120.
        prop_assert!(asked <= 2 * 5 + 30, "{asked} attempts of {client} runs");
    }

    // I16
    #[test]
    fn a_failure_at_one_model_takes_no_key_from_another(
        fates in prop::collection::vec((fates(), 0..3_000_u64), 1..60),
    ) {
        let mut bench = bench(primary());
        for (number, (fate, time)) in fates.into_iter().enumerate() {
            bench.now += ms(time);
            let Fate::Fails(kind, status, stated, _) = fate else { continue };
            let stated = failure(kind, status, stated);
            // These are stated of the key itself, or of the whole upstream.
            if matches!(judge(&stated, false, false), Blame::Key | Blame::Account | Blame::Setup | Blame::Connect(_)) {
                continue;
            }
            bench.request = request(0, bench.now);
            attempt(&mut bench, number as u64, 0.5, |_| Err(stated.clone()));
            bench.request = RouteRequest::new("n".into(), asker(7), bench.now + ms(300_000));
            let Pick::Go(go) = bench.route.pick(bench.now, 0.5, &mut bench.request) else { panic!("it goes") };
            prop_assert_eq!(go.target.upstream, 0, "after {}", stated);
            bench.route.record(bench.now, 0.5, go.permit, Err(Blame::None));
            bench.route.release(go.permit);
            for key in &bench.route.state.upstreams[0].keys {
                prop_assert!(key.out.is_none(), "after {}", stated);
            }
        }
    }
}

// I10
#[test]
fn weights_are_shares() {
    for weights in [[3, 1], [1, 1], [1, 9]] {
        let mut bench = bench(shared(weights));
        let mut asked = [0_u32; 2];
        for run in 0..10_000 {
            bench.request = request(0, bench.now);
            asked[attempt(&mut bench, 1, f64::from(run) / 10_000.0, |_| Ok(()))[0]] += 1;
        }
        let expected = 10_000 * weights[0] / (weights[0] + weights[1]);
        assert!(asked[0].abs_diff(expected) <= 500, "{asked:?} with {weights:?}");
    }
}
