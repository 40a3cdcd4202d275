//! Precedence, the forms of the file, and unknown names.
use super::*;
use expect_test::expect;
use std::io::ErrorKind;

#[test]
fn flags_over_environment_over_file_over_defaults() {
    let source = toml(
        "upstream.model = 'of-file'\n[server]\nlisten = '127.0.0.1:1'\n[connection]\nping_interval = '9s'\n",
    )
    .variable("TIDEGATE_UPSTREAM__MODEL", "of-environment")
    .variable("TIDEGATE_SERVER__LISTEN", "127.0.0.1:2");
    let flags = Flags {
        named: vec![("--listen", "server.listen", "127.0.0.1:3".to_owned())],
        ..set(&["server.listen=127.0.0.1:4", "retry.attempts=2", "retry.attempts=4"])
    };
    check(
        &source,
        &flags,
        &expect![[r#"
            server.listen = 127.0.0.1:3  # --listen
            connection.ping_interval = 9s  # tidegate.toml:5
            upstream.model = of-environment  # TIDEGATE_UPSTREAM__MODEL
            retry.attempts = 4  # --set
        "#]],
    );
}

#[test]
fn demo_passes_over_what_is_meant_for_a_real_service() {
    let source = toml("[upstream]\nmodel = ['x']\nidle_timeout = '9s'\n")
        .variable("TIDEGATE_UPSTREAM__BASE_URL", "nonsense")
        .variable("DASHSCOPE_API_KEY", "'")
        .variable("DASHSCOPE_API_KEY_FILE", "/nowhere");
    let config = load_for(Purpose::Demo, &set(&["upstream.model=sim-think"]), &source).unwrap();
    let mut ignored: Vec<_> = config.ignored.iter().map(ToString::to_string).collect();
    ignored.sort();
    let names =
        ["DASHSCOPE_API_KEY", "DASHSCOPE_API_KEY_FILE", "TIDEGATE_UPSTREAM__BASE_URL", "tidegate.toml:2"];
    assert_eq!(ignored, names);
    assert_eq!((config.upstream.model.as_str(), config.upstream.idle_timeout.as_secs()), ("sim-think", 9));
    assert!(config.upstream.api_key.is_none());
    // Everything is read for a gateway that serves.
    assert_eq!(load(&Flags::default(), &source).unwrap_err().faults.len(), 3);
    let refused = load_for(Purpose::Demo, &set(&["upstream.base_url=http://127.0.0.1:1"]), &Map::default());
    expect![[r#"
        the configuration has 1 fault:
          upstream.base_url (--set): `tidegate demo` has a simulated model service of its own; `tidegate serve` asks another one"#]]
    .assert_eq(&refused.unwrap_err().to_string());
}

#[test]
fn short_variables_are_weaker_than_full_ones() {
    let source = variables(&[
        ("TIDEGATE_LISTEN", "127.0.0.1:1"),
        ("TIDEGATE_MODEL", "short"),
        ("TIDEGATE_UPSTREAM__MODEL", "full"),
        ("TIDEGATE_BASE_URL", "https://example.com/v1"),
    ]);
    check(
        &source,
        &Flags::default(),
        &expect![[r#"
            server.listen = 127.0.0.1:1  # TIDEGATE_LISTEN
            upstream.base_url = https://example.com/v1  # TIDEGATE_BASE_URL
            upstream.model = full  # TIDEGATE_UPSTREAM__MODEL
        "#]],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn the_named_file_is_read_and_must_be_there() {
    let source = toml("upstream.model = 'of-default-file'")
        .file("a.toml", "upstream.model = 'a'")
        .file("b.toml", "upstream.model = 'b'")
        .broken_file("c.toml", ErrorKind::PermissionDenied);
    let named = |path: &str| Flags { config: Some(path.into()), ..Flags::default() };
    check(
        &source,
        &Flags::default(),
        &expect![[r#"
        upstream.model = of-default-file  # tidegate.toml:1
    "#]],
    );
    let source = source.variable("TIDEGATE_CONFIG", "a.toml");
    check(
        &source,
        &Flags::default(),
        &expect![[r#"
        upstream.model = a  # a.toml:1
    "#]],
    );
    check(
        &source,
        &named("b.toml"),
        &expect![[r#"
        upstream.model = b  # b.toml:1
    "#]],
    );
    check(
        &source,
        &named("c.toml"),
        &expect![[r#"
        the configuration has 1 fault:
          c.toml: cannot be read: permission denied
    "#]],
    );
    check(
        &source,
        &named("d.toml"),
        &expect![[r#"
        the configuration has 1 fault:
          d.toml: cannot be read: no such file or directory
    "#]],
    );
    check(
        &source.variable("TIDEGATE_CONFIG", ""),
        &Flags::default(),
        &expect![[r#"
        the configuration has 1 fault:
          TIDEGATE_CONFIG: is empty
    "#]],
    );
    check(
        &Map::default().broken_file("tidegate.toml", ErrorKind::PermissionDenied),
        &Flags::default(),
        &expect![[r#"
            the configuration has 1 fault:
              tidegate.toml: cannot be read: permission denied
        "#]],
    );
    check(
        &toml(&"#".repeat(1024 * 1024 + 1)),
        &Flags::default(),
        &expect![[r#"
        the configuration has 1 fault:
          tidegate.toml: cannot be read: file too large
    "#]],
    );
    check(
        &Map::default().file("tidegate.toml", [0xff, 0xfe]),
        &Flags::default(),
        &expect![[r#"
        the configuration has 1 fault:
          tidegate.toml: is not UTF-8
    "#]],
    );
}

#[test]
fn the_file_accepts_toml_types() {
    let source = toml(
        r#"
        [server]
        workers = 0x10
        origins = ["https://a.example", "https://b.example"]
        trusted_proxies = "10.0.0.0/8, 192.168.0.1"
        [connection]
        message_bytes_max = 1_000
        frame_bytes_max = "2KiB"
        [upstream]
        incremental = false
        idle_timeout = "5m"
        "#,
    );
    check(
        &source,
        &Flags::default(),
        &expect![[r#"
        server.workers = 16  # tidegate.toml:3
        server.trusted_proxies = 10.0.0.0/8, 192.168.0.1/32  # tidegate.toml:5
        server.origins = https://a.example, https://b.example  # tidegate.toml:4
        connection.message_bytes_max = 1000  # tidegate.toml:7
        connection.frame_bytes_max = 2KiB  # tidegate.toml:8
        upstream.incremental = false  # tidegate.toml:10
        upstream.idle_timeout = 300s  # tidegate.toml:11
    "#]],
    );
}

#[test]
fn unknown_names_suggest_the_nearest_known_one() {
    let source = toml(
        r#"
        zzzzzz = 1
        server = 5
        [servr]
        listen = "127.0.0.1:1"
        [connection]
        pings_interval = "1s"
        [connection.idle_timeout]
        seconds = 3
        "#,
    )
    .variable("TIDEGATE_SERVER_LISTEN", "x")
    .variable("TIDEGATE_MODLE", "x")
    .variable("TIDEGATE_API_KEY", "x")
    .variable("tidegate_listen", "not ours")
    .variable("TIDEGATE_QQQQQQQQQ", "x");
    check(
        &source,
        &set(&["listen=127.0.0.1:1", "retry.attemps=1", "nothing"]),
        &expect![[r#"
            the configuration has 12 faults:
              zzzzzz (tidegate.toml:2): unknown key
              server (tidegate.toml:3): is a group of keys, not a key
              servr (tidegate.toml:4): unknown key; did you mean server?
              connection.pings_interval (tidegate.toml:7): unknown key; did you mean connection.ping_interval?
              connection.idle_timeout (tidegate.toml:8): wrong type: table; allowed: a duration from 1s to 1h
              TIDEGATE_API_KEY: unknown variable; did you mean API_KEY?
              TIDEGATE_MODLE: unknown variable; did you mean TIDEGATE_MODEL?
              TIDEGATE_QQQQQQQQQ: unknown variable
              TIDEGATE_SERVER_LISTEN: unknown variable; did you mean TIDEGATE_SERVER__LISTEN?
              listen (--set): unknown key; did you mean server.listen?
              retry.attemps (--set): unknown key; did you mean retry.attempts?
              --set: needs KEY=VALUE
        "#]],
    );
}

#[test]
fn faults_of_a_file_have_line_numbers() {
    check(
        &toml("a = \n\n[server\nlisten = 5\n"),
        &Flags::default(),
        &expect![[r#"
        the configuration has 2 faults:
          tidegate.toml:1: not TOML: string values must be quoted, expected literal string
          tidegate.toml:3: not TOML: unclosed table, expected `]`
    "#]],
    );
    check(
        &toml("upstream.model = 'a'\nupstream.model = 'b'\n"),
        &Flags::default(),
        &expect![[r#"
        the configuration has 1 fault:
          tidegate.toml:2: not TOML: duplicate key
    "#]],
    );
}

#[test]
fn service_links_of_kubernetes_are_ignored() {
    let source = variables(&[
        ("TIDEGATE_SERVICE_HOST", "10.0.0.7"),
        ("TIDEGATE_SERVICE_PORT", "8000"),
        ("TIDEGATE_SERVICE_PORT_HTTP", "8000"),
        ("TIDEGATE_PORT", "tcp://10.0.0.7:8000"),
        ("TIDEGATE_PORT_8000_TCP", "tcp://10.0.0.7:8000"),
        ("TIDEGATE_PORT_8000_TCP_ADDR", "10.0.0.7"),
        ("TIDEGATE_WEB_PORT_80_TCP_PROTO", "tcp"),
    ]);
    check(&source, &Flags::default(), &expect![[""]]);
    check(
        &variables(&[("TIDEGATE_PORT", "8000")]),
        &Flags::default(),
        &expect![[r#"
            the configuration has 1 fault:
              TIDEGATE_PORT: unknown variable
        "#]],
    );
}

#[cfg(unix)]
#[test]
fn the_process_reads_files_up_to_a_limit() {
    use std::path::Path;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    std::fs::write(&path, "12345").unwrap();
    assert_eq!(Process.read(&path, 5).unwrap(), b"12345");
    assert_eq!(Process.read(&path, 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
    assert_eq!(Process.read(Path::new("/dev/zero"), 10).unwrap_err().kind(), ErrorKind::FileTooLarge);
    assert!(!Process.variables().is_empty());
}
