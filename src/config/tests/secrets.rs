//! The upstream's key: where it may come from, and that it is never shown.
use super::*;
use expect_test::expect;
use secrecy::ExposeSecret;
use std::io::ErrorKind;

const CANARY: &str = "sk-CANARY";

fn key(source: &Map) -> Option<String> {
    let config = load(&Flags::default(), source).unwrap();
    config.upstream.api_key.map(|key| key.expose_secret().to_owned())
}

// faults: H109
#[test]
fn the_key_comes_from_the_strongest_variable() {
    let mut source = toml("upstream.api_key = 'of-the-toml-file'");
    assert_eq!(key(&Map::default()), None);
    assert_eq!(key(&source).as_deref(), Some("of-the-toml-file"));
    for name in ["API_KEY", "DASHSCOPE_API_KEY", "TIDEGATE_UPSTREAM__API_KEY"] {
        source = source.variable(name, name);
        assert_eq!(key(&source).as_deref(), Some(name));
    }
}

// faults: H109
#[test]
fn files_hold_keys_and_may_end_with_a_line_break() {
    for name in ["API_KEY_FILE", "DASHSCOPE_API_KEY_FILE", "TIDEGATE_UPSTREAM__API_KEY_FILE"] {
        for content in [CANARY.to_owned(), format!("{CANARY}\n"), format!("{CANARY}\r\n")] {
            let source = variables(&[(name, "/run/key")]).file("/run/key", content);
            assert_eq!(key(&source).as_deref(), Some(CANARY));
        }
    }
    assert_eq!(key(&variables(&[("API_KEY", "sk-CANARY\n")])).as_deref(), Some(CANARY));
    // A weaker variable is not even looked at.
    let source = variables(&[("TIDEGATE_UPSTREAM__API_KEY", CANARY), ("API_KEY", "for another program")]);
    assert_eq!(key(&source).as_deref(), Some(CANARY));
}

