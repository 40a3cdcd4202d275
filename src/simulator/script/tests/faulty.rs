//! Faults by place, by time, by model and by load; keys.
use super::*;
use crate::simulator::script::{FAULTY_MODELS, Kind, check_key, check_rights, mark};

fn situation(place: &str, seconds: u64) -> Situation<'_> {
    Situation { place, now: Duration::from_secs(seconds), running: 1 }
}

fn request(model: &str, message: &str) -> Request {
    let body = body(model, message, INCREMENTAL);
    parse_dashscope(body.as_bytes(), Endpoint::Text, true).expect("a request")
}

/// Whether an error comes in place of the answer.
fn fails(request: &Request, situation: Situation<'_>, times: &mut Times) -> bool {
    choose(request, situation, times).expect("a script").early_carrier().is_some()
}

#[test]
fn faults_apply_where_they_are_told_to() {
    let mut times = Times::default();
    let request = request("sim-chat", "/sim at=A,B status=503 tokens=2");
    for (place, expected) in [("A", true), ("B", true), ("C", false), ("", false)] {
        assert_eq!(fails(&request, situation(place, 0), &mut times), expected, "{place:?}");
        let script = choose(&request, situation(place, 0), &mut times).expect("a script");
        assert_eq!(script.tokens, Some(2), "the answer is the same everywhere");
    }
}

#[test]
fn an_outage_ends_after_its_time() {
    let mut times = Times::default();
    let request = request("sim-chat", "/sim error=full for_ms=2000");
    let faulty = [5, 6, 7, 8].map(|second| fails(&request, situation("", second), &mut times));
    assert_eq!(faulty, [true, true, false, false]);
}

#[test]
fn more_requests_than_allowed_are_refused() {
    let request = request("sim-chat", "/sim runs=2");
    let run = |running| choose(&request, Situation { running, ..situation("", 0) }, &mut Times::default());
    assert!(run(2).is_ok());
    assert_eq!(run(3).expect_err("refused").kind, Some(Kind::Full));
}

#[test]
fn a_model_fails_whatever_is_asked() {
    let mut times = Times::default();
    for (model, switches) in FAULTY_MODELS {
        let script = choose(&request(model, "hi"), situation("", 0), &mut times).expect(model);
        assert!(!script.has_content && script.text.is_none(), "{model} answers as sim-chat");
        let wanted = Script::parse(&format!("/sim {switches}")).expect(model);
        assert_eq!(
            format!("{:?}", (script.faults, script.head)),
            format!("{:?}", (wanted.faults, wanted.head))
        );
    }
    // Once for each message; an outage for all.
    assert!(!fails(&request("sim-s01", "hi"), situation("", 1), &mut times));
    assert!(fails(&request("sim-s01", "ho"), situation("", 1), &mut times));
    assert!(fails(&request("sim-s15", "ho"), situation("", 59), &mut times));
    assert!(!fails(&request("sim-s15", "hu"), situation("", 60), &mut times));
    // Its message says what is answered.
    let script =
        choose(&request("sim-s08", "/sim tokens=60"), situation("", 0), &mut times).expect("a script");
    assert!(script.has_content && script.tokens == Some(60) && script.faults[0].0 == 40);
}

#[test]
fn a_failing_model_begins_as_a_whole_one_answers() {
    let answer = |model: &str| {
        let request = request(model, "Explain how tides work.");
        let (bytes, end) = written(plan_of(&request).expect("a plan"));
        (String::from_utf8(bytes).expect("UTF-8"), end)
    };
    let ((whole, end), (cut, broken)) = (answer("sim-chat"), answer("sim-s08"));
    assert!(whole.starts_with(&cut) && cut.matches("event:result").count() == 40, "{cut}");
    assert_eq!((end, broken), (Step::End, Step::Cut));
}

#[test]
fn keys_are_known_by_their_spelling() {
    let kind = |key: &str, optional| check_key(key, optional).err().and_then(|error| error.kind);
    assert_eq!((kind("", true), kind("", false)), (None, Some(Kind::Key)));
    assert_eq!((kind("sk-x", false), kind("sk-invalid-1", true)), (None, Some(Kind::Key)));
    assert_eq!((kind("sk-poor", false), kind("sk-limited-x", false)), (Some(Kind::Money), Some(Kind::Rate)));
    assert_eq!(check_key("sk-limited-7-x", false).expect_err("limited").retry_after, Some(7));
    assert!(check_rights("sk-only-sim-chat-1", "sim-chat").is_ok());
    for (key, model) in [("sk-only-sim-chat-1", "sim-think"), ("sk-only-sim-chatty", "sim-chat")] {
        assert_eq!(check_rights(key, model).expect_err(key).kind, Some(Kind::Rights));
    }
    assert!(mark("sk-1") != mark("sk-2") && mark("sk-1").len() == 8 && mark("").is_empty());
}

#[test]
fn the_document_lists_the_models_that_fail() {
    let document = include_str!("../../../../docs/SIMULATOR.md");
    for (model, switches) in FAULTY_MODELS {
        assert!(document.contains(&format!("| `{model}` | `{switches}` |")), "{model}");
    }
}
