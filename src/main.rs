//! The `tidegate` command: parses the command line, runs the command, and exits with its code.
use secrecy::SecretString;
use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    process::ExitCode,
    time::Duration,
};
use tidegate::{
    app::{Ended, Gateway, Machine, Settings, UpstreamProbe},
    cli::{self, Cli, Command, EXIT_USAGE},
    config::{self, Config, ConfigError, Environment, Flags, Process, Purpose},
    demo, descriptors,
    health::{self, Probe, UnknownPort},
    http::page,
    io_error::{CannotWrite, describe},
    listen::BindError,
    load, logging,
    runtime::block_on,
    signals::{Hangup, Signals},
    simulator::{self, Simulator, script::Spell},
    upstream::client::ClientBuildError,
};

// glibc's allocator does not return memory; with this one an idle socket costs a third less.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// `tidegate health`: the gateway is unhealthy.
const EXIT_UNHEALTHY: u8 = 1;
/// As in `sysexits.h`: the address cannot be bound.
const EXIT_UNAVAILABLE: u8 = 69;
/// As in `sysexits.h`: an internal error.
const EXIT_INTERNAL: u8 = 70;
/// Licences of Tidegate and of everything that it contains (`tests/third-party`).
const LICENSES: &str = concat!(include_str!("../LICENSE"), "\n", include_str!("third-party.txt"));
/// As in `sysexits.h`: a file cannot be written.
const EXIT_CANNOT_WRITE: u8 = 73;
/// How long to wait at exit for queued log lines; what is left is lost.
const FLUSH: Duration = Duration::from_millis(500);
/// Maximum bytes of a key file; a longer one is rejected.
const KEY_FILE_BYTES: u64 = 4096;

fn main() -> ExitCode {
    let cli = match cli::parse_from(std::env::args_os()) {
        Ok(cli) => cli,
        Err(exit) => {
            say(&exit.text, exit.code != 0);
            return ExitCode::from(exit.code);
        }
    };
    descriptors::raise_limit();
    let code = run(&cli);
    logging::flush(FLUSH);
    ExitCode::from(code)
}

fn run(cli: &Cli) -> u8 {
    let result = match &cli.command {
        Command::Load(flags) => Ok(load_tester(flags)),
        Command::Licenses => {
            say(LICENSES, false);
            Ok(Ok(0))
        }
        Command::Page(flags) => Ok(write_page(&flags.folder)),
        Command::Serve(common) => {
            read_config(Purpose::Serve, &common.into(), |config| config.check_for_serve().map(|()| config))
                .map(|config| serve(config, Vec::new()))
        }
        Command::Demo(common) => read_config(Purpose::Demo, &common.into(), demo::prepare)
            .map(|(config, simulators)| serve(config, simulators)),
        Command::Check(cli::Check { example: true, .. }) => {
            say(&config::example(), false);
            Ok(Ok(0))
        }
        Command::Check(flags) => {
            read_config(Purpose::Serve, &(&flags.common).into(), Ok).map(|config| check(&config, flags))
        }
        Command::Health(flags) => read_config(Purpose::Health, &(&flags.common).into(), Ok)
            .map(|config| health(&config, flags.ready)),
        Command::Simulate(flags) => simulate_settings(flags).map(simulate),
    };
    match result {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            say(&format!("tidegate: {error:#}\n"), true);
            exit_code(&error)
        }
        Err(text) => {
            say(&text, true);
            EXIT_USAGE
        }
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<BindError>() || error.is::<load::Unreachable>() {
        EXIT_UNAVAILABLE
    } else if error.is::<CannotWrite>() {
        EXIT_CANNOT_WRITE
    } else if error.is::<ClientBuildError>() || error.is::<load::UsageError>() || error.is::<UnknownPort>() {
        EXIT_USAGE
    } else {
        EXIT_INTERNAL
    }
}

/// Reads the configuration and derives what the command needs. The error contains all faults, ready to be printed.
fn read_config<T>(
    purpose: Purpose,
    flags: &Flags,
    prepare: impl FnOnce(Config) -> Result<T, ConfigError>,
) -> Result<T, String> {
    config::load_for(purpose, flags, &Process).and_then(prepare).map_err(|error| format!("{error}\n"))
}

