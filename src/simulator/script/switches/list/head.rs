//! Switches of the response's head, and of how its body ends.
use super::{
    super::{
        super::{Fault, HeadKind, TOKENS_MAX},
        Switch,
    },
    after, at, fault, head, put,
};

pub(super) const ALL: &[Switch] = &[
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
    fault("reset", "", "81", "the connection is reset before the head", |s, v| head(s, v, HeadKind::Reset)),
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
];
