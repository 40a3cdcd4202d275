//! A key that is looked for everywhere after everything has gone wrong: whole, in parts, and disguised.
use crate::harness::{
    CannedUpstream, PATIENCE, Process, RawClient, TestClient, Tidegate, event, frame, handshake,
    read_request, sse_head, until, within,
};
use secrecy::SecretString;
use std::{net::SocketAddr, time::Duration};
use tidegate::config::Config;
use tokio::{io::AsyncWriteExt, net::TcpListener, task::JoinHandle};

/// Random letters, so that no eight of them in a row stand anywhere by accident.
const CANARY: &str = "sk-Zq7RkW3vXbN9tGhJ5mLp2YcD";

/// What is searched for: any eight characters of the key, and of its disguises.
struct Traces(Vec<String>);

impl Traces {
    fn of(key: &str) -> Self {
        let reversed: String = key.chars().rev().collect();
        let encoded: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let hexadecimal: String = key.bytes().map(|byte| format!("{byte:02x}")).collect();
        let bytes: Vec<_> = key.bytes().map(|byte| byte.to_string()).collect();
        // Where the key begins in a longer text decides how its letters are grouped.
        let base64 = (0..3).map(|before| {
            let text = base64(&[&vec![b' '; before], key.as_bytes()].concat());
            text[(before * 4).div_ceil(3)..text.len() - 4].to_owned()
        });
        let short =
            [key.to_owned(), reversed, key.to_uppercase(), key.to_lowercase()].into_iter().chain(base64);
        let mut traces: Vec<String> = short.flat_map(|text| windows(&text, 8)).collect();
        traces.extend(windows(&encoded, 24));
        traces.extend(windows(&encoded.to_lowercase(), 24));
        traces.extend(windows(&hexadecimal, 16));
        traces.extend(bytes.windows(8).flat_map(|part| [part.join(", "), part.join(",")]));
        Traces(traces)
    }

    fn assert_none(&self, place: &str, text: &str) {
        for trace in &self.0 {
            let line = text.lines().find(|line| line.contains(trace.as_str()));
            assert!(line.is_none(), "{place} has {trace:?}: {}", line.unwrap_or_default());
        }
    }
}

fn windows(text: &str, length: usize) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    letters.windows(length).map(|part| part.iter().collect()).collect()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |three: u32, shift: u32| char::from(LETTERS[(three >> shift & 63) as usize]);
    let group = |part: &[u8]| {
        let three = part.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        [18, 12, 6, 0].map(|shift| letter(three, shift)).into_iter().collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

#[test]
fn the_search_finds_the_key_in_every_disguise() {
    assert_eq!(base64(b"Man and"), "TWFuIGFuZAAA");
    let traces = Traces::of(CANARY);
    let found = |text: &str| traces.0.iter().any(|trace| text.contains(trace.as_str()));
    let part = &CANARY[9..17];
    let debug = format!("{:?}", CANARY.as_bytes());
    let percent: String = CANARY.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for text in [
        CANARY,
        part,
        &debug,
        &percent,
        &base64(CANARY.as_bytes()),
        &base64(format!("Bearer {CANARY}").as_bytes()),
    ] {
        assert!(found(text), "{text}");
    }
    assert!(!found("sk-Zq7R, and nothing else of it"));
}

/// A service that repeats the whole request header in every place of its answer that it has.
struct Echo {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Echo {
    const ANSWERS: usize = 14;

    async fn serve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut number = 0;
            while let Ok((mut stream, _)) = listener.accept().await {
                if read_request(&mut stream).await.is_ok() {
                    let _ = stream.write_all(answer(number).as_bytes()).await;
                    number += 1;
                }
            }
        });
        Echo { address, task }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Fourteen ways to leak a secret.
fn answer(number: usize) -> String {
    let line = format!("Authorization: Bearer {CANARY}");
    let body = |status: &str, more: &str, type_: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {type_}\r\nconnection: close\r\ncontent-length: {}\r\n{more}\r\n{body}",
            body.len()
        )
    };
    let error = format!(r#"{{"code":"{CANARY}","message":"{line}","request_id":"{CANARY}"}}"#);
    let frame = |data: &str| format!("{:x}\r\n{data}\r\n", data.len());
    let failed = format!("id:1\nevent:error\n:HTTP_STATUS/400\ndata:{error}\n\n");
    let (json, sse) = ("application/json", "text/event-stream");
    match number % Echo::ANSWERS {
        0 => body("401 Unauthorized", "", json, &error),
        1 => body(&format!("500 {line}"), "", json, "{}"),
        2 => body("500 Fault", &format!("x-request-id: {CANARY}\r\n"), json, &error),
        3 => body("200 OK", "", &format!("text/{CANARY}"), "hello"),
        4 => body("200 OK", &format!("content-encoding: {CANARY}\r\n"), sse, "hello"),
        5 => body("307 Elsewhere", &format!("location: http://127.0.0.1:9/{CANARY}\r\n"), json, ""),
        6 => body("429 Slow", &format!("retry-after: {CANARY}\r\n"), json, &error),
        7 => format!("{line}\r\n\r\n"),
        8 => body("200 OK", &format!("{CANARY}: {CANARY}\r\nx y: {CANARY}\r\n"), sse, ""),
        9 => format!("{}{}0\r\n\r\n", sse_head(), frame(&failed)),
        10 => format!("{}{}{}0\r\n\r\n", sse_head(), frame(&event("text", "null")), frame(&failed)),
        11 => format!("{}{}0\r\n\r\n", sse_head(), frame(&format!("data:{{\"output\":{CANARY}}}\n\n"))),
        12 => format!("{}{CANARY}\r\n{line}\r\n", sse_head()),
        _ => body("502 Bad", "", "text/html", &format!("<html>{line}</html>")),
    }
}

