//! The `/sim` language: the content of one answer, its timing and its faults.
//!
//! Pure: no socket, no timer, no clock. Time and randomness are arguments.
mod answer;
mod chat;
mod dashscope;
mod delta;
mod dialect;
mod error;
mod expected;
mod faulty;
mod frames;
mod keys;
mod models;
mod pieces;
mod plan;
mod player;
mod request;
mod source;
mod spelling;
mod switches;
mod times;
mod value;

#[cfg(test)]
mod tests;

pub use answer::reply;
pub use chat::{Break, Spell, model_list, parse as parse_chat};
pub use dashscope::{Endpoint, Format, parse as parse_dashscope};
pub use delta::Odd;
pub use error::{Kind, ServiceError};
pub use expected::Expected;
pub use faulty::{Situation, choose};
pub use keys::{check_key, check_rights, mark};
pub use models::{FAULTY_MODELS, MODELS};
pub use plan::{Fixed, Head, Pacing, Plan, RandomInputs, plan};
pub use player::{Player, Step};
pub use request::{Dialect, Mode, Request, Turn};
pub use spelling::Spelling;
pub use switches::{Switch, switches, table};
pub use times::Times;

use std::time::Duration;

/// Prefix of a user message that controls one answer.
pub const PREFIX: &str = "/sim";
/// Maximum number of switches in one message; more are rejected.
pub const SWITCHES_MAX: usize = 64;
/// Maximum number of deltas in one answer; more are rejected.
pub const TOKENS_MAX: u64 = 1_000_000;
/// Maximum bytes of text in one streamed answer; more are rejected.
pub const TEXT_MAX: u64 = 256 << 20;
/// The same where the whole text is kept in memory: cumulative streams and plain responses.
pub const HELD_TEXT_MAX: u64 = 16 << 20;
/// Default number of deltas in a scripted answer.
const TOKENS_DEFAULT: u64 = 40;

/// One scripted answer, parsed from a `/sim` message. Every field is a switch or a group of switches.
#[derive(Clone, Debug, Default)]
pub struct Script {
    pub text: Option<String>,
    pub tokens: Option<u64>,
    pub word_len: Option<u64>,
    pub alphabet: Alphabet,
    /// Number of reasoning deltas before the answer; `None` leaves it to the model.
    pub think: Option<u64>,
    pub finish: Option<String>,
    pub seed: Option<u64>,
    pub stamp: bool,
    pub number: bool,
    pub empty_every: u64,
    pub mode: Option<Mode>,

    pub head_wait: Duration,
    pub first: Option<Duration>,
    pub pace: Option<Duration>,
    /// Share of one pace by which this stream is shifted, 0 to 1; `None` is random.
    pub phase: Option<f64>,
    pub group: u64,
    pub keepalive: Option<Duration>,
    pub split: Split,
    /// The kernel holds small writes back until earlier ones are acknowledged.
    pub nagle: bool,

    pub head: HeadFault,
    pub error: ErrorText,
    /// Faults with the number of deltas before them, in the order of the message.
    pub faults: Vec<(u64, Fault)>,
    pub after_finish: Vec<AfterFinish>,
    pub spelling: Spelling,
    pub usage: UsageKind,
    /// Spelling of the chat dialect; `None` is that of the simulator.
    pub spell: Option<&'static Spell>,
    /// No `[DONE]` at the end.
    pub no_done: bool,
    /// A choice carries `"index":0`, as newer models do.
    pub index: bool,
    pub no_request_id: bool,
    pub running_null: bool,
    pub last_null: bool,
    /// The faults apply to this many requests with the same message; after that the answer is good.
    pub times: Option<u64>,
    /// The faults apply for this time after the first request with the same message.
    pub lasts: Option<Duration>,
    /// Names of the simulators at which the faults apply; everywhere if empty.
    pub places: Vec<String>,
    /// More requests in progress than this are refused.
    pub runs: Option<u64>,
    /// The first delta comes this much later.
    pub late: Duration,
    /// The message determines the text of the answer.
    pub has_content: bool,
    pub help: bool,
}

/// Where an error is reported: the four places used by the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// JSON under an HTTP error status.
    Json,
    /// An SSE frame under an HTTP error status.
    SseWithStatus,
    /// HTTP 200, and the first frame is the error.
    FirstFrame,
    /// In a frame after some text.
    MidStream,
}

/// Faults before or in the head of the response.
#[derive(Clone, Debug, Default)]
pub struct HeadFault {
    pub carrier: Option<Carrier>,
    pub kind: Option<HeadKind>,
    pub retry_after: Option<String>,
    pub retry_after_ms: Option<String>,
    pub content_type: Option<String>,
    pub gzip: bool,
    /// Replaces the stream by a gzip bomb of this many MiB; 0 for none.
    pub bomb_mib: u64,
    pub headers: u64,
    pub header_bytes: u64,
    /// Interim responses before the real one.
    pub early_hints: u64,
    /// The idle connection is closed this long after the answer.
    pub close_idle: Option<Duration>,
    /// Declares a content length that the body never reaches.
    pub short_length: bool,
}

/// An unusual response head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    Html,
    Empty,
    /// The whole answer as JSON although a stream was requested.
    JsonInstead,
    /// HTTP 200, JSON, with a code and no output.
    JsonError,
    NoType,
    Redirect,
    /// Nothing is ever sent.
    Never,
    /// The connection is reset.
    Reset,
    BadStatusLine,
    /// HTTP/1.1 with neither length nor chunks: the body ends with the connection.
    UntilClose,
    BadChunk,
    HalfChunk,
}

