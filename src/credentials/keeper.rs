//! The one task that owns a provider's tokens.
//!
//! It sleeps until a renewal is due, a request was refused, or someone else wrote the store; a
//! renewal itself (see `renewal`) runs to its end whatever happens around it, because it may
//! have spent a token.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::grant;
use super::handle::{Command, Handle, Shared, Snapshot, Standing};
use super::hindrance::Hindered;
use super::journal::{Chore, Entry, Journal, Kept};
use super::notice::{Audience, Notice, NoticeKind};
use super::pulse::Heart;
use super::schedule::{Pace, Window};
use super::status::{Event, Fault, LoginStatus, RefreshResult, StandingKind, Status};
use super::store::{Found, Stamp, Store, StoreError};
use super::terms::{Revision, Terms};
use crate::backoff::{self, Backoff};
use crate::clock::{self, Clock};
use crate::files::Desk;
use crate::provider::{Adapter, Assessment, Credential, Login, Merge, Remedy, Renewal};
use crate::secret::Secret;

/// How often the store's files are looked at for someone else's writing: three `stat` calls.
const WATCH: Duration = Duration::from_secs(3);
/// A store that can't be read is looked at again this soon, before the user is told.
const UNREAD_AGAIN: Duration = Duration::from_secs(1);
/// A lock may take this long after the keeper was told to end.
const FAREWELL: Duration = Duration::from_millis(250);
/// A credential just granted that was refused before it was ever taken is not replaced within
/// this time: the provider refuses for another reason, and each refresh would spend a token.
const UNPROVEN: Duration = Duration::from_secs(30);
/// That time doubles so often: up to an hour.
const LONGEST_TRIAL: u32 = 7;
/// Commands that may wait; more than the connections a daemon takes by default.
const QUEUE: usize = 2048;
/// A lock is waited for at least this long, as Hermes Agent does.
const LOCK_WAIT: Duration = Duration::from_secs(15);
/// A holder may keep the lock across one request; this much longer we wait.
const LOCK_MARGIN: Duration = Duration::from_secs(5);
/// The disk has this long on top of what a step waits for.
const DISK: Duration = Duration::from_mins(1);
/// The locks that one step takes, one after the other.
const LOCKS: u32 = 3;
/// Why there is no credential when nobody has logged in.
pub const NO_LOGIN: &str = "there is no login";
/// Why there is none when the user has taken it out with Hermes Agent; it begins with the former.
pub(super) const SUPPRESSED: &str = "there is no login: it was removed with `hermes auth remove`, so only a new login brings it back";
/// So many spent refresh tokens are remembered: weeks of them.
const REMEMBERED: usize = 256;
/// So many removals from the journal wait while its folder hangs.
const CHORES: usize = 64;

/// What a keeper is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// About how long before its end a credential is renewed; see `schedule`.
    pub refresh_lead: Duration,
    /// The limit of one request to the token endpoint; a lock is waited for longer than that,
    /// because its holder may be in the middle of one.
    pub token_timeout: Duration,
    /// How long a request waits for a credential when it has none. After the provider's 401 it
    /// waits for another one up to 20 s, if that is longer.
    pub wait: Duration,
    /// Whether it renews what is due, or only what it is asked to.
    pub initiative: Initiative,
    /// Where the user hears of what matters at once.
    pub audience: Option<Arc<dyn Audience>>,
}

/// Whether a keeper acts by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initiative {
    /// It renews what is due.
    Keeps,
    /// It looks, and does what it is asked to: another daemon may be the one that keeps.
    Waits,
}