/// All that the gateway reveals about itself, over HTTP and in refusals.
async fn all_responses(gateway: &Process) -> String {
    let here = gateway.address;
    let mut output = String::new();
    for path in ["/metrics", "/health", "/readyz?verbose", "/livez", "/v1/models", "/", "/nowhere"] {
        let mut client = RawClient::connect(here).await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {here}\r\nconnection: close\r\n\r\n");
        client.write(request.as_bytes()).await;
        output += &String::from_utf8_lossy(&client.read_to_end(Duration::from_secs(5)).await);
    }
    for request in [
        handshake(here, &[("origin", "http://evil.test")]),
        handshake(here, &[]).replace("version: 13", "version: 8"),
        handshake(here, &[("content-length", "5")]),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
    ] {
        output += &RawClient::connect(here).await.request(&request).await;
    }
    output
}

/// Everything that clients receive when they do whatever makes the gateway answer.
async fn all_answers(gateway: &Process, asks: usize, message: impl Fn(usize) -> String) -> String {
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    let mut received = String::new();
    for number in 0..asks {
        client.send_text(&message(number)).await;
        let (text, error) = within(&message(number), PATIENCE, client.until_error()).await;
        received += &format!("{text}\n{error}\n");
    }
    client.close().await;
    for bytes in [frame(0x82, b"binary"), frame(0x81, b"\xff"), frame(0x83, b"?"), vec![0x81, 0xff, 0xff]] {
        let mut client = RawClient::upgrade(gateway.address).await;
        client.write(&bytes).await;
        if bytes[0] == 0x82 || bytes.len() == 3 {
            client.write(&frame(0x88, &[3, 232])).await;
        }
        client.write(&[0; 8]).await;
        let mut bytes = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(1), async {
            while client.read_some(&mut bytes).await > 0 {}
        })
        .await;
        received += &String::from_utf8_lossy(&bytes);
    }
    received
}

/// A gateway with the canary from the environment or from a file, telling all it can.
async fn serve(upstream: &str, from_file: bool) -> Process {
    let args = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--base-url",
        upstream,
        "--set",
        "retry.attempts=1",
        "--set",
        "breaker.failures=0",
        "--set",
        "connection.frames_per_second_max=0",
        "--set",
        "upstream.first_byte_timeout=300ms",
        "--set",
        "upstream.idle_timeout=300ms",
        "--set",
        "upstream.run_timeout=2s",
    ];
    let gateway = Tidegate::new(&args).env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
    let gateway = if from_file {
        gateway.file("key", &format!("{CANARY}\n")).env("DASHSCOPE_API_KEY_FILE", "key")
    } else {
        gateway.env("TIDEGATE_UPSTREAM__API_KEY", CANARY)
    };
    gateway.start().await
}

