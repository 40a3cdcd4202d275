//! The real nginx with the shipped files, in front of real gateways.
use crate::api::{new_browser, set_cookie, set_route};
use crate::harness::{
    Answer, Chats, End, Nginx, Process, RawClient, SOON, Stopwatch, TestClient, Tidegate, echo, get_over,
    get_with, handshake, http_get, nginx, until, within,
};
use std::{collections::BTreeSet, fs, sync::Arc};
use tokio::net::TcpStream;

async fn demo() -> Process {
    demo_of("").await
}

/// A gateway that people open by this name.
async fn demo_of(name: &str) -> Process {
    let args = ["demo", "--listen", "127.0.0.1:0", "--set", "server.trusted_proxies=127.0.0.1"];
    let args = args.into_iter().chain(["--set"]).map(str::to_owned).chain([format!("server.hosts={name}")]);
    Tidegate::new(&args.collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>()).start().await
}

#[tokio::test]
async fn everything_is_reached_through_nginx() {
    let gateway = demo().await;
    let nginx = Nginx::start(&[gateway.address]).await;
    let (status, page) = http_get(nginx.address, "/").await;
    assert!(status == 200 && page.contains("<html"), "{status} {page}");
    for path in ["/livez", "/health", "/v1/models"] {
        assert_eq!(http_get(nginx.address, path).await, http_get(gateway.address, path).await, "{path}");
    }
    for path in ["/metrics", "/readyz", "/readyz?verbose", "/nowhere"] {
        assert_eq!(http_get(nginx.address, path).await.0, 404, "{path}");
    }
    let mut client = TestClient::connect(&nginx.chat_url()).await;
    for text in ["Hello,", "世界", "and again"] {
        client.send_text(&format!("/sim text=\"{text}\" pace_ms=0 first_ms=0")).await;
        client.expect(text).await;
    }
    client.send_text("How many messages did I write?").await;
    let mut received = String::new();
    while !received.contains("4 messages") {
        received.push_str(&client.read_text().await);
    }
    client.close().await;
    until("the access log has the socket", async || nginx.access_log().contains("\"path\":\"/chat\"")).await;
    gateway.stop().await;
}

#[tokio::test]
async fn the_echo_of_conformance_suites_is_reached_through_nginx() {
    let nginx = Nginx::start(&[echo()]).await;
    let mut client = TestClient::connect(&nginx.chat_url()).await;
    client.send_text("again").await;
    client.expect("again").await;
    client.close().await;
}

