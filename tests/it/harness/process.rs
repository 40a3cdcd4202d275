//! The real binary, started with a clean environment in an empty folder, and killed when dropped.
use super::{PATIENCE, Stopwatch, Took, kernel, until, within};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::{
    fs::File,
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    task::JoinHandle,
};

/// A command line of `tidegate` with its environment.
pub(crate) struct Tidegate {
    command: Command,
    folder: TempDir,
}

/// A process that is ready to serve.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Time from the start to the log line with the address, which is written when it is ready.
    pub(crate) ready_after: Took,
    err: Output,
    folder: TempDir,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) after: Took,
}

impl Tidegate {
    pub(crate) fn new(args: &[&str]) -> Self {
        Self::under(&[], args)
    }

    /// A command line started by another program that executes it, such as `prlimit --nofile=64`.
    pub(crate) fn under(wrapper: &[&str], args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let whole: Vec<_> = wrapper.iter().chain([&env!("CARGO_BIN_EXE_tidegate")]).chain(args).collect();
        let mut command = Command::new(whole[0]);
        command.args(&whole[1..]).env_clear().current_dir(folder.path()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Tidegate { command, folder }
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Writes a file into the folder in which it runs.
    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        std::fs::write(self.folder.path().join(name), content).unwrap();
        self
    }

    /// The folder in which it runs.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it, kills it after a while and returns its folder.
    pub(crate) async fn killed_after(mut self, time: Duration) -> TempDir {
        let mut child = self.command.spawn().unwrap();
        tokio::time::sleep(time).await;
        child.kill().await.unwrap();
        self.folder
    }

    /// Runs to its end.
    pub(crate) async fn run(self) -> Ended {
        self.launch().ended(PATIENCE).await
    }

    /// Runs to its end, then calls `look` before its folder is removed.
    pub(crate) async fn run_and_look<T>(self, look: impl FnOnce() -> T) -> (Ended, T) {
        let Launched { child, out, err, watch, folder } = self.launch();
        let launched = Launched { child, out, err, watch, folder: None };
        let ended = launched.ended(PATIENCE).await;
        let seen = look();
        drop(folder);
        (ended, seen)
    }

    /// Starts it, for a test that reads its standard output while it runs.
    pub(crate) fn spawn(mut self) -> Child {
        self.command.spawn().unwrap()
    }

    /// Starts it without waiting until it serves; it ends by itself or by a signal.
    pub(crate) fn launch(mut self) -> Launched {
        let watch = Stopwatch::start();
        let mut child = self.command.spawn().unwrap();
        let out = Output::of(child.stdout.take().unwrap());
        let err = Output::of(child.stderr.take().unwrap());
        Launched { child, out, err, watch, folder: Some(self.folder) }
    }

    /// Starts it on a terminal of its own, waits until it serves, and closes the terminal. Later output is lost.
    pub(crate) async fn start_and_hang_up(mut self) -> Process {
        let watch = Stopwatch::start();
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let terminal = || File::options().read(true).write(true).open(&name).unwrap();
        self.command.stdin(terminal()).stdout(terminal()).stderr(terminal());
        let child = self.command.spawn().unwrap();
        drop(self.command); // It has copies of the terminal's descriptor.
        let mut master = tokio::fs::File::from_std(master.into());
        let (mut text, mut buffer) = (String::new(), [0; 4096]);
        let address = within("the process logs its address", PATIENCE, async {
            loop {
                let read = master.read(&mut buffer).await.expect("it runs");
                text.push_str(&String::from_utf8_lossy(&buffer[..read]));
                if let Some(address) = listening_address(&text.replace('\r', "")) {
                    return address;
                }
            }
        })
        .await;
        drop(master);
        let err = Output::of(tokio::io::empty());
        Process { child, address, ready_after: watch.took(), err, folder: self.folder }
    }

    /// Starts it and waits until it serves.
    pub(crate) async fn start(mut self) -> Process {
        let watch = Stopwatch::start();
        let mut child = self.command.spawn().unwrap();
        drop(child.stdout.take());
        let err = Output::of(child.stderr.take().unwrap());
        let mut address = None;
        until("the process logs its address", async || {
            assert!(!err.is_closed(), "it ended: {}", err.text());
            address = listening_address(&err.text());
            address.is_some()
        })
        .await;
        let ready_after = watch.took();
        Process { child, address: address.unwrap(), ready_after, err, folder: self.folder }
    }
}

/// A started process that may not serve yet, or never.
pub(crate) struct Launched {
    child: Child,
    out: Output,
    err: Output,
    watch: Stopwatch,
    /// Removed after the end of the process.
    folder: Option<TempDir>,
}

impl Launched {
    /// Sends a signal by its name without `SIG`.
    pub(crate) async fn signal(&self, name: &str) {
        signal(&self.child, name).await;
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self, patience: Duration) -> Ended {
        let status = within("the process ends", patience, self.child.wait()).await.unwrap();
        let after = self.watch.took();
        drop(self.folder.take());
        Ended { code: status.code(), out: self.out.whole().await, err: self.err.whole().await, after }
    }
}

async fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id().expect("it runs"));
    let status = Command::new("/bin/sh").args(["-c", &kill]).status().await.unwrap();
    assert!(status.success(), "{kill}");
}

