//! One renewal: lock, read again, adopt another program's renewal, or spend the token, persist the
//! answer durably, and only then publish it.
//!
//! Pure: each turn returns the next step, a [`Deed`], and receives its result, an [`RenewalEvent`]. There is one
//! deed at a time, and the next turn comes when it has ended. So a token is sent by [`Deed::Ask`] alone,
//! whose [`Ticket`] takes the journal's word that it may be spent, and a grant is unsaved from its receipt
//! until [`Deed::Commit`] worked.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::core::{Core, NoLogin};
use super::journal::{JournalEntry, UnsavedLogin};
use super::knowledge::{LoginEvent, LoginFile, Noted, Renewed};
use super::merge::{self, with_mirror};
use super::notice::NoticeKind;
use super::status::RenewalResult;
use super::store::{Change, StoreContents, StoreError};
use super::timing::{Proof, Receipt};
use crate::clock;
use crate::provider::{
    Assessment, Credential, Grant, Login, LoginEndReason, Merge, Renewal, TokenError,
};
use crate::secret::Secret;

/// The most steps of a renewal: a refresh, then a minted key, and each once more if its starting
/// point turned out to be spent.
const STEPS: usize = 4;
/// Between a refused grant and each of the looks at the store that follow.
const DOUBT: [Duration; 3] = [
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
];

/// Why a renewal came to nothing for now.
#[derive(Debug, thiserror::Error)]
pub(super) enum RenewalFailure {
    #[error("the credential store is gone; the renewed login is kept in memory only")]
    Gone,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Unreadable(Arc<StoreError>),
    #[error("{what}")]
    Endpoint {
        what: String,
        retry_after: Option<Duration>,
    },
    #[error("{what}")]
    AnswerLost {
        what: String,
        retry_after: Option<Duration>,
    },
    #[error("another login is using the same refresh token right now")]
    Claimed,
    #[error("a renewal reached an impossible state (a defect in hermes-proxyd)")]
    Defect,
}

/// What a renewal is for.
#[derive(Debug, Clone, Default)]
pub(super) struct RenewalCause {
    /// The provider refuses this bearer, or a person wants another one.
    pub(super) refused: Option<Secret>,
    /// A person asks, and may whenever they like.
    pub(super) by_hand: bool,
    /// The answer of the previous attempt was lost: the token may be spent.
    pub(super) answer_lost: bool,
    /// Fingerprints of the tokens of the login that a person means; `None` for the current one.
    pub(super) meant: Option<Vec<String>>,
}

