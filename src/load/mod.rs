//! The load tester: simulates many users against any gateway, measures what they experience and verifies
//! every answer.
mod chart;
mod check;
mod cuts;
mod dialect;
mod engine;
pub(crate) mod flags;
mod knee;
mod measure;
mod output;
mod page;
mod plan;
mod progress;
mod recorder;
mod report;
mod require;
mod run;
mod server_side;
mod settings;
mod shared;
mod table;
mod turn;
mod user;
mod wire;
mod workers;

pub use flags::Load;

use crate::{
    io_error::CannotWrite,
    runtime::block_on,
    signals::{Hangup, Signals},
};
use engine::Share;
use output::Output;
use progress::Progress;
use report::Report;
use settings::Settings;
use std::{
    ffi::OsString,
    io::{self, Write as _},
};

/// Exit code when a requirement does not hold, text was wrong, or the run was aborted.
const EXIT_BAD: u8 = 1;
/// Exit code when interrupted by a signal; the signal's number is added.
const EXIT_SIGNAL: u8 = 128;

/// Invalid flags; the message says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

/// Not even one socket can be opened.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(String);

/// Runs the load tester and returns the exit code. `arguments` are the same flags as typed, passed on to
/// further processes.
///
/// # Errors
/// [`UsageError`] and [`Unreachable`] before the run; otherwise the error that aborted it.
pub fn run(flags: &Load, arguments: &[OsString]) -> anyhow::Result<u8> {
    let settings = Settings::new(flags).map_err(UsageError)?;
    if let Some(share) = &flags.share {
        let share = Share::parse(share).ok_or_else(|| UsageError("--share cannot be read".to_owned()))?;
        let settings = match (share.level, &settings.knee) {
            (Some(level), Some(search)) => settings.level(level, search.step, knee::SETTLE),
            _ => settings,
        };
        return workers::serve(settings, share).map(|()| 0);
    }
    let outputs = Outputs::open(&settings)?;
    block_on(async {
        let mut signals = Signals::new(Hangup::Ends)?;
        let mut progress = Progress::new();
        let report = match &settings.knee {
            Some(search) => knee::find(&settings, search, arguments, &mut progress, &mut signals).await,
            None => run::run(&settings, None, arguments, &mut progress, &mut signals).await,
        };
        progress.end();
        let mut report = report?;
        report.judge(&settings.requirements);
        outputs.write(&report)?;
        if let Some(why) = &report.broken {
            let _ = writeln!(io::stderr(), "tidegate: the run was aborted: {why}");
        }
        Ok(match report.interrupted {
            Some(signal) => EXIT_SIGNAL + signal,
            None if report.is_good() => 0,
            None => EXIT_BAD,
        })
    })?
}

/// Destinations of the report.
struct Outputs {
    /// JSON replaces the table on standard output.
    json_to_stdout: bool,
    json: Option<Output>,
    html: Option<Output>,
}

impl Outputs {
    fn open(settings: &Settings) -> Result<Outputs, CannotWrite> {
        let json_to_stdout = settings.json.as_deref().is_some_and(|path| path.as_os_str() == "-");
        let json = settings.json.as_deref().filter(|_| !json_to_stdout).map(Output::open).transpose()?;
        let html = settings.html.as_deref().map(Output::open).transpose()?;
        Ok(Outputs { json_to_stdout, json, html })
    }

    /// Writes to the terminal first. A failure of one file does not prevent the other from being written.
    fn write(self, report: &Report) -> Result<(), CannotWrite> {
        let json = format!("{:#}\n", report.json());
        let shown = if self.json_to_stdout { json.clone() } else { table::render(report) };
        // A closed pipe is not an error.
        let _ = io::stdout().lock().write_all(shown.as_bytes());
        let json = self.json.map_or(Ok(()), |output| output.write(&json));
        let html = self.html.map_or(Ok(()), |output| output.write(&page::render(report)));
        json.and(html)
    }
}
