//! What a session and its run share, across threads: the session cancels or holds the run, and the run leaves its
//! text for the session.
use crate::{
    chat::{RunEvent, Usage},
    upstream::route::Affinity,
};
use futures_util::task::AtomicWaker;
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU32, Ordering},
    },
    task::{Context, Waker},
};

const CANCELLED: u8 = 1;
const HELD: u8 = 2;
/// Pending text has reached [`PENDING_BYTES_MAX`].
const FULL: u8 = 4;
/// Text is pending.
const PENDING: u8 = 8;
/// The session polls the run and drains the channel afterwards, so a push need not wake it.
const POLLED_BY_SESSION: u8 = 16;

/// Text pending for the session, in bytes, at which the run stops reading. The last network read may go beyond it.
const PENDING_BYTES_MAX: usize = 64 * 1024;

/// Shared by a session and its run. The run polls it first on every wake, so that it ends at once also while its
/// upstream is silent.
///
/// Text goes through here and not through the session's mailbox, which takes two allocations for
/// each message. Text that the session has not drained yet is merged with what follows. All other events of
/// a run are messages; before the session handles one, it drains the text that was pushed before it.
#[derive(Debug, Default)]
pub struct RunChannel {
    state: AtomicU8,
    /// The task that polls the run.
    task: AtomicWaker,
    pending: Mutex<Pending>,
    /// The session's task, for as long as another one polls the run.
    session: AtomicWaker,
    /// How often the session has drained text.
    drained: AtomicU32,
    /// The worker's tick in which the run last received something. Here because a delta touches this cache line anyway.
    received: AtomicU32,
    /// Where the conversation was answered before, and where the run was answered.
    affinity: Mutex<Affinity>,
}

/// Usually a single event is pending, so the first one is stored inline.
#[derive(Debug, Default)]
struct Pending {
    first: Option<RunEvent>,
    rest: Vec<RunEvent>,
    bytes: usize,
    /// The last running totals of the attempt that pushed last.
    usage: Option<Usage>,
}

impl Pending {
    fn add(&mut self, event: RunEvent) {
        self.bytes += event.text_bytes();
        let unjoined = match self.rest.last_mut().or(self.first.as_mut()) {
            Some(last) => event.join(last),
            None => {
                self.first = Some(event);
                None
            }
        };
        self.rest.extend(unjoined);
    }
}

impl RunChannel {
    /// For a run of a conversation that was answered before.
    pub fn new(affinity: Affinity) -> Self {
        RunChannel { affinity: Mutex::new(affinity), ..RunChannel::default() }
    }

    /// Where the conversation was answered last: for the run, and for the session when the run has ended.
    pub fn affinity(&self) -> Affinity {
        *self.affinity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the run, before its end.
    pub fn set_affinity(&self, affinity: Affinity) {
        *self.affinity.lock().unwrap_or_else(PoisonError::into_inner) = affinity;
    }

    /// Ends the run; it sends nothing more. Idempotent.
    pub fn cancel(&self) {
        self.state.fetch_or(CANCELLED, Ordering::Release);
        self.task.wake();
    }

    /// Stops reading from the upstream, whose TCP window then closes.
    pub fn hold(&self) {
        self.state.fetch_or(HELD, Ordering::Release);
    }

    /// Reads on after [`RunChannel::hold`].
    pub fn resume(&self) {
        self.state.fetch_and(!HELD, Ordering::Release);
        self.task.wake();
    }

    /// Wakes the run, which checks its limits.
    pub fn wake(&self) {
        self.task.wake();
    }

    pub fn is_cancelled(&self) -> bool {
        self.state.load(Ordering::Acquire) & CANCELLED != 0
    }

    /// Whether the run is not to read now.
    pub fn is_held(&self) -> bool {
        self.state.load(Ordering::Acquire) & (HELD | FULL) != 0
    }

    /// For the run: has it woken by the next change, and returns whether it is cancelled.
    pub fn poll_cancelled(&self, cx: &mut Context<'_>) -> bool {
        self.task.register(cx.waker());
        self.is_cancelled()
    }

    /// For the run: leaves text for the session and wakes it, with the usage of the attempt so far, in case the run is cancelled.
    pub fn push(&self, events: &mut Vec<RunEvent>, usage: Option<Usage>) {
        let mut pending = self.pending();
        pending.usage = usage; // Not that of an attempt before: the usage of a run is that of its answer.
        events.drain(..).for_each(|event| pending.add(event));
        let full = if pending.bytes >= PENDING_BYTES_MAX { FULL } else { 0 };
        let before = self.state.fetch_or(PENDING | full, Ordering::Release);
        drop(pending);
        if before & POLLED_BY_SESSION == 0 {
            self.session.wake();
        }
    }

    /// For the lane: wakes the session, which is to poll the run.
    pub(super) fn wake_session(&self) {
        self.session.wake();
    }

    /// For the session: whether it polls the run itself.
    pub(super) fn set_polled_by_session(&self, polled: bool) {
        if polled {
            self.state.fetch_or(POLLED_BY_SESSION, Ordering::Release);
        } else {
            self.state.fetch_and(!POLLED_BY_SESSION, Ordering::Release);
        }
    }

    /// For the session: what the run had used when it last pushed something.
    pub fn usage(&self) -> Option<Usage> {
        self.pending().usage
    }

    /// For the session: has it woken when something is pushed.
    pub fn set_waker(&self, session: &Waker) {
        self.session.register(session);
    }

    /// For the session: moves the pending events to the end of `events`.
    pub fn drain(&self, events: &mut Vec<RunEvent>) {
        let mut pending = self.pending();
        let Some(first) = pending.first.take() else { return };
        events.push(first);
        events.append(&mut pending.rest);
        pending.bytes = 0;
        self.drained.fetch_add(1, Ordering::Relaxed);
        if self.state.fetch_and(!(PENDING | FULL), Ordering::Release) & FULL != 0 {
            self.task.wake();
        }
    }

    /// For the run: it received something in this tick of the worker's clock.
    pub fn note_received(&self, tick: u32) {
        self.received.store(tick, Ordering::Relaxed);
    }

    /// The tick in which the run last received something.
    pub fn received(&self) -> u32 {
        self.received.load(Ordering::Relaxed)
    }

    /// Whether text is pending.
    pub fn has_pending(&self) -> bool {
        self.state.load(Ordering::Acquire) & PENDING != 0
    }

    /// How often the session has drained text.
    pub fn times_drained(&self) -> u32 {
        self.drained.load(Ordering::Relaxed)
    }

    /// No panic can leave it inconsistent, so poisoning is ignored.
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, task::Wake};

