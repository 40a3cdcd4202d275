//! Prices of models and their currency: their text forms, and the faults of prices that do not stand for a whole answer.
use super::{
    Config, Fault, Model, Origin, SectionName,
    kind::{Setting, ValueKind},
};
use crate::chat::price::{Currency, Price, PriceList, Prices};

impl Setting for Option<Price> {
    fn read(text: &str, _: &ValueKind) -> Result<Self, String> {
        let text = text.trim();
        Ok(if text.is_empty() { None } else { Some(Price::parse(text)?) })
    }
    fn show(&self, _: &ValueKind) -> String {
        self.map(|price| price.to_string()).unwrap_or_default()
    }
}

impl Setting for Option<Currency> {
    fn read(text: &str, _: &ValueKind) -> Result<Self, String> {
        let text = text.trim();
        Ok(if text.is_empty() { None } else { Some(Currency::parse(text)?) })
    }
    fn show(&self, _: &ValueKind) -> String {
        self.as_ref().map(|currency| currency.as_str().to_owned()).unwrap_or_default()
    }
}

impl Model {
    fn price_keys(&self) -> [(&'static str, Option<Price>); 3] {
        [
            ("price_input", self.price_input),
            ("price_output", self.price_output),
            ("price_cached", self.price_cached),
        ]
    }

    fn prices(&self) -> Option<Prices> {
        let (input, output) = (self.price_input?, self.price_output?);
        Some(Prices { input, cached: self.price_cached.unwrap_or(input), output })
    }
}

impl Config {
    /// The prices of all models that have some.
    pub fn price_list(&self) -> PriceList {
        let priced = |(name, model): (&SectionName, &Model)| Some((name.as_str().into(), model.prices()?));
        PriceList { currency: self.route.currency, models: self.models.iter().filter_map(priced).collect() }
    }

    /// The faults of prices. `bad` are keys with invalid values, about which nothing else is reported.
    pub(super) fn price_faults(&self, bad: &[String]) -> Vec<Fault> {
        let is_bad = |key: &str| bad.iter().any(|bad| bad == key);
        let mut faults = Vec::new();
        for (name, model) in &self.models {
            let key = |field: &str| format!("model.{name}.{field}");
            let Some((set, _)) = model.price_keys().into_iter().find(|(_, price)| price.is_some()) else {
                continue;
            };
            if self.route.currency.is_none() && !is_bad("route.currency") {
                let problem = "a price without a currency; set route.currency, such as CNY".to_owned();
                faults.push(self.fault(&key(set), problem));
            }
            for (field, price) in &model.price_keys()[..2] {
                if price.is_none() && !is_bad(&key(field)) {
                    let origin = self.origins.get(&key(set)).cloned().unwrap_or(Origin::Default);
                    let problem = format!("missing beside {}; 0 = it costs nothing", key(set));
                    faults.push(Fault { key: key(field), origin, value: None, problem, allowed: None });
                }
            }
        }
        faults
    }
}
