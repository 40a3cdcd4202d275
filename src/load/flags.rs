//! The flags of `tidegate load`.
use super::plan::{duration, span};
use clap::Args;
use std::{net::IpAddr, path::PathBuf, time::Duration};

/// Groups of flags, in the order in which the help shows them.
const USERS: &str = "Users";
const TALK: &str = "What they say";
const CUTS: &str = "Lost connections";
const CONNECTIONS: &str = "Connections";
const REPORT: &str = "Report and requirements";
const KNEE: &str = "Search for the most that a server holds";

pub(crate) const EXAMPLES: &str = "\
Examples:
  tidegate load ws://127.0.0.1:8000/chat --sockets 500
  tidegate load ws://127.0.0.1:8000/chat --sockets 5000 --ramp 30s \\
      --turns 3 --think 2s..8s \\
      --prompt '/sim tokens=200 pace_ms=30 stamp=1 seed={socket}{turn}'
  tidegate load ws://127.0.0.1:8000/chat --rate 50 --duration 1m \\
      --require 'p99_delivery_ms<5' 'errors==0'
  tidegate load ws://127.0.0.1:8000/chat --sockets 0 --idle 10000 \\
      --duration 1m --metrics http://127.0.0.1:8000/metrics
  tidegate load ws://127.0.0.1:8000/chat --find-knee --html knee.html
  tidegate load ws://127.0.0.1:8000/api/chat --dialect ai-sdk --chats 3 \\
      --cut-every 5s --duration 1m --require 'errors==0'
  tidegate load ws://127.0.0.1:8000/api/chat --dialect ai-sdk \\
      --sockets 2000 --cut-at 8s --require 'p99_resume_ms<=50'

Answers of the simulator (`tidegate demo`, or `serve` in front of `simulate`) are compared byte by byte;
`stamp=1` in the prompt lets the delivery of each delta be measured, on one machine.
Figures for --require: p50, p90, p99, p999, max or mean, then _connect_ms, _first_delta_ms, _gap_ms,
_delivery_ms, _turn_ms, _stall_ms, _resume_ms, _replay_ms or _late_ms; and errors, errors_KIND, opened, open_max,
turns, turns_per_s, deltas, deltas_per_s, verified, cuts, resumes, no_active, replayed, cpu_us_per_delta, cores, rss_mib,
rss_kib_per_socket.

Exit codes: 0 well, 1 a requirement does not hold, an answer's text was wrong or the run broke off,
64 command line, 69 the server cannot be reached, 73 a report cannot be written, 129, 130, 131 or 143
interrupted by SIGHUP, SIGINT, SIGQUIT or SIGTERM. The table is printed in any case.";

/// Puts load on a gateway and reports what its users feel.
#[derive(Args, Clone, Debug)]
pub struct Load {
    /// Where the sockets are opened (ws://HOST:PORT/PATH)
    pub url: String,

    /// Sockets that talk; with --rate, the most that are open at once [default: 100, with --rate 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=1_000_000), help_heading = USERS)]
    pub sockets: Option<u64>,

