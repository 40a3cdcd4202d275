//! Keys stay with their upstreams, in every configuration.
use super::{first_byte, plan};
use crate::{
    app::{Machine, Settings},
    config::{Flags, Map, load},
    upstream::route::{MidAnswer, plan::KeysLimited},
};
use proptest::{collection::vec, prelude::*};
use secrecy::ExposeSecret;
use std::time::Duration;

/// The sections of upstreams; the first is the one without a name.
const NAMES: [&str; 4] = ["default", "a", "b", "c_2"];

/// Where an upstream has its key from, if it has one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum From {
    Nowhere,
    File,
    Variable,
    FileOfVariable,
    OwnVariable,
    /// The variable that is a short name for `[upstream]`.
    ShortVariable,
}

#[derive(Clone, Debug)]
struct Given {
    is_there: bool,
    key: From,
    has_url: bool,
    has_headers: bool,
    keys: usize,
}

fn given() -> impl Strategy<Value = Given> {
    let from = prop::sample::select(vec![
        From::Nowhere,
        From::File,
        From::Variable,
        From::FileOfVariable,
        From::OwnVariable,
        From::ShortVariable,
    ]);
    (prop::bool::weighted(0.8), from, prop::bool::weighted(0.7), any::<bool>(), 1..4_usize).prop_map(
        |(is_there, key, has_url, has_headers, keys)| Given { is_there, key, has_url, has_headers, keys },
    )
}

/// The keys that this upstream is given.
fn keys_of(name: &str, count: usize) -> String {
    (0..count).map(|n| format!("sk-CANARY-{name}-{n}")).collect::<Vec<_>>().join(",")
}

/// The file and the variables.
fn source(upstreams: &[Given], models: &[Vec<usize>], short: Option<usize>) -> Map {
    let (mut map, mut file) = (Map::default(), String::new());
    for (name, given) in NAMES.iter().zip(upstreams).filter(|(_, given)| given.is_there) {
        let (section, variable) = match *name {
            "default" => ("upstream".to_owned(), "TIDEGATE_UPSTREAM".to_owned()),
            name => (format!("upstream.{name}"), format!("TIDEGATE_UPSTREAM__{}", name.to_uppercase())),
        };
        file += &format!("[{section}]\nidle_timeout = '9s'\n");
        if given.has_url {
            file += &format!("base_url = 'https://{}.example/v1'\n", name.replace('_', "-"));
        }
        if given.has_headers {
            file += &format!("headers = ['X-Team: CANARY-{name}-header']\n");
        }
        let keys = keys_of(name, given.keys);
        match given.key {
            From::Nowhere => {}
            From::File => file += &format!("api_key = '{keys}'\n"),
            From::Variable => map = map.variable(&format!("{variable}__API_KEY"), &keys),
            From::FileOfVariable => {
                let path = format!("/run/secrets/{name}");
                map = map
                    .variable(&format!("{variable}__API_KEY_FILE"), &path)
                    .file(&path, keys.replace(',', "\n"));
            }
            From::OwnVariable => {
                file += &format!("api_key_env = 'KEY_{name}'\n");
                map = map.variable(&format!("KEY_{name}"), &keys);
            }
            From::ShortVariable if *name != "default" => file += "api_key_env = 'API_KEY'\n",
            From::ShortVariable => {}
        }
    }
    // Whose key it is: that of the upstream that names the variable, else that of `[upstream]`.
    if let Some(owner) = short {
        map = map.variable("API_KEY", &keys_of(NAMES[owner], 1));
    }
    for (at, targets) in models.iter().enumerate() {
        let targets: Vec<_> = targets.iter().map(|target| NAMES[*target]).collect();
        file += &format!("[model.m{at}]\nupstreams = ['{}']\n", targets.join(" "));
    }
    if models.len() > 1 {
        file += "[route]\ndefault = 'm0'\n";
    }
    map.file("tidegate.toml", file)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_key_goes_to_another_upstream_and_none_is_shown(
        upstreams in vec(given(), NAMES.len()),
        models in vec(prop::sample::subsequence(vec![0, 1, 2, 3], 1..=3), 0..3),
    ) {
        let takers: Vec<_> = (0..NAMES.len())
            .filter(|at| upstreams[*at].is_there && upstreams[*at].key == From::ShortVariable)
            .collect();
        let named = takers.iter().copied().find(|at| *at > 0);
        // Two upstreams with one variable share its key by the operator's own word.
        prop_assume!(takers.iter().filter(|at| **at > 0).count() <= 1);
        let short = named.or(takers.first().copied());
        let source = source(&upstreams, &models, short);
        match load(&Flags::default(), &source) {
            Err(error) => prop_assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}"),
            Ok(config) => {
                let mut shown = Vec::new();
                config.print_effective(&mut shown).unwrap();
                let shown = String::from_utf8(shown).unwrap();
                let settings = Settings::new(&config, Machine { cores: 1, descriptors: 1 << 20 }, false);
                for text in [shown, config.warnings().join(" "), format!("{config:?} {settings:?}")] {
                    prop_assert!(!text.contains("CANARY"), "{text}");
                }
                for upstream in &settings.upstreams {
                    let name = upstream.client.section.strip_prefix("upstream.").unwrap_or("default");
                    for key in &upstream.client.api_keys {
                        let owner = format!("sk-CANARY-{name}-");
                        prop_assert!(key.expose_secret().starts_with(&owner), "a key at {name}");
                    }
                    let headers = upstream.dialect.headers().iter().filter(|header| header.value.contains("CANARY"));
                    for header in headers {
                        let own = format!("CANARY-{name}-header");
                        prop_assert!(header.value == own, "a header at {name}");
                    }
                    let host = upstream.client.base_url.host_str().unwrap();
                    let own = format!("{}.example", name.replace('_', "-"));
                    prop_assert!(host == own || host == "dashscope.aliyuncs.com", "{host} for {name}");
                }
            }
        }
    }
}

