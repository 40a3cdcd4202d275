//! The error table, row by row of what services say.
use super::*;
use crate::upstream::error_table::classify;
use Kind::*;

fn check(code: &str, status: u16, message: &str, expected: (Kind, Retry)) {
    let code = Some(code).filter(|code| !code.is_empty());
    assert_eq!(
        classify(table(QuotaError::Money), code, status, message),
        expected,
        "{code:?} {status} {message}"
    );
}

#[test]
fn errors_of_services_by_code_sentence_and_status() {
    // Too long, and the cap, whose sentence speaks of the context too.
    check("context_length_exceeded", 400, "", (InputTooLong, Retry::No));
    check("exceed_context_size_error", 400, "", (InputTooLong, Retry::No));
    check(
        "BadRequestError",
        400,
        "This model's maximum context length is 512 tokens.",
        (InputTooLong, Retry::No),
    );
    check(
        "invalid_request_error",
        400,
        "Your request exceeded model token limit: 8192",
        (InputTooLong, Retry::No),
    );
    check("", 413, "", (InputTooLong, Retry::No));
    let cap = "'max_tokens' or 'max_completion_tokens' is too large: 9. This model's maximum context length is 8 tokens";
    check("BadRequestError", 400, cap, (BadRequest, Retry::No));
    // Filters.
    check("content_filter", 400, "", (InputRefused, Retry::No));
    check("content_policy_violation", 400, "", (InputRefused, Retry::No));
    check("invalid_request_error", 400, "Content Exists Risk", (InputRefused, Retry::No));
    check("", 403, &format!("Your input was flagged {MODERATED}"), (InputRefused, Retry::No));
    // Key, rights, money.
    check("authentication_error", 401, "Invalid API Key", (NotSetUp, Retry::No));
    check("", 401, "", (NotSetUp, Retry::No));
    check("permission_denied", 403, "", (NotSetUp, Retry::No));
    check("", 402, "Insufficient Balance", (NotAvailable, Retry::No));
    check("insufficient_quota", 429, "You exceeded your current quota", (NotAvailable, Retry::No));
    check("exceeded_current_quota_error", 429, "", (NotAvailable, Retry::No));
    // Model and path.
    check("model_not_found", 404, "", (ModelNotFound, Retry::No));
    check("NotFoundError", 404, "The model `x` does not exist.", (ModelNotFound, Retry::No));
    check("not_found_error", 404, "model 'x' not found", (ModelNotFound, Retry::No));
    check("", 404, &format!("no such model {PARAM}model)"), (ModelNotFound, Retry::No));
    check("", 404, "No models loaded. Please load a model", (ModelNotFound, Retry::No));
    check("not_found_error", 404, "File Not Found", (NotSetUp, Retry::No));
    check("", 404, "Not Found", (NotSetUp, Retry::No));
    check("", 405, "", (BadRequest, Retry::No));
    // Rates.
    check("rate_limit_exceeded", 429, "", (RateLimited, SOON));
    check("", 429, "", (RateLimited, SOON));
    check("engine_overloaded_error", 429, "", (RateLimited, LATER));
    check("Throttling.New", 429, "", (RateLimited, SOON));
    // Loading, full, broken.
    check("unavailable_error", 503, "Loading model", (UpstreamError, SOON));
    check("ServiceUnavailableError", 503, "The server is currently busy", (UpstreamError, LATER));
    check("", 529, "", (UpstreamError, SOON));
    check("server_error", 500, "", (UpstreamError, SOON));
    check("server_error", 500, "image input is not supported - hint", (BadRequest, Retry::No));
    // Failures in the stream.
    check("abort", 200, "", (Interrupted, Retry::Once));
    check("error_finish", 200, "Requests rate limit exceeded", (RateLimited, SOON));
    check("error_finish", 200, "", (UpstreamError, SOON));
}

#[test]
fn the_same_code_is_money_at_one_service_and_a_rate_at_another() {
    let rate = |message| classify(table(QuotaError::Rate), Some("insufficient_quota"), 429, message);
    assert_eq!(rate("You exceeded your current quota"), (RateLimited, LATER));
    assert_eq!(rate("Free allocated quota exceeded."), (NotAvailable, Retry::No));
}

#[test]
fn the_table_has_no_code_twice() {
    let mut names: Vec<_> = ROWS.iter().map(|row| (format!("{:?}", row.code), row.needle)).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(ROWS.iter().filter_map(|row| row.needle).all(|needle| needle == needle.to_ascii_lowercase()));
}
