//! Streams with unusual syntax, with errors, or without an end, as a user sees them.
use crate::harness::{
    Gateway, Over, PATIENCE, Process, ScriptedUpstream, Stopwatch, TestClient, event, good_answer, is_error,
    on_a_steady_machine, sse_head, until, within,
};
use std::time::Duration;
use tidegate::{chat::RunErrorKind as Kind, config::Config};

/// What the simulator is to write. Its deltas are "one", " two", " three", " 四五", " 🌊".
const TEXT: &str = "one two three 四五 🌊";

/// Tables make many faults in a row; the budget of retries is the matter of another test.
fn free_retries(config: &mut Config) {
    config.retry.budget_percent = 100;
}

fn cumulative(config: &mut Config) {
    free_retries(config);
    config.upstream.incremental = false;
}

/// Each row: switches with which the user must get the whole text, after one request.
async fn whole(change: impl Fn(&mut Config), rows: &[&str]) {
    for over in Over::ALL {
        whole_over(over, &change, rows).await;
    }
}

async fn whole_over(over: Over, change: impl Fn(&mut Config), rows: &[&str]) {
    let gateway = Gateway::spawn_over(over, change).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    for switches in rows {
        let before = gateway.upstream().requests();
        client.send_text(&format!("/sim text=\"{TEXT}\" {switches}")).await;
        client.expect(TEXT).await;
        client.still_works().await;
        assert_eq!(gateway.upstream().requests() - before, 2, "{switches}");
        let messages = gateway.last_messages();
        let [.., (role, answer), _] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!((role.as_str(), answer.as_str()), ("assistant", TEXT), "{switches}");
    }
    client.close().await;
    gateway.stop().await;
}

/// A run that fails: switches, the text that is shown first, the error, the requests it takes.
type Failure<'a> = (&'a str, &'a str, Kind, u64);

