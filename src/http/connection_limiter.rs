//! Limits the open HTTP connections, in total and per client network. WebSockets are not counted.
//!
//! Idle connections never cause a new one to be rejected. At the limit, the source with the most connections loses its
//! oldest idle one, so a source that opens many connections displaces only its own.
use super::{
    LOG_PERIOD,
    exchange::{EarlyClose, Limits},
};
use crate::{chat::Source, log_throttle::LogThrottle, metrics::Metrics};
use futures_util::task::AtomicWaker;
use ipnet::IpNet;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::Context,
};
use tokio::time::Instant;

/// Number of sources, largest first, that are searched for an idle connection to close. If none has one, the new
/// connection is rejected.
const SOURCES_MAX: usize = 8;
/// Reason in the metric of closed connections for a new connection that was rejected.
pub(crate) const FULL: &str = "full";

/// Admits connections; one for all workers and listeners.
pub struct ConnectionLimiter {
    pub(super) limits: Limits,
    /// Whether any route accepts a body.
    pub(super) takes_bodies: bool,
    /// Proxies carry connections of many clients, so the limit per address does not apply to them.
    trusted_proxies: Vec<IpNet>,
    metrics: Arc<Metrics>,
    table: Mutex<Table>,
    /// One for each [`Bound`].
    throttles: [LogThrottle; 2],
}

#[derive(Default)]
struct Table {
    next: u64,
    all: usize,
    /// Connections of each source, oldest first. `None` stands for all trusted proxies, whose connections are closed
    /// only if no other source has an idle one.
    sources: HashMap<Option<Source>, BTreeMap<u64, Arc<Entry>>>,
    /// Sources by number of connections. Among equals, the one with the oldest connection is last.
    by_size: BTreeSet<(usize, Reverse<u64>, Source)>,
}

#[derive(Clone, Copy)]
enum Bound {
    All,
    Address,
}

/// A connection in the table.
#[derive(Default)]
struct Entry {
    /// Idle: the client has sent nothing to read, or does not read its response.
    is_waiting: AtomicBool,
    evicted: AtomicBool,
    task: AtomicWaker,
}

/// The right to keep an HTTP connection open; removes it from the table when dropped.
pub(super) struct HttpPermit {
    limiter: Arc<ConnectionLimiter>,
    id: u64,
    peer: Option<IpAddr>,
    /// `None` for trusted proxies.
    source: Option<Source>,
    entry: Arc<Entry>,
}

impl ConnectionLimiter {
    pub fn new(
        limits: Limits,
        trusted_proxies: Vec<IpNet>,
        takes_bodies: bool,
        metrics: Arc<Metrics>,
    ) -> Self {
        ConnectionLimiter {
            limits,
            takes_bodies,
            trusted_proxies,
            metrics,
            table: Mutex::default(),
            throttles: [LogThrottle::new(LOG_PERIOD), LogThrottle::new(LOG_PERIOD)],
        }
    }

    pub fn connections_max(&self) -> usize {
        self.limits.connections_max
    }

    /// Admits a connection, at the limit by evicting an idle one. `None` if that is not possible.
    pub(super) fn admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<HttpPermit> {
        let peer = peer.map(|peer| peer.to_canonical());
        let is_trusted = peer.is_some_and(|peer| super::is_among(&self.trusted_proxies, &peer));
        let source = (!is_trusted).then(|| Source::of(peer));
        let entry = Arc::<Entry>::default();
        let (id, reached) = {
            let mut table = self.table();
            let (has_room, reached) = table.make_room(&self.limits, source);
            (has_room.then(|| table.insert(source, &entry)), reached)
        };
        self.log_limit(reached, peer);
        let Some(id) = id else {
            self.metrics.http_connections_closed.inc(FULL);
            return None;
        };
        self.metrics.http_connections.inc();
        Some(HttpPermit { limiter: Arc::clone(self), id, peer, source, entry })
    }

    /// Logs that a bound was reached, at most once per [`LOG_PERIOD`].
    fn log_limit(&self, reached: Option<Bound>, peer: Option<IpAddr>) {
        let Some(bound) = reached else { return };
        let Some(omitted) = self.throttles[bound as usize].due(Instant::now().into_std()) else { return };
        let (key, value) = match bound {
            Bound::All => ("http.connections_max", self.limits.connections_max),
            Bound::Address => ("http.connections_per_address_max", self.limits.connections_per_address_max),
        };
        log::warn!(
            key = key, value = value, address:% = super::shown(peer), omitted = omitted;
            "too many HTTP connections: a new one takes the place of one that waits for its client; \
             raise {key} if they are not an attack"
        );
    }

