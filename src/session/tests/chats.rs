//! A session that outlives its subscribers.
use super::*;

// faults: A13, A14
#[test]
fn a_queued_question_receives_its_position_and_can_be_withdrawn() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        ask 2 b 'b'
            2 <- waiting position=1
        ask 3 c 'c'
            3 <- waiting position=2
        ask 4 d 'd'
            4 <- refused queue_full
            release 4
        abort 2
            release 2
            3 <- waiting position=1
        abort 2
        run 1 delta 'A'
            1 <- delta #1 'A'
        run 1 stop
            1 <- turn_end run=1 stop
            3 <- accepted run=2
            start run=2 [user 'a', assistant 'A', user 'c']
            release 1
        abort 1
        run 2 delta 'C'
            3 <- delta #1 'C'
        run 2 stop
            3 <- turn_end run=2 stop
            release 3
    "#]]);
}

// faults: A14
#[test]
fn a_stop_reports_the_usage_of_its_own_run() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        run 1 used 3
        run 1 delta 'A'
            1 <- delta #1 'A'
        run 1 used 7
        abort 1
            cancel run=1
            1 <- turn_end run=1 stopped used=7
            release 1
        run 1 used 9
        ask 2 b 'b'
            2 <- accepted run=2
            start run=2 [user 'a', assistant 'A', user 'b']
        run 1 used 9
        run 2 delta 'B'
            2 <- delta #1 'B'
        abort 2
            cancel run=2
            2 <- turn_end run=2 stopped
            release 2
    "#]]);
}

// faults: A14
#[test]
fn a_stop_keeps_the_text_so_far_and_reaches_all_subscribers() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        resume 2
            2 <- resumed run=1 after=None entries=0 parts=0 open=None
            2 <- accepted run=1
        run 1 delta 'Half of'
            1 <- delta #1 'Half of'
            2 <- delta #1 'Half of'
        abort 2
            cancel run=1
            1 <- turn_end run=1 stopped
            2 <- turn_end run=1 stopped
            release 1
            release 2
        run 1 delta ' it'
        run 1 stop
        abort 1
        ask 3 b 'b'
            3 <- accepted run=2
            start run=2 [user 'a', assistant 'Half of', user 'b']
        abort 3
            cancel run=2
            3 <- turn_end run=2 stopped
            release 3
        ask 4 c 'c'
            4 <- accepted run=3
            start run=3 [user 'a', assistant 'Half of', user 'c']
    "#]]);
}

// faults: A14
#[test]
fn leaving_does_not_stop_the_run() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        run 1 delta 'A'
            1 <- delta #1 'A'
        detach 1
        run 1 delta 'B'
        run 1 delta 'C'
        resume 2
            2 <- resumed run=1 after=None entries=0 parts=0 open=None
            2 <- accepted run=1
            2 <- delta #2 'ABC'
        run 1 delta 'D'
            2 <- delta #3 'D'
        run 1 stop
            2 <- turn_end run=1 stop
            release 2
        resume 3
            3 <- resumed run=1 after=None entries=0 parts=0 open=None
            3 <- accepted run=1
            3 <- delta #3 'ABCD'
            3 <- turn_end run=1 stop
            release 3
    "#]]);
}

// faults: A15
#[test]
fn a_question_that_is_sent_again_is_not_answered_twice() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        run 1 delta 'A'
            1 <- delta #1 'A'
        detach 1
        ask 2 a 'a'
            2 <- accepted run=1
            2 <- delta #1 'A'
        ask 3 b 'b'
            3 <- waiting position=1
        ask 4 b 'b'
            4 <- waiting position=1
        run 1 stop
            2 <- turn_end run=1 stop
            3 <- accepted run=2
            4 <- accepted run=2
            start run=2 [user 'a', assistant 'A', user 'b']
            release 2
        run 2 delta 'B'
            3 <- delta #1 'B'
            4 <- delta #1 'B'
        run 2 stop
            3 <- turn_end run=2 stop
            4 <- turn_end run=2 stop
            release 3
            release 4
        ask 5 b 'b'
            5 <- accepted run=2
            5 <- delta #1 'B'
            5 <- turn_end run=2 stop
            release 5
        at 121
        ask 6 b 'b'
            6 <- accepted run=0
            6 <- delta #1 'B'
            6 <- turn_end run=0 stop
            release 6
        resume 7
            7 <- resumed run=0 after=None entries=0 parts=0 open=None
            7 <- accepted run=0
            7 <- delta #1 'B'
            7 <- turn_end run=0 stop
            release 7
        resume 8 3
            8 <- refused bad_resume
            release 8
    "#]]);
}

