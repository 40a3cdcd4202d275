//! What is fuzzed: functions of bytes that panic where a promise is broken. `tests/it/fuzz.rs` runs them
//! on every test run, `cargo fuzz` for as long as one likes.
pub(crate) mod ai_sdk;
pub(crate) mod chat;
pub(crate) mod config;
pub(crate) mod dashscope;
pub(crate) mod session;
pub(crate) mod sse;
pub(crate) mod websocket;

/// Choices made by bytes. When the bytes are used up, every choice is the first one.
pub(crate) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Choices(bytes)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    /// A place in something of this length, its end included.
    pub(crate) fn place(&mut self, length: usize) -> usize {
        let wide = usize::from(self.byte()) << 8 | usize::from(self.byte());
        wide % (length + 1)
    }

    pub(crate) fn one_in(&mut self, count: u8) -> bool {
        self.byte() % count == count - 1
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// Cuts bytes as a network might: into pieces of any length up to `most`, chosen by a generator.
pub(crate) fn pieces(bytes: &[u8], most: u8) -> Vec<&[u8]> {
    let mut state = u32::from(most).wrapping_mul(2_654_435_761).wrapping_add(1);
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = 1 + (state >> 16) as usize % (usize::from(most) + 1);
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}
