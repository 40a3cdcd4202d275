//! One run from the first sample to the last: starts the workers, collects their snapshots, samples the
//! server.
use super::{
    Unreachable, UsageError,
    engine::window,
    measure::{ErrorKind, Failure},
    progress::Progress,
    recorder::Recorder,
    report::{Machine, Report},
    server_side::{ProcessSample, ProcessSource, open_files_max},
    settings::Settings,
    wire::{Incoming, Socket, instant_of, send_close},
    workers::Workers,
};
use crate::{clock::now_ns, signals::Signals, units::nanos};
use anyhow::Context as _;
use std::{ffi::OsString, fs, sync::Arc, thread::available_parallelism, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};

/// Interval between points of the series.
const TICK: Duration = Duration::from_secs(1);
/// Time between starting the workers and the start of the run.
const PREPARE: Duration = Duration::from_millis(100);
const PREPARE_PROCESSES: Duration = Duration::from_millis(500);
/// How long the probe waits for a server that closes new sockets immediately.
const AT_ONCE: Duration = Duration::from_millis(150);

/// Runs once; `level` tells worker processes which step of a search this is.
///
/// # Errors
/// [`UsageError`] and [`Unreachable`] before the first socket; otherwise the error that aborted the run.
pub(super) async fn run(
    settings: &Settings,
    level: Option<u64>,
    arguments: &[OsString],
    progress: &mut Progress,
    signals: &mut Signals,
) -> anyhow::Result<Report> {
    let mut server = server(settings)?;
    let mut recorder = Recorder::new(settings.processes).context("cannot make histograms")?;
    let mut sample =
        sample_server(&mut server, &mut recorder).await.map_err(|error| UsageError(format!("{error:#}")))?;
    probe(settings).await?;
    let machine = machine();
    let prepare = if settings.processes > 1 { PREPARE_PROCESSES } else { PREPARE };
    let start = now_ns() + nanos(prepare);
    let (from, to) = window(settings, start);
    let mut workers = Workers::start(&Arc::new(settings.clone()), start, level, arguments)?;
    let mut ticks = interval_at(instant_of(start) + TICK, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let begins = sleep_until(instant_of(from));
    let ends = sleep_until(if to == u64::MAX { Instant::now() + FOREVER } else { instant_of(to) });
    tokio::pin!(begins, ends);
    let (mut has_begun, mut has_ended, mut interrupted) = (false, None, None);
    let since_start = || now_ns().saturating_sub(start) as f64 / 1e9;
    let mut sample_now = async |recorder: &mut Recorder| sample_server(&mut server, recorder).await;
    let broken = loop {
        let sampled = tokio::select! {
            snapshot = workers.next() => match snapshot {
                Some(snapshot) => snapshot.map(|snapshot| {
                    recorder.take(snapshot);
                    sample
                }),
                None => break None,
            },
            () = &mut begins, if !has_begun => {
                has_begun = true;
                let sampled = sample_now(&mut recorder).await;
                recorder.begin();
                sampled
            }
            () = &mut ends, if has_ended.is_none() => {
                let sampled = sample_now(&mut recorder).await;
                recorder.end();
                has_ended = Some(now_ns());
                sampled
            }
            _ = ticks.tick() => {
                let sampled = sample_now(&mut recorder).await.map(|sampled| sampled.or(sample));
                recorder.tick(since_start(), sampled.as_ref().ok().copied().flatten().map(|sample| (sample.cpu_ns, sample.rss)));
                progress.show(&recorder, since_start());
                sampled
            }
            signal = signals.next() => {
                if interrupted.is_some() {
                    break None;
                }
                interrupted = Some(signal);
                progress.note("interrupted: closing the sockets, then reporting; interrupt again to end at once");
                workers.stop();
                Ok(sample)
            }
        };
        match sampled {
            Ok(sampled) => sample = sampled,
            // The measurements so far are still worth a report.
            Err(why) => break Some(format!("{why:#}")),
        }
    };
    // A server that has gone by now was sampled often enough.
    sample = sample_now(&mut recorder).await.unwrap_or(sample);
    recorder.tick(since_start(), sample.map(|sample| (sample.cpu_ns, sample.rss)));
    let end = has_ended.unwrap_or_else(now_ns);
    let measured_s = end.saturating_sub(from) as f64 / 1e9;
    let times = (since_start(), measured_s);
    Ok(Report { broken, ..Report::new(recorder, &settings.url, machine, times, interrupted) })
}

/// Longer than any run.
const FOREVER: Duration = Duration::from_secs(30 * 86_400);

fn server(settings: &Settings) -> anyhow::Result<Option<ProcessSource>> {
    if let Some(pid) = settings.pid {
        let may = open_files_max(pid).unwrap_or(u64::MAX);
        if may < settings.sockets_max {
            let need = settings.sockets_max;
            let why = format!(
                "process {pid} may have {may} open files, fewer than {need} sockets: set ulimit -n {need} where it is started"
            );
            return Err(UsageError(why).into());
        }
        return Ok(Some(ProcessSource::process(pid)));
    }
    Ok(settings.metrics.clone().map(ProcessSource::metrics))
}

async fn sample_server(
    server: &mut Option<ProcessSource>,
    recorder: &mut Recorder,
) -> anyhow::Result<Option<ProcessSample>> {
    let Some(source) = server else { return Ok(None) };
    let sample = source.sample().await?;
    recorder.sample(sample.cpu_ns, sample.rss);
    Ok(Some(sample))
}

/// Opens one socket before all others, so that a wrong address is reported at once.
async fn probe(settings: &Settings) -> Result<(), Unreachable> {
    let source = settings.sources.first().copied();
    let opened = match Socket::open(settings, source, &mut String::new()).await {
        Ok(mut socket) => {
            let mut alarm = Box::pin(sleep(AT_ONCE));
            let ignore = |_: Incoming<'_>, _| None::<()>;
            let received = socket.receive(Some(alarm.as_mut()), ignore).await;
            send_close(&socket.writer());
            received.map(|_| ())
        }
        Err(failed) => Err(failed),
    };
    opened.map_err(|failed| Unreachable(advice(settings, &failed)))
}

fn advice(settings: &Settings, failed: &Failure) -> String {
    let what = match failed.kind {
        ErrorKind::ConnectRefused => {
            "nothing listens there; is the gateway running? `tidegate demo` starts one"
        }
        ErrorKind::ConnectTimeout => "no connection; check the address and firewalls in between",
        ErrorKind::ConnectFailed => "check the address and --source",
        ErrorKind::HandshakeTimeout => {
            "it accepts connections but does not answer: not a WebSocket server, or stuck"
        }
        ErrorKind::Http(401 | 403) => {
            "access denied; check --header, --cookie and the allowed origins of the gateway"
        }
        ErrorKind::Http(404) => "no such path; Tidegate's are /chat and /api/chat",
        ErrorKind::Http(429 | 503) => "it is full, shutting down, or limits sockets per address",
        ErrorKind::Http(_) | ErrorKind::Handshake => "is this the path of a WebSocket?",
        _ => "it closes new sockets at once; see its log",
    };
    format!("{}: {}: {what}", settings.url, failed.why)
}

/// Where and when the run was made.
fn machine() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned())).unwrap_or_default()
    };
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let kilobytes: u64 = memory.trim_end_matches("kB").trim().parse().unwrap_or(0);
    #[expect(clippy::disallowed_methods, reason = "a report has a date")]
    let now = std::time::SystemTime::now();
    Machine {
        cpu: field(&read("/proc/cpuinfo"), "model name"),
        cores: available_parallelism().map_or(1, std::num::NonZero::get),
        memory: kilobytes << 10,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        date: httpdate::fmt_http_date(now),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: command_line(std::env::args()),
    }
}

