//! The command line: commands, flags, and the reaction to mistakes.
use crate::{config::Flags, load};
use clap::{Args, Parser, Subcommand, error::ErrorKind};
use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

/// Exit code of a wrong command line or configuration, as in `sysexits.h`.
pub const EXIT_USAGE: u8 = 64;

/// Lets many browsers chat with one large language model over WebSockets.
#[derive(Clone, Debug, Parser)]
#[command(name = "tidegate", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  tidegate demo                                 try it, with nothing to set up
  API_KEY_FILE=/run/secrets/key tidegate serve  serve DashScope's models
  tidegate check                                see whether `serve` would start
  tidegate load ws://127.0.0.1:8000/chat        see what a gateway can hold

Every key of the configuration can be set by a flag (--set KEY=VALUE), by an environment variable
(TIDEGATE_ + the key in upper case, `__` for the dot) or in tidegate.toml, in this order.
RUST_LOG chooses what is logged.";

/// The command to run.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the gateway
    #[command(after_help = "\
Examples:
  API_KEY=… tidegate serve
  API_KEY_FILE=/run/secrets/key tidegate serve --listen 0.0.0.0:8000
  API_KEY=… tidegate serve --model qwen-max
  tidegate serve --set connection.write_timeout=20s --set dispatch.runs_max=500")]
    Serve(Common),

    /// Run everything on this machine, with simulated answers and without a key
    #[command(after_help = "\
Examples:
  tidegate demo
  tidegate demo --listen 127.0.0.1:9000
  tidegate demo --model sim-think

Models: sim-chat, sim-think (thinks first), sim-echo (repeats). Key, model and address of a real service in
environment and file are ignored.")]
    Demo(Common),

    /// Run only the simulated model service, for load tests and offline work
    #[command(after_help = "\
Examples:
  tidegate simulate
  tidegate simulate --listen 127.0.0.1:8100 --pace-ms 33 --workers 1
  TIDEGATE_BASE_URL=http://127.0.0.1:8100/api/v1 API_KEY=test tidegate serve
  tidegate simulate --name B --spell vllm
  TIDEGATE_UPSTREAM__SERVICE=vllm TIDEGATE_BASE_URL=http://127.0.0.1:8100/v1 \\
      tidegate serve

It speaks DashScope's dialect below /api/v1 and chat completions below /v1.")]
    Simulate(Simulate),

    /// Check the configuration: print what is in effect, and everything that `serve` would reject
    #[command(after_help = "\
Examples:
  tidegate check
  tidegate check --all --set log.format=json
  tidegate check --config /etc/tidegate/tidegate.toml
  tidegate check --probe
  tidegate check --example >tidegate.toml

Secrets are shown as (set) or (not set). Exit code 64 when `serve` would not start.")]
    Check(Check),

    /// Check the health of a running gateway, for containers and scripts
    #[command(after_help = "\
Examples:
  tidegate health
  tidegate health --ready --config /etc/tidegate/tidegate.toml

Reads the same configuration as the gateway (but no key) to find its address. Exit codes: 0 well,
1 not, or no answer within two seconds, 64 configuration.")]
    Health(Health),

    /// Write the page's files into a folder, for nginx to serve
    #[command(after_help = "\
Examples:
  tidegate page /srv/tidegate

They belong to this very program: write them anew with every release. nginx/page.conf serves them.")]
    Page(Page),

    /// Print the licences of Tidegate and of everything that the program contains
    Licenses,

    /// Put load on a gateway and report what its users experience
    #[command(after_help = load::flags::EXAMPLES)]
    Load(Box<load::Load>),
}

/// Flags about the configuration. Values are read with all other layers, so that all faults are reported at once.
#[derive(Args, Clone, Debug, Default)]
pub struct Common {
    /// Configuration file [default: tidegate.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Sets any key but secrets; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Where browsers connect (server.listen)
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<String>,

    /// Base URL of the model service (upstream.base_url)
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,

    /// The model that answers (upstream.model)
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,

    /// Format of log lines (log.format)
    #[arg(long, value_name = "plain|json")]
    pub log_format: Option<String>,
}

impl From<&Common> for Flags {
    fn from(common: &Common) -> Flags {
        let named = [
            ("--listen", "server.listen", &common.listen),
            ("--base-url", "upstream.base_url", &common.base_url),
            ("--model", "upstream.model", &common.model),
            ("--log-format", "log.format", &common.log_format),
        ];
        let given = named.into_iter().filter_map(|(flag, key, value)| Some((flag, key, value.clone()?)));
        Flags { config: common.config.clone(), set: common.set.clone(), named: given.collect() }
    }
}

/// Selects the output.
#[derive(Args, Clone, Debug)]
pub struct Check {
    /// Print every key, not only those that are not at their defaults
    #[arg(long)]
    pub all: bool,

    /// Print a configuration file with every key, explained and at its default; reads nothing
    #[arg(long, exclusive = true)]
    pub example: bool,

    /// Also ask each upstream for its list of models, with each of its keys, and say what is missing; no model is asked
    #[arg(long)]
    pub probe: bool,

    #[command(flatten)]
    pub common: Common,
}

/// Selects the probe and the gateway.
#[derive(Args, Clone, Debug)]
pub struct Health {
    /// Check whether it accepts new sockets (/readyz), not only whether it is alive (/livez)
    #[arg(long)]
    pub ready: bool,

    #[command(flatten)]
    pub common: Common,
}

/// The destination of the page.
#[derive(Args, Clone, Debug)]
pub struct Page {
    /// The folder; it is created if necessary, and files with the same names are replaced
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}

/// Flags of the simulated service.
#[derive(Args, Clone, Debug)]
pub struct Simulate {
    /// Address to listen on
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8100")]
    pub listen: SocketAddr,

    /// Pause between two parts of an answer, in milliseconds
    #[arg(long, value_name = "MS")]
    pub pace_ms: Option<u64>,

    /// Pause before the first part of an answer, in milliseconds
    #[arg(long, value_name = "MS")]
    pub first_ms: Option<u64>,

    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub workers: Option<u16>,

    /// File with the only key to accept [default: any key is accepted]
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,

    /// Name of this simulator, for faults at one of several (`/sim at=NAME …`)
    #[arg(long, value_name = "NAME", default_value = "")]
    pub name: String,

    /// Spelling of the chat dialect: plain, or that of an engine (docs/SIMULATOR.md)
    #[arg(long, value_name = "NAME", default_value = "plain")]
    pub spell: String,

    /// Requests in progress at once, beyond which more are refused [default: no bound]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub runs_max: u64,

    /// Milliseconds after the start in which the model is being loaded
    #[arg(long, value_name = "MS", default_value_t = 0, hide_default_value = true)]
    pub load_ms: u64,
}

/// A command line that runs nothing: a text to print, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliExit {
    /// 0 for help and version, else [`EXIT_USAGE`].
    pub code: u8,
    /// Ends with a line break. For standard output if the code is 0, otherwise for standard error.
    pub text: String,
}

/// Parses a command line that begins with the program's name.
///
/// # Errors
/// Help, version, and every invalid command line.
pub fn parse_from<I, T>(args: I) -> Result<Cli, CliExit>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    Cli::try_parse_from(args).map_err(|error| {
        let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        CliExit { code: if asked { 0 } else { EXIT_USAGE }, text: error.render().to_string() }
    })
}

#[cfg(test)]
mod tests;
