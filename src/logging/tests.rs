//! Golden lines, and a queue that gets stuck.
use super::{queue::Queue, *};
use expect_test::expect;
use log::{Level, Record, kv::Value};
use std::{
    fmt,
    sync::{atomic::Ordering, mpsc},
};

fn line(format: Format, message: &str) -> String {
    line_with(format, message, &[])
}

fn line_with(format: Format, message: &str, fields: &[(&str, Value<'_>)]) -> String {
    let mut out = String::new();
    let record = |args: fmt::Arguments<'_>| {
        let mut record = Record::builder();
        let record = record.level(Level::Info).target("tidegate::hub").key_values(&fields).args(args).build();
        write_line(&mut out, format, &"2026-01-02T03:04:05.678Z", &record);
    };
    with_args(message, record);
    out
}

/// `format_args!` does not outlive its statement.
fn with_args(message: &str, act: impl FnOnce(fmt::Arguments<'_>)) {
    act(format_args!("{message}"));
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
    let mut record = Record::builder();
    record.level(Level::Error).target("a\"\n");
    write_line(&mut out, Format::Json, &"t", &record.args(format_args!("b")).build());
    expect![[r#"
        {"time":"t","level":"error","target":"a\"\n","message":"b"}
    "#]]
    .assert_eq(&out);
}

#[test]
fn fields_follow_the_message_and_those_without_a_value_are_left_out() {
    let (none, address) = (None::<u64>, std::net::Ipv6Addr::LOCALHOST);
    let fields = [
        ("session", Value::from("00ab")),
        ("run", Value::from(7_u64)),
        ("late_ms", Value::from(-3_i64)),
        ("whole", Value::from(true)),
        ("address", Value::from_display(&address)),
        ("first_delta_ms", none.as_ref().map_or(Value::null(), Value::from)),
        ("detail", Value::from("two words")),
        ("empty", Value::from("")),
    ];
    expect![[r#"
        2026-01-02T03:04:05.678Z INFO  tidegate::hub: run ended session=00ab run=7 late_ms=-3 whole=true address=::1 detail="two words" empty=""
    "#]].assert_eq(&line_with(Format::Plain, "run ended", &fields));
    expect![[r#"
        {"time":"2026-01-02T03:04:05.678Z","level":"info","target":"tidegate::hub","message":"run ended","session":"00ab","run":7,"late_ms":-3,"whole":true,"address":"::1","detail":"two words","empty":""}
    "#]].assert_eq(&line_with(Format::Json, "run ended", &fields));
}

// faults: I119
#[test]
fn no_value_can_forge_a_field_or_a_line() {
    let values = ["a outcome=stop", "a\nb", "\"", "a\\", "x=y", "a\u{2028}b", "\"}\n{\""];
    for value in values {
        let fields = [("detail", Value::from(value)), ("level", Value::from("none"))];
        let json = line_with(Format::Json, "m", &fields);
        assert_eq!(json.lines().count(), 1);
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        let shown = (read["detail"].as_str(), read["level"].as_str(), read["level_"].as_str());
        assert_eq!(shown, (Some(value), Some("info"), Some("none")));
        assert_eq!(read.as_object().unwrap().len(), 6);
    }
    let plain = |value| line_with(Format::Plain, "m", &[("detail", Value::from(value))]);
    let shown: Vec<_> =
        values.iter().map(|value| plain(*value).trim_end().split_once(" m ").unwrap().1.to_owned()).collect();
    expect![[r#"
        [
            "detail=\"a outcome=stop\"",
            "detail=\"a\\nb\"",
            "detail=\"\\\"\"",
            "detail=\"a\\\\\"",
            "detail=\"x=y\"",
            "detail=\"a\\u{2028}b\"",
            "detail=\"\\\"}\\n{\\\"\"",
        ]
    "#]]
    .assert_eq(&format!("{shown:#?}\n"));
    let long = plain(&"x".repeat(1024 * 1024));
    assert!(long.ends_with(" bytes cut]\"\n"), "the blanks of the cut are quoted");
    assert!(long.len() < 2 * VALUE_BYTES);
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
    let mut record = Record::builder();
    write_line(&mut out, Format::Plain, &"t", &record.args(format_args!("{long}{long}{long}")).build());
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
fn a_blocked_output_blocks_no_caller() {
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
