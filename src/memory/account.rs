//! Accounting of memory. The sums are shared by all threads; each holder keeps its own [`Account`].
use super::{Level, Limit, ReclaimPlan, plan::Bounds};
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

/// Granularity of accounts, in bytes; holdings are rounded up to it.
const STEP: usize = 1024;

/// A source that holds more than 1/`LARGE` of the bound always counts as large.
const LARGE: usize = 8;

/// Retry-after of a rejected question.
const REFUSED: Duration = Duration::from_secs(5);

/// What memory is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Sockets with their tasks, at a fixed cost, and plain HTTP connections.
    Connections,
    /// Partially received messages.
    Inbound,
    /// Messages queued behind a running answer.
    Queued,
    /// Conversations: texts and ids, and the session at a fixed cost.
    History,
    /// Answers that are being generated, read, or retained for a subscriber.
    Replay,
    /// Requests to the model service, with their connections at a fixed cost.
    Requests,
    /// Output not yet sent by sockets.
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

/// The memory budget of the process.
#[derive(Debug)]
pub struct Memory {
    limit: Limit,
    kinds: [AtomicUsize; Kind::ALL.len()],
    total: AtomicUsize,
    sources: DashMap<Source, usize>,
    level: AtomicU8,
    began: Instant,
    /// Second in which resident memory was last sampled.
    sampled: AtomicU64,
    /// Copies of [`ReclaimPlan`]'s values, for lock-free readers.
    allowance: AtomicUsize,
    large: AtomicUsize,
    plan: Mutex<State>,
}

#[derive(Debug)]
struct State {
    plan: ReclaimPlan,
    demands: HashMap<Source, usize>,
}

/// Result of a round, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    pub held: usize,
    pub wanted: usize,
    pub sources: usize,
    pub level: Level,
}

