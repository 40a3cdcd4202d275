//! The breaker of one upstream: when it fails too often, nobody is sent there for a while, and then
//! one request alone finds out whether it is back. Pure: time is an argument.
use crate::chat::{RunError, RunErrorKind};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// So many answers at least are counted before their share of failures says anything.
const ANSWERS_MIN: u32 = 20;
/// Parts of the window; as time passes one is forgotten after the other.
const PARTS: u32 = 10;

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// So many failures in a row open it; 0: it never opens.
    pub failures: u32,
    /// In percent: such a share of failures within the window opens it too.
    pub share: u32,
    pub window: Duration,
    /// How long nobody is sent to the upstream.
    pub pause: Duration,
}

/// What the breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything.
    Closed,
    /// Nothing until the pause is over.
    Open,
    /// One probe is under way; nothing else.
    HalfOpen,
}

impl State {
    pub const ALL: [State; 3] = [State::Closed, State::Open, State::HalfOpen];

    pub fn as_str(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::Open => "open",
            State::HalfOpen => "half_open",
        }
    }
}

/// Leave to send one request; what became of it is told with [`Breaker::report`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    epoch: u64,
}

/// What a request says of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answers, though perhaps not what was hoped for.
    Answers,
    /// It failed, or the way to it did.
    Fails,
    /// Nothing: the request was cancelled, or ended for a reason of our own.
    Unknown,
}

impl Verdict {
    /// What an attempt that failed says. `shown`: text of its answer had come by then.
    ///
    /// A wrong key, an unpaid bill and a rate limit are answers: the service is there, such attempts have
    /// rules of their own, and an open breaker would hide the sentence that names the cause.
    pub fn of(error: &RunError, shown: bool) -> Verdict {
        use RunErrorKind as Kind;
        match error.kind {
            Kind::UpstreamError
            | Kind::UpstreamUnreachable
            | Kind::UpstreamTls
            | Kind::UpstreamProtocol
            | Kind::Interrupted => Verdict::Fails,
            // After the first text, time runs out for long answers too.
            Kind::UpstreamTimeout if shown => Verdict::Unknown,
            Kind::UpstreamTimeout => Verdict::Fails,
            Kind::NotSetUp
            | Kind::NotAvailable
            | Kind::ModelNotFound
            | Kind::InputTooLong
            | Kind::BadRequest
            | Kind::InputRefused
            | Kind::OutputRefused
            | Kind::RateLimited
            | Kind::AnswerTooLong
            | Kind::ToolsNotSupported
            | Kind::EmptyAnswer => Verdict::Answers,
            Kind::UpstreamDown
            | Kind::Overloaded
            | Kind::QueueTimeout
            | Kind::Draining
            | Kind::Cancelled
            | Kind::Internal => Verdict::Unknown,
        }
    }
}

#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    phase: Phase,
    /// Counts the changes of state. A request that was sent before the last one says nothing any more.
    epoch: u64,
    in_a_row: u32,
    /// At most [`PARTS`] and one, the oldest first.
    parts: VecDeque<Part>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed,
    Open { until: Instant },
    Probing,
}

/// Answers and failures of one part of the window.
#[derive(Debug)]
struct Part {
    since: Instant,
    answers: u32,
    failures: u32,
}

impl Breaker {
    pub fn new(settings: Settings) -> Self {
        Breaker { settings, phase: Phase::Closed, epoch: 0, in_a_row: 0, parts: VecDeque::new() }
    }

    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::Probing => State::HalfOpen,
        }
    }

    /// How long to wait, if nobody is let through now.
    pub fn refuses(&self, now: Instant) -> Option<Duration> {
        match self.phase {
            Phase::Closed => None,
            Phase::Open { until } => {
                Some(until.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
            }
            Phase::Probing => Some(self.settings.pause),
        }
    }

    /// Leave to send a request, or how long to wait. The first one after the pause is the probe.
    pub fn pass(&mut self, now: Instant) -> Result<Pass, Duration> {
        if let Some(wait) = self.refuses(now) {
            return Err(wait);
        }
        if let Phase::Open { .. } = self.phase {
            self.enter(Phase::Probing);
        }
        Ok(Pass { epoch: self.epoch })
    }

    /// What became of a request. Every pass must come back, the one of a cancelled request too, else
    /// a probe is waited for in vain.
    pub fn report(&mut self, now: Instant, pass: Pass, verdict: Verdict) {
        if pass.epoch != self.epoch {
            return; // It was sent to an upstream of another time.
        }
        match (self.phase, verdict) {
            (Phase::Closed, Verdict::Unknown) | (Phase::Open { .. }, _) => {}
            (Phase::Closed, verdict) => self.count(now, verdict == Verdict::Fails),
            (Phase::Probing, Verdict::Answers) => self.enter(Phase::Closed),
            (Phase::Probing, Verdict::Fails) => self.open(now),
            // The next one is the probe.
            (Phase::Probing, Verdict::Unknown) => self.enter(Phase::Open { until: now }),
        }
    }

    fn count(&mut self, now: Instant, failed: bool) {
        self.in_a_row = if failed { self.in_a_row.saturating_add(1) } else { 0 };
        let part = self.part(now);
        part.answers += u32::from(!failed);
        part.failures += u32::from(failed);
        let failures: u32 = self.parts.iter().map(|part| part.failures).sum();
        let all: u32 = failures + self.parts.iter().map(|part| part.answers).sum::<u32>();
        let share = u64::from(failures) * 100 >= u64::from(self.settings.share) * u64::from(all);
        let too_often = self.in_a_row >= self.settings.failures || (all >= ANSWERS_MIN && share);
        if failed && too_often && self.settings.failures > 0 {
            self.open(now);
        }
    }

    /// The part of the window for now, once what is too old is forgotten.
    fn part(&mut self, now: Instant) -> &mut Part {
        while self.parts.front().is_some_and(|part| part.since + self.settings.window <= now) {
            self.parts.pop_front();
        }
        let length = self.settings.window / PARTS;
        if self.parts.back().is_none_or(|part| part.since + length <= now) {
            self.parts.push_back(Part { since: now, answers: 0, failures: 0 });
        }
        let last = self.parts.len() - 1;
        &mut self.parts[last]
    }

    fn open(&mut self, now: Instant) {
        self.enter(Phase::Open { until: now + self.settings.pause });
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch += 1;
        self.in_a_row = 0;
        self.parts.clear();
    }
}

#[cfg(test)]
mod tests;
