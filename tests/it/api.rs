//! What a page reads beside its socket: `/api/config`, `/api/chats/{id}`, and the cookie that says whose they are.
use crate::harness::{
    Answer, Chats, End, Gateway, PATIENCE, RawClient, ScriptedUpstream, Tidegate, get_with, handshake,
    http_get, sse_head, until,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeSet, HashSet},
    fs,
    net::SocketAddr,
    time::Duration,
};

pub(crate) const COOKIE: &str = "tidegate_principal";

/// The JSON below a heading of the protocol's document.
fn documented(heading: &str) -> Value {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/PROTOCOL.md")).unwrap();
    let below = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}")).1;
    let block = below.split_once("```json\n").unwrap().1.split_once("```").unwrap().0;
    serde_json::from_str(block).unwrap()
}

/// The cookie of this name that an answer sets: `name=value`, and its attributes.
fn set_cookie_of(head: &str, name: &str) -> Option<(String, Vec<String>)> {
    let lines: Vec<_> = head.lines().filter_map(|line| line.split_once(": ")).collect();
    let all = lines.iter().filter(|(header, _)| header.eq_ignore_ascii_case("set-cookie"));
    let mut cookies = all.filter(|(_, cookie)| cookie.split('=').next() == Some(name));
    let (_, cookie) = cookies.next()?;
    assert!(cookies.next().is_none(), "one {name} at most: {head}");
    let mut parts = cookie.split("; ").map(str::to_owned);
    Some((parts.next().unwrap(), parts.collect()))
}

/// The principal's cookie that an answer sets.
pub(crate) fn set_cookie(head: &str) -> Option<(String, Vec<String>)> {
    set_cookie_of(head, COOKIE)
}

/// The route's cookie that an answer sets.
pub(crate) fn set_route(head: &str) -> Option<(String, Vec<String>)> {
    set_cookie_of(head, "tidegate_route")
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
    let gateway = Gateway::spawn(|config| {
        config.upstream.model = "qwen-plus".into();
        config.page.title = "Harbour chat".into();
        config.page.notice = "Do not enter personal data.".into();
        let url = "https://help.example.com/".parse().unwrap();
        config.page.links = vec![tidegate::config::Link { label: "Help".into(), url }];
    })
    .await;
    let (status, head, body) = get_with(gateway.address, "/api/config", &[]).await;
    assert_eq!((status, header(&head, "content-type")), (200, Some("application/json")), "{head}");
    let config: Value = serde_json::from_str(&body).unwrap();
    assert!(expected["version"].is_string());
    expected["version"] = env!("CARGO_PKG_VERSION").into();
    assert!(expected["page"]["build"].is_string() && config["page"]["build"].is_string());
    expected["page"]["build"] = config["page"]["build"].clone(); // Another one with every change of the page.
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
        config.connection.message_bytes_max = 100;
        config.session.transcript_bytes_max = 2000;
        config.connection.requests_max = 3;
        config.session.subscribers_max = 4;
        config.session.queued_messages_max = 0;
        config.connection.frames_per_second_max = 5;
        config.connection.frames_burst_max = 6;
        config.connection.idle_timeout = Duration::from_millis(7000);
        config.session.detached_timeout = Duration::from_millis(1500);
        config.session.idle_timeout = Duration::from_secs(8);
        config.session.replay_time = Duration::from_secs(9);
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
    assert!(config["page"].as_object().unwrap().keys().eq(["build"]), "nothing is set: {config}");
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
    let (route, of_route) = set_route(&head).expect(&head);
    assert_eq!(of_route, attributes);
    let long = format!("a={}; {cookie}", "x".repeat(10_000));
    let twice = format!("{cookie}; {COOKIE}={}", "0".repeat(32));
    for cookies in [&[cookie.as_str()][..], &["a=b", &cookie], &[&long], &[&twice]] {
        let headers: Vec<_> = cookies.iter().map(|cookie| ("cookie", *cookie)).collect();
        let (status, head, _) = get_with(here, "/api/config", &headers).await;
        assert_eq!((status, set_cookie(&head)), (200, None), "{cookies:.60?}");
        // Renewed with every answer; what a client makes of it is not read.
        assert_eq!(set_route(&head).expect(&head).0, route, "{cookies:.60?}");
    }
    let forged = format!("{cookie}; tidegate_route=0000000000000000");
    let (_, head, _) = get_with(here, "/api/config", &[("cookie", &forged)]).await;
    assert_eq!(set_route(&head).expect(&head).0, route);
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
            let refusal = r#"{"code":"foreign_origin","message":"Pages of this origin may not read this. The gateway's operator allows them with server.origins."}"#;
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
async fn only_get_and_head_are_allowed() {
    let gateway = Gateway::spawn(|_| {}).await;
    let here = gateway.address;
    for path in PATHS {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let mut client = RawClient::connect(here).await;
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: {here}\r\norigin: http://evil.test\r\n\
                 access-control-request-method: GET\r\nconnection: close\r\n\r\n"
            );
            let head = client.request(&request).await;
            assert!(head.starts_with("HTTP/1.1 405 "), "{method} {path}: {head}");
            assert_eq!(header(&head, "allow"), Some("GET, HEAD"), "{method} {path}: {head}");
            assert!(!head.to_lowercase().contains("access-control"), "{head}");
            assert!(!client.read_to_end(PATIENCE).await.is_empty(), "{method} {path}");
        }
    }
    gateway.stop().await;
}

