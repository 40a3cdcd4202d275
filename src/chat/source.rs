//! The network of a client, and the key by which shared resources are divided.
use std::net::IpAddr;

/// The network of a client: an IPv4 address, or an IPv6 /64, which is usually assigned to a single client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(u64);

impl Source {
    /// The source of an address; the default one if the address is unknown.
    pub fn of(address: Option<IpAddr>) -> Self {
        /// IPv6 networks with these bits are multicast (RFC 4291 §2.7), so no client has one.
        const V4: u64 = 0xffff_ffff << 32;
        match address.map(|address| address.to_canonical()) {
            None => Source::default(),
            Some(IpAddr::V4(address)) => Source(V4 | u64::from(u32::from(address))),
            Some(IpAddr::V6(address)) => Source((u128::from(address) >> 64) as u64),
        }
    }
}

/// The key by which slots, queue positions and the influence on the breaker are divided between clients: the network, while
/// principals are anonymous.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FairShareKey(Source);

impl FairShareKey {
    pub const fn of_network(source: Source) -> Self {
        FairShareKey(source)
    }
}

#[cfg(test)]
impl FairShareKey {
    /// A key for tests, by any number.
    pub(crate) const fn numbered(number: u64) -> Self {
        FairShareKey(Source::numbered(number))
    }
}

#[cfg(test)]
impl Source {
    /// A source for tests, by any number.
    pub(crate) const fn numbered(number: u64) -> Self {
        Source(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn an_ipv6_network_is_one_source() {
        let of = |address: &str| Source::of(Some(address.parse().expect("an address")));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        let different = ["10.0.0.1", "10.0.0.2", "2001:db8:1:2::1", "2001:db8:1:3::1"].map(of);
        assert_eq!(different.iter().collect::<BTreeSet<_>>().len(), 4);
        assert!(!different.contains(&Source::of(None)));
    }
}
