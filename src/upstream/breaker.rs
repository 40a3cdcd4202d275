//! The circuit breaker of one upstream. After too many failures no attempt is sent for a while; then a single trial
//! decides whether the upstream has recovered. Pure: time is an argument.
//!
//! All clients share the breaker, so one client must neither open it nor keep it open. Everything with the same
//! [`FairShareKey`] is one client here. No message can cause a failure to connect, so those count unconditionally. Any
//! other failure may be caused by the message that was sent:
//!
//! - Such failures open the breaker only if at least three clients failed. A session counts once, a client contributes
//!   at most two fewer consecutive failures than are needed, and the failure rate must be reached without the client
//!   that fails most often.
//! - An error that the service reported itself (status 5xx with a code) counts only while two other clients have
//!   failed.
//! - The trial is a request of a client that has not failed; if none arrives for another `open_time`, of any client.
//!   While a trial hangs, another client may start a second one.
//!
//! A breaker of an upstream that can be probed without a request of a client is [`Breaker::probed`]: a good probe admits the
//! trial. Without a result of a probe for [`OVERDUE`] after its time, a trial is admitted all the same.
use crate::chat::{FairShareKey, SessionId};
use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

/// Minimum number of attempts in the window before the failure rate is used.
const ANSWERS_MIN: u32 = 20;
/// Number of parts of the window; the oldest is dropped as time passes.
const PARTS: u32 = 10;
/// Minimum number of failing clients for failures that a message could have caused.
const CLIENTS_MIN: usize = 3;
/// Number of failing clients that are counted individually in one part of the window; for another one, that with the
/// fewest failures is replaced, so that the one with the most is always counted.
const KEPT_APART: usize = 8;
/// Number of clients that are excluded from the trial; for another one, that which failed longest ago is admitted again.
const BLAMED_MAX: usize = 8;

/// How long after its time the result of a probe is waited for.
pub const OVERDUE: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Failures in a row that open the breaker; 0: it never opens.
    pub failures: u32,
    /// Percentage of failures within the window that also opens it.
    pub failure_percent: u32,
    /// How long an attempt counts for `failure_percent`.
    pub window: Duration,
    /// How long no attempt is sent before the trial.
    pub open_time: Duration,
}

/// Which attempts the breaker admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// All.
    Closed,
    /// None until `open_time` is over.
    Open,
    /// None while a trial is running.
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

/// The client and session of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    pub client: FairShareKey,
    pub session: SessionId,
}

/// The permission for one attempt, whose result must be passed to [`Breaker::report`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPermit {
    epoch: u64,
    asker: Asker,
    /// Its client is excluded from the trial.
    by_blamed: bool,
}

/// What an attempt says about the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// It answered, though perhaps with an error that is not its fault.
    Answered,
    /// The upstream, or the connection to it, failed.
    Failed(Failure),
    /// Nothing: the attempt was cancelled, or ended for a reason of our own.
    Unknown,
}

/// The kind of a failure, by whether the message may have caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There was no connection: refused, timed out, name not found, TLS. No message causes that.
    Connect,
    /// The request was sent, and no valid response came back.
    Answer,
    /// The service reported an error of its own: status 5xx with its error code. Many services do so for
    /// messages that they cannot cope with.
    Reported,
}

#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    phase: Phase,
    /// Number of state changes. Results of attempts from before the last one are ignored.
    epoch: u64,
    /// Failures to connect since the last success.
    connects: u32,
    /// Other counted failures since the last success, each session once. Fewer than twice `settings.failures`, because
    /// at most two fewer than that are of one client.
    row: Vec<Asker>,
    /// At most [`PARTS`] + 1, oldest first.
    parts: VecDeque<Part>,
    /// Set: the time it is open doubles while trials fail, and is spread by this number.
    seed: Option<u64>,
    /// Trials and probes that failed since it opened.
    trials_failed: u32,
    /// A probe decides when a trial is admitted.
    is_probed: bool,
    /// While it is open: clients that failed or had a trial, latest first. They are admitted to a trial after the others.
    blamed: VecDeque<FairShareKey>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed,
    Open(Gate),
    /// Number of running trials.
    Probing(Gate, u32),
}

/// When the next trial may start.
#[derive(Clone, Copy, Debug)]
struct Gate {
    /// Of a client that is not excluded.
    others: Instant,
    /// Of any client.
    anyone: Instant,
}

