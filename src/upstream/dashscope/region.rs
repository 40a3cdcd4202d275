//! Keys belong to a region: at another region's address they are refused as invalid.

/// The error code of a key that is wrong, or of another region.
const INVALID_KEY: &str = "InvalidApiKey";

const MAINLAND: &str = "this is the address of mainland China (Beijing); for a key of the international site \
                        set upstream.base_url = https://dashscope-intl.aliyuncs.com/api/v1";
const INTERNATIONAL: &str = "this is the international address (Singapore); for a key of mainland China \
                             set upstream.base_url = https://dashscope.aliyuncs.com/api/v1";

/// What to try when this host refuses a key.
pub fn other_region(host: &str) -> Option<&'static str> {
    match host.trim_end_matches('.') {
        "dashscope.aliyuncs.com" => Some(MAINLAND),
        "dashscope-intl.aliyuncs.com" => Some(INTERNATIONAL),
        _ => None,
    }
}

/// The same, if the code says that the key was refused.
pub fn advice(host: &str, code: Option<&str>) -> Option<&'static str> {
    other_region(host).filter(|_| code == Some(INVALID_KEY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_key_is_sent_to_the_other_region() {
        for (host, code, says) in [
            (
                "dashscope.aliyuncs.com",
                Some("InvalidApiKey"),
                Some("https://dashscope-intl.aliyuncs.com/api/v1"),
            ),
            ("dashscope.aliyuncs.com.", Some("InvalidApiKey"), Some("dashscope-intl")),
            (
                "dashscope-intl.aliyuncs.com",
                Some("InvalidApiKey"),
                Some("https://dashscope.aliyuncs.com/api/v1"),
            ),
            ("dashscope.aliyuncs.com", Some("AccessDenied"), None),
            ("dashscope.aliyuncs.com", None, None),
            ("127.0.0.1", Some("InvalidApiKey"), None),
        ] {
            let advice = advice(host, code);
            assert_eq!(advice.is_some(), says.is_some(), "{host} {code:?}");
            assert!(advice.unwrap_or_default().contains(says.unwrap_or_default()), "{host} {code:?}");
        }
    }
}
