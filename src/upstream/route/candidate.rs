//! Which targets a run may use now, and which of them it takes.
use super::{
    RouteRequest,
    model::{Candidate, ModelTargets},
    state::{KeyFit, Known, Out},
};
use std::time::{Duration, Instant};

/// Which targets a choice is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Among {
    /// The model's own.
    Model,
    /// Those of its fallbacks too.
    All,
    /// Those that go on with an answer of this target.
    Continuing(usize),
}

/// Why a target is not used now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Obstacle {
    /// Its context is too small, or it does not go on with an answer.
    Unable,
    /// It has failed this run.
    Tried,
    Full,
    Cooling {
        until: Instant,
        stated: bool,
    },
    /// A breaker is open.
    Open(Duration),
    Out(Out),
}

/// Numbers that look random, from one that is (SplitMix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(random: f64) -> Self {
        Dice(random.to_bits())
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

impl Known {
    /// Why a run may not use a target now; `None` if it may.
    pub(super) fn obstacle(
        &self,
        now: Instant,
        request: &RouteRequest,
        candidate: &Candidate,
    ) -> Option<Obstacle> {
        let target = candidate.target;
        let state = &self.targets[target];
        if !fits(request, candidate) {
            return Some(Obstacle::Unable);
        }
        if request.failures_at(target) > 0 {
            return Some(Obstacle::Tried);
        }
        if let Some(wait) = self.broken_for(now, target, request.asker.client) {
            return Some(Obstacle::Open(wait));
        }
        if let Some(out) = state.out.filter(|out| out.holds(now)) {
            return Some(Obstacle::Out(out));
        }
        if let Some(until) = state.cooling.until(now) {
            return Some(Obstacle::Cooling { until, stated: state.cooling.is_stated() });
        }
        self.keys_obstacle(now, target).or_else(|| self.is_full(target).then_some(Obstacle::Full))
    }

    /// Why no key of a target can be used; `None` if one can.
    pub(super) fn keys_obstacle(&self, now: Instant, target: usize) -> Option<Obstacle> {
        let (mut cooling, mut out) = (None::<(Instant, bool)>, None::<Out>);
        for key in 0..self.upstream(target).keys.len() {
            match self.key_fit(now, target, key) {
                KeyFit::Ready | KeyFit::AskAgain => return None,
                KeyFit::Cooling(until, stated) if cooling.is_none_or(|(other, _)| until < other) => {
                    cooling = Some((until, stated));
                }
                KeyFit::Out(other) if out.is_none_or(|out| other.until < out.until) => out = Some(other),
                KeyFit::Cooling(..) | KeyFit::Out(_) => {}
            }
        }
        let cooling = cooling.map(|(until, stated)| Obstacle::Cooling { until, stated });
        cooling.or_else(|| out.map(Obstacle::Out))
    }

    /// Whether the target `to` goes on with an answer of the target `from`: other models have other tokens, and would not find
    /// the way on.
    pub(super) fn goes_on(&self, model: &ModelTargets, from: usize, to: usize) -> bool {
        let is_same = self.targets[from].model == self.targets[to].model;
        is_same
            && model
                .of(to)
                .is_some_and(|to| to.continues && model.of(from).is_some_and(|from| from.model == to.model))
    }

    /// The target that a run uses now: of the first level that has one, that of its conversation, else the one with the
    /// fewest runs for its weight, equals by dice.
    pub(super) fn choose(
        &self,
        now: Instant,
        dice: &mut Dice,
        request: &RouteRequest,
        model: &ModelTargets,
        among: Among,
        avoid: Option<usize>,
    ) -> Option<usize> {
        let usable = |candidate: &&Candidate| {
            let is_among = match among {
                Among::Model => !candidate.is_fallback,
                Among::All => true,
                Among::Continuing(from) => self.goes_on(model, from, candidate.target),
            };
            is_among && avoid != Some(candidate.target) && self.obstacle(now, request, candidate).is_none()
        };
        let first = model.candidates.iter().find(usable)?;
        let level = || model.candidates.iter().filter(|other| other.level == first.level).filter(usable);
        let running = |candidate: &Candidate| self.targets[candidate.target].running as u64;
        let stick = (request.affinity.stick as usize).checked_sub(1);
        if let Some(stick) = stick.and_then(|stick| level().find(|candidate| candidate.target == stick)) {
            let (all, weight) = level().fold((0, 0), |(runs, weight), candidate| {
                (runs + running(candidate), weight + u64::from(candidate.weight))
            });
            let own = u64::from(stick.weight);
            // Its load per weight is at most 5/4 of the mean, and one run more.
            if 4 * running(stick) * weight <= 5 * all * own + 4 * own * weight {
                return Some(stick.target);
            }
        }
        let (mut best, mut share) = (first, 0);
        for candidate in level() {
            let (load, least) =
                (running(candidate) * u64::from(best.weight), running(best) * u64::from(candidate.weight));
            if load < least {
                (best, share) = (candidate, u64::from(candidate.weight));
            } else if load == least {
                share += u64::from(candidate.weight);
                if dice.below(share) < u64::from(candidate.weight) {
                    best = candidate;
                }
            }
        }
        Some(best.target)
    }

    /// The key with which a target is asked: one whose time out is over, so that it is not missed; else that with the
    /// fewest runs, equals by dice; else that which is free first. `spent` is not used.
    pub(super) fn choose_key(
        &self,
        now: Instant,
        dice: &mut Dice,
        target: usize,
        spent: Option<usize>,
    ) -> usize {
        let keys = &self.upstream(target).keys;
        let (mut best, mut same, mut first) = (None::<usize>, 0, (0, None::<Instant>));
        for (key, state) in keys.iter().enumerate().filter(|(key, _)| spent != Some(*key)) {
            let until = match self.key_fit(now, target, key) {
                KeyFit::AskAgain => return key,
                KeyFit::Ready => {
                    match best {
                        Some(other) if state.running > keys[other].running => {}
                        Some(other) if state.running == keys[other].running => {
                            same += 1;
                            if dice.below(same) == 0 {
                                best = Some(key);
                            }
                        }
                        _ => (best, same) = (Some(key), 1),
                    }
                    continue;
                }
                KeyFit::Cooling(until, _) => until,
                KeyFit::Out(out) => out.until,
            };
            if first.1.is_none_or(|earliest| until < earliest) {
                first = (key, Some(until));
            }
        }
        best.unwrap_or(first.0)
    }
}

/// Whether the target can answer at all: it goes on with an answer where that is asked, and the prompt fits into the context of
/// its model, as far as both are known. A tenth is left for the answer and
/// the error of the estimate.
fn fits(request: &RouteRequest, candidate: &Candidate) -> bool {
    let is_larger = request.context_above.is_none_or(|above| candidate.context > above);
    let has_room =
        candidate.context == 0 || request.tokens.saturating_mul(11) <= candidate.context.saturating_mul(10);
    is_larger && has_room && (candidate.continues || !request.continues)
}