/// Answers and failures of one part of the window.
#[derive(Debug)]
struct Part {
    since: Instant,
    answers: u32,
    connects: u32,
    failures: u32,
    /// Failing clients, at most [`KEPT_APART`]. Beyond that, a new one takes the place and the rank of the lowest (the
    /// Space-Saving algorithm), so that the worst one is always among them.
    clients: Vec<Failing>,
}

/// A client that failed.
#[derive(Clone, Copy, Debug)]
struct Failing {
    client: FairShareKey,
    /// The last session to fail, unless it had an answer since.
    session: Option<SessionId>,
    /// Counted failures and answers since the client was added.
    failures: u32,
    answers: u32,
    /// Its failures plus those of the clients that had its place before.
    rank: u32,
}

impl Part {
    fn failed(&mut self, asker: Asker, counts: bool) {
        self.failures += u32::from(counts);
        let at = match self.clients.iter().position(|known| known.client == asker.client) {
            Some(at) => at,
            None => self.make_known(asker.client),
        };
        let failing = &mut self.clients[at];
        failing.session = Some(asker.session);
        failing.failures += u32::from(counts);
        failing.rank += u32::from(counts);
    }

    /// Adds a client to those counted individually and returns its index.
    fn make_known(&mut self, client: FairShareKey) -> usize {
        let new = |rank| Failing { client, session: None, failures: 0, answers: 0, rank };
        if self.clients.len() < KEPT_APART {
            self.clients.push(new(0));
            return self.clients.len() - 1;
        }
        let lowest = (0..self.clients.len()).min_by_key(|at| self.clients[*at].rank).unwrap_or_default();
        self.clients[lowest] = new(self.clients[lowest].rank);
        lowest
    }

    fn answered(&mut self, client: FairShareKey) {
        self.answers += 1;
        if let Some(failing) = self.clients.iter_mut().find(|failing| failing.client == client) {
            failing.answers += 1;
        }
    }
}

impl Breaker {
    pub fn new(settings: Settings) -> Self {
        Breaker {
            settings,
            phase: Phase::Closed,
            epoch: 0,
            seed: None,
            trials_failed: 0,
            is_probed: false,
            connects: 0,
            row: Vec::new(),
            parts: VecDeque::new(),
            blamed: VecDeque::new(),
        }
    }

    /// A breaker that waits longer while trials fail: up to four times `open_time`, and a fifth more or less, so that
    /// several breakers of a seed each do not ask together.
    pub fn patient(settings: Settings, seed: u64) -> Self {
        Breaker { seed: Some(seed), ..Breaker::new(settings) }
    }

