//! The models that clients may choose, and what they may set for one turn.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use super::Text;
use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

/// Values for one generation. `None` is not sent, and leaves the choice to the model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parameters {
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    /// The cap on the answer, in tokens.
    pub max_tokens: Option<u32>,
    /// Whether the model reasons before it answers.
    pub thinking: Option<bool>,
}

impl Parameters {
    /// These values, and those of `defaults` where there is none.
    pub fn over(self, defaults: Parameters) -> Parameters {
        Parameters {
            temperature: self.temperature.or(defaults.temperature),
            top_p: self.top_p.or(defaults.top_p),
            max_tokens: self.max_tokens.or(defaults.max_tokens),
            thinking: self.thinking.or(defaults.thinking),
        }
    }
}

/// An inclusive range of numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub min: f32,
    pub max: f32,
}

/// What a client may set for a model. `None` and `false`: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Allowed {
    pub temperature: Option<Range>,
    /// Above 0 and at most 1.
    pub top_p: bool,
    /// The largest cap on an answer, in tokens; the smallest is 1.
    pub max_tokens: Option<u32>,
    /// Reasoning can be switched on and off.
    pub thinking: bool,
}

/// A cap on answers that clients may choose up to where neither a cap nor the context of the model is known, in tokens.
const MAX_TOKENS: u32 = 4096;

impl Allowed {
    /// The largest cap on an answer that clients may choose: the operator's own cap, else half of the context.
    pub fn max_tokens_of(own: Option<u32>, context: Option<u32>) -> u32 {
        own.or(context.map(|context| (context / 2).max(1))).unwrap_or(MAX_TOKENS)
    }

    /// Checks the values of a client.
    ///
    /// # Errors
    /// The first value that is out of its range, or may not be set for this model.
    pub fn check(&self, values: &Parameters) -> Result<(), ParameterFault> {
        let fault = |field, must: String| Err(ParameterFault::Field { field, must: must.into() });
        let refused = |field| fault(field, "cannot be set for this model".to_owned());
        match (values.temperature, self.temperature) {
            (Some(_), None) => return refused("temperature"),
            (Some(value), Some(Range { min, max })) if !(min..=max).contains(&value) => {
                return fault("temperature", format!("must be {min} to {max}"));
            }
            _ => {}
        }
        match values.top_p {
            Some(_) if !self.top_p => return refused("top_p"),
            Some(value) if !(value > 0.0 && value <= 1.0) => {
                return fault("top_p", "must be above 0 and at most 1".to_owned());
            }
            _ => {}
        }
        match (values.max_tokens, self.max_tokens) {
            (Some(_), None) => return refused("max_tokens"),
            (Some(value), Some(max)) if value == 0 || value > max => {
                return fault("max_tokens", format!("must be 1 to {max}"));
            }
            _ => {}
        }
        match values.thinking {
            Some(_) if !self.thinking => refused("thinking"),
            _ => Ok(()),
        }
    }
}

/// What is wrong with a request beside its message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterFault {
    /// A parameter: its name, and what it must be.
    #[error("`body.{field}` {must}.")]
    Field { field: &'static str, must: Box<str> },
    /// The answer has ended well, is not the newest, or no model goes on with it.
    #[error("This answer cannot be continued. Try again instead.")]
    NotContinued,
}

/// A model that clients may ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The name that clients use.
    pub id: Arc<str>,
    /// The name for people.
    pub title: Arc<str>,
    /// Other names that clients may use.
    pub aliases: Box<[Box<str>]>,
    /// Tokens of a request and its answer together; `None` if unknown.
    pub context: Option<u32>,
    /// The operator's values.
    pub defaults: Parameters,
    /// What a client may set instead.
    pub allowed: Allowed,
    /// The system prompt of turns that this model answers.
    pub system_prompt: Option<Text>,
    /// Whether an answer of it that broke off can be continued.
    pub continues: bool,
    /// Every upstream that lists it has stopped answering. It is offered all the same.
    pub is_away: bool,
}

impl Model {
    /// A model of which only the name is known.
    pub fn named(id: &str) -> Self {
        Model {
            id: id.into(),
            title: id.into(),
            aliases: Box::default(),
            context: None,
            defaults: Parameters::default(),
            allowed: Allowed::default(),
            system_prompt: None,
            continues: false,
            is_away: false,
        }
    }

    fn is_called(&self, name: &str) -> bool {
        *self.id == *name || self.aliases.iter().any(|alias| **alias == *name)
    }
}

/// What a client asks for with a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// A name or an alias; `None`: the default model.
    pub model: Option<Arc<str>>,
    pub parameters: Parameters,
}

/// The model of a turn, and its values: what the client set, else what the operator did.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    pub model: Arc<Model>,
    pub parameters: Parameters,
}

/// The part of a context that is left to the answer where it has no cap.
const ANSWER_SHARE: u32 = 4;

