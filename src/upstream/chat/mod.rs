//! Chat completions, as OpenAI defined them and many services and engines speak them: the request that is sent and the
//! answer that is read.
mod body;
mod errors;
mod frame;
mod frames;

pub use body::OWN_FIELDS;
pub use frames::ChatFrames;

use super::{
    exchange::{Head, Header, Limits, Outbound},
    json_fields::Extra,
    reader::BodyReader,
    service::{Continues, QuotaError, ThinkingField, TokenCap},
};
use crate::chat::RunRequest;
use std::{
    borrow::Cow,
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// Models that were seen to refuse `max_completion_tokens` and are remembered; beyond it, each further one is asked twice.
const REFUSING_MAX: usize = 256;

/// The dialect of one upstream with chat completions.
#[derive(Debug)]
pub struct Chat {
    settings: Settings,
    path: Cow<'static, str>,
    /// That of a request that is to go on with an answer.
    continue_path: Cow<'static, str>,
    headers: Arc<[Header]>,
    /// The models, by the upstream's own names, that refuse `max_completion_tokens`.
    refusing: Mutex<BTreeSet<Box<str>>>,
}

/// What the operator chose for such an upstream, or its service's row.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `None` leaves it to the model.
    pub thinking: Option<bool>,
    pub thinking_field: ThinkingField,
    /// The cap on the answer, in tokens.
    pub max_tokens: Option<u32>,
    pub token_cap: TokenCap,
    pub include_usage: bool,
    pub continues: Continues,
    /// Stands before the path of a request that is to go on with an answer.
    pub continue_path: &'static str,
    pub insufficient_quota: QuotaError,
    /// `api-version` of an Azure deployment.
    pub api_version: Option<String>,
    /// Further headers of every request.
    pub headers: Vec<Header>,
    /// Further fields of every request.
    pub extra: Extra,
}

impl Chat {
    pub fn new(settings: Settings) -> Self {
        Chat {
            path: body::path("", settings.api_version.as_deref()),
            continue_path: body::path(settings.continue_path, settings.api_version.as_deref()),
            headers: body::headers(&settings.headers).into(),
            refusing: Mutex::default(),
            settings,
        }
    }

    /// The headers of every request, that with the key excepted.
    pub fn headers(&self) -> &Arc<[Header]> {
        &self.headers
    }

    /// The request for a run, by the upstream's own name for the model.
    pub fn request(&self, model: &str, request: &RunRequest) -> Outbound {
        let token_cap = if self.refuses(model) { TokenCap::MaxTokens } else { self.settings.token_cap };
        Outbound {
            path: if request.continues() { self.continue_path.clone() } else { self.path.clone() },
            headers: Arc::clone(&self.headers),
            body: body::body(&self.settings, token_cap, model, request).into(),
        }
    }

    /// The reader of a response to such a request.
    pub fn reader(&self, head: Head<'_>, limits: Limits) -> BodyReader<ChatFrames> {
        BodyReader::new(ChatFrames::new(self.settings.insufficient_quota), head, limits)
    }

    /// Notes that a model refused `max_completion_tokens`; a message for the operator, once for each model.
    pub fn learn(&self, model: &str, reader: &BodyReader<ChatFrames>) -> Option<&'static str> {
        if self.settings.token_cap == TokenCap::MaxTokens || !reader.frames().refuses_token_cap() {
            return None;
        }
        let mut refusing = self.refusing.lock().unwrap_or_else(PoisonError::into_inner);
        (refusing.len() < REFUSING_MAX && refusing.insert(model.into()))
            .then_some("the model refuses max_completion_tokens; it is sent max_tokens from now on")
    }

    fn refuses(&self, model: &str) -> bool {
        self.settings.token_cap != TokenCap::MaxTokens
            && self.refusing.lock().unwrap_or_else(PoisonError::into_inner).contains(model)
    }
}

#[cfg(test)]
mod tests;
