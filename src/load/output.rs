//! A report file: opened before the run, so that a wrong path is noticed early, and written after it.
use crate::io_error::CannotWrite;
use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

pub(super) struct Output {
    path: PathBuf,
    file: File,
    /// Created by us and still empty.
    is_blank: bool,
}

impl Output {
    /// Opens the file for writing. Its content is kept until the report replaces it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn open(path: &Path) -> Result<Output, CannotWrite> {
        let is_blank = !path.exists();
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| CannotWrite::new(path, &error))?;
        Ok(Output { path: path.to_owned(), file, is_blank })
    }

    /// Writes the report.
    ///
    /// # Errors
    /// The report was written in part or not at all.
    pub(super) fn write(mut self, text: &str) -> Result<(), CannotWrite> {
        self.is_blank = false;
        // A pipe or a device cannot be truncated.
        let _ = self.file.set_len(0);
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.flush());
        written.map_err(|error| CannotWrite::new(&self.path, &error))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.is_blank {
            // The run failed; an empty file would look like a report.
            let _ = fs::remove_file(&self.path);
        }
    }
}
