//! `tidegate demo`: the configuration of a gateway in front of two simulators of its own, and where it can be opened.
use crate::{
    config::{Config, ConfigError, Fault, Levels, Origin, SectionName, TargetName},
    simulator::{self, script::MODELS},
    upstream::service::Service,
};
use anyhow::Context as _;
use secrecy::SecretString;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

/// Pause between two parts of an answer, and before the first: those of a fast model.
const PACE: Duration = Duration::from_millis(25);
const FIRST: Duration = Duration::from_millis(250);

const MODEL: &str = "upstream.model";

/// The simulated upstreams: section, name in `/sim at=NAME`, service, and path of the base URL. One for each dialect; each
/// stands in for the other.
const UPSTREAMS: [(&str, &str, &str, &str); 2] =
    [("a", "A", "dashscope", "/api/v1"), ("b", "B", "other", "/v1")];

/// Adapts a configuration to the demo. Returns it with the settings of the simulated upstreams.
///
/// # Errors
/// The requested model is not simulated.
pub fn prepare(mut config: Config) -> Result<(Config, Vec<simulator::Settings>), ConfigError> {
    match config.origins.get(MODEL) {
        None => MODELS[0].clone_into(&mut config.upstream.model),
        Some(origin) if !MODELS.contains(&config.upstream.model.as_str()) => {
            return Err(ConfigError { faults: vec![not_simulated(&config, origin)] });
        }
        Some(_) => {}
    }
    config.upstream.api_key = Some(SecretString::from("demo"));
    let simulator = |(_, place, ..): (&str, &str, &str, &str)| simulator::Settings {
        pace: PACE,
        first: FIRST,
        name: place.to_owned(),
        ..simulator::Settings::default()
    };
    Ok((config, UPSTREAMS.map(simulator).to_vec()))
}

/// Completes the configuration with the simulators' addresses: each model is answered by the first upstream, and by the
/// second one where that fails.
///
/// # Errors
/// An address is not valid in a URL, or a name not one of a section.
pub fn in_front_of(mut config: Config, addresses: &[SocketAddr]) -> anyhow::Result<Config> {
    let section = |name: &str| SectionName::new(name).map_err(anyhow::Error::msg);
    let mut levels = Levels::new();
    for ((name, _, service, path), address) in UPSTREAMS.into_iter().zip(addresses) {
        let mut upstream = config.upstream.clone();
        upstream.base_url = format!("http://{address}{path}").parse()?;
        upstream.service = Service::find(service).context("a service of the demo")?;
        let name = section(name)?;
        levels.push(vec![TargetName { upstream: Some(name.clone()), model: None, weight: 1 }]);
        config.upstreams.insert(name, upstream);
    }
    for model in MODELS {
        let mut settings = config.model.clone();
        model.clone_into(&mut settings.name);
        settings.upstreams.clone_from(&levels);
        config.models.insert(section(&model.replace('-', "_"))?, settings);
    }
    config.route.default.clone_from(&config.upstream.model);
    Ok(config)
}

fn not_simulated(config: &Config, origin: &Origin) -> Fault {
    Fault {
        key: MODEL.to_owned(),
        origin: origin.clone(),
        value: Some(config.upstream.model.clone()),
        problem: "not a simulated model".to_owned(),
        allowed: Some(format!("`{}`", MODELS.join("`, `"))),
    }
}

/// The URLs to open for a listener at `address`: on this machine, and on others if they can reach it.
pub fn invitation(address: SocketAddr) -> String {
    let own = if address.ip().is_unspecified() { own_addresses(address) } else { Vec::new() };
    invite(address, &own)
}

fn invite(mut address: SocketAddr, own: &[IpAddr]) -> String {
    if address.ip().is_unspecified() {
        // A listener on all IPv6 addresses also accepts IPv4.
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let others = own.iter().map(|ip| format!("http://{}", SocketAddr::new(*ip, address.port())));
    let others = others.collect::<Vec<_>>().join(" or ");
    let others = if others.is_empty() { others } else { format!(", or {others} on another machine") };
    format!("Open http://{address} in a browser{others}. The answers are simulated.\n")
}

/// The addresses under which other machines can reach this one: those from which the kernel would send.
fn own_addresses(listen: SocketAddr) -> Vec<IpAddr> {
    // Addresses reserved for documentation: connecting a datagram socket only looks up the route and sends nothing.
    let v4: (IpAddr, IpAddr) = (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into());
    let v6: (IpAddr, IpAddr) =
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into());
    let families = if listen.is_ipv4() { vec![v4] } else { vec![v4, v6] };
    let source = |(any, other): (IpAddr, IpAddr)| {
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect((other, 9)).ok()?;
        let ip = socket.local_addr().ok()?.ip();
        (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
    };
    families.into_iter().filter_map(source).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_has_addresses_that_can_be_opened() {
        let invite = |listen: &str, own: &[&str]| {
            let own: Vec<_> = own.iter().map(|ip| ip.parse().unwrap()).collect();
            invite(listen.parse().unwrap(), &own)
        };
        expect_test::expect![[r#"
            Open http://127.0.0.1:8000 in a browser. The answers are simulated.
            Open http://192.0.2.7:8000 in a browser. The answers are simulated.
            Open http://127.0.0.1:8000 in a browser. The answers are simulated.
            Open http://127.0.0.1:8000 in a browser, or http://192.0.2.7:8000 on another machine. The answers are simulated.
            Open http://127.0.0.1:9 in a browser, or http://192.0.2.7:9 or http://[2001:db8::7]:9 on another machine. The answers are simulated.
        "#]]
        .assert_eq(
            &[
                invite("127.0.0.1:8000", &[]),
                invite("192.0.2.7:8000", &[]),
                invite("0.0.0.0:8000", &[]),
                invite("0.0.0.0:8000", &["192.0.2.7"]),
                invite("[::]:9", &["192.0.2.7", "2001:db8::7"]),
            ]
            .concat(),
        );
    }

    #[test]
    fn this_machines_own_addresses_are_no_wildcards() {
        for listen in ["0.0.0.0:8000", "[::]:8000"] {
            let own = own_addresses(listen.parse().unwrap());
            assert!(own.iter().all(|ip| !ip.is_unspecified() && !ip.is_loopback()), "{own:?}");
        }
    }
}
