//! A resume with the ID of its turn.
use super::*;

#[test]
fn a_resume_of_another_turn_than_the_newest_follows_nothing() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        run 1 delta 'A'
            1 <- delta #1 'A'
        resume 2 a
            2 <- resumed run=1 after=None entries=0 parts=0 open=None
            2 <- accepted run=1
            2 <- delta #1 'A'
        resume 3 msg-00000000000000000000000000000001-1
            3 <- resumed run=1 after=None entries=0 parts=0 open=None
            3 <- accepted run=1
            3 <- delta #1 'A'
        resume 4 b
            4 <- no_active
            release 4
        resume 5 msg-00000000000000000000000000000001-2
            5 <- no_active
            release 5
        run 1 stop
            1 <- turn_end run=1 stop
            2 <- turn_end run=1 stop
            3 <- turn_end run=1 stop
            release 1
            release 2
            release 3
        resume 6 4 a
            6 <- resumed run=1 after=Some(4) entries=1 parts=1 open=Some(Answer)
            6 <- turn_end run=1 stop
            release 6
        ask 7 b 'b'
            7 <- accepted run=2
            start run=2 [user 'a', assistant 'A', user 'b']
        resume 8 a
            8 <- no_active
            release 8
        resume 9 msg-00000000000000000000000000000001-1 3
            9 <- no_active
            release 9
        resume 10 b
            10 <- resumed run=2 after=None entries=0 parts=0 open=None
            10 <- accepted run=2
    "#]]);
}

#[test]
fn a_resume_of_a_queued_question_waits_for_its_answer() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        ask 2 b 'b'
            2 <- waiting position=1
        detach 2
        resume 3 b
            3 <- resumed queued
            3 <- waiting position=1
        resume 4 b 0
            4 <- refused bad_resume
            release 4
        resume 5
            5 <- resumed run=1 after=None entries=0 parts=0 open=None
            5 <- accepted run=1
        run 1 delta 'A'
            1 <- delta #1 'A'
            5 <- delta #1 'A'
        stick 3
        run 1 stop
            1 <- turn_end run=1 stop
            5 <- turn_end run=1 stop
            start run=2 [user 'a', assistant 'A', user 'b']
            release 1
            release 5
        ready 3
            3 <- accepted run=2
        resume 6 b
            6 <- resumed run=2 after=None entries=0 parts=0 open=None
            6 <- accepted run=2
    "#]]);
}

/// A client without a socket stops its question as soon as it has another one: it resumes, then aborts.
// faults: A14
#[test]
fn a_stop_after_a_resume_withdraws_the_question_that_still_waits() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        ask 2 b 'b'
            2 <- waiting position=1
        ask 3 c 'c'
            3 <- waiting position=2
        detach 2
        resume 4 b
            4 <- resumed queued
            4 <- waiting position=1
        resume 5 b
            5 <- resumed queued
            5 <- waiting position=1
        abort 4
            release 4
            5 <- turn_end run=0 stopped
            3 <- waiting position=1
            release 5
        run 1 delta 'A'
            1 <- delta #1 'A'
        run 1 stop
            1 <- turn_end run=1 stop
            3 <- accepted run=2
            start run=2 [user 'a', assistant 'A', user 'c']
            release 1
    "#]]);
}

#[test]
fn a_resume_means_the_newest_of_the_turns_with_its_id() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        run 1 delta 'A'
            1 <- delta #1 'A'
        regenerate 2 a 'a'
            2 <- waiting position=1
        resume 3 a
            3 <- resumed queued
            3 <- waiting position=1
        resume 4 msg-00000000000000000000000000000001-1
            4 <- resumed run=1 after=None entries=0 parts=0 open=None
            4 <- accepted run=1
            4 <- delta #1 'A'
        abort 3
            release 3
            2 <- turn_end run=0 stopped
            release 2
        run 1 stop
            1 <- turn_end run=1 stop
            4 <- turn_end run=1 stop
            release 1
            release 4
    "#]]);
}

#[test]
fn a_turn_that_failed_without_text_is_found_by_its_question() {
    check_chat(expect![[r#"
        answered 1 a 'a' 'A'
        ask 2 b 'b'
            2 <- accepted run=2
            start run=2 [user 'a', assistant 'A', user 'b']
        run 2 upstream_error
            2 <- turn_end run=2 upstream_error
            release 2
        resume 3 a
            3 <- no_active
            release 3
        resume 4 b
            4 <- resumed run=2 after=None entries=0 parts=0 open=None
            4 <- accepted run=2
            4 <- turn_end run=2 upstream_error
            release 4
    "#]]);
}

#[test]
fn an_answer_from_the_history_is_found_by_the_ids_of_its_turn() {
    check_chat(expect![[r#"
        answered 1 a 'a' 'A'
        at 130
        resume 2 a
            2 <- no_active
            release 2
        ask 3 a 'a'
            3 <- accepted run=0
            3 <- delta #1 'A'
            3 <- turn_end run=0 stop
            release 3
        resume 4 a
            4 <- resumed run=0 after=None entries=0 parts=0 open=None
            4 <- accepted run=0
            4 <- delta #1 'A'
            4 <- turn_end run=0 stop
            release 4
        resume 5 msg-00000000000000000000000000000001-1
            5 <- resumed run=0 after=None entries=0 parts=0 open=None
            5 <- accepted run=0
            5 <- delta #1 'A'
            5 <- turn_end run=0 stop
            release 5
        resume 6 b
            6 <- no_active
            release 6
    "#]]);
}

#[test]
fn another_answer_to_a_question_has_its_own_id() {
    check_chat(expect![[r#"
        answered 1 a 'a' 'A'
        regenerate 2 a 'a'
            2 <- accepted run=2
            start run=2 [user 'a']
        resume 3 a
            3 <- resumed run=2 after=None entries=0 parts=0 open=None
            3 <- accepted run=2
        resume 4 msg-00000000000000000000000000000001-1
            4 <- no_active
            release 4
        resume 5 msg-00000000000000000000000000000001-2
            5 <- resumed run=2 after=None entries=0 parts=0 open=None
            5 <- accepted run=2
    "#]]);
}
