//! The breaker as all lanes and the dispatcher share it: one state behind one lock, told to log and metrics.
use crate::{
    chat::Source,
    metrics::Metrics,
    upstream::breaker::{self, Asker, Pass, State, Verdict},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

pub struct Breaker {
    /// Held for a few comparisons, never over an await.
    inner: Mutex<breaker::Breaker>,
    metrics: Arc<Metrics>,
}

/// Leave for one attempt. Dropped before a word was said, as with a cancelled run, it gives its place back.
pub(super) struct Ticket {
    breaker: Arc<Breaker>,
    pass: Pass,
    told: bool,
}

impl Breaker {
    pub fn new(settings: breaker::Settings, metrics: Arc<Metrics>) -> Self {
        let breaker = Breaker { inner: Mutex::new(breaker::Breaker::new(settings)), metrics };
        breaker.metrics.upstream_is(State::Closed);
        breaker
    }

    pub fn state(&self) -> State {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).state()
    }

    /// How long a client of this source has to wait, if it is not let through now.
    pub(super) fn refuses(&self, source: Source) -> Option<Duration> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).refuses(now(), source)
    }

    /// Leave for one attempt, or how long to wait.
    pub(super) fn ticket(self: &Arc<Self>, asker: Asker) -> Result<Ticket, Duration> {
        let pass = self.with(|inner| inner.pass(now(), asker))?;
        Ok(Ticket { breaker: Arc::clone(self), pass, told: false })
    }

    /// As if the upstream had failed once more.
    #[cfg(test)]
    pub(crate) fn trip(&self) {
        self.with(|inner| {
            let asker = Asker { source: Source::default(), session: crate::chat::SessionId(0) };
            let pass = inner.pass(now(), asker).unwrap();
            inner.report(now(), pass, Verdict::Fails(breaker::Failure::Connect));
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut breaker::Breaker) -> T) -> T {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let before = inner.state();
        let outcome = act(&mut inner);
        let after = inner.state();
        if before != after {
            // Under the lock, so that lines and gauges come in the order of the changes.
            self.metrics.upstream_is(after);
            let level = if after == State::Open { log::Level::Warn } else { log::Level::Info };
            log::log!(level, "upstream breaker {} was={}", after.as_str(), before.as_str());
        }
        outcome
    }
}

impl Ticket {
    /// The same thing twice says no more than once.
    pub(super) fn report(&mut self, verdict: Verdict) {
        if !(self.told && verdict == Verdict::Answers) {
            self.told = true;
            let pass = self.pass;
            self.breaker.with(|inner| inner.report(now(), pass, verdict));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.told {
            self.report(Verdict::Unknown);
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
