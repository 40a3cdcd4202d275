//! The plan of the route and the catalog of clients, from the configured models.
use crate::{
    chat::{Allowed, Catalog, Model, Parameters, Range},
    config::{self, Config, DEFAULT_NAME, ModelInUse, ModelThinking, SectionName},
    upstream::route::plan::{KeysLimited, ModelPlan, ModelTimes, RoutePlan, TargetPlan, Times, UpstreamPlan},
};
use std::sync::Arc;

/// The upstreams and models of the configuration, for the route.
pub(super) fn plan(config: &Config) -> RoutePlan {
    let upstreams = config.upstreams_in_use().into_iter().map(|(name, upstream)| UpstreamPlan {
        name: name.map_or(DEFAULT_NAME, SectionName::as_str).into(),
        keys: upstream.api_keys().len(),
        keys_limited: KeysLimited::Together,
        runs_max: 0,
        times: Times::UNLIMITED,
    });
    let models = config.models_in_use().into_iter().map(|model| ModelPlan {
        table: model.section.into(),
        name: model.name.into(),
        levels: model.levels.iter().map(|level| level.iter().map(target).collect()).collect(),
        fallback: model.fallback,
        context: model.settings.map_or(0, |settings| settings.context.into()),
        times: ModelTimes::default(),
    });
    RoutePlan { upstreams: upstreams.collect(), models: models.collect() }
}

fn target((upstream, model, weight): &(usize, &str, u32)) -> TargetPlan {
    TargetPlan { upstream: *upstream, model: Arc::from(*model), weight: *weight }
}

/// The models on offer, for clients.
pub(super) fn catalog(config: &Config) -> Catalog {
    let models = config.models_in_use();
    let default = models.get(config.default_model()).map_or("", |model| model.name);
    let is_offered = |model: &&ModelInUse<'_>| model.settings.is_none_or(|settings| !settings.hidden);
    let offered = models.iter().filter(is_offered).map(|model| offer(config, model)).collect();
    Catalog::new(offered).with_default(default)
}

fn offer(config: &Config, model: &ModelInUse<'_>) -> Model {
    let text = |text: &str| (!text.is_empty()).then(|| text.into());
    let prompt = text(&config.session.system_prompt);
    let named = Model { system_prompt: prompt.clone(), ..Model::named(model.name) };
    let Some(settings) = model.settings else { return named };
    let context = Some(settings.context).filter(|tokens| *tokens > 0);
    let max_tokens = config.max_tokens_of(model);
    Model {
        title: if settings.title.is_empty() { named.title } else { settings.title.as_str().into() },
        aliases: settings.aliases.0.iter().map(|alias| alias.as_str().into()).collect(),
        context,
        defaults: Parameters {
            temperature: settings.temperature,
            top_p: settings.top_p,
            max_tokens,
            thinking: match settings.thinking {
                ModelThinking::On => Some(true),
                ModelThinking::Off => Some(false),
                ModelThinking::Default | ModelThinking::Always => None,
            },
        },
        allowed: allowed(config, model, settings),
        system_prompt: text(&settings.system_prompt).or(prompt),
        ..named
    }
}

/// What a client may set: what the operator names, as far as every target can.
fn allowed(config: &Config, model: &ModelInUse<'_>, settings: &config::Model) -> Allowed {
    let names = |name: &str| settings.client.0.iter().any(|named| named == name);
    let (min, max) = config.temperatures_of(model);
    let context = Some(settings.context).filter(|tokens| *tokens > 0);
    Allowed {
        temperature: names("temperature").then_some(Range { min, max }),
        top_p: names("top_p"),
        max_tokens: names("max_tokens").then(|| Allowed::max_tokens_of(config.max_tokens_of(model), context)),
        thinking: names("thinking") && config.can_switch_thinking(model),
    }
}

#[cfg(test)]
mod tests;