    fn text(text: &str) -> RunEvent {
        RunEvent::answer(text)
    }

    #[test]
    fn text_that_was_not_drained_is_joined_and_drained_once() {
        let channel = RunChannel::default();
        let mut drained = Vec::new();
        channel.push(&mut vec![RunEvent::reasoning("hm"), text("a")], None);
        channel.push(&mut vec![text("b")], None);
        channel.drain(&mut drained);
        assert_eq!(drained, [RunEvent::reasoning("hm"), text("ab")]);
        drained.clear();
        channel.drain(&mut drained);
        assert!(drained.is_empty());
        channel.push(&mut vec![text("c")], None);
        channel.drain(&mut drained);
        assert_eq!(drained, [text("c")]);
    }

    #[test]
    fn the_usage_is_that_of_the_attempt_that_pushed_last() {
        let channel = RunChannel::default();
        let usage = Some(Usage { input_tokens: 7, ..Usage::default() });
        channel.push(&mut vec![text("Half")], usage);
        assert_eq!(channel.usage(), usage);
        channel.push(&mut vec![text("Whole")], None);
        assert_eq!(channel.usage(), None, "another attempt, whose service has not counted yet");
    }

    #[test]
    fn a_session_that_drains_nothing_holds_its_run() {
        let channel = RunChannel::default();
        channel.push(&mut vec![text(&"x".repeat(PENDING_BYTES_MAX - 1))], None);
        assert!(!channel.is_held());
        channel.push(&mut vec![text("x")], None);
        assert!(channel.is_held());
        channel.drain(&mut Vec::new());
        assert!(!channel.is_held());
        channel.hold();
        channel.drain(&mut Vec::new());
        assert!(channel.is_held(), "held by the session itself");
    }

    #[derive(Default)]
    struct Wakes(AtomicU32);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The state: cancelled, held, and how often the task was woken since.
    fn after(channel: &RunChannel, act: impl FnOnce(&RunChannel)) -> (bool, bool, u32) {
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let before = channel.poll_cancelled(&mut Context::from_waker(&waker));
        assert_eq!(before, channel.is_cancelled());
        act(channel);
        (channel.is_cancelled(), channel.is_held(), wakes.0.load(Ordering::Relaxed))
    }

    #[test]
    fn a_push_wakes_a_session_that_does_not_poll_its_run() {
        let (channel, wakes) = (RunChannel::default(), Arc::new(Wakes::default()));
        let waker = Waker::from(Arc::clone(&wakes));
        let woken = |polled: bool| {
            channel.set_polled_by_session(polled);
            channel.set_waker(&waker);
            channel.push(&mut vec![text("a")], None);
            wakes.0.load(Ordering::Relaxed)
        };
        assert_eq!([woken(false), woken(true), woken(false)], [1, 1, 2]);
    }

    #[test]
    fn a_run_is_held_let_go_and_cancelled() {
        let channel = RunChannel::default();
        assert_eq!(after(&channel, |_| {}), (false, false, 0));
        // Held by not reading on: there is nothing to wake the task for.
        assert_eq!(after(&channel, RunChannel::hold), (false, true, 0));
        assert_eq!(after(&channel, RunChannel::wake), (false, true, 1));
        assert_eq!(after(&channel, RunChannel::resume), (false, false, 1));
        assert_eq!(after(&channel, RunChannel::hold), (false, true, 0));
        assert_eq!(after(&channel, RunChannel::cancel), (true, true, 1));
        assert_eq!(after(&channel, RunChannel::resume), (true, false, 1));
        assert_eq!(after(&channel, RunChannel::cancel), (true, false, 1));
    }
}
