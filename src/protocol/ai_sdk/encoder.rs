//! Encodes the frames to a client.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use crate::json::{push_escaped, push_number, push_string};
use crate::{
    chat::{FinishReason, MessageId, RequestId, RunError, RunId, TextKind, Timing, Usage},
    protocol::{Rejection, ReplayPosition, Restart, ServerFrame, TurnEnd, TurnStart, Withdrawn, position},
};
use std::{cell::Cell, time::Duration};

/// Encodes the frames for one request.
#[derive(Clone, Debug)]
pub struct ChunkEncoder {
    /// The beginning of every chunk's frame, up to the sequence number. Contains the request ID.
    prefix: Box<str>,
    /// ID of the answer that is being sent, once it is known.
    answer: Option<MessageId>,
    /// The run, if it goes on with that answer.
    continued_by: Option<RunId>,
    at: ChunkPosition,
}

const PREFIX: &str = "{\"type\":\"chunk\",\"requestId\":\"";
const SEQUENCE: &str = "\",\"sequence\":";

/// Where an encoder is in what it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ChunkPosition {
    /// The sequence number of the next chunk: counts the chunks of this request without gaps.
    sequence: u32,
    /// Number within the turn of the last chunk that the subscriber has.
    received: Option<u32>,
    entries: u32,
    parts: u32,
    open: Option<TextKind>,
    /// Restarts of the turn, each of which has a number.
    restarts: u32,
}

/// Largest buffer that is kept between frames, in bytes; a larger one is freed after use.
const BUFFER_MAX: usize = 64 * 1024;

thread_local! {
    /// The buffer in which frames are written before they are sent.
    static BUFFER: Cell<String> = const { Cell::new(String::new()) };
}

impl ChunkEncoder {
    /// An encoder for one request; without one, for errors about frames whose request is unknown.
    pub fn new(request: Option<&RequestId>) -> Self {
        let prefix = [PREFIX, request.map_or("", RequestId::as_str), SEQUENCE].concat().into();
        ChunkEncoder { prefix, answer: None, continued_by: None, at: ChunkPosition::default() }
    }

    pub fn encode(&mut self, frame: &ServerFrame, send: impl FnMut(&str)) {
        let mut out = BUFFER.take();
        ChunkWriter { encoder: self, out: &mut out, send }.write(frame);
        if out.capacity() <= BUFFER_MAX {
            BUFFER.set(out);
        }
    }

    fn request(&self) -> &str {
        &self.prefix[PREFIX.len()..self.prefix.len().saturating_sub(SEQUENCE.len())]
    }
}

struct ChunkWriter<'a, S> {
    encoder: &'a mut ChunkEncoder,
    out: &'a mut String,
    send: S,
}

