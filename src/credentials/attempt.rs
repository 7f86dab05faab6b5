//! One renewal: lock, read again, adopt another program's renewal, or spend the token, persist the
//! answer durably, and only then publish it.
//!
//! Pure: each turn returns the next step, a [`RenewalAction`], and receives its result, an [`RenewalEvent`]. There is one
//! deed at a time, and the next turn comes when it has ended. So a token is sent by [`RenewalAction::Ask`] alone,
//! whose [`Ticket`](deed::Ticket) takes the journal's word that it may be spent, and a grant is unsaved from its receipt
//! until [`RenewalAction::Commit`] worked.

mod cause;
mod deed;
mod exchange;
mod failure;
mod phase;

use std::path::PathBuf;

use chrono::{DateTime, Utc};

pub(super) use self::cause::RenewalCause;
use self::cause::RenewalTurn;
pub(super) use self::deed::{
    Commit, Leftovers, LockPatience, RenewalAction, RenewalEvent, RenewalOutcome, RenewalStep,
};
pub(super) use self::failure::RenewalFailure;
use self::failure::refused_as_granted;
pub(super) use self::phase::RenewalAttempt;
use self::phase::{
    AccessToken, Doing, LockedLogin, NextPhase, Opened, Phase, PhaseResult, done, tidied,
};
use super::core::Core;
use super::knowledge::{LoginEvent, LoginFile, Renewed};
use super::merge::with_mirror;
use super::no_login::NoLogin;
use super::notice::NoticeKind;
use super::store::{StoreContents, StoreError};
use crate::provider::{Assessment, Credential, Login, Merge, Renewal};
use crate::secret::Secret;

/// The most steps of a renewal: a refresh, then a minted key, and each once more if its starting
/// point turned out to be spent.
const STEPS: usize = 4;
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
                    Err(reason) if self.knowledge.unsaved().is_some() => Ok(NextPhase::Wait(
                        Phase::Missing(reason),
                        RenewalAction::LookForStore,
                    )),
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
            return Ok(NextPhase::Wait(
                Phase::Entering(opened),
                RenewalAction::ReadJournal,
            ));
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
        let deed = RenewalAction::ReadLeftovers { unfinished };
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
    fn keep_beside(&mut self) -> Option<RenewalAction> {
        let kept = self.knowledge.unsaved()?.to_keep();
        self.knowledge.on(LoginEvent::KeptBeside);
        Some(RenewalAction::KeepBeside(kept))
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
                    RenewalAction::KeepBeside(kept)
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
        Ok(work.doing(Doing::Preparing(renewal), RenewalAction::Prepare))
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
}
