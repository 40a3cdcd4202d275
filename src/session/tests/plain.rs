//! A session bound to its connection: scripts, and a property.
use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

#[test]
fn every_turn_sends_the_history() {
    check(expect![[r#"
        attach 1
        client 1 'hi'
            1 <- accepted run=1
            start run=1 [user 'hi']
        run 1 delta 'He'
            1 <- delta #1 'He'
        run 1 delta 'llo'
            1 <- delta #2 'llo'
        run 1 stop
            1 <- turn_end run=1 stop
        client 1 'again'
            1 <- accepted run=2
            start run=2 [user 'hi', assistant 'Hello', user 'again']
        run 2 delta 'Yes'
            1 <- delta #1 'Yes'
        run 2 length
            1 <- turn_end run=2 length
    "#]]);
}

// faults: A13
#[test]
fn messages_wait_in_order_while_an_answer_runs() {
    check(expect![[r#"
        attach 1
        client 1 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        client 1 'b'
        client 1 'c'
        client 1 'd'
            1 <- refused queue_full
        run 1 delta 'A'
            1 <- delta #1 'A'
        run 1 stop
            1 <- turn_end run=1 stop
            1 <- accepted run=2
            start run=2 [user 'a', assistant 'A', user 'b']
        run 2 delta 'B'
            1 <- delta #1 'B'
        run 2 stop
            1 <- turn_end run=2 stop
            1 <- accepted run=3
            start run=3 [user 'a', assistant 'A', user 'b', assistant 'B', user 'c']
    "#]]);
}

// faults: D52
#[test]
fn a_failed_turn_leaves_history_as_if_not_asked_unless_text_was_shown() {
    check(expect![[r#"
        attach 1
        client 1 'lost'
            1 <- accepted run=1
            start run=1 [user 'lost']
        run 1 input_too_long
            1 <- turn_end run=1 input_too_long
        client 1 'kept'
            1 <- accepted run=2
            start run=2 [user 'kept']
        run 2 delta 'par'
            1 <- delta #1 'par'
        run 2 interrupted
            1 <- turn_end run=2 interrupted
        client 1 'filtered'
            1 <- accepted run=3
            start run=3 [user 'kept', assistant 'par', user 'filtered']
        run 3 delta 'bad'
            1 <- delta #1 'bad'
        run 3 output_refused
            1 <- turn_end run=3 output_refused
        client 1 'silent'
            1 <- accepted run=4
            start run=4 [user 'kept', assistant 'par', user 'silent']
        run 4 stop
            1 <- turn_end run=4 empty_answer
        client 1 'last'
            1 <- accepted run=5
            start run=5 [user 'kept', assistant 'par', user 'last']
    "#]]);
}

// faults: E86
#[test]
fn late_events_of_an_ended_run_are_ignored() {
    check(expect![[r#"
        attach 1
        client 1 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        run 1 delta 'A'
            1 <- delta #1 'A'
        run 1 stop
            1 <- turn_end run=1 stop
        run 1 delta 'late'
        run 1 stop
        client 1 'b'
            1 <- accepted run=2
            start run=2 [user 'a', assistant 'A', user 'b']
        run 1 delta 'later'
        run 2 delta 'B'
            1 <- delta #1 'B'
    "#]]);
}

#[test]
fn the_history_learns_from_what_the_model_counted() {
    let budget = Budget { tokens_max: 60, ..settings().history };
    let mut shell = Shell::new(Settings { history: budget, ..settings() });
    shell.feed(parse("attach 1"));
    let omitted = |shell: &mut Shell| {
        let omitted = |effect: Effect| match effect {
            Effect::StartRun { request, .. } => Some(request.omitted_turns),
            _ => None,
        };
        shell.out.drain(..).find_map(omitted).expect("a run")
    };
    let mut seen = Vec::new();
    for run in 1..=4 {
        shell.feed(parse("client 1 'four words of text'"));
        seen.push(omitted(&mut shell));
        shell.feed(parse(&format!("run {run} delta 'an answer'")));
        let usage = Usage { input_tokens: 200, ..Usage::default() };
        let event = end(Ok(FinishReason::Stop), Some(usage));
        shell.feed(Input::Run { run: RunId(run), event });
    }
    assert_eq!(seen, [0, 0, 2, 3], "many more tokens than estimated, so less fits");
}

// faults: A17, A18
#[test]
fn a_slow_reader_gets_fewer_larger_deltas_and_then_holds_the_run() {
    check(expect![[r#"
        attach 1
        client 1 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        run 1 delta 'one '
            1 <- delta #1 'one '
        stick 1
        run 1 delta 'two '
        run 1 delta 'three '
        run 1 reasoning 'hm'
        run 1 delta 'and then a text that is longer than the bound'
            hold run=1
        ready 1
            1 <- delta #3 'two three '
            1 <- reasoning #4 'hm'
            1 <- delta #5 'and then a text that is longer than the bound'
            continue run=1
        run 1 delta '.'
            1 <- delta #6 '.'
        run 1 stop
            1 <- turn_end run=1 stop
    "#]]);
}

#[test]
fn a_slow_reader_harms_no_other_and_misses_nothing_over_turns() {
    check(expect![[r#"
        attach 1
        attach 2
        stick 2
        client 1 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        run 1 delta 'A'
            1 <- delta #1 'A'
        run 1 stop
            1 <- turn_end run=1 stop
        client 1 'b'
            1 <- accepted run=2
            start run=2 [user 'a', assistant 'A', user 'b']
        run 2 delta 'B'
            1 <- delta #1 'B'
        ready 2
            2 <- accepted run=1
            2 <- delta #1 'A'
            2 <- turn_end run=1 stop
            2 <- accepted run=2
            2 <- delta #1 'B'
        run 2 stop
            1 <- turn_end run=2 stop
            2 <- turn_end run=2 stop
    "#]]);
}

#[test]
fn leaving_cancels_the_run_at_once() {
    check(expect![[r#"
        attach 1
        client 1 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        client 1 'b'
        run 1 delta 'A'
            1 <- delta #1 'A'
        detach 1
            cancel run=1
            end
        run 1 delta 'late'
        client 1 'c'
    "#]]);
}

// faults: G99
#[test]
fn a_drain_lets_the_answer_finish_and_then_closes() {
    check(expect![[r#"
        attach 1
        client 1 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        client 1 'b'
        drain
            1 <- refused draining
        client 1 'c'
            1 <- refused draining
        run 1 delta 'A'
            1 <- delta #1 'A'
        run 1 stop
            1 <- turn_end run=1 stop
            1 <- close 1012
    "#]]);
}

#[test]
fn a_drain_closes_an_idle_session_and_waits_for_a_reader_that_is_behind() {
    check(expect![[r#"
        attach 1
        drain
            1 <- close 1012
    "#]]);
    check(expect![[r#"
        attach 1
        client 1 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        stick 1
        run 1 delta 'A'
        run 1 stop
        drain
        ready 1
            1 <- delta #1 'A'
            1 <- turn_end run=1 stop
            1 <- close 1012
    "#]]);
}

#[test]
fn a_subscriber_that_is_too_many_turns_behind_is_closed() {
    let mut shell = Shell::new(settings());
    shell.feed(parse("attach 1"));
    shell.feed(parse("attach 2"));
    shell.stuck.insert(2);
    for run in 1..=LOGS_MAX as u32 + 2 {
        shell.feed(parse("client 1 'x'"));
        shell.feed(parse(&format!("run {run} delta 'y'")));
        shell.feed(parse(&format!("run {run} stop")));
    }
    shell.out.clear();
    shell.stuck.clear();
    shell.feed(parse("ready 2"));
    let effects: Vec<_> = shell.out.iter().map(show).collect();
    assert_eq!(effects, ["2 <- close 1013"]);
    assert!(shell.session.logs.is_empty());
    shell.out.clear();
    shell.feed(parse("client 1 'x'"));
    shell.feed(parse(&format!("run {} queued 1", LOGS_MAX + 3)));
    assert!(!shell.out.iter().map(show).any(|effect| effect.starts_with("2 <-")), "nothing after the close");
}

#[test]
fn a_subscriber_at_the_limit_of_turns_behind_receives_everything() {
    let mut shell = Shell::new(settings());
    shell.feed(parse("attach 1"));
    shell.feed(parse("attach 2"));
    shell.stuck.insert(2);
    for run in 1..=LOGS_MAX {
        shell.feed(parse("client 1 'x'"));
        shell.feed(parse(&format!("run {run} delta 'y'")));
        shell.feed(parse(&format!("run {run} stop")));
    }
    shell.feed(parse("client 1 'one more that runs'"));
    shell.out.clear();
    shell.stuck.clear();
    shell.feed(parse("ready 2"));
    let effects: Vec<_> = shell.out.iter().map(show).collect();
    assert_eq!(effects.len(), 3 * LOGS_MAX + 1, "{effects:?}");
    assert_eq!(effects.last().map(String::as_str), Some("2 <- accepted run=17"));
}

#[test]
fn queue_positions_and_retries_are_sent_to_ready_subscribers() {
    check(expect![[r#"
        attach 1
        attach 2
        stick 2
        client 1 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        run 1 queued 3
            1 <- queued run=1 position=3
        run 1 retrying 2
            1 <- retrying run=1 attempt=2
        ready 2
            2 <- accepted run=1
    "#]]);
}

// faults: A17
#[test]
fn rejections_wait_for_a_slow_subscriber_up_to_a_limit() {
    let mut shell = Shell::new(Settings { queued_messages_max: 0, ..settings() });
    shell.feed(parse("attach 1"));
    shell.feed(parse("client 1 'a'"));
    for (sent, kept) in
        [(3, 3), (PENDING_NOTICES_MAX, PENDING_NOTICES_MAX), (PENDING_NOTICES_MAX + 9, PENDING_NOTICES_MAX)]
    {
        shell.stuck.insert(1);
        for _ in 0..sent {
            shell.feed(parse("client 1 'too many'"));
        }
        shell.out.clear();
        shell.stuck.clear();
        shell.feed(parse("ready 1"));
        let refusals = shell.out.drain(..).filter(|effect| show(effect) == "1 <- refused queue_full").count();
        assert_eq!(refusals, kept, "of {sent}");
    }
}

#[test]
fn a_delta_is_passed_without_a_copy_to_a_subscriber_that_is_up_to_date() {
    let mut shell = Shell::new(settings());
    for line in ["attach 1", "client 1 'a'", "run 1 delta 'A'", "run 1 stop", "attach 2", "client 1 'b'"] {
        shell.feed(parse(line));
    }
    shell.out.clear();
    let text = "a piece".to_owned();
    let place = text.as_ptr();
    shell.feed(Input::Run { run: RunId(2), event: RunEvent::answer(text) });
    let place_of = |effect: &Effect| match effect {
        Effect::Push { outgoing: Outgoing::Frame(ServerFrame::Text { text, .. }), .. } => text.as_ptr(),
        other => panic!("{}", show(other)),
    };
    let places: Vec<_> = shell.out.iter().map(place_of).collect();
    assert_eq!((places.len(), places.last()), (2, Some(&place)), "the last subscriber gets the same buffer");
}

// faults: A18
#[test]
fn a_run_is_held_beyond_the_limit_and_continues_at_half_of_it() {
    let pacing = |shell: &mut Shell| -> Vec<String> {
        shell.out.drain(..).map(|effect| show(&effect)).filter(|effect| effect.ends_with("run=1")).collect()
    };
    let mut shell = Shell::new(Settings { lag_bytes_max: 3 * PUSH_BYTES_MAX, ..settings() });
    shell.feed(parse("attach 1"));
    shell.feed(parse("client 1 'a'"));
    shell.out.clear();
    // The first piece is pushed at once; the rest is exactly the limit, and then more.
    shell.feed(Input::Run { run: RunId(1), event: RunEvent::answer("x".repeat(4 * PUSH_BYTES_MAX)) });
    assert_eq!(pacing(&mut shell), Vec::<String>::new());
    shell.feed(parse("run 1 delta 'y'"));
    assert_eq!(pacing(&mut shell), ["hold run=1"]);
    shell.feed(parse("ready 1"));
    assert_eq!(pacing(&mut shell), Vec::<String>::new(), "two pieces are left, more than half of the limit");
    shell.feed(parse("ready 1"));
    assert_eq!(pacing(&mut shell), ["continue run=1"]);
}

#[test]
fn a_large_text_is_pushed_in_pieces_as_the_subscriber_is_ready() {
    let mut shell = Shell::new(settings());
    shell.feed(parse("attach 1"));
    shell.feed(parse("client 1 'x'"));
    let mut text = "é水".repeat(10_000);
    shell.feed(Input::Run { run: RunId(1), event: RunEvent::answer(text.clone()) });
    shell.feed(parse("run 1 delta 'and what follows it'"));
    text.push_str("and what follows it");
    let pieces = text.len().div_ceil(PUSH_BYTES_MAX);
    let mut got = String::new();
    for piece in 1..=pieces {
        let pushed = deltas(&mut shell);
        let [(entry, text, ask)] = pushed.as_slice() else { panic!("one piece at a time: {}", pushed.len()) };
        assert!(text.len() <= PUSH_BYTES_MAX);
        assert_eq!(*ask, piece < pieces, "readiness is asked for while there is more");
        // Each piece is an entry of its own; what follows joins the last one.
        assert_eq!(*entry as usize, if *ask { piece } else { piece + 1 });
        got.push_str(text);
        shell.feed(parse("ready 1"));
    }
    assert!(got == text, "every byte, in order");
    shell.feed(parse("run 1 delta 'the end'"));
    assert_eq!(deltas(&mut shell), [(6, "the end".to_owned(), false)]);
}

/// The pushed pieces of the answer: entry, text, and whether the subscriber must report when it has read it.
fn deltas(shell: &mut Shell) -> Vec<(u32, String, bool)> {
    let delta = |effect| match effect {
        Effect::Push { outgoing: Outgoing::Frame(ServerFrame::Text { entry, text, .. }), ask, .. } => {
            Some((entry, text, ask))
        }
        _ => None,
    };
    shell.out.drain(..).filter_map(delta).collect()
}

#[test]
fn text_is_merged_while_no_subscriber_is_ready() {
    let mut shell = Shell::new(Settings { lag_bytes_max: 1 << 20, ..settings() });
    shell.feed(parse("attach 1"));
    shell.feed(parse("client 1 'x'"));
    shell.stuck.insert(1);
    for _ in 0..1_000 {
        shell.feed(parse("run 1 delta 'ten bytes.'"));
    }
    shell.stuck.clear();
    shell.feed(parse("ready 1"));
    // One that was refused, and all others in one entry; readiness is not asked for after so little.
    assert_eq!(deltas(&mut shell), [(2, "ten bytes.".repeat(1_000), false)]);
}

/// A step of a random script: mostly events of the current run, with short texts.
#[derive(Clone, Debug)]
enum Step {
    Attach,
    Detach(u8),
    Message(u8),
    Delta(String),
    Reasoning(String),
    End(bool),
    OldRun,
    Stick(u8),
    Ready(u8),
    Drain,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => Just(Step::Attach),
        1 => (0..4u8).prop_map(Step::Detach),
        4 => (0..4u8).prop_map(Step::Message),
        8 => "[a-c水]{1,9}".prop_map(Step::Delta),
        2 => "[a-c]{1,5}".prop_map(Step::Reasoning),
        3 => any::<bool>().prop_map(Step::End),
        1 => Just(Step::OldRun),
        3 => (0..4u8).prop_map(Step::Stick),
        3 => (0..4u8).prop_map(Step::Ready),
        1 => prop::bool::weighted(0.1).prop_map(|yes| if yes { Step::Drain } else { Step::Ready(0) }),
    ];
    prop::collection::vec(step, 1..120)
}

/// What one subscriber has received, checked frame by frame.
#[derive(Default)]
struct Witness {
    open: Option<RunId>,
    answer: String,
    entry: u32,
    closed: bool,
    ended: Vec<(RunId, String)>,
}

impl Witness {
    fn receive(&mut self, outgoing: &Outgoing) {
        assert!(!self.closed, "nothing after the close");
        match outgoing {
            Outgoing::Close(_) => self.closed = true,
            Outgoing::Frame(ServerFrame::Accepted { run, .. }) => {
                assert_eq!(self.open, None, "one turn at a time");
                (self.open, self.entry) = (Some(*run), 0);
                self.answer.clear();
            }
            Outgoing::Frame(ServerFrame::Text { entry, text, .. }) => {
                assert!(self.open.is_some() && !text.is_empty());
                assert!(*entry >= self.entry, "numbers increase");
                self.entry = *entry;
                if matches!(outgoing, Outgoing::Frame(ServerFrame::Text { kind: TextKind::Answer, .. })) {
                    self.answer.push_str(text);
                }
            }
            Outgoing::Frame(ServerFrame::TurnEnd { run, .. }) => {
                assert_eq!(self.open.take(), Some(*run), "exactly one end");
                self.ended.push((*run, self.answer.clone()));
            }
            Outgoing::Frame(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// At most one open run, and none after the end; every subscriber receives every turn since it joined, each text
    /// completely, in order and once, whenever it reads.
    // faults: A14
    #[test]
    fn no_subscriber_misses_or_repeats_text(script in steps()) {
        let mut shell = Shell::new(settings());
        // The model: the text of each run, which every subscriber must receive.
        let mut truth: HashMap<RunId, String> = HashMap::new();
        let mut open: Option<RunId> = None;
        let mut witnesses: HashMap<u64, (Witness, RunId)> = HashMap::new();
        let mut ended = false;
        let mut next_subscriber = 0u64;
        let mut last_run = RunId(0);
        let mut script = script;
        script.insert(0, Step::Attach);
        let nth = |witnesses: &HashMap<u64, (Witness, RunId)>, n: u8| -> Option<SubscriberId> {
            let mut ids: Vec<_> = witnesses.keys().copied().collect();
            ids.sort_unstable();
            (!ids.is_empty()).then(|| SubscriberId(ids[n as usize % ids.len()]))
        };
        for step in script {
            let input = match step {
                Step::Attach => {
                    next_subscriber += 1;
                    if !ended {
                        witnesses.insert(next_subscriber, (Witness::default(), last_run));
                    }
                    Some(Input::Attach { subscriber: SubscriberId(next_subscriber), sink: () })
                }
                Step::Detach(n) => nth(&witnesses, n).map(|subscriber| {
                    witnesses.remove(&subscriber.0);
                    shell.stuck.remove(&subscriber.0);
                    Input::Detach { subscriber }
                }),
                Step::Message(n) => {
                    nth(&witnesses, n).map(|subscriber| Input::Message { subscriber, text: "m".into(), chosen: Chosen::for_test() })
                }
                Step::Delta(text) => open.map(|run| {
                    truth.entry(run).or_default().push_str(&text);
                    Input::Run { run, event: RunEvent::answer(text) }
                }),
                Step::Reasoning(text) => open.map(|run| Input::Run { run, event: RunEvent::reasoning(text) }),
                Step::End(good) => open.take().map(|run| {
                    let outcome = if good { Ok(FinishReason::Stop) } else { Err(RunErrorKind::UpstreamError) };
                    Input::Run { run, event: end(outcome, None) }
                }),
                Step::OldRun => Some(Input::Run {
                    run: RunId(last_run.0.wrapping_sub(1)),
                    event: RunEvent::answer("old"),
                }),
                Step::Stick(n) => {
                    if let Some(subscriber) = nth(&witnesses, n) {
                        shell.stuck.insert(subscriber.0);
                    }
                    None
                }
                Step::Ready(n) => nth(&witnesses, n).map(|subscriber| {
                    shell.stuck.remove(&subscriber.0);
                    Input::Ready { subscriber }
                }),
                Step::Drain => Some(Input::Drain),
            };
            if let Some(input) = input {
                shell.feed(input);
            }
            for effect in shell.out.drain(..) {
                prop_assert!(!ended, "nothing after the end");
                match effect {
                    Effect::StartRun { run, .. } => {
                        prop_assert_eq!(open, None);
                        prop_assert!(run > last_run);
                        (open, last_run) = (Some(run), run);
                        truth.insert(run, String::new());
                    }
                    Effect::CancelRun { run } => prop_assert_eq!(open.take(), Some(run)),
                    Effect::HoldRun { run } | Effect::ContinueRun { run } => prop_assert_eq!(open, Some(run)),
                    Effect::Push { subscriber, outgoing, .. } => {
                        if let Some((witness, _)) = witnesses.get_mut(&subscriber.0) {
                            witness.receive(&outgoing);
                        }
                    }
                    Effect::Release { .. } | Effect::Lose { .. } => {}
                    Effect::End => { ended = true; prop_assert_eq!(open, None) }
                }
            }
        }
        // Finally all subscribers read to the end.
        shell.stuck.clear();
        for subscriber in witnesses.keys().copied().collect::<Vec<_>>() {
            shell.feed(Input::Ready { subscriber: SubscriberId(subscriber) });
            for effect in shell.out.drain(..) {
                if let Effect::Push { subscriber, outgoing, .. } = effect
                    && let Some((witness, _)) = witnesses.get_mut(&subscriber.0) {
                    witness.receive(&outgoing);
                }
            }
        }
        for (witness, since) in witnesses.values() {
            let closed_early = witness.closed && shell.session.first_log > 0 && !shell.session.draining;
            let expected: Vec<_> = (since.0 + 1..=last_run.0)
                .map(RunId)
                .filter(|run| Some(*run) != open)
                .map(|run| (run, truth[&run].clone()))
                .collect();
            if !closed_early {
                prop_assert_eq!(&witness.ended, &expected);
                if let Some(run) = open.filter(|run| run > since) {
                    prop_assert_eq!(&witness.answer, &truth[&run]);
                }
            }
        }
    }
}
