//! Which plain HTTP connections there may be, in all and of one client network.
//!
//! A new connection is never rejected because of idle ones. At the limit, the source with the most connections loses
//! the one that has waited for its client longest, so a source that opens many takes slots only from itself.
use super::{
    LOG_PERIOD,
    exchange::{Cut, Limits},
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
    time::Duration,
};
use tokio::time::Instant;

/// Sources that are looked through for a connection that may go.
const SOURCES_MAX: usize = 8;
/// Why a newcomer was refused.
pub(crate) const FULL: &str = "full";

/// Bounds of the connections of a listener.
#[derive(Clone, Debug)]
pub struct Settings {
    pub limits: Limits,
    /// A connection whose client takes none of its output is cut after this.
    pub write_timeout: Duration,
    /// What the kernel may hold for a client that does not read (`SO_SNDBUF`), in bytes.
    pub send_buffer: usize,
    /// Open at the same time, WebSockets not counted.
    pub connections_max: usize,
    /// The same of one IPv4 address or IPv6 /64; 0: no cap.
    pub per_address_max: usize,
    /// Many clients come through one of these, so there is no cap by address.
    pub trusted_proxies: Vec<IpNet>,
}

/// Admits connections; one for all workers and listeners.
pub struct Door {
    pub(super) settings: Settings,
    metrics: Arc<Metrics>,
    table: Mutex<Table>,
    /// For the log, of each bound.
    throttles: [LogThrottle; 2],
}

#[derive(Default)]
struct Table {
    next: u64,
    all: usize,
    /// Those of each source, oldest first; nothing stands for all trusted proxies, which come last when one must go.
    sources: HashMap<Option<Source>, BTreeMap<u64, Arc<Member>>>,
    /// By how many they have; of equals the last one has the oldest connection.
    by_size: BTreeSet<(usize, Reverse<u64>, Source)>,
}

#[derive(Clone, Copy)]
enum Bound {
    All,
    Address,
}

/// A connection as others see it.
#[derive(Default)]
struct Member {
    /// It waits for its client: there was nothing to be read, or no room for an answer.
    waits: AtomicBool,
    evicted: AtomicBool,
    task: AtomicWaker,
}

/// A connection's place. Dropping it gives it back.
pub(super) struct Place {
    door: Arc<Door>,
    id: u64,
    peer: Option<IpAddr>,
    /// Nothing for trusted proxies.
    source: Option<Source>,
    member: Arc<Member>,
}

impl Door {
    pub fn new(settings: Settings, metrics: Arc<Metrics>) -> Self {
        Door {
            settings,
            metrics,
            table: Mutex::default(),
            throttles: [LogThrottle::new(LOG_PERIOD), LogThrottle::new(LOG_PERIOD)],
        }
    }

    pub fn connections_max(&self) -> usize {
        self.settings.connections_max
    }

