//! Chats that outlive their sockets: `/api/chat` from end to end.
use crate::harness::{Answer, Chats, End, Gateway, Stopwatch, ask_with, on_a_steady_machine, resume, until};
use serde_json::{Value, json};
use std::time::Duration;

/// What the simulator says, slowly.
const SLOW: &str = "/sim text=\"one two three four five six seven eight nine ten\" pace_ms=30";
const WORDS: &str = "one two three four five six seven eight nine ten";

#[tokio::test]
async fn a_question_is_answered_and_two_chats_share_a_socket() {
    let gateway = Gateway::spawn(|_| {}).await;
    let mut socket = Chats::connect(gateway.address).await;
    let answer = socket.turn("r1", "chat", "/sim text=\"hello there\" think=3").await;
    assert_eq!((answer.text.as_str(), answer.end), ("hello there", Some(End::Whole)));
    socket.ask("a", "first", SLOW).await;
    socket.ask("b", "second", SLOW).await;
    let (mut a, mut b) = (Answer::of("a"), Answer::of("b"));
    let (mut turns, mut last) = (0, None);
    while a.end.is_none() || b.end.is_none() {
        let frame = socket.next().await;
        turns += usize::from(last != Some(frame["requestId"].clone()));
        last = Some(frame["requestId"].clone());
        a.take(&frame);
        b.take(&frame);
    }
    assert_eq!((a.text.as_str(), b.text.as_str()), (WORDS, WORDS));
    assert!(turns > 4, "they were written at the same time");
    drop(socket);
    drain(gateway).await;
}

/// Conversations are kept, so that the gateway is not idle at the end.
async fn drain(mut gateway: Gateway) {
    until("no socket is left", async || gateway.app_state.lifecycle.sockets() == 0).await;
    assert_eq!(gateway.drain().await, tidegate::app::Ended::Drained);
}

// faults: A19, A21, A22
#[tokio::test]
async fn an_answer_continues_without_its_socket_from_any_point_on_any_worker() {
    let gateway = Gateway::spawn(|_| {}).await;
    // Neighbours: the listener gives its workers sockets in turn.
    for (number, frames) in [0, 1, 3, 6, 9, 200].into_iter().enumerate() {
        let mut socket = Chats::connect(gateway.address).await;
        let (cookie, chat) = (socket.cookie.clone(), format!("chat{number}"));
        socket.ask("r0", &chat, SLOW).await;
        let mut answer = Answer::of("r0");
        for _ in 0..frames {
            if answer.end.is_none() {
                let frame = socket.next().await;
                answer.take(&frame);
            }
        }
        until("it was taken", async || gateway.app_state.registry.len() > number).await;
        socket.reset();
        let mut copies = Vec::new();
        for tab in 0..4 {
            let mut socket = Chats::connect_as(gateway.address, &cookie).await;
            let (mut copy, request) = (answer.clone(), format!("r1{tab}"));
            let after = if tab % 2 == 0 { copy.go_on(&request) } else { None };
            if after.is_none() {
                copy.again(&request);
            }
            socket.resume(&request, &chat, after).await;
            copies.push((socket, copy));
        }
        for (socket, copy) in &mut copies {
            socket.read_answer(copy).await;
            assert_eq!((copy.text.as_str(), copy.end.clone()), (WORDS, Some(End::Whole)));
        }
        let names: Vec<_> = copies.iter().map(|(_, copy)| copy.message.clone()).collect();
        assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
    }
    assert_eq!(gateway.upstream().requests(), 6);
    drain(gateway).await;
}

/// As the page does it: the question is stopped without a socket, so the stop comes with the next one.
// faults: A14
#[tokio::test]
async fn a_question_that_was_stopped_without_a_socket_is_withdrawn_while_it_waits() {
    let gateway = Gateway::spawn(|_| {}).await;
    let mut socket = Chats::connect(gateway.address).await;
    let cookie = socket.cookie.clone();
    socket.ask("a", "chat", SLOW).await;
    socket.ask("b", "chat", "/sim text=unwanted").await;
    let mut waiting = Answer::of("b");
    while waiting.transient != ["data-queue"] {
        waiting.take(&socket.next().await);
    }
    socket.reset();
    let mut socket = Chats::connect_as(gateway.address, &cookie).await;
    let mut stop = resume("s", "chat", None);
    stop["messageId"] = "b".into();
    socket.send_frame(&stop).await;
    socket.abort("s").await;
    socket.resume("a2", "chat", None).await;
    assert_eq!(socket.next().await, json!({"type": "start", "requestId": "s"}));
    let mut first = Answer::of("a2");
    socket.read_answer(&mut first).await;
    assert_eq!((first.text.as_str(), first.end), (WORDS, Some(End::Whole)));
    let next = socket.turn("c", "chat", "/sim text=wanted").await;
    assert_eq!(next.text, "wanted");
    assert_eq!(gateway.upstream().requests(), 2, "the stopped question was not asked");
    drop(socket);
    drain(gateway).await;
}

