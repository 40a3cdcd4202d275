//! What a service's row gives to the upstream that names it, and whether the upstream fits its service.
use super::{Config, Fault, Origin, SectionName, Upstream, address, check::upstream_key, value::Thinking};
use crate::upstream::{
    chat, dashscope,
    service::{Continues, DialectKind, ModelSource, ThinkingField, TokenCap},
};

/// A short variable for the key of one service. At another one it is ignored: it may be set for another program, and its
/// key must not be sent to that service's host.
const KEY_OF_DASHSCOPE: [&str; 2] = ["DASHSCOPE_API_KEY", "DASHSCOPE_API_KEY_FILE"];
const DASHSCOPE_HOST: &str = "aliyuncs.com";

impl Upstream {
    /// Its own value, else that of the service's row.
    pub fn token_cap(&self) -> TokenCap {
        self.token_cap_field.unwrap_or(self.service.token_cap)
    }

    /// Its own value, else that of the service's row.
    pub fn thinking_field(&self) -> ThinkingField {
        self.thinking_field.unwrap_or(self.service.thinking)
    }

    /// Its own value, else that of the service's row.
    pub fn include_usage(&self) -> bool {
        self.include_usage.unwrap_or(self.service.include_usage)
    }

    /// How it goes on with the beginning of an answer: its own value, else that of the service's row. Not at all where it
    /// is to think first: what it thinks would stand between both texts.
    pub fn continues(&self) -> Continues {
        let row = self.service;
        let is_reached =
            row.continue_path.is_empty() || ["/", row.continue_path].contains(&self.base_url.path());
        let of_row = if is_reached { row.continues } else { Continues::No };
        if self.thinking == Thinking::On { Continues::No } else { self.continues.unwrap_or(of_row) }
    }

    /// What stands before the path of a request that is to go on with an answer.
    pub fn continue_path(&self) -> &'static str {
        if self.base_url.path() == "/" { self.service.continue_path } else { "" }
    }

    /// What is wrong with its own value of `continues`.
    fn continues_problem(&self) -> Option<&'static str> {
        let own = self.continues.filter(|own| *own != Continues::No)?;
        let is_native = self.service.dialect == DialectKind::DashScope;
        if self.thinking == Thinking::On {
            Some("an answer is continued without thinking, and `thinking` is on; leave out one of them")
        } else if is_native && own != Continues::Partial {
            Some("DashScope's own dialect has only partial; other ways are of chat completions")
        } else {
            None
        }
    }

    /// Where it lists its models, below the base URL: its own value, else that of the service's row. A deployment of Azure
    /// has no list.
    pub fn list_path(&self) -> Option<&str> {
        let own = Some(self.list_path.as_str()).filter(|path| !path.is_empty());
        own.or(self.service.list_path.filter(|_| self.api_version.is_empty()))
    }

    /// What answers while it works, from the root of its host: its own value, else that of the service's row.
    pub fn probe_path(&self) -> Option<&str> {
        Some(self.probe_path.as_str()).filter(|path| !path.is_empty()).or(self.service.probe_path)
    }

    /// Fields that requests to it have anyway.
    fn own_fields(&self) -> Vec<&'static str> {
        let dialect = match self.service.dialect {
            DialectKind::DashScope => dashscope::OWN_FIELDS,
            DialectKind::Chat => chat::OWN_FIELDS,
        };
        let thinking = match self.thinking_field() {
            _ if self.thinking == Thinking::Default => None,
            ThinkingField::None => None,
            ThinkingField::EnableThinking => Some("enable_thinking"),
            ThinkingField::ReasoningEffort => Some("reasoning_effort"),
            ThinkingField::ChatTemplateKwargs => Some("chat_template_kwargs"),
            ThinkingField::ThinkingType => Some("thinking"),
        };
        let continues: &[&str] = match self.continues() {
            Continues::ContinueFinalMessage => &["continue_final_message", "add_generation_prompt"],
            Continues::No | Continues::Partial | Continues::Last | Continues::Prefix => &[],
        };
        dialect.iter().chain(continues).copied().chain(thinking).collect()
    }
}

impl Config {
    /// Gives each upstream what its service's row has for keys that were not set.
    pub(super) fn complete_services(&mut self) {
        let Config { upstream, upstreams, origins, ignored, .. } = self;
        let named = upstreams.iter_mut().map(|(name, upstream)| (Some(name), upstream));
        for (name, upstream) in named.chain([(None, upstream)]) {
            let key = upstream_key(name);
            if !origins.contains_key(&key("base_url"))
                && let Some(Ok(url)) = upstream.service.base_url.map(str::parse)
            {
                upstream.base_url = url;
            }
            if !origins.contains_key(&key("first_byte_timeout")) {
                // Some services send the head only with the first token.
                let first_token = upstream.service.first_token_timeout_last;
                upstream.first_byte_timeout = upstream.first_byte_timeout.max(first_token);
            }
            if !origins.contains_key(&key("model")) {
                let named = upstream.models != Some(ModelSource::Listed);
                let model = upstream.service.default_model.filter(|_| named);
                upstream.model = model.unwrap_or_default().to_owned();
            }
            let is_foreign = |origin: &&Origin| {
                let Origin::Variable(variable) = origin else { return false };
                KEY_OF_DASHSCOPE.contains(&variable.as_str())
                    && !upstream.service.key_hosts.contains(&DASHSCOPE_HOST)
            };
            if let Some(origin) = origins.get(&key("api_key")).filter(is_foreign).cloned() {
                origins.remove(&key("api_key"));
                ignored.push(origin);
                upstream.api_key = None;
            }
        }
    }

