//! The load tester: many users against any gateway, what they feel, and whether every text was right.
pub(crate) mod plan;

mod chart;
mod check;
mod crew;
mod cuts;
mod dialect;
mod engine;
mod knee;
mod measure;
mod page;
mod progress;
mod report;
mod require;
mod run;
mod server_side;
mod settings;
mod story;
mod table;
mod turn;
mod user;
mod wire;

use crate::{
    app::block_on,
    cli::load::Load,
    signals::{Hangup, Signals},
};
use anyhow::Context as _;
use engine::Share;
use progress::Progress;
use report::Report;
use settings::Settings;
use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    path::Path,
};

/// A requirement does not hold, or text was wrong.
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
        return crew::serve(settings, share).map(|()| 0);
    }
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
        tell(&settings, &report)?;
        Ok(match report.interrupted {
            Some(signal) => EXIT_SIGNAL + signal,
            None if report.is_good() => 0,
            None => EXIT_BAD,
        })
    })?
}

/// Writes the report wherever it is wanted.
fn tell(settings: &Settings, report: &Report) -> anyhow::Result<()> {
    let write = |path: &Path, text: &str| {
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let json = || serde_json::to_string_pretty(&report.json()).context("cannot spell the report");
    let mut out = io::stdout().lock();
    let to_stdout = match &settings.json {
        Some(path) if path.as_os_str() == "-" => {
            // A closed pipe is no reason to fail.
            let _ = writeln!(out, "{}", json()?);
            true
        }
        Some(path) => {
            write(path, &(json()? + "\n"))?;
            false
        }
        None => false,
    };
    if let Some(path) = &settings.html {
        write(path, &page::render(report))?;
    }
    if !to_stdout {
        let _ = out.write_all(table::render(report).as_bytes());
    }
    Ok(())
}
