//! DashScope's native text generation: the request that is sent and the answer that is read.
mod body;
mod cumulative;
mod errors;
mod frame;
mod frames;
mod region;
mod repeats;

pub use body::OWN_FIELDS;
#[cfg(test)]
pub(super) use frame::WireFrame;
pub use frames::FrameSource;
pub use region::{advice, other_region};

use super::{
    exchange::{Head, Header, Limits, Outbound},
    json_fields::Extra,
    reader::BodyReader,
};
use crate::chat::{Parameters, RunRequest};
use repeats::Habit;
use std::sync::Arc;

/// The dialect of one DashScope upstream.
#[derive(Debug)]
pub struct DashScope {
    settings: Settings,
    headers: Arc<[Header]>,
    habit: Habit,
}

impl DashScope {
    pub fn new(settings: Settings) -> Self {
        let headers = body::headers(&settings).into();
        DashScope { settings, headers, habit: Habit::default() }
    }

    /// The headers of every request, `Authorization` excepted: only the client holds the key.
    pub fn headers(&self) -> &Arc<[Header]> {
        &self.headers
    }

    /// The request for a run, by the service's own name for the model, `qwen-plus` for example.
    pub fn request(&self, model: &str, request: &RunRequest) -> Outbound {
        Outbound {
            path: body::path(&self.settings, model).into(),
            headers: Arc::clone(&self.headers),
            body: body::body(&self.settings, model, request).into(),
        }
    }

    /// The reader of a response to a request with these parameters. It expects the text so far in each event where that was asked for,
    /// or where other answers have shown it.
    pub fn reader(&self, set: &Parameters, head: Head<'_>, limits: Limits) -> BodyReader<FrameSource> {
        let frames = FrameSource::new(self.settings.is_incremental(set), self.habit.repeats());
        BodyReader::new(frames, head, limits)
    }

    /// Notes what a response that is over has shown; a warning for the operator, once.
    pub fn learn(&self, reader: &BodyReader<FrameSource>) -> Option<&'static str> {
        self.habit.note(reader.frames().shown()).then_some(
            "the model service sends the whole text so far in each event although only new text was asked for; \
             answers are read accordingly from now on; set upstream.incremental to false to ask for it",
        )
    }
}

/// What the operator chose for a DashScope upstream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    pub endpoint: Endpoint,
    /// Ask for only what is new in each event. `false` gives the text so far in each event, which
    /// costs the service and us more, and which many newer models refuse.
    pub incremental: bool,
    /// `enable_thinking`; `None` leaves it to the model. `Some(true)` forces incremental output,
    /// as the service refuses thinking without it.
    pub thinking: Option<bool>,
    /// The cap on the answer, in tokens.
    pub max_tokens: Option<u32>,
    /// Whether it goes on with the beginning of an answer.
    pub continues: bool,
    /// The sub-workspace that the key belongs to.
    pub workspace: Option<String>,
    /// Further headers of every request.
    pub headers: Vec<Header>,
    /// Further fields of `parameters`.
    pub extra: Extra,
}

impl Settings {
    /// Whether increments are asked for. The answer is read by what was asked, unless it plainly repeats the
    /// text so far, see [`Habit`].
    fn is_incremental(&self, set: &Parameters) -> bool {
        self.incremental || set.thinking.or(self.thinking) == Some(true)
    }

    /// Whether the request goes to the multimodal endpoint, where a content is an array.
    fn is_multimodal(&self, model: &str) -> bool {
        match self.endpoint {
            Endpoint::Text => false,
            Endpoint::Multimodal => true,
            Endpoint::Auto => is_multimodal_family(model),
        }
    }
}

/// Which of the two generation endpoints serves a model; each refuses the models of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Endpoint {
    /// By the model's name.
    #[default]
    Auto,
    /// `text-generation`, where a content is a string.
    Text,
    /// `multimodal-generation`, where a content is an array.
    Multimodal,
}

/// Vision models, and `qwen3.5-plus` and its successors (DashScope API reference).
fn is_multimodal_family(model: &str) -> bool {
    let model = model.to_ascii_lowercase();
    let vision = model.split('-').any(|part| part == "vl") || model.starts_with("qvq");
    let minor = model.strip_prefix("qwen3.").and_then(|rest| rest.split_once('-'));
    let plus = minor.is_some_and(|(minor, rest)| {
        minor.bytes().all(|byte| byte.is_ascii_digit()) && rest.split('-').next() == Some("plus")
    });
    vision || plus
}

#[cfg(test)]
mod tests;
