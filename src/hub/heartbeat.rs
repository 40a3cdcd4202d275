//! What a worker does at each tick of its clock, instead of timers per socket: due sessions, pings and silence, the
//! drain.
use super::{
    connection::Connections,
    messages::{ConnectionSignal, SessionSignal},
    reclaim,
    worker::Worker,
};
use crate::{
    chat::SessionId,
    lifecycle::Phase,
    socket::frame,
    worker_clock::{TICK, Tick},
};
use prometheus_client::metrics::histogram::Histogram;
use std::{rc::Rc, time::Duration};

/// Ticks between `/readyz` turning red and the first closed socket, for proxies to notice.
const UNREADY: u32 = 5;
/// Sockets per drain wave; one wave per tick, at most `WAVES_MAX` waves.
const WAVE: usize = 100;
const WAVES_MAX: usize = 20;

/// What a worker does at each tick of its clock.
struct Heartbeat {
    connections: Rc<Connections>,
    /// Ticks of the drain so far.
    drained_for: u32,
    lag: Histogram,
}

/// From now on, for as long as the worker's clock ticks.
pub fn start(connections: &Rc<Connections>) {
    let worker = &connections.worker;
    let lag = worker.metrics.event_loop_lag(worker.index);
    let mut heartbeat = Heartbeat { connections: Rc::clone(connections), drained_for: 0, lag };
    worker.clock.on_tick(move |tick| heartbeat.tick(tick));
}

impl Heartbeat {
    fn tick(&mut self, tick: Tick) {
        let worker = &self.connections.worker;
        self.lag.observe(tick.lag.as_secs_f64());
        worker.metrics.bytes.client_in.inc_by(frame::RECEIVED.take());
        worker.metrics.bytes.client_out.inc_by(frame::SENT.take());
        worker.metrics.reads_deferred.inc_by(worker.sockets.resume_reads() as u64);
        for id in worker.timers.due(worker.now()) {
            if let Some(session) = worker.registry.session(id) {
                session.signal(SessionSignal::Wake);
            }
        }
        reclaim::tick(worker);
        worker.sockets.check_uploads();
        match worker.lifecycle.phase() {
            Phase::Starting | Phase::Ready => beat(&self.connections),
            Phase::Draining => {
                self.drained_for += 1;
                if self.drained_for > UNREADY {
                    drain(&self.connections);
                }
            }
            Phase::Closing => close(&self.connections),
        }
    }
}

/// Each tick a share of the sockets, so that each one gets its turn once in a ping period.
fn beat(connections: &Connections) {
    let worker = &connections.worker;
    let period = period_of(worker.settings.ping);
    let phase = worker.clock.ticks() as usize % period;
    connections.signal(ConnectionSignal::Heartbeat, |slot| slot % period == phase);
}

/// Ticks in a ping period, at least one.
fn period_of(ping: Duration) -> usize {
    (ping.as_millis() / TICK.as_millis()).max(1) as usize
}

/// One wave. They repeat until no socket is left, because sessions may begin on
/// sockets that are open; a second signal changes nothing.
fn drain(connections: &Connections) {
    let worker = &connections.worker;
    let waves = (connections.len() / WAVE).clamp(1, WAVES_MAX);
    let wave = worker.clock.ticks() as usize % waves;
    signal_sessions(worker, SessionSignal::Drain, |id| id.0 as usize % waves == wave);
    connections.signal(ConnectionSignal::Drain, |slot| slot % waves == wave);
}

/// The grace period is over: all at once.
fn close(connections: &Connections) {
    connections.signal(ConnectionSignal::Close, |_| true);
    signal_sessions(&connections.worker, SessionSignal::Close, |_| true);
}

fn signal_sessions(worker: &Worker, signal: SessionSignal, which: impl Fn(SessionId) -> bool) {
    for session in worker.registry.of_worker(worker.index, which) {
        session.signal(signal);
    }
}
