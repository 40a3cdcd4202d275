//! Token counts as services report them: running totals, in every frame or in the last one.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::chat::Usage;

/// The names of DashScope, and those of chat completions (`prompt_tokens`, `completion_tokens`).
#[derive(Deserialize)]
struct WireUsage {
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
    #[serde(default)]
    prompt_tokens: Count,
    #[serde(default)]
    completion_tokens: Count,
    prompt_tokens_details: Option<InputDetails>,
    output_tokens_details: Option<OutputDetails>,
    completion_tokens_details: Option<OutputDetails>,
    /// Moonshot.
    #[serde(default)]
    cached_tokens: Count,
    /// DeepSeek.
    #[serde(default)]
    prompt_cache_hit_tokens: Count,
}

#[derive(Deserialize)]
struct InputDetails {
    #[serde(default)]
    cached_tokens: Count,
}

#[derive(Deserialize)]
struct OutputDetails {
    #[serde(default)]
    reasoning_tokens: Count,
}

/// The totals in the value of `usage`. An unreadable value is unknown and does not fail the answer.
pub(super) fn totals(raw: &str) -> Option<Usage> {
    serde_json::from_str::<WireUsage>(raw).ok()?.totals()
}

impl WireUsage {
    /// The totals; `None` where neither side is counted, as in `{}`.
    fn totals(&self) -> Option<Usage> {
        let input = self.input_tokens.0.or(self.prompt_tokens.0);
        let output = self.output_tokens.0.or(self.completion_tokens.0);
        if input.is_none() && output.is_none() {
            return None;
        }
        let details = [&self.output_tokens_details, &self.completion_tokens_details];
        let reasoning = details.into_iter().flatten().find_map(|details| details.reasoning_tokens.0);
        let cached = self.prompt_tokens_details.as_ref().and_then(|details| details.cached_tokens.0);
        let cached = cached.or(self.cached_tokens.0).or(self.prompt_cache_hit_tokens.0);
        Some(Usage {
            input_tokens: input.unwrap_or(0),
            output_tokens: output.unwrap_or(0),
            reasoning_tokens: reasoning.unwrap_or(0),
            cached_tokens: cached.unwrap_or(0),
        })
    }
}

/// Digits of a count that [`count`] reads.
const DIGITS: usize = 9;

/// A whole number without sign, as JSON spells one, and how many digits it has; no more than [`DIGITS`].
pub(super) fn count(bytes: &[u8]) -> Option<(u32, usize)> {
    let (mut number, mut digits) = (0_u32, 0_usize);
    // One pass, since every delta has such numbers; so few digits never wrap around.
    for byte in bytes.iter().take_while(|byte| byte.is_ascii_digit()) {
        if digits == DIGITS {
            return None;
        }
        number = number.wrapping_mul(10).wrapping_add(u32::from(byte.wrapping_sub(b'0')));
        digits = digits.wrapping_add(1);
    }
    let spelled = digits == 1 || (digits > 1 && bytes[0] != b'0');
    spelled.then_some((number, digits))
}

/// A token count. An unreadable one is unknown and does not fail the answer, and so is one that no answer
/// has: beyond 32 bits it would only spoil the sums.
#[derive(Default)]
struct Count(Option<u64>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lenient;
        impl<'de> Visitor<'de> for Lenient {
            type Value = Option<u64>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a token count")
            }
            fn visit_u64<E>(self, count: u64) -> Result<Self::Value, E> {
                Ok(u32::try_from(count).ok().map(u64::from))
            }
            fn visit_i64<E>(self, count: i64) -> Result<Self::Value, E> {
                Ok(u32::try_from(count).ok().map(u64::from))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(None)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(None)
            }
        }
        deserializer.deserialize_any(Lenient).map(Count)
    }
}
