//! The budget of memory, against a real process: who pays when it is used up, and that it holds.
use crate::harness::{
    Answer, Chats, End, Process, RawClient, TestClient, Tidegate, frame, frame_head, get_with, handshake,
    on_a_steady_machine, short_or_long, until,
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::{net::IpAddr, time::Duration};
use tokio::time::{Instant, sleep};

const MIB: u64 = 1 << 20;

/// A gateway with this bound, in front of a simulator.
async fn serve(simulator: &Process, max: &str, keys: &[&str]) -> Process {
    let base_url = simulator.base_url();
    let max = format!("memory.max={max}");
    let mut args = vec!["serve", "--listen", "127.0.0.1:0", "--model", "sim-chat", "--base-url", &base_url];
    for key in [&*max, "server.workers=2", "connection.frames_per_second_max=0"].iter().chain(keys) {
        args.extend(["--set", key]);
    }
    Tidegate::new(&args).env("API_KEY", "sk-test").start().await
}

/// A socket on `/api/chat` from an address of its own.
async fn chats_from(here: [u8; 4], gateway: &Process) -> RawClient {
    let mut client = RawClient::connect_from(IpAddr::from(here), gateway.address).await;
    let request = handshake(gateway.address, &[]).replace("GET /chat ", "GET /api/chat ");
    let head = client.request(&request).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client
}

fn reclaimed(what: &str) -> String {
    format!("tidegate_memory_reclaimed_total{{what=\"{what}\"}}")
}

// faults: K144
#[tokio::test]
async fn unfinished_messages_of_the_largest_source_are_dropped_first() {
    const FLOOD: usize = 120;
    let simulator = Process::simulate().await;
    let gateway = serve(&simulator, "64MiB", &[]).await;
    // A user is in the middle of an answer, and another one in the middle of a message.
    let mut user = TestClient::connect(&gateway.chat_url()).await;
    user.send_text("/sim text=x tokens=60 pace_ms=50").await;
    let mut received = user.read_text().await;
    let mut sends = chats_from([127, 0, 0, 2], &gateway).await;
    sends.write(&frame_head(0x81, 300_000)).await;
    sends.write(&[b'x'; 100_000]).await;
    // One address begins messages of a MiB and does not finish them.
    let mut flood: Vec<_> = join_all((0..FLOOD).map(|_| chats_from([127, 0, 0, 3], &gateway))).await;
    let part = vec![b'x'; 900_000];
    join_all(flood.iter_mut().map(async |client| {
        client.write(&frame_head(0x81, 1_000_000)).await;
        // It may have to wait, and be closed meanwhile.
        let _ = tokio::time::timeout(Duration::from_secs(5), client.try_write(&part)).await;
    }))
    .await;
    until("some of them are given up", async || gateway.metric(&reclaimed("messages")).await > 40).await;
    until("it is below the bound", async || {
        gateway.metric("tidegate_memory_bytes{kind=\"inbound\"}").await < 64 * MIB
    })
    .await;
    let closed = r#"tidegate_connections_closed_total{reason="overloaded"}"#;
    until("they are closed", async || gateway.metric(closed).await > 40).await;
    assert!(gateway.memory_peak() < 64 * MIB * 11 / 10 + 64 * MIB, "{} MiB", gateway.memory_peak() >> 20);
    // The small ones have noticed nothing.
    while received.len() < 60 {
        received += &user.read_text().await;
    }
    assert_eq!(received, "x".repeat(60));
    sends.write(&vec![b'x'; 200_000]).await;
    let (opcode, answer) = sends.read_beyond_pings().await;
    assert_eq!(opcode, 0x81, "{}", String::from_utf8_lossy(&answer));
    user.still_works().await;
    // The clients of the flood got the reason for the close, or are still connected.
    let mut closed = 0;
    for client in &mut flood {
        let mut bytes = Vec::new();
        if let Ok(read) = tokio::time::timeout(Duration::from_millis(1), client.read_some(&mut bytes)).await
            && read > 0
            && bytes.ends_with(b"\x03\xf5the service is short of memory")
        {
            closed += 1;
        }
    }
    assert!(closed > 40, "{closed} got the reason");
    drop((flood, sends, user));
    let log = gateway.stop().await;
    let lines = log.lines().filter(|line| line.contains("memory is short")).count();
    assert!((1..=3).contains(&lines), "{lines} lines\n{log}");
    simulator.stop().await;
}

/// A question after a long conversation, of which the client has a copy.
fn ask_after(kib: usize, request: &str, chat: &str, text: &str) -> Value {
    let message = |id: &str, role: &str, text: &str| json!({"id": id, "role": role, "parts": [{"type": "text", "text": text}]});
    let long = "x".repeat(kib << 9);
    let messages =
        [message("u", "user", &long), message("a", "assistant", &long), message(request, "user", text)];
    json!({
        "type": "send", "requestId": request, "id": chat, "trigger": "submit-message",
        "messages": messages, "headers": {}, "body": {},
    })
}

// faults: K144
#[tokio::test]
async fn retained_answers_and_idle_chats_of_the_largest_source_are_dropped_next() {
    const CHATS: usize = 320;
    const NEWEST: usize = 40;
    let simulator = Process::simulate().await;
    let gateway = serve(&simulator, "64MiB", &["session.count_per_principal_max=1000"]).await;
    let mut user = Chats::connect(gateway.address).await;
    let answer = user.turn("first", "mine", "/sim text=kept").await;
    assert_eq!(answer.text, "kept");
    let mut flood = Chats::connect_from(gateway.address, [127, 0, 0, 3]).await;
    let mut refused = 0;
    let mut answered = Vec::new();
    for chat in 0..CHATS {
        let request = format!("r{chat}");
        let frame = ask_after(200, &request, &request, "/sim text=x tokens=6000");
        let answer = match flood.try_send_frame(&frame).await {
            true => flood.try_read_answer(&request).await,
            false => None,
        };
        match answer {
            Some(answer) if answer.end == Some(End::Whole) => answered.push((request, flood.cookie.clone())),
            Some(_) => refused += 1,
            // Its message was still arriving when memory was short.
            None => flood = Chats::connect_from(gateway.address, [127, 0, 0, 3]).await,
        }
    }
    assert!(gateway.metric(&reclaimed("answers")).await > 0);
    let evicted = gateway.metric(&reclaimed("chats")).await;
    println!("{evicted} of {CHATS} chats were evicted, {refused} questions refused");
    // 64 MiB hold less than 300 of these. How much less depends on what the allocator has given back by then.
    assert!(evicted >= 20, "{evicted}");
    // The oldest went first: a quarter of the bound is always left, which is room for the newest.
    for (newest, (chat, cookie)) in answered.iter().rev().take(NEWEST).enumerate() {
        let path = format!("/api/chats/{chat}");
        let (status, _, _) = get_with(gateway.address, &path, &[("cookie", cookie)]).await;
        assert_eq!(status, 200, "{chat}, the newest but {newest}, of which {evicted} were evicted");
    }
    assert!(refused < CHATS / 4, "{refused}: there is always something to take back");
    assert!(gateway.memory_peak() < 64 * MIB * 11 / 10 + 64 * MIB, "{} MiB", gateway.memory_peak() >> 20);
    // The user's chat is there, with its conversation.
    let (status, _, body) = get_with(gateway.address, "/api/chats/mine", &[("cookie", &user.cookie)]).await;
    assert!(status == 200 && body.contains("kept"), "{status} {body}");
    drop((user, flood));
    gateway.stop().await;
    simulator.stop().await;
}

// faults: K144
#[tokio::test]
async fn running_answers_are_never_ended_and_large_sources_ask_no_more() {
    const SOCKETS: usize = 32;
    const EACH: usize = 60;
    let simulator = Process::simulate().await;
    let gateway = serve(&simulator, "64MiB", &[]).await;
    // Each answer keeps a connection to the service.
    let flood = (0..SOCKETS).map(async |_| {
        let mut flood = Chats::connect_from(gateway.address, [127, 0, 0, 3]).await;
        let mut answers = Vec::new();
        for number in 0..EACH {
            let request = format!("r{number}");
            flood.ask(&request, &request, "/sim text=x tokens=2 pace_ms=5000").await;
            answers.push(Answer::of(&request));
            let frame = flood.next().await;
            answers.iter_mut().for_each(|answer: &mut Answer| answer.take(&frame));
        }
        while answers.iter().any(|answer| answer.end.is_none()) {
            let frame = flood.next().await;
            answers.iter_mut().for_each(|answer| answer.take(&frame));
        }
        answers
    });
    let user = async {
        let overloaded = r#"tidegate_messages_rejected_total{reason="overloaded"}"#;
        until("some are refused", async || gateway.metric(overloaded).await > 20).await;
        // Small ones are served when nothing is left for the large one.
        let mut user = Chats::connect(gateway.address).await;
        let answer = user.turn("first", "mine", "/sim text=fine").await;
        assert_eq!(
            answer.text,
            "fine",
            "{answer:?}\n{}",
            gateway
                .log()
                .lines()
                .filter(|l| l.contains("memory") || l.contains("refused"))
                .collect::<Vec<_>>()
                .join("\n")
        );
    };
    let (answers, ()) = tokio::join!(join_all(flood), user);
    let ends: Vec<_> = answers.into_iter().flatten().map(|answer| (answer.text, answer.end)).collect();
    let whole = (String::from("xx"), Some(End::Whole));
    let finished = ends.iter().filter(|end| **end == whole).count();
    let refused = (String::new(), Some(End::Failed("overloaded".into())));
    let refused = ends.iter().filter(|end| **end == refused).count();
    println!("{finished} answers finished, {refused} questions were refused");
    assert_eq!(finished + refused, SOCKETS * EACH, "{ends:?}");
    assert!(finished > 300 && refused > 100, "{finished} finished, {refused} refused");
    assert!(gateway.memory_peak() < 64 * MIB * 11 / 10 + 64 * MIB, "{} MiB", gateway.memory_peak() >> 20);
    gateway.stop().await;
    simulator.stop().await;
}

/// Does something again and again until the time is over; what is under way then is dropped.
async fn again_until(end: Instant, mut act: impl AsyncFnMut(usize)) -> usize {
    let mut times = 0;
    let _ = tokio::time::timeout_at(end, async {
        loop {
            act(times).await;
            times += 1;
        }
    })
    .await;
    times
}

/// Begins messages of a MiB and finishes none; comes back when it is closed.
async fn begins_messages(gateway: &Process, here: [u8; 4], end: Instant) -> usize {
    again_until(end, async |_| {
        let mut client = chats_from(here, gateway).await;
        client.write(&frame_head(0x81, 1_000_000)).await;
        let _ = client.try_write(&vec![b'x'; 999_000]).await;
        client.read_to_end(Duration::from_secs(600)).await;
    })
    .await
}

/// Asks after long conversations, each in a chat of its own, and keeps what was answered unread for a while.
async fn fills_histories(gateway: &Process, here: [u8; 4], end: Instant) -> usize {
    again_until(end, async |round| {
        let mut client = Chats::connect_from(gateway.address, here).await;
        for number in 0..20 {
            let request = format!("r{round}-{number}");
            let frame = ask_after(240, &request, &request, "/sim text=x tokens=6000");
            let answer = async {
                client.try_send_frame(&frame).await && client.try_read_answer(&request).await.is_some()
            };
            // It may be closed, or made to wait for longer than this.
            if !tokio::time::timeout(Duration::from_secs(5), answer).await.unwrap_or(false) {
                break;
            }
        }
    })
    .await
}

/// Asks for more than it reads, and leaves large messages waiting.
async fn reads_nothing(gateway: &Process, end: Instant) -> usize {
    again_until(end, async |_| {
        let mut client = RawClient::upgrade_narrow(gateway.address).await;
        let long = vec![b'x'; 60 * 1024];
        client.write(&frame(0x81, b"/sim text=x tokens=30000 pace_ms=1")).await;
        for _ in 0..8 {
            let _ = client.try_write(&frame(0x81, &long)).await;
        }
        sleep(Duration::from_secs(3)).await;
    })
    .await
}

/// Asks and reads, as people do: every answer that begins is whole.
async fn talks(gateway: &Process, here: [u8; 4], end: Instant) -> (usize, usize) {
    let (mut whole, mut refused) = (0, 0);
    again_until(end, async |number| {
        let mut client = Chats::connect_from(gateway.address, here).await;
        let request = format!("r{number}");
        let answer = client.turn(&request, &request, "/sim text=x tokens=40 pace_ms=20").await;
        match answer.end {
            Some(End::Whole) if answer.text == "x".repeat(40) => whole += 1,
            Some(End::Failed(code)) if code == "overloaded" && answer.text.is_empty() => {
                refused += 1;
                sleep(Duration::from_millis(500)).await; // The gateway asks for a longer wait.
            }
            end => panic!("{end:?} after {:?}", answer.text),
        }
    })
    .await;
    (whole, refused)
}

// faults: K144
#[tokio::test]
async fn everything_at_once_stays_within_the_bound() {
    on_a_steady_machine(async || {
    let (max, time) = (96, short_or_long(Duration::from_secs(6), Duration::from_secs(40)));
    let (few, many) = (60, 60);
    let simulator = Process::simulate().await;
    let keys = ["session.count_per_principal_max=1000", "connection.write_timeout=5s", "server.workers=2"];
    let gateway = serve(&simulator, &format!("{max}MiB"), &keys).await;
    let here = &gateway;
    let end = Instant::now() + time;
    // Few sources with much, and many with little each.
    let begin = join_all((0..few).map(|n| begins_messages(here, [127, 2, 0, 1 + (n % 3) as u8], end)));
    let begin_many = join_all((0..many).map(|n| begins_messages(here, [127, 3, 0, 1 + n as u8], end)));
    let fill = join_all((0..12).map(|n| fills_histories(here, [127, 4, 0, 1 + (n % 8) as u8], end)));
    let unread = join_all((0..few).map(|_| reads_nothing(here, end)));
    let people = join_all((0..20).map(|n| talks(here, [127, 5, 0, 1 + n as u8], end)));
    let (begun, begun_by_many, filled, unread, people) =
        tokio::join!(begin, begin_many, fill, unread, people);
    let sum = |counts: &[usize]| counts.iter().sum::<usize>();
    let (whole, refused) = people.iter().fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1));
    let (peak, bound) = (gateway.memory_peak(), max * MIB * 11 / 10 + 64 * MIB);
    println!(
        "memory.max {max} MiB, bound {} MiB, peak {} MiB; messages given up {} and {}, rounds of histories {}, \
         of unread {}; people: {whole} answers whole, {refused} questions refused",
        bound / MIB,
        peak / MIB,
        sum(&begun),
        sum(&begun_by_many),
        sum(&filled),
        sum(&unread),
    );
    for what in ["messages", "answers", "chats"] {
        println!("{what} taken back: {}", gateway.metric(&reclaimed(what)).await);
    }
    assert!(peak <= bound, "{} MiB of {} MiB", peak / MIB, bound / MIB);
    assert!(gateway.metric(&reclaimed("messages")).await > 0);
    // Small networks are served meanwhile.
    assert!(whole > refused * short_or_long(1, 10), "{whole} answers, {refused} refused");
    until("memory is no longer short", async || {
        let held =
            join_all(["inbound", "queued", "history", "replay", "requests", "output"].map(async |kind| {
                gateway.metric(&format!("tidegate_memory_bytes{{kind=\"{kind}\"}}")).await
            }));
        held.await.iter().sum::<u64>() < max * MIB / 2
    })
    .await;
    // Of a network that holds nothing: it is served even before the allocator has given back what was freed.
    let mut user = TestClient::connect_from([127, 6, 0, 1].into(), gateway.address).await.unwrap();
    user.still_works().await;
    drop(user);
    gateway.stop().await;
    simulator.stop().await;
    })
    .await;
}
