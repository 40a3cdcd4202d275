//! The real nginx with the shipped files, on a free port of this machine; ended when dropped.
use super::{PATIENCE, RawClient, handshake, until, within};
use rustix::process::{Pid, Signal, getuid, kill_process, kill_process_group};
use std::{fs, net::SocketAddr, path::Path, process::Stdio};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

/// `nginx` by name, or at Debian's path for it, which is not in every user's PATH.
pub(crate) fn command() -> Command {
    let debian = Path::new("/usr/sbin/nginx");
    let mut command = Command::new(if debian.exists() { debian } else { Path::new("nginx") });
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

pub(crate) fn shipped() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/nginx")
}

/// How a test configures its nginx.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wish {
    /// A master and a worker, as in production: only so there is a reload.
    pub(crate) master: bool,
    /// The shipped site for TLS, with a certificate of its own for this name.
    pub(crate) tls: Option<&'static str>,
    /// Serves the page itself, from this folder.
    pub(crate) page: Option<&'static Path>,
    /// Asks for a name and a password (`nginx/basic-auth.conf`): the file of users.
    pub(crate) users: Option<&'static str>,
    /// Replaced in the shipped files and the main file, such as a time that is too long for a test.
    pub(crate) replace: &'static [(&'static str, &'static str)],
}

pub(crate) struct Nginx {
    child: Child,
    folder: TempDir,
    pub(crate) address: SocketAddr,
    /// Where the site for TLS listens for plain HTTP.
    pub(crate) plain: Option<SocketAddr>,
}

impl Nginx {
    pub(crate) async fn start(gateways: &[SocketAddr]) -> Self {
        Self::as_wished(gateways, Wish::default()).await
    }

    pub(crate) async fn as_wished(gateways: &[SocketAddr], wish: Wish) -> Self {
        // nginx cannot choose a port by itself, and another process may take the free one first.
        for _ in 0..5 {
            let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            let folder = tempfile::tempdir().unwrap();
            for entry in fs::read_dir(shipped()).unwrap() {
                let path = entry.unwrap().path();
                let mut text = fs::read_to_string(&path).unwrap();
                for (from, to) in wish.replace {
                    text = text.replace(from, to);
                }
                fs::write(folder.path().join(path.file_name().unwrap()), text).unwrap();
            }
            let mut main = main_file(folder.path(), free, gateways, wish);
            if let Some(users) = wish.users {
                fs::write(folder.path().join("users"), users).unwrap();
            }
            let mut plain = None;
            if let Some(name) = wish.tls {
                plain = Some(tls_site(folder.path(), free, name).await);
            }
            for (from, to) in wish.replace {
                main = main.replace(from, to);
            }
            fs::write(folder.path().join("main.conf"), main).unwrap();
            if let Some(child) = run(folder.path(), free).await {
                return Nginx { child, folder, address: free, plain };
            }
        }
        panic!("nginx does not start");
    }

    pub(crate) fn chat_url(&self) -> String {
        format!("ws://{}/chat", self.address)
    }

    /// The first line of the answer to a handshake with these headers.
    pub(crate) async fn handshake(&self, headers: &[(&str, &str)]) -> String {
        let mut client = RawClient::connect(self.address).await;
        let head = client.request(&handshake(self.address, headers)).await;
        head.lines().next().unwrap().to_owned()
    }

    /// The certificate of the site for TLS, in PEM.
    pub(crate) fn certificate(&self) -> String {
        fs::read_to_string(self.folder.path().join("tls_cert")).unwrap()
    }

    pub(crate) fn access_log(&self) -> String {
        fs::read_to_string(self.folder.path().join("access.log")).unwrap()
    }

    /// Reads its files anew: new workers serve, old ones keep their sockets for a while.
    pub(crate) fn reload(&self) {
        kill_process(self.pid(), Signal::HUP).unwrap();
    }

    /// Kills master and workers at once, and waits until they are gone.
    pub(crate) async fn kill(&mut self) {
        kill_process_group(self.pid(), Signal::KILL).unwrap();
        within("nginx is gone", PATIENCE, self.child.wait()).await.unwrap();
        let here = self.address;
        until("the port is free", async || TcpStream::connect(here).await.is_err()).await;
    }

    /// Starts it again on the same port.
    pub(crate) async fn start_again(&mut self) {
        self.child = run(self.folder.path(), self.address).await.expect("nginx starts again");
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().expect("it runs") as i32).unwrap()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if self.child.id().is_some() {
            let _ = kill_process_group(self.pid(), Signal::KILL); // The workers too.
        }
    }
}

/// Runs the main file in this folder, in a process group of its own.
async fn run(folder: &Path, listen: SocketAddr) -> Option<Child> {
    let mut command = command();
    command.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(folder.join("main.conf"));
    let mut child = command.process_group(0).spawn().expect("nginx is installed; tests/run installs it");
    let mut gone = false;
    until("nginx listens", async || {
        gone = child.try_wait().unwrap().is_some();
        gone || TcpStream::connect(listen).await.is_ok()
    })
    .await;
    (!gone).then_some(child)
}

/// Makes the shipped site fit this machine: its ports, its name, its certificate. Where it listens for plain HTTP.
async fn tls_site(folder: &Path, listen: SocketAddr, name: &str) -> SocketAddr {
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let site = fs::read_to_string(folder.join("site-tls.conf")).unwrap();
    let site = site.replace("listen 8080", &format!("listen {plain}")).replace("chat.example.com", name);
    let site = site.replace("listen 8443", &format!("listen {listen}"));
    let site = site.replace("/run/secrets/", &format!("{}/", folder.display()));
    fs::write(folder.join("site-tls.conf"), site).unwrap();
    let key = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    fs::write(folder.join("tls_cert"), key.cert.pem()).unwrap();
    fs::write(folder.join("tls_key"), key.signing_key.serialize_pem()).unwrap();
    plain
}

/// A main file as nginx/README.md describes it.
fn main_file(folder: &Path, listen: SocketAddr, gateways: &[SocketAddr], wish: Wish) -> String {
    let folder = folder.display();
    let servers = |marks: &str| -> String {
        gateways.iter().map(|gateway| format!("server {gateway} {marks};\n")).collect()
    };
    let (servers, sockets) = (servers("max_fails=2 fail_timeout=5s"), servers("max_fails=0"));
    let user = if getuid().is_root() { "user root;" } else { "" };
    let process =
        if wish.master { "worker_processes 1; worker_shutdown_timeout 2s;" } else { "master_process off;" };
    let site = match wish.tls {
        Some(_) => format!("include {folder}/site-tls.conf;"),
        None => {
            let page = wish.page.map_or(String::new(), |page| {
                format!("root {}; include {folder}/page.conf;", page.display())
            });
            let log_in = wish.users.map_or(String::new(), |_| format!("include {folder}/basic-auth.conf;"));
            format!("server {{ listen {listen}; {page} {log_in} include {folder}/server.conf; }}")
        }
    };
    format!(
        "daemon off; {process} {user} pid {folder}/nginx.pid; error_log stderr crit;
         events {{ worker_connections 1024; }}
         http {{
             client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
             uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
             include {folder}/http.conf;
             access_log {folder}/access.log tidegate;
             upstream gateway {{ include {folder}/upstream.conf; {servers} }}
             upstream gateway_socket {{ include {folder}/upstream-socket.conf; {sockets} }}
             {site}
         }}"
    )
}
