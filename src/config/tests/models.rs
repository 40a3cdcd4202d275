//! Sections of models: how their names are resolved, every fault in them, and what is warned of.
use super::*;
use expect_test::expect;

const TWO: &str = "[upstream.cn]\nservice = 'dashscope'\n[upstream.intl]\nservice = 'dashscope'\nbase_url = 'https://intl.example/v1'\n";

fn two(text: &str) -> Map {
    toml(&format!("{TWO}{text}"))
}

#[test]
fn names_are_resolved_in_every_source() {
    let source = two(
        "[model.plus]\nname = 'qwen-plus'\nupstreams = ['cn*3 intl', 'cn:qwen-plus-latest']\nfallback = ['max']\n\
         [model.max]\nupstreams = 'intl:qwen3-max'\nhidden = true\n[route]\ndefault = 'plus'\n",
    )
    .variable("TIDEGATE_MODEL__TURBO__UPSTREAMS", "cn, intl:turbo*2")
    .variable("TIDEGATE_MODEL__TURBO__FALLBACK", "plus,max");
    let config =
        load(&set(&["model.small.upstreams=cn", "model.small.aliases=default,gpt-4o-mini"]), &source)
            .unwrap();
    // In the order of the file, then of the environment, then of the flags.
    assert_eq!(
        models(&config),
        [
            "qwen-plus: cn:qwen-plus*3 intl:qwen-plus, cn:qwen-plus-latest > max",
            "max: intl:qwen3-max",
            "turbo: cn:turbo, intl:turbo*2 > plus > max",
            "small: cn:small",
        ]
    );
    assert_eq!(config.default_model(), 0);
}

#[test]
fn the_default_is_the_named_one_or_the_only_one_on_offer() {
    let text = "[upstream.a]\nservice = 'dashscope'\n[model.x]\nname = 'public'\nupstreams = ['a']\n[model.y]\nupstreams = ['a']\n";
    for (default, position) in [("x", 0), ("public", 0), ("y", 1)] {
        let config = load(&set(&[&format!("route.default={default}")]), &toml(text)).unwrap();
        assert_eq!(config.default_model(), position, "{default}");
    }
    let hidden =
        format!("{text}[model.z]\nupstreams = ['a']\n").replace("'public'\n", "'public'\nhidden = true\n");
    let hidden = hidden.replace("[model.y]\n", "[model.y]\nhidden = true\n");
    assert_eq!(load(&Flags::default(), &toml(&hidden)).unwrap().default_model(), 2);
}