    /// The same, where a probe is asked before a trial.
    #[must_use]
    pub fn probed(self) -> Self {
        Breaker { is_probed: true, ..self }
    }

    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open(_) => State::Open,
            Phase::Probing(..) => State::HalfOpen,
        }
    }

    /// How long this client must wait before its requests are admitted; `None` if they are admitted now.
    pub fn wait_for(&self, now: Instant, client: FairShareKey) -> Option<Duration> {
        let (Phase::Open(gate) | Phase::Probing(gate, _)) = self.phase else { return None };
        let mut from = if self.blamed.contains(&client) { gate.anyone } else { gate.others };
        if self.is_probed && matches!(self.phase, Phase::Open(_)) && from <= now {
            from += OVERDUE;
        }
        Some(from.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    /// When a probe is to be asked, if it is open and probed.
    pub fn probe_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open(gate) if self.is_probed => Some(gate.others),
            _ => None,
        }
    }

    /// A probe that was due when it was asked has ended. A good one admits a trial, a bad one puts the next probe off.
    pub fn report_probe(&mut self, asked: Instant, now: Instant, is_good: bool) {
        if self.probe_at().is_none_or(|due| due > asked) {
            return;
        }
        if is_good {
            self.enter(Phase::Probing(Gate { others: now, anyone: now + self.settings.open_time }, 0));
        } else {
            self.trials_failed = self.trials_failed.saturating_add(1);
            let others = now + self.open_time();
            self.enter(Phase::Open(Gate { others, anyone: others + self.settings.open_time }));
        }
    }

    /// Admits an attempt, or returns how long to wait. The first attempt after `open_time` is the trial.
    pub fn admit(&mut self, now: Instant, asker: Asker) -> Result<BreakerPermit, Duration> {
        if let Some(wait) = self.wait_for(now, asker.client) {
            return Err(wait);
        }
        let by_blamed = self.blamed.contains(&asker.client);
        if let Phase::Open(gate) | Phase::Probing(gate, _) = self.phase {
            let gate = self.gate_behind(now, gate, by_blamed);
            match &mut self.phase {
                Phase::Probing(current, trials) => (*current, *trials) = (gate, trials.saturating_add(1)),
                Phase::Open(_) | Phase::Closed => self.enter(Phase::Probing(gate, 1)),
            }
            // Even if the trial is cancelled: one client must not take it again and again.
            self.blame(asker.client);
        }
        Ok(BreakerPermit { epoch: self.epoch, asker, by_blamed })
    }

    /// Reports the result of an attempt. Every permit must be reported, even for a cancelled attempt: otherwise the
    /// breaker would wait for a trial forever.
    pub fn report(&mut self, now: Instant, permit: BreakerPermit, result: AttemptResult) {
        if permit.epoch != self.epoch {
            return; // The state has changed since the attempt was admitted.
        }
        match (self.phase, result) {
            (Phase::Closed, AttemptResult::Unknown) | (Phase::Open(_), _) => {}
            (Phase::Closed, AttemptResult::Answered) => self.answered(now, permit.asker),
            (Phase::Closed, AttemptResult::Failed(failure)) => self.failed(now, permit.asker, failure),
            (Phase::Probing(..), AttemptResult::Answered) => {
                self.blamed.clear();
                self.trials_failed = 0;
                self.enter(Phase::Closed);
            }
            (Phase::Probing(gate, trials), result) => {
                if result == AttemptResult::Failed(Failure::Connect) {
                    self.blamed.retain(|client| *client != permit.asker.client);
                }
                self.trials_failed += u32::from(matches!(result, AttemptResult::Failed(_)));
                let gate = match result {
                    AttemptResult::Failed(_) => self.gate_behind(now, gate, permit.by_blamed),
                    // The next attempt is the trial.
                    AttemptResult::Answered | AttemptResult::Unknown => {
                        Gate { others: gate.others.min(now), ..gate }
                    }
                };
                match trials {
                    // A probe has found the upstream well: no other is asked for a trial that was cancelled.
                    0 | 1 if self.is_probed && result == AttemptResult::Unknown => {
                        self.enter(Phase::Probing(gate, 0));
                    }
                    0 | 1 => self.enter(Phase::Open(gate)),
                    _ => self.phase = Phase::Probing(gate, trials - 1),
                }
            }
        }
    }

    /// The gate after a trial has started or failed. Other clients do not wait for the trial of an excluded one.
    fn gate_behind(&self, now: Instant, gate: Gate, by_blamed: bool) -> Gate {
        let others = if by_blamed { gate.others } else { now + self.open_time() };
        Gate { others, anyone: others.max(now) + self.settings.open_time }
    }

    /// How long no attempt is sent from now on.
    fn open_time(&self) -> Duration {
        let Some(seed) = self.seed else { return self.settings.open_time };
        let longer = self.settings.open_time * 2_u32.pow(self.trials_failed.min(2));
        // A number that looks random (the finalizer of SplitMix64), of 0.8 to 1.2.
        let mut mixed = (seed ^ self.epoch.rotate_left(32)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        longer.mul_f64(0.8 + (mixed >> 40) as f64 / f64::from(1 << 24) * 0.4)
    }

    fn answered(&mut self, now: Instant, asker: Asker) {
        self.connects = 0;
        self.row.clear();
        for known in self.parts.iter_mut().flat_map(|part| &mut part.clients) {
            known.session = known.session.filter(|session| *session != asker.session);
        }
        self.part(now).answered(asker.client);
    }

    fn failed(&mut self, now: Instant, asker: Asker, failure: Failure) {
        if failure == Failure::Connect {
            self.connects = self.connects.saturating_add(1);
            self.part(now).connects += 1;
        } else {
            self.part(now);
            let counts = failure == Failure::Answer || self.others_failed(asker.client);
            let is_known = |known: &Failing| known.failures > 0 && known.session == Some(asker.session);
            let again = self.in_window().any(is_known);
            self.part(now).failed(asker, counts && !again);
            if !counts {
                return;
            }
            self.join_row(asker);
        }
        if self.settings.failures == 0 {
            return;
        }
        let by_connects = self.connects >= self.settings.failures;
        if by_connects || self.row_is_long() || self.share_is_large() {
            if !by_connects {
                self.blame_all();
            }
            self.open(now);
        }
    }

    /// Adds a failure to the row: once per session, and at most two fewer of one client than open the breaker.
    fn join_row(&mut self, asker: Asker) {
        let most = self.settings.failures.saturating_sub(2).max(1) as usize;
        let of_client = self.row.iter().filter(|known| known.client == asker.client).count();
        if of_client < most && !self.row.iter().any(|known| known.session == asker.session) {
            self.row.push(asker);
        }
    }

    fn row_is_long(&self) -> bool {
        let length = self.connects as usize + self.row.len();
        let clients: BTreeSet<_> = self.row.iter().map(|asker| asker.client).collect();
        length >= self.settings.failures as usize && clients.len() >= CLIENTS_MIN
    }

    /// Whether the failure rate of the window is reached: by failures to connect alone, or by all failures except those of
    /// the client that fails most often.
    fn share_is_large(&self) -> bool {
        let sum = |count: fn(&Part) -> u32| self.parts.iter().map(count).fold(0, u32::saturating_add);
        let (answers, connects, failures) =
            (sum(|part| part.answers), sum(|part| part.connects), sum(|part| part.failures));
        let is_large = |failures: u32, answers: u32| {
            let all = u64::from(failures) + u64::from(answers);
            all >= u64::from(ANSWERS_MIN)
                && u64::from(failures) * 100 >= u64::from(self.settings.failure_percent) * all
        };
        if is_large(connects, answers.saturating_add(failures)) {
            return true;
        }
        let clients: BTreeSet<_> =
            self.in_window().filter(|failing| failing.failures > 0).map(|failing| failing.client).collect();
        let of = |client: &FairShareKey| {
            let own = self.in_window().filter(|failing| failing.client == *client);
            own.fold((0_u32, 0_u32), |(failures, answers), own| {
                (failures.saturating_add(own.failures), answers.saturating_add(own.answers))
            })
        };
        let worst = clients.iter().map(of).max().unwrap_or_default();
        let failures = connects.saturating_add(failures.saturating_sub(worst.0));
        clients.len() >= CLIENTS_MIN && is_large(failures, answers.saturating_sub(worst.1))
    }

    /// Whether two other clients have failed within the window.
    fn others_failed(&self, client: FairShareKey) -> bool {
        let others: BTreeSet<_> =
            self.in_window().map(|known| known.client).filter(|other| *other != client).collect();
        others.len() >= CLIENTS_MIN - 1
    }

    /// Failing clients, once per part of the window, latest part first.
    fn in_window(&self) -> impl Iterator<Item = &Failing> {
        self.parts.iter().rev().flat_map(|part| &part.clients)
    }

    fn blame_all(&mut self) {
        let all: Vec<_> = self.in_window().map(|known| known.client).collect();
        for client in all.into_iter().rev() {
            self.blame(client);
        }
    }

    fn blame(&mut self, client: FairShareKey) {
        self.blamed.retain(|known| *known != client);
        self.blamed.push_front(client);
        self.blamed.truncate(BLAMED_MAX);
    }

    /// The current part of the window, after dropping parts that are too old.
    fn part(&mut self, now: Instant) -> &mut Part {
        while self.parts.front().is_some_and(|part| part.since + self.settings.window <= now) {
            self.parts.pop_front();
        }
        let length = self.settings.window / PARTS;
        if self.parts.back().is_none_or(|part| part.since + length <= now) {
            let (answers, connects, failures, clients) = Default::default();
            self.parts.push_back(Part { since: now, answers, connects, failures, clients });
        }
        let last = self.parts.len() - 1;
        &mut self.parts[last]
    }

    fn open(&mut self, now: Instant) {
        self.trials_failed = 0;
        let others = now + self.open_time();
        self.enter(Phase::Open(Gate { others, anyone: others + self.settings.open_time }));
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch += 1;
        self.connects = 0;
        self.row.clear();
        self.parts.clear();
    }
}

#[cfg(test)]
mod tests;
