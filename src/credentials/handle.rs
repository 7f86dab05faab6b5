//! A request's view: the last published snapshot, and a way to wait for the next.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot, watch};

use super::fault_code;
use super::heartbeat::Pulse;
use super::no_login::NO_LOGIN;
use super::pool::Usable;
use super::refreshed::Refreshed;
use super::refused_paths::PathRetries;
use super::settings::{KeeperContext, Revision};
use super::standing::{Availability, Snapshot};
use super::status::{AvailabilityKind, KeeperStatus, LoginFault, Renewals, StatusEvent};
use super::store::{Added, Extent, LoginDestination, LoginStore, NewRow, Removed, StoreError};
use super::timing::{Doubt, SECONDS_OLD};
use crate::backoff;
use crate::clock::{self, Clock};
use crate::provider::{Credential, Grant, Remedy};

/// A refused request waits this long for another credential, if a credential's own limit is not
/// longer: a refresh may take its time, and another program may hold the lock.
const LONGEST_REPLACEMENT: Duration = Duration::from_secs(20);
/// The usual time of a renewal: requests wait this much longer for one that is about to begin.
const RENEWING: Duration = Duration::from_secs(1);

/// What requests ask of the keeper.
#[derive(Debug)]
pub(super) enum Command {
    /// A request found the credential expired: look at the clock now.
    Nudge,
    /// The provider refused the credential of this generation.
    Rejected {
        generation: u64,
        doubt: Doubt,
        done: oneshot::Sender<Ruling>,
    },
    /// Read the store again.
    Reread,
    /// The same, with a signal at its end.
    Look(oneshot::Sender<()>),
    /// Take over a login that only the mirror holds.
    Import(oneshot::Sender<bool>),
    /// Renew the login, due or not: the login that had one of these tokens, by their fingerprints,
    /// or the current one.
    Refresh(Option<Vec<String>>, oneshot::Sender<Refreshed>),
    /// Check that a login could be written.
    MakeRoom(LoginDestination, oneshot::Sender<Result<(), StoreError>>),
    /// Write a login that was just granted.
    Install(
        Grant,
        LoginDestination,
        oneshot::Sender<Result<PathBuf, StoreError>>,
    ),
    /// Write a login that was just granted to a new row of the pool.
    Add(Grant, NewRow, oneshot::Sender<Result<Added, StoreError>>),
    /// Take the login, or all of the provider's, out of the store, if it is still in the file that was meant.
    Logout(
        Option<PathBuf>,
        Extent,
        oneshot::Sender<Result<Removed, StoreError>>,
    ),
}

/// What the keeper has done about a refused credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ruling {
    /// It has done its work; there is another credential, or none for now.
    Dealt,
    /// Nothing, because there were many renewals a moment ago.
    Paced,
}

/// Why a refused credential was not replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotReplaced {
    /// There were many renewals a moment ago: the provider may refuse at random, which sending the request
    /// again with the same credential shows.
    Paced,
    /// There is no other credential for now.
    NoOther,
}

/// What the keeper and its handles share.
#[derive(Debug)]
pub(super) struct SharedCredential {
    pub(super) snapshot: ArcSwap<Snapshot>,
    pub(super) changed: watch::Sender<()>,
    pub(super) status: Mutex<KeeperStatus>,
    pub(super) pulse: Pulse,
    /// The newest terms; the keeper takes them up between two steps.
    pub(super) terms: watch::Sender<Arc<Revision>>,
    /// Those that it has taken up.
    pub(super) in_force: AtomicU64,
    /// A renewal is under way, or waits for the store's locks.
    pub(super) is_at_work: AtomicBool,
}

impl SharedCredential {
    /// As it is before the keeper has read anything.
    pub(super) fn new(first: Arc<Revision>, pulse: Pulse) -> Self {
        Self {
            snapshot: ArcSwap::from_pointee(Snapshot {
                generation: 0,
                standing: Availability::Starting,
                revision: first.number,
                login: None,
                retry_at: None,
                proven: Arc::default(),
                granted_at: None,
                row: Arc::default(),
            }),
            changed: watch::Sender::new(()),
            status: Mutex::new(KeeperStatus {
                standing: AvailabilityKind::Starting,
                renewing: false,
                base_url: None,
                kind: None,
                expires_at: None,
                next_renewal: None,
                last_renewal: None,
                renewals: Renewals::default(),
                last_error: None,
                unsaved: false,
                may_be_spent: false,
                unreadable: None,
                hindrance: None,
                login: None,
            }),
            pulse,
            in_force: AtomicU64::new(first.number),
            is_at_work: AtomicBool::new(false),
            terms: watch::Sender::new(first),
        }
    }
}

