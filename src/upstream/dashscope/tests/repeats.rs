//! A service that repeats the text so far although only new text was asked for, and ones that do not.
use super::*;
use proptest::prelude::*;

/// Which of the two texts a piece is of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    Text,
    Thought,
}

fn frame((of, piece): &(Of, String), finish: &str) -> String {
    let quoted = serde_json::to_string(piece).unwrap();
    let (text, thought) = match of {
        Of::Text => (quoted.as_str(), "\"\""),
        Of::Thought => ("\"\"", quoted.as_str()),
    };
    format!(
        "data:{{\"output\":{{\"choices\":[{{\"message\":{{\"content\":{text},\"reasoning_content\":{thought}}},\
         \"finish_reason\":\"{finish}\"}}]}}}}\n\n"
    )
}

/// What is read of such pieces, text by kind, and what they have shown.
fn read(pieces: &[(Of, String)], expected: bool) -> ([String; 2], Option<bool>) {
    let mut reader = STREAM.reader_after(expected, LIMITS);
    let (mut events, mut texts) = (Vec::new(), [String::new(), String::new()]);
    for piece in pieces {
        reader.feed(frame(piece, "null").as_bytes(), &mut events).unwrap();
    }
    reader.feed(frame(&(Of::Text, String::new()), "stop").as_bytes(), &mut events).unwrap();
    assert!(reader.end(&mut events).outcome.is_ok());
    for event in events {
        match event {
            RunEvent::Text { kind: TextKind::Answer, text } => texts[0] += &text,
            RunEvent::Text { kind: TextKind::Reasoning, text } => texts[1] += &text,
            other => panic!("{other:?}"),
        }
    }
    (texts, reader.frames().shown())
}

fn of_text(pieces: &[&str]) -> Vec<(Of, String)> {
    pieces.iter().map(|piece| (Of::Text, (*piece).to_owned())).collect()
}

fn text(pieces: &[&str]) -> (String, Option<bool>) {
    let ([text, _], shown) = read(&of_text(pieces), false);
    (text, shown)
}

// faults: K142
#[test]
fn what_repeats_the_text_so_far_three_times_in_a_row_is_read_so() {
    let guessed = |text: &str| (text.to_owned(), Some(true));
    assert_eq!(
        text(&["You ", "You are", "You are here", "You are here,"]),
        guessed("You You areYou are here,")
    );
    assert_eq!(
        text(&["You ", "You are", "You are", "", "You are here", "You are here, no", "You are here, now"]),
        guessed("You You areYou areYou are here, now"),
        "the same once more, or nothing, is no sign of either"
    );
    assert_eq!(
        text(&["1", "1\n", "1\n2", "1\n2\n\"", "1\n2\n\"34", "1\n2\n\"3456", "1\n2\n\"34567"]),
        guessed("11\n1\n21\n2\n\"1\n2\n\"34567"),
        "beyond eight characters, however they are spelled"
    );
    // Only then. A short answer that repeats stays as it came.
    assert_eq!(text(&["You ", "You are", "You are here"]), ("You You areYou are here".into(), None));
}

// faults: K142
#[test]
fn what_only_looks_like_it_is_left_alone() {
    for pieces in [
        &["1", "11", "111", "1111", "11111"][..],
        &["ha", "ha", "haha", "hahaha", "ha"],
        &["----------"; 40],
        &[
            "a long beginning",
            " and more",
            "a long beginning",
            "a long beginning and",
            "a long beginning and so",
        ],
        &[
            "x",
            "xy",
            "xyz, longer than that",
            "another",
            "another one",
            "another one here",
            "another one here, too",
        ],
    ] {
        assert_eq!(text(pieces), (pieces.concat(), None), "{pieces:?}");
    }
}

// faults: K142
#[test]
fn thinking_that_repeats_is_noticed_likewise_and_then_the_text_is_not_doubled() {
    let think = |pieces: &[&str]| -> Vec<_> {
        pieces.iter().map(|piece| (Of::Thought, (*piece).to_owned())).collect()
    };
    let mut pieces = think(&["Let me", "Let me see", "Let me see, what", "Let me see, what is"]);
    pieces.extend(of_text(&["It", "It is", "It is so"]));
    let ([text, thought], shown) = read(&pieces, false);
    assert_eq!((text.as_str(), shown), ("It is so", Some(true)));
    assert_eq!(thought, "Let meLet me seeLet me see, what is");
}

