//! Validates the client's frames as bytes arrive, and rejects at the header. Pure.
//!
//! The codec only looks at complete frames, so it would buffer whatever length a header announces, up to 2
//! GiB and more. The guard buffers nothing and sees every byte once. RFC 6455 §5, §8.1.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use super::{
    rate::{Allowance, Rate},
    unfinished::Progress,
};
use crate::protocol::Close;

/// Limits on what a client sends; exceeding one closes the connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum payload of a message over all its fragments, in bytes.
    pub frame_bytes: u32,
    /// Maximum number of frames per message.
    pub fragments: u32,
    /// Maximum frame rate.
    pub rate: Allowance,
}

/// Maximum payload of a control frame in bytes (RFC 6455 §5.5).
pub(super) const CONTROL_BYTES_MAX: u64 = 125;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PONG: u8 = 10;

/// The validation state of one connection's input.
#[derive(Debug, Default)]
pub struct Guard {
    head: Head,
    /// Payload bytes of the current frame not received yet.
    left: u32,
    /// Payload bytes of the current frame received so far: the position in the mask and in a close frame.
    seen: u32,
    /// The unfinished message: payload bytes announced and frames so far.
    message_bytes: u32,
    fragments: u32,
    /// Complete messages, and control frames between messages.
    finished: u32,
    open: bool,
    text: bool,
    close_code: u8,
    utf8: Utf8,
    rate: Rate,
}

/// A partially received frame header: two fixed bytes, the extended length, the mask.
#[derive(Debug, Default)]
struct Head {
    first: u8,
    second: u8,
    length: u64,
    mask: [u8; 4],
    have: u8,
}

impl Guard {
    /// Validates the next bytes, received at `now` (nanoseconds since an arbitrary origin). Returns the
    /// number of valid bytes, and why the rest is rejected. After a rejection the guard must not be used
    /// again.
    pub fn feed(&mut self, limits: Limits, now: u64, bytes: &[u8]) -> (usize, Option<Close>) {
        let mut rest = bytes;
        while let Some((first, behind)) = rest.split_first() {
            let step = if self.left > 0 {
                let (payload, behind) = rest.split_at(rest.len().min(self.left as usize));
                rest = behind;
                self.payload(payload)
            } else {
                rest = behind;
                self.header_byte(limits, now, *first)
            };
            if let Err(close) = step {
                return (bytes.len().saturating_sub(rest.len()).saturating_sub(1), Some(close));
            }
        }
        (bytes.len(), None)
    }

    /// Progress of an incomplete frame or message; `None` between messages.
    pub fn progress(&self) -> Option<Progress> {
        let head = &self.head;
        if !self.open && head.have == 0 {
            return None;
        }
        let length_known = head.have >= 2 && head.have >= head.length_end();
        let (length, missing) = if head.have > 0 && length_known && !self.is_control() {
            let has_started = head.have == head.end();
            (self.message_bytes, if has_started { self.left } else { narrow(head.length) })
        } else if self.open {
            (self.message_bytes, 0)
        } else {
            (0, 0)
        };
        Some(Progress { message: self.finished, received: length.saturating_sub(missing), length })
    }

    fn header_byte(&mut self, limits: Limits, now: u64, byte: u8) -> Result<(), Close> {
        let head = &mut self.head;
        head.have = head.have.saturating_add(1);
        match head.have {
            1 => {
                head.first = byte;
                return self.check_first();
            }
            2 => {
                head.second = byte;
                head.length = u64::from(byte & 0x7f);
                let masked = byte & 0x80 != 0;
                if !masked || (self.is_control() && self.head.length > CONTROL_BYTES_MAX) {
                    return Err(Close::Protocol);
                }
            }
            n if n <= head.length_end() => {
                head.length = if n == 3 { 0 } else { head.length << 8 } | u64::from(byte);
            }
            n => {
                let at = usize::from(n.saturating_sub(head.length_end()).saturating_sub(1));
                head.mask[at] = byte;
            }
        }
        let head = &self.head;
        if head.have == head.length_end() {
            self.check_length(limits)?;
            self.check_rate(limits.rate, now)?;
        }
        if self.head.have == self.head.end() {
            self.begin_payload()?;
        }
        Ok(())
    }

    fn check_first(&self) -> Result<(), Close> {
        let (fin, reserved, opcode) = (self.fin(), self.head.first & 0x70, self.opcode());
        let known = matches!(opcode, CONTINUATION..=BINARY | CLOSE..=PONG);
        let in_order = match opcode {
            CONTINUATION => self.open,
            TEXT | BINARY => !self.open,
            _ => fin, // A control frame is not fragmented.
        };
        if reserved == 0 && known && in_order { Ok(()) } else { Err(Close::Protocol) }
    }

