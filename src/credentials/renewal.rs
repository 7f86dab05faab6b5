//! One renewal: lock, read again, adopt what someone else renewed, or spend the token, persist
//! the answer durably, and only then publish it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::journal::Entry;
use super::keeper::{Keeper, Receipt, Unsaved};
use super::merge;
use super::notice::NoticeKind;
use super::status::{Event, Hindrance, RefreshResult, StandingKind};
use super::store::{Change, Store, StoreError, Transaction};
use crate::clock;
use crate::provider::{
    Assessment, Credential, Ending, Grant, Layout, Login, Merge, Renewal, TokenError,
};
use crate::secret::Secret;

/// A store that can't be locked, read or written is tried again after this time at the latest.
const STORE_AGAIN: Duration = Duration::from_secs(10);
/// A mirror that could not be written is tried again after this time.
const MEND_AGAIN: Duration = Duration::from_mins(1);
/// A renewal takes at most so many steps: a refresh, then a key minted, and each once more when
/// what it started from turned out to be spent.
const STEPS: usize = 4;
/// Between a refused grant and each of the looks at the store that follow.
const DOUBT: [Duration; 3] = [
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
];

/// Why a renewal came to nothing for now.
#[derive(Debug, thiserror::Error)]
enum Trouble {
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
}

/// What a renewal is about, while the locks are held.
struct Attempt<'a> {
    store: Transaction,
    /// The login as it is now, and as it stood in the store.
    login: Login,
    refused: Option<&'a Secret>,
    access_token: AccessToken,
    /// How the store's login and the mirror stood to each other.
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
}

/// What minting has shown of the access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AccessToken {
    Untried,
    /// Refused when a key was to be minted: it is refreshed, once.
    Refused,
    Replaced,
}

/// What the next step of a renewal is.
enum Step {
    Ask(Renewal),
    Done,
}

impl Keeper {
    /// Renews the login if it is due, or if `refused` is its current bearer. Never cancelled
    /// half-way: its caller is the keeper's own loop, and each wait has its own limit.
    ///
    /// # Errors
    /// For people: why it came to nothing for now.
    pub(super) async fn renew(
        &mut self,
        refused: Option<&Secret>,
    ) -> Result<Option<RefreshResult>, String> {
        let mend_at = self.mend_at.take();
        self.shared.is_at_work.store(true, Ordering::Relaxed);
        let mut result = self.attempt(refused).await;
        if let Err(Trouble::Store(StoreError::Stopping)) = &result {
            self.mend_at = self.mend_at.or(mend_at);
            self.renewal_is_over();
            return Err(StoreError::Stopping.to_string());
        }
        if let Err(Trouble::AnswerLost { what, .. }) = &result {
            // A provider with a grace time gives the same answer again, and without one the token
            // is spent whether it is shown again or not.
            let provider = self.adapter.name().as_str();
            tracing::warn!(provider, error = %what, "an answer was lost; asking once more");
            self.answer_lost = true;
            result = self.attempt(refused).await;
            self.answer_lost = false;
        }
        let ended = matches!(result, Ok(Some(RefreshResult::Rejected)));
        let has_others = self.is_own() || self.adapter.layout().is_some_and(Layout::has_pool);
        if ended && has_others && std::mem::take(&mut self.quarantined) {
            // Hermes Agent's login, or another account's, may live, and takes its place.
            self.look().await;
        } else if result.is_ok() {
            self.note_stamps().await;
        } else {
            self.mend_at = self.mend_at.or(mend_at);
        }
        self.renewal_is_over();
        let provider = self.adapter.name().as_str();
        match result {
            Ok(result) => {
                match result {
                    Some(done @ (RefreshResult::Refreshed | RefreshResult::Adopted)) => {
                        tracing::info!(provider, result = ?done, "the login was renewed");
                    }
                    Some(
                        RefreshResult::Failed | RefreshResult::Rejected | RefreshResult::NoLogin,
                    )
                    | None => {}
                }
                self.finished(result);
                Ok(result)
            }
            Err(trouble) => {
                self.troubled(&trouble);
                let (what, mut told) = (trouble.to_string(), None);
                if let Trouble::Store(error) = trouble {
                    self.hindered_at_renewal(error).await;
                    self.status(|status| told = status.hindrance.as_ref().map(Hindrance::told));
                }
                Err(told.unwrap_or(what))
            }
        }
    }

