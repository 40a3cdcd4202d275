//! The bytes of chunks, as the engine of the spelling writes them.
use super::{
    Break, Spell,
    errors::{self, error_json},
    spell::{Nulls, UsagePlace},
};
use crate::{
    json::{push_number, push_string},
    simulator::script::{
        Spelling, UsageKind,
        delta::{Delta, Finish},
        error::ServiceError,
    },
};
use bytes::BytesMut;

/// Fields that are the same in all chunks of an answer, and what the request wants in them.
#[derive(Clone, Debug)]
pub(in crate::simulator::script) struct Shape {
    pub(in crate::simulator::script) spell: &'static Spell,
    pub(in crate::simulator::script) id: String,
    /// Seconds since 1970.
    pub(in crate::simulator::script) created: u64,
    pub(in crate::simulator::script) model: String,
    /// The model reasons.
    pub(in crate::simulator::script) thinking: bool,
    /// Usage was requested.
    pub(in crate::simulator::script) include_usage: bool,
    pub(in crate::simulator::script) usage: UsageKind,
    pub(in crate::simulator::script) spelling: Spelling,
    pub(in crate::simulator::script) input_tokens: u64,
    /// `[DONE]` ends the stream.
    pub(in crate::simulator::script) done: bool,
    /// How an error is reported in the stream.
    pub(in crate::simulator::script) breaks: Break,
}

/// Builds chunks.
#[derive(Debug)]
pub(in crate::simulator::script) struct Frames {
    shape: Shape,
    /// A chunk up to the fields of its delta.
    before: Vec<u8>,
    /// An unfinished chunk from there on.
    after: Vec<u8>,
    /// Identifier, time and model.
    same: Vec<u8>,
    is_open: bool,
    is_plain: bool,
}

const DONE: &[u8] = b"[DONE]";

impl Frames {
    pub(in crate::simulator::script) fn new(shape: Shape) -> Self {
        let is_plain = shape.spelling.is_plain();
        let same = same(&shape, "chat.completion.chunk");
        let mut frames =
            Frames { shape, before: Vec::new(), after: Vec::new(), same, is_open: false, is_plain };
        let mut chunk = BytesMut::new();
        frames.chunk(&mut chunk, b"\0", None, b"");
        let at = chunk.iter().position(|byte| *byte == 0).unwrap_or(0);
        (frames.before, frames.after) = (chunk[..at].to_vec(), chunk[at + 1..].to_vec());
        frames
    }

    /// Appends a chunk with new text, or the one that finishes the answer.
    pub(in crate::simulator::script) fn result(&mut self, out: &mut BytesMut, delta: &Delta<'_>) {
        let mut fields = BytesMut::with_capacity(delta.content.len() + delta.reasoning.len() + 64);
        if !std::mem::replace(&mut self.is_open, true) {
            if self.shape.spell.role_with_text {
                fields.extend_from_slice(b"\"role\":\"assistant\",");
            }
            self.open(out);
        }
        self.text(&mut fields, delta);
        let Some(finish) = delta.finish else {
            if self.is_plain {
                for part in [b"data: ", &self.before[..], &fields[..], &self.after[..], b"\n\n"] {
                    out.extend_from_slice(part);
                }
            } else {
                let payload = [&self.before[..], &fields[..], &self.after[..]].concat();
                self.data(out, &payload);
            }
            return;
        };
        let mut tail = BytesMut::from(self.shape.spell.finish_tail);
        if self.shape.spell.usage == UsagePlace::FinishChunk {
            self.usage(&mut tail, delta, self.shape.include_usage);
        }
        let mut payload = BytesMut::new();
        let usage = self.shape.spell.usage == UsagePlace::Choice;
        self.finished(&mut payload, &fields, finish, usage.then_some(delta), &tail);
        self.data(out, &payload);
    }

