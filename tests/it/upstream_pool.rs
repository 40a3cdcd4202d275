//! Which connections to the upstream are used again, and that no answer ever holds a part of another one.
//! `POOL_RUNS=100000 cargo test --release --test it upstream_pool::` is the long form; `POOL_SEED=…` repeats a plan.
use crate::harness::{
    Gateway, Over, PATIENCE, ScriptedUpstream, TestClient, event, good_answer, json_answer, sse_head, until,
    within,
};
use fastrand::Rng;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tidegate::{chat::RunErrorKind as Kind, config::Config};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet, yield_now},
};

/// One pool, and failures that change nothing.
fn one_pool(config: &mut Config) {
    config.server.workers = 1;
    config.retry.attempts = 1;
    config.connection.frames_per_second_max = 10_000;
    config.connection.frames_burst_max = 10_000;
}

/// A good answer with this head, in chunks or as it is, and this behind it.
fn answer(head: &str, is_chunked: bool, after: &str) -> String {
    let events = format!("{}{}", event("good", "null"), event("", "stop"));
    let body = if is_chunked { format!("{:x}\r\n{events}\r\n0\r\n{after}", events.len()) } else { events };
    format!("{head}\r\n\r\n{body}{}", if is_chunked { "" } else { after })
}

/// Each row: what it is, a response, and whether its connection is used for the next request.
fn responses() -> Vec<(&'static str, String, bool)> {
    let head = sse_head().trim_end();
    let error = json_answer(400, r#"{"code":"InvalidParameter","message":"no","request_id":"r"}"#);
    let old = head.replacen("HTTP/1.1", "HTTP/1.0", 1).replace("\r\ntransfer-encoding: chunked", "");
    let length = answer("", false, "").len() - 4;
    let sized = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}");
    vec![
        ("chunks", answer(head, true, "\r\n"), true),
        ("trailers", answer(head, true, "checksum: 1\r\nother: 2\r\n\r\n"), true),
        ("a length", answer(&sized, false, ""), true),
        ("an error with a length", error.clone(), true),
        ("no content", "HTTP/1.1 204 No Content\r\n\r\n".into(), true),
        ("an empty error", "HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n".into(), true),
        ("bytes behind chunks", answer(head, true, "\r\nHTTP/1.1 200 OK\r\n"), false),
        ("a line end behind chunks", answer(head, true, "\r\n\r\n"), false),
        ("bytes behind a length", answer(&sized, false, "x"), false),
        ("bytes behind an error", format!("{error}HTTP/1.1 200 OK\r\n\r\n"), false),
        ("bytes behind nothing", "HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\nx".into(), false),
        ("close", answer(&format!("{head}\r\nconnection: close"), true, "\r\n"), false),
        ("one option is close", answer(&format!("{head}\r\nconnection: te, Close"), true, "\r\n"), false),
        ("close and a length", answer(&format!("{sized}\r\nconnection: close"), false, ""), false),
        ("chunks and a length", answer(&format!("{head}\r\ncontent-length: 7"), true, "\r\n"), false),
        ("HTTP/1.0 with a length", answer(&sized.replacen("1.1", "1.0", 1), false, ""), false),
        ("HTTP/1.0 up to its end", answer(&old, false, ""), false),
        ("an interim response", "HTTP/1.1 102 Processing\r\n\r\n".into(), false),
        ("neither length nor chunks", "HTTP/1.1 400 Bad\r\n\r\n".into(), false),
        ("a redirect", "HTTP/1.1 307 There\r\nlocation: /\r\ncontent-length: 0\r\n\r\n".into(), true),
        ("malformed chunks", format!("{head}\r\n\r\nxyz\r\n"), false),
        ("an unknown coding", answer(&head.replace("chunked", "gzip"), true, "\r\n"), false),
    ]
}