impl<S: FnMut(&str)> ChunkWriter<'_, S> {
    fn write(&mut self, frame: &ServerFrame) {
        match frame {
            ServerFrame::Accepted { start, .. } => self.start(start),
            ServerFrame::Resumed { position: Some(position) } => self.resumed(position),
            // The answer has no ID yet.
            ServerFrame::Resumed { position: None } => self.frame("start", |_| {}),
            ServerFrame::NoActive => self.frame("no-active", |_| {}),
            ServerFrame::Waiting { position } | ServerFrame::Queued { position, .. } => {
                self.transient("data-queue", |out| push_field(out, "{\"position\":", u64::from(*position)));
            }
            ServerFrame::Retrying { attempt, after, .. } => self.transient("data-notice", |out| {
                push_field(out, "{\"kind\":\"retrying\",\"attempt\":", u64::from(*attempt));
                push_field(out, ",\"after_ms\":", millis(*after));
            }),
            ServerFrame::Moving { .. } => {
                self.transient("data-notice", |out| out.push_str("{\"kind\":\"moving\""));
            }
            // Who joins later learns nothing of it.
            ServerFrame::Continued { .. } if self.encoder.at.received.is_none() => {}
            ServerFrame::Continued { .. } => self.send_chunk(|out| {
                out.push_str("{\"type\":\"message-metadata\",\"messageMetadata\":{\"continued\":1}}");
            }),
            ServerFrame::Restarted { restart, .. } => self.restarted(restart),
            ServerFrame::Text { kind, entry, text } => self.text(*kind, *entry, text),
            ServerFrame::TurnEnd { end, .. } => self.end(end),
            ServerFrame::Rejected { reason } => self.frame("error", |out| push_rejection(out, reason)),
            ServerFrame::Pong => self.frame("pong", |_| {}),
        }
    }

    fn start(&mut self, start: &TurnStart) {
        self.encoder.answer = Some(start.answer.clone());
        self.encoder.continued_by = start.continued_by;
        self.chunk(0, |out| {
            out.push_str("{\"type\":\"start\",\"messageId\":\"");
            out.push_str(start.answer.as_str());
            out.push('"');
            if let Some(model) = &start.model {
                out.push_str(",\"messageMetadata\":{\"model\":");
                push_string(out, model);
                push_run(out, start.continued_by);
                out.push('}');
            }
            out.push('}');
        });
        let is_news = self.chunk(1, |out| out.push_str("{\"type\":\"start-step\"}"));
        if is_news && start.omitted_turns > 0 {
            let turns = start.omitted_turns as u64;
            self.transient("data-history", |out| push_field(out, "{\"omitted_turns\":", turns));
        }
    }

    fn resumed(&mut self, position: &ReplayPosition) {
        self.frame("start", |out| {
            out.push_str(",\"messageId\":\"");
            out.push_str(position.answer.as_str());
            out.push('"');
            push_run(out, position.continued_by);
        });
        self.encoder.answer = Some(position.answer.clone());
        self.encoder.continued_by = position.continued_by;
        self.encoder.at = ChunkPosition {
            sequence: position.after.map_or(0, |after| after.saturating_add(1)),
            received: position.after,
            entries: position.entries,
            parts: position.parts,
            open: position.open,
            restarts: position.restarts,
        };
        if let Some(model) = &position.restarted_by {
            self.send_chunk(|out| push_model(out, model, false)); // The last one may not have arrived.
        }
    }

    fn restarted(&mut self, restart: &Restart) {
        let Restart { number, count, entries, parts, .. } = *restart;
        let at = ChunkPosition { entries, parts, open: None, restarts: count, ..self.encoder.at };
        self.encoder.at = at;
        if restart.withdrawn == Withdrawn::Nothing {
            self.chunk(number, |out| push_model(out, &restart.model, false));
        } else if self.chunk(number, |out| out.push_str("{\"type\":\"reset-step\"}")) {
            self.send_chunk(|out| push_model(out, &restart.model, true));
        }
    }

    fn text(&mut self, kind: TextKind, entry: u32, text: &str) {
        if self.encoder.at.open != Some(kind) {
            self.open(kind);
        }
        self.encoder.at.entries = entry;
        let ChunkPosition { parts: part, restarts, .. } = self.encoder.at;
        self.chunk(position::number(entry, part).saturating_add(restarts), |out| {
            out.push_str(match kind {
                TextKind::Reasoning => "{\"type\":\"reasoning-delta\",\"id\":\"",
                TextKind::Answer => "{\"type\":\"text-delta\",\"id\":\"",
            });
            push_number(out, u64::from(part));
            out.push_str("\",\"delta\":\"");
            push_escaped(out, text);
            out.push_str("\"}");
        });
    }

    #[cold]
    fn open(&mut self, kind: TextKind) {
        self.close();
        let at = &mut self.encoder.at;
        at.parts = at.parts.saturating_add(1);
        at.open = Some(kind);
        let (number, part) = (position::opening(at.entries, at.parts).saturating_add(at.restarts), at.parts);
        let name = match kind {
            TextKind::Reasoning => "reasoning-start",
            TextKind::Answer => "text-start",
        };
        self.chunk(number, |out| push_part(out, name, part));
    }

    fn close(&mut self) {
        let at = &mut self.encoder.at;
        let name = match at.open.take() {
            None => return,
            Some(TextKind::Reasoning) => "reasoning-end",
            Some(TextKind::Answer) => "text-end",
        };
        let (number, part) = (position::closing(at.entries, at.parts).saturating_add(at.restarts), at.parts);
        self.chunk(number, |out| push_part(out, name, part));
    }

    fn end(&mut self, end: &TurnEnd) {
        let ChunkPosition { entries, parts, restarts, .. } = self.encoder.at;
        let number = position::ending(entries, parts).saturating_add(restarts);
        match &end.outcome {
            // There was no text, so the client has nothing to keep.
            Err(error) if parts == 0 => {
                let run = self.run();
                return self.frame("error", |out| {
                    out.push(',');
                    push_run_error(out, error, run.as_deref());
                });
            }
            Err(error) => {
                self.close();
                let (number, run) = (self.figures(number, end), self.run());
                self.chunk(number, |out| {
                    out.push_str("{\"type\":\"error\",");
                    push_run_error(out, error, run.as_deref());
                    out.push('}');
                });
            }
            Ok(FinishReason::Stopped) => {
                self.close();
                let number = self.figures(number, end);
                self.chunk(number, |out| out.push_str("{\"type\":\"abort\",\"reason\":\"stopped\"}"));
            }
            Ok(reason) => {
                self.close();
                self.chunk(number, |out| out.push_str("{\"type\":\"finish-step\"}"));
                self.chunk(number.saturating_add(1), |out| {
                    push_finish(out, *reason, end.usage.as_ref(), end.timing)
                });
            }
        }
        self.frame("end", |_| {});
    }

    /// Sends usage and timing in a chunk of their own, for ends that cannot carry them. Returns the number of the end.
    fn figures(&mut self, number: u32, end: &TurnEnd) -> u32 {
        if end.usage.is_none() && end.timing.first_delta.is_none() {
            return number;
        }
        self.chunk(number, |out| {
            out.push_str("{\"type\":\"message-metadata\",\"messageMetadata\":");
            push_figures(out, end.usage.as_ref(), end.timing);
            out.push('}');
        });
        number.saturating_add(1)
    }

    /// The run whose answer is being sent, as it is called in the log.
    fn run(&self) -> Option<Box<str>> {
        let first = self.encoder.answer.as_ref()?.as_str().strip_prefix("msg-")?;
        match self.encoder.continued_by {
            None => Some(first.into()),
            Some(run) => Some(format!("{}-{run}", first.rsplit_once('-')?.0).into()),
        }
    }

    /// Sends the chunk with this number within the turn. Returns false if the subscriber already has it.
    fn chunk(&mut self, number: u32, write: impl FnOnce(&mut String)) -> bool {
        let at = &mut self.encoder.at;
        if at.received.is_some_and(|received| number <= received) {
            return false;
        }
        at.received = Some(number);
        self.send_chunk(write);
        true
    }

    /// Sends a chunk that is not part of the answer: it has a sequence number, but the number within the turn is that of
    /// the chunk before it.
    fn transient(&mut self, name: &str, write: impl FnOnce(&mut String)) {
        self.send_chunk(|out| {
            push_type(out, name);
            out.push_str(",\"transient\":true,\"data\":");
            write(out);
            out.push_str("}}");
        });
    }

    fn send_chunk(&mut self, write: impl FnOnce(&mut String)) {
        let (at, out) = (&mut self.encoder.at, &mut *self.out);
        out.clear();
        out.push_str(&self.encoder.prefix);
        push_number(out, u64::from(at.sequence));
        match at.received {
            Some(received) if received == at.sequence => {}
            Some(received) => push_field(out, ",\"entry\":", u64::from(received)),
            None => out.push_str(",\"entry\":null"),
        }
        at.sequence = at.sequence.saturating_add(1);
        out.push_str(",\"chunk\":");
        write(out);
        out.push('}');
        (self.send)(out);
    }

    /// Sends a frame that is not a chunk.
    fn frame(&mut self, name: &str, write: impl FnOnce(&mut String)) {
        self.out.clear();
        push_type(self.out, name);
        self.out.push_str(",\"requestId\":\"");
        self.out.push_str(self.encoder.request());
        self.out.push('"');
        write(self.out);
        self.out.push('}');
        (self.send)(self.out);
    }
}

