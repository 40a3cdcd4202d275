//! A client's bytes: guard, codec and joined fragments against a simple implementation of RFC 6455.
use super::{Choices, pieces};
use actix_web_actors::ws::Frame;
use tidegate::{
    protocol::{self, Close, Codec, Incoming},
    socket::{
        guard::Limits,
        inbound::{Fragments, Inbound},
        rate::Allowance,
    },
};

/// What a connection receives.
#[derive(Debug, PartialEq)]
enum Received {
    Message(bool, Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    /// The client has closed; everything after it is ignored.
    Closed,
    Refused(Close),
}

const OPCODES: &[u8] = &[0x81, 0x81, 0x82, 0x01, 0x02, 0x00, 0x00, 0x80, 0x80, 0x89, 0x8a, 0x88];
/// Longest header: two bytes, eight of length, four of mask.
const HEAD_BYTES: usize = 14;

pub(crate) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let frame_bytes = 1 << choices.below(13);
    let (burst, fragments) = (u32::from(choices.byte()) / 9, 1 + u32::from(choices.byte()) % 9);
    // A burst of zero means no limit; all frames arrive at one moment.
    let limits = Limits { frame_bytes, fragments, rate: Allowance::new(burst.min(1), burst, fragments) };
    let most = choices.byte();
    let bytes = if choices.one_in(2) { frames(&mut choices) } else { choices.rest().to_vec() };
    let expected = reference(limits, &mut Account::new(burst, fragments), &bytes);
    assert_eq!(decode(limits, &[&bytes]), expected, "in one piece");
    assert_eq!(decode(limits, &pieces(&bytes, most)), expected, "in pieces of up to {most}");
}

/// Decodes the chunks as a connection does.
fn decode(limits: Limits, chunks: &[&[u8]]) -> Vec<Received> {
    let (mut inbound, mut fragments, mut received) = (Inbound::new(limits), Fragments::default(), Vec::new());
    let most = limits.frame_bytes as usize;
    for chunk in chunks {
        inbound.take(limits, 0, chunk);
        while let Some(frame) = inbound.frame() {
            match frame {
                Ok(Frame::Text(payload)) => received.push(message(true, &payload, limits)),
                Ok(Frame::Binary(payload)) => received.push(message(false, &payload, limits)),
                Ok(Frame::Continuation(item)) => {
                    let whole = fragments.join(item);
                    assert!(fragments.held() <= most, "{} bytes of a message", fragments.held());
                    received.extend(whole.map(|(is_text, payload)| message(is_text, &payload, limits)));
                }
                Ok(Frame::Ping(payload)) => received.push(Received::Ping(payload.to_vec())),
                Ok(Frame::Pong(_)) => received.push(Received::Pong),
                Ok(Frame::Close(_)) => {
                    received.push(Received::Closed);
                    return received;
                }
                Err(close) => {
                    received.push(Received::Refused(close));
                    return received;
                }
            }
        }
        match inbound.progress() {
            Some(progress) => assert!(progress.received <= progress.length, "{progress:?}"),
            None => assert_eq!((inbound.held(), fragments.held()), (0, 0), "held without a deadline"),
        }
        assert!(inbound.held() < HEAD_BYTES + most.max(125), "{} bytes of a frame", inbound.held());
    }
    received
}

fn message(is_text: bool, payload: &[u8], limits: Limits) -> Received {
    assert!(payload.len() <= limits.frame_bytes as usize, "a message of {} bytes", payload.len());
    let limits = protocol::Limits { message_bytes: 20, client_system_prompt: false };
    match std::str::from_utf8(payload) {
        Ok(text) if is_text => {
            let decoded = Codec::Plain.decode(Incoming::Text(text), limits);
            let is_long = text.trim_end_matches(['\r', '\n']).len() > limits.message_bytes;
            assert!(decoded.is_err() || !is_long, "too long a message was taken");
        }
        Err(_) if is_text => panic!("text that is not UTF-8 came through"),
        _ => {}
    }
    Received::Message(is_text, payload.to_vec())
}

/// The cost of a frame and of a fragment, and the credit left, in nanoseconds.
struct Account {
    frame: u64,
    fragment: u64,
    left: u64,
}

impl Account {
    fn new(burst: u32, fragments: u32) -> Self {
        if burst == 0 {
            return Account { frame: 0, fragment: 0, left: 0 };
        }
        let frame = 1_000_000_000;
        let left = frame * u64::from(burst);
        Account { frame, fragment: left / 4 / u64::from(fragments), left }
    }

    fn pay(&mut self, opcode: u8) -> Result<(), Close> {
        let cost = match opcode {
            8 => 0,
            0 => self.fragment,
            _ => self.frame,
        };
        self.left = self.left.checked_sub(cost).ok_or(Close::TooMany)?;
        Ok(())
    }
}

/// The reference decoder: all bytes at once.
fn reference(limits: Limits, account: &mut Account, bytes: &[u8]) -> Vec<Received> {
    let (mut received, mut open, mut at) = (Vec::new(), None, 0);
    while at < bytes.len() {
        match one_frame(limits, account, &bytes[at..], &mut open) {
            Ok(None) => break,
            Ok(Some((length, event))) => {
                at += length;
                let is_closed = event == Some(Received::Closed);
                received.extend(event);
                if is_closed {
                    break;
                }
            }
            Err(close) => {
                received.push(Received::Refused(close));
                break;
            }
        }
    }
    received
}