// faults: K142
#[test]
fn what_was_seen_once_is_expected_and_given_up_without_a_loss() {
    let pieces = of_text(&["You", "You are", "You are here"]);
    assert_eq!(read(&pieces, true), (["You are here".into(), String::new()], None));
    let pieces = of_text(&["You", " are", " here", " and", " here", " again"]);
    assert_eq!(read(&pieces, true), (["You are here and here again".into(), String::new()], Some(false)));
    let habit = Habit::default();
    assert_eq!((habit.note(None), habit.repeats()), (false, false));
    assert_eq!((habit.note(Some(true)), habit.repeats()), (true, true), "the operator is warned");
    assert_eq!((habit.note(Some(true)), habit.note(Some(false)), habit.repeats()), (false, false, false));
    assert_eq!((habit.note(Some(true)), habit.repeats()), (false, true), "and only once");
}

#[test]
fn a_guess_that_was_wrong_costs_no_more_than_what_fitted_it() {
    let pieces = of_text(&["ab", "abab", "ababab", "ababababab", "x", "ab", "abab"]);
    assert_eq!(read(&pieces, false).0[0], "abababababab".to_owned() + "abab" + "x" + "ab" + "abab");
}

/// Words as tokens are, many of them beginnings of others.
fn words() -> impl Strategy<Value = String> {
    let word = ["a", "ab", "aba", "1", "11", "111", " ", "\n", "\"", "\\", "你", "ha", "haha", "=="];
    prop::collection::vec(prop::sample::select(word.to_vec()), 0..3).prop_map(|words| words.concat())
}

fn pieces() -> impl Strategy<Value = Vec<(Of, String)>> {
    let of = prop::sample::select(vec![Of::Text, Of::Text, Of::Text, Of::Thought]);
    prop::collection::vec((of, words()), 1..30)
}

fn joined(pieces: &[(Of, String)]) -> [String; 2] {
    [Of::Text, Of::Thought]
        .map(|of| pieces.iter().filter(|piece| piece.0 == of).map(|piece| piece.1.as_str()).collect())
}

proptest! {
    // faults: K142
    /// No piece of at most eight characters is ever taken for a repetition.
    #[test]
    fn increments_are_never_changed(pieces in pieces()) {
        let short: Vec<_> =
            pieces.into_iter().map(|(of, piece)| (of, piece.chars().take(8).collect::<String>())).collect();
        prop_assert_eq!(read(&short, false), (joined(&short), None));
    }

    /// Nor are longer ones, unless all of them from the first one on begin with the one before.
    #[test]
    fn longer_ones_are_not_changed_once_one_does_not_fit(pieces in pieces(), more in pieces()) {
        let odd = [Of::Text, Of::Thought].map(|of| (of, "first".to_owned()));
        let settled = [Of::Text, Of::Thought].map(|of| (of, "second".to_owned()));
        let all: Vec<_> = odd.into_iter().chain(settled).chain(pieces).chain(more).collect();
        prop_assert_eq!(read(&all, false), (joined(&all), None));
    }

    // faults: K142
    /// Of the text so far at most the first pieces are doubled: what follows is the rest of it, and nothing else.
    #[test]
    fn the_text_so_far_ends_as_it_should(words in prop::collection::vec("[a-z\"\\\\\n你]{1,6}", 1..30)) {
        let mut whole = String::new();
        let pieces: Vec<_> = words
            .iter()
            .map(|word| {
                whole.push_str(word);
                (Of::Text, whole.clone())
            })
            .collect();
        let ([text, _], shown) = read(&pieces, false);
        let noticed = pieces.iter().skip(3).position(|piece| piece.1.chars().count() > 8).map(|at| at + 3);
        let doubled: String = pieces[..noticed.unwrap_or(pieces.len())].iter().map(|piece| piece.1.as_str()).collect();
        let rest = noticed.map_or("", |at| &whole[pieces[at - 1].1.len()..]);
        prop_assert_eq!((text, shown), (doubled + rest, noticed.map(|_| true)));
        // Where it is expected, nothing is doubled.
        prop_assert_eq!(read(&pieces, true), ([whole, String::new()], None));
    }
}
