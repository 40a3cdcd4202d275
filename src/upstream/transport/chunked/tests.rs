use super::{Chunked, ChunkedError, SIZE_LINE_BYTES_MAX, TRAILER_BYTES_MAX};
use proptest::prelude::*;

/// The data of a body, and what follows its end, if that has come; the body comes in these pieces.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<(Vec<u8>, Option<usize>), ChunkedError> {
    let (mut decoder, mut data, mut end) = (Chunked::new(), Vec::new(), None);
    for piece in pieces {
        let after = decoder.feed(piece, &mut |bytes| {
            assert!(!bytes.is_empty(), "no empty piece is handed on");
            data.extend_from_slice(bytes);
        })?;
        end = after.map(|after| after + end.unwrap_or(0));
    }
    Ok((data, end))
}

/// In one piece, byte by byte, and cut in two at each place.
fn read_in_any_pieces(body: &[u8]) -> Result<(Vec<u8>, Option<usize>), ChunkedError> {
    let whole = read([body]);
    assert_eq!(read(body.chunks(1)), whole, "byte by byte: {}", body.escape_ascii());
    for at in 0..=body.len() {
        let (head, tail) = body.split_at(at);
        assert_eq!(read([head, tail]), whole, "cut at {at}: {}", body.escape_ascii());
    }
    whole
}

// faults: E65, E80, K152
#[test]
fn a_body_is_the_same_however_it_is_cut() {
    for (body, data, end) in [
        ("", "", None),
        ("0\r\n\r\n", "", Some(0)),
        ("5\r\nhello\r\n0\r\n\r\n", "hello", Some(0)),
        ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", Some(0)),
        // Upper case, leading zeros, blanks and extensions.
        ("00A\r\n0123456789\r\n000\r\n\r\n", "0123456789", Some(0)),
        ("1a \t\r\nabcdefghijklmnopqrstuvwxyz\r\n0 \r\n\r\n", "abcdefghijklmnopqrstuvwxyz", Some(0)),
        ("2;a=b;c=\"d e\"\r\nhi\r\n0;last\r\n\r\n", "hi", Some(0)),
        ("2 ;a\r\nhi\r\n0\r\n\r\n", "hi", Some(0)),
        // Data that looks like framing.
        ("9\r\n0\r\n\r\n1\r\n\r\r\n0\r\n\r\n", "0\r\n\r\n1\r\n\r", Some(0)),
        // Trailers are passed over.
        ("1\r\nx\r\n0\r\nchecksum: 1\r\nnext: \u{e9}\r\n\r\n", "x", Some(0)),
        // Bytes behind the end.
        ("1\r\nx\r\n0\r\n\r\nHTTP/1.1 200 OK", "x", Some(15)),
        ("0\r\n\r\n\n", "", Some(1)),
        // The end has not come.
        ("5\r\nhel", "hel", None),
        ("5\r\nhello", "hello", None),
        ("5\r\nhello\r\n", "hello", None),
        ("5\r\nhello\r\n0\r\n", "hello", None),
        ("5\r\nhello\r\n0\r\n\r", "hello", None),
        ("0\r\na: b\r\n", "", None),
    ] {
        assert_eq!(read_in_any_pieces(body.as_bytes()), Ok((data.as_bytes().to_vec(), end)), "{body:?}");
    }
}

