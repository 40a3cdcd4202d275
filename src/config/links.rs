//! The operator's links on the page: `label=address`, with schemes that cannot run scripts.
use super::{
    address::list,
    kind::{Setting, ValueKind},
};
use url::Url;

/// Maximum number of links of the page; more are rejected.
const LINKS_MAX: usize = 8;
/// Maximum bytes of a label; a longer one is rejected.
const LABEL_BYTES: usize = 60;
/// Maximum bytes of an address; a longer one is rejected.
const URL_BYTES: usize = 1024;

/// One link of the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub label: String,
    /// `http:`, `https:` or `mailto:`, as normalized by the parser.
    pub url: Url,
}

pub type Links = Vec<Link>;

/// Parses one line of visible text: no line break, no invisible characters.
pub(super) fn line(text: &str, bytes_max: usize) -> Result<String, String> {
    let text = text.trim();
    if text.len() > bytes_max {
        return Err("too long".to_owned());
    }
    // Characters that change the text direction could make a text look like another one.
    let is_hidden = |c: char| {
        c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if text.contains(is_hidden) {
        return Err("has a line break or another character that is not seen".to_owned());
    }
    Ok(text.to_owned())
}

fn link(text: &str) -> Result<Link, String> {
    let (label, address) = text.split_once('=').ok_or("has no `=` between label and address")?;
    let label = line(label, LABEL_BYTES).map_err(|problem| format!("the label {problem}"))?;
    if label.is_empty() {
        return Err("has no label".to_owned());
    }
    Ok(Link { label, url: url(address.trim())? })
}

fn url(text: &str) -> Result<Url, String> {
    if text.len() > URL_BYTES {
        return Err("the address is too long".to_owned());
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err("the address has a blank, a control character or a backslash".to_owned());
    }
    let url = Url::parse(text).map_err(|_| "the address is none".to_owned())?;
    match url.scheme() {
        "mailto" if url.path().contains('@') => Ok(url),
        "mailto" => Err("the address has no recipient".to_owned()),
        // The parser accepts `https:host`.
        "http" | "https" if !text.contains("://") => {
            Err("the address has no `//` after the scheme".to_owned())
        }
        "http" | "https" if !url.username().is_empty() || url.password().is_some() => {
            Err("the address has a user name or a password".to_owned())
        }
        "http" | "https" => Ok(url),
        _ => Err("the address is neither http, https nor mailto".to_owned()),
    }
}

impl Setting for Links {
    fn read(text: &str, _: &ValueKind) -> Result<Self, String> {
        let links = list(text, link)?;
        if links.len() > LINKS_MAX { Err(format!("more than {LINKS_MAX}")) } else { Ok(links) }
    }
    fn show(&self, _: &ValueKind) -> String {
        let links: Vec<_> = self.iter().map(|link| format!("{}={}", link.label, link.url)).collect();
        links.join(", ")
    }
}