// faults: A21
#[tokio::test]
async fn a_resume_of_an_unknown_chat_reveals_nothing() {
    let gateway = Gateway::spawn(|_| {}).await;
    let mut socket = Chats::connect(gateway.address).await;
    socket.resume("none", "chat", None).await;
    assert_eq!(socket.next().await, json!({"type": "no-active", "requestId": "none"}));
    assert!(gateway.app_state.registry.is_empty(), "nothing was made for it");
    let answer = socket.turn("r1", "chat", "/sim text=secret").await;
    // Another browser knows the chat's name, and gets the same response as for an unknown chat.
    let mut other = Chats::connect(gateway.address).await;
    assert_ne!(other.cookie, socket.cookie);
    other.resume("mine", "chat", None).await;
    assert_eq!(other.next().await, json!({"type": "no-active", "requestId": "mine"}));
    let theirs = other.turn("r1", "chat", "/sim text=other").await;
    assert_eq!((answer.text.as_str(), theirs.text.as_str()), ("secret", "other"));
    assert_ne!(answer.message, theirs.message);
    // Beyond what was written.
    socket.resume("far", "chat", Some(100_000)).await;
    let mut far = Answer::of("far");
    socket.read_answer(&mut far).await;
    assert_eq!(far.end, Some(End::Failed("bad_resume".to_owned())));
    drop((socket, other));
    drain(gateway).await;
}

// faults: A14
#[tokio::test]
async fn a_stop_closes_the_upstream_at_once_for_every_tab() {
    let gateway = Gateway::spawn(|_| {}).await;
    for round in 0..7 {
        let mut socket = Chats::connect(gateway.address).await;
        let chat = format!("chat{round}");
        socket.abort("r1").await; // Nothing runs yet.
        socket.ask("r1", &chat, SLOW).await;
        let mut answer = Answer::of("r1");
        while answer.text.is_empty() {
            let frame = socket.next().await;
            answer.take(&frame);
        }
        let mut tab = Chats::connect_as(gateway.address, &socket.cookie).await;
        tab.resume("t1", &chat, None).await;
        let mut other = Answer::of("t1");
        while other.text.is_empty() {
            let frame = tab.next().await;
            other.take(&frame);
        }
        socket.abort("r1").await;
        until("the upstream is closed", async || gateway.upstream().open_streams() == 0).await;
        socket.abort("r1").await; // Twice.
        tab.read_answer(&mut other).await;
        socket.read_answer(&mut answer).await;
        assert_eq!((answer.end, other.end), (Some(End::Stopped), Some(End::Stopped)));
        assert!(WORDS.starts_with(&other.text) && other.text.len() < WORDS.len());
        // The conversation keeps the text before the stop, and goes on.
        let next = socket.turn("r2", &chat, "/sim text=fine").await;
        assert_eq!(next.text, "fine");
    }
    assert_eq!(gateway.upstream().cancelled(), 7);
    drain(gateway).await;
}

