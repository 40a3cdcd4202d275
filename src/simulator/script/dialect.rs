//! What is written the same way whatever was requested, by dialect.
use super::{
    Dialect, chat, dashscope,
    error::{ErrorAnswer, ServiceError},
};

impl Dialect {
    /// The error with everything that is written of it.
    pub(super) fn answer(&self, error: &ServiceError) -> ErrorAnswer {
        match self {
            Dialect::DashScope { .. } => dashscope::answer(error),
            Dialect::Chat { spell, .. } => chat::answer(error, spell),
        }
    }

    /// The JSON of an error.
    pub(super) fn error_json(&self, error: &ErrorAnswer, request_id: &str) -> Vec<u8> {
        match self {
            Dialect::DashScope { .. } => dashscope::error_json(error, request_id),
            Dialect::Chat { spell, .. } => chat::error_json(error, spell),
        }
    }

    /// Content type of an event stream.
    pub(super) fn event_stream(&self) -> &'static str {
        match self {
            Dialect::DashScope { .. } => "text/event-stream;charset=UTF-8",
            Dialect::Chat { .. } => "text/event-stream; charset=utf-8",
        }
    }
}
