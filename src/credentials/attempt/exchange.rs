//! The exchange with the token endpoint: what is sent, and what the renewal comes to by the answer.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::super::core::Core;
use super::super::grant;
use super::super::journal::JournalEntry;
use super::super::knowledge::LoginEvent;
use super::super::merge::{self, with_mirror};
use super::super::no_login::NoLogin;
use super::super::status::RenewalResult;
use super::super::store::{Change, StoreError};
use super::super::timing::{Proof, Receipt};
use super::cause::RenewalTurn;
use super::deed::{Commit, RenewalAction, RenewalOutcome, Ticket};
use super::failure::RenewalFailure;
use super::phase::{AccessToken, Doing, LockedLogin, NextPhase, PhaseResult, Rejection, done};
use crate::clock;
use crate::provider::{Assessment, Credential, Grant, Login, LoginEndReason, Renewal, TokenError};
use crate::secret::Secret;

/// Between a refused grant and each of the looks at the store that follow.
const DOUBT: [Duration; 3] = [
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
];

impl Core {
    /// There is room for the answer.
    pub(super) fn prepared(
        &mut self,
        mut work: Box<LockedLogin>,
        renewal: Renewal,
        now: DateTime<Utc>,
    ) -> PhaseResult {
        work.doubted = self.knowledge.is_suspect(&work.login);
        if renewal != Renewal::Refresh {
            let ticket = Ticket::mint(work.login.clone());
            return Ok(work.doing(Doing::Asking, RenewalAction::Ask(ticket)));
        }
        match work.login.refresh_token() {
            Some(token) if self.knowledge.noted(&work.login).is_none() => {
                let entry = JournalEntry {
                    token: token.fingerprint(),
                    started_at: now,
                };
                Ok(work.doing(Doing::Noting(entry), RenewalAction::Note(token, now)))
            }
            _ => self.send(work),
        }
    }

    /// Sends the refresh token, unless another keeper does or has done so since the journals were read.
    pub(super) fn send(&mut self, work: Box<LockedLogin>) -> PhaseResult {
        if !self.knowledge.claim(&work.login) || self.knowledge.is_stale(&work.login) {
            return Err(RenewalFailure::Claimed);
        }
        let noted = self
            .knowledge
            .noted(&work.login)
            .ok_or(RenewalFailure::Defect)?;
        let ticket = Ticket::refresh(work.login.clone(), noted);
        Ok(work.doing(Doing::Asking, RenewalAction::Ask(ticket)))
    }

    /// The token endpoint has answered, or not.
    pub(super) fn answered(
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
                Ok(work.doing(
                    Doing::Doubting(1, rejection),
                    RenewalAction::ReadAgain(first),
                ))
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
            grant::note_login_at(&mut work.login, since.at);
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
    pub(super) fn looked_again(
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
            return Ok(work.doing(doing, RenewalAction::ReadAgain(*pause)));
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
        let deed = RenewalAction::Commit(Box::new(commit));
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
    pub(super) fn taken_out(
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
    pub(super) fn conclude(&mut self, work: &LockedLogin, now: DateTime<Utc>) -> NextPhase {
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
