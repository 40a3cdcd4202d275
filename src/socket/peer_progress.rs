//! Whether a peer reads, as the kernel knows it from TCP. Writes alone show little: after a stall the kernel
//! accepts more only when a third of its buffer is free, and a ping is queued behind all unread data.
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpStream;

/// sock_diag(7): requests information on one socket.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const IPPROTO_TCP: u8 = 6;
/// The attribute that holds a `tcp_info`, and the bit that requests it.
const INET_DIAG_INFO: u16 = 2;
const INFO_BIT: u8 = 1 << (INET_DIAG_INFO - 1);
/// Netlink header and `inet_diag_req_v2`.
const REQUEST_BYTES: usize = 16 + 56;
/// Offsets in the response: `idiag_wqueue`, and the end of `inet_diag_msg`, where the attributes start.
const QUEUE_AT: usize = 16 + 60;
const ATTRIBUTES_AT: usize = 16 + 72;
/// Offsets in `tcp_info`: `tcpi_bytes_acked` (Linux 4.1) and `tcpi_snd_wnd` (Linux 5.4).
const ACKED_AT: usize = 120;
const WINDOW_AT: usize = 228;

/// One sample of a socket's state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Bytes acknowledged by the peer's kernel so far.
    acked: u64,
    /// Bytes written but not acknowledged.
    unacked: u32,
    /// The peer's receive window in bytes; 0 if the kernel does not report it.
    window: u32,
}

impl Progress {
    /// A sample with this many bytes acknowledged.
    #[cfg(test)]
    pub(crate) fn acked(acked: u64) -> Self {
        Progress { acked, unacked: 1, window: 0 }
    }

    /// The peer has acknowledged data or enlarged its window.
    pub(crate) fn is_beyond(&self, earlier: &Progress) -> bool {
        self.acked != earlier.acked || self.window > earlier.window
    }

    /// The peer's program has read data. Acknowledgements alone prove nothing while there is room in its
    /// kernel's buffer.
    pub(crate) fn shows_reading_since(&self, earlier: &Progress) -> bool {
        self.window > earlier.window || (self.unacked > 0 && self.acked != earlier.acked)
    }
}

/// Samples a socket; `None` if the kernel does not report it. It takes four system calls, so only stalled
/// sockets are probed.
pub(crate) fn probe(io: &TcpStream) -> Option<Progress> {
    let request = request_for(io.local_addr().ok()?, io.peer_addr().ok()?)?;
    let kernel = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(netlink::SOCK_DIAG),
    );
    let kernel = kernel.ok()?;
    send(&kernel, &request, SendFlags::empty()).ok()?;
    let mut answer = [0u8; 1024];
    let (read, _) = recv(&kernel, answer.as_mut_slice(), RecvFlags::empty()).ok()?;
    let answer = &answer[..read];
    if answer.get(4..6)? != SOCK_DIAG_BY_FAMILY.to_ne_bytes() {
        return None; // An error: unknown socket, or unsupported request.
    }
    let info = info(answer.get(ATTRIBUTES_AT..)?)?;
    Some(Progress {
        acked: u64::from_ne_bytes(*info.get(ACKED_AT..)?.first_chunk()?),
        unacked: u32::from_ne_bytes(*answer.get(QUEUE_AT..)?.first_chunk()?),
        window: info
            .get(WINDOW_AT..)
            .and_then(<[u8]>::first_chunk)
            .map_or(0, |bytes| u32::from_ne_bytes(*bytes)),
    })
}

/// Finds the `tcp_info` among the attributes: each has a length, a type, a payload, and padding to a multiple
/// of four.
fn info(mut attributes: &[u8]) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        if kind == INET_DIAG_INFO {
            return attributes.get(4..length);
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

fn request_for(local: SocketAddr, peer: SocketAddr) -> Option<[u8; REQUEST_BYTES]> {
    let mut bytes = [0; REQUEST_BYTES];
    bytes[..4].copy_from_slice(&(REQUEST_BYTES as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    bytes[16] = family.as_raw().try_into().ok()?;
    bytes[17] = IPPROTO_TCP;
    bytes[18] = INFO_BIT;
    bytes[20..24].fill(0xff); // Any state.
    bytes[24..26].copy_from_slice(&local.port().to_be_bytes());
    bytes[26..28].copy_from_slice(&peer.port().to_be_bytes());
    for (ip, at) in [(local.ip(), 28), (peer.ip(), 44)] {
        match ip {
            IpAddr::V4(ip) => bytes[at..at + 4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => bytes[at..at + 16].copy_from_slice(&ip.octets()),
        }
    }
    bytes[64..].fill(0xff); // No socket cookie.
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::{sleep, timeout},
    };

    /// IPv4, IPv6, and IPv4 on an IPv6 listener.
    #[actix::test]
    async fn reading_and_its_absence_are_detected() {
        for listen in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(listen).await.unwrap();
            let mut address = listener.local_addr().unwrap();
            if address.ip().is_unspecified() {
                address.set_ip(IpAddr::from([127, 0, 0, 1]));
            }
            let mut peer = TcpStream::connect(address).await.unwrap();
            let (mut io, _) = listener.accept().await.unwrap();
            let fresh = probe(&io).unwrap();
            assert_eq!(fresh.unacked, 0, "{listen}");
            let chunk = vec![0; 64 * 1024];
            let mut written = 0;
            while let Ok(n) = timeout(Duration::from_millis(100), io.write(&chunk)).await {
                written += n.unwrap();
            }
            // What is under way arrives late on a busy machine; afterwards nothing changes any more.
            let settled = async {
                loop {
                    let full = probe(&io).unwrap();
                    sleep(Duration::from_millis(50)).await;
                    let still = probe(&io).unwrap();
                    if !still.is_beyond(&full) && !still.shows_reading_since(&full) {
                        break full;
                    }
                }
            };
            let full = timeout(Duration::from_secs(10), settled).await.expect("a peer that does not read");
            assert!(full.is_beyond(&fresh) && full.unacked > 0, "{listen}: {full:?}");
            let mut received = vec![0; written];
            peer.read_exact(&mut received).await.unwrap();
            let emptied = async {
                while probe(&io).unwrap().unacked > 0 {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(Duration::from_secs(10), emptied).await.unwrap();
            let read = probe(&io).unwrap();
            assert!(read.is_beyond(&full) && read.shows_reading_since(&full), "{listen}: {read:?}");
            // A kernel accepts a little data for a program that does not read.
            io.write_all(b"ping").await.unwrap();
            let taken = async {
                while probe(&io).unwrap().acked == read.acked {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(Duration::from_secs(10), taken).await.unwrap();
            assert!(!probe(&io).unwrap().shows_reading_since(&read), "{listen}");
        }
    }
}