/// Writes the embedded files of the page into a folder.
fn write_page(folder: &Path) -> anyhow::Result<u8> {
    let mut count = 0;
    for (name, bytes) in page::files() {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(|error| CannotWrite::new(parent, &error))?;
        fs::write(&path, bytes).map_err(|error| CannotWrite::new(&path, &error))?;
        count += 1;
    }
    say(&format!("{count} files written to {}\n", folder.display()), false);
    Ok(0)
}

/// Prints the values in effect, then everything that `serve` would reject or warn about.
fn check(config: &Config, flags: &cli::Check) -> anyhow::Result<u8> {
    let settings = Settings::new(config, Machine::here(), false);
    let mut out = Vec::new();
    if flags.all {
        config.print_effective(&mut out)?;
    } else {
        config.print_changed(&mut out)?;
    }
    for note in config.notes() {
        writeln!(out, "# {note}")?;
    }
    if config.memory.max == 0 {
        writeln!(out, "# memory.max on this machine: {}", settings.memory)?;
    }
    for warning in &settings.warnings {
        writeln!(out, "# {warning}")?;
    }
    say(&String::from_utf8_lossy(&out), false);
    for warning in config.warnings().into_iter().chain(config.open_to_strangers()) {
        say(&format!("warning: {warning}\n"), true);
    }
    let key = config.check_for_serve().map_err(|error| error.to_string());
    let (upstreams, client) = match settings.connect_upstreams() {
        Ok(upstreams) => (upstreams, None),
        Err(error) => (Vec::new(), Some(format!("tidegate: {error}"))),
    };
    let refusals: Vec<_> = [key.err(), client].into_iter().flatten().collect();
    for refusal in &refusals {
        say(&format!("{refusal}\n"), true);
    }
    let is_missing = refusals.is_empty() && flags.probe && {
        let probe = block_on(UpstreamProbe::ask(config, &upstreams))?;
        probe.lines.iter().for_each(|line| say(&format!("probe: {line}\n"), true));
        probe.is_missing
    };
    Ok(if refusals.is_empty() && !is_missing { 0 } else { EXIT_USAGE })
}

fn health(config: &Config, ready: bool) -> anyhow::Result<u8> {
    let probe = if ready { Probe::Ready } else { Probe::Live };
    let report = block_on(health::ask(config, probe))??;
    say(&format!("{}\n", report.line), !report.healthy);
    Ok(if report.healthy { 0 } else { EXIT_UNHEALTHY })
}

/// Runs the gateway; with settings for simulators, in front of its own.
fn serve(config: Config, simulators: Vec<simulator::Settings>) -> anyhow::Result<u8> {
    logging::init(config.log.format);
    block_on(async {
        let is_demo = !simulators.is_empty();
        let hangup = if is_demo { Hangup::Ends } else { Hangup::Logged };
        let mut signals = Signals::new(hangup)?;
        let simulators: Vec<Simulator> =
            simulators.into_iter().map(simulator::start).collect::<anyhow::Result<_>>()?;
        let config = if is_demo {
            let addresses: Vec<_> = simulators.iter().map(|simulator| simulator.addr).collect();
            demo::in_front_of(config, &addresses)?
        } else {
            config
        };
        let settings = Settings::new(&config, Machine::here(), is_demo);
        let warnings = settings.warnings.clone();
        let gateway = Gateway::start(settings).await?;
        announce(&config, &gateway, is_demo);
        drop(config); // Up to 64 upstreams and 256 models, which are in use in other forms.
        for warning in warnings {
            log::warn!("{warning}");
        }
        let code = until_stopped(gateway, &mut signals).await;
        for simulator in simulators {
            simulator.stop().await;
        }
        Ok(code)
    })?
}

fn announce(config: &Config, gateway: &Gateway, simulated: bool) {
    announce_upstreams(config, gateway.address);
    log::info!("memory.max is {}", gateway.app_state().memory.limit());
    for warning in config.warnings() {
        log::warn!("{warning}");
    }
    if simulated {
        log::warn!("DEMO: the answers are simulated, no model is asked");
        if !config.ignored.is_empty() {
            let names: Vec<_> = config.ignored.iter().map(ToString::to_string).collect();
            log::warn!("ignored, since no model is asked: {}", names.join(", "));
        }
        say(&demo::invitation(gateway.address), false);
    } else if let Some(warning) = config.open_to_strangers() {
        log::warn!("{warning}");
    }
    if let Some(note) = config.without_a_name() {
        log::info!("{note}");
    }
    if let Some(address) = gateway.ops_address {
        log::info!("health and metrics on http://{address}");
    }
}

