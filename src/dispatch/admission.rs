//! The gate before the upstream: slots, a bounded fair queue, deadlines. Pure.
//!
//! Slots and places in the queue are shared between sources (each with a [`FairShareKey`]), so that no
//! source can take what belongs to all:
//!
//! - A source never holds more than seven eighths of the slots. The last eighth is open only to sources
//!   that hold less than their share, which is all slots divided by the sources that run or wait.
//! - A slot that comes free goes to the waiting source that holds the fewest, in turns among equals.
//! - A full queue makes room for a source with fewer entries at the expense of the one with the most.
//!
//! A session has one run at a time, so one session that floods holds one slot or one place.
use crate::chat::{FairShareKey, SessionId};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

/// The `Retry-After` of a refusal as long as no slot has come free yet.
const WAIT_GUESS: Duration = Duration::from_secs(5);
const WAIT_MIN: Duration = Duration::from_secs(1);
/// A place in the queue is counted up to here.
const PLACE_MAX: usize = 10_000;
/// One slot in this many is reserved for sources below their share.
const RESERVE: usize = 8;

/// What is let through.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Runs that may stream at the same time.
    pub runs_max: usize,
    /// Runs that may wait for a slot; the next one is refused, or takes the place of another source's run.
    pub queue_max: usize,
    /// How long a run may wait; then it is refused.
    pub queue_timeout: Duration,
}

impl Settings {
    /// Slots that are reserved for sources below their share: an eighth, rounded up. Fewer than four slots
    /// are not divided, because a reserved one would be a third of them or more.
    fn reserved(&self) -> usize {
        if self.runs_max < 4 { 0 } else { self.runs_max.div_ceil(RESERVE) }
    }
}

/// What became of a submitted run.
#[derive(Debug, PartialEq)]
pub enum Admitted<T> {
    /// A slot is taken; [`Admission::finish`] gives it back.
    Start(T),
    /// It waits; `place` counts from 1. If the queue was full, `out` is the run that left it instead: the
    /// newest one of the source with the most entries.
    Queued { place: u32, out: Option<T> },
    /// No slot and no place in the queue.
    Refused(T),
}

#[derive(Debug)]
pub struct Admission<T> {
    settings: Settings,
    running: usize,
    /// Waiting runs by turn: a source has one in each round.
    queue: BTreeMap<Turn, Waiting<T>>,
    /// The round of each by arrival. Arrival order is deadline order, because all wait equally long.
    arrivals: BTreeMap<u64, u64>,
    turn_of: HashMap<SessionId, Turn>,
    /// What each source has here. A source with nothing running and nothing waiting is absent.
    sources: HashMap<FairShareKey, Holding>,
    /// Waiting sources by the number of their entries.
    by_size: BTreeSet<(usize, FairShareKey)>,
    /// Waiting sources in the order in which they get a slot: by slots held, then by their first turn.
    by_need: BTreeSet<(usize, Turn, FairShareKey)>,
    /// The latest round from which a run was let through.
    round: u64,
    next_arrival: u64,
    pace: Pace,
}

/// The round of a waiting run, and in the round its arrival.
type Turn = (u64, u64);

/// What one source has.
#[derive(Debug, Default)]
struct Holding {
    /// Slots.
    running: usize,
    /// Entries in the queue: arrivals by round.
    rounds: BTreeMap<u64, u64>,
}

impl Holding {
    fn first_turn(&self) -> Option<Turn> {
        self.rounds.first_key_value().map(|(round, arrival)| (*round, *arrival))
    }
}