#[test]
fn short_names_of_the_model_name_the_default_where_models_have_sections() {
    let text =
        "[upstream.a]\nservice = 'dashscope'\n[model.x]\nupstreams = ['a']\n[model.y]\nupstreams = ['a']\n";
    let default = |config: &Config| config.models_in_use()[config.default_model()].name.to_owned();
    let source = toml(text).variable("TIDEGATE_MODEL", "y");
    let config = load(&Flags::default(), &source).unwrap();
    assert_eq!((default(&config).as_str(), config.origins.contains_key("upstream.model")), ("y", false));
    let named = |name: &str| Flags {
        named: vec![("--model", "upstream.model", name.to_owned())],
        ..Flags::default()
    };
    assert_eq!(default(&load(&named("x"), &source).unwrap()), "x");
    assert_eq!(
        default(&load(&named("y"), &toml(text).variable("TIDEGATE_ROUTE__DEFAULT", "x")).unwrap()),
        "y"
    );
    let stronger = source.variable("TIDEGATE_ROUTE__DEFAULT", "x");
    assert_eq!(default(&load(&Flags::default(), &stronger).unwrap()), "x");
    check(
        &toml(text),
        &named("z"),
        &expect![[r#"
        the configuration has 1 fault:
          route.default = "z" (--model): there is no section [model.z]
    "#]],
    );
}

#[test]
fn the_section_without_a_name_is_an_upstream_where_a_model_names_it() {
    let source = toml("[upstream.cn]\nservice = 'dashscope'\n[model.m]\nupstreams = ['default:a', 'cn']\n")
        .variable("API_KEY", "sk-x")
        .variable("TIDEGATE_BASE_URL", "https://a.example/v1");
    let config = load(&Flags::default(), &source).unwrap();
    assert_eq!(models(&config), ["m: default:a, cn:m"]);
    assert!(config.upstreams["cn"].api_key.is_none(), "no section inherits a key");
    assert!(effective(&config).contains("upstream.base_url = https://a.example/v1  # TIDEGATE_BASE_URL\n"));
    // Where none does, it is a fault to give it what only an upstream has.
    let source = toml("[upstream.cn]\nservice = 'dashscope'\n[model.m]\nupstreams = ['cn']\n")
        .variable("API_KEY", "sk-CANARY");
    check(
        &source,
        &Flags::default(),
        &expect![[r#"
        the configuration has 1 fault:
          upstream.api_key (API_KEY): belongs to one service, and no section inherits it; set upstream.cn.api_key (TIDEGATE_UPSTREAM__CN__API_KEY)
    "#]],
    );
}

#[test]
fn every_fault_of_a_model_is_reported_with_its_place() {
    let source = two("[model]\ntitle = 'x'\n\
         [model.plus]\nupstreams = ['cn int:x', 'default default:plus cn:plus']\nfallback = ['plus', 'maxx', 'max', 'max']\n\
         [model.max]\nname = 'plus'\ncontext = 100\nmax_tokens = 100\naliases = ['a', 'plus']\n\
         [model.turbo]\nupstreams = ['cn']\naliases = ['a', 'turbo']\ntemperature = 1.999\nfallback = ['Max']\n\
         [route]\ndefault = 'pluss'\n");
    check(
        &source,
        &Flags::default(),
        &expect![[r#"
            the configuration has 16 faults:
              model.title (tidegate.toml:7): belongs to one model, and no section inherits it; set model.max.title (TIDEGATE_MODEL__MAX__TITLE)
              model.plus.upstreams = "cn int:x, default default:plus cn:plus" (tidegate.toml:9): there is no section [upstream.int]; did you mean intl?
              model.plus.upstreams = "cn int:x, default default:plus cn:plus" (tidegate.toml:9): has the target default:plus twice
              model.plus.upstreams = "cn int:x, default default:plus cn:plus" (tidegate.toml:9): has the target cn:plus twice
              model.plus.fallback = "plus, maxx, max, max" (tidegate.toml:10): names the model itself
              model.plus.fallback = "plus, maxx, max, max" (tidegate.toml:10): there is no section [model.maxx]; did you mean max?
              model.plus.fallback = "plus, maxx, max, max" (tidegate.toml:10): names max twice
              model.max.upstreams (tidegate.toml:11): names no upstream, such as ["cn"]
              model.max.name = "plus" (tidegate.toml:12): `plus` is the name of model.plus too
              model.max.context = "100" (tidegate.toml:13): not above model.max.max_tokens = 100, so that nothing can be asked
              model.max.aliases = "a, plus" (tidegate.toml:15): `plus` is the name of model.max
              model.turbo.aliases = "a, turbo" (tidegate.toml:18): `a` is an alias of model.max too
              model.turbo.aliases = "a, turbo" (tidegate.toml:18): `turbo` is the name of model.turbo
              model.turbo.temperature = "1.999" (tidegate.toml:19): not from 0 to 1.99, which every upstream of the model accepts
              model.turbo.fallback = "Max" (tidegate.toml:20): entry 1: not a name of a section: at most 32 lower-case letters and digits, with single underscores between them, a letter first; allowed: a list of at most 8 names of sections
              route.default = "pluss" (tidegate.toml:22): there is no section [model.pluss]; did you mean plus?
        "#]],
    );
}

#[test]
fn faults_of_models_in_variables_and_flags() {
    let source = two("")
        .variable("TIDEGATE_MODEL__PLUS__UPSTREAMS", "cn,cm")
        .variable("TIDEGATE_MODEL__PLUS__FALLBACK", "plus")
        .variable("TIDEGATE_MODEL__PLUS__CONTEXT", "5")
        .variable("TIDEGATE_MODEL__PLUS__MAX_TOKENS", "6")
        .variable("TIDEGATE_MODEL__OTHER__NAME", "plus")
        .variable("TIDEGATE_MODEL__TITLE", "x")
        .variable("TIDEGATE_MODEL__PLUS__UPSTREAM", "cn")
        .variable("TIDEGATE_ROUTE__DEFAULT", "other");
    check(
        &source,
        &set(&[
            "model.other.upstreams=cn*0",
            "model.other.aliases=x,plus",
            "model.third.upstreams=cn cn",
            "model.third.hidden=yes",
            "model.third.fallbak=x",
            "model.third.temperature=2.1",
            "model.third.top_p=0",
            "model.third.client=temperature,seed",
            "route.default=thirt",
        ]),
        &expect![[r#"
            the configuration has 15 faults:
              model.plus.context = "5" (TIDEGATE_MODEL__PLUS__CONTEXT): not above model.plus.max_tokens = 6, so that nothing can be asked
              model.plus.fallback = "plus" (TIDEGATE_MODEL__PLUS__FALLBACK): names the model itself
              TIDEGATE_MODEL__PLUS__UPSTREAM: unknown variable; did you mean TIDEGATE_MODEL__PLUS__UPSTREAMS?
              model.plus.upstreams = "cn, cm" (TIDEGATE_MODEL__PLUS__UPSTREAMS): there is no section [upstream.cm]
              model.plus.name (TIDEGATE_MODEL__PLUS__UPSTREAMS): `plus` is the name of model.other too
              model.title (TIDEGATE_MODEL__TITLE): belongs to one model, and no section inherits it; set model.other.title (TIDEGATE_MODEL__OTHER__TITLE)
              model.third.fallbak (--set): unknown key; did you mean model.third.fallback?
              model.other.upstreams = "cn*0" (--set): entry 1: a weight is a whole number from 1 to 1000; allowed: a list of at most 8 levels, each of `UPSTREAM[:NAME THERE][*WEIGHT]` with blanks between them, at most 16 in all
              model.third.hidden = "yes" (--set): neither true nor false; allowed: `true` or `false`
              model.third.temperature = "2.1" (--set): out of range; allowed: a number from 0 to 2, or empty
              model.third.top_p = "0" (--set): out of range; allowed: a number above 0 and at most 1, or empty
              model.third.client = "temperature,seed" (--set): entry 2: not one of the words; allowed: a list of some of `temperature`, `top_p`, `max_tokens`, `thinking`
              model.third.upstreams = "cn cn" (--set): has the target cn twice
              model.other.aliases = "x, plus" (--set): `plus` is the name of model.plus
              route.default = "thirt" (--set): there is no section [model.thirt]; did you mean third?
        "#]],
    );
}

#[test]
fn prices_are_whole_and_have_a_currency() {
    let source = two("[model.a]\nupstreams = ['cn']\nprice_input = 0.8\nprice_output = '2'\n\
         [model.b]\nupstreams = ['cn']\nprice_input = '0'\nprice_cached = '0.20'\nprice_output = '0.000001'\n\
         [model.c]\nupstreams = ['cn']\n[route]\ndefault = 'a'\ncurrency = 'CNY'\n");
    let list = load(&Flags::default(), &source).unwrap().price_list();
    let shown = list
        .models
        .iter()
        .map(|(name, prices)| format!("{name}: {} {} {}", prices.input, prices.cached, prices.output));
    assert_eq!(shown.collect::<Vec<_>>(), ["a: 0.8 0.8 2", "b: 0 0.2 0.000001"]);
    assert_eq!(list.currency.unwrap().as_str(), "CNY");

    let source = two("[model.a]\nupstreams = ['cn']\nprice_input = '0,8'\nprice_output = '0.0000001'\n\
         [model.b]\nupstreams = ['cn']\nprice_cached = '1'\n\
         [model.c]\nupstreams = ['cn']\nprice_input = '-1'\n[route]\ndefault = 'a'\n");
    check(
        &source,
        &set(&["model.c.price_output=2"]),
        &expect![[r#"
            the configuration has 7 faults:
              model.a.price_input = "0,8" (tidegate.toml:8): not a decimal number; allowed: a decimal number from 0 to 1000000000 with at most 6 decimal places, or empty
              model.a.price_output = "0.0000001" (tidegate.toml:9): more than 6 decimal places; allowed: a decimal number from 0 to 1000000000 with at most 6 decimal places, or empty
              model.b.price_cached = "1" (tidegate.toml:12): a price without a currency; set route.currency, such as CNY
              model.b.price_input (tidegate.toml:12): missing beside model.b.price_cached; 0 = it costs nothing
              model.b.price_output (tidegate.toml:12): missing beside model.b.price_cached; 0 = it costs nothing
              model.c.price_input = "-1" (tidegate.toml:15): not a decimal number; allowed: a decimal number from 0 to 1000000000 with at most 6 decimal places, or empty
              model.c.price_output = "2" (--set): a price without a currency; set route.currency, such as CNY
        "#]],
    );
    check(
        &two("[model.a]\nupstreams = ['cn']\n[route]\ncurrency = 'yuan'\n"),
        &Flags::default(),
        &expect![[r#"
            the configuration has 1 fault:
              route.currency = "yuan" (tidegate.toml:9): not three capital letters; allowed: three capital letters such as `CNY`, or empty
        "#]],
    );
}

#[test]
fn something_must_be_offered_and_the_default_must_be_known() {
    let all_hidden =
        "[model.a]\nupstreams = ['cn']\nhidden = true\n[model.b]\nupstreams = ['cn']\nhidden = true\n";
    let offered = "[model.a]\nupstreams = ['cn']\n[model.b]\nupstreams = ['cn']\n";
    let one_hidden = "[model.a]\nupstreams = ['cn']\n[model.b]\nupstreams = ['cn']\nhidden = true\n[route]\ndefault = 'b'\n";
    let mut out = String::new();
    for text in ["", all_hidden, offered, one_hidden] {
        out += &outcome(&two(text), &Flags::default());
    }
    out += &outcome(&Map::default(), &set(&["route.default=qwen-max"]));
    assert!(load(&set(&["route.default=qwen-plus"]), &Map::default()).is_ok());
    expect![[r#"
        the configuration has 1 fault:
          upstream.intl.model (tidegate.toml:3): several upstreams, and no model that names them; write a section [model.NAME] with upstreams = ["cn intl"]
        the configuration has 1 fault:
          model.a.hidden (tidegate.toml:6): every model is hidden, so none is offered
        the configuration has 1 fault:
          route.default = "": which model answers clients that ask for none? one of a, b
        the configuration has 1 fault:
          route.default = "b" (tidegate.toml:12): a hidden model cannot be the default
        the configuration has 1 fault:
          route.default = "qwen-max" (--set): there is no section [model.NAME] of this name
    "#]].assert_eq(&out);
}

#[test]
fn what_fits_and_may_not_be_meant_is_warned_of() {
    let source = two(
        "[upstream]\nkeys_limited = 'apart'\nmodel = 'unused'\n[model.big]\nupstreams = ['cn']\ncontext = 100000\nfallback = ['small']\n\
         [model.small]\nupstreams = ['cn']\ncontext = 1000\n[route]\ndefault = 'big'\n",
    );
    let config = load(&Flags::default(), &source).unwrap();
    expect![[r#"
        model.big has the fallback small with a smaller context (1000 instead of 100000 tokens), which cannot answer long conversations
        model.small has one target and no fallback: nothing stands in for it when its upstream is away
        upstream.cn.keys_limited = apart: DashScope counts the limits of a model over the whole account, for all keys together
        upstream.intl.keys_limited = apart: DashScope counts the limits of a model over the whole account, for all keys together
        upstream.intl is used by no model
        upstream.model (tidegate.toml:8) is not used beside sections [model.NAME]; route.default names one"#]].assert_eq(&config.warnings().join("\n"));
}

#[test]
fn a_model_has_the_context_of_its_upstreams() {
    let text = "[upstream.a]\nservice = 'sglang'\ncontext = 4000\nmax_tokens = 3000\n[upstream.b]\nservice = 'sglang'\n\
        [upstream.c]\nservice = 'sglang'\ncontext = 2000\n\
        [model.x]\nupstreams = ['a', 'b', 'c']\nmax_tokens = 100\n[model.y]\nupstreams = ['b']\n[model.z]\n\
        upstreams = ['c']\ncontext = 9000\n[route]\ndefault = 'x'\n";
    let config = load(&Flags::default(), &toml(text)).unwrap();
    let contexts: Vec<_> = config.models_in_use().iter().map(|model| config.context_of(model)).collect();
    assert_eq!(contexts, [Some(2000), None, Some(9000)]);
    check(
        &toml(text),
        &set(&["model.x.max_tokens=2000", "model.z.upstreams=a", "model.z.context=3000"]),
        &expect![[r#"
            the configuration has 2 faults:
              model.x.max_tokens = "2000" (--set): not below the context of 2000 tokens, so that nothing can be asked
              model.z.context = "3000" (--set): not above upstream.max_tokens = 3000, so that nothing can be asked
        "#]],
    );
}

#[test]
fn further_fields_of_a_model_are_not_those_of_the_gateway() {
    let text = "[upstream.a]\nservice = 'sglang'\n[upstream.b]\nservice = 'dashscope'\n[model.x]\n\
        upstreams = ['a', 'b']\n[model.y]\nupstreams = ['a']\n[route]\ndefault = 'x'\n";
    let extra = |x: &str, y: &str| {
        toml(&text.replace("[model.y]", &format!("extra = '{x}'\n[model.y]\nextra = '{y}'")))
    };
    let kwargs = r#"{"chat_template_kwargs":{"a":1},"top_k":5,"result_format":1}"#;
    check(
        &extra(r#"{"messages":[]}"#, "[1]"),
        &Flags::default(),
        &expect![[r#"
            the configuration has 2 faults:
              model.x.extra = "{\"messages\":[]}" (tidegate.toml:7): has the field messages, which the gateway sends itself
              model.y.extra = "[1]" (tidegate.toml:9): invalid type: sequence, expected a JSON object; allowed: a JSON object of at most 16KiB, or empty
        "#]],
    );
    // One of another dialect's is not ours there, and thinking is ours only where it is switched.
    check(
        &extra(r#"{"top_k":5}"#, kwargs),
        &Flags::default(),
        &expect![[r#"
            upstream.a.service = sglang  # tidegate.toml:2
            upstream.b.service = dashscope  # tidegate.toml:4
            model.x.upstreams = a, b  # tidegate.toml:6
            model.x.extra = {"top_k":5}  # tidegate.toml:7
            model.y.upstreams = a  # tidegate.toml:10
            model.y.extra = {"chat_template_kwargs":{"a":1},"top_k":5,"result_format":1}  # tidegate.toml:9
            route.default = x  # tidegate.toml:12
            warning: model.y has one target and no fallback: nothing stands in for it when its upstream is away
        "#]],
    );
    check(
        &extra(r#"{"incremental_output":false}"#, kwargs),
        &set(&["model.y.client=thinking"]),
        &expect![[r#"
            the configuration has 2 faults:
              model.x.extra = "{\"incremental_output\":false}" (tidegate.toml:7): has the field incremental_output, which the gateway sends itself
              model.y.extra = "{\"chat_template_kwargs\":{\"a\":1},\"top_k\":5,\"result_format\":1}" (tidegate.toml:9): has the field chat_template_kwargs, which the gateway sends itself
        "#]],
    );
    let config = load(&Flags::default(), &extra("{\"a\":1}", "{\"b\":2}")).unwrap();
    assert_eq!(config.models["y"].extra.as_str(), "\"b\":2");
}

#[test]
fn thinking_and_sizes_that_no_service_knows_are_warned_of() {
    let text = "[upstream.a]\nservice = 'ollama'\n[upstream.b]\nservice = 'lmstudio'\n\
        [model.x]\nupstreams = ['a', 'b']\nclient = ['thinking']\nthinking = 'on'\n\
        [model.y]\nupstreams = ['a:y1 a:y2']\nclient = ['thinking']\nthinking = 'always'\n\
        [model.z]\nupstreams = ['a:z1 a:z2']\nclient = ['thinking']\ncontext = 100\n[route]\ndefault = 'x'\n";
    let warnings = load(&Flags::default(), &toml(text)).unwrap().warnings();
    expect![[r#"
        upstream.a.context is not set: upstream.a.service = ollama cuts off what exceeds the context that it was started with, without an error
        model.x.client has thinking, which is not offered: lmstudio has no field for it
        model.x.thinking has no effect at each of its upstreams: lmstudio has no field for it
        model.y.client has thinking, which is not offered: model.y.thinking = always"#]].assert_eq(&warnings.join("\n"));
    let known = load(&set(&["upstream.a.context=4096"]), &toml(text)).unwrap().warnings();
    assert_eq!(known.len(), warnings.len() - 1, "{known:?}");
}

/// The configurations in a document.
fn blocks(document: &str) -> Vec<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(document);
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(str::to_owned).collect()
}

#[test]
fn the_configurations_of_the_documents_can_be_served() {
    let mut seen = 0;
    for document in ["UPSTREAMS.md", "CONFIG.md"] {
        for block in blocks(document) {
            let mut source = toml(&block.replace('…', "sk-x"));
            for rest in block.split("api_key_env = \"").skip(1) {
                source = source.variable(rest.split('"').next().unwrap(), "sk-x");
            }
            let config = load(&Flags::default(), &source)
                .unwrap_or_else(|error| panic!("{document}: {error}\n{block}"));
            config.check_for_serve().unwrap_or_else(|error| panic!("{document}: {error}\n{block}"));
            seen += 1;
        }
    }
    assert!(seen >= 7, "{seen}");
}
