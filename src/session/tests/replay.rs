//! The cost of a replay is linear in the length of the answer, also when reasoning and answer alternate with every
//! delta.
use super::*;
use rustix::time::{ClockId, clock_gettime};

fn alternating(entries: usize) -> impl Iterator<Item = TextKind> {
    [TextKind::Reasoning, TextKind::Answer].into_iter().cycle().take(entries)
}

/// The minimum of several measurements of this thread's CPU time.
fn cpu_time(mut work: impl FnMut()) -> Duration {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let once = || {
        let since = now();
        work();
        now() - since
    };
    std::iter::repeat_with(once).take(5).min().expect("it was measured")
}

fn log_of(entries: usize) -> TurnLog {
    let start = TurnStart { answer: id("a"), model: Some("m".into()), omitted_turns: 0, continued_by: None };
    let mut log = TurnLog::new(RunId(1), None, Arc::new(start));
    for kind in alternating(entries) {
        log.append(kind, "x", true);
    }
    log
}

/// Sixteen times the entries may cost up to 64 times the work; a linear search would cost 256 times.
fn is_not_quadratic(work: impl Fn(&mut TurnLog)) {
    let [few, many] = [2_000, 32_000].map(|entries| {
        let mut log = log_of(entries);
        cpu_time(|| work(&mut log))
    });
    assert!(many < 64 * few, "{few:?} for 2,000 entries, {many:?} for 32,000");
}

// faults: K145
#[test]
fn reading_a_log_of_many_parts_does_not_search_for_each() {
    is_not_quadratic(|log| {
        let (mut cursor, mut read) = (Cursor::start_of(0), 0);
        while let Some((_, next)) = log.read(cursor, PUSH_BYTES_MAX) {
            (cursor, read) = (next, read + 1);
        }
        assert!(read > 2_000);
    });
}

// faults: K145
#[test]
fn finding_a_position_in_a_log_of_many_parts_does_not_visit_each() {
    is_not_quadratic(|log| {
        let mut last = 0;
        while let Some(position) = log.position(Some(last)) {
            assert!(position.entries <= last);
            last += 5;
        }
        assert!(last > 4_000);
    });
}

// faults: K145
#[test]
fn a_prompt_of_many_pieces_is_not_copied_for_each() {
    let [few, many] = [1_000, 16_000].map(|pieces| {
        let budget = Budget { tokens_max: 1 << 30, bytes_max: 1 << 30, messages_max: 1 << 30 };
        let system = || ChatMessage::new(id("s"), Role::System, "x".repeat(100));
        cpu_time(|| {
            let mut history = History::new(SessionId(1), budget);
            history.rebuild(std::iter::repeat_with(system).take(pieces).collect(), 0);
        })
    });
    assert!(many < 64 * few, "{few:?} for 1,000 pieces, {many:?} for 16,000");
}

/// The number of pushes until a subscriber that accepts `at_a_time` of them at a time has the whole answer.
fn pushes(entries: usize, at_a_time: usize) -> usize {
    let mut session = Session::new(Arc::new(settings()), SessionId(1), Lifetime::OfChat);
    let (mut fx, mut now) = (Vec::new(), Duration::ZERO);
    let input = ask(SubscriberId(1), TurnKind::Submit, "a", "a".into());
    session.handle(&mut fx, now, input);
    session.handle(&mut fx, now, Input::Detach { subscriber: SubscriberId(1) });
    for kind in alternating(entries) {
        let event = match kind {
            TextKind::Reasoning => RunEvent::reasoning("x"),
            TextKind::Answer => RunEvent::answer("x"),
        };
        // Pieces of one entry each, as a subscriber that is up to date would cut them.
        session.handle(&mut fx, now, Input::Run { run: RunId(1), event });
    }
    session.handle(&mut fx, now, Input::Run { run: RunId(1), event: end(Ok(FinishReason::Stop), None) });
    fx.clear();
    let (mut made, mut is_complete) = (0, false);
    session.handle(
        &mut fx,
        now,
        Input::Resume { subscriber: SubscriberId(2), sink: (), turn: None, after: None },
    );
    while !is_complete {
        let mut room = at_a_time;
        while !fx.is_empty() {
            let mut refused = Vec::new();
            for effect in fx.drain(..) {
                let Effect::Push { subscriber, outgoing, from, .. } = effect else { continue };
                made += 1;
                if room == 0 {
                    refused.push(Input::PushRefused { subscriber, outgoing, from });
                    continue;
                }
                room -= 1;
                is_complete |= matches!(outgoing, Outgoing::Frame(ServerFrame::TurnEnd { .. }));
            }
            for input in refused {
                session.handle(&mut fx, now, input);
            }
        }
        session.settle(&mut fx);
        fx.retain(|effect| matches!(effect, Effect::Push { .. }));
        now += Duration::from_millis(1);
        session.handle(&mut fx, now, Input::Ready { subscriber: SubscriberId(2) });
    }
    made
}

// faults: K145
#[test]
fn the_pushes_to_a_slow_subscriber_grow_with_the_number_of_parts() {
    for (entries, at_a_time) in [(1_000, 7), (1_000, 100), (8_000, 7), (8_000, 100)] {
        let made = pushes(entries, at_a_time);
        // A refused push is built again each time there is room for some.
        let most =
            (entries + 3) * (1 + PUSH_BYTES_MAX / FRAME_COST / at_a_time.min(PUSH_BYTES_MAX / FRAME_COST));
        assert!(
            (entries..=most + at_a_time).contains(&made),
            "{entries} entries, {at_a_time}: {made} pushes"
        );
    }
}
