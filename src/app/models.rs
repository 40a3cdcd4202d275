//! The plan of the route and the catalog of clients, from the configured models.
use super::listing::{ListSettings, Listing};
use crate::{
    chat::{Absence, Allowed, Catalog, Model, Parameters, Range},
    config::{self, Config, DEFAULT_NAME, ModelInUse, ModelThinking, SectionName},
    upstream::{
        json_fields::Extra,
        route::plan::{ModelPlan, ModelTimes, Probed, RoutePlan, TargetPlan, Times, UpstreamPlan},
        service::Continues,
    },
};
use std::{sync::Arc, time::Duration};

/// The upstreams and models of the configuration, for the route.
pub(super) fn plan(config: &Config) -> RoutePlan {
    let upstreams = config.upstreams_in_use().into_iter().map(|(name, upstream)| UpstreamPlan {
        name: name.map_or(DEFAULT_NAME, SectionName::as_str).into(),
        keys: upstream.api_keys().len(),
        keys_limited: upstream.keys_limited,
        runs_max: upstream.runs_max,
        continues: upstream.continues() != Continues::No,
        times: times(upstream),
        probed: {
            let (list, own) = (upstream.list_path().is_some(), upstream.probe_path().is_some());
            Probed { service: list || own, keys: list }
        },
    });
    let models = config.models_in_use().into_iter().map(|model| ModelPlan {
        table: model.section.into(),
        name: model.name.into(),
        levels: model.levels.iter().map(|level| level.iter().map(target).collect()).collect(),
        context: config.context_of(&model).unwrap_or(0).into(),
        fallback: model.fallback,
        times: model.settings.map_or_else(ModelTimes::default, model_times),
    });
    RoutePlan { upstreams: upstreams.collect(), models: models.collect() }
}

/// The further fields of the requests to the upstream with this position.
pub(super) fn extra(config: &Config, at: usize, upstream: &config::Upstream) -> Extra {
    let mut extra = Extra::from(upstream.extra.clone());
    if config.models.values().all(|model| model.extra.as_str().is_empty()) {
        return extra;
    }
    let models = config.models_in_use();
    for model in &models {
        let fallbacks = model.fallback.iter().filter_map(|at| models.get(*at));
        for of in std::iter::once(model).chain(fallbacks) {
            let Some(settings) = of.settings else { continue };
            for (_, there, _) in of.levels.iter().flatten().filter(|target| target.0 == at) {
                extra.add(model.name, there, &settings.extra);
            }
        }
    }
    extra
}

/// Between two pieces of text where another target could begin the answer anew, if nothing is set.
const TEXT: Duration = Duration::from_secs(20);
/// Between two pieces of text where no other target could be asked, if nothing is set.
const TEXT_LAST: Duration = Duration::from_secs(60);

/// The limits on silence of an upstream: what is set, else what its service needs. A limit that is not set is not shorter
/// than one of bytes that is.
fn times(upstream: &config::Upstream) -> Times {
    let service = upstream.service;
    let bytes = |limit: Duration, other: Duration| limit.max(other);
    let last = upstream.first_token_timeout_last;
    let first_token_last =
        last.unwrap_or_else(|| bytes(service.first_token_timeout_last, upstream.first_byte_timeout));
    let text_last = upstream.text_timeout_last.unwrap_or_else(|| bytes(TEXT_LAST, upstream.idle_timeout));
    Times {
        first_token: upstream.first_token_timeout.unwrap_or(service.first_token_timeout),
        first_token_last,
        text: upstream.text_timeout.unwrap_or(TEXT),
        text_last,
    }
}

fn model_times(model: &config::Model) -> ModelTimes {
    ModelTimes {
        first_token: model.first_token_timeout,
        first_token_last: model.first_token_timeout_last,
        text: model.text_timeout,
        text_last: model.text_timeout_last,
    }
}

/// How long the head of a response may take: what is set, else no less than the first token, which some services send
/// with it.
pub(super) fn first_byte(config: &Config, section: &str, upstream: &config::Upstream) -> Duration {
    if config.origins.contains_key(&format!("{section}.first_byte_timeout")) {
        return upstream.first_byte_timeout;
    }
    let of_models =
        config.models.values().flat_map(|model| [model.first_token_timeout, model.first_token_timeout_last]);
    let of_upstream = [upstream.first_token_timeout, upstream.first_token_timeout_last];
    of_models.chain(of_upstream).flatten().fold(upstream.first_byte_timeout, Duration::max)
}

fn target((upstream, model, weight): &(usize, &str, u32)) -> TargetPlan {
    TargetPlan { upstream: *upstream, model: Arc::from(*model), weight: *weight }
}

/// The models on offer, for clients.
pub(super) fn catalog(config: &Config) -> Catalog {
    let models = config.models_in_use();
    let default = models.get(config.default_model()).map_or("", |model| model.name);
    let is_offered = |model: &&ModelInUse<'_>| model.settings.is_none_or(|settings| !settings.hidden);
    let offered: Vec<_> = models.iter().filter(is_offered).map(|model| offer(config, model)).collect();
    // Until an upstream has listed its models.
    if offered.is_empty() {
        Catalog::absent(Absence::Unreachable)
    } else {
        Catalog::new(offered).with_default(default)
    }
}

/// The upstreams that list their models.
pub(super) fn listing(config: &Config) -> Option<Listing> {
    let upstreams = config.listing_upstreams().into_iter().filter_map(|(at, name, upstream)| {
        Some(ListSettings {
            upstream: at,
            name: name.map_or(DEFAULT_NAME, SectionName::as_str).to_owned(),
            path: upstream.list_path()?.to_owned(),
            context: upstream.context,
        })
    });
    let upstreams: Vec<_> = upstreams.collect();
    let configured = catalog(config);
    let named = config.listing_upstreams().into_iter().map(|(_, _, upstream)| upstream.model.as_str());
    let wanted = [config.route.default.as_str()].into_iter().chain(named).find(|name| !name.is_empty());
    (!upstreams.is_empty()).then(|| Listing {
        upstreams,
        configured: configured.models().iter().map(|model| Model::clone(model)).collect(),
        model: Model {
            system_prompt: Some(config.session.system_prompt.as_str())
                .filter(|text| !text.is_empty())
                .map(Into::into),
            ..Model::named("")
        },
        default: configured.default().map(|model| model.id.clone()).or(wanted.map(Arc::from)),
    })
}

fn offer(config: &Config, model: &ModelInUse<'_>) -> Model {
    let text = |text: &str| (!text.is_empty()).then(|| text.into());
    let prompt = text(&config.session.system_prompt);
    let (context, continues) = (config.context_of(model), config.can_continue(model));
    let named = Model { context, system_prompt: prompt.clone(), continues, ..Model::named(model.name) };
    let Some(settings) = model.settings else { return named };
    let max_tokens = config.max_tokens_of(model);
    Model {
        title: if settings.title.is_empty() { named.title } else { settings.title.as_str().into() },
        aliases: settings.aliases.0.iter().map(|alias| alias.as_str().into()).collect(),
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
    let context = config.context_of(model);
    Allowed {
        temperature: names("temperature").then_some(Range { min, max }),
        top_p: names("top_p"),
        max_tokens: names("max_tokens").then(|| Allowed::max_tokens_of(config.max_tokens_of(model), context)),
        thinking: names("thinking") && config.can_switch_thinking(model),
    }
}

#[cfg(test)]
mod tests;
