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

/// The limits of a response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Between two bytes.
    pub(super) silence: Duration,
    /// When the first text must have come.
    pub(super) first_text: Instant,
    /// Between two pieces of text.
    pub(super) text: Duration,
    /// Until the session takes the pending text.
    pub(super) delivery: Duration,
    /// When the run must end.
    pub(super) deadline: Instant,
}

/// The limit that a response has exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exceeded {
    /// No byte arrived for too long.
    Silence,
    /// No text arrived in time, though bytes may have.
    NoText,
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
    /// When text had last arrived, in ticks, and how often the session had taken text by then; `None` before the first.
    text: Cell<Option<(u32, u32)>>,
    first_text: Instant,
    text_gap: u32,
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
    pub(super) fn add(self: &Rc<Self>, times: Times, channel: Arc<RunChannel>) -> DeadlineGuard {
        // One more, because the first tick may follow at once.
        let ticks = |time| ticks_in(time).saturating_add(1);
        let now = self.clock.ticks();
        channel.note_received(now);
        let limits = Rc::new(Limits {
            silence: ticks(times.silence),
            drained: Cell::new((now, channel.times_drained())),
            delivery: ticks(times.delivery),
            text: Cell::new(None),
            first_text: times.first_text,
            text_gap: ticks(times.text),
            deadline: Cell::new(times.deadline),
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
        } else if self.lacks_text(ticks, now, times) {
            Exceeded::NoText
        } else if self.is_silent(ticks) {
            Exceeded::Silence
        } else {
            return;
        };
        self.exceeded.set(Some(exceeded));
        self.channel.wake();
    }

    /// Whether text is overdue. Text counts from the tick in which it is seen; while it waits for the session, or the run does not
    /// read, the time does not run.
    fn lacks_text(&self, ticks: u32, now: Instant, taken: u32) -> bool {
        let Some((since, _)) = self.text.get() else { return now >= self.first_text };
        if self.has_new_text(taken) || self.channel.is_held() {
            self.has_text_at(ticks, taken);
            return false;
        }
        ticks.wrapping_sub(since) >= self.text_gap
    }

    fn has_text_at(&self, ticks: u32, taken: u32) {
        self.text.set(Some((ticks, taken)));
        self.exceeded.set(self.exceeded.get().filter(|exceeded| *exceeded != Exceeded::NoText));
    }

    /// Whether text has come since the last look, given how often the session has taken some. Until the response has some of its
    /// own, what the session takes is of an attempt before it.
    fn has_new_text(&self, taken: u32) -> bool {
        self.text.get().is_some_and(|(_, before)| taken != before || self.channel.has_pending())
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

    /// The first text arrived.
    pub(super) fn has_text(&self) {
        self.limits.has_text_at(self.deadlines.clock.ticks(), self.channel.times_drained());
    }

    pub(super) fn exceeded(&self) -> Option<Exceeded> {
        // What arrived after its lack was detected has ended it.
        let still_holds = |exceeded: &Exceeded| match exceeded {
            Exceeded::Silence => self.limits.is_silent(self.deadlines.clock.ticks()),
            Exceeded::NoText => !self.limits.has_new_text(self.channel.times_drained()),
            Exceeded::Delivery | Exceeded::Deadline => true,
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
        let hour = Duration::from_secs(3_600);
        let times =
            Times { silence: 2 * TICK, first_text: now + hour, text: hour, delivery: 4 * TICK, deadline };
        let stream = deadlines.add(times, Arc::clone(&channel));
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

    #[tokio::test]
    async fn comments_are_no_text_and_waiting_text_is_no_silence() {
        let (clock, now) = (Rc::new(WorkerClock::stopped()), Instant::now());
        let deadlines = StreamDeadlines::start(&clock);
        let channel = Arc::new(RunChannel::default());
        // An earlier attempt of the run had text, which the session takes while the next one has none.
        channel.push(&mut vec![RunEvent::answer("a")], None);
        let hour = Duration::from_secs(3_600);
        let times = Times {
            silence: hour,
            first_text: now + 3 * TICK,
            text: 2 * TICK,
            delivery: hour,
            deadline: now + hour,
        };
        let check = |stream: &DeadlineGuard, passed: u32| {
            clock.advance(1);
            stream.received();
            deadlines.check(now + passed * TICK);
            stream.exceeded()
        };
        let stream = deadlines.add(times, Arc::clone(&channel));
        assert_eq!(check(&stream, 1), None);
        channel.drain(&mut Vec::new());
        assert_eq!([2, 3].map(|n| check(&stream, n)), [None, Some(Exceeded::NoText)]);
        drop(stream);
        let stream = deadlines.add(times, Arc::clone(&channel));
        channel.push(&mut vec![RunEvent::reasoning("b")], None);
        stream.has_text();
        assert_eq!([4, 5, 6, 7].map(|n| check(&stream, n)), [None; 4], "the session has it to take");
        channel.drain(&mut Vec::new());
        assert_eq!([8, 9, 10].map(|n| check(&stream, n)), [None; 3]);
        assert_eq!(check(&stream, 11), Some(Exceeded::NoText));
    }
}
