//! The only access to environment variables and files: the process's own, or a map for tests.
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// The sources of the configuration besides flags.
pub trait Environment {
    /// All environment variables.
    fn variables(&self) -> Vec<(OsString, OsString)>;
    /// A whole file of at most `limit` bytes.
    ///
    /// # Errors
    /// Those of the file system; [`io::ErrorKind::FileTooLarge`] beyond the limit.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;
    /// Whether every user of the machine can read the file, including access to its folders.
    fn is_readable_by_all(&self, path: &Path) -> bool;
}

/// Environment and files of this process.
#[derive(Clone, Copy, Debug)]
pub struct Process;

impl Environment for Process {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    fn variables(&self) -> Vec<(OsString, OsString)> {
        std::env::vars_os().collect()
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // One byte more distinguishes a file of exactly this size from a larger one, and from `/dev/zero`.
        let read = File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
        if read as u64 > limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    }

    fn is_readable_by_all(&self, path: &Path) -> bool {
        // If any folder above is closed to others, the mode of the file does not matter.
        let Ok(path) = path.canonicalize() else { return false };
        let allows = |path: &Path, bit: u32| {
            path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & bit != 0)
        };
        allows(&path, READ_BY_OTHERS)
            && path.ancestors().skip(1).all(|folder| allows(folder, SEARCH_BY_OTHERS))
    }
}

/// Bits of a mode.
const READ_BY_OTHERS: u32 = 0o004;
const SEARCH_BY_OTHERS: u32 = 0o001;

/// An environment with files, for tests.
#[derive(Clone, Debug, Default)]
pub struct Map {
    variables: BTreeMap<OsString, OsString>,
    files: BTreeMap<PathBuf, Result<Vec<u8>, io::ErrorKind>>,
    readable_by_all: bool,
}

impl Map {
    /// Adds a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.into(), Ok(content.into()));
        self
    }

    /// Lets every user read the files.
    #[must_use]
    pub fn readable_by_all(mut self) -> Self {
        self.readable_by_all = true;
        self
    }

    /// Adds a file that cannot be read.
    #[must_use]
    pub fn broken_file(mut self, path: &str, error: io::ErrorKind) -> Self {
        self.files.insert(path.into(), Err(error));
        self
    }
}

impl Environment for Map {
    fn variables(&self) -> Vec<(OsString, OsString)> {
        self.variables.clone().into_iter().collect()
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        match self.files.get(path) {
            None => Err(io::ErrorKind::NotFound.into()),
            Some(Err(kind)) => Err((*kind).into()),
            Some(Ok(bytes)) if bytes.len() as u64 > limit => Err(io::ErrorKind::FileTooLarge.into()),
            Some(Ok(bytes)) => Ok(bytes.clone()),
        }
    }

    fn is_readable_by_all(&self, path: &Path) -> bool {
        self.readable_by_all && self.files.contains_key(path)
    }
}