// faults: D55, D59, D62, E80, E86, K151
#[tokio::test]
async fn a_connection_is_used_again_only_behind_a_response_that_left_nothing_in_it() {
    for over in Over::ALL {
        for (what, response, is_kept) in responses() {
            let upstream = ScriptedUpstream::bind().await;
            let gateway = Gateway::in_front_over(over, upstream.address, one_pool).await;
            let mut client = TestClient::connect(&gateway.chat_url()).await;
            client.send_text("one").await;
            let mut first = upstream.accept().await;
            first.request().await;
            first.send(&response).await;
            if what == "HTTP/1.0 up to its end" {
                first.finish_writing().await;
            }
            let text = client.read_text().await;
            assert!(text == "good" || text.starts_with("Error: "), "{over:?} {what}: {text}");
            until("the run is over", async || gateway.app_state.metrics.runs.get() == 0).await;
            client.send_text("two").await;
            let mut second = if is_kept {
                first
            } else {
                first.closed().await;
                within("another connection", PATIENCE, upstream.accept()).await
            };
            let (_, body) = second.request().await;
            assert!(body.contains("two"), "{over:?} {what}: {body}");
            second.send(good_answer("second")).await;
            client.expect("second").await;
            client.close().await;
            gateway.stop().await;
        }
    }
}

// faults: E65
#[tokio::test]
async fn a_head_and_a_body_are_told_apart_wherever_they_are_cut() {
    for over in Over::ALL {
        let upstream = ScriptedUpstream::bind().await;
        let gateway = Gateway::in_front_over(over, upstream.address, one_pool).await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        let response = good_answer("good");
        let head = sse_head().len();
        client.send_text("first").await;
        let mut connection = upstream.accept().await;
        for at in (head - 6..head + 8).chain([1, 9]) {
            connection.request().await;
            connection.send(&response[..at]).await;
            // Both pieces are read apart where the first one is acknowledged by then.
            yield_now().await;
            connection.send(&response[at..]).await;
            client.expect("good").await;
            client.send_text(&format!("next {at}")).await;
        }
        connection.request().await;
        connection.send(format!("\r\n\r\n{response}")).await;
        client.expect("good").await;
        client.close().await;
        gateway.stop().await;
    }
}

// faults: E84, K152
#[tokio::test]
async fn text_of_an_endless_chunk_is_shown_as_it_comes() {
    for over in Over::ALL {
        let upstream = ScriptedUpstream::bind().await;
        let gateway = Gateway::in_front_over(over, upstream.address, one_pool).await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text("hi").await;
        let mut connection = upstream.accept().await;
        connection.request().await;
        connection.send(format!("{}40000000\r\n", sse_head())).await;
        let comments = ": nothing\n".repeat(6_554);
        for piece in ["a", "b", "c"] {
            for _ in 0..16 {
                connection.send(&comments).await;
            }
            connection.send(event(piece, "null")).await;
            client.expect(piece).await;
        }
        // A size beyond 64 bits is none.
        drop(client);
        connection.closed().await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text("hi").await;
        let mut connection = upstream.accept().await;
        connection.request().await;
        connection.send(format!("{}10000000000000005\r\nhello", sse_head())).await;
        assert_eq!(client.fails(Kind::Interrupted).await, "");
        connection.closed().await;
        client.close().await;
        gateway.stop().await;
    }
}

/// A service that repeats what it is asked, in one of many ways, and keeps its connections.
struct Repeater {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Repeater {
    async fn start(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = counter.fetch_add(1, SeqCst) as u64;
                stream.set_nodelay(true).unwrap();
                tokio::spawn(repeat(stream, Rng::with_seed(seed ^ number.rotate_left(32))));
            }
        });
        Repeater { address, connections, task }
    }
}

impl Drop for Repeater {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The words of the answer to a question.
fn words(question: &str) -> impl Iterator<Item = String> + '_ {
    (0..12).map(move |word| format!("{question}.{word} "))
}

/// What the user asked last.
fn question(body: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let messages = body["input"]["messages"].as_array().unwrap();
    messages.last().unwrap()["content"].as_str().unwrap().to_owned()
}

