//! Who asks: an anonymous principal, which is a cookie that the browser keeps for us. A second cookie, made
//! from it, is for the proxy alone: it routes a browser to the gateway that has its chats.
use super::Settings;
use crate::chat::Principal;
use actix_web::{
    HttpRequest,
    http::header::{self, HeaderValue},
};
use sha2::{Digest, Sha256};

const COOKIE: &str = "tidegate_principal";
/// What a proxy hashes by. It opens nothing and the gateway never reads it.
const ROUTE_COOKIE: &str = "tidegate_route";
/// Sets the hash apart from any other that may once be made of a principal.
const ROUTE_TAG: &[u8] = b"tidegate_route\0";
/// A browser that does not come back for so long is nobody's any more.
const MAX_AGE_S: u32 = 30 * 24 * 60 * 60;
/// Hexadecimal digits of 128 bits.
const DIGITS: usize = 32;
/// Of 16 there are: fewer than this among [`DIGITS`] come from no random generator.
const DISTINCT_DIGITS_MIN: u32 = 5;
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";

/// The principal of a request: that of its cookie, or a new one. The answer must set the cookies that are
/// returned: a new principal's own, and always its route, so that it lasts as long as the browser comes back.
///
/// # Errors
/// The operating system has no randomness. Anything weaker could be guessed.
pub(crate) fn of(
    request: &HttpRequest,
    settings: &Settings,
) -> Result<(Principal, Vec<HeaderValue>), getrandom::Error> {
    let secure = came_over_tls(request, settings);
    if let Some(principal) = known(request) {
        return Ok((principal, Vec::from_iter(route_cookie(principal, secure))));
    }
    let principal = Principal::new(new_number()?);
    let cookies = [principal_cookie(principal, secure), route_cookie(principal, secure)];
    Ok((principal, cookies.into_iter().flatten().collect()))
}

/// The principal of a request's cookie.
pub(super) fn known(request: &HttpRequest) -> Option<Principal> {
    let cookies = request.headers().get_all(header::COOKIE).map(HeaderValue::as_bytes);
    cookies.flat_map(|cookies| cookies.split(|b| *b == b';')).find_map(read)
}

/// One cookie, if it is ours and as we write it; of several, the first such counts.
fn read(cookie: &[u8]) -> Option<Principal> {
    let value = cookie.trim_ascii().strip_prefix(COOKIE.as_bytes())?.strip_prefix(b"=")?;
    let is_ours = value.len() == DIGITS && value.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let digits = std::str::from_utf8(value).ok().filter(|_| is_ours)?;
    u128::from_str_radix(digits, 16).ok().filter(|number| looks_random(*number)).map(Principal::new)
}

/// Whether nobody would choose this number by hand: all zeros, one digit repeated, a few digits after
/// zeros, a pattern written twice. What such a cookie opens, anybody could open who tries the obvious.
/// Of real randomness one in 10¹⁶ is refused. It is a rule of the number alone, so that every
/// replica says the same of every cookie, before and after a restart.
fn looks_random(number: u128) -> bool {
    let digits = (0..DIGITS).map(|at| 1_u16 << (number >> (4 * at) & 0xf));
    let distinct = digits.fold(0, |seen, digit| seen | digit).count_ones();
    distinct >= DISTINCT_DIGITS_MIN && number >> 64 != number & u128::from(u64::MAX)
}

/// 128 bits of randomness that a later request will be known by.
fn new_number() -> Result<u128, getrandom::Error> {
    loop {
        let mut bytes = [0; DIGITS / 2];
        getrandom::fill(&mut bytes)?;
        let number = u128::from_be_bytes(bytes);
        if looks_random(number) {
            return Ok(number);
        }
    }
}

fn principal_cookie(principal: Principal, secure: bool) -> Option<HeaderValue> {
    set_cookie(COOKIE, &format!("{:032x}", principal.expose()), secure)
}

fn route_cookie(principal: Principal, secure: bool) -> Option<HeaderValue> {
    set_cookie(ROUTE_COOKIE, &format!("{:016x}", route(principal)), secure)
}

/// 64 bits of a one-way hash: the same for a browser's every request, and no way back to the principal.
fn route(principal: Principal) -> u64 {
    let hash =
        Sha256::new().chain_update(ROUTE_TAG).chain_update(principal.expose().to_be_bytes()).finalize();
    hash.iter().take(8).fold(0, |route, byte| route << 8 | u64::from(*byte))
}

