//! Frames by hand against the guard.
use super::*;
use proptest::prelude::*;

/// A burst large enough that only a test of the rate reaches it.
const BURST: u32 = 200;

fn limits() -> Limits {
    Limits { frame_bytes: 1_000, fragments: 8, rate: Allowance::new(20, BURST, 8) }
}

/// With high bits, so that unmasking with the wrong byte yields invalid text.
const MASK: [u8; 4] = [0x91, 0x42, 0xa3, 0x1c];

/// A masked frame as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(first, payload.len() as u64);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
    bytes
}

fn head(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(0x80 | length as u8),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes
}

fn verdict(bytes: &[u8]) -> (usize, Option<Close>) {
    Guard::default().feed(limits(), 0, bytes)
}

// faults: A8
#[test]
fn a_large_frame_is_refused_at_its_header() {
    for (length, close) in [
        (1_001, Close::TooBig),
        (2 << 30, Close::TooBig),
        ((1 << 63) - 1, Close::TooBig),
        (u64::MAX, Close::Protocol),
    ] {
        let head = head(0x81, length);
        let (good, refused) = verdict(&head);
        assert_eq!(refused, Some(close), "{length}");
        assert!(good < head.len() - 4, "{length}: refused before its mask had come");
    }
    assert_eq!(verdict(&frame(0x81, &[b'x'; 1_000])).1, None);
}

// faults: A9
#[test]
fn fragments_are_summed_and_counted() {
    let mut sum = frame(0x01, &[b'x'; 600]);
    sum.extend(head(0x80, 401));
    assert_eq!(verdict(&sum).1, Some(Close::TooBig));
    let mut count = frame(0x01, b"x");
    for _ in 0..8 {
        count.extend(frame(0x00, b"x"));
    }
    assert_eq!(verdict(&count).1, Some(Close::TooBig));
    // More than sixteen bits of them.
    let limits = Limits { frame_bytes: 100_000, fragments: 70_000, rate: Allowance::UNLIMITED };
    let many = [frame(0x01, b"x"), frame(0x00, b"x").repeat(69_999)].concat();
    let mut guard = Guard::default();
    assert_eq!(guard.feed(limits, 0, &many), (many.len(), None));
    assert_eq!(guard.feed(limits, 0, &frame(0x80, b"x")).1, Some(Close::TooBig));
}

// faults: A16
#[test]
fn too_many_frames_are_refused_at_the_header_of_the_first() {
    for first in [0x81, 0x82, 0x89, 0x8a] {
        let frame = frame(first, b"x");
        let flood = frame.repeat(BURST as usize + 10);
        let good = frame.len() * BURST as usize;
        assert_eq!(verdict(&flood), (good + 1, Some(Close::TooMany)), "{first:x}");
        let mut guard = Guard::default();
        assert_eq!(guard.feed(limits(), 0, &flood[..good]), (good, None));
        assert_eq!(guard.feed(limits(), 50_000_000, &flood[good..]).1, Some(Close::TooMany));
    }
    // A close frame is welcome at any time.
    let mut bytes = frame(0x89, b"").repeat(BURST as usize);
    bytes.extend(frame(0x88, b""));
    assert_eq!(verdict(&bytes), (bytes.len(), None));
    // Messages of many fragments without end are a flood too; one of them is none.
    let mut message = frame(0x01, b"x");
    for at in 1..8 {
        message.extend(frame(if at == 7 { 0x80 } else { 0x00 }, b"x"));
    }
    assert_eq!(verdict(&message), (message.len(), None));
    assert_eq!(verdict(&message.repeat(10)).1, Some(Close::TooMany));
}

