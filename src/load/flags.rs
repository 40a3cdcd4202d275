//! The flags of `tidegate load`.
use super::plan::{duration, span};
use clap::Args;
use std::{net::IpAddr, path::PathBuf, time::Duration};

/// Help headings, in the order in which the help shows them.
const USERS: &str = "Users";
const MESSAGES: &str = "Messages";
const CUTS: &str = "Lost connections";
const CONNECTIONS: &str = "Connections";
const REPORT: &str = "Report and requirements";
const KNEE: &str = "Search for the capacity of a server";

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
  tidegate load ws://127.0.0.1:8000/api/chat --chats 3 \\
      --cut-every 5s --duration 1m --require 'errors==0'
  tidegate load ws://127.0.0.1:8000/api/chat --sockets 2000 \\
      --cut-at 8s --require 'p99_resume_ms<=50'

Answers of the simulator (`tidegate demo`, or `serve` in front of `simulate`) are compared byte by byte;
with `stamp=1` in the prompt, the delivery time of each delta is measured (on one machine).
Figures for --require: p50, p90, p99, p999, max or mean, then _connect_ms, _first_delta_ms, _gap_ms,
_delivery_ms, _turn_ms, _stall_ms, _resume_ms, _replay_ms or _late_ms; and errors, errors_KIND, opened, open_max,
turns, turns_per_s, deltas, deltas_per_s, verified, cuts, resumes, no_active, restarts, replayed, cpu_us_per_delta, cores, rss_mib,
rss_kib_per_socket.

Exit codes: 0 success, 1 a requirement does not hold, an answer's text was wrong or the run was aborted,
64 command line, 69 the server cannot be reached, 73 a report cannot be written, 129, 130, 131 or 143
interrupted by SIGHUP, SIGINT, SIGQUIT or SIGTERM. The table is always printed.";

/// Puts load on a gateway and reports what its users experience.
#[derive(Args, Clone, Debug)]
pub struct Load {
    /// URL of the sockets (ws://HOST:PORT/PATH)
    pub url: String,

    /// Active sockets; with --rate, the maximum open at once [default: 100, with --rate 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=1_000_000), help_heading = USERS)]
    pub sockets: Option<u64>,