    /// It has ended, however that was.
    pub(super) fn renewal_is_over(&self) {
        self.status(|status| status.renewing = false);
        self.shared.is_at_work.store(false, Ordering::Relaxed);
    }

    fn finished(&mut self, result: Option<RefreshResult>) {
        if self.unsaved.is_none() {
            self.unhindered();
        }
        let at = self.clock.now();
        let mended = self.mend_at.is_none();
        self.status(|status| {
            if let Some(what) = result {
                status.last_renewal = Some(Event { at, what });
            }
            let ended = status.standing == StandingKind::LoginNeeded;
            if !status.unsaved && mended && !ended {
                status.last_error = None;
            }
        });
        if result == Some(RefreshResult::Refreshed)
            && let Some(next) = self.pace.next(at)
        {
            let next = next.format("%H:%M:%S UTC");
            let message = format!(
                "the provider's tokens expire too soon, or it refuses them at random: no \
                 renewal before {next}"
            );
            self.failed("renewals_paced", &message);
        }
    }

    fn troubled(&mut self, trouble: &Trouble) {
        let (code, asked) = match trouble {
            Trouble::Store(_) | Trouble::Unreadable(_) | Trouble::Gone => ("store", None),
            Trouble::Endpoint { retry_after, .. } | Trouble::AnswerLost { retry_after, .. } => {
                ("token_endpoint", *retry_after)
            }
        };
        let now = self.clock.now();
        let mut delay = self.backoff.failed(asked);
        if code == "store" {
            // Nobody is asked for anything, and whoever mends it is waiting.
            delay = delay.min(STORE_AGAIN);
        }
        self.retry_at = Some(clock::after(now, delay));
        self.failed(code, &trouble.to_string());
        self.status(|status| {
            status.last_renewal = Some(Event {
                at: now,
                what: RefreshResult::Failed,
            });
        });
        let standing = self.shared.snapshot.load().standing.clone();
        self.publish(standing);
    }

    async fn attempt(
        &mut self,
        refused: Option<&Secret>,
    ) -> Result<Option<RefreshResult>, Trouble> {
        let Some(store) = self.store.clone() else {
            self.take(&Login::none());
            return Ok(None);
        };
        let mut transaction = self.locked(&store).await?;
        self.status(|status| status.renewing = true);
        let Some(found) = transaction.found().cloned() else {
            if self.unsaved.is_some() && self.is_store_missing().await? {
                return Err(Trouble::Gone);
            }
            let reason = self.why_none().await;
            self.no_login(reason);
            return Ok(None);
        };
        let mut login = found.login.clone();
        if let Some(error) = &found.broken {
            let meant = |unsaved: &Unsaved| unsaved.still_stands(&login);
            if !self.unsaved.as_ref().is_none_or(meant) {
                return Err(Trouble::Unreadable(error.clone()));
            }
            self.keep_age(&mut login);
        }
        let unentered = self.enter(&found.source).await.err();
        self.notice_put_back(&login);
        let unentered = match unentered {
            Some(error) if self.unsaved.is_none() => return Err(error.into()),
            unentered => unentered,
        };
        self.salvage(&mut transaction, &login).await?;
        let merge = self.merge_found(&mut login, &found, |_| false);
        let mut attempt = Attempt {
            store: transaction,
            login,
            refused,
            access_token: AccessToken::Untried,
            merge,
            ours: false,
            granted: false,
            granted_bearer: None,
            doubted: false,
            unentered,
            dead: Vec::new(),
        };
        let ended = self.carry_out(&mut attempt).await;
        // With the locks: another process may be about to note a token of its own.
        self.tidy().await.ok();
        ended
    }

