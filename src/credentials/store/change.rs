//! The changes of a login's files: a rotation, a new login, a logout, and what came of them.

use std::path::PathBuf;

use chrono::{DateTime, Utc};

use crate::provider::Login;

/// A commit's effects besides writing the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::credentials) enum Change {
    /// Pool entries with the old tokens get the new ones.
    Rotated,
    /// The same, and the user has logged in: the store notes that for Hermes Agent.
    LoggedIn,
    /// Pool entries and mirrors with the dead tokens are removed.
    Quarantined,
}

/// A login that takes the place of another one.
#[derive(Debug, Clone, Copy)]
pub(in crate::credentials) struct LoginUpdate<'l> {
    /// The login whose tokens are replaced or dead; entries and mirrors that hold them follow.
    pub(in crate::credentials) old: &'l Login,
    pub(in crate::credentials) login: &'l Login,
    pub(in crate::credentials) change: Change,
    pub(in crate::credentials) now: DateTime<Utc>,
}

/// Where a new login is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginDestination {
    /// In Hermes Agent's store, for both programs.
    Shared,
    /// In our own store.
    Own,
}

/// A login that was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// The file that holds it.
    pub file: PathBuf,
    /// Its name, if another login got its label first.
    pub label: Option<String>,
    /// What another login of the same account is called.
    pub same_account_as: Option<String>,
}

/// How much a logout removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All logins of the provider.
    All,
    /// The provider's own login alone, with the rows that hold it too.
    Main,
}

/// What a logout removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many logins there were.
    pub logins: usize,
    /// The files that held the login.
    pub files: Vec<PathBuf>,
    /// Whether it was Hermes Agent's login too.
    pub shared: bool,
    /// The file with another login that is used from now on.
    pub next: Option<PathBuf>,
    /// Copies of broken files that may hold tokens still; others have made them, so they stay.
    pub copies: Vec<PathBuf>,
}
