use super::*;
use proptest::prelude::*;

pub(in crate::http) fn limits() -> Limits {
    let seconds = Duration::from_secs;
    Limits {
        header_timeout: seconds(5),
        header_bytes_max: 100,
        body_timeout: seconds(10),
        body_bytes_max: 50,
        write_timeout: seconds(1),
        request_timeout: seconds(60),
        idle_timeout: seconds(7),
        connections_max: 10,
        connections_per_address_max: 0,
        send_buffer: 32 << 10,
    }
}

/// A connection, and the time since its start.
struct Check {
    exchange: Exchange,
    began: Instant,
    now: Duration,
}

impl Check {
    fn new(takes_bodies: bool) -> Self {
        let began = tokio::time::Instant::now().into_std();
        Check { exchange: Exchange::new(limits(), takes_bodies, began), began, now: Duration::ZERO }
    }

    fn now(&self) -> Instant {
        self.began + self.now
    }

    fn at(&mut self, seconds: u64) -> &mut Self {
        self.now = Duration::from_secs(seconds);
        assert_eq!(self.exchange.overdue(self.now()), None, "at {seconds} s");
        self
    }

    fn bytes(&mut self, bytes: &str) -> Result<usize, EarlyClose> {
        assert_eq!(self.exchange.parser_input(), ParserInput::Bytes);
        self.exchange.take(self.now(), bytes.as_bytes())
    }

    fn head(&mut self, framing: Framing) -> &mut Self {
        let taken = self.bytes("GET / HTTP/1.1\r\nhost: a\r\n\r\nGET").unwrap();
        assert_eq!(taken, 27);
        assert_eq!(self.exchange.parser_input(), ParserInput::AfterParse);
        self.exchange.head_received(self.now(), framing, false);
        self
    }

    fn answer(&mut self) -> &mut Self {
        self.exchange.output_written();
        assert!(!self.exchange.flushed(self.now()), "there is more to come");
        self.exchange.answered();
        assert!(self.exchange.flushed(self.now()));
        self
    }

    /// Asserts that it times out after `seconds`, and with which reason.
    fn ends(&self, reason: EarlyClose, seconds: u64) {
        let until = self.began + Duration::from_secs(seconds);
        assert_eq!(self.exchange.deadline(), Some(until), "{:?}", self.exchange);
        assert_eq!(self.exchange.overdue(until - Duration::from_millis(1)), None);
        assert_eq!(self.exchange.overdue(until), Some(reason));
    }
}

// faults: K130
#[test]
fn the_head_and_the_wait_for_the_next_request_have_their_own_timeouts() {
    let mut check = Check::new(true);
    check.ends(EarlyClose::HeaderTimeout, 5);
    check.at(3).bytes("GET").unwrap();
    check.ends(EarlyClose::HeaderTimeout, 5);
    check.at(4).head(Framing::None).ends(EarlyClose::RequestTimeout, 64);
    check.at(10).answer().ends(EarlyClose::IdleTimeout, 17);
    // Further bytes do not extend the timeout.
    check.at(16).bytes("G").unwrap();
    check.ends(EarlyClose::HeaderTimeout, 21);
    check.at(20).bytes("E").unwrap();
    check.ends(EarlyClose::HeaderTimeout, 21);
    // The timeout is for each request, not for the connection.
    let mut check = Check::new(true);
    for request in 0..100 {
        check.at(request * 5).head(Framing::None).ends(EarlyClose::RequestTimeout, request * 5 + 60);
        check.answer();
    }
}

