//! The gate before the upstream: slots, a bounded fair queue, deadlines. Pure.
//!
//! A session has one run at a time, so one that floods holds one slot or one place in the queue, like
//! everybody else. Many sessions of one address take turns with the other addresses, and make room
//! for them when the queue is full.
use crate::chat::{SessionId, Source};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

/// What somebody is told to wait who comes before anything is known.
const WAIT_GUESS: Duration = Duration::from_secs(5);
const WAIT_MIN: Duration = Duration::from_secs(1);
/// A place in the queue is counted up to here.
const PLACE_MAX: usize = 10_000;

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
    /// It waits; `place` counts from 1. The queue was full where another run went out for it: the
    /// newest one of the address with the most.
    Queued { place: u32, out: Option<T> },
    /// No slot and no place in the queue.
    Refused(T),
}

#[derive(Debug)]
pub struct Admission<T> {
    settings: Settings,
    running: usize,
    /// Waiting runs in the order in which they are let through: a source has one in each round.
    queue: BTreeMap<Turn, Waiting<T>>,
    /// The round of each by arrival. Arrival order is deadline order, because all wait equally long.
    arrivals: BTreeMap<u64, u64>,
    turn_of: HashMap<SessionId, Turn>,
    /// What waits of each source: arrivals by round. A source of which nothing waits is not here.
    sources: HashMap<Source, BTreeMap<u64, u64>>,
    /// The same sources by how much waits of them.
    by_size: BTreeSet<(usize, Source)>,
    /// The round of the last one that was let through.
    round: u64,
    next_arrival: u64,
    pace: Pace,
}

/// When a waiting run is let through: by round, and in the round by arrival.
type Turn = (u64, u64);

#[derive(Debug)]
struct Waiting<T> {
    session: SessionId,
    source: Source,
    deadline: Instant,
    item: T,
}

/// How fast slots come free while all are taken.
#[derive(Debug, Default)]
struct Pace {
    last: Option<Instant>,
    /// Between two of them, averaged.
    interval: Option<Duration>,
}

impl Pace {
    fn finished(&mut self, now: Instant, all_taken: bool) {
        if let Some(last) = self.last.filter(|_| all_taken) {
            let took = now.saturating_duration_since(last);
            self.interval = Some(self.interval.map_or(took, |interval| (interval * 7 + took) / 8));
        }
        self.last = all_taken.then_some(now);
    }

    /// How long it takes until so many have come free; a standstill since the last one counts.
    fn until(&self, now: Instant, slots: usize) -> Option<Duration> {
        let since = self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        let interval = self.interval?.max(since);
        Some(interval.saturating_mul(u32::try_from(slots).unwrap_or(u32::MAX)))
    }
}

impl<T> Admission<T> {
    pub fn new(settings: Settings) -> Self {
        Admission {
            settings,
            running: 0,
            queue: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            turn_of: HashMap::new(),
            sources: HashMap::new(),
            by_size: BTreeSet::new(),
            round: 0,
            next_arrival: 0,
            pace: Pace::default(),
        }
    }

    /// Asks for a slot. A second run of a session that waits already is refused.
    pub fn submit(&mut self, now: Instant, source: Source, session: SessionId, item: T) -> Admitted<T> {
        if self.running < self.settings.runs && self.queue.is_empty() {
            self.running += 1;
            return Admitted::Start(item);
        }
        if self.turn_of.contains_key(&session) {
            return Admitted::Refused(item);
        }
        let mut out = None;
        if self.queue.len() >= self.settings.queue {
            let Some(turn) = self.gives_way_to(source) else { return Admitted::Refused(item) };
            out = self.take(turn).map(|waiting| waiting.item);
        }
        let place =
            self.insert(source, Waiting { session, source, deadline: now + self.settings.queue_wait, item });
        Admitted::Queued { place, out }
    }

    /// Gives a slot back; the run that takes it, if one waits.
    pub fn finish(&mut self, now: Instant) -> Option<T> {
        self.pace.finished(now, self.running >= self.settings.runs);
        self.running = self.running.saturating_sub(1);
        if self.running >= self.settings.runs {
            return None;
        }
        let turn = *self.queue.first_key_value()?.0;
        self.round = turn.0;
        self.running += 1;
        self.take(turn).map(|next| next.item)
    }

    /// Takes a waiting run out of the queue.
    pub fn withdraw(&mut self, session: SessionId) -> Option<T> {
        let turn = *self.turn_of.get(&session)?;
        self.take(turn).map(|waiting| waiting.item)
    }

    /// Takes out the first run whose time is up.
    pub fn expire(&mut self, now: Instant) -> Option<T> {
        let turn = self.oldest()?;
        if self.queue.get(&turn)?.deadline > now {
            return None;
        }
        self.take(turn).map(|waiting| waiting.item)
    }

    /// When [`Admission::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        Some(self.queue.get(&self.oldest()?)?.deadline)
    }

    /// When it is worth trying again for somebody who was refused: when what waits now is through.
    pub fn busy_for(&self, now: Instant) -> Duration {
        let wait = self.pace.until(now, self.queue.len() + 1).unwrap_or(WAIT_GUESS);
        wait.clamp(WAIT_MIN, self.settings.queue_wait.max(WAIT_MIN))
    }

    pub fn running(&self) -> usize {
        self.running
    }

    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    fn oldest(&self) -> Option<Turn> {
        self.arrivals.first_key_value().map(|(arrival, round)| (*round, *arrival))
    }

    /// Whose turn ends in a full queue so that one of `source` may wait: only where that makes the
    /// shares more equal, so that nobody is put out by his own kind.
    fn gives_way_to(&self, source: Source) -> Option<Turn> {
        let mine = self.sources.get(&source).map_or(0, BTreeMap::len);
        let (size, largest) = self.by_size.last()?;
        let newest = self.sources.get(largest)?.last_key_value();
        newest.filter(|_| *size > mine + 1).map(|(round, arrival)| (*round, *arrival))
    }

    /// Puts a run behind all others of its source; its place.
    fn insert(&mut self, source: Source, waiting: Waiting<T>) -> u32 {
        let arrival = self.next_arrival;
        self.next_arrival += 1;
        let rounds = self.sources.entry(source).or_default();
        let last = rounds.last_key_value().map_or(self.round, |(round, _)| self.round.max(*round));
        let turn = (last + 1, arrival);
        self.by_size.remove(&(rounds.len(), source));
        rounds.insert(turn.0, arrival);
        self.by_size.insert((rounds.len(), source));
        self.arrivals.insert(arrival, turn.0);
        self.turn_of.insert(waiting.session, turn);
        let before = self.queue.range(..turn).take(PLACE_MAX).count();
        self.queue.insert(turn, waiting);
        u32::try_from(before + 1).unwrap_or(u32::MAX)
    }

    fn take(&mut self, turn: Turn) -> Option<Waiting<T>> {
        let waiting = self.queue.remove(&turn)?;
        self.arrivals.remove(&turn.1);
        self.turn_of.remove(&waiting.session);
        if let Some(rounds) = self.sources.get_mut(&waiting.source) {
            self.by_size.remove(&(rounds.len(), waiting.source));
            rounds.remove(&turn.0);
            if rounds.is_empty() {
                self.sources.remove(&waiting.source);
            } else {
                self.by_size.insert((rounds.len(), waiting.source));
            }
        }
        Some(waiting)
    }
}

#[cfg(test)]
mod tests;