    fn check_length(&mut self, limits: Limits) -> Result<(), Close> {
        let length = self.head.length;
        if length >> 63 != 0 {
            return Err(Close::Protocol);
        }
        if self.is_control() {
            // A close frame has no payload, or a code of two bytes and a reason.
            return if self.opcode() == CLOSE && length == 1 { Err(Close::Protocol) } else { Ok(()) };
        }
        let before = if self.opcode() == CONTINUATION { self.message_bytes } else { 0 };
        if length > u64::from(limits.frame_bytes.saturating_sub(before)) {
            return Err(Close::TooBig);
        }
        let fragments = if self.opcode() == CONTINUATION { self.fragments.saturating_add(1) } else { 1 };
        if fragments > limits.fragments {
            return Err(Close::TooBig);
        }
        (self.message_bytes, self.fragments) = (before.saturating_add(narrow(length)), fragments);
        Ok(())
    }

    /// Rejects a flood at the header of the first excess frame. Close frames are not counted, because nothing
    /// may follow them.
    fn check_rate(&mut self, rate: Allowance, now: u64) -> Result<(), Close> {
        let allowed = match self.opcode() {
            CLOSE => true,
            CONTINUATION => self.rate.fragment(rate, now),
            _ => self.rate.frame(rate, now),
        };
        if allowed { Ok(()) } else { Err(Close::TooMany) }
    }

    fn begin_payload(&mut self) -> Result<(), Close> {
        if matches!(self.opcode(), TEXT | BINARY) {
            (self.open, self.text) = (true, self.opcode() == TEXT);
            self.utf8 = Utf8::default();
        }
        (self.left, self.seen) = (narrow(self.head.length), 0);
        if self.left == 0 { self.end_frame() } else { Ok(()) }
    }

    fn payload(&mut self, bytes: &[u8]) -> Result<(), Close> {
        let (opcode, mask) = (self.opcode(), self.head.mask);
        let first = self.seen;
        let length = narrow(bytes.len() as u64);
        self.left = self.left.saturating_sub(length);
        self.seen = self.seen.saturating_add(length);
        let plain = bytes.iter().zip(first..).map(|(byte, at)| byte ^ mask[at as usize % 4]);
        if opcode == CLOSE {
            self.close_payload(first, plain)?;
        } else if !self.is_control() && self.text {
            for byte in plain {
                self.utf8.push(byte)?;
            }
        }
        if self.left == 0 { self.end_frame() } else { Ok(()) }
    }

    /// Validates a close frame's payload: a permitted status code, then a reason in UTF-8 (RFC 6455 §7.4).
    fn close_payload(&mut self, first: u32, plain: impl Iterator<Item = u8>) -> Result<(), Close> {
        let mut reason = if first < 2 { Utf8::default() } else { std::mem::take(&mut self.utf8) };
        for (byte, at) in plain.zip(first..) {
            match at {
                0 => self.close_code = byte,
                1 => {
                    let code = u16::from_be_bytes([self.close_code, byte]);
                    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                        return Err(Close::Protocol);
                    }
                }
                _ => reason.push(byte)?,
            }
        }
        if self.left == 0 && !reason.is_whole() {
            return Err(Close::InvalidText);
        }
        self.utf8 = reason;
        Ok(())
    }

    fn end_frame(&mut self) -> Result<(), Close> {
        let last = self.fin() && !self.is_control();
        self.head = Head::default();
        if last {
            self.open = false;
        }
        if !self.open {
            self.finished = self.finished.wrapping_add(1);
        }
        if last && self.text && !self.utf8.is_whole() { Err(Close::InvalidText) } else { Ok(()) }
    }

    fn fin(&self) -> bool {
        self.head.first & 0x80 != 0
    }

    fn opcode(&self) -> u8 {
        self.head.first & 0x0f
    }

    fn is_control(&self) -> bool {
        self.opcode() >= CLOSE
    }
}

impl Head {
    /// Header bytes up to the end of the length: two, plus those of an extended length.
    fn length_end(&self) -> u8 {
        match self.second & 0x7f {
            126 => 2 + 2,
            127 => 2 + 8,
            _ => 2,
        }
    }

    /// Header bytes up to the end of the mask.
    fn end(&self) -> u8 {
        self.length_end().saturating_add(4)
    }
}

/// Narrows a length that was checked against [`Limits::frame_bytes`].
fn narrow(length: u64) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Incremental UTF-8 validation (RFC 3629 §4): the number of continuation bytes expected, and the range of
/// the next one.
#[derive(Debug, Default)]
struct Utf8 {
    follow: u8,
    low: u8,
    high: u8,
}

impl Utf8 {
    fn push(&mut self, byte: u8) -> Result<(), Close> {
        if self.follow > 0 {
            if byte < self.low || byte > self.high {
                return Err(Close::InvalidText);
            }
            *self = Utf8 { follow: self.follow.saturating_sub(1), low: 0x80, high: 0xbf };
            return Ok(());
        }
        let (follow, low, high) = match byte {
            0x00..=0x7f => return Ok(()),
            0xc2..=0xdf => (1, 0x80, 0xbf),
            0xe0 => (2, 0xa0, 0xbf),
            0xed => (2, 0x80, 0x9f),
            0xe1..=0xef => (2, 0x80, 0xbf),
            0xf0 => (3, 0x90, 0xbf),
            0xf1..=0xf3 => (3, 0x80, 0xbf),
            0xf4 => (3, 0x80, 0x8f),
            _ => return Err(Close::InvalidText),
        };
        *self = Utf8 { follow, low, high };
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.follow == 0
    }
}

#[cfg(test)]
mod tests;
