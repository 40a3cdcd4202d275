//! Who gets a slot, who waits, who is sent away and for how long.
#![expect(clippy::disallowed_methods, reason = "a starting point; nothing depends on where the clock stands")]
use super::*;
use proptest::prelude::*;

fn settings(runs: usize, queue: usize) -> Settings {
    Settings { runs_max: runs, queue_max: queue, queue_timeout: Duration::from_secs(30) }
}

const A: FairShareKey = FairShareKey::numbered(1);
const B: FairShareKey = FairShareKey::numbered(2);
const C: FairShareKey = FairShareKey::numbered(3);

impl<T> Admission<T> {
    /// Submits a run of a model whose upstreams have room.
    fn put(&mut self, now: Instant, client: FairShareKey, session: SessionId, item: T) -> Admitted<T> {
        self.submit(now, Ask { client, session, model: "m".into() }, true, item)
    }

    /// Starts the next run, where all upstreams have room.
    fn next(&mut self) -> Option<T> {
        self.start_next(|_| Some(())).map(|(item, ())| item)
    }
}

/// A run of `client` ends; the run that takes its slot.
fn turn_over<T>(gate: &mut Admission<T>, now: Instant, client: FairShareKey) -> Option<T> {
    gate.finish(now, client);
    gate.next()
}

fn queued<T>(place: u32) -> Admitted<T> {
    Admitted::Queued { place, out: None }
}

// faults: C38
#[test]
fn when_slots_are_taken_runs_wait_in_order_and_when_the_queue_is_full_they_are_rejected() {
    let now = Instant::now();
    let mut gate = Admission::new(settings(1, 2));
    assert_eq!(gate.put(now, A, SessionId(1), "a"), Admitted::Start("a"));
    assert_eq!(gate.put(now, A, SessionId(2), "b"), queued(1));
    assert_eq!(gate.put(now, A, SessionId(3), "c"), queued(2));
    assert_eq!(gate.put(now, A, SessionId(4), "d"), Admitted::Rejected("d"));
    assert_eq!(gate.withdraw(SessionId(2)), Some("b"));
    assert_eq!(gate.withdraw(SessionId(2)), None);
    assert_eq!(turn_over(&mut gate, now, A), Some("c"));
    assert_eq!((turn_over(&mut gate, now, A), gate.running()), (None, 0));
}

#[test]
fn no_run_waits_longer_than_allowed() {
    let now = Instant::now();
    let mut gate = Admission::new(settings(1, 9));
    gate.put(now, A, SessionId(1), 1);
    gate.put(now, A, SessionId(2), 2);
    gate.put(now + Duration::from_secs(1), B, SessionId(3), 3);
    let deadline = gate.next_deadline().expect("one waits");
    assert_eq!(gate.expire(deadline - Duration::from_millis(1)), None);
    assert_eq!(gate.expire(deadline), Some(2));
    assert_eq!(gate.expire(deadline), None);
    assert_eq!(turn_over(&mut gate, now, A), Some(3));
}

// faults: C41
#[test]
fn clients_take_turns_and_the_one_with_the_most_entries_loses_one() {
    let now = Instant::now();
    let mut gate = Admission::new(settings(1, 4));
    gate.put(now, A, SessionId(0), "a0");
    for (session, name) in [(1, "a1"), (2, "a2"), (3, "a3"), (4, "a4")] {
        assert_eq!(gate.put(now, A, SessionId(session as u128), name), queued(session as u32));
    }
    assert_eq!(gate.put(now, A, SessionId(5), "a5"), Admitted::Rejected("a5"));
    let out = gate.put(now, B, SessionId(6), "b1");
    assert_eq!(out, Admitted::Queued { place: 2, out: Some("a4") });
    let out = gate.put(now, C, SessionId(7), "c1");
    assert_eq!(out, Admitted::Queued { place: 3, out: Some("a3") });
    // Two, one and one of four: no other share would be more equal.
    assert_eq!(gate.put(now, B, SessionId(8), "b2"), Admitted::Rejected("b2"));
    let mut order = Vec::new();
    let mut client = A;
    while let Some(name) = turn_over(&mut gate, now, client) {
        client = [A, B, C][usize::from(name.as_bytes()[0] - b'a')];
        order.push(name);
    }
    assert_eq!(order, ["a1", "b1", "c1", "a2"]);
}