    /// A place for a connection, where need be of another one. Nothing where there is none.
    pub(super) fn enter(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Place> {
        let peer = peer.map(|peer| peer.to_canonical());
        let is_trusted = peer.is_some_and(|peer| super::is_among(&self.settings.trusted_proxies, &peer));
        let source = (!is_trusted).then(|| Source::of(peer));
        let member = Arc::<Member>::default();
        let (id, reached) = {
            let mut table = self.table();
            let (has_room, reached) = table.make_room(&self.settings, source);
            (has_room.then(|| table.insert(source, &member)), reached)
        };
        self.tell(reached, peer);
        let Some(id) = id else {
            self.metrics.http_connections_closed.inc(FULL);
            return None;
        };
        self.metrics.http_connections.inc();
        Some(Place { door: Arc::clone(self), id, peer, source, member })
    }

    /// Logs which bound was reached.
    fn tell(&self, reached: Option<Bound>, peer: Option<IpAddr>) {
        let Some(bound) = reached else { return };
        let Some(omitted) = self.throttles[bound as usize].due(Instant::now().into_std()) else { return };
        let (key, value) = match bound {
            Bound::All => ("http.connections_max", self.settings.connections_max),
            Bound::Address => ("http.connections_per_address_max", self.settings.per_address_max),
        };
        log::warn!(
            key = key, value = value, address:% = super::shown(peer), omitted = omitted;
            "too many HTTP connections: a new one takes the place of one that waits for its client; \
             raise {key} if they are not an attack"
        );
    }

    /// Counts a connection that was ended before its client did.
    pub(super) fn cut(&self, cut: Cut, peer: Option<IpAddr>) {
        self.metrics.http_connections_closed.inc(cut.reason());
        log::debug!(reason = cut.reason(), address:% = super::shown(peer); "http connection closed");
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // What a panicking thread left is whole: no change of the table can panic half-way.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Whether there is room for one of this source, perhaps after another one was sent away, and the bound that made
    /// this necessary.
    fn make_room(&mut self, settings: &Settings, source: Option<Source>) -> (bool, Option<Bound>) {
        let here = self.sources.get(&source).map_or(0, BTreeMap::len);
        let mut reached = None;
        if source.is_some() && settings.per_address_max > 0 && here >= settings.per_address_max {
            reached = Some(Bound::Address);
            if !self.evict_of(source) {
                return (false, reached);
            }
        }
        if self.all < settings.connections_max {
            return (true, reached);
        }
        let largest: Vec<_> =
            self.by_size.iter().rev().take(SOURCES_MAX).map(|(.., source)| Some(*source)).collect();
        let has_room = largest.into_iter().chain([None]).any(|source| self.evict_of(source));
        (has_room, Some(Bound::All))
    }

    /// Sends away the oldest connection of a source that waits for its client.
    fn evict_of(&mut self, source: Option<Source>) -> bool {
        let waiting = self.sources.get(&source).and_then(|members| {
            members
                .iter()
                .find(|(_, member)| member.waits.load(SeqCst))
                .map(|(id, member)| (*id, Arc::clone(member)))
        });
        let Some((id, member)) = waiting else { return false };
        self.remove(source, id);
        member.evicted.store(true, SeqCst);
        member.task.wake();
        true
    }

    fn insert(&mut self, source: Option<Source>, member: &Arc<Member>) -> u64 {
        let id = self.next;
        self.next += 1;
        self.all += 1;
        self.change(source, |members| {
            members.insert(id, Arc::clone(member));
        });
        id
    }

    /// One that was sent away is not there any more.
    fn remove(&mut self, source: Option<Source>, id: u64) {
        let mut was_there = false;
        self.change(source, |members| was_there = members.remove(&id).is_some());
        self.all -= usize::from(was_there);
    }

    /// Changes the connections of a source, and its rank.
    fn change(&mut self, source: Option<Source>, change: impl FnOnce(&mut BTreeMap<u64, Arc<Member>>)) {
        let rank = |members: &BTreeMap<u64, _>| {
            let (oldest, _) = members.first_key_value()?;
            Some((members.len(), Reverse(*oldest), source?))
        };
        let members = self.sources.entry(source).or_default();
        let before = rank(members);
        change(members);
        let after = rank(members);
        if let Some(before) = before {
            self.by_size.remove(&before);
        }
        if members.is_empty() {
            self.sources.remove(&source);
        }
        self.by_size.extend(after);
    }
}

impl Place {
    pub(super) fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// Whether it must go; otherwise the task is woken when it must.
    pub(super) fn poll_evicted(&self, cx: &Context<'_>) -> bool {
        self.member.task.register(cx.waker());
        self.member.evicted.load(SeqCst)
    }

    /// Only one that waits for its client may be sent away.
    pub(super) fn set_waiting(&self, waits: bool) {
        self.member.waits.store(waits, SeqCst);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.table().remove(self.source, self.id);
        self.door.metrics.http_connections.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn door(connections_max: usize, per_address_max: usize) -> Arc<Door> {
        let time = Duration::from_secs(1);
        let limits = Limits {
            header_timeout: time,
            header_bytes_max: 1,
            body_timeout: time,
            body_bytes_max: 0,
            takes_bodies: false,
            request_timeout: time,
            idle_timeout: time,
        };
        let settings = Settings {
            limits,
            write_timeout: time,
            send_buffer: 1,
            connections_max,
            per_address_max,
            trusted_proxies: vec!["10.0.0.0/24".parse().expect("a network")],
        };
        Arc::new(Door::new(settings, Arc::default()))
    }

    /// One that waits for its client.
    fn enter(door: &Arc<Door>, from: &str) -> Option<Place> {
        let place = door.enter(Some(from.parse().expect("an address")));
        place.inspect(|place| place.set_waiting(true))
    }

    fn is_evicted(place: &Place) -> bool {
        place.poll_evicted(&Context::from_waker(std::task::Waker::noop()))
    }

    // faults: K131
    #[test]
    fn the_oldest_that_waits_goes_of_the_source_with_the_most() {
        let door = door(4, 0);
        let calm = enter(&door, "192.0.2.1").expect("a place");
        let greedy: Vec<_> = (0..3).map(|_| enter(&door, "192.0.2.9").expect("a place")).collect();
        greedy[0].set_waiting(false);
        let late = enter(&door, "192.0.2.2").expect("a place");
        let gone: Vec<_> = greedy.iter().map(is_evicted).collect();
        assert_eq!(gone, [false, true, false], "the first is at work");
        assert!(!is_evicted(&calm) && !is_evicted(&late));
        // Now all have as many as one another but for the greedy one: it goes on paying.
        let _later = enter(&door, "192.0.2.3").expect("a place");
        assert!(is_evicted(&greedy[2]) && !is_evicted(&greedy[0]) && !is_evicted(&calm));
        // Among equals the oldest is closed.
        let _last = enter(&door, "192.0.2.4").expect("a place");
        assert!(is_evicted(&calm) && !is_evicted(&late));
        drop(greedy);
        drop(calm);
        assert_eq!(door.table().all, 3, "late, later and last");
    }

    // faults: K131
    #[test]
    fn where_everybody_is_at_work_the_newcomer_is_refused() {
        let door = door(2, 0);
        let places: Vec<_> = (0..2).map(|_| enter(&door, "192.0.2.1").expect("a place")).collect();
        places.iter().for_each(|place| place.set_waiting(false));
        assert!(enter(&door, "192.0.2.2").is_none());
        assert!(!places.iter().any(is_evicted));
        assert_eq!(door.metrics.http_connections_closed.get(FULL), 1);
    }

    // faults: K131
    #[test]
    fn an_address_pays_for_its_own_and_a_trusted_proxy_has_no_such_cap() {
        let door = door(100, 2);
        // One client has all of a /64.
        let own: Vec<_> = (1..4).map(|n| enter(&door, &format!("2001:db8::{n}")).expect("a place")).collect();
        assert_eq!(own.iter().map(is_evicted).collect::<Vec<_>>(), [true, false, false]);
        let proxy: Vec<_> = (0..50).map(|_| enter(&door, "10.0.0.7").expect("a place")).collect();
        assert!(!proxy.iter().any(is_evicted));
        // Where there are no others it makes room in the end: its clients may hold what they do not read.
        drop(own);
        let more: Vec<_> = (0..51).map(|_| enter(&door, "10.0.0.8").expect("a place")).collect();
        assert!(is_evicted(&proxy[0]) && !is_evicted(&proxy[1]));
        drop((proxy, more));
        let table = door.table();
        assert!(table.all == 0 && table.sources.is_empty() && table.by_size.is_empty());
    }

    proptest! {
        /// Whatever comes and goes, the counts are those of the places, within both bounds.
        #[test]
        fn the_counts_are_true(steps in prop::collection::vec((0u8..4, 0u8..6, any::<prop::sample::Index>()), 0..200)) {
            let door = door(7, 3);
            let mut places: Vec<Place> = Vec::new();
            for (what, from, which) in steps {
                match what {
                    0 | 1 => places.extend(enter(&door, &format!("192.0.2.{from}"))),
                    2 if !places.is_empty() => drop(places.swap_remove(which.index(places.len()))),
                    _ if !places.is_empty() => places[which.index(places.len())].set_waiting(from % 2 == 0),
                    _ => {}
                }
                let table = door.table();
                let members: usize = table.sources.values().map(BTreeMap::len).sum();
                let there = places.iter().filter(|place| !is_evicted(place)).count();
                prop_assert_eq!((table.all, members), (there, there));
                prop_assert!(table.all <= 7 && table.sources.values().all(|members| members.len() <= 3));
                let ranks: BTreeSet<_> = table.sources.iter().map(|(source, members)| (members.len(), *source)).collect();
                prop_assert_eq!(ranks, table.by_size.iter().map(|(size, _, source)| (*size, Some(*source))).collect());
            }
        }
    }
}
