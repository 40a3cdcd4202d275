//! A file that a report goes to: opened before the run, so that a wrong name costs no run, and filled after it.
use crate::io_error::CannotWrite;
use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

pub(super) struct Output {
    path: PathBuf,
    file: File,
    /// It was not there before, and has nothing in it yet.
    is_blank: bool,
}

impl Output {
    /// Opens it for writing. What is in it stays until there is something to take its place.
    ///
    /// # Errors
    /// It cannot be written to.
    pub(super) fn open(path: &Path) -> Result<Output, CannotWrite> {
        let is_blank = !path.exists();
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| CannotWrite::new(path, &error))?;
        Ok(Output { path: path.to_owned(), file, is_blank })
    }

    /// Puts the report in.
    ///
    /// # Errors
    /// Part of it, or nothing, was written.
    pub(super) fn write(mut self, text: &str) -> Result<(), CannotWrite> {
        self.is_blank = false;
        // A pipe or a device has no length to be set.
        let _ = self.file.set_len(0);
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.flush());
        written.map_err(|error| CannotWrite::new(&self.path, &error))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.is_blank {
            // The run came to nothing; an empty report would only look like one.
            let _ = fs::remove_file(&self.path);
        }
    }
}
