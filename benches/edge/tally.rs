//! Counts what all sockets received, by the simulator's stamps.
use std::cell::RefCell;
use std::rc::Rc;

/// Shared by all sockets of this single-threaded client.
pub(crate) type Shared = Rc<RefCell<Tally>>;

#[derive(Default)]
pub(crate) struct Tally {
    /// Whether the measured window is open.
    pub(crate) recording: bool,
    /// Latency of each delta within the window, in nanoseconds.
    pub(crate) latencies: Vec<u64>,
    /// Reads within the window that contained deltas.
    pub(crate) reads: u64,
    /// Sockets with a delta within the window.
    pub(crate) live: usize,
    /// Sockets that failed or were closed, and error texts.
    pub(crate) troubles: u64,
    pub(crate) first_trouble: Option<String>,
}

impl Tally {
    pub(crate) fn trouble(&mut self, what: impl Into<String>) {
        self.troubles += 1;
        self.first_trouble.get_or_insert_with(|| what.into());
    }

    /// A sentence about errors, if there were any.
    pub(crate) fn complaint(&self) -> Option<String> {
        let first = self.first_trouble.as_ref()?;
        Some(format!("{} sockets had trouble, the first: {first}", self.troubles))
    }
}

/// Finds the simulator's stamps (`@`, nanoseconds and a blank), however the text is split.
#[derive(Default)]
pub(crate) struct Stamps {
    /// The digits of a stamp so far.
    open: Option<u64>,
    live: bool,
}

impl Stamps {
    /// Counts each stamp in these bytes as a delta that arrived at `now`.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], now: u64, tally: &mut Tally) {
        while !bytes.is_empty() {
            let Some(stamp) = &mut self.open else {
                let Some(at) = memchr::memchr(b'@', bytes) else { return };
                self.open = Some(0);
                bytes = &bytes[at + 1..];
                continue;
            };
            match bytes[0] {
                digit @ b'0'..=b'9' => *stamp = stamp.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')),
                b' ' if *stamp > 0 => {
                    if tally.recording {
                        tally.latencies.push(now.saturating_sub(*stamp));
                        tally.live += usize::from(!self.live);
                        self.live = true;
                    }
                    self.open = None;
                }
                _ => self.open = None,
            }
            bytes = &bytes[1..];
        }
    }
}

/// A quantile of sorted values.
pub(crate) fn percentile(sorted: &[u64], share: f64) -> u64 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}
