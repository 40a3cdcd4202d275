//! How many descriptors the process may have, and how many of them are for sockets.
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Listeners, log, signals and the like; and the event loop of each worker.
const OWN: usize = 24;
const OWN_OF_WORKER: usize = 8;
/// A sixteenth of the rest is kept for connections to the model service, but no more than there are
/// answers at once; with less than this no answer could be had.
const UPSTREAM_SHARE: usize = 16;
const UPSTREAM_MIN: usize = 4;
/// So many are kept for pages, health checks and handshakes, so that a full gateway can say that it is.
const REQUESTS_SHARE: usize = 32;
const REQUESTS_MIN: usize = 4;
const REQUESTS_MAX: usize = 256;

/// As many descriptors as the system allows us; the soft limit is for programs that use `select`.
pub fn raise_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where this is refused, the old limit holds.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// The limit in effect.
pub fn limit() -> usize {
    let current = getrlimit(Resource::Nofile).current;
    current.and_then(|current| usize::try_from(current).ok()).unwrap_or(usize::MAX)
}

/// The most sockets that may be open: as many as are wanted, if so many descriptors are there
/// beside the process's own and those kept aside.
pub fn sockets_max(limit: usize, wanted: usize, workers: usize, runs: usize) -> usize {
    let rest = limit.saturating_sub(OWN + OWN_OF_WORKER * workers);
    let upstream = (rest / UPSTREAM_SHARE).min(runs).max(UPSTREAM_MIN);
    let requests = (rest / REQUESTS_SHARE).clamp(REQUESTS_MIN, REQUESTS_MAX);
    wanted.min(rest.saturating_sub(upstream + requests)).max(1)
}

#[cfg(test)]
mod tests {
    use super::sockets_max;

    // faults: I113
    #[test]
    fn sockets_leave_room_for_everything_else() {
        // Where there is plenty, nothing is taken away.
        assert_eq!(sockets_max(65_536, 18_000, 2, 4096), 18_000);
        assert_eq!(sockets_max(usize::MAX, 10_000_000, 512, 1_000_000), 10_000_000);
        assert_eq!(sockets_max(20_000, 18_000, 2, 4096), 18_000);
        assert_eq!(sockets_max(20_000, 20_000, 2, 4096), 18_457);
        // No more is kept for the upstream than it can use.
        assert_eq!(sockets_max(20_000, 20_000, 2, 100), 19_604);
        assert_eq!(sockets_max(64, 18_000, 2, 4096), 16);
        assert_eq!(sockets_max(16, 18_000, 2, 4096), 1);
        for limit in 0..5_000 {
            let sockets = sockets_max(limit, 18_000, 2, 4096);
            assert!(
                sockets <= sockets_max(limit + 1, 18_000, 2, 4096) + 1,
                "{limit}: what is kept is rounded"
            );
            assert!(sockets + 48 <= limit || sockets == 1, "{limit}");
        }
    }
}
