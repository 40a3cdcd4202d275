//! Counters and recorded requests, for tests and operators.
use serde::Serialize;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Number of requests kept for inspection; the oldest is dropped first.
pub(super) const RECORDED_MAX: usize = 64;
/// Number of attempts kept for inspection; the oldest is dropped first.
const ATTEMPTS_MAX: usize = 4096;
/// Bytes of a request body that are kept; the rest is cut.
pub(super) const BODY_MAX: usize = 256 * 1024;

/// Counters since the start, and the last requests.
#[derive(Debug, Default)]
pub struct Stats {
    requests: AtomicU64,
    open_streams: AtomicU64,
    completed: AtomicU64,
    cancelled: AtomicU64,
    broken: AtomicU64,
    recorded: Mutex<VecDeque<Recorded>>,
    attempts: Mutex<VecDeque<Attempt>>,
}

/// One generation request, and what it got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// When it came, on the clock that all processes of one machine share, in milliseconds.
    pub at_ms: u64,
    /// The simulator's name.
    pub upstream: String,
    /// Empty where the body could not be read.
    pub model: String,
    /// The mark of its key; empty without one. See [`mark`](super::script::mark).
    pub key: String,
    /// HTTP status of the response; 0 where none is sent.
    pub status: u16,
}

/// One recorded request.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub path: String,
    /// Names in lower case. The values of `authorization` and `api-key` are not kept.
    pub headers: Vec<(String, String)>,
    /// The JSON text, truncated to 256 KiB.
    pub body: String,
}

impl Stats {
    /// Generation requests, including rejected ones.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests in progress.
    pub fn open_streams(&self) -> u64 {
        self.open_streams.load(Ordering::Acquire)
    }

    /// Answers whose body ended normally, including errors.
    pub fn completed(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// Answers in progress when the client disconnected.
    pub fn cancelled(&self) -> u64 {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Answers cut or reset by a switch.
    pub fn broken(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }

    /// The last requests, the oldest first.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The last attempts, the oldest first.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(super) fn attempt(&self, attempt: Attempt) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.len() == ATTEMPTS_MAX {
            attempts.pop_front();
        }
        attempts.push_back(attempt);
    }

    pub(super) fn record(&self, request: Recorded) {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        if recorded.len() == RECORDED_MAX {
            recorded.pop_front();
        }
        recorded.push_back(request);
    }
}

/// A request in progress. Dropped before `end` was called, it counts as cancelled by the client.
#[derive(Debug)]
pub(super) struct ActiveRequest {
    stats: Arc<Stats>,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Cancelled,
    Completed,
    Broken,
}

impl ActiveRequest {
    pub(super) fn new(stats: &Arc<Stats>) -> Self {
        stats.requests.fetch_add(1, Ordering::Relaxed);
        stats.open_streams.fetch_add(1, Ordering::Relaxed);
        ActiveRequest { stats: Arc::clone(stats), outcome: Outcome::Cancelled }
    }

    pub(super) fn end(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let counter = match self.outcome {
            Outcome::Cancelled => &self.stats.cancelled,
            Outcome::Completed => &self.stats.completed,
            Outcome::Broken => &self.stats.broken,
        };
        // The outcome is counted first, so that it is visible once the stream is no longer open.
        counter.fetch_add(1, Ordering::Release);
        self.stats.open_streams.fetch_sub(1, Ordering::Release);
    }
}