/// The text before a failure is shown and kept; without text, and when the content was refused,
/// the next request looks as if the message had not been sent.
async fn failures(change: impl Fn(&mut Config), rows: &[Failure<'_>]) {
    for over in Over::ALL {
        failures_over(over, &change, rows).await;
    }
}

async fn failures_over(over: Over, change: impl Fn(&mut Config), rows: &[Failure<'_>]) {
    let gateway = Gateway::spawn_over(over, change).await;
    for (switches, shown, kind, requests) in rows {
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        let before = gateway.upstream().requests();
        let message = format!("/sim text=\"{TEXT}\" {switches}");
        client.send_text(&message).await;
        assert_eq!(client.fails(*kind).await, *shown, "{switches}");
        assert_eq!(gateway.upstream().requests() - before, *requests, "{switches}");
        client.still_works().await;
        let mut expected = vec![("user".to_owned(), "/sim text=fine".to_owned())];
        if !shown.is_empty() && !kind.is_filtered() {
            expected.insert(0, ("assistant".to_owned(), (*shown).to_owned()));
            expected.insert(0, ("user".to_owned(), message));
        }
        assert_eq!(gateway.last_messages(), expected, "{switches}");
        client.close().await;
    }
    until("no upstream is left open", async || gateway.upstream().open_streams() == 0).await;
    gateway.stop().await;
}

// faults: E65, E66, E67, E68, E69, E70
#[tokio::test]
async fn every_syntax_of_a_stream_gives_the_same_answer() {
    whole(
        free_retries,
        &[
            "bytes=1",
            "bytes=7",
            "split_utf8",
            "crlf",
            "crlf bytes=1",
            "mixed_ends",
            "bom",
            "bom bytes=1",
            "space_after_colon",
            "comments",
            "unknown_fields",
            "no_id",
            "comments unknown_fields no_id crlf bytes=3",
            "no_blank_lines",
            "no_last_blank",
            "no_blank_lines no_last_blank",
            "many_data_lines",
            "many_data_lines crlf bytes=5",
        ],
    )
    .await;
}

// faults: E74, E76, E77, E79, E80, E84
#[tokio::test]
async fn frames_without_text_and_odd_ends_change_nothing() {
    whole(
        free_retries,
        &[
            "odd_choices_after=1",
            "index",
            "empty_every=1",
            "payload_after=1:{}",
            "payload_after=1:{\"output\":{}}",
            "finish=length",
            "null_finish",
            "done_after=1",
            "no_usage",
            "empty_usage",
            "usage_after_finish",
            "text_after_finish",
            "two_finishes",
            "done_marker",
            "no_request_id",
            "text_after_finish two_finishes usage_after_finish done_marker",
            // The answer is finished, whatever becomes of the connection behind it.
            "short_length",
            "half_chunk",
        ],
    )
    .await;
}

// faults: E65
#[tokio::test]
async fn a_response_may_arrive_byte_by_byte() {
    for over in Over::ALL {
        let upstream = ScriptedUpstream::bind().await;
        let gateway = Gateway::in_front_over(over, upstream.address, |_| {}).await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text("hi").await;
        let mut connection = upstream.accept().await;
        connection.request().await;
        for byte in good_answer(TEXT).bytes() {
            connection.send([byte]).await;
        }
        client.expect(TEXT).await;
        client.close().await;
        gateway.stop().await;
    }
}

// faults: E67, E87
#[tokio::test]
async fn text_that_looks_like_something_else_is_text() {
    let gateway = Gateway::spawn(free_retries).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    for text in [
        "a\u{2028}b\u{85}c\u{0}d\u{feff}e\u{7f}",
        "data: {\"output\":{}}\n\nevent: error\nid: 1\n\n:HTTP_STATUS/500\n\ndata: [DONE]\n\n",
        "Error: this is the model's own word",
        "</script><script>alert(1)</script><img src=x onerror=alert(1)>",
        "\u{1b}[31mred\u{1b}[0m\u{1b}]0;title\u{7}",
        "\u{202e}desrever\u{202c} \\\" \\u0041 \r\n\t",
        &"\n".repeat(10_000),
    ] {
        let escape = |c: char| match c {
            '"' | '\\' => format!("\\{c}"),
            '\0'..='\u{1f}' => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        };
        // Line breaks have a short escape, so that ten thousand of them fit into a message.
        let spelled = text.replace('\n', "\u{e000}").chars().map(escape).collect::<String>();
        client.send_text(&format!("/sim text=\"{}\"", spelled.replace('\u{e000}', "\\n"))).await;
        client.expect(text).await;
        client.still_works().await;
    }
    client.close().await;
    gateway.stop().await;
}

// faults: E73
#[tokio::test]
async fn a_payload_that_is_not_json_is_passed_on_as_text() {
    let gateway = Gateway::spawn(free_retries).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    for (switches, expected) in [
        ("payload_after=1:(plain)", "one(plain) two"),
        ("bytes_after=\"1:data: first\\ndata: second\\n\\n\"", "onefirst\nsecond two"),
        ("bytes_after=\"0:data:  你好\\n\\n\"", " 你好one two"),
        ("bytes_after=\"1:data: 42\\n\\n\"", "one42 two"),
    ] {
        client.send_text(&format!("/sim text=\"one two\" {switches}")).await;
        client.expect(expected).await;
        client.still_works().await;
    }
    client.close().await;
    gateway.stop().await;
}

// faults: E66, E71, E72, E73
#[tokio::test]
async fn what_cannot_be_read_fails_and_the_text_before_it_stays() {
    let protocol = |switches, shown| (switches, shown, Kind::UpstreamProtocol, 1);
    failures(
        free_retries,
        &[
            ("cr", "", Kind::UpstreamProtocol, 2),
            protocol("long_line=300000", "one"),
            protocol("long_line=50000000", "one"),
            protocol("invalid_utf8_after=2", "one two"),
            protocol("invalid_utf8_after=0", ""),
            protocol("garbage_after=2", "one two"),
            protocol("garbage_after=0", ""),
            protocol("wrong_types_after=2", "one two"),
            protocol("deep_after=2", "one two"),
            protocol("payload_after=2:{\"output\":{\"choices\":{}}}", "one two"),
            protocol("payload_after=2:{\"output\":{\"choices\":[{\"message\":[]}]}}", "one two"),
            protocol("payload_after=2:{\"output\":{},\"output\":{}}", "one two"),
            protocol("payload_after=2:[]", "one two"),
            protocol("payload_after=2:{}}", "one two"),
        ],
    )
    .await;
}

// faults: E75
#[tokio::test]
async fn an_error_is_reported_wherever_it_is_carried() {
    let row = |switches, kind, requests| (switches, "", kind, requests);
    let broke = |switches, kind| (switches, "one two", kind, 1);
    failures(
        free_retries,
        &[
            row("carrier=a status=500", Kind::UpstreamError, 3),
            row("carrier=a code=DataInspectionFailed", Kind::InputRefused, 1),
            row("carrier=b status=500", Kind::UpstreamError, 3),
            row("carrier=b code=Throttling.RateQuota", Kind::RateLimited, 3),
            row("carrier=b code=DataInspectionFailed", Kind::InputRefused, 1),
            row("carrier=c status=500", Kind::UpstreamError, 3),
            row("carrier=c code=InvalidApiKey", Kind::NotSetUp, 1),
            row("carrier=c code=DataInspectionFailed", Kind::InputRefused, 1),
            row("error_after=0 code=InternalError", Kind::UpstreamError, 3),
            broke("carrier=d error_after=2 code=InternalError", Kind::UpstreamError),
            broke("error_after=2 code=Throttling.RateQuota", Kind::RateLimited),
            broke("error_after=2 code=InternalError.Timeout", Kind::UpstreamTimeout),
            broke("error_after=2 code=DataInspectionFailed", Kind::OutputRefused),
            ("error_after code=DataInspectionFailed", TEXT, Kind::OutputRefused, 1),
            ("error_after code=SystemError", TEXT, Kind::UpstreamError, 1),
            broke("payload_after=2:{\"error\":{\"code\":\"SystemError\"}}", Kind::UpstreamError),
            broke("payload_after=2:{\"error\":\"boom\"}", Kind::UpstreamError),
            broke("payload_after=2:{\"code\":\"Throttling\",\"message\":\"slow\"}", Kind::RateLimited),
            broke("bytes_after=\"2:error:{\\\"code\\\":\\\"SystemError\\\"}\\n\\n\"", Kind::UpstreamError),
            broke("bytes_after=\"2:event:error\\n\\n\"", Kind::UpstreamError),
            broke("bytes_after=\"2:event:error\\ndata:no JSON\\n\\n\"", Kind::UpstreamError),
        ],
    )
    .await;
}

// faults: E76
#[tokio::test]
async fn a_finish_that_is_no_end_of_an_answer_is_an_error() {
    let content = "{\"output\":{\"choices\":[{\"message\":{\"content\":\"stack-of-the-server\"},\
                   \"finish_reason\":\"error_finish\"}]}}";
    failures(
        free_retries,
        &[
            ("finish=content_filter", TEXT, Kind::OutputRefused, 1),
            ("finish=tool_calls", TEXT, Kind::ToolsNotSupported, 1),
            ("finish=error_finish", TEXT, Kind::UpstreamProtocol, 1),
            ("finish=function_call", TEXT, Kind::UpstreamProtocol, 1),
            (&format!("payload_after=2:{content}"), "one two", Kind::UpstreamProtocol, 1),
            ("text=\"\"", "", Kind::EmptyAnswer, 1),
        ],
    )
    .await;
}

// faults: E80, E81
#[tokio::test]
async fn an_answer_without_its_finish_is_never_whole() {
    let broke = |switches| (switches, "one two", Kind::Interrupted, 1);
    failures(
        free_retries,
        &[
            broke("cut_after=2"),
            broke("cut_in_frame_after=2"),
            broke("end_after=2"),
            broke("end_in_frame_after=2"),
            broke("reset_after=2"),
            broke("short_length end_after=2"),
            broke("half_chunk end_after=2"),
            ("end_without_finish", TEXT, Kind::Interrupted, 1),
            ("last_null", TEXT, Kind::Interrupted, 1),
            ("done_marker last_null", TEXT, Kind::Interrupted, 1),
            // Nothing was shown, so it is tried once more.
            ("bad_chunk", "", Kind::Interrupted, 2),
            ("until_close", "", Kind::UpstreamProtocol, 2),
            ("cut_after=0", "", Kind::UpstreamProtocol, 2),
            ("reset_after=0", "", Kind::Interrupted, 2),
        ],
    )
    .await;
}

// faults: E72, E80, E81
#[tokio::test]
async fn a_broken_connection_keeps_whole_characters_of_the_text() {
    let ways = ["in a character", "in an event", "in a chunk", "between events", "reset"];
    for (over, way) in Over::ALL.into_iter().flat_map(|over| ways.map(|way| (over, way))) {
        let upstream = ScriptedUpstream::bind().await;
        let gateway = Gateway::in_front_over(over, upstream.address, |_| {}).await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text("hi").await;
        let mut connection = upstream.accept().await;
        connection.request().await;
        connection.send(sse_head()).await;
        connection.delta("四").await;
        client.expect("四").await;
        let frame = event("五", "null");
        let inside = frame.find('五').unwrap() + 1;
        match way {
            "in a character" => connection.chunk(&frame.as_bytes()[..inside]).await,
            "in an event" => connection.chunk(&frame.as_bytes()[..inside - 3]).await,
            "in a chunk" => connection.send(format!("{:x}\r\n{frame}", frame.len() + 9)).await,
            _ => {}
        }
        let kind = if way == "in a character" { Kind::UpstreamProtocol } else { Kind::Interrupted };
        if way == "in a chunk" {
            client.expect("五").await;
        }
        if way == "reset" {
            connection.reset()
        } else {
            drop(connection)
        }
        assert_eq!(client.fails(kind).await, "", "{over:?} {way}");
        client.close().await;
        gateway.stop().await;
    }
}

// faults: E65, E66, E70, E74, E77, E79, E84
#[tokio::test]
async fn a_cumulative_answer_is_shown_as_it_grows() {
    whole(
        cumulative,
        &[
            "",
            "bytes=1",
            "split_utf8",
            "crlf",
            "many_data_lines",
            "no_blank_lines",
            "odd_choices_after=1",
            "empty_every=1",
            "null_finish",
            "two_finishes",
            "usage_after_finish",
        ],
    )
    .await;
}

// faults: E75, E78, E80, E81
#[tokio::test]
async fn shown_text_is_never_taken_back() {
    let rewritten = |switches| (switches, "one two", Kind::UpstreamProtocol, 1);
    failures(
        cumulative,
        &[
            rewritten("cumulative_rewrite_after=2"),
            rewritten("cumulative_shrink_after=2"),
            rewritten("switch_mode_after=2"),
            ("mode=incremental", "one", Kind::UpstreamProtocol, 1),
            ("error_after=2 code=InternalError", "one two", Kind::UpstreamError, 1),
            ("error_after=2 code=DataInspectionFailed", "one two", Kind::OutputRefused, 1),
            ("cut_in_frame_after=2", "one two", Kind::Interrupted, 1),
            ("reset_after=2", "one two", Kind::Interrupted, 1),
            ("last_null", TEXT, Kind::Interrupted, 1),
        ],
    )
    .await;
}

// faults: K142
#[tokio::test]
async fn a_service_that_repeats_the_text_so_far_is_logged_once_and_read_as_cumulative() {
    let simulator = Process::simulate().await;
    let gateway = Process::serve(&simulator, "sk-test", &["--set", "server.workers=2"]).await;
    let [message, words] =
        ["/sim text=\"one two three four five\" mode=cumulative", "one two three four five"];
    let mut first = TestClient::connect(&gateway.chat_url()).await;
    first.send_text(message).await;
    // Doubled until it was noticed, and not beyond.
    first.expect("oneone twoone two three four five").await;
    // On every worker.
    for _ in 0..4 {
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text(message).await;
        client.expect(words).await;
        client.send_text(&format!("/sim text=\"{words}\" mode=incremental")).await;
        client.expect(words).await;
        // The next one is not expected to repeat: it has to be noticed anew.
        client.send_text(message).await;
        client.expect("oneone twoone two three four five").await;
        client.close().await;
    }
    first.close().await;
    let log = gateway.stop().await;
    let warnings = log.lines().filter(|line| line.contains("upstream.incremental"));
    assert_eq!(warnings.count(), 1, "{log}");
    simulator.stop().await;
}

// faults: E82
#[tokio::test]
async fn silence_in_mid_stream_ends_the_run_and_closes_the_upstream() {
    on_a_steady_machine(async || {
        let gateway =
            Gateway::spawn(|config| config.upstream.idle_timeout = Duration::from_millis(200)).await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        for (switches, shown, requests) in [("stall_after=2", "one two", 1), ("stall_after=0", "", 2)] {
            let upstream = gateway.upstream();
            let (before, closed) = (upstream.requests(), upstream.cancelled());
            let watch = Stopwatch::start();
            client.send_text(&format!("/sim text=\"{TEXT}\" {switches}")).await;
            assert_eq!(client.fails(Kind::UpstreamTimeout).await, shown);
            assert!(watch.took().is_in(Duration::from_millis(200) * requests as u32..));
            assert_eq!(upstream.requests() - before, requests);
            until("it is closed", async || upstream.cancelled() - closed == requests).await;
        }
        // A slow stream is not a silent one.
        client.send_text(&format!("/sim text=\"{TEXT}\" pace_ms=120")).await;
        client.expect(TEXT).await;
        client.close().await;
        gateway.stop().await;
    })
    .await;
}

// faults: E79, E82
#[tokio::test]
async fn a_stream_that_is_left_open_behind_its_finish_is_let_go() {
    on_a_steady_machine(async || {
        let upstream = ScriptedUpstream::bind().await;
        let change = |config: &mut Config| config.upstream.idle_timeout = Duration::from_millis(200);
        let gateway = Gateway::in_front_of(upstream.address, change).await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text("one").await;
        client.send_text("two").await;
        let mut connection = upstream.accept().await;
        connection.request().await;
        connection.send(good_answer("first").strip_suffix("0\r\n\r\n").unwrap()).await;
        client.expect("first").await;
        let mut next = upstream.accept().await;
        connection.closed().await;
        let (_, body) = next.request().await;
        assert!(body.contains("first") && body.contains("two"), "{body}");
        next.send(good_answer("second")).await;
        client.expect("second").await;
        client.close().await;
        gateway.stop().await;
    })
    .await;
}

// faults: E82, E83
#[tokio::test]
async fn a_run_ends_at_its_time_limit_whatever_keeps_it_alive() {
    on_a_steady_machine(async || {
        let gateway = Gateway::spawn(|config| config.upstream.run_timeout = Duration::from_secs(1)).await;
        let rows = [
            ("stall_after=2", "one two"),
            ("stall_after=2 keepalive_ms=50", "one two"),
            ("bytes=1 byte_ms=20", ""),
            ("tokens=100000 pace_ms=400 first_ms=0 phase=0", "one two three"),
            ("no_head", ""),
            ("status=503 retry_after=1", ""),
        ];
        let turns = rows.map(async |(switches, shown)| {
            let mut client = TestClient::connect(&gateway.chat_url()).await;
            let watch = Stopwatch::start();
            client.send_text(&format!("/sim text=\"{TEXT}\" {switches}")).await;
            let (text, error) = client.until_error().await;
            let kind = if switches.contains("503") { Kind::UpstreamError } else { Kind::UpstreamTimeout };
            assert!(is_error(&error, kind), "{switches}: {error}");
            assert_eq!(text, shown, "{switches}");
            assert!(watch.took().is_in(..Duration::from_secs(4)), "{switches}: {:?}", watch.took());
            client.still_works().await;
            client.close().await;
        });
        futures_util::future::join_all(turns).await;
        until("every upstream is closed", async || gateway.upstream().open_streams() == 0).await;
        gateway.stop().await;
    })
    .await;
}

// faults: E84
#[tokio::test]
async fn an_answer_is_cut_at_its_bound_and_what_fits_is_kept() {
    let gateway = Gateway::spawn(|config| config.upstream.answer_bytes_max = 1024).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    let message = "/sim text=四 tokens=100000";
    client.send_text(message).await;
    let text = client.fails(Kind::AnswerTooLong).await;
    assert_eq!(text, "四".repeat(1024 / 3), "whole characters, as many as fit");
    until("the upstream is closed", async || gateway.upstream().cancelled() == 1).await;
    client.still_works().await;
    let expected = [("user", message), ("assistant", text.as_str()), ("user", "/sim text=fine")];
    assert_eq!(gateway.last_messages(), expected.map(|(role, text)| (role.to_owned(), text.to_owned())));
    client.close().await;
    gateway.stop().await;
}

// faults: E84
#[tokio::test]
async fn a_burst_of_tiny_deltas_arrives_merged_and_in_order() {
    const DELTAS: usize = 5_000;
    let gateway = Gateway::spawn(|_| {}).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text(&format!("/sim text=x tokens={DELTAS} number group={DELTAS}")).await;
    let expected: String = (0..DELTAS).map(|n| format!("#{n} x")).collect();
    let (mut received, mut frames) = (String::new(), 0);
    while received.len() < expected.len() {
        received.push_str(&client.read_text().await);
        frames += 1;
    }
    assert!(received == expected, "every delta, in order");
    assert!(frames < DELTAS / 4, "{frames} frames for {DELTAS} deltas");
    // One large delta is nothing special.
    client.send_text("/sim tokens=1 word_len=200000").await;
    let mut bytes = 0;
    while bytes < 200_000 {
        bytes += client.read_text().await.len();
    }
    assert_eq!(bytes, 200_000);
    client.still_works().await;
    client.close().await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_thinking_models_answer_is_shown_and_its_thoughts_are_not() {
    for (model, thinking) in [
        ("sim-think", "think=20"),
        ("sim-chat", "think=20"),
        ("sim-think", "think=3 many_data_lines bytes=1"),
    ] {
        let gateway = Gateway::spawn(|config| config.upstream.model = model.into()).await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text(&format!("/sim text=\"{TEXT}\" {thinking}")).await;
        client.expect(TEXT).await;
        client.still_works().await;
        assert_eq!(gateway.last_messages()[1], ("assistant".to_owned(), TEXT.to_owned()));
        client.send_text(&format!("/sim text=\"{TEXT}\" {thinking} cut_after=2")).await;
        assert_eq!(client.fails(Kind::Interrupted).await, "");
        client.close().await;
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_multimodal_model_is_asked_on_its_own_path_with_parts() {
    let gateway = Gateway::spawn(|config| config.upstream.model = "qwen-vl-max".into()).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    for switches in ["", "bytes=1", "odd_choices_after=1", "mode=incremental split_utf8"] {
        client.send_text(&format!("/sim text=\"{TEXT}\" {switches}")).await;
        client.expect(TEXT).await;
    }
    client.send_text("/sim text=last").await;
    client.expect("last").await;
    let recorded = gateway.upstream().recorded();
    let last = recorded.last().unwrap();
    assert_eq!(last.path, "/api/v1/services/aigc/multimodal-generation/generation");
    let body: serde_json::Value = serde_json::from_str(&last.body).unwrap();
    let messages = &body["input"]["messages"];
    assert_eq!(messages[1], serde_json::json!({"role": "assistant", "content": [{"text": TEXT}]}));
    assert_eq!(messages[8], serde_json::json!({"role": "user", "content": [{"text": "/sim text=last"}]}));
    client.close().await;
    gateway.stop().await;
}

// faults: E86
#[tokio::test]
async fn late_frames_of_a_finished_answer_do_not_reach_the_next_one() {
    let upstream = ScriptedUpstream::bind().await;
    let gateway = Gateway::in_front_of(upstream.address, |config| config.server.workers = 1).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("one").await;
    let mut first = upstream.accept().await;
    first.request().await;
    first.send(good_answer("first")).await;
    client.expect("first").await;
    until("the run is over", async || gateway.app_state.metrics.runs.get() == 0).await;
    first.send(good_answer("late")).await;
    client.send_text("two").await;
    // Unsolicited bytes make a kept connection unfit for use.
    let mut second = within("a new connection", PATIENCE, upstream.accept()).await;
    second.request().await;
    second.send(good_answer("second")).await;
    client.expect("second").await;
    client.close().await;
    gateway.stop().await;
}
