//! Requests to model services, measured as in OpenTelemetry's convention: single requests, from the time of sending, without
//! queue and pauses; and the tokens that they used.
use super::{
    Declare, Histograms, Registry,
    names::{ModelNames, SeriesBudget},
};
use crate::{
    chat::{TokenCount, Usage},
    upstream::route::plan::RoutePlan,
};
use prometheus_client::metrics::{counter::Counter, family::Family, histogram::Histogram};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

/// The buckets of OpenTelemetry's convention for durations of inference.
const INFERENCE: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const CHUNK_GAP: [f64; 11] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0];
/// Series of one target: three histograms, each with two sums and a last bucket, and four counters for both uses.
const SERIES_OF_TARGET: usize = 2 * (INFERENCE.len() + 3) + CHUNK_GAP.len() + 3 + 2 * 4;

/// The provider of an upstream that is not of the configuration.
const OTHER_PROVIDER: &str = "openai";

/// Operation, provider, model and upstream.
type OfTarget = [(&'static str, Arc<str>); 4];
/// The same, and what the tokens were used for.
type OfUse = (OfTarget, [(&'static str, &'static str); 1]);
/// Upstream and kind.
type OfKind = ([(&'static str, Arc<str>); 1], [(&'static str, &'static str); 1]);

pub struct Inference {
    families: Families,
    models: Arc<ModelNames>,
    /// By the name of the upstream.
    providers: HashMap<Arc<str>, &'static str>,
    /// By the name of the upstream and the label value of the model.
    targets: RwLock<HashMap<Arc<str>, Targets>>,
}

type Targets = HashMap<Arc<str>, Arc<TargetInference>>;

struct Families {
    duration: Histograms<OfTarget>,
    time_to_first_chunk: Histograms<OfTarget>,
    time_per_output_chunk: Histograms<OfTarget>,
    input_tokens: Family<OfUse, Counter>,
    output_tokens: Family<OfUse, Counter>,
    cached_tokens: Family<OfUse, Counter>,
    reasoning_tokens: Family<OfUse, Counter>,
    estimated_tokens: Family<OfKind, Counter>,
}

/// The measurements of one target. An attempt looks them up once and keeps them.
#[derive(Debug)]
pub struct TargetInference {
    pub duration: Histogram,
    pub time_to_first_chunk: Histogram,
    pub time_per_output_chunk: Histogram,
    answer: UsageCounters,
    wasted: UsageCounters,
    estimated_input: Counter,
    estimated_output: Counter,
}

#[derive(Debug)]
struct UsageCounters {
    input: Counter,
    output: Counter,
    cached: Counter,
    reasoning: Counter,
}

impl Inference {
    /// For these upstreams, with the provider of each.
    pub(super) fn declare(
        registry: &mut Registry,
        plan: &RoutePlan,
        providers: &[&'static str],
        models: &Arc<ModelNames>,
        budget: &mut SeriesBudget,
    ) -> Self {
        let names = plan.upstreams.iter().map(|upstream| Arc::clone(&upstream.name));
        let inference = Inference {
            families: Families::declare(registry),
            models: Arc::clone(models),
            providers: names.zip(providers.iter().copied()).collect(),
            targets: RwLock::default(),
        };
        for target in plan.models.iter().flat_map(|model| model.levels.iter().flatten()) {
            let Some(upstream) = plan.upstreams.get(target.upstream) else { continue };
            if !inference.is_known(&upstream.name, &target.model) && budget.take(SERIES_OF_TARGET) {
                inference.target(&upstream.name, &target.model);
            }
        }
        inference
    }

    fn is_known(&self, upstream: &str, model: &str) -> bool {
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        targets.get(upstream).is_some_and(|models| models.contains_key(model))
    }

    /// The measurements of a model at an upstream, by the upstream's own name for it.
    pub fn target(&self, upstream: &Arc<str>, model: &str) -> Arc<TargetInference> {
        let label = self.models.label(model);
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = targets.get(upstream).and_then(|models| models.get(&label)) {
            return Arc::clone(known);
        }
        drop(targets);
        let mut targets = self.targets.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(self.make(upstream, &label));
        let models = targets.entry(Arc::clone(upstream)).or_default();
        Arc::clone(models.entry(Arc::clone(&label)).or_insert_with(new))
    }

    fn make(&self, upstream: &Arc<str>, model: &Arc<str>) -> TargetInference {
        let provider = self.providers.get(upstream).copied().unwrap_or(OTHER_PROVIDER);
        let labels: OfTarget = [
            ("gen_ai_operation_name", "chat".into()),
            ("gen_ai_provider_name", provider.into()),
            ("gen_ai_request_model", Arc::clone(model)),
            ("upstream", Arc::clone(upstream)),
        ];
        let families = &self.families;
        let counters = |used_for| {
            let labels = (labels.clone(), [("use", used_for)]);
            UsageCounters {
                input: families.input_tokens.get_or_create_owned(&labels),
                output: families.output_tokens.get_or_create_owned(&labels),
                cached: families.cached_tokens.get_or_create_owned(&labels),
                reasoning: families.reasoning_tokens.get_or_create_owned(&labels),
            }
        };
        let estimated = |kind| {
            let labels = ([("upstream", Arc::clone(upstream))], [("kind", kind)]);
            families.estimated_tokens.get_or_create_owned(&labels)
        };
        TargetInference {
            duration: families.duration.get_or_create_owned(&labels),
            time_to_first_chunk: families.time_to_first_chunk.get_or_create_owned(&labels),
            time_per_output_chunk: families.time_per_output_chunk.get_or_create_owned(&labels),
            answer: counters("answer"),
            wasted: counters("wasted"),
            estimated_input: estimated("input"),
            estimated_output: estimated("output"),
        }
    }
}

impl Families {
    fn declare(registry: &mut Registry) -> Self {
        let mut of = Declare(registry);
        Families {
            duration: of.family_of_seconds(
                "gen_ai_client_inference_duration",
                "Duration of one request to the model service, from sending it to the end of the response",
                || Histogram::new(INFERENCE),
            ),
            time_to_first_chunk: of.family_of_seconds(
                "gen_ai_client_inference_time_to_first_chunk",
                "From sending one request to the first output in its response",
                || Histogram::new(INFERENCE),
            ),
            time_per_output_chunk: of.family_of_seconds(
                "gen_ai_client_inference_time_per_output_chunk",
                "Time between two chunks of output, of one in 16",
                || Histogram::new(CHUNK_GAP),
            ),
            input_tokens: of.one(
                "gen_ai_client_inference_usage_input_tokens",
                "Input tokens as the service counted them, else as they are estimated",
            ),
            output_tokens: of.one(
                "gen_ai_client_inference_usage_output_tokens",
                "Output tokens as the service counted them, else as they are estimated",
            ),
            cached_tokens: of.one(
                "gen_ai_client_inference_usage_cache_read_input_tokens",
                "Input tokens that the service read from its cache",
            ),
            reasoning_tokens: of.one(
                "gen_ai_client_inference_usage_reasoning_output_tokens",
                "Output tokens spent on reasoning",
            ),
            estimated_tokens: of.one(
                "tidegate_tokens_estimated",
                "Tokens that no service counted, and that are estimated in `gen_ai_client_inference_usage_*`",
            ),
        }
    }
}

impl TargetInference {
    /// Counts what an attempt used: the one whose text is the answer, or another.
    pub fn used(&self, tokens: &TokenCount, is_answer: bool) {
        let TokenCount { usage, is_estimated } = tokens;
        let counters = if is_answer { &self.answer } else { &self.wasted };
        counters.add(usage);
        if *is_estimated {
            self.estimated_input.inc_by(usage.input_tokens);
            self.estimated_output.inc_by(usage.output_tokens);
        }
    }
}

impl UsageCounters {
    fn add(&self, usage: &Usage) {
        self.input.inc_by(usage.input_tokens);
        self.output.inc_by(usage.output_tokens);
        self.cached.inc_by(usage.cached_tokens);
        self.reasoning.inc_by(usage.reasoning_tokens);
    }
}
