//! The configuration from any file, environment and flags: it never panics, every fault says where it is, a
//! secret is never repeated, and what is in effect can be read back.
use super::Choices;
use tidegate::config::{self, Config, ConfigError, Flags, Map, Origin};

/// Stands in every key, and in nothing else.
const CANARY: &str = "CANARY7c9e";

pub(crate) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let (with_flags, key) = (choices.one_in(2), choices.byte());
    // Reading back takes ten times as long as all the rest.
    let (with_key, reads_back) = (key % 4, key < 32);
    let text = choices.rest();
    let mut parts = text.splitn(3, |byte| *byte == 0xff);
    let file = parts.next().unwrap_or_default();
    let [variables, settings] =
        [(); 2].map(|()| String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned());
    let mut source = Map::default().file("tidegate.toml", file).file("key", format!("sk-{CANARY}\n"));
    for line in variables.lines() {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        source = source.variable(name, value);
    }
    source = match with_key {
        1 => source.variable("API_KEY", &format!("sk-{CANARY}")),
        2 => source.variable("API_KEY", &format!("\"{CANARY}\n{CANARY}")),
        3 => source.variable("DASHSCOPE_API_KEY_FILE", "key"),
        _ => source,
    };
    let set = if with_flags { settings.lines().map(str::to_owned).collect() } else { Vec::new() };
    let flags = Flags { set, ..Flags::default() };
    let knows_canary = text.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
    match config::load(&flags, &source) {
        Err(error) => {
            check_faults(&error);
            assert!(knows_canary || !error.to_string().contains(CANARY), "a fault repeats a key:\n{error}");
        }
        Ok(config) => {
            assert!(knows_canary || !format!("{config:?}").contains(CANARY), "a key prints");
            if let Err(error) = config.check_for_serve() {
                check_faults(&error);
            }
            if reads_back {
                let effective = effective(&config);
                assert!(knows_canary || !effective.contains(CANARY), "a key prints");
                check_read_back(&effective);
            }
        }
    }
}

fn check_faults(error: &ConfigError) {
    assert!(!error.faults.is_empty());
    for fault in &error.faults {
        let text = fault.to_string();
        assert!(
            !fault.problem.is_empty() && !text.contains('\n'),
            "one line that says what is wrong: {text:?}"
        );
        let is_named = match &fault.origin {
            Origin::Default => !fault.key.is_empty(),
            Origin::File { path, .. } => {
                text.contains(&path.display().to_string().escape_debug().to_string()) || !fault.key.is_empty()
            }
            // `--set` without a name has nothing else to be named by.
            Origin::Variable(name) | Origin::Flag(name) => !name.is_empty(),
        };
        assert!(is_named, "a fault of nothing: {text:?}");
        assert!(!fault.key.is_empty() || fault.allowed.is_none(), "{text:?}");
    }
}

fn effective(config: &Config) -> String {
    let mut out = Vec::new();
    config.print_effective(&mut out).expect("a vector takes all");
    let text = String::from_utf8(out).expect("what is shown is text");
    let lines = text.lines().count();
    // The keys of a model are shown for each model.
    let alone = config::keys().filter(|key| !key.name.starts_with("model.")).count();
    let right =
        if config.upstreams.is_empty() && config.models.is_empty() { lines == alone } else { lines > alone };
    assert!(right, "one line for each value:\n{text}");
    text
}

/// Setting every key to what is shown gives the same again.
fn check_read_back(effective: &str) {
    let values = |text: &str| -> Vec<(String, String)> {
        let lines = text.lines().filter_map(|line| line.rsplit_once("  # ")?.0.split_once(" = "));
        lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    let shown = values(effective);
    assert_eq!(shown.len(), effective.lines().count());
    let mut flags = Flags::default();
    for (key, value) in &shown {
        // Escapes are for people, and a key is not shown.
        if !value.contains('\\') && !key.ends_with(".api_key") {
            let value = if value == "\"\"" { "" } else { value.as_str() };
            flags.set.push(format!("{key}={value}"));
        }
    }
    // Risks that were agreed to are among them.
    let again = match config::load(&flags, &Map::default()) {
        Ok(config) => values(&self::effective(&config)),
        Err(error) => panic!("what is shown is refused: {error}\n{effective}"),
    };
    for ((key, first), (_, second)) in shown.iter().zip(&again) {
        assert!(
            first == second || first.contains('\\') || key.ends_with(".api_key"),
            "{key}: {first} and {second}"
        );
    }
}
