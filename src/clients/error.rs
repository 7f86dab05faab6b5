//! Errors of client keys.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::files::{chmod_private, chown_to};
use crate::suggest::did_you_mean;

/// Why client keys can't be read or changed. The file is still whole and unchanged, and the keys in force stay the
/// same.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// The file exists but can't be read. This never counts as an empty file.
    #[error(
        "{file} can't be read ({source}); make it a file that you can read, or move it away and \
         add the keys again with `hermesctl clients add NAME`"
    )]
    Read {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Other users may read or write the file.
    #[error("other users can read or write {file} (mode {mode:04o}); run `chmod 600 {file}`")]
    Exposed {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file belongs to another user.
    #[error(
        "{file} belongs to uid {owner} and hermes-proxyd runs as uid {ours}; \
         run it as that user, or give the file to yours with chown"
    )]
    Foreign {
        /// The file.
        file: PathBuf,
        /// The file's owner.
        owner: u32,
        /// The user that this process runs as.
        ours: u32,
    },
    /// The content is not a file of client keys.
    #[error(
        "{file} is not a client key file ({reason}); it was not changed. Correct it, or move it \
         away and add the keys again with `hermesctl clients add NAME`"
    )]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong, without any hash.
        reason: String,
    },
    /// The file has another format version.
    #[error(
        "{file} has version {version}, and this hermes-proxyd knows version 1; use the \
         hermes-proxyd that wrote it"
    )]
    Version {
        /// The file.
        file: PathBuf,
        /// The version in the file.
        version: String,
    },
    /// The lock file can't be used.
    #[error("the lock file {file} can't be used ({source}); make it and its folder writable")]
    Lock {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Another process holds the lock.
    #[error("another process has held {file} for over {} s; try again when it is \
        done", limit.as_secs())]
    LockHeld {
        /// The file.
        file: PathBuf,
        /// How long this process waited.
        limit: Duration,
    },
    /// The file system hung during a change, which may still take effect.
    #[error("the file system of {file} hangs; the change may be made when it answers")]
    Unfinished {
        /// The file.
        file: PathBuf,
    },
    /// The new version can't be written.
    #[error("{file} can't be written ({source}); make its folder writable and free some space")]
    Write {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The client name is not valid.
    #[error(
        "{name:?} can't be a client's name: it has 1 to 64 lower-case letters, digits, `-`, `_` \
         and `.`, and begins with a letter or digit"
    )]
    InvalidName {
        /// The name, shortened.
        name: String,
    },
    /// A limit is not valid.
    #[error("{what}")]
    InvalidLimit {
        /// What is wrong with it.
        what: String,
    },
    /// The client name is taken.
    #[error("the client key {name} already exists")]
    Exists {
        /// The name.
        name: String,
    },
    /// No client has this name.
    #[error("there is no client key {name:?}{}", suggestion(similar.as_deref()))]
    Unknown {
        /// The name, shortened.
        name: String,
        /// The closest existing name.
        similar: Option<String>,
    },
    /// The operating system provided no random bytes.
    #[error("the system could not provide random bytes for a key ({0})")]
    Random(String),
    /// The file task failed.
    #[error("the work on the client keys failed; see the log of hermes-proxyd")]
    BrokeOff,
}

fn suggestion(similar: Option<&str>) -> String {
    similar.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

impl ClientsError {
    /// The command that makes the file usable again without losing a key, if there is one.
    pub fn command(&self) -> Option<String> {
        match self {
            Self::Exposed { file, .. } => Some(chmod_private(file)),
            Self::Foreign { file, ours, .. } => Some(chown_to(*ours, file)),
            Self::Read { file, source } if source.kind() == ErrorKind::PermissionDenied => {
                permit(file)
            }
            Self::Read { .. }
            | Self::Malformed { .. }
            | Self::Version { .. }
            | Self::Lock { .. }
            | Self::LockHeld { .. }
            | Self::Unfinished { .. }
            | Self::Write { .. }
            | Self::InvalidName { .. }
            | Self::InvalidLimit { .. }
            | Self::Exists { .. }
            | Self::Unknown { .. }
            | Self::Random(_)
            | Self::BrokeOff => None,
        }
    }

    /// The error for a name that is not among `names`, with the closest match.
    pub(super) fn unknown<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Self {
        let name = shortened(name);
        Self::Unknown {
            similar: did_you_mean(&name, names),
            name,
        }
    }
}

/// A remedy for a file that another user owns or that its owner can't read.
#[cfg(unix)]
fn permit(file: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let (there, ours) = (
        file.symlink_metadata().ok()?,
        rustix::process::geteuid().as_raw(),
    );
    if there.uid() != ours {
        return Some(chown_to(ours, file));
    }
    Some(chmod_private(file))
}

#[cfg(not(unix))]
fn permit(_file: &Path) -> Option<String> {
    None
}

/// Shortens a text for a message.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}
