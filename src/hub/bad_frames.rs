//! Frames that cannot be read: a few are answered, one after the other is a broken client.

/// So many in [`WINDOW_TICKS`] end the socket.
pub(super) const STRIKES_MAX: u8 = 10;
/// One minute, in ticks of 100 ms.
pub(super) const WINDOW_TICKS: u32 = 600;

/// Of one socket. The time is cut into windows that begin with a first bad frame.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Strikes {
    count: u8,
    since: u32,
}

impl Strikes {
    /// Counts one; true: that was one too many.
    pub(super) fn strike(&mut self, now: u32) -> bool {
        if self.count == 0 || now.wrapping_sub(self.since) >= WINDOW_TICKS {
            *self = Strikes { count: 0, since: now };
        }
        self.count += 1;
        self.count >= STRIKES_MAX
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
        let mut strikes = Strikes::default();
        assert!(
            (0..9).all(|at| !strikes.strike((u32::MAX - 5).wrapping_add(at))),
            "the clock may begin anew"
        );
        assert!(strikes.strike(100));
        let mut slow = Strikes::default();
        assert!((0..1_000).all(|at| !slow.strike(at * WINDOW_TICKS / 9)));
    }
}
