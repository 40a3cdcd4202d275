//! What a page reads beside its socket: `/api/config`, `/api/chats/{id}`, and the cookie that says whose they are.
use crate::harness::{Gateway, PATIENCE, RawClient, Tidegate, get_with};
use serde_json::{Value, json};
use std::{collections::HashSet, fs, net::SocketAddr, time::Duration};

pub(crate) const COOKIE: &str = "tidegate_principal";

/// The JSON below a heading of the protocol's document.
fn documented(heading: &str) -> Value {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/PROTOCOL.md")).unwrap();
    let below = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}")).1;
    let block = below.split_once("```json\n").unwrap().1.split_once("```").unwrap().0;
    serde_json::from_str(block).unwrap()
}

/// The cookie that an answer sets: `name=value`, and its attributes.
pub(crate) fn set_cookie(head: &str) -> Option<(String, Vec<String>)> {
    let lines: Vec<_> = head.lines().filter_map(|line| line.split_once(": ")).collect();
    let mut cookies = lines.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    let (_, cookie) = cookies.next()?;
    assert!(cookies.next().is_none(), "one cookie at most: {head}");
    let mut parts = cookie.split("; ").map(str::to_owned);
    Some((parts.next().unwrap(), parts.collect()))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Asks for the configuration as a new browser does; its cookie.
pub(crate) async fn new_browser(address: SocketAddr) -> String {
    let (status, head, _) = get_with(address, "/api/config", &[]).await;
    assert_eq!(status, 200, "{head}");
    set_cookie(&head).expect(&head).0
}

fn is_own(cookie: &str) -> bool {
    let value = cookie.strip_prefix(COOKIE).and_then(|rest| rest.strip_prefix('='));
    value.is_some_and(|value| value.len() == 32 && value.bytes().all(|b| b"0123456789abcdef".contains(&b)))
}

#[tokio::test]
async fn the_configuration_is_that_of_the_document() {
    let mut expected = documented("## `GET /api/config`");
    let gateway = Gateway::spawn(|config| config.upstream.model = "qwen-plus".into()).await;
    let (status, head, body) = get_with(gateway.address, "/api/config", &[]).await;
    assert_eq!((status, header(&head, "content-type")), (200, Some("application/json")), "{head}");
    let config: Value = serde_json::from_str(&body).unwrap();
    assert!(expected["version"].is_string());
    expected["version"] = env!("CARGO_PKG_VERSION").into();
    assert_eq!(config, expected);
    for name in ["chat", "plain"] {
        let path = config["routes"][name].as_str().unwrap();
        assert_eq!(gateway.get(path).await.0, 426, "{path}");
    }
    let models: Value = serde_json::from_str(&gateway.get("/v1/models").await.1).unwrap();
    assert_eq!(models["data"][0]["id"], config["models"][0]["id"]);
    gateway.stop().await;
}

#[tokio::test]
async fn the_configuration_follows_the_keys() {
    let gateway = Gateway::spawn(|config| {
        config.limits.message_bytes = 100;
        config.limits.transcript_bytes = 2000;
        config.limits.requests = 3;
        config.limits.readers = 4;
        config.limits.queued_messages = 0;
        config.limits.frames_per_second = 5;
        config.limits.frames_burst = 6;
        config.limits.silence = Duration::from_millis(7000);
        config.session.linger = Duration::from_millis(1500);
        config.session.idle = Duration::from_secs(8);
        config.session.retain = Duration::from_secs(9);
        config.session.client_system_prompt = true;
        config.upstream.thinking = tidegate::config::Thinking::Off;
    })
    .await;
    let config: Value = serde_json::from_str(&gateway.get("/api/config").await.1).unwrap();
    let limits = json!({
        "message_bytes": 100, "transcript_bytes": 2000, "requests": 3, "readers": 4, "queued_messages": 0,
        "frames_per_second": 5, "frames_burst": 6,
        "linger_ms": 1500, "idle_ms": 8000, "retain_ms": 9000, "silence_ms": 7000,
    });
    assert_eq!(config["limits"], limits);
    let features = &config["features"];
    assert_eq!(
        [&features["queue"], &features["reasoning"], &features["client_system_prompt"], &config["simulated"]],
        [&json!(false), &json!(false), &json!(true), &json!(false)]
    );
    gateway.stop().await;
    let demo = Tidegate::new(&["demo", "--listen", "127.0.0.1:0"]).start().await;
    let (_, _, body) = get_with(demo.address, "/api/config", &[]).await;
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["simulated"], true);
    demo.stop().await;
}

