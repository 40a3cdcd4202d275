//! Switches of payloads, syntax, finish, usage and the mode.
use super::{
    super::{
        super::{
            AfterFinish::{Done, SecondFinish, Text, Usage},
            Fault, Mode, Odd, TOKENS_MAX, UsageKind,
            spelling::LineEnd,
        },
        Switch,
    },
    after, at, behind, cumulative, fault, given, line_end, put, usage,
};

const ODD_CHOICES: [Odd; 6] =
    [Odd::NoChoices, Odd::NoList, Odd::NoMessage, Odd::NullContent, Odd::NoContent, Odd::OtherChoice];

pub(super) const ALL: &[Switch] = &[
    // Payloads.
    fault("garbage_after", "N", "73", "a payload of cut-off JSON", |s, v| {
        after(s, v, Fault::Odd(Odd::Garbage))
    }),
    fault("not_json_after", "N", "73", "a payload of plain text", |s, v| {
        after(s, v, Fault::Odd(Odd::NotJson))
    }),
    fault("wrong_types_after", "N", "73", "a payload whose content is a number", |s, v| {
        after(s, v, Fault::Odd(Odd::WrongTypes))
    }),
    fault("deep_after", "N", "73", "a payload nested 10,000 deep", |s, v| after(s, v, Fault::Odd(Odd::Deep))),
    fault(
        "odd_choices_after",
        "N",
        "74",
        "frames with no choices, no message, null content, no content, another index",
        |s, v| ODD_CHOICES.iter().try_for_each(|odd| after(s, v, Fault::Odd(*odd))),
    ),
    fault("invalid_utf8_after", "N", "72", "a payload with bytes that are not UTF-8", |s, v| {
        after(s, v, Fault::Odd(Odd::InvalidUtf8))
    }),
    fault("done_after", "N", "79", "`data:[DONE]` in the middle of the stream", |s, v| {
        after(s, v, Fault::Bytes(b"data:[DONE]\n\n".into()))
    }),
    fault(
        "payload_after",
        "N:TEXT",
        "67 73 74 75 87",
        "a result frame with this payload; several are allowed",
        |s, v| given(s, v, Fault::Data),
    ),
    fault("bytes_after", "N:TEXT", "66 68 70 86", "these bytes unchanged; several are allowed", |s, v| {
        given(s, v, Fault::Bytes)
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
        put(&mut s.spelling.space_after_colon, Some(v.flag()?))
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
    fault("no_done", "", "79", "chat dialect: no `[DONE]` at the end", |s, v| put(&mut s.no_done, v.flag()?)),
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
