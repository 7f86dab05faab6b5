//! The events that change what is known of a login.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::super::journal::{JournalEntry, RefreshJournal};
use crate::provider::Login;
use crate::secret::Secret;

/// The events that change what is known.
#[derive(Debug)]
pub(in crate::credentials) enum LoginEvent<'e> {
    /// The login in use is in this file.
    Found(LoginFile),
    /// Its journal has an unfinished refresh.
    Entered(Option<JournalEntry>),
    /// There is no login, or none that can be used; `None` if there is no file of it either.
    NoLogin(Option<&'e str>),
    /// The login can't be used with the current settings.
    Elsewhere(&'e str),
    /// This login of the store, or that waits for it, is in use from now on.
    Taken {
        login: &'e Login,
        now: DateTime<Utc>,
        /// How long a grant lasts.
        life: Duration,
    },
    /// A refresh token is about to be sent: it may be spent from now on.
    Begun(JournalEntry),
    /// What was begun is known to have ended: the token was not spent, or its successor is on disk.
    Settled,
    /// Another login has replaced the one whose refresh was begun: if it was obtained after that, the token counts
    /// as spent.
    Overtaken { obtained_at: Option<DateTime<Utc>> },
    /// The provider has said of these tokens that they were used before.
    Reused(&'e [Secret]),
    /// `login` was granted for `spent` tokens, or found as the answer to them.
    Granted {
        login: Login,
        spent: [Option<Secret>; 2],
    },
    /// The renewed login was saved.
    Saved,
    /// The user was notified that the renewed login is not saved.
    ToldUnsaved,
    /// Someone has renewed the login that waits to be saved, or made another one.
    Superseded,
    /// The store was put back to a spent token: the newer login waits to be saved again.
    PutBack,
    /// The provider calls the tokens dead.
    Refused,
    /// The user has taken all logins out of this file.
    Forgotten,
    /// The user has made another login in this file. Those in rows of the pool stay.
    Replaced,
    /// A renewed login is kept beside this journal now.
    KeptBeside,
    /// The journal was tidied.
    Tidied,
}

/// The file that holds the login in use.
#[derive(Debug, Clone)]
pub(in crate::credentials) struct LoginFile {
    pub(in crate::credentials) file: PathBuf,
    /// Ours alone, not shared with Hermes Agent.
    pub(in crate::credentials) own: bool,
    pub(in crate::credentials) journal: RefreshJournal,
    /// Its journal was read, so that it is known which token may be spent.
    pub(super) entered: bool,
}

impl LoginFile {
    /// The file, whose journal was not read yet.
    pub(in crate::credentials) fn new(file: &Path, own: bool, journal: RefreshJournal) -> Self {
        Self {
            file: file.to_owned(),
            own,
            journal,
            entered: false,
        }
    }
}
