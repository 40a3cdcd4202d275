//! Many requests on one socket, many sockets on one chat, and what is refused of both.
use crate::harness::{Answer, Chats, End, Gateway, TestClient, on_a_steady_machine, until};
use futures_util::SinkExt;
use serde_json::json;
use std::{collections::HashMap, time::Duration};
use tokio_tungstenite::tungstenite::Message;

async fn drain(mut gateway: Gateway) {
    until("no socket is left", async || gateway.app_state.lifecycle.sockets() == 0).await;
    assert_eq!(gateway.drain().await, tidegate::app::Ended::Drained);
}

#[tokio::test]
async fn a_thousand_chats_share_a_socket() {
    let gateway = Gateway::spawn(|config| {
        config.connection.requests_max = 1000;
        config.session.count_per_principal_max = 1000;
        config.connection.frames_per_second_max = 0;
    })
    .await;
    let mut socket = Chats::connect(gateway.address).await;
    let names: Vec<String> = (0..1000).map(|number| format!("r{number}")).collect();
    for name in &names {
        socket.ask(name, name, &format!("/sim text=\"this is {name} and no other\" pace_ms=50")).await;
    }
    let mut answers: HashMap<_, _> = names.iter().map(|name| (name.clone(), Answer::of(name))).collect();
    let mut open = names.len();
    while open > 0 {
        let frame = socket.next().await;
        let answer = answers.get_mut(frame["requestId"].as_str().unwrap()).unwrap();
        answer.take(&frame);
        open -= usize::from(answer.end.is_some());
    }
    for (name, answer) in answers {
        assert_eq!(answer.text, format!("this is {name} and no other"));
    }
    assert_eq!(gateway.app_state.metrics.sessions.get(), 1000);
    drop(socket);
    drain(gateway).await;
}

// faults: A24
#[tokio::test]
async fn a_chat_that_is_attached_to_and_lost_a_hundred_times_leaves_nothing() {
    let gateway = Gateway::spawn(|config| config.session.idle_timeout = Duration::from_secs(1)).await;
    let mut first = Chats::connect(gateway.address).await;
    first.ask("r1", "chat", "/sim tokens=40 pace_ms=50").await;
    first.next().await;
    let mut refused = 0;
    for round in 0..100 {
        let mut socket = Chats::connect_as(gateway.address, &first.cookie).await;
        socket.resume("again", "chat", None).await;
        let frame = socket.next().await;
        refused += usize::from(frame["code"] == "too_often");
        match round % 3 {
            0 => socket.reset(),
            1 => drop(socket.socket.close(None).await),
            _ => drop(socket),
        }
    }
    assert!(refused > 0, "ten a second are enough");
    first.abort("r1").await;
    drop(first);
    until("all of it is gone", async || gateway.is_idle()).await;
    gateway.stop().await;
}

#[tokio::test]
async fn as_many_requests_as_allowed_and_each_name_once() {
    let gateway = Gateway::spawn(|config| config.connection.requests_max = 2).await;
    let mut socket = Chats::connect(gateway.address).await;
    let slow = "/sim stall_after=1 tokens=9";
    socket.ask("a", "a", slow).await;
    socket.ask("b", "b", slow).await;
    let refusal = async |socket: &mut Chats, name: &str| loop {
        let frame = socket.next().await;
        if frame["requestId"] == name && frame["type"] == "error" {
            return frame["code"].as_str().unwrap().to_owned();
        }
    };
    socket.ask("c", "c", slow).await;
    assert_eq!(refusal(&mut socket, "c").await, "too_many_requests");
    socket.ask("a", "d", slow).await;
    assert_eq!(refusal(&mut socket, "a").await, "duplicate_request");
    // A place is free again when a request has ended.
    socket.abort("b").await;
    let mut stopped = false;
    while !stopped {
        let frame = socket.next().await;
        stopped = frame["requestId"] == "b" && frame["type"] == "end";
    }
    let answer = socket.turn("c", "c", "/sim text=fine").await;
    assert_eq!(answer.text, "fine");
    socket.send_frame(&json!({"type": "ping", "requestId": "p"})).await;
    assert_eq!(socket.next().await, json!({"type": "pong", "requestId": "p"}));
    socket.abort("a").await;
    drop(socket);
    drain(gateway).await;
}

