//! Clients of `/api/chat` that ask for what does not exist, too much or too often: each gets an error, and no
//! other client notices.
use crate::harness::{
    Answer, Chats, End, Gateway, Process, RawClient, ask_with, handshake, kernel, resume, until,
};
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

async fn drain(mut gateway: Gateway) {
    until("no socket is left", async || gateway.app_state.lifecycle.sockets() == 0).await;
    assert_eq!(gateway.drain().await, tidegate::app::Ended::Drained);
}

/// The socket is as good as before.
async fn still_works(socket: &mut Chats) {
    socket.send_frame(&json!({"type": "ping", "requestId": "p"})).await;
    assert_eq!(socket.next().await, json!({"type": "pong", "requestId": "p"}));
}

// faults: A11, A28
#[tokio::test]
async fn every_documented_bad_frame_is_answered_and_no_other_client_notices() {
    // As the table is meant.
    let gateway = Gateway::spawn(|config| config.connection.message_bytes_max = 100).await;
    let mut bystander = Chats::connect(gateway.address).await;
    bystander.ask("r1", "c1", "/sim text=\"a secret of another client\" pace_ms=40").await;
    let bad: Vec<Value> = serde_json::from_str(include_str!("../fixtures/ai_sdk/client_bad.json")).unwrap();
    assert!(bad.len() > 40);
    let mut sockets = Vec::new();
    for cases in bad.chunks(9) {
        let mut socket = Chats::connect(gateway.address).await;
        for case in cases {
            let text = case["text"].as_str().map_or_else(|| case["frame"].to_string(), str::to_owned);
            socket.socket.send(Message::text(text)).await.unwrap();
            let error = socket.next().await;
            assert_eq!((&error["type"], &error["code"]), (&json!("error"), &case["code"]), "{case}");
            assert_eq!(error["requestId"], case["request"].as_str().unwrap_or_default(), "{case}");
            assert_eq!(error["errorText"], case["says"], "{case}");
            still_works(&mut socket).await;
        }
        sockets.push(socket);
    }
    let mut answer = Answer::of("r1");
    bystander.read_answer(&mut answer).await;
    assert_eq!((answer.text.as_str(), answer.end), ("a secret of another client", Some(End::Whole)));
    assert_eq!(gateway.upstream().requests(), 1, "none of it went to the model");
    drop((sockets, bystander));
    drain(gateway).await;
}

// faults: A14, A21
#[tokio::test]
async fn a_stop_or_a_resume_of_nothing_does_nothing_and_parts_are_kept_apart() {
    let gateway = Gateway::spawn(|_| {}).await;
    let mut socket = Chats::connect(gateway.address).await;
    let answer = socket.turn("r1", "c1", "/sim text=fine").await;
    for request in ["r1", "r1", "never"] {
        socket.abort(request).await;
    }
    still_works(&mut socket).await;
    for (name, chat, after, end) in [
        ("s1", "none", None, End::NoActive),
        ("s2", "none", Some(7), End::NoActive),
        ("s3", "c1", answer.last.map(|last| last + 1), End::Failed("bad_resume".to_owned())),
        ("s4", "c1", Some(u64::from(u32::MAX)), End::Failed("bad_resume".to_owned())),
        ("s5", "c1", None, End::Whole),
    ] {
        socket.resume(name, chat, after).await;
        let mut answer = Answer::of(name);
        socket.read_answer(&mut answer).await;
        assert_eq!(answer.end, Some(end), "{name}");
    }
    // A turn may be named by its question or its answer; another one is nothing, whatever number is given.
    for (name, turn, after, end) in [
        ("t1", "r1", None, End::Whole),
        ("t2", answer.message.as_deref().expect("a name"), None, End::Whole),
        ("t3", "r2", None, End::NoActive),
        ("t4", "r2", Some(1_000_000), End::NoActive),
    ] {
        let mut frame = resume(name, "c1", after);
        frame["messageId"] = turn.into();
        socket.send_frame(&frame).await;
        let mut answer = Answer::of(name);
        socket.read_answer(&mut answer).await;
        assert_eq!(answer.end, Some(end), "{name}");
    }
    let mut other = Chats::connect(gateway.address).await;
    other.abort("r1").await;
    other.resume("s1", "c1", Some(0)).await;
    assert_eq!(other.next().await, json!({"type": "no-active", "requestId": "s1"}));
    // What can be left out is, what cannot is refused; neither begins anything that stays.
    let parts = |parts: Value, name: &str| {
        let mut frame = ask_with(name, name, name, "");
        frame["messages"][0]["parts"] = parts;
        frame
    };
    let text = json!({"type": "text", "text": "/sim text=fine"});
    let odd = json!({"type": "data-odd", "data": {"deep": [[[{}]]]}});
    socket.send_frame(&parts(json!([odd, {"type": "tool-x", "state": "?"}, text]), "odd")).await;
    let mut answer = Answer::of("odd");
    socket.read_answer(&mut answer).await;
    assert_eq!(answer.text, "fine");
    for part in [json!({"type": "file", "url": "file:///etc/passwd"}), json!({"type": "hologram"})] {
        socket.send_frame(&parts(json!([text, part]), "refused")).await;
        let error = socket.next().await;
        assert_eq!((&error["requestId"], &error["code"]), (&json!("refused"), &json!("unsupported_part")));
    }
    assert_eq!(gateway.upstream().requests(), 2);
    drop((socket, other));
    drain(gateway).await;
}

