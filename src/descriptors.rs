//! The descriptor limit of the process, and its division between sockets and other connections.
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for listeners, log, signals and the like; and for the event loop of each worker.
const OWN: usize = 24;
const OWN_OF_WORKER: usize = 8;
/// A sixteenth of the rest is reserved for connections to the model service, at most one per concurrent
/// answer, and at least this many, without which no answer would be possible.
const UPSTREAM_SHARE: usize = 16;
const UPSTREAM_MIN: usize = 4;
/// A share of the rest is reserved for plain HTTP connections, so that pages, probes and rejections are
/// served at any number of sockets; the larger share applies when there are few descriptors.
const HTTP_SHARE: usize = 32;
const HTTP_SHARE_OF_LITTLE: usize = 8;
const HTTP_LITTLE: usize = 64;
const HTTP_MIN: usize = 8;
/// A quarter more than the limit of HTTP connections is reserved, for connections that are accepted and not
/// yet examined, or are closing.
const HTTP_SLACK: usize = 4;

/// Raises the soft limit to the hard limit; the soft limit exists for programs that use `select`.
pub fn raise_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If this fails, the old limit stays in effect.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// The limit in effect.
pub fn limit() -> usize {
    let current = getrlimit(Resource::Nofile).current;
    current.and_then(|current| usize::try_from(current).ok()).unwrap_or(usize::MAX)
}

/// Maximum numbers of open connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// WebSockets.
    pub sockets: usize,
    /// HTTP connections.
    pub connections: usize,
}

/// Descriptors for this many HTTP connections, including those being opened or closed.
pub fn for_connections(connections: usize) -> usize {
    connections.saturating_add(connections.div_ceil(HTTP_SLACK))
}

/// The wanted numbers, limited by the descriptors that remain after the process's own and those reserved for
/// upstream connections. HTTP connections get what the sockets leave.
pub fn shares(limit: usize, wanted: Shares, workers: usize, runs: usize) -> Shares {
    let rest = limit.saturating_sub(OWN + OWN_OF_WORKER * workers);
    let upstream = (rest / UPSTREAM_SHARE).min(runs).max(UPSTREAM_MIN);
    let share = (rest / HTTP_SHARE).max((rest / HTTP_SHARE_OF_LITTLE).min(HTTP_LITTLE)).max(HTTP_MIN);
    let reserve = share.min(for_connections(wanted.connections));
    let sockets = wanted.sockets.min(rest.saturating_sub(upstream + reserve)).max(1);
    let left = rest.saturating_sub(upstream + sockets).max(HTTP_MIN);
    let connections = wanted.connections.min(left - left.div_ceil(HTTP_SLACK + 1));
    Shares { sockets, connections }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Shares = Shares { sockets: 18_000, connections: 4096 };

    // faults: I113, K131
    #[test]
    fn sockets_and_connections_leave_room_for_everything_else() {
        let get = |limit| shares(limit, WANTED, 2, 4096);
        let of = |sockets, connections| Shares { sockets, connections };
        // With enough descriptors nothing is reduced.
        assert_eq!(get(65_536), WANTED);
        let many = of(10_000_000, 1_000_000);
        assert_eq!(shares(usize::MAX, many, 512, 1_000_000), many);
        assert_eq!(get(20_000), of(18_000, 570));
        assert_eq!(shares(20_000, of(20_000, 4096), 2, 4096), of(18_090, 498));
        // No more is reserved than can be used.
        assert_eq!(shares(20_000, of(20_000, 4096), 2, 100), of(19_237, 498));
        assert_eq!(shares(20_000, of(20_000, 16), 2, 100), of(19_840, 16));
        assert_eq!(get(400), of(293, 36));
        assert_eq!(get(64), of(12, 6));
        assert_eq!(get(16), of(1, 6));
        for limit in 80..5_000 {
            let Shares { sockets, connections } = get(limit);
            assert!(sockets <= get(limit + 1).sockets + 1, "{limit}: what is kept is rounded");
            assert!(sockets + for_connections(connections) + UPSTREAM_MIN + 40 <= limit, "{limit}");
        }
    }
}
