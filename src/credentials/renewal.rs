//! Carries a renewal out: `attempt` names the next step, and here it is done, one after the other; none is
//! cancelled.

use std::sync::atomic::Ordering;

use super::attempt::{
    Commit, Leftovers, LockPatience, RenewalAction, RenewalCause, RenewalEvent, RenewalFailure,
    RenewalOutcome, RenewalStep,
};
use super::journal::UnsavedLogin;
use super::keeper::{Keeper, seat};
use super::knowledge::Renewed;
use super::status::{Hindrance, RenewalResult};
use super::store::{Change, LoginStore, LoginUpdate, StoreContents, StoreError, Transaction};
use crate::provider::Login;

impl Keeper {
    /// Renews the login if it is due, or for `cause`. It is never cancelled half-way: its caller is
    /// the keeper's own loop, and each wait has its own limit.
    ///
    /// # Errors
    /// For people: why it came to nothing for now.
    pub(super) async fn renew(
        &mut self,
        cause: RenewalCause,
    ) -> Result<Option<RenewalResult>, String> {
        let provider = self.core.adapter.name().to_string();
        let mirror_at = self.core.timing.take_mirror();
        self.shared.is_at_work.store(true, Ordering::Relaxed);
        let mut result = self.attempt(cause.clone()).await;
        if let Err(RenewalFailure::Store(StoreError::Stopping)) = &result {
            self.core.timing.put_mirror_back(mirror_at);
            self.renewal_is_over();
            return Err(StoreError::Stopping.to_string());
        }
        if let Err(RenewalFailure::AnswerLost { what, .. }) = &result {
            // A provider with a grace time repeats its answer, and without one the token is spent
            // anyway.
            tracing::warn!(provider, error = %what, "an answer was lost; asking once more");
            let again = RenewalCause {
                answer_lost: true,
                ..cause
            };
            result = self.attempt(again).await;
        }
        let has_others = self.is_own();
        match &result {
            // Hermes Agent's login may live, and takes its place.
            Ok(outcome) if outcome.taken_out && has_others => self.look().await,
            Ok(_) => {}
            Err(_) => self.core.timing.put_mirror_back(mirror_at),
        }
        self.renewal_is_over();
        match result {
            Ok(RenewalOutcome { result, .. }) => {
                match result {
                    Some(done @ (RenewalResult::Refreshed | RenewalResult::Adopted)) => {
                        tracing::info!(provider, result = ?done, "the login was renewed");
                    }
                    Some(
                        RenewalResult::Failed
                        | RenewalResult::Rejected
                        | RenewalResult::NoLogin
                        | RenewalResult::NotRenewable,
                    )
                    | None => {}
                }
                if self.core.knowledge.unsaved().is_none() {
                    self.unhindered();
                }
                self.decide(|core, now| core.finished(result, now));
                Ok(result)
            }
            Err(trouble) => {
                self.decide(|core, now| core.troubled(&trouble, now));
                let (what, mut told) = (trouble.to_string(), None);
                if let RenewalFailure::Store(error) = trouble {
                    self.hindered_at_renewal(error).await;
                    told = self.core.status.hindrance.as_ref().map(Hindrance::told);
                }
                Err(told.unwrap_or(what))
            }
        }
    }

    /// It has ended, however that was.
    pub(super) fn renewal_is_over(&mut self) {
        self.status(|status| status.renewing = false);
        self.shared.is_at_work.store(false, Ordering::Relaxed);
    }

    async fn attempt(&mut self, cause: RenewalCause) -> Result<RenewalOutcome, RenewalFailure> {
        let Some(store) = self.store.clone() else {
            self.decide(|core, now| core.take(&Login::none(), now));
            return Ok(RenewalOutcome::default());
        };
        let patience = self.core.begin(cause);
        let mut files = self.locked(&store, patience).await?;
        let broken = files.found().and_then(|found| found.broken.clone());
        let mut event = RenewalEvent::Locked(match files.found().cloned() {
            Some(found) => Ok(found),
            None => Err(self.why_none().await),
        });
        loop {
            let place = |found: &StoreContents| seat(&store, found);
            match self.decide(|core, now| core.on(event, place, now)) {
                RenewalStep::Do(deed) => {
                    self.step();
                    event = self.perform(deed, &store, &mut files).await;
                }
                RenewalStep::End(result) => {
                    if result.is_ok() {
                        // While the locks are held, so that what others write from now on is noticed.
                        self.note_stamps().await;
                        self.see_rows(&store).await;
                    }
                    if let (Ok(_), Some(error)) = (&result, broken) {
                        // No look follows a renewal that went well.
                        self.unreadable(error, true).await;
                    }
                    return result;
                }
            }
        }
    }

