//! Old names of keys: accepted with a warning, never beside the new one, and all of them documented.
use super::{super::renamed::RENAMED, *};
use expect_test::expect;
use std::{fs, path::Path};

#[test]
fn old_names_are_accepted_everywhere_with_a_warning() {
    let source = toml("[limits]\nping = '9s'\nsilence = '20s'\n[server]\ndrain = '5s'\n")
        .variable("TIDEGATE_LIMITS__PING", "8s")
        .variable("TIDEGATE_SERVER__MAX_SOCKETS", "7");
    check(
        &source,
        &set(&["session.linger=3s", "upstream.stall=2s"]),
        &expect![[r#"
            server.drain_timeout = 5s  # tidegate.toml:5
            connection.count_max = 7  # TIDEGATE_SERVER__MAX_SOCKETS
            connection.idle_timeout = 20s  # tidegate.toml:3
            connection.ping_interval = 8s  # TIDEGATE_LIMITS__PING
            session.detached_timeout = 3s  # --set
            upstream.idle_timeout = 2s  # --set
            warning: server.drain (tidegate.toml:5) is now server.drain_timeout; the next release will not accept the old name
            warning: server.max_sockets (TIDEGATE_SERVER__MAX_SOCKETS) is now connection.count_max; the next release will not accept the old name
            warning: limits.silence (tidegate.toml:3) is now connection.idle_timeout; the next release will not accept the old name
            warning: limits.ping (tidegate.toml:2, TIDEGATE_LIMITS__PING) is now connection.ping_interval; the next release will not accept the old name
            warning: session.linger (--set) is now session.detached_timeout; the next release will not accept the old name
            warning: upstream.stall (--set) is now upstream.idle_timeout; the next release will not accept the old name
        "#]],
    );
}

#[test]
fn a_key_under_both_of_its_names_is_refused() {
    let source = toml("limits.ping = '9s'\nconnection.idle_timeout = '20s'\n")
        .variable("TIDEGATE_LIMITS__SILENCE", "19s");
    check(
        &source,
        &set(&["connection.ping_interval=8s", "limits.ping=x"]),
        &expect![[r#"
            the configuration has 4 faults:
              limits.ping (tidegate.toml:1): is the old name of connection.ping_interval, which is set as well (--set)
              limits.silence (TIDEGATE_LIMITS__SILENCE): is the old name of connection.idle_timeout, which is set as well (tidegate.toml:2)
              limits.ping (--set): is the old name of connection.ping_interval, which is set as well (--set)
              connection.ping_interval = "x" (--set): not a duration; allowed: a duration from 100ms to 1h
        "#]],
    );
}

#[test]
fn old_names_lead_to_keys_and_are_none_themselves() {
    for (index, (old, new)) in RENAMED.iter().enumerate() {
        let key = find(new).unwrap_or_else(|| panic!("{new} is no key"));
        assert!(find(old).is_none(), "{old} is a key");
        assert!(!matches!(key.kind, ValueKind::Secret), "{new}: no file is read for an old name");
        assert!(RENAMED[index + 1..].iter().all(|(other, key)| other != old && key != new), "{old} twice");
        assert!(!key.default.is_empty(), "{new}");
        let given = format!("{old}={}", key.default);
        let config = load(&set(&[&given]), &Map::default()).unwrap();
        assert!(config.origins.contains_key(*new), "{old}");
    }
}

#[test]
fn the_changelog_has_the_table_of_old_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/CHANGELOG.md")).unwrap();
    let (start, end) = ("<!-- renamed keys -->\n", "<!-- /renamed keys -->");
    let (before, rest) = document.split_once(start).expect("the start mark is there");
    let (table, after) = rest.split_once(end).expect("the end mark is there");
    if table != renamed_table() {
        fs::create_dir_all(root.join("target")).unwrap();
        let blessed = format!("{before}{start}{}{end}{after}", renamed_table());
        fs::write(root.join("target/CHANGELOG.blessed.md"), blessed).unwrap();
        panic!(
            "docs/CHANGELOG.md has an old table; to renew it: cp target/CHANGELOG.blessed.md docs/CHANGELOG.md"
        );
    }
}
