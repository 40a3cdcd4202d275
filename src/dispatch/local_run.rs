//! Runs that are polled by the actors of their sessions: a delta then wakes and polls one task instead of two.
//!
//! A session registers the run that it submits with its own thread. The lane hands the future of an admitted run
//! to the session that has registered it, and spawns it as a task if none has: because the session is on another
//! thread, or because it has dropped the run.
use super::RunChannel;
use crate::chat::{RunId, SessionId};
use std::{
    cell::RefCell,
    collections::HashMap,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Waker},
};

/// A run from its admission to its end. Dropping it cancels the run and gives its slot back.
type RunFuture = Pin<Box<dyn Future<Output = ()>>>;

type Key = (SessionId, RunId);

/// The registered runs of one thread, shared by its lane and its sessions. An entry has the future from the
/// hand-over until the next poll of the session.
#[derive(Clone, Default)]
pub struct LocalRuns(Rc<RefCell<HashMap<Key, Option<RunFuture>>>>);

/// The session's end of a run. Dropping it drops the run, unless the lane has spawned it as a task.
pub struct LocalRun {
    runs: LocalRuns,
    key: Key,
    channel: Arc<RunChannel>,
    state: State,
}

enum State {
    /// It is registered, and not handed over yet.
    Submitted,
    Running(RunFuture),
    Over,
}

impl LocalRuns {
    /// Registers the run that a session submits.
    pub fn register(&self, session: SessionId, run: RunId, channel: Arc<RunChannel>) -> LocalRun {
        self.0.borrow_mut().insert((session, run), None);
        LocalRun { runs: self.clone(), key: (session, run), channel, state: State::Submitted }
    }

    /// Starts an admitted run: its session polls it, or a task of its own.
    pub(super) fn start(&self, key: Key, channel: &RunChannel, run: RunFuture) {
        let spawned = match self.0.borrow_mut().get_mut(&key) {
            Some(place) => {
                *place = Some(run);
                None
            }
            None => Some(run),
        };
        match spawned {
            Some(run) => drop(actix::spawn(run)),
            None => channel.wake_session(),
        }
    }

    fn remove(&self, key: Key) -> Option<RunFuture> {
        self.0.borrow_mut().remove(&key).flatten()
    }
}

impl LocalRun {
    pub fn channel(&self) -> &RunChannel {
        &self.channel
    }

    /// Has the session's task woken by the run, and polls the run if it is polled by the session. The run calls
    /// nothing of the session; its text is in the channel afterwards.
    pub fn poll(&mut self, cx: &mut Context<'_>) {
        if matches!(self.state, State::Submitted) {
            self.receive(cx.waker());
        }
        if let State::Running(run) = &mut self.state
            && run.as_mut().poll(cx).is_ready()
        {
            self.state = State::Over;
        }
    }

    #[cfg(test)]
    pub fn is_polled_here(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    /// The run has sent its end: a task of its own reads what is left of its response.
    pub fn release(mut self) {
        if let State::Running(run) = std::mem::replace(&mut self.state, State::Over) {
            self.channel.set_polled_by_session(false);
            actix::spawn(run);
        }
    }

    /// Takes the run if it was handed over.
    #[cold]
    fn receive(&mut self, waker: &Waker) {
        self.channel.set_waker(waker);
        let is_here = self.runs.0.borrow().get(&self.key).is_some_and(Option::is_some);
        if is_here && let Some(run) = self.runs.remove(self.key) {
            self.channel.set_polled_by_session(true);
            self.state = State::Running(run);
        }
    }
}

impl Drop for LocalRun {
    fn drop(&mut self) {
        if matches!(self.state, State::Submitted) {
            drop(self.runs.remove(self.key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const KEY: Key = (SessionId(1), RunId(2));

    /// A run that ends at its third poll; how often it was polled, and whether it still exists.
    fn run() -> (RunFuture, Rc<Cell<u32>>) {
        let polls = Rc::new(Cell::new(0));
        let counted = Rc::clone(&polls);
        let run = std::future::poll_fn(move |cx| {
            counted.set(counted.get() + 1);
            cx.waker().wake_by_ref();
            if counted.get() < 3 { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
        });
        (Box::pin(run), polls)
    }

    async fn ends(polls: &Rc<Cell<u32>>) {
        while Rc::strong_count(polls) > 1 {
            actix::clock::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    fn poll(local: &mut LocalRun) {
        local.poll(&mut Context::from_waker(Waker::noop()));
    }

    #[actix::test]
    async fn a_registered_run_is_polled_by_its_session_alone() {
        let (runs, channel) = (LocalRuns::default(), Arc::new(RunChannel::default()));
        let mut local = runs.register(KEY.0, KEY.1, Arc::clone(&channel));
        poll(&mut local);
        let (run, polls) = run();
        runs.start(KEY, &channel, run);
        tokio::task::yield_now().await;
        assert_eq!(polls.get(), 0, "it is no task");
        for count in 1..=3 {
            poll(&mut local);
            assert_eq!(polls.get(), count);
        }
        poll(&mut local);
        assert_eq!(polls.get(), 3, "not polled after its end");
        assert!(runs.0.borrow().is_empty());
    }

    #[actix::test]
    async fn a_run_that_no_session_of_the_thread_waits_for_is_a_task() {
        let (runs, channel) = (LocalRuns::default(), Arc::new(RunChannel::default()));
        drop(runs.register(KEY.0, KEY.1, Arc::clone(&channel)));
        let mut other = runs.register(KEY.0, RunId(3), Arc::default());
        let (run, polls) = run();
        runs.start(KEY, &channel, run);
        poll(&mut other);
        ends(&polls).await;
        assert_eq!(polls.get(), 3);
    }

    #[actix::test]
    async fn a_run_that_its_session_drops_is_dropped_and_one_that_it_releases_goes_on_as_a_task() {
        for releases in [false, true] {
            let (runs, channel) = (LocalRuns::default(), Arc::new(RunChannel::default()));
            let mut local = runs.register(KEY.0, KEY.1, Arc::clone(&channel));
            let (run, polls) = run();
            runs.start(KEY, &channel, run);
            poll(&mut local);
            if releases {
                local.release();
            } else {
                drop(local);
            }
            ends(&polls).await;
            assert_eq!(polls.get(), if releases { 3 } else { 1 });
        }
        // Also one that was handed over and not polled yet.
        let (runs, channel) = (LocalRuns::default(), Arc::new(RunChannel::default()));
        let local = runs.register(KEY.0, KEY.1, Arc::clone(&channel));
        let (run, polls) = run();
        runs.start(KEY, &channel, run);
        drop(local);
        assert_eq!((Rc::strong_count(&polls), polls.get()), (1, 0));
        assert!(runs.0.borrow().is_empty());
    }
}