// faults: A8
#[tokio::test]
async fn ten_megabytes_close_and_ten_thousand_messages_are_taken() {
    let gateway = Gateway::spawn(|_| {}).await;
    let mut socket = Chats::connect(gateway.address).await;
    let turns = (0..10_000).map(|n| {
        let role = ["user", "assistant"][n % 2];
        json!({"id": format!("m{n}"), "role": role, "parts": [{"type": "text", "text": "x"}]})
    });
    let last = json!({"id": "last", "role": "user", "parts": [{"type": "text", "text": "/sim text=fine"}]});
    let mut frame = ask_with("r1", "c1", "last", "");
    frame["messages"] = turns.chain([last]).collect();
    socket.send_frame(&frame).await;
    let mut answer = Answer::of("r1");
    socket.read_answer(&mut answer).await;
    assert_eq!((answer.text.as_str(), answer.end), ("fine", Some(End::Whole)));
    assert!(gateway.last_messages().len() <= 200, "history.messages_max");
    let huge = ask_with("r2", "c2", "m", &"x".repeat(10 << 20)).to_string();
    let _ = socket.socket.send(Message::text(huge)).await; // It may be cut before all of it is sent.
    assert_eq!(socket.closed().await, 1009);
    assert_eq!(gateway.upstream().requests(), 1);
    drop(socket);
    drain(gateway).await;
}

// faults: A20
#[tokio::test]
async fn a_client_that_half_closes_in_mid_answer_is_dropped_and_can_reconnect() {
    let gateway = Gateway::spawn(|_| {}).await;
    let mut socket = Chats::connect(gateway.address).await;
    socket.ask("r1", "c1", "/sim text=\"one two three four five six\" pace_ms=100").await;
    socket.next().await;
    socket.socket.get_mut().shutdown().await.unwrap();
    until("it is gone", async || gateway.app_state.lifecycle.sockets() == 0).await;
    let mut back = Chats::connect_as(gateway.address, &socket.cookie).await;
    back.resume("r2", "c1", None).await;
    let mut answer = Answer::of("r2");
    back.read_answer(&mut answer).await;
    assert_eq!((answer.text.as_str(), answer.end), ("one two three four five six", Some(End::Whole)));
    drop((socket, back));
    drain(gateway).await;
}

