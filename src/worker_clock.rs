//! The coarse clock of a worker thread. Connections and streams count its ticks, so that they need no timers of their own.
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Time between two ticks.
pub const TICK: Duration = Duration::from_millis(100);

/// A tick, as passed to listeners.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    /// When it was due.
    pub due: Instant,
    /// How late it was.
    pub lag: Duration,
}

type Listener = Box<dyn FnMut(Tick)>;

/// Counts ticks from 0, and wraps around after 13 years.
pub struct WorkerClock {
    ticks: Cell<u32>,
    /// Called at each tick, in the order in which they were added.
    listeners: RefCell<Vec<Listener>>,
}

impl WorkerClock {
    /// A clock that ticks on this thread for as long as the thread runs.
    pub fn start() -> Rc<Self> {
        let clock = Rc::new(Self::stopped());
        actix_rt::spawn(Rc::clone(&clock).run());
        clock
    }

    /// A clock that does not tick.
    pub(crate) fn stopped() -> Self {
        WorkerClock { ticks: Cell::new(0), listeners: RefCell::default() }
    }

    /// Calls `listener` at each tick from now on. Must not be called by a listener.
    pub fn on_tick(&self, listener: impl FnMut(Tick) + 'static) {
        self.listeners.borrow_mut().push(Box::new(listener));
    }

    pub fn ticks(&self) -> u32 {
        self.ticks.get()
    }

    /// Ticks since an earlier count of this clock.
    pub fn ticks_since(&self, earlier: u32) -> u32 {
        self.ticks.get().wrapping_sub(earlier)
    }

    /// The ticks as a time since the clock started.
    pub fn now(&self) -> Duration {
        TICK * self.ticks.get()
    }

    /// Counts ticks without calling the listeners.
    #[cfg(test)]
    pub(crate) fn advance(&self, ticks: u32) {
        self.ticks.set(self.ticks.get().wrapping_add(ticks));
    }

    async fn run(self: Rc<Self>) {
        let mut interval = interval_at(Instant::now() + TICK, TICK);
        // After a pause of the process there is one tick, not all that were missed.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = interval.tick().await;
            self.tick(Tick { due, lag: Instant::now().saturating_duration_since(due) });
        }
    }

    fn tick(&self, tick: Tick) {
        self.ticks.set(self.ticks.get().wrapping_add(1));
        self.listeners.borrow_mut().iter_mut().for_each(|listener| listener(tick));
    }
}

/// The number of ticks that cover a time, at most the maximum that the clock can count.
pub fn ticks_in(time: Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(clock: &WorkerClock) {
        clock.tick(Tick { due: Instant::now(), lag: Duration::ZERO });
    }

    #[test]
    fn every_listener_is_called_once_per_tick_in_order() {
        let clock = WorkerClock::stopped();
        let calls = Rc::new(RefCell::new(Vec::new()));
        for listener in ["first", "second"] {
            let calls = Rc::clone(&calls);
            clock.on_tick(move |_| calls.borrow_mut().push(listener));
        }
        tick(&clock);
        tick(&clock);
        assert_eq!(*calls.borrow(), ["first", "second", "first", "second"]);
        assert_eq!((clock.ticks(), clock.now()), (2, 2 * TICK));
    }

    #[test]
    fn differences_survive_the_wrap_around() {
        let clock = WorkerClock::stopped();
        clock.ticks.set(u32::MAX - 1);
        let earlier = clock.ticks();
        (0..5).for_each(|_| tick(&clock));
        assert_eq!((clock.ticks(), clock.ticks_since(earlier)), (3, 5));
    }

    #[test]
    fn a_time_is_covered_by_its_ticks() {
        let of = |ms| ticks_in(Duration::from_millis(ms));
        assert_eq!([of(0), of(1), of(100), of(101)], [0, 1, 1, 2]);
        assert_eq!(ticks_in(Duration::MAX), u32::MAX);
    }

    #[actix_rt::test]
    async fn missed_ticks_are_not_made_up_for() {
        let clock = WorkerClock::start();
        let (seen, sees) = (Rc::new(Cell::new(0_u32)), Rc::new(Cell::new(Duration::ZERO)));
        let (count, late) = (Rc::clone(&seen), Rc::clone(&sees));
        clock.on_tick(move |tick| {
            count.set(count.get() + 1);
            late.set(late.get().max(tick.lag));
        });
        // The thread is blocked for the time of six ticks.
        actix_rt::task::yield_now().await;
        std::thread::sleep(6 * TICK);
        while seen.get() < 1 {
            actix_rt::task::yield_now().await;
        }
        let (started, before) = (Instant::now(), seen.get());
        assert!(sees.get() >= 4 * TICK, "{:?}", sees.get());
        while seen.get() < before + 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Two more ticks take nearly two periods; missed ones would have been made up for at once.
        assert!(started.elapsed() > TICK, "{:?}", started.elapsed());
    }
}
