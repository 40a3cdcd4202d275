//! Looks up errors in a dialect's error table: by code, status and message.
use super::status;
use crate::chat::{Retry, RunErrorKind};

/// The rows of a dialect; those of an earlier list come before those of a later one.
pub(super) type Table = &'static [&'static [Row]];

/// The codes to which a row applies.
#[derive(Debug)]
pub(super) enum Code {
    Is(&'static str),
    Begins(&'static str),
    /// Every code, and none.
    Any,
    /// No code, or one that is in no other row.
    Other,
}

/// One row of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) code: Code,
    /// A text that the message must contain, in lower case. Wording varies by model and over time, so this is used only
    /// if the code alone is ambiguous.
    pub(super) needle: Option<&'static str>,
    kind: RunErrorKind,
    retry: Retry,
}

pub(super) const SOON: Retry = Retry::BackOff { slow: false };
pub(super) const LATER: Retry = Retry::BackOff { slow: true };

pub(super) const fn is(code: &'static str, kind: RunErrorKind, retry: Retry) -> Row {
    Row { code: Code::Is(code), needle: None, kind, retry }
}

pub(super) const fn begins(code: &'static str, kind: RunErrorKind, retry: Retry) -> Row {
    Row { code: Code::Begins(code), needle: None, kind, retry }
}

pub(super) const fn says(code: Code, needle: &'static str, kind: RunErrorKind) -> Row {
    says_again(code, needle, kind, Retry::No)
}

pub(super) const fn says_again(code: Code, needle: &'static str, kind: RunErrorKind, retry: Retry) -> Row {
    Row { code, needle: Some(needle), kind, retry }
}

/// Classifies an upstream's error: by its code, otherwise by the HTTP status of the head or of the frame. The first
/// matching row applies, in the order: rows with a needle, exact codes, prefixes.
///
/// A rejection by the content filter becomes [`RunErrorKind::InputRefused`]; after the first text the caller changes it to
/// [`RunErrorKind::OutputRefused`].
pub(super) fn classify(
    table: Table,
    code: Option<&str>,
    status: u16,
    message: &str,
) -> (RunErrorKind, Retry) {
    let code = code.map(str::trim).filter(|code| !code.is_empty());
    let message = message.to_ascii_lowercase();
    let find = |wanted: fn(&Row) -> bool| {
        rows(table).filter(|row| wanted(row)).find(|row| {
            let named = match (&row.code, code) {
                (Code::Is(exact), Some(code)) => code == *exact,
                (Code::Begins(prefix), Some(code)) => code.starts_with(prefix),
                (Code::Other, Some(code)) => !is_listed(table, code),
                (Code::Other, None) | (Code::Any, _) => true,
                (Code::Is(_) | Code::Begins(_), None) => false,
            };
            named && row.needle.is_none_or(|needle| message.contains(needle))
        })
    };
    find(|row| row.needle.is_some())
        .or_else(|| find(|row| row.needle.is_none() && matches!(row.code, Code::Is(_))))
        .or_else(|| find(|row| row.needle.is_none()))
        .map_or_else(|| status::by_status(status), |row| (row.kind, row.retry))
}

/// Whether a row without needle names this code.
fn is_listed(table: Table, code: &str) -> bool {
    rows(table).filter(|row| row.needle.is_none()).any(|row| match row.code {
        Code::Is(exact) => code == exact,
        Code::Begins(prefix) => code.starts_with(prefix),
        Code::Other | Code::Any => false,
    })
}

fn rows(table: Table) -> impl Iterator<Item = &'static Row> {
    table.iter().copied().flatten()
}
