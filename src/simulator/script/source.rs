//! Sources of an answer's pieces: a text, or an endless sequence of filler words.
use super::{Alphabet, pieces};

const LATIN: [&str; 16] = [
    "tide ", "gate ", "harbour ", "the ", "water ", "of ", "rises ", "and ", "falls ", "slowly ", "a ",
    "boat ", "waits ", "under ", "lights ", "again ",
];
const CHINESE: [&str; 8] = ["潮水", "上涨", "，", "船在", "港口", "等待", "。", "灯光"];
const EMOJI: [&str; 4] = ["🌊", "🚢", "🌉", "🐟"];

/// The pieces of an answer, addressed by number.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A text split into pieces; it repeats when more pieces are requested.
    Text {
        text: String,
        ends: Vec<usize>,
    },
    Filler {
        alphabet: Alphabet,
        word_len: Option<u64>,
        seed: u64,
    },
}

impl Source {
    pub(crate) fn text(text: String) -> Self {
        let ends = pieces::ends(&text);
        Source::Text { text, ends }
    }

    /// Number of pieces; `None` if endless.
    pub(crate) fn len(&self) -> Option<u64> {
        match self {
            Source::Text { ends, .. } => Some(ends.len() as u64),
            Source::Filler { .. } => None,
        }
    }

    /// Appends piece number `k`.
    pub(crate) fn piece(&self, k: u64, out: &mut String) {
        match self {
            Source::Text { text, ends } if !ends.is_empty() => {
                let at = (k % ends.len() as u64) as usize;
                let from = if at == 0 { 0 } else { ends[at - 1] };
                out.push_str(&text[from..ends[at]]);
            }
            Source::Text { .. } => {}
            Source::Filler { alphabet, word_len, seed } => filler(*alphabet, *word_len, mix(seed ^ k), out),
        }
    }
}

/// One filler word. The length is in characters and includes the space after a Latin word.
fn filler(alphabet: Alphabet, word_len: Option<u64>, random: u64, out: &mut String) {
    let words: &[&str] = match alphabet {
        Alphabet::Latin => &LATIN,
        Alphabet::Chinese => &CHINESE,
        Alphabet::Emoji => &EMOJI,
        Alphabet::Mixed => [&LATIN[..], &CHINESE[..], &EMOJI[..]][(random >> 32) as usize % 3],
    };
    let word = words[random as usize % words.len()];
    let Some(length) = word_len else { return out.push_str(word) };
    let mut letters = word.chars().filter(|c| !c.is_whitespace()).cycle();
    let blank = u64::from(alphabet == Alphabet::Latin && length > 1);
    out.extend((blank..length).filter_map(|_| letters.next()));
    if blank == 1 {
        out.push(' ');
    }
}

/// Mixes the bits of a number (the finalizer of splitmix64).
pub(crate) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
