//! Runs one process's share of the load: starts users, reports snapshots, closes the sockets.
use super::{
    measure::{Snapshot, Tally},
    settings::Settings,
    shared::Shared,
    user,
    wire::{instant_of, send_close},
};
use crate::{clock::now_ns, runtime::block_on, units::nanos};
use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    task::spawn_local,
    time::{sleep, sleep_until},
};

/// Interval between snapshots sent to the coordinator.
const REPORT_INTERVAL: Duration = Duration::from_millis(250);
/// How long sockets may take to close at the end of the run; after that they are dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// One process's share of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) part: u32,
    pub(crate) parts: u32,
    /// Start of the run, in nanoseconds of the machine-wide monotonic clock.
    pub(crate) start_ns: u64,
    /// Number of active sockets, in a search for the knee.
    pub(crate) level: Option<u64>,
}

impl Share {
    /// Parses `K/N@START_NS`, followed by `:LEVEL` in a search.
    pub(crate) fn parse(text: &str) -> Option<Share> {
        let (share, start) = text.split_once('@')?;
        let (part, parts) = share.split_once('/')?;
        let (start, level) =
            start.split_once(':').map_or((start, None), |(start, level)| (start, Some(level)));
        Some(Share {
            part: part.parse().ok()?,
            parts: parts.parse().ok().filter(|parts| *parts > 0)?,
            start_ns: start.parse().ok()?,
            level: level.map(str::parse).transpose().ok()?,
        })
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}@{}", self.part, self.parts, self.start_ns)?;
        self.level.map_or(Ok(()), |level| write!(f, ":{level}"))
    }
}

/// Runs one share to completion, or until `stop` becomes true.
///
/// # Errors
/// The runtime cannot be created.
pub(super) fn run(
    settings: Arc<Settings>,
    share: Share,
    stop: watch::Receiver<bool>,
    mut report: impl AsyncFnMut(Snapshot),
) -> anyhow::Result<()> {
    let window = window(&settings, share.start_ns);
    let tally = Tally::new(window).context("cannot make histograms")?;
    block_on(async move {
        let shared = Rc::new(Shared {
            start: share.start_ns,
            asking_ends: window.1,
            is_open_model: matches!(settings.arrivals, super::plan::Arrivals::Open { .. }),
            sockets_max: settings.sockets_max.div_ceil(u64::from(share.parts)),
            settings,
            tally: RefCell::new(tally),
            writers: RefCell::default(),
            closing: Cell::new(false),
            active: Cell::new(0),
            left: Notify::new(),
        });
        let users = run_users(&shared, share, stop);
        tokio::pin!(users);
        loop {
            tokio::select! {
                () = &mut users => break,
                () = sleep(REPORT_INTERVAL) => report(snapshot(&shared, share.part, false)).await,
            }
        }
        report(snapshot(&shared, share.part, true)).await;
    })?;
    Ok(())
}

/// The measured window: from the end of the warm-up to the end of the duration.
pub(super) fn window(settings: &Settings, start: u64) -> (u64, u64) {
    let end = settings.duration.map_or(u64::MAX, |duration| start + nanos(duration));
    (start + nanos(settings.warmup), end)
}

fn snapshot(shared: &Shared, part: u32, is_last: bool) -> Snapshot {
    let mut tally = shared.tally.borrow_mut();
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    tally.counts.own_cpu_ns = cpu.tv_sec.unsigned_abs() * 1_000_000_000 + cpu.tv_nsec.unsigned_abs();
    tally.counts.own_rss = super::server_side::resident_bytes("self").unwrap_or(0);
    tally.snapshot(part, is_last)
}

async fn run_users(shared: &Rc<Shared>, share: Share, mut stop: watch::Receiver<bool>) {
    let stopped = async { _ = stop.wait_for(|stop| *stop).await };
    tokio::pin!(stopped);
    let whole = async {
        start_users(shared, share).await;
        wait_until_done(shared).await;
    };
    tokio::select! {
        () = whole => {}
        () = &mut stopped => {}
    }
    shared.closing.set(true);
    for (_, writer) in &*shared.writers.borrow() {
        send_close(writer);
    }
    let deadline = now_ns() + nanos(CLOSE_TIMEOUT);
    while shared.tally.borrow().counts.open > 0 && now_ns() < deadline {
        sleep(Duration::from_millis(5)).await;
    }
    let mut tally = shared.tally.borrow_mut();
    tally.counts.unfinished += tally.counts.answering;
}

/// Starts each user at its arrival time.
async fn start_users(shared: &Rc<Shared>, share: Share) {
    let settings = &shared.settings;
    for arrival in settings.arrivals.list(settings.seed) {
        if arrival.number % u64::from(share.parts) != u64::from(share.part) {
            continue;
        }
        let due = shared.start + nanos(arrival.at);
        if due > now_ns() {
            sleep_until(instant_of(due)).await;
        }
        if !arrival.idle {
            shared.active.set(shared.active.get() + 1);
        }
        let shared = Rc::clone(shared);
        spawn_local(async move {
            user::run_user(Rc::clone(&shared), arrival).await;
            if !arrival.idle {
                shared.active.set(shared.active.get() - 1);
                shared.left.notify_one();
            }
        });
    }
}

/// Returns when all active users have finished; with a duration, at the latest after the duration and the
/// grace time.
async fn wait_until_done(shared: &Shared) {
    let settings = &shared.settings;
    let all_left = async {
        while shared.active.get() > 0 {
            shared.left.notified().await;
        }
        // Idle sockets stay open for the whole duration.
        if settings.idle > 0 && settings.duration.is_some() && shared.asking_ends > now_ns() {
            sleep_until(instant_of(shared.asking_ends)).await;
        }
    };
    if settings.duration.is_none() {
        return all_left.await;
    }
    tokio::select! {
        () = all_left => {}
        () = sleep_until(instant_of(shared.asking_ends.saturating_add(nanos(settings.grace)))) => {}
    }
}
