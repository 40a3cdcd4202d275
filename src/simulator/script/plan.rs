//! Turns a request and its script into a response plan: a head, and a body or a player.
use super::{
    Carrier, Dialect, HeadKind, Player, Request, Script, ServiceError, Step, chat, dashscope,
    error::ErrorAnswer, frames::Frames,
};
use bytes::{Bytes, BytesMut};
use content::Content;
use std::time::Duration;

mod content;

pub(super) use content::seed_of;

const JSON: &str = "application/json";

/// Default times.
#[derive(Clone, Copy, Debug)]
pub struct Pacing {
    /// To the first delta.
    pub first: Duration,
    /// Between deltas.
    pub pace: Duration,
}

/// Random inputs of one answer, drawn by the caller.
#[derive(Clone, Debug)]
pub struct RandomInputs {
    pub request_id: String,
    /// Fraction of one pace, 0 to 1.
    pub phase: f64,
    /// Time of the answer, in seconds since 1970.
    pub created: u64,
}

/// The response to one request.
#[derive(Debug)]
pub struct Plan {
    /// Delay before the head.
    pub wait: Duration,
    pub head: Head,
    /// Further response headers.
    pub headers: Vec<(String, String)>,
    /// Interim responses before the head.
    pub early_hints: u64,
    pub gzip: bool,
    /// Unpacked size of a gzip bomb that replaces the stream.
    pub bomb_mib: u64,
    pub close_idle: Option<Duration>,
    /// Nagle's algorithm is on.
    pub nagle: bool,
    /// A content length that the body never reaches.
    pub promised: Option<u64>,
}

/// Head and body of the response.
#[derive(Debug)]
pub enum Head {
    /// HTTP 200 and a stream.
    Stream {
        content_type: Option<String>,
        player: Box<Player>,
    },
    /// A fixed body.
    Fixed(Fixed),
    /// Raw bytes written to the socket, bypassing the HTTP library; then the connection is closed.
    Raw(Vec<u8>),
    Never,
    /// The connection is reset.
    Reset,
}

impl Head {
    /// HTTP status; 0 where there is none.
    pub fn status(&self) -> u16 {
        match self {
            Head::Stream { .. } => 200,
            Head::Fixed(fixed) => fixed.status,
            Head::Raw(_) | Head::Never | Head::Reset => 0,
        }
    }
}

/// A complete response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    pub status: u16,
    pub content_type: Option<String>,
    pub location: Option<String>,
    pub body: Bytes,
}

impl Fixed {
    /// A service error as JSON with its status.
    pub fn error(dialect: &Dialect, error: &ServiceError, request_id: &str) -> Self {
        Self::answer(dialect, &dialect.answer(error), request_id)
    }

    fn answer(dialect: &Dialect, error: &ErrorAnswer, request_id: &str) -> Self {
        Self::new(error.status, JSON, dialect.error_json(error, request_id).into())
    }

    /// JSON that is no error.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self::new(200, JSON, body.into())
    }

    fn new(status: u16, content_type: &str, body: Bytes) -> Self {
        Fixed { status, content_type: Some(content_type.to_owned()), location: None, body }
    }
}

/// Plans the response to a request.
///
/// # Errors
/// The error that the service would return.
pub fn plan(
    request: &Request,
    script: &Script,
    pacing: Pacing,
    random: &RandomInputs,
) -> Result<Plan, ServiceError> {
    let answer = Content::of(request, script)?;
    let first = script.first.unwrap_or(pacing.first).saturating_add(script.late);
    let pace = script.pace.unwrap_or(pacing.pace);
    let mut wait = script.head_wait;
    if !request.stream {
        // A non-streamed response is sent when the last token is due.
        let tokens = u32::try_from(answer.total()).unwrap_or(u32::MAX);
        wait += first.saturating_add(pace.saturating_mul(tokens));
    }
    let head = head(request, script, answer, random, (first, pace))?;
    let headers = headers(script, request, &random.request_id);
    Ok(Plan {
        wait,
        head,
        headers,
        early_hints: script.head.early_hints,
        gzip: script.head.gzip,
        bomb_mib: script.head.bomb_mib,
        close_idle: script.head.close_idle,
        nagle: script.nagle,
        promised: script.head.short_length.then_some(1 << 30),
    })
}

