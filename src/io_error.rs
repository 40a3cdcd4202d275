//! Input and output errors as messages for people.
use std::{
    io,
    path::{Path, PathBuf},
};

/// A file or a folder cannot be created or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {reason}", path.display())]
pub struct CannotWrite {
    path: PathBuf,
    reason: String,
}

impl CannotWrite {
    pub fn new(path: &Path, error: &io::Error) -> Self {
        CannotWrite { path: path.to_owned(), reason: describe(error) }
    }
}

/// Message of an error, in lower case and without its number: `permission denied`.
pub fn describe(error: &io::Error) -> String {
    // The library's message for a kind without a system error is "entity not found".
    if error.kind() == io::ErrorKind::NotFound {
        return "no such file or directory".to_owned();
    }
    let text = error.to_string();
    let text = text.split(" (os error ").next().unwrap_or_default();
    let mut chars = text.chars();
    let (first, second) = (chars.next(), chars.next());
    match first {
        Some(first) if second.is_some_and(char::is_lowercase) => {
            format!("{}{}", first.to_lowercase(), &text[first.len_utf8()..])
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::describe;
    use std::io::{Error, ErrorKind};

    #[test]
    fn errors_have_plain_messages() {
        for (error, text) in [
            (Error::from_raw_os_error(2), "no such file or directory"),
            (ErrorKind::NotFound.into(), "no such file or directory"),
            (Error::from_raw_os_error(13), "permission denied"),
            (ErrorKind::PermissionDenied.into(), "permission denied"),
            (Error::from_raw_os_error(98), "address already in use"),
            (Error::from_raw_os_error(111), "connection refused"),
            (ErrorKind::FileTooLarge.into(), "file too large"),
            (Error::other("TLS says no"), "TLS says no"),
            (Error::other(""), ""),
        ] {
            assert_eq!(describe(&error), text, "{error:?}");
        }
    }
}
