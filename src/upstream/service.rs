//! The model services that are known by name: one row of data each. Nothing else asks for a service's name.
use std::{ops::RangeInclusive, time::Duration};

/// How requests are written and answers are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialectKind {
    /// DashScope's own text generation.
    DashScope,
    /// Chat completions, as OpenAI defined them.
    Chat,
}

/// The header with the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyHeader {
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// `api-key: KEY`.
    ApiKey,
}

/// The field of a request that caps the tokens of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenCap {
    MaxTokens,
    /// Counts the tokens of thinking too. Some models refuse it; they are sent `max_tokens` from then on.
    MaxCompletionTokens,
}

/// The field of a request that turns thinking on and off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThinkingField {
    /// There is none: only the model decides.
    None,
    /// `"enable_thinking": BOOLEAN`.
    EnableThinking,
    /// `"reasoning_effort": "medium"` turns it on, `"none"` off.
    ReasoningEffort,
    /// `"chat_template_kwargs": {"enable_thinking": BOOLEAN}`.
    ChatTemplateKwargs,
    /// `"thinking": {"type": "enabled" | "disabled"}`.
    ThinkingType,
}

/// How a service is asked to go on with the beginning of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continues {
    /// It always begins anew.
    No,
    /// `"partial": true` in the last message (references of Model Studio and of Kimi).
    Partial,
    /// `"continue_final_message": true, "add_generation_prompt": false` in the request (vLLM, SGLang).
    ContinueFinalMessage,
    /// A last message of the assistant is enough (llama.cpp, whose template then adds nothing).
    Last,
    /// `"prefix": true` in the last message (references of DeepSeek and Mistral).
    Prefix,
}

/// Where the names of an upstream's models come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// From the configuration.
    Named,
    /// From the upstream's own list.
    Listed,
}

/// What a service means by the error code `insufficient_quota`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaError {
    /// The account has no money left.
    Money,
    /// More tokens were used within a minute than is allowed; it clears by itself.
    Rate,
}

/// What is known of a service. Each column is a default that the configuration of one upstream can replace.
#[derive(Debug)]
pub struct Service {
    /// The value of `upstream.service`.
    pub name: &'static str,
    /// The value of `gen_ai.provider.name` in OpenTelemetry's conventions for generative AI: one that they know, or the
    /// service's own. Engines of one's own speak OpenAI's API.
    pub provider: &'static str,
    /// `None`: every user has an address of their own.
    pub base_url: Option<&'static str>,
    pub dialect: DialectKind,
    pub key_header: KeyHeader,
    /// Hosts that answer nothing without a key; the hosts below them too.
    pub key_hosts: &'static [&'static str],
    pub token_cap: TokenCap,
    /// The temperatures that it accepts.
    pub temperature: RangeInclusive<f32>,
    pub thinking: ThinkingField,
    pub continues: Continues,
    /// Stands before the path of a request that is to go on with an answer, where the base URL has no path.
    pub continue_path: &'static str,
    /// The list of models, below the base URL; with the key, and free of charge. At Azure only without `api_version`.
    pub list_path: Option<&'static str>,
    /// What answers 200 while the service works, from the root of its host; needs no key.
    pub probe_path: Option<&'static str>,
    pub models: ModelSource,
    /// Whether it cuts off the beginning of a prompt that is too long, without an error.
    pub cuts_long_prompts: bool,
    /// The model that answers if none is configured.
    pub default_model: Option<&'static str>,
    /// From the request to the first text or thinking, where another upstream could be asked instead.
    pub first_token_timeout: Duration,
    /// The same where there is none.
    pub first_token_timeout_last: Duration,
    /// Whether `stream_options.include_usage` is sent.
    pub include_usage: bool,
    pub insufficient_quota: QuotaError,
}