    async fn carry_out(
        &mut self,
        attempt: &mut Attempt<'_>,
    ) -> Result<Option<RefreshResult>, Trouble> {
        self.bring_in_unsaved(attempt).await;
        for _ in 0..STEPS {
            match self.next_step(attempt).await? {
                Step::Done => return Ok(self.conclude(attempt)),
                Step::Ask(renewal) => {
                    if let Some(end) = self.ask(attempt, renewal).await? {
                        return Ok(Some(end));
                    }
                }
            }
        }
        let what = "the provider refuses the tokens that it grants".to_owned();
        Err(Trouble::Endpoint {
            what,
            retry_after: None,
        })
    }

    /// The store's locks. They are not waited for when the keeper is to end, unless a token may be
    /// spent whose successor lies on no disk.
    async fn locked(&self, store: &Store) -> Result<Transaction, StoreError> {
        let opening = store.open(self.lock_limit());
        let is_nowhere = self.unsaved.is_some() && !self.is_kept_beside().await;
        if self.answer_lost || is_nowhere {
            return opening.await;
        }
        self.unless_stopped(opening).await
    }

    /// Whether the login that could not be saved lies beside the journal.
    async fn is_kept_beside(&self) -> bool {
        let kept = self.kept().await.ok().flatten();
        kept.zip(self.unsaved.as_ref())
            .is_some_and(|(kept, unsaved)| kept.login == unsaved.login)
    }

    /// A refresh of the stored token was cut off. If it was cut between the writing of the answer
    /// and the file's renaming, the answer still lies beside the store.
    ///
    /// # Errors
    /// When the files hang: the stored token may be spent, and is not shown again before that is
    /// known.
    async fn salvage(&mut self, store: &mut Transaction, stored: &Login) -> Result<(), StoreError> {
        let Some(spent) = stored.refresh_token() else {
            return Ok(());
        };
        if self.unsaved.is_some() {
            return Ok(());
        }
        let kept = self.kept().await?;
        let (logins, mirrors) = if self.is_suspect(stored) {
            store.work(|store| Ok(store.unfinished())).await?
        } else {
            Default::default()
        };
        let kept = kept.filter(|kept| kept.succeeds(&spent));
        let from_mirrors = mirrors.into_iter().map(|mirror| {
            let mut login = stored.clone();
            login.remove_refresh_token();
            self.merge(&mut login, Some(&mirror));
            login
        });
        let kept = kept.into_iter().map(|kept| kept.login);
        let next = kept.chain(logins).chain(from_mirrors).find(|login| {
            let token = login.refresh_token();
            let other = token.as_ref().is_some_and(|token| !token.same(&spent));
            other && !self.was_spent(token.as_ref())
        });
        if let Some(next) = next {
            let provider = self.adapter.name().as_str();
            tracing::warn!(provider, "the answer of an interrupted refresh was found");
            let found = Unsaved::new(next, [Some(spent), None], self.latest.take());
            // Writing it anew clears the temporary file away.
            self.keep_beside(&found).await;
            self.latest = Some(found.clone());
            self.unsaved = Some(found);
        }
        Ok(())
    }

