//! What answers cost: prices for a million tokens, and costs in whole billionths of the currency, so that sums are exact.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use super::Usage;
use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

/// Decimal places of a price.
const PLACES: usize = 6;
/// Millionths in one.
const MILLIONTHS: u64 = 1_000_000;
/// Billionths in one.
const BILLIONTHS: u64 = 1_000_000_000;
/// The highest price, of a million tokens: beyond all currencies.
const PRICE_MAX: u64 = 1_000_000_000;

/// The price of a million tokens, in millionths of the currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Price(u64);

/// The code of a currency: three capital letters (ISO 4217).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Currency([u8; 3]);

/// The prices of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prices {
    pub input: Price,
    /// Of input that the service had in its cache.
    pub cached: Price,
    /// Of the answer and its reasoning.
    pub output: Price,
}

/// An amount of money, in billionths of the currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(u64);

/// The prices of all models that have some, in one currency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceList {
    /// `None`: there are no prices.
    pub currency: Option<Currency>,
    /// By the model's name in the configuration.
    pub models: BTreeMap<Arc<str>, Prices>,
}

impl Price {
    /// A decimal number such as `0.8`.
    ///
    /// # Errors
    /// What is wrong, without the text itself.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(places) {
            return Err("not a decimal number");
        }
        if places.len() > PLACES {
            return Err("more than 6 decimal places");
        }
        let whole = u64::from_str(whole).unwrap_or(u64::MAX);
        let places = u64::from_str(&format!("{places:0<PLACES$}")).unwrap_or(u64::MAX);
        let price = whole.saturating_mul(MILLIONTHS).saturating_add(places);
        if price > PRICE_MAX.saturating_mul(MILLIONTHS) { Err("out of range") } else { Ok(Price(price)) }
    }
}

/// As it is parsed, without zeros at the end.
impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(f, self.0, MILLIONTHS, PLACES)
    }
}

impl Currency {
    /// A code such as `CNY`.
    ///
    /// # Errors
    /// What is wrong, without the text itself.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let code =
            <[u8; 3]>::try_from(text.as_bytes()).ok().filter(|code| code.iter().all(u8::is_ascii_uppercase));
        code.map(Currency).ok_or("not three capital letters")
    }

    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Prices {
    /// What so many tokens cost, rounded up; at most [`u64::MAX`] billionths. Reasoning is part of the output, and no more
    /// input is cached than there is.
    pub fn cost(&self, usage: &Usage) -> Cost {
        /// Millionths for a million tokens, in one billionth for one token.
        const PER_BILLIONTH: u128 = 1_000;
        let cached = usage.cached_tokens.min(usage.input_tokens);
        let parts = [
            (usage.input_tokens.saturating_sub(cached), self.input),
            (cached, self.cached),
            (usage.output_tokens, self.output),
        ];
        // No part reaches 2^114.
        let sum = parts.into_iter().fold(0_u128, |sum, (tokens, price)| {
            sum.saturating_add(u128::from(tokens).saturating_mul(price.0.into()))
        });
        Cost(u64::try_from(sum.div_ceil(PER_BILLIONTH)).unwrap_or(u64::MAX))
    }
}

impl Cost {
    pub fn billionths(self) -> u64 {
        self.0
    }
}

/// In the currency, without zeros at the end.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(f, self.0, BILLIONTHS, 9)
    }
}

fn decimal(f: &mut fmt::Formatter<'_>, number: u64, one: u64, places: usize) -> fmt::Result {
    let (whole, rest) = (number.checked_div(one).unwrap_or(0), number.checked_rem(one).unwrap_or(0));
    if rest == 0 {
        return write!(f, "{whole}");
    }
    let rest = format!("{rest:0places$}");
    write!(f, "{whole}.{}", rest.trim_end_matches('0'))
}

