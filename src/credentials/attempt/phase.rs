//! How far a renewal has come, and what it has found.

use chrono::{DateTime, Utc};

use super::super::journal::JournalEntry;
use super::super::status::RenewalResult;
use super::super::store::{Change, StoreContents, StoreError};
use super::cause::RenewalCause;
use super::deed::{Commit, RenewalAction, RenewalOutcome};
use super::failure::RenewalFailure;
use crate::provider::{Login, Merge, Renewal};
use crate::secret::Secret;

/// A renewal under way.
#[derive(Debug)]
pub(in crate::credentials) struct RenewalAttempt {
    pub(super) cause: RenewalCause,
    pub(super) phase: Phase,
}

#[derive(Debug)]
pub(super) enum Phase {
    Locking,
    Missing(&'static str),
    Entering(Box<Opened>),
    Salvaging(Box<Opened>),
    Salvaged(Box<Opened>),
    Working(Box<LockedLogin>, Doing),
    Tidying(Result<RenewalOutcome, RenewalFailure>),
}

/// What is being done with the login.
#[derive(Debug)]
pub(super) enum Doing {
    /// Writing the login that waited to be saved.
    Saving,
    /// Keeping it beside the journal.
    Keeping,
    Preparing(Renewal),
    Noting(JournalEntry),
    Asking,
    /// Writing what was granted.
    Storing(Renewal),
    /// Writing another program's renewal to the files that lack it.
    Adopting,
    /// Looking whether another program has renewed what the provider refuses, for the so manieth time.
    Doubting(usize, Rejection),
    /// Removing the refused tokens.
    Ending(Rejection),
}

/// Why the provider calls a grant dead.
#[derive(Debug)]
pub(super) struct Rejection {
    pub(super) code: String,
    pub(super) description: String,
}

impl Rejection {
    /// Whether the token was used before, for providers that say so.
    pub(super) fn is_reuse(&self) -> bool {
        let said = format!("{} {}", self.code, self.description).to_ascii_lowercase();
        let words = [
            "reuse",
            "already used",
            "already been used",
            "already redeemed",
        ];
        words.iter().any(|words| said.contains(words))
    }
}

/// The files' contents under the locks.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) found: StoreContents,
    pub(super) login: Login,
    /// Why the journal can't be read.
    pub(super) unentered: Option<StoreError>,
}

/// The login that a renewal is about, while the locks are held.
#[derive(Debug)]
pub(super) struct LockedLogin {
    /// What the files hold; `None` once they hang.
    pub(super) found: Option<StoreContents>,
    /// The current login.
    pub(super) login: Login,
    pub(super) access_token: AccessToken,
    /// Which of the store's login and the mirror was newer.
    pub(super) merge: Merge,
    /// The login is one that this process was granted before and could not write.
    pub(super) ours: bool,
    /// Whether anything was granted, and the bearer that it gave.
    pub(super) granted: bool,
    pub(super) granted_bearer: Option<Secret>,
    /// An earlier refresh with the same token was cut off.
    pub(super) doubted: bool,
    /// Why the journal can't be read: then what waits to be saved is saved, and nothing is asked for.
    pub(super) unentered: Option<StoreError>,
    /// The refresh tokens that the provider has refused.
    pub(super) dead: Vec<Secret>,
    pub(super) steps: usize,
}

/// What minting has revealed about the access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AccessToken {
    Untried,
    /// Refused when a key was to be minted: it is refreshed, once.
    Refused,
    Replaced,
}

/// The next phase with its deed, or the end.
pub(super) type PhaseResult = Result<NextPhase, RenewalFailure>;

#[derive(Debug)]
pub(super) enum NextPhase {
    Wait(Phase, RenewalAction),
    Done(RenewalOutcome),
}

pub(super) fn done(result: Option<RenewalResult>) -> NextPhase {
    NextPhase::Done(RenewalOutcome {
        result,
        taken_out: false,
    })
}

/// The result of the work on the login, whatever its source. The locks are still held: another
/// process may be about to note its own token.
pub(super) fn tidied(turn: PhaseResult) -> PhaseResult {
    let result = match turn {
        Ok(NextPhase::Done(outcome)) => Ok(outcome),
        Err(trouble) => Err(trouble),
        wait @ Ok(NextPhase::Wait(..)) => return wait,
    };
    Ok(NextPhase::Wait(Phase::Tidying(result), RenewalAction::Tidy))
}

impl LockedLogin {
    pub(super) fn doing(self: Box<Self>, doing: Doing, deed: RenewalAction) -> NextPhase {
        NextPhase::Wait(Phase::Working(self, doing), deed)
    }

    pub(super) fn is_broken(&self) -> bool {
        let found = self.found.as_ref();
        found.is_some_and(|found| found.broken.is_some())
    }

    /// Writes the login; pool entries and mirrors with the stored tokens follow.
    pub(super) fn commit(self: Box<Self>, doing: Doing, now: DateTime<Utc>) -> NextPhase {
        let old = self.found.as_ref().map_or_else(
            || Login::empty(self.login.layout()),
            |found| found.login.clone(),
        );
        let commit = Commit {
            old,
            login: self.login.clone(),
            mirror: self.login.mirror(now),
            change: Change::Rotated,
            dead: Vec::new(),
        };
        self.doing(doing, RenewalAction::Commit(Box::new(commit)))
    }
}
