//! Settings of a run, validated before the first socket is opened.
use super::{
    cuts,
    dialect::Dialect,
    flags::Load,
    plan::{self, Arrivals},
    report,
    require::Requirement,
};
use crate::io_error::describe;
use rustix::process::{Resource, getrlimit};
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};
use url::Url;

/// File descriptors reserved for everything but sockets: epoll, pipes, reports.
const DESCRIPTORS_ASIDE: u64 = 64;
/// Sockets opened per second by default.
const RAMP_RATE: f64 = 500.0;
/// Shortest default ramp, in seconds.
const RAMP_MIN: f64 = 0.2;
/// Default number of active sockets; the second applies to the open model (`--rate`).
const SOCKETS: u64 = 100;
const SOCKETS_OPEN_MODEL: u64 = 10_000;
/// How long idle sockets stay open by default.
const IDLE_STAY: Duration = Duration::from_secs(10);
/// Where the kernel publishes the range of local ports.
const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// Maximum size of a prompt file, in bytes; a larger file is rejected.
const PROMPTS_MAX: u64 = 64 << 20;

/// What answers are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Auto,
    Echo,
    Nothing,
}

/// Where the sockets are opened.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Value of the `Host` header.
    pub(crate) authority: String,
    pub(crate) path: String,
}

/// A search for the knee.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    pub(crate) limit: Requirement,
    /// Measured time per level.
    pub(crate) step: Duration,
    /// The highest level.
    pub(crate) most: Option<u64>,
}

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) url: String,
    pub(crate) target: Target,
    pub(crate) dialect: Dialect,
    /// Conversations on each active socket.
    pub(crate) chats: u64,
    pub(crate) cut: cuts::When,
    /// How long a user is away after a cut.
    pub(crate) away: (Duration, Duration),
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) sources: Vec<IpAddr>,
    pub(crate) arrivals: Arrivals,
    pub(crate) active: u64,
    pub(crate) idle: u64,
    /// Maximum open at once, in all processes together.
    pub(crate) sockets_max: u64,
    /// `None`: as many as fit into the duration.
    pub(crate) turns: Option<u64>,
    pub(crate) think: (Duration, Duration),
    pub(crate) prompts: Vec<String>,
    pub(crate) expect: Expect,
    pub(crate) duration: Option<Duration>,
    pub(crate) warmup: Duration,
    pub(crate) grace: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) answer_timeout: Duration,
    pub(crate) quiet: Duration,
    pub(crate) seed: u64,
    pub(crate) processes: u32,
    pub(crate) pid: Option<u32>,
    pub(crate) metrics: Option<Url>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) html: Option<PathBuf>,
    pub(crate) requirements: Vec<Requirement>,
    /// Set by `--find-knee`.
    pub(crate) knee: Option<Search>,
}

impl Settings {
    /// Validates flags.
    ///
    /// # Errors
    /// A sentence that says how to correct the flags.
    pub(crate) fn new(flags: &Load) -> Result<Settings, String> {
        let (dialect, cut) = (dialect(flags)?, cut(flags)?);
        let target = target(&flags.url, dialect)?;
        let is_open = flags.rate.is_some();
        let active = flags.sockets.unwrap_or(if is_open { SOCKETS_OPEN_MODEL } else { SOCKETS });
        let all = active + flags.idle;
        if all == 0 {
            return Err("no sockets: give --sockets or --idle".to_owned());
        }
        let ramp = flags.ramp.unwrap_or_else(|| ramp(all));
        let ramp = if is_open { self::ramp(flags.idle) } else { ramp };
        let only_idle = active == 0;
        let duration = flags.duration.or(only_idle.then(|| ramp + IDLE_STAY));
        if duration.is_some_and(|duration| duration <= flags.warmup) {
            return Err("--warmup leaves nothing of --duration to measure".to_owned());
        }
        if flags.cut_at.zip(duration).is_some_and(|(at, duration)| at >= duration) {
            return Err("--cut-at is not before the end of --duration, so nothing would be cut".to_owned());
        }
        let arrivals = match flags.rate {
            Some(rate) if !(rate > 0.0 && rate <= 1e6) => {
                return Err(format!("--rate {rate} is not between 0 and 1000000 per second"));
            }
            Some(rate) => {
                Arrivals::Open { idle: flags.idle, over: ramp, rate, until: duration.unwrap_or_default() }
            }
            None => Arrivals::Ramp { active, idle: flags.idle, over: ramp },
        };
        let known = report::figures();
        let requirement = |text: &String| Requirement::parse(text, &known);
        let limit = flags.find_knee.as_ref().map(requirement).transpose()?;
        let knee = limit.map(|limit| Search { limit, step: flags.step, most: flags.knee_max });
        let settings = Settings {
            url: flags.url.clone(),
            target,
            dialect,
            chats: flags.chats,
            cut,
            away: flags.away,
            headers: headers(flags)?,
            sources: flags.source.clone(),
            arrivals,
            active,
            idle: flags.idle,
            sockets_max: all,
            turns: flags.turns.or((is_open || flags.duration.is_none()).then_some(1)),
            think: flags.think,
            prompts: prompts(flags)?,
            expect: match flags.expect.as_str() {
                "echo" => Expect::Echo,
                "none" => Expect::Nothing,
                _ => Expect::Auto,
            },
            duration,
            warmup: flags.warmup,
            grace: flags.grace,
            connect_timeout: flags.connect_timeout,
            answer_timeout: flags.answer_timeout,
            quiet: flags.quiet,
            seed: flags.seed,
            processes: flags.processes,
            pid: flags.pid,
            metrics: flags.metrics.as_deref().map(metrics_url).transpose()?,
            json: flags.json.clone(),
            html: flags.html.clone(),
            requirements: flags.require.iter().map(requirement).collect::<Result<_, _>>()?,
            knee,
        };
        settings.check_machine()?;
        Ok(settings)
    }