/// What one turn of a renewal goes by.
#[derive(Debug, Clone, Copy)]
struct RenewalTurn<'t> {
    cause: &'t RenewalCause,
    now: DateTime<Utc>,
}

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Deed {
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
pub(super) enum LockPatience {
    /// Not at all: nothing is lost.
    UntilStopped,
    /// As long as it takes, unless this login is kept beside the journal.
    UnlessKept(Box<Login>),
    /// As long as it takes: a spent token's successor is not on disk yet.
    ToTheEnd,
}

/// What will be sent to the token endpoint.
#[derive(Debug)]
pub(super) struct Ticket {
    login: Login,
    renewal: Renewal,
}

impl Ticket {
    /// The access token, for which a key is minted.
    fn mint(login: Login) -> Self {
        let renewal = Renewal::Mint;
        Self { login, renewal }
    }

    /// The refresh token, which is noted.
    fn refresh(login: Login, _: Noted) -> Self {
        let renewal = Renewal::Refresh;
        Self { login, renewal }
    }

    pub(super) fn login(&self) -> &Login {
        &self.login
    }

    pub(super) fn renewal(&self) -> Renewal {
        self.renewal
    }
}

/// What is written.
#[derive(Debug, Clone)]
pub(super) struct Commit {
    /// The login whose tokens are replaced or dead.
    pub(super) old: Login,
    pub(super) login: Login,
    pub(super) mirror: Option<Login>,
    pub(super) change: Change,
    /// The tokens that were refused.
    pub(super) dead: Vec<Secret>,
}

/// What came of a deed. Where the files were read or written, with what they hold now.
#[derive(Debug)]
pub(super) enum RenewalEvent {
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
pub(super) struct Leftovers {
    pub(super) kept: Option<UnsavedLogin>,
    /// A refresh that was begun while the login was stored in another place.
    pub(super) begun: Option<JournalEntry>,
    pub(super) logins: Vec<Login>,
    pub(super) mirrors: Vec<Login>,
}

/// The next phase.
#[derive(Debug)]
pub(super) enum RenewalStep {
    Do(Deed),
    End(Result<RenewalOutcome, RenewalFailure>),
}

/// What a renewal came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RenewalOutcome {
    pub(super) result: Option<RenewalResult>,
    /// A dead login was taken out of the store.
    pub(super) taken_out: bool,
}

/// A renewal under way.
#[derive(Debug)]
pub(super) struct RenewalAttempt {
    cause: RenewalCause,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
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
enum Doing {
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
struct Rejection {
    code: String,
    description: String,
}

impl Rejection {
    /// Whether the token was used before, for providers that say so.
    fn is_reuse(&self) -> bool {
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
struct Opened {
    found: StoreContents,
    login: Login,
    /// Why the journal can't be read.
    unentered: Option<StoreError>,
}

/// The login that a renewal is about, while the locks are held.
#[derive(Debug)]
struct LockedLogin {
    /// What the files hold; `None` once they hang.
    found: Option<StoreContents>,
    /// The current login.
    login: Login,
    access_token: AccessToken,
    /// Which of the store's login and the mirror was newer.
    merge: Merge,
    /// The login is one that this process was granted before and could not write.
    ours: bool,
    /// Whether anything was granted, and the bearer that it gave.
    granted: bool,
    granted_bearer: Option<Secret>,
    /// An earlier refresh with the same token was cut off.
    doubted: bool,
    /// Why the journal can't be read: then what waits to be saved is saved, and nothing is asked for.
    unentered: Option<StoreError>,
    /// The refresh tokens that the provider has refused.
    dead: Vec<Secret>,
    steps: usize,
}

/// What minting has revealed about the access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AccessToken {
    Untried,
    /// Refused when a key was to be minted: it is refreshed, once.
    Refused,
    Replaced,
}

/// The next phase with its deed, or the end.
type PhaseResult = Result<NextPhase, RenewalFailure>;

#[derive(Debug)]
enum NextPhase {
    Wait(Phase, Deed),
    Done(RenewalOutcome),
}

fn done(result: Option<RenewalResult>) -> NextPhase {
    NextPhase::Done(RenewalOutcome {
        result,
        taken_out: false,
    })
}

fn refused_as_granted() -> RenewalFailure {
    RenewalFailure::Endpoint {
        what: "the provider refuses the tokens that it grants".to_owned(),
        retry_after: None,
    }
}

/// The result of the work on the login, whatever its source. The locks are still held: another
/// process may be about to note its own token.
fn tidied(turn: PhaseResult) -> PhaseResult {
    let result = match turn {
        Ok(NextPhase::Done(outcome)) => Ok(outcome),
        Err(trouble) => Err(trouble),
        wait @ Ok(NextPhase::Wait(..)) => return wait,
    };
    Ok(NextPhase::Wait(Phase::Tidying(result), Deed::Tidy))
}

impl LockedLogin {
    fn doing(self: Box<Self>, doing: Doing, deed: Deed) -> NextPhase {
        NextPhase::Wait(Phase::Working(self, doing), deed)
    }

    fn is_broken(&self) -> bool {
        let found = self.found.as_ref();
        found.is_some_and(|found| found.broken.is_some())
    }

    /// Writes the login; pool entries and mirrors with the stored tokens follow.
    fn commit(self: Box<Self>, doing: Doing, now: DateTime<Utc>) -> NextPhase {
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
        self.doing(doing, Deed::Commit(Box::new(commit)))
    }
}

impl Core {
    /// Begins a renewal: of what is due, or for `cause`. It is never cancelled half-way. The locks come
    /// first, and are held to its end: [`RenewalEvent::Locked`].
    pub(super) fn begin(&mut self, cause: RenewalCause) -> LockPatience {
        let patience = match self.knowledge.unsaved() {
            _ if cause.answer_lost => LockPatience::ToTheEnd,
            Some(unsaved) => LockPatience::UnlessKept(Box::new(unsaved.login.clone())),
            None => LockPatience::UntilStopped,
        };
        let phase = Phase::Locking;
        self.knowledge.release();
        self.attempt = Some(RenewalAttempt { cause, phase });
        patience
    }

    /// Continues with the last deed's result. `seat` has the place of the login that was found.
    pub(super) fn on(
        &mut self,
        event: RenewalEvent,
        seat: impl Fn(&StoreContents) -> LoginFile,
        now: DateTime<Utc>,
    ) -> RenewalStep {
        let Some(RenewalAttempt { cause, phase }) = self.attempt.take() else {
            return RenewalStep::End(Err(RenewalFailure::Defect));
        };
        let turn = RenewalTurn { cause: &cause, now };
        let result = self.turn(turn, phase, event, seat);
        if !matches!(result, Ok(NextPhase::Wait(Phase::Working(..), _))) {
            self.knowledge.release();
        }
        match result {
            Ok(NextPhase::Wait(phase, deed)) => {
                self.attempt = Some(RenewalAttempt { cause, phase });
                RenewalStep::Do(deed)
            }
            Ok(NextPhase::Done(outcome)) => RenewalStep::End(Ok(outcome)),
            Err(trouble) => RenewalStep::End(Err(trouble)),
        }
    }

    fn turn(
        &mut self,
        turn: RenewalTurn<'_>,
        phase: Phase,
        event: RenewalEvent,
        seat: impl Fn(&StoreContents) -> LoginFile,
    ) -> PhaseResult {
        match (phase, event) {
            (Phase::Locking, RenewalEvent::Locked(found)) => {
                self.status.renewing = true;
                match found {
                    Ok(found) => self.opened(turn, found, seat),
                    Err(reason) if self.knowledge.unsaved().is_some() => {
                        Ok(NextPhase::Wait(Phase::Missing(reason), Deed::LookForStore))
                    }
                    Err(reason) => {
                        self.no_login(NoLogin::Gone(reason), turn.now);
                        Ok(done(None))
                    }
                }
            }
            (Phase::Missing(reason), RenewalEvent::StoreMissing(missing)) => {
                if missing? {
                    return Err(RenewalFailure::Gone);
                }
                self.no_login(NoLogin::Gone(reason), turn.now);
                Ok(done(None))
            }
            (Phase::Entering(mut opened), RenewalEvent::JournalRead(read)) => {
                opened.unentered = self.entered(read);
                self.entered_with(turn, opened)
            }
            (Phase::Salvaging(opened), RenewalEvent::Leftovers(leftovers)) => {
                self.salvage(turn, opened, leftovers?)
            }
            (Phase::Salvaged(opened), RenewalEvent::KeptBeside) => self.start(turn, *opened),
            (Phase::Working(work, doing), event) => tidied(self.worked(turn, work, doing, event)),
            (Phase::Tidying(result), RenewalEvent::Tidied) => result.map(NextPhase::Done),
            _ => Err(RenewalFailure::Defect),
        }
    }

    /// The locks are held, and the store has a login.
    fn opened(
        &mut self,
        turn: RenewalTurn<'_>,
        found: StoreContents,
        seat: impl Fn(&StoreContents) -> LoginFile,
    ) -> PhaseResult {
        let mut login = found.login.clone();
        if let Some(error) = &found.broken {
            let unsaved = self.knowledge.unsaved();
            if !unsaved.is_none_or(|unsaved| unsaved.still_stands(&login)) {
                return Err(RenewalFailure::Unreadable(error.clone()));
            }
            self.knowledge.keep_age(&mut login);
        }
        self.knowledge.on(LoginEvent::Found(seat(&found)));
        let opened = Box::new(Opened {
            found,
            login,
            unentered: None,
        });
        if self.knowledge.is_unentered() {
            return Ok(NextPhase::Wait(Phase::Entering(opened), Deed::ReadJournal));
        }
        self.entered_with(turn, opened)
    }

    /// It is known which token may be spent, or why that is unknown.
    fn entered_with(&mut self, turn: RenewalTurn<'_>, mut opened: Box<Opened>) -> PhaseResult {
        self.notice_put_back(&opened.login);
        if self.knowledge.unsaved().is_some() {
            return self.start(turn, *opened);
        }
        if let Some(error) = opened.unentered.take() {
            return Err(error.into());
        }
        if opened.login.refresh_token().is_none() {
            return self.start(turn, *opened);
        }
        let unfinished = self.knowledge.is_suspect(&opened.login);
        let deed = Deed::ReadLeftovers { unfinished };
        Ok(NextPhase::Wait(Phase::Salvaging(opened), deed))
    }

    /// A refresh of the stored token was cut off. If that happened between writing the answer and
    /// renaming the file, the answer is still beside the store.
    fn salvage(
        &mut self,
        turn: RenewalTurn<'_>,
        opened: Box<Opened>,
        leftovers: Leftovers,
    ) -> PhaseResult {
        let stored = &opened.login;
        let Some(spent) = stored.refresh_token() else {
            return self.start(turn, *opened);
        };
        if leftovers.begun.is_some() && !self.knowledge.is_suspect(stored) {
            self.knowledge.on(LoginEvent::Entered(leftovers.begun));
        }
        let kept = leftovers.kept.filter(|kept| kept.succeeds(&spent));
        let from_mirrors = leftovers.mirrors.into_iter().map(|mirror| {
            let mut login = stored.clone();
            login.remove_refresh_token();
            with_mirror(&mut login, Some(&mirror), turn.now);
            login
        });
        let kept = kept.into_iter().map(|kept| kept.login);
        let next = kept
            .chain(leftovers.logins)
            .chain(from_mirrors)
            .find(|login| {
                let token = login.refresh_token();
                let other = token.as_ref().is_some_and(|token| !token.same(&spent));
                other && !self.knowledge.was_spent(token.as_ref())
            });
        let Some(login) = next else {
            return self.start(turn, *opened);
        };
        let provider = self.adapter.name().as_str();
        tracing::warn!(provider, "the answer of an interrupted refresh was found");
        let spent = [Some(spent), None];
        self.knowledge.on(LoginEvent::Granted { login, spent });
        // Writing it again removes the temporary file.
        match self.keep_beside() {
            Some(deed) => Ok(NextPhase::Wait(Phase::Salvaged(opened), deed)),
            None => self.start(turn, *opened),
        }
    }

    /// Keeps the unsaved renewed login beside the journal.
    fn keep_beside(&mut self) -> Option<Deed> {
        let kept = self.knowledge.unsaved()?.to_keep();
        self.knowledge.on(LoginEvent::KeptBeside);
        Some(Deed::KeepBeside(kept))
    }

    fn start(&mut self, turn: RenewalTurn<'_>, opened: Opened) -> PhaseResult {
        let Opened {
            found,
            mut login,
            unentered,
        } = opened;
        let merge = self.knowledge.merge(&mut login, &found, turn.now);
        let work = Box::new(LockedLogin {
            found: Some(found),
            login,
            access_token: AccessToken::Untried,
            merge,
            ours: false,
            granted: false,
            granted_bearer: None,
            doubted: false,
            unentered,
            dead: Vec::new(),
            steps: 0,
        });
        tidied(self.bring_in_unsaved(turn, work))
    }

    /// A rotated login that could not be written is used and written now, unless someone renewed
    /// or logged in meanwhile. It stays in use when it can't be written once more.
    fn bring_in_unsaved(
        &mut self,
        turn: RenewalTurn<'_>,
        mut work: Box<LockedLogin>,
    ) -> PhaseResult {
        let (Some(unsaved), Some(found)) = (self.knowledge.unsaved(), &work.found) else {
            return self.next_step(turn, work);
        };
        if !unsaved.still_stands(&found.login) {
            self.knowledge.on(LoginEvent::Superseded);
            return self.next_step(turn, work);
        }
        let mut login = unsaved.login.clone();
        let mirror = found.mirror.as_ref();
        let is_spent = |mirror: &Login| unsaved.is_spent(mirror.refresh_token().as_ref());
        work.merge = if mirror.is_some_and(is_spent) {
            Merge::MirrorBehind
        } else {
            with_mirror(&mut login, mirror, turn.now)
        };
        work.login = login;
        if work.merge == Merge::Taken {
            self.knowledge.on(LoginEvent::Superseded);
            return self.next_step(turn, work);
        }
        work.ours = true;
        Ok(work.commit(Doing::Saving, turn.now))
    }

    /// Something was done with the login.
    fn worked(
        &mut self,
        turn: RenewalTurn<'_>,
        mut work: Box<LockedLogin>,
        doing: Doing,
        event: RenewalEvent,
    ) -> PhaseResult {
        match (doing, event) {
            (
                Doing::Saving,
                RenewalEvent::Committed(Err(error @ StoreError::Restless { .. }), _),
            ) => {
                // Its row holds a token that is not its own: someone has rotated it further.
                self.knowledge.on(LoginEvent::Superseded);
                Err(error.into())
            }
            (Doing::Saving, RenewalEvent::Committed(written, found)) => {
                work.found = found;
                self.stored(turn, work, written, true)
            }
            (Doing::Storing(renewal), RenewalEvent::Committed(written, found)) => {
                work.found = found;
                // A minted key says nothing about the refresh token.
                let settles = renewal == Renewal::Refresh;
                self.stored(turn, work, written, settles)
            }
            (Doing::Keeping, RenewalEvent::KeptBeside) => self.next_step(turn, work),
            (Doing::Preparing(renewal), RenewalEvent::Prepared(prepared)) => {
                prepared?;
                self.prepared(work, renewal, turn.now)
            }
            (Doing::Noting(entry), RenewalEvent::Noted(noted)) => {
                noted?;
                self.knowledge.on(LoginEvent::Begun(entry));
                self.send(work)
            }
            (Doing::Asking, RenewalEvent::Answered(answer, proof)) => {
                self.answered(turn, work, answer, proof)
            }
            (Doing::Adopting, RenewalEvent::Committed(written, found)) => {
                work.found = found;
                if let Err(error) = written {
                    let message = format!("{error}; an adopted login is not mirrored");
                    self.failed("store", &message, turn.now);
                    self.timing.mirror_failed(turn.now);
                }
                Ok(self.conclude(&work, turn.now))
            }
            (Doing::Doubting(looks, rejection), RenewalEvent::ReadAgain(read, found)) => {
                read?;
                work.found = found;
                self.looked_again(turn, work, looks, rejection)
            }
            (Doing::Ending(rejection), RenewalEvent::Committed(written, _)) => {
                Ok(self.taken_out(&work, &rejection, written, turn.now))
            }
            _ => Err(RenewalFailure::Defect),
        }
    }

    /// A renewed login was saved, or could not be: then it is kept in memory and, if possible, beside the journal, so
    /// that a restart finds it. If the store could not be read, only the mirror can take it, which others write too:
    /// then it also stays beside the journal.
    fn stored(
        &mut self,
        turn: RenewalTurn<'_>,
        work: Box<LockedLogin>,
        written: Result<(), StoreError>,
        settles: bool,
    ) -> PhaseResult {
        let deed = match written {
            Ok(()) => {
                let unsaved = self.knowledge.unsaved().filter(|_| work.is_broken());
                let kept = unsaved.map(Renewed::to_keep);
                self.knowledge.on(LoginEvent::Saved);
                if settles {
                    self.knowledge.on(LoginEvent::Settled);
                }
                kept.map(|kept| {
                    self.knowledge.on(LoginEvent::KeptBeside);
                    Deed::KeepBeside(kept)
                })
            }
            Err(error) => {
                let reason = error.to_string();
                let message = format!("{reason}; the renewed login is kept in memory only");
                self.failed("store", &message, turn.now);
                if !self.knowledge.is_unsaved_told() {
                    self.knowledge.on(LoginEvent::ToldUnsaved);
                    self.tell(NoticeKind::NotSaved { reason });
                }
                self.timing.not_saved(turn.now);
                self.keep_beside()
            }
        };
        match deed {
            Some(deed) => Ok(work.doing(Doing::Keeping, deed)),
            None => self.next_step(turn, work),
        }
    }

    /// Decides by the login's state: use it, renew it, or give up. A usable credential that is not
    /// due, and not the refused one, is the result of another program or of this one a moment ago.
    fn next_step(&mut self, turn: RenewalTurn<'_>, mut work: Box<LockedLogin>) -> PhaseResult {
        if work.steps == STEPS {
            return Err(refused_as_granted());
        }
        work.steps = work.steps.saturating_add(1);
        let (credential, mut renewal) = match self.adapter.assess(&work.login, turn.now) {
            Assessment::Login {
                credential,
                renewal,
            } => (credential, renewal),
            Assessment::NoLogin { .. } => return Ok(self.conclude(&work, turn.now)),
        };
        renewal = self.possible(renewal, &work.login);
        let credential = credential.map(|credential| self.timing.dated(credential));
        let suspect = self.knowledge.is_suspect(&work.login);
        let is = |bearer: Option<&Secret>, credential: &Credential| {
            bearer.is_some_and(|bearer| bearer.same(&credential.bearer))
        };
        let fresh = credential.as_ref().is_some_and(|credential| {
            let window = self.window(credential);
            let due = window.is_some_and(|window| window.is_open(turn.now));
            let lives = credential.expires_at.is_none_or(|end| end > turn.now);
            let refused = is(turn.cause.refused.as_ref(), credential);
            let granted = is(work.granted_bearer.as_ref(), credential);
            // One that was granted just now is not asked for again, however short its life.
            !refused && !suspect && (granted || lives && !due)
        });
        if fresh || renewal == Renewal::Never {
            return Ok(self.adopt(work, turn.now));
        }
        let spent = self.knowledge.is_stale(&work.login);
        let refreshable = work.login.refresh_token().is_some() && !spent;
        let no_mint = work.access_token == AccessToken::Refused || suspect;
        if renewal == Renewal::Mint && no_mint && refreshable {
            renewal = Renewal::Refresh;
        }
        if let Some(error) = work.unentered.take() {
            return Err(error.into());
        }
        if let Some(file) = self.is_anothers(turn.cause, &work) {
            return Err(StoreError::Moved { file }.into());
        }
        let again = work.granted && renewal == Renewal::Refresh && !turn.cause.by_hand;
        if again && self.timing.paced(turn.now).is_some() {
            return Err(refused_as_granted());
        }
        Ok(work.doing(Doing::Preparing(renewal), Deed::Prepare))
    }

    /// Whether what was found under the locks is another login than the one that a person means; its file.
    fn is_anothers(&self, cause: &RenewalCause, work: &LockedLogin) -> Option<PathBuf> {
        let meant = cause.meant.as_ref().filter(|_| !work.granted)?;
        let found = work.found.as_ref()?;
        // The merged pair may come from the mirror or a twin.
        let is_named = |login: &Login| {
            let tokens = login.tokens();
            let mut tokens = tokens.refresh.iter().chain(&tokens.access);
            tokens.any(|token| meant.contains(&token.fingerprint()))
        };
        // It may have been renewed since it was named.
        let is_newer = |login: &Login| {
            let latest = self.knowledge.latest().map(Renewed::tokens);
            let (Some(latest), Some(token)) = (latest, login.refresh_token()) else {
                return false;
            };
            latest.contains(&token.fingerprint()) && latest.iter().any(|one| meant.contains(one))
        };
        let is_meant = is_named(&found.login) || is_named(&work.login) || is_newer(&work.login);
        (!is_meant).then(|| found.source.clone())
    }

    /// Writes the adoption's merge, and a stale mirror: Hermes Agent would spend its token. A
    /// failed write does not harm the adoption: the tokens are in the other file. If the order is
    /// unknown, neither is touched.
    fn adopt(&mut self, work: Box<LockedLogin>, now: DateTime<Utc>) -> NextPhase {
        let ours = work.granted || work.ours;
        let stale = self.knowledge.is_stale(&work.login);
        if self.knowledge.unsaved().is_some() || stale || (work.merge == Merge::Undecided && !ours)
        {
            return self.conclude(&work, now);
        }
        work.commit(Doing::Adopting, now)
    }

    /// There is room for the answer.
    fn prepared(
        &mut self,
        mut work: Box<LockedLogin>,
        renewal: Renewal,
        now: DateTime<Utc>,
    ) -> PhaseResult {
        work.doubted = self.knowledge.is_suspect(&work.login);
        if renewal != Renewal::Refresh {
            let ticket = Ticket::mint(work.login.clone());
            return Ok(work.doing(Doing::Asking, Deed::Ask(ticket)));
        }
        match work.login.refresh_token() {
            Some(token) if self.knowledge.noted(&work.login).is_none() => {
                let entry = JournalEntry {
                    token: token.fingerprint(),
                    started_at: now,
                };
                Ok(work.doing(Doing::Noting(entry), Deed::Note(token, now)))
            }
            _ => self.send(work),
        }
    }

    /// Sends the refresh token, unless another keeper does or has done so since the journals were read.
    fn send(&mut self, work: Box<LockedLogin>) -> PhaseResult {
        if !self.knowledge.claim(&work.login) || self.knowledge.is_stale(&work.login) {
            return Err(RenewalFailure::Claimed);
        }
        let noted = self
            .knowledge
            .noted(&work.login)
            .ok_or(RenewalFailure::Defect)?;
        let ticket = Ticket::refresh(work.login.clone(), noted);
        Ok(work.doing(Doing::Asking, Deed::Ask(ticket)))
    }

    /// The token endpoint has answered, or not.
    fn answered(
        &mut self,
        turn: RenewalTurn<'_>,
        mut work: Box<LockedLogin>,
        answer: Result<Grant, TokenError>,
        proof: Proof,
    ) -> PhaseResult {
        match answer {
            Ok(grant) => Ok(self.granted(turn, work, grant, proof)),
            Err(TokenError::AccessTokenRefused) if work.access_token == AccessToken::Untried => {
                work.access_token = AccessToken::Refused;
                self.next_step(turn, work)
            }
            Err(TokenError::AccessTokenRefused) => {
                let what = "the provider issued no key for a new token".to_owned();
                Err(RenewalFailure::Endpoint {
                    what,
                    retry_after: None,
                })
            }
            Err(TokenError::Transient {
                what,
                retry_after,
                may_be_spent,
            }) => {
                if !may_be_spent && !work.doubted && self.knowledge.unsaved().is_none() {
                    self.knowledge.on(LoginEvent::Settled);
                }
                Err(RenewalFailure::Endpoint { what, retry_after })
            }
            Err(TokenError::Lost { what, retry_after }) => {
                Err(RenewalFailure::AnswerLost { what, retry_after })
            }
            Err(TokenError::Rejected { code, description }) => {
                // Believed only if the store still holds it after a while: a program without the
                // lock may be about to write its grant.
                let refused = work.login.refresh_token();
                let replaced = refused.as_ref().zip(work.found.as_ref());
                let replaced =
                    replaced.and_then(|(refused, found)| merge::replaced_by(refused, found));
                work.dead.extend(refused.into_iter().chain(replaced));
                let rejection = Rejection { code, description };
                if rejection.is_reuse() {
                    self.knowledge.on(LoginEvent::Reused(&work.dead));
                }
                let [first, ..] = DOUBT;
                Ok(work.doing(Doing::Doubting(1, rejection), Deed::ReadAgain(first)))
            }
        }
    }

    /// Persists what was granted before anything else is done with it.
    fn granted(
        &mut self,
        turn: RenewalTurn<'_>,
        mut work: Box<LockedLogin>,
        grant: Grant,
        proof: Proof,
    ) -> NextPhase {
        let renewal = grant.renewal();
        if renewal == Renewal::Refresh && !turn.cause.by_hand {
            self.timing.rotated(turn.now);
        }
        let found = work.found.as_ref();
        let stored = found.and_then(|found| found.login.refresh_token());
        let spent = [work.login.refresh_token(), stored];
        let lifetime = self.apply(&mut work.login, grant, turn.now);
        // A store that can't be read may know better.
        if let Some(since) = self.knowledge.since()
            && !since.noted
            && !work.is_broken()
            && self.adapter.grant_lifetime().is_some()
        {
            super::grant::note_login_at(&mut work.login, since.at);
        }
        if turn.cause.refused.is_none() {
            self.timing.replaced_in_time();
        } else {
            self.timing.replaced(proof, !work.granted);
        }
        let login = work.login.clone();
        self.knowledge.on(LoginEvent::Granted { login, spent });
        work.granted = true;
        if work.access_token == AccessToken::Refused {
            work.access_token = AccessToken::Replaced;
        }
        // A refresh of an access token that can't infer gives no bearer yet.
        let credential = self.credential_of(&work.login, turn.now);
        if let Some(credential) = credential.filter(|credential| credential.kind.is_from(renewal)) {
            work.granted_bearer = Some(credential.bearer.clone());
            self.timing.received(Receipt {
                bearer: credential.bearer,
                at: turn.now,
                expires_at: lifetime.map(|lifetime| clock::after(turn.now, lifetime)),
            });
        }
        work.commit(Doing::Storing(renewal), turn.now)
    }

    /// Merges the grant and its lifetime into the login. A panic over an odd answer must not lose
    /// it, for the old token is spent: then only the tokens are taken.
    fn apply(&self, login: &mut Login, grant: Grant, now: DateTime<Utc>) -> Option<Duration> {
        let (answer, mut merged) = (grant.clone(), login.clone());
        let understood = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let lifetime = self.adapter.lifetime(&grant);
            self.adapter.apply(&mut merged, grant, now);
            lifetime
        }));
        if let Ok(lifetime) = understood {
            *login = merged;
            return lifetime;
        }
        login.put(&answer.tokens(now));
        None
    }

    /// The store was read again after the provider had called the grant dead.
    fn looked_again(
        &mut self,
        turn: RenewalTurn<'_>,
        mut work: Box<LockedLogin>,
        looks: usize,
        rejection: Rejection,
    ) -> PhaseResult {
        if let Some(login) = self.living(&mut work, turn.now) {
            work.login = login;
            return self.next_step(turn, work);
        }
        if let Some(pause) = DOUBT.get(looks) {
            let doing = Doing::Doubting(looks.saturating_add(1), rejection);
            return Ok(work.doing(doing, Deed::ReadAgain(*pause)));
        }
        let old = work.login.clone();
        work.login.end(&LoginEndReason {
            provider: self.adapter.name().as_str(),
            code: &rejection.code,
            message: &rejection.description,
            at: turn.now,
        });
        let commit = Commit {
            old,
            login: work.login.clone(),
            mirror: work.login.mirror(turn.now),
            change: Change::Quarantined,
            dead: work.dead.clone(),
        };
        let deed = Deed::Commit(Box::new(commit));
        Ok(work.doing(Doing::Ending(rejection), deed))
    }

    /// The login that store and mirror hold now, if it has a refresh token that was not refused.
    fn living(&self, work: &mut LockedLogin, now: DateTime<Utc>) -> Option<Login> {
        let found = work.found.as_ref()?;
        let is_dead = |login: &Login| {
            let token = login.refresh_token();
            let refused = |token: &Secret| work.dead.iter().any(|dead| dead.same(token));
            token.as_ref().is_none_or(refused) || self.knowledge.was_spent(token.as_ref())
        };
        let mut login = found.login.clone();
        let refused = |token: &Secret| work.dead.iter().any(|dead| dead.same(token));
        let rows = self.knowledge.merge_rows(&mut login, found, refused, now);
        if is_dead(&login) {
            // A refused login does not count, so that the mirror's may be tried.
            login.remove_refresh_token();
        }
        let mirror = found.mirror.as_ref().filter(|mirror| !is_dead(mirror));
        let merge = rows.and_mirror(with_mirror(&mut login, mirror, now));
        let living = !is_dead(&login);
        work.merge = merge;
        living.then_some(login)
    }

    /// The dead tokens are out of the store, or could not be removed.
    fn taken_out(
        &mut self,
        work: &LockedLogin,
        rejection: &Rejection,
        written: Result<(), StoreError>,
        now: DateTime<Utc>,
    ) -> NextPhase {
        let Rejection { code, description } = rejection;
        let taken_out = written.is_ok();
        if let Err(error) = written {
            tracing::warn!(%error, "a dead login could not be removed from the store");
        }
        let reason = match self.knowledge.begun() {
            Some(begun) if work.doubted => format!(
                "the login has ended ({code}): a refresh begun at {} was interrupted after its \
                 token was spent and before the next one arrived",
                begun.started_at.format("%Y-%m-%d %H:%M:%S UTC")
            ),
            _ => format!("the login has ended ({code})"),
        };
        self.knowledge.on(LoginEvent::Settled);
        self.knowledge.on(LoginEvent::Refused);
        self.no_login(NoLogin::Unusable(&reason), now);
        self.failed("login_rejected", &format!("{code}: {description}"), now);
        NextPhase::Done(RenewalOutcome {
            result: Some(RenewalResult::Rejected),
            taken_out,
        })
    }

    /// Publishes what the renewal came to. The locks are still held.
    fn conclude(&mut self, work: &LockedLogin, now: DateTime<Utc>) -> NextPhase {
        let old = self.bearer();
        if self.knowledge.unsaved().is_none() {
            self.timing.worked(now);
        }
        self.settle_if_gone(&work.login);
        self.take(&work.login, now);
        if work.granted {
            return done(Some(RenewalResult::Refreshed));
        }
        let new = self.credential_of(&work.login, now);
        let adopted = new.is_some_and(|new| !old.is_some_and(|old| old.same(&new.bearer)));
        done(adopted.then_some(RenewalResult::Adopted))
    }

    fn credential_of(&self, login: &Login, now: DateTime<Utc>) -> Option<Credential> {
        match self.adapter.assess(login, now) {
            Assessment::Login { credential, .. } => credential,
            Assessment::NoLogin { .. } => None,
        }
    }
}