async fn repeat(mut stream: TcpStream, mut random: Rng) {
    while let Ok((_, body)) = crate::harness::read_request(&mut stream).await {
        let question = question(&body);
        let mut response = sse_head().to_owned();
        for word in words(&question) {
            let event = event(&word, "null");
            let at = random.usize(1..event.len());
            for piece in [&event[..at], &event[at..]] {
                response.push_str(&format!("{:x}\r\n{piece}\r\n", piece.len()));
            }
        }
        let last = event("", "stop");
        response.push_str(&format!("{:X};last\r\n{last}\r\n0\r\n", last.len()));
        response.push_str(["\r\n", "a: b\r\n\r\n", "\r\nHTTP/1.1 200 OK\r\n\r\nxyz"][random.usize(0..3)]);
        let mut rest = response.as_bytes();
        // Whole, in pieces, or cut off somewhere.
        let cut = if random.u8(..) < 30 { random.usize(..rest.len()) } else { rest.len() };
        rest = &rest[..cut];
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(random.usize(1..2_000).min(rest.len()));
            if stream.write_all(piece).await.is_err() {
                return;
            }
            rest = tail;
            if random.u8(..) < 40 {
                tokio::time::sleep(Duration::from_millis(random.u64(0..3))).await;
            }
        }
        if cut < response.len() || random.u8(..) < 10 {
            if random.bool() {
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
            return;
        }
    }
}

/// Asks, and reads the answer, or leaves in the middle of it. Every text that arrives must be of this question.
async fn user(url: String, name: usize, runs: usize, mut random: Rng) -> [usize; 3] {
    let mut ends = [0; 3];
    let mut client = TestClient::connect(&url).await;
    for run in 0..runs {
        let question = format!("u{name}q{run}");
        let whole: String = words(&question).collect();
        client.send_text(&question).await;
        let leaves_at = if random.u8(..) < 80 { random.usize(..whole.len()) } else { usize::MAX };
        let mut text = String::new();
        let mut failed = false;
        while text != whole && !failed && text.len() < leaves_at {
            let piece = client.read_text().await;
            failed = piece.starts_with("Error: ");
            if !failed {
                text.push_str(&piece);
                assert!(whole.starts_with(&text), "{question} was answered with {text}");
            }
        }
        let end = if failed {
            1
        } else if text == whole {
            0
        } else {
            2
        };
        ends[end] += 1;
        if end != 0 {
            // Behind a failure too: its message is the next thing that would be taken for an answer.
            client = TestClient::connect(&url).await;
        }
    }
    ends
}

// faults: E85, E86
#[tokio::test]
async fn no_answer_holds_a_part_of_another_one() {
    const USERS: usize = 20;
    #[expect(clippy::disallowed_methods, reason = "the long form is asked for by the environment")]
    let variable = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let runs = variable("POOL_RUNS").unwrap_or(2_000) as usize;
    let seed = variable("POOL_SEED").unwrap_or(11);
    for over in Over::ALL {
        let service = Repeater::start(seed).await;
        let gateway = Gateway::in_front_over(over, service.address, one_pool).await;
        let mut users = JoinSet::new();
        for name in 0..USERS {
            let random = Rng::with_seed(seed.wrapping_mul(31) ^ name as u64);
            users.spawn(user(gateway.chat_url(), name, runs / USERS / 2, random));
        }
        let mut ends = [0; 3];
        while let Some(user) = users.join_next().await {
            ends.iter_mut().zip(user.unwrap()).for_each(|(sum, count)| *sum += count);
        }
        let connections = service.connections.load(SeqCst);
        let [whole, failed, left] = ends;
        println!("{over:?}: {whole} whole, {failed} failed, {left} left, {connections} connections");
        assert!(whole > runs / 10 && failed > runs / 100 && left > runs / 100, "seed {seed}: {ends:?}");
        assert!(connections < (whole + failed + left) * 9 / 10, "some were used again: {connections}");
        gateway.stop().await;
    }
}
