//! Verifies one reply as it arrives: counts its deltas, reads their time stamps, compares every byte.
use crate::simulator::script::Expected;

/// Bytes of mismatching text that are searched for in the expected answer; long enough to be unique.
const SAMPLE: usize = 24;
/// A sample shorter than this, in bytes, counts as foreign text without a search.
const SAMPLE_MIN: usize = 4;
/// Pieces before and after the current one that are searched for a sample.
const NEARBY: u64 = 256;

/// How a reply's text differs from the expected text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// Text is missing before the received text.
    Lost,
    /// The received text had been received before.
    Doubled,
    /// The received text does not occur in this answer.
    Foreign,
}

/// Result of one part of a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) deltas: u64,
    /// The reply is complete. Always false where the text is not known beforehand.
    pub(crate) complete: bool,
}

/// A reply that is being received.
pub(crate) enum Reply {
    Known(Box<Known>),
    /// The text is unknown: only stamps are read.
    Unknown(Stamps),
}

/// A reply whose text is known.
pub(crate) struct Known {
    expected: Expected,
    piece: String,
    /// Bytes of the piece received so far.
    at: usize,
    /// The stamp before the piece, until it has been received.
    stamp: Option<Stamp>,
    complete: bool,
}

/// A partially received stamp.
#[derive(Clone, Copy, Default)]
struct Stamp {
    begun: bool,
    ns: u64,
}

impl Reply {
    pub(crate) fn new(expected: Option<Expected>) -> Self {
        match expected {
            Some(expected) => Reply::Known(Box::new(Known::new(expected))),
            None => Reply::Unknown(Stamps::default()),
        }
    }

    pub(crate) fn is_known(&self) -> bool {
        matches!(self, Reply::Known(_))
    }

    /// Takes the text of one message and passes every stamp in it to `on_stamp`.
    ///
    /// # Errors
    /// How the text differs. The rest of such a reply cannot be checked.
    pub(crate) fn take(&mut self, text: &[u8], on_stamp: impl FnMut(u64)) -> Result<Received, Mismatch> {
        match self {
            Reply::Known(known) => known.take(text, on_stamp),
            Reply::Unknown(stamps) => {
                let stamped = stamps.take(text, on_stamp);
                Ok(Received { deltas: stamped.max(u64::from(!text.is_empty())), complete: false })
            }
        }
    }
}

impl Known {
    fn new(expected: Expected) -> Self {
        let mut known = Known { expected, piece: String::new(), at: 0, stamp: None, complete: false };
        known.next_piece();
        known
    }

    /// Advances to the next piece that is not empty.
    fn next_piece(&mut self) {
        self.piece.clear();
        self.at = 0;
        while self.piece.is_empty() && self.expected.piece(&mut self.piece) {}
        self.complete = self.piece.is_empty();
        self.stamp = (self.expected.is_stamped() && !self.complete).then(Stamp::default);
    }

    fn take(&mut self, text: &[u8], mut on_stamp: impl FnMut(u64)) -> Result<Received, Mismatch> {
        let mut received = Received::default();
        let mut rest = text;
        while let [first, behind @ ..] = rest {
            if self.complete {
                return Err(self.why(rest));
            }
            if let Some(stamp) = &mut self.stamp {
                match first {
                    b'@' if !stamp.begun => stamp.begun = true,
                    digit @ b'0'..=b'9' if stamp.begun => {
                        stamp.ns = stamp.ns.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
                    }
                    b' ' if stamp.ns > 0 => {
                        on_stamp(stamp.ns);
                        self.stamp = None;
                    }
                    _ => return Err(self.why(rest)),
                }
                rest = behind;
                continue;
            }
            received.deltas += u64::from(self.at == 0);
            let wanted = &self.piece.as_bytes()[self.at..];
            let length = wanted.len().min(rest.len());
            if wanted[..length] != rest[..length] {
                return Err(self.why(rest));
            }
            self.at += length;
            rest = &rest[length..];
            if self.at == self.piece.len() {
                self.next_piece();
            }
        }
        received.complete = self.complete;
        Ok(received)
    }

    /// Searches for the received text before and after the current position.
    fn why(&self, rest: &[u8]) -> Mismatch {
        let mut sample = without_stamps(rest);
        sample.truncate(SAMPLE);
        if sample.len() < SAMPLE_MIN {
            return Mismatch::Foreign;
        }
        let here = self.expected.taken().saturating_sub(u64::from(!self.complete));
        let text = |from: u64, to: u64| {
            let mut near = self.expected.clone();
            near.seek(from);
            let mut text = String::new();
            while near.taken() < to && near.piece(&mut text) {}
            text
        };
        let (ahead, behind) = (text(here, here + NEARBY), text(here.saturating_sub(NEARBY), here + 1));
        // A long sample is more certain; a short one finds partial repeats.
        for length in [SAMPLE, SAMPLE / 2] {
            let sample = &sample[..length.min(sample.len())];
            let is_in = |text: &str| memchr::memmem::find(text.as_bytes(), sample).is_some();
            if is_in(&ahead) {
                return Mismatch::Lost;
            }
            if is_in(&behind) {
                return Mismatch::Doubled;
            }
        }
        Mismatch::Foreign
    }
}

