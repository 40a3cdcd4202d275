//! One task per worker instead of timers per socket: the coarse clock, pings and silence, the drain.
use super::{Phase, TICK, Worker, connection::Tick, session_actor::DrainSession};
use std::rc::Rc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Sockets or sessions that are told of the drain in one tick: 2,000 in two seconds on one worker.
const DRAIN_BATCH: usize = 100;

/// Runs for as long as the worker's thread.
pub async fn run(worker: Rc<Worker>) {
    let mut clock = interval_at(Instant::now() + TICK, TICK);
    // After a pause of the process there is no storm of ticks.
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        worker.ticks.set(worker.ticks.get().wrapping_add(1));
        match worker.life.phase() {
            Phase::Starting | Phase::Ready => beat(&worker),
            Phase::Draining => drain(&worker),
            Phase::Closing => close(&worker),
        }
    }
}

/// Each tick a share of the sockets, so that each one gets its turn once in a ping period.
fn beat(worker: &Worker) {
    let period = super::reaper_period(worker.settings.ping);
    let phase = worker.ticks() as usize % period;
    let connections = worker.connections.borrow();
    let due = connections.iter().filter(|(slot, _)| slot % period == phase);
    for connection in due.filter_map(|(_, connection)| connection.upgrade()) {
        // A mailbox that refuses belongs to a peer that does not read; its write deadline is running.
        let _ = connection.try_send(Tick::Beat);
    }
}

/// Every tick again until nobody is left, because new sessions may begin on sockets that are open.
fn drain(worker: &Worker) {
    let sessions = worker.registry.of_worker(worker.index);
    for session in sessions.iter().filter_map(|session| session.upgrade()).take(DRAIN_BATCH) {
        let _ = session.try_send(DrainSession);
    }
    let connections = worker.connections.borrow();
    let open = connections.iter().filter_map(|(_, connection)| connection.upgrade());
    for connection in open.take(DRAIN_BATCH) {
        let _ = connection.try_send(Tick::Drain);
    }
}

/// The grace period is over: all at once.
fn close(worker: &Worker) {
    let connections = worker.connections.borrow();
    for connection in connections.iter().filter_map(|(_, connection)| connection.upgrade()) {
        let _ = connection.try_send(Tick::Close);
    }
}
