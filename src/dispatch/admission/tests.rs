//! Who gets a slot, who waits, who is sent away and for how long.
#![expect(clippy::disallowed_methods, reason = "a starting point; nothing depends on where the clock stands")]
use super::*;
use proptest::prelude::*;

fn settings(runs: usize, queue: usize) -> Settings {
    Settings { runs, queue, queue_wait: Duration::from_secs(30) }
}

const A: Source = Source::numbered(1);
const B: Source = Source::numbered(2);
const C: Source = Source::numbered(3);

fn queued<T>(place: u32) -> Admitted<T> {
    Admitted::Queued { place, out: None }
}

// faults: C38
#[test]
fn beyond_the_slots_runs_wait_in_order_and_beyond_the_queue_they_are_refused() {
    let now = Instant::now();
    let mut gate = Admission::new(settings(1, 2));
    assert_eq!(gate.submit(now, A, SessionId(1), "a"), Admitted::Start("a"));
    assert_eq!(gate.submit(now, A, SessionId(2), "b"), queued(1));
    assert_eq!(gate.submit(now, A, SessionId(3), "c"), queued(2));
    assert_eq!(gate.submit(now, A, SessionId(4), "d"), Admitted::Refused("d"));
    assert_eq!(gate.withdraw(SessionId(2)), Some("b"));
    assert_eq!(gate.withdraw(SessionId(2)), None);
    assert_eq!(gate.finish(now), Some("c"));
    assert_eq!((gate.finish(now), gate.running()), (None, 0));
}

#[test]
fn nobody_waits_longer_than_allowed() {
    let now = Instant::now();
    let mut gate = Admission::new(settings(1, 9));
    gate.submit(now, A, SessionId(1), 1);
    gate.submit(now, A, SessionId(2), 2);
    gate.submit(now + Duration::from_secs(1), B, SessionId(3), 3);
    let deadline = gate.next_deadline().expect("one waits");
    assert_eq!(gate.expire(deadline - Duration::from_millis(1)), None);
    assert_eq!(gate.expire(deadline), Some(2));
    assert_eq!(gate.expire(deadline), None);
    assert_eq!(gate.finish(now), Some(3));
}

// faults: C41
#[test]
fn addresses_take_turns_and_the_one_with_the_most_makes_room() {
    let now = Instant::now();
    let mut gate = Admission::new(settings(1, 4));
    gate.submit(now, A, SessionId(0), "a0");
    for (session, name) in [(1, "a1"), (2, "a2"), (3, "a3"), (4, "a4")] {
        assert_eq!(gate.submit(now, A, SessionId(session), name), queued(session as u32));
    }
    assert_eq!(gate.submit(now, A, SessionId(5), "a5"), Admitted::Refused("a5"));
    let out = gate.submit(now, B, SessionId(6), "b1");
    assert_eq!(out, Admitted::Queued { place: 2, out: Some("a4") });
    let out = gate.submit(now, C, SessionId(7), "c1");
    assert_eq!(out, Admitted::Queued { place: 3, out: Some("a3") });
    // Two, one and one of four: no other share would be more equal.
    assert_eq!(gate.submit(now, B, SessionId(8), "b2"), Admitted::Refused("b2"));
    let order: Vec<_> = std::iter::from_fn(|| gate.finish(now)).collect();
    assert_eq!(order, ["a1", "b1", "c1", "a2"]);
}

// faults: C38
#[test]
fn whoever_is_refused_is_told_how_long_what_waits_will_take() {
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let mut gate = Admission::new(settings(2, 8));
    for session in 0..10 {
        gate.submit(start, A, SessionId(session), session);
    }
    assert_eq!(gate.busy_for(start), WAIT_GUESS, "nothing is known yet");
    for n in 1..=4 {
        gate.finish(at(n * 500));
    }
    assert_eq!(gate.busy_for(at(2_000)), Duration::from_millis(2_500), "four wait, two go each second");
    assert_eq!(gate.busy_for(at(3_000)), Duration::from_secs(5), "a standstill is seen");
    assert_eq!(gate.busy_for(at(3_600_000)), Duration::from_secs(30), "never longer than one may wait");
    for _ in 0..9 {
        gate.finish(at(2_000));
    }
    assert_eq!(gate.busy_for(at(2_000)), WAIT_MIN);
}

/// What the properties know of a run that waits.
#[derive(Debug)]
struct Known {
    session: u64,
    source: u64,
    since: Instant,
    /// Of its own source: what was before it when it came, and what had been taken out before that.
    before: usize,
    /// How often each other source was let through since.
    others: HashMap<u64, usize>,
}

/// A list that follows what the gate says, and judges it.
#[derive(Default)]
struct Model {
    running: usize,
    waiting: Vec<Known>,
    /// Taken out of the middle, by source, since nothing of it waited.
    gone: HashMap<u64, usize>,
}

impl Model {
    fn count(&self, source: u64) -> usize {
        self.waiting.iter().filter(|known| known.source == source).count()
    }

