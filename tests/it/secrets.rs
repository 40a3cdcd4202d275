//! What must not get out: keys anywhere, people's words in the log, forged lines.
use crate::{
    api::set_cookie,
    harness::{Chats, Process, RawClient, TestClient, Tidegate, get_with, handshake, http_get, until},
};

const CANARY: &str = "sk-canary-0123456789";

/// Neither the key nor eight characters of it in a row.
fn assert_clean(what: &str, text: &str) {
    for start in 0..=CANARY.len() - 8 {
        let part = &CANARY[start..start + 8];
        let line = text.lines().find(|line| line.contains(part));
        assert!(line.is_none(), "{what} has {part:?}: {}", line.unwrap_or_default());
    }
}

/// One fault after the other, each of which makes the gateway say something.
const FAULTS: &[&str] = &[
    "status=401 code=InvalidApiKey",
    "status=403",
    "status=400 code=InvalidParameter",
    "status=429 retry_after=0",
    "status=500",
    "html",
    "empty",
    "json_error",
    "redirect",
    "bad_status_line",
    "gzip",
    "header_bytes=200000",
    "text=abcdef cut_after=2",
    "text=abcdef reset_after=2",
    "text=abcdef end_after=2",
    "text=abcdef garbage_after=1",
    "text=abcdef not_json_after=1 end_after=2",
    "text=abcdef error_after=1 code=DataInspectionFailed",
    "text=abcdef invalid_utf8_after=1 end_after=2",
];

// faults: H109, I119
#[tokio::test]
async fn the_key_is_found_nowhere() {
    let args = ["simulate", "--listen", "127.0.0.1:0", "--pace-ms", "0", "--first-ms", "0"];
    let key_file = ["--api-key-file", "key"];
    let args: Vec<_> = args.into_iter().chain(key_file).collect();
    let simulator = Tidegate::new(&args).file("key", CANARY).env("RUST_LOG", "trace").start().await;
    let base_url = simulator.base_url();
    let serve =
        ["serve", "--listen", "127.0.0.1:0", "--base-url", &base_url, "--set", "retry.backoff_min=1ms"];
    // That many errors in a row would open the breaker before the service is asked.
    let gateway = Tidegate::new(&serve).env("TIDEGATE_BREAKER__FAILURES", "0");
    let gateway = gateway.env("API_KEY", CANARY).env("RUST_LOG", "trace").start().await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    let mut seen = String::new();
    for fault in FAULTS {
        client.send_text(&format!("/sim {fault}")).await;
        let (text, error) = client.until_error().await;
        seen += &format!("{text}{error}\n");
    }
    // A service that repeats the key which it refuses, in its sentence and in its code.
    for fault in ["message", "code"] {
        client.send_text(&format!("/sim status=401 {fault}=\"Incorrect-API-key-provided:{CANARY}.\"")).await;
        seen += &client.until_error().await.1;
    }
    client.send_text("/sim text=fine").await;
    client.expect("fine").await;
    for path in
        ["/metrics", "/health", "/readyz?verbose", "/livez", "/v1/models", "/", "/page.js", "/nowhere"]
    {
        let (_, body) = http_get(gateway.address, path).await;
        seen += &format!("{body}\n");
    }
    client.close().await;
    assert_clean("what clients see", &seen);
    let check = Tidegate::new(&["check"]).env("API_KEY", CANARY).env("RUST_LOG", "trace").run().await;
    assert_clean("check", &format!("{}{}", check.out, check.err));
    let wrong = Tidegate::new(&["check"]).env("API_KEY", &format!("'{CANARY}'")).run().await;
    assert_clean("check of a bad key", &format!("{}{}", wrong.out, wrong.err));
    let log = gateway.stop().await;
    let runs = log.lines().filter(|line| line.contains(" run ended ")).count();
    assert_eq!(runs, FAULTS.len() + 3, "the log is whole");
    assert!(log.contains(" TRACE "), "and says all it can");
    assert_clean("the gateway's log", &log);
    assert_clean("the simulator's log", &simulator.stop().await);
}

/// The parts of a plain line: time, level, target and message.
fn parts(line: &str) -> Option<(&str, &str, &str, &str)> {
    let (time, rest) = line.split_once(' ')?;
    let (level, rest) = rest.split_at_checked(5)?;
    let (target, message) = rest.strip_prefix(' ')?.split_once(": ")?;
    let is_time = time.len() == 24 && time.ends_with('Z') && time.starts_with("20");
    let is_level = ["ERROR", "WARN ", "INFO ", "DEBUG", "TRACE"].contains(&level);
    (is_time && is_level).then_some((time, level, target, message))
}

const FORGED: &str = "\\n2026-01-01T00:00:00.000Z INFO  tidegate: forged\\u001b[31m";

