//! The server over real sockets.
use super::{Settings, Simulator, start};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);
const PATH: &str = "/api/v1/services/aigc/text-generation/generation";

fn spawn() -> Simulator {
    spawn_with(Settings::default())
}

fn spawn_with(settings: Settings) -> Simulator {
    start(settings).expect("a simulator")
}

/// Sends a request for a stream.
async fn send(simulator: &Simulator, key: &str, message: &str) -> TcpStream {
    let message = serde_json::Value::from(message);
    let body = format!(
        r#"{{"model":"sim-chat","input":{{"messages":[{{"role":"user","content":{message}}}]}},"parameters":{{"result_format":"message","incremental_output":true}}}}"#
    );
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nX-DashScope-SSE: Enable\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut socket = TcpStream::connect(simulator.addr).await.expect("connect");
    socket.write_all(format!("{head}{body}").as_bytes()).await.expect("write");
    socket
}

/// Reads until the text is there, or until the connection ends; the error is a reset.
async fn read_until(socket: &mut TcpStream, end: &str) -> (String, std::io::Result<()>) {
    let mut bytes = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&bytes).contains(end) {
            if socket.read_buf(&mut bytes).await? == 0 {
                break;
            }
        }
        Ok(())
    };
    let result = timeout(PATIENCE, read).await.expect("in time");
    (String::from_utf8_lossy(&bytes).into_owned(), result)
}

/// What comes until the end of the chunked body or of the connection.
async fn answer(message: &str) -> (String, std::io::Result<()>) {
    let simulator = spawn();
    let answer = read_until(&mut send(&simulator, "sk-x", message).await, "\r\n0\r\n\r\n").await;
    simulator.stop().await;
    answer
}

#[actix_web::test]
async fn a_stream_has_the_services_head_and_ends_with_the_last_chunk() {
    let (text, _) = answer("/sim text=Hi").await;
    for wanted in [
        "HTTP/1.1 200 OK\r\n",
        "\r\ncontent-type: text/event-stream;charset=UTF-8\r\n",
        "\r\nx-request-id: ",
        "id:1\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\"",
        "\r\n0\r\n\r\n",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in {text}");
    }
}

#[actix_web::test]
async fn keys_are_checked_and_never_kept() {
    let simulator = spawn();
    let (text, _) = read_until(&mut send(&simulator, "sk-invalid-1", "hi").await, "}").await;
    assert!(text.starts_with("HTTP/1.1 401") && text.contains("\"InvalidApiKey\""), "{text}");
    let recorded = simulator.stats().recorded();
    assert_eq!((recorded.len(), recorded[0].path.as_str()), (1, PATH));
    assert!(recorded[0].body.contains("sim-chat") && !format!("{recorded:?}").contains("sk-invalid"));
    simulator.stop().await;
}

/// Waits for the counters to say that the only stream was cancelled.
async fn cancelled(simulator: &Simulator) -> Duration {
    let begin = tokio::time::Instant::now();
    let watch = async {
        while simulator.stats().open_streams() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, watch).await.expect("the client's leave is noticed");
    assert_eq!((simulator.stats().cancelled(), simulator.stats().completed()), (1, 0));
    begin.elapsed()
}

#[actix_web::test]
async fn a_client_that_closes_is_noticed_also_in_silence() {
    for message in ["/sim stall_after=1", "/sim pace_ms=3600000", "/sim no_head", "/sim head_ms=3600000"] {
        let simulator = spawn();
        let mut socket = send(&simulator, "sk-x", message).await;
        if !message.contains("head") {
            let (text, _) = read_until(&mut socket, "event:result").await;
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        }
        let asked = async {
            while simulator.stats().open_streams() == 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, asked).await.expect("the request arrives");
        drop(socket);
        let took = cancelled(&simulator).await;
        assert!(took < Duration::from_millis(500), "{message}: {took:?}");
        simulator.stop().await;
    }
}

#[actix_web::test]
async fn connections_break_as_the_switch_says() {
    let (text, end) = answer("/sim tokens=5 cut_after=2").await;
    assert!(
        text.matches("event:result").count() == 2 && !text.contains("0\r\n\r\n") && end.is_ok(),
        "{text}"
    );
    let (text, end) = answer("/sim tokens=5 reset_after=2").await;
    assert_eq!(text.matches("event:result").count(), 2, "{text}");
    assert_eq!(end.expect_err("a reset").kind(), std::io::ErrorKind::ConnectionReset);
    let (text, end) = answer("/sim tokens=5 short_length").await;
    assert!(
        text.contains("content-length: 1073741824\r\n") && text.contains("\"stop\"") && end.is_ok(),
        "{text}"
    );
}

