//! What the DashScope dialect makes of bytes, and what it sends.
mod events;
mod goldens;
mod numbers;
mod properties;
mod repeats;
mod request;

use std::fmt::Write as _;
use std::time::Duration;

use super::*;
use crate::chat::{RunEnd, RunError, RunEvent, TextKind};

const LIMITS: Limits = Limits { line_bytes: 256 << 10, event_bytes: 1 << 20, answer_bytes: 4 << 20 };

fn settings(incremental: bool) -> Settings {
    Settings { incremental, continues: true, ..Settings::default() }
}

/// The head of a response.
#[derive(Clone, Copy, Debug)]
struct Head {
    incremental: bool,
    status: u16,
    content_type: Option<&'static str>,
    retry_after: Option<Duration>,
    request_id: Option<&'static str>,
}

const STREAM: Head = Head {
    incremental: true,
    status: 200,
    content_type: Some("text/event-stream;charset=UTF-8"),
    retry_after: None,
    request_id: None,
};
const CUMULATIVE: Head = Head { incremental: false, ..STREAM };
const JSON: Head = Head { content_type: Some("application/json"), ..STREAM };

impl Head {
    fn reader(self, limits: Limits) -> BodyReader<FrameSource> {
        self.reader_after(false, limits)
    }

    /// `repeats`: what other answers have shown.
    fn reader_after(self, repeats: bool, limits: Limits) -> BodyReader<FrameSource> {
        let Head { incremental, status, content_type, retry_after, request_id } = self;
        let head = crate::upstream::Head { status, content_type, retry_after, request_id };
        BodyReader::new(FrameSource::new(incremental, repeats), head, limits)
    }

    /// Reads a response in chunks; a lane would push each call's events by themselves, but joined
    /// they do not depend on the split.
    fn read<'a>(self, limits: Limits, chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<RunEvent>, RunEnd) {
        let mut reader = self.reader(limits);
        let mut events = Vec::new();
        for chunk in chunks {
            let was_finished = reader.finished();
            let read = reader.feed(chunk, &mut events);
            assert!(reader.finished() || !was_finished, "a finish cannot be undone");
            if let Err(error) = read {
                assert_eq!(reader.feed(b"data:more\n", &mut Vec::new()), Err(error));
                break;
            }
        }
        let end = reader.end(&mut events);
        assert_eq!(end.usage, reader.usage());
        assert_eq!(end.request_id.as_deref(), reader.request_id());
        (events, end)
    }
}

/// What a person would write down of a run.
fn transcript((events, end): &(Vec<RunEvent>, RunEnd)) -> String {
    let mut out = String::new();
    for event in events {
        match event {
            RunEvent::Text { kind: TextKind::Answer, text } => writeln!(out, "delta {text:?}").unwrap(),
            RunEvent::Text { kind: TextKind::Reasoning, text } => {
                writeln!(out, "reasoning {text:?}").unwrap()
            }
            other => writeln!(out, "{other:?}").unwrap(),
        }
    }
    match &end.outcome {
        Ok(finish) => writeln!(out, "finished {}", finish.as_str()).unwrap(),
        Err(error) => writeln!(out, "{}", failure(error)).unwrap(),
    }
    if let Some(usage) = end.usage {
        let [input, output] = [usage.input_tokens, usage.output_tokens];
        let [reasoning, cached] = [usage.reasoning_tokens, usage.cached_tokens];
        writeln!(out, "usage input={input} output={output} reasoning={reasoning} cached={cached}").unwrap();
    }
    if let Some(id) = &end.request_id {
        writeln!(out, "request {id}").unwrap();
    }
    out
}

fn failure(error: &RunError) -> String {
    let mut out = format!("failed {error} retry={:?}", error.retry);
    if let Some(after) = error.retry_after {
        write!(out, " after={after:?}").unwrap();
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