/// It would get no socket here: a proxy asks another gateway for it, and without one the client learns when to retry.
#[tokio::test]
async fn a_draining_gateway_sends_no_configuration_but_a_retry_time() {
    let mut gateway = Gateway::spawn(|_| {}).await;
    let mut busy = Chats::connect(gateway.address).await;
    busy.ask("r1", "chat", "/sim text=\"a few words that take a while\" pace_ms=200").await;
    let mut answer = Answer::of("r1");
    answer.take(&busy.next().await);
    let address = gateway.address;
    let ended = gateway.begin_drain();
    until("it drains", async || http_get(address, "/readyz").await.0 == 503).await;
    let (status, head, body) = get_with(address, "/api/config", &[]).await;
    assert_eq!((status, header(&head, "retry-after")), (503, Some("5")), "{head}");
    assert_eq!(set_cookie(&head), None, "{head}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["code"], "draining");
    // What is remembered can still be read.
    assert_eq!(read_chat(address, &busy.cookie, "chat").await.0, 200);
    busy.read_answer(&mut answer).await;
    assert_eq!(answer.end, Some(End::Whole));
    assert_eq!(busy.closed().await, 1012);
    assert_eq!(ended.await.unwrap(), tidegate::app::Ended::Drained);
}

/// What a browser with this cookie reads of a chat.
async fn read_chat(address: SocketAddr, cookie: &str, chat: &str) -> (u16, Value) {
    let (status, head, body) = get_with(address, &format!("/api/chats/{chat}"), &[("cookie", cookie)]).await;
    assert_eq!(header(&head, "content-type"), Some("application/json"), "{head}");
    assert_eq!(set_cookie(&head), None, "reading sets no cookie: {head}");
    (status, serde_json::from_str(&body).unwrap())
}

/// Conversations are kept, so that the gateway is not idle at the end.
async fn drain(mut gateway: Gateway) {
    until("no socket is left", async || gateway.app_state.lifecycle.sockets() == 0).await;
    assert_eq!(gateway.drain().await, tidegate::app::Ended::Drained);
}

#[tokio::test]
async fn a_chat_is_read_as_the_document_says() {
    let mut expected = documented("## `GET /api/chats/{id}`");
    let texts: Vec<_> =
        expected["messages"].as_array().unwrap().iter().map(|m| m["parts"][0]["text"].clone()).collect();
    let texts: Vec<_> = texts.iter().map(|text| text.as_str().unwrap()).collect();
    let upstream = ScriptedUpstream::bind().await;
    let model = |config: &mut tidegate::config::Config| config.upstream.model = "qwen-plus".into();
    let gateway = Gateway::in_front_of(upstream.address, model).await;
    let mut socket = Chats::connect(gateway.address).await;
    let id = expected["id"].as_str().unwrap().to_owned();
    let names = [0, 2, 4].map(|at| expected["messages"][at]["id"].as_str().unwrap().to_owned());
    // A whole answer, one that is stopped, and one that is being written.
    let mut last = None;
    for (turn, name) in names.iter().enumerate() {
        socket.ask(name, &id, texts[2 * turn]).await;
        let mut connection = upstream.accept().await;
        connection.request().await;
        connection.send(sse_head()).await;
        connection.delta(texts[2 * turn + 1]).await;
        let mut answer = Answer::of(name);
        while answer.text != texts[2 * turn + 1] {
            answer.take(&socket.next().await);
        }
        match turn {
            0 => {
                connection.finish().await;
                socket.read_answer(&mut answer).await;
                assert_eq!(answer.end, Some(End::Whole));
            }
            1 => {
                socket.abort(name).await;
                let cookie = socket.cookie.clone();
                until("it is stopped", async || {
                    let (_, chat) = read_chat(gateway.address, &cookie, &id).await;
                    chat["messages"][3]["metadata"]["incomplete"] == true
                })
                .await;
            }
            _ => {}
        }
        expected["messages"][2 * turn + 1]["id"] = answer.message.clone().unwrap().into();
        // Dropped, a connection ends: the next question comes on one of its own.
        last = (turn == 2).then_some((connection, answer));
    }
    let (status, chat) = read_chat(gateway.address, &socket.cookie, &id).await;
    assert_eq!((status, &chat), (200, &expected));
    // It is the same message when it is whole.
    let (mut connection, mut answer) = last.unwrap();
    connection.finish().await;
    socket.read_answer(&mut answer).await;
    let (_, chat) = read_chat(gateway.address, &socket.cookie, &id).await;
    expected["messages"][5]["parts"][0]["state"] = "done".into();
    assert_eq!(chat, expected);
    drop(socket);
    drain(gateway).await;
}

/// Whatever the worker that the request lands on: there are two.
#[tokio::test]
async fn a_chat_is_its_owner_s_alone() {
    let gateway = Gateway::spawn(|_| {}).await;
    let here = gateway.address;
    let mut socket = Chats::connect(here).await;
    let owner = socket.cookie.clone();
    assert_eq!(socket.turn("q", "mine", "/sim text=answer").await.end, Some(End::Whole));
    for _ in 0..8 {
        let (status, chat) = read_chat(here, &owner, "mine").await;
        assert_eq!((status, &chat["messages"][1]["parts"][0]["text"]), (200, &json!("answer")));
    }
    // Another browser, one without a cookie, and an unknown name: word for word the same.
    let stranger = new_browser(here).await;
    let forged = format!("{COOKIE}={}", "0".repeat(32));
    let answers = [
        get_with(here, "/api/chats/mine", &[("cookie", &stranger)]).await,
        get_with(here, "/api/chats/mine", &[("cookie", &forged)]).await,
        get_with(here, "/api/chats/mine", &[("cookie", &owner.to_uppercase())]).await,
        get_with(here, "/api/chats/mine", &[]).await,
        get_with(here, "/api/chats/never", &[("cookie", &owner)]).await,
        get_with(here, "/api/chats/never", &[("cookie", &stranger)]).await,
        get_with(here, "/api/chats/MINE", &[("cookie", &owner)]).await,
    ];
    let without_date = |head: &str| {
        let lines = head.lines().filter(|line| !line.to_lowercase().starts_with("date: "));
        lines.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    for (status, head, body) in &answers {
        assert_eq!((*status, without_date(head)), (404, without_date(&answers[0].1)));
        assert_eq!(body, r#"{"code":"unknown_chat","message":"There is no such chat. Start a new one."}"#);
    }
    // The stranger's own chat of this name is another one.
    let mut other = Chats::connect_as(here, &stranger).await;
    assert_eq!(other.turn("q", "mine", "/sim text=theirs").await.text, "theirs");
    assert_eq!(read_chat(here, &stranger, "mine").await.1["messages"][1]["parts"][0]["text"], "theirs");
    assert_eq!(read_chat(here, &owner, "mine").await.1["messages"][1]["parts"][0]["text"], "answer");
    drop((socket, other));
    drain(gateway).await;
}

// faults: A28
#[tokio::test]
async fn a_chat_s_name_is_checked_before_it_is_looked_for() {
    let gateway = Gateway::spawn(|_| {}).await;
    let cookie = new_browser(gateway.address).await;
    for (id, status) in [
        ("a", 404),
        ("A.b_c:d~e@f=g+h-1", 404),
        ("a%3Ab", 404),
        (&"x".repeat(128), 404),
        (&"x".repeat(129), 400),
        (&"x".repeat(10_000), 400),
        ("a%20b", 400),
        ("a%2Fb", 400),
        ("a%00b", 400),
        ("a%0d%0ab", 400),
        ("%1b%5b31m", 400),
        ("{id}", 400),
        ("%C3%A9", 400),
        ("a%ff", 400),
        ("a*b", 400),
    ] {
        let (found, body) = read_chat(gateway.address, &cookie, id).await;
        let code = if status == 404 { "unknown_chat" } else { "bad_id" };
        assert_eq!((found, body["code"].as_str()), (status, Some(code)), "{id:.40}");
    }
    for path in
        ["/api/chats", "/api/chats/", "/api/chats/a/b", "/api/chats/../config", "/api/config/", "/api"]
    {
        assert_eq!(gateway.get(path).await.0, 404, "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn reading_does_not_keep_a_chat_and_an_ended_one_is_unknown() {
    let gateway = Gateway::spawn(|config| {
        config.session.idle_timeout = Duration::from_secs(1);
    })
    .await;
    let mut socket = Chats::connect(gateway.address).await;
    let cookie = socket.cookie.clone();
    socket.turn("q", "brief", "/sim text=answer").await;
    assert_eq!(read_chat(gateway.address, &cookie, "brief").await.0, 200);
    until("it is forgotten", async || read_chat(gateway.address, &cookie, "brief").await.0 == 404).await;
    drop(socket);
    gateway.stop().await;
}

#[tokio::test]
async fn a_handshake_sets_the_cookie() {
    let gateway = Gateway::spawn(|_| {}).await;
    let here = gateway.address;
    let open = async |headers: &[(&str, &str)]| {
        let request = handshake(here, headers).replacen("/chat", "/api/chat", 1);
        RawClient::connect(here).await.request(&request).await
    };
    let head = open(&[]).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (cookie, attributes) = set_cookie(&head).expect(&head);
    assert!(is_own(&cookie), "{cookie}");
    assert_eq!(attributes, ["Path=/", "Max-Age=2592000", "HttpOnly", "SameSite=Strict"]);
    let (route, of_route) = set_route(&head).expect(&head);
    assert_eq!(of_route, attributes);
    let known = open(&[("cookie", &cookie)]).await;
    assert_eq!((set_cookie(&known), set_route(&known).expect(&known).0), (None, route));
    let (again, _) = set_cookie(&open(&[("cookie", "tidegate_principal=odd")]).await).unwrap();
    assert_ne!(again, cookie);
    // A refused request sets no cookie, and the plain dialect has no chats with an owner.
    let sets_any = |head: &str| set_cookie(head).is_some() || set_route(head).is_some();
    assert!(!sets_any(&open(&[("origin", "http://evil.test")]).await));
    let plain = RawClient::connect(here).await.request(&handshake(here, &[])).await;
    assert!(plain.starts_with("HTTP/1.1 101 ") && !sets_any(&plain), "{plain}");
    drain(gateway).await;
}
