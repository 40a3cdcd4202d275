//! Periodic work of a worker, at each tick of its clock and instead of timers per socket: session wake-ups,
//! pings and timeouts, the drain.
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

/// Ticks between `/readyz` failing and the first closed socket, so that proxies can notice.
const UNREADY: u32 = 5;
/// Sockets per drain wave; one wave per tick, at most `WAVES_MAX` waves.
const WAVE: usize = 100;
const WAVES_MAX: usize = 20;

/// What a worker does at each tick of its clock.
struct Heartbeat {
    connections: Rc<Connections>,
    /// Ticks since the drain started.
    drained_for: u32,
    lag: Histogram,
}

/// Starts the heartbeat; it runs as long as the worker's clock.
pub fn start(connections: &Rc<Connections>) {
    let worker = &connections.worker;
    let lag = worker.metrics.event_loop_lag(worker.index);
    worker.sockets.queue.start();
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

/// Signals a share of the sockets per tick, so that each is checked once per ping period.
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

/// Drains one wave. Waves repeat until no socket is left, because sessions may start on open sockets; a
/// repeated signal has no effect.
fn drain(connections: &Connections) {
    let worker = &connections.worker;
    let waves = (connections.len() / WAVE).clamp(1, WAVES_MAX);
    let wave = worker.clock.ticks() as usize % waves;
    signal_sessions(worker, SessionSignal::Drain, |id| id.0 as usize % waves == wave);
    connections.signal(ConnectionSignal::Drain, |slot| slot % waves == wave);
}

/// Closes everything: the grace period is over.
fn close(connections: &Connections) {
    connections.signal(ConnectionSignal::Close, |_| true);
    signal_sessions(&connections.worker, SessionSignal::Close, |_| true);
}

fn signal_sessions(worker: &Worker, signal: SessionSignal, which: impl Fn(SessionId) -> bool) {
    for session in worker.registry.of_worker(worker.index, which) {
        session.signal(signal);
    }
}
