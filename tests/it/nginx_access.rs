//! What nginx keeps from the gateway, whom it asks for a password, and what it answers alone, with the shipped files.
use crate::harness::{
    Nginx, Process, RawClient, ScriptedUpstream, Tidegate, get_over, get_with, handshake, nginx,
    nginx::NginxSettings,
};
use std::{collections::BTreeSet, fs};
use tokio::net::TcpStream;

/// Headers by which proxies in common use say who a user is.
const NAMES_A_USER: [&str; 24] = [
    "Remote-User",
    "Remote-Groups",
    "X-Remote-User",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Auth-Request-Groups",
    "X-Auth-Request-Access-Token",
    "X-authentik-username",
    "X-authentik-jwt",
    "X-WEBAUTH-USER",
    "Tailscale-User-Login",
    "Tailscale-User-Name",
    "Cf-Access-Authenticated-User-Email",
    "Cf-Access-Jwt-Assertion",
    "X-Goog-Authenticated-User-Email",
    "X-Goog-IAP-JWT-Assertion",
    "X-Amzn-Oidc-Identity",
    "X-MS-CLIENT-PRINCIPAL",
    "X-Forwarded-Client-Cert",
];

/// Each kind of location that passes requests.
const PASSED: [&str; 6] = ["/", "/assets/x.js", "/api/config", "/api/chats/x", "/chat", "/api/chat"];

/// The head, in lower case, of what reaches a gateway that answers nothing but 404.
async fn passed_on(
    nginx: &Nginx,
    gateway: &ScriptedUpstream,
    path: &str,
    headers: &[(&str, &str)],
) -> String {
    let mut client = RawClient::connect(nginx.address).await;
    let request = match path {
        "/chat" | "/api/chat" => handshake(nginx.address, headers).replacen("/chat", path, 1),
        _ => {
            let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{more}\r\n", nginx.address)
        }
    };
    client.write(request.as_bytes()).await;
    let head = answer(gateway).await;
    if !path.ends_with("/chat") {
        return head;
    }
    // The question before a handshake has nothing of the client's.
    assert!(head.starts_with("get /-/ready http/1.1\r\nhost: localhost\r\n"), "{head}");
    assert_eq!(names(&head), BTreeSet::from(["host"]), "{head}");
    answer(gateway).await
}

