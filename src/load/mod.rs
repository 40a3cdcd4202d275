//! The load tester: many users against any gateway, what they feel, and whether every text was right.
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

/// A requirement does not hold, text was wrong, or the run broke off.
const EXIT_BAD: u8 = 1;
/// Interrupted by a signal, whose number is added.
const EXIT_SIGNAL: u8 = 128;

/// Flags that cannot be followed; says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

/// No socket can be opened at all.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(String);

/// Does what the flags say; `arguments` are the same flags as they were typed, for further processes.
/// Gives the exit code.
///
/// # Errors
/// [`UsageError`] and [`Unreachable`] before the run; else what broke it off.
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
            let _ = writeln!(io::stderr(), "tidegate: the run broke off: {why}");
        }
        Ok(match report.interrupted {
            Some(signal) => EXIT_SIGNAL + signal,
            None if report.is_good() => 0,
            None => EXIT_BAD,
        })
    })?
}

/// Wherever the report is wanted.
struct Outputs {
    /// JSON takes the place of the table on standard output.
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

    /// The terminal comes first, and one file that fails keeps nothing from the other.
    fn write(self, report: &Report) -> Result<(), CannotWrite> {
        let json = format!("{:#}\n", report.json());
        let shown = if self.json_to_stdout { json.clone() } else { table::render(report) };
        // A closed pipe is no reason to fail.
        let _ = io::stdout().lock().write_all(shown.as_bytes());
        let json = self.json.map_or(Ok(()), |output| output.write(&json));
        let html = self.html.map_or(Ok(()), |output| output.write(&page::render(report)));
        json.and(html)
    }
}
