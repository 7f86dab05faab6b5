//! The one task that owns a provider's tokens.
//!
//! It sleeps until a renewal is due, a request was refused, or another program wrote the store. A
//! renewal (see `renewal`) always runs to its end, because it may have spent a token. `core`
//! decides what an event means; here it is observed and acted on.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::RenewalCause;
use super::core::{Core, Effect, KeeperOptions, Publication};
use super::fault_code;
use super::handle::{Command, CredentialHandle, Ruling, SharedCredential};
use super::heartbeat::Heart;
use super::journal::{Chore, JournalEntry, UnsavedLogin};
use super::keeper_settings::{Initiative, KeeperSettings};
use super::knowledge::{LoginEvent, LoginFile};
use super::login_name::RowNaming;
use super::login_sight::LoginSight;
use super::no_login::{NO_LOGIN, SUPPRESSED};
use super::notice::{LoginNotice, NoticeKind};
use super::pool::Strategy;
use super::settings::{KeeperContext, Revision};
use super::standing::{Availability, Snapshot};
use super::status::KeeperStatus;
use super::store::{LoginStore, Occasion, Roster, StoreContents, StoreError};
use super::timing::{Doubt, Proof, RefusalAction};
use crate::clock::{self, Clock};
use crate::files::{FileWorker, quoted};
use crate::provider::{Adapter, Login};
use crate::secret::Secret;

/// How often the store's files are checked for writes of other programs: three `stat` calls.
const WATCH: Duration = Duration::from_secs(3);
/// The same for a row that was renewed a moment ago: Hermes Agent writes all rows of a pool at once, as it had read
/// them, and may put a row back to its spent token. That row is written again before the spent token is sent.
const CLOSE_WATCH: Duration = Duration::from_millis(250);
/// How long such a write may still come: Hermes Agent makes a token request between its reading and
/// its writing.
const CLOSELY: Duration = Duration::from_secs(30);
/// A store that can't be read is read again this soon, before the user is notified.
const UNREAD_AGAIN: Duration = Duration::from_secs(1);
/// A lock may take this long after the keeper was told to end.
const FAREWELL: Duration = Duration::from_millis(250);
/// A lock for what can wait.
const AT_ONCE: Duration = Duration::ZERO;
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
/// The task that owns a provider's tokens.
#[derive(Debug)]
pub struct Keeper {
    /// What is known and decided.
    pub(super) core: Core,
    pub(super) store: Option<LoginStore>,
    pub(super) sight: LoginSight,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: KeeperSettings,
    pub(super) shared: Arc<SharedCredential>,
    /// From then on nothing is begun.
    pub(super) stop: CancellationToken,
    /// What a reload gives it to go by.
    pub(super) terms: watch::Receiver<Arc<Revision>>,
    /// The number of those that it goes by.
    pub(super) revision: u64,
    /// The reading of a key that is in no store.
    pub(super) desk: FileWorker,
    /// The owner of the logins in rows of the pool; the keeper of the block alone reports them.
    pub(super) rows: Option<Arc<dyn RowOwner>>,
    /// The registry of the provider's other logins.
    pub(super) peers: Option<Arc<dyn RowOwner>>,
    /// The name of its login, if that is a row's.
    pub(super) naming: Option<RowNaming>,
    /// The place of its login among the provider's.
    place: usize,
    /// For the watchdog.
    heart: Heart,
    pub(super) commands: mpsc::Receiver<Command>,
}

/// The owner of the logins in the rows of a provider's pool.
pub(super) trait RowOwner: std::fmt::Debug + Send + Sync {
    /// The rows in the store now, and whether any is a separate login. Must not wait.
    fn seen(&self, roster: Roster) -> bool;

    /// The user has made another login in the block.
    fn replaced(&self);

    /// Whether a login other than the one of this place serves requests. Must not wait.
    fn others_serve(&self, place: usize) -> bool;
}

fn lock_limit(settings: &KeeperSettings) -> Duration {
    LOCK_WAIT.max(settings.token_timeout.saturating_add(LOCK_MARGIN))
}

/// What a keeper may take from one sign of life to the next: all locks, one call of the token
/// endpoint with its second try, and the disk.
fn longest_step(settings: &KeeperSettings) -> Duration {
    let calls = settings.token_timeout.saturating_mul(2);
    let locks = lock_limit(settings).saturating_mul(LOCKS);
    locks.saturating_add(calls).saturating_add(DISK)
}

/// The place of a login that was found.
pub(super) fn seat(store: &LoginStore, found: &StoreContents) -> LoginFile {
    let file = &found.source;
    LoginFile::new(file, store.is_own(file), store.journal(file))
}

