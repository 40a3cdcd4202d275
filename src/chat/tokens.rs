//! Estimates the number of tokens of a text.
use super::Usage;

/// The ratio of the model's token counts to our estimates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    factor: f32,
}

impl Default for Estimate {
    fn default() -> Self {
        Estimate { factor: 1.0 }
    }
}

impl Estimate {
    /// Bounds of the ratio, so that one odd count does not make the history window empty or huge.
    const FACTOR: std::ops::RangeInclusive<f32> = 0.25..=4.0;
    /// Weight of a new count in the moving average.
    const WEIGHT: f32 = 0.3;

    /// Restores an estimate by its ratio.
    pub(super) fn of(factor: f32) -> Self {
        Estimate { factor }
    }

    pub(super) fn factor(self) -> f32 {
        self.factor
    }

    pub(super) fn corrected(self, raw: u32) -> u32 {
        (raw as f32 * self.factor) as u32
    }

    pub(super) fn observe(&mut self, estimated: u32, counted: u64) {
        if estimated == 0 || counted == 0 {
            return;
        }
        let seen = (counted as f32 / estimated as f32).clamp(*Self::FACTOR.start(), *Self::FACTOR.end());
        self.factor += (seen - self.factor) * Self::WEIGHT;
    }
}

/// The estimated size of a request, and how that of its answer is estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenEstimate {
    /// Tokens of the request, by the counts of the conversation's earlier requests.
    pub prompt: u32,
    estimate: Estimate,
}

/// Bytes of text for one token: four Latin letters, or one and a half CJK characters of three bytes.
const BYTES_PER_TOKEN: u64 = 4;

impl TokenEstimate {
    /// For a request whose tokens were estimated without correction.
    pub(super) fn new(raw: u32, estimate: Estimate) -> Self {
        TokenEstimate { prompt: estimate.corrected(raw), estimate }
    }

    /// The usage of the request and of so many bytes of its answer. Bytes are counted for every piece of text anyway, its
    /// characters are not.
    pub fn usage(&self, answer_bytes: u64) -> Usage {
        let raw = answer_bytes.div_ceil(BYTES_PER_TOKEN);
        let output_tokens = (raw as f64 * f64::from(self.estimate.factor)) as u64;
        Usage { input_tokens: self.prompt.into(), output_tokens, ..Usage::default() }
    }
}

/// Tokens of a message in addition to its text: role and separators.
const MESSAGE_TOKENS: u32 = 4;

/// Estimates tokens by character classes: about four Latin letters, one and a half CJK
/// characters or two of anything else make one token.
pub(super) fn raw_tokens(text: &str) -> u32 {
    let (mut twelfths, mut rest) = (0, text);
    loop {
        // Most texts are mostly ASCII, whose class is known without decoding.
        let ascii = rest.bytes().take_while(u8::is_ascii).count();
        twelfths += 3 * ascii;
        rest = &rest[ascii..];
        let Some(other) = rest.chars().next() else { break };
        rest = &rest[other.len_utf8()..];
        twelfths += match other {
            '\0'..='\u{024f}' => 3,
            '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' => 8,
            '\u{ff00}'..='\u{ffef}' | '\u{20000}'..='\u{3ffff}' => 8,
            _ => 6,
        };
    }
    MESSAGE_TOKENS + u32::try_from(twelfths.div_ceil(12)).unwrap_or(u32::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_characters_weigh_differently() {
        assert_eq!(raw_tokens("abcdefghijkl"), 4 + 3);
        assert_eq!(raw_tokens("你好你好你好"), 4 + 4);
        assert_eq!(raw_tokens("！？！𠀀𠀀𠀀"), 4 + 4);
        assert_eq!(raw_tokens("😀😀😀😀"), 4 + 2);
        assert_eq!(raw_tokens("abcé你ab😀"), 4 + 3); // 6 × 3 + 8 + 6, in twelfths
    }

    #[test]
    fn an_answer_is_estimated_by_its_bytes_about_as_by_its_characters() {
        for text in
            ["The tide comes in twice a day. ", "潮汐每天两次涨落。", "Прилив приходит дважды в день. "]
        {
            let text = text.repeat(100);
            let tokens = TokenEstimate::new(7, Estimate::default()).usage(text.len() as u64);
            let ratio = tokens.output_tokens as f32 / (raw_tokens(&text) - MESSAGE_TOKENS) as f32;
            assert_eq!(tokens.input_tokens, 7);
            assert!((0.85..1.2).contains(&ratio), "{ratio}: {text}");
        }
        let twice = TokenEstimate::new(7, Estimate::of(2.0));
        assert_eq!(twice.usage(0), Usage { input_tokens: 14, ..Usage::default() });
        assert_eq!(twice.usage(5), Usage { input_tokens: 14, output_tokens: 4, ..Usage::default() });
        assert_eq!(twice.usage(u64::MAX).output_tokens, 1 << 63, "nothing overflows");
    }
}
