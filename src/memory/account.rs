//! Who holds what. The sums are shared by all threads; each holder keeps its own [`Account`].
use super::{Level, Limit, Plan, plan::Bounds};
use crate::chat::Source;
use dashmap::{DashMap, Entry};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU8, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::{Duration, Instant},
};

/// What holders hold is written down in steps of this many bytes, rounded up.
const STEP: usize = 1024;

/// A source with more than this part of the bound is large in any case.
const LARGE: usize = 8;

/// A source that is refused a question may try again after this time.
const REFUSED: Duration = Duration::from_secs(5);

/// What memory is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Sockets with their tasks, at a fixed price, and plain HTTP connections.
    Connections,
    /// Messages that have begun to arrive.
    Inbound,
    /// Messages that wait for a running answer.
    Queued,
    /// Conversations: texts and names, and the session at a fixed price.
    History,
    /// Answers that are written, read, or kept for a reader.
    Replay,
    /// Requests to the model service, with their connections at a fixed price.
    Requests,
    /// What sockets have not sent yet.
    Output,
}

impl Kind {
    pub const ALL: [Kind; 7] = [
        Kind::Connections,
        Kind::Inbound,
        Kind::Queued,
        Kind::History,
        Kind::Replay,
        Kind::Requests,
        Kind::Output,
    ];

    /// The label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Connections => "connections",
            Kind::Inbound => "inbound",
            Kind::Queued => "queued",
            Kind::History => "history",
            Kind::Replay => "replay",
            Kind::Requests => "requests",
            Kind::Output => "output",
        }
    }
}

/// The budget of the process.
#[derive(Debug)]
pub struct Memory {
    limit: Limit,
    kinds: [AtomicUsize; Kind::ALL.len()],
    total: AtomicUsize,
    sources: DashMap<Source, usize>,
    level: AtomicU8,
    began: Instant,
    /// The second in which the process was last looked at.
    looked: AtomicU64,
    /// What [`Plan`] says of itself, for those who only look.
    allowance: AtomicUsize,
    large: AtomicUsize,
    plan: Mutex<State>,
}

#[derive(Debug)]
struct State {
    plan: Plan,
    demands: HashMap<Source, usize>,
    /// When the log was last told.
    told: Option<Duration>,
}

/// What a round did, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    pub held: usize,
    pub wanted: usize,
    pub sources: usize,
    pub level: Level,
}

impl Memory {
    /// `began` is where its time begins.
    pub fn new(limit: Limit, began: Instant) -> Self {
        let plan = Plan::new(limit.bytes);
        Memory {
            limit,
            kinds: Default::default(),
            total: AtomicUsize::new(0),
            sources: DashMap::new(),
            level: AtomicU8::new(0),
            began,
            looked: AtomicU64::new(0),
            allowance: AtomicUsize::new(plan.allowance()),
            large: AtomicUsize::new(usize::MAX),
            plan: Mutex::new(State { plan, demands: HashMap::new(), told: None }),
        }
    }

    pub fn limit(&self) -> &Limit {
        &self.limit
    }

    pub fn held(&self, kind: Kind) -> usize {
        self.kinds[kind as usize].load(Relaxed)
    }

    pub fn total(&self) -> usize {
        self.total.load(Relaxed)
    }

    /// What a source holds.
    pub fn held_by(&self, source: Source) -> usize {
        self.sources.get(&source).map_or(0, |held| *held)
    }

    pub fn level(&self) -> Level {
        self.level.load(Relaxed).into()
    }

    fn bounds(&self) -> Bounds {
        Bounds::of(self.allowance.load(Relaxed))
    }

    /// Holds more than its share while memory is short. Before a round has said what that is, an eighth is.
    fn is_large(&self, source: Source) -> bool {
        let bound = self.bounds().full();
        self.held_by(source) > self.large.load(Relaxed).min(bound / LARGE)
    }

    /// Whether a message of this source that has begun to arrive is not to be read on for now.
    pub fn pauses(&self, source: Source) -> bool {
        match self.level() {
            Level::Calm => false,
            Level::Tight => self.is_large(source),
            // What is left then is for questions and running answers.
            Level::Full | Level::Over => true,
        }
    }

    /// Whether this source may not ask a question now, and when it may try again.
    pub fn refuses(&self, source: Source) -> Option<Duration> {
        let refuses = match self.level() {
            Level::Calm => false,
            // It holds running answers alone.
            Level::Tight => self.is_large(source) && self.state().plan.has_spent(source),
            Level::Full => self.is_large(source),
            Level::Over => {
                // By what is configured: what an allocator has not given back yet is no reason to refuse them.
                let reserve = Bounds::of(self.limit.bytes);
                self.total() > reserve.beyond() || self.held_by(source) > reserve.small()
            }
        };
        refuses.then_some(REFUSED)
    }