/// The head of the next request, which is answered with 404, or with 200 if it asks for readiness.
async fn answer(gateway: &ScriptedUpstream) -> String {
    let mut connection = gateway.accept().await;
    let head = connection.request_head().await;
    let status = if head.contains("/-/ready") { "200 OK" } else { "404 Not Found" };
    connection.send(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")).await;
    head
}

fn names(head: &str) -> BTreeSet<&str> {
    head.lines().skip(1).filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect()
}

#[tokio::test]
async fn no_client_sets_its_own_user_name_through_nginx() {
    let shipped = fs::read_to_string(format!("{}/server.conf", nginx::shipped())).unwrap();
    let emptied = shipped.split("proxy_set_header ").skip(1).filter_map(|rest| rest.split_once(" \"\";"));
    let emptied = emptied.map(|(name, _)| name).filter(|name| !name.contains(' '));
    let emptied = emptied.filter(|name| !["Connection", "Content-Length"].contains(name));
    let own = ["x-forwarded-for", "x-forwarded-proto", "x-request-id", "host", "connection", "upgrade"];
    let forged: BTreeSet<String> = NAMES_A_USER.into_iter().chain(emptied).map(str::to_lowercase).collect();
    assert!(forged.len() > 90 && own.iter().all(|name| !forged.contains(*name)), "{forged:?}");
    // As it is, in capitals, twice, and with the signs that a CGI takes for the same.
    let mut headers = Vec::new();
    for name in forged.iter().filter(|name| *name != "sec-websocket-extensions") {
        headers.extend([name.clone(), name.to_uppercase(), name.replace('-', "_")]);
    }
    let gateway = ScriptedUpstream::bind().await;
    let nginx = Nginx::start(&[gateway.address]).await;
    for path in PASSED {
        for part in headers.chunks(30) {
            let part: Vec<_> = part.iter().map(|name| (name.as_str(), "mallory")).collect();
            let head = passed_on(&nginx, &gateway, path, &part).await;
            assert!(!head.contains("mallory") && names(&head).contains("x-request-id"), "{path}: {head}");
        }
        // What is none of them is passed.
        let head = passed_on(&nginx, &gateway, path, &[("accept-language", "zh"), ("cookie", "a=b")]).await;
        assert!(
            head.contains("\r\naccept-language: zh\r\n") && head.contains("\r\ncookie: a=b\r\n"),
            "{head}"
        );
    }
}

async fn demo() -> Process {
    let args = ["demo", "--listen", "127.0.0.1:0", "--set", "server.trusted_proxies=127.0.0.1"];
    Tidegate::new(&args).start().await
}

/// `ada` with the password `tide`, made as nginx/README.md says.
const USERS: &str = "ada:$6$saltsalt$9vPwUcfgSmA3X4cxdeDxChwrbczEyEiCgVonRPvNndfJb3Sco7Ctylu0f5tJK9Q6smOOAyAP1WbM1v7jtzblR1\n";
const ADA: &str = "Basic YWRhOnRpZGU=";

#[tokio::test]
async fn nginx_asks_for_a_password_before_page_and_socket() {
    let gateway = demo().await;
    let settings = NginxSettings { users: Some(USERS), ..NginxSettings::default() };
    let nginx = Nginx::start_with(&[gateway.address], settings).await;
    let status = async |path: &str, authorization: &str| {
        let headers = [("authorization", authorization)];
        let headers = if authorization.is_empty() { &[][..] } else { &headers };
        if path.ends_with("/chat") {
            let request = handshake(nginx.address, headers).replacen("/chat", path, 1);
            let head = RawClient::connect(nginx.address).await.request(&request).await;
            return (head[9..12].parse::<u16>().unwrap(), head);
        }
        let (status, head, _) = get_with(nginx.address, path, headers).await;
        (status, head)
    };
    for path in ["/", "/api/config", "/v1/models", "/health", "/chat", "/api/chat"] {
        // None, another scheme, another user (`bob:tide`), another password (`ada:tides`), none at all (`ada:`).
        for wrong in ["", "Bearer YWRhOnRpZGU=", "Basic Ym9iOnRpZGU=", "Basic YWRhOnRpZGVz", "Basic YWRhOg=="]
        {
            let (refused, head) = status(path, wrong).await;
            assert_eq!(refused, 401, "{path} {wrong}: {head}");
            assert!(head.to_lowercase().contains("www-authenticate: basic realm=\"tidegate\""), "{head}");
        }
        let (let_in, head) = status(path, ADA).await;
        assert_eq!(let_in, if path.ends_with("chat") { 101 } else { 200 }, "{path}: {head}");
    }
    assert!(!nginx.access_log().contains(&ADA[6..]), "{}", nginx.access_log());
    gateway.stop().await;
}

#[tokio::test]
async fn the_password_ends_in_nginx() {
    let gateway = ScriptedUpstream::bind().await;
    let settings = NginxSettings { users: Some(USERS), ..NginxSettings::default() };
    let nginx = Nginx::start_with(&[gateway.address], settings).await;
    for path in PASSED {
        let head = passed_on(&nginx, &gateway, path, &[("authorization", ADA), ("remote-user", "bob")]).await;
        let sent = names(&head);
        assert!(!sent.contains("authorization") && !sent.contains("remote-user"), "{path}: {head}");
    }
}

// faults: K135
#[tokio::test]
async fn a_log_in_of_the_whole_server_is_asked_before_sockets_too() {
    let gateway = demo().await;
    // As an operator adds it; the location stands for a service that knows its users.
    const LOG_IN: &str = "auth_request /log-in;
                  location = /log-in { internal; if ($http_x_pass = \"\") { return 401; } return 204; }
                  client_header_timeout 5s;";
    let settings =
        NginxSettings { replace: &[("client_header_timeout 5s;", LOG_IN)], ..NginxSettings::default() };
    let nginx = Nginx::start_with(&[gateway.address], settings).await;
    for path in ["/chat", "/api/chat"] {
        for (headers, status) in [(&[][..], 401), (&[("x-pass", "yes")], 101)] {
            let request = handshake(nginx.address, headers).replacen("/chat", path, 1);
            let head = RawClient::connect(nginx.address).await.request(&request).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {headers:?}: {head}");
        }
    }
    for (headers, status) in [(&[][..], 401), (&[("x-pass", "yes")], 200)] {
        assert_eq!(get_with(nginx.address, "/api/config", headers).await.0, status, "{headers:?}");
    }
    gateway.stop().await;
}

// faults: K137
#[tokio::test]
async fn a_strangers_name_is_refused_through_nginx_with_the_reason() {
    let gateway = demo().await;
    let nginx = Nginx::start(&[gateway.address]).await;
    let own = nginx.address.to_string();
    for (host, refused) in
        [("evil.test", true), ("127.0.0.1.nip.io:80", true), ("gateway", false), (&own, false)]
    {
        for path in ["/", "/livez", "/api/config", "/nowhere"] {
            let stream = TcpStream::connect(nginx.address).await.unwrap();
            let (status, _, body) = get_over(stream, host, path, &[("accept", PAGE)]).await.unwrap();
            assert_eq!(
                (status == 421, body.contains("server.hosts")),
                (refused, refused),
                "{host} {path}: {body}"
            );
        }
        for path in ["/chat", "/api/chat"] {
            let request = handshake(nginx.address, &[]).replacen(&own, host, 1).replacen("/chat", path, 1);
            let head = RawClient::connect(nginx.address).await.request(&request).await;
            let status = if refused { 421 } else { 101 };
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{host} {path}: {head}");
        }
    }
    gateway.stop().await;
}

/// What Chromium, Firefox and Safari request when a user opens a page.
const PAGE: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

#[tokio::test]
async fn where_no_gateway_is_a_person_gets_a_page_and_a_program_a_sentence() {
    let gateway = demo().await;
    let nginx = Nginx::start(&[gateway.address]).await;
    // What is answered by a gateway has the gateway's own policy, once.
    let (_, head, _) = get_with(nginx.address, "/", &[("accept", PAGE)]).await;
    assert_eq!(head.to_lowercase().matches("content-security-policy").count(), 1, "{head}");
    gateway.stop().await;
    for (path, accept, is_page) in [
        ("/", PAGE, true),
        ("/x.css", PAGE, true),
        ("/?q", "TEXT/HTML", true),
        ("/", "", false),
        ("/", "*/*", false),
        ("/assets/x.js", "*/*", false),
        ("/livez", "application/json", false),
        ("/api/config", PAGE, false),
        ("/v1/models", PAGE, false),
        ("/api/chat", PAGE, false),
        ("/chat", PAGE, false),
    ] {
        let headers = [("accept", accept)];
        let headers = if accept.is_empty() { &[][..] } else { &headers };
        let (status, head, body) = get_with(nginx.address, path, headers).await;
        let head = head.to_lowercase();
        assert_eq!(status, 503, "{path} {accept}: {head}");
        assert_eq!(head.matches("\r\nretry-after: 5").count(), 1, "{path} {accept}: {head}");
        assert_eq!(head.matches("\r\ncontent-type: ").count(), 1, "{path} {accept}: {head}");
        let kind = if is_page { "text/html" } else { "text/plain" };
        assert!(
            head.contains(&format!("\r\ncontent-type: {kind}; charset=utf-8")),
            "{path} {accept}: {head}"
        );
        assert_eq!(head.contains("\r\ncontent-security-policy: default-src 'none'"), is_page, "{head}");
        if is_page {
            assert!(body.contains("http-equiv=\"refresh\"") && !body.contains("<script"), "{body}");
            assert!(body.contains("tries again") && body.contains("自动重试"), "{body}");
        } else {
            assert_eq!(body, "the service is not available\n", "{path} {accept}");
        }
    }
}

#[tokio::test]
async fn plain_http_is_sent_to_tls_on_the_port_that_fits() {
    const NAME: &str = "tides.test";
    let gateway = ScriptedUpstream::bind().await;
    let settings = NginxSettings { tls: Some(NAME), ..NginxSettings::default() };
    let nginx = Nginx::start_with(&[gateway.address], settings).await;
    let own = format!("{NAME}:{}", nginx.address.port());
    let plain = nginx.plain.unwrap();
    for (address, host, location) in [
        // The standard port leads to the standard one, another to the one that the file listens on.
        (plain, NAME, "https://tides.test/a?b=c".to_owned()),
        (plain, "tides.test:80", "https://tides.test/a?b=c".to_owned()),
        (plain, "tides.test:8080", "https://tides.test:8443/a?b=c".to_owned()),
        (plain, "tides.test:800", "https://tides.test:8443/a?b=c".to_owned()),
        // And on the port of TLS itself, the port stays.
        (nginx.address, &own, format!("https://{own}/a?b=c")),
    ] {
        let stream = TcpStream::connect(address).await.unwrap();
        let (status, head, _) = get_over(stream, host, "/a?b=c", &[]).await.unwrap();
        let found = head.lines().find_map(|line| line.strip_prefix("Location: "));
        assert_eq!((status, found), (308, Some(location.as_str())), "{host}: {head}");
    }
}
