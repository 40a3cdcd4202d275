//! The inside of a JSON string, decoded without an allocation of its own.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use memchr::memchr;

/// An escape that stands for no character: half of a surrogate pair, or no escape at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a JSON string holds an escape that is no character")]
pub struct BadEscape;

/// Appends the text of a JSON string to `out`. `inner` is what stands between the quotes and has
/// passed a JSON parser's scan (RFC 8259 §7), which lets half of a surrogate pair through: that
/// is refused here, never replaced.
///
/// # Errors
/// [`BadEscape`]; `out` then holds the text up to the escape.
pub fn unescape(inner: &str, out: &mut String) -> Result<(), BadEscape> {
    let mut rest = inner;
    while let Some(at) = memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let (character, used) = escape(&rest.as_bytes()[at..])?;
        out.push(character);
        rest = rest.get(at.saturating_add(used)..).ok_or(BadEscape)?;
    }
    out.push_str(rest);
    Ok(())
}

/// Decodes the escape that `bytes` begin with: the character and the length of the escape.
fn escape(bytes: &[u8]) -> Result<(char, usize), BadEscape> {
    let character = match bytes.get(1).ok_or(BadEscape)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(bytes),
        _ => return Err(BadEscape),
    };
    Ok((character, 2))
}

fn unicode(bytes: &[u8]) -> Result<(char, usize), BadEscape> {
    let unit = hex(bytes.get(2..6))?;
    if let Some(character) = char::from_u32(unit) {
        return Ok((character, 6));
    }
    if unit >= 0xDC00 || bytes.get(6..8) != Some(b"\\u") {
        return Err(BadEscape);
    }
    let low = hex(bytes.get(8..12))?;
    if !(0xDC00..0xE000).contains(&low) {
        return Err(BadEscape);
    }
    // Ten bits of each half, behind the first plane (RFC 2781 §2.2).
    let point = ((unit & 0x3FF) << 10 | low & 0x3FF).saturating_add(0x1_0000);
    char::from_u32(point).map(|character| (character, 12)).ok_or(BadEscape)
}

fn hex(digits: Option<&[u8]>) -> Result<u32, BadEscape> {
    digits.ok_or(BadEscape)?.iter().try_fold(0, |value, &digit| {
        let digit = char::from(digit).to_digit(16).ok_or(BadEscape)?;
        Ok(value << 4 | digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(inner: &str) -> Result<String, BadEscape> {
        let mut out = String::new();
        unescape(inner, &mut out).map(|()| out)
    }

    #[test]
    fn escapes_are_decoded() {
        assert_eq!(
            decoded(r#"a\"\\\/\b\f\n\r\t\u0041\u4f60\ud83d\ude00z"#).unwrap(),
            "a\"\\/\u{8}\u{c}\n\r\tA你😀z"
        );
        assert_eq!(decoded("").unwrap(), "");
    }

    #[test]
    fn half_a_pair_is_refused() {
        for inner in [
            r"\ud83d",
            r"\ud83dx",
            r"\ud83d\n",
            r"\ude00",
            r"\ud83d\ud83d",
            r"\ud83d\u0041",
            r"\ud83dxyde00",
            r"\ude00\ude00",
            r"\udc00\udc00",
            r"\ud83d\ue000",
        ] {
            assert_eq!(decoded(inner), Err(BadEscape), "{inner}");
        }
    }

    #[test]
    fn what_no_scan_lets_through_is_refused_too() {
        for inner in ["\\", r"\x", r"\u12", r"\u12g4", "\\é", "\\u00é0"] {
            assert_eq!(decoded(inner), Err(BadEscape), "{inner}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(inner in r#"([a-z你😀]|\\["\\/bfnrt]|\\u(00[0-7][0-9a-f]|[dD][89a-fA-F][0-9a-f]{2}|d83d\\ude0[0-9])){0,12}"#) {
            let theirs = serde_json::from_str::<String>(&format!("\"{inner}\"")).ok();
            prop_assert_eq!(decoded(&inner).ok(), theirs);
        }
    }
}