/// A login's credentials, as requests see them by the terms of their configuration. Cheap to clone.
#[derive(Clone)]
pub struct CredentialHandle {
    pub(super) shared: Arc<SharedCredential>,
    pub(super) commands: mpsc::Sender<Command>,
    /// The paths that are refused with any token.
    pub(super) trials: Arc<PathRetries>,
    pub(super) clock: Arc<dyn Clock>,
    /// Its login's place among the provider's.
    pub(super) place: usize,
    /// The login's store, if it has one.
    pub(super) store: Option<LoginStore>,
    pub(super) terms: Arc<Revision>,
}

/// Tells a credential from those before and after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialStamp {
    /// Which of the provider's logins it is of: its place among them.
    pub login: usize,
    /// How many of that login's were handed out before it.
    pub generation: u64,
}

/// A credential that was valid when it was handed out, with its generation.
#[derive(Debug, Clone)]
pub struct Lease {
    credential: Arc<Credential>,
    snapshot: Arc<Snapshot>,
    /// Of the login that gave it.
    place: usize,
}

/// A request that is sent again with another credential. Until it is known how that ended, its path
/// causes no other rotation.
#[derive(Debug)]
pub struct Replay<'r> {
    handle: CredentialHandle,
    path: &'r str,
    lease: &'r Lease,
    refused: bool,
}

impl Replay<'_> {
    /// The provider refuses the other credential too: the token was not the reason.
    pub fn refused(mut self) {
        self.refused = true;
        let (trials, snapshot) = (&self.handle.trials, &self.lease.snapshot);
        let now = self.handle.clock.now();
        snapshot.row.refused(now);
        if let Some(pause) = trials.refused(self.path, snapshot.generation, now) {
            tracing::warn!(
                path = self.path,
                pause_seconds = pause.as_secs(),
                "a request was refused even with a token that was just renewed: the token is \
                 not the cause, so this path triggers no renewal for a while"
            );
        }
    }
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        if !self.refused {
            let generation = self.lease.snapshot.generation;
            self.handle.trials.taken(self.path, generation);
        }
    }
}

/// Why there is no credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCredential {
    /// Only the user can fix it; the message names the command.
    #[error("{message}")]
    LoginNeeded {
        /// For the client's error.
        message: String,
    },
    /// It may recover without help.
    #[error("{message}")]
    Unavailable {
        /// For the client's error.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// All logins' quotas are used up for a while.
    #[error("all logins are cooling down")]
    CoolingDown {
        /// Until when the first of them has nothing.
        until: DateTime<Utc>,
        /// How long that is.
        retry_after: Duration,
    },
}

impl Lease {
    /// The place of its login among the provider's.
    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// What goes upstream.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Which of the provider's logins it is of, and which of its credentials.
    pub fn stamp(&self) -> CredentialStamp {
        CredentialStamp {
            login: self.place,
            generation: self.snapshot.generation,
        }
    }

    /// The provider took this credential: it did what was asked.
    pub fn prove(&self) {
        self.snapshot.row.taken();
        if !self.snapshot.proven.load(Ordering::Relaxed) {
            self.snapshot.proven.store(true, Ordering::Relaxed);
        }
    }
}

impl CredentialHandle {
    /// The credential, at once if a valid one exists: one atomic load and a look at the clock.
    /// Otherwise waits for the keeper, up to the configured limit, unless only the user can help or
    /// the next attempt comes after that limit.
    ///
    /// # Errors
    /// [`NoCredential`] tells the client what to do.
    pub async fn credential(&self) -> Result<Lease, NoCredential> {
        match self.now() {
            // Rare, so not a part of every request's future.
            CurrentCredential::Lease(lease) if lease.snapshot.row.is_given_up() => {
                Box::pin(self.successor(lease)).await
            }
            CurrentCredential::Lease(lease) => Ok(lease),
            CurrentCredential::Refused(refusal) => Err(refusal),
            CurrentCredential::Wait => self.wait().await,
        }
    }

