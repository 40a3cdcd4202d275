//! The content of one answer, with the limits of the request applied.
use super::super::{
    Dialect, HELD_TEXT_MAX, Kind, Mode, Request, Script, ServiceError, answer,
    delta::{Delta, Finish},
    frames::Frames,
    player::Parts,
    source::{Source, mix},
    switches,
};
use super::{RandomInputs, frames};
use crate::{json, units::nanos};
use bytes::{Bytes, BytesMut};
use std::time::Duration;

/// Maximum reasoning tokens of a reasoning-only model when the request has no budget.
const THINK_MAX: u64 = 38_912;

/// The content of an answer, with the limits of the request applied.
pub(super) struct Content {
    reasoning: Source,
    source: Source,
    pub(super) think: u64,
    pub(super) tokens: u64,
    finish: String,
}

impl Content {
    pub(super) fn of(request: &Request, script: &Script) -> Result<Content, ServiceError> {
        let seed = script.seed.or(request.seed).unwrap_or_else(|| seed_of(request.last_user_text()));
        let text = if script.help {
            Some(format!("## Switches of `/sim`\n\n{}", switches::table()))
        } else if script.has_content {
            script.text.clone()
        } else if request.model == "sim-echo" {
            Some(request.last_user_text().to_owned())
        } else {
            Some(answer::reply(&request.turns, seed))
        };
        let source = match text {
            Some(text) => Source::text(until_stop(text, &request.stop)),
            None => Source::Filler { alphabet: script.alphabet, word_len: script.word_len, seed },
        };
        let (reasoning, think) = match script.think {
            Some(think) => {
                (Source::Filler { alphabet: script.alphabet, word_len: None, seed: mix(seed) }, think)
            }
            None if request.thinking => {
                let source = Source::text(answer::reasoning(&request.turns));
                let length = source.len().unwrap_or(0);
                (source, length)
            }
            None => (Source::text(String::new()), 0),
        };
        let wanted = if script.help {
            None
        } else if script.has_content {
            script.answer_tokens()
        } else {
            None
        };
        let wanted = wanted.or(source.len()).unwrap_or(0);
        let (source, wanted, think) = match &request.prefix {
            Some(prefix) => {
                let rest = rest_of(&whole(&source, wanted)?, prefix);
                let wanted = rest.len().unwrap_or(0);
                (rest, wanted, 0)
            }
            None => (source, wanted, think),
        };
        let think = think.min(request.thinking_budget.unwrap_or(THINK_MAX.max(think)));
        let both = request.max_completion_tokens.unwrap_or(u64::MAX);
        let think = think.min(both);
        let tokens = wanted.min(request.max_tokens.unwrap_or(u64::MAX)).min(both - think);
        let held = !request.stream || mode(request, script) == Mode::Cumulative;
        if held && tokens.saturating_mul(script.word_len.unwrap_or(8)) > HELD_TEXT_MAX {
            return Err(ServiceError::parameter(format!(
                "switch tokens: at most {HELD_TEXT_MAX} bytes where the whole text is held"
            )));
        }
        let usual = if tokens < wanted { "length" } else { "stop" };
        let finish = script.finish.clone().unwrap_or(usual.to_owned());
        Ok(Content { reasoning, source, think, tokens, finish })
    }

    pub(super) fn total(&self) -> u64 {
        self.think + self.tokens
    }

    /// The body of a non-streamed response.
    pub(super) fn json(&self, frames: &Frames) -> Result<Bytes, ServiceError> {
        let text = whole(&self.source, self.tokens)?;
        let mut reasoning = String::new();
        (0..self.think).for_each(|k| self.reasoning.piece(k, &mut reasoning));
        let [mut content, mut thoughts] = [Vec::new(), Vec::new()];
        json::push_escaped(&mut content, &text);
        json::push_escaped(&mut thoughts, &reasoning);
        let mut out = BytesMut::new();
        frames.whole(
            &mut out,
            &Delta {
                content: &content,
                reasoning: &thoughts,
                finish: Some(Finish::Reason(&self.finish)),
                output_tokens: self.total(),
                reasoning_tokens: self.think,
            },
        );
        Ok(out.freeze())
    }

    pub(super) fn parts(
        self,
        request: &Request,
        script: &Script,
        random: &RandomInputs,
        (first, pace): (Duration, Duration),
    ) -> Parts {
        let pace = nanos(pace);
        let phase = script.phase.unwrap_or(random.phase).clamp(0.0, 1.0);
        Parts {
            frames: frames(request, script, random),
            think: self.think,
            total: self.total(),
            reasoning: self.reasoning,
            answer: self.source,
            mode: mode(request, script),
            finish: self.finish,
            last_null: script.last_null,
            no_last_blank: script.spelling.no_last_blank,
            stamp: script.stamp,
            number: script.number,
            empty_every: script.empty_every,
            after_finish: script.after_finish.clone(),
            faults: script.faults.iter().cloned().collect(),
            first: nanos(first),
            pace,
            phase: (pace as f64 * phase) as u64,
            group: script.group,
            keepalive: script.keepalive.map(nanos),
            split: script.split,
            bom: script.spelling.bom,
            error: error_in_stream(script),
        }
    }
}

/// Whether text is repeated. The chat dialect has increments only.
fn mode(request: &Request, script: &Script) -> Mode {
    match request.dialect {
        Dialect::DashScope { .. } => script.mode.unwrap_or(request.mode),
        Dialect::Chat { .. } => Mode::Incremental,
    }
}

/// The error in mid-stream; the default is the content filter.
fn error_in_stream(script: &Script) -> ServiceError {
    let error = script.error.service_error();
    if script.error.is_given() {
        error
    } else {
        ServiceError { message: error.message, ..ServiceError::of(Kind::FilterInAnswer) }
    }
}

/// The first pieces of a source as one text.
fn whole(source: &Source, pieces: u64) -> Result<String, ServiceError> {
    let mut text = String::new();
    for k in 0..pieces {
        source.piece(k, &mut text);
        if text.len() as u64 > HELD_TEXT_MAX {
            return Err(ServiceError::of(Kind::TooLarge));
        }
    }
    Ok(text)
}

/// What follows the beginning of a text. Where the text begins otherwise, all that differs.
fn rest_of(text: &str, prefix: &str) -> Source {
    let same = text.char_indices().zip(prefix.chars()).take_while(|((_, ours), theirs)| ours == theirs);
    let end = same.last().map_or(0, |((at, c), _)| at + c.len_utf8());
    Source::text(text[end..].to_owned())
}

/// The text before the first stop sequence.
fn until_stop(mut text: String, stop: &[String]) -> String {
    let end = stop.iter().filter(|word| !word.is_empty()).filter_map(|word| text.find(word.as_str())).min();
    text.truncate(end.unwrap_or(text.len()));
    text
}

/// A seed derived from the message (FNV-1a).
pub(in super::super) fn seed_of(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
