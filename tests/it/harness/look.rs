//! What the kernel says of a process: threads, descriptors, connections.
use std::{fs, net::SocketAddr};

/// How many threads it has.
pub(crate) fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

/// What its descriptors are, as the kernel names them: `socket:[123]`.
pub(crate) fn descriptors(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    // One may be closed while we look.
    let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.map(|link| link.to_string_lossy().into_owned()).collect()
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
