//! Decides which runs get a slot: a limit on concurrent runs, a bounded fair queue, and deadlines. Pure.
//!
//! Slots and queue positions are divided between clients, where everything with the same [`FairShareKey`] is one
//! client, so that no client can use up the capacity of all:
//!
//! - A client never holds more than seven eighths of the slots. The last eighth is open only to clients that hold
//!   less than their share: all slots divided by the number of clients with running or queued runs.
//! - A free slot goes to the waiting client that holds the fewest slots; clients with equally many take turns.
//! - When the queue is full, the client with the most entries loses one to a client with fewer.
//!
//! A session has one run at a time, so a session that floods the gateway occupies one slot or one queue position.
use crate::chat::{FairShareKey, SessionId};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

/// The retry time sent with a rejection before any slot has become free, so that the rate is unknown.
const WAIT_GUESS: Duration = Duration::from_secs(5);
/// Shortest retry time sent with a rejection; shorter estimates are raised to it.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// Largest queue position that is computed; runs further back are reported at the next one.
const PLACE_MAX: usize = 10_000;
/// One slot in this many is reserved for clients below their share, rounded up.
const RESERVE: usize = 8;

/// Bounds of the admission.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Runs that may stream at the same time.
    pub runs_max: usize,
    /// Runs that may wait for a slot; the next one is rejected, or takes the position of another client's run.
    pub queue_max: usize,
    /// How long a run may wait for a slot; then it is rejected.
    pub queue_timeout: Duration,
}

impl Settings {
    /// Slots that are reserved for clients below their share: an eighth, rounded up. Nothing is reserved of fewer
    /// than four slots, because a single reserved slot would be a third of them or more.
    fn reserved(&self) -> usize {
        if self.runs_max < 4 { 0 } else { self.runs_max.div_ceil(RESERVE) }
    }
}

/// The outcome of [`Admission::submit`].
#[derive(Debug, PartialEq)]
pub enum Admitted<T> {
    /// The run has a slot, which [`Admission::finish`] frees.
    Start(T),
    /// The run waits at position `place`, counted from 1. If the queue was full, `out` is the run that was removed
    /// for it: the newest one of the client with the most entries.
    Queued { place: u32, out: Option<T> },
    /// There is neither a slot nor a queue position for it.
    Rejected(T),
}

#[derive(Debug)]
pub struct Admission<T> {
    settings: Settings,
    running: usize,
    /// Waiting runs by turn: each client has at most one per round.
    queue: BTreeMap<Turn, Waiting<T>>,
    /// The round of each waiting run by its arrival. Arrival order is deadline order, since all have the same timeout.
    arrivals: BTreeMap<u64, u64>,
    turn_of: HashMap<SessionId, Turn>,
    /// The slots and queue entries of each client. A client without any is absent.
    clients: HashMap<FairShareKey, Holding>,
    /// Clients with queued runs, by the number of those.
    by_size: BTreeSet<(usize, FairShareKey)>,
    /// Clients with queued runs, in the order in which they get a slot: by slots held, then by first turn.
    by_need: BTreeSet<(usize, Turn, FairShareKey)>,
    /// The latest round from which a run was started.
    round: u64,
    next_arrival: u64,
    pace: Pace,
}

/// The position of a waiting run: its round, and within the round its arrival number.
type Turn = (u64, u64);

/// The slots and queue entries of one client.
#[derive(Debug, Default)]
struct Holding {
    /// Slots held.
    running: usize,
    /// Queued runs: arrival number by round.
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
    client: FairShareKey,
    deadline: Instant,
    item: T,
}

/// Measures how often a slot becomes free while all are taken.
#[derive(Debug, Default)]
struct Pace {
    last: Option<Instant>,
    /// Moving average of the time between two freed slots.
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