/// The frames of a request up to its end.
async fn rest_of(socket: &mut Chats, request: &str) -> Vec<Value> {
    let mut frames = Vec::new();
    loop {
        let frame = socket.next().await;
        assert_eq!(frame["requestId"], request);
        if frame["type"] == "end" {
            return frames;
        }
        frames.push(frame);
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_short_carries_its_figures_and_its_names() {
    let gateway = Gateway::spawn(|_| {}).await;
    let mut socket = Chats::connect(gateway.address).await;
    socket.ask("r1", "c1", SLOW).await;
    let mut answer = Answer::of("r1");
    while answer.text.is_empty() {
        let frame = socket.next().await;
        answer.take(&frame);
    }
    socket.abort("r1").await;
    let stopped = rest_of(&mut socket, "r1").await;
    socket.ask("r2", "c2", "/sim text=\"one two three\" end_after=2").await;
    let broken = rest_of(&mut socket, "r2").await;
    for (frames, end) in [(&stopped, "abort"), (&broken, "error")] {
        let [.., figures, last] = frames.as_slice() else { panic!("{frames:?}") };
        assert_eq!(last["chunk"]["type"], end, "{frames:?}");
        let metadata = &figures["chunk"]["messageMetadata"];
        assert_eq!(figures["chunk"]["type"], "message-metadata", "{frames:?}");
        assert!(metadata["usage"]["output_tokens"].as_u64().unwrap() > 0, "{metadata}");
        assert!(
            metadata["time_to_first_token_ms"].is_u64() && metadata["duration_ms"].is_u64(),
            "{metadata}"
        );
    }
    let error = &broken.last().unwrap()["chunk"];
    let name = broken[0]["chunk"]["messageId"].as_str().unwrap();
    assert_eq!(error["run"].as_str(), name.strip_prefix("msg-"), "{error}");
    assert!(error["serviceRequest"].as_str().is_some_and(|id| !id.is_empty()), "{error}");
    // A client that resumes later, from any number, gets the same.
    let after = broken.len() as u64 - 3;
    socket.resume("r3", "c2", Some(after)).await;
    let later = rest_of(&mut socket, "r3").await;
    assert_eq!(later.last().unwrap()["chunk"], *error);
    drop(socket);
    drain(gateway).await;
}

// faults: A15
#[tokio::test]
async fn leaving_is_not_stopping_until_the_linger_time_is_over() {
    on_a_steady_machine(async || {
        let gateway = Gateway::spawn(|config| {
            config.session.detached_timeout = Duration::from_millis(800);
            config.session.idle_timeout = Duration::from_secs(2);
        })
        .await;
        let mut socket = Chats::connect(gateway.address).await;
        let cookie = socket.cookie.clone();
        socket.ask("r1", "short", "/sim tokens=15 pace_ms=20 seed=1").await;
        socket.ask("r2", "long", "/sim tokens=1000 pace_ms=20 seed=1").await;
        until("both run", async || gateway.upstream().open_streams() == 2).await;
        let watch = Stopwatch::start();
        drop(socket);
        until("the short one is whole", async || gateway.upstream().completed() == 1).await;
        until("the long one is given up", async || gateway.upstream().cancelled() == 1).await;
        assert!(watch.took().is_in(Duration::from_millis(700)..), "{:?}", watch.took());
        // Within the idle time it is there: the same message is answered by what was written, not by a new run.
        let mut socket = Chats::connect_as(gateway.address, &cookie).await;
        socket.send_frame(&ask_with("again", "short", "r1", "/sim tokens=15 pace_ms=20 seed=1")).await;
        let mut answer = Answer::of("again");
        socket.read_answer(&mut answer).await;
        assert_eq!((answer.end, gateway.upstream().requests()), (Some(End::Whole), 2));
        drop(socket);
        until("no client comes, so it is forgotten", async || gateway.is_idle()).await;
        let mut socket = Chats::connect_as(gateway.address, &cookie).await;
        socket.send_frame(&resume("late", "short", None)).await;
        assert_eq!(socket.next().await["type"], "no-active");
        drop(socket);
        gateway.stop().await;
    })
    .await;
}

// faults: A13
#[tokio::test]
async fn a_question_while_an_answer_runs_waits_in_order() {
    let gateway = Gateway::spawn(|config| config.session.queued_messages_max = 2).await;
    let mut socket = Chats::connect(gateway.address).await;
    let names = ["r0", "r1", "r2", "r3"];
    let mut answers = names.map(Answer::of);
    for name in names {
        socket.ask(name, "chat", &format!("/sim text=\"answer {name}\" pace_ms=100")).await;
    }
    while answers.iter().any(|answer| answer.end.is_none()) {
        let frame = socket.next().await;
        for answer in &mut answers {
            answer.take(&frame);
        }
    }
    for (answer, name) in answers.iter().zip(names).take(3) {
        assert_eq!((answer.text.clone(), answer.end.clone()), (format!("answer {name}"), Some(End::Whole)));
    }
    assert_eq!(answers[3].end, Some(End::Failed("queue_full".to_owned())));
    assert!(answers[1].transient.contains(&"data-queue".to_owned()), "{:?}", answers[1]);
    drop(socket);
    drain(gateway).await;
}
