//! Payloads that a correct service would not send.
use crate::simulator::script::delta::{Odd, nested};
use std::borrow::Cow;

pub(super) fn odd(odd: Odd) -> Cow<'static, [u8]> {
    let text: &[u8] = match odd {
        Odd::Garbage => br#"{"output":{"choices":[{"message":{"content":"br"#,
        Odd::NotJson => b"plain text, no JSON at all",
        Odd::WrongTypes => {
            br#"{"output":{"choices":[{"message":{"content":5,"role":"assistant"},"finish_reason":"null"}]}}"#
        }
        Odd::InvalidUtf8 => {
            b"{\"output\":{\"choices\":[{\"message\":{\"content\":\"\xff\xfe\",\"role\":\"assistant\"},\"finish_reason\":\"null\"}]}}"
        }
        Odd::Deep => return nested("{\"output\":", "}").into(),
        Odd::NoChoices => br#"{"output":{"choices":[]}}"#,
        Odd::NoList => br#"{"output":{}}"#,
        Odd::NoMessage => br#"{"output":{"choices":[{"finish_reason":"null"}]}}"#,
        Odd::NullContent => {
            br#"{"output":{"choices":[{"message":{"content":null,"role":"assistant"},"finish_reason":"null"}]}}"#
        }
        Odd::NoContent => {
            br#"{"output":{"choices":[{"message":{"role":"assistant"},"finish_reason":"null"}]}}"#
        }
        Odd::OtherChoice => {
            br#"{"output":{"choices":[{"message":{"content":"other choice","role":"assistant"},"index":1,"finish_reason":"null"}]}}"#
        }
    };
    text.into()
}
