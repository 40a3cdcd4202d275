//! Simulated upstreams beside that of a gateway.
use super::PATIENCE;
use std::{
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};
use tidegate::{
    runtime::block_on,
    simulator::{self, Stats},
};
use tokio::sync::oneshot;

/// A simulator with a name, on a thread of its own.
pub(crate) struct Simulated {
    pub(crate) address: SocketAddr,
    pub(crate) stats: Arc<Stats>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Simulated {
    pub(crate) fn start(name: &str) -> Self {
        let settings = simulator::Settings { name: name.to_owned(), ..simulator::Settings::default() };
        let (started, starting) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            block_on(async move {
                let simulator = simulator::start(settings).unwrap();
                started.send((simulator.addr, Arc::clone(simulator.stats()))).unwrap();
                let _ = stopped.await;
                simulator.stop().await;
            })
            .unwrap();
        });
        let (address, stats) = starting.recv_timeout(PATIENCE).unwrap();
        Simulated { address, stats, stop: Some(stop), thread: Some(thread) }
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.stats.attempts().len()
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().into_iter().for_each(|thread| drop(thread.join()));
    }
}
