//! When and how a user's socket is cut, and how it comes back; all determined before the run.
use fastrand::Rng;
use std::time::Duration;

/// How a socket is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutKind {
    Reset,
    /// Shuts down writing without a close frame.
    HalfClose,
    CloseFrame,
}

/// When sockets are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Never,
    /// Each socket about this long after it was opened, during an answer.
    Every(Duration),
    /// All sockets at this time of the run, once.
    At(Duration),
}

/// One cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) kind: CutKind,
    /// Resumes from the beginning, without a position.
    pub(crate) forgets: bool,
    /// Time before reconnecting.
    pub(crate) away: Duration,
}

/// The cuts of one user.
#[derive(Clone, Debug)]
pub(crate) struct Cuts {
    when: When,
    away: (Duration, Duration),
    rng: Rng,
    cuts: u64,
    /// Offset, so that users start with different kinds.
    first: u64,
}

impl Cuts {
    pub(crate) fn new(when: When, away: (Duration, Duration), seed: u64, number: u64) -> Self {
        // A different sequence from the one of the user's behaviour.
        let rng = Rng::with_seed(!seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Cuts { when, away, rng, cuts: 0, first: number }
    }

    /// When (since the start of the run) a socket opened at `now` is cut.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Duration> {
        match self.when {
            When::Every(pause) => Some(now + pause.mul_f64(0.5 + self.rng.f64())),
            When::At(at) if self.cuts == 0 => Some(at),
            When::At(_) | When::Never => None,
        }
    }

    /// Whether the cut has to happen during an answer.
    pub(crate) fn waits_for_text(&self) -> bool {
        matches!(self.when, When::Every(_))
    }

    pub(crate) fn next(&mut self) -> Cut {
        let number = self.first + self.cuts;
        self.cuts += 1;
        let (from, to) = self.away;
        Cut {
            kind: [CutKind::Reset, CutKind::HalfClose, CutKind::CloseFrame][(number % 3) as usize],
            // Every third cut, and each kind in turn.
            forgets: (number + number / 3).is_multiple_of(3),
            away: from + to.saturating_sub(from).mul_f64(self.rng.f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWAY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(30));

    #[test]
    fn kinds_of_cuts_alternate_and_every_third_resumes_from_the_beginning() {
        let mut cuts = Cuts::new(When::Every(Duration::from_secs(2)), AWAY, 1, 7);
        let list: Vec<_> = (0..90).map(|_| cuts.next()).collect();
        for kind in [CutKind::Reset, CutKind::HalfClose, CutKind::CloseFrame] {
            let of_way = list.iter().filter(|cut| cut.kind == kind);
            assert_eq!(of_way.clone().count(), 30, "{kind:?}");
            assert_eq!(of_way.filter(|cut| cut.forgets).count(), 10, "{kind:?}");
        }
        assert!(list.windows(2).all(|pair| pair[0].kind != pair[1].kind));
        assert!(list.iter().all(|cut| (AWAY.0..=AWAY.1).contains(&cut.away)));
    }

    #[test]
    fn cuts_are_spread_or_all_at_once() {
        let now = Duration::from_secs(10);
        let every = Duration::from_secs(2);
        let mut dues = Vec::new();
        for number in 0..200 {
            let due = Cuts::new(When::Every(every), AWAY, 1, number).due(now).expect("a cut");
            assert!((now + every / 2..=now + every * 3 / 2).contains(&due), "{due:?}");
            dues.push(due);
        }
        dues.sort();
        assert!(dues[199] - dues[0] > every * 8 / 10, "spread: {:?}", dues[199] - dues[0]);
        let mut once = Cuts::new(When::At(every), AWAY, 1, 3);
        assert_eq!(once.due(Duration::ZERO), Some(every));
        once.next();
        assert_eq!(once.due(now), None);
        assert_eq!(Cuts::new(When::Never, AWAY, 1, 3).due(now), None);
    }
}
