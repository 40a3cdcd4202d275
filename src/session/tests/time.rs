//! How long a run continues without subscribers, a session is kept, and an answer can be replayed.
use super::*;

#[test]
fn a_run_without_subscribers_is_cancelled_after_the_detached_timeout() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        ask 2 b 'b'
            2 <- waiting position=1
        run 1 delta 'A'
            1 <- delta #1 'A'
        detach 1
        detach 2
        at 59.9
        run 1 delta 'B'
        at 60
            cancel run=1
        resume 3
            3 <- resumed run=1 after=None entries=0 parts=0 open=None
            3 <- accepted run=1
            3 <- delta #2 'AB'
            3 <- turn_end run=1 interrupted
            release 3
        at 61
        ask 4 c 'c'
            4 <- accepted run=2
            start run=2 [user 'a', assistant 'AB', user 'c']
    "#]]);
}

#[test]
fn a_subscriber_that_returns_in_time_keeps_the_run() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        detach 1
        at 59
        resume 2
            2 <- resumed run=1 after=None entries=0 parts=0 open=None
            2 <- accepted run=1
        at 70
        detach 2
        at 129.9
        at 130
            cancel run=1
    "#]]);
}

#[test]
fn a_finished_answer_is_kept_for_a_while_and_the_conversation_for_longer() {
    check_chat(expect![[r#"
        answered 1 a 'a' 'A'
        at 119
        resume 2
            2 <- resumed run=1 after=None entries=0 parts=0 open=None
            2 <- accepted run=1
            2 <- delta #1 'A'
            2 <- turn_end run=1 stop
            release 2
        at 120
        resume 3
            3 <- no_active
            release 3
        at 1919.9
            end
        at 1920
    "#]]);
}

#[test]
fn it_asks_to_be_woken_at_the_next_timeout() {
    let mut shell = Shell::of(settings(), Lifetime::OfChat);
    let mut wake = |line: &str, at: u64| {
        shell.now = Duration::from_secs(at);
        shell.feed(parse(line));
        shell.wake.map(|at| at.as_secs())
    };
    assert_eq!(wake("ask 1 a 'a'", 0), None);
    assert_eq!(wake("detach 1", 10), Some(70));
    assert_eq!(wake("run 1 delta 'A'", 20), Some(70));
    assert_eq!(wake("resume 2", 30), None);
    assert_eq!(wake("run 1 stop", 40), Some(160), "the answer is kept that long");
    assert_eq!(wake("wake", 160), Some(1840), "and the conversation that long");
    assert_eq!(wake("wake", 200), Some(1840), "an early wake-up changes nothing");
}