fn push_type(out: &mut String, name: &str) {
    out.push_str("{\"type\":\"");
    out.push_str(name);
    out.push('"');
}

/// Appends `name`, which must be JSON, and a number.
fn push_field(out: &mut String, name: &str, value: u64) {
    out.push_str(name);
    push_number(out, value);
}

/// Appends which run of its turn this is, unless it is the first.
fn push_run(out: &mut String, continued_by: Option<RunId>) {
    if let Some(RunId(run)) = continued_by {
        push_field(out, ",\"run\":", u64::from(run));
    }
}

fn push_part(out: &mut String, name: &str, part: u32) {
    push_type(out, name);
    push_field(out, ",\"id\":\"", u64::from(part));
    out.push_str("\"}");
}

/// Appends the model that answers instead of the one that was named before.
fn push_model(out: &mut String, model: &str, is_restart: bool) {
    out.push_str("{\"type\":\"message-metadata\",\"messageMetadata\":{\"model\":");
    push_string(out, model);
    out.push_str(if is_restart { ",\"restarted\":1}}" } else { "}}" });
}

fn push_rejection(out: &mut String, reason: &Rejection) {
    out.push(',');
    push_error(out, &reason.to_string(), reason.code(), reason.is_retryable(), reason.retry_after());
}

fn push_error(out: &mut String, text: &str, code: &str, retryable: bool, after: Option<Duration>) {
    out.push_str("\"errorText\":");
    push_string(out, text);
    out.push_str(",\"code\":\"");
    out.push_str(code);
    out.push_str(if retryable { "\",\"retryable\":true" } else { "\",\"retryable\":false" });
    if let Some(after) = after.filter(|_| retryable) {
        push_field(out, ",\"retryAfterMs\":", millis(after));
    }
}