    /// Appends what follows the finished choice: usage if requested, and `[DONE]`.
    pub(in crate::simulator::script) fn close(&mut self, out: &mut BytesMut, delta: &Delta<'_>) {
        let own = self.shape.spell.usage == UsagePlace::OwnChunk;
        if own && self.shape.include_usage && self.shape.usage != UsageKind::Absent {
            let mut tail = BytesMut::new();
            self.usage(&mut tail, delta, true);
            self.bare(out, b"[]", &tail);
        }
        if self.shape.done {
            self.data(out, DONE);
        }
    }

    /// Appends the events of an error.
    pub(in crate::simulator::script) fn error(&mut self, out: &mut BytesMut, error: &ServiceError) {
        let answer = errors::answer(error, self.shape.spell);
        let json = error_json(&answer, self.shape.spell);
        let mut text = BytesMut::new();
        push_string(&mut text, &answer.message);
        match self.shape.breaks {
            Break::Object => self.data(out, &json),
            Break::Event => self.lines(out, &[b"event:error\ndata:", &json[..]].concat()),
            Break::Field => self.lines(out, &[b"error:", &json[..]].concat()),
            Break::Choice => {
                let choices = br#"[{"index":0,"delta":{"content":""},"finish_reason":"error"}]"#;
                let tail = [&b",\"error\":"[..], inner(&json)].concat();
                self.bare(out, choices, &tail);
            }
            Break::Finish => {
                let fields = [&b"\"content\":"[..], &text[..]].concat();
                self.ended(out, &fields, "error_finish");
            }
            Break::Abort => {
                self.ended(out, b"\"content\":\"\"", "abort");
                return self.data(out, DONE);
            }
            Break::Flat => {
                let fields = serde_json::json!({ "code": "Throttling", "message": answer.message });
                self.data(out, fields.to_string().as_bytes());
            }
            Break::FlatObject => {
                let fields = serde_json::json!({
                    "object": "error", "message": answer.message, "type": answer.class, "param": null,
                    "code": answer.status,
                });
                self.data(out, fields.to_string().as_bytes());
            }
            Break::Silent => {
                let payload = [&self.before[..], b"\"content\":\"\"", &self.after[..]].concat();
                return self.data(out, &payload);
            }
        }
        if self.shape.spell.done_after_error {
            self.data(out, DONE);
        }
    }

    /// Appends an event with an arbitrary payload.
    pub(in crate::simulator::script) fn data(&self, out: &mut BytesMut, payload: &[u8]) {
        self.lines(out, &[b"data:", payload].concat());
    }

    /// Appends a chunk with only usage, beyond what was reported.
    pub(in crate::simulator::script) fn late_usage(&self, out: &mut BytesMut, total: u64) {
        let usage = format!(
            ",\"usage\":{{\"prompt_tokens\":0,\"completion_tokens\":{total},\"total_tokens\":{total}}}"
        );
        self.bare(out, b"[]", usage.as_bytes());
    }

    /// Appends a chunk with a fragment of a tool call.
    pub(in crate::simulator::script) fn tool_fragment(&self, out: &mut BytesMut, fragment: &str) {
        let fields = format!("\"tool_calls\":[{fragment}]");
        let payload = [&self.before[..], fields.as_bytes(), &self.after[..]].concat();
        self.data(out, &payload);
    }

