//! Codes, statuses and messages of the service's errors.
//!
//! Source: the vendor's error-code page for DashScope.
use std::fmt;

/// An error response of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceError {
    /// HTTP status.
    pub status: u16,
    /// The service's code, `InvalidParameter` for example.
    pub code: String,
    /// The service's message.
    pub message: String,
}

impl ServiceError {
    /// An error with this status, code and message.
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        ServiceError { status, code: code.to_owned(), message: message.into() }
    }

    /// 400 with the code of most invalid requests.
    pub fn parameter(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidParameter", message)
    }

    /// A code from the table, with its usual status and message.
    pub fn known(code: &str) -> Self {
        Self::filled(None, Some(code), None)
    }

    /// Fills in missing parts: the code from the status, the status and message from the code.
    pub fn filled(status: Option<u16>, code: Option<&str>, message: Option<&str>) -> Self {
        let code = code.unwrap_or_else(|| code_of(status.unwrap_or(500)));
        let row = ERRORS.iter().find(|(known, ..)| *known == code);
        let status = status.or(row.map(|row| row.1)).unwrap_or(500);
        let message = message.or(row.map(|row| row.2)).unwrap_or("The request was not served.");
        Self::new(status, code, message)
    }

    /// The JSON body; without request id if `request_id` is empty.
    pub fn json(&self, request_id: &str) -> Vec<u8> {
        let mut fields = serde_json::Map::new();
        fields.insert("code".to_owned(), self.code.clone().into());
        fields.insert("message".to_owned(), self.message.clone().into());
        if !request_id.is_empty() {
            fields.insert("request_id".to_owned(), request_id.into());
        }
        serde_json::Value::Object(fields).to_string().into_bytes()
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.message)
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
