//! Plans which sources have to release how much memory under pressure: down to a common level. Pure.
use super::Level;
use crate::chat::Source;
use std::{collections::HashMap, time::Duration};

/// The bound is divided into this many parts for the thresholds in [`Bounds`].
const PARTS: usize = 16;
/// A source that holds at most 1/`SMALL` of the bound is small.
const SMALL: usize = 256;
/// Minimum time between two rounds: every worker handles its part of a round within it, twice.
const ROUND_MIN: Duration = Duration::from_millis(300);
/// How long a source that had nothing to release is left out of rounds.
const EXHAUSTED: Duration = Duration::from_secs(1);
/// Minimum time between two reductions of the allowance. An allocator returns freed memory only after some
/// seconds, so the allowance first falls too far and rises again with the next sample.
const LOWER_MIN: Duration = Duration::from_secs(3);
/// The allowance is never reduced below 1/`FLOOR` of the configured bound.
const FLOOR: usize = 4;

/// Result of a round.
#[derive(Debug, Default)]
pub struct Round {
    /// Bytes to reclaim by source, from messages and retained answers, by the workers.
    pub demands: HashMap<Source, usize>,
    /// Bytes that the last round could not reclaim from a source's messages and retained answers: to reclaim
    /// from its idle chats.
    pub chats: Vec<(Source, usize)>,
}

/// State of reclaiming.
#[derive(Debug)]
pub struct ReclaimPlan {
    max: usize,
    /// Bound for the accounted bytes: lower than `max` where the process uses more than is accounted.
    allowance: usize,
    lowered: Option<Duration>,
    next: Duration,
    /// Sources that had nothing to release, and until when they are left out.
    exhausted: HashMap<Source, Duration>,
    /// A source that holds more than this is large.
    large: usize,
    /// The last round found no source to reclaim from.
    starved: bool,
}

/// Thresholds derived from the allowance.
#[derive(Clone, Copy, Debug)]
pub struct Bounds(usize);

impl Bounds {
    /// Thresholds for an allowance in bytes.
    pub fn of(allowance: usize) -> Self {
        Bounds(allowance)
    }

    /// Bytes above which pressure begins.
    pub fn tight(self) -> usize {
        self.0 - self.0 / PARTS * 2
    }

    /// Bytes at which pressure ends.
    fn low(self) -> usize {
        self.0 - self.0 / PARTS * 3
    }

    /// Bytes above which questions of large sources are rejected: what they have started still grows.
    pub fn full(self) -> usize {
        self.0 - self.0 / PARTS
    }

    /// Bytes above which only questions of small sources are accepted.
    pub fn over(self) -> usize {
        self.0 + self.0 / PARTS
    }

    /// Bytes above which all questions are rejected: another half part, reserved for small sources.
    pub fn beyond(self) -> usize {
        self.over() + self.0 / PARTS / 2
    }

    /// A source that holds at most this is small.
    pub fn small(self) -> usize {
        self.0 / SMALL
    }

    /// The level for `held` bytes, without hysteresis.
    pub fn level(self, held: usize) -> Level {
        match held {
            _ if held > self.over() => Level::Over,
            _ if held > self.full() => Level::Full,
            _ if held > self.tight() => Level::Tight,
            _ => Level::Calm,
        }
    }
}

impl ReclaimPlan {
    pub fn new(max: usize) -> Self {
        ReclaimPlan {
            max,
            allowance: max,
            lowered: None,
            next: Duration::ZERO,
            exhausted: HashMap::new(),
            large: usize::MAX,
            starved: false,
        }
    }

    pub fn allowance(&self) -> usize {
        self.allowance
    }

    pub fn bounds(&self) -> Bounds {
        Bounds(self.allowance)
    }

    /// A source that holds more than this is large.
    pub fn large(&self) -> usize {
        self.large
    }

    /// The level for `held` bytes, with hysteresis from the level `before`.
    pub fn level(&self, before: Level, held: usize) -> Level {
        let bounds = self.bounds();
        match bounds.level(held) {
            Level::Tight if self.starved => Level::Full,
            Level::Calm if held > bounds.low() && before > Level::Calm => Level::Tight,
            level => level,
        }
    }

