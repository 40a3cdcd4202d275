//! Sections with names: where their values come from, what they take from the one without a name, and what is refused.
use super::*;
use expect_test::expect;
use secrecy::ExposeSecret;

// A named section has every key, a layer can set any one of them, and the nearer section wins over the stronger layer.
#[test]
fn a_section_inherits_what_it_does_not_set() {
    let source = toml(
        "[upstream]\nmodel = 'shared'\nidle_timeout = '9s'\n[upstream.qwen]\nservice = 'dashscope'\nmodel = 'own'\n\
         base_url = 'https://a.example/v1'\n",
    )
    .variable("TIDEGATE_UPSTREAM__MODEL", "stronger")
    .variable("TIDEGATE_UPSTREAM__QWEN__CONNECT_TIMEOUT", "2s")
    .variable("TIDEGATE_UPSTREAM__QWEN__API_KEY_FILE", "/run/secrets/key")
    .file("/run/secrets/key", "sk-x\n");
    let flags = set(&["upstream.qwen.run_timeout=20s", "upstream.max_tokens=7"]);
    check(
        &source,
        &flags,
        &expect![[r#"
            upstream.model = stronger  # TIDEGATE_UPSTREAM__MODEL
            upstream.max_tokens = 7  # --set
            upstream.idle_timeout = 9s  # tidegate.toml:3
            upstream.qwen.service = dashscope  # tidegate.toml:5
            upstream.qwen.base_url = https://a.example/v1  # tidegate.toml:7
            upstream.qwen.model = own  # tidegate.toml:6
            upstream.qwen.api_key = (set)  # TIDEGATE_UPSTREAM__QWEN__API_KEY_FILE
            upstream.qwen.max_tokens = 7  # --set
            upstream.qwen.connect_timeout = 2s  # TIDEGATE_UPSTREAM__QWEN__CONNECT_TIMEOUT
            upstream.qwen.idle_timeout = 9s  # tidegate.toml:3
            upstream.qwen.run_timeout = 20s  # --set
        "#]],
    );
    let config = load(&flags, &source).unwrap();
    let upstream = &config.upstreams["qwen"];
    assert_eq!((upstream.model.as_str(), upstream.idle_timeout.as_secs()), ("own", 9));
    assert_eq!(upstream.api_key.as_ref().map(ExposeSecret::expose_secret), Some("sk-x"));
    // Without a name, everything is as it was.
    let config = load(&set(&["upstream.model=m"]), &Map::default()).unwrap();
    assert!(config.upstreams.is_empty() && models(&config) == ["m: default:m"]);
    // A section that says nothing of its own is one as well.
    let config =
        load(&Flags::default(), &toml("[upstream]\nmodel = 'm'\n[upstream.qwen]\nservice = 'dashscope'\n"))
            .unwrap();
    assert!(config.upstreams.len() == 1 && models(&config) == ["m: qwen:m"]);
}

#[test]
fn sections_of_a_kind_are_apart() {
    let source =
        toml("[upstream.b]\nservice = 'dashscope'\nmodel = 'mb'\n[upstream.a]\nservice = 'dashscope'\nmodel = 'ma'\n[upstream]\nidle_timeout = '9s'\n")
            .variable("TIDEGATE_UPSTREAM__B__IDLE_TIMEOUT", "8s");
    let (config, faults) = read(Purpose::Serve, &set(&["upstream.a.max_tokens=3"]), &source);
    assert!(faults.is_empty(), "{faults:?}");
    let places: Vec<_> =
        config.places.iter().map(|((kind, name), at)| format!("{kind}.{name} ({at})")).collect();
    assert_eq!(places, ["upstream.a (tidegate.toml:4)", "upstream.b (tidegate.toml:1)"]);
    let lines = effective(&config);
    let lines: Vec<_> = lines.lines().filter(|line| !line.ends_with("# default")).collect();
    expect![[r#"
        upstream.idle_timeout = 9s  # tidegate.toml:8
        upstream.a.service = dashscope  # tidegate.toml:5
        upstream.a.model = ma  # tidegate.toml:6
        upstream.a.max_tokens = 3  # --set
        upstream.a.idle_timeout = 9s  # tidegate.toml:8
        upstream.b.service = dashscope  # tidegate.toml:2
        upstream.b.model = mb  # tidegate.toml:3
        upstream.b.idle_timeout = 8s  # TIDEGATE_UPSTREAM__B__IDLE_TIMEOUT"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn each_key_of_a_section_with_or_without_a_name_says_where_it_holds() {
    for section in SECTIONS {
        let has_scopes = section.has_unnamed && section.named_max > 0;
        for key in section.keys {
            assert_eq!(key.scope.is_some(), has_scopes, "{}: one of Shared, Real, Own", key.name);
        }
    }
}

#[test]
fn no_section_inherits_what_belongs_to_one_service() {
    let source =
        toml("[upstream]\nbase_url = 'https://a.example'\n[upstream.a]\nservice = 'dashscope'\n[upstream.b]\nservice = 'dashscope'\nmodel = 'm'\n")
            .variable("API_KEY", "sk-CANARY")
            .variable("TIDEGATE_UPSTREAM__C__MODEL", "m");
    check(
        &source,
        &set(&["upstream.a.allow_private=true", "upstream.allow_private=true"]),
        &expect![[r#"
            the configuration has 5 faults:
              upstream.base_url (tidegate.toml:2): belongs to one service, and no section inherits it; set upstream.a.base_url (TIDEGATE_UPSTREAM__A__BASE_URL)
              upstream.b.model (tidegate.toml:5): several upstreams, and no model that names them; write a section [model.NAME] with upstreams = ["a b c"]
              upstream.api_key (API_KEY): belongs to one service, and no section inherits it; set upstream.a.api_key (TIDEGATE_UPSTREAM__A__API_KEY)
              upstream.c.service (TIDEGATE_UPSTREAM__C__MODEL): must be set: which service or engine it is; allowed: `dashscope`, `dashscope_compatible`, `openai`, `azure`, `vllm`, `sglang`, `ollama`, `llamacpp`, `lmstudio`, `deepseek`, `moonshot`, `openrouter`, `other`
              upstream.allow_private (--set): belongs to one service, and no section inherits it; set upstream.a.allow_private (TIDEGATE_UPSTREAM__A__ALLOW_PRIVATE)
        "#]],
    );
}

#[test]
fn faults_name_the_section() {
    let source = toml(
        "[upstream.qwen]\nservice = 'dashscope'\nidle_timeout = '9'\nmodle = 'm'\nbase_url = 'http://10.0.0.1'\nfirst_byte = '9s'\n\
         [upstream.qwen.more]\nx = 1\n",
    )
    .variable("TIDEGATE_UPSTREAM__QWEN__IDLE_TIMOUT", "x")
    .variable("TIDEGATE_UPSTREAM__QWEN__API_KEY", "'sk-CANARY'")
    .variable("TIDEGATE_UPSTREAM__qwen__MODEL", "m");
    check(
        &source,
        &set(&[
            "upstream.qwen.api_key=sk-CANARY",
            "upstream.qwen.max_tokens=x",
            "upstream.qwen=5",
            "upstream.qwen.modell=m",
        ]),
        &expect![[r#"
            the configuration has 13 faults:
              upstream.qwen.idle_timeout = "9" (tidegate.toml:3): unit missing (ms, s, m or h); allowed: a duration from 100ms to 10m
              upstream.qwen.modle (tidegate.toml:4): unknown key; did you mean upstream.qwen.model?
              upstream.qwen.base_url = "http://10.0.0.1/" (tidegate.toml:5): http to another machine sends the key in the clear; use https, or upstream.qwen.allow_insecure = true
              upstream.qwen.base_url = "http://10.0.0.1/" (tidegate.toml:5): a private address; only with upstream.qwen.allow_private = true
              upstream.qwen.first_byte (tidegate.toml:6): unknown key; did you mean upstream.qwen.first_byte_timeout?
              upstream.qwen.more (tidegate.toml:7): unknown key; did you mean upstream.qwen.model?
              upstream.qwen.api_key (TIDEGATE_UPSTREAM__QWEN__API_KEY): has quotes in it; give the key without them; allowed: visible ASCII characters without blanks and quotes; several keys with commas between them
              TIDEGATE_UPSTREAM__QWEN__IDLE_TIMOUT: unknown variable; did you mean TIDEGATE_UPSTREAM__QWEN__IDLE_TIMEOUT?
              TIDEGATE_UPSTREAM__qwen__MODEL: unknown variable; did you mean TIDEGATE_UPSTREAM__QWEN__MODEL?
              upstream.qwen.api_key (--set): a secret does not belong on a command line; use TIDEGATE_UPSTREAM__QWEN__API_KEY_FILE
              upstream.qwen (--set): unknown key; did you mean upstream.model?
              upstream.qwen.modell (--set): unknown key; did you mean upstream.qwen.model?
              upstream.qwen.max_tokens = "x" (--set): not a whole number; allowed: a whole number from 0 to 10000000
        "#]],
    );
    let serve = |source: &Map| load(&Flags::default(), source).unwrap().check_for_serve();
    let error = serve(&toml("[upstream.qwen]\nservice = 'dashscope'\n")).unwrap_err().to_string();
    expect![[r#"
        the configuration has 1 fault:
          upstream.qwen.api_key: no key for dashscope.aliyuncs.com; set TIDEGATE_UPSTREAM__QWEN__API_KEY, or TIDEGATE_UPSTREAM__QWEN__API_KEY_FILE to the name of a file that holds it. `tidegate demo` runs without a key"#]].assert_eq(&error);
    let source =
        toml("[upstream.qwen]\nservice = 'dashscope'\n").variable("TIDEGATE_UPSTREAM__QWEN__API_KEY", "sk-x");
    assert!(serve(&source).is_ok());
}

#[test]
fn names_of_sections() {
    let long = "a".repeat(NAME_BYTES_MAX);
    for name in ["a", "qwen", "qwen_2", "a1_b2_c3", &long] {
        assert_eq!(SectionName::new(name).as_ref().map(SectionName::as_str), Ok(name));
        let both = [format!("upstream.{name}.model=m"), format!("upstream.{name}.service=sglang")];
        let config = load(&set(&both.each_ref().map(String::as_str)), &Map::default()).unwrap();
        assert!(config.upstreams.contains_key(name));
        let variable = format!("TIDEGATE_UPSTREAM__{}__SERVICE", name.to_ascii_uppercase());
        let config = load(&Flags::default(), &variables(&[(&variable, "sglang")])).unwrap();
        assert!(config.upstreams.contains_key(name));
    }
    let longer = format!("{long}a");
    let mut out = String::new();
    for name in ["", "A", "1a", "_a", "a_", "a__b", "a-b", "é", "default", "model", "stall", &longer] {
        let file = toml(&format!("[upstream.\"{name}\"]\nmodel = 'm'\n"));
        let error = load(&Flags::default(), &file).unwrap_err();
        assert_eq!(error.faults.len(), 1, "{error}");
        out += &format!("{}\n", error.faults[0]);
        assert!(load(&set(&[&format!("upstream.{name}.model=m")]), &Map::default()).is_err(), "{name}");
    }
    expect![[r#"
        upstream..model (tidegate.toml:2): unknown key; did you mean upstream.model?
        upstream.A (tidegate.toml:1): not a name of a section: at most 32 lower-case letters and digits, with single underscores between them, a letter first
        upstream.1a (tidegate.toml:1): not a name of a section: at most 32 lower-case letters and digits, with single underscores between them, a letter first
        upstream._a (tidegate.toml:1): not a name of a section: at most 32 lower-case letters and digits, with single underscores between them, a letter first
        upstream.a_ (tidegate.toml:1): not a name of a section: at most 32 lower-case letters and digits, with single underscores between them, a letter first
        upstream.a__b (tidegate.toml:1): not a name of a section: at most 32 lower-case letters and digits, with single underscores between them, a letter first
        upstream.a-b (tidegate.toml:1): not a name of a section: at most 32 lower-case letters and digits, with single underscores between them, a letter first
        upstream.é (tidegate.toml:1): not a name of a section: at most 32 lower-case letters and digits, with single underscores between them, a letter first
        upstream.default (tidegate.toml:1): `default` is the section without a name
        upstream.model (tidegate.toml:1): wrong type: table; allowed: 1 to 128 visible ASCII characters without blanks
        upstream.stall (tidegate.toml:1): wrong type: table; allowed: a duration from 100ms to 10m
        upstream.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa (tidegate.toml:1): not a name of a section: at most 32 lower-case letters and digits, with single underscores between them, a letter first
    "#]].assert_eq(&out);
    // Other kinds have no names.
    assert!(load(&set(&["server.a.listen=127.0.0.1:1"]), &Map::default()).is_err());
    assert!(load(&Flags::default(), &toml("[server.a]\nlisten = '127.0.0.1:1'\n")).is_err());
}

#[test]
fn demo_and_health_pass_over_sections_with_names() {
    let source =
        toml("[upstream.a]\nservice = 'dashscope'\nmodel = 7\n[upstream.b]\nservice = 'dashscope'\n")
            .variable("TIDEGATE_UPSTREAM__C__API_KEY", "'")
            .variable("TIDEGATE_UPSTREAM__C__IDLE_TIMEOUT", "x");
    for purpose in [Purpose::Demo, Purpose::Health] {
        let config = load_for(purpose, &Flags::default(), &source).unwrap();
        assert!(config.upstreams.is_empty());
        let mut ignored: Vec<_> = config.ignored.iter().map(ToString::to_string).collect();
        ignored.sort();
        let variables = ["TIDEGATE_UPSTREAM__C__API_KEY", "TIDEGATE_UPSTREAM__C__IDLE_TIMEOUT"];
        assert_eq!(ignored, [&variables[..], &["tidegate.toml:1", "tidegate.toml:4"]].concat());
    }
    assert!(load_for(Purpose::Demo, &set(&["upstream.a.model=sim-chat"]), &Map::default()).is_err());
}

#[test]
fn there_are_at_most_so_many_sections() {
    let mut text = String::new();
    for n in 0..65 {
        text += &format!("[upstream.u{n:02}]\nservice = 'dashscope'\n");
    }
    for n in 0..257 {
        text += &format!("[model.m{n:03}]\nupstreams = ['u00']\n");
    }
    check(
        &toml(&format!("route.default = 'm000'\n{text}")),
        &Flags::default(),
        &expect![[r#"
            the configuration has 2 faults:
              upstream.u64 (tidegate.toml:130): one section too many: there can be 64 with a name, such as upstream.u00
              model.m256 (tidegate.toml:644): one section too many: there can be 256 with a name, such as model.m000
        "#]],
    );
}
