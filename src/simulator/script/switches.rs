//! The switches of a `/sim` message: one table used by the parser and the document.
use super::{Script, value::Setting};
use std::fmt::Write as _;

mod list;

/// Every switch, in the order of the document.
pub fn switches() -> impl Iterator<Item = &'static Switch> {
    list::ALL.into_iter().flatten()
}

/// One switch.
pub struct Switch {
    pub name: &'static str,
    /// Form of its value; empty for a switch without value.
    pub value: &'static str,
    /// Rows of the fault catalogue that it causes.
    pub rows: &'static str,
    pub help: &'static str,
    /// A fault: left out of the good answer after `times` requests.
    pub fault: bool,
    pub(super) set: Set,
}

type Set = fn(&mut Script, &Setting) -> Result<(), String>;

/// The switch of that name, or an error with the nearest one.
pub(super) fn find(name: &str) -> Result<&'static Switch, String> {
    let nearest = || switches().min_by_key(|switch| distance(name, switch.name)).map_or("", |near| near.name);
    switches().find(|switch| switch.name == name).ok_or_else(|| {
        let shown: String = name.chars().take(40).collect();
        format!("unknown switch {shown:?}, the nearest is {:?}", nearest())
    })
}

/// The table of all switches in Markdown: the answer to a bare `/sim`, and part of the document.
pub fn table() -> String {
    let mut table = String::from("| switch | value | what it does | fault |\n| --- | --- | --- | --- |\n");
    for switch in switches() {
        let Switch { name, value, rows, help, .. } = switch;
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| `{name}` | {value} | {help} | {rows} |");
    }
    table
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let change = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
