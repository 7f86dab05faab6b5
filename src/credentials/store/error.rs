//! Errors of a credential store.

use std::path::PathBuf;
use std::time::Duration;

/// What is wrong with the store. What it held before is still there, whole.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It exists, but can't be read: never the same as empty.
    #[error("{file} can't be read ({source}); it was not changed")]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It exists, but is not a JSON object.
    #[error("{file} is not a credential store ({reason}); it was not changed")]
    Parse {
        /// The file.
        file: PathBuf,
        /// Why, without any of its content.
        reason: String,
    },
    /// The lock file can't be used.
    #[error("the lock file {file} can't be used ({source})")]
    Lock {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process holds the lock.
    #[error("another process has held {file} for over {} s", limit.as_secs())]
    LockHeld {
        /// The file.
        file: PathBuf,
        /// How long it was waited for.
        limit: Duration,
    },
    /// It is rewritten while it is being read or judged.
    #[error("{file} keeps being changed by another program")]
    Restless {
        /// The file.
        file: PathBuf,
    },
    /// The login that was meant is not the one in use any more.
    #[error("the login in use is now the one in {file}, not the one you meant")]
    Moved {
        /// The file.
        file: PathBuf,
    },
    /// The row of the login is not there any more.
    #[error("the login's row in {file} was removed while it was renewed")]
    RowGone {
        /// The file.
        file: PathBuf,
    },
    /// The keeper of the login is to end, and nothing was begun.
    #[error("hermes-proxyd is stopping")]
    Stopping,
    /// A renewed login waits in memory to be written there.
    #[error("the renewed login in use can't be saved yet; `hermesctl proxy status` shows why")]
    Waiting,
    /// A new version would belong to a different user than the old one.
    #[error(
        "{file} belongs to uid {owner} and hermes-proxyd runs as uid {ours}; \
         run it as that user, or give the file to yours with chown"
    )]
    Foreign {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Our own user.
        ours: u32,
    },
    /// Everyone may write it, so its login can't be trusted.
    #[error(
        "everyone on this machine can write {file} (mode {mode:04o}), so it is not used; check \
         that the login in it is yours, then run `chmod 600 {file}`"
    )]
    Writable {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A new version can't be written beside it.
    #[error("{file} can't be written ({source})")]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl StoreError {
    /// What is wrong, for messages that also show the command.
    pub fn cause(&self) -> String {
        let text = self.to_string();
        if !matches!(self, Self::Writable { .. }) {
            return text;
        }
        let cause = text.split_once(", then run `");
        cause.map_or_else(|| text.clone(), |(cause, _)| cause.to_owned())
    }
}
