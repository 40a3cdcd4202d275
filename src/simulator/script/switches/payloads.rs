//! Payloads that a correct service would not send.
use super::super::{Fault, Script, TOKENS_MAX, value::Setting};

pub(super) const GARBAGE: &str = r#"{"output":{"choices":[{"message":{"content":"br"#;
pub(super) const NOT_JSON: &str = "plain text, no JSON at all";
pub(super) const WRONG_TYPES: &str =
    r#"{"output":{"choices":[{"message":{"content":5,"role":"assistant"},"finish_reason":"null"}]}}"#;
pub(super) const INVALID_UTF8: &[u8] =
    b"{\"output\":{\"choices\":[{\"message\":{\"content\":\"\xff\xfe\",\"role\":\"assistant\"},\"finish_reason\":\"null\"}]}}";
pub(super) const DONE: &str = "data:[DONE]\n\n";
pub(super) const ODD_CHOICES: &[&str] = &[
    r#"{"output":{"choices":[]}}"#,
    r#"{"output":{}}"#,
    r#"{"output":{"choices":[{"finish_reason":"null"}]}}"#,
    r#"{"output":{"choices":[{"message":{"content":null,"role":"assistant"},"finish_reason":"null"}]}}"#,
    r#"{"output":{"choices":[{"message":{"role":"assistant"},"finish_reason":"null"}]}}"#,
    r#"{"output":{"choices":[{"message":{"content":"other choice","role":"assistant"},"index":1,"finish_reason":"null"}]}}"#,
];

/// Deeply nested arrays.
pub(super) fn deep() -> Vec<u8> {
    const DEPTH: usize = 10_000;
    format!("{{\"output\":{}{}}}", "[".repeat(DEPTH), "]".repeat(DEPTH)).into_bytes()
}

/// Parses `N:TEXT` and adds the fault made of the text.
pub(super) fn given(
    script: &mut Script,
    setting: &Setting,
    fault: fn(Vec<u8>) -> Fault,
) -> Result<(), String> {
    let value = setting.string()?;
    let (at, text) = value.split_once(':').ok_or("N:TEXT is wanted")?;
    let at = at
        .parse()
        .ok()
        .filter(|at| *at <= TOKENS_MAX)
        .ok_or_else(|| format!("{at:?} is not a number of deltas"))?;
    script.faults.push((at, fault(text.as_bytes().to_vec())));
    Ok(())
}
