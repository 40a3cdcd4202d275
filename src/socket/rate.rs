//! Limits a client's frame rate with the generic cell rate algorithm: one number per socket. Pure.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

/// The cost of frames in nanoseconds, and the burst allowed.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// One frame; 0 = no limit.
    frame: u64,
    /// A fragment after the first. The fragments that one message may have cost a quarter of a burst
    /// together, so a message in the maximum number of fragments is accepted, and an endless series of them
    /// is not.
    fragment: u64,
    /// Maximum cost that may be outstanding.
    burst: u64,
}

/// One client's state.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// The time at which everything sent so far has been paid for by waiting.
    paid_at: u64,
}

impl Allowance {
    pub const UNLIMITED: Allowance = Allowance { frame: 0, fragment: 0, burst: 0 };

    /// `per_second` frames sustained and `burst` at once; 0 per second means no limit.
    pub fn new(per_second: u32, burst: u32, fragments: u32) -> Self {
        let frame = 1_000_000_000_u64.checked_div(u64::from(per_second)).unwrap_or(0);
        let burst = frame.saturating_mul(u64::from(burst));
        let fragment = (burst / 4).checked_div(u64::from(fragments)).unwrap_or(burst / 4);
        Allowance { frame, fragment, burst }
    }
}

impl Rate {
    /// Whether another frame is allowed at `now`, in nanoseconds of a monotonic clock.
    pub(super) fn frame(&mut self, allowance: Allowance, now: u64) -> bool {
        self.take(allowance.frame, allowance.burst, now)
    }

    /// The same for a fragment after the first of its message.
    pub(super) fn fragment(&mut self, allowance: Allowance, now: u64) -> bool {
        self.take(allowance.fragment, allowance.burst, now)
    }

    fn take(&mut self, cost: u64, burst: u64, now: u64) -> bool {
        let paid_at = self.paid_at.max(now).saturating_add(cost);
        let allowed = paid_at.saturating_sub(now) <= burst;
        if allowed {
            self.paid_at = paid_at;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;
    const DEFAULT: (u32, u32, u32) = (20, 40, 1024);

    fn allowance((per_second, burst, fragments): (u32, u32, u32)) -> Allowance {
        Allowance::new(per_second, burst, fragments)
    }

    // faults: A16
    #[test]
    fn a_burst_is_allowed_at_once_and_then_the_rate() {
        let allowance = allowance(DEFAULT);
        let mut rate = Rate::default();
        let taken = (0..100).filter(|_| rate.frame(allowance, SECOND)).count();
        assert_eq!(taken, 40);
        let mut at = SECOND;
        for frame in 0..1_000 {
            at += SECOND / 20;
            assert!(rate.frame(allowance, at), "frame {frame}");
        }
        assert!(!rate.frame(allowance, at));
        let taken = (0..100).filter(|_| rate.frame(allowance, at + 60 * SECOND)).count();
        assert_eq!(taken, 40, "a pause is worth one burst and no more");
    }

    // faults: A16
    #[test]
    fn floods_end_within_a_second() {
        for (kind, per_second) in [("frames", 1_000), ("frames", 10_000), ("fragments", 10_000)] {
            let allowance = allowance(DEFAULT);
            let mut rate = Rate::default();
            let first_refused = (0..).map(|n| n * SECOND / per_second).find(|now| match kind {
                "frames" => !rate.frame(allowance, *now),
                _ => !rate.fragment(allowance, *now),
            });
            assert!(first_refused < Some(SECOND), "{per_second} {kind}: {first_refused:?}");
        }
    }

    #[test]
    fn a_message_in_as_many_fragments_as_allowed_is_no_flood() {
        for limits in [DEFAULT, (20, 2, 1024), (1, 2, 1_000_000), (100_000, 1_000_000, 1)] {
            let allowance = allowance(limits);
            let mut rate = Rate::default();
            assert!(rate.frame(allowance, 0));
            assert!((1..limits.2).all(|_| rate.fragment(allowance, 0)), "{limits:?}");
        }
    }

    #[test]
    fn nothing_per_second_is_no_limit() {
        let allowance = allowance((0, 40, 1024));
        let mut rate = Rate::default();
        assert!((0..100_000).all(|_| rate.frame(allowance, 0) && rate.fragment(allowance, 0)));
    }

    proptest! {
        /// In any interval, at most a burst and the sustained rate are accepted.
        #[test]
        fn never_more_than_the_burst_and_the_rate(
            pauses in prop::collection::vec(0..SECOND / 4, 1..300),
            per_second in 1..50u32,
            burst in 2..60u32,
        ) {
            let allowance = Allowance::new(per_second, burst, 8);
            let mut rate = Rate::default();
            let mut now = 0;
            let mut taken = Vec::new();
            for pause in pauses {
                now += pause;
                if rate.frame(allowance, now) {
                    taken.push(now);
                }
            }
            for (n, first) in taken.iter().enumerate() {
                for (m, last) in taken.iter().enumerate().skip(n) {
                    let most = u64::from(burst) + (last - first) * u64::from(per_second) / SECOND + 1;
                    prop_assert!((m - n + 1) as u64 <= most);
                }
            }
        }
    }
}