#[actix_web::test]
async fn the_head_can_be_wrong_in_many_ways() {
    for (switches, wanted) in [
        ("bad_status_line", "HTTP/1.1 two hundred"),
        ("until_close", "connection: close\r\n\r\nid:1\n"),
        ("bad_chunk", "not-a-number\r\nid:1\n"),
        ("half_chunk", "transfer-encoding: chunked"),
        ("early_hints=2", "rel=preload\r\n\r\nHTTP/1.1 200 OK"),
        ("redirect", "HTTP/1.1 307 Temporary Redirect"),
        ("html status=500", "HTTP/1.1 500 "),
        ("empty", "HTTP/1.1 503 "),
        ("wrong_type=text/plain", "content-type: text/plain\r\n"),
        ("status=429 retry_after=3", "retry-after: 3\r\n"),
        ("carrier=b status=429", "event:error\n:HTTP_STATUS/429\n"),
        ("carrier=c status=429", "HTTP/1.1 200 OK"),
        ("json_error", "{\"code\":\"InternalError\""),
        ("tokns=1", "the nearest is \\\"tokens\\\""),
        ("headers=3", "x-sim-2: further"),
    ] {
        let simulator = spawn();
        let mut socket = send(&simulator, "sk-x", &format!("/sim tokens=2 {switches}")).await;
        let (text, _) = read_until(&mut socket, wanted).await;
        assert!(text.contains(wanted), "{switches}: {text}");
        simulator.stop().await;
    }
}

#[actix_web::test]
async fn faults_end_after_their_number_of_requests() {
    let simulator = spawn();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let (text, _) = read_until(&mut send(&simulator, "sk-x", "/sim status=500 times=2").await, "}").await;
        statuses.push(text[9..12].to_owned());
    }
    assert_eq!(statuses, ["500", "500", "200"]);
    simulator.stop().await;
}

#[actix_web::test]
async fn a_kept_connection_is_closed_while_idle() {
    let simulator = spawn();
    let mut socket = send(&simulator, "sk-x", "/sim tokens=1 close_idle_ms=20").await;
    let (text, end) = read_until(&mut socket, "never sent").await;
    assert!(text.ends_with("0\r\n\r\n") && end.is_ok());
    assert_eq!(simulator.stats().completed(), 1);
    simulator.stop().await;
}

#[actix_web::test]
async fn compressed_bodies_unpack() {
    use std::io::Read as _;
    for (switches, wanted) in [("gzip tokens=3 no_usage", None), ("bomb_mib=20", Some(20 << 20))] {
        let simulator = spawn();
        let mut socket = send(&simulator, "sk-x", &format!("/sim {switches}")).await;
        let mut bytes = Vec::new();
        let whole = async {
            while !bytes.ends_with(b"\r\n0\r\n\r\n") {
                assert_ne!(socket.read_buf(&mut bytes).await.expect("read"), 0, "the body is whole");
            }
        };
        timeout(PATIENCE, whole).await.expect("in time");
        let head = bytes.windows(4).position(|part| part == b"\r\n\r\n").expect("a head") + 4;
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&unchunk(&bytes[head..])[..]).read_to_end(&mut plain).expect("gzip");
        match wanted {
            Some(length) => assert_eq!(plain.len(), length),
            None => assert_eq!(String::from_utf8_lossy(&plain).matches("event:result").count(), 4),
        }
        simulator.stop().await;
    }
}

/// Takes the chunks apart.
fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|part| part == b"\r\n") {
        let size =
            std::str::from_utf8(&bytes[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(size @ 1..) = size else { break };
        body.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 4 + size..];
    }
    body
}

/// What comes for a request of the chat dialect.
async fn chat(simulator: &Simulator, method: &str, path: &str, headers: &str, body: &str) -> String {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut socket = TcpStream::connect(simulator.addr).await.expect("connect");
    socket.write_all(request.as_bytes()).await.expect("write");
    read_until(&mut socket, "never sent").await.0
}

