//! Time limits of a lane's streams: one task per lane looks at all of them ten times a second, so
//! that a delta costs a store and no timer.
use super::control::RunControl;
use slab::Slab;
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How finely limits are kept.
const TICK: Duration = Duration::from_millis(100);

/// The lane's coarse clock and the streams that it watches.
#[derive(Default)]
pub(super) struct Watch {
    ticks: Cell<u32>,
    streams: RefCell<Slab<Rc<Limits>>>,
}

/// What a stream has exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exceeded {
    /// No byte came for too long.
    Silence,
    /// The run's own end.
    Deadline,
    /// The session took nothing of what was said for too long.
    Delivery,
}

struct Limits {
    /// When the last byte came, in ticks.
    heard: Cell<u32>,
    silence: u32,
    /// When the session was last seen to take what was said, in ticks, and how often it had by then.
    taken: Cell<(u32, u32)>,
    delivery: u32,
    deadline: Cell<Instant>,
    exceeded: Cell<Option<Exceeded>>,
    /// Wakes the run's task.
    control: Arc<RunControl>,
}

/// A watched stream; dropping it ends the watch.
pub(super) struct Watched {
    watch: Rc<Watch>,
    slot: usize,
    limits: Rc<Limits>,
}

impl Watch {
    /// Runs for as long as the lane's thread.
    pub(super) async fn run(self: Rc<Self>) {
        let mut clock = interval(TICK);
        // After a pause of the process there is no storm of ticks.
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = clock.tick().await;
            self.ticks.set(self.ticks.get().wrapping_add(1));
            for (_, limits) in self.streams.borrow().iter() {
                limits.look(self.ticks.get(), now);
            }
        }
    }

    /// Watches a stream from now on.
    pub(super) fn add(
        self: &Rc<Self>,
        silence: Duration,
        delivery: Duration,
        deadline: Instant,
        control: Arc<RunControl>,
    ) -> Watched {
        // One more, because the first tick may come at once.
        let ticks = |time: Duration| {
            u32::try_from(time.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u32::MAX - 1) + 1
        };
        let limits = Rc::new(Limits {
            heard: Cell::new(self.ticks.get()),
            silence: ticks(silence),
            taken: Cell::new((self.ticks.get(), control.times_heard())),
            delivery: ticks(delivery),
            deadline: Cell::new(deadline),
            exceeded: Cell::new(None),
            control,
        });
        let slot = self.streams.borrow_mut().insert(Rc::clone(&limits));
        Watched { watch: Rc::clone(self), slot, limits }
    }
}

impl Limits {
    fn look(&self, ticks: u32, now: Instant) {
        if self.control.is_held() {
            self.heard.set(ticks); // It is we who do not read.
        }
        let times = self.control.times_heard();
        if !self.control.is_unheard() || times != self.taken.get().1 {
            self.taken.set((ticks, times));
        }
        let exceeded = if now >= self.deadline.get() {
            Exceeded::Deadline
        } else if ticks.wrapping_sub(self.taken.get().0) >= self.delivery {
            Exceeded::Delivery
        } else if ticks.wrapping_sub(self.heard.get()) >= self.silence {
            Exceeded::Silence
        } else {
            return;
        };
        self.exceeded.set(Some(exceeded));
        self.control.nudge();
    }
}

impl Watched {
    /// A byte came; one that comes while its silence is being noticed ends that silence.
    pub(super) fn heard(&self) {
        self.limits.heard.set(self.watch.ticks.get());
        if self.limits.exceeded.get() == Some(Exceeded::Silence) {
            self.limits.exceeded.set(None);
        }
    }

    pub(super) fn exceeded(&self) -> Option<Exceeded> {
        self.limits.exceeded.get()
    }

    /// The stream must end sooner.
    pub(super) fn end_by(&self, deadline: Instant) {
        self.limits.deadline.set(self.limits.deadline.get().min(deadline));
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.streams.borrow_mut().remove(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::RunEvent;

    // faults: E82
    #[tokio::test]
    async fn silence_ends_with_a_byte_and_the_deadline_with_nothing() {
        let (watch, now) = (Rc::new(Watch::default()), Instant::now());
        let deadline = now + Duration::from_secs(9);
        let control = Arc::new(RunControl::default());
        let watched = watch.add(2 * TICK, 4 * TICK, deadline, Arc::clone(&control));
        let look = |ticks: u32, now: Instant| {
            watch.ticks.set(watch.ticks.get() + ticks);
            watched.limits.look(watch.ticks.get(), now);
            watched.exceeded()
        };
        assert_eq!(look(2, now), None);
        assert_eq!(look(1, now), Some(Exceeded::Silence));
        watched.heard();
        assert_eq!(watched.exceeded(), None);
        assert_eq!(look(2, now), None);
        // A session that takes something now and then is not counted out.
        for _ in 0..3 {
            control.say(&mut vec![RunEvent::answer("a")]);
            watched.heard();
            assert_eq!(look(2, now), None);
            control.hear(&mut Vec::new());
            control.say(&mut vec![RunEvent::answer("b")]);
            watched.heard();
            assert_eq!(look(2, now), None);
        }
        watched.heard();
        assert_eq!(look(2, now), None);
        watched.heard();
        look(2, now);
        watched.heard();
        assert_eq!(look(1, now), Some(Exceeded::Delivery));
        assert_eq!(look(0, deadline), Some(Exceeded::Deadline));
        watched.heard();
        assert_eq!(watched.exceeded(), Some(Exceeded::Deadline));
    }
}
