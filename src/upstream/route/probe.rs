//! What is asked without a model, and when: an upstream whose breaker is open, and a key that was refused. A probe costs no
//! tokens. Nothing is probed while all is well.
use super::{Key, Route, state::Known};
use crate::upstream::breaker::OVERDUE;
use std::time::{Duration, Instant};

/// Maximum time of a probe; then it has failed.
pub const PROBE_TIME: Duration = Duration::from_secs(2);

/// A probe to be asked, whose result must be passed to [`Route::report_probe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub upstream: usize,
    pub subject: ProbeSubject,
    /// The key to ask with.
    pub key: Key,
    asked: Instant,
}

/// What a probe asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeSubject {
    /// Whether the service works.
    Service,
    /// Whether the key is accepted.
    Key,
}

/// What a probe came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// The service responded, perhaps with an error that is not its own.
    Answered,
    /// It refuses the key (401, 403).
    Refused,
    /// It reported a fault of its own, or nothing came in time.
    Failed,
}

impl Route {
    /// The probes to be asked now, one of an upstream at a time.
    pub fn take_probes(&mut self, now: Instant) -> Vec<Probe> {
        let mut probes = Vec::new();
        for upstream in 0..self.state.upstreams.len() {
            let due = self.state.next_probe(upstream);
            let Some((_, subject, key)) = due.filter(|(at, ..)| *at <= now) else { continue };
            let probing = &mut self.state.upstreams[upstream].probing;
            // One whose result was never reported does not keep others back.
            if probing.is_none_or(|since| since + OVERDUE <= now) {
                *probing = Some(now);
                probes.push(Probe { upstream, subject, key, asked: now });
            }
        }
        probes
    }

    /// A probe has ended.
    pub fn report_probe(&mut self, now: Instant, probe: Probe, result: ProbeResult) {
        self.state.upstreams[probe.upstream].probing = None;
        match probe.subject {
            ProbeSubject::Service => {
                self.state.report_service_probe(now, probe, result != ProbeResult::Failed);
            }
            ProbeSubject::Key => {
                let out = &mut self.state.upstreams[probe.upstream].keys[probe.key.0].out;
                // An answer of a run may have come first.
                let Some(out) = out.as_mut().filter(|out| out.probe_at().is_some()) else { return };
                match result {
                    ProbeResult::Answered => out.accepted(now),
                    ProbeResult::Refused => out.refused_again(now),
                    ProbeResult::Failed => out.unanswered(now),
                }
                self.state.has_room = true;
            }
        }
    }
}

impl Known {
    /// When an upstream is to be probed next, about what, and with which key.
    fn next_probe(&self, upstream: usize) -> Option<(Instant, ProbeSubject, Key)> {
        let state = &self.upstreams[upstream];
        let models = self.targets.iter().filter(|target| target.upstream == upstream);
        let breakers = models.map(|target| &target.breaker).chain([&state.breaker]);
        let service = breakers.filter_map(|breaker| breaker.probe_at()).min().map(|at| {
            let good = state.keys.iter().position(|key| key.out.is_none());
            (at, ProbeSubject::Service, Key(good.unwrap_or_default()))
        });
        let keys = state
            .keys
            .iter()
            .enumerate()
            .filter_map(|(key, state)| Some((state.out?.probe_at()?, ProbeSubject::Key, Key(key))));
        service.into_iter().chain(keys).min_by_key(|(at, ..)| *at)
    }

    fn report_service_probe(&mut self, now: Instant, probe: Probe, is_good: bool) {
        let connection = [&mut self.upstreams[probe.upstream].breaker].into_iter();
        let models = self.targets.iter_mut().filter(|target| target.upstream == probe.upstream);
        for breaker in connection.chain(models.map(|target| &mut target.breaker)) {
            breaker.report_probe(probe.asked, now, is_good);
        }
        self.events.push(super::Event::Breaker);
        self.has_room = true;
    }
}
