//! How late this machine is. A shared machine stands still for seconds at times, so a test asserts order and wholeness;
//! where it is about time, it asks here how much of that time the machine itself has lost.
use futures_util::FutureExt;
use std::{
    future::Future,
    ops::{Bound, RangeBounds},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(5);
/// Ticks that are late by less are not noted: timers and schedulers are never exact.
const NOTED: Duration = Duration::from_millis(20);
/// A test whose times are those of the gateway is repeated when the machine lost more than this during it.
const DISTURBED: Duration = Duration::from_millis(50);
/// How often such a test is tried; the last time it counts whatever happens.
const TRIES: usize = 8;

static CLOCK: LazyLock<Mutex<Clock>> = LazyLock::new(|| {
    std::thread::Builder::new().name("lateness".into()).spawn(watch).expect("a thread");
    Mutex::new(Clock { due: Instant::now() + TICK, late: Vec::new() })
});

struct Clock {
    /// When the next tick should come.
    due: Instant,
    /// Ends of the periods in which the machine stood still, and their lengths; oldest first.
    late: Vec<(Instant, Duration)>,
}

fn watch() {
    loop {
        std::thread::sleep(TICK);
        let mut clock = CLOCK.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let late = now.saturating_duration_since(clock.due);
        if late >= NOTED {
            clock.late.push((now, late));
        }
        clock.due = now + TICK;
    }
}

/// The time that the machine has lost since then.
fn lost_since(since: Instant) -> Duration {
    let clock = CLOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let within = |end: Instant, late: Duration| late.min(end.saturating_duration_since(since));
    let noted = clock.late.iter().rev().take_while(|(end, _)| *end > since);
    let noted: Duration = noted.map(|(end, late)| within(*end, *late)).sum();
    // It may have woken this moment, and the clock's thread not yet.
    let now = Instant::now();
    let late = now.saturating_duration_since(clock.due);
    noted + if late >= NOTED { within(now, late) } else { Duration::ZERO }
}

/// Measures how long something takes.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch {
    since: Instant,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        LazyLock::force(&CLOCK); // It runs from the first measurement on.
        Stopwatch { since: Instant::now() }
    }

    pub(crate) fn took(&self) -> Took {
        let lost = lost_since(self.since);
        Took { wall: self.since.elapsed(), lost }
    }
}

/// How long something took, and how much of that the machine stood still.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Took {
    pub(crate) wall: Duration,
    lost: Duration,
}

impl Took {
    /// Without the machine's own pauses.
    pub(crate) fn net(&self) -> Duration {
        self.wall.saturating_sub(self.lost)
    }

    /// On the wall not shorter than the lower bound; without the machine's own pauses not longer than the upper one.
    pub(crate) fn is_in(&self, bounds: impl RangeBounds<Duration>) -> bool {
        let starts = (bounds.start_bound().cloned(), Bound::Unbounded);
        let ends = (Bound::Unbounded, bounds.end_bound().cloned());
        starts.contains(&self.wall) && ends.contains(&self.net())
    }
}

/// Waits for something that must happen. The machine's own pauses are not counted.
pub(crate) async fn within<T>(what: &str, patience: Duration, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let watch = Stopwatch::start();
    loop {
        let left = patience.saturating_sub(watch.took().net());
        assert!(!left.is_zero(), "{what} did not happen within {patience:?}");
        if let Ok(value) = tokio::time::timeout(left, &mut future).await {
            return value;
        }
    }
}

/// For a test that sets the gateway short times and lives by them: one in which the machine has lost time proves nothing
/// when it fails, and is repeated. On a machine that keeps time it is an ordinary test.
pub(crate) async fn on_a_steady_machine(test: impl AsyncFn()) {
    for number in 1..=TRIES {
        let watch = Stopwatch::start();
        let Err(panic) = AssertUnwindSafe(test()).catch_unwind().await else { return };
        let lost = lost_since(watch.since);
        if lost < DISTURBED || number == TRIES {
            std::panic::resume_unwind(panic);
        }
        eprintln!("try {number}: the machine lost {lost:?}, so it is repeated");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pause_of_the_machine_is_taken_off_and_repeats_what_lives_by_the_clock() {
        let tries = std::cell::Cell::new(0);
        on_a_steady_machine(async || {
            tries.set(tries.get() + 1);
            if tries.get() == 1 {
                // As if nothing ran: the clock's thread cannot note the time either.
                let watch = Stopwatch::start();
                let clock = CLOCK.lock().unwrap_or_else(PoisonError::into_inner);
                std::thread::sleep(Duration::from_millis(300));
                drop(clock);
                let pause = Duration::from_millis(300);
                assert!(watch.took().is_in(pause..pause), "{:?}", watch.took());
                panic!("too late");
            }
        })
        .await;
        assert_eq!(tries.get(), 2);
    }
}
