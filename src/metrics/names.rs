//! Names as label values: those of the configuration, and a bounded number of others.
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

/// Names of models beyond the configuration that have a label value of their own.
const LISTED_MAX: usize = 256;
/// The value of all others.
const OTHER: &str = "other";

/// The names of models. Those that engines list are not known at the start, and may be many.
#[derive(Debug)]
pub(super) struct ModelNames {
    configured: HashSet<Arc<str>>,
    listed: Mutex<HashSet<Arc<str>>>,
}

impl ModelNames {
    /// These are of the configuration.
    pub(super) fn new<'a>(configured: impl Iterator<Item = &'a Arc<str>>) -> Self {
        ModelNames { configured: configured.cloned().collect(), listed: Mutex::default() }
    }

    /// The label value of a model.
    pub(super) fn label(&self, name: &str) -> Arc<str> {
        if let Some(name) = self.configured.get(name) {
            return Arc::clone(name);
        }
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = listed.get(name) {
            return Arc::clone(name);
        }
        let name: Arc<str> = if listed.len() < LISTED_MAX { name } else { OTHER }.into();
        if *name != *OTHER {
            listed.insert(Arc::clone(&name));
        }
        name
    }
}

/// Series that are still to be exported as 0 from the start; all others begin with their first event.
pub(super) struct SeriesBudget(usize);

impl SeriesBudget {
    pub(super) fn new() -> Self {
        SeriesBudget(1_000)
    }

    /// Whether so many more fit.
    pub(super) fn take(&mut self, series: usize) -> bool {
        let left = self.0.checked_sub(series);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_configuration_have_a_value_and_a_bounded_number_of_others() {
        let configured: Vec<Arc<str>> = (0..1_000).map(|at| format!("c{at}").into()).collect();
        let names = ModelNames::new(configured.iter());
        for at in 0..LISTED_MAX {
            assert_eq!(*names.label(&format!("l{at}")), *format!("l{at}"));
        }
        assert_eq!(
            (&*names.label("new"), &*names.label("l7"), &*names.label("c999")),
            ("other", "l7", "c999")
        );
    }

    #[test]
    fn what_does_not_fit_any_more_takes_nothing() {
        let mut budget = SeriesBudget::new();
        assert!(budget.take(990) && !budget.take(11) && budget.take(10) && !budget.take(1));
    }
}