impl Keeper {
    /// A keeper and its handle. `files` names the store; nothing is read before [`Keeper::run`].
    pub fn new(
        adapter: Arc<dyn Adapter>,
        files: super::StoreFiles,
        settings: KeeperSettings,
        clock: Arc<dyn Clock>,
    ) -> (Self, CredentialHandle) {
        let store = adapter
            .layout()
            .map(|layout| LoginStore::new(files, layout));
        let terms = KeeperContext {
            adapter,
            settings,
            optional: false,
            strategy: Strategy::default(),
        };
        Self::of(store, terms, clock, 0)
    }

    /// A keeper of the login in this place of a store, which is the `place`th of the provider's.
    pub(super) fn of(
        store: Option<LoginStore>,
        terms: KeeperContext,
        clock: Arc<dyn Clock>,
        place: usize,
    ) -> (Self, CredentialHandle) {
        let (adapter, settings) = (terms.adapter.clone(), terms.settings.clone());
        let optional = terms.optional;
        let (sender, commands) = mpsc::channel(QUEUE);
        let heart = Heart::new(longest_step(&settings));
        let first = Arc::new(Revision::first(terms));
        let shared = Arc::new(SharedCredential::new(first.clone(), heart.pulse()));
        let handle = CredentialHandle {
            shared: shared.clone(),
            commands: sender,
            trials: Arc::default(),
            clock: clock.clone(),
            place,
            store: store.clone(),
            terms: first.clone(),
        };
        let terms = shared.terms.subscribe();
        let habits = KeeperOptions {
            lead: settings.refresh_lead,
            initiative: settings.initiative,
            optional,
            has_others: false,
        };
        let mut core = Core::new(adapter, habits, store.is_some());
        if let Some(store) = &store {
            core.knowledge.know_spent(store.spent().clone());
        }
        let keeper = Self {
            core,
            store,
            sight: LoginSight::default(),
            clock,
            settings,
            shared,
            stop: CancellationToken::new(),
            terms,
            revision: first.number,
            desk: FileWorker::default(),
            rows: None,
            peers: None,
            naming: None,
            place,
            heart,
            commands,
        };
        (keeper, handle)
    }

    /// Renews what is due, and does what it is asked to, until it is told to end.
    pub(super) async fn keep(&mut self) {
        let stop = self.stop.clone();
        let mut looked: Option<Instant> = None;
        while !stop.is_cancelled() {
            self.step();
            self.take_up_terms().await;
            let now = self.clock.now();
            if self.core.timing.is_due(self.core.task(), now) {
                // The error is in the status, and the work is tried again.
                self.renew(RenewalCause::default()).await.ok();
                self.renew_twins().await;
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
            self.renew_twins().await;
            self.decide(Core::warn_of_the_end);
        }
    }

    /// Gives rows of other files that hold this login too what they lack of it. A lock that another program has is not
    /// waited for: the next turn comes soon.
    pub(super) async fn renew_twins(&mut self) {
        let login = self.core.taken.as_deref().cloned();
        let (Some(store), Some(login)) = (self.store.clone(), login) else {
            return;
        };
        let seat = self.core.knowledge.seat().map(|seat| seat.file.clone());
        let is_kept = self.settings.initiative == Initiative::Keeps;
        let is_good =
            self.core.knowledge.unsaved().is_none() && !self.core.knowledge.is_stale(&login);
        let Some(source) = seat.filter(|_| is_kept && is_good && store.has_twins()) else {
            return;
        };
        let occasion = Occasion {
            limit: AT_ONCE,
            now: self.clock.now(),
        };
        let renewed = store.renew_twins(login, source, occasion);
        if let Err(error) = self.unless_stopped(renewed).await {
            tracing::debug!(%error, "a copy of a login can't be written yet");
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
            // The caller may be gone.
            Command::Rejected {
                generation,
                doubt,
                done,
            } => drop(done.send(self.rejected(generation, doubt).await)),
            Command::Look(done) => {
                self.look().await;
                done.send(()).ok();
            }
            Command::Import(done) => drop(done.send(self.import().await)),
            Command::Refresh(meant, done) => {
                drop(done.send(self.refresh_now(meant).await));
            }
            Command::MakeRoom(place, done) => drop(done.send(self.make_room(place).await)),
            Command::Install(grant, place, done) => {
                drop(done.send(self.install(grant, place).await));
            }
            Command::Add(grant, row, done) => {
                drop(done.send(self.add_row(grant, row).await));
            }
            Command::Logout(meant, extent, mut done) => {
                let removed = self.logout(meant, extent, done.closed()).await;
                drop(done.send(removed));
            }
        }
    }

    /// Has the core decide something now, and lets others learn of it.
    pub(super) fn decide<T>(&mut self, decision: impl FnOnce(&mut Core, DateTime<Utc>) -> T) -> T {
        let value = decision(&mut self.core, self.clock.now());
        self.shared
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&self.core.status);
        for effect in self.core.effects() {
            match effect {
                Effect::Publish(publication) => self.publish(publication),
                Effect::Tell(what) => self.notify(what),
            }
        }
        value
    }

