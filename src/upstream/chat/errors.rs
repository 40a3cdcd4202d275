//! The error table of chat completions: codes and sentences of many services.
use crate::{
    chat::{Retry, RunErrorKind as Kind},
    upstream::{
        error_table::{Code, LATER, Row, SOON, Table, begins, is, says, says_again},
        service::QuotaError,
    },
};

/// The rows for a service with this meaning of `insufficient_quota`.
pub(super) fn table(quota: QuotaError) -> Table {
    match quota {
        QuotaError::Money => &[ROWS],
        QuotaError::Rate => &[QUOTA_IS_RATE, ROWS],
    }
}

/// DashScope: tokens per minute (its list of error codes).
const QUOTA_IS_RATE: &[Row] = &[is("insufficient_quota", Kind::RateLimited, LATER)];

/// The meaning of an error about the field `max_completion_tokens`, and of no other.
pub(super) const REFUSES_TOKEN_CAP: (Kind, Retry) = (Kind::BadRequest, Retry::Once);

/// What is appended to the message of an error that names a parameter, see [`super::frame`].
pub(super) const PARAM: &str = "(param=";
/// What is appended to the message of an error that has the reasons of a moderation (OpenRouter).
pub(super) const MODERATED: &str = "(moderated)";

/// Codes, types and sentences from the API references of the services, and from what llama.cpp and vLLM answered.
/// A finish reason that is an error stands in the place of a code.
const ROWS: &[Row] = &[
    // The cap on the answer, although the sentence speaks of the context as well.
    says(Code::Any, "'max_completion_tokens' is too large", Kind::BadRequest),
    says(Code::Any, "cannot be greater than max_model_len", Kind::BadRequest),
    // The field itself: the next request has another one, see [`REFUSES_TOKEN_CAP`].
    says_again(Code::Any, "max_completion_tokens", REFUSES_TOKEN_CAP.0, REFUSES_TOKEN_CAP.1),
    // Too long.
    says(Code::Any, "maximum context length", Kind::InputTooLong),
    says(Code::Any, "available context size", Kind::InputTooLong),
    says(Code::Any, "range of input length", Kind::InputTooLong),
    says(Code::Any, "exceeded model token limit", Kind::InputTooLong),
    // Filters.
    says(Code::Any, "content exists risk", Kind::InputRefused),
    says(Code::Any, "inappropriate content", Kind::InputRefused),
    says(Code::Any, "content management policy", Kind::InputRefused),
    says(Code::Any, MODERATED, Kind::InputRefused),
    // The model reads text alone. llama.cpp says so with status 500.
    says(Code::Any, "image input is not supported", Kind::BadRequest),
    says(Code::Any, "not a multimodal model", Kind::BadRequest),
    says(Code::Any, "invalid image input", Kind::BadRequest),
    // Key and account.
    says(Code::Any, "invalid api key", Kind::NotSetUp),
    says(Code::Any, "incorrect api key", Kind::NotSetUp),
    says(Code::Any, "free allocated quota exceeded", Kind::NotAvailable),
    // A wrong path, although the type is that of an unknown model.
    says(Code::Any, "file not found", Kind::NotSetUp),
    says(Code::Any, "no models loaded", Kind::ModelNotFound),
    says(Code::Any, "(param=model)", Kind::ModelNotFound),
    // Loading, full. The route waits for what loads.
    says_again(Code::Any, "loading model", Kind::UpstreamError, SOON),
    says_again(Code::Any, "currently busy", Kind::UpstreamError, LATER),
    says_again(Code::Any, "prefill token backlog", Kind::UpstreamError, LATER),
    says_again(Code::Any, "rate limit", Kind::RateLimited, SOON),
    says_again(Code::Any, "too many requests", Kind::RateLimited, SOON),
    says(Code::Other, "does not exist", Kind::ModelNotFound),
    // Key, rights.
    is("invalid_api_key", Kind::NotSetUp, Retry::No),
    is("InvalidApiKey", Kind::NotSetUp, Retry::No),
    is("authentication_error", Kind::NotSetUp, Retry::No),
    is("invalid_authentication_error", Kind::NotSetUp, Retry::No),
    is("access_denied", Kind::NotSetUp, Retry::No),
    is("permission_denied", Kind::NotSetUp, Retry::No),
    is("permission_denied_error", Kind::NotSetUp, Retry::No),
    // Money.
    is("insufficient_quota", Kind::NotAvailable, Retry::No),
    is("exceeded_current_quota_error", Kind::NotAvailable, Retry::No),
    is("Arrearage", Kind::NotAvailable, Retry::No),
    // Model.
    is("model_not_found", Kind::ModelNotFound, Retry::No),
    is("ModelNotFound", Kind::ModelNotFound, Retry::No),
    is("NotFoundError", Kind::ModelNotFound, Retry::No),
    is("not_found_error", Kind::ModelNotFound, Retry::No),
    is("resource_not_found_error", Kind::ModelNotFound, Retry::No),
    is("DeploymentNotFound", Kind::ModelNotFound, Retry::No),
    // Request.
    is("string_above_max_length", Kind::InputTooLong, Retry::No),
    is("context_length_exceeded", Kind::InputTooLong, Retry::No),
    is("exceed_context_size_error", Kind::InputTooLong, Retry::No),
    is("unsupported_parameter", Kind::BadRequest, Retry::No),
    is("unsupported_value", Kind::BadRequest, Retry::No),
    is("invalid_parameter_error", Kind::BadRequest, Retry::No),
    is("not_supported_error", Kind::BadRequest, Retry::No),
    is("extra_forbidden", Kind::BadRequest, Retry::No),
    // Filters. The reader knows whether text was shown, and then makes it the answer's refusal.
    is("content_filter", Kind::InputRefused, Retry::No),
    is("content_policy_violation", Kind::InputRefused, Retry::No),
    is("data_inspection_failed", Kind::InputRefused, Retry::No),
    is("DataInspectionFailed", Kind::InputRefused, Retry::No),
    is("ResponsibleAIPolicyViolation", Kind::InputRefused, Retry::No),
    // Rates.
    is("rate_limit_exceeded", Kind::RateLimited, SOON),
    is("rate_limit_error", Kind::RateLimited, SOON),
    is("rate_limit_reached_error", Kind::RateLimited, SOON),
    is("limit_requests", Kind::RateLimited, SOON),
    is("limit_burst_rate", Kind::RateLimited, LATER),
    is("engine_overloaded_error", Kind::RateLimited, LATER),
    begins("Throttling", Kind::RateLimited, SOON),
    // Faults of the service.
    is("unavailable_error", Kind::UpstreamError, SOON),
    is("overloaded_error", Kind::UpstreamError, LATER),
    is("insufficient_system_resource", Kind::UpstreamError, LATER),
    is("error", Kind::UpstreamError, SOON),
    is("error_finish", Kind::UpstreamError, SOON),
    // vLLM stops all answers so when it shuts down.
    is("abort", Kind::Interrupted, Retry::Once),
    begins("InternalError", Kind::UpstreamError, SOON),
];

/// Types of errors that stand for an HTTP status and say no more: an event of a stream has no status of its own.
const TYPES: &[(&str, u16)] = &[
    ("invalid_request_error", 400),
    ("BadRequestError", 400),
    ("Bad Request", 400),
    ("authentication_error", 401),
    ("permission_error", 403),
    ("NotFoundError", 404),
    ("not_found_error", 404),
    ("rate_limit_error", 429),
    ("server_error", 500),
    ("api_error", 500),
    ("internal_error", 500),
    ("InternalServerError", 500),
    ("unavailable_error", 503),
    ("ServiceUnavailableError", 503),
    ("overloaded_error", 503),
];

/// The status for which a type of error stands.
pub(super) fn status_of(kind: &str) -> Option<u16> {
    TYPES.iter().find(|(name, _)| *name == kind).map(|(_, status)| *status)
}

#[cfg(test)]
mod tests;