    /// Counts a connection that the gateway closed before its client did.
    pub(super) fn count_closed(&self, reason: EarlyClose, peer: Option<IpAddr>) {
        self.metrics.http_connections_closed.inc(reason.reason());
        log::debug!(reason = reason.reason(), address:% = super::shown(peer); "http connection closed");
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // No change of the table can panic half-way, so it is consistent even after a panic elsewhere.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Returns whether there is room for a connection of this source, if need be after evicting one, and the bound that
    /// was reached.
    fn make_room(&mut self, limits: &Limits, source: Option<Source>) -> (bool, Option<Bound>) {
        let here = self.sources.get(&source).map_or(0, BTreeMap::len);
        let mut reached = None;
        if source.is_some()
            && limits.connections_per_address_max > 0
            && here >= limits.connections_per_address_max
        {
            reached = Some(Bound::Address);
            if !self.evict_of(source) {
                return (false, reached);
            }
        }
        if self.all < limits.connections_max {
            return (true, reached);
        }
        let largest: Vec<_> =
            self.by_size.iter().rev().take(SOURCES_MAX).map(|(.., source)| Some(*source)).collect();
        let has_room = largest.into_iter().chain([None]).any(|source| self.evict_of(source));
        (has_room, Some(Bound::All))
    }

    /// Evicts the oldest idle connection of a source, if it has one.
    fn evict_of(&mut self, source: Option<Source>) -> bool {
        let waiting = self.sources.get(&source).and_then(|entries| {
            entries
                .iter()
                .find(|(_, entry)| entry.is_waiting.load(SeqCst))
                .map(|(id, entry)| (*id, Arc::clone(entry)))
        });
        let Some((id, entry)) = waiting else { return false };
        self.remove(source, id);
        entry.evicted.store(true, SeqCst);
        entry.task.wake();
        true
    }

    fn insert(&mut self, source: Option<Source>, entry: &Arc<Entry>) -> u64 {
        let id = self.next;
        self.next += 1;
        self.all += 1;
        self.change(source, |entries| {
            entries.insert(id, Arc::clone(entry));
        });
        id
    }

    /// Removes a connection; one that was evicted is no longer in the table.
    fn remove(&mut self, source: Option<Source>, id: u64) {
        let mut was_there = false;
        self.change(source, |entries| was_there = entries.remove(&id).is_some());
        self.all -= usize::from(was_there);
    }

    /// Changes the connections of a source and updates its rank in `by_size`.
    fn change(&mut self, source: Option<Source>, change: impl FnOnce(&mut BTreeMap<u64, Arc<Entry>>)) {
        let rank = |entries: &BTreeMap<u64, _>| {
            let (oldest, _) = entries.first_key_value()?;
            Some((entries.len(), Reverse(*oldest), source?))
        };
        let entries = self.sources.entry(source).or_default();
        let before = rank(entries);
        change(entries);
        let after = rank(entries);
        if let Some(before) = before {
            self.by_size.remove(&before);
        }
        if entries.is_empty() {
            self.sources.remove(&source);
        }
        self.by_size.extend(after);
    }
}

impl HttpPermit {
    pub(super) fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// Whether the connection was evicted. If not, the task is woken when it is.
    pub(super) fn poll_evicted(&self, cx: &Context<'_>) -> bool {
        self.entry.task.register(cx.waker());
        self.entry.evicted.load(SeqCst)
    }

