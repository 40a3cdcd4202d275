//! The load tester on `/api/chat`: users whose sockets are cut and who come back, and servers that get it wrong.
use crate::harness::{Ended, Process, Tidegate, on_a_steady_machine};
use futures_util::{SinkExt, StreamExt, future::join_all};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::Message};

/// Answers that are known, all different, with stamps.
const PROMPT: &str = "/sim tokens=60 pace_ms=20 first_ms=20 stamp=1 seed={socket}{turn}";

async fn load(address: SocketAddr, more: &[&str]) -> (Ended, Value) {
    let url = format!("ws://{address}");
    let args = [&["load", &url, "--dialect", "ai-sdk", "--json", "-"], more].concat();
    let ended = Tidegate::new(&args).run().await;
    let report = serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    (ended, report)
}

// faults: A22
#[tokio::test]
async fn answers_are_whole_over_cuts_of_every_kind() {
    on_a_steady_machine(async || {
        let simulator = Process::simulate().await;
        let gateway = Process::serve(&simulator, "sk-test", &[]).await;
        let mut args = vec!["--sockets", "20", "--chats", "3", "--transcript", "whole", "--ramp", "200ms"];
        args.extend([
            "--turns",
            "2",
            "--prompt",
            PROMPT,
            "--cut-every",
            "400ms",
            "--away",
            "0s..300ms",
            "--require",
        ]);
        // Each text was compared byte by byte, from its beginning or from where it was left.
        // A question that was lost with its socket is sent again, after a resume that found nothing.
        args.extend(["errors==0", "turns==120", "verified==120", "deltas==7200"]);
        args.extend(["cuts>=40", "resumes>=80", "replayed>0", "p99_resume_ms>0", "p99_replay_ms>0"]);
        let (ended, report) = load(gateway.address, &args).await;
        assert_eq!(ended.code, Some(0), "{} {}", report["requirements"], report["errors"]);
        let (opened, cuts) = (&report["counts"]["opened"], &report["counts"]["cuts"]);
        assert_eq!(opened.as_u64().unwrap(), 20 + cuts.as_u64().unwrap(), "each came back");
        gateway.stop().await;
        simulator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn all_are_cut_at_once_and_reconnect() {
    on_a_steady_machine(async || {
        let simulator = Process::simulate().await;
        let gateway = Process::serve(&simulator, "sk-test", &[]).await;
        // Longer than all of it takes on a busy machine: no answer is finished before the cut.
        let prompt = "/sim tokens=100 pace_ms=20 first_ms=20 stamp=1 seed={socket}{turn}";
        let mut args = vec!["--sockets", "60", "--ramp", "200ms", "--processes", "2", "--prompt", prompt];
        args.extend(["--cut-at", "700ms", "--away", "0s..500ms", "--require"]);
        args.extend(["errors==0", "verified==60", "cuts==60", "resumes==60", "opened==120"]);
        let (ended, report) = load(gateway.address, &args).await;
        assert_eq!(ended.code, Some(0), "{} {}", report["requirements"], report["errors"]);
        assert!(report["figures"]["p99_resume_ms"].as_f64().unwrap() > 0.0, "{report}");
        gateway.stop().await;
        simulator.stop().await;
    })
    .await;
}

/// What a server does wrong when a client comes back.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Nothing,
    /// A word of the replay is missing; the numbers hide it.
    Lost,
    /// A word comes twice, with numbers of its own.
    Doubled,
    /// A number is left out.
    Jump,
    /// The replay has another answer's name.
    OtherAnswer,
    /// The answer is gone.
    Gone,
}

const TEXT: &str = "one two three four five six seven eight nine ten eleven twelve ";
/// Words before the server falls silent, until its user comes back.
const BEFORE: usize = 6;
/// Numbers before the first word.
const OPENING: usize = 3;

async fn server(fault: Fault) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                if let Ok(mut socket) = accept_async(socket).await {
                    serve(&mut socket, fault).await;
                }
            });
        }
    });
    (address, task)
}

async fn serve(socket: &mut WebSocketStream<TcpStream>, fault: Fault) {
    while let Some(Ok(Message::Text(text))) = socket.next().await {
        let asked: Value = serde_json::from_str(&text).unwrap();
        let frames = match asked["type"].as_str() {
            Some("send") => answer(&asked, 0, Fault::Nothing)[..OPENING + BEFORE].to_vec(),
            Some("resume") if fault == Fault::Gone => {
                vec![json!({ "type": "no-active", "requestId": asked["requestId"] })]
            }
            _ => {
                let after = asked["lastSequence"].as_u64().map_or(0, |after| after as usize + 1);
                let message = if fault == Fault::OtherAnswer { "m2" } else { "m1" };
                let found = json!({ "type": "start", "requestId": asked["requestId"], "messageId": message });
                let end = json!({ "type": "end", "requestId": asked["requestId"] });
                [vec![found], answer(&asked, after, fault), vec![end]].concat()
            }
        };
        for frame in frames {
            if socket.send(Message::text(frame.to_string())).await.is_err() {
                return;
            }
        }
    }
}