// faults: C38
#[test]
fn the_retry_time_is_estimated_from_the_queue() {
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let mut gate = Admission::new(settings(2, 8));
    for session in 0..10 {
        gate.put(start, A, SessionId(session as u128), session);
    }
    assert_eq!(gate.busy_for(start), WAIT_GUESS, "nothing is known yet");
    for n in 1..=4 {
        turn_over(&mut gate, at(n * 500), A);
    }
    assert_eq!(gate.busy_for(at(2_000)), Duration::from_millis(2_500), "four wait, two go each second");
    assert_eq!(gate.busy_for(at(3_000)), Duration::from_secs(5), "a standstill is seen");
    assert_eq!(gate.busy_for(at(3_600_000)), Duration::from_secs(30), "never longer than one may wait");
    for _ in 0..9 {
        turn_over(&mut gate, at(2_000), A);
    }
    assert_eq!(gate.busy_for(at(2_000)), WAIT_MIN);
}

// faults: K140
#[test]
fn one_client_never_takes_the_slots_of_all() {
    for (runs, most) in [(1, 1), (2, 2), (3, 3), (4, 3), (7, 6), (8, 7), (20, 17), (4096, 3584)] {
        let now = Instant::now();
        let mut gate = Admission::new(settings(runs, 2 * runs));
        let mut next_session = 0;
        let mut submit = |gate: &mut Admission<u64>, client| {
            next_session += 1;
            matches!(
                gate.put(now, client, SessionId(u128::from(next_session)), next_session),
                Admitted::Start(_)
            )
        };
        let started = (0..2 * runs).filter(|_| submit(&mut gate, A)).count();
        assert_eq!(started, most, "of {runs} slots");
        // The others come later, and each of them at once, as far as there are slots at all.
        let others = (0..runs - most).filter(|n| submit(&mut gate, FairShareKey::numbered(10 + *n as u64)));
        assert_eq!(others.count(), runs - most, "of {runs} slots");
        // What comes free goes to them, and not to the one that has the most and has waited the longest.
        assert!(!submit(&mut gate, B));
        assert!(turn_over(&mut gate, now, A).is_some());
        let running = gate.clients[&B].running;
        assert_eq!(running, usize::from(runs > 1), "of {runs} slots; one is had in turns");
    }
}

// faults: K140
#[test]
fn two_clients_reach_equal_shares_as_slots_become_free() {
    let now = Instant::now();
    let mut gate = Admission::new(settings(20, 100));
    for session in 0..40 {
        gate.put(now, A, SessionId(session as u128), A);
    }
    for session in 40..80 {
        gate.put(now, B, SessionId(session as u128), B);
    }
    assert_eq!([A, B].map(|client| gate.clients[&client].running), [17, 3], "the reserve is B's at once");
    for _ in 0..7 {
        assert_eq!(turn_over(&mut gate, now, A), Some(B));
    }
    assert_eq!([A, B].map(|client| gate.clients[&client].running), [10, 10]);
    // In turns from here on.
    assert_eq!(turn_over(&mut gate, now, A), Some(A));
    assert_eq!(turn_over(&mut gate, now, B), Some(B));
    // A leaves: nothing of it waits or runs, and B may have all but the reserve.
    for session in 0..40 {
        gate.withdraw(SessionId(session as u128));
    }
    for _ in 0..10 {
        gate.finish(now, A);
        while gate.next().is_some() {}
    }
    assert!(!gate.clients.contains_key(&A));
    assert_eq!((gate.clients[&B].running, gate.queued()), (17, 22));
}