/// Of the model, else of the upstream, else of `[upstream]`, else of the service.
#[test]
fn the_nearest_limit_on_silence_counts() {
    let seconds = |plan: &crate::upstream::route::plan::RoutePlan| {
        plan.upstreams
            .iter()
            .map(|upstream| {
                let times = upstream.times;
                [times.first_token, times.first_token_last, times.text, times.text_last]
                    .map(|time| time.as_secs())
            })
            .collect::<Vec<_>>()
    };
    let load = |text: &str| load(&Flags::default(), &Map::default().file("tidegate.toml", text)).unwrap();
    assert_eq!(seconds(&plan(&load(""))), [[30, 60, 20, 60]]);
    assert_eq!(seconds(&plan(&load("[upstream]\nservice = 'ollama'\nmodel = 'm'\n"))), [[300, 300, 20, 60]]);
    // A limit that is not set is not shorter than one of bytes that is.
    let set = "[upstream]\nfirst_byte_timeout = '90s'\nidle_timeout = '100s'\n";
    assert_eq!(seconds(&plan(&load(set))), [[30, 90, 20, 100]]);
    let config = load(
        "[upstream]\nfirst_token_timeout = '20s'\nruns_max = 9\n[upstream.a]\nservice = 'dashscope'\nfirst_token_timeout = '10s'\n\
         keys_limited = 'apart'\n[upstream.b]\nservice = 'dashscope'\ntext_timeout = '3s'\ntext_timeout_last = '5s'\nruns_max = 2\n[model.m]\nupstreams = ['a b']\n\
         first_token_timeout_last = '200s'\ntext_timeout = '9s'\n[route]\nwait = '1s'\nattempts = 4\nmid_answer = 'off'\n",
    );
    let made = plan(&config);
    assert_eq!(seconds(&made), [[10, 60, 20, 60], [20, 60, 3, 5]]);
    let limits: Vec<_> =
        made.upstreams.iter().map(|upstream| (upstream.keys_limited, upstream.runs_max)).collect();
    assert_eq!(limits, [(KeysLimited::Apart, 9), (KeysLimited::Together, 2)]);
    assert_eq!(made.models[0].times.first_token_last, Some(Duration::from_secs(200)));
    assert_eq!(made.models[0].times.text, Some(Duration::from_secs(9)));
    assert_eq!(
        first_byte(&config, "upstream.a", &config.upstreams["a"]).as_secs(),
        200,
        "the first token may come with the head"
    );
    let settings = Settings::new(&config, Machine { cores: 1, descriptors: 1 << 20 }, false);
    assert_eq!((settings.route.limits.wait.as_secs(), settings.route.limits.attempts), (1, 4));
    assert_eq!(settings.route.limits.mid_answer, MidAnswer::Off);
}
