//! Services: what their rows give to an upstream, and the keys of one upstream alone.
use super::*;
use crate::upstream::service::{Continues, SERVICES};
use expect_test::expect;

/// Beside the usual port of vLLM, which is that of the gateway as well.
const LISTEN: &str = "server.listen=127.0.0.1:8100";

#[test]
fn a_service_brings_its_address_and_its_own_values() {
    for service in &SERVICES {
        let mut pairs = vec![
            format!("upstream.service={}", service.name),
            "upstream.model=m".to_owned(),
            LISTEN.to_owned(),
        ];
        // vLLM's port is the gateway's own.
        pairs.push("server.listen=127.0.0.1:9000".to_owned());
        if service.base_url.is_none() {
            pairs.push("upstream.base_url=https://a.example/v1".to_owned());
        }
        let pairs: Vec<_> = pairs.iter().map(String::as_str).collect();
        let config = load(&set(&pairs), &Map::default()).unwrap();
        let upstream = &config.upstream;
        if let Some(url) = service.base_url {
            assert_eq!(upstream.base_url.as_str().trim_end_matches('/'), url);
        }
        assert_eq!(upstream.token_cap(), service.token_cap);
        assert!(upstream.first_byte_timeout >= service.first_token_timeout_last, "{}", service.name);
        // A key is needed where the row's own address is on the internet.
        let needs_key = service.base_url.is_some_and(|url| url.starts_with("https"));
        assert_eq!(config.check_for_serve().is_err(), needs_key, "{}", service.name);
    }
}