/// A run of a client: the number of its session, and its model.
type Item = (u64, &'static str);

/// Submits a run of the client with the number of its session.
fn submit(gate: &mut Admission<Item>, (session, model): Item, has_room: bool) -> Admitted<Item> {
    let ask = Ask {
        client: FairShareKey::numbered(session),
        session: SessionId(session.into()),
        model: model.into(),
    };
    gate.submit(Instant::now(), ask, has_room, (session, model))
}

/// Starts the runs that may start, where this model has no room; their sessions.
fn started(gate: &mut Admission<Item>, full: &str) -> Vec<u64> {
    std::iter::from_fn(|| gate.start_next(|(_, model)| (*model != full).then_some(())))
        .map(|((session, _), ())| session)
        .collect()
}

#[test]
fn runs_without_room_wait_in_the_queue_of_their_model_and_others_pass_by() {
    let mut gate = Admission::new(settings(10, 10));
    assert_eq!(submit(&mut gate, (1, "local"), false), Admitted::Queued { place: 1, out: None });
    assert_eq!(submit(&mut gate, (2, "local"), false), Admitted::Queued { place: 2, out: None });
    assert_eq!(started(&mut gate, "local"), [0; 0]);
    assert_eq!((gate.running(), gate.queued(), gate.is_held()), (0, 2, true), "no slot is held");
    assert_eq!(submit(&mut gate, (3, "cn"), true), Admitted::Start((3, "cn")));
    // A place has come free, and the dispatcher does not know yet: no run overtakes those that wait.
    assert_eq!(submit(&mut gate, (4, "local"), true), Admitted::Queued { place: 3, out: None });
    assert_eq!(started(&mut gate, ""), [1, 2, 4]);
    assert!(!gate.is_held());
    assert_eq!(submit(&mut gate, (5, "local"), true), Admitted::Start((5, "local")));
}

#[test]
fn the_queues_of_models_take_turns() {
    let mut gate = Admission::new(settings(10, 20));
    for session in 0..6 {
        submit(&mut gate, (session, "many"), false);
    }
    for session in 6..8 {
        submit(&mut gate, (session, "few"), false);
    }
    let mut order = Vec::new();
    while let Some(((session, _), ())) = gate.start_next(|_| Some(())) {
        order.push(session);
        if order.len() == 4 {
            submit(&mut gate, (8, "few"), false); // Its queue was empty meanwhile: it does not begin anew.
        }
    }
    assert_eq!(order, [0, 6, 1, 7, 2, 8, 3, 4, 5]);
}

#[test]
fn the_bounds_are_those_of_all_queues_together() {
    let mut gate = Admission::new(settings(10, 2));
    submit(&mut gate, (1, "a"), false);
    submit(&mut gate, (2, "b"), false);
    assert_eq!(submit(&mut gate, (3, "c"), false), Admitted::Rejected((3, "c")));
    let mut gate = Admission::new(settings(10, 2));
    let now = Instant::now();
    let mut of_one = |session, model: &str| {
        let ask = Ask { client: A, session: SessionId(session), model: model.into() };
        gate.submit(now, ask, false, session)
    };
    of_one(1, "a");
    of_one(2, "b");
    let ask = Ask { client: B, session: SessionId(3), model: "c".into() };
    let displaced = gate.submit(now, ask, false, 3);
    assert_eq!(displaced, Admitted::Queued { place: 1, out: Some(2) }, "the newest, of whatever model");
    assert_eq!(gate.expire(now + Duration::from_secs(30)), Some(1));
    assert_eq!(gate.expire(now + Duration::from_secs(30)), Some(3));
    assert!(gate.queues.is_empty() && gate.clients.is_empty());
}

/// What the property knows of a run that waits.
#[derive(Debug)]
struct Known {
    session: u64,
    client: u64,
    since: Instant,
}

/// A list that follows what the gate says, and judges it by the rules as they are written down.
struct Model {
    limits: Settings,
    /// Slots that each client holds; a client without one is absent.
    holds: HashMap<u64, usize>,
    waiting: Vec<Known>,
}

impl Model {
    fn count(&self, client: u64) -> usize {
        self.waiting.iter().filter(|known| known.client == client).count()
    }

    fn held(&self, client: u64) -> usize {
        self.holds.get(&client).copied().unwrap_or(0)
    }

    fn running(&self) -> usize {
        self.holds.values().sum()
    }

    /// Seven eighths, or all where they are few.
    fn most(&self) -> usize {
        match self.limits.runs_max {
            few @ 0..4 => few,
            runs => runs * 7 / 8,
        }
    }

    fn clients(&self, with: u64) -> usize {
        let waiting = self.waiting.iter().map(|known| known.client);
        self.holds.keys().copied().chain(waiting).chain([with]).collect::<BTreeSet<_>>().len()
    }

    fn is_below_its_share(&self, client: u64) -> bool {
        (self.held(client) as f64) < self.limits.runs_max as f64 / self.clients(client) as f64
    }

    fn may_start(&self, client: u64) -> bool {
        self.running() < self.most()
            || self.running() < self.limits.runs_max
                && self.held(client) < self.most()
                && self.is_below_its_share(client)
    }

    fn remove(&mut self, session: u64) -> Known {
        let at = self.waiting.iter().position(|known| known.session == session).expect("it waits");
        self.waiting.remove(at)
    }

    fn largest(&self) -> usize {
        self.waiting.iter().map(|known| self.count(known.client)).max().unwrap_or(0)
    }

    fn starts(&mut self, client: u64) {
        *self.holds.entry(client).or_default() += 1;
        assert!(self.held(client) <= self.most(), "{client} holds {}", self.held(client));
    }

    fn submitted(&mut self, now: Instant, client: u64, session: u64, admitted: Admitted<u64>) {
        let waits = self.waiting.iter().any(|known| known.session == session);
        let may_start = self.may_start(client) && !waits;
        match admitted {
            Admitted::Start(_) => {
                assert!(may_start);
                self.starts(client);
            }
            Admitted::Queued { place, out } => {
                assert!(!may_start && !waits);
                assert!(
                    self.held(client) > 0 || self.running() == self.limits.runs_max,
                    "none, and one is free"
                );
                if let Some(out) = out {
                    assert!(self.waiting.len() == self.limits.queue_max);
                    assert!(self.largest() > self.count(client) + 1, "shares become more equal");
                    let victim = self.waiting.iter().rposition(|known| known.session == out).unwrap();
                    assert_eq!(self.count(self.waiting[victim].client), self.largest());
                    let newest = self.waiting.iter().rposition(|k| k.client == self.waiting[victim].client);
                    assert_eq!(newest, Some(victim));
                    self.remove(out);
                }
                self.waiting.push(Known { session, client, since: now });
                assert!(
                    self.waiting.len() <= self.limits.queue_max
                        && (1..=self.waiting.len()).contains(&(place as usize))
                );
            }
            Admitted::Rejected(_) => {
                assert!(!may_start);
                let full = self.waiting.len() == self.limits.queue_max;
                assert!(waits || full && self.largest() <= self.count(client) + 1);
            }
        }
    }

    /// Follows the runs that take slots now.
    fn settle(&mut self, gate: &mut Admission<u64>) {
        while let Some(session) = gate.next() {
            let chosen = self.remove(session);
            let held = self.held(chosen.client);
            for other in &self.waiting {
                assert!(self.held(other.client) >= held, "{other:?} holds less than {chosen:?}");
                assert!(other.client != chosen.client || other.since >= chosen.since, "in order");
            }
            let clients = self.clients(chosen.client);
            assert!(
                self.running() < self.most()
                    || self.running() < self.limits.runs_max && held * clients < self.limits.runs_max
            );
            self.starts(chosen.client);
        }
        // Slots are not left empty for nothing.
        assert!(!self.waiting.iter().any(|known| self.may_start(known.client)), "one may start and waits");
    }
}

proptest! {
    /// Never over-admits, starves or forgets; slots go to who holds the fewest, and none holds too many.
    #[test]
    fn it_is_a_fair_queue(
        runs in 1..24usize,
        queue in 0..9usize,
        steps in prop::collection::vec((0..6u8, 0..64u64), 1..300),
    ) {
        let start = Instant::now();
        let limits = settings(runs, queue);
        let mut gate = Admission::new(limits);
        let mut model = Model { limits, holds: HashMap::new(), waiting: Vec::new() };
        for (at, (step, session)) in steps.into_iter().enumerate() {
            let now = start + Duration::from_secs(at as u64);
            // Half of the sessions are of one client.
            let client = if session < 32 { 0 } else { session % 6 };
            match step {
                0..=2 => {
                    let admitted = gate.put(now, FairShareKey::numbered(client), SessionId(u128::from(session)), session);
                    model.submitted(now, client, session, admitted);
                }
                3 | 4 if model.running() > 0 => {
                    let holders: BTreeSet<_> = model.holds.keys().copied().collect();
                    let client = *holders.iter().nth(session as usize % holders.len()).unwrap();
                    gate.finish(now, FairShareKey::numbered(client));
                    *model.holds.get_mut(&client).unwrap() -= 1;
                    model.holds.retain(|_, held| *held > 0);
                }
                5 => {
                    let waits = model.waiting.iter().any(|known| known.session == session);
                    prop_assert_eq!(gate.withdraw(SessionId(u128::from(session))), waits.then_some(session));
                    if waits {
                        model.remove(session);
                    }
                }
                _ => {}
            }
            while let Some(expired) = gate.expire(now) {
                let oldest = model.waiting[0].session;
                prop_assert_eq!(expired, oldest);
                prop_assert!(now - model.remove(expired).since >= Duration::from_secs(30));
            }
            model.settle(&mut gate);
            prop_assert!(model.waiting.iter().all(|known| now - known.since < Duration::from_secs(30)));
            prop_assert_eq!((gate.running(), gate.queued()), (model.running(), model.waiting.len()));
        }
        // Nothing is forgotten, and nothing is left behind.
        while let Some(client) = model.holds.keys().next().copied() {
            gate.finish(start, FairShareKey::numbered(client));
            *model.holds.get_mut(&client).unwrap() -= 1;
            model.holds.retain(|_, held| *held > 0);
            model.settle(&mut gate);
        }
        prop_assert!(model.waiting.is_empty());
        prop_assert!(gate.clients.is_empty() && gate.by_size.is_empty() && gate.queues.is_empty());
        prop_assert!(gate.arrivals.is_empty() && gate.position_of.is_empty());
    }

    /// Models `a` and `b` share an upstream that limits its runs, `c` is elsewhere: the limit holds, it holds up no others, and
    /// no place is left empty while a run waits that may have it.
    #[test]
    fn a_full_upstream_holds_up_only_those_who_wait_for_it(
        runs in 1..12usize,
        queue in 0..9usize,
        limit in 1..4usize,
        steps in prop::collection::vec((0..6u8, 0..48u64), 1..200),
    ) {
        let now = Instant::now();
        let mut gate = Admission::new(settings(runs, queue));
        let model_of = |session: u64| ["a", "b", "c"][session as usize % 3];
        let client_of = |session: u64| session % 5;
        let (mut running, mut waiting) = (Vec::<u64>::new(), Vec::<u64>::new());
        let has_room = |running: &[u64], session: u64| {
            model_of(session) == "c" || running.iter().filter(|other| model_of(**other) != "c").count() < limit
        };
        for (step, number) in steps {
            match step {
                0..=2 if !running.contains(&number) && !waiting.contains(&number) => {
                    let ask = Ask {
                        client: FairShareKey::numbered(client_of(number)),
                        session: SessionId(number.into()),
                        model: model_of(number).into(),
                    };
                    match gate.submit(now, ask, has_room(&running, number), number) {
                        Admitted::Start(_) => {
                            prop_assert!(has_room(&running, number), "more than may run there");
                            let is_behind = |other: &&u64| model_of(**other) == model_of(number) && client_of(**other) == client_of(number);
                            prop_assert_eq!(waiting.iter().find(is_behind), None, "overtaken");
                            running.push(number);
                        }
                        Admitted::Queued { place, out } => {
                            waiting.retain(|other| Some(*other) != out);
                            waiting.push(number);
                            let same = waiting.iter().filter(|other| model_of(**other) == model_of(number)).count();
                            prop_assert!((1..=same).contains(&(place as usize)), "the place in its own queue");
                        }
                        Admitted::Rejected(_) => prop_assert!(waiting.len() >= queue),
                    }
                }
                3 | 4 if !running.is_empty() => {
                    let ended = running.remove(number as usize % running.len());
                    gate.finish(now, FairShareKey::numbered(client_of(ended)));
                }
                5 => {
                    let waits = waiting.contains(&number);
                    prop_assert_eq!(gate.withdraw(SessionId(number.into())), waits.then_some(number));
                    waiting.retain(|other| *other != number);
                }
                _ => {}
            }
            while let Some((session, ())) = gate.start_next(|session| has_room(&running, *session).then_some(())) {
                let held = |session: u64| running.iter().filter(|other| client_of(**other) == client_of(session)).count();
                for other in waiting.iter().filter(|other| has_room(&running, **other)) {
                    prop_assert!(held(*other) >= held(session), "{} holds less than {}", other, session);
                }
                waiting.retain(|other| *other != session);
                running.push(session);
            }
            prop_assert!(running.len() <= runs);
            prop_assert_eq!((gate.running(), gate.queued()), (running.len(), waiting.len()));
            let reserved = if runs < 4 { 0 } else { runs.div_ceil(8) };
            if running.len() < runs - reserved {
                prop_assert!(!waiting.iter().any(|session| has_room(&running, *session)), "one may start and waits");
            }
        }
        while let Some(ended) = running.pop() {
            gate.finish(now, FairShareKey::numbered(client_of(ended)));
            while let Some((session, ())) = gate.start_next(|session| has_room(&running, *session).then_some(())) {
                running.push(session);
            }
        }
        prop_assert!(gate.queued() == 0 && gate.running() == 0);
        prop_assert!(gate.clients.is_empty() && gate.by_size.is_empty() && gate.queues.is_empty());
        prop_assert!(gate.arrivals.is_empty() && gate.position_of.is_empty());
    }

    /// However one client asks, another one that has nothing gets a slot at once; and as long as it asks for
    /// no more than its share, it gets a slot before the first one gets another.
    #[test]
    fn one_client_does_not_delay_another(
        runs in 4..64usize,
        steps in prop::collection::vec((0..4u8, 0..200u64), 1..400),
    ) {
        let now = Instant::now();
        let mut gate = Admission::new(settings(runs, 64));
        let (mut held, mut other) = (0, false);
        for (step, session) in steps {
            match step {
                0 | 1 => {
                    let admitted = gate.put(now, A, SessionId(u128::from(session)), A);
                    held += usize::from(matches!(admitted, Admitted::Start(_)));
                }
                2 if held > 0 => {
                    gate.finish(now, A);
                    held -= 1;
                }
                3 if other => {
                    gate.finish(now, B);
                    other = false;
                }
                3 => {
                    prop_assert_eq!(gate.put(now, B, SessionId(1_000), B), Admitted::Start(B));
                    other = true;
                }
                _ => {}
            }
            while let Some(client) = gate.next() {
                prop_assert_eq!(client, A);
                held += 1;
            }
        }
    }
}
