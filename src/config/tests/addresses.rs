//! Base URLs and origins, good and bad.
use super::*;
use expect_test::expect;

pub(super) fn table(key: &str, rows: &[&str], also: &[&str]) -> String {
    let mut out = String::new();
    for value in rows {
        let mut settings = vec![format!("{key}={value}")];
        settings.extend(also.iter().map(|s| (*s).to_owned()));
        let settings: Vec<_> = settings.iter().map(String::as_str).collect();
        out += &match load(&set(&settings), &Map::default()) {
            Ok(config) => format!("{value} -> {}\n", (find(key).unwrap().show)(&config, None)),
            Err(error) => {
                error.faults.iter().map(|fault| format!("{value} -> REFUSED {}\n", fault.problem)).collect()
            }
        };
    }
    out
}

// faults: H110
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn base_urls() {
    let rows = [
        "https://dashscope.aliyuncs.com/api/v1",
        "https://dashscope.aliyuncs.com/api/v1/",
        "HTTPS://DashScope.Aliyuncs.COM/Api",
        "https://bücher.example",
        "http://127.0.0.1:11434/v1",
        "http://localhost:11434/v1",
        "http://[::1]:8100",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::ffff:127.0.0.1]/",
        "https://[2001:db8::1]:8443/v1",
        "",
        "file:///etc/passwd",
        "ftp://example.com",
        "dashscope.aliyuncs.com/api/v1",
        "localhost:8100",
        "//example.com",
        "https:example.com",
        "https://",
        "https://user:CANARY@example.com",
        "https://CANARY@example.com",
        "https://@example.com",
        "https://example.com/?key=CANARY",
        "https://example.com/#top",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://exa mple.com/",
        "https:\\\\example.com",
        "https://*.example.com",
        "http://example.com",
        "http://localhost.example.com",
        "https://10.0.0.1",
        "https://172.16.0.1",
        "https://192.168.1.1",
        "https://169.254.169.254/latest",
        "https://100.64.0.1",
        "https://0.0.0.0",
        "https://[fd00::1]",
        "https://[fe80::1]",
        "https://[::]",
        "https://[::ffff:10.0.0.1]",
        "https://[64:ff9b::10.0.0.1]",
        "http://10.0.0.1",
    ];
    expect![[r#"
        https://dashscope.aliyuncs.com/api/v1 -> https://dashscope.aliyuncs.com/api/v1
        https://dashscope.aliyuncs.com/api/v1/ -> https://dashscope.aliyuncs.com/api/v1
        HTTPS://DashScope.Aliyuncs.COM/Api -> https://dashscope.aliyuncs.com/Api
        https://bücher.example -> https://xn--bcher-kva.example/
        http://127.0.0.1:11434/v1 -> http://127.0.0.1:11434/v1
        http://localhost:11434/v1 -> http://localhost:11434/v1
        http://[::1]:8100 -> http://[::1]:8100/
        http://2130706433/ -> http://127.0.0.1/
        http://0x7f.1/ -> http://127.0.0.1/
        http://[::ffff:127.0.0.1]/ -> http://[::ffff:7f00:1]/
        https://[2001:db8::1]:8443/v1 -> https://[2001:db8::1]:8443/v1
         -> REFUSED is empty
        file:///etc/passwd -> REFUSED scheme is neither http nor https
        ftp://example.com -> REFUSED scheme is neither http nor https
        dashscope.aliyuncs.com/api/v1 -> REFUSED has no scheme
        localhost:8100 -> REFUSED scheme is neither http nor https
        //example.com -> REFUSED has no scheme
        https:example.com -> REFUSED has no `//` after the scheme
        https:// -> REFUSED empty host
        https://user:CANARY@example.com -> REFUSED has a user name or a password
        https://CANARY@example.com -> REFUSED has a user name or a password
        https://@example.com -> REFUSED has a user name or a password
        https://example.com/?key=CANARY -> REFUSED has a query
        https://example.com/#top -> REFUSED has a fragment
        https://example.com:0/ -> REFUSED has port 0
        https://example.com:99999/ -> REFUSED invalid port number
        https://exa mple.com/ -> REFUSED has a blank, a control character or a backslash
        https:\\example.com -> REFUSED has a blank, a control character or a backslash
        https://*.example.com -> REFUSED has a `*` in the host
        http://example.com -> REFUSED http to another machine sends the key in the clear; use https, or upstream.allow_insecure = true
        http://localhost.example.com -> REFUSED http to another machine sends the key in the clear; use https, or upstream.allow_insecure = true
        https://10.0.0.1 -> REFUSED a private address; only with upstream.allow_private = true
        https://172.16.0.1 -> REFUSED a private address; only with upstream.allow_private = true
        https://192.168.1.1 -> REFUSED a private address; only with upstream.allow_private = true
        https://169.254.169.254/latest -> REFUSED a private address; only with upstream.allow_private = true
        https://100.64.0.1 -> REFUSED a private address; only with upstream.allow_private = true
        https://0.0.0.0 -> REFUSED a private address; only with upstream.allow_private = true
        https://[fd00::1] -> REFUSED a private address; only with upstream.allow_private = true
        https://[fe80::1] -> REFUSED a private address; only with upstream.allow_private = true
        https://[::] -> REFUSED a private address; only with upstream.allow_private = true
        https://[::ffff:10.0.0.1] -> REFUSED a private address; only with upstream.allow_private = true
        https://[64:ff9b::10.0.0.1] -> REFUSED a private address; only with upstream.allow_private = true
        http://10.0.0.1 -> REFUSED http to another machine sends the key in the clear; use https, or upstream.allow_insecure = true
        http://10.0.0.1 -> REFUSED a private address; only with upstream.allow_private = true
    "#]].assert_eq(&table("upstream.base_url", &rows, &[]));
}

#[test]
fn addresses_of_another_api_are_refused_with_the_right_one() {
    let rows = [
        "https://dashscope.aliyuncs.com/compatible-mode/v1",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1/",
        "https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions",
        "https://ws.cn-beijing.maas.aliyuncs.com:8443/compatible-mode/v1",
        "https://api.example.com/v1/chat/completions/",
        "https://api.example.com/v1/responses",
        "https://dashscope.aliyuncs.com/api/v1/services/aigc/text-generation/generation",
        "http://127.0.0.1:8100/x/api/v1/services/aigc/multimodal-generation/generation/",
        "https://api.example.com/compatible-modes/v1",
        "https://api.example.com/generation",
    ];
    expect![[r#"
        https://dashscope.aliyuncs.com/compatible-mode/v1 -> REFUSED is an address of the OpenAI-compatible API; DashScope's own is needed, such as https://dashscope.aliyuncs.com/api/v1
        https://dashscope-intl.aliyuncs.com/compatible-mode/v1/ -> REFUSED is an address of the OpenAI-compatible API; DashScope's own is needed, such as https://dashscope-intl.aliyuncs.com/api/v1
        https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions -> REFUSED is an address of the OpenAI-compatible API; DashScope's own is needed, such as https://dashscope.aliyuncs.com/api/v1
        https://ws.cn-beijing.maas.aliyuncs.com:8443/compatible-mode/v1 -> REFUSED is an address of the OpenAI-compatible API; DashScope's own is needed, such as https://ws.cn-beijing.maas.aliyuncs.com:8443/api/v1
        https://api.example.com/v1/chat/completions/ -> REFUSED is an address of the OpenAI-compatible API; DashScope's own is needed, such as https://dashscope.aliyuncs.com/api/v1
        https://api.example.com/v1/responses -> REFUSED is an address of the OpenAI-compatible API; DashScope's own is needed, such as https://dashscope.aliyuncs.com/api/v1
        https://dashscope.aliyuncs.com/api/v1/services/aigc/text-generation/generation -> REFUSED is an endpoint; its base URL is https://dashscope.aliyuncs.com/api/v1
        http://127.0.0.1:8100/x/api/v1/services/aigc/multimodal-generation/generation/ -> REFUSED is an endpoint; its base URL is http://127.0.0.1:8100/x/api/v1
        https://api.example.com/compatible-modes/v1 -> https://api.example.com/compatible-modes/v1
        https://api.example.com/generation -> https://api.example.com/generation
    "#]]
    .assert_eq(&table("upstream.base_url", &rows, &[]));
}

// faults: H110
#[test]
fn switches_let_private_and_plain_upstreams_through() {
    let rows = ["http://10.0.0.1/v1/", "http://engine:8000/v1", "https://[fd00::1]", "ftp://10.0.0.1"];
    let also = ["upstream.allow_private=true", "upstream.allow_insecure=true"];
    expect![[r#"
        http://10.0.0.1/v1/ -> http://10.0.0.1/v1
        http://engine:8000/v1 -> http://engine:8000/v1
        https://[fd00::1] -> https://[fd00::1]/
        ftp://10.0.0.1 -> REFUSED scheme is neither http nor https
    "#]]
    .assert_eq(&table("upstream.base_url", &rows, &also));
    check(
        &Map::default(),
        &set(&["upstream.base_url=http://10.0.0.1", also[0], also[1]]),
        &expect![[r#"
        upstream.base_url = http://10.0.0.1/  # --set
        upstream.allow_insecure = true  # --set
        upstream.allow_private = true  # --set
        warning: upstream.base_url is plain http: the key travels in the clear
    "#]],
    );
}

// faults: H110
#[test]
fn no_fault_repeats_what_may_be_a_password() {
    for text in ["https://user:CANARY@example.com", "https://a/?CANARY", "ftp://a#CANARY", "https://CANARY@"]
    {
        for key in ["upstream.base_url", "server.origins"] {
            let error = load(&set(&[&format!("{key}={text}")]), &Map::default()).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
        }
    }
}

// faults: H111
#[test]
fn origins() {
    let rows = [
        "",
        "https://chat.example.com",
        "https://Chat.Example.COM:443",
        "https://chat.example.com/",
        "http://localhost:3000",
        "https://bücher.example",
        "https://a.example, https://b.example:8443 ,https://a.example",
        "http://[::1]:3000",
        "*",
        "https://a.example,*",
        "https://a.example/chat",
        "https://a.example?x",
        "https://a.example#x",
        "https://user@a.example",
        "https://*.example.com",
        "https://a.example,,https://b.example",
        "a.example",
        "null",
        "chrome-extension://abc",
    ];
    expect![[r#"
         -> 
        https://chat.example.com -> https://chat.example.com
        https://Chat.Example.COM:443 -> https://chat.example.com
        https://chat.example.com/ -> https://chat.example.com
        http://localhost:3000 -> http://localhost:3000
        https://bücher.example -> https://xn--bcher-kva.example
        https://a.example, https://b.example:8443 ,https://a.example -> https://a.example, https://b.example:8443
        http://[::1]:3000 -> http://[::1]:3000
        * -> REFUSED `*` lets every page of the web in; only with server.allow_any_origin = true
        https://a.example,* -> REFUSED `*` lets every page of the web in; only with server.allow_any_origin = true
        https://a.example/chat -> REFUSED entry 1: has a path; an origin is `https://host[:port]`
        https://a.example?x -> REFUSED entry 1: has a path; an origin is `https://host[:port]`
        https://a.example#x -> REFUSED entry 1: has a fragment
        https://user@a.example -> REFUSED entry 1: has a user name or a password
        https://*.example.com -> REFUSED entry 1: has a `*` in the host
        https://a.example,,https://b.example -> REFUSED entry 2: is empty
        a.example -> REFUSED entry 1: has no scheme
        null -> REFUSED entry 1: has no scheme
        chrome-extension://abc -> REFUSED entry 1: scheme is neither http nor https
    "#]].assert_eq(&table("server.origins", &rows, &[]));
}

// faults: K137
#[test]
fn host_names() {
    let rows = [
        "",
        "chat.example.com",
        "Chat.Example.COM.",
        "a.example, b.example ,A.example",
        "bücher.example",
        "10.0.0.1",
        "[::1]",
        "https://chat.example.com",
        "chat.example.com:8443",
        "[::1]:80",
        "::1",
        "chat.example.com/",
        "*.example.com",
        "*",
        "a b",
        "user@a.example",
        "a.example,,b.example",
    ];
    expect![[r#"
         -> 
        chat.example.com -> chat.example.com
        Chat.Example.COM. -> chat.example.com
        a.example, b.example ,A.example -> a.example, b.example
        bücher.example -> xn--bcher-kva.example
        10.0.0.1 -> 10.0.0.1
        [::1] -> [::1]
        https://chat.example.com -> REFUSED entry 1: has a scheme; a host name has none
        chat.example.com:8443 -> REFUSED entry 1: has a port; a host is known under all ports
        [::1]:80 -> REFUSED entry 1: has a port; a host is known under all ports
        ::1 -> REFUSED entry 1: has a port; a host is known under all ports
        chat.example.com/ -> REFUSED entry 1: has a path; a host name has none
        *.example.com -> REFUSED entry 1: has a `*`; every name is listed by itself
        * -> REFUSED entry 1: has a `*`; every name is listed by itself
        a b -> REFUSED entry 1: is not a host name
        user@a.example -> REFUSED entry 1: is not a host name
        a.example,,b.example -> REFUSED entry 2: is empty
    "#]]
    .assert_eq(&table("server.hosts", &rows, &[]));
    let note = |pairs: &[&str]| load(&set(pairs), &Map::default()).unwrap().without_a_name().is_some();
    assert!(
        !note(&[]) && note(&["server.listen=0.0.0.0:8000"]) && note(&["server.trusted_proxies=10.0.0.0/8"])
    );
    assert!(!note(&["server.listen=0.0.0.0:8000", "server.hosts=chat.example.com"]));
    assert!(!note(&["server.listen=0.0.0.0:8000", "server.origins=https://chat.example.com"]));
}

// faults: H111
#[test]
fn any_origin_needs_a_switch_and_warns() {
    let flags = set(&["server.origins=*", "server.allow_any_origin=true"]);
    check(
        &Map::default(),
        &flags,
        &expect![[r#"
        server.origins = *  # --set
        server.allow_any_origin = true  # --set
        warning: server.origins has `*`: every page of the web may open a socket
    "#]],
    );
    check(
        &Map::default(),
        &set(&["server.trusted_proxies=0.0.0.0/0,10.1.2.3/8"]),
        &expect![[r#"
        server.trusted_proxies = 0.0.0.0/0, 10.0.0.0/8  # --set
        warning: server.trusted_proxies has everybody: client addresses can be forged
    "#]],
    );
}

#[test]
fn an_upstream_at_the_gateways_own_address_is_a_fault() {
    for (listen, url, is_own) in [
        ("127.0.0.1:8000", "http://127.0.0.1:8000/v1", true),
        ("127.0.0.1:8000", "http://localhost:8000/v1", true),
        ("127.0.0.1:8000", "http://127.0.0.1:8001/v1", false),
        ("127.0.0.2:8000", "http://127.0.0.1:8000/v1", false),
        ("0.0.0.0:8000", "http://127.0.0.1:8000/v1", true),
        ("[::]:8000", "http://[::1]:8000/v1", true),
        ("10.0.0.7:443", "https://10.0.0.7/v1", true),
    ] {
        let settings = [
            format!("server.listen={listen}"),
            format!("upstream.base_url={url}"),
            "upstream.allow_private=true".to_owned(),
        ];
        let flags = set(&settings.each_ref().map(String::as_str));
        let text = outcome(&Map::default(), &flags);
        assert_eq!(
            text.contains("the gateway's own address, server.listen"),
            is_own,
            "{listen} {url}: {text}"
        );
    }
}