#[test]
fn what_is_set_stands_over_the_row() {
    let settings = [
        "upstream.service=ollama",
        "upstream.base_url=http://127.0.0.1:11434/v1/",
        "upstream.model=llama3.2:3b",
        "upstream.first_byte_timeout=20s",
        "upstream.token_cap_field=max_completion_tokens",
        "upstream.thinking_field=enable_thinking",
        "upstream.include_usage=false",
        "upstream.headers=X-Team: CANARY, OpenAI-Project: p-1",
        r#"upstream.extra={"keep_alive": "10m"}"#,
    ];
    check(
        &Map::default(),
        &set(&settings),
        &expect![[r#"
            upstream.service = ollama  # --set
            upstream.base_url = http://127.0.0.1:11434/v1  # --set
            upstream.model = llama3.2:3b  # --set
            upstream.headers = (set)  # --set
            upstream.extra = {"keep_alive": "10m"}  # --set
            upstream.token_cap_field = max_completion_tokens  # --set
            upstream.thinking_field = enable_thinking  # --set
            upstream.include_usage = false  # --set
            upstream.first_byte_timeout = 20s  # --set
            warning: upstream.context is not set: upstream.service = ollama cuts off what exceeds the context that it was started with, without an error
        "#]],
    );
    let config = load(&set(&settings), &Map::default()).unwrap();
    assert!(!format!("{config:?}").contains("CANARY"));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_does_not_fit_the_service_is_refused() {
    for settings in [
        &["upstream.service=vlm"][..],
        &["upstream.service="],
        &["upstream.service=azure"],
        &["upstream.service=openai"],
        &[
            "upstream.service=azure",
            "upstream.model=gpt",
            "upstream.base_url=https://r.openai.azure.com/openai/deployments/gpt",
        ],
        &[
            "upstream.service=other",
            "upstream.model=m",
            "upstream.base_url=https://a.example/v1/chat/completions",
        ],
        &[
            "upstream.service=vllm",
            "upstream.model=m",
            "upstream.base_url=https://dashscope.aliyuncs.com/api/v1",
        ],
        &["upstream.extra={\"stream\":false}"],
        &["upstream.service=ollama", "upstream.model=m", "upstream.extra={\"messages\":[]}"],
        &[
            "upstream.service=deepseek",
            "upstream.model=m",
            "upstream.thinking=on",
            "upstream.extra={\"thinking\":{}}",
        ],
        &["upstream.extra=[]"],
        &["upstream.headers=Authorization: CANARY"],
        &["upstream.headers=Content-Type: CANARY"],
        &["upstream.headers=x-dashscope-workspace: CANARY"],
        &["upstream.headers=CANARY"],
        &["upstream.headers=x: CANARY\u{1}"],
        &["upstream.token_cap_field=tokens"],
        &["upstream.include_usage=perhaps"],
    ] {
        let error = load(&set(settings), &Map::default()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
    }
    let faults = [
        &["upstream.service=vlm"][..],
        &["upstream.service=azure"],
        &["upstream.service=openai"],
        &[
            "upstream.service=azure",
            "upstream.model=gpt",
            "upstream.base_url=https://r.openai.azure.com/openai/deployments/gpt",
        ],
        &[
            "upstream.service=other",
            "upstream.model=m",
            "upstream.base_url=https://a.example/v1/chat/completions",
        ],
        &[
            "upstream.service=vllm",
            "upstream.model=m",
            "upstream.base_url=https://dashscope.aliyuncs.com/api/v1",
        ],
        &["upstream.service=ollama", "upstream.model=m", "upstream.extra={\"messages\":[]}"],
        &["upstream.headers=Authorization: CANARY"],
    ];
    let faults = faults.map(|settings| outcome(&Map::default(), &set(settings)));
    expect![[r#"
        the configuration has 1 fault:
          upstream.service = "vlm" (--set): not one of the words; allowed: `dashscope`, `dashscope_compatible`, `openai`, `azure`, `vllm`, `sglang`, `ollama`, `llamacpp`, `lmstudio`, `deepseek`, `moonshot`, `openrouter`, `other`
        the configuration has 2 faults:
          upstream.base_url: must be set: upstream.service = azure has no address of its own
          upstream.model: must be set: which model of upstream.service = azure answers
        the configuration has 1 fault:
          upstream.model: must be set: which model of upstream.service = openai answers
        the configuration has 1 fault:
          upstream.api_version: must be set: the address is that of a deployment, such as 2026-05-01
        the configuration has 1 fault:
          upstream.base_url = "https://a.example/v1/chat/completions" (--set): is an endpoint; leave out its path: https://a.example/v1
        the configuration has 1 fault:
          upstream.base_url = "https://dashscope.aliyuncs.com/api/v1" (--set): is an address of DashScope's own API; for chat completions it is https://dashscope.aliyuncs.com/compatible-mode/v1
        the configuration has 1 fault:
          upstream.extra = "{\"messages\":[]}" (--set): has the field messages, which the gateway sends itself
        the configuration has 1 fault:
          upstream.headers (--set): entry 1: authorization is sent by the gateway itself; allowed: a list of at most 16 `Name: value`
    "#]].assert_eq(&faults.concat());
}

/// It may be set for another program, and its key must not reach another service's host.
#[test]
fn the_key_of_dashscope_goes_to_no_other_service() {
    let source = variables(&[("DASHSCOPE_API_KEY", "sk-canary"), ("TIDEGATE_MODEL", "m")]);
    let key = |service: &str| {
        let config =
            load(&set(&[&format!("upstream.service={service}"), "server.listen=127.0.0.1:9000"]), &source)
                .unwrap();
        config.upstream.api_key.is_some()
    };
    let with: Vec<_> =
        SERVICES.iter().filter(|service| service.base_url.is_some() && key(service.name)).collect();
    assert_eq!(
        with.iter().map(|service| service.name).collect::<Vec<_>>(),
        ["dashscope", "dashscope_compatible"]
    );
    let own = variables(&[("TIDEGATE_UPSTREAM__API_KEY", "sk-canary"), ("TIDEGATE_MODEL", "m")]);
    assert!(load(&set(&["upstream.service=openai"]), &own).unwrap().upstream.api_key.is_some());
}

#[test]
fn an_engine_lists_its_models_unless_one_is_configured() {
    let lists = |pairs: &[&str]| {
        let config = load(&set(pairs), &Map::default()).unwrap();
        (config.listing_upstreams().len(), config.models_in_use().len())
    };
    assert_eq!(lists(&[]), (0, 1));
    assert_eq!(lists(&["upstream.service=ollama"]), (1, 0));
    assert_eq!(lists(&["upstream.service=ollama", "upstream.model=m"]), (0, 1));
    assert_eq!(lists(&["upstream.service=ollama", "upstream.model=m", "upstream.models=listed"]), (1, 0));
    assert_eq!(lists(&["upstream.service=openai", "upstream.models=listed"]), (1, 0));
    assert_eq!(lists(&["upstream.service=ollama", "route.default=m"]), (1, 0));
    let two = toml(
        "[server]\nlisten = '127.0.0.1:8100'\n[upstream.a]\nservice = 'vllm'\n[upstream.b]\nservice = 'ollama'\ncontext = 8192\n",
    );
    let config = load(&Flags::default(), &two).unwrap();
    assert_eq!((config.listing_upstreams().len(), config.warnings().len()), (2, 0));
    for (pairs, problem) in [
        (&["upstream.models=listed"][..], "upstream.service = dashscope has no list of models"),
        (&["upstream.service=ollama", "upstream.list_path=models"], "does not begin with a slash"),
        (&["upstream.service=ollama", "upstream.probe_path=health"], "does not begin with a slash"),
        (
            &["upstream.service=ollama", "upstream.models=named"],
            "which model of upstream.service = ollama answers",
        ),
    ] {
        let error = load(&set(pairs), &Map::default()).unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
    }
    let warnings = load(&set(&["upstream.service=ollama"]), &Map::default()).unwrap().warnings();
    assert!(warnings.len() == 1 && warnings[0].starts_with("upstream.context is not set"), "{warnings:?}");
}

#[test]
fn thinking_that_a_service_cannot_switch_is_warned_of() {
    let settings = ["upstream.service=moonshot", "upstream.model=m", "upstream.thinking=on"];
    let warnings = load(&set(&settings), &Map::default()).unwrap().warnings();
    assert_eq!(
        warnings,
        [
            "upstream.thinking has no effect: upstream.service = moonshot has no field for it, only the model decides"
        ]
    );
}

#[test]
fn an_answer_is_continued_as_the_service_can_unless_it_is_to_think() {
    let continues = |pairs: &[&str]| {
        let mut all = vec![LISTEN, "upstream.model=m"];
        all.extend(pairs);
        load(&set(&all), &Map::default()).map(|config| {
            let upstream = &config.upstream;
            (upstream.continues(), upstream.continue_path())
        })
    };
    let way = |pairs: &[&str]| continues(pairs).unwrap();
    for service in SERVICES.iter().filter(|service| service.base_url.is_some()) {
        let expected = (service.continues, service.continue_path);
        assert_eq!(way(&[&format!("upstream.service={}", service.name)]), expected);
    }
    assert_eq!(way(&["upstream.service=ollama", "upstream.continues=last"]), (Continues::Last, ""));
    assert_eq!(way(&["upstream.continues=no"]).0, Continues::No);
    assert_eq!(way(&["upstream.thinking=on"]).0, Continues::No);
    // Only below its own path.
    let deepseek = ["upstream.service=deepseek", "upstream.base_url=https://api.deepseek.com/v1"];
    assert_eq!(way(&deepseek), (Continues::No, ""));
    let beta = ["upstream.service=deepseek", "upstream.base_url=https://api.deepseek.com/beta"];
    assert_eq!(way(&beta), (Continues::Prefix, ""));
    for (pairs, problem) in [
        (
            &["upstream.service=vllm", "upstream.thinking=on", "upstream.continues=last"][..],
            "an answer is continued without thinking, and `thinking` is on",
        ),
        (&["upstream.continues=last"], "DashScope's own dialect has only partial"),
        (&["upstream.continues=always"], "not one of the words"),
        (
            &["upstream.service=vllm", r#"upstream.extra={"continue_final_message":true}"#],
            "has the field continue_final_message, which the gateway sends itself",
        ),
    ] {
        let error = continues(pairs).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn a_model_is_continued_where_its_targets_have_one_name_and_it_does_not_think() {
    let models = toml(
        "[server]\nlisten = '127.0.0.1:8100'\n[route]\ndefault = 'same'\n\
         [upstream.a]\nservice = 'vllm'\n[upstream.b]\nservice = 'ollama'\n[upstream.c]\nservice = 'vllm'\nthinking = 'on'\n\
         [model.same]\nupstreams = ['b', 'a']\n[model.differs]\nupstreams = ['a:x', 'b']\n[model.cannot]\nupstreams = ['b']\n\
         [model.thinks]\nupstreams = ['a']\nthinking = 'always'\n[model.on]\nupstreams = ['c']\n",
    );
    let config = load(&Flags::default(), &models).unwrap();
    let continued: Vec<_> =
        config.models_in_use().into_iter().filter(|model| config.can_continue(model)).collect();
    assert_eq!(continued.iter().map(|model| model.name).collect::<Vec<_>>(), ["same"]);
}