    /// Further sockets that only stay
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1_000_000), help_heading = USERS)]
    pub idle: u64,

    /// Time over which the sockets are opened [default: one second for every 500]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = USERS)]
    pub ramp: Option<Duration>,

    /// Open model: so many users come per second, at random, whether or not the server keeps up;
    /// times count from when a user meant to come. Needs --duration
    #[arg(long, value_name = "PER_SECOND", requires = "duration", conflicts_with = "ramp", help_heading = USERS)]
    pub rate: Option<f64>,

    /// Messages on each socket [default: 1, or with --duration as many as fit, with --rate 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = USERS)]
    pub turns: Option<u64>,

    /// Pause between an answer and the next message, drawn from a span
    #[arg(long, value_name = "TIME[..TIME]", default_value = "0s", value_parser = span, help_heading = USERS)]
    pub think: (Duration, Duration),

    /// What is said; {socket} and {turn} stand for their numbers
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "/sim tokens=200 pace_ms=30 stamp=1 seed={socket}{turn}",
        conflicts_with = "prompts",
        help_heading = TALK
    )]
    pub prompt: String,

    /// File with prompts to draw from: on each line a JSON string or an object with "prompt"
    #[arg(long, value_name = "FILE", help_heading = TALK)]
    pub prompts: Option<PathBuf>,

    /// What answers are compared with: auto = of `/sim` messages what the simulator would say;
    /// echo = the message itself (model sim-echo); none
    #[arg(long, value_name = "auto|echo|none", default_value = "auto", value_parser = ["auto", "echo", "none"], help_heading = TALK)]
    pub expect: String,

    /// How long messages are sent [default: until each socket had its turns]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = USERS)]
    pub duration: Option<Duration>,

    /// What comes before is not measured
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration, help_heading = USERS)]
    pub warmup: Duration,

    /// How long answers that are running at the end of --duration may take to finish
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, help_heading = USERS)]
    pub grace: Duration,

    /// The language of the path; where the URL has no path, it is /chat or /api/chat
    #[arg(long, value_name = "plain|ai-sdk", default_value = "plain", value_parser = ["plain", "ai-sdk"], help_heading = TALK)]
    pub dialect: String,

    /// What goes with each question in the AI SDK's dialect: the whole conversation, or its last message alone
    #[arg(long, value_name = "whole|last", default_value = "last", value_parser = ["whole", "last"], help_heading = TALK)]
    pub transcript: String,

    /// Conversations on each socket, each of a user of its own; the gateway bounds frames per second and socket
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000), help_heading = TALK)]
    pub chats: u64,

    /// Cut each socket in the middle of an answer about this long after it was opened, in turn by a reset, without and
    /// with a close frame; its user comes back and resumes, every third time from the beginning
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "cut_at", help_heading = CUTS)]
    pub cut_every: Option<Duration>,

    /// Cut all sockets at this time of the run, once
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = CUTS)]
    pub cut_at: Option<Duration>,

    /// How long a user is away after a cut, drawn from a span
    #[arg(long, value_name = "TIME[..TIME]", default_value = "0s..1s", value_parser = span, help_heading = CUTS)]
    pub away: (Duration, Duration),

    /// Header of the handshake; repeatable
    #[arg(long = "header", value_name = "NAME: VALUE", help_heading = CONNECTIONS)]
    pub headers: Vec<String>,

    /// Cookie of the handshake (NAME=VALUE); repeatable
    #[arg(long = "cookie", value_name = "NAME=VALUE", help_heading = CONNECTIONS)]
    pub cookies: Vec<String>,

    /// Addresses of this machine to connect from, in turn: one is good for about 28,000 sockets
    #[arg(long, value_name = "IP,…", value_delimiter = ',', help_heading = CONNECTIONS)]
    pub source: Vec<IpAddr>,

    /// Processes that share the work: more sockets than one may open, more cores than one can use
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64), help_heading = CONNECTIONS)]
    pub processes: u32,

    /// For a connection and its handshake
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, help_heading = CONNECTIONS)]
    pub connect_timeout: Duration,

    /// An answer that says nothing for so long is over, and an error
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration, help_heading = CONNECTIONS)]
    pub answer_timeout: Duration,

    /// An answer that nothing is known of is over when so long nothing more came
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration, help_heading = CONNECTIONS)]
    pub quiet: Duration,

    /// Of all that is drawn at random
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = USERS)]
    pub seed: u64,

    /// Process of the server on this machine: its CPU and memory are reported
    #[arg(long, value_name = "PID", conflicts_with = "metrics", help_heading = REPORT)]
    pub pid: Option<u32>,

    /// The server's metrics, for its CPU and memory (http://HOST:PORT/metrics)
    #[arg(long, value_name = "URL", help_heading = REPORT)]
    pub metrics: Option<String>,

    /// Write the report as JSON (- is standard output, without the table)
    #[arg(long, value_name = "FILE", help_heading = REPORT)]
    pub json: Option<PathBuf>,

    /// Write the report as a page that needs nothing else
    #[arg(long, value_name = "FILE", help_heading = REPORT)]
    pub html: Option<PathBuf>,

    /// Exit with 1 unless all of these hold, such as 'p99_delivery_ms<5' 'errors==0'
    #[arg(long, value_name = "FIGURE<N", num_args = 1.., help_heading = REPORT)]
    pub require: Vec<String>,

    /// Raise the number of sockets until this does not hold any more, and report the last good number;
    /// begins with --sockets
    #[arg(
        long,
        value_name = "FIGURE<N",
        num_args = 0..=1,
        default_missing_value = "p99_delivery_ms<50",
        conflicts_with_all = ["rate", "duration", "turns"],
        help_heading = KNEE
    )]
    pub find_knee: Option<String>,

    /// --find-knee goes no further than this, which leaves the server its descriptors
    #[arg(long, value_name = "N", requires = "find_knee", value_parser = clap::value_parser!(u64).range(1..), help_heading = KNEE)]
    pub knee_max: Option<u64>,

    /// How long each number of sockets is measured by --find-knee
    #[arg(long, value_name = "TIME", default_value = "8s", value_parser = duration, help_heading = KNEE)]
    pub step: Duration,

    /// Which share of the work this process has: K/N@START_NS
    #[arg(long, value_name = "SHARE", hide = true)]
    pub share: Option<String>,
}