/// Appends the error of a run, with the IDs under which the gateway's log and the model service have it.
fn push_run_error(out: &mut String, error: &RunError, run: Option<&str>) {
    push_error(
        out,
        &error.client_text(),
        error.kind.code(),
        error.kind.can_be_asked_again(),
        error.retry_time(),
    );
    for (name, value) in [(",\"run\":", run), (",\"serviceRequest\":", error.request_id.as_deref())] {
        if let Some(value) = value {
            out.push_str(name);
            push_string(out, value);
        }
    }
}

fn push_finish(out: &mut String, reason: FinishReason, usage: Option<&Usage>, timing: Timing) {
    out.push_str("{\"type\":\"finish\",\"finishReason\":\"");
    out.push_str(match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool-calls",
        FinishReason::Stopped => "interrupted",
    });
    out.push_str("\",\"messageMetadata\":");
    push_figures(out, usage, timing);
    out.push('}');
}

fn push_figures(out: &mut String, usage: Option<&Usage>, timing: Timing) {
    out.push('{');
    if let Some(usage) = usage {
        push_field(out, "\"usage\":{\"input_tokens\":", usage.input_tokens);
        push_field(out, ",\"output_tokens\":", usage.output_tokens);
        push_field(out, ",\"reasoning_tokens\":", usage.reasoning_tokens);
        push_field(out, ",\"cached_tokens\":", usage.cached_tokens);
        out.push_str("},");
    }
    if let Some(first) = timing.first_delta {
        push_field(out, "\"time_to_first_token_ms\":", millis(first));
        out.push(',');
    }
    push_field(out, "\"duration_ms\":", millis(timing.duration));
    out.push('}');
}

/// Milliseconds, rounded up.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