    fn move_held(&self, source: Source, kind: Kind, from: u32, to: u32) {
        let (from, to) = (from as usize, to as usize);
        if to > from {
            let more = to - from;
            self.kinds[kind as usize].fetch_add(more, Relaxed);
            *self.sources.entry(source).or_default() += more;
            let total = self.total.fetch_add(more, Relaxed) + more;
            let level = self.bounds().level(total);
            if level > Level::Calm {
                self.level.fetch_max(level as u8, Relaxed);
            }
        } else if from > to {
            let less = from - to;
            self.kinds[kind as usize].fetch_sub(less, Relaxed);
            self.total.fetch_sub(less, Relaxed);
            if let Entry::Occupied(mut held) = self.sources.entry(source) {
                *held.get_mut() = held.get().saturating_sub(less);
                if *held.get() == 0 {
                    held.remove();
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn since_begin(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// Whether something may be logged now that is logged once in `quiet` at most.
    pub fn may_tell(&self, now: Duration, quiet: Duration) -> bool {
        let mut state = self.state();
        let may = state.told.is_none_or(|told| now >= told + quiet);
        if may {
            state.told = Some(now);
        }
        may
    }

    /// True once a second, for one of those who ask.
    pub fn may_look(&self, now: Duration) -> bool {
        let (before, now) = (self.looked.load(Relaxed), now.as_secs());
        before < now && self.looked.compare_exchange(before, now, Relaxed, Relaxed).is_ok()
    }

    /// Compares with what the process really uses, once a second.
    pub fn observe(&self, now: Duration, used: usize) {
        let mut state = self.state();
        state.plan.observe(now, self.total(), used);
        self.publish(&mut state);
    }

    fn publish(&self, State { plan, demands, .. }: &mut State) {
        let level = plan.level(self.level(), self.total());
        if level == Level::Calm {
            plan.rest();
            *demands = HashMap::new();
        }
        self.allowance.store(plan.allowance(), Relaxed);
        self.large.store(plan.large(), Relaxed);
        self.level.store(level as u8, SeqCst);
    }

    /// Where memory is short and another round is due: plans it. `evict` evicts one idle chat of a source
    /// that holds so much, and estimates what that gives back; `None` where there is no such chat. At most
    /// `most` are evicted.
    pub fn plan(
        &self,
        now: Duration,
        most: usize,
        mut evict: impl FnMut(Source, usize) -> Option<usize>,
    ) -> Option<Pressure> {
        if self.level() == Level::Calm {
            return None;
        }
        let mut state = self.state();
        self.publish(&mut state);
        if self.level() == Level::Calm || !state.plan.is_due(now) {
            return None;
        }
        let sources: Vec<_> = self.sources.iter().map(|entry| (*entry.key(), *entry.value())).collect();
        let unpaid = std::mem::take(&mut state.demands);
        let round = state.plan.round(now, self.total(), &sources, &unpaid);
        let pressure = Pressure {
            held: self.total(),
            wanted: round.demands.values().sum(),
            sources: round.demands.len(),
            level: self.level(),
        };
        let mut left = most;
        for (source, bytes) in round.chats {
            let (mut paid, held) = (0, self.held_by(source));
            while paid < bytes && left > 0 {
                let Some(estimate) = evict(source, held) else {
                    state.plan.note_spent(now, source);
                    break;
                };
                left -= 1;
                paid += estimate.max(STEP);
            }
        }
        state.demands = round.demands;
        self.publish(&mut state);
        Some(pressure)
    }

    /// Lets a worker pay what is demanded: `pay` gets what is wanted and returns what it gives back.
    pub fn pay(&self, pay: impl FnOnce(&HashMap<Source, usize>) -> HashMap<Source, usize>) {
        if self.level() == Level::Calm {
            return;
        }
        let demands = self.state().demands.clone();
        if demands.values().all(|bytes| *bytes == 0) {
            return;
        }
        let paid = pay(&demands);
        let mut state = self.state();
        for (source, bytes) in paid {
            if let Some(left) = state.demands.get_mut(&source) {
                *left = left.saturating_sub(bytes);
            }
        }
    }
}

/// What one holder holds, of `N` kinds. Dropped, it is given back.
#[derive(Debug)]
pub struct Account<const N: usize> {
    memory: Arc<Memory>,
    source: Source,
    held: [u32; N],
    kinds: [Kind; N],
}

impl<const N: usize> Account<N> {
    pub fn new(memory: &Arc<Memory>, source: Source, kinds: [Kind; N]) -> Self {
        Account { memory: Arc::clone(memory), source, held: [0; N], kinds }
    }

    /// Writes down that `bytes` are held of the kind at place `at`.
    pub fn set(&mut self, at: usize, bytes: usize) {
        let rounded = u32::try_from(bytes.next_multiple_of(STEP)).unwrap_or(u32::MAX);
        if rounded != self.held[at] {
            let before = std::mem::replace(&mut self.held[at], rounded);
            self.memory.move_held(self.source, self.kinds[at], before, rounded);
        }
    }

    /// From now on another source holds it.
    pub fn give_to(&mut self, source: Source) {
        if source != self.source {
            for (kind, held) in self.kinds.into_iter().zip(self.held) {
                self.memory.move_held(self.source, kind, held, 0);
                self.memory.move_held(source, kind, 0, held);
            }
            self.source = source;
        }
    }

    pub fn source(&self) -> Source {
        self.source
    }

    /// All that is written down.
    pub fn held(&self) -> usize {
        self.held.iter().map(|held| *held as usize).sum()
    }

    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }
}

impl<const N: usize> Drop for Account<N> {
    fn drop(&mut self) {
        for (kind, held) in self.kinds.into_iter().zip(self.held) {
            self.memory.move_held(self.source, kind, held, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn memory() -> Arc<Memory> {
        #[expect(clippy::disallowed_methods, reason = "any moment will do")]
        let began = Instant::now();
        Arc::new(Memory::new(Limit::new(160 * MIB, |_| None), began))
    }

    fn source(number: u64) -> Source {
        Source::numbered(number)
    }

    #[test]
    fn what_is_held_is_counted_by_kind_and_by_source_and_given_back() {
        let memory = memory();
        let mut one = Account::new(&memory, source(1), [Kind::History, Kind::Replay]);
        let mut two = Account::new(&memory, source(2), [Kind::History]);
        one.set(0, 5000);
        one.set(1, 1);
        two.set(0, 1024);
        assert_eq!((memory.held(Kind::History), memory.held(Kind::Replay)), (6144, 1024));
        assert_eq!((memory.held_by(source(1)), memory.held_by(source(2))), (6144, 1024));
        one.set(0, 4097);
        assert_eq!(one.held(), 6144, "small steps are not written down");
        one.give_to(source(2));
        assert_eq!((memory.held_by(source(1)), memory.held_by(source(2))), (0, 7168));
        one.set(0, 0);
        assert_eq!(memory.total(), 2048);
        drop((one, two));
        assert_eq!((memory.total(), memory.sources.len()), (0, 0));
    }

    // faults: K144
    #[test]
    fn above_the_bound_the_largest_pays_waits_and_is_refused() {
        let memory = memory();
        let (large, small) = (source(1), source(2));
        let mut attacker = Account::new(&memory, large, [Kind::Inbound]);
        let mut user = Account::new(&memory, small, [Kind::History]);
        user.set(0, MIB);
        attacker.set(0, 139 * MIB);
        assert_eq!((memory.level(), memory.plan(Duration::ZERO, 9, |_, _| None)), (Level::Calm, None));
        attacker.set(0, 140 * MIB);
        assert_eq!(memory.level(), Level::Tight, "at once");
        let pressure = memory.plan(Duration::from_secs(1), 9, |_, _| unreachable!()).expect("a round");
        assert_eq!((pressure.wanted, pressure.sources), (11 * MIB, 1));
        assert_eq!((memory.pauses(large), memory.pauses(small)), (true, false));
        assert_eq!((memory.refuses(large), memory.refuses(small)), (None, None));
        // A worker has a part of it.
        memory.pay(|demands| HashMap::from([(large, demands[&large] - MIB)]));
        memory.pay(|demands| {
            assert_eq!(demands[&large], MIB);
            HashMap::new()
        });
        // The rest comes out of chats, and there is none.
        let mut asked = Vec::new();
        let evict = |source, held| {
            asked.push((source, held));
            None
        };
        memory.plan(Duration::from_secs(2), 9, evict).expect("another round");
        assert_eq!(asked, [(large, 140 * MIB)]);
        assert!(memory.refuses(large).is_some(), "it can give nothing back, so it gets no more");
        attacker.set(0, 150 * MIB);
        memory.plan(Duration::from_secs(3), 9, |_, _| None);
        assert_eq!(memory.level(), Level::Full);
        assert!(memory.refuses(large).is_some() && memory.refuses(small).is_none());
        attacker.set(0, 170 * MIB);
        assert_eq!(memory.level(), Level::Over);
        assert!(memory.refuses(small).is_some() && memory.pauses(small));
        assert_eq!(memory.refuses(source(3)), None, "a reserve for those who hold next to nothing");
        attacker.set(0, 175 * MIB);
        assert!(memory.refuses(source(3)).is_some(), "which has an end");
        // Back below, by a round, with hysteresis.
        attacker.set(0, 100 * MIB);
        memory.plan(Duration::from_secs(4), 9, |_, _| None);
        assert_eq!((memory.level(), memory.refuses(large)), (Level::Calm, None));
    }

    // faults: K144
    #[test]
    fn no_more_chats_are_evicted_in_a_round_than_may_be() {
        let memory = memory();
        let mut account = Account::new(&memory, source(1), [Kind::History]);
        account.set(0, 145 * MIB);
        memory.plan(Duration::from_secs(1), 9, |_, _| None);
        let mut evicted = 0;
        let evict = |_, _| {
            evicted += 1;
            Some(2)
        };
        memory.plan(Duration::from_secs(2), 9, evict);
        assert_eq!(evicted, 9);
    }
}