// faults: E80
#[test]
fn malformed_framing_is_reported_where_it_stands() {
    for (body, error) in [
        ("\r\n", ChunkedError::Size),
        ("\n", ChunkedError::Size),
        ("g\r\n", ChunkedError::Size),
        (" 5\r\n", ChunkedError::Size),
        ("+5\r\n", ChunkedError::Size),
        ("-1\r\n", ChunkedError::Size),
        ("0x5\r\n", ChunkedError::Size),
        (";a\r\n", ChunkedError::Size),
        ("5 5\r\n", ChunkedError::Size),
        ("5,\r\n", ChunkedError::Size),
        // A bare LF, after a size, an extension, data, a trailer and at the end.
        ("5\nhello", ChunkedError::Size),
        ("5;a\nhello", ChunkedError::Extension),
        ("5;a\0\r\n", ChunkedError::Extension),
        ("5;a\x7f\r\n", ChunkedError::Extension),
        ("5\r\rhello", ChunkedError::LineEnd),
        ("5\r\nhello\n", ChunkedError::LineEnd),
        ("5\r\nhello\r0", ChunkedError::LineEnd),
        ("5\r\nhello world\r\n", ChunkedError::LineEnd),
        ("0\r\n\n", ChunkedError::Trailer),
        ("0\r\na: b\n\r\n", ChunkedError::Trailer),
        ("0\r\na: b\r\r", ChunkedError::Trailer),
        ("0\r\na: \0\r\n\r\n", ChunkedError::Trailer),
        ("0\r\n\rx", ChunkedError::Trailer),
    ] {
        assert_eq!(read_in_any_pieces(body.as_bytes()), Err(error), "{body:?}");
    }
}

// faults: E84, K146
#[test]
fn a_size_is_read_up_to_64_bits_and_no_further() {
    assert_eq!(read([b"ffffffffffffffff\r\nabc".as_slice()]), Ok((b"abc".to_vec(), None)));
    for body in ["10000000000000000\r\n", "fffffffffffffffff\r\n", &format!("1{}\r\n", "0".repeat(400))] {
        assert_eq!(read_in_any_pieces(body.as_bytes()), Err(ChunkedError::Overflow), "{body}");
    }
}

// faults: E71
#[test]
fn framing_without_end_is_given_up() {
    let line = SIZE_LINE_BYTES_MAX as usize;
    let trailers = TRAILER_BYTES_MAX as usize;
    for (before, endless, max) in [
        ("", "0", line),
        ("5", " ", line),
        ("5;", "a", line),
        ("0\r\n", "a", trailers),
        ("0\r\n", "a: bcdefgh\r\n", trailers * 12 / 10),
    ] {
        let mut decoder = Chunked::new();
        let mut feed = |bytes: &str| decoder.feed(bytes.as_bytes(), &mut |_| {});
        feed(before).unwrap();
        let mut fed = 0;
        while feed(endless).is_ok() {
            fed += endless.len();
            assert!(fed <= max + endless.len(), "{before:?} {endless:?}");
        }
        assert!(fed + 20 >= max, "{before:?} {endless:?}: {fed}");
    }
    // Each chunk has a line of its own.
    let body = "1;abcdefg\r\nx\r\n".repeat(line);
    assert_eq!(read([body.as_bytes()]).unwrap().0.len(), line);
}

// faults: E84, K152
#[test]
fn a_chunk_of_a_gibibyte_is_handed_on_as_it_comes() {
    let mut decoder = Chunked::new();
    let piece = vec![b'x'; 1 << 16];
    let mut total = 0u64;
    let mut count = |bytes: &[u8]| total += bytes.len() as u64;
    assert_eq!(decoder.feed(b"40000000\r\n", &mut count), Ok(None));
    for _ in 0..1 << 14 {
        assert_eq!(decoder.feed(&piece, &mut count), Ok(None));
    }
    assert_eq!(decoder.feed(b"\r\n0\r\n\r\n", &mut count), Ok(Some(0)));
    assert_eq!(total, 1 << 30);
    assert!(size_of::<Chunked>() <= 16, "it has no buffer");
}

proptest! {
    /// Any body, spelled in any chunks and read in any pieces.
    #[test]
    fn what_was_chunked_is_read_as_it_was(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
        after in prop::collection::vec(any::<u8>(), 0..4),
        cuts in prop::collection::vec(1usize..30, 1..60),
    ) {
        let mut body = Vec::new();
        for chunk in &chunks {
            body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        body.extend_from_slice(&after);
        let (mut pieces, mut rest, mut next) = (Vec::new(), body.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at((*next.next().unwrap()).min(rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        prop_assert_eq!(read(pieces), Ok((chunks.concat(), Some(after.len()))));
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(body.chunks(7));
    }
}