    /// Additional idle sockets
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1_000_000), help_heading = USERS)]
    pub idle: u64,

    /// Time over which the sockets are opened [default: one second for every 500]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = USERS)]
    pub ramp: Option<Duration>,

    /// Open model: users arrive at random at this rate, whether or not the server keeps up;
    /// times count from the planned arrival. Needs --duration
    #[arg(long, value_name = "PER_SECOND", requires = "duration", conflicts_with = "ramp", help_heading = USERS)]
    pub rate: Option<f64>,

    /// Messages on each socket [default: 1, or with --duration as many as fit, with --rate 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = USERS)]
    pub turns: Option<u64>,

    /// Pause between an answer and the next message, drawn from a range
    #[arg(long, value_name = "TIME[..TIME]", default_value = "0s", value_parser = span, help_heading = USERS)]
    pub think: (Duration, Duration),

    /// Message text; {socket} and {turn} are replaced by their numbers
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "/sim tokens=200 pace_ms=30 stamp=1 seed={socket}{turn}",
        conflicts_with = "prompts",
        help_heading = MESSAGES
    )]
    pub prompt: String,

    /// File with prompts to draw from: on each line a JSON string or an object with "prompt"
    #[arg(long, value_name = "FILE", help_heading = MESSAGES)]
    pub prompts: Option<PathBuf>,

    /// What answers are compared with: auto = the simulator's answer to `/sim` messages;
    /// echo = the message itself (model sim-echo); none
    #[arg(long, value_name = "auto|echo|none", default_value = "auto", value_parser = ["auto", "echo", "none"], help_heading = MESSAGES)]
    pub expect: String,

    /// How long messages are sent [default: until each socket has had its turns]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = USERS)]
    pub duration: Option<Duration>,

    /// Time at the beginning that is not measured
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration, help_heading = USERS)]
    pub warmup: Duration,

    /// How long answers that are running at the end of --duration may take to finish
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, help_heading = USERS)]
    pub grace: Duration,

    /// Dialect of the path [default: ai-sdk on /api/chat, else plain]; a URL without a path gets /chat or /api/chat
    #[arg(long, value_name = "plain|ai-sdk", value_parser = ["plain", "ai-sdk"], help_heading = MESSAGES)]
    pub dialect: Option<String>,

    /// Messages sent with each question in the AI SDK's dialect: the whole conversation, or only the last one
    #[arg(long, value_name = "whole|last", default_value = "last", value_parser = ["whole", "last"], help_heading = MESSAGES)]
    pub transcript: String,

    /// Conversations on each socket; the gateway limits frames per second and socket
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000), help_heading = MESSAGES)]
    pub chats: u64,

    /// Cut each socket during an answer about this long after it was opened, in turn by a reset, without and with a
    /// close frame; its user reconnects and resumes, every third time from the beginning
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "cut_at", help_heading = CUTS)]
    pub cut_every: Option<Duration>,

    /// Cut all sockets at this time of the run, once
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = CUTS)]
    pub cut_at: Option<Duration>,

    /// Time between a cut and the reconnect, drawn from a range
    #[arg(long, value_name = "TIME[..TIME]", default_value = "0s..1s", value_parser = span, help_heading = CUTS)]
    pub away: (Duration, Duration),

    /// Header of the handshake; repeatable
    #[arg(long = "header", value_name = "NAME: VALUE", help_heading = CONNECTIONS)]
    pub headers: Vec<String>,

    /// Cookie of the handshake (NAME=VALUE); repeatable
    #[arg(long = "cookie", value_name = "NAME=VALUE", help_heading = CONNECTIONS)]
    pub cookies: Vec<String>,

    /// Addresses of this machine to connect from, in turn: each allows about 28,000 sockets
    #[arg(long, value_name = "IP,…", value_delimiter = ',', help_heading = CONNECTIONS)]
    pub source: Vec<IpAddr>,

    /// Number of processes: for more sockets than one may open, or more cores than one can use
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64), help_heading = CONNECTIONS)]
    pub processes: u32,

    /// Limit for a connection and its handshake
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, help_heading = CONNECTIONS)]
    pub connect_timeout: Duration,

    /// An answer without new text for this long is an error
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration, help_heading = CONNECTIONS)]
    pub answer_timeout: Duration,

    /// An answer of unknown text is complete when nothing has arrived for this long
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration, help_heading = CONNECTIONS)]
    pub quiet: Duration,

    /// Seed of all random choices
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = USERS)]
    pub seed: u64,

    /// Process id of the server on this machine, to report its CPU and memory
    #[arg(long, value_name = "PID", conflicts_with = "metrics", help_heading = REPORT)]
    pub pid: Option<u32>,

    /// URL of the server's metrics, to report its CPU and memory (http://HOST:PORT/metrics)
    #[arg(long, value_name = "URL", help_heading = REPORT)]
    pub metrics: Option<String>,

    /// Write the report as JSON (- is standard output, without the table)
    #[arg(long, value_name = "FILE", help_heading = REPORT)]
    pub json: Option<PathBuf>,

    /// Write the report as a self-contained HTML page
    #[arg(long, value_name = "FILE", help_heading = REPORT)]
    pub html: Option<PathBuf>,

    /// Exit with 1 unless all of these hold, such as 'p99_delivery_ms<5' 'errors==0'
    #[arg(long, value_name = "FIGURE<N", num_args = 1.., help_heading = REPORT)]
    pub require: Vec<String>,

    /// Raise the number of sockets until this no longer holds, and report the highest number that passed;
    /// starts with --sockets
    #[arg(
        long,
        value_name = "FIGURE<N",
        num_args = 0..=1,
        default_missing_value = "p99_delivery_ms<50",
        conflicts_with_all = ["rate", "duration", "turns"],
        help_heading = KNEE
    )]
    pub find_knee: Option<String>,

    /// Maximum number of sockets tried by --find-knee, within the server's open file limit
    #[arg(long, value_name = "N", requires = "find_knee", value_parser = clap::value_parser!(u64).range(1..), help_heading = KNEE)]
    pub knee_max: Option<u64>,

    /// How long each number of sockets is measured by --find-knee
    #[arg(long, value_name = "TIME", default_value = "8s", value_parser = duration, help_heading = KNEE)]
    pub step: Duration,

    /// Share of the work of this process: K/N@START_NS
    #[arg(long, value_name = "SHARE", hide = true)]
    pub share: Option<String>,
}
