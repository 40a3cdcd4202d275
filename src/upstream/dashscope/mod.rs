//! DashScope's native text generation: the request that is sent and the answer that is read.
mod answer;
mod body;
mod cumulative;
mod errors;
mod event;
mod outlet;
mod reader;
mod region;
mod repeats;
mod template;

pub use body::{body, headers, path};
pub use reader::Reader;
pub use region::{advice, other_region};
pub use repeats::Habit;

/// What the operator chose for one DashScope model.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The model's name, `qwen-plus` for example.
    pub model: String,
    pub endpoint: Endpoint,
    /// Ask for only what is new in each event. `false` gives the text so far in each event, which
    /// costs the service and us more, and which many newer models refuse.
    pub incremental: bool,
    /// `enable_thinking`; `None` leaves it to the model. `Some(true)` forces incremental output,
    /// as the service refuses thinking without it.
    pub thinking: Option<bool>,
    /// The cap on the answer, in tokens.
    pub max_tokens: Option<u32>,
    /// The sub-workspace that the key belongs to.
    pub workspace: Option<String>,
}

impl Settings {
    /// Whether increments are asked for. The answer is read by what was asked, unless it plainly repeats the
    /// text so far, see [`Habit`].
    pub fn is_incremental(&self) -> bool {
        self.incremental || self.thinking == Some(true)
    }

    /// Whether the request goes to the multimodal endpoint, where a content is an array.
    pub fn is_multimodal(&self) -> bool {
        match self.endpoint {
            Endpoint::Text => false,
            Endpoint::Multimodal => true,
            Endpoint::Auto => is_multimodal_family(&self.model),
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

/// Bounds on what is read of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One line of the event stream, in bytes. In cumulative mode a line holds the whole text.
    pub line_bytes: usize,
    /// One event of several lines, or an answer that is not a stream, in bytes.
    pub event_bytes: usize,
    /// Answer and thinking together, in bytes of text.
    pub answer_bytes: usize,
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
