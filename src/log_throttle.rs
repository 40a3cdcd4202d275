//! Throttles log lines that clients can provoke: one per period, with the number of omitted ones.
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// One kind of line.
pub struct LogThrottle {
    /// Shortest time between two lines.
    period: Duration,
    state: Mutex<State>,
}

struct State {
    last: Option<Instant>,
    omitted: u64,
}

impl LogThrottle {
    pub const fn new(period: Duration) -> Self {
        LogThrottle { period, state: Mutex::new(State { last: None, omitted: 0 }) }
    }

    /// If a line is due, returns the number of lines omitted since the last one; otherwise counts it as omitted.
    pub fn due(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < self.period) {
            state.omitted = state.omitted.saturating_add(1);
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.omitted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_period_and_a_count_of_the_others() {
        let (throttle, start) =
            (LogThrottle::new(Duration::from_secs(60)), tokio::time::Instant::now().into_std());
        let at = |seconds| throttle.due(start + Duration::from_secs(seconds));
        assert_eq!(at(0), Some(0));
        assert_eq!([at(0), at(1), at(59)], [None; 3]);
        assert_eq!((at(60), at(61)), (Some(3), None));
        assert_eq!((at(600), at(660)), (Some(1), Some(0)));
        assert_eq!(at(0), None, "a clock that another thread read earlier");
    }
}