// faults: H109, I119
#[tokio::test]
async fn a_service_that_repeats_the_key_everywhere_is_not_repeated() {
    let traces = Traces::of(CANARY);
    let echo = Echo::serve().await;
    let gateway = serve(&format!("http://{}/api/v1", echo.address), false).await;
    let received = all_answers(&gateway, Echo::ANSWERS, |number| format!("answer {number}")).await;
    traces.assert_none("what clients receive", &received);
    traces.assert_none("HTTP responses", &all_responses(&gateway).await);
    let log = gateway.stop().await;
    let ended = log.lines().filter(|line| line.contains(" run ended ")).count();
    assert!(ended == Echo::ANSWERS && log.contains(" TRACE "), "the log is whole: {ended}");
    traces.assert_none("the log", &log);
}

/// Every fault that the simulator knows: those that end by themselves within the times set above.
const FAULTS: &[&str] = &[
    "status=401 code=InvalidApiKey",
    "status=403",
    "status=400 code=InvalidParameter",
    "status=404 code=ModelNotFound",
    "status=429 retry_after=0",
    "status=429 retry_after_ms=1",
    "status=500",
    "status=503",
    "carrier=a code=X",
    "carrier=b code=X",
    "carrier=c code=X",
    "carrier=d code=X error_after=1",
    "html",
    "empty",
    "json_error",
    "wrong_type",
    "no_type",
    "redirect",
    "early_hints=2",
    "header_bytes=3000000",
    "bad_status_line",
    "no_head",
    "gzip",
    "bomb_mib=1",
    "until_close",
    "short_length",
    "half_chunk",
    "bad_chunk",
    "text=abcdef cut_after=2",
    "text=abcdef cut_in_frame_after=2",
    "text=abcdef reset_after=2",
    "text=abcdef end_after=2",
    "text=abcdef end_without_finish",
    "text=abcdef end_in_frame_after=2",
    "text=abcdef stall_after=2",
    "text=abcdef garbage_after=1",
    "text=abcdef not_json_after=1 end_after=2",
    "text=abcdef wrong_types_after=1 end_after=2",
    "text=abcdef deep_after=1 end_after=2",
    "text=abcdef odd_choices_after=1 end_after=2",
    "text=abcdef invalid_utf8_after=1 end_after=2",
    "text=abcdef done_after=1 end_after=2",
    "long_line=400000",
    "text=abcdef last_null",
    "text=abcdef finish=content_filter",
    "text=abcdef finish=error_finish",
];

// faults: H109, I119
#[tokio::test]
async fn a_run_of_all_faults_with_the_key_from_a_file_leaves_no_trace_of_it() {
    let traces = Traces::of(CANARY);
    let args =
        ["simulate", "--listen", "127.0.0.1:0", "--pace-ms", "0", "--first-ms", "0", "--api-key-file", "key"];
    let simulator = Tidegate::new(&args).file("key", CANARY).env("RUST_LOG", "trace").start().await;
    let gateway = serve(&simulator.base_url(), true).await;
    let faults: Vec<_> = FAULTS.iter().map(|fault| format!("/sim {fault}")).collect();
    // Some are no fault to the reader, so a refusal ends each: an empty message is refused at once.
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    let mut received = String::new();
    for fault in &faults {
        let ended = || gateway.log().lines().filter(|line| line.contains(" run ended ")).count();
        let before = ended();
        client.send_text(fault).await;
        until(fault, async || ended() > before).await;
        client.send_text(" ").await;
        let (text, error) = client.until_error().await;
        received += &format!("{text}\n{error}\n");
    }
    traces.assert_none("what clients receive", &received);
    traces.assert_none("HTTP responses", &all_responses(&gateway).await);
    traces.assert_none("the gateway's log", &gateway.stop().await);
    traces.assert_none("the simulator's log", &simulator.stop().await);
}

