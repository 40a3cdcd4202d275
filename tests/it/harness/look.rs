//! What the kernel says of a process: memory, descriptors, threads, time, connections.
use std::{fs, net::SocketAddr};

/// A field of `/proc/PID/status` that is a number, such as `VmRSS` in KiB.
pub(crate) fn status(pid: u32, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

/// Memory in use, in KiB.
pub(crate) fn rss(pid: u32) -> u64 {
    status(pid, "VmRSS")
}

pub(crate) fn threads(pid: u32) -> u64 {
    status(pid, "Threads")
}

/// What its descriptors are, as the kernel names them: `socket:[123]`.
pub(crate) fn descriptors(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    // One may be closed while we look.
    let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.map(|link| link.to_string_lossy().into_owned()).collect()
}

/// Processor time used so far, in hundredths of a second.
pub(crate) fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    after_name[11].parse::<u64>().unwrap() + after_name[12].parse::<u64>().unwrap()
}

/// How many of its sockets are connected to a port of 127.0.0.1.
pub(crate) fn connections_to(pid: u32, peer: SocketAddr) -> usize {
    let remote = format!("0100007F:{:04X}", peer.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let sockets = table.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        (*fields.get(2)? == remote).then(|| format!("socket:[{}]", fields[9]))
    });
    let own = descriptors(pid);
    sockets.filter(|socket| own.contains(socket)).count()
}

/// How many of its sockets are connections that others made to this port of its own.
pub(crate) fn connections_from(pid: u32, here: SocketAddr) -> usize {
    let local = format!("0100007F:{:04X}", here.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let sockets = table.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // 0A is a listener.
        (*fields.get(1)? == local && fields[3] != "0A").then(|| format!("socket:[{}]", fields[9]))
    });
    let own = descriptors(pid);
    sockets.filter(|socket| own.contains(socket)).count()
}