/// The command line, with secrets replaced.
fn command_line(arguments: impl Iterator<Item = String>) -> String {
    const SECRET: [&str; 2] = ["--header", "--cookie"];
    let mut words = Vec::new();
    let mut hide = false;
    for argument in arguments {
        let flag = argument.split('=').next().unwrap_or_default();
        let is_secret = SECRET.contains(&flag);
        words.push(match (hide, is_secret && argument.contains('=')) {
            (true, _) => "(hidden)".to_owned(),
            (false, true) => format!("{flag}=(hidden)"),
            (false, false) if argument.contains(|c: char| !c.is_alphanumeric() && !"-_=./:,".contains(c)) => {
                format!("'{argument}'")
            }
            (false, false) => argument.clone(),
        });
        hide = !hide && is_secret && !argument.contains('=');
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_shows_the_command_line_but_no_secret() {
        let arguments = [
            "tidegate",
            "load",
            "ws://h:1/chat",
            "--cookie",
            "sid=CANARY",
            "--header=A: CANARY",
            "--prompt",
            "a b",
        ];
        let line = command_line(arguments.into_iter().map(str::to_owned));
        assert_eq!(line, "tidegate load ws://h:1/chat --cookie (hidden) --header=(hidden) --prompt 'a b'");
    }
}
