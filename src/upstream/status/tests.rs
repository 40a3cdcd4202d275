//! The readings of Retry-After.
use super::*;

// faults: D54
#[test]
fn retry_after_in_all_its_forms() {
    let ms = Duration::from_millis;
    let now = 1_445_412_479; // One second before the date below.
    let date = "Wed, 21 Oct 2015 07:28:00 GMT";
    for (millis, value, expected) in [
        (None, None, None),
        (None, Some("3"), Some(ms(3000))),
        (None, Some(" 3 "), Some(ms(3000))),
        (None, Some("0"), Some(ms(0))),
        (None, Some("0.5"), Some(ms(500))),
        (None, Some("86400"), Some(Duration::from_secs(86_400))),
        (Some("1500"), Some("3"), Some(ms(1500))),
        (Some("nonsense"), Some("3"), Some(ms(3000))),
        (Some("250"), None, Some(ms(250))),
        (None, Some(date), Some(ms(1000))),
        (None, Some("Thu, 21 Oct 1999 07:28:00 GMT"), Some(ms(0))),
        (None, Some("soon"), None),
        (None, Some(""), None),
        (None, Some("-1"), None),
        (None, Some("1e9"), None),
        (None, Some("NaN"), None),
        (None, Some("inf"), None),
        (None, Some("1.2.3"), None),
        (None, Some("."), None),
        (None, Some("99999999999999999999999999"), Some(Duration::MAX)),
    ] {
        assert_eq!(retry_after(millis, value, now), expected, "{millis:?} {value:?}");
    }
}
