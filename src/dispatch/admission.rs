//! Decides which runs get a slot: a limit on concurrent runs, a bounded fair queue for each model, and deadlines. Pure.
//!
//! Slots and queue positions are divided between clients, where everything with the same [`FairShareKey`] is one
//! client, so that no client can use up the capacity of all:
//!
//! - A client never holds more than seven eighths of the slots. The last eighth is open only to clients that hold
//!   less than their share: all slots divided by the number of clients with running or queued runs.
//! - A free slot goes to the waiting client that holds the fewest slots. Among equals the queues of models take turns, and
//!   within a queue the clients.
//! - When the queues are full, the client with the most entries loses one to a client with fewer.
//!
//! A model whose upstreams have no room for another run holds its queue: its runs wait without a slot, and those of other
//! models pass by.
//!
//! A session has one run at a time, so a session that floods the gateway occupies one slot or one queue position.
use crate::chat::{FairShareKey, SessionId};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
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
    /// Runs that may wait, for a slot or for room at an upstream, in all queues together; the next one is rejected, or takes
    /// the position of another client's run.
    pub queue_max: usize,
    /// How long a run may wait; then it is rejected.
    pub queue_timeout: Duration,
}

impl Settings {
    /// Slots that are reserved for clients below their share: an eighth, rounded up. Nothing is reserved of fewer
    /// than four slots, because a single reserved slot would be a third of them or more.
    fn reserved(&self) -> usize {
        if self.runs_max < 4 { 0 } else { self.runs_max.div_ceil(RESERVE) }
    }
}

/// Whose run asks for a slot.
#[derive(Clone, Debug)]
pub struct Ask {
    pub client: FairShareKey,
    pub session: SessionId,
    /// The model, in whose queue it waits.
    pub model: Arc<str>,
}

/// The outcome of [`Admission::submit`].
#[derive(Debug, PartialEq)]
pub enum Admitted<T> {
    /// The run has a slot, which [`Admission::finish`] frees.
    Start(T),
    /// The run waits at position `place` of its model's queue, counted from 1. If the queues were full, `out` is the run
    /// that was removed for it: the newest one of the client with the most entries.
    Queued { place: u32, out: Option<T> },
    /// There is neither a slot nor a queue position for it.
    Rejected(T),
}

#[derive(Debug)]
pub struct Admission<T> {
    settings: Settings,
    running: usize,
    /// By model. One without waiting runs is absent.
    queues: BTreeMap<Arc<str>, Queue<T>>,
    /// Where each waiting run is, by its arrival. Arrival order is deadline order, since all have the same timeout.
    arrivals: BTreeMap<u64, Position>,
    position_of: HashMap<SessionId, Position>,
    /// The slots and queue entries of each client. A client without any is absent.
    clients: HashMap<FairShareKey, Holding>,
    /// Clients with queued runs, by the number of those.
    by_size: BTreeSet<(usize, FairShareKey)>,
    /// Runs that were started from a queue so far.
    starts: u64,
    next_arrival: u64,
    pace: Pace,
}

/// The waiting runs of one model.
#[derive(Debug)]
struct Queue<T> {
    /// By turn: each client has at most one per round.
    runs: BTreeMap<Turn, Waiting<T>>,
    /// Its clients, in the order in which they get a slot: by slots held, then by first turn.
    by_need: BTreeSet<(usize, Turn, FairShareKey)>,
    /// The latest round from which a run was started.
    round: u64,
    /// [`Admission::starts`] when a run of this queue was last started.
    served: u64,
    /// When a run of it was to be started last, no upstream had room.
    is_held: bool,
}

/// Where a run waits in the queue of its model: its round, and within the round its arrival number.
type Turn = (u64, u64);

/// Where a run waits.
#[derive(Clone, Debug)]
struct Position {
    model: Arc<str>,
    turn: Turn,
}

/// The slots and queue entries of one client.
#[derive(Debug, Default)]
struct Holding {
    /// Slots held.
    running: usize,
    /// Queued runs.
    queued: usize,
    /// Queued runs by model: arrival number by round.
    rounds: BTreeMap<Arc<str>, BTreeMap<u64, u64>>,
}