fn without_stamps(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len().min(4 * SAMPLE));
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        let digits = behind.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if *first == b'@' && digits > 0 && behind.get(digits) == Some(&b' ') {
            rest = &behind[digits + 1..];
            continue;
        }
        if out.len() == SAMPLE {
            break;
        }
        out.push(*first);
        rest = behind;
    }
    out
}

/// Finds stamps (`@`, nanoseconds, a space), however the text was split.
#[derive(Default)]
pub(crate) struct Stamps {
    /// Value of the digits received so far, inside a stamp.
    open: Option<u64>,
}

impl Stamps {
    fn take(&mut self, mut text: &[u8], mut on_stamp: impl FnMut(u64)) -> u64 {
        let mut stamps = 0;
        while let [first, rest @ ..] = text {
            let Some(ns) = &mut self.open else {
                let Some(at) = memchr::memchr(b'@', text) else { break };
                self.open = Some(0);
                text = &text[at + 1..];
                continue;
            };
            match first {
                digit @ b'0'..=b'9' => *ns = ns.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')),
                b' ' if *ns > 0 => {
                    on_stamp(*ns);
                    stamps += 1;
                    self.open = None;
                }
                _ => self.open = None,
            }
            text = rest;
        }
        stamps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the text in parts of this size; returns the result and the stamps.
    fn feed(message: &str, text: &str, size: usize) -> (Result<(u64, bool), Mismatch>, Vec<u64>) {
        let mut reply = Reply::new(Expected::of(message));
        let mut stamps = Vec::new();
        let (mut deltas, mut complete) = (0, false);
        for part in text.as_bytes().chunks(size) {
            match reply.take(part, |ns| stamps.push(ns)) {
                Ok(received) => {
                    deltas += received.deltas;
                    complete = received.complete;
                }
                Err(wrong) => return (Err(wrong), stamps),
            }
        }
        (Ok((deltas, complete)), stamps)
    }

    fn pieces(message: &str) -> Vec<String> {
        let mut expected = Expected::of(message).expect("a good answer");
        let mut pieces = Vec::new();
        loop {
            let mut piece = String::new();
            if !expected.piece(&mut piece) {
                return pieces;
            }
            pieces.push(piece);
        }
    }

    #[test]
    fn a_good_answer_is_good_however_it_is_cut() {
        let message = "/sim tokens=30 seed=7 stamp=1 number=1 alphabet=mixed";
        let text: String =
            pieces(message).iter().enumerate().map(|(k, piece)| format!("@{} {piece}", 1000 + k)).collect();
        for size in [1, 2, 3, 7, 64, text.len()] {
            let (received, stamps) = feed(message, &text, size);
            assert_eq!(received, Ok((30, true)), "{size}");
            assert_eq!(stamps, (1000..1030).collect::<Vec<_>>());
        }
        let mut reply = Reply::new(Expected::of(message));
        let received = reply.take(&text.as_bytes()[..text.len() - 1], |_| {}).expect("right so far");
        assert_eq!(received, Received { deltas: 30, complete: false }, "one byte is missing");
    }

    #[test]
    fn lost_doubled_and_foreign_text_are_distinguished() {
        let message = "/sim tokens=60 seed=3";
        let all = pieces(message);
        let joined = |ranges: &[(usize, usize)]| -> String {
            ranges.iter().flat_map(|(from, to)| all[*from..*to].to_vec()).collect()
        };
        let wrong = |text: &str| feed(message, text, text.len()).0.expect_err("wrong");
        assert_eq!(wrong(&joined(&[(0, 20), (24, 60)])), Mismatch::Lost);
        assert_eq!(wrong(&joined(&[(0, 20), (10, 60)])), Mismatch::Doubled);
        assert_eq!(wrong(&joined(&[(0, 20), (16, 19), (20, 60)])), Mismatch::Doubled, "a few words");
        assert_eq!(wrong(&joined(&[(0, 60), (30, 60)])), Mismatch::Doubled, "behind the end");
        let other: String = pieces("/sim tokens=60 text=\"another answer's words\"").concat();
        assert_eq!(wrong(&(joined(&[(0, 20)]) + &other)), Mismatch::Foreign);
        assert_eq!(wrong("x"), Mismatch::Foreign);
    }

    #[test]
    fn echo_and_unknown_answers() {
        let mut reply = Reply::new(Some(Expected::echo("@12 is no stamp here")));
        let received = reply.take("@12 is no stamp here".as_bytes(), |_| panic!("a stamp")).expect("right");
        assert!(received.complete);
        let mut reply = Reply::new(Expected::of("what is a tide?"));
        assert!(!reply.is_known());
        let mut stamps = Vec::new();
        let received = reply.take(b"hi @17 there @x @1", |ns| stamps.push(ns)).expect("unknown");
        assert_eq!(received, Received { deltas: 1, complete: false });
        assert_eq!(reply.take(b"8 yes", |ns| stamps.push(ns)).expect("unknown").deltas, 1);
        assert_eq!(stamps, [17, 18]);
    }

    #[test]
    fn answers_with_faults_are_not_known() {
        for message in ["/sim cut_after=3", "/sim status=429", "/sim", "hello", "/sim nonsense=1"] {
            assert!(Expected::of(message).is_none(), "{message}");
        }
    }
}
