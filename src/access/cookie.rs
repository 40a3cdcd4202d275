//! The cookie of an anonymous principal. A second cookie, derived from it, is for the proxy alone: it routes a
//! browser to the gateway that has its chats.
use super::Credential;
use crate::chat::Principal;
use sha2::{Digest, Sha256};

const COOKIE: &str = "tidegate_principal";
/// The value that a proxy hashes. It grants nothing and the gateway never reads it.
const ROUTE_COOKIE: &str = "tidegate_route";
/// Domain separation from any other hash of a principal.
const ROUTE_TAG: &[u8] = b"tidegate_route\0";
/// Lifetime of both cookies, renewed (the route) with each visit.
const MAX_AGE_S: u32 = 30 * 24 * 60 * 60;
/// Hexadecimal digits of 128 bits.
const DIGITS: usize = 32;
/// Minimum number of distinct hexadecimal digits in a principal; a number with fewer did not come from a
/// random generator and is ignored.
const DISTINCT_DIGITS_MIN: u32 = 5;

/// The credential in the `Cookie` headers of a request: the first well-formed cookie of ours counts.
pub fn credential<'a>(headers: impl IntoIterator<Item = &'a [u8]>) -> Credential {
    let mut cookies = headers.into_iter().flat_map(|cookies| cookies.split(|b| *b == b';'));
    cookies.find_map(read).map_or(Credential::Nothing, Credential::Cookie)
}

/// The `Set-Cookie` values for the response: the principal's cookie if it is new, and always the route, which
/// is renewed with each visit. `secure`: the browser connected over TLS.
pub fn set_cookies(credential: &Credential, principal: Principal, secure: bool) -> Vec<String> {
    let route = route_cookie(principal, secure);
    match credential {
        Credential::Cookie(_) => vec![route],
        Credential::Nothing => vec![principal_cookie(principal, secure), route],
    }
}

