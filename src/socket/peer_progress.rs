//! What the kernel knows of a peer's reading. Writes show little of it: after a stall the kernel takes
//! more only when a third of its buffer is free, and a ping waits behind all that is still unread.
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpStream;

/// sock_diag(7): ask for one socket.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
const TCP: u8 = 6;
/// The attribute with a `tcp_info`, and the bit that asks for it.
const INFO: u16 = 2;
const ASK_INFO: u8 = 1 << (INFO - 1);
/// Header, `inet_diag_req_v2`.
const QUESTION_BYTES: usize = 16 + 56;
/// In the answer: `idiag_wqueue`, and the end of `inet_diag_msg`, where the attributes begin.
const QUEUE_AT: usize = 16 + 60;
const ATTRIBUTES_AT: usize = 16 + 72;
/// In `tcp_info`, since Linux 4.1 and 5.4.
const ACKED_AT: usize = 120;
const WINDOW_AT: usize = 228;

/// One look at a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Bytes that the peer's kernel has taken so far.
    acked: u64,
    /// Bytes that it has not.
    unacked: u32,
    /// How much more it would take now; 0 where the kernel does not report it.
    window: u32,
}

impl Progress {
    /// For tests of rules: this many bytes taken.
    #[cfg(test)]
    pub(crate) fn acked(acked: u64) -> Self {
        Progress { acked, unacked: 1, window: 0 }
    }

    /// The peer has taken something, or made room for it.
    pub(crate) fn is_beyond(&self, earlier: &Progress) -> bool {
        self.acked != earlier.acked || self.window > earlier.window
    }

    /// Its program has read something. What its kernel takes while there is room proves nothing.
    pub(crate) fn shows_reading_since(&self, earlier: &Progress) -> bool {
        self.window > earlier.window || (self.unacked > 0 && self.acked != earlier.acked)
    }
}

/// `None` where the kernel does not report it. It costs four system calls, so it is asked only about
/// sockets that stand still.
pub(crate) fn look(io: &TcpStream) -> Option<Progress> {
    let question = question(io.local_addr().ok()?, io.peer_addr().ok()?)?;
    let kernel = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(netlink::SOCK_DIAG),
    );
    let kernel = kernel.ok()?;
    send(&kernel, &question, SendFlags::empty()).ok()?;
    let mut answer = [0u8; 1024];
    let (read, _) = recv(&kernel, answer.as_mut_slice(), RecvFlags::empty()).ok()?;
    let answer = &answer[..read];
    if answer.get(4..6)? != SOCK_DIAG_BY_FAMILY.to_ne_bytes() {
        return None; // An error message: no such socket, or no such question.
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

/// The `tcp_info` among attributes: each has its length, its type, its content, and blanks up to the
/// next multiple of four.
fn info(mut attributes: &[u8]) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        if kind == INFO {
            return attributes.get(4..length);
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

fn question(local: SocketAddr, peer: SocketAddr) -> Option<[u8; QUESTION_BYTES]> {
    let mut bytes = [0; QUESTION_BYTES];
    bytes[..4].copy_from_slice(&(QUESTION_BYTES as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    bytes[16] = family.as_raw().try_into().ok()?;
    bytes[17] = TCP;
    bytes[18] = ASK_INFO;
    bytes[20..24].fill(0xff); // In any state.
    bytes[24..26].copy_from_slice(&local.port().to_be_bytes());
    bytes[26..28].copy_from_slice(&peer.port().to_be_bytes());
    for (ip, at) in [(local.ip(), 28), (peer.ip(), 44)] {
        match ip {
            IpAddr::V4(ip) => bytes[at..at + 4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => bytes[at..at + 16].copy_from_slice(&ip.octets()),
        }
    }
    bytes[64..].fill(0xff); // Whichever socket has these addresses.
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

    /// For both families and for IPv4 on a listener of IPv6.
    #[actix::test]
    async fn reading_is_seen_and_its_absence_too() {
        for listen in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(listen).await.unwrap();
            let mut address = listener.local_addr().unwrap();
            if address.ip().is_unspecified() {
                address.set_ip(IpAddr::from([127, 0, 0, 1]));
            }
            let mut peer = TcpStream::connect(address).await.unwrap();
            let (mut io, _) = listener.accept().await.unwrap();
            let fresh = look(&io).unwrap();
            assert_eq!(fresh.unacked, 0, "{listen}");
            let chunk = vec![0; 64 * 1024];
            let mut written = 0;
            while let Ok(n) = timeout(Duration::from_millis(100), io.write(&chunk)).await {
                written += n.unwrap();
            }
            let full = look(&io).unwrap();
            assert!(full.is_beyond(&fresh) && full.unacked > 0, "{listen}: {full:?}");
            sleep(Duration::from_millis(50)).await;
            let still = look(&io).unwrap();
            assert!(!still.is_beyond(&full) && !still.shows_reading_since(&full), "{listen}: {still:?}");
            let mut heard = vec![0; written];
            peer.read_exact(&mut heard).await.unwrap();
            let emptied = async {
                while look(&io).unwrap().unacked > 0 {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(Duration::from_secs(10), emptied).await.unwrap();
            let read = look(&io).unwrap();
            assert!(read.is_beyond(&full) && read.shows_reading_since(&full), "{listen}: {read:?}");
            // A kernel takes a little for a program that is asleep.
            io.write_all(b"ping").await.unwrap();
            let taken = async {
                while look(&io).unwrap().acked == read.acked {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(Duration::from_secs(10), taken).await.unwrap();
            assert!(!look(&io).unwrap().shows_reading_since(&read), "{listen}");
        }
    }
}
