//! The table of keys for people: in Markdown, and as a `tidegate.toml` with every key as a comment, at its default.
use super::{keys::Key, kind::ValueKind, lookup::keys};
use std::fmt::Write;

/// Columns of a comment.
const COLUMNS: usize = 100;

const HEAD: &str = "\
# The configuration of Tidegate, every key at its default: written by `tidegate check --example`.
# It is read as tidegate.toml in the working directory, or by --config FILE or TIDEGATE_CONFIG.
# Lines that begin with `#` and a letter are keys: take the `#` away and change the value.
# `tidegate check` prints what is in effect and where each value comes from.
";

/// The whole file.
pub fn example() -> String {
    let mut out = HEAD.to_owned();
    let mut group = "";
    for key in keys() {
        let (of, name) = key.name.split_once('.').unwrap_or(("", key.name));
        // Writing to a String cannot fail.
        if of != group {
            group = of;
            let _ = match key.has_unnamed() {
                true => write!(out, "\n[{group}]\n"),
                false => write!(out, "\n# Each {group} has a section of its own.\n# [{group}.NAME]\n"),
            };
        }
        comment(&mut out, &format!("{} ({})", key.help, key.kind.allowed()));
        let _ = match key.kind {
            _ if !key.has_unnamed() => writeln!(out, "# {name} = {}", value(key)),
            ValueKind::Secret => {
                writeln!(out, "# {name}: better in a file of its own, named by API_KEY_FILE")
            }
            _ => writeln!(out, "#{name} = {}", value(key)),
        };
    }
    out
}

/// The default in TOML.
fn value(key: &Key) -> String {
    match key.kind {
        ValueKind::Bool | ValueKind::Count(..) => key.default.to_owned(),
        kind if kind.is_list() && key.default.is_empty() => "[]".to_owned(),
        // No default contains anything that must be escaped.
        _ => format!("\"{}\"", key.default),
    }
}

fn comment(out: &mut String, text: &str) {
    let mut columns = 0;
    for word in text.split(' ') {
        if columns == 0 || columns + 1 + word.len() > COLUMNS {
            out.push_str(if columns == 0 { "#" } else { "\n#" });
            columns = 1;
        }
        columns += 1 + word.len();
        out.push(' ');
        out.push_str(word);
    }
    out.push('\n');
}

/// The table of keys in Markdown, as in docs/CONFIG.md.
pub fn markdown_table() -> String {
    let mut out = String::from("| key | default | what |\n| --- | --- | --- |\n");
    for key in keys() {
        let default = match key.default {
            "" => "empty".to_owned(),
            text => format!("`{text}`"),
        };
        let short: Vec<_> = key.variables().iter().skip(1).map(|name| format!("`{name}`")).collect();
        let also = if short.is_empty() { String::new() } else { format!("; also {}", short.join(", ")) };
        let allowed = key.kind.allowed();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| `{}` | {default} | {} ({allowed}){also} |", key.generic_name(), key.help);
    }
    out
}
