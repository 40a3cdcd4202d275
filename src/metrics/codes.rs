//! Counters by a code from a closed set.
use super::Label;
use prometheus_client::metrics::{counter::Counter, family::Family};

/// One counter for each code. All of them exist from the start.
#[derive(Clone, Debug)]
pub struct Codes {
    family: Family<Label, Counter>,
    label: &'static str,
}

impl Codes {
    pub(super) fn new(
        family: Family<Label, Counter>,
        label: &'static str,
        codes: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        for code in codes {
            drop(family.get_or_create(&[(label, code)]));
        }
        Codes { family, label }
    }

    /// Increments the counter of a declared code.
    pub fn inc(&self, code: &'static str) {
        let label = [(self.label, code)];
        debug_assert!(self.family.get(&label).is_some(), "{code} is no {} that was declared", self.label);
        self.family.get_or_create(&label).inc();
    }

    pub fn get(&self, code: &'static str) -> u64 {
        self.family.get(&[(self.label, code)]).map_or(0, |counter| counter.get())
    }
}
