//! The reader of chat completions: the same events however the network cuts them, no text beyond the limit, and never a
//! cut answer that looks complete.
use super::pieces;
use tidegate::{
    chat::{RunEnd, RunEvent, TextKind},
    upstream::{
        Dialect, Head, Limits,
        chat::{Chat, Settings},
        json_fields::Extra,
        service::{Continues, QuotaError, ThinkingField, TokenCap},
    },
};

/// The head depends on the length alone, so that a file of the corpus is a body as it stands.
pub(crate) fn run(input: &[u8]) {
    let (status, content_type) = match input.len() % 16 {
        1 => (200, "application/json"),
        2 => (400, "application/json"),
        3 => (503, "text/event-stream"),
        _ => (200, "text/event-stream"),
    };
    let head = Head { status, content_type: Some(content_type), retry_after: None, request_id: None };
    let answer_bytes = if input.len().is_multiple_of(5) { 8 } else { 1 << 20 };
    let limits = Limits { line_bytes: 64 << 10, event_bytes: 64 << 10, answer_bytes };
    let whole = read(head, limits, [input]);
    for most in [0, 3, 40] {
        assert_eq!(read(head, limits, pieces(input, most)), whole, "in pieces of {most}");
    }
    let (events, end) = &whole;
    let text: usize = events.iter().map(RunEvent::text_bytes).sum();
    assert!(text <= answer_bytes);
    if end.outcome.is_ok() {
        let has = |word: &[u8]| input.windows(word.len()).any(|window| window == word);
        assert!(status == 200 && (has(b"\"stop\"") || has(b"\"length\"")), "a finish that was not sent");
    }
    assert!(events.windows(2).all(|pair| kind(&pair[0]) != kind(&pair[1])), "text of one kind is joined");
}

fn kind(event: &RunEvent) -> Option<TextKind> {
    match event {
        RunEvent::Text { kind, .. } => Some(*kind),
        _ => None,
    }
}

fn read<'a>(
    head: Head<'_>,
    limits: Limits,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<RunEvent>, RunEnd) {
    let dialect = Dialect::Chat(Chat::new(Settings {
        thinking: None,
        thinking_field: ThinkingField::None,
        max_tokens: None,
        token_cap: TokenCap::MaxTokens,
        include_usage: true,
        continues: Continues::No,
        continue_path: "",
        insufficient_quota: QuotaError::Money,
        api_version: None,
        headers: Vec::new(),
        extra: Extra::default(),
    }));
    let mut reader = dialect.reader(&Default::default(), head, limits);
    let mut events = Vec::new();
    for chunk in chunks {
        if reader.feed(chunk, &mut events).is_err() {
            break;
        }
    }
    let end = reader.end(&mut events);
    (events, end)
}
