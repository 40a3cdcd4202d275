//! Switches of the content, the schedule and the errors of an answer.
use super::{
    super::{
        super::{
            Alphabet, Carrier, Fault, Kind, TOKENS_MAX,
            answer::{SHOWCASE, SHOWCASE_ZH},
            chat::Break,
        },
        Switch,
    },
    after, fault, put, shape, spell,
};

const KINDS: [(&str, Kind); 15] = [
    ("parameter", Kind::Parameter),
    ("too_long", Kind::TooLong),
    ("too_large", Kind::TooLarge),
    ("cap", Kind::Cap),
    ("filter", Kind::Filter),
    ("image", Kind::Image),
    ("key", Kind::Key),
    ("rights", Kind::Rights),
    ("money", Kind::Money),
    ("model", Kind::Model),
    ("path", Kind::Path),
    ("rate", Kind::Rate),
    ("full", Kind::Full),
    ("loading", Kind::Loading),
    ("fault", Kind::Fault),
];

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
    shape(
        "spell",
        "plain, llamacpp, vllm, sglang, ollama, azure, deepseek, moonshot, openrouter",
        "chat dialect: spelled as by this engine or service",
        |s, v| put(&mut s.spell, Some(spell(v)?)),
    ),
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
    shape(
        "for_ms",
        "T",
        "the faults apply for this time after the first request with this message; then the answer is good",
        |s, v| put(&mut s.lasts, Some(v.millis()?)),
    ),
    shape(
        "at",
        "names",
        "the faults apply at the simulators of these names (`--name`), separated by commas; elsewhere the answer is good",
        |s, v| put(&mut s.places, v.string()?.split(',').map(str::to_owned).collect()),
    ),
    // Errors.
    fault(
        "error",
        "parameter, too_long, too_large, cap, filter, image, key, rights, money, model, path, rate, full, loading, fault",
        "51 52 53 54 55",
        "an error of this kind, as the dialect and the spelling report it",
        |s, v| put(&mut s.error.kind, Some(v.one_of(&KINDS)?)),
    ),
    fault(
        "runs",
        "N",
        "54",
        "an error of the kind `full` while more than N requests are in progress",
        |s, v| put(&mut s.runs, Some(v.count(0, 1_000_000)?)),
    ),
    fault("late_ms", "T", "60", "the first delta comes this much later, the head at once", |s, v| {
        put(&mut s.late, v.millis()?)
    }),
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
    fault(
        "break",
        "object, event, choice, field, finish, abort, flat, flat_object, silent",
        "75",
        "chat dialect: the form of the error of `error_after` (default as the engine does)",
        |s, v| {
            let words = [
                ("object", Break::Object),
                ("event", Break::Event),
                ("choice", Break::Choice),
                ("field", Break::Field),
                ("finish", Break::Finish),
                ("abort", Break::Abort),
                ("flat", Break::Flat),
                ("flat_object", Break::FlatObject),
                ("silent", Break::Silent),
            ];
            put(&mut s.error.breaks, Some(v.one_of(&words)?))
        },
    ),
];
