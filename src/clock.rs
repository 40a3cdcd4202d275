//! The machine's clocks: the monotonic one, comparable between processes, and the time of day.
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since an arbitrary point, the same for all processes.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Never negative: the clock begins at start-up.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    u64::try_from(clock_gettime(ClockId::Realtime).tv_sec).unwrap_or_default()
}