impl PartialEq for Service {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Service {}

const SOON: Duration = Duration::from_secs(30);
const LAST: Duration = Duration::from_secs(60);
/// For services that load a model with its first request, queue requests, or think without a word.
const PATIENT: Duration = Duration::from_secs(300);

/// The defaults that most rows share: any service with chat completions.
const OTHER: Service = Service {
    name: "other",
    provider: "openai",
    base_url: None,
    dialect: DialectKind::Chat,
    key_header: KeyHeader::Bearer,
    key_hosts: &[],
    token_cap: TokenCap::MaxTokens,
    temperature: 0.0..=2.0,
    thinking: ThinkingField::None,
    continues: Continues::No,
    continue_path: "",
    list_path: Some("/models"),
    probe_path: None,
    models: ModelSource::Named,
    cuts_long_prompts: false,
    default_model: None,
    first_token_timeout: SOON,
    first_token_timeout_last: LAST,
    include_usage: true,
    insufficient_quota: QuotaError::Money,
};

/// A program on a machine of one's own, which lists what it has.
const ENGINE: Service = Service { models: ModelSource::Listed, ..OTHER };

/// All services, in the order of the documentation. Sources: the services' API references, and what their programs
/// answered.
pub static SERVICES: [Service; 13] = [
    Service {
        name: "dashscope",
        provider: "dashscope",
        base_url: Some("https://dashscope.aliyuncs.com/api/v1"),
        dialect: DialectKind::DashScope,
        key_hosts: &["aliyuncs.com"],
        token_cap: TokenCap::MaxCompletionTokens,
        temperature: 0.0..=1.99,
        thinking: ThinkingField::EnableThinking,
        continues: Continues::Partial,
        list_path: None,
        default_model: Some("qwen-plus"),
        insufficient_quota: QuotaError::Rate,
        ..OTHER
    },
    Service {
        name: "dashscope_compatible",
        provider: "dashscope",
        base_url: Some("https://dashscope.aliyuncs.com/compatible-mode/v1"),
        key_hosts: &["aliyuncs.com"],
        token_cap: TokenCap::MaxCompletionTokens,
        temperature: 0.0..=1.99,
        thinking: ThinkingField::EnableThinking,
        continues: Continues::Partial,
        list_path: None,
        default_model: Some("qwen-plus"),
        insufficient_quota: QuotaError::Rate,
        ..OTHER
    },
    Service {
        name: "openai",
        base_url: Some("https://api.openai.com/v1"),
        key_hosts: &["api.openai.com"],
        token_cap: TokenCap::MaxCompletionTokens,
        thinking: ThinkingField::ReasoningEffort,
        first_token_timeout: PATIENT,
        first_token_timeout_last: PATIENT,
        ..OTHER
    },
    Service {
        name: "azure",
        provider: "azure.ai.openai",
        key_header: KeyHeader::ApiKey,
        key_hosts: &["openai.azure.com"],
        token_cap: TokenCap::MaxCompletionTokens,
        thinking: ThinkingField::ReasoningEffort,
        first_token_timeout: PATIENT,
        first_token_timeout_last: PATIENT,
        ..OTHER
    },
    Service {
        name: "vllm",
        base_url: Some("http://127.0.0.1:8000/v1"),
        thinking: ThinkingField::ChatTemplateKwargs,
        continues: Continues::ContinueFinalMessage,
        probe_path: Some("/health"),
        ..ENGINE
    },
    Service {
        name: "sglang",
        base_url: Some("http://127.0.0.1:30000/v1"),
        thinking: ThinkingField::ChatTemplateKwargs,
        continues: Continues::ContinueFinalMessage,
        probe_path: Some("/health"),
        ..ENGINE
    },
    Service {
        name: "ollama",
        base_url: Some("http://127.0.0.1:11434/v1"),
        thinking: ThinkingField::ReasoningEffort,
        probe_path: Some("/api/version"),
        cuts_long_prompts: true,
        first_token_timeout: PATIENT,
        first_token_timeout_last: PATIENT,
        ..ENGINE
    },
    Service {
        name: "llamacpp",
        base_url: Some("http://127.0.0.1:8080/v1"),
        thinking: ThinkingField::ChatTemplateKwargs,
        continues: Continues::Last,
        probe_path: Some("/health"),
        ..ENGINE
    },
    Service {
        name: "lmstudio",
        base_url: Some("http://127.0.0.1:1234/v1"),
        first_token_timeout: PATIENT,
        first_token_timeout_last: PATIENT,
        ..ENGINE
    },
    Service {
        name: "deepseek",
        provider: "deepseek",
        base_url: Some("https://api.deepseek.com"),
        key_hosts: &["api.deepseek.com"],
        thinking: ThinkingField::ThinkingType,
        continues: Continues::Prefix,
        continue_path: "/beta",
        first_token_timeout: PATIENT,
        first_token_timeout_last: PATIENT,
        ..OTHER
    },
    Service {
        name: "moonshot",
        provider: "moonshot",
        base_url: Some("https://api.moonshot.cn/v1"),
        key_hosts: &["api.moonshot.cn", "api.moonshot.ai"],
        temperature: 0.0..=1.0,
        continues: Continues::Partial,
        ..OTHER
    },
    Service {
        name: "openrouter",
        provider: "openrouter",
        base_url: Some("https://openrouter.ai/api/v1"),
        key_hosts: &["openrouter.ai"],
        ..OTHER
    },
    OTHER,
];

impl Service {
    /// The names, in the order of [`SERVICES`].
    pub const NAMES: [&'static str; SERVICES.len()] = [
        "dashscope",
        "dashscope_compatible",
        "openai",
        "azure",
        "vllm",
        "sglang",
        "ollama",
        "llamacpp",
        "lmstudio",
        "deepseek",
        "moonshot",
        "openrouter",
        "other",
    ];