    /// Estimated time until `slots` slots have become free. If none has for longer than the average, that time is
    /// used instead.
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
            clients: HashMap::new(),
            by_size: BTreeSet::new(),
            by_need: BTreeSet::new(),
            round: 0,
            next_arrival: 0,
            pace: Pace::default(),
        }
    }

    /// Requests a slot for a run. A second run of a session that already waits is rejected.
    pub fn submit(&mut self, now: Instant, client: FairShareKey, session: SessionId, item: T) -> Admitted<T> {
        if self.turn_of.contains_key(&session) {
            return Admitted::Rejected(item);
        }
        let holding = self.clients.get(&client);
        let (running, is_new) = (holding.map_or(0, |holding| holding.running), holding.is_none());
        // No waiting run may start now, or it would have been started. So this run overtakes none.
        if self.may_start(running, self.clients.len() + usize::from(is_new)) {
            self.running += 1;
            self.change(client, |holding| holding.running += 1);
            return Admitted::Start(item);
        }
        let mut out = None;
        if self.queue.len() >= self.settings.queue_max {
            let Some(turn) = self.run_to_displace_for(client) else { return Admitted::Rejected(item) };
            out = self.take(turn).map(|waiting| waiting.item);
        }
        let place = self
            .insert(client, Waiting { session, client, deadline: now + self.settings.queue_timeout, item });
        Admitted::Queued { place, out }
    }

    /// Frees the slot of a run of `client`. [`Admission::start_next`] returns the run that gets it.
    pub fn finish(&mut self, now: Instant, client: FairShareKey) {
        self.pace.finished(now, self.running >= self.settings.runs_max || !self.queue.is_empty());
        self.running = self.running.saturating_sub(1);
        self.change(client, |holding| holding.running = holding.running.saturating_sub(1));
    }

    /// Gives a slot to the next waiting run that may have one. To be called until it returns `None`, whenever a slot
    /// became free or a run left the queue.
    pub fn start_next(&mut self) -> Option<T> {
        // If the first client may not start a run, none may: all others hold at least as many slots.
        let (running, turn, client) = *self.by_need.first()?;
        if !self.may_start(running, self.clients.len()) {
            return None;
        }
        self.running += 1;
        self.round = self.round.max(turn.0);
        // Before the run leaves the queue, so that the entry of its client is not removed and made again.
        self.change(client, |holding| holding.running += 1);
        self.take(turn).map(|next| next.item)
    }

    /// Removes the waiting run of a session from the queue.
    pub fn withdraw(&mut self, session: SessionId) -> Option<T> {
        let turn = *self.turn_of.get(&session)?;
        self.take(turn).map(|waiting| waiting.item)
    }

    /// Removes one run whose deadline has passed.
    pub fn expire(&mut self, now: Instant) -> Option<T> {
        let turn = self.oldest()?;
        if self.queue.get(&turn)?.deadline > now {
            return None;
        }
        self.take(turn).map(|waiting| waiting.item)
    }

    /// When [`Admission::expire`] must be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        Some(self.queue.get(&self.oldest()?)?.deadline)
    }

    /// When a rejected client should try again: the estimated time until all runs that wait now have started.
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

    /// Whether a client that holds `held` slots may take another one, if `clients` clients run or wait.
    fn may_start(&self, held: usize, clients: usize) -> bool {
        let open_to_all = self.settings.runs_max - self.settings.reserved();
        if self.running < open_to_all {
            return true;
        }
        self.running < self.settings.runs_max
            && held < open_to_all
            && held.saturating_mul(clients) < self.settings.runs_max
    }

    fn oldest(&self) -> Option<Turn> {
        self.arrivals.first_key_value().map(|(arrival, round)| (*round, *arrival))
    }

    /// When the queue is full: the run to remove so that one of `client` can wait, the newest of the client with the
    /// most entries. `None` unless that client has at least two more entries than `client`.
    fn run_to_displace_for(&self, client: FairShareKey) -> Option<Turn> {
        let mine = self.clients.get(&client).map_or(0, |holding| holding.rounds.len());
        let (size, largest) = self.by_size.last()?;
        let newest = self.clients.get(largest)?.rounds.last_key_value();
        newest.filter(|_| *size > mine + 1).map(|(round, arrival)| (*round, *arrival))
    }

    /// Changes the holding of a client and updates the indexes `by_size` and `by_need`.
    fn change(&mut self, client: FairShareKey, change: impl FnOnce(&mut Holding)) {
        let holding = self.clients.entry(client).or_default();
        if let Some(turn) = holding.first_turn() {
            self.by_size.remove(&(holding.rounds.len(), client));
            self.by_need.remove(&(holding.running, turn, client));
        }
        change(holding);
        match holding.first_turn() {
            Some(turn) => {
                self.by_size.insert((holding.rounds.len(), client));
                self.by_need.insert((holding.running, turn, client));
            }
            None if holding.running == 0 => {
                self.clients.remove(&client);
            }
            None => {}
        }
    }

    /// Queues a run behind all others of its client and returns its position.
    fn insert(&mut self, client: FairShareKey, waiting: Waiting<T>) -> u32 {
        let arrival = self.next_arrival;
        self.next_arrival += 1;
        let own = self.clients.get(&client).and_then(|holding| holding.rounds.last_key_value());
        let turn = (own.map_or(self.round, |(round, _)| self.round.max(*round)) + 1, arrival);
        self.change(client, |holding| {
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
        self.change(waiting.client, |holding| {
            holding.rounds.remove(&turn.0);
        });
        Some(waiting)
    }
}

#[cfg(test)]
mod tests;