impl Chosen {
    /// Tokens of a request that leave room for the answer; `None` if the model's context is unknown. Without a cap on the
    /// answer a quarter of the context is left to it.
    pub fn prompt_tokens_max(&self) -> Option<u32> {
        let context = self.model.context?;
        let answer = self.parameters.max_tokens.unwrap_or(context / ANSWER_SHARE);
        Some(context.saturating_sub(answer))
    }

    #[doc(hidden)]
    pub fn for_test() -> Self {
        Chosen { model: Arc::new(Model::named("m")), parameters: Parameters::default() }
    }
}

/// The models on offer. One of them is the default, unless there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalog {
    models: Vec<Arc<Model>>,
    default: usize,
    absence: Absence,
}

/// Why no model is on offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The model service does not answer.
    Unreachable,
    /// The model service offers nothing.
    Nothing,
}

/// Why a choice is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChoiceFault {
    /// There is no such model.
    Unknown {
        offered: Offered,
    },
    Parameter(ParameterFault),
    Absent(Absence),
}

/// The names of the models on offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered(Box<str>);

/// Names in a sentence; the rest is counted.
const OFFERED_MAX: usize = 20;

impl fmt::Display for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Catalog {
    /// Models with different names, the first of which is the default.
    pub fn new(models: Vec<Model>) -> Self {
        let models = models.into_iter().map(Arc::new).collect();
        Catalog { models, default: 0, absence: Absence::Nothing }
    }

    /// One model, of which only the name is known.
    pub fn of_one(id: &str) -> Self {
        Catalog::new(vec![Model::named(id)])
    }

    /// No model.
    pub fn absent(absence: Absence) -> Self {
        Catalog { models: Vec::new(), default: 0, absence }
    }

    /// The same, with this model as the default, if there is one of this name.
    #[must_use]
    pub fn with_default(mut self, name: &str) -> Self {
        self.default = self.models.iter().position(|model| model.is_called(name)).unwrap_or(self.default);
        self
    }

    /// The models, in the order in which they are offered.
    pub fn models(&self) -> &[Arc<Model>] {
        &self.models
    }

    /// The model of those who ask for none.
    pub fn default(&self) -> Option<&Arc<Model>> {
        self.models.get(self.default)
    }

    /// The model with this name or alias, or the default one.
    ///
    /// # Errors
    /// There is no such model.
    pub fn find(&self, asked: Option<&str>) -> Result<&Arc<Model>, ChoiceFault> {
        let default = self.default().ok_or(ChoiceFault::Absent(self.absence))?;
        let Some(name) = asked else { return Ok(default) };
        let found = self.models.iter().find(|model| model.is_called(name));
        found.ok_or_else(|| ChoiceFault::Unknown { offered: self.offered() })
    }

    /// What a client asks for, checked.
    ///
    /// # Errors
    /// There is no such model, or a value that is not allowed for it.
    pub fn choose(&self, choice: &Choice) -> Result<Chosen, ChoiceFault> {
        let model = self.find(choice.model.as_deref())?;
        model.allowed.check(&choice.parameters).map_err(ChoiceFault::Parameter)?;
        Ok(Chosen { model: Arc::clone(model), parameters: choice.parameters.over(model.defaults) })
    }

    fn offered(&self) -> Offered {
        let names = self.models.iter().take(OFFERED_MAX).map(|model| &*model.id);
        let mut names = names.collect::<Vec<_>>().join(", ");
        if let Some(more) = self.models.len().checked_sub(OFFERED_MAX).filter(|more| *more > 0) {
            names.push_str(&format!(" and {more} more"));
        }
        Offered(names.into())
    }
}

/// The catalog that all parts of a gateway share; it may be replaced at any time.
#[derive(Clone, Debug)]
pub struct Models(Arc<RwLock<Arc<Catalog>>>);

impl Models {
    pub fn new(catalog: Catalog) -> Self {
        Models(Arc::new(RwLock::new(Arc::new(catalog))))
    }

