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
