//! Codes, statuses, messages and forms of errors.
//!
//! Source: OpenAI's error codes, and the captures and sources named in `spell`.
use super::spell::{ErrorShape, INVALID, Spell, Wording};
use crate::simulator::script::error::{ErrorAnswer, Kind, ServiceError};
use serde_json::{Value, json};

const ROWS: &[Wording] = &[
    Wording(Kind::Parameter, 400, INVALID, "", "invalid_value", "The request is invalid."),
    Wording(
        Kind::TooLong,
        400,
        INVALID,
        "messages",
        "context_length_exceeded",
        "This model's maximum context length is 98304 tokens. Please reduce the length of the messages.",
    ),
    Wording(Kind::TooLarge, 413, INVALID, "", "request_too_large", "The request is too large."),
    Wording(
        Kind::Cap,
        400,
        INVALID,
        "max_tokens",
        "invalid_value",
        "max_tokens is too large: this model supports at most 8192 completion tokens.",
    ),
    Wording(
        Kind::Filter,
        400,
        INVALID,
        "",
        "content_policy_violation",
        "Your request was rejected by our safety system.",
    ),
    Wording(
        Kind::FilterInAnswer,
        400,
        "data_inspection_failed",
        "",
        "data_inspection_failed",
        "Output data may contain inappropriate content.",
    ),
    Wording(
        Kind::Image,
        400,
        INVALID,
        "",
        "invalid_value",
        "Invalid content type. image_url is only supported by certain models.",
    ),
    Wording(Kind::Key, 401, INVALID, "", "invalid_api_key", "Incorrect API key provided."),
    Wording(
        Kind::Rights,
        403,
        "permission_denied",
        "",
        "access_denied",
        "The key has no access to this model.",
    ),
    Wording(
        Kind::Money,
        429,
        "insufficient_quota",
        "",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    Wording(Kind::Model, 404, INVALID, "model", "model_not_found", "The model does not exist."),
    Wording(Kind::Path, 404, INVALID, "", "unknown_url", "Unknown request URL."),
    Wording(Kind::Rate, 429, "requests", "", "rate_limit_exceeded", "Rate limit reached for requests."),
    Wording(Kind::Full, 503, "server_error", "", "", "The server is overloaded, please try again later."),
    Wording(Kind::Loading, 503, "unavailable_error", "", "", "Loading model"),
    Wording(
        Kind::Fault,
        500,
        "server_error",
        "",
        "",
        "The server had an error while processing your request.",
    ),
];

/// The kind of a status that was given alone.
fn of_status(status: u16) -> Kind {
    match status {
        401 => Kind::Key,
        402 => Kind::Money,
        403 => Kind::Rights,
        404 => Kind::Model,
        413 => Kind::TooLarge,
        429 => Kind::Rate,
        503 => Kind::Full,
        400..=499 => Kind::Parameter,
        _ => Kind::Fault,
    }
}

/// Fills in missing parts: the kind from the code or the status, the others from the kind.
pub(in crate::simulator::script) fn answer(error: &ServiceError, spell: &Spell) -> ErrorAnswer {
    let by_code = || {
        let code = error.code.as_deref()?;
        ROWS.iter().find(|row| row.4 == code).map(|row| row.0)
    };
    let kind = error.kind.or_else(by_code).unwrap_or_else(|| of_status(error.status.unwrap_or(500)));
    let row = spell.wordings.iter().chain(ROWS).find(|row| row.0 == kind).unwrap_or(&ROWS[0]);
    let Wording(_, status, class, param, code, message) = *row;
    ErrorAnswer {
        status: error.status.unwrap_or(status),
        code: error.code.clone().unwrap_or_else(|| code.to_owned()),
        message: error.message.clone().unwrap_or_else(|| message.to_owned()),
        class,
        param,
    }
}

/// The JSON of an error, as this engine spells it.
pub(in crate::simulator::script) fn error_json(error: &ErrorAnswer, spell: &Spell) -> Vec<u8> {
    let ErrorAnswer { status, message, class, .. } = error;
    let null = |text: &str| if text.is_empty() { Value::Null } else { Value::from(text) };
    let (code, param) = (null(&error.code), null(error.param));
    let json = match spell.error {
        ErrorShape::Nested => {
            json!({ "error": { "message": message, "type": class, "param": param, "code": code } })
        }
        ErrorShape::StatusCode => {
            json!({ "error": { "message": message, "type": class, "param": param, "code": status } })
        }
        ErrorShape::CodeFirst => json!({ "error": { "code": status, "message": message, "type": class } }),
        ErrorShape::Flat => {
            json!({ "object": "error", "message": message, "type": class, "param": param, "code": status })
        }
        ErrorShape::NullCode => {
            json!({ "error": { "message": message, "type": class, "param": null, "code": null } })
        }
        ErrorShape::Digits if code.is_null() => {
            json!({ "error": { "code": status.to_string(), "message": message } })
        }
        ErrorShape::Digits => json!({ "error": { "code": code, "message": message, "param": param } }),
        ErrorShape::Metadata => json!({
            "error": { "code": status, "message": message, "metadata": { "provider_name": "Simulator" } }
        }),
    };
    json.to_string().into_bytes()
}