    /// A rotated login that could not be written is used and written now, unless someone renewed
    /// or logged in meanwhile. It stays in use when it can't be written once more.
    async fn bring_in_unsaved(&mut self, attempt: &mut Attempt<'_>) {
        let Some(unsaved) = self.unsaved.take() else {
            return;
        };
        let Some(found) = attempt.store.found() else {
            return;
        };
        if !unsaved.still_stands(&found.login) {
            return;
        }
        let mut login = unsaved.login.clone();
        let mirror = found.mirror.clone();
        let spent = mirror
            .as_ref()
            .is_some_and(|mirror| unsaved.is_spent(mirror.refresh_token().as_ref()));
        attempt.merge = match mirror {
            Some(_) if spent => Merge::MirrorBehind,
            mirror => self.merge(&mut login, mirror.as_ref()),
        };
        attempt.login = login;
        if attempt.merge == Merge::Taken {
            return;
        }
        attempt.ours = true;
        match self.persist(attempt, Change::Rotated).await {
            Ok(()) => {
                self.saved(attempt, &unsaved).await;
                self.suspect_ended();
            }
            Err(trouble) => self.keep_unsaved(unsaved, &trouble).await,
        }
    }

    /// A renewed login is where it belongs. Where the store could not be read, that is the mirror
    /// alone, which others write too: then it stays beside the journal as well.
    async fn saved(&mut self, attempt: &Attempt<'_>, renewed: &Unsaved) {
        self.note_saved(renewed);
        if attempt
            .store
            .found()
            .is_some_and(|found| found.broken.is_some())
        {
            self.keep_beside(renewed).await;
        }
    }

    /// Keeps a renewed login beside its journal entry.
    async fn keep_beside(&mut self, unsaved: &Unsaved) {
        let (Some(store), Some(journal)) = (self.store.clone(), self.journal()) else {
            return;
        };
        self.chores.retain(|chore| !chore.forgets(&journal));
        let kept = unsaved.to_keep();
        let written = store.note(move || journal.keep(kept)).await;
        if let Err(error) = written.and_then(std::convert::identity) {
            tracing::warn!(%error, "the renewed login can't be kept in the journal's folder");
        }
    }

    /// Keeps a renewed login in memory and, where that can be written, beside the journal, so that
    /// a restart finds it.
    async fn keep_unsaved(&mut self, unsaved: Unsaved, trouble: &Trouble) {
        let message = format!("{trouble}; the renewed login is kept in memory only");
        self.failed("store", &message);
        self.keep_beside(&unsaved).await;
        if !std::mem::replace(&mut self.told.unsaved, true) {
            self.tell(NoticeKind::NotSaved {
                reason: trouble.to_string(),
            });
        }
        let delay = self.backoff.failed(None).min(STORE_AGAIN);
        self.retry_at = Some(clock::after(self.clock.now(), delay));
        self.unsaved = Some(unsaved);
    }

    /// Decides from the login as it is: use it, renew it, or give up. A usable credential that
    /// is not due, and not the refused one, was put there by someone else or just now by us.
    async fn next_step(&mut self, attempt: &mut Attempt<'_>) -> Result<Step, Trouble> {
        let now = self.clock.now();
        let (credential, mut renewal) = match self.adapter.assess(&attempt.login, now) {
            Assessment::Login {
                credential,
                renewal,
            } => (credential, renewal),
            Assessment::NoLogin { .. } => return Ok(Step::Done),
        };
        let credential = credential.map(|credential| self.dated(credential));
        let fresh = credential.as_ref().is_some_and(|credential| {
            let due = self
                .window(credential)
                .is_some_and(|window| window.is_open(now));
            let lives = credential.expires_at.is_none_or(|end| end > now);
            let refused = attempt
                .refused
                .is_some_and(|bearer| bearer.same(&credential.bearer));
            let granted = attempt
                .granted_bearer
                .as_ref()
                .is_some_and(|bearer| bearer.same(&credential.bearer));
            let suspect = self.is_suspect(&attempt.login);
            lives && !refused && !suspect && (!due || granted)
        });
        if fresh || renewal == Renewal::Never {
            self.persist_adopted(attempt).await;
            return Ok(Step::Done);
        }
        let refreshable = attempt.login.refresh_token().is_some();
        let no_mint =
            attempt.access_token == AccessToken::Refused || self.is_suspect(&attempt.login);
        if renewal == Renewal::Mint && no_mint && refreshable {
            renewal = Renewal::Refresh;
        }
        Ok(Step::Ask(renewal))
    }