/// A new principal of 128 random bits.
pub(super) fn new_principal<E>(mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Principal, E> {
    loop {
        let mut bytes = [0; DIGITS / 2];
        fill(&mut bytes)?;
        let number = u128::from_be_bytes(bytes);
        if looks_random(number) {
            return Ok(Principal::new(number));
        }
    }
}

/// Parses one cookie, if it is ours and in the form we write.
fn read(cookie: &[u8]) -> Option<Principal> {
    let value = cookie.trim_ascii().strip_prefix(COOKIE.as_bytes())?.strip_prefix(b"=")?;
    let is_ours = value.len() == DIGITS && value.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let digits = std::str::from_utf8(value).ok().filter(|_| is_ours)?;
    u128::from_str_radix(digits, 16).ok().filter(|number| looks_random(*number)).map(Principal::new)
}

/// Rejects numbers that a person might choose by hand: all zeros, one digit repeated, a few digits after
/// zeros, a pattern written twice. Others could guess such a cookie and get its chats. One in 10¹⁶ random
/// numbers is rejected. The rule depends on the number alone, so every replica decides alike, before and
/// after a restart.
fn looks_random(number: u128) -> bool {
    let digits = (0..DIGITS).map(|at| 1_u16 << (number >> (4 * at) & 0xf));
    let distinct = digits.fold(0, |seen, digit| seen | digit).count_ones();
    distinct >= DISTINCT_DIGITS_MIN && number >> 64 != number & u128::from(u64::MAX)
}

fn principal_cookie(principal: Principal, secure: bool) -> String {
    set_cookie(COOKIE, &format!("{:032x}", principal.expose()), secure)
}

fn route_cookie(principal: Principal, secure: bool) -> String {
    set_cookie(ROUTE_COOKIE, &format!("{:016x}", route(principal)), secure)
}

/// 64 bits of a one-way hash: constant for a browser, and does not reveal the principal.
fn route(principal: Principal) -> u64 {
    let hash =
        Sha256::new().chain_update(ROUTE_TAG).chain_update(principal.expose().to_be_bytes()).finalize();
    hash.iter().take(8).fold(0, |route, byte| route << 8 | u64::from(*byte))
}

fn set_cookie(name: &str, digits: &str, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{name}={digits}; Path=/; Max-Age={MAX_AGE_S}; HttpOnly; SameSite=Strict{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00112233445566778899aabbccddeeff";
    const NUMBER: u128 = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff;
    const OTHER: &str = "ffeeddccbbaa99887766554433221100";

    /// The number in the cookies of a request, if one is in them.
    fn known(cookies: &[&str]) -> Option<u128> {
        match credential(cookies.iter().map(|cookie| cookie.as_bytes())) {
            Credential::Cookie(principal) => Some(principal.expose()),
            Credential::Nothing => None,
        }
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
    fn a_cookie_in_any_other_form_is_ignored() {
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
    fn bytes_that_are_not_text_do_not_hide_other_cookies() {
        let bytes = [b"a=\xff\xfe; tidegate_principal=", GOOD.as_bytes()].concat();
        assert_eq!(credential([&bytes[..]]), Credential::Cookie(Principal::new(NUMBER)));
    }

    /// What the response to a new browser sets: the principal, and its route.
    fn new_cookies(random: &mut fastrand::Rng, secure: bool) -> [String; 2] {
        let fill = |bytes: &mut [u8]| {
            random.fill(bytes);
            Ok::<(), ()>(())
        };
        let principal = new_principal(fill).unwrap();
        set_cookies(&Credential::Nothing, principal, secure).try_into().unwrap()
    }

    #[test]
    fn a_new_cookie_is_random_and_is_recognized() {
        let mut random = fastrand::Rng::with_seed(1);
        let ([one, _], [two, _]) = (new_cookies(&mut random, false), new_cookies(&mut random, false));
        assert_ne!(one, two);
        let (pair, attributes) = one.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict");
        let (name, digits) = pair.split_once('=').unwrap();
        assert_eq!((name, digits.len()), (COOKIE, 32));
        assert_eq!(known(&[pair]), Some(u128::from_str_radix(digits, 16).unwrap()));
    }

    #[test]
    fn leading_zeros_are_kept() {
        let cookie = principal_cookie(Principal::new(0x2a_5eed), false);
        let pair = cookie.split(';').next().unwrap();
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
    fn the_route_is_set_with_every_response_and_reveals_nothing_of_the_principal() {
        let of_known = |digits: &str| {
            let principal = Principal::new(u128::from_str_radix(digits, 16).unwrap());
            let [route] = set_cookies(&Credential::Cookie(principal), principal, false).try_into().unwrap();
            route
        };
        let first = of_known(GOOD);
        // Fixed for ever: another value would lead every browser away from its chats.
        let expected = "tidegate_route=d4d00fbe3b3e37f4; Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict";
        assert_eq!(first, expected);
        assert_eq!(of_known(GOOD), first, "renewed, and the same");
        assert_ne!(of_known(OTHER), first);
        // A new browser's is that of its new principal, and as secure.
        let [principal, route] = new_cookies(&mut fastrand::Rng::with_seed(2), true);
        assert!(principal.ends_with("; Secure"));
        let principal = principal.split(['=', ';']).nth(1).unwrap();
        assert_eq!(route, of_known(principal) + "; Secure");
        let digits = route.split(['=', ';']).nth(1).unwrap();
        assert!(digits.len() == 16 && !principal.contains(digits), "{principal} {digits}");
    }

    #[test]
    fn a_number_that_does_not_look_random_is_drawn_again() {
        let mut draws = vec![NUMBER.to_be_bytes(), [0; 16]];
        let fill = |bytes: &mut [u8]| draws.pop().map(|draw| bytes.copy_from_slice(&draw)).ok_or(());
        assert_eq!(new_principal(fill), Ok(Principal::new(NUMBER)));
    }
}