    pub(in crate::simulator::script) fn keepalive(&self) -> &'static str {
        self.shape.spell.keepalive
    }

    pub(in crate::simulator::script) fn ends_with_text(&self) -> bool {
        self.shape.spell.ends_with_text
    }

    /// Appends the body of a response that is no stream.
    pub(in crate::simulator::script) fn whole(&self, out: &mut BytesMut, delta: &Delta<'_>) {
        out.extend_from_slice(b"{");
        out.extend_from_slice(&same(&self.shape, "chat.completion"));
        out.extend_from_slice(b",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
        if delta.content.is_empty() && !delta.reasoning.is_empty() {
            out.extend_from_slice(b"null");
        } else {
            quoted(out, delta.content);
        }
        if !delta.reasoning.is_empty() {
            out.extend_from_slice(b",");
            self.reasoning(out, delta.reasoning);
        }
        out.extend_from_slice(b"},\"finish_reason\":");
        reason(out, delta.finish);
        out.extend_from_slice(b"}]");
        self.usage(out, delta, true);
        out.extend_from_slice(b"}");
    }

    /// The chunks before the first text.
    fn open(&self, out: &mut BytesMut) {
        for (choices, tail) in self.shape.spell.opening {
            self.bare(out, choices.as_bytes(), tail.as_bytes());
        }
    }

    /// The fields of a delta.
    fn text(&self, out: &mut BytesMut, delta: &Delta<'_>) {
        let spell = self.shape.spell;
        let nulls = match spell.nulls {
            Nulls::Never => false,
            Nulls::Thinking => self.shape.thinking,
            Nulls::Always => true,
        };
        match (delta.reasoning.is_empty(), delta.finish) {
            (false, _) => {
                if nulls {
                    out.extend_from_slice(b"\"content\":null,");
                }
                self.reasoning(out, delta.reasoning);
            }
            (true, Some(_)) if delta.content.is_empty() && !nulls => {}
            (true, _) => {
                out.extend_from_slice(b"\"content\":");
                quoted(out, delta.content);
                if nulls {
                    out.extend_from_slice(b",\"");
                    out.extend_from_slice(spell.reasoning.as_bytes());
                    out.extend_from_slice(b"\":null");
                }
            }
        }
    }

    fn reasoning(&self, out: &mut BytesMut, text: &[u8]) {
        out.extend_from_slice(b"\"");
        out.extend_from_slice(self.shape.spell.reasoning.as_bytes());
        out.extend_from_slice(b"\":");
        quoted(out, text);
    }

    /// An unfinished chunk with these fields of its delta.
    fn chunk(&self, out: &mut BytesMut, fields: &[u8], finish: Option<&str>, tail: &[u8]) {
        let behind = if finish.is_none() { self.shape.spell.running } else { "" };
        let finish = finish.map_or(Finish::Null, Finish::Reason);
        self.payload(out, fields, finish, behind.as_bytes(), tail);
    }

    fn finished(
        &self,
        out: &mut BytesMut,
        fields: &[u8],
        finish: Finish<'_>,
        usage: Option<&Delta<'_>>,
        tail: &[u8],
    ) {
        let mut behind = BytesMut::from(self.shape.spell.finished);
        if let Some(delta) = usage {
            self.usage(&mut behind, delta, true);
        }
        self.payload(out, fields, finish, &behind, tail);
    }

    /// A chunk with one choice.
    fn payload(
        &self,
        out: &mut BytesMut,
        fields: &[u8],
        finish: Finish<'_>,
        behind_finish: &[u8],
        tail: &[u8],
    ) {
        let spell = self.shape.spell;
        let mut choices = BytesMut::from(&b"[{"[..]);
        if spell.choices_first {
            choices.extend_from_slice(b"\"finish_reason\":");
            reason(&mut choices, Some(finish));
            choices.extend_from_slice(b",");
        }
        choices.extend_from_slice(b"\"index\":0,\"delta\":{");
        choices.extend_from_slice(fields);
        choices.extend_from_slice(b"}");
        if !spell.choices_first {
            choices.extend_from_slice(spell.choice.as_bytes());
            choices.extend_from_slice(b",\"finish_reason\":");
            reason(&mut choices, Some(finish));
        }
        choices.extend_from_slice(behind_finish);
        choices.extend_from_slice(b"}]");
        let mut full = BytesMut::new();
        self.around(&mut full, &choices, tail);
        out.extend_from_slice(&full);
    }

    /// A chunk with these choices.
    fn around(&self, out: &mut BytesMut, choices: &[u8], tail: &[u8]) {
        let has_usage = memchr::memmem::find(tail, b"\"usage\"").is_some();
        let null_usage = self.shape.spell.null_usage && self.shape.include_usage && !has_usage;
        let null: &[u8] = if null_usage { b",\"usage\":null" } else { b"" };
        if self.shape.spell.choices_first {
            for part in [b"{\"choices\":", choices, b",", &self.same[..], null, tail, b"}"] {
                out.extend_from_slice(part);
            }
        } else {
            for part in [b"{", &self.same[..], b",\"choices\":", choices, null, tail, b"}"] {
                out.extend_from_slice(part);
            }
        }
    }

    /// The same as an event.
    fn bare(&self, out: &mut BytesMut, choices: &[u8], tail: &[u8]) {
        let mut payload = BytesMut::new();
        self.around(&mut payload, choices, tail);
        self.data(out, &payload);
    }

    /// A chunk that ends the answer for this reason.
    fn ended(&self, out: &mut BytesMut, fields: &[u8], finish: &str) {
        let mut payload = BytesMut::new();
        self.chunk(&mut payload, fields, Some(finish), b"");
        self.data(out, &payload);
    }

    /// Lines with no space behind the colon and without their end, as the spelling writes them.
    fn lines(&self, out: &mut BytesMut, lines: &[u8]) {
        let spelling = Spelling {
            space_after_colon: Some(self.shape.spelling.space_after_colon.unwrap_or(true)),
            ..self.shape.spelling
        };
        let mut spelled = Vec::with_capacity(lines.len() + 64);
        spelling.respell(&[lines, b"\n\n"].concat(), &mut spelled);
        out.extend_from_slice(&spelled);
    }

    /// The totals, with a comma before them.
    fn usage(&self, out: &mut BytesMut, delta: &Delta<'_>, wanted: bool) {
        match self.shape.usage {
            UsageKind::Absent => return,
            _ if !wanted => return,
            UsageKind::Empty => return out.extend_from_slice(b",\"usage\":{}"),
            UsageKind::RunningTotals => {}
        }
        let input = self.shape.input_tokens;
        out.extend_from_slice(b",\"usage\":{\"prompt_tokens\":");
        push_number(out, input);
        out.extend_from_slice(b",\"completion_tokens\":");
        push_number(out, delta.output_tokens);
        out.extend_from_slice(b",\"total_tokens\":");
        push_number(out, input + delta.output_tokens);
        out.extend_from_slice(b",\"prompt_tokens_details\":{\"cached_tokens\":0}");
        if self.shape.thinking {
            out.extend_from_slice(b",\"completion_tokens_details\":{\"reasoning_tokens\":");
            push_number(out, delta.reasoning_tokens);
            out.extend_from_slice(b"}");
        }
        out.extend_from_slice(b"}");
    }
}

