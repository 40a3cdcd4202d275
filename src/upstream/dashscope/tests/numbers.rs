//! Numbers that no integer of ours holds, wherever the service may put one.
use super::*;
use crate::chat::{FinishReason, RunErrorKind, Usage};

/// All of them are JSON.
const ODD: [&str; 10] = [
    "4294967296",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999999999999",
    "-1",
    "-9223372036854775809",
    "1.5",
    "1e300",
    "-0",
    "0.00000000000000000000000000000000000000001",
];

fn read(frames: &[String]) -> (String, RunEnd) {
    let body: String = frames.iter().map(|frame| format!("{frame}\n\n")).collect();
    let (events, end) = STREAM.read(LIMITS, [body.as_bytes()]);
    (answer(&events), end)
}

fn data(text: &str, finish: &str, usage: &str) -> String {
    format!(
        "data:{{\"output\":{{\"choices\":[{{\"message\":{{\"content\":\"{text}\"}},\"finish_reason\":\"{finish}\"}}]}},\
         \"usage\":{usage}}}"
    )
}

// faults: K146
#[test]
fn impossible_counts_are_unknown_and_do_not_fail_the_answer() {
    let usage = |count: &str| {
        format!(
            "{{\"total_tokens\":{count},\"input_tokens\":7,\"output_tokens\":{count},\
             \"output_tokens_details\":{{\"reasoning_tokens\":{count}}}}}"
        )
    };
    for odd in ODD {
        // Alike, so that all but the first could be read without a parser.
        let frames = ["a", "b", "c"].map(|text| data(text, "null", &usage(odd)));
        let (text, end) = read(&[&frames[..], &[data("", "stop", &usage(odd))]].concat());
        assert_eq!((text.as_str(), end.outcome), ("abc", Ok(FinishReason::Stop)), "{odd}");
        assert_eq!(end.usage, Some(Usage { input_tokens: 7, ..Usage::default() }), "{odd}");
        // What one frame tells wrong another tells right.
        let frames =
            [data("a", "null", &usage("3")), data("b", "null", &usage(odd)), data("c", "stop", &usage("4"))];
        assert_eq!(read(&frames).1.usage.map(|usage| usage.output_tokens), Some(4), "{odd}");
    }
}

// faults: K146
#[test]
fn a_status_or_a_code_that_is_no_number_of_ours_is_none() {
    for odd in ODD {
        let error = format!("data:{{\"code\":{odd},\"message\":\"m\"}}");
        let frames = [format!(":HTTP_STATUS/{odd}"), "event:error".to_owned(), error];
        let (_, end) = read(&[frames.join("\n")]);
        let error = end.outcome.unwrap_err();
        assert_eq!((error.kind, error.status), (RunErrorKind::UpstreamError, Some(200)), "{odd}");
        let choice = data("x", "null", "{}").replace("\"message\"", &format!("\"index\":{odd},\"message\""));
        let (text, end) = read(&[choice, data("y", "stop", "{}")]);
        match end.outcome {
            // Another choice than the one that was asked for.
            Ok(_) => assert_eq!(text, "y", "{odd}"),
            Err(error) => assert_eq!(error.kind, RunErrorKind::UpstreamProtocol, "{odd}"),
        }
    }
}
