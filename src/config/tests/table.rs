//! The table itself, and what is derived from it.
use super::*;
use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn every_default_reads_and_shows_as_it_is_written() {
    let config = Config::default();
    for key in keys() {
        let shown = (key.show)(&config, None);
        match key.kind {
            ValueKind::Secret => assert_eq!(shown, "(not set)"),
            _ => assert_eq!(shown, key.default, "{}", key.name),
        }
        let mut copy = Config::default();
        assert_eq!((key.set)(&mut copy, None, key.default), Ok(()), "{}", key.name);
    }
}

#[test]
fn names_and_variables_are_unique() {
    let names: BTreeSet<_> = keys().map(|key| key.name).collect();
    let variables: BTreeSet<_> = keys().flat_map(Key::variables).collect();
    assert_eq!(names.len(), keys().count());
    // Five short names; each belongs to a key, or it would be missing here.
    assert_eq!(variables.len(), keys().count() + 5);
}

#[test]
fn defaults_contradict_nothing_and_warn_of_nothing() {
    let config = load(&Flags::default(), &Map::default()).unwrap();
    assert_eq!(config.warnings(), Vec::<String>::new());
    assert!(config.origins.is_empty());
}

#[test]
fn help_fits_into_a_table_cell() {
    for key in keys() {
        assert!(!key.help.is_empty() && !key.help.contains(['|', '\n']), "{}", key.name);
        assert!(!key.help.ends_with('.'), "{}", key.name);
    }
}

#[test]
fn the_documents_have_the_table_of_keys() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/CONFIG.md")).unwrap();
    let (start, end) = ("<!-- config keys -->\n", "<!-- /config keys -->");
    let (before, rest) = document.split_once(start).expect("the start mark is there");
    let (table, after) = rest.split_once(end).expect("the end mark is there");
    if table != markdown_table() {
        fs::create_dir_all(root.join("target")).unwrap();
        let blessed = format!("{before}{start}{}{end}{after}", markdown_table());
        fs::write(root.join("target/CONFIG.blessed.md"), blessed).unwrap();
        panic!("docs/CONFIG.md has an old table; to renew it: cp target/CONFIG.blessed.md docs/CONFIG.md");
    }
}

/// The lines that are keys lose their sign of a comment.
fn uncommented(example: &str) -> String {
    let is_key =
        |line: &&str| line.strip_prefix('#').is_some_and(|rest| rest.starts_with(char::is_alphabetic));
    let line = |line: &str| format!("{}\n", if is_key(&line) { &line[1..] } else { line });
    example.lines().map(line).collect()
}

#[test]
fn the_example_is_the_default_configuration() {
    let commented = load(&Flags::default(), &toml(&example())).unwrap();
    assert!(commented.origins.is_empty(), "nothing is set as it stands");
    let config = load(&Flags::default(), &toml(&uncommented(&example()))).unwrap();
    // A key's default is none, which cannot be written.
    let shared = keys().filter(|key| key.has_unnamed()).count();
    assert_eq!(config.origins.len(), shared - 1, "every key can be set by taking its sign away");
    let values = |config: &Config| keys().map(|key| (key.name, (key.show)(config, None))).collect::<Vec<_>>();
    assert_eq!(values(&config), values(&Config::default()));
    assert!(example().lines().all(|line| line.chars().count() <= 100), "{}", example());
}

#[test]
fn the_example_below_docs_is_this_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kept = fs::read_to_string(root.join("docs/tidegate.example.toml")).unwrap_or_default();
    if kept != example() {
        panic!(
            "docs/tidegate.example.toml is old; to renew it: \
             cargo run -- check --example >docs/tidegate.example.toml"
        );
    }
    assert!(!root.join("tidegate.toml").exists(), "every run in the repository would read it");
}

#[test]
fn a_listener_for_everybody_is_warned_of() {
    for (listen, is_open) in [
        ("127.0.0.1:8000", false),
        ("127.8.8.8:8000", false),
        ("[::1]:8000", false),
        ("[::ffff:127.0.0.1]:8000", false),
        ("0.0.0.0:8000", true),
        ("[::]:8000", true),
        ("192.168.0.5:8000", true),
    ] {
        let config = load(&set(&[&format!("server.listen={listen}")]), &Map::default()).unwrap();
        let warning = config.open_to_strangers();
        assert_eq!(warning.is_some(), is_open, "{listen}");
        let says = "anyone who reaches this address spends your quota";
        assert!(warning.is_none_or(|warning| warning.contains(listen) && warning.ends_with(says)));
    }
}

#[test]
fn the_effective_configuration_is_one_line_a_key() {
    let flags =
        set(&["session.system_prompt=Be kind.\nserver.listen = 0.0.0.0:1  # forged", "log.format=json"]);
    let config = load(&flags, &variables(&[("API_KEY", "sk-CANARY")])).unwrap();
    let text = effective(&config);
    assert_eq!(text.lines().count(), keys().filter(|key| key.has_unnamed()).count());
    expect_test::expect![[r#"
        server.listen = 127.0.0.1:8000  # default
        server.ops_listen = ""  # default
        session.system_prompt = Be kind.\nserver.listen = 0.0.0.0:1  # forged  # --set
        session.client_system_prompt = false  # default
        session.count_max = 20000  # default
        session.count_per_principal_max = 100  # default
        session.subscribers_max = 8  # default
        session.queued_messages_max = 8  # default
        session.transcript_bytes_max = 1MiB  # default
        session.lag_bytes_max = 32KiB  # default
        session.detached_timeout = 60s  # default
        session.idle_timeout = 30m  # default
        session.replay_time = 120s  # default
        upstream.api_key = (set)  # API_KEY
        upstream.api_key_env = ""  # default
        upstream.api_version = ""  # default
        log.format = json  # --set
    "#]]
    .assert_eq(
        &text
            .lines()
            .filter(|line| {
                ["server.l", "server.op", "session", "upstream.api", "log"]
                    .iter()
                    .any(|start| line.starts_with(start))
            })
            .map(|line| format!("{line}\n"))
            .collect::<String>(),
    );
}