/// Marked as sensitive, so that nobody prints it by accident.
fn set_cookie(name: &str, digits: &str, secure: bool) -> Option<HeaderValue> {
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{name}={digits}; Path=/; Max-Age={MAX_AGE_S}; HttpOnly; SameSite=Strict{secure}");
    let mut value = HeaderValue::try_from(cookie).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Whether a trusted proxy says that the browser came over TLS. Our own listener speaks none.
fn came_over_tls(request: &HttpRequest, settings: &Settings) -> bool {
    let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
    if !peer.is_some_and(|peer| settings.trusts(&peer)) {
        return false;
    }
    // Where each proxy appends its word, the first is of the one that the browser spoke to.
    let said = request.headers().get(X_FORWARDED_PROTO).and_then(|value| value.to_str().ok());
    let first = said.and_then(|said| said.split(',').next());
    first.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    const GOOD: &str = "00112233445566778899aabbccddeeff";
    const NUMBER: u128 = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff;
    const OTHER: &str = "ffeeddccbbaa99887766554433221100";

    /// The number in the cookies of a request, if one is in them.
    fn known(cookies: &[&str]) -> Option<u128> {
        let mut request = TestRequest::get();
        for cookie in cookies {
            request = request.append_header((header::COOKIE, *cookie));
        }
        let (principal, set) = of(&request.to_http_request(), &super::super::tests::settings()).unwrap();
        (set.len() == 1).then_some(principal.expose())
    }

    #[test]
    fn our_cookie_is_found_among_others() {
        let ours = format!("{COOKIE}={GOOD}");
        let other = format!("{COOKIE}={OTHER}");
        let long = format!("a={}", "x".repeat(10_000));
        for cookies in [
            &[ours.as_str()][..],
            &[&format!("a=b; {ours}; c=d")],
            &[&format!("a=b;{ours};c=d")],
            &[&format!(" \t{ours} ; c")],
            &[&format!(";;; =; {ours}")],
            &["a=b", &ours, "c=d"],
            &["", &ours],
            &[&format!("{long}; {ours}")],
            &[&long, &ours],
            &[&format!("a=\"x; {ours}\"; {ours}")],
            // Of several, the first that is well formed.
            &[&format!("{ours}; {other}")],
            &[&ours, &other],
            &[&format!("{COOKIE}=; {COOKIE}=x; {ours}; {other}")],
        ] {
            assert_eq!(known(cookies), Some(NUMBER), "{cookies:?}");
        }
    }

    #[test]
    fn what_is_not_as_we_write_it_is_no_cookie_of_ours() {
        for cookie in [
            String::new(),
            COOKIE.to_owned(),
            format!("{COOKIE}="),
            format!("{COOKIE}={}", &GOOD[1..]),
            format!("{COOKIE}={GOOD}0"),
            format!("{COOKIE}={}", GOOD.to_uppercase()),
            format!("{COOKIE}=\"{GOOD}\""),
            format!("{COOKIE}= {GOOD}"),
            format!("{COOKIE} ={GOOD}"),
            format!("{COOKIE}=+{}", &GOOD[1..]),
            format!("{COOKIE}=0x{}", &GOOD[2..]),
            format!("{COOKIE}={}g", &GOOD[1..]),
            format!("{COOKIE}={}é", &GOOD[2..]),
            format!("{COOKIE}={GOOD},"),
            format!("{}={GOOD}", COOKIE.to_uppercase()),
            format!("x{COOKIE}={GOOD}"),
            format!("{COOKIE}x={GOOD}"),
            format!("a={COOKIE}={GOOD}"),
            format!("{COOKIE}={}", "0".repeat(10_000)),
            "x".repeat(10_000),
        ] {
            assert_eq!(known(&[&cookie]), None, "{cookie:.80}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_harm_nobody_else() {
        let bytes = [b"a=\xff\xfe; tidegate_principal=", GOOD.as_bytes()].concat();
        let value = HeaderValue::from_bytes(&bytes).unwrap();
        let request = TestRequest::get().append_header((header::COOKIE, value)).to_http_request();
        let (principal, set) = of(&request, &super::super::tests::settings()).unwrap();
        assert_eq!((principal.expose(), set.len()), (NUMBER, 1));
    }

    /// What the answer to a new browser sets: the principal, and its route.
    fn new_cookies(request: TestRequest) -> [HeaderValue; 2] {
        let mut settings = super::super::tests::settings();
        settings.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        of(&request.to_http_request(), &settings).unwrap().1.try_into().unwrap()
    }

    fn new_cookie(request: TestRequest) -> HeaderValue {
        let [principal, _] = new_cookies(request);
        principal
    }

    #[test]
    fn a_new_cookie_is_random_and_comes_back_as_itself() {
        let (one, two) = (new_cookie(TestRequest::get()), new_cookie(TestRequest::get()));
        assert_ne!(one, two);
        assert_eq!(format!("{one:?}"), "Sensitive");
        let one = one.to_str().unwrap();
        let (pair, attributes) = one.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict");
        let (name, digits) = pair.split_once('=').unwrap();
        assert_eq!((name, digits.len()), (COOKIE, 32));
        assert_eq!(known(&[pair]), Some(u128::from_str_radix(digits, 16).unwrap()));
    }

    #[test]
    fn leading_zeros_are_kept() {
        let cookie = principal_cookie(Principal::new(0x2a_5eed), false).unwrap();
        let pair = cookie.to_str().unwrap().split(';').next().unwrap();
        assert_eq!((pair.len(), known(&[pair])), (COOKIE.len() + 1 + DIGITS, Some(0x2a_5eed)));
    }

    // faults: K149
    #[test]
    fn a_number_without_randomness_is_replaced() {
        for digits in [
            "00000000000000000000000000000000",
            "ffffffffffffffffffffffffffffffff",
            "00000000000000000000000000000001",
            "0000000000000000000000000000002a",
            "10000000000000000000000000000000",
            "abababababababababababababababab",
            "deadbeefdeadbeefdeadbeefdeadbeef",
            "0123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(known(&[&format!("{COOKIE}={digits}")]), None, "{digits}");
            // Another one beside it counts.
            assert_eq!(known(&[&format!("{COOKIE}={digits}; {COOKIE}={GOOD}")]), Some(NUMBER), "{digits}");
        }
        for number in [NUMBER, 0x2a_5eed, u128::MAX - 0x1234, 0x5eed_5eed_5eed_5eed_5eed_5eed_5eed_5a0d] {
            assert!(looks_random(number), "{number:032x}");
        }
        let mut random = fastrand::Rng::with_seed(149);
        assert!((0..100_000).all(|_| looks_random(random.u128(..))), "what we give is what we take");
    }

    #[test]
    fn the_route_is_set_with_every_answer_and_tells_nothing_of_the_principal() {
        let settings = super::super::tests::settings();
        let of_known = |digits: &str| {
            let request = TestRequest::get().append_header((header::COOKIE, format!("{COOKIE}={digits}")));
            let (_, set) = of(&request.to_http_request(), &settings).unwrap();
            let [route] = set.try_into().unwrap();
            assert_eq!(format!("{route:?}"), "Sensitive");
            route.to_str().unwrap().to_owned()
        };
        let first = of_known(GOOD);
        // Fixed for ever: another value would lead every browser away from its chats.
        let expected = "tidegate_route=d4d00fbe3b3e37f4; Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict";
        assert_eq!(first, expected);
        assert_eq!(of_known(GOOD), first, "renewed, and the same");
        assert_ne!(of_known(OTHER), first);
        // A new browser's is that of its new principal, and as secure.
        let https = TestRequest::get()
            .peer_addr("10.1.2.3:80".parse().unwrap())
            .append_header((X_FORWARDED_PROTO, "https"));
        let [principal, route] = new_cookies(https);
        let principal = principal.to_str().unwrap().split(['=', ';']).nth(1).unwrap();
        assert_eq!(route.to_str().unwrap(), of_known(principal) + "; Secure");
        let digits = route.to_str().unwrap().split(['=', ';']).nth(1).unwrap();
        assert!(digits.len() == 16 && !principal.contains(digits), "{principal} {digits}");
    }

    #[test]
    fn secure_is_said_only_where_a_trusted_proxy_saw_tls() {
        let is_secure = |peer: &str, proto: &[&str]| {
            let mut request = TestRequest::get().peer_addr(peer.parse().unwrap());
            for proto in proto {
                request = request.append_header((X_FORWARDED_PROTO, *proto));
            }
            new_cookie(request).to_str().unwrap().ends_with("; Secure")
        };
        let (trusted, stranger) = ("10.1.2.3:80", "192.0.2.1:80");
        for (peer, proto, secure) in [
            (trusted, &["https"][..], true),
            (trusted, &["HTTPS"], true),
            (trusted, &["https, http"], true),
            ("[::ffff:10.1.2.3]:80", &["https"], true),
            (trusted, &["http"], false),
            (trusted, &["http, https"], false),
            (trusted, &["httpsx"], false),
            (trusted, &[""], false),
            (trusted, &[], false),
            (stranger, &["https"], false),
            (stranger, &[], false),
        ] {
            assert_eq!(is_secure(peer, proto), secure, "{peer} {proto:?}");
        }
    }
}