    /// Writes what the adoption merged, and a mirror that was left behind: Hermes Agent would
    /// spend its token. What can't be written takes nothing from the adoption: the tokens lie in
    /// the other file. Where nobody can tell which is fresher, neither is touched.
    async fn persist_adopted(&mut self, attempt: &mut Attempt<'_>) {
        let ours = attempt.granted || attempt.ours;
        if self.unsaved.is_some() || (attempt.merge == Merge::Undecided && !ours) {
            return;
        }
        if let Err(trouble) = self.persist(attempt, Change::Rotated).await {
            self.failed(
                "store",
                &format!("{trouble}; an adopted login is not mirrored"),
            );
            self.mend_at = Some(clock::after(self.clock.now(), MEND_AGAIN));
        }
    }

    /// Asks the token endpoint once. `Some` ends the renewal.
    async fn ask(
        &mut self,
        attempt: &mut Attempt<'_>,
        renewal: Renewal,
    ) -> Result<Option<RefreshResult>, Trouble> {
        self.step();
        if let Some(error) = attempt.unentered.take() {
            return Err(error.into());
        }
        self.prepare(attempt).await?;
        let doubted = self.is_suspect(&attempt.login);
        attempt.doubted = doubted;
        if renewal == Renewal::Refresh {
            self.note_spending(&attempt.login).await?;
        }
        let answer = self.adapter.renew(&attempt.login, renewal).await;
        let unspent = matches!(
            answer,
            Err(TokenError::Transient {
                may_be_spent: false,
                ..
            })
        );
        if unspent && !doubted && self.unsaved.is_none() {
            self.suspect_ended();
        }
        match answer {
            Ok(grant) => {
                self.granted(attempt, grant).await;
                Ok(None)
            }
            Err(TokenError::AccessTokenRefused) if attempt.access_token == AccessToken::Untried => {
                attempt.access_token = AccessToken::Refused;
                Ok(None)
            }
            Err(TokenError::AccessTokenRefused) => {
                let what = "the provider issued no key for a new token".to_owned();
                Err(Trouble::Endpoint {
                    what,
                    retry_after: None,
                })
            }
            Err(TokenError::Transient {
                what, retry_after, ..
            }) => Err(Trouble::Endpoint { what, retry_after }),
            Err(TokenError::Lost { what, retry_after }) => {
                Err(Trouble::AnswerLost { what, retry_after })
            }
            Err(TokenError::Rejected { code, description }) => {
                self.grant_refused(attempt, &code, &description).await
            }
        }
    }

    /// Notes durably that the login's refresh token is about to be sent, so that a restart knows
    /// of it. A refresh does not fail for want of the note.
    ///
    /// # Errors
    /// When the journal's folder hangs: the note would come after the token was sent.
    async fn note_spending(&mut self, login: &Login) -> Result<(), StoreError> {
        let (Some(store), Some(journal)) = (self.store.clone(), self.journal()) else {
            return Ok(());
        };
        let Some(token) = login.refresh_token() else {
            return Ok(());
        };
        // While a renewed login waits to be saved, the entry is about the token in the store.
        let waits = self.unsaved.is_some() && self.suspect.is_some();
        if waits || self.is_suspect(login) {
            return Ok(());
        }
        self.chores.retain(|chore| !chore.ends(&journal));
        let now = self.clock.now();
        let entry = Entry {
            token: token.fingerprint(),
            started_at: now,
        };
        if let Err(error) = store.note(move || journal.begin(&token, now)).await? {
            tracing::warn!(%error, "a refresh starts without its journal entry");
        }
        self.suspect = Some(entry);
        Ok(())
    }