    /// Marks the connection as idle or busy. Only idle ones are evicted.
    pub(super) fn set_waiting(&self, is_waiting: bool) {
        self.entry.is_waiting.store(is_waiting, SeqCst);
    }
}

impl Drop for HttpPermit {
    fn drop(&mut self) {
        self.limiter.table().remove(self.source, self.id);
        self.limiter.metrics.http_connections.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limiter(connections_max: usize, per_address_max: usize) -> Arc<ConnectionLimiter> {
        let limits = Limits {
            connections_max,
            connections_per_address_max: per_address_max,
            ..crate::http::exchange::tests::limits()
        };
        let proxies = vec!["10.0.0.0/24".parse().expect("a network")];
        Arc::new(ConnectionLimiter::new(limits, proxies, false, Arc::default()))
    }

    /// Admits a connection and marks it as idle.
    fn admit(limiter: &Arc<ConnectionLimiter>, from: &str) -> Option<HttpPermit> {
        let permit = limiter.admit(Some(from.parse().expect("an address")));
        permit.inspect(|permit| permit.set_waiting(true))
    }

    fn is_evicted(permit: &HttpPermit) -> bool {
        permit.poll_evicted(&Context::from_waker(std::task::Waker::noop()))
    }

    // faults: K131
    #[test]
    fn the_largest_source_loses_its_oldest_idle_connection() {
        let limiter = limiter(4, 0);
        let calm = admit(&limiter, "192.0.2.1").expect("a permit");
        let greedy: Vec<_> = (0..3).map(|_| admit(&limiter, "192.0.2.9").expect("a permit")).collect();
        greedy[0].set_waiting(false);
        let late = admit(&limiter, "192.0.2.2").expect("a permit");
        let gone: Vec<_> = greedy.iter().map(is_evicted).collect();
        assert_eq!(gone, [false, true, false], "the first is busy");
        assert!(!is_evicted(&calm) && !is_evicted(&late));
        // The greedy source still has the most connections, so it loses the next one, too.
        let _later = admit(&limiter, "192.0.2.3").expect("a permit");
        assert!(is_evicted(&greedy[2]) && !is_evicted(&greedy[0]) && !is_evicted(&calm));
        // Among sources with equally many, the oldest connection is closed.
        let _last = admit(&limiter, "192.0.2.4").expect("a permit");
        assert!(is_evicted(&calm) && !is_evicted(&late));
        drop(greedy);
        drop(calm);
        assert_eq!(limiter.table().all, 3, "late, later and last");
    }

    // faults: K131
    #[test]
    fn a_new_connection_is_rejected_if_all_others_are_busy() {
        let limiter = limiter(2, 0);
        let permits: Vec<_> = (0..2).map(|_| admit(&limiter, "192.0.2.1").expect("a permit")).collect();
        permits.iter().for_each(|permit| permit.set_waiting(false));
        assert!(admit(&limiter, "192.0.2.2").is_none());
        assert!(!permits.iter().any(is_evicted));
        assert_eq!(limiter.metrics.http_connections_closed.get(FULL), 1);
    }

    // faults: K131
    #[test]
    fn an_address_displaces_its_own_connections_and_a_trusted_proxy_has_no_limit() {
        let limiter = limiter(100, 2);
        // A /64 counts as one client.
        let own: Vec<_> =
            (1..4).map(|n| admit(&limiter, &format!("2001:db8::{n}")).expect("a permit")).collect();
        assert_eq!(own.iter().map(is_evicted).collect::<Vec<_>>(), [true, false, false]);
        let proxy: Vec<_> = (0..50).map(|_| admit(&limiter, "10.0.0.7").expect("a permit")).collect();
        assert!(!proxy.iter().any(is_evicted));
        // At the limit of all connections a proxy loses some if no other source has any: a client behind it may be slow.
        drop(own);
        let more: Vec<_> = (0..51).map(|_| admit(&limiter, "10.0.0.8").expect("a permit")).collect();
        assert!(is_evicted(&proxy[0]) && !is_evicted(&proxy[1]));
        drop((proxy, more));
        let table = limiter.table();
        assert!(table.all == 0 && table.sources.is_empty() && table.by_size.is_empty());
    }

    proptest! {
        /// After any sequence of steps, the counts are those of the permits and within both bounds.
        #[test]
        fn the_counts_match_the_permits(steps in prop::collection::vec((0u8..4, 0u8..6, any::<prop::sample::Index>()), 0..200)) {
            let limiter = limiter(7, 3);
            let mut permits: Vec<HttpPermit> = Vec::new();
            for (what, from, which) in steps {
                match what {
                    0 | 1 => permits.extend(admit(&limiter, &format!("192.0.2.{from}"))),
                    2 if !permits.is_empty() => drop(permits.swap_remove(which.index(permits.len()))),
                    _ if !permits.is_empty() => permits[which.index(permits.len())].set_waiting(from % 2 == 0),
                    _ => {}
                }
                let table = limiter.table();
                let entries: usize = table.sources.values().map(BTreeMap::len).sum();
                let there = permits.iter().filter(|permit| !is_evicted(permit)).count();
                prop_assert_eq!((table.all, entries), (there, there));
                prop_assert!(table.all <= 7 && table.sources.values().all(|entries| entries.len() <= 3));
                let ranks: BTreeSet<_> = table.sources.iter().map(|(source, entries)| (entries.len(), *source)).collect();
                prop_assert_eq!(ranks, table.by_size.iter().map(|(size, _, source)| (*size, Some(*source))).collect());
            }
        }
    }
}
