//! Every close code that the gateway sends: when, and what the client should do.
use std::fmt;

/// Why the gateway closes a WebSocket. Codes as in RFC 6455 §7.4.1 and the IANA registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Close {
    /// 1000: the client closed the connection.
    Normal,
    /// 1002: the client violated RFC 6455. A bug in the client: do not reconnect.
    Protocol,
    /// 1007: a text message is not UTF-8. A bug in the client: do not reconnect.
    InvalidText,
    /// 1008: the client does not answer pings. Reconnect when the network is back.
    Silent,
    /// 1008: a message was started and not finished in time. Reconnect when the network is better.
    Unfinished,
    /// 1008: too many frames could not be decoded. A bug in the client: do not reconnect.
    Unreadable,
    /// 1009: a frame or message is too large. Do not send it again.
    TooBig,
    /// 1011: a bug in the gateway. Reconnect after a random pause.
    Internal,
    /// 1012: the gateway is restarting. Reconnect after a random pause.
    Restart,
    /// 1013: the client reads too slowly, or the gateway is overloaded. Reconnect after a pause.
    TooSlow,
    /// 1013: memory is low, and what this client was sending or had not read was dropped. Reconnect after a pause.
    Overloaded,
    /// 4429: too many frames. Reconnect after a pause, and send less.
    TooMany,
}

impl Close {
    pub const ALL: [Close; 12] = [
        Close::Normal,
        Close::Protocol,
        Close::InvalidText,
        Close::Silent,
        Close::Unfinished,
        Close::Unreadable,
        Close::TooBig,
        Close::Internal,
        Close::Restart,
        Close::TooSlow,
        Close::Overloaded,
        Close::TooMany,
    ];

    pub fn code(self) -> u16 {
        match self {
            Close::Normal => 1000,
            Close::Protocol => 1002,
            Close::InvalidText => 1007,
            Close::Silent | Close::Unfinished | Close::Unreadable => 1008,
            Close::TooBig => 1009,
            Close::Internal => 1011,
            Close::Restart => 1012,
            Close::TooSlow | Close::Overloaded => 1013,
            Close::TooMany => 4429,
        }
    }

    /// The reason in the close frame, for people.
    pub fn reason(self) -> &'static str {
        match self {
            Close::Normal => "",
            Close::Protocol => "protocol error",
            Close::InvalidText => "text is not UTF-8",
            Close::Silent => "no answer to pings",
            Close::Unfinished => "message not finished in time",
            Close::Unreadable => "frames that cannot be read",
            Close::TooBig => "frame or message too big",
            Close::Internal => "internal error",
            Close::Restart => "service restart",
            Close::TooSlow => "reading too slowly",
            Close::Overloaded => "the service is short of memory",
            Close::TooMany => "too many frames",
        }
    }

    /// The reason in logs and metrics. `Normal` counts as closed by the client.
    pub fn label(self) -> &'static str {
        match self {
            Close::Normal => "client",
            Close::Protocol => "protocol_error",
            Close::InvalidText => "invalid_text",
            Close::Silent => "silent",
            Close::Unfinished => "unfinished",
            Close::Unreadable => "bad_frames",
            Close::TooBig => "too_big",
            Close::Internal => "internal",
            Close::Restart => "restart",
            Close::TooSlow => "slow",
            Close::Overloaded => "overloaded",
            Close::TooMany => "too_many_frames",
        }
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.code(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_reasons_are_those_of_the_protocol() {
        let expected = [
            (Close::Normal, "1000", ""),
            (Close::Protocol, "1002", "protocol error"),
            (Close::InvalidText, "1007", "text is not UTF-8"),
            (Close::Silent, "1008", "no answer to pings"),
            (Close::Unfinished, "1008", "message not finished in time"),
            (Close::Unreadable, "1008", "frames that cannot be read"),
            (Close::TooBig, "1009", "frame or message too big"),
            (Close::Internal, "1011", "internal error"),
            (Close::Restart, "1012", "service restart"),
            (Close::TooSlow, "1013", "reading too slowly"),
            (Close::Overloaded, "1013", "the service is short of memory"),
            (Close::TooMany, "4429", "too many frames"),
        ];
        assert_eq!(Close::ALL, expected.map(|(close, ..)| close));
        for (close, code, reason) in expected {
            assert_eq!((close.to_string().as_str(), close.reason()), (code, reason));
            assert!(close.reason().len() <= 123, "a close frame has no room for more");
        }
    }
}