    /// Takes one out; `in_turn` of the place at which it was let through.
    fn remove(&mut self, session: u64, in_turn: bool) -> Known {
        let at = self.waiting.iter().position(|known| known.session == session).expect("it waits");
        let known = self.waiting.remove(at);
        *self.gone.entry(known.source).or_default() += usize::from(!in_turn);
        if self.count(known.source) == 0 {
            self.gone.remove(&known.source);
        }
        known
    }

    fn largest(&self) -> usize {
        self.waiting.iter().map(|known| self.count(known.source)).max().unwrap_or(0)
    }

    fn submitted(&mut self, limits: Settings, now: Instant, source: u64, session: u64, said: Admitted<u64>) {
        let waits = self.waiting.iter().any(|known| known.session == session);
        match said {
            Admitted::Start(_) => {
                assert!(self.running < limits.runs && self.waiting.is_empty());
                self.running += 1;
            }
            Admitted::Queued { place, out } => {
                assert!(self.running == limits.runs && !waits);
                if let Some(out) = out {
                    assert!(self.waiting.len() == limits.queue);
                    assert!(self.largest() > self.count(source) + 1, "shares become more equal");
                    let victim = self.waiting.iter().rposition(|known| known.session == out).unwrap();
                    assert_eq!(self.count(self.waiting[victim].source), self.largest());
                    let newest = self.waiting.iter().rposition(|k| k.source == self.waiting[victim].source);
                    assert_eq!(newest, Some(victim));
                    self.remove(out, false);
                }
                let before = self.count(source) + self.gone.get(&source).copied().unwrap_or(0);
                self.waiting.push(Known { session, source, since: now, before, others: HashMap::new() });
                assert!(
                    self.waiting.len() <= limits.queue
                        && (1..=self.waiting.len()).contains(&(place as usize))
                );
            }
            Admitted::Refused(_) => {
                assert_eq!(self.running, limits.runs);
                assert!(
                    waits || self.waiting.len() == limits.queue && self.largest() <= self.count(source) + 1
                );
            }
        }
    }

    fn finished(&mut self, next: Option<u64>) {
        let Some(session) = next else {
            assert!(self.waiting.is_empty(), "somebody waits and nobody was let through");
            self.running -= 1;
            return;
        };
        let source = self.remove(session, true).source;
        for known in self.waiting.iter_mut().filter(|known| known.source != source) {
            let times = *known.others.entry(source).and_modify(|times| *times += 1).or_insert(1);
            // Once for each turn, and once for the round that was under way when it came.
            assert!(times <= known.before + 2, "{known:?} waits while {source} goes {times} times");
        }
    }
}

proptest! {
    /// Never over-admits, starves or forgets; in turns between sources, in order within each.
    #[test]
    fn it_is_a_fair_queue(
        runs in 1..4usize,
        queue in 0..9usize,
        steps in prop::collection::vec((0..5u8, 0..24u64), 1..300),
    ) {
        let start = Instant::now();
        let limits = settings(runs, queue);
        let (mut gate, mut model) = (Admission::new(limits), Model::default());
        for (at, (step, session)) in steps.into_iter().enumerate() {
            let now = start + Duration::from_secs(at as u64);
            // Half of the sessions are of one source.
            let source = if session < 12 { 0 } else { session % 4 };
            match step {
                0..=2 => {
                    let said = gate.submit(now, Source::numbered(source), SessionId(session), session);
                    model.submitted(limits, now, source, session, said);
                }
                3 if model.running > 0 => {
                    let oldest: HashMap<_, _> =
                        model.waiting.iter().rev().map(|known| (known.source, known.session)).collect();
                    let next = gate.finish(now);
                    prop_assert!(next.is_none_or(|next| oldest.values().any(|oldest| *oldest == next)));
                    model.finished(next);
                }
                4 => {
                    let waits = model.waiting.iter().any(|known| known.session == session);
                    prop_assert_eq!(gate.withdraw(SessionId(session)), waits.then_some(session));
                    if waits {
                        model.remove(session, false);
                    }
                }
                _ => {}
            }
            while let Some(expired) = gate.expire(now) {
                let oldest = model.waiting[0].session;
                prop_assert_eq!(expired, oldest);
                prop_assert!(now - model.remove(expired, false).since >= Duration::from_secs(30));
            }
            prop_assert!(model.waiting.iter().all(|known| now - known.since < Duration::from_secs(30)));
            prop_assert_eq!((gate.running(), gate.queued()), (model.running, model.waiting.len()));
        }
        // Nothing is forgotten, and nothing is left behind.
        while model.running > 0 {
            model.finished(gate.finish(start));
        }
        prop_assert!(model.waiting.is_empty());
        prop_assert!(gate.sources.is_empty() && gate.by_size.is_empty() && gate.arrivals.is_empty());
        prop_assert!(gate.turn_of.is_empty());
    }
}
