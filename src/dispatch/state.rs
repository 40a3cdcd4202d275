//! The public state of dispatcher and lanes: when each thread last answered, and the number of runs. Probes read it and
//! wait for no thread, so that a busy process is not mistaken for a dead one.
use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// A thread that has not answered for longer than this counts as stuck, and the probes fail.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Written on the dispatcher's thread, read by probes on any thread.
pub struct DispatchState(Mutex<Inner>);

/// Numbers of runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Runs that hold a slot.
    pub running: usize,
    /// Runs that wait for a slot.
    pub queued: usize,
}

struct Inner {
    load: Load,
    dispatcher: Instant,
    /// By worker number.
    workers: Vec<LaneState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LaneState {
    /// The worker has no lane yet: it is starting.
    Awaited,
    Answered(Instant),
    Dead,
}

/// Why a process cannot serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    DispatcherSilent(Duration),
    LaneDead(usize),
    WorkerSilent(usize, Duration),
}

impl DispatchState {
    pub(super) fn new(workers: usize, now: Instant) -> Self {
        let workers = vec![LaneState::Awaited; workers];
        DispatchState(Mutex::new(Inner { load: Load::default(), dispatcher: now, workers }))
    }

    pub fn load(&self) -> Load {
        self.inner().load
    }

    pub(crate) fn set_load(&self, load: Load) {
        self.inner().load = load;
    }

    pub fn dispatcher_answered(&self, at: Instant) {
        self.inner().dispatcher = at;
    }

    pub fn worker_answered(&self, worker: usize, at: Instant) {
        self.set(worker, LaneState::Answered(at));
    }

    pub(super) fn lane_died(&self, worker: usize) {
        self.set(worker, LaneState::Dead);
    }

    pub fn dispatcher_fault(&self, now: Instant) -> Option<Fault> {
        let silent = now.saturating_duration_since(self.inner().dispatcher);
        (silent > SILENCE_MAX).then_some(Fault::DispatcherSilent(silent))
    }

    /// The first fault of a worker.
    pub fn worker_fault(&self, now: Instant) -> Option<Fault> {
        self.inner().workers.iter().enumerate().find_map(|(worker, lane)| match *lane {
            LaneState::Awaited => None,
            LaneState::Dead => Some(Fault::LaneDead(worker)),
            LaneState::Answered(at) => {
                let silent = now.saturating_duration_since(at);
                (silent > SILENCE_MAX).then_some(Fault::WorkerSilent(worker, silent))
            }
        })
    }

    fn set(&self, worker: usize, lane: LaneState) {
        let mut inner = self.inner();
        if worker >= inner.workers.len() {
            inner.workers.resize(worker + 1, LaneState::Awaited);
        }
        inner.workers[worker] = lane;
    }

    /// Locked briefly, never across an await.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::DispatcherSilent(time) => {
                write!(f, "the dispatcher has not answered for {} s", time.as_secs())
            }
            Fault::LaneDead(worker) => write!(f, "the lane of worker {worker} is dead"),
            Fault::WorkerSilent(worker, time) => {
                write!(f, "worker {worker} has not answered for {} s", time.as_secs())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_a_fault_after_its_limit_and_death_at_once() {
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        let state = DispatchState::new(1, start);
        assert_eq!((state.dispatcher_fault(at(10)), state.worker_fault(at(10))), (None, None));
        let fault = state.dispatcher_fault(at(11)).unwrap();
        assert_eq!(fault.to_string(), "the dispatcher has not answered for 11 s");
        state.dispatcher_answered(at(11));
        assert_eq!(state.dispatcher_fault(at(21)), None);
        // A worker that has not started is not silent.
        assert_eq!(state.worker_fault(at(100)), None);
        state.worker_answered(0, at(100));
        // Threads read their clocks in any order.
        assert_eq!((state.worker_fault(at(99)), state.worker_fault(at(110))), (None, None));
        state.worker_answered(2, at(105));
        let fault = state.worker_fault(at(112)).unwrap();
        assert_eq!(fault.to_string(), "worker 0 has not answered for 12 s");
        state.worker_answered(0, at(112));
        assert_eq!(state.worker_fault(at(113)), None);
        state.lane_died(2);
        assert_eq!(state.worker_fault(at(113)).unwrap().to_string(), "the lane of worker 2 is dead");
    }
}