/// The address from a complete log line with `listens … http://ADDRESS`.
fn listening_address(log: &str) -> Option<SocketAddr> {
    let line = log.split_inclusive('\n').find(|line| line.contains(" listens") && line.ends_with('\n'))?;
    let rest = line.split("http://").nth(1)?;
    rest.split([' ', '/', '"', '\n']).next()?.parse().ok()
}

impl Process {
    /// Starts `serve` in front of `simulator`, on a free port.
    pub(crate) async fn serve(simulator: &Process, key: &str, more: &[&str]) -> Process {
        let base_url = simulator.base_url();
        let args = ["serve", "--listen", "127.0.0.1:0", "--model", "sim-chat", "--base-url", &base_url];
        let args: Vec<_> = args.iter().chain(more).copied().collect();
        Tidegate::new(&args).env("API_KEY", key).start().await
    }

    /// Starts `simulate` without pauses, on a free port.
    pub(crate) async fn simulate() -> Process {
        let args =
            ["simulate", "--listen", "127.0.0.1:0", "--workers", "1", "--pace-ms", "0", "--first-ms", "0"];
        Tidegate::new(&args).start().await
    }

    /// The same on the address of an earlier simulator.
    pub(crate) async fn simulate_again(address: SocketAddr) -> Process {
        let listen = address.to_string();
        let args = ["simulate", "--listen", &listen, "--workers", "1", "--pace-ms", "0", "--first-ms", "0"];
        Tidegate::new(&args).start().await
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Kills it and waits for its end.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Its address as the base URL of an upstream.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/api/v1", self.address)
    }

    pub(crate) fn chat_url(&self) -> String {
        format!("ws://{}/chat", self.address)
    }

    /// Its standard error so far.
    pub(crate) fn log(&self) -> String {
        self.err.text()
    }

    /// The number of its open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        kernel::descriptors(self.child.id().expect("it runs")).len()
    }

    /// Sends a signal by its name without `SIG`.
    pub(crate) async fn signal(&self, name: &str) {
        signal(&self.child, name).await;
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> Ended {
        let watch = Stopwatch::start();
        let status = within("the process ends", PATIENCE, self.child.wait()).await.unwrap();
        let after = watch.took();
        drop(self.folder);
        Ended { code: status.code(), out: String::new(), err: self.err.whole().await, after }
    }

    /// Sends SIGTERM and asserts an orderly end; returns the log.
    pub(crate) async fn stop(self) -> String {
        self.signal("TERM").await;
        let ended = self.ended().await;
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        ended.err
    }
}

/// The output of a pipe, read by a task of its own so that the pipe is never full.
struct Output {
    text: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl Output {
    fn of(mut pipe: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&text);
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
                sink.lock().unwrap().extend_from_slice(&buffer[..read]);
            }
        });
        Output { text, task }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    fn is_closed(&self) -> bool {
        self.task.is_finished()
    }

    async fn whole(self) -> String {
        within("the pipe is closed", PATIENCE, self.task).await.unwrap();
        String::from_utf8(std::mem::take(&mut self.text.lock().unwrap())).unwrap()
    }
}
