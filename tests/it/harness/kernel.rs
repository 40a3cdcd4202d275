//! What the kernel reports about a process and its sockets.
use super::{Process, http_get};
use std::{fs, net::SocketAddr, time::Duration};
use tokio::process::Command;

/// A socket as the kernel sees it.
#[derive(Debug)]
pub(crate) struct KernelSocket {
    pub(crate) state: String,
    /// Memory of its send queue in bytes, including the kernel's own structures.
    pub(crate) send_memory: u64,
}

impl Process {
    fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.pid());
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn kilobytes(&self, file: &str, name: &str) -> u64 {
        let text = self.proc(file);
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Resident memory.
    pub(crate) fn memory(&self) -> u64 {
        self.kilobytes("smaps_rollup", "Rss:")
    }

    /// Resets [`Process::memory_peak`].
    pub(crate) fn forget_memory_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").unwrap();
    }

    /// Peak of the resident memory since the last reset.
    pub(crate) fn memory_peak(&self) -> u64 {
        self.kilobytes("status", "VmHWM:")
    }

    /// CPU time of all its threads.
    pub(crate) fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let ran = tasks.map(|task| {
            let text = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|ran| ran.parse().ok()).unwrap_or(0)
        });
        Duration::from_nanos(ran.sum())
    }

    /// The value of a metric; `name` includes its labels. 0 if it was never counted.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let (_, text) = http_get(self.address, "/metrics").await;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Whether no socket, session or run is left.
    pub(crate) async fn is_idle(&self) -> bool {
        let (_, health) = http_get(self.address, "/health").await;
        let health: serde_json::Value = serde_json::from_str(&health).unwrap();
        ["sockets", "sessions", "runs", "queued"].iter().all(|name| health[name] == 0)
    }

    /// The sockets of its listener's peers, including orphans.
    pub(crate) async fn kernel_sockets(&self) -> Vec<KernelSocket> {
        let port = format!(":{}", self.address.port());
        let ss = Command::new("ss").args(["-tanmOH", "sport", "=", &port]).output().await;
        let ss = ss.expect("ss, of iproute2, is installed");
        assert!(ss.status.success(), "{}", String::from_utf8_lossy(&ss.stderr));
        let text = String::from_utf8(ss.stdout).unwrap();
        let sockets = text.lines().map(|line| {
            // skmem:(r0,rb131072,t0,tb87040,f0,w0,…): `w` is what the send queue takes.
            let fields = line.split_once("skmem:(").map_or("", |(_, rest)| rest);
            let queue = fields.split([',', ')']).find_map(|field| field.strip_prefix('w')?.parse().ok());
            KernelSocket {
                state: line.split_whitespace().next().unwrap_or_default().to_owned(),
                send_memory: queue.unwrap_or(0),
            }
        });
        sockets.filter(|socket| !matches!(socket.state.as_str(), "LISTEN" | "TIME-WAIT")).collect()
    }
}

/// The number of threads of a process.
pub(crate) fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

/// The descriptors of a process, as the kernel names them: `socket:[123]`.
pub(crate) fn descriptors(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    // Descriptors may be closed meanwhile.
    let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.map(|link| link.to_string_lossy().into_owned()).collect()
}

/// The number of its sockets that are connected to this address.
pub(crate) fn connections_to(pid: u32, peer: SocketAddr) -> usize {
    connections(pid, 2, peer)
}

/// The number of its sockets that were accepted at this address.
pub(crate) fn connections_from(pid: u32, here: SocketAddr) -> usize {
    connections(pid, 1, here)
}

/// The number of its sockets with this address in a column of the kernel's table: 1 is the local one, 2 the peer's.
fn connections(pid: u32, column: usize, address: SocketAddr) -> usize {
    let address = format!("0100007F:{:04X}", address.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let sockets = table.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // 0A is the state of a listener.
        (*fields.get(column)? == address && fields[3] != "0A").then(|| format!("socket:[{}]", fields[9]))
    });
    let own = descriptors(pid);
    sockets.filter(|socket| own.contains(socket)).count()
}

/// Raises this process's limit of open descriptors to this number, or as far as it is allowed to.
pub(crate) fn allow_descriptors(wanted: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit })
            .unwrap_or_else(|_| panic!("{wanted} descriptors are needed: raise `ulimit -Hn`"));
    }
}
