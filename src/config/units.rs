//! Parses sizes with units, and shows sizes and durations.
use crate::units::number_and_unit;
use std::time::Duration;

/// Parses a size such as `64KiB`. `KB` is rejected, because it means 1000 to some readers and 1024 to others.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = number_and_unit(text, "a size")?;
    let scale = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("unknown unit (B, KiB, MiB or GiB)".to_owned()),
    };
    let bytes = number.checked_mul(scale).and_then(|bytes| usize::try_from(bytes).ok());
    bytes.ok_or_else(|| "out of range".to_owned())
}

/// Shows a duration in the largest unit without a fraction; minutes only from ten on, so that `300s` stays `300s`.
pub(super) fn show_duration(value: Duration) -> String {
    match value.as_millis() {
        ms if ms % 3_600_000 == 0 && ms > 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 && ms >= 600_000 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

pub(super) fn show_bytes(value: usize) -> String {
    match value {
        v if v > 0 && v % (1 << 30) == 0 => format!("{}GiB", v >> 30),
        v if v > 0 && v % (1 << 20) == 0 => format!("{}MiB", v >> 20),
        v if v > 0 && v % (1 << 10) == 0 => format!("{}KiB", v >> 10),
        v => v.to_string(),
    }
}