/// Status, code and message of an error, where the `/sim` message sets them.
#[derive(Clone, Debug, Default)]
pub struct ErrorText {
    pub kind: Option<Kind>,
    pub status: Option<u16>,
    pub code: Option<String>,
    pub message: Option<String>,
    /// Its form in a stream of the chat dialect.
    pub breaks: Option<Break>,
}

impl ErrorText {
    fn is_given(&self) -> bool {
        self.kind.is_some() || self.status.is_some() || self.code.is_some()
    }

    fn service_error(&self) -> ServiceError {
        ServiceError {
            kind: self.kind,
            status: self.status,
            code: self.code.clone(),
            message: self.message.clone(),
            retry_after: None,
        }
    }
}

/// Faults between two deltas.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    Cut,
    CutInFrame,
    Reset,
    Stall,
    Error,
    End,
    EndInFrame,
    /// A result frame with this payload.
    Data(Vec<u8>),
    /// A payload that a correct service would not send.
    Odd(Odd),
    /// These bytes unchanged.
    Bytes(Vec<u8>),
    /// One `data:` line of this many bytes.
    LongLine(u64),
    Rewrite,
    Shrink,
    SwitchMode,
}

/// Frames after the terminal frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFinish {
    Text,
    SecondFinish,
    Usage,
    Done,
}

/// How usage is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsageKind {
    #[default]
    RunningTotals,
    Absent,
    Empty,
}

/// Characters of filler words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alphabet {
    #[default]
    Latin,
    Chinese,
    Emoji,
    Mixed,
}

/// How writes are split.
#[derive(Clone, Copy, Debug, Default)]
pub struct Split {
    /// Bytes per write; 0 does not split.
    pub bytes: usize,
    /// Writes per event, of equal length; 0 does not split.
    pub writes: usize,
    /// Pause between the parts.
    pub gap: Duration,
    /// Ends a write after the first byte of every multi-byte character.
    pub inside_characters: bool,
}

impl Script {
    /// Whether this user message controls the simulator.
    pub fn is_script(text: &str) -> bool {
        text.strip_prefix(PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
    }

    /// A good answer to an ordinary message.
    pub fn good() -> Script {
        Script { group: 1, ..Script::default() }
    }

    /// Parses a `/sim` message.
    ///
    /// # Errors
    /// An error that names the switch, and the nearest known one where it is unknown.
    pub fn parse(text: &str) -> Result<Script, String> {
        Self::read(text, true)
    }

    /// The same answer without its faults, for the request after the last faulty one.
    ///
    /// # Errors
    /// As [`Script::parse`].
    pub fn parse_healthy(text: &str) -> Result<Script, String> {
        Self::read(text, false)
    }

    fn read(text: &str, with_faults: bool) -> Result<Script, String> {
        let rest = text.strip_prefix(PREFIX).unwrap_or(text);
        let settings = value::settings(rest)?;
        if settings.len() > SWITCHES_MAX {
            return Err(format!("at most {SWITCHES_MAX} switches in one message"));
        }
        let mut script = Script { help: settings.is_empty(), has_content: true, ..Script::good() };
        for setting in &settings {
            let switch = switches::find(&setting.name)?;
            if with_faults || !switch.fault {
                (switch.set)(&mut script, setting)
                    .map_err(|why| format!("switch {}: {why}", setting.name))?;
            }
        }
        script.faults.sort_by_key(|(after, _)| *after);
        script.check()?;
        Ok(script)
    }

    /// The spelling that a message asks for.
    pub(crate) fn spell_of(text: &str) -> Option<&'static Spell> {
        if Self::is_script(text) { Self::parse(text).ok()?.spell } else { None }
    }

    /// Checks combinations of switches.
    fn check(&self) -> Result<(), String> {
        let letters = self.word_len.unwrap_or(8).max(self.text.as_ref().map_or(0, |text| text.len() as u64));
        let held = self.mode == Some(Mode::Cumulative);
        let bound = if held { HELD_TEXT_MAX } else { TEXT_MAX };
        if self.tokens.unwrap_or(TOKENS_DEFAULT).saturating_mul(letters) > bound && self.tokens.is_some() {
            return Err(format!("switch tokens: the answer would be longer than {bound} bytes"));
        }
        if self.head.carrier == Some(Carrier::MidStream) && !self.has_error() {
            return Err("switch carrier: d needs error_after".to_owned());
        }
        Ok(())
    }

    fn has_error(&self) -> bool {
        self.faults.iter().any(|(_, fault)| *fault == Fault::Error)
    }

    /// The carrier of an error before the text; a status or code alone means JSON with a status.
    pub(crate) fn early_carrier(&self) -> Option<Carrier> {
        match self.head.carrier {
            Some(Carrier::MidStream) => None,
            Some(carrier) => Some(carrier),
            None if self.head.kind.is_some() || self.has_error() => None,
            None if self.error.is_given() => Some(Carrier::Json),
            None => None,
        }
    }

    /// The number of answer deltas, where the message determines it.
    pub(crate) fn answer_tokens(&self) -> Option<u64> {
        match (self.tokens, &self.text) {
            (None, None) => Some(TOKENS_DEFAULT),
            (tokens, _) => tokens,
        }
    }
}
