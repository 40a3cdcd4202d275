//! Codes, statuses and messages of the service's errors.
//!
//! Source: the vendor's error-code page for DashScope.
use crate::simulator::script::error::{ErrorAnswer, Kind, ServiceError};

/// Fills in missing parts: the code from the kind or the status, the status and message from the code.
pub(in crate::simulator::script) fn answer(error: &ServiceError) -> ErrorAnswer {
    let usual = error.kind.map(of_kind);
    let code = match (&error.code, usual) {
        (Some(code), _) => code.as_str(),
        (None, Some((code, _))) => code,
        (None, None) => code_of(error.status.unwrap_or(500)),
    };
    let row = ERRORS.iter().find(|(known, ..)| *known == code);
    let status = error.status.or(row.map(|row| row.1)).unwrap_or(500);
    let message = error.message.as_deref().or(usual.and_then(|(_, message)| message));
    let message = message.or(row.map(|row| row.2)).unwrap_or("The request was not served.");
    ErrorAnswer { status, code: code.to_owned(), message: message.to_owned(), class: "", param: "" }
}

/// The usual code of a kind of error, and its message where it is not that of the code.
fn of_kind(kind: Kind) -> (&'static str, Option<&'static str>) {
    match kind {
        Kind::Parameter => ("InvalidParameter", None),
        Kind::TooLong => ("InvalidParameter", Some("Range of input length should be [1, 98304]")),
        Kind::TooLarge => ("BadRequest.TooLarge", None),
        Kind::Cap => ("InvalidParameter", Some("Range of max_tokens should be [1, 8192]")),
        Kind::Filter | Kind::FilterInAnswer => ("DataInspectionFailed", None),
        Kind::Image => ("InvalidParameter", Some("url error, please check url！")),
        Kind::Key => ("InvalidApiKey", None),
        Kind::Rights => ("AccessDenied.Unpurchased", None),
        Kind::Money => ("Arrearage", None),
        Kind::Model => ("ModelNotFound", None),
        Kind::Path => ("NotFound", None),
        Kind::Rate => ("Throttling.RateQuota", None),
        Kind::Full | Kind::Loading => ("ModelUnavailable", None),
        Kind::Fault => ("InternalError", None),
    }
}

/// The usual code of a status.
fn code_of(status: u16) -> &'static str {
    match status {
        401 => "InvalidApiKey",
        403 => "AccessDenied",
        404 => "ModelNotFound",
        408 => "RequestTimeOut",
        413 => "BadRequest.TooLarge",
        429 => "Throttling.RateQuota",
        503 => "ModelUnavailable",
        504 => "InternalError.Timeout",
        400..=499 => "InvalidParameter",
        _ => "InternalError",
    }
}

/// Code, usual status, usual message.
const ERRORS: &[(&str, u16, &str)] = &[
    ("InvalidApiKey", 401, "Invalid API-key provided."),
    ("NOT AUTHORIZED", 401, "Workspace is not authorized."),
    ("AccessDenied", 403, "Access denied."),
    ("AccessDenied.Unpurchased", 403, "Access to model denied. The model is not activated."),
    ("Model.AccessDenied", 403, "Model access denied."),
    ("AllocationQuota.FreeTierOnly", 403, "The free tier of the model has been exhausted."),
    ("Arrearage", 400, "Access denied, please make sure your account is in good standing."),
    ("ModelNotFound", 404, "Model can not be found."),
    ("NotFound", 404, "Not found!"),
    ("Model.NotExist", 404, "Model not exist."),
    (
        "InvalidParameter",
        400,
        "Required parameter(s) missing or invalid, please check the request parameters.",
    ),
    ("BadRequest.EmptyInput", 400, "Required input parameter missing from request."),
    ("BadRequest.EmptyParameters", 400, "Required parameter \"parameters\" missing from request."),
    ("BadRequest.EmptyModel", 400, "Required parameter \"model\" missing from request."),
    ("BadRequest.TooLarge", 413, "Payload Too Large"),
    ("DataInspectionFailed", 400, "Output data may contain inappropriate content."),
    ("Throttling", 429, "Requests throttling triggered."),
    ("Throttling.RateQuota", 429, "Requests rate limit exceeded, please try again later."),
    ("Throttling.BurstRate", 429, "Request rate increased too quickly."),
    ("Throttling.AllocationQuota", 429, "Allocated quota exceeded, please increase your quota limit."),
    ("PrepaidBillOverdue", 429, "The prepaid bill is overdue."),
    ("RequestTimeOut", 408, "Request timed out, please try again later."),
    (
        "InternalError",
        500,
        "An internal error has occured, please try again later or contact service support.",
    ),
    ("InternalError.Timeout", 500, "An internal timeout error has occured during execution."),
    ("SystemError", 500, "An system error has occured, please try again later."),
    ("ModelServingError", 500, "The model serving is overloaded."),
    ("ModelUnavailable", 503, "Model is unavailable, please try again later."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_a_code_that_has_that_status() {
        for status in [401, 403, 404, 408, 413, 429, 503] {
            let (_, usual, _) =
                ERRORS.iter().find(|(code, ..)| *code == code_of(status)).expect("a known code");
            assert_eq!(*usual, status);
        }
        assert_eq!([400, 418, 499].map(code_of), ["InvalidParameter"; 3]);
        assert_eq!([500, 502, 505].map(code_of), ["InternalError"; 3]);
        assert_eq!(code_of(504), "InternalError.Timeout");
    }
}