/// Identifier, time and model, with constants, without braces.
fn same(shape: &Shape, object: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    let field = |out: &mut Vec<u8>, name: &str| {
        if !out.is_empty() {
            out.push(b',');
        }
        push_string(out, name);
        out.push(b':');
    };
    let names: [&str; 4] = if shape.spell.choices_first {
        ["created", "id", "model", "object"]
    } else {
        ["id", "object", "created", "model"]
    };
    for name in names {
        if name == "object" && shape.spell.choices_first {
            out.extend_from_slice(shape.spell.constants.as_bytes());
        }
        field(&mut out, name);
        match name {
            "created" => push_number(&mut out, shape.created),
            "id" => push_string(&mut out, &format!("chatcmpl-{}", shape.id)),
            "model" => push_string(&mut out, &shape.model),
            _ => push_string(&mut out, object),
        }
    }
    if !shape.spell.choices_first {
        out.extend_from_slice(shape.spell.constants.as_bytes());
    }
    out
}

fn quoted(out: &mut BytesMut, escaped: &[u8]) {
    out.extend_from_slice(b"\"");
    out.extend_from_slice(escaped);
    out.extend_from_slice(b"\"");
}

fn reason(out: &mut BytesMut, finish: Option<Finish<'_>>) {
    match finish {
        Some(Finish::Reason(reason)) => push_string(out, reason),
        Some(Finish::Null) | None => out.extend_from_slice(b"null"),
    }
}

/// The object of a nested error, or the whole of a flat one.
fn inner(json: &[u8]) -> &[u8] {
    json.strip_prefix(b"{\"error\":").and_then(|rest| rest.strip_suffix(b"}")).unwrap_or(json)
}
