//! Splits an answer into token-like pieces.

/// Maximum characters of a piece of Latin text; a longer word is split.
const LATIN_MAX: usize = 8;
/// Maximum characters of a piece of Chinese text.
const WIDE_MAX: usize = 2;

/// The end offsets of a text's pieces, in bytes. A space belongs to the following word, as with most
/// tokenizers.
pub(crate) fn ends(text: &str) -> Vec<usize> {
    let mut ends = Vec::with_capacity(text.len() / 4 + 1);
    let (mut length, mut kind) = (0_usize, Kind::Blank);
    for (at, c) in text.char_indices() {
        let next = Kind::of(c);
        let joins = match (kind, next) {
            (Kind::Blank, Kind::Blank) => length < LATIN_MAX,
            (Kind::Blank, _) => length <= 1,
            (Kind::Wide, Kind::Wide) => length < WIDE_MAX,
            (Kind::Letter, Kind::Letter) => length < LATIN_MAX,
            _ => false,
        };
        if at > 0 && !joins {
            ends.push(at);
            length = 0;
        }
        length += 1;
        kind = next;
    }
    if !text.is_empty() {
        ends.push(text.len());
    }
    ends
}

/// The number of tokens of a text.
pub(crate) fn count(text: &str) -> u64 {
    let wide = text.chars().filter(|c| !c.is_ascii()).count() as u64;
    let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
    ascii.div_ceil(4) + wide.div_ceil(WIDE_MAX as u64)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Blank,
    Letter,
    Wide,
    Sign,
}

impl Kind {
    fn of(c: char) -> Kind {
        match c {
            c if c.is_whitespace() => Kind::Blank,
            c if c as u32 >= 0x2e80 => Kind::Wide,
            c if c.is_alphanumeric() => Kind::Letter,
            _ => Kind::Sign,
        }
    }
}