// faults: A3, A28
#[tokio::test]
async fn a_url_cannot_forge_a_line_of_the_access_log() {
    let gateway = demo().await;
    let nginx = Nginx::start(&[gateway.address]).await;
    let good = handshake(nginx.address, &[]);
    for (path, status) in [
        ("/chat?token=shibboleth", 101),
        ("/chat?shibboleth%0d%0ashibboleth%1b%5b31m", 101),
        ("/nowhere%0d%0a%7b%22forged%22%3atrue%7d%1b%5b31m", 404),
        ("/nowhere%22%2c%22forged%22%3a%22", 404),
        ("/last", 404),
    ] {
        let mut client = RawClient::connect(nginx.address).await;
        let answer = client.request(&good.replacen("/chat", path, 1)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
    until("all is logged", async || nginx.access_log().lines().count() == 5).await;
    let log = nginx.access_log();
    assert!(!log.contains("shibboleth"), "{log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(line.get("forged").is_none() && line["path"].is_string(), "{line}");
    }
    gateway.stop().await;
}

// faults: A2
#[tokio::test]
async fn only_pages_of_nginx_own_address_may_open_a_socket() {
    let gateway = demo().await;
    let nginx = Nginx::start(&[gateway.address]).await;
    let own = format!("http://{}", nginx.address);
    let direct = format!("http://{}", gateway.address);
    for (headers, status) in [
        (&[][..], 101),
        (&[("origin", own.as_str())], 101),
        // The proxy's address counts, not that of the gateway behind it.
        (&[("origin", direct.as_str())], 403),
        (&[("origin", "http://evil.test")], 403),
        (&[("origin", "null")], 403),
        (&[("origin", "http://evil.test"), ("x-forwarded-host", "evil.test")], 403),
    ] {
        let answer = nginx.handshake(headers).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{headers:?}: {answer}");
    }
    // What is no WebSocket is answered, and not passed on as an upgrade.
    assert_eq!(http_get(nginx.address, "/chat").await.0, 426);
    let mut h2c = RawClient::connect(nginx.address).await;
    let request =
        format!("GET / HTTP/1.1\r\nhost: {}\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", nginx.address);
    assert!(h2c.request(&request).await.starts_with("HTTP/1.1 200 "));
    gateway.stop().await;
}

/// Opens sockets until one is on this gateway, which the metrics tell.
async fn socket_on(gateway: &Process, nginx: &Nginx, others: &mut Vec<TestClient>) -> TestClient {
    let sockets = async || {
        let (_, health) = http_get(gateway.address, "/health").await;
        serde_json::from_str::<serde_json::Value>(&health).unwrap()["sockets"].as_u64().unwrap()
    };
    // A socket without the route's cookie goes to any.
    for _ in 0..40 {
        let before = sockets().await;
        let client = TestClient::connect(&nginx.chat_url()).await;
        if sockets().await > before {
            return client;
        }
        others.push(client);
    }
    panic!("no socket on {}", gateway.address);
}

// faults: B29
#[tokio::test]
async fn a_killed_gateway_loses_only_its_own_sockets() {
    let (first, second) = (demo().await, demo().await);
    let nginx = Nginx::start(&[first.address, second.address]).await;
    let mut others = Vec::new();
    let mut lost = socket_on(&first, &nginx, &mut others).await;
    let mut kept = socket_on(&second, &nginx, &mut others).await;
    for client in [&mut lost, &mut kept] {
        client.send_text("/sim number tokens=40 pace_ms=20 first_ms=0").await;
        assert!(client.read_text().await.starts_with("#0 "));
    }
    first.signal("KILL").await;
    let killed = Stopwatch::start();
    within("the sockets of the killed one end", SOON, lost.cut()).await;
    for number in 0..10 {
        let mut client = TestClient::connect(&nginx.chat_url()).await;
        client.send_text("/sim text=here pace_ms=0 first_ms=0").await;
        client.expect("here").await;
        assert!(number > 0 || killed.took().is_in(..SOON), "{:?}", killed.took());
        client.close().await;
    }
    let mut text = String::new();
    while !text.contains("#39 ") {
        text.push_str(&kept.read_text().await);
    }
    second.stop().await;
}

// faults: G99
#[tokio::test]
async fn a_draining_gateway_is_not_noticed_by_newcomers() {
    let (first, second) = (demo().await, demo().await);
    let nginx = Nginx::start(&[first.address, second.address]).await;
    let mut others = Vec::new();
    let mut earlier = socket_on(&first, &nginx, &mut others).await;
    earlier.send_text("/sim number tokens=60 pace_ms=25 first_ms=0").await;
    assert!(earlier.read_text().await.starts_with("#0 "));
    first.signal("TERM").await;
    until("it drains", async || http_get(first.address, "/readyz").await.0 == 503).await;
    let mut newcomers = Vec::new();
    for _ in 0..20 {
        newcomers.push(TestClient::connect(&nginx.chat_url()).await);
        assert_eq!(http_get(nginx.address, "/livez").await.0, 200);
        assert_eq!(http_get(nginx.address, "/api/config").await.0, 200);
    }
    // Its own clients get the rest of their answers and then the close, through nginx.
    let mut text = String::new();
    while !text.contains("#59 ") {
        text.push_str(&earlier.read_text().await);
    }
    assert_eq!(earlier.closed().await, 1012);
    assert_eq!(first.ended().await.code, Some(0));
    for client in &mut newcomers {
        client.send_text("/sim text=here pace_ms=0 first_ms=0").await;
        client.expect("here").await;
    }
    assert_eq!(nginx.handshake(&[]).await, "HTTP/1.1 101 Switching Protocols");
    second.stop().await;
}

/// `nginx -t` of a main file among the shipped ones, in a copy that fits this machine.
async fn check(main: &str, change: impl Fn(&str) -> String) {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(nginx::shipped()).unwrap() {
        let entry = entry.unwrap();
        let text = fs::read_to_string(entry.path()).unwrap();
        let here = format!("{}/", folder.path().display());
        let text = text.replace("/tmp/", &here).replace("/run/secrets/", &here);
        fs::write(folder.path().join(entry.file_name()), change(&text)).unwrap();
    }
    let key = rcgen::generate_simple_self_signed(["chat.example.com".to_owned()]).unwrap();
    fs::write(folder.path().join("tls_cert"), key.cert.pem()).unwrap();
    fs::write(folder.path().join("tls_key"), key.signing_key.serialize_pem()).unwrap();
    let mut command = nginx::command();
    command.args(["-t", "-e", "stderr", "-p"]).arg(folder.path()).arg("-c").arg(folder.path().join(main));
    let output = command.output().await.expect("nginx is installed; tests/run installs it");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !stderr.contains("[warn]"), "{main}: {stderr}");
}

#[tokio::test]
async fn every_shipped_file_is_taken_by_nginx() {
    // The name is that of a container; outside it, the name is unknown. And Debian's nginx is too old to ask again for it.
    let here = |text: &str| text.replace("server gateway:8000 resolve", "server 127.0.0.1:8000");
    check("local.conf", str::to_owned).await;
    let with = |more: &'static str| move |text: &str| text.replace("include server.conf", more);
    check("local.conf", with("root /; include page.conf; include basic-auth.conf; include server.conf"))
        .await;
    check("nginx.conf", here).await;
    check("nginx-tls.conf", here).await;
}

#[tokio::test]
async fn a_chat_and_its_cookie_pass_through_nginx() {
    let gateway = demo().await;
    let nginx = Nginx::start(&[gateway.address]).await;
    let (_, _, direct) = get_with(gateway.address, "/api/config", &[]).await;
    let (status, head, body) = get_with(nginx.address, "/api/config", &[]).await;
    assert_eq!((status, body), (200, direct), "{head}");
    let (cookie, attributes) = set_cookie(&head).expect(&head);
    assert!(
        !attributes.contains(&"Secure".to_owned()),
        "over plain HTTP a browser would not keep it: {head}"
    );
    let (_, head, _) = get_with(nginx.address, "/api/config", &[("cookie", &cookie)]).await;
    assert_eq!(set_cookie(&head), None, "the gateway saw it");
    // An answer is begun on one socket, lost, and followed again on another.
    let mut socket = Chats::connect_as(nginx.address, &cookie).await;
    assert_eq!(socket.cookie, cookie);
    socket.ask("q", "tides", "/sim number tokens=60 pace_ms=20 first_ms=0").await;
    let mut answer = Answer::of("q");
    while answer.text.is_empty() {
        answer.take(&socket.next().await);
    }
    socket.reset();
    let mut socket = Chats::connect_as(nginx.address, &cookie).await;
    let after = answer.go_on("again");
    socket.resume("again", "tides", after).await;
    socket.read_answer(&mut answer).await;
    assert_eq!(answer.end, Some(End::Whole));
    let numbers: Vec<_> = answer.text.split(' ').filter_map(|word| word.strip_prefix('#')).collect();
    assert_eq!(numbers, (0..60).map(|number| number.to_string()).collect::<Vec<_>>());
    let (status, _, chat) = get_with(nginx.address, "/api/chats/tides", &[("cookie", &cookie)]).await;
    let chat: serde_json::Value = serde_json::from_str(&chat).unwrap();
    assert_eq!((status, &chat["messages"][1]["parts"][0]["text"]), (200, &answer.text.into()));
    // Another browser has no such chat.
    let stranger = new_browser(nginx.address).await;
    assert_eq!(get_with(nginx.address, "/api/chats/tides", &[("cookie", &stranger)]).await.0, 404);
    let fresh = Chats::connect(nginx.address).await;
    assert!(fresh.cookie.starts_with("tidegate_principal="), "the 101 gives one too");
    gateway.stop().await;
}

#[tokio::test]
async fn behind_tls_the_cookie_is_secure() {
    const NAME: &str = "tides.test";
    let gateway = demo_of(NAME).await;
    let settings = nginx::NginxSettings { tls: Some(NAME), ..nginx::NginxSettings::default() };
    let nginx = Nginx::start_with(&[gateway.address], settings).await;
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(nginx.certificate().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = tls.unwrap().with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    // A client's own word on it counts for nothing either way.
    for headers in [&[][..], &[("x-forwarded-proto", "http")]] {
        let tcp = TcpStream::connect(nginx.address).await.unwrap();
        let stream = connector.connect(NAME.try_into().unwrap(), tcp).await.unwrap();
        let (status, head, _) = get_over(stream, NAME, "/api/config", headers).await.unwrap();
        let (_, attributes) = set_cookie(&head).expect(&head);
        assert!(status == 200 && attributes.contains(&"Secure".to_owned()), "{head}");
    }
    gateway.stop().await;
}

/// A page that asks for its configuration: which of the gateways answered, known by a limit, and the cookies.
async fn ask_config(nginx: &Nginx, cookies: &[(&str, &str)]) -> (u64, String) {
    let (_, head, config) = get_with(nginx.address, "/api/config", cookies).await;
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let route = set_route(&head).expect(&head).0;
    let jar = set_cookie(&head).map_or(String::new(), |(principal, _)| format!("{principal}; {route}"));
    (config["limits"]["message_bytes"].as_u64().unwrap(), jar)
}

/// Reads an answer until some of it is there.
async fn read_some(socket: &mut Chats, answer: &mut Answer) {
    let enough = answer.text.len() + 10;
    while answer.text.len() < enough {
        answer.take(&socket.next().await);
    }
}

#[tokio::test]
async fn a_browser_returns_to_the_gateway_with_its_chats() {
    let start = async |which: &str| {
        let mark = format!("connection.message_bytes_max={which}");
        Tidegate::new(&["demo", "--listen", "127.0.0.1:0", "--set", &mark]).start().await
    };
    let (first, second) = (start("1001").await, start("1002").await);
    let nginx = Nginx::start(&[first.address, second.address]).await;
    // Who has no cookie yet goes to any, though all come from one address.
    let mut newcomers = BTreeSet::new();
    let mut homes = BTreeSet::new();
    for number in 0..20 {
        let (which, jar) = ask_config(&nginx, &[]).await;
        newcomers.insert(which);
        let chat = format!("chat-{number}");
        let mut socket = Chats::connect_as(nginx.address, &jar).await;
        socket.ask("q", &chat, "/sim number tokens=40 pace_ms=10 first_ms=0").await;
        let mut answer = Answer::of("q");
        read_some(&mut socket, &mut answer).await;
        // The page is loaded anew in mid-answer: it asks for its configuration, and goes on where it was.
        socket.reset();
        let (home, _) = ask_config(&nginx, &[("cookie", &jar)]).await;
        homes.insert(home);
        let mut socket = Chats::connect_as(nginx.address, &jar).await;
        let after = answer.go_on("again");
        socket.resume("again", &chat, after).await;
        socket.read_answer(&mut answer).await;
        assert_eq!(answer.end, Some(End::Whole), "reload {number}");
        let numbers: Vec<_> = answer.text.split(' ').filter_map(|word| word.strip_prefix('#')).collect();
        assert_eq!(numbers, (0..40).map(|number| number.to_string()).collect::<Vec<_>>());
        assert_eq!(ask_config(&nginx, &[("cookie", &jar)]).await.0, home);
        // Its answer was never begun a second time elsewhere.
        let (there, elsewhere) = if home == 1001 { (&first, &second) } else { (&second, &first) };
        let (has, _, _) = get_with(there.address, &format!("/api/chats/{chat}"), &[("cookie", &jar)]).await;
        let (has_not, ..) =
            get_with(elsewhere.address, &format!("/api/chats/{chat}"), &[("cookie", &jar)]).await;
        assert_eq!((has, has_not), (200, 404), "reload {number}");
    }
    assert_eq!((newcomers.len(), homes.len()), (2, 2), "both have work: {newcomers:?} {homes:?}");
    first.stop().await;
    second.stop().await;
}
