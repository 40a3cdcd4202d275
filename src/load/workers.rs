//! Workers that generate the load: one thread here, or further processes that report through pipes.
use super::{
    engine::{self, Share},
    measure::Snapshot,
    settings::Settings,
};
use crate::{
    clock::now_ns,
    runtime::block_on,
    signals::{Hangup, Signals},
};
use anyhow::{Context as _, bail};
use std::{
    ffi::OsString,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
};
use tokio::sync::{mpsc, watch};

/// Capacity of the snapshot channel; a worker that finds it full waits.
const SNAPSHOTS_MAX: usize = 64;

/// The workers of one run.
pub(super) struct Workers {
    snapshots: mpsc::Receiver<anyhow::Result<Snapshot>>,
    /// Workers that have not sent their last snapshot.
    running: usize,
    stop: watch::Sender<bool>,
    children: Vec<Child>,
}

impl Workers {
    /// Starts the workers of a run that begins at `start_ns`.
    ///
    /// # Errors
    /// A process or a thread cannot be created.
    pub(super) fn start(
        settings: &Arc<Settings>,
        start_ns: u64,
        level: Option<u64>,
        arguments: &[OsString],
    ) -> anyhow::Result<Workers> {
        let parts = settings.processes;
        let (sender, snapshots) = mpsc::channel(SNAPSHOTS_MAX);
        let (stop, stopped) = watch::channel(false);
        let mut workers = Workers { snapshots, running: parts as usize, stop, children: Vec::new() };
        for part in 0..parts {
            let share = Share { part, parts, start_ns, level };
            let sender = sender.clone();
            if parts == 1 {
                let (settings, stopped) = (Arc::clone(settings), stopped.clone());
                thread::Builder::new().name("load".to_owned()).spawn(move || {
                    let to = sender.clone();
                    let done =
                        engine::run(settings, share, stopped, async move |one| _ = to.send(Ok(one)).await);
                    if let Err(error) = done {
                        let _ = sender.blocking_send(Err(error));
                    }
                })?;
            } else {
                let mut child = spawn(share, arguments)?;
                let out = child.stdout.take().context("a process without its output")?;
                workers.children.push(child);
                thread::Builder::new().name("workers".to_owned()).spawn(move || read(out, part, &sender))?;
            }
        }
        Ok(workers)
    }

    /// The next snapshot of any worker; `None` once all have sent their last.
    pub(super) async fn next(&mut self) -> Option<anyhow::Result<Snapshot>> {
        if self.running == 0 {
            return None;
        }
        let snapshot = self.snapshots.recv().await;
        if snapshot.as_ref().is_some_and(|snapshot| snapshot.as_ref().map_or(true, |one| one.is_last)) {
            self.running -= 1;
        }
        snapshot
    }

    /// Asks all workers to stop.
    pub(super) fn stop(&mut self) {
        let _ = self.stop.send(true);
        // A worker process stops when its standard input is closed.
        self.children.iter_mut().for_each(|child| drop(child.stdin.take()));
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
        for child in &mut self.children {
            // It has sent its last snapshot, or the run was aborted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts this program again with the same flags and a share.
fn spawn(share: Share, arguments: &[OsString]) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("cannot find this program")?;
    Command::new(program)
        .args(arguments)
        .arg("--share")
        .arg(share.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start a process of the load tester")
}

fn read(out: impl io::Read, part: u32, sender: &mpsc::Sender<anyhow::Result<Snapshot>>) {
    let mut is_last = false;
    for line in BufReader::new(out).lines() {
        let snapshot = line
            .map_err(anyhow::Error::from)
            .and_then(|line| Ok(serde_json::from_str::<Snapshot>(&line)?))
            .with_context(|| format!("process {part} of the load tester"));
        is_last = snapshot.as_ref().map_or(true, |one| one.is_last);
        if sender.blocking_send(snapshot).is_err() || is_last {
            return;
        }
    }
    if !is_last {
        let _ = sender.blocking_send(Err(anyhow::anyhow!("process {part} of the load tester ended early")));
    }
}

/// Runs one share in its own process; snapshots are written to standard output as JSON lines.
///
/// # Errors
/// The runtime cannot be created, or the share is invalid.
pub(super) fn serve(settings: Settings, share: Share) -> anyhow::Result<()> {
    // A terminal signals the whole process group; the coordinator decides how to react.
    let _ignored = block_on(async { Signals::new(Hangup::Ends) })??;
    let (stop, stopped) = watch::channel(false);
    thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
        let _ = stop.send(true);
    })?;
    if share.start_ns > now_ns() + 60_000_000_000 {
        bail!("--share is for the load tester itself");
    }
    engine::run(Arc::new(settings), share, stopped, async |snapshot| {
        if let Ok(line) = serde_json::to_string(&snapshot) {
            let mut out = io::stdout().lock();
            // If the reader is gone, standard input is closed as well.
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        }
    })
}
