//! The models on offer, with the upstreams and the fallbacks that their sections name; and the faults of those names.
use super::{
    Config, Fault, Model, ModelThinking, Origin, SectionName, Upstream, check::upstream_key, layers::nearest,
    section::DEFAULT_NAME, value::api_keys,
};
use crate::upstream::{
    route::plan::KeysLimited,
    service::{Continues, ThinkingField},
};
use secrecy::SecretString;
use std::collections::BTreeMap;

/// One model, with its names resolved.
#[derive(Clone, Debug)]
pub struct ModelInUse<'a> {
    /// The name of its section.
    pub section: &'a str,
    /// What clients call it.
    pub name: &'a str,
    /// Its levels: for each target the position of its upstream in [`Config::upstreams_in_use`], the name of the model
    /// there, and its weight.
    pub levels: Vec<Vec<(usize, &'a str, u32)>>,
    /// Positions of its fallbacks in [`Config::models_in_use`].
    pub fallback: Vec<usize>,
    /// Its section; `None` for the one model of an upstream without such sections.
    pub settings: Option<&'a Model>,
}

impl Config {
    /// The upstreams in use, by name, in the order that [`ModelInUse::levels`] counts. `[upstream]` (`None`) is one of them
    /// where no section has a name, or where a model names it.
    pub fn upstreams_in_use(&self) -> Vec<(Option<&SectionName>, &Upstream)> {
        let unnamed = self.is_unnamed_in_use().then_some((None, &self.upstream));
        let named = self.upstreams.iter().map(|(name, upstream)| (Some(name), upstream));
        unnamed.into_iter().chain(named).collect()
    }

    /// Whether `[upstream]` is an upstream, and not only the defaults of others.
    pub(super) fn is_unnamed_in_use(&self) -> bool {
        let mut targets = self.models.values().flat_map(|model| model.upstreams.iter().flatten());
        self.upstreams.is_empty() || targets.any(|target| target.upstream.is_none())
    }