/// The first of these entries of a client in one queue.
fn first_turn(rounds: &BTreeMap<u64, u64>) -> Option<Turn> {
    rounds.first_key_value().map(|(round, arrival)| (*round, *arrival))
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
            queues: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            position_of: HashMap::new(),
            clients: HashMap::new(),
            by_size: BTreeSet::new(),
            starts: 0,
            next_arrival: 0,
            pace: Pace::default(),
        }
    }

    /// Requests a slot for a run. `has_room`: an upstream of its model has room for it. A second run of a session that
    /// already waits is rejected.
    pub fn submit(&mut self, now: Instant, ask: Ask, has_room: bool, item: T) -> Admitted<T> {
        let Ask { client, session, model } = ask;
        if self.position_of.contains_key(&session) {
            return Admitted::Rejected(item);
        }
        let holding = self.clients.get(&client);
        let (running, is_new) = (holding.map_or(0, |holding| holding.running), holding.is_none());
        let is_held = self.queues.get(&model).is_some_and(|queue| queue.is_held);
        // No waiting run may start now, or it would have been started. So this run overtakes none.
        if has_room && !is_held && self.may_start(running, self.clients.len() + usize::from(is_new)) {
            self.running += 1;
            self.change(client, |holding| holding.running += 1);
            return Admitted::Start(item);
        }
        let mut out = None;
        if self.queued() >= self.settings.queue_max {
            let Some(position) = self.run_to_displace_for(client) else { return Admitted::Rejected(item) };
            out = self.take(&position).map(|waiting| waiting.item);
        }
        let deadline = now + self.settings.queue_timeout;
        let place = self.insert(&model, Waiting { session, client, deadline, item });
        Admitted::Queued { place, out }
    }

    /// Frees the slot of a run of `client`. [`Admission::start_next`] returns the run that gets it.
    pub fn finish(&mut self, now: Instant, client: FairShareKey) {
        self.pace.finished(now, self.running >= self.settings.runs_max || self.queued() > 0);
        self.running = self.running.saturating_sub(1);
        self.change(client, |holding| holding.running = holding.running.saturating_sub(1));
    }

    /// Gives a slot to the next waiting run that may have one, and returns it with what `room` returned for it: `None` if no
    /// upstream of its model has room, which holds its queue. To be called until it returns `None`, whenever a slot or a place
    /// at an upstream became free or a run left a queue.
    pub fn start_next<R>(&mut self, mut room: impl FnMut(&T) -> Option<R>) -> Option<(T, R)> {
        let mut without_room = BTreeSet::new();
        loop {
            let first = |(model, queue): (&Arc<str>, &Queue<T>)| {
                let (running, turn, client) = *queue.by_need.first()?;
                Some((running, queue.served, turn.1, Arc::clone(model), turn, client))
            };
            let others = self.queues.iter().filter(|(model, _)| !without_room.contains(*model));
            let (running, _, _, model, turn, client) = others.filter_map(first).min()?;
            // If the first client may not start a run, none may: all others hold at least as many slots.
            if !self.may_start(running, self.clients.len()) {
                return None;
            }
            let queue = self.queues.get_mut(&model)?;
            let found = room(&queue.runs.get(&turn)?.item);
            queue.is_held = found.is_none();
            let Some(found) = found else {
                without_room.insert(model);
                continue;
            };
            self.starts += 1;
            self.running += 1;
            (queue.round, queue.served) = (queue.round.max(turn.0), self.starts);
            // Before the run leaves the queue, so that the entry of its client is not removed and made again.
            self.change(client, |holding| holding.running += 1);
            return self.take(&Position { model, turn }).map(|next| (next.item, found));
        }
    }

    /// Removes the waiting run of a session from its queue.
    pub fn withdraw(&mut self, session: SessionId) -> Option<T> {
        let position = self.position_of.get(&session)?.clone();
        self.take(&position).map(|waiting| waiting.item)
    }

    /// Removes one run whose deadline has passed.
    pub fn expire(&mut self, now: Instant) -> Option<T> {
        if self.next_deadline()? > now {
            return None;
        }
        let position = self.arrivals.first_key_value()?.1.clone();
        self.take(&position).map(|waiting| waiting.item)
    }

    /// When [`Admission::expire`] must be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let Position { model, turn } = self.arrivals.first_key_value()?.1;
        Some(self.queues.get(model)?.runs.get(turn)?.deadline)
    }

    /// When a rejected client should try again: the estimated time until all runs that wait now have started.
    pub fn busy_for(&self, now: Instant) -> Duration {
        let wait = self.pace.until(now, self.queued() + 1).unwrap_or(WAIT_GUESS);
        wait.clamp(WAIT_MIN, self.settings.queue_timeout.max(WAIT_MIN))
    }

    pub fn running(&self) -> usize {
        self.running
    }

    pub fn queued(&self) -> usize {
        self.arrivals.len()
    }

    /// Whether runs wait for room at an upstream.
    pub fn is_held(&self) -> bool {
        self.queues.values().any(|queue| queue.is_held)
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

    /// When the queues are full: the run to remove so that one of `client` can wait, the newest of the client with the
    /// most entries. `None` unless that client has at least two more entries than `client`.
    fn run_to_displace_for(&self, client: FairShareKey) -> Option<Position> {
        let mine = self.clients.get(&client).map_or(0, |holding| holding.queued);
        let (_, largest) = self.by_size.last().filter(|(size, _)| *size > mine + 1)?;
        let rounds = self.clients.get(largest)?.rounds.iter();
        let newest = rounds.filter_map(|(model, rounds)| {
            let (round, arrival) = rounds.last_key_value()?;
            Some((*arrival, *round, model))
        });
        let (arrival, round, model) = newest.max()?;
        Some(Position { model: Arc::clone(model), turn: (round, arrival) })
    }

    /// Changes the holding of a client and updates the indexes `by_size` and `by_need`.
    fn change(&mut self, client: FairShareKey, change: impl FnOnce(&mut Holding)) {
        let holding = self.clients.entry(client).or_default();
        if holding.queued > 0 {
            self.by_size.remove(&(holding.queued, client));
        }
        for (model, rounds) in &holding.rounds {
            if let (Some(queue), Some(turn)) = (self.queues.get_mut(model), first_turn(rounds)) {
                queue.by_need.remove(&(holding.running, turn, client));
            }
        }
        change(holding);
        for (model, rounds) in &holding.rounds {
            if let (Some(queue), Some(turn)) = (self.queues.get_mut(model), first_turn(rounds)) {
                queue.by_need.insert((holding.running, turn, client));
            }
        }
        if holding.queued > 0 {
            self.by_size.insert((holding.queued, client));
        } else if holding.running == 0 {
            self.clients.remove(&client);
        }
    }

    /// Queues a run behind all others of its client and returns its position.
    fn insert(&mut self, model: &Arc<str>, waiting: Waiting<T>) -> u32 {
        let (arrival, client) = (self.next_arrival, waiting.client);
        self.next_arrival += 1;
        let served = self.starts;
        let queue = self.queues.entry(Arc::clone(model)).or_insert_with(|| Queue {
            runs: BTreeMap::new(),
            by_need: BTreeSet::new(),
            round: 0,
            served,
            is_held: false,
        });
        let own = self.clients.get(&client).and_then(|holding| holding.rounds.get(model)?.last_key_value());
        let turn = (own.map_or(queue.round, |(round, _)| queue.round.max(*round)) + 1, arrival);
        let position = Position { model: Arc::clone(model), turn };
        self.arrivals.insert(arrival, position.clone());
        self.position_of.insert(waiting.session, position);
        let before = queue.runs.range(..turn).take(PLACE_MAX).count();
        queue.runs.insert(turn, waiting);
        self.change(client, |holding| {
            holding.queued += 1;
            holding.rounds.entry(Arc::clone(model)).or_default().insert(turn.0, arrival);
        });
        u32::try_from(before + 1).unwrap_or(u32::MAX)
    }

    fn take(&mut self, Position { model, turn }: &Position) -> Option<Waiting<T>> {
        let waiting = self.queues.get_mut(model)?.runs.remove(turn)?;
        self.arrivals.remove(&turn.1);
        self.position_of.remove(&waiting.session);
        self.change(waiting.client, |holding| {
            holding.queued = holding.queued.saturating_sub(1);
            if let Some(rounds) = holding.rounds.get_mut(model) {
                rounds.remove(&turn.0);
                if rounds.is_empty() {
                    holding.rounds.remove(model);
                }
            }
        });
        if self.queues.get(model).is_some_and(|queue| queue.runs.is_empty()) {
            self.queues.remove(model);
        }
        Some(waiting)
    }
}

#[cfg(test)]
mod tests;
