//! All switches: name, value, effect, rows of the fault catalogue, and setter.
use super::super::{
    AfterFinish::{self, Done, SecondFinish, Text, Usage},
    Alphabet, Carrier, Fault, HeadKind, Mode, Script, TOKENS_MAX, UsageKind,
    answer::{SHOWCASE, SHOWCASE_ZH},
    spelling::LineEnd,
    value::Setting,
};
use super::{Set, Switch, payloads};

/// A switch that shapes a good answer.
const fn shape(name: &'static str, value: &'static str, help: &'static str, set: Set) -> Switch {
    Switch { name, value, rows: "", help, fault: false, set }
}

/// A switch that causes a fault.
const fn fault(
    name: &'static str,
    value: &'static str,
    rows: &'static str,
    help: &'static str,
    set: Set,
) -> Switch {
    Switch { name, value, rows, help, fault: true, set }
}

/// Assigns a value.
fn put<T>(place: &mut T, value: T) -> Result<(), String> {
    *place = value;
    Ok(())
}

/// Adds a fault after a number of deltas; without a value, at the end of the text.
fn after(script: &mut Script, setting: &Setting, fault: Fault) -> Result<(), String> {
    let deltas = setting.count_or(TOKENS_MAX + 1, TOKENS_MAX)?;
    at(script, deltas, fault)
}

fn at(script: &mut Script, deltas: u64, fault: Fault) -> Result<(), String> {
    script.faults.push((deltas, fault));
    Ok(())
}

fn head(script: &mut Script, setting: &Setting, kind: HeadKind) -> Result<(), String> {
    let on = setting.flag()?;
    put(&mut script.head.kind, on.then_some(kind))
}

fn behind(script: &mut Script, what: AfterFinish) -> Result<(), String> {
    script.after_finish.push(what);
    Ok(())
}