// faults: A21
#[test]
fn a_subscriber_resumes_at_any_number_that_was_written() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        run 1 reasoning 'h'
            1 <- reasoning #1 'h'
        run 1 reasoning 'm'
            1 <- reasoning #2 'm'
        run 1 delta 'A'
            1 <- delta #3 'A'
        run 1 delta '水'
            1 <- delta #4 '水'
        resume 20
            20 <- resumed run=1 after=None entries=0 parts=0 open=None
            20 <- accepted run=1
            20 <- reasoning #2 'hm'
            20 <- delta #4 'A水'
        resume 21 0
            21 <- resumed run=1 after=Some(0) entries=0 parts=0 open=None
            21 <- accepted run=1
            21 <- reasoning #2 'hm'
            21 <- delta #4 'A水'
        resume 22 1
            22 <- resumed run=1 after=Some(1) entries=0 parts=0 open=None
            22 <- reasoning #2 'hm'
            22 <- delta #4 'A水'
        resume 23 3
            23 <- resumed run=1 after=Some(3) entries=1 parts=1 open=Some(Reasoning)
            23 <- reasoning #2 'm'
            23 <- delta #4 'A水'
        resume 24 5
            24 <- resumed run=1 after=Some(5) entries=2 parts=1 open=Some(Reasoning)
            24 <- delta #4 'A水'
        resume 25 7
            25 <- resumed run=1 after=Some(7) entries=3 parts=2 open=Some(Answer)
            25 <- delta #4 '水'
        resume 26 8
            26 <- resumed run=1 after=Some(8) entries=4 parts=2 open=Some(Answer)
        resume 27 9
            27 <- refused bad_resume
            release 27
    "#]]);
}

// faults: A21
#[test]
fn a_subscriber_resumes_at_any_number_of_an_answer_that_has_ended() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        run 1 reasoning 'hm'
            1 <- reasoning #1 'hm'
        run 1 delta 'A'
            1 <- delta #2 'A'
        run 1 stop
            1 <- turn_end run=1 stop
            release 1
        resume 2 3
            2 <- resumed run=1 after=Some(3) entries=1 parts=1 open=Some(Reasoning)
            2 <- delta #2 'A'
            2 <- turn_end run=1 stop
            release 2
        resume 3 4
            3 <- resumed run=1 after=Some(4) entries=1 parts=1 open=Some(Reasoning)
            3 <- delta #2 'A'
            3 <- turn_end run=1 stop
            release 3
        resume 4 5
            4 <- resumed run=1 after=Some(5) entries=1 parts=1 open=Some(Reasoning)
            4 <- delta #2 'A'
            4 <- turn_end run=1 stop
            release 4
        resume 5 6
            5 <- resumed run=1 after=Some(6) entries=2 parts=2 open=Some(Answer)
            5 <- turn_end run=1 stop
            release 5
        resume 6 7
            6 <- resumed run=1 after=Some(7) entries=2 parts=2 open=Some(Answer)
            6 <- turn_end run=1 stop
            release 6
        resume 7 9
            7 <- resumed run=1 after=Some(9) entries=2 parts=2 open=Some(Answer)
            7 <- turn_end run=1 stop
            release 7
        resume 8 10
            8 <- refused bad_resume
            release 8
        resume 9 4294967295
            9 <- refused bad_resume
            release 9
    "#]]);
}

