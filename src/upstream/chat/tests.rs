//! What the dialect makes of bytes, and what it sends.
mod goldens;
mod properties;
mod request;

use super::{frame::ChatFrame, *};
use crate::{
    chat::{FinishReason, RunEnd, RunErrorKind, RunEvent, TextKind, Usage},
    upstream::service::Service,
};
use std::fmt::Write as _;

const LIMITS: Limits = Limits { line_bytes: 256 << 10, event_bytes: 1 << 20, answer_bytes: 4 << 20 };

const STREAM: Head<'static> =
    Head { status: 200, content_type: Some("text/event-stream"), retry_after: None, request_id: None };
const JSON: Head<'static> = Head { content_type: Some("application/json"), ..STREAM };

fn settings(service: &str) -> Settings {
    let row = Service::find(service).unwrap();
    Settings {
        thinking: None,
        thinking_field: row.thinking,
        max_tokens: None,
        token_cap: row.token_cap,
        include_usage: row.include_usage,
        continues: row.continues,
        continue_path: row.continue_path,
        insufficient_quota: row.insufficient_quota,
        api_version: None,
        headers: Vec::new(),
        extra: Extra::default(),
    }
}

/// Reads a response; what each call pushed is joined, so that it does not depend on the split.
fn read<'a>(
    service: &str,
    head: Head<'_>,
    limits: Limits,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<RunEvent>, RunEnd) {
    let mut reader = Chat::new(settings(service)).reader(head, limits);
    let mut events = Vec::new();
    for chunk in chunks {
        let was_finished = reader.finished();
        let read = reader.feed(chunk, &mut events);
        assert!(reader.finished() || !was_finished, "a finish cannot be undone");
        if let Err(error) = read {
            assert_eq!(reader.feed(b"data: more\n", &mut Vec::new()), Err(error));
            break;
        }
    }
    let end = reader.end(&mut events);
    assert_eq!(end.usage, reader.usage());
    (events, end)
}

/// What a person would write down of a run.
fn transcript((events, end): &(Vec<RunEvent>, RunEnd)) -> String {
    let mut out = String::new();
    for event in events {
        let RunEvent::Text { kind, text } = event else { panic!("{event:?}") };
        let name = if *kind == TextKind::Answer { "answer" } else { "reasoning" };
        writeln!(out, "{name} {text:?}").unwrap();
    }
    match &end.outcome {
        Ok(finish) => writeln!(out, "finished {}", finish.as_str()).unwrap(),
        Err(error) => writeln!(out, "failed {error} retry={:?}", error.retry).unwrap(),
    }
    if let Some(Usage { input_tokens, output_tokens, reasoning_tokens, cached_tokens }) = end.usage {
        writeln!(
            out,
            "usage input={input_tokens} output={output_tokens} reasoning={reasoning_tokens} cached={cached_tokens}"
        )
        .unwrap();
    }
    if let Some(id) = &end.request_id {
        writeln!(out, "request {id}").unwrap();
    }
    out
}

fn answer(events: &[RunEvent]) -> String {
    let text = |event: &RunEvent| match event {
        RunEvent::Text { kind: TextKind::Answer, text } => text.clone(),
        _ => String::new(),
    };
    events.iter().map(text).collect()
}