// faults: A6
#[test]
fn what_breaks_the_protocol_is_refused() {
    let mut unmasked = frame(0x81, b"");
    unmasked[1] &= 0x7f;
    let second_text = [frame(0x01, b"a"), frame(0x81, b"b")].concat();
    let cases: [(&str, Vec<u8>); 11] = [
        ("reserved bit", frame(0xc1, b"")),
        ("unknown opcode", frame(0x83, b"")),
        ("unknown control opcode", frame(0x8b, b"")),
        ("unmasked", unmasked),
        ("fragmented ping", frame(0x09, b"")),
        ("ping of 126", frame(0x89, &[0; 126])),
        ("continuation of nothing", frame(0x80, b"a")),
        ("second text inside a message", second_text),
        ("close of one byte", frame(0x88, &[3])),
        ("close 1005", frame(0x88, &1005u16.to_be_bytes())),
        ("close 5000", frame(0x88, &5000u16.to_be_bytes())),
    ];
    for (name, bytes) in cases {
        assert_eq!(verdict(&bytes).1, Some(Close::Protocol), "{name}");
    }
    let fine = [frame(0x01, b"a"), frame(0x89, b"ping"), frame(0x80, b"b"), frame(0x82, b"\xff")].concat();
    assert_eq!(verdict(&fine), (fine.len(), None));
    assert_eq!(verdict(&frame(0x88, b"")).1, None);
    assert_eq!(verdict(&frame(0x88, b"\x03\xe8bye")).1, None);
}

// faults: A7
#[test]
fn text_that_is_not_utf8_is_refused_at_the_byte() {
    let whole = "κόσμε\u{10ffff}";
    let split = [frame(0x01, &whole.as_bytes()[..3]), frame(0x80, &whole.as_bytes()[3..])].concat();
    assert_eq!(verdict(&split).1, None);
    assert_eq!(verdict(&frame(0x81, &whole.as_bytes()[..3])).1, Some(Close::InvalidText));
    let bad = frame(0x81, b"ab\xed\xa0\x80cd");
    let mut guard = Guard::default();
    let refused = (0..bad.len()).find(|at| guard.feed(limits(), 0, &bad[*at..=*at]).1.is_some());
    assert_eq!(refused, Some(6 + 3), "at the first byte that cannot be");
    assert_eq!(verdict(&frame(0x88, b"\x03\xe8\xff")).1, Some(Close::InvalidText));
    assert_eq!(verdict(&frame(0x88, b"\x03\xe8\xe2\x82")).1, Some(Close::InvalidText));
}

proptest! {
    /// Any split of the bytes gives the same result, and text is rejected exactly when it is not UTF-8.
    #[test]
    fn splits_do_not_matter(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..4),
        ascii in any::<bool>(),
        cuts in prop::collection::vec(0..400usize, 0..8),
    ) {
        let mut whole = Vec::new();
        let mut bytes = Vec::new();
        for (at, payload) in payloads.iter().enumerate() {
            let payload: Vec<u8> = payload.iter().map(|b| if ascii { b & 0x7f } else { *b }).collect();
            let fin = if at + 1 == payloads.len() { 0x80 } else { 0 };
            bytes.extend(frame(fin | u8::from(at == 0), &payload));
            whole.extend(payload);
        }
        let at_once = verdict(&bytes);
        prop_assert_eq!(at_once.1.is_none(), std::str::from_utf8(&whole).is_ok());
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let mut guard = Guard::default();
        let refused = cuts.windows(2).find_map(|cut| guard.feed(limits(), 0, &bytes[cut[0]..cut[1]]).1);
        prop_assert_eq!(refused, at_once.1);
    }

    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let (good, refused) = verdict(&bytes);
        prop_assert!(good <= bytes.len());
        prop_assert_eq!(refused.is_none(), good == bytes.len());
    }
}

// faults: A8, A9
#[test]
fn what_is_just_within_the_limits_passes() {
    let fine = |bytes: &[u8]| assert_eq!(verdict(bytes), (bytes.len(), None));
    fine(&frame(0x89, &[0; 125]));
    fine(&[frame(0x01, &[b'x'; 600]), frame(0x80, &[b'x'; 400])].concat());
    fine(&[frame(0x01, b"x"), frame(0x00, b"x").repeat(6), frame(0x80, b"x")].concat());
    // The count restarts with each message.
    fine(&[frame(0x02, &[0; 999]), frame(0x80, b"x")].concat().repeat(3));
    // A length in more bytes than it needs is a length.
    for (code, length) in [(126, 3u64.to_be_bytes()[6..].to_vec()), (127, 300u64.to_be_bytes().to_vec())] {
        let bytes = if code == 126 { 3 } else { 300 };
        fine(&[vec![0x82, 0x80 | code], length, vec![0; 4 + bytes]].concat());
    }
}

