//! Payloads that a correct service would not send.
use crate::simulator::script::delta::{Odd, nested};
use std::borrow::Cow;

pub(in crate::simulator::script) fn odd(odd: Odd) -> Cow<'static, [u8]> {
    let text: &[u8] = match odd {
        Odd::Garbage => br#"{"choices":[{"index":0,"delta":{"content":"br"#,
        Odd::NotJson => b"plain text, no JSON at all",
        Odd::WrongTypes => br#"{"choices":[{"index":0,"delta":{"content":5},"finish_reason":null}]}"#,
        Odd::InvalidUtf8 => {
            b"{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xff\xfe\"},\"finish_reason\":null}]}"
        }
        Odd::Deep => return nested("{\"choices\":", "}").into(),
        Odd::NoChoices => br#"{"choices":[]}"#,
        Odd::NoList => b"{}",
        Odd::NoMessage => br#"{"choices":[{"index":0,"finish_reason":null}]}"#,
        Odd::NullContent => br#"{"choices":[{"index":0,"delta":{"content":null},"finish_reason":null}]}"#,
        Odd::NoContent => br#"{"choices":[{"index":0,"delta":{},"finish_reason":null}]}"#,
        Odd::OtherChoice => {
            br#"{"choices":[{"index":1,"delta":{"content":"other choice"},"finish_reason":null}]}"#
        }
    };
    text.into()
}
