//! The rules of kept connections: which one is used next, how long one is kept, and when all of them go.
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// A connection that was idle for longer is not used again: a little less than the minute after which many
/// services and load balancers close it.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(50);
/// Maximum age of a connection; an older one is replaced, so that changed addresses take effect.
pub(super) const LIFETIME: Duration = Duration::from_secs(600);
/// Idle connections of a pool; beyond it the one that is idle for longest is closed.
pub(super) const IDLE_MAX: usize = 1024;

/// When a connection was made, and how often its pool had been emptied by then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    made: Instant,
    generation: u64,
}

struct Idle<T> {
    connection: T,
    origin: Origin,
    since: Instant,
}

/// Idle connections, the longest idle one first.
pub(super) struct Pool<T> {
    idle: VecDeque<Idle<T>>,
    generation: u64,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Pool { idle: VecDeque::new(), generation: 0 }
    }
}

impl<T> Pool<T> {
    /// For a connection that is made now.
    pub(super) fn origin(&self, now: Instant) -> Origin {
        Origin { made: now, generation: self.generation }
    }

    /// Keeps a connection, unless it is too old or from before the pool was last emptied.
    pub(super) fn put(&mut self, connection: T, origin: Origin, now: Instant) {
        self.close_idle(now);
        if origin.generation != self.generation || is_old(origin, now) {
            return;
        }
        if self.idle.len() >= IDLE_MAX {
            self.idle.pop_front();
        }
        self.idle.push_back(Idle { connection, origin, since: now });
    }

    /// The connection that was used last, among those that are fit for a request; the others before it are closed. So as
    /// many are kept as are needed, and the rest become too old.
    pub(super) fn take(
        &mut self,
        now: Instant,
        mut is_fit: impl FnMut(&mut T) -> bool,
    ) -> Option<(T, Origin)> {
        self.close_idle(now);
        while let Some(mut idle) = self.idle.pop_back() {
            if !is_old(idle.origin, now) && is_fit(&mut idle.connection) {
                return Some((idle.connection, idle.origin));
            }
        }
        None
    }

    /// Closes all, because a connection of this origin turned out to be dead. Not if that happened since it was made: of
    /// many requests that fail at once the first one empties the pool, and the others must not close what was
    /// connected since. Returns whether it was emptied.
    pub(super) fn empty(&mut self, origin: Origin) -> bool {
        let is_first = origin.generation == self.generation;
        if is_first {
            self.idle.clear();
            self.generation = self.generation.wrapping_add(1);
        }
        is_first
    }

    /// Closes those that were idle for too long.
    pub(super) fn close_idle(&mut self, now: Instant) {
        let is_over = |idle: &Idle<T>| now.saturating_duration_since(idle.since) > KEEP_ALIVE;
        while self.idle.front().is_some_and(is_over) {
            self.idle.pop_front();
        }
    }
}

fn is_old(origin: Origin, now: Instant) -> bool {
    now.saturating_duration_since(origin.made) > LIFETIME
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    const SECOND: Duration = Duration::from_secs(1);

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn the_connection_that_was_used_last_is_used_next() {
        let (mut pool, now) = (Pool::default(), start());
        assert!(pool.take(now, |_: &mut u32| true).is_none());
        for connection in 0..3 {
            pool.put(connection, pool.origin(now), now);
        }
        let taken: Vec<_> = (0..4).map(|_| pool.take(now, |_| true).map(|(taken, _)| taken)).collect();
        assert_eq!(taken, [Some(2), Some(1), Some(0), None]);
    }

    #[test]
    fn an_unfit_connection_is_closed_and_the_next_one_is_tried() {
        let (mut pool, now) = (Pool::default(), start());
        let alive: Vec<_> = (0..3).map(|_| Rc::new(())).collect();
        for connection in &alive {
            pool.put(Rc::clone(connection), pool.origin(now), now);
        }
        let taken = pool.take(now, |connection| Rc::ptr_eq(connection, &alive[0])).unwrap().0;
        assert!(Rc::ptr_eq(&taken, &alive[0]));
        assert_eq!(alive.iter().map(Rc::strong_count).collect::<Vec<_>>(), [2, 1, 1]);
    }

    #[test]
    fn a_connection_is_idle_and_lives_for_so_long() {
        let (mut pool, now) = (Pool::default(), start());
        let mut is_kept = |made: Instant, since: Instant, at: Instant| {
            pool.put((), Origin { made, ..pool.origin(made) }, since);
            let taken = pool.take(at, |()| true);
            assert!(pool.idle.is_empty());
            taken.is_some()
        };
        assert!(is_kept(now, now, now + KEEP_ALIVE));
        assert!(!is_kept(now, now, now + KEEP_ALIVE + SECOND));
        let later = now + LIFETIME;
        assert!(is_kept(now, later, later));
        assert!(!is_kept(now, later, later + SECOND), "it became too old while it was idle");
        assert!(!is_kept(now, later + SECOND, later + SECOND), "it was too old already");
        // One that is used again is idle anew, but made when it was made.
        let origin = pool.origin(now);
        pool.put((), origin, now + KEEP_ALIVE);
        let (_, again) = pool.take(now + 2 * KEEP_ALIVE, |()| true).unwrap();
        assert_eq!(again.made, now);
    }

    #[test]
    fn idle_ones_are_closed_when_others_come_and_go() {
        let (mut pool, now) = (Pool::default(), start());
        for connection in 0..3 {
            pool.put(connection, pool.origin(now), now + connection * SECOND);
        }
        pool.put(3, pool.origin(now), now + KEEP_ALIVE + SECOND + SECOND / 2);
        assert_eq!(pool.idle.iter().map(|idle| idle.connection).collect::<Vec<_>>(), [2, 3]);
        // And when nothing happens, by the clock.
        pool.close_idle(now + KEEP_ALIVE + 3 * SECOND);
        assert_eq!(pool.idle.iter().map(|idle| idle.connection).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_pool_has_a_bound_and_the_longest_idle_one_goes() {
        let (mut pool, now) = (Pool::default(), start());
        for connection in 0..IDLE_MAX + 2 {
            pool.put(connection, pool.origin(now), now);
        }
        assert_eq!(pool.idle.len(), IDLE_MAX);
        assert_eq!(pool.idle.front().map(|idle| idle.connection), Some(2));
    }

    // faults: D62, K141
    #[test]
    fn the_first_dead_connection_empties_the_pool_and_no_other_does_so_again() {
        let (mut pool, now) = (Pool::default(), start());
        let old = pool.origin(now);
        for connection in 0..3 {
            pool.put(connection, old, now);
        }
        let in_use = pool.take(now, |_| true).unwrap();
        assert!(pool.empty(old));
        assert!(pool.take(now, |_| true).is_none());
        pool.put(in_use.0, in_use.1, now);
        assert!(pool.take(now, |_| true).is_none(), "one from before is not kept");
        let new = pool.origin(now);
        pool.put(7, new, now);
        assert!(!pool.empty(old), "it was emptied for that one already");
        assert_eq!(pool.take(now, |_| true).map(|(connection, _)| connection), Some(7));
        assert!(pool.empty(new));
    }
}
