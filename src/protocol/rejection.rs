//! Why a message is rejected: one row per reason.
use crate::chat::{Absence, ChoiceFault, IdFault, Offered, ParameterFault, RunErrorKind};
use std::{fmt, time::Duration};

/// Whether the same message may be accepted later.
enum Retryable {
    No,
    Yes,
    /// After this time.
    After(Duration),
}
use Retryable::{After, No, Yes};

/// Declares [`Rejection`]: for each reason its fields, code, retry and sentence.
macro_rules! rejections {
    ($($(#[$doc:meta])* $Reason:ident $({ $($field:ident: $Type:ty),* })?
        $code:literal $retry:expr, $sentence:literal $(, $value:expr)*;)*) => {
        /// Why a message was not accepted.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Rejection {
            $($(#[$doc])* $Reason $({ $($field: $Type),* })?,)*
        }

        impl Rejection {
            /// Every [`Rejection::code`].
            pub const CODES: [&'static str; [$($code),*].len()] = [$($code),*];

            /// The stable name on wires, in logs and in metrics.
            pub fn code(&self) -> &'static str {
                match self {
                    $(Rejection::$Reason { .. } => $code,)*
                }
            }

            #[expect(unused_variables, reason = "most rows use no field here")]
            fn retry(&self) -> Retryable {
                match self {
                    $(Rejection::$Reason $({ $($field),* })? => $retry,)*
                }
            }
        }

        /// The sentence for a person.
        impl fmt::Display for Rejection {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Rejection::$Reason $({ $($field),* })? => write!(f, $sentence $(, $value)*),)*
                }
            }
        }
    };
}

rejections! {
    /// The message has no visible text.
    Empty "empty_message" No, "The message is empty. Write something.";
    /// The message has more than `limit` bytes.
    TooLong { bytes: usize, limit: usize } "message_too_long" No,
        "The message has {bytes} bytes; at most {limit} are allowed. Shorten it.";
    /// A binary message.
    Binary "binary_message" No, "Binary messages are not understood. Send text.";
    /// The queue of waiting messages is full.
    QueueFull { limit: usize } "queue_full" Yes,
        "{limit} messages are waiting already. Wait for an answer first.";
    /// The gateway is shutting down.
    Draining "draining" Yes, "The service is restarting. Reconnect and send it again.";
    /// Not a valid frame: which field is wrong, and how.
    Malformed { field: &'static str, fault: &'static str } "malformed" No,
        "The request cannot be read: `{field}` {fault}. See docs/PROTOCOL.md.";
    /// An invalid identifier.
    BadId { field: &'static str, fault: IdFault } "bad_id" No,
        "The request cannot be read: `{field}` {fault}. See docs/PROTOCOL.md.";
    /// The message has a part of a type that is not supported.
    UnsupportedPart { kind: &'static str } "unsupported_part" No,
        "Parts of type `{kind}` are not understood. Send text.";
    /// A parameter of the model has the wrong type, is out of its range, or may not be set; or an answer cannot be continued.
    BadParameter { fault: ParameterFault } "bad_parameter" No,
        "{fault}";
    /// There is no such model.
    ModelNotFound { offered: Offered } "model_not_found" No,
        "This model is not offered. Choose another: {offered}.";
    /// No model is on offer, because the model service does not answer.
    ServiceAway "upstream_unreachable" Yes, "{}", RunErrorKind::UpstreamUnreachable.sentence();
    /// No model is on offer, because the model service has none.
    NothingOffered "not_available" No, "{}", RunErrorKind::NotAvailable.sentence();
    /// The request's ID is in use on this socket.
    DuplicateRequest "duplicate_request" No, "A request of this name is open already. Use a new one.";
    /// The socket has the maximum number of open requests.
    TooManyRequests { limit: usize } "too_many_requests" Yes,
        "{limit} requests are open already. Wait for one of them to end.";
    /// [`ClientFrame::Resume`](super::ClientFrame::Resume) after a number beyond the end of the answer.
    BadResume "bad_resume" No, "The answer is not that long. Resume from the beginning.";
    /// The chat is attached to more often than the rate limit allows.
    TooOften { after: Duration } "too_often" After(*after),
        "Too many attempts. Try again in {} s.", after.as_secs().max(1);
    /// More subscribers than allowed; the oldest was removed.
    TakenOver "taken_over" No, "This answer was opened in too many other places.";
    /// The conversation cannot accept the message at the moment.
    Unavailable "unavailable" Yes, "The conversation did not answer. Send it again.";
    /// The limit of conversations is reached, and all of them are in use.
    TooManyChats "too_many_chats" Yes,
        "Too many conversations are in use. Close one, or try again later.";
    /// Memory is low, and this client's network holds much of it.
    Overloaded { after: Duration } "overloaded" After(*after),
        "The service is busy. Try again in {} s.", after.as_secs().max(1);
}

impl From<ChoiceFault> for Rejection {
    fn from(fault: ChoiceFault) -> Self {
        match fault {
            ChoiceFault::Parameter(fault) => Rejection::BadParameter { fault },
            ChoiceFault::Unknown { offered } => Rejection::ModelNotFound { offered },
            ChoiceFault::Absent(Absence::Unreachable) => Rejection::ServiceAway,
            ChoiceFault::Absent(Absence::Nothing) => Rejection::NothingOffered,
        }
    }
}

impl Rejection {
    /// Whether the message is not a valid frame. A client that keeps sending such messages is broken.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Rejection::Malformed { .. } | Rejection::BadId { .. })
    }

    /// Whether the same message may be accepted later.
    pub fn is_retryable(&self) -> bool {
        !matches!(self.retry(), No)
    }

    /// When it may be sent again, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.retry() {
            After(time) => Some(time),
            Yes | No => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_has_a_code_and_advice() {
        let all = [
            (Rejection::Empty, "empty_message", "The message is empty. Write something."),
            (
                Rejection::TooLong { bytes: 70_000, limit: 65_536 },
                "message_too_long",
                "The message has 70000 bytes; at most 65536 are allowed. Shorten it.",
            ),
            (Rejection::Binary, "binary_message", "Binary messages are not understood. Send text."),
            (
                Rejection::QueueFull { limit: 8 },
                "queue_full",
                "8 messages are waiting already. Wait for an answer first.",
            ),
            (Rejection::Draining, "draining", "The service is restarting. Reconnect and send it again."),
        ];
        for (refusal, code, sentence) in all {
            assert_eq!((refusal.code(), refusal.to_string().as_str()), (code, sentence));
        }
    }
}