// faults: A7
#[test]
fn utf8_is_what_the_standard_library_takes() {
    for c in '\0'..=char::MAX {
        let mut utf8 = Utf8::default();
        assert!(
            c.encode_utf8(&mut [0; 4]).bytes().all(|byte| utf8.push(byte).is_ok()) && utf8.is_whole(),
            "{c:?}"
        );
    }
    // At the edges of all ranges, and one beyond.
    const EDGES: [u8; 11] = [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xed, 0xff];
    for first in 0x80..=0xff {
        for rest in 0..EDGES.len().pow(3) {
            let [a, b, c] =
                [rest, rest / EDGES.len(), rest / EDGES.len().pow(2)].map(|at| EDGES[at % EDGES.len()]);
            let bytes = [first, a, b, c];
            let (mut utf8, expected) = (Utf8::default(), std::str::from_utf8(&bytes));
            let refused = bytes.iter().any(|byte| utf8.push(*byte).is_err());
            assert_eq!(refused, expected.is_err_and(|error| error.error_len().is_some()), "{bytes:x?}");
            assert_eq!(!refused && utf8.is_whole(), expected.is_ok(), "{bytes:x?}");
        }
    }
}

// faults: A7
#[test]
fn a_close_frame_is_judged_by_itself_wherever_it_is_cut() {
    let half = frame(0x01, &"你".as_bytes()[..1]);
    for (payload, close) in [
        (&b"\x03\xe8\xe4\xbd\xa0 bye"[..], None),
        (b"\x03\xe8", None),
        (b"\x03\xe8\xbd\xa0", Some(Close::InvalidText)),
        (b"\x03\xe8ok\xe4\xbd", Some(Close::InvalidText)),
        (b"\x03\xed", Some(Close::Protocol)),
    ] {
        let bytes = [half.clone(), frame(0x88, payload)].concat();
        for cut in half.len()..=bytes.len() {
            let mut guard = Guard::default();
            let refused =
                [&bytes[..cut], &bytes[cut..]].iter().find_map(|part| guard.feed(limits(), 0, part).1);
            assert_eq!(refused, close, "{payload:x?} cut at {cut}");
        }
    }
}

// faults: K143
#[test]
fn progress_is_the_payload_of_the_message_under_way() {
    let mut guard = Guard::default();
    let mut feed = |bytes: &[u8]| {
        assert_eq!(guard.feed(limits(), 0, bytes), (bytes.len(), None));
        guard.progress().map(|progress| (progress.message, progress.received, progress.length))
    };
    let text = frame(0x81, &[b'x'; 300]);
    assert_eq!(feed(&[]), None);
    assert_eq!(feed(&text[..1]), Some((0, 0, 0)));
    assert_eq!(feed(&text[1..4]), Some((0, 0, 300)), "its mask is still to come");
    assert_eq!(feed(&text[4..8]), Some((0, 0, 300)));
    assert_eq!(feed(&text[8..18]), Some((0, 10, 300)));
    assert_eq!(feed(&text[18..]), None);
    // Half a header of the next message does not reveal the length of the last one.
    let first = frame(0x01, b"first");
    assert_eq!(feed(&first[..1]), Some((1, 0, 0)));
    assert_eq!(feed(&first[1..]), Some((1, 5, 5)), "its end is still to come");
    let pong = frame(0x8a, b"pong");
    assert_eq!(feed(&pong[..8]), Some((1, 5, 5)), "half a pong");
    assert_eq!(feed(&pong[8..]), Some((1, 5, 5)));
    let last = frame(0x80, b"last");
    assert_eq!(feed(&last[..1]), Some((1, 5, 5)));
    assert_eq!(feed(&last[1..8]), Some((1, 7, 9)));
    assert_eq!(feed(&last[8..]), None);
    assert_eq!(feed(&pong[..8]), Some((2, 0, 0)));
    assert_eq!(feed(&pong[8..]), None);
    let mut both = pong.clone();
    both.extend(&text[..18]);
    assert_eq!(feed(&both), Some((4, 10, 300)), "a message of its own");
}
