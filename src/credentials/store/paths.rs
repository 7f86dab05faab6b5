//! The paths of a store's files.

use std::path::{Path, PathBuf};

use crate::paths::Environment;

/// The paths of the files: Hermes Agent's, and ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFiles {
    /// The store of logins that are not shared with Hermes Agent.
    pub own: PathBuf,
    /// The folder of the journal of tokens that are being spent.
    pub journal: PathBuf,
    /// The store of the profile in use.
    pub active: PathBuf,
    /// The store that a profile without its own block reads; the same as `active` without a
    /// profile.
    pub global: PathBuf,
    /// The folder of the mirrors.
    pub shared: PathBuf,
}

impl StoreFiles {
    /// The home of the profile in use.
    pub fn home(&self) -> &Path {
        self.active.parent().unwrap_or(&self.active)
    }

    /// The folder of the ledgers of spent refresh tokens, beside the journal's.
    pub fn spent(&self) -> PathBuf {
        self.journal.with_file_name("spent")
    }

    /// The files of the Hermes home `home`, and ours in the folder `state`.
    pub fn locate(environment: &Environment, home: &Path, state: &Path) -> Self {
        Self {
            own: state.join("auth.json"),
            journal: state.join("journal"),
            active: home.join("auth.json"),
            global: environment.hermes_root(home).join("auth.json"),
            shared: environment.hermes_shared_dir(home),
        }
    }
}