/// The chunks of the answer from a number on.
fn answer(asked: &Value, from: usize, fault: Fault) -> Vec<Value> {
    let mut chunks = vec![
        json!({ "type": "start", "messageId": "m1" }),
        json!({ "type": "start-step" }),
        json!({ "type": "text-start", "id": "1" }),
    ];
    let mut words: Vec<_> = TEXT.split_inclusive(' ').collect();
    match fault {
        Fault::Lost => _ = words.remove(BEFORE + 1),
        Fault::Doubled => words.insert(BEFORE + 3, words[BEFORE + 1]),
        _ => {}
    }
    chunks.extend(words.iter().map(|word| json!({ "type": "text-delta", "id": "1", "delta": word })));
    chunks.extend(["text-end", "finish-step", "finish"].map(|kind| json!({ "type": kind, "id": "1" })));
    let jump = |number| usize::from(fault == Fault::Jump && number > OPENING + BEFORE);
    let chunk = |(number, chunk)| json!({ "type": "chunk", "requestId": asked["requestId"], "sequence": number + jump(number), "chunk": chunk });
    chunks.into_iter().enumerate().skip(from).map(chunk).collect()
}

#[tokio::test]
async fn a_server_that_sends_a_wrong_replay_fails_a_run() {
    let faults = [
        (Fault::Nothing, None, 0),
        (Fault::Lost, Some("lost_text"), 1),
        (Fault::Doubled, Some("doubled_text"), 1),
        (Fault::Jump, Some("bad_sequence"), 1),
        (Fault::OtherAnswer, Some("wrong_message"), 1),
        // An answer may be forgotten after a time: that is for requirements to judge.
        (Fault::Gone, Some("no_active"), 0),
    ];
    let runs = faults.map(async |(fault, kind, code)| {
        let (address, task) = server(fault).await;
        let prompt = format!("/sim text=\"{TEXT}\"");
        // Once, when all of them have text. Of three users one resumes from the beginning.
        let args = ["--sockets", "3", "--ramp", "0s", "--prompt", &prompt, "--cut-at", "3s", "--away", "0s"];
        let (ended, report) = load(address, &args).await;
        let counts = &report["counts"];
        assert_eq!(ended.code, Some(code), "{fault:?}: {counts} {}", report["errors"]);
        assert_eq!((&counts["cuts"], &counts["resumes"]), (&json!(3), &json!(3)), "{fault:?}: {counts}");
        let verified = if fault == Fault::Nothing { 3 } else { 0 };
        assert_eq!(counts["verified"], verified, "{fault:?}: {counts}");
        let errors: Vec<_> = report["errors"].as_object().unwrap().iter().collect();
        let counted = errors.iter().map(|(kind, errors)| (kind.as_str(), errors["count"].as_u64().unwrap()));
        assert!(counted.eq(kind.map(|kind| (kind, 3))), "{fault:?}: {errors:?}");
        task.abort();
    });
    join_all(runs).await;
}

/// Answers every question at once, except that it loses the second one with its socket. A resume that names no turn gets
/// the newest one.
async fn lose_the_second_question(listener: TcpListener) {
    let mut newest = None;
    let mut has_lost = false;
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let Ok(mut socket) = accept_async(socket).await else { continue };
        while let Some(Ok(Message::Text(text))) = socket.next().await {
            let asked: Value = serde_json::from_str(&text).unwrap();
            let request = &asked["requestId"];
            let question =
                asked["messages"].as_array().map(|messages| messages.last().unwrap()["id"].clone());
            let turn = match question {
                Some(question) if question == "u1" && !has_lost => {
                    has_lost = true;
                    continue;
                }
                Some(question) => {
                    newest = Some(question);
                    newest.clone()
                }
                None => newest
                    .clone()
                    .filter(|newest| asked["messageId"].is_null() || asked["messageId"] == *newest),
            };
            let frames = match turn {
                Some(turn) => {
                    let text = format!("the whole answer to {}", turn.as_str().unwrap());
                    let chunks = [
                        json!({ "type": "start", "messageId": format!("m-{turn}") }),
                        json!({ "type": "text-delta", "id": "1", "delta": text }),
                        json!({ "type": "finish" }),
                    ];
                    let chunks = chunks.into_iter().enumerate().map(|(number, chunk)| {
                        json!({ "type": "chunk", "requestId": request, "sequence": number, "chunk": chunk })
                    });
                    chunks.chain([json!({ "type": "end", "requestId": request })]).collect()
                }
                None => vec![json!({ "type": "no-active", "requestId": request })],
            };
            for frame in frames {
                if socket.send(Message::text(frame.to_string())).await.is_err() {
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn the_answer_before_is_not_taken_for_that_to_a_question_lost_with_its_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(lose_the_second_question(listener));
    let prompt = "/sim text=\"the whole answer to u{turn}\"";
    let args = ["--sockets", "1", "--turns", "2", "--prompt", prompt, "--cut-at", "1s", "--away", "0s"];
    let (ended, report) = load(address, &args).await;
    let counts = &report["counts"];
    assert_eq!((ended.code, &report["errors"]), (Some(0), &json!({})), "{counts}");
    for (name, count) in [("verified", 2), ("cuts", 1), ("resumes", 1), ("no_active", 1), ("replayed", 0)] {
        assert_eq!(counts[name], count, "{name}: {counts}");
    }
    task.abort();
}
