//! The handle by which a session cancels or holds its run, from whatever thread it lives on.
use futures_util::task::AtomicWaker;
use std::{
    sync::atomic::{AtomicU8, Ordering},
    task::Context,
};

const CANCELLED: u8 = 1;
const HELD: u8 = 2;

/// Shared by a session and the task of its run. The task polls it first on every wake, so that a
/// run ends at once also while its upstream is silent.
#[derive(Debug, Default)]
pub struct RunControl {
    state: AtomicU8,
    task: AtomicWaker,
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

    pub fn is_held(&self) -> bool {
        self.state.load(Ordering::Acquire) & HELD != 0
    }

    /// Has the task woken by the next change; whether the run is cancelled now.
    pub fn poll_cancelled(&self, cx: &mut Context<'_>) -> bool {
        self.task.register(cx.waker());
        self.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::{Arc, atomic::AtomicU32},
        task::{Wake, Waker},
    };

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
