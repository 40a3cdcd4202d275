//! The table itself, and what is derived from it.
use super::*;
use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn every_default_reads_and_shows_as_it_is_written() {
    let config = Config::default();
    for key in KEYS {
        let shown = (key.show)(&config);
        match key.kind {
            Kind::Secret => assert_eq!(shown, "(not set)"),
            _ => assert_eq!(shown, key.default, "{}", key.name),
        }
        let mut copy = Config::default();
        assert_eq!((key.set)(&mut copy, key.default), Ok(()), "{}", key.name);
    }
}

#[test]
fn names_and_variables_are_unique() {
    let names: BTreeSet<_> = KEYS.iter().map(|key| key.name).collect();
    let variables: BTreeSet<_> = KEYS.iter().flat_map(Key::variables).collect();
    assert_eq!(names.len(), KEYS.len());
    // Five short names; each belongs to a key, or it would be missing here.
    assert_eq!(variables.len(), KEYS.len() + 5);
}

#[test]
fn defaults_contradict_nothing_and_warn_of_nothing() {
    let config = load(&Flags::default(), &Map::default()).unwrap();
    assert_eq!(config.warnings(), Vec::<String>::new());
    assert!(config.origins.is_empty());
}

#[test]
fn help_fits_into_a_table_cell() {
    for key in KEYS {
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

#[test]
fn the_effective_configuration_is_one_line_a_key() {
    let flags =
        set(&["session.system_prompt=Be kind.\nserver.listen = 0.0.0.0:1  # forged", "log.format=json"]);
    let config = load(&flags, &variables(&[("API_KEY", "sk-CANARY")])).unwrap();
    let text = effective(&config);
    assert_eq!(text.lines().count(), KEYS.len());
    expect_test::expect![[r#"
        server.listen = 127.0.0.1:8000  # default
        server.ops_listen = ""  # default
        session.system_prompt = Be kind.\nserver.listen = 0.0.0.0:1  # forged  # --set
        session.client_system_prompt = false  # default
        session.linger = 60s  # default
        session.idle = 30m  # default
        session.retain = 120s  # default
        upstream.api_key = (set)  # API_KEY
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