    /// All models, in the order in which their sections were written. What could not be resolved is left out.
    pub fn models_in_use(&self) -> Vec<ModelInUse<'_>> {
        let upstreams = self.upstreams_in_use();
        if self.models.is_empty() {
            if !self.listing_upstreams().is_empty() {
                return Vec::new();
            }
            let models = upstreams.iter().take(1).map(|(_, upstream)| ModelInUse {
                section: &upstream.model,
                name: &upstream.model,
                levels: vec![vec![(0, &upstream.model, 1)]],
                fallback: Vec::new(),
                settings: None,
            });
            return models.collect();
        }
        let models = self.models_in_order();
        let position = |name: &SectionName| models.iter().position(|(other, _)| *other == name);
        let resolved = models.iter().map(|(section, model)| {
            let name = public_name(section, model);
            let levels = model.upstreams.iter().map(|level| {
                let targets = level.iter().filter_map(|target| {
                    let at = upstreams.iter().position(|(name, _)| *name == target.upstream.as_ref())?;
                    Some((at, target.model.as_deref().unwrap_or(name), target.weight))
                });
                targets.collect()
            });
            ModelInUse {
                section: section.as_str(),
                name,
                levels: levels.collect(),
                fallback: model.fallback.iter().filter_map(position).collect(),
                settings: Some(model),
            }
        });
        resolved.collect()
    }

    /// The position of the default model in [`Config::models_in_use`].
    pub fn default_model(&self) -> usize {
        let models = self.models_in_use();
        let called = |name: &str| {
            let by_section = models.iter().position(|model| model.section == name);
            by_section.or_else(|| models.iter().position(|model| model.name == name))
        };
        let offered = |model: &ModelInUse<'_>| model.settings.is_none_or(|settings| !settings.hidden);
        called(&self.route.default).or_else(|| models.iter().position(offered)).unwrap_or(0)
    }

    /// The upstreams of a model's targets.
    pub(super) fn upstreams_of(&self, model: &ModelInUse<'_>) -> Vec<&Upstream> {
        let upstreams = self.upstreams_in_use();
        let targets = model.levels.iter().flatten();
        targets.filter_map(|(at, ..)| upstreams.get(*at).map(|(_, upstream)| *upstream)).collect()
    }

    /// The cap on its answers, in tokens: its own, else that of its first upstream.
    pub fn max_tokens_of(&self, model: &ModelInUse<'_>) -> Option<u32> {
        let own = model.settings.map(|settings| settings.max_tokens).filter(|tokens| *tokens > 0);
        let first = || self.upstreams_of(model).first().map(|upstream| upstream.max_tokens);
        own.or_else(first).filter(|tokens| *tokens > 0)
    }

    /// Its context, in tokens: its own, else the smallest that is known of its upstreams.
    pub fn context_of(&self, model: &ModelInUse<'_>) -> Option<u32> {
        let own = model.settings.map(|settings| settings.context).filter(|tokens| *tokens > 0);
        let known = || self.upstreams_of(model).into_iter().map(|upstream| upstream.context);
        own.or_else(|| known().filter(|tokens| *tokens > 0).min())
    }

    /// The lowest and the highest temperature that each of its upstreams accepts.
    pub fn temperatures_of(&self, model: &ModelInUse<'_>) -> (f32, f32) {
        let ranges = self.upstreams_of(model).into_iter().map(|upstream| &upstream.service.temperature);
        ranges.fold((0.0, 2.0), |(min, max), range| (range.start().max(min), range.end().min(max)))
    }

    /// Whether thinking can be switched at each of its upstreams.
    pub fn can_switch_thinking(&self, model: &ModelInUse<'_>) -> bool {
        let can = |upstream: &Upstream| upstream.thinking_field() != ThinkingField::None;
        model.settings.is_none_or(|settings| settings.thinking != ModelThinking::Always)
            && self.upstreams_of(model).into_iter().all(can)
    }

    /// Whether an answer of it can be continued. Only the model that wrote it continues seamlessly, so its targets must have
    /// one name: which of them answered is not known later.
    pub fn can_continue(&self, model: &ModelInUse<'_>) -> bool {
        let thinks = model
            .settings
            .is_some_and(|settings| matches!(settings.thinking, ModelThinking::On | ModelThinking::Always));
        let mut names = model.levels.iter().flatten().map(|(_, name, _)| name);
        let first = names.next();
        !thinks
            && names.all(|name| Some(name) == first)
            && self.upstreams_of(model).into_iter().any(|upstream| upstream.continues() != Continues::No)
    }

    /// The sections of models in the order in which they were written.
    fn models_in_order(&self) -> Vec<(&SectionName, &Model)> {
        let mut models: Vec<_> = self.models.iter().collect();
        models.sort_by_key(|(name, _)| self.places.get(&("model", (*name).clone())));
        models
    }

    /// The faults of models. `bad` are keys with invalid values, about which nothing else is reported.
    pub(super) fn model_faults(&self, bad: &[String]) -> Vec<Fault> {
        let mut faults = Faults { config: self, bad, found: Vec::new() };
        if self.models.is_empty() {
            faults.without_models();
            return faults.found;
        }
        for (name, model) in self.models_in_order() {
            faults.targets(name, model);
            faults.fallbacks(name, model);
        }
        faults.contexts();
        faults.temperatures();
        faults.names();
        faults.default();
        faults.found
    }

    /// Warnings about models and upstreams that fit together, but perhaps not as they were meant.
    pub(super) fn model_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let models = self.models_in_use();
        for model in models.iter().filter(|model| model.settings.is_some()) {
            let targets: usize = model.levels.iter().map(Vec::len).sum();
            if targets == 1 && model.fallback.is_empty() {
                warnings.push(format!(
                    "model.{} has one target and no fallback: nothing stands in for it when its upstream is away",
                    model.section
                ));
            }
            let context = |model: &ModelInUse<'_>| self.context_of(model).unwrap_or(0);
            for fallback in model.fallback.iter().filter_map(|at| models.get(*at)) {
                let (own, other) = (context(model), context(fallback));
                if other > 0 && other < own {
                    warnings.push(format!(
                        "model.{} has the fallback {} with a smaller context ({other} instead of {own} tokens), \
                         which cannot answer long conversations",
                        model.section, fallback.section
                    ));
                }
            }
        }
        for (name, upstream) in self.upstreams_in_use() {
            let section = upstream_key(name);
            if upstream.keys_limited == KeysLimited::Apart
                && upstream.service.key_hosts.contains(&"aliyuncs.com")
            {
                warnings.push(format!(
                    "{} = apart: DashScope counts the limits of a model over the whole account, for all keys together",
                    section("keys_limited")
                ));
            }
        }
        if !self.models.is_empty() {
            let used = |at| {
                models.iter().flat_map(|model| model.levels.iter().flatten()).any(|target| target.0 == at)
            };
            for (at, (name, _)) in self.upstreams_in_use().into_iter().enumerate() {
                if let Some(name) = name.filter(|_| !used(at)) {
                    warnings.push(format!("upstream.{name} is used by no model"));
                }
            }
            let unused = self.origins.get("upstream.model");
            warnings.extend(unused.map(|origin| {
                format!("upstream.model ({origin}) is not used beside sections [model.NAME]; route.default names one")
            }));
        }
        warnings
    }
}

