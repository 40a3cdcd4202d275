//! What a service's row gives to the upstream that names it, and whether the upstream fits its service.
use super::{
    Config, Fault, ModelInUse, ModelThinking, Origin, SectionName, Upstream, address, check::upstream_key,
    value::Thinking,
};
use crate::upstream::{
    chat, dashscope,
    service::{Continues, DialectKind, ModelSource, Service, ThinkingField, TokenCap},
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

    /// Fields that requests to it have anyway. `switches`: whether thinking is switched on or off in some of them.
    fn own_fields(&self, switches: bool) -> Vec<&'static str> {
        let dialect = match self.service.dialect {
            DialectKind::DashScope => dashscope::OWN_FIELDS,
            DialectKind::Chat => chat::OWN_FIELDS,
        };
        let thinking = match self.thinking_field() {
            _ if !switches => None,
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
        let (listing, models) = (self.listing_upstreams(), self.models_in_use());
        for (at, (name, upstream)) in self.upstreams_in_use().into_iter().enumerate() {
            let lists = listing.iter().any(|(listing, ..)| *listing == at);
            let key = upstream_key(name);
            if let Some(name) = name.filter(|_| !self.origins.contains_key(&key("service"))) {
                if !bad.contains(&key("service")) {
                    faults.push(self.without_service(name, key("service")));
                }
                // What else there may be depends on it.
                continue;
            }
            let (service, url) = (upstream.service, &upstream.base_url);
            let has_address = service.base_url.is_some() || self.origins.contains_key(&key("base_url"));
            let path = has_address.then(|| address::other_api(url, service.dialect)).flatten();
            let by_deployment = url.path().contains("/openai/deployments/");
            let own = upstream.own_fields(self.switches_thinking(at, &models));
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
        faults.extend(self.fields_of_models(&models, bad));
        faults
    }

    /// A named upstream is not DashScope's by itself: its key would go there.
    fn without_service(&self, name: &SectionName, key: String) -> Fault {
        let place = self.places.get(&("upstream", name.clone())).cloned();
        Fault {
            key,
            origin: place.unwrap_or(Origin::Default),
            value: None,
            problem: "must be set: which service or engine it is".to_owned(),
            allowed: Some(format!("`{}`", Service::NAMES.join("`, `"))),
        }
    }

    /// Whether some request to the upstream at this position says whether to think.
    fn switches_thinking(&self, at: usize, models: &[ModelInUse<'_>]) -> bool {
        let upstreams = self.upstreams_in_use();
        let by_upstream =
            upstreams.get(at).is_some_and(|(_, upstream)| upstream.thinking != Thinking::Default);
        let is_here = |model: &ModelInUse<'_>| model.levels.iter().flatten().any(|target| target.0 == at);
        let by_model = |model: &ModelInUse<'_>| {
            let fallbacks = || model.fallback.iter().filter_map(|at| models.get(*at));
            let switches = model.settings.is_some_and(|settings| {
                matches!(settings.thinking, ModelThinking::On | ModelThinking::Off)
                    || settings.client.0.iter().any(|name| name == "thinking")
            });
            switches && (is_here(model) || fallbacks().any(is_here))
        };
        by_upstream || models.iter().any(by_model)
    }

    /// Faults of further fields that models have.
    fn fields_of_models(&self, models: &[ModelInUse<'_>], bad: &[String]) -> Vec<Fault> {
        let upstreams = self.upstreams_in_use();
        let fault = |model: &ModelInUse<'_>| {
            let extra = &model.settings?.extra;
            let key = format!("model.{}.extra", model.section);
            if extra.as_str().is_empty() || bad.contains(&key) {
                return None;
            }
            let mut targets = model.levels.iter().flatten();
            let field = targets.find_map(|(at, ..)| {
                let (_, upstream) = upstreams.get(*at)?;
                extra.has_any(&upstream.own_fields(self.switches_thinking(*at, models)))
            })?;
            Some(self.fault(&key, format!("has the field {field}, which the gateway sends itself")))
        };
        models.iter().filter_map(fault).collect()
    }

    /// Settings of upstreams that have no effect at their services.
    pub(super) fn service_warnings(&self) -> Vec<String> {
        let ineffective = self.upstreams_in_use().into_iter().filter(|(_, upstream)| {
            upstream.thinking != Thinking::Default && upstream.thinking_field() == ThinkingField::None
        });
        let models = self.models_in_use();
        let listing = self.listing_upstreams();
        let is_of_unknown_size = |at: usize| {
            listing.iter().any(|list| list.0 == at)
                || models.iter().any(|model| {
                    self.context_of(model).is_none()
                        && model.levels.iter().flatten().any(|target| target.0 == at)
                })
        };
        let cut = self.upstreams_in_use().into_iter().enumerate().filter(|(at, (_, upstream))| {
            upstream.service.cuts_long_prompts && upstream.context == 0 && is_of_unknown_size(*at)
        });
        let cut = cut.map(|(_, (name, upstream))| {
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
        warnings.chain(cut).chain(self.thinking_of_models(&models)).collect()
    }

    /// Warnings about models for which thinking cannot be switched, although it is configured.
    fn thinking_of_models(&self, models: &[ModelInUse<'_>]) -> Vec<String> {
        let mut warnings = Vec::new();
        for model in models {
            let Some(settings) = model.settings else { continue };
            let section = model.section;
            let without: Vec<_> = self
                .upstreams_of(model)
                .into_iter()
                .filter(|upstream| upstream.thinking_field() == ThinkingField::None)
                .map(|upstream| upstream.service.name)
                .collect();
            let is_offered = settings.client.0.iter().any(|name| name == "thinking");
            if is_offered && settings.thinking == ModelThinking::Always {
                warnings.push(format!(
                    "model.{section}.client has thinking, which is not offered: model.{section}.thinking = always"
                ));
            } else if let Some(service) = without.first().filter(|_| is_offered) {
                warnings.push(format!(
                    "model.{section}.client has thinking, which is not offered: {service} has no field for it"
                ));
            }
            let is_set = matches!(settings.thinking, ModelThinking::On | ModelThinking::Off);
            if let Some(service) = without.first().filter(|_| is_set) {
                warnings.push(format!(
                    "model.{section}.thinking has no effect at each of its upstreams: {service} has no field for it"
                ));
            }
        }
        warnings
    }
}
