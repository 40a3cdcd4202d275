//! Durations as plain counts, for times that are kept as integers.
use std::time::Duration;

/// Whole nanoseconds; `u64::MAX` where they do not fit, which takes 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
