//! The memory limit, from the machine's memory and the limits of control groups. Pure: the caller reads the
//! files.
use std::fmt;

/// Minimum limit, in bytes; a smaller one is raised to it.
pub const MIN: usize = 64 << 20;

/// Mount points of cgroup v2 (alone and beside v1), and of v1's memory controller.
const MOUNTS_V2: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
const MOUNT_V1: &str = "/sys/fs/cgroup/memory";

/// Memory assumed if nothing can be determined, in bytes.
const UNKNOWN: usize = 1 << 30;

/// Maximum bytes that clients can make the process hold, and where the limit comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub bytes: usize,
    origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    Configured,
    Machine(usize),
    Group(usize, String),
    Unknown,
}

impl Limit {
    /// `configured` bytes; with 0, three quarters of the available memory. `read` reads a file.
    pub fn new(configured: usize, read: impl Fn(&str) -> Option<String>) -> Self {
        if configured > 0 {
            return Limit { bytes: configured, origin: Origin::Configured };
        }
        let machine = read("/proc/meminfo").and_then(|text| total(&text));
        let group = smallest_group(&read);
        let (all, origin) = match (machine, group) {
            (Some(machine), Some((group, file))) if group < machine => (group, Origin::Group(group, file)),
            (Some(machine), _) => (machine, Origin::Machine(machine)),
            (None, Some((group, file))) => (group, Origin::Group(group, file)),
            (None, None) => (UNKNOWN, Origin::Unknown),
        };
        Limit { bytes: (all / 4 * 3).max(MIN), origin }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| bytes >> 20;
        write!(f, "{} MiB", mib(self.bytes))?;
        match &self.origin {
            Origin::Configured => f.write_str(", as configured"),
            Origin::Machine(all) => write!(f, ": three quarters of the machine's {} MiB", mib(*all)),
            Origin::Group(all, file) => write!(f, ": three quarters of the {} MiB of {file}", mib(*all)),
            Origin::Unknown => f.write_str(": the machine's memory is not known"),
        }
    }
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total(text: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

/// The smallest limit of the process's control groups and their ancestors, and its file.
fn smallest_group(read: &impl Fn(&str) -> Option<String>) -> Option<(usize, String)> {
    let groups = read("/proc/self/cgroup")?;
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next(), parts.next(), parts.next());
        let path = path.unwrap_or_default();
        let files: Vec<String> = match controllers {
            Some("") => MOUNTS_V2
                .iter()
                .flat_map(|mount| up(mount, path))
                .flat_map(|group| [format!("{group}/memory.max"), format!("{group}/memory.high")])
                .collect(),
            Some(controllers) if controllers.split(',').any(|name| name == "memory") => {
                up(MOUNT_V1, path).map(|group| format!("{group}/memory.limit_in_bytes")).collect()
            }
            _ => Vec::new(),
        };
        // `max`, and its v1 equivalent, are no limits.
        files.into_iter().filter_map(|file| Some((read(&file)?.trim().parse::<usize>().ok()?, file)))
    });
    limits.min_by_key(|(bytes, _)| *bytes)
}

/// A group below its mount and all its ancestors. In a container the path may be the host's, of which only
/// the mount's root exists.
fn up<'a>(mount: &'a str, path: &'a str) -> impl Iterator<Item = String> + 'a {
    let path = path.trim_end_matches('/');
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    let mut ends: Vec<usize> = ends.collect();
    ends.dedup();
    ends.into_iter().map(move |end| format!("{mount}{}", &path[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: (&str, &str) = ("/proc/meminfo", "MemTotal:  8388608 kB\nMemFree: 1 kB\n");

    fn limit(files: &[(&str, &str)]) -> String {
        let read = |path: &str| {
            let file = files.iter().find(|(name, _)| *name == path);
            file.map(|(_, text)| (*text).to_owned())
        };
        Limit::new(0, read).to_string()
    }

    // faults: K144
    #[test]
    fn the_bound_is_three_quarters_of_the_smallest_limit() {
        assert_eq!(limit(&[MACHINE]), "6144 MiB: three quarters of the machine's 8192 MiB");
        let v2 = ("/proc/self/cgroup", "0::/a.slice/b.service\n");
        let max = "/sys/fs/cgroup/a.slice/b.service/memory.max";
        assert_eq!(
            limit(&[MACHINE, v2, (max, "1073741824\n")]),
            format!("768 MiB: three quarters of the 1024 MiB of {max}")
        );
        assert_eq!(limit(&[MACHINE, v2, (max, "max\n")]), limit(&[MACHINE]));
        // More than the machine has.
        assert_eq!(limit(&[MACHINE, v2, (max, "99999999999999\n")]), limit(&[MACHINE]));
        // An ancestor has a lower limit.
        let slice = "/sys/fs/cgroup/a.slice/memory.high";
        assert_eq!(
            limit(&[MACHINE, v2, (max, "1073741824\n"), (slice, "536870912\n")]),
            format!("384 MiB: three quarters of the 512 MiB of {slice}")
        );
        // In a container: its own namespace, or the host's path, of which only the root exists.
        let root = ("/sys/fs/cgroup/memory.max", "2147483648");
        for path in ["0::/\n", "0::/docker/0123\n"] {
            let own = ("/proc/self/cgroup", path);
            assert_eq!(
                limit(&[MACHINE, own, root]),
                "1536 MiB: three quarters of the 2048 MiB of /sys/fs/cgroup/memory.max"
            );
        }
    }

    // faults: K144
    #[test]
    fn the_older_control_groups_are_read_as_well() {
        let v1 = ("/proc/self/cgroup", "5:devices:/x\n4:cpu,memory:/docker/0123\n0::/\n");
        let own = "/sys/fs/cgroup/memory/docker/0123/memory.limit_in_bytes";
        assert_eq!(
            limit(&[MACHINE, v1, (own, "1073741824\n")]),
            format!("768 MiB: three quarters of the 1024 MiB of {own}")
        );
        let root = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
        assert_eq!(
            limit(&[MACHINE, v1, (root, "1073741824\n")]),
            format!("768 MiB: three quarters of the 1024 MiB of {root}")
        );
        assert_eq!(limit(&[MACHINE, v1, (own, "9223372036854771712\n")]), limit(&[MACHINE]));
    }

    #[test]
    fn without_files_there_is_a_bound_as_well() {
        assert_eq!(limit(&[]), "768 MiB: the machine's memory is not known");
        assert_eq!(limit(&[("/proc/meminfo", "MemTotal: x kB")]), limit(&[]));
        assert_eq!(
            limit(&[("/proc/meminfo", "MemTotal: 1024 kB")]),
            "64 MiB: three quarters of the machine's 1 MiB"
        );
        assert_eq!(Limit::new(MIN, |_| None).to_string(), "64 MiB, as configured");
    }
}
