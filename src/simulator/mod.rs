//! A scripted upstream: a model service that speaks both dialects, is free and fails on demand.
pub mod script;

mod body;
mod server;
mod stats;
mod wire;

pub use stats::{Attempt, Recorded, Stats};

use crate::{
    clock,
    listen::{self, BindError},
};
use actix_web::{App, HttpServer, dev::ServerHandle, web};
use anyhow::Context as _;
use script::{Pacing, Spell, Times};
use secrecy::SecretString;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Backlog of the listening socket; a load test opens connections in bursts.
const BACKLOG: u32 = 4096;
/// Maximum number of connections per worker; more wait in the backlog.
const CONNECTIONS_MAX: usize = 100_000;
/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Settings of a simulator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Port 0 chooses a free port, available as [`Simulator::addr`].
    pub listen: SocketAddr,
    /// The only key that is accepted. `None` accepts every key except those that begin with
    /// `sk-invalid`.
    pub api_key: Option<SecretString>,
    /// Number of worker threads.
    pub workers: usize,
    /// Default time between deltas.
    pub pace: Duration,
    /// Default time to the first delta.
    pub first: Duration,
    /// How the chat dialect is spelled where a message does not say.
    pub spell: &'static Spell,
    /// Where faults apply that name a place (`at`).
    pub name: String,
    /// Requests in progress at once, beyond which more are refused; 0 for no bound.
    pub runs_max: u64,
    /// After the start, every path answers for this time that the model is being loaded.
    pub loads_for: Duration,
}

impl Default for Settings {
    /// On a free port of this machine, without pauses.
    fn default() -> Self {
        Settings {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            api_key: None,
            workers: 1,
            pace: Duration::ZERO,
            first: Duration::ZERO,
            spell: Spell::plain(),
            name: String::new(),
            runs_max: 0,
            loads_for: Duration::ZERO,
        }
    }
}

/// State shared by all requests.
struct Shared {
    api_key: Option<SecretString>,
    pacing: Pacing,
    spell: &'static Spell,
    name: String,
    runs_max: u64,
    loads_for: Duration,
    started_ns: u64,
    models: Arc<Mutex<Option<Vec<String>>>>,
    stats: Arc<Stats>,
    /// Locked only to count, never across an await.
    times: Mutex<Times>,
}

/// A running simulator. Dropping it leaves the server running until its actix system ends.
pub struct Simulator {
    /// Address of the listening socket.
    pub addr: SocketAddr,
    stats: Arc<Stats>,
    models: Arc<Mutex<Option<Vec<String>>>>,
    handle: ServerHandle,
}

/// Starts the server. Must be called inside a running actix system.
///
/// # Errors
/// [`BindError`] when the address cannot be bound.
pub fn start(settings: Settings) -> anyhow::Result<Simulator> {
    let stats = Arc::new(Stats::default());
    let models = Arc::default();
    let shared = web::Data::new(Shared {
        api_key: settings.api_key,
        pacing: Pacing { first: settings.first, pace: settings.pace },
        spell: settings.spell,
        name: settings.name,
        runs_max: settings.runs_max,
        loads_for: settings.loads_for,
        started_ns: clock::now_ns(),
        models: Arc::clone(&models),
        stats: Arc::clone(&stats),
        times: Mutex::default(),
    });
    let app =
        move || App::new().app_data(shared.clone()).configure(|app| server::routes(app, settings.spell));
    let server = HttpServer::new(app)
        .workers(settings.workers)
        .backlog(BACKLOG)
        .max_connections(CONNECTIONS_MAX)
        .keep_alive(KEEP_ALIVE)
        .disable_signals()
        .tcp_nodelay(true)
        // A client that closes its side has disconnected, even while nothing is being sent.
        .h1_allow_half_closed(false)
        .client_disconnect_timeout(Duration::ZERO)
        .shutdown_timeout(0)
        .on_connect(wire::remember)
        .bind(settings.listen)
        .map_err(|error| BindError::new(settings.listen, &error, listen::FLAG))?;
    let addr = server.addrs().first().copied().context("the simulator has no address")?;
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Ok(Simulator { addr, stats, models, handle })
}

impl Simulator {
    /// Counters and recorded requests.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Lists these models from now on, and serves no other; with `None`, those of the simulator as at the start.
    pub fn offer(&self, models: Option<Vec<String>>) {
        *self.models.lock().unwrap_or_else(PoisonError::into_inner) = models;
    }

    /// Aborts running requests and stops listening.
    pub async fn stop(self) {
        self.handle.stop(false).await;
    }
}

#[cfg(test)]
mod tests;