#[tokio::test]
async fn a_browser_gets_a_cookie_once_and_keeps_it() {
    let gateway = Gateway::spawn(|_| {}).await;
    let here = gateway.address;
    let (_, head, _) = get_with(here, "/api/config", &[]).await;
    let (cookie, attributes) = set_cookie(&head).expect(&head);
    assert!(is_own(&cookie), "{cookie}");
    assert_eq!(attributes, ["Path=/", "Max-Age=2592000", "HttpOnly", "SameSite=Strict"]);
    assert_eq!(header(&head, "cache-control"), Some("no-store"), "{head}");
    let long = format!("a={}; {cookie}", "x".repeat(10_000));
    let twice = format!("{cookie}; {COOKIE}={}", "0".repeat(32));
    for cookies in [&[cookie.as_str()][..], &["a=b", &cookie], &[&long], &[&twice]] {
        let headers: Vec<_> = cookies.iter().map(|cookie| ("cookie", *cookie)).collect();
        let (status, head, _) = get_with(here, "/api/config", &headers).await;
        assert_eq!((status, set_cookie(&head)), (200, None), "{cookies:.60?}");
    }
    // What is not ours is replaced, by another one each time.
    let mut seen = HashSet::from([cookie.clone()]);
    for odd in ["", "tidegate_principal", "tidegate_principal=x", &cookie.to_uppercase(), &cookie[..40]] {
        let (_, head, _) = get_with(here, "/api/config", &[("cookie", odd)]).await;
        let (new, _) = set_cookie(&head).expect(odd);
        assert!(is_own(&new) && seen.insert(new.clone()), "{odd}: {new}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn secure_is_taken_from_a_trusted_proxy_only() {
    for (trusted, secure) in [(true, true), (false, false)] {
        let gateway = Gateway::spawn(|config| {
            let proxies: &[&str] = if trusted { &["127.0.0.0/8"] } else { &["10.0.0.0/8"] };
            config.server.trusted_proxies = proxies.iter().map(|net| net.parse().unwrap()).collect();
        })
        .await;
        for (proto, expected) in [("https", secure), ("http", false)] {
            let headers = [("x-forwarded-proto", proto)];
            let (_, head, _) = get_with(gateway.address, "/api/config", &headers).await;
            let (_, attributes) = set_cookie(&head).unwrap();
            let is_secure = attributes.iter().any(|attribute| attribute == "Secure");
            assert_eq!(is_secure, expected, "trusted: {trusted}, {proto}");
        }
        gateway.stop().await;
    }
}

/// Every route of this file.
const PATHS: [&str; 2] = ["/api/config", "/api/chats/some-chat"];

// faults: A2
#[tokio::test]
async fn a_page_of_another_origin_gets_nothing() {
    let gateway = Gateway::spawn(|_| {}).await;
    let here = gateway.address;
    let own = format!("http://{here}");
    for path in PATHS {
        for origin in ["http://evil.test", "null", "https://127.0.0.1", &format!("{own}.evil.test")] {
            let (status, head, body) = get_with(here, path, &[("origin", origin)]).await;
            assert_eq!(status, 403, "{path} {origin}: {head}");
            let refusal = r#"{"code":"foreign_origin","message":"Pages of this origin may not read this."}"#;
            assert_eq!(body, refusal, "{path} {origin}");
            assert_eq!(set_cookie(&head), None, "{path} {origin}");
        }
        for headers in [&[("origin", own.as_str())][..], &[], &[("origin", "http://evil.test")]] {
            let (_, head, _) = get_with(here, path, headers).await;
            assert_eq!(header(&head, "cross-origin-resource-policy"), Some("same-origin"), "{head}");
            assert_eq!(header(&head, "x-content-type-options"), Some("nosniff"), "{head}");
            assert_eq!(header(&head, "cache-control"), Some("no-store"), "{head}");
            assert!(!head.to_lowercase().contains("access-control"), "{head}");
        }
    }
    assert_eq!(get_with(here, "/api/config", &[("origin", &own)]).await.0, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn only_get_is_allowed() {
    let gateway = Gateway::spawn(|_| {}).await;
    let here = gateway.address;
    for path in PATHS {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"] {
            let mut client = RawClient::connect(here).await;
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: {here}\r\norigin: http://evil.test\r\n\
                 access-control-request-method: GET\r\nconnection: close\r\n\r\n"
            );
            let head = client.request(&request).await;
            assert!(head.starts_with("HTTP/1.1 405 "), "{method} {path}: {head}");
            assert_eq!(header(&head, "allow"), Some("GET"), "{method} {path}: {head}");
            assert!(!head.to_lowercase().contains("access-control"), "{head}");
            let body = client.read_to_end(PATIENCE).await;
            assert_eq!(body.is_empty(), method == "HEAD", "{method} {path}");
        }
    }
    gateway.stop().await;
}