    /// Adjusts the allowance by comparing accounted and resident memory.
    pub fn observe(&mut self, now: Duration, held: usize, used: usize) {
        if used > self.max {
            if self.lowered.is_none_or(|lowered| now >= lowered + LOWER_MIN) {
                let beyond = used - self.max;
                self.allowance = held.min(self.allowance).saturating_sub(beyond).max(self.max / FLOOR);
                self.lowered = Some(now);
            }
        } else {
            // Memory that is freed but not returned yet can be reused, so this is never too much.
            self.allowance = self.allowance.max(held + (self.max - used)).min(self.max);
        }
    }

    /// Whether another round is due.
    pub fn is_due(&self, now: Duration) -> bool {
        now >= self.next
    }

    /// Whether this source had nothing to release.
    pub fn is_exhausted(&self, source: Source) -> bool {
        self.exhausted.contains_key(&source)
    }

    /// Resets after pressure has ended.
    pub fn reset(&mut self) {
        (self.large, self.starved) = (usize::MAX, false);
    }

    /// Notes that a source has no idle chat left.
    pub fn note_exhausted(&mut self, now: Duration, source: Source) {
        self.exhausted.insert(source, now + EXHAUSTED);
    }

    /// Plans a round for `held` bytes in total; `outstanding` are demands that the last round did not meet.
    pub fn round(
        &mut self,
        now: Duration,
        held: usize,
        sources: &[(Source, usize)],
        outstanding: &HashMap<Source, usize>,
    ) -> Round {
        self.next = now + ROUND_MIN;
        self.exhausted.retain(|_, until| *until > now);
        let need = held.saturating_sub(self.bounds().low());
        let all: Vec<usize> = sources.iter().map(|(_, held)| *held).collect();
        self.large = level_of(&all, need);
        if need == 0 {
            self.starved = false;
            return Round::default();
        }
        let able = sources.iter().filter(|(source, _)| !self.exhausted.contains_key(source));
        let able: Vec<(Source, usize)> = able.copied().collect();
        let level = level_of(&able.iter().map(|(_, held)| *held).collect::<Vec<_>>(), need);
        let demands: HashMap<Source, usize> = able
            .iter()
            .filter(|(_, held)| *held > level)
            .map(|(source, held)| (*source, held - level))
            .collect();
        self.starved = demands.is_empty();
        let chats = outstanding.iter().filter_map(|(source, left)| {
            let now_needed = demands.get(source)?;
            Some((*source, *left.min(now_needed)))
        });
        let chats = chats.filter(|(_, left)| *left > 0).collect();
        Round { demands, chats }
    }
}

