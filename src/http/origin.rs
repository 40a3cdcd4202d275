//! Decides which pages may open a WebSocket or read the data of a browser's user. Pure. A page cannot prevent its browser
//! from sending `Origin`; a client without it is no browser, and carries no cookies of another user (RFC 6455 §10.2).
use url::Url;

/// Whether the `Origin` of a request is allowed. If `allowed` is empty, only the request's own host is; otherwise only the
/// listed origins are. More than one `Origin` header is never allowed.
pub(super) fn is_allowed(allowed: &[String], any: bool, origins: &[&str], host: Option<&str>) -> bool {
    let origin = match origins {
        [] => return true,
        [origin] => *origin,
        _ => return false,
    };
    if any {
        return true;
    }
    if !allowed.is_empty() {
        return allowed.iter().any(|allowed| allowed == origin);
    }
    host.is_some_and(|host| is_same_host(origin, host))
}

/// Whether an origin has the host and port of a `Host` header. The origin must be in the form that browsers send.
fn is_same_host(origin: &str, host: &str) -> bool {
    let Ok(url) = Url::parse(origin) else { return false };
    if !matches!(url.scheme(), "http" | "https") || url.origin().ascii_serialization() != origin {
        return false;
    }
    // The scheme is taken from the origin: behind nginx we do not see which one the browser used.
    let Ok(here) = Url::parse(&format!("{}://{host}", url.scheme())) else { return false };
    let is_bare = here.path() == "/" && here.query().is_none() && here.fragment().is_none();
    let is_plain = is_bare && here.username().is_empty() && here.password().is_none();
    is_plain && here.host() == url.host() && here.port_or_known_default() == url.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    // faults: A2
    #[test]
    fn without_a_list_only_the_own_host_is_allowed() {
        let host = Some("chat.example.com:8080");
        assert!(is_allowed(&[], false, &[], host), "not a browser");
        assert!(is_allowed(&[], false, &["http://chat.example.com:8080"], host));
        assert!(is_allowed(&[], false, &["https://chat.example.com"], Some("chat.example.com")));
        assert!(is_allowed(&[], false, &["https://chat.example.com"], Some("chat.example.com:443")));
        assert!(is_allowed(&[], false, &["http://[::1]:8000"], Some("[::1]:8000")));
        for origin in [
            "null",
            "",
            "*",
            "chat.example.com:8080",
            "http://chat.example.com",
            "https://chat.example.com",
            "https://chat.example.com:8081",
            "http://chat.example.com:8080/",
            "http://chat.example.com:8080/path",
            "http://CHAT.example.com:8080",
            "HTTP://chat.example.com:8080",
            "http://chat.example.com.:8080",
            "http://chat.example.com.evil.test:8080",
            "http://evil-chat.example.com:8080",
            "http://example.com:8080",
            "http://chat.example.com:8080@evil.test",
            "http://evil.test#chat.example.com:8080",
            "http://evil.test?chat.example.com:8080",
            "ws://chat.example.com:8080",
            "file://chat.example.com:8080",
            "http://chat.example.com:8080 ",
            "http://chat.example.com:8080, http://chat.example.com:8080",
            "http://chat.example.com:08080",
            "http://user@chat.example.com:8080",
        ] {
            assert!(!is_allowed(&[], false, &[origin], host), "{origin:?}");
        }
        for host in ["a/path", "a?query", "user@a", ":secret@a", "a/path?query", "a#fragment", "a b", ""] {
            assert!(!is_allowed(&[], false, &["http://a"], Some(host)), "a Host that is none: {host:?}");
        }
        assert!(!is_allowed(&[], false, &["http://a"; 2], Some("a")), "two of them");
        assert!(!is_allowed(&[], false, &["http://a"], None), "no host");
    }

    #[test]
    fn a_list_is_exact_and_replaces_the_own_host() {
        let list = ["https://chat.example.com".to_owned()];
        assert!(is_allowed(&list, false, &["https://chat.example.com"], Some("10.0.0.1")));
        for origin in ["http://chat.example.com", "https://chat.example.com:8443", "https://10.0.0.1", "null"]
        {
            assert!(!is_allowed(&list, false, &[origin], Some("10.0.0.1")), "{origin}");
        }
        assert!(is_allowed(&list, true, &["http://anything"], None));
    }
}