impl Memory {
    /// `began` is the origin of its time.
    pub fn new(limit: Limit, began: Instant) -> Self {
        let plan = ReclaimPlan::new(limit.bytes);
        Memory {
            limit,
            kinds: Default::default(),
            total: AtomicUsize::new(0),
            sources: DashMap::new(),
            level: AtomicU8::new(0),
            began,
            sampled: AtomicU64::new(0),
            allowance: AtomicUsize::new(plan.allowance()),
            large: AtomicUsize::new(usize::MAX),
            plan: Mutex::new(State { plan, demands: HashMap::new() }),
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

    /// Bytes held by a source.
    pub fn held_by(&self, source: Source) -> usize {
        self.sources.get(&source).map_or(0, |held| *held)
    }

    pub fn level(&self) -> Level {
        self.level.load(Relaxed).into()
    }

    fn bounds(&self) -> Bounds {
        Bounds::of(self.allowance.load(Relaxed))
    }

    /// Whether a source holds more than its share under pressure. Before the first round, the share is an
    /// eighth of the bound.
    fn is_large(&self, source: Source) -> bool {
        let bound = self.bounds().full();
        self.held_by(source) > self.large.load(Relaxed).min(bound / LARGE)
    }

    /// Whether reading of this source's partially received messages is paused.
    pub fn pauses(&self, source: Source) -> bool {
        match self.level() {
            Level::Calm => false,
            Level::Tight => self.is_large(source),
            // The remaining memory is reserved for questions and running answers.
            Level::Full | Level::Over => true,
        }
    }

    /// Whether a question of this source is rejected now; returns the retry-after time.
    pub fn refuses(&self, source: Source) -> Option<Duration> {
        let refuses = match self.level() {
            Level::Calm => false,
            // It holds nothing but running answers.
            Level::Tight => self.is_large(source) && self.state().plan.is_exhausted(source),
            Level::Full => self.is_large(source),
            Level::Over => {
                // By the configured bound: memory that the allocator has not returned yet is no reason to
                // reject.
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

    /// True for one caller per second.
    pub fn is_sample_due(&self, now: Duration) -> bool {
        let (before, now) = (self.sampled.load(Relaxed), now.as_secs());
        before < now && self.sampled.compare_exchange(before, now, Relaxed, Relaxed).is_ok()
    }

    /// Compares the accounts with the process's resident memory, once a second.
    pub fn observe(&self, now: Duration, used: usize) {
        let mut state = self.state();
        state.plan.observe(now, self.total(), used);
        self.publish(&mut state);
    }

    fn publish(&self, State { plan, demands, .. }: &mut State) {
        let level = plan.level(self.level(), self.total());
        if level == Level::Calm {
            plan.reset();
            *demands = HashMap::new();
        }
        self.allowance.store(plan.allowance(), Relaxed);
        self.large.store(plan.large(), Relaxed);
        self.level.store(level as u8, SeqCst);
    }

    /// Plans another round if memory is short and one is due. `evict` evicts one idle chat of a source that
    /// holds the given bytes and returns an estimate of the bytes released, or `None` if there is no such
    /// chat. At most `most` chats are evicted.
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
        let outstanding = std::mem::take(&mut state.demands);
        let round = state.plan.round(now, self.total(), &sources, &outstanding);
        let pressure = Pressure {
            held: self.total(),
            wanted: round.demands.values().sum(),
            sources: round.demands.len(),
            level: self.level(),
        };
        let mut left = most;
        for (source, bytes) in round.chats {
            let (mut reclaimed, held) = (0, self.held_by(source));
            while reclaimed < bytes && left > 0 {
                let Some(estimate) = evict(source, held) else {
                    state.plan.note_exhausted(now, source);
                    break;
                };
                left -= 1;
                reclaimed += estimate.max(STEP);
            }
        }
        state.demands = round.demands;
        self.publish(&mut state);
        Some(pressure)
    }

    /// Lets a worker reclaim the demanded bytes: `reclaim` gets the demands and returns the bytes released by
    /// source.
    pub fn reclaim(&self, reclaim: impl FnOnce(&HashMap<Source, usize>) -> HashMap<Source, usize>) {
        if self.level() == Level::Calm {
            return;
        }
        let demands = self.state().demands.clone();
        if demands.values().all(|bytes| *bytes == 0) {
            return;
        }
        let reclaimed = reclaim(&demands);
        let mut state = self.state();
        for (source, bytes) in reclaimed {
            if let Some(left) = state.demands.get_mut(&source) {
                *left = left.saturating_sub(bytes);
            }
        }
    }
}

/// Memory held by one holder, of `N` kinds. Released on drop.
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

    /// Sets the bytes held of the kind at index `at`.
    pub fn set(&mut self, at: usize, bytes: usize) {
        let rounded = u32::try_from(bytes.next_multiple_of(STEP)).unwrap_or(u32::MAX);
        if rounded != self.held[at] {
            let before = std::mem::replace(&mut self.held[at], rounded);
            self.memory.move_held(self.source, self.kinds[at], before, rounded);
        }
    }

    /// Transfers everything to another source.
    pub fn transfer_to(&mut self, source: Source) {
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

    /// Sum of all kinds.
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
        assert_eq!(one.held(), 6144, "small changes are not accounted");
        one.transfer_to(source(2));
        assert_eq!((memory.held_by(source(1)), memory.held_by(source(2))), (0, 7168));
        one.set(0, 0);
        assert_eq!(memory.total(), 2048);
        drop((one, two));
        assert_eq!((memory.total(), memory.sources.len()), (0, 0));
    }

    // faults: K144
    #[test]
    fn above_the_bound_the_largest_source_is_reclaimed_paused_and_rejected() {
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
        // A worker reclaims a part of it.
        memory.reclaim(|demands| HashMap::from([(large, demands[&large] - MIB)]));
        memory.reclaim(|demands| {
            assert_eq!(demands[&large], MIB);
            HashMap::new()
        });
        // The rest is demanded from idle chats, and there is none.
        let mut asked = Vec::new();
        let evict = |source, held| {
            asked.push((source, held));
            None
        };
        memory.plan(Duration::from_secs(2), 9, evict).expect("another round");
        assert_eq!(asked, [(large, 140 * MIB)]);
        assert!(memory.refuses(large).is_some(), "nothing can be reclaimed from it, so it is rejected");
        attacker.set(0, 150 * MIB);
        memory.plan(Duration::from_secs(3), 9, |_, _| None);
        assert_eq!(memory.level(), Level::Full);
        assert!(memory.refuses(large).is_some() && memory.refuses(small).is_none());
        attacker.set(0, 170 * MIB);
        assert_eq!(memory.level(), Level::Over);
        assert!(memory.refuses(small).is_some() && memory.pauses(small));
        assert_eq!(memory.refuses(source(3)), None, "a reserve for small sources");
        attacker.set(0, 175 * MIB);
        assert!(memory.refuses(source(3)).is_some(), "the reserve is bounded");
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