/// The level to which all larger holdings have to be reduced to release `need` bytes; 0 if that is more than
/// all of them hold.
fn level_of(held: &[usize], need: usize) -> usize {
    if need == 0 {
        return usize::MAX;
    }
    let mut held = held.to_vec();
    held.sort_unstable_by(|a, b| b.cmp(a));
    let mut above = 0_usize;
    for (at, bytes) in held.iter().enumerate() {
        above = above.saturating_add(*bytes);
        let count = at + 1;
        let next = held.get(count).copied().unwrap_or(0);
        if above.saturating_sub(next.saturating_mul(count)) >= need {
            return (above - need) / count;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);

    fn source(number: u64) -> Source {
        Source::numbered(number)
    }

    fn demands(round: &Round) -> Vec<(u64, usize)> {
        let find = |number| round.demands.get(&source(number)).map(|bytes| (number, *bytes));
        (0..10).filter_map(find).collect()
    }

    // faults: K144
    #[test]
    fn the_largest_source_pays_and_small_ones_keep_what_they_have() {
        let mut plan = ReclaimPlan::new(1600);
        let bounds = plan.bounds();
        assert_eq!((bounds.low(), bounds.tight(), bounds.full(), bounds.over()), (1300, 1400, 1500, 1700));
        assert_eq!((bounds.beyond(), bounds.small()), (1750, 6));
        let sources = [(source(1), 1200), (source(2), 300), (source(3), 20)];
        let round = plan.round(S, 1420, &sources, &HashMap::new());
        assert_eq!((demands(&round), plan.large()), (vec![(1, 120)], 1080));
        assert!(round.chats.is_empty(), "messages and answers come first");
        // Two large ones come down to the same level.
        let sources = [(source(1), 800), (source(2), 700), (source(3), 20)];
        let round = plan.round(2 * S, 1420, &sources, &HashMap::new());
        assert_eq!((demands(&round), plan.large()), (vec![(1, 110), (2, 10)], 690));
    }

    // faults: K144
    #[test]
    fn what_messages_and_answers_do_not_pay_chats_pay_and_then_the_next_source() {
        let mut plan = ReclaimPlan::new(1600);
        let sources = [(source(1), 1200), (source(2), 320)];
        plan.round(S, 1420, &sources, &HashMap::new());
        let round = plan.round(2 * S, 1420, &sources, &HashMap::from([(source(1), 100)]));
        assert_eq!((demands(&round), round.chats), (vec![(1, 120)], vec![(source(1), 100)]));
        // Nothing but running answers is left of the first one: it stays large, and the next one pays.
        plan.note_exhausted(2 * S, source(1));
        let round = plan.round(2 * S + ROUND_MIN, 1420, &sources, &HashMap::new());
        assert_eq!((demands(&round), plan.large()), (vec![(2, 120)], 1080));
        assert_eq!(plan.level(Level::Tight, 1420), Level::Tight);
        plan.note_exhausted(2 * S + ROUND_MIN, source(2));
        let round = plan.round(2 * S + 2 * ROUND_MIN, 1420, &sources, &HashMap::new());
        assert_eq!(demands(&round), []);
        assert_eq!(plan.level(Level::Tight, 1420), Level::Full, "nothing can be taken back");
        // It is asked again after a while.
        let round = plan.round(4 * S, 1420, &sources, &HashMap::new());
        assert_eq!(demands(&round), [(1, 120)]);
    }

    // faults: K144
    #[test]
    fn levels_have_hysteresis() {
        let mut plan = ReclaimPlan::new(1600);
        let levels = [1300, 1400, 1401, 1350, 1301, 1300, 1350, 1501, 1701, 1501, 1500, 1300];
        let mut level = Level::Calm;
        let seen = levels.map(|held| {
            level = plan.level(level, held);
            level as u8
        });
        assert_eq!(seen, [0, 0, 1, 1, 1, 0, 0, 2, 3, 2, 1, 0]);
        assert!(plan.is_due(Duration::ZERO));
        plan.round(S, 0, &[], &HashMap::new());
        assert!(!plan.is_due(S + ROUND_MIN / 2) && plan.is_due(S + ROUND_MIN));
        assert_eq!(plan.large(), usize::MAX, "no source is large without pressure");
    }

    // faults: K144
    #[test]
    fn what_the_process_really_uses_lowers_the_bound_step_by_step() {
        let mut plan = ReclaimPlan::new(1000);
        plan.observe(S, 900, 950);
        assert_eq!(plan.allowance(), 1000);
        // 100 bytes more than there may be, of which 200 are not counted.
        plan.observe(2 * S, 900, 1100);
        assert_eq!(plan.allowance(), 800);
        // Freed memory is not returned to the system at once, which is no reason to reclaim more.
        plan.observe(3 * S, 800, 1100);
        assert_eq!(plan.allowance(), 800);
        plan.observe(12 * S, 780, 950);
        assert_eq!(plan.allowance(), 830);
        plan.observe(30 * S, 820, 2000);
        assert_eq!(plan.allowance(), 250, "never below a quarter");
        plan.observe(40 * S, 100, 300);
        assert_eq!(plan.allowance(), 800);
        plan.observe(50 * S, 700, 300);
        assert_eq!(plan.allowance(), 1000, "never above what is configured");
    }

    proptest! {
        #[test]
        fn the_level_reclaims_what_is_needed_from_the_largest(
            held in proptest::collection::vec(0_usize..1_000_000, 0..50),
            need in 1_usize..10_000_000,
        ) {
            let level = level_of(&held, need);
            let paid: usize = held.iter().map(|held| held.saturating_sub(level)).sum();
            let all: usize = held.iter().sum();
            prop_assert!(paid >= need.min(all), "{paid} of {need}, level {level}");
            // Rounding takes at most a byte more from each.
            prop_assert!(paid <= need + held.len(), "{paid} of {need}, level {level}");
        }
    }
}
