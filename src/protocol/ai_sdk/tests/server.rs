//! Every frame that can be sent, written to a file that the SDK's schemas check.
use crate::{
    chat::{
        FinishReason, IdFault, MessageId, ParameterFault, RequestId, RunError, RunErrorKind, RunId, TextKind,
        Timing, Usage,
    },
    protocol::{Codec, Rejection, ReplayPosition, Restart, ServerFrame, TurnEnd, TurnStart, Withdrawn},
};
use expect_test::expect_file;
use std::{sync::Arc, time::Duration};

const RUN: RunId = RunId(1);

fn accepted(omitted_turns: usize) -> ServerFrame {
    let answer = MessageId::new("msg-0000000000000000000000000000002a-1").unwrap();
    let start = TurnStart { answer, model: Some("qwen-plus".into()), omitted_turns, continued_by: None };
    ServerFrame::Accepted { run: RUN, start: Arc::new(start) }
}

/// The start of the third run of the session, which goes on with the answer.
fn continued() -> ServerFrame {
    let ServerFrame::Accepted { start, .. } = accepted(0) else { unreachable!() };
    let start = TurnStart { continued_by: Some(RunId(3)), ..TurnStart::clone(&start) };
    ServerFrame::Accepted { run: RunId(3), start: Arc::new(start) }
}

fn reasoning(entry: u32, text: &str) -> ServerFrame {
    ServerFrame::Text { kind: TextKind::Reasoning, entry, text: text.into() }
}

fn delta(entry: u32, text: &str) -> ServerFrame {
    ServerFrame::Text { kind: TextKind::Answer, entry, text: text.into() }
}

fn end(outcome: Result<FinishReason, RunError>) -> ServerFrame {
    let usage = Usage { input_tokens: 21, output_tokens: 9, reasoning_tokens: 4, cached_tokens: 0 };
    let timing =
        Timing { first_delta: Some(Duration::from_micros(412_300)), duration: Duration::from_millis(1_830) };
    over(outcome, Some(usage), timing)
}

/// An end without usage and timing.
fn bare_end(outcome: Result<FinishReason, RunError>) -> ServerFrame {
    over(outcome, None, Timing::default())
}

fn over(outcome: Result<FinishReason, RunError>, usage: Option<Usage>, timing: Timing) -> ServerFrame {
    ServerFrame::TurnEnd { run: RUN, end: Box::new(TurnEnd { outcome, usage, timing }) }
}

fn resumed(after: Option<u32>, entries: u32, parts: u32, open: Option<TextKind>) -> ServerFrame {
    let answer = MessageId::new("msg-0000000000000000000000000000002a-1").unwrap();
    let started = after.is_some_and(|after| after > 0);
    ServerFrame::Resumed {
        position: Some(Box::new(ReplayPosition {
            run: RUN,
            answer,
            continued_by: None,
            after,
            started,
            entries,
            parts,
            open,
            restarts: 0,
            restarted_by: None,
        })),
    }
}

fn resumed_continued() -> ServerFrame {
    let ServerFrame::Resumed { position: Some(position) } = resumed(Some(3), 1, 1, Some(TextKind::Answer))
    else {
        unreachable!()
    };
    let position = ReplayPosition { run: RunId(3), continued_by: Some(RunId(3)), ..*position };
    ServerFrame::Resumed { position: Some(Box::new(position)) }
}

fn restarted(withdrawn: Withdrawn) -> ServerFrame {
    let restart = Restart { model: "qwen-max".into(), number: 5, count: 1, entries: 1, parts: 1, withdrawn };
    ServerFrame::Restarted { run: RUN, restart: Box::new(restart) }
}

fn resumed_after_restart() -> ServerFrame {
    let ServerFrame::Resumed { position: Some(position) } = resumed(Some(5), 1, 1, None) else {
        unreachable!()
    };
    let position = ReplayPosition { restarts: 1, restarted_by: Some("qwen-max".into()), ..*position };
    ServerFrame::Resumed { position: Some(Box::new(position)) }
}

fn refused(reason: Rejection) -> Vec<ServerFrame> {
    vec![ServerFrame::Rejected { reason }]
}

fn answers() -> Vec<(&'static str, Vec<ServerFrame>)> {
    let failed = |kind| end(Err(RunError::new(kind, "secret detail")));
    let named =
        RunError { request_id: Some("7c9e".into()), ..RunError::new(RunErrorKind::UpstreamError, "") };
    let broken_off = || failed(RunErrorKind::Interrupted);
    let busy = RunError::wait(RunErrorKind::Overloaded, Duration::from_secs(7), "");
    let retrying = ServerFrame::Retrying { run: RUN, attempt: 2, after: Duration::from_millis(340) };
    let stop = || end(Ok(FinishReason::Stop));
    vec![
        (
            "an answer with thinking",
            vec![
                accepted(0),
                reasoning(1, "Rise, fall."),
                delta(2, "A tide is "),
                delta(3, "\"the rise\"\n"),
                stop(),
            ],
        ),
        (
            "a question that waits, and turns that were left out",
            vec![
                ServerFrame::Waiting { position: 1 },
                accepted(3),
                ServerFrame::Queued { run: RUN, position: 12 },
                retrying,
                delta(1, "潮"),
                end(Ok(FinishReason::Length)),
            ],
        ),
        (
            "a reader that is behind",
            vec![accepted(0), delta(1, "A"), delta(40, " tide is the rise and"), stop()],
        ),
        (
            "resumed from the beginning",
            vec![resumed(None, 0, 0, None), accepted(0), delta(1, "A tide "), delta(2, "is"), stop()],
        ),
        (
            "resumed after number 3",
            vec![resumed(Some(3), 1, 1, Some(TextKind::Answer)), delta(2, "is"), stop()],
        ),
        (
            "resumed while its question waits",
            vec![
                ServerFrame::Resumed { position: None },
                ServerFrame::Waiting { position: 1 },
                accepted(0),
                delta(1, "A"),
                stop(),
            ],
        ),
        ("resumed after everything", vec![resumed(Some(7), 2, 1, Some(TextKind::Answer)), stop()]),
        ("stopped", vec![accepted(0), delta(1, "A tide"), end(Ok(FinishReason::Stopped))]),
        ("stopped before its first word", vec![accepted(0), bare_end(Ok(FinishReason::Stopped))]),
        ("a tool is wanted", vec![accepted(0), delta(1, "A"), end(Ok(FinishReason::ToolCalls))]),
        ("failed before its first word", vec![accepted(0), end(Err(busy))]),
        ("failed for good", vec![accepted(0), failed(RunErrorKind::InputRefused)]),
        ("broken off", vec![accepted(0), delta(1, "A tide"), failed(RunErrorKind::Interrupted)]),
        (
            "broken off, by a service that names its requests",
            vec![accepted(0), delta(1, "A"), end(Err(named))],
        ),
        ("resumed after its figures", vec![resumed(Some(5), 1, 1, Some(TextKind::Answer)), broken_off()]),
        ("nothing to resume", vec![ServerFrame::NoActive]),
        ("a sign of life", vec![ServerFrame::Pong]),
    ]
}

