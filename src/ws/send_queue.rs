//! What the kernel still holds for a peer. It tells of progress that writes do not: after a stall
//! the kernel takes more only when a third of its buffer is free, which a slow reader needs long for.
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpStream;

/// sock_diag(7): ask for one socket.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
const TCP: u8 = 6;
/// Header, `inet_diag_req_v2`.
const QUESTION_BYTES: usize = 16 + 56;
/// Where `idiag_wqueue` stands in the answer: header, 4 bytes, the socket's id, two numbers.
const QUEUE_AT: usize = 16 + 4 + 48 + 8;

/// Bytes that were written and that the peer has not acknowledged; `None` where the kernel does not
/// say. It costs four system calls, so it is asked only about sockets that stand still.
pub(super) fn bytes(io: &TcpStream) -> Option<u32> {
    let question = question(io.local_addr().ok()?, io.peer_addr().ok()?)?;
    let kernel = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(netlink::SOCK_DIAG),
    );
    let kernel = kernel.ok()?;
    send(&kernel, &question, SendFlags::empty()).ok()?;
    let mut answer = [0u8; 512];
    let (read, _) = recv(&kernel, answer.as_mut_slice(), RecvFlags::empty()).ok()?;
    if answer[4..6] != SOCK_DIAG_BY_FAMILY.to_ne_bytes() || read < QUEUE_AT + 4 {
        return None; // An error message: no such socket, or no such question.
    }
    Some(u32::from_ne_bytes(answer[QUEUE_AT..QUEUE_AT + 4].try_into().ok()?))
}

fn question(local: SocketAddr, peer: SocketAddr) -> Option<[u8; QUESTION_BYTES]> {
    let mut bytes = [0; QUESTION_BYTES];
    bytes[..4].copy_from_slice(&(QUESTION_BYTES as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    bytes[16] = family.as_raw().try_into().ok()?;
    bytes[17] = TCP;
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
    };

    #[actix::test]
    async fn what_the_peer_has_not_read_is_told_for_both_families() {
        for listen in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(listen).await.unwrap();
            let mut address = listener.local_addr().unwrap();
            if address.ip().is_unspecified() {
                address.set_ip(IpAddr::from([127, 0, 0, 1])); // A mapped address on our side.
            }
            let mut peer = TcpStream::connect(address).await.unwrap();
            let (mut io, _) = listener.accept().await.unwrap();
            assert_eq!(bytes(&io), Some(0), "{listen}");
            let chunk = vec![0; 64 * 1024];
            let mut written = 0;
            while let Ok(n) = tokio::time::timeout(Duration::from_millis(100), io.write(&chunk)).await {
                written += n.unwrap();
            }
            let held = bytes(&io).unwrap();
            assert!(held > 0 && held as usize <= written, "{listen}: {held} of {written}");
            let mut heard = vec![0; written];
            peer.read_exact(&mut heard).await.unwrap();
            let emptied = async {
                while bytes(&io) != Some(0) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), emptied).await.unwrap();
        }
    }
}