    /// The upstreams that list their models, with their positions in [`Config::upstreams_in_use`]. Engines do so unless
    /// a model is configured.
    pub fn listing_upstreams(&self) -> Vec<(usize, Option<&SectionName>, &Upstream)> {
        let lists = |upstream: &Upstream| match upstream.models {
            Some(source) => source == ModelSource::Listed,
            None => {
                let is_named = !upstream.model.is_empty() || !self.models.is_empty();
                upstream.service.models == ModelSource::Listed && !is_named
            }
        };
        let upstreams = self.upstreams_in_use().into_iter().enumerate();
        upstreams
            .filter(|(_, (_, upstream))| lists(upstream))
            .map(|(at, (name, upstream))| (at, name, upstream))
            .collect()
    }

    /// Faults of upstreams with regard to their services.
    pub(super) fn service_faults(&self, bad: &[String]) -> Vec<Fault> {
        let mut faults = Vec::new();
        let listing = self.listing_upstreams();
        for (at, (name, upstream)) in self.upstreams_in_use().into_iter().enumerate() {
            let lists = listing.iter().any(|(listing, ..)| *listing == at);
            let key = upstream_key(name);
            let (service, url) = (upstream.service, &upstream.base_url);
            let has_address = service.base_url.is_some() || self.origins.contains_key(&key("base_url"));
            let path = has_address.then(|| address::other_api(url, service.dialect)).flatten();
            let by_deployment = url.path().contains("/openai/deployments/");
            let own = upstream.own_fields();
            let found = [
                (!has_address).then(|| {
                    (
                        "base_url",
                        format!(
                            "must be set: {} = {} has no address of its own",
                            key("service"),
                            service.name
                        ),
                    )
                }),
                path.map(|problem| ("base_url", problem)),
                (by_deployment && upstream.api_version.is_empty()).then(|| {
                    (
                        "api_version",
                        "must be set: the address is that of a deployment, such as 2026-05-01".to_owned(),
                    )
                }),
                (self.models.is_empty() && upstream.model.is_empty() && !lists).then(|| {
                    (
                        "model",
                        format!("must be set: which model of {} = {} answers", key("service"), service.name),
                    )
                }),
                upstream
                    .extra
                    .has_any(&own)
                    .map(|field| ("extra", format!("has the field {field}, which the gateway sends itself"))),
            ];
            let list = [
                upstream.continues_problem().map(|problem| ("continues", problem.to_owned())),
                (lists && upstream.list_path().is_none()).then(|| {
                    ("models", format!("{} = {} has no list of models", key("service"), service.name))
                }),
                (!upstream.list_path.is_empty() && !upstream.list_path.starts_with('/'))
                    .then(|| ("list_path", "does not begin with a slash".to_owned())),
                (!upstream.probe_path.is_empty() && !upstream.probe_path.starts_with('/'))
                    .then(|| ("probe_path", "does not begin with a slash".to_owned())),
            ];
            for (field, problem) in found.into_iter().chain(list).flatten() {
                let affects = [key(field), key("service")];
                if !bad.iter().any(|name| affects.contains(name)) {
                    let fault = self.fault(&key(field), problem);
                    let value = fault.value.filter(|_| self.origins.contains_key(&key(field)));
                    faults.push(Fault { value, ..fault });
                }
            }
        }
        faults
    }

    /// Settings of upstreams that have no effect at their services.
    pub(super) fn service_warnings(&self) -> Vec<String> {
        let ineffective = self.upstreams_in_use().into_iter().filter(|(_, upstream)| {
            upstream.thinking != Thinking::Default && upstream.thinking_field() == ThinkingField::None
        });
        let cut = self
            .listing_upstreams()
            .into_iter()
            .filter(|(_, _, upstream)| upstream.service.cuts_long_prompts && upstream.context == 0);
        let cut = cut.map(|(_, name, upstream)| {
            let key = upstream_key(name);
            format!(
                "{} is not set: {} = {} cuts off what exceeds the context that it was started with, without an error",
                key("context"),
                key("service"),
                upstream.service.name
            )
        });
        let warnings = ineffective.map(|(name, upstream)| {
            let key = upstream_key(name);
            format!(
                "{} has no effect: {} = {} has no field for it, only the model decides",
                key("thinking"),
                key("service"),
                upstream.service.name
            )
        });
        warnings.chain(cut).collect()
    }
}