    /// Persists what was granted before anything else is done with it. When that fails, it is
    /// kept and used all the same: the old token is spent.
    async fn granted(&mut self, attempt: &mut Attempt<'_>, grant: Grant) {
        let now = self.clock.now();
        let renewal = grant.renewal();
        if renewal == Renewal::Refresh && !self.by_hand {
            self.pace.rotated(now);
        }
        let found = attempt.store.found();
        let is_whole = found.is_none_or(|found| found.broken.is_none());
        let stored = found.and_then(|found| found.login.refresh_token());
        let spent = [attempt.login.refresh_token(), stored];
        let lifetime = self.apply(&mut attempt.login, grant, now);
        // A store that can't be read may know better.
        if let Some((since, false)) = self.since
            && is_whole
            && self.adapter.grant_lifetime().is_some()
        {
            super::grant::note_login_at(&mut attempt.login, since);
        }
        let proven = {
            let last = self.shared.snapshot.load();
            last.granted_at.is_none() || last.proven.load(std::sync::atomic::Ordering::Relaxed)
        };
        if proven || attempt.refused.is_none() {
            self.unproven = 0;
        } else if !attempt.granted {
            self.unproven = self.unproven.saturating_add(1);
        }
        let rotated = Unsaved::new(attempt.login.clone(), spent, self.latest.take());
        self.latest = Some(rotated.clone());
        attempt.granted = true;
        if attempt.access_token == AccessToken::Refused {
            attempt.access_token = AccessToken::Replaced;
        }
        match self.persist(attempt, Change::Rotated).await {
            Ok(()) => {
                self.saved(attempt, &rotated).await;
                // A key that was minted tells nothing of the refresh token.
                if renewal == Renewal::Refresh {
                    self.suspect_ended();
                }
            }
            Err(trouble) => self.keep_unsaved(rotated, &trouble).await,
        }
        // A refresh of an access token that can't infer gives no bearer yet.
        let bearer = self
            .bearer_of(&attempt.login)
            .filter(|credential| credential.kind.is_from(renewal));
        if let Some(credential) = bearer {
            attempt.granted_bearer = Some(credential.bearer.clone());
            self.receipt = Some(Receipt {
                bearer: credential.bearer,
                at: now,
                expires_at: lifetime.map(|lifetime| clock::after(now, lifetime)),
            });
        }
    }

    /// Merges what was granted into the login, and how long it lives. A defect over an odd answer
    /// must not lose it, for the old token is spent: then the tokens alone are taken.
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

    fn bearer_of(&self, login: &Login) -> Option<Credential> {
        match self.adapter.assess(login, self.clock.now()) {
            Assessment::Login { credential, .. } => credential,
            Assessment::NoLogin { .. } => None,
        }
    }

    /// The endpoint calls the grant dead. That is believed only when the store still holds it
    /// after a while: a program without the lock may be about to write what it was granted.
    async fn grant_refused(
        &mut self,
        attempt: &mut Attempt<'_>,
        code: &str,
        description: &str,
    ) -> Result<Option<RefreshResult>, Trouble> {
        let refused = attempt.login.refresh_token();
        let found = attempt.store.found();
        let replaced = refused.as_ref().zip(found);
        let replaced = replaced.and_then(|(refused, found)| merge::replaced_by(refused, found));
        attempt.dead.extend(refused.into_iter().chain(replaced));
        for pause in DOUBT {
            tokio::time::sleep(pause).await;
            attempt.store.work(Transaction::read_again).await?;
            if let Some(login) = self.living(attempt) {
                attempt.login = login;
                return Ok(None);
            }
        }
        let dead = attempt.login.clone();
        attempt.store.mark_dead(&attempt.dead);
        self.quarantine(&mut attempt.login, code, description);
        let written = self.persist_over(&dead, attempt, Change::Quarantined).await;
        self.quarantined = written.is_ok();
        if let Err(trouble) = written {
            tracing::warn!(error = %trouble, "a dead login could not be removed from the store");
        }
        let reason = self.why_ended(attempt.doubted, code);
        self.suspect_ended();
        self.latest = None;
        self.no_login(&reason);
        self.failed("login_rejected", &format!("{code}: {description}"));
        Ok(Some(RefreshResult::Rejected))
    }