// faults: H108, H109, I119
#[tokio::test]
async fn no_command_and_no_mistake_shows_the_key() {
    let traces = Traces::of(CANARY);
    let canned = CannedUpstream::serve(&[""]).await;
    let base_url = format!("http://{}/api/v1", canned.address);
    let assignment = format!("upstream.api_key={CANARY}");
    let quoted = format!("'{CANARY}'");
    let file = format!("[upstream]\napi_key = \"{CANARY}\"\nmodle = \"x\"\n");
    let broken = format!("[upstream\napi_key = \"{CANARY}\"\n");
    let with_user = format!("http://user:{CANARY}@127.0.0.1/api/v1");
    let plain = |args: &[&str]| Tidegate::new(args).env("API_KEY", CANARY);
    let commands = [
        ("--help", plain(&["--help"])),
        ("--version", plain(&["--version"])),
        ("serve --help", plain(&["serve", "--help"])),
        ("nothing", plain(&[])),
        ("a wrong command", plain(&["sevre"])),
        ("a wrong flag", plain(&["serve", "--modle", "x"])),
        ("check", plain(&["check"])),
        ("check with a base URL", plain(&["check", "--base-url", &base_url])),
        ("a wrong key beside it", plain(&["serve", "--set", "retry.attempts=0"])),
        ("set on the command line", Tidegate::new(&["check", "--set", &assignment])),
        ("in quotes", Tidegate::new(&["check"]).env("API_KEY", &quoted)),
        ("with blanks", Tidegate::new(&["serve"]).env("API_KEY", &CANARY.replace('R', " "))),
        ("two lines", Tidegate::new(&["check"]).env("API_KEY", &format!("{CANARY}\n{CANARY}"))),
        ("in the file", Tidegate::new(&["check"]).file("tidegate.toml", &file)),
        ("in a broken file", Tidegate::new(&["check"]).file("tidegate.toml", &broken)),
        ("in a file of a bad form", Tidegate::new(&["check"]).file("k", &quoted).env("API_KEY_FILE", "k")),
        ("in place of a file's name", Tidegate::new(&["serve"]).env("API_KEY_FILE", "nowhere")),
        ("for an unknown variable", plain(&["check"]).env("TIDEGATE_UPSTREAM__API_KYE", CANARY)),
        ("in the base URL", plain(&["check", "--base-url", &with_user])),
        ("a port that is taken", plain(&["serve", "--listen", &canned.address.to_string()])),
    ];
    for (name, command) in commands {
        let ended = command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full").run().await;
        let output = format!("{}{}", ended.out, ended.err);
        assert!(!output.is_empty(), "{name}");
        traces.assert_none(name, &output);
    }
}

// faults: H109, I119
#[test]
fn debug_of_what_holds_the_key_does_not_show_it() {
    let traces = Traces::of(CANARY);
    let mut config = Config::default();
    config.upstream.api_key = Some(SecretString::from(CANARY));
    traces.assert_none("Debug of the configuration", &format!("{config:?}{config:#?}"));
    let mut effective = Vec::new();
    config.print_effective(&mut effective).unwrap();
    traces.assert_none("the effective configuration", &String::from_utf8(effective).unwrap());
    let settings = tidegate::upstream::client::Settings {
        section: "upstream".to_owned(),
        key_header: tidegate::upstream::service::KeyHeader::Bearer,
        base_url: "http://127.0.0.1/api/v1".parse().unwrap(),
        api_keys: config.upstream.api_key.iter().cloned().collect(),
        ca_file: None,
        proxy: None,
        connect_timeout: Duration::from_secs(1),
        lazy_acks: false,
        first_byte: Duration::from_secs(1),
    };
    traces.assert_none("Debug of the client's settings", &format!("{settings:?}"));
    let simulator = tidegate::simulator::Settings {
        api_key: config.upstream.api_key,
        ..tidegate::simulator::Settings::default()
    };
    traces.assert_none("Debug of the simulator's settings", &format!("{simulator:?}"));
}
