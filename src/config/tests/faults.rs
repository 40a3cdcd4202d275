//! Bad values of every kind, contradictions, and that all of them are reported at once.
use super::*;
use expect_test::expect;

// faults: H108
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_kind_reports_the_fault_and_what_is_allowed() {
    let rows = [
        ("connection.ping_interval", "15"),
        ("connection.ping_interval", ""),
        ("connection.ping_interval", "15 s"),
        ("connection.ping_interval", "-15s"),
        ("connection.ping_interval", "1.5s"),
        ("connection.ping_interval", "15sec"),
        ("connection.ping_interval", "99ms"),
        ("connection.ping_interval", "2h"),
        ("connection.ping_interval", "99999999999999999999s"),
        ("connection.ping_interval", "9999999999999999999h"),
        ("connection.message_bytes_max", "64KB"),
        ("connection.message_bytes_max", "0"),
        ("connection.message_bytes_max", "2MiB"),
        ("connection.message_bytes_max", "big"),
        ("server.workers", "-1"),
        ("server.workers", "513"),
        ("server.workers", "4s"),
        ("server.workers", ""),
        ("server.listen", "localhost:8000"),
        ("server.listen", "127.0.0.1"),
        ("server.listen", ""),
        ("server.ops_listen", "9000"),
        ("server.trusted_proxies", "10.0.0.0/8,10.0.0.0/33"),
        ("server.trusted_proxies", "10.0.0.0/8,,"),
        ("upstream.incremental", "yes"),
        ("upstream.incremental", ""),
        ("upstream.endpoint", "Text"),
        ("upstream.thinking", ""),
        ("upstream.model", ""),
        ("upstream.model", "two words"),
        ("upstream.model", "a\u{1b}[31m\n"),
        ("upstream.max_tokens", "99999999999"),
        ("log.format", "xml"),
    ];
    let mut out = String::new();
    for (key, value) in rows {
        let error = load(&set(&[&format!("{key}={value}")]), &Map::default()).unwrap_err();
        assert_eq!(error.faults.len(), 1, "{key}={value}");
        out += &format!("{}\n", error.faults[0]);
    }
    expect![[r#"
        connection.ping_interval = "15" (--set): unit missing (ms, s, m or h); allowed: a duration from 100ms to 1h
        connection.ping_interval = "" (--set): is empty; allowed: a duration from 100ms to 1h
        connection.ping_interval = "15 s" (--set): not a duration; allowed: a duration from 100ms to 1h
        connection.ping_interval = "-15s" (--set): not a duration; allowed: a duration from 100ms to 1h
        connection.ping_interval = "1.5s" (--set): not a duration; allowed: a duration from 100ms to 1h
        connection.ping_interval = "15sec" (--set): unknown unit (ms, s, m or h); allowed: a duration from 100ms to 1h
        connection.ping_interval = "99ms" (--set): out of range; allowed: a duration from 100ms to 1h
        connection.ping_interval = "2h" (--set): out of range; allowed: a duration from 100ms to 1h
        connection.ping_interval = "99999999999999999999s" (--set): out of range; allowed: a duration from 100ms to 1h
        connection.ping_interval = "9999999999999999999h" (--set): out of range; allowed: a duration from 100ms to 1h
        connection.message_bytes_max = "64KB" (--set): unknown unit (B, KiB, MiB or GiB); allowed: a size in bytes from 1 to 1MiB
        connection.message_bytes_max = "0" (--set): out of range; allowed: a size in bytes from 1 to 1MiB
        connection.message_bytes_max = "2MiB" (--set): out of range; allowed: a size in bytes from 1 to 1MiB
        connection.message_bytes_max = "big" (--set): not a size; allowed: a size in bytes from 1 to 1MiB
        server.workers = "-1" (--set): not a whole number; allowed: a whole number from 0 to 512
        server.workers = "513" (--set): out of range; allowed: a whole number from 0 to 512
        server.workers = "4s" (--set): not a whole number; allowed: a whole number from 0 to 512
        server.workers = "" (--set): is empty; allowed: a whole number from 0 to 512
        server.listen = "localhost:8000" (--set): not an IP address with a port; allowed: IP:port such as `0.0.0.0:8000` or `[::]:8000`
        server.listen = "127.0.0.1" (--set): not an IP address with a port; allowed: IP:port such as `0.0.0.0:8000` or `[::]:8000`
        server.listen = "" (--set): is empty; allowed: IP:port such as `0.0.0.0:8000` or `[::]:8000`
        server.ops_listen = "9000" (--set): not an IP address with a port; allowed: IP:port such as `127.0.0.1:9000`, or empty
        server.trusted_proxies = "10.0.0.0/8,10.0.0.0/33" (--set): entry 2: neither an address nor a network; allowed: a list of addresses and networks such as `10.0.0.0/8`
        server.trusted_proxies = "10.0.0.0/8,," (--set): entry 2: is empty; allowed: a list of addresses and networks such as `10.0.0.0/8`
        upstream.incremental = "yes" (--set): neither true nor false; allowed: `true` or `false`
        upstream.incremental = "" (--set): is empty; allowed: `true` or `false`
        upstream.endpoint = "Text" (--set): not one of the words; allowed: `auto`, `text`, `multimodal`
        upstream.thinking = "" (--set): is empty; allowed: `default`, `on`, `off`
        upstream.model = "" (--set): is empty; allowed: 1 to 128 visible ASCII characters without blanks
        upstream.model = "two words" (--set): has a character that is not allowed; allowed: 1 to 128 visible ASCII characters without blanks
        upstream.model = "a\u{1b}[31m\n" (--set): has a character that is not allowed; allowed: 1 to 128 visible ASCII characters without blanks
        upstream.max_tokens = "99999999999" (--set): out of range; allowed: a whole number from 0 to 10000000
        log.format = "xml" (--set): not one of the words; allowed: `plain`, `json`
    "#]].assert_eq(&out);
}

// faults: H108
#[test]
fn wrong_types_in_the_file() {
    let source = toml(
        r#"
        [server]
        workers = "many"
        drain_timeout = 30
        ops_listen = 1.5
        listen = 8000
        origins = [1]
        trusted_proxies = ["10.0.0.1", ""]
        allow_any_origin = 1
        [upstream]
        incremental = "maybe"
        model = ["a"]
        idle_timeout = 2020-01-01
        [upstream.thinking]
        "#,
    );
    check(
        &source,
        &Flags::default(),
        &expect![[r#"
            the configuration has 11 faults:
              server.workers = "many" (tidegate.toml:3): not a whole number; allowed: a whole number from 0 to 512
              server.drain_timeout = "30" (tidegate.toml:4): unit missing (ms, s, m or h); allowed: a duration from 1s to 1h
              server.ops_listen (tidegate.toml:5): wrong type: float; allowed: IP:port such as `127.0.0.1:9000`, or empty
              server.listen (tidegate.toml:6): wrong type: integer; allowed: IP:port such as `0.0.0.0:8000` or `[::]:8000`
              server.origins (tidegate.toml:7): wrong type: not a list of strings; allowed: a list of `https://host[:port]`
              server.trusted_proxies (tidegate.toml:8): entry 2: empty, or with a comma in it; allowed: a list of addresses and networks such as `10.0.0.0/8`
              server.allow_any_origin (tidegate.toml:9): wrong type: integer; allowed: `true` or `false`
              upstream.incremental = "maybe" (tidegate.toml:11): neither true nor false; allowed: `true` or `false`
              upstream.model (tidegate.toml:12): wrong type: array; allowed: 1 to 128 visible ASCII characters without blanks
              upstream.idle_timeout (tidegate.toml:13): wrong type: datetime; allowed: a duration from 100ms to 10m
              upstream.thinking (tidegate.toml:14): wrong type: table; allowed: `default`, `on`, `off`
        "#]],
    );
}

// faults: H108
#[test]
fn all_faults_are_reported_at_once() {
    let source = toml("[connection]\nidle_timeout = '10x'\npong_interval = 3\n")
        .variable("TIDEGATE_SERVER__WORKERS", "lots")
        .variable("TIDEGATE_SERVR__DRAIN_TIMEOUT", "1s")
        .variable("API_KEY", "\"sk-CANARY\"");
    check(
        &source,
        &set(&["retry.attempts=11", "upstream.api_key=sk-CANARY"]),
        &expect![[r#"
            the configuration has 7 faults:
              connection.idle_timeout = "10x" (tidegate.toml:2): unknown unit (ms, s, m or h); allowed: a duration from 1s to 1h
              connection.pong_interval (tidegate.toml:3): unknown key; did you mean connection.ping_interval?
              upstream.api_key (API_KEY): has quotes in it; give the key without them; allowed: visible ASCII characters without blanks and quotes; several keys with commas between them
              server.workers = "lots" (TIDEGATE_SERVER__WORKERS): not a whole number; allowed: a whole number from 0 to 512
              TIDEGATE_SERVR__DRAIN_TIMEOUT: unknown variable; did you mean TIDEGATE_SERVER__DRAIN_TIMEOUT?
              upstream.api_key (--set): a secret does not belong on a command line; use API_KEY_FILE
              retry.attempts = "11" (--set): out of range; allowed: a whole number from 1 to 10
        "#]],
    );
}

// faults: H108
#[test]
fn contradictions_name_both_keys() {
    let flags = set(&[
        "connection.ping_interval=60s",
        "connection.frame_bytes_max=32KiB",
        "retry.backoff_min=20s",
        "server.ops_listen=127.0.0.1:8000",
        "server.origins=*",
        "upstream.base_url=http://10.0.0.1",
    ]);
    check(
        &Map::default(),
        &flags,
        &expect![[r#"
        the configuration has 7 faults:
          server.ops_listen = "127.0.0.1:8000" (--set): the same as server.listen
          server.origins = "*" (--set): `*` lets every page of the web in; only with server.allow_any_origin = true
          connection.frame_bytes_max = "32KiB" (--set): less than connection.message_bytes_max = 64KiB
          connection.ping_interval = "60s" (--set): not below connection.idle_timeout = 30s
          retry.backoff_min = "20s" (--set): more than retry.backoff_max = 8s
          upstream.base_url = "http://10.0.0.1/" (--set): http to another machine sends the key in the clear; use https, or upstream.allow_insecure = true
          upstream.base_url = "http://10.0.0.1/" (--set): a private address; only with upstream.allow_private = true
    "#]],
    );
    // A key that could not be read contradicts nothing: its value is not known.
    check(
        &Map::default(),
        &set(&["connection.idle_timeout=x", "connection.ping_interval=70s"]),
        &expect![[r#"
        the configuration has 1 fault:
          connection.idle_timeout = "x" (--set): not a duration; allowed: a duration from 1s to 1h
    "#]],
    );
}

// faults: H108
#[test]
fn an_overridden_fault_is_still_reported() {
    let source =
        toml("connection.ping_interval = '15'").variable("TIDEGATE_CONNECTION__PING_INTERVAL", "15s");
    check(
        &source,
        &Flags::default(),
        &expect![[r#"
        the configuration has 1 fault:
          connection.ping_interval = "15" (tidegate.toml:1): unit missing (ms, s, m or h); allowed: a duration from 100ms to 1h
    "#]],
    );
}

#[test]
fn long_values_are_cut() {
    let value = format!("log.format={}", "x".repeat(1_000_000));
    assert!(outcome(&Map::default(), &set(&[&value])).len() < 300);
}
