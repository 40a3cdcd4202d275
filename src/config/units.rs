//! Durations and sizes with their units, read and shown.
use std::time::Duration;

/// Reads `500ms`, `30s`, `5m` or `1h`: one whole number, one unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = number_and_unit(text, "a duration")?;
    let scale = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" => return Err("unit missing (ms, s, m or h)".to_owned()),
        _ => return Err("unknown unit (ms, s, m or h)".to_owned()),
    };
    number.checked_mul(scale).map(Duration::from_millis).ok_or_else(|| "out of range".to_owned())
}

/// Reads `64KiB` and its like. `KB` is refused, because it means 1000 to one reader and 1024 to another.
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

pub(super) fn number_and_unit<'a>(text: &'a str, what: &str) -> Result<(u64, &'a str), String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if digits.is_empty() || unit.contains(|c: char| !c.is_ascii_alphabetic()) {
        return Err(format!("not {what}"));
    }
    // Only too many digits are left to fail here.
    let number = digits.parse().map_err(|_| "out of range".to_owned())?;
    Ok((number, unit))
}

/// The largest unit that loses nothing; minutes only from ten on, so that `300s` stays what it was.
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
