//! When the dispatcher and each worker last answered. Probes read it and wait for nobody, so that a
//! busy process is not taken for a dead one.
use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Without an answer for longer than this, a thread counts as stuck.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Written on the dispatcher's thread, read by the probes on any.
pub struct Pulse(Mutex<Beats>);

struct Beats {
    dispatcher: Instant,
    /// By number of the worker.
    workers: Vec<Beat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beat {
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

impl Pulse {
    pub(super) fn new(workers: usize, now: Instant) -> Self {
        Pulse(Mutex::new(Beats { dispatcher: now, workers: vec![Beat::Awaited; workers] }))
    }

    pub fn dispatcher_answered(&self, at: Instant) {
        self.beats().dispatcher = at;
    }

    pub fn worker_answered(&self, worker: usize, at: Instant) {
        self.set(worker, Beat::Answered(at));
    }

    pub(super) fn lane_died(&self, worker: usize) {
        self.set(worker, Beat::Dead);
    }

    pub fn dispatcher_fault(&self, now: Instant) -> Option<Fault> {
        let silent = now.saturating_duration_since(self.beats().dispatcher);
        (silent > SILENCE_MAX).then_some(Fault::DispatcherSilent(silent))
    }

    /// The fault of the first worker that has one.
    pub fn worker_fault(&self, now: Instant) -> Option<Fault> {
        self.beats().workers.iter().enumerate().find_map(|(worker, beat)| match *beat {
            Beat::Awaited => None,
            Beat::Dead => Some(Fault::LaneDead(worker)),
            Beat::Answered(at) => {
                let silent = now.saturating_duration_since(at);
                (silent > SILENCE_MAX).then_some(Fault::WorkerSilent(worker, silent))
            }
        })
    }

    fn set(&self, worker: usize, beat: Beat) {
        let mut beats = self.beats();
        if worker >= beats.workers.len() {
            beats.workers.resize(worker + 1, Beat::Awaited);
        }
        beats.workers[worker] = beat;
    }

    /// Held for a look, never over an await.
    fn beats(&self) -> MutexGuard<'_, Beats> {
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
        let pulse = Pulse::new(1, start);
        assert_eq!((pulse.dispatcher_fault(at(10)), pulse.worker_fault(at(10))), (None, None));
        let fault = pulse.dispatcher_fault(at(11)).unwrap();
        assert_eq!(fault.to_string(), "the dispatcher has not answered for 11 s");
        pulse.dispatcher_answered(at(11));
        assert_eq!(pulse.dispatcher_fault(at(21)), None);
        // One that has not begun is not silent.
        assert_eq!(pulse.worker_fault(at(100)), None);
        pulse.worker_answered(0, at(100));
        // Clocks of threads may be read in any order.
        assert_eq!((pulse.worker_fault(at(99)), pulse.worker_fault(at(110))), (None, None));
        pulse.worker_answered(2, at(105));
        let fault = pulse.worker_fault(at(112)).unwrap();
        assert_eq!(fault.to_string(), "worker 0 has not answered for 12 s");
        pulse.worker_answered(0, at(112));
        assert_eq!(pulse.worker_fault(at(113)), None);
        pulse.lane_died(2);
        assert_eq!(pulse.worker_fault(at(113)).unwrap().to_string(), "the lane of worker 2 is dead");
    }
}