fn head(
    request: &Request,
    script: &Script,
    answer: Content,
    random: &RandomInputs,
    times: (Duration, Duration),
) -> Result<Head, ServiceError> {
    let id = &*random.request_id;
    let dialect = &request.dialect;
    let error = script.error.service_error();
    let status = |usual: u16| script.error.status.unwrap_or(usual);
    let plain = |answer: &Content| -> Result<Fixed, ServiceError> {
        Ok(Fixed::new(200, JSON, answer.json(&frames(request, script, random))?))
    };
    let event = |status: u16| {
        let mut body = BytesMut::new();
        frames(request, script, random).error(&mut body, &error);
        Fixed::new(status, dialect.event_stream(), body.freeze())
    };
    let fixed = match (script.head.kind, script.early_carrier()) {
        (Some(HeadKind::Html), _) => Fixed::new(
            status(502),
            "text/html",
            Bytes::from_static(b"<html><body><h1>Bad Gateway</h1></body></html>"),
        ),
        (Some(HeadKind::Empty), _) => {
            Fixed { status: status(503), content_type: None, location: None, body: Bytes::new() }
        }
        (Some(HeadKind::JsonError), _) => Fixed { status: 200, ..Fixed::error(dialect, &error, id) },
        (Some(HeadKind::JsonInstead), _) => plain(&answer)?,
        (Some(HeadKind::Redirect), _) => Fixed {
            location: Some("/elsewhere".to_owned()),
            ..Fixed::new(status(307), "text/html", Bytes::new())
        },
        (Some(HeadKind::Never), _) => return Ok(Head::Never),
        (Some(HeadKind::Reset), _) => return Ok(Head::Reset),
        (
            Some(
                kind @ (HeadKind::BadStatusLine
                | HeadKind::UntilClose
                | HeadKind::BadChunk
                | HeadKind::HalfChunk),
            ),
            _,
        ) => {
            return Ok(Head::Raw(raw(kind, &frames_alone(request, script, answer, random))));
        }
        (_, Some(Carrier::SseWithStatus)) => event(dialect.answer(&error).status),
        (_, Some(Carrier::FirstFrame)) if request.stream => event(200),
        (_, Some(_)) => Fixed::error(dialect, &error, id),
        (_, None) if !request.stream && script.has_error() => Fixed::error(dialect, &error, id),
        (_, None) if !request.stream => plain(&answer)?,
        (kind, None) => {
            let content_type = match kind {
                Some(HeadKind::NoType) => None,
                _ => Some(
                    script.head.content_type.clone().unwrap_or_else(|| dialect.event_stream().to_owned()),
                ),
            };
            let player = Box::new(Player::new(answer.parts(request, script, random, times)));
            return Ok(Head::Stream { content_type, player });
        }
    };
    Ok(Head::Fixed(fixed))
}

/// A short valid stream as bytes, for faults that bypass the HTTP library.
fn frames_alone(request: &Request, script: &Script, mut answer: Content, random: &RandomInputs) -> Vec<u8> {
    const TOKENS: u64 = 1000;
    answer.tokens = answer.tokens.min(TOKENS);
    answer.think = answer.think.min(TOKENS);
    let mut player = Player::new(answer.parts(request, script, random, (Duration::ZERO, Duration::ZERO)));
    let mut bytes = Vec::new();
    while let Step::Write(part) = player.step(Duration::ZERO, 0) {
        bytes.extend_from_slice(&part);
    }
    bytes
}

/// Responses that violate HTTP.
fn raw(kind: HeadKind, frames: &[u8]) -> Vec<u8> {
    let chunked = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream;charset=UTF-8\r\ntransfer-encoding: chunked\r\n\r\n";
    let (head, from) = match kind {
        HeadKind::BadStatusLine => ("HTTP/1.1 two hundred\r\n\r\n".to_owned(), frames.len()),
        HeadKind::BadChunk => (format!("{chunked}not-a-number\r\n"), 0),
        HeadKind::HalfChunk => (format!("{chunked}{:x}\r\n", frames.len() + 100), 0),
        _ => (
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream;charset=UTF-8\r\nconnection: close\r\n\r\n"
                .to_owned(),
            0,
        ),
    };
    [head.as_bytes(), &frames[from..]].concat()
}

/// The headers of every response, followed by those of the script.
fn headers(script: &Script, request: &Request, request_id: &str) -> Vec<(String, String)> {
    let mut headers = vec![("x-request-id".to_owned(), request_id.to_owned())];
    if matches!(request.dialect, Dialect::DashScope { .. }) {
        let finished = if request.stream { "false" } else { "true" };
        headers.extend([
            ("x-dashscope-call-gateway".to_owned(), "true".to_owned()),
            ("x-dashscope-timeout".to_owned(), "298".to_owned()),
            ("x-dashscope-finished".to_owned(), finished.to_owned()),
        ]);
    }
    let given = [("retry-after", &script.head.retry_after), ("retry-after-ms", &script.head.retry_after_ms)];
    headers.extend(given.iter().filter_map(|(name, value)| Some(((*name).to_owned(), (*value).clone()?))));
    headers.extend((0..script.head.headers).map(|k| (format!("x-sim-{k}"), "further".to_owned())));
    if script.head.header_bytes > 0 {
        headers.push(("x-sim-long".to_owned(), "x".repeat(script.head.header_bytes as usize)));
    }
    headers
}

/// The frames of the answer, in the dialect of the request.
fn frames(request: &Request, script: &Script, random: &RandomInputs) -> Frames {
    let thinking = request.thinking || script.think.is_some_and(|think| think > 0);
    match request.dialect {
        Dialect::DashScope { endpoint, format } => {
            Frames::DashScope(dashscope::Frames::new(dashscope::Shape {
                format,
                endpoint,
                thinking,
                index: script.index,
                usage: script.usage,
                spelling: script.spelling,
                request_id: if script.no_request_id { String::new() } else { random.request_id.clone() },
                input_tokens: request.input_tokens,
                running_null: script.running_null,
            }))
        }
        Dialect::Chat { include_usage, spell } => Frames::Chat(Box::new(chat::Frames::new(chat::Shape {
            spell,
            id: random.request_id.replace('-', ""),
            created: random.created,
            model: request.model.clone(),
            thinking,
            include_usage,
            usage: script.usage,
            spelling: script.spelling,
            input_tokens: request.input_tokens,
            done: !script.no_done,
            breaks: script.error.breaks.unwrap_or(spell.breaks),
        }))),
    }
}
