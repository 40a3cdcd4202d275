//! Finds how many sockets a server sustains: raises the number until a limit is violated.
use super::{
    measure::Measure,
    progress::Progress,
    report::{Knee, Level, Report},
    run,
    settings::{Search, Settings},
    table::number,
};
use crate::signals::Signals;
use std::{ffi::OsString, time::Duration};
use tokio::time::sleep;

/// Time from the last socket of a level to its measured window, so that the first answers have begun.
pub(super) const SETTLE: Duration = Duration::from_millis(1500);
/// Pause between two levels, so that the server can recover.
const REST: Duration = Duration::from_millis(500);
/// The search ends when the lowest failing level is at most this share above the highest passing one.
const NEAR: f64 = 0.1;
/// Maximum number of levels; doubling and bisection need fewer.
const LEVELS_MAX: usize = 24;

/// The next level, from the highest passing and the lowest failing one.
fn next(good: Option<u64>, bad: Option<u64>) -> Option<u64> {
    match (good, bad) {
        (None, None) => None,
        (Some(good), None) => Some(good * 2),
        (None, Some(bad)) => (bad > 1).then_some(bad / 2),
        (Some(good), Some(bad)) => {
            let far = (bad - good) as f64 > (good as f64 * NEAR).max(1.0);
            far.then_some(u64::midpoint(good, bad))
        }
    }
}

/// Searches and returns the report of the best level. The search ends early when the server is gone or can no
/// longer be sampled.
///
/// # Errors
/// As [`run::run`], if not even one level could be run.
pub(super) async fn find(
    settings: &Settings,
    Search { limit, step, most }: &Search,
    arguments: &[OsString],
    progress: &mut Progress,
    signals: &mut Signals,
) -> anyhow::Result<Report> {
    let mut knee = Knee { limit: limit.to_string(), levels: Vec::new(), good: None };
    let (mut bad, mut best) = (None, None::<Report>);
    let most = most.unwrap_or(u64::MAX);
    let mut sockets = Some(settings.active.clamp(1, most));
    while let Some(level) = sockets.filter(|_| knee.levels.len() < LEVELS_MAX) {
        let run = settings.level(level, *step, SETTLE);
        if let Err(why) = run.check_machine() {
            progress.note(&format!("no further: {why}"));
            break;
        }
        progress.stage(format!("{level} sockets · "));
        let report = match run::run(&run, Some(level), arguments, progress, signals).await {
            Err(why) if best.is_some() => {
                progress.note(&format!("no further: with {level} sockets, {why:#}"));
                break;
            }
            report => report?,
        };
        if let Some(why) = report.broken.as_ref().filter(|_| best.is_some()) {
            progress.note(&format!("no further: with {level} sockets, {why}"));
            break;
        }
        let value = report.figure(&limit.figure);
        let holds = limit.judge(value).holds && report.errors.total() == 0;
        let late_ms = report.time_ms("p99", Measure::Late).unwrap_or(0.0);
        progress.note(&format!(
            "{level} sockets: {} = {} {}",
            limit.figure,
            number(value),
            if holds { "holds" } else { "fails" }
        ));
        knee.levels.push(Level {
            sockets: level,
            value,
            deltas_per_s: report.figure("deltas_per_s").unwrap_or(0.0),
            cpu_us_per_delta: report.figure("cpu_us_per_delta"),
            late_ms,
            errors: report.errors.total(),
            holds,
        });
        let interrupted = report.interrupted.is_some() || report.broken.is_some();
        if holds && !interrupted {
            knee.good = Some(level);
        } else if !interrupted {
            bad = Some(level);
        }
        if holds || best.is_none() || knee.good.is_none() || interrupted {
            best = Some(report);
        }
        if interrupted {
            break;
        }
        if knee.good == Some(most) {
            progress.note(&format!("no further: --knee-max {most}"));
        }
        sockets = next(knee.good, bad).map(|level| level.min(most)).filter(|level| knee.good != Some(*level));
        sleep(REST).await;
    }
    let mut report = best.ok_or_else(|| anyhow::anyhow!("no level could be run"))?;
    report.knee = Some(knee);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The levels of a search on a server that sustains `holds` sockets, and the result.
    fn search(start: u64, holds: u64) -> (Vec<u64>, Option<u64>) {
        let (mut good, mut bad, mut levels) = (None, None, Vec::new());
        let mut level = Some(start);
        while let Some(sockets) = level {
            levels.push(sockets);
            if sockets <= holds {
                good = Some(sockets)
            } else {
                bad = Some(sockets)
            }
            level = next(good, bad);
            assert!(levels.len() <= LEVELS_MAX, "{levels:?}");
        }
        (levels, good)
    }

    #[test]
    fn the_knee_is_found_from_below_and_from_above() {
        assert_eq!(search(100, 750).0, [100, 200, 400, 800, 600, 700, 750]);
        for start in [1, 7, 100, 5000] {
            for holds in [1, 2, 30, 999, 12_345] {
                let found = search(start, holds).1.expect("a knee");
                assert!(
                    found <= holds && found as f64 >= holds as f64 * 0.89 - 1.0,
                    "{start} {holds}: {found}"
                );
            }
        }
        assert_eq!(search(100, 0).1, None);
    }
}
