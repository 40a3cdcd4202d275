//! Time limits of a lane's responses: the worker's clock checks all of them at each tick, so that a delta costs one
//! store and no timer. The store goes to the run's channel, which a delta touches anyway.
use super::channel::RunChannel;
use crate::worker_clock::{WorkerClock, ticks_in};
use slab::Slab;
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// The responses of a lane with their limits.
pub(super) struct StreamDeadlines {
    clock: Rc<WorkerClock>,
    streams: RefCell<Slab<Rc<Limits>>>,
}

/// The limit that a response has exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exceeded {
    /// No byte arrived for too long.
    Silence,
    /// The deadline of the run.
    Deadline,
    /// The session did not take the pending text for too long.
    Delivery,
}

struct Limits {
    /// In ticks.
    silence: u32,
    /// When the session had last taken text or had none pending, in ticks, and how often it had taken text by then.
    drained: Cell<(u32, u32)>,
    delivery: u32,
    deadline: Cell<Instant>,
    exceeded: Cell<Option<Exceeded>>,
    /// Wakes the run.
    channel: Arc<RunChannel>,
}

/// A response whose limits are checked until this is dropped.
pub(super) struct DeadlineGuard {
    deadlines: Rc<StreamDeadlines>,
    slot: usize,
    limits: Rc<Limits>,
    /// The channel of the limits, which are not touched by a delta.
    channel: Arc<RunChannel>,
}

impl StreamDeadlines {
    /// The clock checks them at every tick.
    pub(super) fn start(clock: &Rc<WorkerClock>) -> Rc<Self> {
        let deadlines = Rc::new(StreamDeadlines { clock: Rc::clone(clock), streams: RefCell::default() });
        let checked = Rc::clone(&deadlines);
        clock.on_tick(move |tick| checked.check(tick.due));
        deadlines
    }

    fn check(&self, now: Instant) {
        for (_, limits) in self.streams.borrow().iter() {
            limits.check(self.clock.ticks(), now);
        }
    }

    /// Adds a response.
    pub(super) fn add(
        self: &Rc<Self>,
        silence: Duration,
        delivery: Duration,
        deadline: Instant,
        channel: Arc<RunChannel>,
    ) -> DeadlineGuard {
        // One more, because the first tick may follow at once.
        let ticks = |time| ticks_in(time).saturating_add(1);
        let now = self.clock.ticks();
        channel.note_received(now);
        let limits = Rc::new(Limits {
            silence: ticks(silence),
            drained: Cell::new((now, channel.times_drained())),
            delivery: ticks(delivery),
            deadline: Cell::new(deadline),
            exceeded: Cell::new(None),
            channel: Arc::clone(&channel),
        });
        let slot = self.streams.borrow_mut().insert(Rc::clone(&limits));
        DeadlineGuard { deadlines: Rc::clone(self), slot, limits, channel }
    }
}

impl Limits {
    fn check(&self, ticks: u32, now: Instant) {
        if self.channel.is_held() {
            self.channel.note_received(ticks); // The silence is ours: the run does not read.
        }
        let times = self.channel.times_drained();
        if !self.channel.has_pending() || times != self.drained.get().1 {
            self.drained.set((ticks, times));
        }
        let exceeded = if now >= self.deadline.get() {
            Exceeded::Deadline
        } else if ticks.wrapping_sub(self.drained.get().0) >= self.delivery {
            Exceeded::Delivery
        } else if self.is_silent(ticks) {
            Exceeded::Silence
        } else {
            return;
        };
        self.exceeded.set(Some(exceeded));
        self.channel.wake();
    }

    fn is_silent(&self, ticks: u32) -> bool {
        ticks.wrapping_sub(self.channel.received()) >= self.silence
    }
}

impl DeadlineGuard {
    /// A byte arrived.
    pub(super) fn received(&self) {
        self.channel.note_received(self.deadlines.clock.ticks());
    }

    pub(super) fn exceeded(&self) -> Option<Exceeded> {
        // A byte that arrived after the silence was detected has ended it.
        let still_holds = |exceeded: &Exceeded| {
            *exceeded != Exceeded::Silence || self.limits.is_silent(self.deadlines.clock.ticks())
        };
        self.limits.exceeded.get().filter(still_holds)
    }

    /// Makes the deadline earlier.
    pub(super) fn end_by(&self, deadline: Instant) {
        self.limits.deadline.set(self.limits.deadline.get().min(deadline));
    }
}

impl Drop for DeadlineGuard {
    fn drop(&mut self) {
        self.deadlines.streams.borrow_mut().remove(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chat::RunEvent, worker_clock::TICK};

    // faults: E82
    #[tokio::test]
    async fn silence_ends_with_a_byte_and_the_deadline_with_nothing() {
        let (clock, now) = (Rc::new(WorkerClock::stopped()), Instant::now());
        let deadlines = StreamDeadlines::start(&clock);
        let deadline = now + Duration::from_secs(9);
        let channel = Arc::new(RunChannel::default());
        let stream = deadlines.add(2 * TICK, 4 * TICK, deadline, Arc::clone(&channel));
        let check = |ticks: u32, now: Instant| {
            clock.advance(ticks);
            deadlines.check(now);
            stream.exceeded()
        };
        assert_eq!(check(2, now), None);
        assert_eq!(check(1, now), Some(Exceeded::Silence));
        stream.received();
        assert_eq!(stream.exceeded(), None);
        assert_eq!(check(2, now), None);
        // A session that drains text now and then exceeds nothing.
        for _ in 0..3 {
            channel.push(&mut vec![RunEvent::answer("a")], None);
            stream.received();
            assert_eq!(check(2, now), None);
            channel.drain(&mut Vec::new());
            channel.push(&mut vec![RunEvent::answer("b")], None);
            stream.received();
            assert_eq!(check(2, now), None);
        }
        stream.received();
        assert_eq!(check(2, now), None);
        stream.received();
        check(2, now);
        stream.received();
        assert_eq!(check(1, now), Some(Exceeded::Delivery));
        assert_eq!(check(0, deadline), Some(Exceeded::Deadline));
        stream.received();
        assert_eq!(stream.exceeded(), Some(Exceeded::Deadline));
    }
}