/// A quiet chat makes room for a new one, its owner's own first; one that is followed or answering never does.
#[tokio::test]
async fn as_many_chats_as_may_be_and_the_quiet_ones_make_room() {
    let gateway = Gateway::spawn(|config| {
        config.session.count_max = 4;
        config.connection.frames_per_second_max = 0;
        config.session.count_per_principal_max = 2;
        config.session.replay_time = Duration::from_millis(100);
    })
    .await;
    let quick = "/sim text=fine pace_ms=0 first_ms=0";
    let mut one = Chats::connect(gateway.address).await;
    for number in 0..5 {
        let name = format!("c{number}");
        // As long as an answer is kept for who may come, its chat makes no room.
        let mut text = String::new();
        until("there is room", async || {
            text = one.turn(&name, &name, quick).await.text;
            text == "fine"
        })
        .await;
        until("two at most", async || gateway.app_state.registry.len() <= 2).await;
    }
    let displaced = async || {
        let (_, metrics) = gateway.get("/metrics").await;
        let line = metrics.lines().find(|line| line.starts_with("tidegate_sessions_evicted_total "));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok())
    };
    // Three of the five had to go.
    until("they are counted", async || displaced().await == Some(3)).await;
    // Two that answer: there is no room for a third, and none of them is touched.
    for name in ["a", "b"] {
        let mut begun = String::new();
        until("it answers", async || {
            one.ask(name, &format!("busy-{name}"), "/sim tokens=600 pace_ms=20 first_ms=0").await;
            loop {
                let frame = one.next().await;
                if frame["requestId"] == name {
                    begun = frame["type"].to_string();
                    break;
                }
            }
            begun.contains("chunk")
        })
        .await;
    }
    let refused = async |socket: &mut Chats, name: &str| {
        socket.ask(name, name, quick).await;
        loop {
            let frame = socket.next().await;
            if frame["requestId"] == name {
                return frame["code"].as_str().unwrap_or_default().to_owned();
            }
        }
    };
    assert_eq!(refused(&mut one, "third").await, "too_many_chats");
    // Others have their own, as far as there is room for all.
    let mut two = Chats::connect(gateway.address).await;
    two.ask("a", "busy-a", "/sim tokens=300 pace_ms=20").await;
    two.ask("b", "busy-b", "/sim tokens=300 pace_ms=20").await;
    until("all four answer", async || gateway.app_state.registry.len() == 4).await;
    let mut three = Chats::connect(gateway.address).await;
    assert_eq!(refused(&mut three, "first").await, "too_many_chats");
    // As soon as one is quiet, its place is free for anybody.
    one.abort("a").await;
    let mut text = String::new();
    until("a place is free", async || {
        text = three.turn("again", "again", quick).await.text;
        text == "fine"
    })
    .await;
    for socket in [&mut one, &mut two] {
        socket.abort("a").await;
        socket.abort("b").await;
    }
    drop((one, two, three));
    drain(gateway).await;
}