    /// The row of this name.
    pub fn find(name: &str) -> Option<&'static Service> {
        SERVICES.iter().find(|service| service.name == name)
    }

    /// Whether this host, in lower case, belongs to a service that answers nothing without a key.
    pub fn host_needs_key(host: &str) -> bool {
        let is_below = |parent: &&str| {
            host.strip_suffix(*parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        SERVICES.iter().flat_map(|service| service.key_hosts).any(is_below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use url::Url;

    #[test]
    fn each_row_is_found_by_its_name_and_fits_together() {
        for (service, name) in SERVICES.iter().zip(Service::NAMES) {
            assert_eq!(service.name, name);
            assert_eq!(Service::find(name), Some(service));
            if let Some(url) = service.base_url {
                let url: Url = url.parse().unwrap();
                let host = url.host_str().unwrap();
                // Services on the internet need a key, programs on this machine do not.
                assert_eq!(Service::host_needs_key(host), url.scheme() == "https", "{name}");
                assert!(!url.path().ends_with('/') || url.path() == "/", "{name}");
            }
            let paths = service.list_path.into_iter().chain(service.probe_path);
            assert!(paths.clone().all(|path| path.starts_with('/')), "{name}");
            assert!(service.models == ModelSource::Named || service.list_path.is_some(), "{name}: a list");
            assert!(service.first_token_timeout <= service.first_token_timeout_last, "{name}");
            assert!(*service.temperature.start() == 0.0 && *service.temperature.end() <= 2.0, "{name}");
        }
        assert_eq!(Service::find("Ollama"), None);
    }

    #[test]
    fn a_host_that_needs_a_key_is_known_with_the_hosts_below_it() {
        for (host, needs) in [
            ("aliyuncs.com", true),
            ("dashscope-intl.aliyuncs.com", true),
            ("aliyuncs.com.example", false),
            ("notaliyuncs.com", false),
            ("r.openai.azure.com", true),
            ("api.openai.com", true),
            ("127.0.0.1", false),
            ("localhost", false),
            ("", false),
        ] {
            assert_eq!(Service::host_needs_key(host), needs, "{host}");
        }
    }
}
