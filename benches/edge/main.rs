//! Measures a gateway from outside: latency and CPU per delta, memory per socket.
//!
//! `benches/run` starts the servers and calls this; by hand:
//! `cargo bench --bench edge -- stream --help`.
#![allow(clippy::print_stdout, reason = "a program that prints what it measured")]

mod first;
mod hostile;
mod idle;
mod leave;
mod process;
mod stream;
mod tally;
mod wire;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use tokio::task::LocalSet;

#[derive(Parser)]
#[command(name = "edge", about = "Measures a gateway from outside")]
struct Cli {
    #[command(subcommand)]
    mode: Option<Mode>,
    /// Passed by `cargo bench`; ignored.
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Mode {
    /// Answers on many sockets at once: delivery latency, and the server's CPU per delta
    Stream(stream::Settings),
    /// The same answers over HTTP, straight from the simulator or from a gateway that speaks its dialect
    Direct(stream::Settings),
    /// Sockets that do nothing: the server's memory per socket
    Idle(idle::Settings),
    /// One answer at a time: what the gateway adds to the time to the first delta
    First(first::Settings),
    /// From a stop or a lost socket to the close of the upstream's connection
    Leave(leave::Settings),
    /// Attacks on a gateway while another run measures; `benches/hostile` compares
    Hostile(hostile::Settings),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edge: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let Some(mode) = Cli::parse().mode else {
        eprintln!("nothing is measured without a server: use benches/run, or see edge --help");
        return Ok(());
    };
    // One thread, so that the client takes little of the cores that it shares with the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        match mode {
            Mode::Stream(settings) => stream::run(settings, stream::Way::Socket).await,
            Mode::Direct(settings) => stream::run(settings, stream::Way::Direct).await,
            Mode::Idle(settings) => idle::run(settings).await,
            Mode::First(settings) => first::run(settings).await,
            Mode::Leave(settings) => leave::run(settings).await,
            Mode::Hostile(settings) => hostile::run(settings).await,
        }
    })
}