// faults: I119
#[tokio::test]
async fn the_log_has_a_line_for_each_socket_and_run_and_no_words() {
    let simulator = Process::simulate().await;
    let gateway = Process::serve(&simulator, "sk-test", &["--set", "retry.attempts=1"]).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("/sim text=\"shibboleth in the answer\" tag=shibboleth").await;
    client.expect("shibboleth in the answer").await;
    client.send_text("shibboleth\n2026-01-01T00:00:00.000Z INFO  tidegate: forged\u{1b}[31m").await;
    client.read_text().await;
    // What the service says is a stranger's word as well.
    client.send_text(&format!("/sim status=500 code=\"{FORGED}\" message=\"{FORGED}\"")).await;
    client.until_error().await;
    client.close().await;
    until("the socket's end is logged", async || gateway.log().contains("socket closed")).await;
    let log = gateway.stop().await;
    simulator.stop().await;
    assert!(!log.contains("shibboleth"), "{log}");
    let lines: Vec<_> = log.lines().map(|line| parts(line).unwrap_or_else(|| panic!("{line:?}"))).collect();
    assert!(lines.iter().all(|(.., message)| !message.starts_with("forged")), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
    let count = |start: &str| lines.iter().filter(|(.., message)| message.starts_with(start)).count();
    let counts = ["socket opened connection=", "socket closed connection=", "run ended session="].map(count);
    assert_eq!(counts, [1, 1, 3], "{log}");
}

// faults: I119
#[tokio::test]
async fn json_lines_cannot_be_forged_either() {
    let simulator = Process::simulate().await;
    let more = ["--log-format", "json", "--set", "retry.attempts=1"];
    let gateway = Process::serve(&simulator, "sk-test", &more).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text(&format!("/sim status=500 code=\"\\\"}}{FORGED}\" message=\"\\\"}}{FORGED}\"")).await;
    client.until_error().await;
    client.close().await;
    until("the run's end is logged", async || gateway.log().contains("run ended")).await;
    let log = gateway.stop().await;
    let mut runs = 0;
    for line in log.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect(line);
        let line = value.as_object().unwrap();
        assert!(["level", "message", "target", "time"].iter().all(|key| line[*key].is_string()), "{line:?}");
        // No text from outside is a key, and only the fields for it contain any.
        let is_key = |key: &str| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(line.keys().all(|key| is_key(key)), "{line:?}");
        let foreign = line.iter().filter(|(_, value)| value.to_string().contains("forged"));
        assert!(
            foreign.clone().all(|(key, _)| ["detail", "upstream_code"].contains(&key.as_str())),
            "{line:?}"
        );
        if line["message"] == "run ended" {
            runs += 1;
            assert_eq!(line["outcome"], "upstream_error", "{line:?}");
            assert!(line["session"].is_string() && line["duration_ms"].is_u64(), "{line:?}");
            assert_eq!(foreign.count(), 2, "{line:?}");
        }
    }
    assert_eq!(runs, 1, "{log}");
    simulator.stop().await;
}

/// Everything that can be put into a request, with what is answered: used, ignored or refused.
fn odd_requests(here: std::net::SocketAddr) -> Vec<(String, &'static [&'static str])> {
    let good = handshake(here, &[]);
    let at = |path: &str| good.replacen("/chat", path, 1);
    let with = |name: &str, value: &str| handshake(here, &[(name, value)]);
    let long = |bytes: usize| "shibboleth".repeat(bytes / 10);
    let taken: &[_] = &["101"];
    let mut requests = vec![
        (at("/chat?token=shibboleth&ticket=shibboleth"), taken),
        (at("/chat?token=shibboleth").replace("version: 13", "version: 8"), &["426"]),
        (at("/chat?../../shibboleth%0d%0ashibboleth%1b%5b31m"), taken),
        (at(&format!("/chat?{}", long(30_000))), taken),
        (at(&format!("/chat?{}", long(70_000))), &["431"]),
        (at(&format!("/{}", long(30_000))), &["404"]),
        (at(&format!("/{}", long(10 << 20))), &["431"]),
        (with("x-request-id", &long(30_000)), taken),
        (with("x-request-id", &long(10 << 20)), &["431"]),
        (with("x-forwarded-for", "shibboleth, ../../shibboleth, 999.1.1.1"), taken),
        (with("sec-websocket-protocol", "shibboleth, ../shibboleth"), taken),
        (with("origin", "http://shibboleth.test/../%0d%0ashibboleth"), &["403"]),
        (with("sec-websocket-key", "../shibboleth"), &["400"]),
        (with("sec-websocket-version", "shibboleth"), &["426"]),
        (good.replace(&here.to_string(), "../shibboleth\\..:99999"), &["101", "400"]),
    ];
    for path in ["/../chat", "/chat/../shibboleth", "//chat", "/chat%2f..%2fshibboleth", "/chat%00shibboleth"]
    {
        requests.push((at(path), &["404"]));
    }
    requests.push((at("/chat%0d%0ashibboleth%1b%5b31mshibboleth"), &["404"]));
    for control in ["\u{1b}[31m", "\0", "\r", "\u{7f}", "\u{8}"] {
        requests.push((at(&format!("/chat?shibboleth{control}shibboleth")), &["400"]));
        for name in ["x-request-id", "user-agent", "x-forwarded-for", "origin"] {
            requests.push((with(name, &format!("shibboleth{control}shibboleth")), &["400"]));
        }
    }
    requests
}

