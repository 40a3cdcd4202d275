//! What can be asked for and where it is answered: the upstreams, and the targets of each model. Made from the
//! configuration, and again when the models that an upstream lists change.
use std::{sync::Arc, time::Duration};

/// A model at an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Index into [`RoutePlan::upstreams`].
    pub upstream: usize,
    /// The upstream's own name for the model.
    pub model: Arc<str>,
}

/// The bounds of a plan are those of the configuration: 64 upstreams of 32 keys, 256 models of 8 levels, 16 targets and 8
/// fallbacks. Indexes are within their lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutePlan {
    pub upstreams: Vec<UpstreamPlan>,
    pub models: Vec<ModelPlan>,
}

/// A service with its address, keys and limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamPlan {
    /// Its name in the configuration, a label of metrics.
    pub name: Arc<str>,
    /// Number of its keys. None is asked as one.
    pub keys: usize,
    pub keys_limited: KeysLimited,
    /// Runs at once; 0: no limit.
    pub runs_max: usize,
    /// Whether it goes on with the beginning of an answer.
    pub continues: bool,
    pub times: Times,
    pub probed: Probed,
}

/// What of an upstream can be asked without a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// Whether it works.
    pub service: bool,
    /// Whether it accepts a key.
    pub keys: bool,
}

/// Whether the keys of an upstream share one billing account, whose limits they then share too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeysLimited {
    #[default]
    Together,
    Apart,
}

/// What a client may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPlan {
    /// Its name in the configuration, a label of metrics.
    pub table: Arc<str>,
    /// What clients ask for.
    pub name: Arc<str>,
    /// Targets of one level share by weight; a level is used when none of those before it can be.
    pub levels: Vec<Vec<TargetPlan>>,
    /// Indexes of the models that answer when no level can, in order; never their fallbacks in turn.
    pub fallback: Vec<usize>,
    /// Tokens of prompt and answer together; 0: unknown.
    pub context: u64,
    /// Set times take the place of those of the upstream.
    pub times: ModelTimes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPlan {
    pub upstream: usize,
    /// The upstream's own name for the model.
    pub model: Arc<str>,
    /// Its share within its level, at least 1.
    pub weight: u32,
}

/// Limits on silence, each for attempts whose run could move to another target, and for those whose run could not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// From sending the request to the first text or reasoning.
    pub first_token: Duration,
    pub first_token_last: Duration,
    /// Between two pieces of text or reasoning.
    pub text: Duration,
    pub text_last: Duration,
}

impl Times {
    /// Longer than any run.
    pub const UNLIMITED: Times = {
        let day = Duration::from_secs(86_400);
        Times { first_token: day, first_token_last: day, text: day, text_last: day }
    };
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelTimes {
    pub first_token: Option<Duration>,
    pub first_token_last: Option<Duration>,
    pub text: Option<Duration>,
    pub text_last: Option<Duration>,
}

impl RoutePlan {
    /// One upstream, called `default`, with one model of the same name there.
    pub fn alone(model: &str, keys: usize, times: Times) -> Self {
        let model: Arc<str> = model.into();
        RoutePlan {
            upstreams: vec![UpstreamPlan {
                name: "default".into(),
                keys,
                keys_limited: KeysLimited::Together,
                runs_max: 0,
                continues: false,
                times,
                probed: Probed::default(),
            }],
            models: vec![ModelPlan {
                table: Arc::clone(&model),
                name: Arc::clone(&model),
                levels: vec![vec![TargetPlan { upstream: 0, model, weight: 1 }]],
                fallback: Vec::new(),
                context: 0,
                times: ModelTimes::default(),
            }],
        }
    }

    /// The index of the model that clients ask for by this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.models.iter().position(|model| &*model.name == name)
    }
}