// faults: A21
#[test]
fn there_is_nothing_to_resume_before_the_first_turn() {
    check_chat(expect![[r#"
        resume 1
            1 <- no_active
            release 1
        resume 2 3
            2 <- no_active
            release 2
    "#]]);
}

// faults: A22
#[test]
fn a_seam_in_a_growing_answer_loses_nothing() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        stick 1
        run 1 delta 'one '
        run 1 delta 'two '
        resume 2
            2 <- resumed run=1 after=None entries=0 parts=0 open=None
            2 <- accepted run=1
            2 <- delta #2 'one two '
        run 1 delta 'three '
            2 <- delta #3 'three '
        detach 1
        detach 2
        run 1 delta 'four '
        run 1 delta 'five '
        resume 3 4
            3 <- resumed run=1 after=Some(4) entries=2 parts=1 open=Some(Answer)
            3 <- delta #4 'three four five '
        run 1 delta 'six'
            3 <- delta #5 'six'
        run 1 stop
            3 <- turn_end run=1 stop
            release 3
    "#]]);
}

// faults: A21
#[test]
fn a_subscriber_that_claims_more_than_it_received_misses_nothing_that_follows() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        detach 1
        run 1 delta 'A'
        resume 2 3
            2 <- resumed run=1 after=Some(3) entries=1 parts=1 open=Some(Answer)
        stick 2
        run 1 delta 'B'
        run 1 delta 'C'
        ready 2
            2 <- delta #3 'BC'
    "#]]);
}

// faults: A23
#[test]
fn two_tabs_read_one_answer_at_their_own_pace_and_the_oldest_goes_when_there_are_too_many() {
    let mut shell = Shell::of(Settings { subscribers_max: 2, ..settings() }, Lifetime::OfChat);
    play(
        &mut shell,
        expect![[r#"
            ask 1 a 'a'
                1 <- accepted run=1
                start run=1 [user 'a']
            resume 2
                2 <- resumed run=1 after=None entries=0 parts=0 open=None
                2 <- accepted run=1
            stick 2
            run 1 delta 'A'
                1 <- delta #1 'A'
            run 1 delta 'B'
                1 <- delta #2 'B'
            resume 3
                1 <- refused taken_over
                3 <- resumed run=1 after=None entries=0 parts=0 open=None
                3 <- accepted run=1
                3 <- delta #2 'AB'
                release 1
            run 1 delta 'C'
                3 <- delta #3 'C'
            ready 2
                2 <- delta #3 'ABC'
            run 1 stop
                2 <- turn_end run=1 stop
                3 <- turn_end run=1 stop
                release 2
                release 3
        "#]],
    );
}

// faults: A24
#[test]
fn a_chat_is_joined_ten_times_a_second_at_most() {
    let mut shell = Shell::of(settings(), Lifetime::OfChat);
    shell.feed(parse("ask 1 a 'a'"));
    let mut replies = Vec::new();
    for subscriber in 2..=30 {
        shell.out.clear();
        shell.feed(parse(&format!("resume {subscriber}")));
        replies.push(show(&shell.out[0]));
        shell.feed(parse(&format!("detach {subscriber}")));
    }
    let refused = replies.iter().filter(|reply| reply.ends_with("refused too_often")).count();
    assert_eq!((refused, replies.len()), (20, 29));
    assert_eq!(shell.session.subscribers.len(), 1, "the others are removed");
    shell.now = Duration::from_secs(1);
    shell.out.clear();
    shell.feed(parse("resume 40"));
    assert!(show(&shell.out[0]).starts_with("40 <- resumed"));
}

#[test]
fn an_edit_cuts_the_history() {
    check_chat(expect![[r#"
        answered 1 a 'a' 'A'
        answered 2 b 'b' 'B'
        edit 3 b2 b 'better'
            3 <- accepted run=3
            start run=3 [user 'a', assistant 'A', user 'better']
        run 3 delta 'C'
            3 <- delta #1 'C'
        run 3 stop
            3 <- turn_end run=3 stop
            release 3
        edit 4 a a 'from the beginning'
            4 <- accepted run=4
            start run=4 [user 'from the beginning']
        edit 5 a a 'from the beginning'
            5 <- accepted run=4
        run 4 delta 'D'
            4 <- delta #1 'D'
            5 <- delta #1 'D'
        run 4 stop
            4 <- turn_end run=4 stop
            5 <- turn_end run=4 stop
            release 4
            release 5
        edit 6 z nothing 'new'
            6 <- accepted run=5
            start run=5 [user 'from the beginning', assistant 'D', user 'new']
    "#]]);
}

#[test]
fn a_regenerated_answer_replaces_the_first() {
    check_chat(expect![[r#"
        answered 1 a 'a' 'A'
        answered 2 b 'b' 'B'
        regenerate 3 b 'b as the client has it'
            3 <- accepted run=3
            start run=3 [user 'a', assistant 'A', user 'b']
        run 3 delta 'C'
            3 <- delta #1 'C'
        run 3 stop
            3 <- turn_end run=3 stop
            release 3
        regenerate 4 x msg-00000000000000000000000000000001-3 'x'
            4 <- accepted run=4
            start run=4 [user 'a', assistant 'A', user 'b']
        run 4 upstream_error
            4 <- turn_end run=4 upstream_error
            release 4
        regenerate 5 y 'as new'
            5 <- accepted run=5
            start run=5 [user 'a', assistant 'A', user 'b', assistant 'C', user 'as new']
    "#]]);
}

#[test]
fn a_drain_releases_queued_subscribers_and_ends_with_the_answer() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        ask 2 b 'b'
            2 <- waiting position=1
        drain
            2 <- refused draining
            release 2
        ask 3 c 'c'
            3 <- refused draining
            release 3
        resume 4
            4 <- resumed run=1 after=None entries=0 parts=0 open=None
            4 <- accepted run=1
        run 1 delta 'A'
            1 <- delta #1 'A'
            4 <- delta #1 'A'
        stick 4
        run 1 stop
            1 <- turn_end run=1 stop
            release 1
        ready 4
            4 <- turn_end run=1 stop
            release 4
            end
    "#]]);
}

#[test]
fn a_client_transcript_is_used_when_the_history_is_empty() {
    let past = |role, name: &str, text: &str| ChatMessage::new(id(name), role, text);
    let ask = |name: &str, transcript| Input::Ask {
        subscriber: SubscriberId(name.len() as u64),
        sink: (),
        turn: Box::new(TurnRequest {
            kind: TurnKind::Submit,
            message: ChatMessage::user(id(name), name),
            transcript,
        }),
        chosen: Ok(Chosen::for_test()),
    };
    let sent = |shell: &mut Shell| {
        let start = shell.out.drain(..).find(|effect| matches!(effect, Effect::StartRun { .. }));
        start.map(|effect| show(&effect))
    };
    let mut shell = Shell::of(settings(), Lifetime::OfChat);
    let transcript = vec![
        past(Role::Assistant, "a0", "without a question"),
        past(Role::User, "u1", "one"),
        past(Role::User, "u2", "two"),
        past(Role::Assistant, "a2", "2"),
        past(Role::Assistant, "a3", "more"),
        past(Role::User, "u4", ""),
        past(Role::Assistant, "a4", "of nothing"),
    ];
    shell.feed(ask("q", transcript));
    assert_eq!(sent(&mut shell).unwrap(), "start run=1 [user 'two', assistant '2', user 'q']");
    let known: Vec<String> =
        shell.session.transcript().messages.iter().map(|message| message.id.to_string()).collect();
    assert_eq!(known, ["u1", "u2", "a2", "q", "msg-00000000000000000000000000000001-1"]);
    shell.feed(parse("run 1 delta 'Q'"));
    shell.feed(parse("run 1 stop"));
    shell.feed(ask("q2", vec![past(Role::User, "w", "what the client thinks")]));
    let expected = "start run=2 [user 'two', assistant '2', user 'q', assistant 'Q', user 'q2']";
    assert_eq!(sent(&mut shell).unwrap(), expected, "the server's history wins");
}

#[test]
fn an_evicted_chat_loses_its_subscribers_and_ends() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        stick 1
        run 1 delta 'A'
        run 1 stop
        evict
            lose 1
            end
        ask 2 b 'b'
    "#]]);
}

#[test]
fn the_end_of_the_grace_period_cancels_the_run_of_a_chat_and_not_that_of_a_socket() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        close
            cancel run=1
            end
        run 1 delta 'A'
    "#]]);
    check(expect![[r#"
        attach 1
        client 1 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        close
        run 1 delta 'A'
            1 <- delta #1 'A'
        detach 1
            cancel run=1
            end
    "#]]);
}
