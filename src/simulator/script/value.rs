//! The syntax of a `/sim` message: `name`, `name=value`, `name="quoted value"`.
use std::time::Duration;

/// Longest wait of a switch, in milliseconds; a longer one is rejected.
const WAIT_MAX_MS: f64 = 3_600_000.0;

/// One switch as typed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

/// Splits the text after `/sim` into settings.
pub(crate) fn settings(text: &str) -> Result<Vec<Setting>, String> {
    let mut settings = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        rest = &rest[end..];
        let value = match rest.strip_prefix('=') {
            None => None,
            Some(after) => {
                let (value, left) =
                    read_value(after).ok_or(format!("switch {name}: the closing quote is missing"))?;
                rest = left;
                Some(value)
            }
        };
        settings.push(Setting { name, value });
        rest = rest.trim_start();
    }
    Ok(settings)
}

/// A value and the remaining text; `None` if a quote is not closed.
fn read_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                'u' => {
                    let digits: String =
                        (0..4).filter_map(|_| chars.next().map(|(_, digit)| digit)).collect();
                    value.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                }
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

impl Setting {
    fn text(&self) -> Result<&str, String> {
        self.value.as_deref().ok_or_else(|| "a value is missing".to_owned())
    }

    /// Whether it has no value.
    pub(crate) fn is_bare(&self) -> bool {
        self.value.is_none()
    }

    /// Any text.
    pub(crate) fn string(&self) -> Result<String, String> {
        self.text().map(str::to_owned)
    }

    /// An integer within bounds.
    pub(crate) fn count(&self, min: u64, max: u64) -> Result<u64, String> {
        let text = self.text()?;
        match text.parse() {
            Ok(count) if (min..=max).contains(&count) => Ok(count),
            _ => Err(format!("{text:?} is not a whole number from {min} to {max}")),
        }
    }

    /// An integer, or a default if there is no value.
    pub(crate) fn count_or(&self, default: u64, max: u64) -> Result<u64, String> {
        if self.value.is_some() { self.count(0, max) } else { Ok(default) }
    }

    /// A number within bounds.
    pub(crate) fn number(&self, min: f64, max: f64) -> Result<f64, String> {
        let text = self.text()?;
        match text.parse::<f64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            _ => Err(format!("{text:?} is not a number from {min} to {max}")),
        }
    }

    /// Milliseconds, possibly with a fraction.
    pub(crate) fn millis(&self) -> Result<Duration, String> {
        Ok(Duration::from_secs_f64(self.number(0.0, WAIT_MAX_MS)? / 1000.0))
    }

    /// A switch without a value, or with `=1`, `=0`, `=true`, `=false`.
    pub(crate) fn flag(&self) -> Result<bool, String> {
        match self.value.as_deref() {
            None | Some("1" | "true") => Ok(true),
            Some("0" | "false") => Ok(false),
            Some(other) => Err(format!("{other:?} is neither 1 nor 0")),
        }
    }

    /// One of a set of names.
    pub(crate) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, String> {
        let text = self.text()?;
        let known = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| *value)
            .ok_or_else(|| format!("{text:?} is none of {}", known()))
    }
}
