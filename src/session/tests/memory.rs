//! The memory of a session, and what it releases when memory is low.
use super::*;

// faults: K144
#[test]
fn a_retained_answer_is_released_and_a_running_one_is_not() {
    check_chat(expect![[r#"
        answered 1 a 'a' 'A'
        release_retained
        resume 2
            2 <- no_active
            release 2
        ask 3 b 'b'
            3 <- accepted run=2
            start run=2 [user 'a', assistant 'A', user 'b']
        run 2 delta 'B'
            3 <- delta #1 'B'
        release_retained
        resume 4
            4 <- resumed run=2 after=None entries=0 parts=0 open=None
            4 <- accepted run=2
            4 <- delta #1 'B'
        run 2 delta 'C'
            3 <- delta #2 'C'
            4 <- delta #2 'C'
        run 2 stop
            3 <- turn_end run=2 stop
            4 <- turn_end run=2 stop
            release 3
            release 4
    "#]]);
}

// faults: K144
#[test]
fn a_subscriber_that_is_a_turn_behind_is_closed_and_others_are_not() {
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
        release_retained
        run 2 stop
            1 <- turn_end run=2 stop
        release_retained
        ready 2
            2 <- close 1013
    "#]]);
}

// faults: K144
#[test]
fn a_subscriber_of_the_newest_turn_keeps_what_it_has_not_read() {
    check(expect![[r#"
        attach 1
        client 1 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        stick 1
        run 1 delta 'A'
        run 1 stop
        release_retained
        ready 1
            1 <- delta #1 'A'
            1 <- turn_end run=1 stop
    "#]]);
}

// faults: K144
#[test]
fn the_memory_use_follows_the_content() {
    let mut shell = Shell::of(settings(), Lifetime::OfChat);
    let base = shell.session.memory_use();
    assert_eq!((base.queued, base.replay, base.retained), (0, 0, 0));
    let text = "x".repeat(3_000);
    shell.feed(parse(&format!("ask 1 a '{text}'")));
    shell.feed(parse(&format!("ask 2 b '{text}'")));
    let asked = shell.session.memory_use();
    assert!(asked.history >= base.history + 3_000 && asked.queued >= 3_000, "{asked:?}");
    shell.feed(parse(&format!("run 1 delta '{text}'")));
    let running = shell.session.memory_use();
    assert!(running.replay >= asked.replay + 3_000 && running.retained == 0, "{running:?}");
    shell.feed(parse("abort 2"));
    assert_eq!(shell.session.memory_use().queued, 0);
    shell.feed(parse("run 1 stop"));
    // Without subscribers it is kept for replay.
    let kept = shell.session.memory_use();
    assert_eq!((kept.retained, kept.replay >= 3_000), (kept.replay, true), "{kept:?}");
    assert!(kept.history >= base.history + 6_000, "{kept:?}");
    shell.feed(Input::ReleaseRetained);
    let quiet = shell.session.memory_use();
    assert_eq!((quiet.replay, quiet.retained, quiet.history), (0, 0, kept.history));
    assert_eq!(shell.session.occupancy(), Occupancy::Quiet);
}
