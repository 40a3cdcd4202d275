//! Counts unreadable frames: a few are answered, many close the connection.

/// Bad frames per window after which the connection is closed.
pub(super) const BAD_FRAMES_MAX: u8 = 10;
/// Length of a window: one minute, in ticks of 100 ms.
pub(super) const WINDOW_TICKS: u32 = 600;

/// The counter of one socket. A window starts with its first bad frame.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BadFrameCounter {
    count: u8,
    since: u32,
}

impl BadFrameCounter {
    /// Counts a bad frame; true if the connection must be closed.
    pub(super) fn add(&mut self, now: u32) -> bool {
        if self.count == 0 || now.wrapping_sub(self.since) >= WINDOW_TICKS {
            *self = BadFrameCounter { count: 0, since: now };
        }
        self.count += 1;
        self.count >= BAD_FRAMES_MAX
    }

    pub(super) fn is_clean(self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // faults: A11
    #[test]
    fn ten_in_a_minute_are_too_many_and_nine_are_not() {
        let mut counter = BadFrameCounter::default();
        assert!((0..9).all(|at| !counter.add((u32::MAX - 5).wrapping_add(at))), "the clock may begin anew");
        assert!(counter.add(100));
        let mut slow = BadFrameCounter::default();
        assert!((0..1_000).all(|at| !slow.add(at * WINDOW_TICKS / 9)));
    }
}