    /// The same settings with another number of active sockets.
    pub(crate) fn level(&self, active: u64, step: Duration, settle: Duration) -> Settings {
        let all = active + self.idle;
        let ramp = ramp(all);
        let warmup = ramp + settle;
        Settings {
            arrivals: Arrivals::Ramp { active, idle: self.idle, over: ramp },
            active,
            sockets_max: all,
            turns: None,
            warmup,
            duration: Some(warmup + step),
            grace: Duration::ZERO,
            ..self.clone()
        }
    }

    /// Checks before the run that this machine's limits allow the number of sockets.
    pub(crate) fn check_machine(&self) -> Result<(), String> {
        let processes = u64::from(self.processes);
        // After a cut, the old and the new socket can be open at the same time.
        let each = if self.cut == cuts::When::Never { 1 } else { 2 };
        let need = (each * self.sockets_max).div_ceil(processes) + DESCRIPTORS_ASIDE;
        let may = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        if need > may {
            let enough = (each * self.sockets_max).div_ceil(may.saturating_sub(DESCRIPTORS_ASIDE).max(1));
            return Err(format!(
                "{} sockets need {need} open files in each of {processes} processes, and {may} are allowed: \
                 raise the hard limit (as root: ulimit -Hn {need}; ulimit -n {need}), or use --processes {enough}",
                self.sockets_max
            ));
        }
        let Some(ports) = std::fs::read_to_string(PORT_RANGE).ok().and_then(|range| {
            let mut ends = range.split_whitespace().map(str::parse::<u64>);
            let (from, to) = (ends.next()?.ok()?, ends.next()?.ok()?);
            Some(to.saturating_sub(from) + 1)
        }) else {
            return Ok(());
        };
        let sources = self.sources.len().max(1) as u64;
        if self.sockets_max > ports * sources {
            let wanted = self.sockets_max.div_ceil(ports);
            return Err(format!(
                "{} sockets need {wanted} source addresses, since each has {ports} ports: \
                 give as many to --source, such as 127.0.0.2,127.0.0.3",
                self.sockets_max
            ));
        }
        Ok(())
    }
}

/// Default time over which this number of sockets is opened.
fn ramp(sockets: u64) -> Duration {
    Duration::from_secs_f64((sockets as f64 / RAMP_RATE).max(RAMP_MIN))
}

fn dialect(flags: &Load) -> Result<Dialect, String> {
    let path = Url::parse(&flags.url).map(|url| url.path().to_owned()).unwrap_or_default();
    let ai_sdk = Dialect::AiSdk { whole: flags.transcript == "whole" };
    // The paths of Tidegate have one dialect each; another gateway may use any.
    match (flags.dialect.as_deref(), path.as_str()) {
        (Some("plain"), "/api/chat") => {
            return Err("/api/chat has the dialect of the AI SDK: leave out --dialect plain".to_owned());
        }
        (Some("ai-sdk"), "/chat") => {
            return Err(
                "/chat has the plain dialect: use /api/chat, or leave out --dialect ai-sdk".to_owned()
            );
        }
        (Some("ai-sdk"), _) | (None, "/api/chat") => return Ok(ai_sdk),
        _ => {}
    }
    let only = |flag: &str| {
        Err(format!("{flag} needs /api/chat or --dialect ai-sdk: a plain conversation ends with its socket"))
    };
    match flags {
        Load { chats: 2.., .. } => only("--chats"),
        Load { cut_every: Some(_), .. } => only("--cut-every"),
        Load { cut_at: Some(_), .. } => only("--cut-at"),
        _ => Ok(Dialect::Plain),
    }
}

