//! The phase of the process, and the permits of its connections.
use crate::chat::Source;
use dashmap::DashMap;
use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst},
    },
};

/// The phase of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
#[repr(u8)]
pub enum Phase {
    Starting = 0,
    Ready = 1,
    /// No new sockets; running answers finish.
    Draining = 2,
    /// Sockets are closed, even with running answers.
    Closing = 3,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::Draining => "draining",
            Phase::Closing => "closing",
        }
    }
}

/// The phase of the process and the limits of its sockets, which the server no longer counts after they were taken over.
pub struct Lifecycle {
    phase: AtomicU8,
    sockets: AtomicUsize,
    sockets_max: usize,
    by_source: DashMap<Source, usize>,
    /// 0: no limit.
    per_address_max: usize,
}

/// One part in this many of all sockets is reserved: no single source may use it.
const RESERVED_PART: usize = 8;

/// Why a connection gets no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPermit {
    Draining,
    Full,
    AddressFull,
}

impl Lifecycle {
    pub fn new(sockets_max: usize, per_address_max: usize) -> Self {
        Lifecycle {
            phase: AtomicU8::new(Phase::Starting as u8),
            sockets: AtomicUsize::new(0),
            sockets_max,
            by_source: DashMap::new(),
            per_address_max,
        }
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(SeqCst) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            2 => Phase::Draining,
            _ => Phase::Closing,
        }
    }

    /// Phases only go forward.
    pub fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, SeqCst);
    }

    pub fn sockets(&self) -> usize {
        self.sockets.load(SeqCst)
    }

    pub fn sockets_max(&self) -> usize {
        self.sockets_max
    }

    /// A permit for a connection from `address`, released when it is dropped. If the address is unknown, only the limit of
    /// all applies. `is_shared`: many clients have this address, such as a proxy's; any other address cannot use the
    /// reserved part.
    pub fn admit(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        is_shared: bool,
    ) -> Result<ConnectionPermit, NoPermit> {
        if self.phase() >= Phase::Draining {
            return Err(NoPermit::Draining);
        }
        if self.sockets.fetch_add(1, SeqCst) >= self.sockets_max {
            self.sockets.fetch_sub(1, SeqCst);
            return Err(NoPermit::Full);
        }
        let mut permit = ConnectionPermit { life: Arc::clone(self), source: None };
        let share = match is_shared {
            true => usize::MAX,
            false => self.sockets_max - self.sockets_max / RESERVED_PART,
        };
        let cap = if self.per_address_max > 0 { self.per_address_max.min(share) } else { share };
        if address.is_some() && cap < self.sockets_max {
            let source = Source::of(address);
            let mut here = self.by_source.entry(source).or_default();
            if *here >= cap {
                return Err(NoPermit::AddressFull);
            }
            *here += 1;
            permit.source = Some(source);
        }
        Ok(permit)
    }
}

/// The right to keep a socket open.
pub struct ConnectionPermit {
    life: Arc<Lifecycle>,
    /// Set if it counts towards the limit of a source.
    source: Option<Source>,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.life.sockets.fetch_sub(1, SeqCst);
        if let Some(source) = &self.source {
            self.life.by_source.remove_if_mut(source, |_, here| {
                *here = here.saturating_sub(1);
                *here == 0
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // faults: K139
    #[test]
    fn all_addresses_of_an_ipv6_network_share_a_cap() {
        let life = Arc::new(Lifecycle::new(9, 2));
        let permit = |address: &str| life.admit(Some(address.parse().expect("an address")), false);
        let _two = [permit("2001:db8:1:2::1"), permit("2001:db8:1:2:ffff::2")];
        assert_eq!(permit("2001:db8:1:2:3:4:5:6").err(), Some(NoPermit::AddressFull));
        let _other = permit("2001:db8:1:3::1").expect("a permit");
    }

    // faults: K131
    #[test]
    fn one_address_leaves_an_eighth_of_all_permits_to_the_others() {
        let life = Arc::new(Lifecycle::new(16, 0));
        let permit = |last: u8, is_shared| life.admit(Some(IpAddr::from([192, 0, 2, last])), is_shared);
        let _held: Vec<ConnectionPermit> = (0..14).map(|_| permit(1, false).expect("a permit")).collect();
        assert_eq!(permit(1, false).err(), Some(NoPermit::AddressFull));
        let other = permit(2, false).expect("a permit");
        // A proxy is shared by many clients, and so is this machine's own address.
        let _proxied = permit(1, true).expect("a permit");
        assert_eq!(permit(2, false).err(), Some(NoPermit::Full));
        drop(other);
        assert_eq!(permit(1, false).err(), Some(NoPermit::AddressFull));
        let _again = permit(3, false).expect("a permit");
        assert_eq!(life.by_source.len(), 2);
    }

    #[test]
    fn permits_are_limited_in_total_and_by_address_and_released() {
        let life = Arc::new(Lifecycle::new(3, 2));
        let (a, b) = (Some(IpAddr::from([10, 0, 0, 1])), Some(IpAddr::from([10, 0, 0, 2])));
        let take = |address| life.admit(address, true);
        let first = take(a).expect("a permit");
        let _second = take(a).expect("a permit");
        assert_eq!(take(a).err(), Some(NoPermit::AddressFull));
        assert_eq!(life.sockets(), 2);
        let _third = take(b).expect("a permit");
        assert_eq!(take(b).err(), Some(NoPermit::Full));
        drop(first);
        assert_eq!(life.sockets(), 2);
        let _again = take(a).expect("a permit");
        life.enter(Phase::Draining);
        life.enter(Phase::Ready);
        assert_eq!((life.phase(), take(b).err()), (Phase::Draining, Some(NoPermit::Draining)));
    }
}
