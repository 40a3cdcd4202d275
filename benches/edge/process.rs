//! CPU, memory and descriptors of a process, as reported by the kernel.
use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::collections::{HashMap, VecDeque};
use std::fs;
use std::time::Duration;
use tokio::time::sleep;

/// Descriptors reserved for other things than sockets: files, epoll, listeners, connections to the upstream.
const DESCRIPTORS_ASIDE: u64 = 64;
/// Interval at which memory is sampled while it settles.
const LOOK: Duration = Duration::from_millis(250);
/// Memory has settled when this number of samples in a row ...
const LOOKS: usize = 12;
/// ... differ by no more than this.
const SETTLED_BYTES: u64 = 32 << 10;

/// The machine's monotonic clock, which the simulator uses for its stamps.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// CPU time of a process since its start.
pub(crate) struct Cpu {
    /// Nanoseconds by thread.
    threads: HashMap<String, u64>,
    user: Duration,
    system: Duration,
}

/// CPU time of a process between two moments.
#[derive(Clone, Copy)]
pub(crate) struct Spent {
    /// Exact, but without threads that ended in between.
    pub(crate) total: Duration,
    /// In ticks of the kernel.
    pub(crate) user: Duration,
    /// In ticks of the kernel.
    pub(crate) system: Duration,
}

impl Cpu {
    pub(crate) fn read(pid: u32) -> Result<Cpu> {
        let mut threads = HashMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("no process {pid}"))? {
            let entry = entry?;
            // A thread may end after it was listed.
            let Ok(times) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let ran = times.split(' ').next().and_then(|ran| ran.parse().ok()).context("schedstat is odd")?;
            threads.insert(entry.file_name().to_string_lossy().into_owned(), ran);
        }
        let stat = read(pid, "stat")?;
        let (_, fields) = stat.rsplit_once(')').context("stat is odd")?;
        let mut ticks = fields.split_ascii_whitespace().skip(11).map(|field| field.parse::<u64>());
        let per_second = rustix::param::clock_ticks_per_second();
        let mut next = || -> Result<Duration> {
            let ticks = ticks.next().context("stat is short")??;
            Ok(Duration::from_millis(ticks * 1000 / per_second))
        };
        Ok(Cpu { threads, user: next()?, system: next()? })
    }

    pub(crate) fn since(&self, earlier: &Cpu) -> Spent {
        let ran = |(thread, now): (&String, &u64)| now - earlier.threads.get(thread).copied().unwrap_or(0);
        Spent {
            total: Duration::from_nanos(self.threads.iter().map(ran).sum()),
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// Resident memory in bytes.
pub(crate) fn rss(pid: u32) -> Result<u64> {
    let kilobytes: u64 = read(pid, "smaps_rollup")?
        .lines()
        .find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix("kB")?.trim().parse().ok())
        .context("smaps_rollup is odd")?;
    Ok(kilobytes << 10)
}

/// Resident memory after it has settled, and whether it has within this time.
pub(crate) async fn settled_rss(pid: u32, at_most: Duration) -> Result<(u64, bool)> {
    let mut looks = VecDeque::from([rss(pid)?]);
    let mut waited = Duration::ZERO;
    loop {
        let (least, most) = looks.iter().fold((u64::MAX, 0), |(least, most), &x| (x.min(least), x.max(most)));
        let settled = looks.len() == LOOKS && most - least <= SETTLED_BYTES;
        if settled || waited >= at_most {
            return Ok((looks.back().copied().unwrap_or(0), settled));
        }
        sleep(LOOK).await;
        waited += LOOK;
        if looks.len() == LOOKS {
            looks.pop_front();
        }
        looks.push_back(rss(pid)?);
    }
}

/// Checks that this process and the server may open this number of sockets.
pub(crate) fn need_descriptors(sockets: usize, server: Option<u32>) -> Result<()> {
    let need = sockets as u64 + DESCRIPTORS_ASIDE;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < need) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(need), ..limit }).map_err(|_| {
            let most = limit.maximum.unwrap_or(0);
            anyhow!("{sockets} sockets need {need} descriptors, the hard limit is {most}: `ulimit -Hn {need}` as root")
        })?;
    }
    let Some(server) = server else { return Ok(()) };
    let limits = read(server, "limits")?;
    let files =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")).context("limits is odd")?;
    match files.split_ascii_whitespace().next().map(str::parse::<u64>) {
        Some(Ok(may)) if may < need => bail!(
            "{sockets} sockets need {need} descriptors, process {server} may have {may}: \
             `ulimit -n {need}` where it is started"
        ),
        // A sufficient number, or "unlimited".
        _ => Ok(()),
    }
}

fn read(pid: u32, file: &str) -> Result<String> {
    fs::read_to_string(format!("/proc/{pid}/{file}"))
        .with_context(|| format!("cannot read {file} of process {pid}"))
}