// faults: K139
#[tokio::test]
async fn one_address_that_fills_the_chat_table_gives_way_to_the_chats_of_others() {
    const PLACES: usize = 40;
    let gateway = Gateway::spawn(|config| {
        config.session.count_max = PLACES;
        config.session.count_per_principal_max = 10;
        config.connection.frames_per_second_max = 0;
        config.session.replay_time = Duration::from_secs(600); // Nothing comes free by waiting.
    })
    .await;
    let quick = "/sim text=fine pace_ms=0 first_ms=0";
    let mut users = Vec::new();
    for user in 1..=10 {
        let mut socket = Chats::connect_from(gateway.address, [127, 0, 1, user]).await;
        assert_eq!(socket.turn("r1", "own", quick).await.text, "fine");
        users.push(socket);
    }
    // A new cookie for each ten chats: more than there are places, each answer kept.
    let mut flooders = Vec::new();
    for cookie in 0..PLACES / 10 + 1 {
        let mut flooder = Chats::connect_from(gateway.address, [127, 0, 2, 1]).await;
        for chat in 0..10 {
            let name = format!("c{cookie}-{chat}");
            assert_eq!(flooder.turn(&name, &name, quick).await.text, "fine");
        }
        flooders.push(flooder);
    }
    until("every place is taken", async || gateway.app_state.registry.len() == PLACES).await;
    for user in &mut users {
        assert_eq!(user.turn("r2", "new", quick).await.text, "fine", "ten of ten");
        user.resume("r3", "own", None).await;
        let mut kept = Answer::of("r3");
        user.read_answer(&mut kept).await;
        assert_eq!((kept.text.as_str(), kept.end), ("fine", Some(End::Whole)), "none of theirs went");
    }
    // The oldest of the flooder's are the ones that went.
    let end_of = async |flooder: &mut Chats, chat: &str| {
        let name = format!("resume-{chat}");
        flooder.resume(&name, chat, None).await;
        let mut kept = Answer::of(&name);
        flooder.read_answer(&mut kept).await;
        kept.end
    };
    assert_eq!(end_of(&mut flooders[0], "c0-0").await, Some(End::NoActive));
    assert_eq!(end_of(&mut flooders[PLACES / 10], &format!("c{}-9", PLACES / 10)).await, Some(End::Whole));
    drop((users, flooders));
    drain(gateway).await;
}

// faults: K139
#[tokio::test]
async fn a_client_that_reads_slowly_keeps_no_place_from_others() {
    let gateway = Gateway::spawn(|config| {
        config.session.count_max = 4;
        config.connection.write_timeout = Duration::from_secs(60);
        config.session.lag_bytes_max = 16 << 20; // The answers are finished, however little of them is read.
        config.connection.send_buffer = 4 << 10;
        config.connection.output_bytes_max = 16 << 10;
    })
    .await;
    let mut slow = Chats::connect_narrow(gateway.address, "").await;
    let names = ["a", "b", "c", "d"];
    for name in names {
        // Each of them more than the gateway and both kernels hold for a socket.
        slow.ask(name, name, "/sim tokens=40000 pace_ms=0 first_ms=0").await;
    }
    until("all are finished", async || gateway.app_state.metrics.runs_ended("stop") == 4).await;
    assert_eq!(gateway.app_state.registry.len(), 4);
    let mut other = Chats::connect_from(gateway.address, [127, 0, 3, 1]).await;
    assert_eq!(other.turn("r1", "c1", "/sim text=fine").await.text, "fine");
    let mut ends = Vec::new();
    while ends.len() < names.len() {
        let frame = slow.next().await;
        if ["end", "error"].contains(&frame["type"].as_str().unwrap()) {
            ends.push(frame["code"].as_str().unwrap_or("end").to_owned());
        }
    }
    ends.sort_unstable();
    assert_eq!(ends, ["end", "end", "end", "unavailable"]);
    drop((slow, other));
    drain(gateway).await;
}

// faults: A23
#[tokio::test]
async fn two_tabs_see_the_same_and_the_oldest_of_too_many_goes() {
    let gateway = Gateway::spawn(|config| config.session.subscribers_max = 2).await;
    let mut first = Chats::connect(gateway.address).await;
    first.ask("r1", "chat", "/sim tokens=40 pace_ms=20 seed=5").await;
    let mut answer = Answer::of("r1");
    let frame = first.next().await;
    answer.take(&frame);
    let mut tabs = Vec::new();
    for name in ["t1", "t2"] {
        let mut tab = Chats::connect_as(gateway.address, &first.cookie).await;
        tab.resume(name, "chat", None).await;
        let mut copy = Answer::of(name);
        let frame = tab.next().await;
        copy.take(&frame);
        tabs.push((tab, copy));
    }
    first.read_answer(&mut answer).await;
    assert_eq!(answer.end, Some(End::Failed("taken_over".to_owned())));
    for (tab, copy) in &mut tabs {
        tab.read_answer(copy).await;
    }
    assert_eq!(tabs[0].1.text, tabs[1].1.text);
    assert!(tabs[0].1.text.starts_with(&answer.text));
    drop((first, tabs));
    drain(gateway).await;
}