fn announce_upstreams(config: &Config, address: SocketAddr) {
    let (models, upstreams) = (config.models_in_use(), config.upstreams_in_use());
    let key = |upstream: &config::Upstream| if upstream.api_key.is_some() { "set" } else { "none" };
    let host = |upstream: &config::Upstream| upstream.base_url.host_str().unwrap_or_default().to_owned();
    let model = models.get(config.default_model()).map(|model| model.name);
    let sole = upstreams.first().filter(|_| upstreams.len() == 1).map(|(_, upstream)| upstream);
    log::info!(
        model,
        models = Some(models.len()).filter(|count| *count > 1),
        upstream = sole.map(|upstream| host(upstream)),
        upstreams = Some(upstreams.len()).filter(|_| sole.is_none()),
        key = sole.map(|upstream| key(upstream));
        "tidegate {} listens on http://{}",
        env!("CARGO_PKG_VERSION"),
        address
    );
    for (name, upstream) in upstreams.iter().filter(|_| sole.is_none()) {
        let name = name.map_or(config::DEFAULT_NAME, |name| name.as_str());
        log::info!(upstream = name, host = host(upstream), key = key(upstream); "an upstream");
    }
}

/// Runs until a signal or a fatal error.
async fn until_stopped(gateway: Gateway, signals: &mut Signals) -> u8 {
    let first = tokio::select! {
        number = signals.next() => number,
        why = gateway.broken() => {
            log::error!("cannot go on: {why}");
            return EXIT_INTERNAL;
        }
    };
    let mut second = 0;
    let ended = gateway.stop(async { second = signals.next().await }).await;
    match ended {
        Ended::Drained | Ended::GraceOver(_) => 0,
        Ended::Hurried(_) => 128 + if second == 0 { first } else { second },
    }
}

fn simulate_settings(flags: &cli::Simulate) -> Result<simulator::Settings, String> {
    let api_key = flags.api_key_file.as_deref().map(read_key).transpose()?;
    Ok(simulator::Settings {
        listen: flags.listen,
        api_key,
        workers: flags.workers.map_or_else(|| Machine::here().cores, usize::from),
        pace: Duration::from_millis(flags.pace_ms.unwrap_or(25)),
        first: Duration::from_millis(flags.first_ms.unwrap_or(250)),
        spell: Spell::find(&flags.spell)
            .ok_or_else(|| format!("tidegate: --spell {:?}: one of {}\n", flags.spell, Spell::names()))?,
        name: flags.name.clone(),
        runs_max: flags.runs_max,
        loads_for: Duration::from_millis(flags.load_ms),
    })
}

fn read_key(path: &Path) -> Result<SecretString, String> {
    let fault = |what: &str| format!("tidegate: --api-key-file {}: {what}\n", path.display());
    let bytes = Process.read(path, KEY_FILE_BYTES).map_err(|error| fault(&describe(&error)))?;
    let text = String::from_utf8(bytes).map_err(|_| fault("is not text"))?;
    match text.trim() {
        "" => Err(fault("is empty")),
        key => Ok(SecretString::from(key)),
    }
}

fn load_tester(flags: &load::Load) -> anyhow::Result<u8> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    load::run(flags, &arguments)
}

fn simulate(settings: simulator::Settings) -> anyhow::Result<u8> {
    logging::init(logging::Format::Plain);
    block_on(async {
        let mut signals = Signals::new(Hangup::Ends)?;
        let simulator = simulator::start(settings)?;
        let address = simulator.addr;
        log::info!(
            "simulator listens: base URL http://{address}/api/v1, for chat completions http://{address}/v1"
        );
        signals.next().await;
        Simulator::stop(simulator).await;
        Ok(0)
    })?
}

/// Writes to standard output. A closed pipe is not an error.
fn say(text: &str, error: bool) {
    let _ =
        if error { io::stderr().write_all(text.as_bytes()) } else { io::stdout().write_all(text.as_bytes()) };
}
