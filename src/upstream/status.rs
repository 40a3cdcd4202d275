//! Failures by HTTP alone: the meaning of a status, and the headers with a retry time.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use crate::chat::{Retry, RunErrorKind};
use std::time::{Duration, SystemTime};

/// The meaning of a status if the service's error code is unknown or missing.
pub(super) fn by_status(status: u16) -> (RunErrorKind, Retry) {
    match status {
        // An error within a 200 response, with neither code nor status: one retry.
        200..=299 => (RunErrorKind::UpstreamError, Retry::Once),
        // Redirects are not followed: the base URL is wrong. The same for 404, unless the code reports an unknown model.
        300..=399 | 401 | 403 | 404 => (RunErrorKind::NotSetUp, Retry::No),
        402 => (RunErrorKind::NotAvailable, Retry::No),
        408 => (RunErrorKind::UpstreamTimeout, Retry::Once),
        413 => (RunErrorKind::InputTooLong, Retry::No),
        429 => (RunErrorKind::RateLimited, Retry::BackOff { slow: false }),
        400..=499 => (RunErrorKind::BadRequest, Retry::No),
        500..=599 => (RunErrorKind::UpstreamError, Retry::BackOff { slow: false }),
        _ => (RunErrorKind::UpstreamProtocol, Retry::No),
    }
}

/// The retry time that an upstream requests: `retry-after-ms` (milliseconds) takes precedence over `retry-after` (seconds
/// or an HTTP date, RFC 9110 §10.2.3). `now` is in seconds since 1970; a date in the past is zero. `None` if neither can
/// be parsed. The caller limits the value.
pub fn retry_after(retry_after_ms: Option<&str>, retry_after: Option<&str>, now: u64) -> Option<Duration> {
    retry_after_ms.and_then(|value| seconds(value, 0.001)).or_else(|| {
        let value = retry_after?.trim();
        seconds(value, 1.0).or_else(|| {
            let date = httpdate::parse_http_date(value).ok()?;
            let date = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            Some(date.saturating_sub(Duration::from_secs(now)))
        })
    })
}

/// A decimal number of `unit` seconds, at most the maximum of `Duration`.
fn seconds(value: &str, unit: f64) -> Option<Duration> {
    let value = value.trim();
    if !value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let number: f64 = value.parse().ok()?;
    Some(Duration::try_from_secs_f64(number * unit).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests;
