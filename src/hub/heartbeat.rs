//! One task per worker instead of timers per socket: the coarse clock, pings and silence, the drain.
use super::{
    connection::Connections,
    messages::{ConnectionSignal, SessionSignal},
    reclaim,
    worker::{TICK, Worker},
};
use crate::{chat::SessionId, lifecycle::Phase, socket::frame};
use std::{rc::Rc, task::Waker, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// After `/readyz` has turned red, proxies have so many ticks to notice before sockets are closed.
const UNREADY: u32 = 5;
/// A drain comes in waves of about so many sockets, one a tick, and in at most so many waves.
const WAVE: usize = 100;
const WAVES_MAX: usize = 20;

/// Runs for as long as the worker's thread.
pub async fn run(connections: Rc<Connections>) {
    let worker = &connections.worker;
    let mut clock = interval_at(Instant::now() + TICK, TICK);
    // After a pause of the process there is no storm of ticks.
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut drained_for = 0;
    let lag = worker.metrics.event_loop_lag(worker.index);
    loop {
        let due = clock.tick().await;
        lag.observe(Instant::now().saturating_duration_since(due).as_secs_f64());
        worker.metrics.bytes.client_in.inc_by(frame::RECEIVED.take());
        worker.metrics.bytes.client_out.inc_by(frame::SENT.take());
        worker.ticks.set(worker.ticks.get().wrapping_add(1));
        let woken = worker.intake.borrow_mut().tick();
        worker.metrics.reads_deferred.inc_by(woken.len() as u64);
        woken.into_iter().for_each(Waker::wake);
        for id in worker.timers.due(worker.now()) {
            if let Some(session) = worker.registry.session(id) {
                session.signal(SessionSignal::Wake);
            }
        }
        reclaim::tick(worker);
        let (deadlines, memory) = (&worker.settings.deadlines, &worker.memory);
        worker.uploads.wake(worker.now(), deadlines, |source| memory.pauses(source));
        match worker.lifecycle.phase() {
            Phase::Starting | Phase::Ready => beat(&connections),
            Phase::Draining => {
                drained_for += 1;
                if drained_for > UNREADY {
                    drain(&connections);
                }
            }
            Phase::Closing => close(&connections),
        }
    }
}

/// Each tick a share of the sockets, so that each one gets its turn once in a ping period.
fn beat(connections: &Connections) {
    let worker = &connections.worker;
    let period = period_of(worker.settings.ping);
    let phase = worker.ticks() as usize % period;
    connections.signal(ConnectionSignal::Heartbeat, |slot| slot % period == phase);
}

/// Ticks in a ping period, at least one.
fn period_of(ping: Duration) -> usize {
    (ping.as_millis() / TICK.as_millis()).max(1) as usize
}

/// One wave. They come again and again until nobody is left, because sessions may begin on
/// sockets that are open; what was told already does not mind.
fn drain(connections: &Connections) {
    let worker = &connections.worker;
    let waves = (connections.len() / WAVE).clamp(1, WAVES_MAX);
    let wave = worker.ticks() as usize % waves;
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
