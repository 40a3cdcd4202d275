//! The pure half under a clock that the test winds.
mod chat;
mod faulty;
mod frames;
mod requests;
mod switching;
mod talk;

use super::{
    Endpoint, Head, Pacing, Plan, RandomInputs, Request, Script, ServiceError, Situation, Step, Times,
    choose, error::ErrorAnswer, parse_chat, parse_dashscope, plan,
};
use std::time::Duration;

/// A request body with one user message.
fn body(model: &str, message: &str, parameters: &str) -> String {
    let message = serde_json::Value::from(message);
    format!(
        r#"{{"model":"{model}","input":{{"messages":[{{"role":"user","content":{message}}}]}},"parameters":{parameters}}}"#
    )
}

/// Plans the answer to a body, without waits of its own and without a phase.
fn planned(body: &str, endpoint: Endpoint, stream: bool) -> Result<Plan, ErrorAnswer> {
    let plan = parse_dashscope(body.as_bytes(), endpoint, stream).and_then(|request| plan_of(&request));
    plan.map_err(|error| super::dashscope::answer(&error))
}

fn plan_of(request: &Request) -> Result<Plan, ServiceError> {
    let situation = Situation { place: "", now: Duration::ZERO, running: 1 };
    let script = choose(request, situation, &mut Times::default())?;
    let pacing = Pacing { first: Duration::ZERO, pace: Duration::ZERO };
    let random = RandomInputs { request_id: "R".to_owned(), phase: 0.0, created: 1_700_000_000 };
    plan(request, &script, pacing, &random)
}

const INCREMENTAL: &str = r#"{"result_format":"message","incremental_output":true}"#;

/// Plays a stream to its end, jumping over waits. Gives each step with its time.
fn play(plan: Plan) -> Vec<(Duration, Step)> {
    let Head::Stream { mut player, .. } = plan.head else { panic!("no stream: {:?}", plan.head) };
    let mut now = Duration::ZERO;
    let mut steps = Vec::new();
    loop {
        let step = player.step(now, 1_000_000 + now.as_nanos() as u64);
        if let Step::Wait(until) = step {
            assert!(until > now, "waits for the past");
            now = until;
            continue;
        }
        let last = matches!(step, Step::End | Step::Cut | Step::Reset | Step::Hang);
        steps.push((now, step));
        if last || steps.len() > 100_000 {
            return steps;
        }
    }
}

/// The bytes of a steered answer in incremental mode, and how they end.
fn stream(message: &str) -> (Vec<u8>, Step) {
    stream_of("qwen-plus", message, INCREMENTAL, Endpoint::Text)
}

fn stream_of(model: &str, message: &str, parameters: &str, endpoint: Endpoint) -> (Vec<u8>, Step) {
    written(planned(&body(model, message, parameters), endpoint, true).expect("a plan"))
}

/// Everything that a stream writes, and how it ends.
fn written(plan: Plan) -> (Vec<u8>, Step) {
    let mut steps = play(plan);
    let last = steps.pop().expect("an end").1;
    let bytes = steps.into_iter().filter_map(|(_, step)| match step {
        Step::Write(bytes) => Some(bytes),
        _ => None,
    });
    (bytes.flatten().collect(), last)
}

/// The same as text.
fn text(message: &str) -> String {
    String::from_utf8(stream(message).0).expect("UTF-8")
}
