//! Decides which names in `Host` belong to the gateway. Pure.
//!
//! This prevents DNS rebinding: an attacker can point a name of theirs at this machine, and a page under that name is
//! then of the same origin as the gateway. Only the name reveals it, and the browser sends the name in `Host`. IP
//! addresses, names without a dot and names below a reserved domain cannot belong to an attacker; every other name must
//! be listed.
use std::net::{Ipv4Addr, Ipv6Addr};

/// Domains that public DNS does not have: RFC 6761 §6.3, RFC 6762 §3, ICANN's reservation of 2024,
/// RFC 8375 §4.
const RESERVED: [&str; 4] = [".localhost", ".local", ".internal", ".home.arpa"];
/// Longest name in text form (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;

/// Whether the host of a `Host` header (RFC 9110 §7.2) is an IP address, a name that public DNS does
/// not have, or one of `names`.
pub(super) fn is_own(header: &str, names: &[String]) -> bool {
    let Some(host) = without_port(header) else { return false };
    if let Some(address) = host.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    // Browsers convert all other notations of an address to this one.
    if host.parse::<Ipv4Addr>().is_ok() {
        return true;
    }
    is_name(host) && (!host.contains('.') || is_reserved(host) || is_listed(host, names))
}

/// The host of the header, including brackets. `None` if something other than a port follows it.
fn without_port(header: &str) -> Option<&str> {
    let end = match header.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => header.find(':').unwrap_or(header.len()),
    };
    let (host, port) = header.split_at_checked(end)?;
    let digits = if port.is_empty() { Some("") } else { port.strip_prefix(':') };
    digits.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit())).then_some(host)
}

/// Whether this is a DNS name of letters, digits, `-` and `_`. If the last label is a number, it is an IPv4 address in
/// another notation (`127.1`, `0x7f000001`), which no browser sends.
fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let is_number = last.bytes().all(|b| b.is_ascii_digit())
        || hex.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    host.len() <= NAME_BYTES_MAX && host.split('.').all(is_label) && !is_number
}

fn is_reserved(host: &str) -> bool {
    RESERVED.iter().any(|domain| {
        let start = host.len().saturating_sub(domain.len());
        host.get(start..).is_some_and(|end| end.eq_ignore_ascii_case(domain))
    })
}

fn is_listed(host: &str, names: &[String]) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listed() -> [String; 2] {
        ["chat.example.com".to_owned(), "xn--fiqs8s.example".to_owned()]
    }

    // faults: K137
    #[test]
    fn addresses_local_names_and_listed_names_are_own() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:8000",
            "127.0.0.1.:8000",
            "192.0.2.7",
            "[::1]",
            "[::1]:8000",
            "[2001:db8::7]:443",
            "[::ffff:192.0.2.7]",
            "localhost",
            "LOCALHOST:8000",
            "localhost.",
            "a.b.localhost:80",
            "gateway:8000",
            "my_gateway-1",
            "printer.local",
            "Printer.Local.:8000",
            "gateway.chat.svc.cluster.local",
            "ip-10-0-0-1.ec2.internal",
            "host.docker.internal:8000",
            "tides.home.arpa",
            "chat.example.com",
            "chat.example.com:",
            "CHAT.example.com.:8443",
            "xn--fiqs8s.example",
        ] {
            assert!(is_own(host, &listed()), "{host}");
        }
        assert!(!is_own("chat.example.com", &[]), "not without the list");
    }

    // faults: K137
    #[test]
    fn names_that_an_attacker_may_own_are_not_own() {
        for host in [
            "evil.test",
            "evil.test:8000",
            "localhost.evil.test",
            "127.0.0.1.nip.io",
            "10-0-0-1.sslip.io",
            "1.evil.test",
            "chat.example.com.evil.test",
            "evil-chat.example.com",
            "a.chat.example.com",
            "example.com",
            "evil.notlocal",
            "evil.local.test",
            "home.arpa.test",
            "arpa.home",
            "evil.arpa",
            // Notations of addresses that browsers do not use, and values that are no host.
            "127.1",
            "127.0.0.1.1",
            "0127.0.0.1",
            "0x7f.0.0.1",
            "127.0.0.256",
            "2130706433",
            "0x7f000001",
            "0x",
            "017700000001",
            "::1",
            "[::1",
            "[::1]x",
            "[::1].evil.test",
            "[fe80::1%25eth0]",
            "[127.0.0.1]",
            "[evil.test]",
            "[]",
            "",
            ".",
            "..",
            ":8000",
            ".localhost",
            ".local",
            "a..local",
            "localhost..",
            "localhost:8000.evil.test",
            "localhost:x",
            "localhost:80:80",
            "user@localhost",
            "localhost@evil.test",
            "localhost/",
            "localhost#evil.test",
            "localhost evil.test",
            "localhost,evil.test",
            "localhost%00.evil.test",
            "evil.test\\.localhost",
            "löcalhost",
        ] {
            assert!(!is_own(host, &listed()), "{host:?}");
        }
        let long = format!("{}.local", "a".repeat(NAME_BYTES_MAX));
        assert!(!is_own(&long, &[]), "longer than any name");
    }

    proptest! {
        /// No prefix makes a name below a public domain our own, or panics.
        #[test]
        fn nothing_below_a_public_domain_is_own(
            before in "[a-zA-Z0-9._@%\\[\\]-]{0,40}",
            domain in "[a-z]{1,8}\\.(com|test|dev|io|co\\.uk)",
            after in "(\\.?(:[0-9]{0,5})?)?",
        ) {
            let names = listed();
            let host = format!("{before}.{domain}{after}");
            let name = host.split(':').next().unwrap().trim_end_matches('.').to_ascii_lowercase();
            prop_assume!(!names.contains(&name));
            prop_assert!(!is_own(&host, &names), "{host}");
        }

        /// A name with a dot that is neither reserved nor listed is not our own, in any notation that a browser's parser
        /// reads as that name.
        #[test]
        fn no_notation_of_a_public_name_is_own(
            host in prop_oneof![
                ".{0,60}",
                "(localhost|127\\.0\\.0\\.1|\\[::1\\]|chat\\.example\\.com|a|0x7f)[.:@/\\\\?#%\\[\\] a-zA-Z0-9]{0,20}",
                "[a-zA-Z0-9.]{0,12}\\.(localhost|local|internal|home\\.arpa|test)[.:@/?#%0-9a-z]{0,8}",
            ],
        ) {
            let names = listed();
            let is_own = is_own(&host, &names);
            let Ok(url) = url::Url::parse(&format!("http://{host}/")) else { return Ok(()) };
            if let Some(url::Host::Domain(name)) = url.host() {
                let name = name.strip_suffix('.').unwrap_or(name);
                let is_known = is_reserved(name) || names.iter().any(|known| known == name);
                prop_assert!(!is_own || is_known || !name.contains('.'), "{host:?} is {name:?}");
            }
        }
    }
}
