//! Measures how late this machine is. A shared machine sometimes stalls for seconds, so tests assert order and
//! completeness; a test that must assert a time subtracts the stalls measured here.
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

/// Interval at which stalls are measured.
const TICK: Duration = Duration::from_millis(5);
/// Shortest lateness of a tick that counts as a stall: timers and schedulers are never exact.
const NOTED: Duration = Duration::from_millis(20);
/// A failed test of the gateway's times is repeated if the machine stalled for longer than this during it.
const DISTURBED: Duration = Duration::from_millis(50);
/// The same if tasks waited for a processor during more than this share of it. Threads that only wake and sleep, as the
/// one that measures stalls, are scheduled first and do not notice that.
const CROWDED: f64 = 0.25;
/// How late the kernel's report of that may be.
const REPORT_LAG: Duration = Duration::from_secs(2);
/// Maximum number of tries of such a test; the last one counts regardless of stalls.
const TRIES: usize = 8;

static CLOCK: LazyLock<Mutex<Clock>> = LazyLock::new(|| {
    std::thread::Builder::new().name("lateness".into()).spawn(watch).expect("a thread");
    Mutex::new(Clock { due: Instant::now() + TICK, late: Vec::new() })
});

struct Clock {
    /// When the next tick is due.
    due: Instant,
    /// Ends and lengths of the stalls, oldest first.
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

/// The total length of the stalls since then.
fn lost_since(since: Instant) -> Duration {
    let clock = CLOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let within = |end: Instant, late: Duration| late.min(end.saturating_duration_since(since));
    let noted = clock.late.iter().rev().take_while(|(end, _)| *end > since);
    let noted: Duration = noted.map(|(end, late)| within(*end, *late)).sum();
    // A stall may have ended just now, before the clock's thread has noticed it.
    let now = Instant::now();
    let late = now.saturating_duration_since(clock.due);
    noted + if late >= NOTED { within(now, late) } else { Duration::ZERO }
}

/// Time since the machine started during which any task waited for a processor; zero if the kernel does not report it.
fn pressure() -> Duration {
    let text = std::fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    let total = text.lines().next().and_then(|some| some.rsplit_once("total="));
    Duration::from_micros(total.and_then(|(_, total)| total.parse().ok()).unwrap_or_default())
}

/// Measures how long something takes.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch {
    since: Instant,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        LazyLock::force(&CLOCK); // The first measurement starts it.
        Stopwatch { since: Instant::now() }
    }

    pub(crate) fn took(&self) -> Took {
        let lost = lost_since(self.since);
        Took { wall: self.since.elapsed(), lost }
    }
}

/// How long something took, and how much of that the machine was stalled.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Took {
    pub(crate) wall: Duration,
    lost: Duration,
}

impl Took {
    /// The time without stalls.
    pub(crate) fn net(&self) -> Duration {
        self.wall.saturating_sub(self.lost)
    }

    /// Whether the time is at least the lower bound and, without stalls, at most the upper one.
    pub(crate) fn is_in(&self, bounds: impl RangeBounds<Duration>) -> bool {
        let starts = (bounds.start_bound().cloned(), Bound::Unbounded);
        let ends = (Bound::Unbounded, bounds.end_bound().cloned());
        starts.contains(&self.wall) && ends.contains(&self.net())
    }
}

/// Waits for something that must happen within `patience`, not counting stalls.
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

/// Runs a test that depends on short timeouts of the gateway. If it fails while the machine was stalled or had no free
/// processor, that proves nothing, and it is repeated.
pub(crate) async fn on_a_steady_machine(test: impl AsyncFn()) {
    for number in 1..=TRIES {
        let (watch, before) = (Stopwatch::start(), pressure());
        let Err(panic) = AssertUnwindSafe(test()).catch_unwind().await else { return };
        let (lost, wall) = (lost_since(watch.since), watch.since.elapsed());
        tokio::time::sleep(REPORT_LAG).await;
        let waited = pressure().saturating_sub(before);
        if number == TRIES || !is_disturbed(lost, waited, wall) {
            std::panic::resume_unwind(panic);
        }
        eprintln!(
            "try {number} is repeated: the machine was stalled for {lost:?} and crowded for {waited:?}"
        );
    }
}

fn is_disturbed(lost: Duration, waited: Duration, wall: Duration) -> bool {
    lost >= DISTURBED || waited > wall.mul_f64(CROWDED)
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
                // A simulated stall, in which the clock's thread does not run either.
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

    #[test]
    fn a_machine_is_disturbed_by_pauses_and_by_too_few_processors() {
        let ms = Duration::from_millis;
        assert!(!is_disturbed(ms(49), ms(250), ms(1_000)));
        assert!(is_disturbed(ms(50), ms(0), ms(1_000)));
        assert!(is_disturbed(ms(0), ms(251), ms(1_000)));
    }
}