#[derive(Debug)]
struct Waiting<T> {
    session: SessionId,
    source: FairShareKey,
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
            by_need: BTreeSet::new(),
            round: 0,
            next_arrival: 0,
            pace: Pace::default(),
        }
    }

    /// Asks for a slot. A second run of a session that already waits is refused.
    pub fn submit(&mut self, now: Instant, source: FairShareKey, session: SessionId, item: T) -> Admitted<T> {
        if self.turn_of.contains_key(&session) {
            return Admitted::Refused(item);
        }
        let holding = self.sources.get(&source);
        let (running, is_new) = (holding.map_or(0, |holding| holding.running), holding.is_none());
        // What waits may not have a slot now, else it would have one: nothing is overtaken.
        if self.may_start(running, self.sources.len() + usize::from(is_new)) {
            self.running += 1;
            self.change(source, |holding| holding.running += 1);
            return Admitted::Start(item);
        }
        let mut out = None;
        if self.queue.len() >= self.settings.queue_max {
            let Some(turn) = self.gives_way_to(source) else { return Admitted::Refused(item) };
            out = self.take(turn).map(|waiting| waiting.item);
        }
        let place = self
            .insert(source, Waiting { session, source, deadline: now + self.settings.queue_timeout, item });
        Admitted::Queued { place, out }
    }

    /// Gives the slot of a run of `source` back. [`Admission::start_next`] tells which run takes it.
    pub fn finish(&mut self, now: Instant, source: FairShareKey) {
        self.pace.finished(now, self.running >= self.settings.runs_max || !self.queue.is_empty());
        self.running = self.running.saturating_sub(1);
        self.change(source, |holding| holding.running = holding.running.saturating_sub(1));
    }

    /// The next waiting run that may have a slot, which it has taken then. To be asked until there is none,
    /// whenever a slot came free or a run left the queue.
    pub fn start_next(&mut self) -> Option<T> {
        // A key that holds more may not start either.
        let (running, turn, source) = *self.by_need.first()?;
        if !self.may_start(running, self.sources.len()) {
            return None;
        }
        self.running += 1;
        self.round = self.round.max(turn.0);
        // Before it leaves the queue, so that its source stays known.
        self.change(source, |holding| holding.running += 1);
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

    /// When a refused client should try again: when what waits now is through.
    pub fn busy_for(&self, now: Instant) -> Duration {
        let wait = self.pace.until(now, self.queue.len() + 1).unwrap_or(WAIT_GUESS);
        wait.clamp(WAIT_MIN, self.settings.queue_timeout.max(WAIT_MIN))
    }

    pub fn running(&self) -> usize {
        self.running
    }

    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Whether a source that holds this many slots may have another one, where so many sources run or wait.
    fn may_start(&self, held: usize, sources: usize) -> bool {
        let open_to_all = self.settings.runs_max - self.settings.reserved();
        if self.running < open_to_all {
            return true;
        }
        self.running < self.settings.runs_max
            && held < open_to_all
            && held.saturating_mul(sources) < self.settings.runs_max
    }

    fn oldest(&self) -> Option<Turn> {
        self.arrivals.first_key_value().map(|(arrival, round)| (*round, *arrival))
    }

    /// Which run leaves a full queue so that one of `source` may wait: only where that makes the shares
    /// more equal, so that no source puts out its own runs.
    fn gives_way_to(&self, source: FairShareKey) -> Option<Turn> {
        let mine = self.sources.get(&source).map_or(0, |holding| holding.rounds.len());
        let (size, largest) = self.by_size.last()?;
        let newest = self.sources.get(largest)?.rounds.last_key_value();
        newest.filter(|_| *size > mine + 1).map(|(round, arrival)| (*round, *arrival))
    }

    /// Changes what a source has, and its places in the orders with it.
    fn change(&mut self, source: FairShareKey, change: impl FnOnce(&mut Holding)) {
        let holding = self.sources.entry(source).or_default();
        if let Some(turn) = holding.first_turn() {
            self.by_size.remove(&(holding.rounds.len(), source));
            self.by_need.remove(&(holding.running, turn, source));
        }
        change(holding);
        match holding.first_turn() {
            Some(turn) => {
                self.by_size.insert((holding.rounds.len(), source));
                self.by_need.insert((holding.running, turn, source));
            }
            None if holding.running == 0 => {
                self.sources.remove(&source);
            }
            None => {}
        }
    }

    /// Puts a run behind all others of its source; its place.
    fn insert(&mut self, source: FairShareKey, waiting: Waiting<T>) -> u32 {
        let arrival = self.next_arrival;
        self.next_arrival += 1;
        let own = self.sources.get(&source).and_then(|holding| holding.rounds.last_key_value());
        let turn = (own.map_or(self.round, |(round, _)| self.round.max(*round)) + 1, arrival);
        self.change(source, |holding| {
            holding.rounds.insert(turn.0, arrival);
        });
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
        self.change(waiting.source, |holding| {
            holding.rounds.remove(&turn.0);
        });
        Some(waiting)
    }
}

#[cfg(test)]
mod tests;