    /// Changes what `proxy status` shows.
    pub(super) fn status(&mut self, change: impl FnOnce(&mut KeeperStatus)) {
        self.decide(|core, _| change(&mut core.status));
    }

    /// Tells the user.
    pub(super) fn tell(&mut self, what: NoticeKind) {
        self.decide(|core, _| core.tell(what));
    }

    fn notify(&self, what: NoticeKind) {
        let adapter = &self.core.adapter;
        let (mut display_name, mut login_command) = (
            adapter.display_name().to_owned(),
            adapter.remedy().command(self.is_own()),
        );
        if let Some(naming) = &self.naming {
            // A fault of the file is reported by the block's keeper, once.
            let is_of_file = matches!(
                what,
                NoticeKind::Unreadable { .. } | NoticeKind::Hindered { .. }
            );
            if is_of_file {
                return;
            }
            let name = naming.load();
            let (label, called) = (&name.label, quoted(Path::new(&name.called)));
            display_name = format!("{display_name} ({label})");
            login_command = login_command.map(|command| format!("{command} --label {called}"));
        }
        let peers = self.peers.as_ref();
        let notice = LoginNotice {
            at: self.clock.now(),
            provider: adapter.name().to_string(),
            display_name,
            login_command,
            others_serve: peers.is_some_and(|peers| peers.others_serve(self.place)),
            what,
        };
        if let Some(audience) = &self.settings.audience {
            audience.hear(notice);
        }
    }

    /// Publishes to all requests. Another credential is another generation.
    fn publish(&mut self, publication: Publication) {
        let Publication {
            standing,
            retry_at,
            granted_at,
            login,
        } = publication;
        let old = self.shared.snapshot.load_full();
        let same = match (&old.standing, &standing) {
            (Availability::Credential(old), Availability::Credential(new)) => {
                old.bearer.same(&new.bearer)
            }
            _ => false,
        };
        if !same && self.naming.is_some() && self.sight.looked {
            self.sight.renewed = Some(Instant::now());
        }
        let generation = if same {
            old.generation
        } else {
            old.generation.saturating_add(1)
        };
        self.shared.snapshot.store(Arc::new(Snapshot {
            generation,
            standing,
            revision: self.revision,
            login,
            retry_at,
            // Shared, so that a request that is answered meanwhile proves it too.
            proven: if same {
                old.proven.clone()
            } else {
                Arc::default()
            },
            granted_at,
            row: if same {
                old.row.clone()
            } else {
                Arc::default()
            },
        }));
        self.shared.changed.send_replace(());
    }

    /// What is known of the credential in use.
    pub(super) fn proof(&self) -> Proof {
        let last = self.shared.snapshot.load();
        Proof {
            granted_at: last.granted_at,
            taken: last.proven.load(Ordering::Relaxed),
        }
    }

    /// A lock is waited for longer than its holder's request may take.
    pub(super) fn lock_limit(&self) -> Duration {
        lock_limit(&self.settings)
    }

    /// A sign of life, before every step that may take time.
    pub(super) fn step(&self) {
        self.heart.beat(longest_step(&self.settings));
    }

    /// Whether the login in use is ours alone.
    pub(super) fn is_own(&self) -> bool {
        self.core.knowledge.is_own()
    }

    /// Records durably which tokens are spent, and then removes what the journal does not need any more. A ledger
    /// that can't be written is reported, and delays only the end of its tokens' journal entries.
    ///
    /// # Errors
    /// If the folder hangs; then all of it is left for later.
    pub(super) async fn tidy(&mut self) -> Result<(), StoreError> {
        let chores = self.core.knowledge.chores();
        let spent = self.core.knowledge.spent().clone();
        let idle = chores.is_empty() && spent.is_written();
        let Some(store) = self.store.as_ref().filter(|_| !idle) else {
            return Ok(());
        };
        let chores = chores.to_vec();
        let work = move || {
            if let Err(error) = spent.write() {
                spent.tell(&error);
            }
            let done = |chore: &&Chore| !chore.waits_for(&spent);
            chores.iter().filter(done).for_each(Chore::work);
        };
        store.note(work).await?;
        self.core.knowledge.on(LoginEvent::Tidied);
        Ok(())
    }