impl PriceList {
    /// What an answer cost that this model wrote; `None` if the model has no prices.
    pub fn cost(&self, model: &str, usage: &Usage) -> Option<Cost> {
        self.models.get(model).map(|prices| prices.cost(usage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn price(text: &str) -> Price {
        Price::parse(text).unwrap()
    }

    fn usage(input_tokens: u64, cached_tokens: u64, output_tokens: u64) -> Usage {
        Usage { input_tokens, cached_tokens, output_tokens, ..Usage::default() }
    }

    #[test]
    fn a_price_is_a_decimal_number() {
        for (text, shown) in [
            ("0", "0"),
            ("0.8", "0.8"),
            ("2.50", "2.5"),
            ("12", "12"),
            ("0.000001", "0.000001"),
            ("1000000000", "1000000000"),
        ] {
            assert_eq!(price(text).to_string(), shown);
        }
        for (text, problem) in [
            ("", "not a decimal number"),
            ("-1", "not a decimal number"),
            ("+1", "not a decimal number"),
            ("1e3", "not a decimal number"),
            (".5", "not a decimal number"),
            ("1.", "not a decimal number"),
            ("1.2.3", "not a decimal number"),
            ("1,5", "not a decimal number"),
            ("0.0000001", "more than 6 decimal places"),
            ("1000000000.000001", "out of range"),
            ("99999999999999999999999", "out of range"),
        ] {
            assert_eq!(Price::parse(text), Err(problem), "{text}");
        }
    }

    #[test]
    fn a_currency_is_three_capital_letters() {
        assert_eq!(Currency::parse("CNY").unwrap().as_str(), "CNY");
        for text in ["", "cny", "CN", "CNYS", "C Y", "€"] {
            assert!(Currency::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_cost_is_a_whole_number_of_billionths_rounded_up() {
        let prices = Prices { input: price("0.8"), cached: price("0.2"), output: price("2") };
        // 0.8, 0.2 and 2 for a million are 800, 200 and 2,000 billionths for one.
        assert_eq!(prices.cost(&usage(10, 4, 3)).billionths(), 6 * 800 + 4 * 200 + 3 * 2_000);
        assert_eq!(prices.cost(&usage(1_000_000, 0, 1_000_000)).to_string(), "2.8");
        assert_eq!(prices.cost(&usage(1, 0, 0)).to_string(), "0.0000008");
        assert_eq!(prices.cost(&usage(0, 0, 0)).to_string(), "0");
        let tiny = Prices { input: price("0.000001"), cached: price("0"), output: price("0.000001") };
        assert_eq!(tiny.cost(&usage(1, 0, 0)).billionths(), 1, "a thousandth of a billionth");
        assert_eq!(tiny.cost(&usage(500, 0, 501)).billionths(), 2, "rounded once, not for each part");
        assert_eq!(tiny.cost(&usage(5, 5, 0)).billionths(), 0, "a price of nothing");
    }

    #[test]
    fn a_model_without_prices_has_no_cost() {
        let prices = Prices { input: Price(1), cached: Price(1), output: Price(1) };
        let list = PriceList { currency: None, models: [("a".into(), prices)].into() };
        assert_eq!(list.cost("a", &usage(0, 0, 0)), Some(Cost(0)));
        assert_eq!(list.cost("b", &usage(1, 0, 0)), None);
    }

    fn any_price() -> impl Strategy<Value = Price> {
        prop_oneof![0..3_000_000_u64, 0..=PRICE_MAX * MILLIONTHS].prop_map(Price)
    }

    proptest! {
        #[test]
        fn a_price_is_read_as_it_is_shown(price in any_price()) {
            prop_assert_eq!(Price::parse(&price.to_string()), Ok(price));
        }

        /// Against the same sum in wide numbers, for any counts.
        #[test]
        fn costs_are_exact_grow_with_tokens_and_never_overflow(
            prices in (any_price(), any_price(), any_price())
                .prop_map(|(input, cached, output)| Prices { input, cached, output }),
            tokens in (any::<u64>(), any::<u64>(), any::<u64>()),
            small in (0..100_000_u64, 0..200_000_u64, 0..100_000_u64),
            more in 0..1_000_u64,
        ) {
            for (input, cached, output) in [tokens, small] {
                let cost = prices.cost(&usage(input, cached, output)).billionths();
                let cached = cached.min(input);
                let sum = u128::from(input - cached) * u128::from(prices.input.0)
                    + u128::from(cached) * u128::from(prices.cached.0)
                    + u128::from(output) * u128::from(prices.output.0);
                let exact = sum / 1_000 + u128::from(sum % 1_000 > 0);
                prop_assert_eq!(u128::from(cost), exact.min(u64::MAX.into()));
                // More tokens of a kind never cost less.
                prop_assert!(prices.cost(&usage(input, cached, output.saturating_add(more))).billionths() >= cost);
                prop_assert!(prices.cost(&usage(input.saturating_add(more), cached, output)).billionths() >= cost);
            }
            // No more is cached than there is, whatever the service reports.
            let (input, cached, output) = small;
            prop_assert_eq!(
                prices.cost(&usage(input, input.saturating_add(cached), output)),
                prices.cost(&usage(input, input, output))
            );
        }

        #[test]
        fn the_parts_of_a_sum_cost_as_much_as_the_sum_but_for_rounding(
            price in any_price(), parts in proptest::collection::vec(0..100_000_u64, 1..20)
        ) {
            let prices = Prices { input: price, cached: price, output: price };
            let each: u128 = parts.iter().map(|tokens| u128::from(prices.cost(&usage(*tokens, 0, 0)).billionths())).sum();
            let all = u128::from(prices.cost(&usage(parts.iter().sum(), 0, 0)).billionths());
            prop_assert!(all == u128::from(u64::MAX) || (all <= each && each < all + parts.len() as u128));
        }
    }
}
