//! An answer that broke off is continued by a person: another run of its turn.
use super::{restart::World, *};
use proptest::prelude::*;

const ANSWER: &str = "msg-00000000000000000000000000000001-1";

/// A chat whose first answer, `A tide `, ended so.
fn broken_off(how: &str) -> Shell {
    let mut shell = Shell::of(settings(), Lifetime::OfChat);
    for line in ["ask 1 a 'a'", "run 1 delta 'A tide '", how] {
        shell.step(line);
    }
    shell.out.clear();
    shell
}

/// What the history has: the newest answer, and how it ended.
fn kept(shell: &Shell) -> (String, Ending) {
    let answer = shell.session.history.newest().and_then(|turn| turn.answer).expect("an answer");
    (answer.text.to_string(), answer.ending)
}

#[test]
fn an_answer_goes_on_in_its_part_after_every_ending_but_a_whole_one() {
    for how in ["run 1 length", "run 1 interrupted", "abort 1"] {
        let mut shell = broken_off(how);
        play(
            &mut shell,
            expect![[r#"
                continue 2 msg-00000000000000000000000000000001-1
                    2 <- continued run=2 msg-00000000000000000000000000000001-1
                    2 <- delta #1 'A tide '
                    start run=2 [user 'a', assistant 'A tide']
                run 2 delta ' is'
                    2 <- delta #2 'is'
                run 2 delta ' high.'
                    2 <- delta #3 ' high.'
                run 2 stop
                    2 <- turn_end run=2 stop
                    release 2
                ask 3 b 'b'
                    3 <- accepted run=3
                    start run=3 [user 'a', assistant 'A tide is high.', user 'b']
            "#]],
        );
        assert_eq!(shell.session.history.turns(), 2, "{how}");
    }
}

#[test]
fn what_ended_well_or_is_not_the_newest_is_refused() {
    check_chat(expect![[r#"
        continue 1 msg-00000000000000000000000000000001-1
            1 <- refused bad_parameter
            release 1
        ask 2 a 'a'
            2 <- accepted run=1
            start run=1 [user 'a']
        continue 3 msg-00000000000000000000000000000001-1
            3 <- refused bad_parameter
            release 3
        run 1 delta 'A'
            2 <- delta #1 'A'
        run 1 stop
            2 <- turn_end run=1 stop
            release 2
        continue 4 msg-00000000000000000000000000000001-1
            4 <- refused bad_parameter
            release 4
        ask 5 b 'b'
            5 <- accepted run=2
            start run=2 [user 'a', assistant 'A', user 'b']
        run 2 delta ' '
            5 <- delta #1 ' '
        run 2 interrupted
            5 <- turn_end run=2 interrupted
            release 5
        continue 6 msg-00000000000000000000000000000001-2
            6 <- refused bad_parameter
            release 6
        ask 7 c 'c'
            7 <- accepted run=3
            start run=3 [user 'a', assistant 'A', user 'b', assistant ' ', user 'c']
        abort 7
            cancel run=3
            7 <- turn_end run=3 stopped
            release 7
        continue 8 msg-00000000000000000000000000000001-3
            8 <- refused bad_parameter
            release 8
        ask 9 d 'd'
            9 <- accepted run=4
            start run=4 [user 'a', assistant 'A', user 'b', assistant ' ', user 'd']
        run 4 delta 'D'
            9 <- delta #1 'D'
        run 4 interrupted
            9 <- turn_end run=4 interrupted
            release 9
        at 60
        continue 10 msg-00000000000000000000000000000001-2
            10 <- refused bad_parameter
            release 10
        continue 11 d
            11 <- refused bad_parameter
            release 11
        continue 12 msg-00000000000000000000000000000001-4 other
            12 <- refused bad_parameter
            release 12
        continue 13 msg-00000000000000000000000000000001-4 m
            13 <- continued run=5 msg-00000000000000000000000000000001-4
            13 <- delta #1 'D'
            start run=5 [user 'a', assistant 'A', user 'b', assistant ' ', user 'd', assistant 'D']
        continue 14 msg-00000000000000000000000000000001-4
            14 <- continued run=5 msg-00000000000000000000000000000001-4
            14 <- delta #1 'D'
        drain
        continue 15 msg-00000000000000000000000000000001-4
            15 <- refused draining
            release 15
    "#]]);
}

#[test]
fn a_model_that_does_not_go_on_is_refused_and_so_is_one_that_is_gone() {
    for (catalog, expected) in [
        (Catalog::of_one("m"), "refused bad_parameter"),
        (Catalog::of_one("another"), "refused bad_parameter"),
        (Catalog::new(vec![Model { continues: true, ..Model::named("m") }]), "continued run=2"),
    ] {
        let mut shell = broken_off("run 1 length");
        let (answer, catalog) = (id(ANSWER), Arc::new(catalog));
        let choice = Choice::default();
        shell.feed(Input::Continue { subscriber: SubscriberId(2), sink: (), answer, choice, catalog });
        assert!(show(&shell.out[0]).contains(expected), "{:?}", shell.out);
        assert_eq!(kept(&shell), ("A tide ".to_owned(), Ending::Cut));
    }
}

#[test]
fn the_model_is_asked_without_reasoning_and_with_what_the_client_sets() {
    let mut shell = broken_off("run 1 length");
    let allowed = crate::chat::Allowed { max_tokens: Some(9), thinking: true, ..Default::default() };
    let model = Model { continues: true, allowed, ..Model::named("m") };
    let parameters =
        crate::chat::Parameters { max_tokens: Some(7), thinking: Some(true), ..Default::default() };
    let ask = |parameters| Input::Continue {
        subscriber: SubscriberId(2),
        sink: (),
        answer: id(ANSWER),
        choice: Choice { model: None, parameters },
        catalog: Arc::new(Catalog::new(vec![model.clone()])),
    };
    shell.feed(ask(crate::chat::Parameters { max_tokens: Some(10), ..parameters }));
    assert_eq!(show(&shell.out[0]), "2 <- refused bad_parameter");
    shell.out.clear();
    shell.feed(ask(parameters));
    let request = shell.out.iter().find_map(|effect| match effect {
        Effect::StartRun { request, .. } => Some(request),
        _ => None,
    });
    let request = request.expect("a run");
    assert!(request.continues());
    assert_eq!((request.parameters.max_tokens, request.parameters.thinking), (Some(7), Some(false)));
    // Behind a trailing blank a model does not find the way on.
    assert_eq!(request.messages.last().map(|last| last.text.to_string()), Some("A tide".to_owned()));
}

#[test]
fn what_comes_to_nothing_leaves_the_answer_as_it_was() {
    for (how, ending) in [("run 1 length", Ending::Cut), ("abort 1", Ending::Incomplete)] {
        for end in ["run 2 rate_limited", "run 2 length", "abort 2", "run 2 input_refused"] {
            let mut shell = broken_off(how);
            shell.step(&format!("continue 2 {ANSWER}"));
            // The blank was shown before.
            shell.step("run 2 delta ' '");
            shell.step(end);
            assert_eq!(kept(&shell), ("A tide ".to_owned(), ending), "{how}, {end}");
            // It can be tried again.
            shell.step(&format!("continue 3 {ANSWER}"));
            shell.step("run 3 delta 'is'");
            shell.step("run 3 stop");
            assert_eq!(kept(&shell), ("A tide is".to_owned(), Ending::Whole), "{how}, {end}");
        }
    }
}

#[test]
fn a_model_that_has_nothing_to_add_ends_the_answer() {
    let mut shell = broken_off("run 1 length");
    shell.step(&format!("continue 2 {ANSWER}"));
    shell.step("run 2 stop");
    assert_eq!(kept(&shell), ("A tide ".to_owned(), Ending::Whole));
}

#[test]
fn what_breaks_off_again_keeps_what_came_unless_a_filter_refused_it() {
    for (end, kept_text, ending) in [
        ("run 2 length", "A tide is", Ending::Cut),
        ("run 2 interrupted", "A tide is", Ending::Incomplete),
        ("abort 2", "A tide is", Ending::Incomplete),
        ("run 2 output_refused", "A tide ", Ending::Cut),
    ] {
        let mut shell = broken_off("run 1 length");
        shell.step(&format!("continue 2 {ANSWER}"));
        shell.step("run 2 reasoning 'hm'");
        shell.step("run 2 delta 'is'");
        shell.step(end);
        assert_eq!(kept(&shell), (kept_text.to_owned(), ending), "{end}");
    }
}

#[test]
fn the_log_of_each_run_has_numbers_of_its_own() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        run 1 delta 'A'
            1 <- delta #1 'A'
        run 1 delta ' tide'
            1 <- delta #2 ' tide'
        run 1 length
            1 <- turn_end run=1 length
            release 1
        continue 2 msg-00000000000000000000000000000001-1
            2 <- continued run=2 msg-00000000000000000000000000000001-1
            2 <- delta #1 'A tide'
            start run=2 [user 'a', assistant 'A tide']
        continue 3 msg-00000000000000000000000000000001-1
            3 <- continued run=2 msg-00000000000000000000000000000001-1
            3 <- delta #1 'A tide'
        run 2 delta ' is'
            2 <- delta #2 ' is'
            3 <- delta #2 ' is'
        resume 4 a 3 run=2
            4 <- resumed run=2 after=Some(3) entries=1 parts=1 open=Some(Answer)
            4 <- delta #2 ' is'
        resume 5 a 3
            5 <- resumed run=2 after=None entries=0 parts=0 open=None
            5 <- continued run=2 msg-00000000000000000000000000000001-1
            5 <- delta #2 'A tide is'
        resume 6 a 99 run=1
            6 <- resumed run=2 after=None entries=0 parts=0 open=None
            6 <- continued run=2 msg-00000000000000000000000000000001-1
            6 <- delta #2 'A tide is'
        resume 7 a 99 run=2
            7 <- refused bad_resume
            release 7
        resume 8 a
            8 <- resumed run=2 after=None entries=0 parts=0 open=None
            8 <- continued run=2 msg-00000000000000000000000000000001-1
            8 <- delta #2 'A tide is'
        run 2 interrupted
            2 <- turn_end run=2 interrupted
            3 <- turn_end run=2 interrupted
            4 <- turn_end run=2 interrupted
            5 <- turn_end run=2 interrupted
            6 <- turn_end run=2 interrupted
            8 <- turn_end run=2 interrupted
            release 2
            release 3
            release 4
            release 5
            release 6
            release 8
        continue 9 msg-00000000000000000000000000000001-1
            9 <- continued run=3 msg-00000000000000000000000000000001-1
            9 <- delta #1 'A tide is'
            start run=3 [user 'a', assistant 'A tide is']
        resume 10 a 3 run=2
            10 <- resumed run=3 after=None entries=0 parts=0 open=None
            10 <- continued run=3 msg-00000000000000000000000000000001-1
            10 <- delta #1 'A tide is'
        resume 11 a 3 run=3
            11 <- refused too_often
            release 11
    "#]]);
}

#[test]
fn a_question_waits_for_the_continued_answer_and_is_newer_than_it() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        run 1 delta 'A tide'
            1 <- delta #1 'A tide'
        run 1 length
            1 <- turn_end run=1 length
            release 1
        continue 2 msg-00000000000000000000000000000001-1
            2 <- continued run=2 msg-00000000000000000000000000000001-1
            2 <- delta #1 'A tide'
            start run=2 [user 'a', assistant 'A tide']
        ask 3 b 'b'
            3 <- waiting position=1
        run 2 delta ' is high'
            2 <- delta #2 ' is high'
        run 2 stop
            2 <- turn_end run=2 stop
            3 <- accepted run=3
            start run=3 [user 'a', assistant 'A tide is high', user 'b']
            release 2
        continue 4 msg-00000000000000000000000000000001-1
            4 <- refused bad_parameter
            release 4
    "#]]);
}

#[test]
fn the_transcript_has_one_answer_while_it_is_continued_and_a_restored_session_too() {
    let mut shell = broken_off("run 1 length");
    shell.step(&format!("continue 2 {ANSWER}"));
    shell.step("run 2 delta 'is'");
    let texts = |shell: &Shell| {
        let transcript = shell.session.transcript();
        let texts: Vec<_> = transcript.messages.iter().map(|message| message.text.to_string()).collect();
        (texts, transcript.is_writing)
    };
    assert_eq!(texts(&shell), (vec!["a".to_owned(), "A tide is".to_owned()], true));
    let snapshot = shell.session.snapshot().expect("of a chat");
    let mut restored = Shell::of(settings(), Lifetime::OfChat);
    restored.session = Session::restore(Arc::new(settings()), SessionId(2), snapshot, Duration::ZERO);
    assert_eq!(texts(&restored), (vec!["a".to_owned(), "A tide is".to_owned()], false));
    assert_eq!(kept(&restored).1, Ending::Incomplete);
    play(
        &mut restored,
        expect![[r#"
            resume 3 a 3 run=2
                3 <- resumed run=2 after=Some(3) entries=1 parts=1 open=Some(Answer)
                3 <- delta #2 'is'
                3 <- turn_end run=2 interrupted
                release 3
            continue 4 msg-00000000000000000000000000000001-1
                4 <- continued run=3 msg-00000000000000000000000000000001-1
                4 <- delta #1 'A tide is'
                start run=3 [user 'a', assistant 'A tide is']
            run 3 delta ' high'
                4 <- delta #2 ' high'
            run 3 stop
                4 <- turn_end run=3 stop
                release 4
        "#]],
    );
}

#[test]
fn an_answer_beyond_the_budget_of_the_history_is_not_continued() {
    let mut shell = Shell::of(settings(), Lifetime::OfChat);
    let long = "tide ".repeat(2_001);
    for line in ["ask 1 a 'a'", &format!("run 1 delta '{long}'"), "run 1 length"] {
        shell.step(line);
    }
    shell.out.clear();
    shell.step(&format!("continue 2 {ANSWER}"));
    assert_eq!(show(&shell.out[0]), "2 <- refused bad_parameter");
}

/// About 10,000 cuts; `PROPTEST_CASES=100000` makes more.
fn cases() -> u32 {
    ProptestConfig::default().cases.max(2_500)
}

fn pieces() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("[a-c水 ]{1,3}", 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Random cuts, late and busy readers, and an answer that is continued again and again, by any of them: who comes back
    /// with a number of any run has the whole text once.
    #[test]
    fn a_reader_that_loses_its_socket_anywhere_has_the_continued_answer_once(
        runs in proptest::collection::vec((pieces(), 0..3_usize, 0..3_usize), 1..4),
        late in proptest::collection::vec(0..12_usize, 3),
        cuts in proptest::collection::vec(proptest::collection::vec(0..9_usize, 0..4), 3),
        refusals in proptest::collection::vec(prop_oneof![3 => Just(false), 1 => Just(true)], 1..9),
    ) {
        let mut world = World::new(cuts, refusals);
        let subscriber = world.subscriber(0);
        world.feed(ask(subscriber, TurnKind::Submit, "q", "q".to_owned()));
        let (mut step, mut whole, mut run) = (0, "x".to_owned(), 1);
        world.feed(Input::Run { run: RunId(1), event: RunEvent::answer("x") });
        for (number, (pieces, by, how)) in runs.iter().enumerate() {
            if number > 0 {
                run += 1;
                world.leave(*by);
                let subscriber = world.subscriber(*by);
                // It may have numbers of the run before, and begins anew.
                world.readers[*by].restart();
                world.feed(continue_by(subscriber, id(ANSWER), None));
            }
            let mut seam = crate::chat::seam::Seam::new(&whole);
            let mut is_new = number == 0;
            for piece in pieces {
                let event = RunEvent::Text { kind: TextKind::Answer, text: piece.clone() };
                world.feed(Input::Run { run: RunId(run), event });
                let new = if is_new { piece.as_str() } else { seam.join(piece) };
                is_new |= !new.is_empty();
                whole += new;
                for reader in (1..3).filter(|reader| late[*reader] == step) {
                    if world.readers[reader].encoder.is_none() {
                        let subscriber = world.subscriber(reader);
                        world.feed(Input::Resume { subscriber, sink: (), turn: None, after: None });
                    }
                }
                if step.is_multiple_of(2) {
                    world.return_all();
                }
                step += 1;
            }
            let outcome = match how {
                _ if number + 1 == runs.len() => Ok(FinishReason::Stop),
                0 => Ok(FinishReason::Length),
                1 => Err(RunErrorKind::Interrupted),
                _ => Err(RunErrorKind::UpstreamTimeout),
            };
            world.feed(Input::Run { run: RunId(run), event: end(outcome, None) });
        }
        world.refusals = vec![false];
        // Those whose answer had ended come back too.
        for _ in 0..40 {
            world.return_all();
        }
        for reader in 0..3 {
            if world.readers[reader].text(true) != whole {
                world.leave(reader);
            }
        }
        for _ in 0..40 {
            world.return_all();
        }
        for reader in world.readers.iter().filter(|reader| reader.encoder.is_some()) {
            prop_assert!(reader.ended, "after {:?}", reader.after);
            prop_assert_eq!(reader.text(true), &*whole);
        }
        let kept = world.session.transcript().messages;
        prop_assert_eq!(kept.len(), 2);
        prop_assert_eq!((kept[1].text.as_str(), kept[1].ending), (&*whole, Ending::Whole));
    }
}