fn cut(flags: &Load) -> Result<cuts::When, String> {
    match (flags.cut_every, flags.cut_at) {
        (Some(Duration::ZERO), _) => Err("--cut-every 0 leaves no time to answer".to_owned()),
        (Some(pause), _) => Ok(cuts::When::Every(pause)),
        (None, Some(at)) => Ok(cuts::When::At(at)),
        (None, None) => Ok(cuts::When::Never),
    }
}

fn target(text: &str, dialect: Dialect) -> Result<Target, String> {
    let url = Url::parse(text)
        .map_err(|error| format!("{text:?} is not a URL such as ws://127.0.0.1:8000/chat: {error}"))?;
    match url.scheme() {
        "ws" => {}
        "wss" => {
            return Err(
                "wss is not supported: connect to the gateway behind its TLS terminator, by ws://".to_owned()
            );
        }
        other => return Err(format!("{text:?} begins with {other}://, not with ws://")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL contains a user name or a password: use --header".to_owned());
    }
    let addresses = url.socket_addrs(|| None).map_err(|error| format!("{text}: {error}"))?;
    let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    let address = *first.ok_or_else(|| format!("{text}: the name has no address"))?;
    let path = match &url[url::Position::BeforePath..url::Position::AfterQuery] {
        "/" => dialect.path(),
        path => path,
    }
    .to_owned();
    Ok(Target {
        address,
        authority: url[url::Position::BeforeHost..url::Position::AfterPort].to_owned(),
        path,
    })
}

fn headers(flags: &Load) -> Result<Vec<(String, String)>, String> {
    let is_token = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_!#$%&'*+.^`|~".contains(&byte))
    };
    let is_value = |value: &str| value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
    let mut headers = Vec::new();
    for header in &flags.headers {
        let (name, value) =
            header.split_once(':').ok_or_else(|| format!("--header {header:?} has no colon"))?;
        let (name, value) = (name.trim(), value.trim());
        if !is_token(name) || !is_value(value) {
            return Err(format!("--header {header:?} is not valid in a request"));
        }
        headers.push((name.to_owned(), value.to_owned()));
    }
    if !flags.cookies.is_empty() {
        let cookies = flags.cookies.join("; ");
        if !is_value(&cookies) {
            return Err("a --cookie is not valid in a request".to_owned());
        }
        headers.push(("Cookie".to_owned(), cookies));
    }
    Ok(headers)
}

fn prompts(flags: &Load) -> Result<Vec<String>, String> {
    let Some(path) = &flags.prompts else { return Ok(vec![flags.prompt.clone()]) };
    let failure = |what: String| format!("--prompts {}: {what}", path.display());
    let size = std::fs::metadata(path).map_err(|error| failure(describe(&error)))?.len();
    if size > PROMPTS_MAX {
        return Err(failure(format!("is larger than {PROMPTS_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failure(describe(&error)))?;
    plan::prompts(&text).map_err(failure)
}

fn metrics_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("--metrics {text:?}: {error}"))?;
    if url.scheme() == "http" {
        Ok(url)
    } else {
        Err(format!("--metrics {text:?} does not begin with http://"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        load: Load,
    }

    fn settings(arguments: &str) -> Result<(Dialect, String), String> {
        let words = std::iter::once("load").chain(arguments.split(' '));
        let settings = Settings::new(&Command::try_parse_from(words).expect(arguments).load)?;
        Ok((settings.dialect, settings.target.path))
    }

    #[test]
    fn the_dialect_follows_from_the_path() {
        let ai_sdk = Dialect::AiSdk { whole: false };
        for (arguments, dialect, path) in [
            ("ws://127.0.0.1:1", Dialect::Plain, "/chat"),
            ("ws://127.0.0.1:1/chat", Dialect::Plain, "/chat"),
            ("ws://127.0.0.1:1/other", Dialect::Plain, "/other"),
            ("ws://127.0.0.1:1/api/chat", ai_sdk, "/api/chat"),
            ("ws://127.0.0.1:1/api/chat?a=b --chats 2", ai_sdk, "/api/chat?a=b"),
            ("ws://127.0.0.1:1 --dialect ai-sdk", ai_sdk, "/api/chat"),
            ("ws://127.0.0.1:1/other --dialect ai-sdk", ai_sdk, "/other"),
        ] {
            assert_eq!(settings(arguments), Ok((dialect, path.to_owned())), "{arguments}");
        }
        for (arguments, advice) in [
            ("ws://127.0.0.1:1/api/chat --dialect plain", "leave out --dialect plain"),
            ("ws://127.0.0.1:1/chat --dialect ai-sdk", "use /api/chat"),
            ("ws://127.0.0.1:1/chat --chats 2", "--chats needs /api/chat"),
        ] {
            let error = settings(arguments).expect_err(arguments);
            assert!(error.contains(advice), "{arguments}: {error}");
        }
    }
}
