//! The gate before the upstream: slots, a bounded queue in order of arrival, deadlines. Pure.
//!
//! A session has one run at a time, so order of arrival is fair between sessions: one that floods
//! holds one slot or one place in the queue, like everybody else.
use crate::chat::SessionId;
use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

/// What is let through.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Runs that may stream at the same time.
    pub runs: usize,
    /// Runs that may wait for a slot.
    pub queue: usize,
    /// How long a run may wait.
    pub queue_wait: Duration,
}

/// What became of a submitted run.
#[derive(Debug, PartialEq)]
pub enum Admitted<T> {
    /// A slot is taken; [`Admission::finish`] gives it back.
    Start(T),
    /// It waits; `place` counts from 1.
    Queued { place: u32 },
    /// No slot and no place in the queue.
    Refused(T),
}

#[derive(Debug)]
pub struct Admission<T> {
    settings: Settings,
    running: usize,
    /// Waiting runs by arrival. Arrival order is deadline order, because all wait equally long.
    queue: BTreeMap<u64, Waiting<T>>,
    arrival_of: HashMap<SessionId, u64>,
    next_arrival: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    session: SessionId,
    deadline: Instant,
    item: T,
}

impl<T> Admission<T> {
    pub fn new(settings: Settings) -> Self {
        Admission {
            settings,
            running: 0,
            queue: BTreeMap::new(),
            arrival_of: HashMap::new(),
            next_arrival: 0,
        }
    }

    /// Asks for a slot. A second run of a session that waits already is refused.
    pub fn submit(&mut self, now: Instant, session: SessionId, item: T) -> Admitted<T> {
        if self.running < self.settings.runs && self.queue.is_empty() {
            self.running += 1;
            return Admitted::Start(item);
        }
        if self.queue.len() >= self.settings.queue || self.arrival_of.contains_key(&session) {
            return Admitted::Refused(item);
        }
        let arrival = self.next_arrival;
        self.next_arrival += 1;
        let deadline = now + self.settings.queue_wait;
        self.queue.insert(arrival, Waiting { session, deadline, item });
        self.arrival_of.insert(session, arrival);
        Admitted::Queued { place: u32::try_from(self.queue.len()).unwrap_or(u32::MAX) }
    }

    /// Gives a slot back; the run that takes it, if one waits.
    pub fn finish(&mut self) -> Option<T> {
        self.running = self.running.saturating_sub(1);
        if self.running >= self.settings.runs {
            return None;
        }
        let (_, next) = self.queue.pop_first()?;
        self.arrival_of.remove(&next.session);
        self.running += 1;
        Some(next.item)
    }

    /// Takes a waiting run out of the queue.
    pub fn withdraw(&mut self, session: SessionId) -> Option<T> {
        let arrival = self.arrival_of.remove(&session)?;
        self.queue.remove(&arrival).map(|waiting| waiting.item)
    }

    /// Takes out the first run whose time is up.
    pub fn expire(&mut self, now: Instant) -> Option<T> {
        let first = self.queue.first_entry()?;
        if first.get().deadline > now {
            return None;
        }
        let waiting = first.remove();
        self.arrival_of.remove(&waiting.session);
        Some(waiting.item)
    }

    /// When [`Admission::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|(_, waiting)| waiting.deadline)
    }

    pub fn running(&self) -> usize {
        self.running
    }

    pub fn queued(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a starting point; nothing depends on where the clock stands")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn settings(runs: usize, queue: usize) -> Settings {
        Settings { runs, queue, queue_wait: Duration::from_secs(30) }
    }

    // faults: C38
    #[test]
    fn beyond_the_slots_runs_wait_in_order_and_beyond_the_queue_they_are_refused() {
        let now = Instant::now();
        let mut gate = Admission::new(settings(1, 2));
        assert_eq!(gate.submit(now, SessionId(1), "a"), Admitted::Start("a"));
        assert_eq!(gate.submit(now, SessionId(2), "b"), Admitted::Queued { place: 1 });
        assert_eq!(gate.submit(now, SessionId(3), "c"), Admitted::Queued { place: 2 });
        assert_eq!(gate.submit(now, SessionId(4), "d"), Admitted::Refused("d"));
        assert_eq!(gate.withdraw(SessionId(2)), Some("b"));
        assert_eq!(gate.withdraw(SessionId(2)), None);
        assert_eq!(gate.finish(), Some("c"));
        assert_eq!((gate.finish(), gate.running()), (None, 0));
    }

    #[test]
    fn nobody_waits_longer_than_allowed() {
        let now = Instant::now();
        let mut gate = Admission::new(settings(1, 9));
        gate.submit(now, SessionId(1), 1);
        gate.submit(now, SessionId(2), 2);
        gate.submit(now + Duration::from_secs(1), SessionId(3), 3);
        let deadline = gate.next_deadline().expect("one waits");
        assert_eq!(gate.expire(deadline - Duration::from_millis(1)), None);
        assert_eq!(gate.expire(deadline), Some(2));
        assert_eq!(gate.expire(deadline), None);
        assert_eq!(gate.finish(), Some(3));
    }

    proptest! {
        /// Never over-admits, starves or forgets: against a list.
        #[test]
        fn it_is_a_queue(runs in 1..4usize, queue in 0..4usize, steps in prop::collection::vec((0..4u8, 0..8u64), 1..200)) {
            let start = Instant::now();
            let mut gate = Admission::new(settings(runs, queue));
            let (mut running, mut waiting) = (0usize, VecDeque::new());
            for (at, (step, session)) in steps.into_iter().enumerate() {
                let now = start + Duration::from_secs(at as u64 * 10);
                match step {
                    0 | 1 => match gate.submit(now, SessionId(session), session) {
                        Admitted::Start(_) => { prop_assert!(running < runs && waiting.is_empty()); running += 1 }
                        Admitted::Queued { place } => {
                            waiting.push_back((session, now));
                            prop_assert_eq!(place as usize, waiting.len());
                            prop_assert!(running == runs && waiting.len() <= queue);
                        }
                        Admitted::Refused(_) => {
                            prop_assert!(running == runs);
                            prop_assert!(waiting.len() == queue || waiting.iter().any(|(s, _)| *s == session));
                        }
                    },
                    2 if running > 0 => {
                        let next = waiting.pop_front();
                        prop_assert_eq!(gate.finish(), next.map(|(s, _)| s));
                        running -= usize::from(next.is_none());
                    }
                    3 => {
                        let at = waiting.iter().position(|(s, _)| *s == session);
                        prop_assert_eq!(gate.withdraw(SessionId(session)), at.map(|at| waiting.remove(at).expect("there").0));
                    }
                    _ => {}
                }
                while let Some(expired) = gate.expire(now) {
                    let (session, since) = waiting.pop_front().expect("one waits");
                    prop_assert_eq!(expired, session);
                    prop_assert!(now - since >= Duration::from_secs(30));
                }
                prop_assert_eq!((gate.running(), gate.queued()), (running, waiting.len()));
            }
        }
    }
}
