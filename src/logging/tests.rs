//! Golden lines, and a queue that gets stuck.
use super::{queue::Queue, *};
use expect_test::expect;
use log::Level;
use std::sync::{atomic::Ordering, mpsc};

fn line(format: Format, message: &str) -> String {
    let mut out = String::new();
    write_line(
        &mut out,
        format,
        &"2026-01-02T03:04:05.678Z",
        Level::Info,
        "tidegate::hub",
        format_args!("{message}"),
    );
    out
}

#[test]
fn a_line_in_both_formats() {
    expect![[r#"
        2026-01-02T03:04:05.678Z INFO  tidegate::hub: socket opened id=7 path="/chat"
    "#]]
    .assert_eq(&line(Format::Plain, r#"socket opened id=7 path="/chat""#));
    expect![[r#"
        {"time":"2026-01-02T03:04:05.678Z","level":"info","target":"tidegate::hub","message":"socket opened id=7 path=\"/chat\" \\o/"}
    "#]].assert_eq(&line(Format::Json, r#"socket opened id=7 path="/chat" \o/"#));
}

// faults: I119
#[test]
fn no_message_can_forge_or_repaint_a_line() {
    let evil = "a\nb\r\nc\td\u{1b}[2Je\u{9b}f\u{0}g\u{7f}h\u{2028}i\u{202e}j\u{2066}k 你好 🙂";
    expect![[r#"
        2026-01-02T03:04:05.678Z INFO  tidegate::hub: a\nb\r\nc\td\u{1b}[2Je\u{9b}f\u{0}g\u{7f}h\u{2028}i\u{202e}j\u{2066}k 你好 🙂
    "#]].assert_eq(&line(Format::Plain, evil));
    expect![[r#"
        {"time":"2026-01-02T03:04:05.678Z","level":"info","target":"tidegate::hub","message":"a\nb\r\nc\td\u001b[2Je\u009bf\u0000g\u007fh\u2028i\u202ej\u2066k 你好 🙂"}
    "#]].assert_eq(&line(Format::Json, evil));
    let value: serde_json::Value = serde_json::from_str(&line(Format::Json, evil)).unwrap();
    assert_eq!(value["message"], evil);
    let mut out = String::new();
    write_line(&mut out, Format::Json, &"t", Level::Error, "a\"\n", format_args!("b"));
    expect![[r#"
        {"time":"t","level":"error","target":"a\"\n","message":"b"}
    "#]]
    .assert_eq(&out);
}

// faults: I119
#[test]
fn a_long_message_is_cut_at_a_character() {
    for (text, kept) in [("x", 8192), ("你", 2730 * 3), ("\n", 4096 * 2), ("\u{1b}", 1365 * 6)] {
        let message = text.repeat(1024 * 1024);
        let plain = line(Format::Plain, &message);
        let (head, tail) = plain.split_once('…').unwrap();
        assert_eq!(head.len() - "2026-01-02T03:04:05.678Z INFO  tidegate::hub: ".len(), kept);
        assert!(tail.ends_with(" bytes cut]\n"), "{tail}");
        let json = line(Format::Json, &message);
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
        assert!(json.len() < 8192 + 200);
    }
    assert!(line(Format::Plain, &"x".repeat(8192)).ends_with("x\n"));
    // What comes after the cut in further pieces is counted as well.
    let mut out = String::new();
    let long = "x".repeat(8000);
    write_line(&mut out, Format::Plain, &"t", Level::Warn, "m", format_args!("{long}{long}{long}"));
    assert!(out.ends_with("… [15808 bytes cut]\n"), "{}", &out[out.len() - 40..]);
}

#[test]
fn filters() {
    assert_eq!(filter(""), (DEFAULT_FILTER, false));
    assert_eq!(filter("  "), (DEFAULT_FILTER, false));
    assert_eq!(filter("debug"), ("debug", false));
    assert_eq!(filter("warn,tidegate::hub=trace"), ("warn,tidegate::hub=trace", false));
    assert_eq!(filter("tidegate=loud"), (DEFAULT_FILTER, true));
    assert!(env_filter::Builder::new().try_parse(DEFAULT_FILTER).is_ok());
}

#[test]
fn a_panic_is_one_line() {
    let text = panic_text(Some("worker-1"), "src/a.rs:3:4", Some("it\nbroke"), Some("0: a\n1: b".to_owned()));
    expect![[r#"
        2026-01-02T03:04:05.678Z INFO  tidegate::hub: thread worker-1 panicked at src/a.rs:3:4: it\nbroke backtrace: 0: a\n1: b
    "#]].assert_eq(&line(Format::Plain, &text));
    expect!["thread unnamed panicked at src/a.rs:3:4: (no text)"].assert_eq(&panic_text(
        None,
        "src/a.rs:3:4",
        None,
        None,
    ));
}

/// Takes a line for every permit and waits for the next; broken when there will be none.
struct Stuck(mpsc::Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// faults: I115
#[test]
fn a_reader_who_stops_reading_stops_nobody() {
    static DROPPED: AtomicU64 = AtomicU64::new(0);
    let (permits, stuck) = mpsc::channel();
    let mut queue = Queue::spawn(Stuck(stuck), 4, &DROPPED).unwrap();
    for _ in 0..100 {
        assert_eq!(queue.write(b"line\n").unwrap(), 5); // Returns at once.
    }
    // Four wait, and the thread may hold one more.
    let dropped = DROPPED.load(Ordering::Relaxed);
    assert!((95..=96).contains(&dropped), "{dropped}");
    assert!(!queue.flush(Duration::from_millis(20)));
    for _ in 0..5 {
        permits.send(()).unwrap();
    }
    assert!(queue.flush(Duration::from_secs(10)));
    assert_eq!(DROPPED.load(Ordering::Relaxed), dropped);
}

// faults: I115
#[test]
fn lines_into_a_broken_pipe_are_counted() {
    static DROPPED: AtomicU64 = AtomicU64::new(0);
    let (permits, stuck) = mpsc::channel();
    drop(permits);
    let mut queue = Queue::spawn(Stuck(stuck), 16, &DROPPED).unwrap();
    for _ in 0..10 {
        queue.write_all(b"line\n").unwrap();
    }
    assert!(queue.flush(Duration::from_secs(10)));
    assert_eq!(DROPPED.load(Ordering::Relaxed), 10);
}
