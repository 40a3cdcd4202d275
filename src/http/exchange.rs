//! The rules of one plain HTTP connection: one request at a time, with a bound on every wait and every size.
//!
//! Requests are parsed by the library; what is decided here is only when its parser gets more bytes, and when
//! the connection ends. A request and its body are passed on; what follows them waits until the answer is with
//! the kernel. So nothing is parsed, and nothing can be lost or mixed up, behind a request that is still
//! open, asks for the end of the connection or becomes a WebSocket. Where a request ends is found by
//! `super::framing`.
use super::framing::{Chunks, Framing, HeadScan};
use std::time::{Duration, Instant};

/// Bounds of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the first byte of a request, or from the connection for the first, to the end of its head.
    pub header_timeout: Duration,
    pub header_bytes_max: usize,
    /// From the end of the head to the end of the body.
    pub body_timeout: Duration,
    /// As it is sent, with the framing of chunks.
    pub body_bytes_max: u64,
    /// Whether any route takes a body; otherwise every one is refused.
    pub takes_bodies: bool,
    /// From the end of the head to the last byte of the answer.
    pub request_timeout: Duration,
    /// From the answer to the first byte of the next request.
    pub idle_timeout: Duration,
}

/// Why a connection was ended before its client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    HeaderTimeout,
    HeaderBytes,
    BodyTimeout,
    BodyBytes,
    RequestTimeout,
    WriteTimeout,
    IdleTimeout,
    /// It waited for its client longest when there were too many.
    Evicted,
}

impl Cut {
    pub fn reason(self) -> &'static str {
        match self {
            Cut::HeaderTimeout => "header_timeout",
            Cut::HeaderBytes => "header_bytes",
            Cut::BodyTimeout => "body_timeout",
            Cut::BodyBytes => "body_bytes",
            Cut::RequestTimeout => "request_timeout",
            Cut::WriteTimeout => "write_timeout",
            Cut::IdleTimeout => "idle_timeout",
            Cut::Evicted => "evicted",
        }
    }
}

/// What the parser is given next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appetite {
    /// What [`Exchange::take`] lets through.
    Some,
    /// Nothing now; a head may just be complete, so the parser looks before it gets more.
    AfterLook,
    /// Nothing until the answer is with the kernel.
    AfterAnswer,
    /// The end of the stream, whatever the client still sends.
    End,
}

#[derive(Debug)]
pub(super) struct Exchange {
    limits: Limits,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// For a request.
    Waiting {
        until: Instant,
        /// Bytes of it that the parser has.
        bytes: usize,
        scan: HeadScan,
        /// An end was found, and the parser has not looked yet.
        unseen: bool,
        /// It is the first of the connection.
        first: bool,
    },
    /// A request is with the routes, or its answer is on its way.
    Open {
        until: Instant,
        body: Body,
        body_until: Instant,
        closes: bool,
        /// Something of the answer is with the kernel.
        begun: bool,
        /// The whole answer is encoded.
        answered: bool,
    },
    /// Nothing is read any more.
    Closing,
}

/// What is still to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Whole,
    Length(u64),
    Chunked {
        taken: u64,
        scan: Chunks,
    },
    /// Its bytes are discarded.
    Refused,
}