// faults: A8, A28
#[tokio::test]
async fn a_frame_may_hold_a_transcript_and_no_more_and_a_name_only_letters() {
    let gateway = Gateway::spawn(|config| config.session.transcript_bytes_max = 300 << 10).await;
    let mut socket = Chats::connect(gateway.address).await;
    // More than a frame of the other route: turns that this gateway has not seen.
    let message = |role: &str, n: usize| {
        json!({"id": format!("{role}{n}"), "role": role,
        "parts": [{"type": "text", "text": "x".repeat(10_000)}]})
    };
    let mut messages: Vec<_> = (0..10).flat_map(|n| [message("user", n), message("assistant", n)]).collect();
    messages.push(json!({"id": "m", "role": "user", "parts": [{"type": "text", "text": "/sim text=fine"}]}));
    let mut frame = crate::harness::ask_with("r1", "chat", "m", "");
    frame["messages"] = messages.into();
    socket.send_frame(&frame).await;
    let mut answer = Answer::of("r1");
    socket.read_answer(&mut answer).await;
    assert_eq!(answer.text, "fine");
    for name in ["../up", "a\r\nb", "*", "\u{1b}[31m"] {
        socket.resume("r2", name, None).await;
        let frame = socket.next().await;
        assert_eq!((&frame["type"], &frame["code"]), (&json!("error"), &json!("bad_id")), "{name:?}");
    }
    let _ = socket.socket.send(Message::text("x".repeat(400 << 10))).await;
    assert_eq!(socket.closed().await, 1009);
    let mut plain = TestClient::connect(&gateway.chat_url()).await;
    plain.send(Message::text("x".repeat(200 << 10))).await;
    assert_eq!(plain.closed().await, 1009, "the plain route has its own bound");
    drop((socket, plain));
    drain(gateway).await;
}

#[tokio::test]
async fn a_drain_lets_answers_end_and_then_closes_with_1012() {
    on_a_steady_machine(async || {
        let mut gateway = Gateway::spawn(|_| {}).await;
        let mut idle = Chats::connect(gateway.address).await;
        let mut busy = Chats::connect(gateway.address).await;
        let mut left = Chats::connect(gateway.address).await;
        left.ask("gone", "gone", "/sim tokens=20 pace_ms=50").await;
        left.next().await;
        drop(left);
        busy.ask("r1", "chat", "/sim text=\"a few words that take a while\" pace_ms=200").await;
        let mut answer = Answer::of("r1");
        let frame = busy.next().await;
        answer.take(&frame);
        let ended = gateway.begin_drain();
        assert_eq!(idle.closed().await, 1012);
        busy.ask("r2", "other", "/sim text=no").await;
        let mut late = Answer::of("r2");
        while answer.end.is_none() {
            let frame = busy.next().await;
            answer.take(&frame);
            late.take(&frame);
        }
        assert_eq!(late.end, Some(End::Failed("draining".to_owned())));
        assert_eq!((answer.text.as_str(), answer.end), ("a few words that take a while", Some(End::Whole)));
        assert_eq!(busy.closed().await, 1012);
        assert_eq!(ended.await.unwrap(), tidegate::app::Ended::Drained);
    })
    .await;
}

#[tokio::test]
async fn the_end_of_the_grace_period_cuts_what_still_runs() {
    let mut gateway = Gateway::spawn(|config| config.server.drain_timeout = Duration::from_secs(1)).await;
    let mut busy = Chats::connect(gateway.address).await;
    busy.ask("r1", "chat", "/sim tokens=9 stall_after=1").await;
    let mut left = Chats::connect(gateway.address).await;
    left.ask("r1", "chat", "/sim tokens=9 stall_after=1").await;
    until("both run", async || gateway.upstream().open_streams() == 2).await;
    drop(left);
    let ended = gateway.begin_drain();
    assert_eq!(busy.closed().await, 1012);
    assert_eq!(ended.await.unwrap(), tidegate::app::Ended::GraceOver(1));
    until("the upstream is closed", async || gateway.app_state.metrics.sessions.get() == 0).await;
}