// faults: H109
#[test]
fn bad_keys_name_the_variable_and_never_the_value() {
    let file = |content: &str| variables(&[("API_KEY_FILE", "/run/CANARY")]).file("/run/CANARY", content);
    let sources = [
        variables(&[("API_KEY", "")]),
        variables(&[("API_KEY", "  ")]),
        variables(&[("DASHSCOPE_API_KEY", "sk-CANARY ")]),
        variables(&[("TIDEGATE_UPSTREAM__API_KEY", "\"sk-CANARY\"")]),
        variables(&[("API_KEY", "'sk-CANARY'")]),
        variables(&[("API_KEY", "Bearer sk-CANARY")]),
        variables(&[("API_KEY", "sk-CANARY\u{e9}")]),
        variables(&[("API_KEY", &CANARY.repeat(500))]),
        variables(&[("API_KEY", CANARY), ("API_KEY_FILE", "/run/CANARY")]),
        variables(&[("API_KEY_FILE", "")]),
        variables(&[("API_KEY_FILE", CANARY)]),
        file(""),
        file("\n"),
        file("sk-CANARY\nsk-CANARY\n"),
        file("API_KEY=\"sk-CANARY\""),
        Map::default().variable("API_KEY_FILE", "/run/CANARY").file("/run/CANARY", [b'C', 0xff]),
        Map::default()
            .variable("API_KEY_FILE", "/run/CANARY")
            .broken_file("/run/CANARY", ErrorKind::PermissionDenied),
        Map::default().variable("API_KEY_FILE", "/run/CANARY").file("/run/CANARY", "C".repeat(100_000)),
        toml("upstream.api_key = ' sk-CANARY'"),
        toml("upstream.api_key = 123"),
    ];
    let mut out = String::new();
    for source in sources {
        let error = load(&Flags::default(), &source).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
        out += &error.faults.iter().map(|fault| format!("{fault}\n")).collect::<String>();
    }
    expect![[r#"
        upstream.api_key (API_KEY): is empty; allowed: visible ASCII characters without blanks and quotes; several keys with commas between them
        upstream.api_key (API_KEY): is empty; allowed: visible ASCII characters without blanks and quotes; several keys with commas between them
        upstream.api_key (DASHSCOPE_API_KEY): has a blank in it; allowed: visible ASCII characters without blanks and quotes; several keys with commas between them
        upstream.api_key (TIDEGATE_UPSTREAM__API_KEY): has quotes in it; give the key without them; allowed: visible ASCII characters without blanks and quotes; several keys with commas between them
        upstream.api_key (API_KEY): has quotes in it; give the key without them; allowed: visible ASCII characters without blanks and quotes; several keys with commas between them
        upstream.api_key (API_KEY): has a blank in it; allowed: visible ASCII characters without blanks and quotes; several keys with commas between them
        upstream.api_key (API_KEY): has a character that no key has; allowed: visible ASCII characters without blanks and quotes; several keys with commas between them
        upstream.api_key (API_KEY): too long for a key; allowed: visible ASCII characters without blanks and quotes; several keys with commas between them
        upstream.api_key (API_KEY): contradicts API_KEY_FILE; set one of the two
        upstream.api_key (API_KEY_FILE): is empty
        upstream.api_key (API_KEY_FILE): its file cannot be read: no such file or directory
        upstream.api_key (API_KEY_FILE): its file is empty
        upstream.api_key (API_KEY_FILE): is empty; allowed: visible ASCII characters without blanks and quotes; several keys with commas between them
        upstream.api_key (API_KEY_FILE): k2 is the same as k1; allowed: visible ASCII characters without blanks and quotes; several keys with commas between them
        upstream.api_key (API_KEY_FILE): has quotes in it; give the key without them; allowed: visible ASCII characters without blanks and quotes; several keys with commas between them
        upstream.api_key (API_KEY_FILE): its file is not UTF-8
        upstream.api_key (API_KEY_FILE): its file cannot be read: permission denied
        upstream.api_key (API_KEY_FILE): its file cannot be read: file too large
        upstream.api_key (tidegate.toml:1): has a blank in it; allowed: visible ASCII characters without blanks and quotes; several keys with commas between them
        upstream.api_key (tidegate.toml:1): wrong type: integer; allowed: visible ASCII characters without blanks and quotes; several keys with commas between them
    "#]].assert_eq(&out);
}

// faults: H109
#[test]
fn serving_needs_a_key_where_the_upstream_does() {
    let serve = |settings: &[&str], source: &Map| {
        load(&set(settings), source).unwrap().check_for_serve().map_err(|error| error.to_string())
    };
    expect![[r#"
        the configuration has 1 fault:
          upstream.api_key: no key for dashscope.aliyuncs.com; set API_KEY, or API_KEY_FILE to the name of a file that holds it. `tidegate demo` runs without a key"#]].assert_eq(&serve(&[], &Map::default()).unwrap_err());
    for url in ["https://dashscope-intl.aliyuncs.com/api/v1", "https://ALIYUNCS.com./v1"] {
        assert!(serve(&[&format!("upstream.base_url={url}")], &Map::default()).is_err(), "{url}");
    }
    for url in ["http://127.0.0.1:11434/v1", "https://myaliyuncs.com", "https://aliyuncs.com.example"] {
        assert_eq!(serve(&[&format!("upstream.base_url={url}")], &Map::default()), Ok(()), "{url}");
    }
    assert_eq!(serve(&[], &variables(&[("API_KEY", CANARY)])), Ok(()));
}

#[test]
fn who_only_asks_for_health_needs_no_key() {
    let bad =
        variables(&[("API_KEY", "sk-'"), ("DASHSCOPE_API_KEY_FILE", "/nowhere"), ("API_KEY_FILE", "x")])
            .file("tidegate.toml", "[upstream]\napi_key = 7\n[server]\nlisten = '127.0.0.1:9'\n");
    assert!(load(&Flags::default(), &bad).is_err());
    let config = load_for(Purpose::Health, &Flags::default(), &bad).unwrap();
    assert!(config.upstream.api_key.is_none());
    assert_eq!(config.server.listen.port(), 9);
    // Everything else is checked as ever.
    let unknown = bad.variable("TIDEGATE_SERVER__LISTN", "127.0.0.1:10");
    assert!(load_for(Purpose::Health, &Flags::default(), &unknown).is_err());
}

#[test]
fn a_key_that_everybody_can_read_is_warned_of_where_it_is_used() {
    let by_file =
        |path: &str| Map::default().variable("API_KEY_FILE", path).file(path, "sk-x").readable_by_all();
    let both = by_file("/etc/key").file("tidegate.toml", "upstream.api_key = 'sk-y'");
    let exposed = |source: &Map| {
        let config = load(&Flags::default(), source).unwrap();
        let places: Vec<_> = config.exposed.iter().map(ToString::to_string).collect();
        assert_eq!(config.warnings().len(), places.len(), "{:?}", config.warnings());
        places
    };
    // Of two places only the stronger is in use.
    assert_eq!(exposed(&both), ["API_KEY_FILE"]);
    assert_eq!(exposed(&toml("upstream.api_key = 'sk-y'").readable_by_all()), ["tidegate.toml:1"]);
    assert_eq!(exposed(&toml("upstream.model = 'a'").readable_by_all()), [""; 0]);
    assert_eq!(exposed(&toml("upstream.api_key = 'sk-y'")), [""; 0]);
    // Containers and systemd keep these for one program.
    assert_eq!(exposed(&by_file("/run/secrets/key")), [""; 0]);
    assert_eq!(exposed(&by_file("/run/secretsx/key")), ["API_KEY_FILE"]);
    let systemd = by_file("/run/credentials/tidegate/key");
    assert_eq!(exposed(&systemd), ["API_KEY_FILE"]);
    let systemd = systemd.variable("CREDENTIALS_DIRECTORY", "/run/credentials/tidegate");
    assert_eq!(exposed(&systemd), [""; 0]);
    assert_eq!(exposed(&by_file("/etc/key").variable("CREDENTIALS_DIRECTORY", "")), ["API_KEY_FILE"]);
}

// faults: I119
#[test]
fn a_key_is_found_nowhere() {
    let config = load(&Flags::default(), &variables(&[("API_KEY", CANARY)])).unwrap();
    assert!(!format!("{config:?} {config:#?} {}", effective(&config)).contains("CANARY"));
    // Keys at wrong places: unknown names, broken TOML, the command line.
    let sources = [
        variables(&[("TIDEGATE_API_KEY", CANARY)]),
        variables(&[("TIDEGATE_KEY_FILE", CANARY)]),
        toml("upstream.apikey = 'sk-CANARY'"),
        toml("upstream.api_key = sk-CANARY"),
        toml("upstream.api_key = 'sk-CANARY"),
        toml("upstream.api_key = \"sk-CANARY\\q\""),
        toml("upstream.api_key = 'sk-'CANARY'"),
        toml("upstream.api_key 'sk-CANARY'"),
        toml("upstream.api_key = ['sk-CANARY']"),
        toml("upstream.api_key.value = 'sk-CANARY'"),
    ];
    for source in sources {
        let text = outcome(&source, &Flags::default());
        assert!(text.starts_with("the configuration has") && !text.contains("CANARY"), "{text}");
    }
    for setting in ["upstream.api_key=sk-CANARY", "sk-CANARY", "API_KEY=sk-CANARY", "upstream.key=sk-CANARY"]
    {
        let text = outcome(&Map::default(), &set(&[setting]));
        assert!(text.starts_with("the configuration has") && !text.contains("CANARY"), "{text}");
    }
}

#[test]
fn several_keys_are_one_in_a_line_or_between_commas() {
    let keys = |source: &Map| {
        let config = load(&Flags::default(), source).unwrap();
        let keys = config.upstream.api_keys().iter().map(|key| key.expose_secret().to_owned()).collect();
        (keys, (keys_shown(&config)))
    };
    let file =
        |content: &str| variables(&[("API_KEY_FILE", "/run/secrets/key")]).file("/run/secrets/key", content);
    let three = vec!["sk-1".to_owned(), "sk-2".to_owned(), "sk-3".to_owned()];
    for source in [
        file("sk-1\nsk-2\r\n sk-3\n"),
        variables(&[("API_KEY", "sk-1,sk-2, sk-3")]),
        toml("upstream.api_key = 'sk-1,sk-2,sk-3'"),
    ] {
        assert_eq!(keys(&source), (three.clone(), "(3 set)".to_owned()));
    }
    assert_eq!(keys(&file("sk-1\n")), (vec!["sk-1".to_owned()], "(set)".to_owned()));
    let many = (0..33).map(|n| format!("sk-{n}")).collect::<Vec<_>>().join("\n");
    assert_eq!(keys(&file(&many[..many.len() - 6])).0.len(), 32);
    let mut out = String::new();
    for content in ["sk-CANARY\nsk-1\nsk-CANARY", "sk-CANARY,,sk-1", "sk-CANARY,'sk-1'", &many] {
        let text = outcome(&file(content), &Flags::default());
        assert!(!text.contains("CANARY"), "{text}");
        out += text.split_once('\n').unwrap().1.trim_start();
    }
    expect![[r#"
        upstream.api_key (API_KEY_FILE): k3 is the same as k1; allowed: visible ASCII characters without blanks and quotes; several keys with commas between them
        upstream.api_key (API_KEY_FILE): k2 is empty; allowed: visible ASCII characters without blanks and quotes; several keys with commas between them
        upstream.api_key (API_KEY_FILE): k2 has quotes in it; give the key without them; allowed: visible ASCII characters without blanks and quotes; several keys with commas between them
        upstream.api_key (API_KEY_FILE): more than 32 keys; allowed: visible ASCII characters without blanks and quotes; several keys with commas between them
    "#]].assert_eq(&out);
}

fn keys_shown(config: &Config) -> String {
    let text = effective(config);
    let line = text.lines().find_map(|line| line.strip_prefix("upstream.api_key = ")).unwrap();
    line.split("  # ").next().unwrap().to_owned()
}

#[test]
fn a_variable_of_the_operators_choice_holds_a_key() {
    let file = "[upstream.cn]\nservice = 'dashscope'\napi_key_env = 'API_KEY'\n[upstream.intl]\nservice = 'dashscope'\napi_key_env = 'TIDEGATE_INTL'\n\
                [model.m]\nupstreams = ['cn intl']\n";
    let source = toml(file)
        .variable("API_KEY", "sk-1,sk-2")
        .variable("TIDEGATE_INTL_FILE", "/run/secrets/intl")
        .file("/run/secrets/intl", "sk-3\n");
    check(
        &source,
        &Flags::default(),
        &expect![[r#"
            upstream.cn.service = dashscope  # tidegate.toml:2
            upstream.cn.api_key = (2 set)  # API_KEY
            upstream.cn.api_key_env = API_KEY  # tidegate.toml:3
            upstream.intl.service = dashscope  # tidegate.toml:5
            upstream.intl.api_key = (set)  # TIDEGATE_INTL_FILE
            upstream.intl.api_key_env = TIDEGATE_INTL  # tidegate.toml:6
            model.m.upstreams = cn intl  # tidegate.toml:8
        "#]],
    );
    let config = load(&Flags::default(), &source).unwrap();
    let keys = |name: &str| {
        config.upstreams[name].api_keys().iter().map(|key| key.expose_secret().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (keys("cn"), keys("intl")),
        (vec!["sk-1".to_owned(), "sk-2".to_owned()], vec!["sk-3".to_owned()])
    );
    assert!(config.upstream.api_key.is_none());
    let exposed =
        source.readable_by_all().file("/etc/intl", "sk-3").variable("TIDEGATE_INTL_FILE", "/etc/intl");
    let config = load(&Flags::default(), &exposed).unwrap();
    assert_eq!(config.exposed.iter().map(ToString::to_string).collect::<Vec<_>>(), ["TIDEGATE_INTL_FILE"]);
    let mut out = String::new();
    for source in [
        toml(file).variable("TIDEGATE_INTL", "sk-CANARY"),
        toml(file)
            .variable("API_KEY", "'sk-CANARY'")
            .variable("TIDEGATE_INTL", "x")
            .variable("TIDEGATE_INTL_FILE", "/x"),
        toml(file).variable("API_KEY_FILE", "/nowhere").variable("TIDEGATE_INTL", "x"),
        toml(file)
            .variable("API_KEY", "x")
            .variable("TIDEGATE_INTL", "y")
            .variable("TIDEGATE_UPSTREAM__CN__API_KEY", "sk-CANARY"),
        toml("[upstream]\napi_key_env = 'sk-CANARY'\n"),
    ] {
        let text = outcome(&source, &Flags::default());
        assert!(!text.contains("CANARY"), "{text}");
        out += &text;
    }
    expect![[r#"
        the configuration has 1 fault:
          upstream.cn.api_key_env (tidegate.toml:3): there is no variable API_KEY, and no API_KEY_FILE with the name of a file
        the configuration has 2 faults:
          upstream.intl.api_key_env (tidegate.toml:6): TIDEGATE_INTL contradicts TIDEGATE_INTL_FILE; set one of the two
          upstream.cn.api_key (API_KEY): has quotes in it; give the key without them; allowed: visible ASCII characters without blanks and quotes; several keys with commas between them
        the configuration has 1 fault:
          upstream.cn.api_key (API_KEY_FILE): its file cannot be read: no such file or directory
        the configuration has 1 fault:
          upstream.cn.api_key_env (tidegate.toml:3): contradicts upstream.cn.api_key (TIDEGATE_UPSTREAM__CN__API_KEY); set one of the two
        the configuration has 1 fault:
          upstream.api_key_env (tidegate.toml:2): not the name of a variable: letters, digits and underscores; allowed: the name of an environment variable, or empty
    "#]].assert_eq(&out);
    // Who only asks for health needs no key, and a demo has none.
    for purpose in [Purpose::Health, Purpose::Demo] {
        assert!(load_for(purpose, &Flags::default(), &toml(file)).is_ok());
    }
}

#[test]
fn a_proxy_of_the_environment_is_a_fault_only_where_it_is_used() {
    let bad = Map::default().variable("HTTPS_PROXY", "socks5://user:CANARY@proxy:1");
    check(
        &bad,
        &Flags::default(),
        &expect![[r#"
        the configuration has 1 fault:
          HTTPS_PROXY: the scheme of a proxy is http: it is asked for a tunnel; upstream.proxy = "none" does without
    "#]],
    );
    for setting in
        ["upstream.proxy=none", "upstream.proxy=http://p:1", "upstream.base_url=http://127.0.0.1:1"]
    {
        assert!(load(&set(&[setting]), &bad).is_ok(), "{setting}");
    }
    let secret = toml("upstream.proxy = 'http://user:CANARY@proxy:1'");
    let config = load(&Flags::default(), &secret).unwrap();
    assert!(effective(&config).contains("upstream.proxy = http://(set)@proxy:1  # tidegate.toml:1\n"));
    assert!(!format!("{config:?}").contains("CANARY"));
    let text = outcome(&toml("upstream.proxy = 'ftp://user:CANARY@proxy:1'"), &Flags::default());
    assert!(
        text.contains("upstream.proxy (tidegate.toml:1): the scheme of a proxy is http")
            && !text.contains("CANARY"),
        "{text}"
    );
}