impl Exchange {
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        let until = now + limits.header_timeout;
        let phase = Phase::Waiting { until, bytes: 0, scan: HeadScan::default(), unseen: false, first: true };
        Exchange { limits, phase }
    }

    pub(super) fn appetite(&mut self) -> Appetite {
        match &mut self.phase {
            Phase::Waiting { unseen, .. } => match std::mem::take(unseen) {
                true => Appetite::AfterLook,
                false => Appetite::Some,
            },
            Phase::Open { body: Body::Length(_) | Body::Chunked { .. }, answered: false, .. } => {
                Appetite::Some
            }
            Phase::Open { .. } => Appetite::AfterAnswer,
            Phase::Closing => Appetite::End,
        }
    }

    /// How many of these bytes the parser gets.
    pub(super) fn take(&mut self, now: Instant, offered: &[u8]) -> Result<usize, Cut> {
        match &mut self.phase {
            Phase::Waiting { until, bytes, scan, unseen, first } => {
                if *bytes == 0 && !offered.is_empty() && !*first {
                    *until = now + self.limits.header_timeout;
                }
                let end = scan.end(offered);
                let taken = end.unwrap_or(offered.len());
                *unseen = end.is_some();
                *bytes += taken;
                if *bytes > self.limits.header_bytes_max { Err(Cut::HeaderBytes) } else { Ok(taken) }
            }
            Phase::Open { body, .. } => match body {
                Body::Length(left) => {
                    let taken = offered.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= taken as u64;
                    if *left == 0 {
                        *body = Body::Whole;
                    }
                    Ok(taken)
                }
                Body::Chunked { taken, scan } => {
                    let end = scan.end(offered);
                    let more = end.unwrap_or(offered.len());
                    *taken += more as u64;
                    if *taken > self.limits.body_bytes_max {
                        return Err(Cut::BodyBytes);
                    }
                    if end.is_some() {
                        *body = Body::Whole;
                    }
                    Ok(more)
                }
                Body::Whole | Body::Refused => Ok(0),
            },
            Phase::Closing => Ok(0),
        }
    }

    /// A head is complete. Whether its body may come; `closes` says that the connection ends with this request.
    pub(super) fn received(&mut self, now: Instant, framing: Framing, closes: bool) -> bool {
        let (body, closes) = match framing {
            Framing::None | Framing::Length(0) => (Body::Whole, closes),
            _ if !self.limits.takes_bodies => (Body::Refused, true),
            Framing::Length(length) if length > self.limits.body_bytes_max => (Body::Refused, true),
            Framing::Length(length) => (Body::Length(length), closes),
            Framing::Chunked => (Body::Chunked { taken: 0, scan: Chunks::default() }, closes),
        };
        self.phase = Phase::Open {
            until: now + self.limits.request_timeout,
            body,
            body_until: now + self.limits.body_timeout,
            closes,
            begun: false,
            answered: false,
        };
        body != Body::Refused
    }

    pub(super) fn takes_bodies(&self) -> bool {
        self.limits.takes_bodies
    }

    /// The connection ends with this request.
    pub(super) fn close(&mut self) {
        if let Phase::Open { closes, .. } = &mut self.phase {
            *closes = true;
        }
    }

    /// Whether the answer must say that the connection ends with it (RFC 9112 §9.6).
    pub(super) fn closes(&self) -> bool {
        match self.phase {
            Phase::Waiting { .. } => false,
            // An answer that does not wait for the body: what is left of it is not read.
            Phase::Open { body, closes, .. } => closes || body != Body::Whole,
            Phase::Closing => true,
        }
    }

    /// The whole answer is encoded, or will not be.
    pub(super) fn answered(&mut self) {
        let ends = self.closes();
        if let Phase::Open { closes, answered, .. } = &mut self.phase {
            (*closes, *answered) = (ends, true);
        }
    }

    /// The kernel has taken something.
    pub(super) fn wrote(&mut self) {
        if let Phase::Open { begun, .. } = &mut self.phase {
            *begun = true;
        }
    }

    /// The kernel has taken everything that is encoded. Whether that was the end of an answer.
    pub(super) fn flushed(&mut self, now: Instant) -> bool {
        let Phase::Open { answered: true, closes, .. } = self.phase else { return false };
        let until = now + self.limits.idle_timeout;
        self.phase = match closes {
            true => Phase::Closing,
            false => {
                Phase::Waiting { until, bytes: 0, scan: HeadScan::default(), unseen: false, first: false }
            }
        };
        true
    }

    /// Nothing is read any more.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Closing;
    }

    /// Whether a status can still be sent: a request has begun, its response has not.
    pub(super) fn may_answer(&self) -> bool {
        match self.phase {
            Phase::Waiting { bytes, .. } => bytes > 0,
            Phase::Open { begun, .. } => !begun,
            Phase::Closing => false,
        }
    }

    /// Whether the end of the client's stream ends the request too: nothing of an answer is on its way.
    pub(super) fn ends_with_client(&self) -> bool {
        !matches!(self.phase, Phase::Open { begun: true, .. })
    }

    /// Until when something must happen. Nothing while it closes: that has a time of its own.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next().map(|(until, _)| until)
    }

    /// What is overdue.
    pub(super) fn overdue(&self, now: Instant) -> Option<Cut> {
        self.next().filter(|(until, _)| *until <= now).map(|(_, cut)| cut)
    }

    fn next(&self) -> Option<(Instant, Cut)> {
        match self.phase {
            Phase::Waiting { until, bytes: 0, first: false, .. } => Some((until, Cut::IdleTimeout)),
            Phase::Waiting { until, .. } => Some((until, Cut::HeaderTimeout)),
            Phase::Open { until, body: Body::Length(_) | Body::Chunked { .. }, body_until, .. }
                if body_until < until =>
            {
                Some((body_until, Cut::BodyTimeout))
            }
            Phase::Open { until, .. } => Some((until, Cut::RequestTimeout)),
            Phase::Closing => None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