/// The task that owns a provider's tokens.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that have nothing to do with each other"
)]
pub struct Keeper {
    pub(super) adapter: Arc<dyn Adapter>,
    pub(super) store: Option<Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: Settings,
    pub(super) shared: Arc<Shared>,
    pub(super) backoff: Backoff,
    /// No attempt before this time.
    pub(super) retry_at: Option<DateTime<Utc>>,
    /// The next renewal.
    pub(super) due: Option<DateTime<Utc>>,
    /// The end of the credential that was last granted, by the clock of its receipt.
    pub(super) receipt: Option<Receipt>,
    pub(super) unsaved: Option<Unsaved>,
    /// The last login that was granted to this process, saved or not.
    pub(super) latest: Option<Unsaved>,
    /// The store could not be read at the last look, and since when.
    pub(super) unread: Option<DateTime<Utc>>,
    /// What keeps a renewed login from being saved.
    pub(super) hindered: Hindered,
    /// The store's stamps with a login that this keeper fails over.
    pub(super) distrusted: Option<Vec<Stamp>>,
    /// Since it was started last, it has looked at the store.
    pub(super) looked: bool,
    /// A refresh of the stored token was begun and its end is not known.
    pub(super) suspect: Option<Entry>,
    /// What is to be removed from the journal.
    pub(super) chores: Vec<Chore>,
    /// When the user logged in, as far as is known, and whether the store says so.
    pub(super) since: Option<(DateTime<Utc>, bool)>,
    /// The file that holds the login in use.
    pub(super) source: Option<PathBuf>,
    /// The journal of that login could not be read yet, so nobody knows which token may be spent.
    pub(super) unentered: bool,
    /// The login that was taken last.
    pub(super) held: Option<Held>,
    /// The dead login was taken out of the store.
    pub(super) quarantined: bool,
    /// So many tokens in a row were replaced before the provider had taken them.
    pub(super) unproven: u32,
    /// The floor between rotations.
    pub(super) pace: Pace,
    /// A person asks for the rotation, and may.
    pub(super) by_hand: bool,
    /// An answer of the token endpoint was lost: the token may be spent.
    pub(super) answer_lost: bool,
    /// From then on nothing is begun.
    pub(super) stop: CancellationToken,
    pub(super) told: Told,
    /// The login behind the credential that is published.
    pub(super) taken: Option<Arc<Login>>,
    /// What a reload gives it to go by.
    pub(super) terms: watch::Receiver<Arc<Revision>>,
    /// The number of those that it goes by.
    pub(super) revision: u64,
    /// Store and mirror held different tokens at the last look; when they are to be mended.
    pub(super) mend_at: Option<DateTime<Utc>>,
    /// Nothing asks for the provider: that it has no login is no trouble.
    pub(super) optional: bool,
    /// The reading of a key that is in no store.
    pub(super) desk: Desk,
    /// For the watchdog.
    heart: Heart,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) stamps: Vec<Stamp>,
}

/// What tells a rotation of a login from another login.
#[derive(Debug)]
pub(super) struct Held {
    token: Option<Secret>,
    /// The note of the login's age, and when its tokens were obtained.
    lineage: Option<DateTime<Utc>>,
    obtained_at: Option<DateTime<Utc>>,
}

/// What the user was told, so that it is told once.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is about another notice"
)]
pub(super) struct Told {
    /// That a login is needed.
    pub(super) end: bool,
    /// That a login is not saved.
    pub(super) unsaved: bool,
    /// That a login can't be read.
    pub(super) unreadable: bool,
    /// That a login can't be renewed on this machine.
    pub(super) hindered: bool,
    /// Nothing, because it is about what the user has just asked for.
    pub(super) hush: bool,
    /// So many of the warnings about the grant's end at this time.
    warned: Option<(DateTime<Utc>, usize)>,
}

/// When a credential was received and when it ends by that.
#[derive(Debug, Clone)]
pub(super) struct Receipt {
    pub(super) bearer: Secret,
    pub(super) at: DateTime<Utc>,
    pub(super) expires_at: Option<DateTime<Utc>>,
}

/// A rotated login that is not on disk.
#[derive(Debug, Clone)]
pub(super) struct Unsaved {
    pub(super) login: Login,
    /// The refresh tokens that must not be used any more: the one that was spent, and what stood
    /// in the store then.
    pub(super) spent: Vec<Option<Secret>>,
}

impl Unsaved {
    /// A login just granted. `spent` is what it was granted for and what stood in the store;
    /// the tokens that `former` replaced stay spent.
    pub(super) fn new(login: Login, spent: [Option<Secret>; 2], former: Option<Self>) -> Self {
        let current = login.refresh_token();
        let mut spent: Vec<_> = spent.into_iter().collect();
        spent.extend(former.map(|former| former.spent).unwrap_or_default());
        spent.retain(|token| !same(token.as_ref(), current.as_ref()));
        spent.truncate(REMEMBERED);
        Self { login, spent }
    }

    /// Whether `stored` is still what it replaces, or already what it is: nobody renewed or
    /// logged in since.
    pub(super) fn still_stands(&self, stored: &Login) -> bool {
        // Another account's row, or a login that the user has made since, says nothing of this one.
        let row = self.login.row();
        if row.is_some() && row != stored.row() {
            return true;
        }
        let stored = stored.refresh_token();
        self.is_spent(stored.as_ref()) || same(self.login.refresh_token().as_ref(), stored.as_ref())
    }

    /// As it lies beside the journal.
    pub(super) fn to_keep(&self) -> Kept {
        let replaces = self.spent.iter().flatten().map(Secret::fingerprint);
        Kept {
            login: self.login.clone(),
            replaces: replaces.collect(),
        }
    }

    /// The fingerprints of its refresh token and of those that it replaces.
    fn tokens(&self) -> Vec<String> {
        let current = self.login.refresh_token();
        let tokens = self.spent.iter().flatten().chain(&current);
        tokens.map(Secret::fingerprint).collect()
    }

    /// Whether this refresh token is one that it replaces.
    pub(super) fn is_spent(&self, token: Option<&Secret>) -> bool {
        self.spent.iter().any(|spent| same(spent.as_ref(), token))
    }
}

fn lock_limit(settings: &Settings) -> Duration {
    LOCK_WAIT.max(settings.token_timeout.saturating_add(LOCK_MARGIN))
}

