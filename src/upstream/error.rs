//! The error table: what an upstream's code, status and message mean for a run.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use std::time::{Duration, SystemTime};

use super::sse::LineTooLong;
use crate::chat::{Retry, RunError, RunErrorKind};

/// Which codes a row of the table speaks of.
enum Code {
    Is(&'static str),
    Begins(&'static str),
    /// None at all, or one that no other row names.
    Other,
}

/// One line of the table.
struct Row {
    code: Code,
    /// What the message must contain, in lower case. Wording varies by model and over time, so
    /// it is asked only where a code alone says too little.
    needle: Option<&'static str>,
    kind: RunErrorKind,
    retry: Retry,
}

const SOON: Retry = Retry::BackOff { slow: false };
const LATER: Retry = Retry::BackOff { slow: true };

const fn is(code: &'static str, kind: RunErrorKind, retry: Retry) -> Row {
    Row { code: Code::Is(code), needle: None, kind, retry }
}

const fn begins(code: &'static str, kind: RunErrorKind, retry: Retry) -> Row {
    Row { code: Code::Begins(code), needle: None, kind, retry }
}

const fn says(code: Code, needle: &'static str, kind: RunErrorKind) -> Row {
    Row { code, needle: Some(needle), kind, retry: Retry::No }
}

const TOO_LONG: &str = "range of input length";
const FREE_QUOTA: &str = "free allocated quota exceeded";
const NO_MODEL: &str = "model not exist";
const WRONG_URL: &str = "url error";

/// The first row that matches decides, in the order: rows with a needle, exact codes, prefixes.
/// Codes after DashScope's list of error codes; the lower-case ones are those of its
/// OpenAI-compatible mode.
const TABLE: &[Row] = &[
    // Where the message decides.
    says(Code::Begins("InvalidParameter"), TOO_LONG, RunErrorKind::InputTooLong),
    says(Code::Begins("InternalError"), TOO_LONG, RunErrorKind::InputTooLong),
    says(Code::Begins("BadRequest"), TOO_LONG, RunErrorKind::InputTooLong),
    says(Code::Is("invalid_parameter_error"), TOO_LONG, RunErrorKind::InputTooLong),
    says(Code::Begins("InvalidParameter"), NO_MODEL, RunErrorKind::ModelNotFound),
    says(Code::Is("invalid_parameter_error"), NO_MODEL, RunErrorKind::ModelNotFound),
    // The model lives on the other endpoint.
    says(Code::Begins("InvalidParameter"), WRONG_URL, RunErrorKind::NotSetUp),
    says(Code::Is("invalid_parameter_error"), WRONG_URL, RunErrorKind::NotSetUp),
    // Reads like any other quota message, but does not clear by itself.
    says(Code::Begins("Throttling"), FREE_QUOTA, RunErrorKind::NotAvailable),
    says(Code::Is("insufficient_quota"), FREE_QUOTA, RunErrorKind::NotAvailable),
    says(Code::Other, TOO_LONG, RunErrorKind::InputTooLong),
    says(Code::Other, FREE_QUOTA, RunErrorKind::NotAvailable),
    // Key, rights, host.
    is("InvalidApiKey", RunErrorKind::NotSetUp, Retry::No),
    is("invalid_api_key", RunErrorKind::NotSetUp, Retry::No),
    is("NOT AUTHORIZED", RunErrorKind::NotSetUp, Retry::No),
    is("Model.AccessDenied", RunErrorKind::NotSetUp, Retry::No),
    is("Workspace.AccessDenied", RunErrorKind::NotSetUp, Retry::No),
    is("App.AccessDenied", RunErrorKind::NotSetUp, Retry::No),
    is("WorkSpaceNotFound", RunErrorKind::NotSetUp, Retry::No),
    is("NotFound", RunErrorKind::NotSetUp, Retry::No),
    // Account.
    is("AccessDenied", RunErrorKind::NotAvailable, Retry::No),
    is("AccessDenied.Unpurchased", RunErrorKind::NotAvailable, Retry::No),
    is("AllocationQuota.FreeTierOnly", RunErrorKind::NotAvailable, Retry::No),
    is("Arrearage", RunErrorKind::NotAvailable, Retry::No),
    is("CommodityNotPurchased", RunErrorKind::NotAvailable, Retry::No),
    is("PrepaidBillOverdue", RunErrorKind::NotAvailable, Retry::No),
    is("PostpaidBillOverdue", RunErrorKind::NotAvailable, Retry::No),
    // Model and request.
    is("ModelNotFound", RunErrorKind::ModelNotFound, Retry::No),
    is("Model.NotExist", RunErrorKind::ModelNotFound, Retry::No),
    is("model_not_found", RunErrorKind::ModelNotFound, Retry::No),
    is("BadRequest.TooLarge", RunErrorKind::InputTooLong, Retry::No),
    is("InternalError.Algo.InvalidParameter", RunErrorKind::BadRequest, Retry::No),
    is("UnsupportedOperation", RunErrorKind::BadRequest, Retry::No),
    is("InvalidURL", RunErrorKind::BadRequest, Retry::No),
    is("invalid_parameter_error", RunErrorKind::BadRequest, Retry::No),
    // We closed first; nobody is left to be told.
    is("ClientDisconnect", RunErrorKind::Cancelled, Retry::No),
    // Filters. The reader knows whether text was shown, and then makes it the answer's refusal.
    is("DataInspectionFailed", RunErrorKind::InputRefused, Retry::No),
    is("data_inspection_failed", RunErrorKind::InputRefused, Retry::No),
    is("InternalError.Algo.DataInspectionFailed", RunErrorKind::InputRefused, Retry::No),
    is("CustomRoleBlocked", RunErrorKind::InputRefused, Retry::No),
    is("FaqRuleBlocked", RunErrorKind::InputRefused, Retry::No),
    is("IPInfringementSuspect", RunErrorKind::InputRefused, Retry::No),
    // Rates. Tokens per minute and a rate that rose too fast need longer than requests per second.
    is("Throttling", RunErrorKind::RateLimited, SOON),
    is("Throttling.RateQuota", RunErrorKind::RateLimited, SOON),
    is("LimitRequests", RunErrorKind::RateLimited, SOON),
    is("limit_requests", RunErrorKind::RateLimited, SOON),
    is("Throttling.BurstRate", RunErrorKind::RateLimited, LATER),
    is("limit_burst_rate", RunErrorKind::RateLimited, LATER),
    is("Throttling.AllocationQuota", RunErrorKind::RateLimited, LATER),
    is("insufficient_quota", RunErrorKind::RateLimited, LATER),
    // Faults of the service.
    is("RequestTimeOut", RunErrorKind::UpstreamTimeout, Retry::Once),
    is("ResponseTimeout", RunErrorKind::UpstreamTimeout, Retry::Once),
    is("InternalError.Timeout", RunErrorKind::UpstreamTimeout, Retry::Once),
    is("InternalError", RunErrorKind::UpstreamError, SOON),
    is("InternalError.Algo", RunErrorKind::UpstreamError, SOON),
    is("internal_error", RunErrorKind::UpstreamError, SOON),
    is("SystemError", RunErrorKind::UpstreamError, SOON),
    is("ModelServiceFailed", RunErrorKind::UpstreamError, SOON),
    is("ModelServingError", RunErrorKind::UpstreamError, SOON),
    is("ModelUnavailable", RunErrorKind::UpstreamError, SOON),
    is("ServiceUnavailable", RunErrorKind::UpstreamError, SOON),
    // Codes that are not listed yet, by family.
    begins("Throttling", RunErrorKind::RateLimited, SOON),
    begins("BadRequest", RunErrorKind::BadRequest, Retry::No),
    begins("InvalidParameter", RunErrorKind::BadRequest, Retry::No),
    begins("AccessDenied", RunErrorKind::NotAvailable, Retry::No),
    begins("InternalError", RunErrorKind::UpstreamError, SOON),
];

/// What an upstream's error means: decided by its code, then by the HTTP status of the head or
/// of the frame, with the message asked only where the table says so.
///
/// A refusal by the content filter is given as [`RunErrorKind::InputRefused`]; who knows that
/// text was shown already makes it [`RunErrorKind::OutputRefused`].
pub fn classify(code: Option<&str>, status: u16, message: &str) -> (RunErrorKind, Retry) {
    let code = code.map(str::trim).filter(|code| !code.is_empty());
    let message = message.to_ascii_lowercase();
    let find = |wanted: fn(&Row) -> bool| {
        TABLE.iter().filter(|row| wanted(row)).find(|row| {
            let named = match (&row.code, code) {
                (Code::Is(exact), Some(code)) => code == *exact,
                (Code::Begins(prefix), Some(code)) => code.starts_with(prefix),
                (Code::Other, Some(code)) => !listed(code),
                (Code::Other, None) => true,
                (Code::Is(_) | Code::Begins(_), None) => false,
            };
            named && row.needle.is_none_or(|needle| message.contains(needle))
        })
    };
    find(|row| row.needle.is_some())
        .or_else(|| find(|row| row.needle.is_none() && matches!(row.code, Code::Is(_))))
        .or_else(|| find(|row| row.needle.is_none()))
        .map_or_else(|| by_status(status), |row| (row.kind, row.retry))
}

/// Whether a row without needle names this code.
fn listed(code: &str) -> bool {
    TABLE.iter().filter(|row| row.needle.is_none()).any(|row| match row.code {
        Code::Is(exact) => code == exact,
        Code::Begins(prefix) => code.starts_with(prefix),
        Code::Other => false,
    })
}

fn by_status(status: u16) -> (RunErrorKind, Retry) {
    match status {
        // An error inside a good answer that names neither code nor status: one more try.
        200..=299 => (RunErrorKind::UpstreamError, Retry::Once),
        // A redirect is not followed: the base URL is wrong. 404 alike, where no code says "model".
        300..=399 | 401 | 403 | 404 => (RunErrorKind::NotSetUp, Retry::No),
        402 => (RunErrorKind::NotAvailable, Retry::No),
        408 => (RunErrorKind::UpstreamTimeout, Retry::Once),
        413 => (RunErrorKind::InputTooLong, Retry::No),
        429 => (RunErrorKind::RateLimited, SOON),
        400..=499 => (RunErrorKind::BadRequest, Retry::No),
        500..=599 => (RunErrorKind::UpstreamError, SOON),
        _ => (RunErrorKind::UpstreamProtocol, Retry::No),
    }
}

/// How long an upstream asks us to wait: `retry-after-ms` (milliseconds) before `retry-after`
/// (seconds or an HTTP date, RFC 9110 §10.2.3). `now` is in seconds since 1970, for dates; a
/// date that has passed is no wait. What cannot be read is `None`; the caller caps the value.
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

/// A plain decimal number times `unit` seconds; more than a `Duration` holds is its maximum.
fn seconds(value: &str, unit: f64) -> Option<Duration> {
    let value = value.trim();
    if !value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let number: f64 = value.parse().ok()?;
    Some(Duration::try_from_secs_f64(number * unit).unwrap_or(Duration::MAX))
}

impl From<LineTooLong> for RunError {
    fn from(error: LineTooLong) -> Self {
        RunError::new(RunErrorKind::UpstreamProtocol, error.to_string())
    }
}

#[cfg(test)]
mod tests;