// faults: A3, A28
#[tokio::test]
async fn what_a_stranger_puts_into_a_request_is_in_no_log() {
    for format in ["plain", "json"] {
        // Proxies are trusted, so that what they would say is looked at as well.
        let args = ["demo", "--listen", "127.0.0.1:0", "--log-format", format];
        let trusting = ["--set", "server.trusted_proxies=127.0.0.1"];
        let args: Vec<_> = args.into_iter().chain(trusting).collect();
        let gateway = Tidegate::new(&args).env("RUST_LOG", "trace").start().await;
        for (request, statuses) in odd_requests(gateway.address) {
            let short: String = request.chars().take(200).collect();
            let client = RawClient::connect(gateway.address).await;
            let answer = client.answer(&request).await;
            let status = answer.split(' ').nth(1).unwrap_or_default();
            assert!(statuses.contains(&status), "{short:?}: {answer:?}");
            assert!(!answer.contains("shibboleth"), "{short:?} is not repeated: {answer:?}");
        }
        let (_, metrics) = http_get(gateway.address, "/metrics").await;
        assert!(!metrics.contains("shibboleth"), "{metrics}");
        // It serves as before.
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text("/sim text=fine pace_ms=0 first_ms=0").await;
        client.expect("fine").await;
        client.close().await;
        let log = gateway.stop().await;
        let found = log.lines().find(|line| line.contains("shibboleth"));
        assert!(found.is_none(), "{}", found.unwrap_or_default());
        let all = ["trace", "socket rejected"].iter().all(|word| log.to_lowercase().contains(word));
        assert!(all, "the log is complete");
        let forged = log.chars().find(|c| c.is_control() && *c != '\n');
        assert!(forged.is_none(), "{forged:?} in the log");
    }
}

// faults: A28
#[tokio::test]
async fn whose_a_chat_is_is_found_nowhere() {
    for format in ["plain", "json"] {
        let args = ["demo", "--listen", "127.0.0.1:0", "--log-format", format];
        let gateway = Tidegate::new(&args).env("RUST_LOG", "trace").start().await;
        let here = gateway.address;
        // One that is given by a route, one by a handshake, and one that the browser brings.
        let (_, head, mut seen) = get_with(here, "/api/config", &[]).await;
        let given = set_cookie(&head).expect(&head).0;
        let mut socket = Chats::connect(here).await;
        let own = format!("tidegate_principal={:032x}", 0x5eed_5eed_5eed_5eed_5eed_5eed_cafe_f00d_u128);
        let mut other = Chats::connect_as(here, &own).await;
        for socket in [&mut socket, &mut other] {
            for (request, text) in [("a", "text=fine"), ("b", "status=500"), ("c", "text=abc cut_after=1")] {
                let answer = socket.turn(request, "chat", &format!("/sim {text} pace_ms=0 first_ms=0")).await;
                seen += &format!("{answer:?}");
            }
            socket.send_frame(&serde_json::json!({"type": "odd"})).await;
            seen += &socket.next().await.to_string();
        }
        let cookies = [given, socket.cookie.clone(), other.cookie.clone()];
        for cookie in &cookies {
            // What is refused, and how, says nothing of it.
            for (path, origin) in [
                ("/api/config", "http://evil.test"),
                ("/api/chats/never", ""),
                ("/api/chats/a*b", ""),
                ("/api/chat", ""),
                ("/api/chats/chat", ""),
                ("/nowhere", ""),
                ("/chat", ""),
                ("/health", ""),
                ("/metrics", ""),
                ("/readyz?verbose", ""),
            ] {
                let headers = [("cookie", cookie.as_str()), ("origin", origin)];
                let headers = if origin.is_empty() { &headers[..1] } else { &headers };
                let (_, head, body) = get_with(here, path, headers).await;
                seen += &format!("{head}\n{body}\n");
            }
            let odd = RawClient::connect(here).await;
            let request = handshake(here, &[("cookie", cookie), ("origin", "null")]);
            seen += &odd.answer(&request.replacen("/chat", "/api/chat", 1)).await;
        }
        drop((socket, other));
        until("the sockets' ends are logged", async || gateway.log().matches("socket closed").count() == 2)
            .await;
        let log = gateway.stop().await;
        assert!(log.to_lowercase().contains("trace"), "the log is complete");
        for cookie in cookies {
            let digits = cookie.split_once('=').unwrap().1;
            // Not as a decimal number either, nor a good part of it.
            let number = u128::from_str_radix(digits, 16).unwrap().to_string();
            for part in [&digits[..12], &digits[20..], &number] {
                for (what, text) in [("log", &log), ("answers", &seen)] {
                    let line = text.lines().find(|line| line.contains(part));
                    assert!(line.is_none(), "{what}: {}", line.unwrap_or_default());
                }
            }
        }
    }
}
