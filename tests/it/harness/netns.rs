//! A separate network: a namespace joined to this one by a veth pair, removed when dropped.
use std::{
    fs,
    net::Ipv4Addr,
    process::Command,
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

/// Number of the next namespace of this process.
static NEXT: AtomicU8 = AtomicU8::new(0);

pub(crate) struct Namespace {
    name: String,
    /// Address of the test's end of the veth pair.
    pub(crate) outside: Ipv4Addr,
    /// Address of the end in the namespace.
    pub(crate) inside: Ipv4Addr,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let (pid, number) = (std::process::id(), NEXT.fetch_add(1, Relaxed));
        // Names of links have at most 15 characters; the addresses are reserved for tests between networks.
        let name = format!("tg{pid}n{number}");
        let (third, fourth) = ((pid % 250) as u8, number.wrapping_mul(4));
        let outside = Ipv4Addr::new(198, 18, third, fourth.wrapping_add(1));
        let inside = Ipv4Addr::new(198, 18, third, fourth.wrapping_add(2));
        run(&format!("ip netns add {name}"));
        let namespace = Namespace { name, outside, inside };
        let name = &namespace.name;
        run(&format!("ip link add {name} type veth peer name {name}i netns {name}"));
        run(&format!("ip address add {outside}/30 dev {name}"));
        run(&format!("ip link set {name} up"));
        namespace.run(&format!("ip address add {inside}/30 dev {name}i"));
        namespace.run(&format!("ip link set {name}i up"));
        namespace.run("ip link set lo up");
        namespace
    }

    /// The command that starts a program in the namespace; for `Tidegate::under`.
    pub(crate) fn wrapper(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// Runs a command in the namespace to its end.
    pub(crate) fn run(&self, command: &str) {
        run(&format!("ip netns exec {} {command}", self.name));
    }

    /// Sets the name server of programs that are started in the namespace from now on.
    pub(crate) fn name_server(&self, address: Ipv4Addr) {
        fs::create_dir_all(self.etc()).unwrap();
        fs::write(format!("{}/resolv.conf", self.etc()), format!("nameserver {address}\n")).unwrap();
    }

    /// Sets /etc/hosts of programs that are started in the namespace from now on.
    pub(crate) fn hosts(&self, lines: &str) {
        fs::create_dir_all(self.etc()).unwrap();
        fs::write(format!("{}/hosts", self.etc()), lines).unwrap();
    }

    /// Silently drops packets from the namespace to this port.
    pub(crate) fn swallow(&self, port: u16) {
        self.run(&format!("iptables -w -A OUTPUT -p tcp --dport {port} -j DROP"));
    }

    /// Cuts the connection without notifying either end.
    #[allow(dead_code, reason = "for tests of a lost network")]
    pub(crate) fn pull(&self) {
        let link = format!("{}i", self.name);
        self.run(&format!("iptables -w -A INPUT -i {link} -j DROP"));
        self.run(&format!("iptables -w -A OUTPUT -o {link} -j DROP"));
    }

    /// The folder in which `ip netns exec` looks for files that replace those of /etc.
    fn etc(&self) -> String {
        format!("/etc/netns/{}", self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.etc());
        let _ = fs::remove_dir("/etc/netns"); // Unless another test uses it.
        let _ = Command::new("ip").args(["link", "delete", &self.name]).output();
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}

fn run(command: &str) {
    assert!(
        rustix::process::getuid().is_root(),
        "network namespaces are made by root alone: run tests/run as root, in a container for example"
    );
    let words: Vec<_> = command.split(' ').collect();
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output =
        output.unwrap_or_else(|error| panic!("{command}: {error}; tests/run installs what is needed"));
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}