#[actix_web::test]
async fn the_chat_dialect_has_its_paths_under_any_prefix() {
    let simulator = spawn();
    let body = r#"{"model":"sim-chat","stream":true,"messages":[{"role":"user","content":"/sim text=Hi"}]}"#;
    let bearer = "Authorization: Bearer sk-x\r\n";
    for path in [
        "/v1/chat/completions",
        "/chat/completions",
        "/openai/deployments/gpt/chat/completions?api-version=1",
    ] {
        let text = chat(&simulator, "POST", path, bearer, body).await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.contains("\r\ncontent-type: text/event-stream; charset=utf-8\r\n"), "{text}");
        assert!(text.contains("\"content\":\"Hi\"") && text.contains("data: [DONE]\n\n"), "{text}");
    }
    let list = chat(&simulator, "GET", "/v1/models", "api-key: sk-x\r\n", "").await;
    assert!(list.contains("\"id\":\"sim-think\"") && list.contains("\"object\":\"list\""), "{list}");
    for (method, path, headers, wanted) in [
        ("POST", "/v1/chat/completions", "", "401"),
        ("POST", "/v1/chat/completions", "Authorization: Bearer sk-invalid\r\n", "401"),
        ("GET", "/v1/models", "", "401"),
        ("POST", "/v1/chat", bearer, "404"),
    ] {
        let text = chat(&simulator, method, path, headers, body).await;
        assert!(text[9..].starts_with(wanted) && text.contains("{\"error\":{"), "{path}: {text}");
    }
    let recorded = format!("{:?}", simulator.stats().recorded());
    assert!(!recorded.contains("sk-"), "{recorded}");
    simulator.stop().await;
}

#[actix_web::test]
async fn a_connection_can_be_reset_before_the_head() {
    let (text, end) = answer("/sim reset").await;
    assert_eq!((text.as_str(), end.expect_err("a reset").kind()), ("", std::io::ErrorKind::ConnectionReset));
}

#[actix_web::test]
async fn attempts_say_who_got_what_with_which_key() {
    let simulator = spawn_with(Settings { name: "A".to_owned(), runs_max: 1, ..Settings::default() });
    let mut first = send(&simulator, "sk-1", "/sim stall_after=1").await;
    read_until(&mut first, "event:result").await.1.expect("a frame");
    for (key, message, wanted) in [
        ("sk-1", "hi", "503"),
        ("sk-poor-1", "hi", "400"),
        ("sk-limited-9-x", "hi", "429"),
        ("sk-only-sim-think-1", "hi", "403"),
    ] {
        let (text, _) = read_until(&mut send(&simulator, key, message).await, "}").await;
        assert!(text[9..].starts_with(wanted), "{key}: {text}");
        assert_eq!(text.contains("retry-after: 9\r\n"), wanted == "429", "{text}");
    }
    let attempts = simulator.stats().attempts();
    let got: Vec<_> = attempts.iter().map(|attempt| (attempt.key.as_str(), attempt.status)).collect();
    let [one, poor, limited, only] =
        ["sk-1", "sk-poor-1", "sk-limited-9-x", "sk-only-sim-think-1"].map(super::script::mark);
    assert_eq!(got, [(&*one, 200), (&one, 503), (&poor, 400), (&limited, 429), (&only, 403)]);
    assert!(attempts.iter().all(|attempt| attempt.upstream == "A"));
    assert!(attempts.is_sorted_by_key(|attempt| attempt.at_ms));
    let list = chat(&simulator, "GET", "/sim/attempts", "", "").await;
    assert!(list.contains(&format!("\"key\":\"{limited}\",\"status\":429")), "{list}");
    simulator.stop().await;
}

#[actix_web::test]
async fn a_list_of_models_changes() {
    let simulator = spawn();
    let body = r#"{"model":"m7","messages":[{"role":"user","content":"hi"}]}"#;
    let bearer = "Authorization: Bearer sk-x\r\n";
    for (offered, listed, status) in [(None, 3, "200"), (Some(300), 300, "200"), (Some(0), 0, "404")] {
        simulator.offer(offered.map(|count| (0..count).map(|k| format!("m{k}")).collect()));
        let list = chat(&simulator, "GET", "/v1/models", bearer, "").await;
        assert_eq!(list.matches("\"id\"").count(), listed);
        let text = chat(&simulator, "POST", "/v1/chat/completions", bearer, body).await;
        assert!(text[9..].starts_with(status), "{text}");
    }
    simulator.stop().await;
}

#[actix_web::test]
async fn nothing_is_served_while_a_model_loads() {
    let loading = Settings { loads_for: Duration::from_secs(3600), ..Settings::default() };
    for (settings, status) in [(loading, "503"), (Settings::default(), "200")] {
        let simulator = spawn_with(settings);
        for path in ["/health", "/api/version", "/v1/models"] {
            let text = chat(&simulator, "GET", path, "Authorization: Bearer sk-x\r\n", "").await;
            assert!(text[9..].starts_with(status), "{path}: {text}");
            assert_eq!(text.contains("Loading model"), status == "503", "{text}");
        }
        simulator.stop().await;
    }
}