    /// The store's locks.
    async fn locked(
        &self,
        store: &LoginStore,
        patience: LockPatience,
    ) -> Result<Transaction, StoreError> {
        let opening = store.open(self.lock_limit());
        let waits = match patience {
            LockPatience::ToTheEnd => true,
            LockPatience::UntilStopped => false,
            LockPatience::UnlessKept(login) => {
                let kept = self.kept().await.ok().flatten();
                kept.is_none_or(|kept| kept.login != *login)
            }
        };
        if waits {
            return opening.await;
        }
        self.unless_stopped(opening).await
    }

    async fn perform(
        &mut self,
        deed: RenewalAction,
        store: &LoginStore,
        files: &mut Transaction,
    ) -> RenewalEvent {
        match deed {
            RenewalAction::LookForStore => {
                RenewalEvent::StoreMissing(self.is_store_missing().await)
            }
            RenewalAction::ReadJournal => {
                let read = self.read_journal().await;
                RenewalEvent::JournalRead(read.map(|(begun, _)| begun))
            }
            RenewalAction::ReadLeftovers { unfinished } => {
                RenewalEvent::Leftovers(self.leftovers(files, unfinished).await)
            }
            RenewalAction::KeepBeside(kept) => {
                self.keep_beside(store, kept).await;
                RenewalEvent::KeptBeside
            }
            RenewalAction::Prepare => {
                RenewalEvent::Prepared(files.work(Transaction::prepare).await)
            }
            RenewalAction::Note(token, now) => {
                let Some(journal) = self.core.knowledge.journal().cloned() else {
                    return RenewalEvent::Noted(Ok(()));
                };
                let noted = store.note(move || journal.begin(&token, now)).await;
                // A refresh does not fail for want of the note, but waits while its folder hangs: the
                // note would come after the token was sent.
                RenewalEvent::Noted(noted.map(|noted| {
                    if let Err(error) = noted {
                        tracing::warn!(%error, "a refresh starts without its journal entry");
                    }
                }))
            }
            RenewalAction::Ask(ticket) => {
                let adapter = self.core.adapter.clone();
                let answer = adapter.renew(ticket.login(), ticket.renewal()).await;
                RenewalEvent::Answered(answer, self.proof())
            }
            RenewalAction::Commit(commit) => {
                let written = self.commit(files, *commit).await;
                RenewalEvent::Committed(written, files.found().cloned())
            }
            RenewalAction::ReadAgain(pause) => {
                tokio::time::sleep(pause).await;
                let read = files.work(Transaction::read_again).await;
                RenewalEvent::ReadAgain(read, files.found().cloned())
            }
            RenewalAction::Tidy => {
                self.tidy().await.ok();
                RenewalEvent::Tidied
            }
        }
    }

    async fn leftovers(
        &self,
        files: &mut Transaction,
        unfinished: bool,
    ) -> Result<Leftovers, StoreError> {
        let token = files.found().and_then(|found| found.login.refresh_token());
        let (kept, elsewhere) = self.beside(token).await?;
        // Another process may have spent the token that we are about to send.
        self.read_spent().await?;
        let (begun, tag) = elsewhere.unzip();
        let (logins, mirrors) = if unfinished || tag.is_some() {
            files.work(|files| Ok(files.unfinished(tag))).await?
        } else {
            Default::default()
        };
        Ok(Leftovers {
            kept,
            begun,
            logins,
            mirrors,
        })
    }

    async fn keep_beside(&self, store: &LoginStore, kept: UnsavedLogin) {
        let Some(journal) = self.core.knowledge.journal().cloned() else {
            return;
        };
        let written = store.note(move || journal.keep(kept)).await;
        if let Err(error) = written.and_then(std::convert::identity) {
            tracing::warn!(%error, "the renewed login can't be kept in the journal's folder");
        }
    }

    async fn commit(&self, files: &mut Transaction, commit: Commit) -> Result<(), StoreError> {
        let now = self.clock.now();
        let known = self.core.knowledge.latest();
        let known = known.map(Renewed::tokens).unwrap_or_default();
        let write = move |files: &mut Transaction| {
            let Commit {
                old,
                login,
                mirror,
                change,
                dead,
            } = commit;
            if change == Change::Quarantined {
                files.mark_dead(&dead);
            }
            files.mark_known(known);
            let update = LoginUpdate {
                old: &old,
                login: &login,
                change,
                now,
            };
            files.commit(update, mirror)
        };
        files.work(write).await
    }
}