// faults: A24
#[tokio::test]
async fn a_hundred_requests_that_are_lost_within_a_second_leave_nothing_in_the_process() {
    let simulator = Process::simulate().await;
    let more = ["--set", "session.detached_timeout=200ms", "--set", "session.idle_timeout=1s"];
    let gateway = Process::serve(&simulator, "sk-test", &more).await;
    let round = async |chats: usize| {
        let first = Chats::connect(gateway.address).await;
        for n in 0..100 {
            let mut socket = Chats::connect_as(gateway.address, &first.cookie).await;
            let (name, chat) = (format!("r{n}"), format!("c{}", n % chats));
            match n % 2 {
                0 => socket.ask(&name, &chat, "/sim tokens=50 pace_ms=50").await,
                _ => socket.resume(&name, &chat, None).await,
            }
            match n % 3 {
                0 => socket.reset(),
                1 => drop(socket.next().await),
                _ => drop(socket),
            }
        }
    };
    // Once before anything is counted: connections to the model are kept for a while.
    round(10).await;
    until("it is idle", async || gateway.is_idle().await).await;
    let threads = || kernel::threads(gateway.pid());
    let (descriptors, threads_before) = (gateway.descriptors(), threads());
    round(1).await;
    round(10).await;
    until("it is idle", async || gateway.is_idle().await).await;
    until("its descriptors are back", async || gateway.descriptors() <= descriptors + 2).await;
    assert_eq!(threads(), threads_before);
    for gauge in ["tidegate_connections", "tidegate_sessions", "tidegate_runs", "tidegate_runs_queued"] {
        assert_eq!(gateway.metric(gauge).await, 0, "{gauge}");
    }
    gateway.stop().await;
    simulator.stop().await;
}

// faults: K150
#[tokio::test]
async fn an_address_that_sends_all_it_can_waits_for_itself_alone() {
    let gateway = Gateway::spawn(|config| {
        config.server.workers = 1;
        config.connection.read_rate_max = 1 << 20;
        config.session.transcript_bytes_max = 1 << 20;
    })
    .await;
    let long = json!({"id": "u0", "role": "user", "parts": [{"type": "text", "text": "x".repeat(500_000)}]});
    let mut floods = Vec::new();
    for number in 0..8 {
        let mut socket = Chats::connect_from(gateway.address, [127, 0, 0, 9]).await;
        let mut frame = ask_with("r1", &format!("flood{number}"), "u1", "/sim text=late");
        frame["messages"].as_array_mut().unwrap().insert(0, long.clone());
        floods.push(tokio::spawn(async move {
            socket.send_frame(&frame).await;
            let mut answer = Answer::of("r1");
            socket.read_answer(&mut answer).await;
            answer.text
        }));
    }
    let deferred = &gateway.app_state.metrics.reads_deferred;
    until("the flood waits", async || deferred.get() > 0).await;
    let mut other = Chats::connect_from(gateway.address, [127, 0, 0, 10]).await;
    for turn in 0..5 {
        let answer = other.turn(&format!("r{turn}"), "chat", "/sim text=prompt").await;
        assert_eq!((answer.text.as_str(), answer.end), ("prompt", Some(End::Whole)));
    }
    // Four megabytes take four seconds; five short turns take none of them.
    assert!(floods.iter().any(|flood| !flood.is_finished()), "the other one waited for all of it");
    for flood in floods {
        assert_eq!(flood.await.unwrap(), "late", "and nothing of it is lost");
    }
    drop(other);
    drain(gateway).await;
}

// faults: K131
#[tokio::test]
async fn an_address_that_opens_many_sockets_leaves_an_eighth_to_others() {
    let gateway = Gateway::spawn(|config| {
        config.connection.count_max = 16;
        config.server.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    let connect = async |address| {
        let mut client = RawClient::connect(gateway.address).await;
        let head = client.request(&handshake(gateway.address, &[("x-forwarded-for", address)])).await;
        (head[9..12].to_owned(), client)
    };
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(connect("203.0.113.7").await);
    }
    let count = |status| held.iter().filter(|(is, _)| is == status).count();
    assert_eq!((count("101"), count("429")), (14, 6));
    assert_eq!(connect("203.0.113.8").await.0, "101", "there is room for another");
    drop(held);
    drain(gateway).await;
}
