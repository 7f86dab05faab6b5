//! The steps of a renewal, and what comes of each.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::super::journal::{JournalEntry, UnsavedLogin};
use super::super::knowledge::Noted;
use super::super::status::RenewalResult;
use super::super::store::{Change, StoreContents, StoreError};
use super::super::timing::Proof;
use super::failure::RenewalFailure;
use crate::provider::{Grant, Login, Renewal, TokenError};
use crate::secret::Secret;

/// What is to be done next.
#[derive(Debug)]
pub(in crate::credentials) enum RenewalAction {
    /// Whether there is a store at all: [`RenewalEvent::StoreMissing`].
    LookForStore,
    /// Read the journal of the login in use: [`RenewalEvent::JournalRead`].
    ReadJournal,
    /// Look for an answer that was received and not saved; with `unfinished` in temporary files
    /// too: [`RenewalEvent::Leftovers`].
    ReadLeftovers { unfinished: bool },
    /// Keep a renewed login beside the journal: [`RenewalEvent::KeptBeside`].
    KeepBeside(UnsavedLogin),
    /// Make the new versions' files: [`RenewalEvent::Prepared`].
    Prepare,
    /// Note durably that this token is about to be sent: [`RenewalEvent::Noted`].
    Note(Secret, DateTime<Utc>),
    /// Ask the token endpoint, whatever happens meanwhile: [`RenewalEvent::Answered`].
    Ask(Ticket),
    /// Write the login to its store: [`RenewalEvent::Committed`].
    Commit(Box<Commit>),
    /// Read the files once more after this time: [`RenewalEvent::ReadAgain`].
    ReadAgain(Duration),
    /// Remove what of the journal is not needed any more: [`RenewalEvent::Tidied`].
    Tidy,
}

/// How long the locks are waited for when the keeper is to end.
#[derive(Debug)]
pub(in crate::credentials) enum LockPatience {
    /// Not at all: nothing is lost.
    UntilStopped,
    /// As long as it takes, unless this login is kept beside the journal.
    UnlessKept(Box<Login>),
    /// As long as it takes: a spent token's successor is not on disk yet.
    ToTheEnd,
}

/// What will be sent to the token endpoint.
#[derive(Debug)]
pub(in crate::credentials) struct Ticket {
    login: Login,
    renewal: Renewal,
}

impl Ticket {
    /// The access token, for which a key is minted.
    pub(super) fn mint(login: Login) -> Self {
        let renewal = Renewal::Mint;
        Self { login, renewal }
    }

    /// The refresh token, which is noted.
    pub(super) fn refresh(login: Login, _: Noted) -> Self {
        let renewal = Renewal::Refresh;
        Self { login, renewal }
    }

    pub(in crate::credentials) fn login(&self) -> &Login {
        &self.login
    }

    pub(in crate::credentials) fn renewal(&self) -> Renewal {
        self.renewal
    }
}

/// What is written.
#[derive(Debug, Clone)]
pub(in crate::credentials) struct Commit {
    /// The login whose tokens are replaced or dead.
    pub(in crate::credentials) old: Login,
    pub(in crate::credentials) login: Login,
    pub(in crate::credentials) mirror: Option<Login>,
    pub(in crate::credentials) change: Change,
    /// The tokens that were refused.
    pub(in crate::credentials) dead: Vec<Secret>,
}

/// What came of a deed. Where the files were read or written, with what they hold now.
#[derive(Debug)]
pub(in crate::credentials) enum RenewalEvent {
    /// Or why there is no login.
    Locked(Result<StoreContents, &'static str>),
    StoreMissing(Result<bool, StoreError>),
    JournalRead(Result<Option<JournalEntry>, StoreError>),
    Leftovers(Result<Leftovers, StoreError>),
    KeptBeside,
    Prepared(Result<(), StoreError>),
    Noted(Result<(), StoreError>),
    Answered(Result<Grant, TokenError>, Proof),
    Committed(Result<(), StoreError>, Option<StoreContents>),
    ReadAgain(Result<(), StoreError>, Option<StoreContents>),
    Tidied,
}

/// What a killed process has left of an answer.
#[derive(Debug, Default)]
pub(in crate::credentials) struct Leftovers {
    pub(in crate::credentials) kept: Option<UnsavedLogin>,
    /// A refresh that was begun while the login was stored in another place.
    pub(in crate::credentials) begun: Option<JournalEntry>,
    pub(in crate::credentials) logins: Vec<Login>,
    pub(in crate::credentials) mirrors: Vec<Login>,
}

/// The next phase.
#[derive(Debug)]
pub(in crate::credentials) enum RenewalStep {
    Do(RenewalAction),
    End(Result<RenewalOutcome, RenewalFailure>),
}

/// What a renewal came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::credentials) struct RenewalOutcome {
    pub(in crate::credentials) result: Option<RenewalResult>,
    /// A dead login was taken out of the store.
    pub(in crate::credentials) taken_out: bool,
}