    /// The credential after one that requests were refused with twice, as soon as it exists: the wait costs
    /// neither an upstream connection nor a body in memory. The same one, if it was accepted after all or not
    /// replaced in time.
    async fn successor(&self, lease: Lease) -> Result<Lease, NoCredential> {
        let mut changed = self.shared.changed.subscribe();
        let granted_at = lease.snapshot.granted_at.unwrap_or_default();
        let until = clock::after(granted_at, SECONDS_OLD.saturating_add(RENEWING));
        // Unless the clock was put back behind the grant.
        let is_young = |now| granted_at <= now && now < until;
        while lease.snapshot.row.is_given_up() && is_young(self.clock.now()) {
            match self.now() {
                CurrentCredential::Lease(newer)
                    if !newer.credential.bearer.same(&lease.credential.bearer) =>
                {
                    return Ok(newer);
                }
                CurrentCredential::Lease(_) => {}
                CurrentCredential::Refused(refusal) => return Err(refusal),
                CurrentCredential::Wait => return self.wait().await,
            }
            tokio::select! {
                is_over = clock::nap(&*self.clock, until, Duration::from_secs(1)) => {
                    if is_over {
                        break;
                    }
                }
                published = changed.changed() => {
                    if published.is_err() {
                        break;
                    }
                }
            }
        }
        match self.now() {
            CurrentCredential::Lease(lease) => Ok(lease),
            CurrentCredential::Refused(refusal) => Err(refusal),
            CurrentCredential::Wait => self.wait().await,
        }
    }

    /// The credential, if a valid one exists.
    pub(super) fn at_once(&self) -> Option<Lease> {
        match self.now() {
            CurrentCredential::Lease(lease) => Some(lease),
            CurrentCredential::Refused(_) | CurrentCredential::Wait => None,
        }
    }

    /// Whether there is something to send at `now`.
    pub(super) fn usable(&self, now: DateTime<Utc>) -> Usable {
        let snapshot = self.shared.snapshot.load();
        let judged;
        let standing = if snapshot.revision == self.terms.number {
            &snapshot.standing
        } else {
            judged = self.terms.judge(&snapshot, now);
            &judged
        };
        match standing {
            Availability::Credential(credential)
                if credential.expires_at.is_none_or(|end| end > now) =>
            {
                Usable::Now
            }
            Availability::Credential(_) | Availability::Pending | Availability::Starting => {
                Usable::Soon
            }
            Availability::LoginNeeded(_) | Availability::Unreadable(_) => Usable::No,
        }
    }

    /// The provider's name, for the log.
    pub(super) fn provider(&self) -> &str {
        self.terms.terms.adapter.name().as_str()
    }

    /// After the provider has refused a credential on this path: another credential, if the keeper has one or can get
    /// one. At most one refresh happens for all requests that were refused with the same
    /// credential, and none for a path that was refused with a fresh one a moment ago, unless all
    /// paths have been refused since.
    ///
    /// # Errors
    /// [`NotReplaced`] says whether the same credential is worth a second try.
    pub async fn replacement(&self, refused: &Lease, path: &str) -> Result<Lease, NotReplaced> {
        self.replaced(refused, path, Doubt::Once).await
    }

    /// The same after a second try with the same credential was refused too: it is dead, so it is replaced
    /// in spite of many recent renewals. One that is only seconds old is replaced when it is five seconds
    /// old, and the request waits for that. So a provider that refuses every grant costs at most one token
    /// in this time.
    ///
    /// # Errors
    /// There is no other credential for now.
    pub async fn replacement_at_last(
        &self,
        refused: &Lease,
        path: &str,
    ) -> Result<Lease, NotReplaced> {
        let mut changed = self.shared.changed.subscribe();
        let answer = self.replaced(refused, path, Doubt::Twice).await;
        let (Err(NotReplaced::Paced), Some(granted_at)) = (&answer, refused.snapshot.granted_at)
        else {
            return answer;
        };
        refused.snapshot.row.give_up();
        let old_enough = clock::after(granted_at, SECONDS_OLD);
        loop {
            // All that were refused with it wait, and the first one's renewal is for all.
            if let Some(newer) = self.other_than(refused) {
                return Ok(newer);
            }
            tokio::select! {
                is_over = clock::nap(&*self.clock, old_enough, Duration::from_secs(1)) => {
                    if is_over {
                        return self.replaced(refused, path, Doubt::Twice).await;
                    }
                }
                published = changed.changed() => {
                    if published.is_err() {
                        return answer;
                    }
                }
            }
        }
    }