impl Upstream {
    /// Its keys, in their order.
    pub fn api_keys(&self) -> Vec<SecretString> {
        api_keys(self.api_key.as_ref())
    }
}

/// What clients call a model.
fn public_name<'a>(section: &'a SectionName, model: &'a Model) -> &'a str {
    if model.name.is_empty() { section.as_str() } else { &model.name }
}

/// Collects the faults of models.
struct Faults<'a> {
    config: &'a Config,
    bad: &'a [String],
    found: Vec<Fault>,
}

impl Faults<'_> {
    fn add(&mut self, key: &str, problem: String) {
        if !self.bad.iter().any(|bad| bad == key) {
            self.found.push(self.config.fault(key, problem));
        }
    }

    /// A fault of a key that is not set, at the place of its section.
    fn add_missing(&mut self, (kind, name): (&'static str, &SectionName), field: &str, problem: String) {
        let key = format!("{kind}.{name}.{field}");
        let place = self.config.places.get(&(kind, name.clone()));
        let origin = place.cloned().unwrap_or(Origin::Default);
        if !self.bad.contains(&key) {
            self.found.push(Fault { key, origin, value: None, problem, allowed: None });
        }
    }

    fn without_models(&mut self) {
        let config = self.config;
        let all_list = config.listing_upstreams().len() == config.upstreams.len();
        if let Some(second) = config.upstreams.keys().nth(1).filter(|_| !all_list) {
            let names: Vec<_> = config.upstreams.keys().map(SectionName::as_str).collect();
            let problem = format!(
                "several upstreams, and no model that names them; write a section [model.NAME] with \
                 upstreams = [\"{}\"]",
                names.join(" ")
            );
            self.add_missing(("upstream", second), "model", problem);
        }
        let default = &config.route.default;
        let is_known = config.models_in_use().iter().any(|model| model.name == default);
        if !default.is_empty() && !is_known && config.listing_upstreams().is_empty() {
            self.add("route.default", "there is no section [model.NAME] of this name".to_owned());
        }
    }

    fn targets(&mut self, section: &SectionName, model: &Model) {
        let config = self.config;
        let key = format!("model.{section}.upstreams");
        let mut known: Vec<_> = config.upstreams.keys().map(ToString::to_string).collect();
        known.push(DEFAULT_NAME.to_owned());
        if model.upstreams.is_empty() {
            let problem = format!("names no upstream, such as [\"{}\"]", known[0]);
            self.add_missing(("model", section), "upstreams", problem);
        }
        let name = public_name(section, model);
        let mut seen = Vec::new();
        for target in model.upstreams.iter().flatten() {
            if let Some(upstream) = &target.upstream
                && !config.upstreams.contains_key(upstream)
            {
                let hint = did_you_mean(upstream.as_str(), &known);
                self.add(&key, format!("there is no section [upstream.{upstream}]{hint}"));
            }
            let this = (&target.upstream, target.model.as_deref().unwrap_or(name));
            if seen.contains(&this) {
                self.add(&key, format!("has the target {target} twice"));
            }
            seen.push(this);
        }
    }

    fn fallbacks(&mut self, section: &SectionName, model: &Model) {
        let key = format!("model.{section}.fallback");
        let known: Vec<_> = self.config.models.keys().map(ToString::to_string).collect();
        for (at, name) in model.fallback.iter().enumerate() {
            if name == section {
                self.add(&key, "names the model itself".to_owned());
            } else if !self.config.models.contains_key(name) {
                let hint = did_you_mean(name.as_str(), &known);
                self.add(&key, format!("there is no section [model.{name}]{hint}"));
            } else if model.fallback[..at].contains(name) {
                self.add(&key, format!("names {name} twice"));
            }
        }
    }

    fn contexts(&mut self) {
        for model in self.config.models_in_use() {
            let (Some(context), Some(cap)) =
                (self.config.context_of(&model), self.config.max_tokens_of(&model))
            else {
                continue;
            };
            let settings = model.settings.filter(|_| context <= cap);
            let Some(settings) = settings else { continue };
            let section = model.section;
            let (key, of) = match (settings.context, settings.max_tokens) {
                (0, 0) => continue, // Both are its upstream's: a fault of that.
                (0, _) => (format!("model.{section}.max_tokens"), format!("the context of {context} tokens")),
                (_, 0) => (format!("model.{section}.context"), format!("upstream.max_tokens = {cap}")),
                _ => (format!("model.{section}.context"), format!("model.{section}.max_tokens = {cap}")),
            };
            let problem = match settings.context {
                0 => format!("not below {of}, so that nothing can be asked"),
                _ => format!("not above {of}, so that nothing can be asked"),
            };
            self.add(&key, problem);
        }
    }

    fn temperatures(&mut self) {
        for model in self.config.models_in_use() {
            let Some(value) = model.settings.and_then(|settings| settings.temperature) else { continue };
            let (min, max) = self.config.temperatures_of(&model);
            if !(min..=max).contains(&value) {
                let problem = format!("not from {min} to {max}, which every upstream of the model accepts");
                self.add(&format!("model.{}.temperature", model.section), problem);
            }
        }
    }

    /// Each name and each alias stands for one model.
    fn names(&mut self) {
        let mut names = BTreeMap::new();
        let models = self.config.models_in_order();
        for (section, model) in &models {
            let name = public_name(section, model);
            if let Some(other) = names.insert(name, *section) {
                let problem = format!("`{name}` is the name of model.{other} too");
                if model.name.is_empty() {
                    self.add_missing(("model", section), "name", problem);
                } else {
                    self.add(&format!("model.{section}.name"), problem);
                }
            }
        }
        let mut aliases: BTreeMap<&str, &SectionName> = BTreeMap::new();
        for (section, model) in &models {
            let key = format!("model.{section}.aliases");
            for alias in &model.aliases.0 {
                if let Some(owner) = names.get(alias.as_str()) {
                    self.add(&key, format!("`{alias}` is the name of model.{owner}"));
                } else if let Some(owner) = aliases.insert(alias, *section) {
                    self.add(&key, format!("`{alias}` is an alias of model.{owner} too"));
                }
            }
        }
    }

    fn default(&mut self) {
        let models = self.config.models_in_order();
        let offered: Vec<_> =
            models.iter().filter(|(_, model)| !model.hidden).map(|(name, _)| *name).collect();
        let names = offered.iter().map(ToString::to_string).collect::<Vec<_>>();
        let Some(first) = models.first().map(|(name, _)| *name) else { return };
        if offered.is_empty() {
            self.add_missing(
                ("model", first),
                "hidden",
                "every model is hidden, so none is offered".to_owned(),
            );
            return;
        }
        let default = &self.config.route.default;
        if default.is_empty() {
            if names.len() > 1 {
                let problem =
                    format!("which model answers clients that ask for none? one of {}", names.join(", "));
                self.add("route.default", problem);
            }
            return;
        }
        let is_called = |(name, model): &&(&SectionName, &Model)| {
            name.as_str() == default || public_name(name, model) == default
        };
        match models.iter().find(is_called) {
            None => {
                let hint = did_you_mean(default, &names);
                self.add("route.default", format!("there is no section [model.{default}]{hint}"));
            }
            Some((_, model)) if model.hidden => {
                self.add("route.default", "a hidden model cannot be the default".to_owned());
            }
            Some(_) => {}
        }
    }
}

/// The most similar name, as a question; empty if none is similar.
fn did_you_mean(name: &str, known: &[String]) -> String {
    nearest(name, known).map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}
