//! The error table of DashScope's native dialect.
use crate::{
    chat::{Retry, RunErrorKind},
    upstream::error_table::{Code, LATER, Row, SOON, Table, begins, is, says},
};

const TOO_LONG: &str = "range of input length";
const FREE_QUOTA: &str = "free allocated quota exceeded";
const NO_MODEL: &str = "model not exist";
const WRONG_URL: &str = "url error";

/// Codes of DashScope's list of error codes (API reference). The lower-case codes of its OpenAI-compatible mode
/// are not among them: they belong to another dialect.
pub(super) const TABLE: Table = &[ROWS];

const ROWS: &[Row] = &[
    // Where the message decides.
    says(Code::Begins("InvalidParameter"), TOO_LONG, RunErrorKind::InputTooLong),
    says(Code::Begins("InternalError"), TOO_LONG, RunErrorKind::InputTooLong),
    says(Code::Begins("BadRequest"), TOO_LONG, RunErrorKind::InputTooLong),
    says(Code::Begins("InvalidParameter"), NO_MODEL, RunErrorKind::ModelNotFound),
    // The model lives on the other endpoint.
    says(Code::Begins("InvalidParameter"), WRONG_URL, RunErrorKind::NotSetUp),
    // Reads like any other quota message, but does not clear by itself.
    says(Code::Begins("Throttling"), FREE_QUOTA, RunErrorKind::NotAvailable),
    says(Code::Other, TOO_LONG, RunErrorKind::InputTooLong),
    says(Code::Other, FREE_QUOTA, RunErrorKind::NotAvailable),
    // Key, rights, host.
    is("InvalidApiKey", RunErrorKind::NotSetUp, Retry::No),
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
    is("BadRequest.TooLarge", RunErrorKind::InputTooLong, Retry::No),
    is("InternalError.Algo.InvalidParameter", RunErrorKind::BadRequest, Retry::No),
    is("UnsupportedOperation", RunErrorKind::BadRequest, Retry::No),
    is("InvalidURL", RunErrorKind::BadRequest, Retry::No),
    // We closed first; there is no client left.
    is("ClientDisconnect", RunErrorKind::Cancelled, Retry::No),
    // Filters. The reader knows whether text was shown, and then makes it the answer's refusal.
    is("DataInspectionFailed", RunErrorKind::InputRefused, Retry::No),
    is("InternalError.Algo.DataInspectionFailed", RunErrorKind::InputRefused, Retry::No),
    is("CustomRoleBlocked", RunErrorKind::InputRefused, Retry::No),
    is("FaqRuleBlocked", RunErrorKind::InputRefused, Retry::No),
    is("IPInfringementSuspect", RunErrorKind::InputRefused, Retry::No),
    // Rates. Tokens per minute and a rate that rose too fast need longer than requests per second.
    is("Throttling", RunErrorKind::RateLimited, SOON),
    is("Throttling.RateQuota", RunErrorKind::RateLimited, SOON),
    is("LimitRequests", RunErrorKind::RateLimited, SOON),
    is("Throttling.BurstRate", RunErrorKind::RateLimited, LATER),
    is("Throttling.AllocationQuota", RunErrorKind::RateLimited, LATER),
    // Faults of the service.
    is("RequestTimeOut", RunErrorKind::UpstreamTimeout, Retry::Once),
    is("ResponseTimeout", RunErrorKind::UpstreamTimeout, Retry::Once),
    is("InternalError.Timeout", RunErrorKind::UpstreamTimeout, Retry::Once),
    is("InternalError", RunErrorKind::UpstreamError, SOON),
    is("InternalError.Algo", RunErrorKind::UpstreamError, SOON),
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

#[cfg(test)]
mod tests;
