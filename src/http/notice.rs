//! Log lines that any stranger can cause: one a minute, with the number of those left out.
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Time between two lines of one kind.
const PERIOD: Duration = Duration::from_secs(60);

/// One kind of line.
pub(super) struct Notice(Mutex<State>);

struct State {
    last: Option<Instant>,
    omitted: u64,
}

impl Notice {
    pub(super) const fn new() -> Self {
        Notice(Mutex::new(State { last: None, omitted: 0 }))
    }

    /// Whether the line is to be written now: the number of those left out since the last one.
    pub(super) fn due(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < PERIOD) {
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
    fn one_line_a_minute_and_a_count_of_the_others() {
        let (notice, start) = (Notice::new(), Instant::now());
        let at = |seconds| notice.due(start + Duration::from_secs(seconds));
        assert_eq!(at(0), Some(0));
        assert_eq!([at(0), at(1), at(59)], [None; 3]);
        assert_eq!((at(60), at(61)), (Some(3), None));
        assert_eq!((at(600), at(660)), (Some(1), Some(0)));
        assert_eq!(at(0), None, "a clock that another thread read earlier");
    }
}