    /// Reads which tokens are spent, if another process has recorded more.
    ///
    /// # Errors
    /// When that can't be read: then it is not known.
    pub(super) async fn read_spent(&self) -> Result<(), StoreError> {
        let Some(store) = &self.store else {
            return Ok(());
        };
        let spent = store.spent().clone();
        store.note(move || spent.read()).await?
    }

    /// Reads the journal of the login in use, and what is kept beside it.
    ///
    /// # Errors
    /// If it can't be read: then it is unknown which token may be spent.
    pub(super) async fn read_journal(
        &mut self,
    ) -> Result<(Option<JournalEntry>, Option<UnsavedLogin>), StoreError> {
        self.tidy().await?;
        let journal = self.core.knowledge.journal().cloned();
        match (&self.store, journal) {
            (Some(store), Some(journal)) => {
                let spent = store.spent().clone();
                let read = move || {
                    spent.read()?;
                    Ok::<_, StoreError>((journal.pending()?, journal.kept()?))
                };
                store.note(read).await?
            }
            _ => Ok((None, None)),
        }
    }

    /// The renewed login that is kept beside the journal.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) async fn kept(&self) -> Result<Option<UnsavedLogin>, StoreError> {
        match (&self.store, self.core.knowledge.journal().cloned()) {
            (Some(store), Some(journal)) => store.note(move || journal.kept()).await?,
            _ => Ok(None),
        }
    }

    /// The renewed login that is kept for a login with this token, and the refresh of it that was begun, with the tag
    /// of its temporary files, if that was in a different place.
    ///
    /// # Errors
    /// If what is kept beside the journal can't be read.
    pub(super) async fn beside(
        &self,
        token: Option<Secret>,
    ) -> Result<(Option<UnsavedLogin>, Option<(JournalEntry, String)>), StoreError> {
        let journal = self.core.knowledge.journal().cloned();
        let (Some(store), Some(journal), Some(token)) = (&self.store, journal, token) else {
            return Ok((None, None));
        };
        let read = move || {
            let kept = journal.kept_for(&token)?;
            let own = journal
                .pending()?
                .is_some_and(|entry| entry.is_about(&token));
            let elsewhere = (!own).then(|| journal.begun_elsewhere(&token)).flatten();
            Ok((kept, elsewhere))
        };
        store.note(read).await?
    }

    /// The provider refused the credential of `generation`. If that is still the
    /// current one, someone else's newer one is adopted or a refresh is sent, once.
    async fn rejected(&mut self, generation: u64, doubt: Doubt) -> Ruling {
        let snapshot = self.shared.snapshot.load_full();
        let Availability::Credential(credential) = &snapshot.standing else {
            return Ruling::Dealt;
        };
        if snapshot.generation != generation {
            return Ruling::Dealt;
        }
        let now = self.clock.now();
        match self.core.timing.refused(doubt, self.proof(), now) {
            RefusalAction::Paced => return Ruling::Paced,
            RefusalAction::Waits => {}
            RefusalAction::Unproven => {
                let provider = self.core.adapter.name().as_str();
                tracing::warn!(provider, "a new token is refused; it is not replaced");
            }
            RefusalAction::Renew => {
                let refused = Some(credential.bearer.clone());
                let cause = RenewalCause {
                    refused,
                    ..RenewalCause::default()
                };
                self.renew(cause).await.ok();
            }
        }
        Ruling::Dealt
    }

    /// Reads the store without a lock and adopts its content.
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
            let started = !matches!(snapshot.standing, Availability::Starting);
            started.then_some(snapshot.generation)
        };
        let mut found = store.work(LoginStore::peek).await;
        if let Some(StoreError::Parse { file, .. }) = trouble_of(&found)
            && let Ok(true) = self
                .unless_stopped(store.repair(file, self.lock_limit()))
                .await
        {
            tracing::warn!(file = %file.display(), "a half-written store is complete again");
            found = store.work(LoginStore::peek).await;
        }
        match found {
            Err(error) => self.unreadable(Arc::new(error), false).await,
            Ok(found) => {
                self.see_rows(&store).await;
                let broken = found.as_ref().and_then(|found| found.broken.clone());
                self.take_found(&store, found).await;
                match broken {
                    Some(error) => self.unreadable(error, true).await,
                    None => self.readable(),
                }
                self.tidy().await.ok();
                if known.is_some_and(|known| self.shared.snapshot.load().generation != known) {
                    self.unhindered();
                    self.decide(Core::others_renewed);
                }
            }
        }
    }

    /// Reports the rows that are separate logins, before the store counts as read. If it can't be read, the known
    /// rows stay.
    pub(super) async fn see_rows(&mut self, store: &LoginStore) {
        let Some(rows) = self.rows.clone() else {
            return;
        };
        if let Ok(roster) = store.work(LoginStore::roster).await {
            self.core.habits.has_others = rows.seen(roster);
        }
    }

    async fn take_found(&mut self, store: &LoginStore, found: Option<StoreContents>) {
        let Some(mut found) = found else {
            let missing = match self.core.knowledge.unsaved() {
                Some(_) => self.is_store_missing().await.unwrap_or(true),
                None => false,
            };
            let reason = self.why_none().await;
            return self.decide(|core, now| core.found_none(missing, reason, now));
        };
        if found.broken.is_some() {
            self.core.knowledge.keep_age(&mut found.login);
        }
        self.core
            .knowledge
            .on(LoginEvent::Found(seat(store, &found)));
        let mut kept = None;
        // If the journal can't be read, the login serves, no renewal begins, and the journal is read
        // again soon.
        if self.core.knowledge.is_unentered()
            && let Ok((begun, beside)) = self.read_journal().await
        {
            self.core.knowledge.on(LoginEvent::Entered(begun));
            kept = beside;
        }
        // An older copy may have a newer one beside a journal, whose row was gone.
        let token = found
            .login
            .refresh_token()
            .filter(|_| kept.is_none() && self.core.knowledge.is_stale(&found.login));
        if token.is_some() {
            (kept, _) = self.beside(token).await.unwrap_or_default();
        }
        self.decide(|core, now| core.found(&found, kept, now));
    }

    /// Why no login was found.
    pub(super) async fn why_none(&self) -> &'static str {
        let Some(store) = &self.store else {
            return NO_LOGIN;
        };
        let suppressed = store
            .work(|store: &LoginStore| Ok(store.is_suppressed()))
            .await;
        if suppressed.unwrap_or_default() {
            SUPPRESSED
        } else {
            NO_LOGIN
        }
    }

    /// Looks again when someone else wrote the store, or when it could not be read last time.
    async fn notice_others(&mut self) {
        let changed = if let Some(store) = &self.store {
            let stamps = store.work(|store| Ok(store.stamps())).await;
            // A hang is checked, so that the user is notified.
            stamps.map_or(true, |stamps| stamps != self.sight.stamps)
        } else {
            // A missing key may exist by now, or was not read by the newest terms yet.
            let snapshot = self.shared.snapshot.load();
            let standing = &snapshot.standing;
            snapshot.revision != self.revision
                || matches!(
                    standing,
                    Availability::Starting | Availability::LoginNeeded(_)
                )
        };
        if self.sight.unread.is_some() || self.core.knowledge.is_unentered() || changed {
            self.look().await;
        }
    }

    /// From here on, only further changes count as someone else's.
    pub(super) async fn note_stamps(&mut self) {
        if let Some(store) = &self.store {
            let stamps = store.work(|store| Ok(store.stamps())).await;
            self.sight.stamps = stamps.unwrap_or_default();
        }
    }

    /// Reads a key that is in no store, and takes it.
    async fn look_at_key(&mut self) {
        let adapter = self.core.adapter.clone();
        match self.desk.run(move || adapter.reread()).await {
            Ok(()) => self.decide(|core, now| core.take(&Login::none(), now)),
            Err(error) => {
                let message = format!("the key file can't be read: {error}");
                self.decide(|core, now| core.failed(fault_code::UNREADABLE, &message, now));
            }
        }
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

    /// The latest time to wake up, and the longest nap.
    fn next_look(&self) -> (DateTime<Utc>, Duration) {
        let wake = self.core.timing.wake(self.core.task(), self.clock.now());
        let longest = if self.store.is_none() {
            clock::LONGEST_NAP
        } else if self.sight.unread.is_some() && !self.core.told.unreadable {
            UNREAD_AGAIN
        } else if self
            .sight
            .renewed
            .is_some_and(|renewed| renewed.elapsed() < CLOSELY)
        {
            CLOSE_WATCH
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
            // A free lock is acquired within this time.
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
fn trouble_of(found: &Result<Option<StoreContents>, StoreError>) -> Option<&StoreError> {
    match found {
        Ok(found) => found.as_ref()?.broken.as_deref(),
        Err(error) => Some(error),
    }
}
