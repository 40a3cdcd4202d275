//! Which sockets are read when a worker has more input than budget.
use super::*;
use proptest::prelude::*;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::Wake,
};

const TICK: usize = 64 * 1024 * 8;
/// Maximum bytes of one read.
const READ: usize = 16 * 1024;

/// A socket of a test: how often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

struct Socket {
    source: Source,
    ticket: Option<WaitTicket>,
    woken: Arc<Woken>,
}

impl Socket {
    fn of(source: u64) -> Self {
        Socket { source: Source::numbered(source), ticket: None, woken: Arc::default() }
    }

    fn may_read(&mut self, intake: &mut Intake) -> bool {
        intake.may_read(self.source, &mut self.ticket, &Arc::clone(&self.woken).into())
    }

    /// Reads up to `pieces` pieces while it may; returns their number.
    fn read(&mut self, intake: &mut Intake, pieces: usize) -> usize {
        (0..pieces)
            .take_while(|_| {
                let may = self.may_read(intake);
                if may {
                    intake.count(self.source, READ);
                }
                may
            })
            .count()
    }
}

/// Number of waiting sockets.
fn waiting(intake: &Intake) -> usize {
    intake.waiting.values().map(|queue| queue.sockets.len()).sum()
}

fn tick(intake: &mut Intake) {
    intake.tick().into_iter().for_each(Waker::wake);
}

#[test]
fn one_source_leaves_room_for_those_that_read_little() {
    let mut intake = Intake::new(TICK);
    let mut flood: Vec<Socket> = (0..50).map(|_| Socket::of(1)).collect();
    let mut quiet = Socket::of(2);
    for _ in 0..20 {
        let read: usize = flood.iter_mut().map(|socket| socket.read(&mut intake, 64)).sum();
        assert!(read * READ <= TICK / PARTS * (PARTS - 1) + READ, "{read} pieces");
        assert_eq!(quiet.read(&mut intake, 1), 1, "a question is read at once");
        tick(&mut intake);
    }
    assert!(flood.iter().all(|socket| socket.woken.0.load(Relaxed) > 0), "every socket had its turn");
}

#[test]
fn sources_that_read_much_get_equal_shares() {
    let mut intake = Intake::new(TICK);
    let mut crowd: Vec<Socket> = (0..90).map(|_| Socket::of(1)).collect();
    let mut two = [Socket::of(2), Socket::of(3)];
    let mut read = [0; 3];
    for _ in 0..100 {
        read[0] += crowd.iter_mut().map(|socket| socket.read(&mut intake, 64)).sum::<usize>();
        for (socket, read) in two.iter_mut().zip(&mut read[1..]) {
            *read += socket.read(&mut intake, 64);
        }
        tick(&mut intake);
    }
    let (least, most) = (read.iter().min().unwrap(), read.iter().max().unwrap());
    assert!(*most * 10 <= *least * 16, "{read:?}");
}

#[test]
fn ordinary_use_is_not_counted_and_never_waits() {
    let mut intake = Intake::new(TICK);
    for source in 0..TICK / PARTS / READ_MIN {
        let mut socket = Socket::of(source as u64);
        assert!(socket.may_read(&mut intake));
        intake.count(socket.source, 100);
    }
    assert_eq!((intake.by_source.len(), waiting(&intake)), (0, 0));
}

#[test]
fn many_small_frames_of_one_source_count_too() {
    let mut intake = Intake::new(TICK);
    let mut flood: Vec<Socket> = (0..1_000).map(|_| Socket::of(1)).collect();
    for socket in &mut flood {
        if socket.may_read(&mut intake) {
            intake.count(socket.source, 10);
        }
    }
    assert!(waiting(&intake) > 700, "{}", waiting(&intake));
    assert!(Socket::of(2).may_read(&mut intake));
}

#[test]
fn a_socket_that_is_gone_is_not_waited_for() {
    let mut intake = Intake::new(TICK);
    let mut sockets: Vec<Socket> = (0..3).map(|_| Socket::of(1)).collect();
    sockets[0].read(&mut intake, 1_000);
    assert!(!sockets[1].may_read(&mut intake) && !sockets[2].may_read(&mut intake));
    assert_eq!(waiting(&intake), 3);
    for socket in &mut sockets {
        intake.leave(socket.source, &mut socket.ticket);
    }
    assert_eq!((waiting(&intake), intake.turns.len()), (0, 0));
    assert!(intake.tick().is_empty());
}

proptest! {
    #[test]
    fn whatever_happens_the_rate_holds_and_all_are_served(
        steps in prop::collection::vec((0usize..12, 1usize..80, any::<bool>()), 1..400),
    ) {
        let mut intake = Intake::new(TICK);
        // Three sources: of six sockets, of five, and of one.
        let mut sockets: Vec<Socket> = (0..12).map(|at| Socket::of([0, 1, 2][at / 6 + at / 11])).collect();
        let mut used = 0;
        for (at, pieces, ends) in steps {
            used += sockets[at].read(&mut intake, pieces) * READ;
            prop_assert!(used <= TICK + READ, "{used} bytes in a tick");
            if ends {
                tick(&mut intake);
                used = 0;
            }
            let tickets = sockets.iter().filter(|socket| socket.ticket.is_some()).count();
            prop_assert!(waiting(&intake) <= tickets);
            prop_assert_eq!(intake.turns.len(), intake.waiting.len());
        }
        // Each one that waits is woken at last.
        for _ in 0..2 {
            tick(&mut intake);
        }
        prop_assert_eq!(waiting(&intake), 0);
    }
}