/// A message whose end is still to come: text or not, its payload, its frames.
type Open = Option<(bool, Vec<u8>, u32)>;

/// Length and content of the first frame of `bytes`, nothing while it is incomplete, or why it is rejected, as
/// early as that can be known.
fn one_frame(
    limits: Limits,
    account: &mut Account,
    bytes: &[u8],
    open: &mut Open,
) -> Result<Option<(usize, Option<Received>)>, Close> {
    let fin = bytes[0] & 0x80 != 0;
    let opcode = bytes[0] & 0x0f;
    let is_control = opcode >= 8;
    if bytes[0] & 0x70 != 0 || !matches!(opcode, 0..=2 | 8..=10) {
        return Err(Close::Protocol);
    }
    if (is_control && !fin) || (opcode == 0 && open.is_none()) || (matches!(opcode, 1 | 2) && open.is_some())
    {
        return Err(Close::Protocol);
    }
    let Some(second) = bytes.get(1) else { return Ok(None) };
    if second & 0x80 == 0 || (is_control && second & 0x7f > 125) {
        return Err(Close::Protocol);
    }
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some(long) = bytes.get(2..2 + extended) else { return Ok(None) };
    let length = match extended {
        0 => u64::from(second & 0x7f),
        _ => long.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
    };
    if length > i64::MAX as u64 || (opcode == 8 && length == 1) {
        return Err(Close::Protocol);
    }
    let (before, count) = open.as_ref().map_or((0, 0), |(_, payload, count)| (payload.len(), *count));
    if !is_control && (before as u64 + length > u64::from(limits.frame_bytes) || count + 1 > limits.fragments)
    {
        return Err(Close::TooBig);
    }
    account.pay(opcode)?;
    let Some(mask) = bytes.get(2 + extended..6 + extended) else { return Ok(None) };
    let there = &bytes[6 + extended..];
    let payload: Vec<u8> =
        there.iter().take(length as usize).zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    let is_whole = payload.len() == length as usize;
    let size = 6 + extended + length as usize;
    if is_control {
        return control(opcode, payload, is_whole)
            .map(|received| received.map(|received| (size, Some(received))));
    }
    let (is_text, mut whole, count) = open.take().unwrap_or((opcode == 1, Vec::new(), 0));
    whole.extend(payload);
    if is_text {
        check_text(&whole, is_whole && fin)?;
    }
    if !is_whole {
        return Ok(None);
    }
    if fin {
        return Ok(Some((size, Some(Received::Message(is_text, whole)))));
    }
    *open = Some((is_text, whole, count + 1));
    Ok(Some((size, None)))
}

fn control(opcode: u8, payload: Vec<u8>, is_whole: bool) -> Result<Option<Received>, Close> {
    if opcode == 8
        && let Some((code, reason)) = payload.split_first_chunk::<2>()
    {
        let code = u16::from_be_bytes(*code);
        let may_be_sent =
            (1000..5000).contains(&code) && !(1004..1007).contains(&code) && !(1015..3000).contains(&code);
        if !may_be_sent {
            return Err(Close::Protocol);
        }
        check_text(reason, is_whole)?;
    }
    Ok(is_whole.then_some(match opcode {
        8 => Received::Closed,
        9 => Received::Ping(payload),
        _ => Received::Pong,
    }))
}

/// Rejects bytes that cannot become UTF-8 or, once all of them are there, that are not.
fn check_text(bytes: &[u8], is_all: bool) -> Result<(), Close> {
    match std::str::from_utf8(bytes) {
        Err(error) if is_all || error.error_len().is_some() => Err(Close::InvalidText),
        _ => Ok(()),
    }
}

/// Frames as a client writes them, most of them good.
fn frames(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..12 {
        if choices.is_empty() {
            break;
        }
        let odd = choices.byte();
        let first = if odd == 255 { choices.byte() } else { choices.pick(OPCODES) };
        let payload = payload(choices);
        let mask = [choices.byte(), 0, choices.byte(), 7];
        let is_masked = if odd == 254 { 0 } else { 0x80 };
        bytes.push(first);
        match payload.len() {
            length @ 0..=125 if odd != 253 => bytes.push(is_masked | length as u8),
            length if odd < 250 => {
                bytes.push(is_masked | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(is_masked | 127);
                bytes.extend((length as u64 | if odd == 252 { 1 << 63 } else { 0 }).to_be_bytes());
            }
        }
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
    let end = if choices.one_in(4) { choices.place(bytes.len()) } else { bytes.len() };
    bytes.truncate(end);
    bytes
}

fn payload(choices: &mut Choices<'_>) -> Vec<u8> {
    const WORDS: &[&[u8]] = &[
        b"a",
        b"\x03\xe8",
        b"\x03\xed",
        "é".as_bytes(),
        "你".as_bytes(),
        "😀".as_bytes(),
        b"\xe4",
        b"\xbd\xa0",
        b"\n",
        b"\xff",
    ];
    match choices.below(8) {
        0 => Vec::new(),
        1 => vec![b'x'; choices.place(5000)],
        _ => (0..choices.below(8)).flat_map(|_| choices.pick(WORDS)).copied().collect(),
    }
}
