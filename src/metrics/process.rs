//! The process metrics that every Prometheus client exports, under their common names.
use super::{Declare, Real};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use rustix::{
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};
use std::{fs, sync::atomic::AtomicU64, time::UNIX_EPOCH};

/// Updated from the kernel when they are read. If it provides no value, they keep the last one.
pub(super) struct Process {
    cpu: Counter<f64, AtomicU64>,
    memory: Gauge,
    descriptors: Gauge,
    descriptors_max: Gauge,
}

impl Process {
    pub(super) fn declare(registry: &mut Registry) -> Self {
        let mut of = Declare(registry);
        let started: Real = of.one("process_start_time_seconds", "Start of the process since the epoch");
        #[expect(clippy::disallowed_methods, reason = "the start is exported as a time of day")]
        let now = std::time::SystemTime::now();
        started.set(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        Process {
            cpu: of.one("process_cpu_seconds", "CPU time of the process, user and system"),
            memory: of.one("process_resident_memory_bytes", "Resident memory of the process"),
            descriptors: of.one("process_open_fds", "Open file descriptors of the process"),
            descriptors_max: of.one("process_max_fds", "Limit of open file descriptors of the process"),
        }
    }

    pub(super) fn refresh(&self) {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        self.cpu.inc_by((cpu - self.cpu.get()).max(0.0));
        if let Some(bytes) = resident_bytes() {
            self.memory.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        if let Some(open) = open_descriptors() {
            self.descriptors.set(open);
        }
        let max = getrlimit(Resource::Nofile).current;
        self.descriptors_max.set(max.and_then(|max| i64::try_from(max).ok()).unwrap_or(i64::MAX));
    }
}

/// Resident memory of the process.
pub(crate) fn resident_bytes() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.saturating_mul(1024))
}

/// Since Linux 6.2 the folder's size is the number, so that thousands of sockets need not be listed.
fn open_descriptors() -> Option<i64> {
    let size = fs::metadata("/proc/self/fd").ok()?.len();
    if size > 0 {
        return i64::try_from(size).ok();
    }
    // Without the descriptor that reads the folder.
    i64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok().map(|count| count - 1)
}