    async fn replaced(
        &self,
        refused: &Lease,
        path: &str,
        doubt: Doubt,
    ) -> Result<Lease, NotReplaced> {
        let generation = refused.snapshot.generation;
        let now = self.clock.now();
        refused.snapshot.row.refused(now);
        if let Some(newer) = self.other_than(refused) {
            return Ok(newer);
        }
        let doubted = refused.snapshot.row.is_long(now);
        if self.trials.is_closed(path, now) && !doubted {
            return Err(NotReplaced::NoOther);
        }
        let asking = self.ask(|done| Command::Rejected {
            generation,
            doubt,
            done,
        });
        let wait = self.limit().max(LONGEST_REPLACEMENT);
        let ruling = tokio::time::timeout(wait, asking).await;
        let ruling = ruling.ok().flatten().ok_or(NotReplaced::NoOther)?;
        self.other_than(refused).ok_or(match ruling {
            Ruling::Paced => NotReplaced::Paced,
            Ruling::Dealt => NotReplaced::NoOther,
        })
    }

    /// The credential now, if it is another one.
    fn other_than(&self, refused: &Lease) -> Option<Lease> {
        match self.now() {
            CurrentCredential::Lease(lease)
                if !lease.credential.bearer.same(&refused.credential.bearer) =>
            {
                Some(lease)
            }
            CurrentCredential::Lease(_)
            | CurrentCredential::Refused(_)
            | CurrentCredential::Wait => None,
        }
    }

    /// Whether the login in use is ours alone. Takes a lock.
    pub fn is_separate(&self) -> bool {
        self.status().login.is_some_and(|login| login.own)
    }

    /// Whether the user has taken the login out with Hermes Agent, and made none with it since.
    pub async fn is_suppressed(&self) -> bool {
        let Some(store) = &self.store else {
            return false;
        };
        let suppressed = store.work(|store| Ok(store.is_suppressed())).await;
        suppressed.unwrap_or_default()
    }

    /// Whether there has never been a login, as far as is known.
    pub fn is_unused(&self) -> bool {
        match &self.shared.snapshot.load().standing {
            Availability::Starting => true,
            Availability::LoginNeeded(reason) => **reason == *NO_LOGIN,
            Availability::Credential(_) | Availability::Pending | Availability::Unreadable(_) => {
                false
            }
        }
    }

    /// A request of this path is sent again with this credential.
    pub fn replay<'r>(&self, path: &'r str, lease: &'r Lease) -> Replay<'r> {
        self.trials.begin(path, self.clock.now());
        Replay {
            handle: self.clone(),
            path,
            lease,
            refused: false,
        }
    }

    /// The same login by other terms, as a reload has them. They hold for this handle at once, and for the
    /// keeper after its current step: a renewal under way ends as it began.
    #[must_use]
    pub fn renewed(&self, terms: KeeperContext) -> Self {
        let mut revision = None;
        self.shared.terms.send_modify(|newest| {
            *newest = Arc::new(newest.next(terms));
            revision = Some(newest.clone());
        });
        Self {
            terms: revision.unwrap_or_else(|| self.terms.clone()),
            ..self.clone()
        }
    }

    /// Whether the keeper goes by this handle's terms, or by newer ones.
    pub fn is_settled(&self) -> bool {
        self.shared.in_force.load(Ordering::Relaxed) >= self.terms.number
    }

    /// Has the store read again, as after a login.
    pub async fn reread(&self) {
        drop(self.commands.send(Command::Reread).await);
    }

    /// The same for callers that can't wait; a full queue is drained soon anyway.
    pub(super) fn reread_soon(&self) {
        drop(self.commands.try_send(Command::Reread));
    }

    /// Has the store read again, and waits for it, unless a renewal is under way, which may take long.
    pub async fn look_unless_renewing(&self) {
        if self.shared.is_at_work.load(Ordering::Relaxed) {
            self.reread().await;
        } else {
            self.look().await;
        }
    }