/// Every switch, in the order of the document.
pub(super) const ALL: &[Switch] = &[
    // Content.
    shape(
        "text",
        "\"…\"",
        "answers this text; `\\n`, `\\t`, `\\uXXXX` and `\\\"` are understood",
        |s, v| put(&mut s.text, Some(v.string()?)),
    ),
    shape("demo", "en, zh", "answers with everything that the page can render (default en)", |s, v| {
        let texts = [("en", SHOWCASE), ("zh", SHOWCASE_ZH)];
        let text = if v.is_bare() { SHOWCASE } else { v.one_of(&texts)? };
        put(&mut s.text, Some(text.trim_end().to_owned()))
    }),
    shape("tokens", "N", "number of deltas: filler words, or the text repeated (default 40)", |s, v| {
        put(&mut s.tokens, Some(v.count(0, TOKENS_MAX)?))
    }),
    shape("word_len", "N", "characters in each filler word", |s, v| {
        put(&mut s.word_len, Some(v.count(1, 1 << 20)?))
    }),
    shape("alphabet", "latin, chinese, emoji, mixed", "letters of the filler words", |s, v| {
        let words = [
            ("latin", Alphabet::Latin),
            ("chinese", Alphabet::Chinese),
            ("emoji", Alphabet::Emoji),
            ("mixed", Alphabet::Mixed),
        ];
        put(&mut s.alphabet, v.one_of(&words)?)
    }),
    shape("think", "N", "number of reasoning deltas before the answer", |s, v| {
        put(&mut s.think, Some(v.count(0, 100_000)?))
    }),
    shape("seed", "N", "selects other filler words", |s, v| put(&mut s.seed, Some(v.count(0, u64::MAX)?))),
    shape(
        "stamp",
        "",
        "each delta begins with `@NS `: the machine's monotonic clock when it was written, in ns",
        |s, v| put(&mut s.stamp, v.flag()?),
    ),
    shape("number", "", "each delta begins with `#K `: its number from 0", |s, v| {
        put(&mut s.number, v.flag()?)
    }),
    shape("index", "", "choices carry `\"index\":0`", |s, v| put(&mut s.index, v.flag()?)),
    shape("tag", "any word", "no effect; distinguishes a message from others, for `times`", |_, v| {
        v.string().map(drop)
    }),
    // Timing.
    shape("pace_ms", "T", "time between deltas, kept as an absolute schedule", |s, v| {
        put(&mut s.pace, Some(v.millis()?))
    }),
    shape("first_ms", "T", "time to the first delta", |s, v| put(&mut s.first, Some(v.millis()?))),
    shape(
        "phase",
        "0 to 1",
        "share of one pace by which all deltas but the first come early (default random)",
        |s, v| put(&mut s.phase, Some(v.number(0.0, 1.0)?)),
    ),
    shape("group", "N", "deltas per write, at an unchanged rate", |s, v| {
        put(&mut s.group, v.count(1, 10_000)?)
    }),
    shape("writes", "N", "writes for each event, or for each group of deltas", |s, v| {
        put(&mut s.split.writes, v.count(1, 100)? as usize)
    }),
    shape(
        "nagle",
        "on, off",
        "whether the kernel holds a small write back until the one before is acknowledged (default off)",
        |s, v| put(&mut s.nagle, v.is_bare() || v.one_of(&[("on", true), ("off", false)])?),
    ),
    shape(
        "keepalive_ms",
        "T",
        "a `:keepalive` comment whenever nothing else was written for this time, also during stalls",
        |s, v| put(&mut s.keepalive, Some(v.millis()?.max(std::time::Duration::from_millis(1)))),
    ),
    shape(
        "times",
        "N",
        "the faults apply to the first N requests with this message; then the answer is good",
        |s, v| put(&mut s.times, Some(v.count(0, 1_000_000)?)),
    ),
    // Errors.
    fault(
        "carrier",
        "a, b, c, d",
        "75",
        "where an error is put: JSON with a status, SSE with a status, first frame under HTTP 200, in mid-stream (with `error_after`)",
        |s, v| {
            let words = [
                ("a", Carrier::Json),
                ("b", Carrier::SseWithStatus),
                ("c", Carrier::FirstFrame),
                ("d", Carrier::MidStream),
            ];
            put(&mut s.head.carrier, Some(v.one_of(&words)?))
        },
    ),
    fault(
        "status",
        "200 to 599",
        "51 52 53 54 55",
        "the error's status; alone it means carrier a",
        |s, v| put(&mut s.error.status, Some(v.count(200, 599)? as u16)),
    ),
    fault("code", "a code", "51 52 53 54 55", "the error's code; alone it means carrier a", |s, v| {
        put(&mut s.error.code, Some(v.string()?))
    }),
    fault("message", "\"…\"", "52", "the error's message", |s, v| {
        put(&mut s.error.message, Some(v.string()?))
    }),
    fault("retry_after", "any text", "54", "the header `retry-after`: seconds, a date, garbage", |s, v| {
        put(&mut s.head.retry_after, Some(v.string()?))
    }),
    fault("retry_after_ms", "any text", "54", "the header `retry-after-ms`", |s, v| {
        put(&mut s.head.retry_after_ms, Some(v.string()?))
    }),
    fault("error_after", "N", "75", "an error frame after N deltas, then the end", |s, v| {
        after(s, v, Fault::Error)
    }),
    // The head.
    fault("html", "", "55 57", "an HTML page, under 502 or `status`", |s, v| head(s, v, HeadKind::Html)),
    fault("empty", "", "55", "an empty body, under 503 or `status`", |s, v| head(s, v, HeadKind::Empty)),
    fault("json_instead", "", "56", "the whole answer as JSON although a stream was requested", |s, v| {
        head(s, v, HeadKind::JsonInstead)
    }),
    fault("json_error", "", "56", "HTTP 200 with JSON that has a code and no output", |s, v| {
        head(s, v, HeadKind::JsonError)
    }),
    fault(
        "wrong_type",
        "a type",
        "57",
        "another content type over a good stream (default `text/html`)",
        |s, v| {
            let wanted = if v.value.is_some() { v.string()? } else { "text/html".to_owned() };
            put(&mut s.head.content_type, Some(wanted))
        },
    ),
    fault("no_type", "", "57", "no content type", |s, v| head(s, v, HeadKind::NoType)),
    fault("redirect", "", "58", "307 to another path, or `status`", |s, v| head(s, v, HeadKind::Redirect)),
    fault("early_hints", "N", "59", "N interim responses (103) before the answer", |s, v| {
        put(&mut s.head.early_hints, v.count(1, 100)?)
    }),
    fault("headers", "N", "59", "N additional response headers", |s, v| {
        put(&mut s.head.headers, v.count(1, 2000)?)
    }),
    fault("header_bytes", "N", "59", "one additional header with a value of N bytes", |s, v| {
        put(&mut s.head.header_bytes, v.count(1, 4 << 20)?)
    }),
    fault("bad_status_line", "", "59", "a first line that is not HTTP", |s, v| {
        head(s, v, HeadKind::BadStatusLine)
    }),
    fault("no_head", "", "60", "no byte at all; the connection stays open", |s, v| {
        head(s, v, HeadKind::Never)
    }),
    fault("head_ms", "T", "60", "delay of the head", |s, v| put(&mut s.head_wait, v.millis()?)),
    fault("gzip", "", "61", "a good stream, compressed without being asked", |s, v| {
        put(&mut s.head.gzip, v.flag()?)
    }),
    fault("bomb_mib", "N", "61", "a compressed body that unpacks to N MiB", |s, v| {
        put(&mut s.head.bomb_mib, v.count(1, 4096)?)
    }),
    fault("close_idle_ms", "T", "62", "the idle connection is closed this long after the answer", |s, v| {
        put(&mut s.head.close_idle, Some(v.millis()?))
    }),
    fault("until_close", "", "80", "neither length nor chunks: the body ends with the connection", |s, v| {
        head(s, v, HeadKind::UntilClose)
    }),
    fault(
        "short_length",
        "",
        "80",
        "a content-length that is never reached; the connection is closed",
        |s, v| put(&mut s.head.short_length, v.flag()?),
    ),
    fault("half_chunk", "", "80", "the connection is closed inside a chunk", |s, v| {
        head(s, v, HeadKind::HalfChunk)
    }),
    fault("bad_chunk", "", "80", "a chunk size that is not a number", |s, v| head(s, v, HeadKind::BadChunk)),
    // The end.
    fault(
        "cut_after",
        "N",
        "80",
        "the connection is closed after N deltas, without the last chunk",
        |s, v| after(s, v, Fault::Cut),
    ),
    fault("cut_in_frame_after", "N", "80", "the same in the middle of a frame", |s, v| {
        after(s, v, Fault::CutInFrame)
    }),
    fault("reset_after", "N", "81", "the connection is reset after N deltas", |s, v| {
        after(s, v, Fault::Reset)
    }),
    fault("end_after", "N", "80", "the body ends cleanly after N deltas, without a finish", |s, v| {
        after(s, v, Fault::End)
    }),
    fault("end_without_finish", "", "80", "the same after the whole text", |s, _| {
        at(s, TOKENS_MAX + 1, Fault::End)
    }),
    fault("end_in_frame_after", "N", "72 80", "the same in the middle of a frame", |s, v| {
        after(s, v, Fault::EndInFrame)
    }),
    fault("stall_after", "N", "82", "silence after N deltas; with `keepalive_ms`, only comments", |s, v| {
        after(s, v, Fault::Stall)
    }),
    // Payloads.
    fault("garbage_after", "N", "73", "a payload of cut-off JSON", |s, v| {
        after(s, v, Fault::Data(payloads::GARBAGE.into()))
    }),
    fault("not_json_after", "N", "73", "a payload of plain text", |s, v| {
        after(s, v, Fault::Data(payloads::NOT_JSON.into()))
    }),
    fault("wrong_types_after", "N", "73", "a payload whose content is a number", |s, v| {
        after(s, v, Fault::Data(payloads::WRONG_TYPES.into()))
    }),
    fault("deep_after", "N", "73", "a payload nested 10,000 deep", |s, v| {
        after(s, v, Fault::Data(payloads::deep()))
    }),
    fault(
        "odd_choices_after",
        "N",
        "74",
        "frames with no choices, no message, null content, no content, another index",
        |s, v| payloads::ODD_CHOICES.iter().try_for_each(|odd| after(s, v, Fault::Data((*odd).into()))),
    ),
    fault("invalid_utf8_after", "N", "72", "a payload with bytes that are not UTF-8", |s, v| {
        after(s, v, Fault::Data(payloads::INVALID_UTF8.into()))
    }),
    fault("done_after", "N", "79", "`data:[DONE]` in the middle of the stream", |s, v| {
        after(s, v, Fault::Bytes(payloads::DONE.into()))
    }),
    fault(
        "payload_after",
        "N:TEXT",
        "67 73 74 75 87",
        "a result frame with this payload; several are allowed",
        |s, v| payloads::given(s, v, Fault::Data),
    ),
    fault("bytes_after", "N:TEXT", "66 68 70 86", "these bytes unchanged; several are allowed", |s, v| {
        payloads::given(s, v, Fault::Bytes)
    }),
    fault("long_line", "N", "71", "one line with N bytes after the first delta", |s, v| {
        let length = v.count(1, 1 << 30)?;
        at(s, 1, Fault::LongLine(length))
    }),
    fault("empty_every", "N", "84", "a frame without new text before each N-th delta", |s, v| {
        put(&mut s.empty_every, v.count(1, TOKENS_MAX)?)
    }),
    // Syntax.
    fault("bytes", "N", "65", "N bytes in one write", |s, v| {
        put(&mut s.split.bytes, v.count(1, 1 << 16)? as usize)
    }),
    fault("byte_ms", "T", "83", "pause between the parts that `bytes` or `split_utf8` make", |s, v| {
        put(&mut s.split.gap, v.millis()?)
    }),
    fault("split_utf8", "", "65", "a write ends inside every longer character", |s, v| {
        put(&mut s.split.inside_characters, v.flag()?)
    }),
    fault("crlf", "", "66", "lines end in CRLF", |s, v| line_end(s, v, LineEnd::CrLf)),
    fault("cr", "", "66", "lines end in CR alone", |s, v| line_end(s, v, LineEnd::Cr)),
    fault("mixed_ends", "", "66", "lines end in LF and CRLF in turn", |s, v| line_end(s, v, LineEnd::Mixed)),
    fault("bom", "", "67", "a byte order mark before the first frame", |s, v| {
        put(&mut s.spelling.bom, v.flag()?)
    }),
    fault("space_after_colon", "", "68", "a space after each field name", |s, v| {
        put(&mut s.spelling.space_after_colon, v.flag()?)
    }),
    fault("comments", "", "68", "comment lines of several forms before each frame", |s, v| {
        put(&mut s.spelling.comments, v.flag()?)
    }),
    fault("unknown_fields", "", "68", "unknown fields, one without a colon", |s, v| {
        put(&mut s.spelling.unknown_fields, v.flag()?)
    }),
    fault("no_id", "", "68", "no `id` lines", |s, v| put(&mut s.spelling.no_id, v.flag()?)),
    fault("no_blank_lines", "", "69", "no blank lines between frames", |s, v| {
        put(&mut s.spelling.no_blank_lines, v.flag()?)
    }),
    fault("no_last_blank", "", "69", "no blank line after the last frame", |s, v| {
        put(&mut s.spelling.no_last_blank, v.flag()?)
    }),
    fault("many_data_lines", "", "70", "each payload over several `data:` lines", |s, v| {
        put(&mut s.spelling.many_data_lines, v.flag()?)
    }),
    // Finish, usage and the mode.
    fault("finish", "a word", "76", "the finish reason; `tool_calls` also sends a call", |s, v| {
        put(&mut s.finish, Some(v.string()?))
    }),
    fault("null_finish", "", "77", "frames before the last have JSON null instead of the string", |s, v| {
        put(&mut s.running_null, v.flag()?)
    }),
    fault("last_null", "", "77 80", "the terminal frame has JSON null", |s, v| {
        put(&mut s.last_null, v.flag()?)
    }),
    fault("no_usage", "", "79", "no usage in any frame", |s, v| usage(s, v, UsageKind::Absent)),
    fault("empty_usage", "", "79", "usage is an empty object", |s, v| usage(s, v, UsageKind::Empty)),
    fault("usage_after_finish", "", "79", "a frame with only usage after the terminal one", |s, _| {
        behind(s, Usage)
    }),
    fault("text_after_finish", "", "79", "a frame with text after the terminal one", |s, _| behind(s, Text)),
    fault("two_finishes", "", "79", "the terminal frame twice", |s, _| behind(s, SecondFinish)),
    fault("done_marker", "", "79", "`data:[DONE]` at the end", |s, _| behind(s, Done)),
    fault("no_request_id", "", "79", "no request id in any frame", |s, v| {
        put(&mut s.no_request_id, v.flag()?)
    }),
    fault("mode", "cumulative, incremental", "77", "this mode, whatever was requested", |s, v| {
        let words = [("cumulative", Mode::Cumulative), ("incremental", Mode::Incremental)];
        put(&mut s.mode, Some(v.one_of(&words)?))
    }),
    fault(
        "cumulative_rewrite_after",
        "N",
        "78",
        "cumulative text that begins differently after N deltas",
        |s, v| cumulative(s, v, Fault::Rewrite),
    ),
    fault(
        "cumulative_shrink_after",
        "N",
        "78",
        "cumulative text that gets shorter after N deltas",
        |s, v| cumulative(s, v, Fault::Shrink),
    ),
    fault("switch_mode_after", "N", "78", "the other mode from the N-th delta on", |s, v| {
        after(s, v, Fault::SwitchMode)
    }),
];

fn line_end(script: &mut Script, setting: &Setting, end: LineEnd) -> Result<(), String> {
    let on = setting.flag()?;
    put(&mut script.spelling.line_end, if on { end } else { LineEnd::Lf })
}

fn usage(script: &mut Script, setting: &Setting, kind: UsageKind) -> Result<(), String> {
    let on = setting.flag()?;
    put(&mut script.usage, if on { kind } else { UsageKind::RunningTotals })
}

fn cumulative(script: &mut Script, setting: &Setting, fault: Fault) -> Result<(), String> {
    script.mode = Some(Mode::Cumulative);
    after(script, setting, fault)
}
