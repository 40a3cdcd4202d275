//! Backoff between attempts, and the budget that bounds retries during an outage. Pure.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use crate::chat::{FairShareKey, Retry, RunError};
use std::{collections::VecDeque, time::Duration};

#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Attempts of one run in all, the first one counted.
    pub attempts: u32,
    /// Upper end of the first pause; it doubles with every attempt.
    pub backoff_min: Duration,
    /// The pause no longer doubles beyond this.
    pub backoff_max: Duration,
    /// The longest `Retry-After` that is obeyed; beyond it the run fails at once.
    pub retry_after_max: Duration,
    /// Retries allowed as a share of all runs, in percent.
    pub budget_percent: u32,
}

impl Settings {
    /// The pause before the next attempt after `failed` of them, or `None` when there is to be
    /// none. `random` is in 0..1 (full jitter).
    pub fn next_pause(&self, failed: u32, error: &RunError, random: f64) -> Option<Duration> {
        let slow = match error.retry {
            Retry::No => return None,
            Retry::Once if failed > 1 => return None,
            Retry::Once | Retry::BackOff { slow: false } => 0,
            Retry::BackOff { slow: true } => 1,
        };
        if failed >= self.attempts {
            return None;
        }
        if let Some(after) = error.retry_after {
            // A little later than asked, so that runs with the same time do not retry together.
            return (after <= self.retry_after_max)
                .then(|| after.saturating_add(after.min(self.backoff_min).mul_f64(random)));
        }
        let doublings = failed.saturating_sub(1).saturating_add(slow);
        let pause = self.backoff_min.saturating_mul(2_u32.saturating_pow(doublings));
        Some(pause.min(self.backoff_max).mul_f64(random))
    }
}

/// Retry budget of one upstream: every run adds its share, every retry takes a whole one. The last half is reserved for
/// clients (each a [`FairShareKey`]) without a recent retry, so that one client whose messages make the service fail
/// cannot use up the retries of the others.
#[derive(Debug)]
pub struct RetryBudget {
    percent: i64,
    /// Hundredths of a retry.
    balance: i64,
    /// The clients of the last retries, at most [`RetryBudget::LATELY`].
    lately: VecDeque<FairShareKey>,
}

impl RetryBudget {
    /// Retries available at the start; also the most that can be saved up.
    const RESERVE: i64 = 10;
    /// Number of last retries whose clients are remembered; beyond it the oldest is forgotten.
    const LATELY: usize = 10;

    pub fn new(percent: u32) -> Self {
        RetryBudget { percent: i64::from(percent), balance: Self::RESERVE * 100, lately: VecDeque::new() }
    }

    /// A run begins.
    pub fn deposit(&mut self) {
        self.balance = self.balance.saturating_add(self.percent).min(Self::RESERVE * 100);
    }

    /// Takes one retry for this client, if there is one left for it.
    pub fn withdraw(&mut self, client: FairShareKey) -> bool {
        let least = if self.lately.contains(&client) { Self::RESERVE * 50 } else { 0 };
        let rest = self.balance.saturating_sub(100);
        if rest < least {
            return false;
        }
        self.balance = rest;
        self.lately.push_back(client);
        if self.lately.len() > Self::LATELY {
            self.lately.pop_front();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::RunErrorKind;

    const SETTINGS: Settings = Settings {
        attempts: 3,
        backoff_min: Duration::from_millis(500),
        backoff_max: Duration::from_secs(8),
        retry_after_max: Duration::from_secs(60),
        budget_percent: 10,
    };

    fn error(retry: Retry, after: Option<u64>) -> RunError {
        let mut error = RunError::new(RunErrorKind::UpstreamError, "");
        (error.retry, error.retry_after) = (retry, after.map(Duration::from_secs));
        error
    }

    fn pauses(error: &RunError) -> Vec<Option<u64>> {
        (1..=3).map(|n| SETTINGS.next_pause(n, error, 1.0).map(|p| p.as_millis() as u64)).collect()
    }

    #[test]
    fn pauses_double_up_to_the_attempts() {
        assert_eq!(pauses(&error(Retry::BackOff { slow: false }, None)), [Some(500), Some(1_000), None]);
        assert_eq!(pauses(&error(Retry::BackOff { slow: true }, None)), [Some(1_000), Some(2_000), None]);
        assert_eq!(pauses(&error(Retry::Once, None)), [Some(500), None, None]);
        assert_eq!(pauses(&error(Retry::No, None)), [None, None, None]);
        let jitter = SETTINGS.next_pause(1, &error(Retry::Once, None), 0.25);
        assert_eq!(jitter, Some(Duration::from_millis(125)));
    }

    // faults: D54
    #[test]
    fn retry_after_is_obeyed_up_to_its_limit() {
        assert_eq!(pauses(&error(Retry::BackOff { slow: false }, Some(3))), [Some(3_500), Some(3_500), None]);
        assert_eq!(pauses(&error(Retry::BackOff { slow: false }, Some(86_400))), [None, None, None]);
        assert_eq!(pauses(&error(Retry::No, Some(3))), [None, None, None]);
    }

    /// How often one can be had, each time for another client.
    fn all(budget: &mut RetryBudget) -> usize {
        (0..100).filter(|n| budget.withdraw(FairShareKey::numbered(*n))).count()
    }

    #[test]
    fn free_and_saved_retries_are_limited() {
        let mut budget = RetryBudget::new(10);
        assert_eq!(all(&mut budget), 10);
        for _ in 0..9 {
            budget.deposit();
        }
        assert_eq!(all(&mut budget), 0, "not a whole one yet");
        budget.deposit();
        assert_eq!(all(&mut budget), 1);
        for _ in 0..10_000 {
            budget.deposit();
        }
        assert_eq!(all(&mut budget), 10);
    }

    // faults: K138
    #[test]
    fn one_client_leaves_half_of_the_retries_to_the_others() {
        let (mut budget, greedy) = (RetryBudget::new(10), FairShareKey::numbered(1_000));
        for _ in 0..1_000 {
            budget.deposit();
            budget.withdraw(greedy);
        }
        assert_eq!(all(&mut budget), 5);
        // What comes in later is saved for the others first.
        for _ in 0..20 {
            budget.deposit();
        }
        assert!(budget.withdraw(FairShareKey::numbered(2_000)) && !budget.withdraw(greedy));
        // A gateway with one user has its retries: one for ten runs.
        let mut budget = RetryBudget::new(10);
        let taken = (0..1_000).filter(|_| {
            budget.deposit();
            budget.withdraw(greedy)
        });
        assert!((100..=110).contains(&taken.count()));
    }

    // faults: C45
    #[test]
    fn an_outage_is_not_multiplied() {
        let mut budget = RetryBudget::new(10);
        let mut retries = 0;
        for n in 0..1_000 {
            budget.deposit();
            let client = FairShareKey::numbered(n % 50);
            retries += u32::from(budget.withdraw(client)) + u32::from(budget.withdraw(client));
        }
        assert!((100..=110).contains(&retries), "{retries} retries for 1,000 runs");
        assert!(budget.lately.len() <= 10);
    }
}
