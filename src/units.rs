//! Durations: parsed from text with a unit, and as integer counts.
use std::time::Duration;

/// Whole nanoseconds; `u64::MAX` where they do not fit, which takes 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Parses `500ms`, `30s`, `5m` or `1h`: one whole number, one unit.
///
/// # Errors
/// What is wrong, without the text itself.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = number_and_unit(text, "a duration")?;
    let millis = number.checked_mul(unit_millis(unit)?);
    millis.map(Duration::from_millis).ok_or_else(|| "out of range".to_owned())
}

/// Parses a duration as [`duration`] does; a fraction such as `1.5s` is allowed, and `0` without a unit.
///
/// # Errors
/// What is wrong, without the text itself.
pub(crate) fn fractional_duration(text: &str) -> Result<Duration, String> {
    let Some((whole, rest)) = text.split_once('.') else {
        return if text == "0" { Ok(Duration::ZERO) } else { duration(text) };
    };
    let (_, unit) = number_and_unit(rest, "a duration")?;
    if !matches!(number_and_unit(whole, "a duration"), Ok((_, ""))) {
        return Err("not a duration".to_owned());
    }
    let number = format!("{whole}.{}", rest.trim_end_matches(unit));
    let number: f64 = number.parse().map_err(|_| "not a duration".to_owned())?;
    let seconds = number * unit_millis(unit)? as f64 / 1e3;
    Duration::try_from_secs_f64(seconds).map_err(|_| "out of range".to_owned())
}

fn unit_millis(unit: &str) -> Result<u64, String> {
    match unit {
        "ms" => Ok(1),
        "s" => Ok(1000),
        "m" => Ok(60_000),
        "h" => Ok(3_600_000),
        "" => Err("unit missing (ms, s, m or h)".to_owned()),
        _ => Err("unknown unit (ms, s, m or h)".to_owned()),
    }
}

/// Splits a whole number from its unit, which may be missing. `what` names the quantity in errors.
///
/// # Errors
/// What is wrong, without the text itself.
pub(crate) fn number_and_unit<'a>(text: &'a str, what: &str) -> Result<(u64, &'a str), String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if digits.is_empty() || unit.contains(|c: char| !c.is_ascii_alphabetic()) {
        return Err(format!("not {what}"));
    }
    // The only remaining failure is overflow.
    let number = digits.parse().map_err(|_| "out of range".to_owned())?;
    Ok((number, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed_with_their_unit() {
        for (text, millis) in [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
            assert_eq!(fractional_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, millis) in [("0", 0), ("1.5s", 1500), ("0.5m", 30_000), ("0.25ms", 0)] {
            assert!(duration(text).is_err(), "{text}");
            assert_eq!(fractional_duration(text).map(|value| value.as_millis()), Ok(millis), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "1x",
            "-1s",
            "1.2.3s",
            "1.s",
            ".5s",
            "1.5",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(duration(text).is_err(), "{text}");
            assert!(fractional_duration(text).is_err(), "{text}");
        }
    }
}
