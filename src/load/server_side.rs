//! CPU and memory of the server's process, from /proc or from its metrics endpoint.
use anyhow::{Context as _, bail, ensure};
use std::{collections::HashMap, fs, time::Duration};
use url::Url;

/// Time and size limits of a metrics response; beyond them the run is aborted.
const METRICS_TIMEOUT: Duration = Duration::from_secs(2);
const METRICS_MAX: usize = 4 << 20;
/// Maximum number of processes of a server that are sampled.
const FAMILY_MAX: usize = 256;

/// Source of the server's figures.
pub(crate) enum ProcessSource {
    Process { pid: u32, threads: HashMap<String, u64>, ended_ns: u64 },
    Metrics { url: Url, client: awc::Client },
}

/// One sample of the server's process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ProcessSample {
    /// CPU time since the process began, in nanoseconds.
    pub(crate) cpu_ns: u64,
    pub(crate) rss: u64,
}

impl ProcessSource {
    pub(crate) fn process(pid: u32) -> Self {
        ProcessSource::Process { pid, threads: HashMap::new(), ended_ns: 0 }
    }

    pub(crate) fn metrics(url: Url) -> Self {
        ProcessSource::Metrics { url, client: awc::Client::builder().timeout(METRICS_TIMEOUT).finish() }
    }

    /// # Errors
    /// The source that cannot be read.
    pub(crate) async fn sample(&mut self) -> anyhow::Result<ProcessSample> {
        match self {
            ProcessSource::Process { pid, threads, ended_ns } => {
                let family = family(*pid);
                let cpu_ns = cpu_ns(&family, threads, ended_ns)?;
                // A child may exit between listing and reading; the named process may not.
                let rss = settled_rss(*pid)?
                    + family[1..].iter().filter_map(|pid| settled_rss(*pid).ok()).sum::<u64>();
                Ok(ProcessSample { cpu_ns, rss })
            }
            ProcessSource::Metrics { url, client } => {
                let mut answer = match client.get(url.as_str()).send().await {
                    Ok(answer) => answer,
                    Err(error) => bail!("{url}: {error}"),
                };
                ensure!(answer.status().is_success(), "{url} answered {}", answer.status());
                let body = answer.body().limit(METRICS_MAX).await.with_context(|| url.to_string())?;
                parse_metrics(&String::from_utf8_lossy(&body)).with_context(|| {
                    format!("{url} has no process_cpu_seconds_total and process_resident_memory_bytes")
                })
            }
        }
    }
}

/// The two metrics that most servers export under these names.
fn parse_metrics(text: &str) -> Option<ProcessSample> {
    let value = |name: &str| {
        let found = text.lines().find_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        found.filter(|value| value.is_finite() && *value >= 0.0)
    };
    let cpu = value("process_cpu_seconds_total")?;
    let rss = value("process_resident_memory_bytes")?;
    Some(ProcessSample { cpu_ns: (cpu * 1e9) as u64, rss: rss as u64 })
}

/// The process and its descendants: some servers run one process per core.
fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied().filter(|_| family.len() < FAMILY_MAX) {
        next += 1;
        let Ok(tasks) = fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    family
}

/// Exact CPU time by thread; the time of threads that have ended since is kept.
fn cpu_ns(pids: &[u32], threads: &mut HashMap<String, u64>, ended_ns: &mut u64) -> anyhow::Result<u64> {
    let mut now = HashMap::new();
    for (place, pid) in pids.iter().enumerate() {
        let tasks = match fs::read_dir(format!("/proc/{pid}/task")) {
            Ok(tasks) => tasks,
            Err(error) if place == 0 => return Err(error).with_context(|| format!("no process {pid}")),
            Err(_) => continue,
        };
        for entry in tasks.flatten() {
            // A thread may exit between listing and reading.
            let Ok(times) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let ran = times.split(' ').next().and_then(|ran| ran.parse().ok()).context("schedstat is odd")?;
            now.insert(entry.file_name().to_string_lossy().into_owned(), ran);
        }
    }
    *ended_ns +=
        threads.iter().filter(|(thread, _)| !now.contains_key(*thread)).map(|(_, ran)| ran).sum::<u64>();
    *threads = now;
    Ok(*ended_ns + threads.values().sum::<u64>())
}

/// From the page tables where permitted; the kernel's own counter lags behind.
fn settled_rss(pid: u32) -> anyhow::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok();
    let exact = rollup.and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    match exact {
        Some(kilobytes) => Ok(kilobytes << 10),
        None => resident_bytes(&pid.to_string()).with_context(|| format!("no process {pid}")),
    }
}

/// Resident memory of a process by the kernel's counter; `self` is this process.
pub(crate) fn resident_bytes(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// The open file limit of a process, where it can be read.
pub(crate) fn open_files_max(pid: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_any_server_are_read() {
        let text = "# TYPE process_cpu_seconds counter\nprocess_cpu_seconds_total 1.5\n\
                    process_resident_memory_bytes{a=\"b c\"} 2048\n";
        assert_eq!(parse_metrics(text), Some(ProcessSample { cpu_ns: 1_500_000_000, rss: 2048 }));
        assert_eq!(parse_metrics("process_cpu_seconds_total 1\n"), None);
        assert_eq!(parse_metrics("process_cpu_seconds_totally 1\nprocess_resident_memory_bytes 1\n"), None);
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let (mut threads, mut ended) = (HashMap::new(), 0);
        let own = family(std::process::id());
        let first = cpu_ns(&own, &mut threads, &mut ended).expect("CPU");
        assert!(first > 0 && cpu_ns(&own, &mut threads, &mut ended).expect("CPU") >= first);
        assert!(settled_rss(std::process::id()).expect("memory") > 1 << 20);
        assert!(
            resident_bytes("self").expect("memory") > 1 << 20 && open_files_max(std::process::id()) > Some(0)
        );
        assert!(cpu_ns(&[u32::MAX], &mut threads, &mut ended).is_err());
    }
}
