//! Listening sockets, and advice on an address that cannot be bound.
use crate::io_error::describe;
use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
};

/// Backlog: connections that the kernel holds before they are accepted; more are dropped.
pub(crate) const BACKLOG: i32 = 4096;

/// An address cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {problem}")]
pub struct BindError {
    address: SocketAddr,
    problem: String,
}

/// Flag that sets the address of the gateway, or of the simulator alone.
pub(crate) const FLAG: &str = "--listen ";
/// Flag that sets the address of the operator's routes.
pub(crate) const OPS_FLAG: &str = "--set server.ops_listen=";
/// Number of ports after a taken one that are tried for the advice.
const NEIGHBOURS: u16 = 50;

impl BindError {
    /// `flag` is the flag that sets the address.
    pub(crate) fn new(address: SocketAddr, error: &std::io::Error, flag: &str) -> Self {
        let advise = |what: &str, address: SocketAddr| format!("; {what} `{flag}{address}`");
        let at = |ip: IpAddr, port: u16| SocketAddr::new(ip, port);
        let advice = match error.kind() {
            ErrorKind::AddrInUse => {
                advise("stop the program that has it, or take another port:", free_neighbour(address))
            }
            ErrorKind::AddrNotAvailable => {
                let any = if address.is_ipv4() {
                    Ipv4Addr::UNSPECIFIED.into()
                } else {
                    Ipv6Addr::UNSPECIFIED.into()
                };
                advise("this machine does not have it; all that it has are taken by", at(any, address.port()))
            }
            ErrorKind::PermissionDenied if address.port() < 1024 => {
                advise("ports below 1024 need a privilege; take another one:", at(address.ip(), 8000))
            }
            _ => String::new(),
        };
        BindError { address, problem: format!("{}{advice}", describe(error)) }
    }
}

/// The next free port; otherwise one chosen by the kernel.
fn free_neighbour(address: SocketAddr) -> SocketAddr {
    let mut ports = address.port().saturating_add(1)..=address.port().saturating_add(NEIGHBOURS);
    let free = ports.find(|port| TcpListener::bind((address.ip(), *port)).is_ok());
    SocketAddr::new(address.ip(), free.unwrap_or(0))
}

pub(crate) fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, BindError> {
    let listen = || {
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        // Lets a restart bind while connections of the old process are in TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    listen().map_err(|error| BindError::new(address, &error, flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejected_address_is_reported_with_advice() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let held = bind(taken, FLAG).unwrap();
        let error = bind(taken, FLAG).unwrap_err().to_string();
        let (problem, port) = error.split_once("`--listen 127.0.0.1:").expect(&error);
        assert!(
            problem.starts_with(&format!("cannot listen on {taken}: address already in use; ")),
            "{error}"
        );
        let port: u16 = port.trim_end_matches('`').parse().expect(&error);
        assert!(bind((taken.ip(), port).into(), FLAG).is_ok(), "what is offered is free: {error}");
        let error = bind(taken, OPS_FLAG).unwrap_err().to_string();
        assert!(error.contains("`--set server.ops_listen=127.0.0.1:"), "{error}");
        drop(held);
        // An address reserved for documentation: no machine has it.
        let error = bind("192.0.2.1:8000".parse().unwrap(), FLAG).unwrap_err().to_string();
        assert!(error.ends_with("`--listen 0.0.0.0:8000`"), "{error}");
        let denied = std::io::Error::from(ErrorKind::PermissionDenied);
        let error = BindError::new("[::1]:80".parse().unwrap(), &denied, FLAG).to_string();
        assert!(error.ends_with("`--listen [::1]:8000`"), "{error}");
    }
}