// faults: K128
#[test]
fn a_body_has_a_timeout_and_a_maximum_size() {
    let mut check = Check::new(true);
    check.head(Framing::Length(10)).ends(EarlyClose::BodyTimeout, 10);
    assert_eq!(check.at(9).bytes("123456789"), Ok(9));
    check.ends(EarlyClose::BodyTimeout, 10);
    assert_eq!(check.bytes("0GET / HTTP/1.1"), Ok(1), "what follows is not the body");
    assert_eq!(check.exchange.parser_input(), ParserInput::AfterAnswer);
    check.ends(EarlyClose::RequestTimeout, 60);
    check.at(30).answer().ends(EarlyClose::IdleTimeout, 37);

    let mut check = Check::new(true);
    check.head(Framing::Chunked).ends(EarlyClose::BodyTimeout, 10);
    assert_eq!(check.bytes("5\r\nhel"), Ok(6));
    check.ends(EarlyClose::BodyTimeout, 10);
    assert_eq!(check.bytes("lo\r\n0\r\n\r\nGET"), Ok(9), "what follows is not the body");
    check.ends(EarlyClose::RequestTimeout, 60);
    assert_eq!(check.exchange.parser_input(), ParserInput::AfterAnswer);
    check.at(30).answer().ends(EarlyClose::IdleTimeout, 37);

    let mut check = Check::new(true);
    check.head(Framing::Chunked);
    assert_eq!(check.bytes("ff\r\n"), Ok(4));
    assert_eq!(check.bytes(&"x".repeat(46)), Ok(46));
    assert_eq!(check.bytes("x"), Err(EarlyClose::BodyBytes));

    // A body that the route does not read, or not to its end.
    let mut check = Check::new(true);
    check.head(Framing::Length(50));
    check.bytes("x").unwrap();
    assert!(check.exchange.closes(), "the answer says so");
    assert_eq!(check.answer().exchange.parser_input(), ParserInput::EndOfStream);
    for (takes_bodies, framing) in
        [(true, Framing::Length(51)), (false, Framing::Length(1)), (false, Framing::Chunked)]
    {
        let mut check = Check::new(takes_bodies);
        assert!(!check.exchange.head_received(check.now(), framing, false));
        assert_eq!(check.exchange.parser_input(), ParserInput::AfterAnswer, "nothing of it is read");
        assert!(check.exchange.closes());
        assert_eq!(check.answer().exchange.parser_input(), ParserInput::EndOfStream);
    }
    let mut check = Check::new(false);
    assert!(check.exchange.head_received(check.now(), Framing::Length(0), false));
}

// faults: K130
#[test]
fn a_head_has_a_maximum_size() {
    let mut check = Check::new(true);
    assert_eq!(check.bytes(&"x".repeat(100)), Ok(100));
    assert_eq!(check.bytes("x"), Err(EarlyClose::HeaderBytes));
    assert!(check.exchange.may_answer());
}

// faults: K133
#[test]
fn nothing_is_read_after_the_last_request() {
    let mut check = Check::new(true);
    check.exchange.head_received(check.now(), Framing::None, true);
    assert_eq!(check.exchange.parser_input(), ParserInput::AfterAnswer);
    assert_eq!(check.answer().exchange.parser_input(), ParserInput::EndOfStream);
    assert_eq!(check.exchange.take(check.now(), b"GET / HTTP/1.1\r\n\r\n"), Ok(0));
    assert_eq!(check.exchange.deadline(), None, "the close has a time of its own");
}

proptest! {
    /// However requests are split, the parser gets them whole, in order, each after the response to the one before it,
    /// and nothing after the one that ends the connection.
    // faults: K132, K133
    #[test]
    fn one_request_at_a_time(
        requests in prop::collection::vec((0u64..60, any::<bool>()), 1..12),
        last in 0usize..14,
        pieces in prop::collection::vec(1usize..40, 1..200),
    ) {
        let mut check = Check::new(true);
        let wire: Vec<(Vec<u8>, u64)> = requests.iter().map(|(body, spaced)| {
            let head = if *spaced { "\r\nPOST / HTTP/1.1\r\na: b\r\n\r\n" } else { "GET /x HTTP/1.1\nh: 1\n\n" };
            let body = if *body <= 50 { *body } else { 0 };
            ([head.as_bytes(), "b".repeat(body as usize).as_bytes()].concat(), body)
        }).collect();
        let stream: Vec<u8> = wire.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let (mut at, mut parsed, mut served) = (0, Vec::new(), 0);
        for piece in pieces.into_iter().cycle().take(2_000) {
            match check.exchange.parser_input() {
                ParserInput::Bytes => {
                    if at == stream.len() {
                        break;
                    }
                    let offered = &stream[at..(at + piece).min(stream.len())];
                    let taken = check.exchange.take(check.now(), offered).unwrap();
                    parsed.extend_from_slice(&offered[..taken]);
                    at += taken;
                }
                ParserInput::AfterParse => {
                    let (bytes, body) = &wire[served];
                    let before: usize = wire[..served].iter().map(|(bytes, _)| bytes.len()).sum();
                    prop_assert_eq!(parsed.len(), before + bytes.len() - *body as usize, "a head and no more");
                    check.exchange.head_received(check.now(), Framing::Length(*body), served == last);
                }
                ParserInput::AfterAnswer => {
                    check.answer();
                    served += 1;
                }
                ParserInput::EndOfStream => break,
            }
        }
        let asked = (last + 1).min(wire.len());
        prop_assert_eq!(served, asked);
        let whole: usize = wire[..asked].iter().map(|(bytes, _)| bytes.len()).sum();
        prop_assert_eq!(parsed.len(), whole);
        prop_assert!(parsed == stream[..whole]);
    }
}
