//! The rules of one HTTP connection: one request at a time, with a limit on every wait and every size. Pure.
//!
//! The library parses requests; this module only decides when its parser gets more bytes and when the connection ends.
//! A request and its body are passed on; the bytes after it are held back until its response was written to the kernel.
//! So no pipelined request is parsed, lost or mixed up while a request is open, and none after a request that closes the
//! connection or becomes a WebSocket. `super::framing` finds the end of a request.
use super::framing::{ChunkScan, Framing, HeadScan};
use std::time::{Duration, Instant};

/// Limits of HTTP connections, WebSockets not included. A connection that exceeds one is closed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the first byte of a request to the end of its head; for the first request, from the connection's start.
    pub header_timeout: Duration,
    pub header_bytes_max: usize,
    /// From the end of the head to the end of the body.
    pub body_timeout: Duration,
    /// Bytes of a body as sent, including the framing of chunks.
    pub body_bytes_max: usize,
    /// From the end of the head to the last byte of the response.
    pub request_timeout: Duration,
    /// A connection with unsent output is reset if its client reads none of it for this time.
    pub write_timeout: Duration,
    /// From the end of the response to the first byte of the next request.
    pub idle_timeout: Duration,
    /// Open connections of all clients; at the limit an idle one is closed for each new one.
    pub connections_max: usize,
    /// Open connections of one IPv4 address or IPv6 /64, with the same rule; 0: no limit.
    pub connections_per_address_max: usize,
    /// Kernel send buffer (`SO_SNDBUF`) in bytes; more than this is not sent until the client reads.
    pub send_buffer: usize,
}

/// Why the gateway closed a connection before its client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlyClose {
    HeaderTimeout,
    HeaderBytes,
    BodyTimeout,
    BodyBytes,
    RequestTimeout,
    WriteTimeout,
    IdleTimeout,
    /// There were too many connections, and this one was idle.
    Evicted,
}

impl EarlyClose {
    pub fn reason(self) -> &'static str {
        match self {
            EarlyClose::HeaderTimeout => "header_timeout",
            EarlyClose::HeaderBytes => "header_bytes",
            EarlyClose::BodyTimeout => "body_timeout",
            EarlyClose::BodyBytes => "body_bytes",
            EarlyClose::RequestTimeout => "request_timeout",
            EarlyClose::WriteTimeout => "write_timeout",
            EarlyClose::IdleTimeout => "idle_timeout",
            EarlyClose::Evicted => "evicted",
        }
    }
}

/// What the parser gets next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParserInput {
    /// As many bytes as [`Exchange::take`] allows.
    Bytes,
    /// Nothing yet: a head may just have become complete, and the parser must process it first.
    AfterParse,
    /// Nothing until the response was written to the kernel.
    AfterAnswer,
    /// The end of the stream, even if the client sends more.
    EndOfStream,
}

#[derive(Debug)]
pub(super) struct Exchange {
    limits: Limits,
    /// Whether any route accepts a body; otherwise every request with one is rejected.
    takes_bodies: bool,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// A request is awaited or incomplete.
    Waiting {
        until: Instant,
        /// Bytes of the request that the parser has.
        bytes: usize,
        scan: HeadScan,
        /// The end of the head was found, and the parser has not processed it yet.
        unparsed: bool,
        /// It is the first request of the connection.
        first: bool,
    },
    /// A request is being handled, or its response is being written.
    Open {
        until: Instant,
        body: Body,
        body_until: Instant,
        closes: bool,
        /// Part of the response was written to the kernel.
        started: bool,
        /// The whole response is encoded.
        answered: bool,
    },
    /// No more input is parsed.
    Closing,
}

/// The part of a body that was not received yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Complete,
    Length(u64),
    Chunked {
        taken: u64,
        scan: ChunkScan,
    },
    /// It is not read, and the connection is closed after the response.
    Rejected,
}

impl Exchange {
    pub(super) fn new(limits: Limits, takes_bodies: bool, now: Instant) -> Self {
        let until = now + limits.header_timeout;
        let phase =
            Phase::Waiting { until, bytes: 0, scan: HeadScan::default(), unparsed: false, first: true };
        Exchange { limits, takes_bodies, phase }
    }

    pub(super) fn parser_input(&mut self) -> ParserInput {
        match &mut self.phase {
            Phase::Waiting { unparsed, .. } => match std::mem::take(unparsed) {
                true => ParserInput::AfterParse,
                false => ParserInput::Bytes,
            },
            Phase::Open { body: Body::Length(_) | Body::Chunked { .. }, answered: false, .. } => {
                ParserInput::Bytes
            }
            Phase::Open { .. } => ParserInput::AfterAnswer,
            Phase::Closing => ParserInput::EndOfStream,
        }
    }