    /// Has the store read again, and waits for it.
    pub async fn look(&self) {
        self.ask(Command::Look).await.unwrap_or_default();
    }

    /// Whether the keeper has ended, so that nothing can be asked of it.
    pub fn has_ended(&self) -> bool {
        self.commands.is_closed()
    }

    /// Takes over a login that only the mirror still holds, as Hermes Agent offers to; whether
    /// there was one. `None` when the keeper has ended.
    pub async fn import(&self) -> Option<bool> {
        self.ask(Command::Import).await
    }

    /// Renews the login, due or not; `None` when the keeper has ended.
    pub async fn refresh(&self) -> Option<Refreshed> {
        self.ask(|done| Command::Refresh(None, done)).await
    }

    /// The same for the login that had one of these tokens, by their fingerprints: a different login in its place
    /// is not spent.
    pub(super) async fn refresh_meant(&self, tokens: Vec<String>) -> Option<Refreshed> {
        self.ask(|done| Command::Refresh(Some(tokens), done)).await
    }

    /// Checks that a new login could be written at `place`; `None` when the keeper has ended.
    pub async fn make_room(&self, place: LoginDestination) -> Option<Result<(), StoreError>> {
        self.ask(|done| Command::MakeRoom(place, done)).await
    }

    /// Writes a login that was just granted and serves with it: the file that holds it. `None`
    /// when the keeper has ended.
    pub async fn install(
        &self,
        grant: Grant,
        place: LoginDestination,
    ) -> Option<Result<PathBuf, StoreError>> {
        self.ask(|done| Command::Install(grant, place, done)).await
    }

    /// Takes the login, or all of the provider's, out of the store, if it is still in the file that was `meant`; `None`
    /// when the keeper has ended.
    pub async fn logout(
        &self,
        meant: Option<PathBuf>,
        extent: Extent,
    ) -> Option<Result<Removed, StoreError>> {
        self.ask(|done| Command::Logout(meant, extent, done)).await
    }

    /// The name of another login of the same account, if this is the block's.
    pub async fn same_account_as(&self) -> Option<String> {
        let store = self.store.clone()?;
        let told = store.work(LoginStore::same_account_as_block).await;
        told.ok().flatten()
    }

    pub(super) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Option<T> {
        let (done, answer) = oneshot::channel();
        self.commands.send(command(done)).await.ok()?;
        answer.await.ok()
    }

    /// Whether there is a login, as far as is known. No lock, no file.
    pub fn is_authenticated(&self) -> bool {
        match self.shared.snapshot.load().standing {
            Availability::Credential(_) | Availability::Pending => true,
            Availability::Starting | Availability::LoginNeeded(_) | Availability::Unreadable(_) => {
                false
            }
        }
    }

    /// Whether the keeper lives, or has ended on request. Every step of a living one is bounded:
    /// locks, the token endpoint and the disk have time limits.
    pub fn keeper_is_well(&self) -> bool {
        self.shared.pulse.is_well()
    }

    /// For `proxy status`.
    pub fn status(&self) -> KeeperStatus {
        let mut status = self
            .shared
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let snapshot = self.shared.snapshot.load();
        if self.terms.number != snapshot.revision
            && let Availability::Credential(credential) = self.seen(&snapshot)
        {
            status.base_url = Some(credential.base_url.to_string());
            status.kind = Some(credential.kind);
        }
        if let Some(hindrance) = &status.hindrance {
            let what = LoginFault {
                code: fault_code::UNSAVABLE,
                message: hindrance.told(),
            };
            let at = hindrance.at;
            status.last_error = Some(StatusEvent { at, what });
        }
        if let Some(unreadable) = &status.unreadable {
            let what = LoginFault {
                code: fault_code::UNREADABLE,
                message: unreadable.reason.clone(),
            };
            let at = unreadable.at;
            status.last_error = Some(StatusEvent { at, what });
        }
        if status.standing == AvailabilityKind::Ready
            && status.expires_at.is_some_and(|end| end <= self.clock.now())
        {
            status.standing = AvailabilityKind::Expired;
        }
        status
    }