/// An answer that goes on where it broke off.
fn continuations() -> Vec<(&'static str, Vec<ServerFrame>)> {
    let broken_off = end(Err(RunError::new(RunErrorKind::Interrupted, "")));
    vec![
        (
            "continued, and broken off again",
            vec![continued(), delta(1, "A tide"), delta(2, " is"), broken_off],
        ),
        (
            "resumed within a continued answer",
            vec![resumed_continued(), delta(2, " is"), end(Ok(FinishReason::Stop))],
        ),
    ]
}

fn restarts() -> Vec<(&'static str, Vec<ServerFrame>)> {
    let stop = || end(Ok(FinishReason::Stop));
    vec![
        (
            "begins anew after its first words",
            vec![
                accepted(0),
                delta(1, "A tide"),
                ServerFrame::Moving { run: RUN },
                restarted(Withdrawn::Answer),
                delta(2, "The tide"),
                stop(),
            ],
        ),
        (
            "is gone on with after its first words",
            vec![
                accepted(0),
                delta(1, "A tide"),
                ServerFrame::Moving { run: RUN },
                ServerFrame::Continued { run: RUN },
                delta(2, " rises"),
                stop(),
            ],
        ),
        (
            "is gone on with before a reader has its beginning",
            vec![ServerFrame::Continued { run: RUN }, accepted(0), delta(1, "A tide rises"), stop()],
        ),
        (
            "begins anew before its first word",
            vec![accepted(0), restarted(Withdrawn::Nothing), delta(2, "The"), stop()],
        ),
        ("resumed after it began anew", vec![resumed_after_restart(), delta(2, "The tide"), stop()]),
    ]
}

fn refusals() -> Vec<(&'static str, Vec<ServerFrame>)> {
    vec![
        ("refused: empty", refused(Rejection::Empty)),
        ("refused: too long", refused(Rejection::TooLong { bytes: 70_000, limit: 65_536 })),
        ("refused: the queue is full", refused(Rejection::QueueFull { limit: 8 })),
        ("refused: stopping", refused(Rejection::Draining)),
        ("refused: bad name", refused(Rejection::BadId { field: "id", fault: IdFault::Alphabet })),
        ("refused: a file", refused(Rejection::UnsupportedPart { kind: "file" })),
        ("refused: name in use", refused(Rejection::DuplicateRequest)),
        ("refused: too many requests", refused(Rejection::TooManyRequests { limit: 64 })),
        ("refused: resume from the future", refused(Rejection::BadResume)),
        ("refused: too often", refused(Rejection::TooOften { after: Duration::from_millis(900) })),
        ("refused: taken over", refused(Rejection::TakenOver)),
        (
            "refused: no answer to continue",
            refused(Rejection::BadParameter { fault: ParameterFault::NotContinued }),
        ),
        ("refused: unavailable", refused(Rejection::Unavailable)),
    ]
}

/// Frames that belong to no request.
fn nameless() -> Vec<(&'static str, Vec<ServerFrame>)> {
    let not_json = Rejection::Malformed { field: "frame", fault: "is not JSON that can be read" };
    vec![
        ("not JSON", refused(not_json)),
        ("binary", refused(Rejection::Binary)),
        ("a sign of life for a ping without a name", vec![ServerFrame::Pong]),
    ]
}

// faults: A11
#[test]
fn every_frame_matches_the_schemas_of_the_sdk() {
    let request = RequestId::new("r1").unwrap();
    let named = answers()
        .into_iter()
        .chain(continuations())
        .chain(restarts())
        .chain(refusals())
        .map(|scene| (Some(&request), scene));
    let all = named.chain(nameless().into_iter().map(|scene| (None, scene)));
    let mut scenes = Vec::new();
    for (request, (name, words)) in all {
        let mut encoder = Codec::AiSdk.encoder(request);
        let mut frames = Vec::new();
        for word in &words {
            encoder.encode(word, |text| frames.push(text.to_owned()));
        }
        scenes.push(format!("{{\"name\": \"{name}\", \"frames\": [\n{}\n]}}", frames.join(",\n")));
    }
    let text = format!("[\n{}\n]\n", scenes.join(",\n"));
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
    assert!(!text.contains("secret"));
    expect_file!["../../../../tests/fixtures/ai_sdk/server.json"].assert_eq(&text);
}
