//! The cost of reading one DashScope event, incremental and cumulative, with the event-stream decoder.
//!
//! `event/*` is the time of one event, with its bytes as throughput. `run/*` is the time of [`EVENTS`] events, read after
//! the text has reached a given length. It must not grow with that length, although cumulative events contain the whole
//! text.
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidegate::chat::{Parameters, RunEvent};
use tidegate::upstream::dashscope::{DashScope, Settings};
use tidegate::upstream::sse::{Decoder, Line, LineTooLong};
use tidegate::upstream::{Dialect, Head, Limits, Reader};

/// Number of events of one measured run.
const EVENTS: usize = 64;
const TOKEN: &str = " tokens of";

fn event(text: &str) -> Vec<u8> {
    format!(
        "id:1\nevent:result\n:HTTP_STATUS/200\ndata:{{\"output\":{{\"choices\":[{{\"message\":{{\"content\":\"{text}\",\
         \"role\":\"assistant\"}},\"finish_reason\":\"null\"}}]}},\"usage\":{{\"total_tokens\":42,\"output_tokens\":20,\
         \"input_tokens\":22}},\"request_id\":\"4c1b05a2\"}}\n\n"
    )
    .into_bytes()
}

fn reader(incremental: bool) -> Reader {
    let dialect = Dialect::DashScope(DashScope::new(Settings { incremental, ..Settings::default() }));
    let content_type = Some("text/event-stream;charset=UTF-8");
    let head = Head { status: 200, content_type, retry_after: None, request_id: None };
    let limits = Limits { line_bytes: 256 << 10, event_bytes: 1 << 20, answer_bytes: usize::MAX };
    dialect.reader(&Parameters::default(), head, limits)
}

fn single(c: &mut Criterion) {
    let mut group = c.benchmark_group("event");
    for (name, bytes) in [("plain", event(TOKEN)), ("escaped", event(r#"s\n\n\"of\""#))] {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        let (mut reader, mut events) = (reader(true), Vec::new());
        group.bench_function(format!("incremental/{name}"), |b| {
            b.iter(|| {
                events.clear();
                let read = reader.feed(black_box(&bytes), &mut events);
                assert!(read.is_ok() && events.len() == 1);
            });
        });
    }
    let bytes = event(TOKEN);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("lines_alone", |b| {
        let mut decoder = Decoder::new(256 << 10);
        b.iter(|| {
            decoder.feed(black_box(&bytes), |line| {
                black_box::<Line<'_>>(line);
                Ok::<(), LineTooLong>(())
            })
        });
    });
    group.finish();
}

/// Reads events after a first one that determines the length of the text.
fn run(c: &mut Criterion) {
    let mut group = c.benchmark_group("run");
    group.throughput(Throughput::Elements(EVENTS as u64));
    let feed = |reader: &mut Reader, frames: &[Vec<u8>], events: &mut Vec<RunEvent>| {
        for frame in frames {
            events.clear();
            let read = reader.feed(black_box(frame), events);
            assert!(read.is_ok() && events.len() == 1);
        }
    };
    let mut measure = |name: String, incremental: bool, first: Vec<u8>, frames: Vec<Vec<u8>>| {
        let mut events = Vec::new();
        let start = || {
            let mut reader = reader(incremental);
            assert!(reader.feed(&first, &mut Vec::new()).is_ok());
            reader
        };
        group.bench_function(name, |b| {
            b.iter_batched_ref(start, |reader| feed(reader, &frames, &mut events), BatchSize::SmallInput);
        });
    };
    measure("incremental".to_owned(), true, event(TOKEN), vec![event(TOKEN); EVENTS]);
    for kib in [1, 4, 7] {
        let mut text = "some words ".repeat(kib * 1024 / 11);
        let first = event(&text);
        let grow = |_| {
            text.push_str(TOKEN);
            event(&text)
        };
        measure(format!("cumulative/{kib}KiB"), false, first, (0..EVENTS).map(grow).collect());
    }
    group.finish();
}

criterion_group!(benches, single, run);
criterion_main!(benches);
