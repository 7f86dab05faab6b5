//! Why the counts can't be read or written.

use std::path::{Path, PathBuf};

/// Why the counts can't be read or written.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum UsageStoreFault {
    /// SQLite can't.
    #[error("{file}: {source}", file = .1.display(), source = .0)]
    Sqlite(#[source] rusqlite::Error, PathBuf),
    /// The file system can't.
    #[error("{file}: {source}", file = .1.display(), source = .0)]
    Io(#[source] std::io::Error, PathBuf),
    /// It may belong to any user.
    #[error("{file} belongs to somebody else, or others may write it; remove it", file = .0.display())]
    NotOurs(PathBuf),
    /// It was written by a later version.
    #[error("{file} was written by a newer hermes-proxyd", file = .0.display())]
    Newer(PathBuf),
}

pub(super) fn io(error: std::io::Error, file: &Path) -> UsageStoreFault {
    UsageStoreFault::Io(error, file.to_owned())
}
