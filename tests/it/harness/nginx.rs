//! The real nginx with the shipped configuration, on a free port of this machine; killed when dropped.
use super::{PATIENCE, RawClient, handshake, until, within};
use rustix::process::{Pid, Signal, getuid, kill_process, kill_process_group};
use std::{fs, net::SocketAddr, path::Path, process::Stdio};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

/// The `nginx` command: at Debian's path, which is not in every user's PATH, or by name.
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
pub(crate) struct NginxSettings {
    /// Run a master and a worker, as in production; needed for reloads.
    pub(crate) master: bool,
    /// Use the shipped TLS site, with a self-signed certificate for this name.
    pub(crate) tls: Option<&'static str>,
    /// Let nginx serve the page from this folder.
    pub(crate) page: Option<&'static Path>,
    /// Require name and password (`nginx/basic-auth.conf`); the content of the file of users.
    pub(crate) users: Option<&'static str>,
    /// Texts to replace in the shipped files and the main file, such as a timeout that is too long for a test.
    pub(crate) replace: &'static [(&'static str, &'static str)],
}

pub(crate) struct Nginx {
    child: Child,
    folder: TempDir,
    pub(crate) address: SocketAddr,
    /// The plain HTTP listener of the TLS site.
    pub(crate) plain: Option<SocketAddr>,
}

impl Nginx {
    pub(crate) async fn start(gateways: &[SocketAddr]) -> Self {
        Self::start_with(gateways, NginxSettings::default()).await
    }

    pub(crate) async fn start_with(gateways: &[SocketAddr], settings: NginxSettings) -> Self {
        // nginx cannot choose a free port, and another process may take the one found here first.
        for _ in 0..5 {
            let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            let folder = tempfile::tempdir().unwrap();
            for entry in fs::read_dir(shipped()).unwrap() {
                let path = entry.unwrap().path();
                let mut text = fs::read_to_string(&path).unwrap();
                for (from, to) in settings.replace {
                    text = text.replace(from, to);
                }
                fs::write(folder.path().join(path.file_name().unwrap()), text).unwrap();
            }
            let mut main = main_file(folder.path(), free, gateways, settings);
            if let Some(users) = settings.users {
                fs::write(folder.path().join("users"), users).unwrap();
            }
            let mut plain = None;
            if let Some(name) = settings.tls {
                plain = Some(tls_site(folder.path(), free, name).await);
            }
            for (from, to) in settings.replace {
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

    /// Sends a handshake with these headers and returns the status line of the response.
    pub(crate) async fn handshake(&self, headers: &[(&str, &str)]) -> String {
        let mut client = RawClient::connect(self.address).await;
        let head = client.request(&handshake(self.address, headers)).await;
        head.lines().next().unwrap().to_owned()
    }

    /// The certificate of the TLS site, in PEM.
    pub(crate) fn certificate(&self) -> String {
        fs::read_to_string(self.folder.path().join("tls_cert")).unwrap()
    }

    pub(crate) fn access_log(&self) -> String {
        fs::read_to_string(self.folder.path().join("access.log")).unwrap()
    }

    /// Reloads the configuration: new workers start, old ones keep their sockets for a while.
    pub(crate) fn reload(&self) {
        kill_process(self.pid(), Signal::HUP).unwrap();
    }

    /// Kills master and workers and waits for their end.
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
            let _ = kill_process_group(self.pid(), Signal::KILL); // Including the workers.
        }
    }
}

/// Starts nginx with the main file in this folder, in a process group of its own.
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

/// Adapts the shipped TLS site to this machine (ports, name, certificate). Returns the address for plain HTTP.
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

/// The main file that nginx/README.md describes.
fn main_file(folder: &Path, listen: SocketAddr, gateways: &[SocketAddr], settings: NginxSettings) -> String {
    let folder = folder.display();
    let servers = |marks: &str| -> String {
        gateways.iter().map(|gateway| format!("server {gateway} {marks};\n")).collect()
    };
    let (servers, sockets) = (servers("max_fails=2 fail_timeout=5s"), servers("max_fails=0"));
    let user = if getuid().is_root() { "user root;" } else { "" };
    let process = if settings.master {
        "worker_processes 1; worker_shutdown_timeout 2s;"
    } else {
        "master_process off;"
    };
    let site = match settings.tls {
        Some(_) => format!("include {folder}/site-tls.conf;"),
        None => {
            let page = settings.page.map_or(String::new(), |page| {
                format!("root {}; include {folder}/page.conf;", page.display())
            });
            let log_in =
                settings.users.map_or(String::new(), |_| format!("include {folder}/basic-auth.conf;"));
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