    /// The login that store and mirror hold now, if it has a refresh token that was not refused.
    fn living(&self, attempt: &mut Attempt<'_>) -> Option<Login> {
        let found = attempt.store.found()?;
        let is_dead = |login: &Login| {
            let token = login.refresh_token();
            let refused = |token: &Secret| attempt.dead.iter().any(|dead| dead.same(token));
            token.as_ref().is_none_or(refused) || self.was_spent(token.as_ref())
        };
        let mut login = found.login.clone();
        let refused = |token: &Secret| attempt.dead.iter().any(|dead| dead.same(token));
        let rows = self.merge_rows(&mut login, found, refused);
        if is_dead(&login) {
            // What was refused is no login, so that the mirror's may be tried.
            login.remove_refresh_token();
        }
        let mirror = found.mirror.as_ref().filter(|mirror| !is_dead(mirror));
        let merge = rows.and_mirror(self.merge(&mut login, mirror));
        let living = !is_dead(&login);
        attempt.merge = merge;
        living.then_some(login)
    }

    /// What the user is told of the end.
    fn why_ended(&self, doubted: bool, code: &str) -> String {
        match &self.suspect {
            Some(entry) if doubted => format!(
                "the login has ended ({code}): a refresh begun at {} was interrupted after its \
                 token was spent and before the next one arrived",
                entry.started_at.format("%Y-%m-%d %H:%M:%S UTC")
            ),
            _ => format!("the login has ended ({code})"),
        }
    }

    /// Takes the dead tokens out and notes why.
    fn quarantine(&self, login: &mut Login, code: &str, message: &str) {
        login.end(&Ending {
            provider: self.adapter.name().as_str(),
            code,
            message,
            at: self.clock.now(),
        });
    }

    /// Publishes what the renewal came to. The locks are still held.
    fn conclude(&mut self, attempt: &Attempt<'_>) -> Option<RefreshResult> {
        let old = self.bearer();
        if self.unsaved.is_none() {
            self.backoff.succeeded();
            self.retry_at = self.pace.next(self.clock.now());
        }
        if self.suspect.is_some() && self.unsaved.is_none() && !self.is_suspect(&attempt.login) {
            self.suspect_ended();
        }
        self.take(&attempt.login);
        if attempt.granted {
            return Some(RefreshResult::Refreshed);
        }
        let new = self
            .bearer_of(&attempt.login)
            .map(|credential| credential.bearer);
        let adopted = new.is_some_and(|new| !old.is_some_and(|old| old.same(&new)));
        adopted.then_some(RefreshResult::Adopted)
    }

    async fn prepare(&self, attempt: &mut Attempt<'_>) -> Result<(), Trouble> {
        Ok(attempt.store.work(Transaction::prepare).await?)
    }

    async fn persist(&self, attempt: &mut Attempt<'_>, change: Change) -> Result<(), Trouble> {
        let stored = attempt.store.found().map_or_else(
            || Login::empty(attempt.login.layout()),
            |found| found.login.clone(),
        );
        self.persist_over(&stored, attempt, change).await
    }

    /// Writes the attempt's login; pool entries and mirrors with `old`'s tokens follow.
    async fn persist_over(
        &self,
        old: &Login,
        attempt: &mut Attempt<'_>,
        change: Change,
    ) -> Result<(), Trouble> {
        let now = self.clock.now();
        let mirror = attempt.login.mirror(now);
        let logins = (old.clone(), attempt.login.clone());
        let commit = move |store: &mut Transaction| {
            store.commit((&logins.0, &logins.1), mirror, change, now)
        };
        Ok(attempt.store.work(commit).await?)
    }
}