    /// Returns how many of these bytes the parser gets.
    pub(super) fn take(&mut self, now: Instant, offered: &[u8]) -> Result<usize, EarlyClose> {
        match &mut self.phase {
            Phase::Waiting { until, bytes, scan, unparsed, first } => {
                if *bytes == 0 && !offered.is_empty() && !*first {
                    *until = now + self.limits.header_timeout;
                }
                let end = scan.end(offered);
                let taken = end.unwrap_or(offered.len());
                *unparsed = end.is_some();
                *bytes += taken;
                if *bytes > self.limits.header_bytes_max { Err(EarlyClose::HeaderBytes) } else { Ok(taken) }
            }
            Phase::Open { body, .. } => match body {
                Body::Length(left) => {
                    let taken = offered.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= taken as u64;
                    if *left == 0 {
                        *body = Body::Complete;
                    }
                    Ok(taken)
                }
                Body::Chunked { taken, scan } => {
                    let end = scan.end(offered);
                    let more = end.unwrap_or(offered.len());
                    *taken += more as u64;
                    if *taken > self.limits.body_bytes_max as u64 {
                        return Err(EarlyClose::BodyBytes);
                    }
                    if end.is_some() {
                        *body = Body::Complete;
                    }
                    Ok(more)
                }
                Body::Complete | Body::Rejected => Ok(0),
            },
            Phase::Closing => Ok(0),
        }
    }

    /// A head was parsed. Returns whether its body is accepted. `closes`: the connection ends with this request.
    pub(super) fn head_received(&mut self, now: Instant, framing: Framing, closes: bool) -> bool {
        let (body, closes) = match framing {
            Framing::None | Framing::Length(0) => (Body::Complete, closes),
            _ if !self.takes_bodies => (Body::Rejected, true),
            Framing::Length(length) if length > self.limits.body_bytes_max as u64 => (Body::Rejected, true),
            Framing::Length(length) => (Body::Length(length), closes),
            Framing::Chunked => (Body::Chunked { taken: 0, scan: ChunkScan::default() }, closes),
        };
        self.phase = Phase::Open {
            until: now + self.limits.request_timeout,
            body,
            body_until: now + self.limits.body_timeout,
            closes,
            started: false,
            answered: false,
        };
        body != Body::Rejected
    }

    pub(super) fn takes_bodies(&self) -> bool {
        self.takes_bodies
    }

    /// Ends the connection after the response to this request.
    pub(super) fn close(&mut self) {
        if let Phase::Open { closes, .. } = &mut self.phase {
            *closes = true;
        }
    }

    /// Whether the response must carry `Connection: close` (RFC 9112 §9.6).
    pub(super) fn closes(&self) -> bool {
        match self.phase {
            Phase::Waiting { .. } => false,
            // The response does not wait for the rest of the body, which is then not read.
            Phase::Open { body, closes, .. } => closes || body != Body::Complete,
            Phase::Closing => true,
        }
    }

    /// The response is fully encoded, or was abandoned.
    pub(super) fn answered(&mut self) {
        let ends = self.closes();
        if let Phase::Open { closes, answered, .. } = &mut self.phase {
            (*closes, *answered) = (ends, true);
        }
    }

    /// The kernel accepted some output.
    pub(super) fn output_written(&mut self) {
        if let Phase::Open { started, .. } = &mut self.phase {
            *started = true;
        }
    }

    /// The kernel accepted all encoded output. Returns whether that was the end of a response.
    pub(super) fn flushed(&mut self, now: Instant) -> bool {
        let Phase::Open { answered: true, closes, .. } = self.phase else { return false };
        let until = now + self.limits.idle_timeout;
        self.phase = match closes {
            true => Phase::Closing,
            false => {
                Phase::Waiting { until, bytes: 0, scan: HeadScan::default(), unparsed: false, first: false }
            }
        };
        true
    }

    /// Stops parsing input.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Closing;
    }

    /// Whether an error status can still be sent: a request has started and its response has not.
    pub(super) fn may_answer(&self) -> bool {
        match self.phase {
            Phase::Waiting { bytes, .. } => bytes > 0,
            Phase::Open { started, .. } => !started,
            Phase::Closing => false,
        }
    }

    /// Whether the end of the client's stream also ends the request: none of the response was written.
    pub(super) fn ends_with_client(&self) -> bool {
        !matches!(self.phase, Phase::Open { started: true, .. })
    }

    /// When the current phase times out. `None` while closing, which [`super::connection`] limits.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next().map(|(until, _)| until)
    }

    /// The limit that was exceeded, if any.
    pub(super) fn overdue(&self, now: Instant) -> Option<EarlyClose> {
        self.next().filter(|(until, _)| *until <= now).map(|(_, cut)| cut)
    }

    fn next(&self) -> Option<(Instant, EarlyClose)> {
        match self.phase {
            Phase::Waiting { until, bytes: 0, first: false, .. } => Some((until, EarlyClose::IdleTimeout)),
            Phase::Waiting { until, .. } => Some((until, EarlyClose::HeaderTimeout)),
            Phase::Open { until, body: Body::Length(_) | Body::Chunked { .. }, body_until, .. }
                if body_until < until =>
            {
                Some((body_until, EarlyClose::BodyTimeout))
            }
            Phase::Open { until, .. } => Some((until, EarlyClose::RequestTimeout)),
            Phase::Closing => None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