    /// The catalog of this moment.
    pub fn now(&self) -> Arc<Catalog> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Offers other models from now on. Turns that were accepted keep theirs.
    pub fn replace(&self, catalog: Catalog) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        let allowed = Allowed {
            temperature: Some(Range { min: 0.0, max: 1.99 }),
            top_p: true,
            max_tokens: Some(100),
            thinking: true,
        };
        let defaults = Parameters { temperature: Some(0.5), thinking: Some(false), ..Parameters::default() };
        let free = Model { allowed, defaults, aliases: Box::new(["default".into()]), ..Model::named("free") };
        Catalog::new(vec![Model::named("fixed"), free])
    }

    fn refused(choice: &Choice) -> String {
        match catalog().choose(choice).unwrap_err() {
            ChoiceFault::Parameter(ParameterFault::Field { field, must }) => format!("{field} {must}"),
            ChoiceFault::Parameter(ParameterFault::NotContinued) => unreachable!(),
            ChoiceFault::Unknown { offered } => format!("offered: {offered}"),
            ChoiceFault::Absent(absence) => format!("{absence:?}"),
        }
    }

    fn ask(model: &str, parameters: Parameters) -> Choice {
        Choice { model: Some(model.into()), parameters }
    }

    #[test]
    fn a_model_is_found_by_its_name_or_an_alias_and_else_the_default() {
        let find = |name| catalog().find(name).map(|model| model.id.to_string());
        assert_eq!(find(None).unwrap(), "fixed");
        assert_eq!(find(Some("free")).unwrap(), "free");
        assert_eq!(find(Some("default")).unwrap(), "free");
        assert_eq!(refused(&ask("gone", Parameters::default())), "offered: fixed, free");
        let default = |name| catalog().with_default(name).default().map(|model| model.id.to_string());
        assert_eq!(
            (default("default").as_deref(), default("gone").as_deref()),
            (Some("free"), Some("fixed"))
        );
    }

    #[test]
    fn a_value_out_of_its_range_is_refused_with_what_it_must_be() {
        let none = Parameters::default();
        for (parameters, fault) in [
            (Parameters { temperature: Some(2.0), ..none }, "temperature must be 0 to 1.99"),
            (Parameters { temperature: Some(-0.1), ..none }, "temperature must be 0 to 1.99"),
            (Parameters { temperature: Some(f32::NAN), ..none }, "temperature must be 0 to 1.99"),
            (Parameters { top_p: Some(0.0), ..none }, "top_p must be above 0 and at most 1"),
            (Parameters { top_p: Some(1.1), ..none }, "top_p must be above 0 and at most 1"),
            (Parameters { top_p: Some(f32::NAN), ..none }, "top_p must be above 0 and at most 1"),
            (Parameters { max_tokens: Some(0), ..none }, "max_tokens must be 1 to 100"),
            (Parameters { max_tokens: Some(101), ..none }, "max_tokens must be 1 to 100"),
        ] {
            assert_eq!(refused(&ask("free", parameters)), fault);
        }
        for (parameters, field) in [
            (Parameters { temperature: Some(1.0), ..none }, "temperature"),
            (Parameters { top_p: Some(1.0), ..none }, "top_p"),
            (Parameters { max_tokens: Some(1), ..none }, "max_tokens"),
            (Parameters { thinking: Some(true), ..none }, "thinking"),
        ] {
            let fault = format!("{field} cannot be set for this model");
            assert_eq!(refused(&ask("fixed", parameters)), fault);
            assert!(catalog().choose(&ask("free", parameters)).is_ok(), "{field}");
        }
    }

    #[test]
    fn a_clients_values_stand_over_the_operators() {
        let asked = Parameters { thinking: Some(true), max_tokens: Some(100), ..Parameters::default() };
        let chosen = catalog().choose(&ask("free", asked)).unwrap();
        let expected = Parameters { temperature: Some(0.5), ..asked };
        assert_eq!(chosen.parameters, expected);
    }

    #[test]
    fn a_request_leaves_room_for_the_answer() {
        let chosen = |context, max_tokens| Chosen {
            model: Arc::new(Model { context, ..Model::named("m") }),
            parameters: Parameters { max_tokens, ..Parameters::default() },
        };
        let tokens = |context, max_tokens| chosen(context, max_tokens).prompt_tokens_max();
        assert_eq!(tokens(None, Some(10)), None);
        assert_eq!(tokens(Some(100), Some(10)), Some(90));
        assert_eq!(tokens(Some(100), None), Some(75));
        assert_eq!(tokens(Some(100), Some(200)), Some(0));
        assert_eq!(
            [(Some(7), Some(100)), (None, Some(100)), (None, Some(1)), (None, None)]
                .map(|(own, context)| Allowed::max_tokens_of(own, context)),
            [7, 50, 1, 4096]
        );
    }

    #[test]
    fn without_models_nothing_is_found_for_a_stated_cause() {
        for absence in [Absence::Unreachable, Absence::Nothing] {
            let catalog = Catalog::absent(absence);
            assert_eq!(catalog.find(None), Err(ChoiceFault::Absent(absence)));
            assert_eq!(catalog.find(Some("m")), Err(ChoiceFault::Absent(absence)));
        }
    }

    #[test]
    fn names_on_offer_are_listed_up_to_a_limit() {
        let of = |count: usize| {
            Catalog::new((0..count).map(|at| Model::named(&format!("m{at}"))).collect()).offered().to_string()
        };
        assert_eq!(of(2), "m0, m1");
        assert!(of(20).ends_with(", m19"));
        assert!(of(256).ends_with(", m19 and 236 more"));
    }

    #[test]
    fn all_holders_see_a_replaced_catalog() {
        let models = Models::new(Catalog::of_one("a"));
        let other = models.clone();
        let before = other.now();
        models.replace(Catalog::of_one("b"));
        assert_eq!((&*before.models()[0].id, &*other.now().models()[0].id), ("a", "b"));
    }
}