    /// Waits until this handle's terms can answer requests: until the keeper has read the store for the first
    /// time, or, for a login without a store, by these terms alone.
    pub async fn started(&self) {
        let mut changed = self.shared.changed.subscribe();
        while matches!(
            self.seen(&self.shared.snapshot.load()),
            Availability::Starting
        ) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// A snapshot's content by this handle's terms.
    fn seen(&self, snapshot: &Snapshot) -> Availability {
        if snapshot.revision == self.terms.number {
            return snapshot.standing.clone();
        }
        self.terms.judge(snapshot, self.clock.now())
    }

    fn now(&self) -> CurrentCredential {
        let snapshot = self.shared.snapshot.load();
        let now = self.clock.now();
        let judged;
        let standing = if snapshot.revision == self.terms.number {
            &snapshot.standing
        } else {
            judged = self.terms.judge(&snapshot, now);
            &judged
        };
        match standing {
            Availability::Credential(credential)
                if credential.expires_at.is_none_or(|end| end > now) =>
            {
                CurrentCredential::Lease(Lease {
                    credential: credential.clone(),
                    snapshot: arc_swap::Guard::into_inner(snapshot),
                    place: self.place,
                })
            }
            Availability::LoginNeeded(reason) => {
                CurrentCredential::Refused(self.login_needed(reason))
            }
            Availability::Unreadable(reason) => {
                CurrentCredential::Refused(NoCredential::Unavailable {
                    message: format!("the credential store can't be read: {reason}"),
                    retry_after: self.limit(),
                })
            }
            Availability::Credential(_) | Availability::Pending | Availability::Starting => {
                match snapshot.retry_at {
                    Some(at) if is_beyond(at, now, self.limit()) => {
                        CurrentCredential::Refused(self.unavailable(clock::until(at, now)))
                    }
                    _ => CurrentCredential::Wait,
                }
            }
        }
    }

    async fn wait(&self) -> Result<Lease, NoCredential> {
        let found = tokio::time::timeout(self.limit(), self.change()).await;
        found.unwrap_or_else(|_| Err(self.unavailable(Duration::from_secs(1))))
    }

    /// Waits until the keeper has a credential, or reports that there is none.
    async fn change(&self) -> Result<Lease, NoCredential> {
        let mut changed = self.shared.changed.subscribe();
        // A full queue holds a nudge already.
        drop(self.commands.try_send(Command::Nudge));
        loop {
            match self.now() {
                CurrentCredential::Lease(lease) => return Ok(lease),
                CurrentCredential::Refused(refusal) => return Err(refusal),
                CurrentCredential::Wait => {}
            }
            tokio::select! {
                biased;
                Ok(()) = changed.changed() => {}
                // Its keeper has ended: the provider was removed, or the daemon stops.
                () = self.commands.closed() => {
                    return Err(self.unavailable(Duration::from_secs(1)));
                }
            }
        }
    }

    /// How long a request waits for a credential.
    fn limit(&self) -> Duration {
        self.terms.terms.settings.wait
    }

    fn unavailable(&self, retry_after: Duration) -> NoCredential {
        let hindrance = self.status().hindrance;
        let why = hindrance.map_or_else(
            || "`hermesctl proxy status` shows why".to_owned(),
            |hindrance| hindrance.told(),
        );
        NoCredential::Unavailable {
            message: format!("hermes-proxyd: the token has expired and can't be renewed; {why}"),
            retry_after: retry_after.max(Duration::from_secs(1)),
        }
    }

    fn login_needed(&self, reason: &str) -> NoCredential {
        let own = self.status().login.is_some_and(|login| login.own);
        let remedy = self.terms.terms.adapter.remedy();
        let remedy = match (remedy.command(own), remedy) {
            (Some(command), _) => format!("run: {command}"),
            (None, Remedy::Advice(advice) | Remedy::Run(advice) | Remedy::RunAsItIs(advice)) => {
                advice
            }
        };
        NoCredential::LoginNeeded {
            message: format!("hermes-proxyd: {reason}; {remedy}"),
        }
    }
}

/// Whether an attempt is further ahead than `limit`. One that is further ahead than any backoff was
/// set before the clock was put back, and counts as due.
fn is_beyond(at: DateTime<Utc>, now: DateTime<Utc>, limit: Duration) -> bool {
    let wait = clock::until(at, now);
    wait > limit && wait <= backoff::LONGEST
}

enum CurrentCredential {
    Lease(Lease),
    Refused(NoCredential),
    Wait,
}

impl fmt::Debug for CredentialHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
