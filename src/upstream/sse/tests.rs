//! Lines of every form, and every split of them.
use super::*;
use proptest::prelude::*;

const LINE_BYTES: usize = 64;

/// One string a line: `-` blank, `:…` comment, `name=value` field.
fn lines(chunks: &[&[u8]]) -> Result<Vec<String>, LineTooLong> {
    let mut decoder = Decoder::new(LINE_BYTES);
    let mut out = Vec::new();
    let mut note = |line: Line<'_>| {
        out.push(match line {
            Line::Blank => "-".to_owned(),
            Line::Comment(comment) => format!(":{}", comment.escape_ascii()),
            Line::Field { name, value } => format!("{}={}", name.escape_ascii(), value.escape_ascii()),
        });
        Ok::<(), LineTooLong>(())
    };
    for chunk in chunks {
        decoder.feed(chunk, &mut note)?;
    }
    decoder.finish(&mut note)?;
    assert_eq!(decoder.held(), 0);
    Ok(out)
}

fn check(text: &str, expected: &[&str]) {
    assert_eq!(lines(&[text.as_bytes()]).unwrap(), expected, "whole");
    let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    assert_eq!(lines(&bytes).unwrap(), expected, "byte by byte");
}

// faults: E68
#[test]
fn fields_and_comments_of_every_form() {
    check(
        "id:1\nevent: result\ndata:  two spaces\ndata\ndata:\n:\n:note\n: spaced\nretry:5\nx:y:z\n\n",
        &[
            "id=1",
            "event=result",
            "data= two spaces",
            "data=",
            "data=",
            ":",
            ":note",
            ": spaced",
            "retry=5",
            "x=y:z",
            "-",
        ],
    );
}

// faults: E66
#[test]
fn lf_and_crlf_end_a_line_and_a_lone_cr_does_not() {
    check("a:1\r\nb:2\n\r\n\nc:3\rd:4\n", &["a=1", "b=2", "-", "-", r"c=3\rd:4"]);
    check("a:1\r\r\n", &[r"a=1\r"]);
}

// faults: E67
#[test]
fn a_byte_order_mark_is_dropped_at_the_start_alone() {
    check("\u{feff}data:x\n\u{feff}data:y\n", &["data=x", r"\xef\xbb\xbfdata=y"]);
    check("\u{feff}\n\u{feff}", &["-", r"\xef\xbb\xbf="]);
}

// faults: E67
#[test]
fn other_line_separators_and_nul_are_text() {
    check("data:a\u{2028}b\u{85}c\0d\u{b}e\u{c}f\n", &[r"data=a\xe2\x80\xa8b\xc2\x85c\x00d\x0be\x0cf"]);
}

// faults: E69
#[test]
fn the_last_line_needs_no_end() {
    check("data:x", &["data=x"]);
    check("data:x\r", &["data=x"]);
    check("", &[]);
}

// faults: E71
#[test]
fn a_long_line_is_refused_at_its_bound() {
    let bound = "x".repeat(LINE_BYTES);
    assert!(lines(&[bound.as_bytes(), b"\n"]).is_ok());
    assert_eq!(lines(&[bound.as_bytes(), b"x"]), Err(LineTooLong { limit: LINE_BYTES }));
    assert_eq!(lines(&[format!("{bound}x\n").as_bytes()]), Err(LineTooLong { limit: LINE_BYTES }));
    // Endless input without a line end: what is held never passes the bound.
    let mut decoder = Decoder::new(LINE_BYTES);
    let mut refused = false;
    for _ in 0..100 {
        refused |= decoder.feed(b"0123456789", |_| Ok::<(), LineTooLong>(())).is_err();
        assert!(decoder.held() <= LINE_BYTES);
        if refused {
            break;
        }
    }
    assert!(refused);
}

#[test]
fn whole_lines_are_not_copied_and_an_idle_decoder_holds_nothing() {
    let chunk = b"data:one\n\ndata:two\n\n";
    let range = chunk.as_ptr_range();
    let mut decoder = Decoder::new(LINE_BYTES);
    let in_place = |line: Line<'_>| {
        if let Line::Field { value, .. } = line {
            assert!(range.contains(&value.as_ptr()));
        }
        Ok::<(), LineTooLong>(())
    };
    decoder.feed(chunk, in_place).unwrap();
    assert_eq!(decoder.partial.capacity(), 0);
    decoder.feed(b"data:th", |_| Ok::<(), LineTooLong>(())).unwrap();
    assert_eq!(decoder.held(), 7);
    decoder.feed(b"ree\n", |_| Ok::<(), LineTooLong>(())).unwrap();
    assert_eq!(decoder.partial.capacity(), 0);
}

#[test]
fn the_callers_error_stops_the_lines() {
    #[derive(Debug)]
    struct Enough;
    impl From<LineTooLong> for Enough {
        fn from(_: LineTooLong) -> Self {
            Enough
        }
    }
    let mut seen = 0;
    let stop = |_: Line<'_>| {
        seen += 1;
        Err(Enough)
    };
    assert!(Decoder::new(LINE_BYTES).feed(b"a\nb\n", stop).is_err());
    assert_eq!(seen, 1);
}

proptest! {
    // faults: E65
    #[test]
    fn any_split_gives_the_same_lines(
        pieces in prop::collection::vec(
            prop::sample::select(vec!["data:", "id", ":", " ", "\n", "\r", "\r\n", "\u{feff}", "你", "😀", "x", "\0"]),
            0..40,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let text = pieces.concat();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        at.extend([0, text.len()]);
        at.sort_unstable();
        let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
        prop_assert_eq!(lines(&chunks), lines(&[text.as_bytes()]));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = lines(&[&bytes]);
    }
}
