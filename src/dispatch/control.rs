//! What a session and the task of its run share, from whatever threads: the session cancels or holds
//! the run, and the run leaves its text for the session.
use crate::chat::{RunEvent, Usage};
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
/// The session has not taken so much that the run waits.
const FULL: u8 = 4;
/// The session has not taken what was said.
const UNHEARD: u8 = 8;

/// Text that waits for the session, in bytes, at which the run stops reading. What came in one
/// read of the upstream goes beyond it.
const SAID_BYTES_MAX: usize = 64 * 1024;

/// Shared by a session and the task of its run. The task polls it first on every wake, so that a
/// run ends at once also while its upstream is silent.
///
/// Text goes through here and not through the session's mailbox, which takes two allocations for
/// each message. What the session has not taken yet is joined by what follows. Everything else that a
/// run says is a message; before one is read, the session takes the text that was said before it.
#[derive(Debug, Default)]
pub struct RunControl {
    state: AtomicU8,
    task: AtomicWaker,
    said: Mutex<Said>,
    session: AtomicWaker,
    /// How often the session has taken something.
    heard: AtomicU32,
}

/// Nearly always one event waits, so that one has a place of its own.
#[derive(Debug, Default)]
struct Said {
    first: Option<RunEvent>,
    rest: Vec<RunEvent>,
    bytes: usize,
    /// The last running totals.
    usage: Option<Usage>,
}

impl Said {
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

impl RunControl {
    /// Ends the run; nothing more is heard of it. Idempotent.
    pub fn cancel(&self) {
        self.state.fetch_or(CANCELLED, Ordering::Release);
        self.task.wake();
    }

    /// Stops reading from the upstream, whose TCP window then closes.
    pub fn hold(&self) {
        self.state.fetch_or(HELD, Ordering::Release);
    }

    pub fn go_on(&self) {
        self.state.fetch_and(!HELD, Ordering::Release);
        self.task.wake();
    }

    /// Has the task look around.
    pub fn nudge(&self) {
        self.task.wake();
    }

    pub fn is_cancelled(&self) -> bool {
        self.state.load(Ordering::Acquire) & CANCELLED != 0
    }

    /// Whether the session has enough for now.
    pub fn is_held(&self) -> bool {
        self.state.load(Ordering::Acquire) & (HELD | FULL) != 0
    }

    /// Has the task woken by the next change; whether the run is cancelled now.
    pub fn poll_cancelled(&self, cx: &mut Context<'_>) -> bool {
        self.task.register(cx.waker());
        self.is_cancelled()
    }

    /// For the run: leaves text for the session and wakes it.
    pub fn say(&self, events: &mut Vec<RunEvent>) {
        let mut said = self.said();
        events.drain(..).for_each(|event| said.add(event));
        let full = if said.bytes >= SAID_BYTES_MAX { FULL } else { 0 };
        self.state.fetch_or(UNHEARD | full, Ordering::Release);
        drop(said);
        self.session.wake();
    }

    /// For the run: what it has used so far, should it be cut short.
    pub fn note_usage(&self, usage: Usage) {
        self.said().usage = Some(usage);
    }

    /// For the session: what the run had used when it last said something.
    pub fn usage(&self) -> Option<Usage> {
        self.said().usage
    }

    /// For the session: has it woken when something is said.
    pub fn listen(&self, session: &Waker) {
        self.session.register(session);
    }

    /// For the session: adds what was said to `heard`.
    pub fn hear(&self, heard: &mut Vec<RunEvent>) {
        let mut said = self.said();
        let Some(first) = said.first.take() else { return };
        heard.push(first);
        heard.append(&mut said.rest);
        said.bytes = 0;
        self.heard.fetch_add(1, Ordering::Relaxed);
        if self.state.fetch_and(!(UNHEARD | FULL), Ordering::Release) & FULL != 0 {
            self.task.wake();
        }
    }

    /// Whether something was said that the session has not taken.
    pub fn is_unheard(&self) -> bool {
        self.state.load(Ordering::Acquire) & UNHEARD != 0
    }

    /// How often the session has taken something.
    pub fn times_heard(&self) -> u32 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Nothing in here can be half done, whoever panicked.
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn what_was_not_taken_is_joined_and_taken_once() {
        let control = RunControl::default();
        let mut heard = Vec::new();
        control.say(&mut vec![RunEvent::reasoning("hm"), text("a")]);
        control.say(&mut vec![text("b")]);
        control.hear(&mut heard);
        assert_eq!(heard, [RunEvent::reasoning("hm"), text("ab")]);
        heard.clear();
        control.hear(&mut heard);
        assert!(heard.is_empty());
        control.say(&mut vec![text("c")]);
        control.hear(&mut heard);
        assert_eq!(heard, [text("c")]);
    }

    #[test]
    fn a_session_that_takes_nothing_holds_its_run() {
        let control = RunControl::default();
        control.say(&mut vec![text(&"x".repeat(SAID_BYTES_MAX - 1))]);
        assert!(!control.is_held());
        control.say(&mut vec![text("x")]);
        assert!(control.is_held());
        control.hear(&mut Vec::new());
        assert!(!control.is_held());
        control.hold();
        control.hear(&mut Vec::new());
        assert!(control.is_held(), "held by the session itself");
    }

    #[derive(Default)]
    struct Wakes(AtomicU32);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What the handle says: cancelled, held, and how often the task was woken since.
    fn after(control: &RunControl, act: impl FnOnce(&RunControl)) -> (bool, bool, u32) {
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let before = control.poll_cancelled(&mut Context::from_waker(&waker));
        assert_eq!(before, control.is_cancelled());
        act(control);
        (control.is_cancelled(), control.is_held(), wakes.0.load(Ordering::Relaxed))
    }

    #[test]
    fn a_run_is_held_let_go_and_cancelled() {
        let control = RunControl::default();
        assert_eq!(after(&control, |_| {}), (false, false, 0));
        // Held by not reading on: there is nothing to wake the task for.
        assert_eq!(after(&control, RunControl::hold), (false, true, 0));
        assert_eq!(after(&control, RunControl::nudge), (false, true, 1));
        assert_eq!(after(&control, RunControl::go_on), (false, false, 1));
        assert_eq!(after(&control, RunControl::hold), (false, true, 0));
        assert_eq!(after(&control, RunControl::cancel), (true, true, 1));
        assert_eq!(after(&control, RunControl::go_on), (true, false, 1));
        assert_eq!(after(&control, RunControl::cancel), (true, false, 1));
    }
}