/// What a keeper may take from one sign of life to the next: all locks, one call of the token
/// endpoint with its second try, and the disk.
fn longest_step(settings: &Settings) -> Duration {
    let calls = settings.token_timeout.saturating_mul(2);
    let locks = lock_limit(settings).saturating_mul(LOCKS);
    locks.saturating_add(calls).saturating_add(DISK)
}

/// Whether both are the same token, or both are none.
pub(super) fn same(one: Option<&Secret>, other: Option<&Secret>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.same(other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

impl Keeper {
    /// A keeper and its handle. `files` is where the store lies; nothing is read before
    /// [`Keeper::run`].
    pub fn new(
        adapter: Arc<dyn Adapter>,
        files: super::StoreFiles,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> (Self, Handle) {
        let store = adapter.layout().map(|layout| Store::new(files, layout));
        let (sender, commands) = mpsc::channel(QUEUE);
        let heart = Heart::new(longest_step(&settings));
        let first = Arc::new(Revision::first(Terms {
            adapter: adapter.clone(),
            settings: settings.clone(),
            optional: false,
        }));
        let shared = Arc::new(Shared::new(first.clone(), heart.pulse()));
        let handle = Handle {
            shared: shared.clone(),
            commands: sender,
            trials: Arc::default(),
            clock: clock.clone(),
            place: 0,
            store: store.clone(),
            terms: first.clone(),
        };
        let terms = shared.terms.subscribe();
        let keeper = Self {
            adapter,
            store,
            clock,
            settings,
            shared,
            backoff: Backoff::default(),
            retry_at: None,
            due: None,
            receipt: None,
            unsaved: None,
            latest: None,
            unread: None,
            hindered: Hindered::default(),
            distrusted: None,
            looked: false,
            suspect: None,
            chores: Vec::new(),
            since: None,
            source: None,
            unentered: false,
            held: None,
            quarantined: false,
            unproven: 0,
            pace: Pace::default(),
            by_hand: false,
            answer_lost: false,
            stop: CancellationToken::new(),
            told: Told::default(),
            taken: None,
            terms,
            revision: first.number,
            mend_at: None,
            optional: false,
            desk: Desk::default(),
            heart,
            commands,
            stamps: Vec::new(),
        };
        (keeper, handle)
    }

    /// That there is no login is said nowhere, unless there was one.
    #[must_use]
    pub fn optional(self, optional: bool) -> Self {
        Self { optional, ..self }
    }

    /// Renews what is due, and does what it is asked to, until it is told to end.
    pub(super) async fn keep(&mut self) {
        let stop = self.stop.clone();
        let mut looked: Option<Instant> = None;
        while !stop.is_cancelled() {
            self.step();
            self.take_up_terms().await;
            if self.is_due() {
                // What went wrong stands in the status, and it is tried again.
                self.renew(None).await.ok();
            }
            let clock = self.clock.clone();
            let (wake, longest) = self.next_look();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = self.terms.changed() => {}
                command = self.commands.recv() => match command {
                    Some(command) => {
                        self.step();
                        self.obey(command).await;
                    }
                    None => break,
                },
                _ = clock::nap(&*clock, wake, longest) => {}
            }
            self.step();
            self.notice_others().await;
            // After a command or a renewal nothing more is known of the files than before.
            if looked.is_none_or(|at| at.elapsed() >= WATCH) {
                self.notice_hindrance().await;
                looked = Some(Instant::now());
            }
            self.tidy().await.ok();
            self.warn_of_the_end();
        }
    }

    /// Ends in order.
    pub(super) fn end(self) {
        self.heart.ended();
    }

    pub(super) async fn obey(&mut self, command: Command) {
        match command {
            // The loop looks at the clock after every command.
            Command::Nudge => {}
            Command::Reread => self.look().await,
            Command::Rejected { generation, done } => self.rejected(generation, done).await,
            Command::Look(done) => {
                self.look().await;
                done.send(()).ok();
            }
            // Whoever asked may be gone.
            Command::Import(done) => drop(done.send(self.import().await)),
            Command::Refresh(done) => drop(done.send(self.refresh_now().await)),
            Command::MakeRoom(place, done) => drop(done.send(self.make_room(place).await)),
            Command::Install(grant, place, done) => {
                drop(done.send(self.install(grant, place).await));
            }
            Command::Logout(meant, mut done) => {
                let removed = self.logout(meant, done.closed()).await;
                drop(done.send(removed));
            }
        }
    }

    /// A lock is waited for longer than its holder's request may take.
    pub(super) fn lock_limit(&self) -> Duration {
        lock_limit(&self.settings)
    }

    /// A sign of life, before whatever may take its time.
    pub(super) fn step(&self) {
        self.heart.beat(longest_step(&self.settings));
    }

    /// The bearer in use.
    pub(super) fn bearer(&self) -> Option<Secret> {
        match &self.shared.snapshot.load().standing {
            Standing::Credential(credential) => Some(credential.bearer.clone()),
            Standing::Starting
            | Standing::Pending
            | Standing::LoginNeeded(_)
            | Standing::Unreadable(_) => None,
        }
    }

    /// When the credential in use ends.
    pub(super) fn expires_at(&self) -> Option<DateTime<Utc>> {
        match &self.shared.snapshot.load().standing {
            Standing::Credential(credential) => credential.expires_at,
            Standing::Starting
            | Standing::Pending
            | Standing::LoginNeeded(_)
            | Standing::Unreadable(_) => None,
        }
    }

    /// The token that a cut-off refresh was about is not in the store any more, or was never sent.
    pub(super) fn suspect_ended(&mut self) {
        if let (Some(entry), Some(journal)) = (self.suspect.take(), self.journal()) {
            self.leave_for_later(Chore::End(journal, entry));
        }
    }

    fn leave_for_later(&mut self, chore: Chore) {
        if !self.chores.contains(&chore) {
            self.chores.truncate(CHORES);
            self.chores.push(chore);
        }
    }

    /// Removes what of the journal is not needed any more.
    ///
    /// # Errors
    /// When its folder hangs; then it is left for later.
    pub(super) async fn tidy(&mut self) -> Result<(), StoreError> {
        let Some(store) = self.store.as_ref().filter(|_| !self.chores.is_empty()) else {
            return Ok(());
        };
        let chores = self.chores.clone();
        store
            .note(move || chores.iter().for_each(Chore::work))
            .await?;
        self.chores.clear();
        Ok(())
    }

    /// A renewed login that waited to be saved has no place any more.
    pub(super) fn drop_unsaved(&mut self) {
        self.forget_unsaved(None);
    }

    /// This renewed login is saved. What lies beside the journal by now may be another process's.
    pub(super) fn note_saved(&mut self, renewed: &Unsaved) {
        self.forget_unsaved(Some(renewed.tokens()));
    }

    fn forget_unsaved(&mut self, tokens: Option<Vec<String>>) {
        self.unsaved = None;
        self.told.unsaved = false;
        if let Some(journal) = self.journal() {
            self.leave_for_later(Chore::Forget(journal, tokens));
        }
    }

    /// The journal of the login in use.
    pub(super) fn journal(&self) -> Option<Journal> {
        Some(self.store.as_ref()?.journal(self.source.as_deref()?))
    }

    /// Whether the login in use is ours alone.
    pub(super) fn is_own(&self) -> bool {
        let own = |store: &Store| self.source.as_ref().is_some_and(|file| store.is_own(file));
        self.store.as_ref().is_some_and(own)
    }

    /// The login in use lies in `source`. What is known of a login in another file is of no use
    /// here; what of it could not be saved lies beside its journal, and is given where that is read.
    ///
    /// # Errors
    /// When the journal can't be read: then nobody knows which token may be spent.
    pub(super) async fn enter(&mut self, source: &Path) -> Result<Option<Kept>, StoreError> {
        let Some(store) = self.store.clone() else {
            return Ok(None);
        };
        if self.source.as_deref() == Some(source) && !self.unentered {
            return Ok(None);
        }
        let former = self.source.replace(source.to_owned());
        if former.is_some_and(|former| former != source) {
            self.unsaved = None;
            self.latest = None;
            self.held = None;
            self.since = None;
        }
        self.suspect = None;
        self.unentered = true;
        self.tidy().await?;
        let journal = store.journal(source);
        let read = move || Ok::<_, StoreError>((journal.pending()?, journal.kept()?));
        let (pending, kept) = store.note(read).await??;
        self.suspect = pending;
        self.unentered = false;
        Ok(kept)
    }

    /// The renewed login that lies beside the journal.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) async fn kept(&self) -> Result<Option<Kept>, StoreError> {
        match (&self.store, self.journal()) {
            (Some(store), Some(journal)) => store.note(move || journal.kept()).await?,
            _ => Ok(None),
        }
    }

    /// Another program has rotated the login that we held: the token that we held is spent. With
    /// another note of its age it is another login, and the former one may be good still.
    fn note_adoption(&mut self, login: &Login) {
        let token = login.refresh_token();
        let lineage = grant::login_at(login);
        let known = self.latest.as_ref().map(|latest| &latest.login);
        let ours = known.is_some_and(|known| same(known.refresh_token().as_ref(), token.as_ref()));
        let obtained_at = login.tokens().obtained;
        let held = self.held.replace(Held {
            token: token.clone(),
            lineage,
            obtained_at,
        });
        let Some(before) = held.filter(|_| !ours) else {
            return;
        };
        let other = !same(before.token.as_ref(), token.as_ref());
        let rotated = other && token.is_some() && !self.was_spent(token.as_ref());
        let same_login = lineage.is_some() && lineage == before.lineage;
        // A backup has the same note, and an older time.
        if rotated && same_login && obtained_at > before.obtained_at {
            let latest = Unsaved::new(login.clone(), [before.token, None], self.latest.take());
            self.latest = Some(latest);
        }
    }

    /// Whether a refresh of this login's token was begun, and its end is not known.
    pub(super) fn is_suspect(&self, login: &Login) -> bool {
        let token = login.refresh_token();
        let about = |entry: &Entry| token.as_ref().is_some_and(|token| entry.is_about(token));
        self.suspect.as_ref().is_some_and(about)
    }

    /// Tells the user.
    pub(super) fn tell(&self, what: NoticeKind) {
        if self.told.hush {
            return;
        }
        let notice = Notice {
            at: self.clock.now(),
            provider: self.adapter.name().to_string(),
            display_name: self.adapter.display_name().to_owned(),
            login_command: self.adapter.remedy().command(self.is_own()),
            what,
        };
        if let Some(audience) = &self.settings.audience {
            audience.hear(notice);
        }
    }

    fn ends_at(&self) -> Option<DateTime<Utc>> {
        Some(clock::after(self.since?.0, self.adapter.grant_lifetime()?))
    }

    /// Warns of the grant's end, once for each of the times before it.
    fn warn_of_the_end(&mut self) {
        let Some(ends_at) = self.ends_at() else {
            return;
        };
        let due = grant::warnings_due(ends_at, self.clock.now());
        let given = self
            .told
            .warned
            .filter(|(of, _)| *of == ends_at)
            .map_or(0, |(_, given)| given);
        if due > given {
            self.told.warned = Some((ends_at, due));
            self.tell(NoticeKind::EndsSoon { ends_at });
            self.describe_login();
        }
    }

    /// The mirror has no note of its login's age. While the store can't be read, it is the login
    /// that we knew.
    pub(super) fn keep_age(&self, login: &mut Login) {
        if let Some((since, true)) = self.since
            && grant::login_at(login).is_none()
        {
            grant::note_login_at(login, since);
        }
    }

    /// A login's age: as the store says, else since it was first seen. A block that has lost its
    /// note is a new login of Hermes Agent's.
    fn note_age(&mut self, login: &Login) {
        if let Some(at) = grant::login_at(login) {
            self.since = Some((at, true));
            return;
        }
        let now = self.clock.now();
        let life = self.adapter.grant_lifetime().unwrap_or_default();
        // A time from which the grant would have ended long ago is none.
        let told = login
            .tokens()
            .obtained
            .filter(|at| clock::after(*at, life) > now);
        let seen = told.map_or(now, |at| at.min(now));
        let seen = match self.since {
            Some((since, false)) => since.min(seen),
            Some((_, true)) | None => seen,
        };
        self.since = Some((seen, false));
    }

    fn describe_login(&self) {
        let now = self.clock.now();
        let ends_at = self.ends_at();
        let login = self.source.as_ref().map(|source| LoginStatus {
            store: source.clone(),
            own: self.is_own(),
            since: self.since.map(|(since, _)| since),
            ends_at,
            ends_soon: ends_at.is_some_and(|end| grant::warnings_due(end, now) > 0),
        });
        let may_be_spent = self.suspect.is_some();
        self.status(|status| {
            status.login = login;
            status.may_be_spent = may_be_spent;
        });
    }

    /// The provider refused the credential of `generation`. If that is still the
    /// current one, someone else's newer one is adopted or a refresh is sent, once.
    async fn rejected(&mut self, generation: u64, done: oneshot::Sender<()>) {
        let snapshot = self.shared.snapshot.load_full();
        let now = self.clock.now();
        let superseded = snapshot.generation != generation;
        let waiting = self.is_waiting();
        let proven = snapshot.proven.load(std::sync::atomic::Ordering::Relaxed);
        let unproven = !proven
            && snapshot
                .granted_at
                .is_some_and(|at| now < clock::after(at, self.trial()) && now >= at);
        if let Standing::Credential(credential) = &snapshot.standing
            && !superseded
            && !waiting
        {
            if unproven {
                let provider = self.adapter.name().as_str();
                tracing::warn!(provider, "a new token is refused; it is not replaced");
            } else {
                self.renew(Some(&credential.bearer)).await.ok();
            }
        }
        // The request may be gone.
        done.send(()).ok();
    }

    /// How long a token just granted is not replaced; longer after each one that was refused
    /// before it was ever taken.
    fn trial(&self) -> Duration {
        UNPROVEN.saturating_mul(2_u32.saturating_pow(self.unproven.min(LONGEST_TRIAL)))
    }

    /// Reads the store without a lock and takes what it holds.
    pub(super) async fn look(&mut self) {
        self.note_stamps().await;
        let Some(store) = self.store.clone() else {
            return self.look_at_key().await;
        };
        if self.is_distrusted() {
            return self.distrust();
        }
        let known = {
            let snapshot = self.shared.snapshot.load();
            let started = !matches!(snapshot.standing, Standing::Starting);
            started.then_some(snapshot.generation)
        };
        let mut found = store.work(Store::peek).await;
        if let Some(StoreError::Parse { file, .. }) = trouble_of(&found)
            && let Ok(true) = self
                .unless_stopped(store.repair(file, self.lock_limit()))
                .await
        {
            tracing::warn!(file = %file.display(), "a half-written store is complete again");
            found = store.work(Store::peek).await;
        }
        match found {
            Err(error) => self.unreadable(Arc::new(error), false).await,
            Ok(found) => {
                let broken = found.as_ref().and_then(|found| found.broken.clone());
                self.take_found(found).await;
                match broken {
                    Some(error) => self.unreadable(error, true).await,
                    None => self.readable(),
                }
                self.tidy().await.ok();
                if known.is_some_and(|known| self.shared.snapshot.load().generation != known) {
                    self.others_renewed();
                }
            }
        }
    }

    /// Someone else's login or rotation ends our own trouble.
    fn others_renewed(&mut self) {
        self.unhindered();
        self.backoff.succeeded();
        self.retry_at = None;
        let standing = self.shared.snapshot.load().standing.clone();
        if matches!(standing, Standing::Credential(_)) {
            let event = Event {
                at: self.clock.now(),
                what: RefreshResult::Adopted,
            };
            self.status(|status| {
                status.last_renewal = Some(event);
                status.last_error = None;
            });
            self.publish(standing);
        }
    }

    /// Looks again when someone else wrote the store, or when it could not be read last time.
    async fn notice_others(&mut self) {
        let changed = if let Some(store) = &self.store {
            let stamps = store.work(|store| Ok(store.stamps())).await;
            // What hangs is looked at, so that the user is told.
            stamps.map_or(true, |stamps| stamps != self.stamps)
        } else {
            // A key that was missing may be there now, or was not read by the newest terms yet.
            let snapshot = self.shared.snapshot.load();
            let standing = &snapshot.standing;
            snapshot.revision != self.revision
                || matches!(standing, Standing::Starting | Standing::LoginNeeded(_))
        };
        if self.unread.is_some() || self.unentered || changed {
            self.look().await;
        }
    }

    /// From here on, only further changes count as someone else's.
    pub(super) async fn note_stamps(&mut self) {
        if let Some(store) = &self.store {
            let stamps = store.work(|store| Ok(store.stamps())).await;
            self.stamps = stamps.unwrap_or_default();
        }
    }

    /// Reads a key that is in no store, and takes it.
    async fn look_at_key(&mut self) {
        let adapter = self.adapter.clone();
        match self.desk.run(move || adapter.reread()).await {
            Ok(()) => self.take(&Login::none()),
            Err(error) => self.failed(
                super::UNREADABLE,
                &format!("the key file can't be read: {error}"),
            ),
        }
    }

    async fn take_found(&mut self, found: Option<Found>) {
        let Some(found) = found else {
            return match self.unsaved.clone() {
                // A store that is gone, or can't be looked at, is no logout.
                Some(unsaved) if self.is_store_missing().await.unwrap_or(true) => {
                    self.take(&unsaved.login);
                }
                Some(_) | None => {
                    self.drop_unsaved();
                    self.source = None;
                    self.unentered = false;
                    let reason = self.why_none().await;
                    self.no_login(reason);
                }
            };
        };
        let mut login = found.login.clone();
        if found.broken.is_some() {
            self.keep_age(&mut login);
        }
        // Where the journal can't be read, the login serves, no renewal begins before it can, and it is
        // looked at again soon. What was granted for the stored token is written at once, before
        // anybody shows the spent one again.
        let kept = self.enter(&found.source).await.ok().flatten();
        let token = login.refresh_token();
        let succeeds = |kept: Kept| token.is_some_and(|token| kept.succeeds(&token));
        let kept = self.unsaved.is_none() && kept.is_some_and(succeeds);
        self.notice_put_back(&login);
        if self.suspect.is_some() && !self.is_suspect(&login) && self.unsaved.is_none() {
            self.suspect_ended();
        }
        if let Some(unsaved) = &self.unsaved {
            if unsaved.still_stands(&login) || found.broken.is_some() {
                return self.take(&unsaved.login.clone());
            }
            self.drop_unsaved();
            if !self.is_suspect(&login) {
                self.suspect_ended();
            }
        }
        // Whoever renewed it was cut off between the two files, or could not write one.
        let merge = self.merge_found(&mut login, &found, |_| false);
        let torn = matches!(merge, Merge::Taken | Merge::MirrorBehind);
        self.mend_at = (torn || kept).then(|| self.clock.now());
        self.take(&login);
    }

    /// Whether there is no file at all that a login could lie in.
    ///
    /// # Errors
    /// When the file system hangs.
    pub(super) async fn is_store_missing(&self) -> Result<bool, StoreError> {
        match &self.store {
            Some(store) => store.work(|store| Ok(store.is_missing())).await,
            None => Ok(false),
        }
    }

    /// Whether this process itself has spent this refresh token.
    pub(super) fn was_spent(&self, token: Option<&Secret>) -> bool {
        token.is_some()
            && self
                .latest
                .as_ref()
                .is_some_and(|latest| latest.is_spent(token))
    }

    /// Someone has put the store back to an older version, such as a backup: its token is spent,
    /// and showing it again would end the login. What was granted for it is written anew.
    pub(super) fn notice_put_back(&mut self, stored: &Login) {
        let lineage = |login: &Login| grant::login_at(login);
        let same_login = self.latest.as_ref().is_some_and(|latest| {
            lineage(stored).is_none() || lineage(stored) == lineage(&latest.login)
        });
        let spent = self.was_spent(stored.refresh_token().as_ref());
        if self.unsaved.is_none() && spent && same_login {
            let provider = self.adapter.name().as_str();
            tracing::warn!(
                provider,
                "the store was set back to a spent login; the newer one is written again"
            );
            self.unsaved.clone_from(&self.latest);
        }
    }

    /// Takes a login as it stands: publishes its credential and plans the next renewal.
    pub(super) fn take(&mut self, login: &Login) {
        let now = self.clock.now();
        match self.adapter.assess(login, now) {
            Assessment::NoLogin { reason } => self.no_login(&reason),
            Assessment::Login {
                credential,
                renewal,
            } => {
                self.taken = self.store.is_some().then(|| Arc::new(login.clone()));
                self.note_age(login);
                self.note_adoption(login);
                let credential = credential.map(|credential| self.dated(credential));
                self.publish_login(credential, renewal);
                if self.is_suspect(login) && renewal != Renewal::Never {
                    // While a grace time lasts, the provider gives the lost answer again.
                    self.due = Some(now);
                }
            }
        }
    }

    /// The credential with its times as its receipt has them, when it came to this process.
    pub(super) fn dated(&self, mut credential: Credential) -> Credential {
        if let Some(receipt) = &self.receipt
            && receipt.bearer.same(&credential.bearer)
        {
            credential.issued_at = Some(receipt.at);
            credential.expires_at = receipt.expires_at.or(credential.expires_at);
        }
        credential
    }

    /// When this credential is to be renewed; `None` never.
    pub(super) fn window(&self, credential: &Credential) -> Option<Window> {
        let expires = credential.expires_at?;
        Some(Window::new(
            credential.issued_at,
            expires,
            self.adapter.lead(credential, self.settings.refresh_lead),
        ))
    }

    pub(super) fn publish_login(&mut self, credential: Option<Credential>, renewal: Renewal) {
        let now = self.clock.now();
        let window = credential
            .as_ref()
            .map(|credential| self.window(credential));
        self.due = match (renewal, window) {
            (Renewal::Never, Some(_)) => credential.as_ref().and_then(|c| c.expires_at),
            (Renewal::Refresh | Renewal::Mint, Some(window)) => {
                window.map(|window| window.draw(fastrand::f64()))
            }
            (_, None) => Some(now),
        };
        let expired = credential
            .as_ref()
            .is_none_or(|c| c.expires_at.is_some_and(|end| end <= now));
        if renewal == Renewal::Never && expired {
            return self.no_login("the token has expired and the login can't be refreshed");
        }
        match credential {
            Some(credential) => self.publish(Standing::Credential(Arc::new(credential))),
            None => self.publish(Standing::Pending),
        }
    }

    pub(super) fn no_login(&mut self, reason: &str) {
        self.due = None;
        self.retry_at = None;
        self.drop_unsaved();
        self.since = None;
        let old = self.shared.snapshot.load().standing.clone();
        // The store tells less of an end than whoever was there.
        let known = matches!(&old, Standing::LoginNeeded(known) if known.starts_with(reason));
        if known {
            return self.publish(old);
        }
        let first = matches!(old, Standing::Starting) && reason.starts_with(NO_LOGIN);
        if reason != NO_LOGIN {
            self.note("login_needed", reason.to_owned());
        }
        if first && self.optional {
            return self.publish(Standing::LoginNeeded(reason.into()));
        }
        if !self.told.end {
            if first {
                let provider = self.adapter.name().as_str();
                let command = self.adapter.remedy().command(false);
                tracing::error!(provider, reason, command, "a login is needed");
            } else {
                let (reason, remedy) = (reason.to_owned(), self.adapter.remedy());
                self.tell(NoticeKind::Ended { reason, remedy });
            }
        }
        self.told.end = true;
        if let Remedy::Advice(advice) = self.adapter.remedy() {
            // No command says it, so `proxy status` does.
            self.note("key_missing", format!("{reason}; {advice}"));
        }
        self.publish(Standing::LoginNeeded(reason.into()));
    }

    /// Publishes a standing to all requests. Another credential is another generation.
    pub(super) fn publish(&mut self, standing: Standing) {
        if !matches!(standing, Standing::Credential(_)) {
            self.taken = None;
        }
        let old = self.shared.snapshot.load_full();
        let same = match (&old.standing, &standing) {
            (Standing::Credential(old), Standing::Credential(new)) => old.bearer.same(&new.bearer),
            _ => false,
        };
        let proven = same && old.proven.load(std::sync::atomic::Ordering::Relaxed);
        let granted_at = match (&standing, &self.receipt) {
            (Standing::Credential(new), Some(receipt)) if receipt.bearer.same(&new.bearer) => {
                Some(receipt.at)
            }
            _ => None,
        };
        let generation = if same {
            old.generation
        } else {
            old.generation.saturating_add(1)
        };
        if self.told.end && matches!(standing, Standing::Credential(_)) {
            self.told.end = false;
            if let Remedy::Advice(_) = self.adapter.remedy() {
                self.status(|status| status.last_error = None);
            }
            self.tell(NoticeKind::Restored);
        }
        self.describe(&standing);
        self.shared.snapshot.store(Arc::new(Snapshot {
            generation,
            standing,
            revision: self.revision,
            login: self.taken.clone(),
            retry_at: self.retry_at,
            proven: AtomicBool::new(proven),
            granted_at,
            row: if same {
                old.row.clone()
            } else {
                Arc::default()
            },
        }));
        self.shared.changed.send_replace(());
    }

    fn describe(&self, standing: &Standing) {
        let credential = match standing {
            Standing::Credential(credential) => Some(credential),
            Standing::Starting
            | Standing::Pending
            | Standing::LoginNeeded(_)
            | Standing::Unreadable(_) => None,
        };
        let kind = match standing {
            Standing::Starting => StandingKind::Starting,
            Standing::Credential(_) => StandingKind::Ready,
            Standing::Pending => StandingKind::Expired,
            Standing::LoginNeeded(_) => StandingKind::LoginNeeded,
            Standing::Unreadable(_) => StandingKind::Unreadable,
        };
        let next = [self.due, self.retry_at].into_iter().flatten().max();
        self.status(|status| {
            status.standing = kind;
            status.base_url = credential.map(|credential| credential.base_url.to_string());
            status.kind = credential.map(|credential| credential.kind);
            status.expires_at = credential.and_then(|credential| credential.expires_at);
            status.next_renewal = next.filter(|_| kind != StandingKind::LoginNeeded);
            status.unsaved = self.unsaved.is_some();
        });
        self.describe_login();
    }

    /// Notes what went wrong, for the log and `proxy status`.
    pub(super) fn failed(&self, code: &'static str, message: &str) {
        let provider = self.adapter.name().as_str();
        tracing::error!(
            provider,
            code,
            error = message,
            "a login can't be kept fresh right now"
        );
        self.note(code, message.to_owned());
    }

    /// Notes what went wrong, for `proxy status` alone.
    fn note(&self, code: &'static str, message: String) {
        let what = Fault { code, message };
        let event = Event {
            at: self.clock.now(),
            what,
        };
        self.status(|status| status.last_error = Some(event));
    }

    pub(super) fn status(&self, change: impl FnOnce(&mut Status)) {
        change(
            &mut self
                .shared
                .status
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Whether the next attempt lies ahead. One that lies further ahead than any backoff was set
    /// before the clock was put back.
    fn is_waiting(&self) -> bool {
        let wait = self
            .retry_at
            .map(|at| clock::until(at, self.clock.now()))
            .unwrap_or_default();
        !wait.is_zero() && wait <= backoff::LONGEST
    }

    fn is_due(&self) -> bool {
        let now = self.clock.now();
        let reached = |time: Option<DateTime<Utc>>| time.is_some_and(|time| time <= now);
        let keeps = self.settings.initiative == Initiative::Keeps;
        let due = keeps && (reached(self.mend_at) || reached(self.due));
        (due || self.unsaved.is_some()) && !self.is_waiting()
    }

    /// When to wake up at the latest, and how long one nap may be.
    fn next_look(&self) -> (DateTime<Utc>, Duration) {
        let due = if self.unsaved.is_some() {
            Some(self.clock.now())
        } else if self.settings.initiative == Initiative::Waits {
            None
        } else {
            [self.due, self.mend_at].into_iter().flatten().min()
        };
        let wake = match (due, self.retry_at) {
            (Some(due), Some(retry)) => due.max(retry),
            (Some(due), None) => due,
            (None, _) => DateTime::<Utc>::MAX_UTC,
        };
        let longest = if self.store.is_none() {
            clock::LONGEST_NAP
        } else if self.unread.is_some() && !self.told.unreadable {
            UNREAD_AGAIN
        } else {
            WATCH
        };
        (wake, longest)
    }

    /// Waits for locks, unless the keeper is told to end: nothing is spent yet.
    pub(super) async fn unless_stopped<T>(
        &self,
        opening: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let stopped = async {
            self.stop.cancelled().await;
            // A lock that is free is had in this time.
            tokio::time::sleep(FAREWELL).await;
        };
        tokio::select! {
            biased;
            opened = opening => opened,
            () = stopped => Err(StoreError::Stopping),
        }
    }
}

/// What kept the login's file from being read.
fn trouble_of(found: &Result<Option<Found>, StoreError>) -> Option<&StoreError> {
    match found {
        Ok(found) => found.as_ref()?.broken.as_deref(),
        Err(error) => Some(error),
    }
}
