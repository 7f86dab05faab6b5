//! Hermes Agent's credential store: where it is, how it is read, and what a rotation changes.
//!
//! One login can lie in several files: the profile's `auth.json`, the global one that a profile
//! without a block of its own reads, and the mirror of the tokens that all profiles share.
//! A [`Transaction`] holds the locks of all of them, in Hermes Agent's order, from the reading to
//! the last write. A login of our own lies in a store of our own, which nobody else knows, and
//! goes before all of these.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};

use super::file_lock::{self, FileLock};
use super::journal::Journal;
use super::keeper::same;
use super::write::{self, Prepared};
use crate::files::{self, Desk, Flaw, Spot};
use crate::paths::Environment;
use crate::provider::{Layout, Login};
use crate::secret::Secret;

/// A larger file is not taken for a store.
pub(super) const LARGEST: u64 = 16 * 1024 * 1024;
/// A login that moves from file to file is followed so many times.
const TRIES: usize = 5;

/// What is wrong with the store. What it held before is still there, whole.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is there, but it can't be read: never the same as empty.
    #[error("{file} can't be read ({source}); it was not changed")]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is there, but it is no JSON object.
    #[error("{file} is not a credential store ({reason}); it was not changed")]
    Parse {
        /// The file.
        file: PathBuf,
        /// Why, without any of its content.
        reason: String,
    },
    /// The lock file can't be used.
    #[error("the lock file {file} can't be used ({source})")]
    Lock {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process holds the lock.
    #[error("another process has held {file} for over {} s", limit.as_secs())]
    LockHeld {
        /// The file.
        file: PathBuf,
        /// How long it was waited for.
        limit: Duration,
    },
    /// It is rewritten while it is being read or judged.
    #[error("{file} keeps being changed by another program")]
    Restless {
        /// The file.
        file: PathBuf,
    },
    /// The login that was meant is not the one in use any more.
    #[error("the login in use is now the one in {file}, not the one you meant")]
    Moved {
        /// The file.
        file: PathBuf,
    },
    /// The keeper of the login is to end, and nothing was begun.
    #[error("hermes-proxyd is stopping")]
    Stopping,
    /// A renewed login waits in memory to be written there.
    #[error("the renewed login in use can't be saved yet; `hermesctl proxy status` shows why")]
    Waiting,
    /// A new version would belong to somebody else than the old one.
    #[error(
        "{file} belongs to uid {owner} and hermes-proxyd runs as uid {ours}; \
         run it as that user, or give the file to yours with chown"
    )]
    Foreign {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        ours: u32,
    },
    /// Everyone may write it, so its login can't be trusted.
    #[error(
        "everyone on this machine can write {file} (mode {mode:04o}), so it is not used; check \
         that the login in it is yours, then run `chmod 600 {file}`"
    )]
    Writable {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A new version can't be written beside it.
    #[error("{file} can't be written ({source})")]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl StoreError {
    /// What is wrong, for where the command that helps is told beside it.
    pub fn cause(&self) -> String {
        let text = self.to_string();
        if !matches!(self, Self::Writable { .. }) {
            return text;
        }
        let cause = text.split_once(", then run `");
        cause.map_or_else(|| text.clone(), |(cause, _)| cause.to_owned())
    }
}

/// Where the files lie: Hermes Agent's, and ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFiles {
    /// The store of logins that are not shared with Hermes Agent.
    pub own: PathBuf,
    /// The folder of the journal of tokens that are being spent.
    pub journal: PathBuf,
    /// The store of the profile in use.
    pub active: PathBuf,
    /// The store that a profile without a block of its own reads; the same as `active` when no
    /// profile is in use.
    pub global: PathBuf,
    /// The folder of the mirrors.
    pub shared: PathBuf,
}

/// A provider's place in the store.
#[derive(Debug, Clone)]
pub struct Store {
    files: StoreFiles,
    layout: &'static dyn Layout,
    mirror: Option<PathBuf>,
    /// All work on the files.
    desk: Desk,
    /// The same on the journal's, which lie in a folder of their own.
    notes: Desk,
}

/// What the files held when they were read.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// The provider's block.
    pub(super) login: Login,
    /// The mirror's tokens.
    pub(super) mirror: Option<Login>,
    /// The file that holds the block.
    pub(super) source: PathBuf,
    /// Why that file can't be read: then the login is the mirror's, and the file stays as it is.
    pub(super) broken: Option<Arc<StoreError>>,
}

/// Where a new login is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In Hermes Agent's store, for both programs.
    Shared,
    /// In our own store.
    Own,
}

/// What a logout removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// The files that held the login.
    pub files: Vec<PathBuf>,
    /// Whether it was Hermes Agent's login too.
    pub shared: bool,
    /// The file with another login that is used from now on.
    pub next: Option<PathBuf>,
    /// Copies of broken files that may hold tokens still; others have made them, so they stay.
    pub copies: Vec<PathBuf>,
}

/// A file's identity and time, to notice that someone wrote it.
pub(super) type Stamp = Option<(SystemTime, u64, u64, i64)>;

/// The locks on every file of a login, and what they held.
#[derive(Debug)]
pub(super) struct Transaction {
    store: Store,
    found: Option<Found>,
    /// New versions of the store, where it can be replaced, and of the mirror.
    prepared: Option<(Option<Prepared>, Option<Prepared>)>,
    /// The mirror, where the login has one.
    mirror: Option<PathBuf>,
    /// Fingerprints of the tokens that were refused.
    dead: Vec<String>,
    locks: Vec<FileLock>,
}

/// What a commit does beside writing the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Pool entries with the old tokens get the new ones.
    Rotated,
    /// Pool entries and mirrors with the dead tokens are removed.
    Quarantined,
}

impl StoreFiles {
    /// The files of the Hermes home `home`, and ours in the folder `state`.
    pub fn locate(environment: &Environment, home: &Path, state: &Path) -> Self {
        Self {
            own: state.join("auth.json"),
            journal: state.join("journal"),
            active: home.join("auth.json"),
            global: environment.hermes_root(home).join("auth.json"),
            shared: environment.hermes_shared_dir(home),
        }
    }
}

/// The CA file that a login names for its provider, if it is there. Read without a lock, before the
/// provider's TLS is set up.
pub fn stored_ca_bundle(files: &StoreFiles, layout: &'static dyn Layout) -> Option<PathBuf> {
    let store = Store {
        mirror: None,
        ..Store::new(files.clone(), layout)
    };
    let file = layout.ca_file(&store.peek().ok()??.login)?;
    file.is_file().then_some(file)
}

impl Store {
    /// The login of this layout in these files.
    pub fn new(mut files: StoreFiles, layout: &'static dyn Layout) -> Self {
        if layout.is_in_root_only() {
            files.active.clone_from(&files.global);
        }
        let mirror = layout.mirror_file().map(|name| files.shared.join(name));
        Self {
            files,
            layout,
            mirror,
            desk: Desk::default(),
            notes: Desk::default(),
        }
    }

    /// File work, which may hang.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        let done = self.desk.run(move || work(&store)).await;
        done.unwrap_or_else(|source| Err(self.hung(source)))
    }

    /// Work on the journal's files, one piece after the other in the order in which they are asked for.
    ///
    /// # Errors
    /// When the file system hangs.
    pub(super) async fn note<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = self.notes.run(work).await;
        done.map_err(|source| StoreError::Read {
            file: self.files.journal.clone(),
            source,
        })
    }

    fn hung(&self, source: std::io::Error) -> StoreError {
        StoreError::Read {
            file: self.files.active.clone(),
            source,
        }
    }

    /// Reads without any lock, for a look that writes nothing. `None` without a login.
    pub(super) fn peek(&self) -> Result<Option<Found>, StoreError> {
        let mut found = None;
        for file in self.sources() {
            let document = match read_object(file) {
                Err(error) => return self.mirrored(file, error).map(Some),
                Ok(document) => document,
            };
            let login = document.and_then(|mut document| block(&mut document, self.layout));
            let Some(login) = login else { continue };
            // A login of our own that has ended stands back behind one that lives.
            let has_tokens = login.tokens().any();
            let ended = self.is_own(file) && !has_tokens;
            if found.is_none() || has_tokens {
                found = Some((login, file.clone()));
            }
            if !ended {
                break;
            }
        }
        let Some((login, source)) = found else {
            return Ok(None);
        };
        Ok(Some(Found {
            login,
            mirror: self.read_mirror(&source)?,
            source,
            broken: None,
        }))
    }

    /// The login of a file that can't be read, where the mirror holds it whole.
    fn mirrored(&self, file: &Path, error: StoreError) -> Result<Found, StoreError> {
        let mirror = self.read_mirror(file).ok().flatten();
        let Some(mirror) = mirror.filter(|mirror| mirror.tokens().whole()) else {
            return Err(error);
        };
        Ok(Found {
            login: self.layout.of_mirror(&mirror),
            mirror: Some(mirror),
            source: file.to_owned(),
            broken: Some(Arc::new(error)),
        })
    }

    fn read_mirror(&self, source: &Path) -> Result<Option<Login>, StoreError> {
        match self.mirror_of(source).map(read_object) {
            Some(Ok(mirror)) => Ok(mirror.map(|mirror| Login::new(mirror, self.layout))),
            // Its link leads to nothing; a renewal says so before it spends anything.
            Some(Err(StoreError::Read { source, .. })) if source.kind() == ErrorKind::NotFound => {
                Ok(None)
            }
            // Nobody can use a torn mirror; a new one replaces it. Somebody else's, or one that
            // everybody may write, could hold anybody's login.
            Some(Err(
                StoreError::Parse { .. } | StoreError::Foreign { .. } | StoreError::Writable { .. },
            ))
            | None => Ok(None),
            Some(Err(error)) => Err(error),
        }
    }

    /// Takes the locks of the login that is in use, each for up to `limit`, and reads it.
    pub(super) async fn open(&self, limit: Duration) -> Result<Transaction, StoreError> {
        for _ in 0..TRIES {
            let found = self.work(Self::peek).await?;
            let source = found.map_or_else(|| self.files.active.clone(), |found| found.source);
            let transaction = self.open_at(&source, limit).await?;
            // What was read before the locks were held may be old.
            let moved = transaction.found.as_ref().map(|found| &found.source) != Some(&source);
            if transaction.found.is_none() || !moved {
                return Ok(transaction);
            }
        }
        Err(StoreError::Restless {
            file: self.files.active.clone(),
        })
    }

    /// Takes the locks of a new login's place, and reads what stands there.
    pub(super) async fn open_for(
        &self,
        place: Place,
        limit: Duration,
    ) -> Result<Transaction, StoreError> {
        let source = match place {
            Place::Own => self.files.own.clone(),
            Place::Shared => self.work(Self::shared_source).await?,
        };
        let mut transaction = self.open_at(&source, limit).await?;
        let read = move |store: &Self| {
            let login = read_object(&source)?;
            let login = login.and_then(|mut document| block(&mut document, store.layout));
            Ok(Found {
                login: login.unwrap_or_else(|| Login::empty(store.layout)),
                mirror: store.read_mirror(&source)?,
                source,
                broken: None,
            })
        };
        transaction.found = Some(self.work(read).await?);
        Ok(transaction)
    }

    /// Takes the locks of a login at `source` and reads. In Hermes Agent's order: profile, global,
    /// shared. Our own store has one lock, and nobody who holds it waits for another.
    async fn open_at(&self, source: &Path, limit: Duration) -> Result<Transaction, StoreError> {
        let mut locks = Vec::new();
        let first = if source == self.files.own {
            &self.files.own
        } else {
            &self.files.active
        };
        let prepare = {
            let mirror = self.mirror_of(source).map(Path::to_owned);
            let first = first.clone();
            move |_: &Self| {
                // A profile's folder may be missing; its lock is still the first one to take.
                first.parent().map(files::make_folder);
                let mirror = mirror.filter(|file| is_ours(file));
                let folder = mirror.as_ref().and_then(|mirror| mirror.parent());
                let has_folder = folder.is_some_and(|folder| files::make_folder(folder).is_ok());
                Ok((mirror, has_folder))
            }
        };
        let (mirror, has_folder) = self.work(prepare).await?;
        let locked = [
            Some(source).filter(|source| source != first),
            mirror.as_deref().filter(|_| has_folder),
        ];
        for file in std::iter::once(first.as_path()).chain(locked.into_iter().flatten()) {
            locks.push(FileLock::acquire(&self.desk, &file_lock::beside(file), limit).await?);
        }
        Ok(Transaction {
            store: self.clone(),
            found: self.work(Self::peek).await?,
            prepared: None,
            mirror,
            dead: Vec::new(),
            locks,
        })
    }

    /// Where Hermes Agent's block stands, or would.
    fn shared_source(&self) -> Result<PathBuf, StoreError> {
        for file in [&self.files.active, &self.files.global] {
            if read_object(file)?
                .is_some_and(|mut document| block(&mut document, self.layout).is_some())
            {
                return Ok(file.clone());
            }
        }
        Ok(self.files.active.clone())
    }

    /// The files, as this login sees them.
    pub(super) fn files(&self) -> &StoreFiles {
        &self.files
    }

    /// Whether there is a store of our own.
    pub(super) fn has_own(&self) -> bool {
        self.files.own.exists()
    }

    /// Whether a login at `source` is ours alone.
    pub(super) fn is_own(&self, source: &Path) -> bool {
        source == self.files.own
    }

    /// The mirror of a login at `source`.
    fn mirror_of(&self, source: &Path) -> Option<&Path> {
        self.mirror.as_deref().filter(|_| !self.is_own(source))
    }

    /// Finishes the writing of a store that was cut off in the middle, where it had to be written
    /// in place and the temporary file still has it all. Whether it did.
    pub(super) async fn repair(&self, file: &Path, limit: Duration) -> Result<bool, StoreError> {
        let whole = |document: &Map<String, Value>| document.contains_key("providers");
        let path = file.to_owned();
        let unfinished = move |_: &Self| Ok(write::unfinished(&path).iter().any(whole));
        if !self.work(unfinished).await? {
            return Ok(false);
        }
        let lock = FileLock::acquire(&self.desk, &file_lock::beside(file), limit).await?;
        let path = file.to_owned();
        self.work(move |_| {
            // Whoever waits may give up; the lock is held until the work has ended.
            let _lock = lock;
            if !matches!(read_object(&path), Err(StoreError::Parse { .. })) {
                return Ok(true);
            }
            match write::unfinished(&path).into_iter().find(whole) {
                Some(document) => write::replace(&path, None, document).map(|()| true),
                None => Ok(false),
            }
        })
        .await
    }

    /// Whether there is no file at all that a login could stand in.
    pub(super) fn is_missing(&self) -> bool {
        !self.sources().any(|file| file.exists())
    }

    /// The journal of the refreshes of the login in `source`.
    pub(super) fn journal(&self, source: &Path) -> Journal {
        Journal::new(&self.files.journal, self.layout, source)
    }

    /// Copies of the login's files that were moved aside because they were broken.
    fn copies(&self) -> Vec<PathBuf> {
        let files = self.sources().chain(&self.mirror);
        files.flat_map(|file| write::copies(file)).collect()
    }

    /// What would keep a renewal of the login at `source` from being saved, as far as a look tells that
    /// makes nothing and takes no lock.
    pub(super) fn hindrance(&self, source: &Path) -> Option<StoreError> {
        let first = if self.is_own(source) {
            source
        } else {
            &self.files.active
        };
        let is_foreign =
            |file: &&Path| matches!(read_object(file), Err(StoreError::Foreign { .. }));
        let mirror = self.mirror_of(source).filter(|file| !is_foreign(file));
        let locks = [Some(first), Some(source), mirror];
        let mut locks = locks.into_iter().flatten();
        let lock = locks.find_map(|file| file_lock::look(&file_lock::beside(file)).err());
        let mut stores = [Some(source), mirror].into_iter().flatten();
        lock.or_else(|| stores.find_map(|file| Prepared::look(file).err()))
    }

    /// Changes whenever any of the files is written, replaced or removed.
    pub(super) fn stamps(&self) -> Vec<Stamp> {
        self.sources()
            .chain(&self.mirror)
            .map(|file| stamp(file))
            .collect()
    }

    fn sources(&self) -> impl Iterator<Item = &PathBuf> {
        let global = (self.files.global != self.files.active).then_some(&self.files.global);
        [&self.files.own, &self.files.active]
            .into_iter()
            .chain(global)
    }
}

impl Transaction {
    /// File work with the locks, which may hang: then the locks are given back once it has ended, and
    /// the transaction holds nothing any more.
    pub(super) async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.store.clone();
        if self.locks.is_empty() {
            // Earlier work hung: nothing is done without the locks.
            return Err(store.hung(std::io::ErrorKind::TimedOut.into()));
        }
        let mut taken = self.take();
        let done = store.desk.run(move || {
            let value = work(&mut taken);
            (taken, value)
        });
        match done.await {
            Ok((taken, value)) => {
                *self = taken;
                value
            }
            Err(source) => Err(store.hung(source)),
        }
    }

    /// The transaction itself with its locks, leaving an empty one, so that file work can run on
    /// another thread.
    pub(super) fn take(&mut self) -> Self {
        Self {
            store: self.store.clone(),
            found: self.found.take(),
            prepared: self.prepared.take(),
            mirror: self.mirror.clone(),
            dead: self.dead.clone(),
            locks: std::mem::take(&mut self.locks),
        }
    }

    /// What the files held.
    pub(super) fn found(&self) -> Option<&Found> {
        self.found.as_ref()
    }

    /// What a killed process had written of a rotation and not yet renamed: logins, and mirrors.
    pub(super) fn unfinished(&self) -> (Vec<Login>, Vec<Login>) {
        let Some(found) = &self.found else {
            return Default::default();
        };
        let stores = write::unfinished(&found.source);
        let logins = stores
            .into_iter()
            .filter_map(|mut document| block(&mut document, self.store.layout))
            .collect();
        let mirrors = self.mirror.as_deref().map(write::unfinished);
        let mirrors = mirrors.unwrap_or_default().into_iter();
        let mirrors = mirrors.map(|mirror| Login::new(mirror, self.store.layout));
        (logins, mirrors.collect())
    }

    /// Reads the files once more, as when a grant that they hold turned out to be spent.
    ///
    /// # Errors
    /// Also when the login in use is another file's now, which these locks don't protect.
    pub(super) fn read_again(&mut self) -> Result<(), StoreError> {
        let source = self.found.as_ref().map(|found| found.source.clone());
        let found = self.store.peek()?;
        let moved = |now: &Found| source.as_ref().is_some_and(|source| *source != now.source);
        if let Some(now) = found.as_ref().filter(|now| moved(now)) {
            return Err(StoreError::Restless {
                file: now.source.clone(),
            });
        }
        self.found = found;
        Ok(())
    }

    /// These tokens were refused: whoever holds one of them, holds nothing.
    pub(super) fn mark_dead(&mut self, tokens: &[Secret]) {
        self.dead = tokens.iter().map(Secret::fingerprint).collect();
    }

    fn is_dead(&self, login: &Login) -> bool {
        let token = login.refresh_token();
        token.is_none_or(|token| self.dead.contains(&token.fingerprint()))
    }

    /// Makes the new versions' files with room for their content, on disk, before a token is
    /// spent: a full disk or a read-only folder is noticed while nothing is lost yet.
    pub(super) fn prepare(&mut self) -> Result<(), StoreError> {
        let Some(found) = &self.found else {
            return Ok(());
        };
        if found.broken.is_some() && self.mirror.is_none() {
            return Err(StoreError::Restless {
                file: found.source.clone(),
            });
        }
        if self.prepared.is_none() {
            let mirror = self.mirror.as_deref().map(Prepared::beside).transpose()?;
            let store = match &found.broken {
                None => Some(Prepared::beside(&found.source)?),
                Some(_) => None,
            };
            self.prepared = Some((store, mirror));
        }
        Ok(())
    }

    /// Writes the login back to the file that it came from, with the pool entries that share its
    /// tokens, and the mirror. The mirror goes first: when only one of the two gets written,
    /// Hermes Agent takes the mirror's token, which must then be the one that is not spent.
    ///
    /// `old` is the login whose tokens are replaced or dead; entries and mirrors that hold them
    /// follow.
    ///
    /// # Errors
    /// When either file is not durably written; the other one may be.
    pub(super) fn commit(
        &mut self,
        (old, login): (&Login, &Login),
        mirror: Option<Login>,
        change: Change,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let Some(found) = self.found.clone() else {
            return Ok(());
        };
        let (prepared, prepared_mirror) = self.prepared.take().unzip();
        let mirrored = match (&self.mirror, mirror) {
            (Some(file), Some(content)) if self.mirror_is_old(&content) => {
                let fields = content.clone().into_fields();
                let written = write::replace(file, prepared_mirror.flatten(), fields);
                if let (Ok(()), Some(found)) = (&written, &mut self.found) {
                    found.mirror = Some(content);
                }
                written
            }
            _ => Ok(()),
        };
        if change == Change::Quarantined {
            self.remove_mirror(&found, |mirror| self.is_dead(mirror));
        }
        // The mirror alone is a place of its own: whoever reads the store again finds it fresher.
        let written = if found.broken.is_none() && login.differs_from(&found.login) {
            let document = read_object(&found.source)?.unwrap_or_default();
            let stored = block(&mut document.clone(), self.store.layout);
            let another = stored.is_some_and(|stored| !self.is_dead(&stored));
            if change == Change::Quarantined && another {
                return Err(StoreError::Restless { file: found.source });
            }
            let document = rewritten(
                document,
                self.store.layout.key(),
                login,
                [old, &found.login],
                (change, now),
            );
            write::replace(&found.source, prepared.flatten(), document)
        } else {
            Ok(())
        };
        if let (Ok(()), Some(found)) = (&written, &mut self.found) {
            found.login = login.clone();
        }
        mirrored.and(written)
    }

    /// Takes the login out of its file, with its pool and mirror, as Hermes Agent's logout does. A
    /// mirror with another token than the store's `goes` where it is the same login.
    ///
    /// # Errors
    /// When a file can't be written; then the login may be there still.
    pub(super) fn remove(
        &mut self,
        goes: impl Fn(&Login) -> bool,
        now: DateTime<Utc>,
    ) -> Result<Removed, StoreError> {
        let Some(found) = self.found.take() else {
            return Ok(Removed {
                copies: self.store.copies(),
                ..Removed::default()
            });
        };
        let key = self.store.layout.key();
        let mut document = read_object(&found.source)?.unwrap_or_default();
        for table in ["providers", "credential_pool"] {
            if let Some(table) = document.get_mut(table).and_then(Value::as_object_mut) {
                table.shift_remove(key);
            }
        }
        if document.get("active_provider").and_then(Value::as_str) == Some(key) {
            document.insert("active_provider".to_owned(), Value::Null);
        }
        stamp_document(&mut document, now);
        write::replace(&found.source, None, document)?;
        if let Some(mirror) = &self.mirror {
            write::clear_leftovers(mirror);
        }
        let token = found.login.refresh_token();
        let mirror = self.remove_mirror(&found, |mirror| {
            same(mirror.refresh_token().as_ref(), token.as_ref()) || goes(mirror)
        });
        Ok(Removed {
            shared: !self.store.is_own(&found.source),
            files: std::iter::once(found.source).chain(mirror).collect(),
            // The login is out, whether or not the next one can be read.
            next: self.store.peek().ok().flatten().map(|found| found.source),
            copies: self.store.copies(),
        })
    }

    fn mirror_is_old(&self, content: &Login) -> bool {
        let stored = self.found.as_ref().and_then(|found| found.mirror.as_ref());
        stored.is_none_or(|stored| self.store.layout.mirrors_differ(content, stored))
    }

    /// Removes the mirror if it `goes`; the file that was removed.
    fn remove_mirror(&self, found: &Found, goes: impl Fn(&Login) -> bool) -> Option<PathBuf> {
        let file = self.mirror.as_ref()?;
        found.mirror.as_ref().filter(|mirror| goes(mirror))?;
        if let Err(error) = files::remove(file) {
            tracing::warn!(file = %file.display(), %error, "a mirror of the login could not be \
                                                            removed");
            return None;
        }
        Some(file.clone())
    }
}

/// Whether a mirror is ours to read and to replace.
fn is_ours(mirror: &Path) -> bool {
    match read_object(mirror) {
        Err(error @ StoreError::Foreign { .. }) => {
            tracing::warn!(%error, "the mirror belongs to another user; it is neither read nor \
                                    written");
            false
        }
        Ok(_) | Err(_) => true,
    }
}

fn stamp_document(document: &mut Map<String, Value>, now: DateTime<Utc>) {
    document.insert("version".to_owned(), 1.into());
    let time = now.to_rfc3339_opts(SecondsFormat::Micros, false);
    document.insert("updated_at".to_owned(), time.into());
}

/// The store with the provider's block replaced, and its pool entries.
fn rewritten(
    mut document: Map<String, Value>,
    key: &str,
    login: &Login,
    before: [&Login; 2],
    (change, now): (Change, DateTime<Utc>),
) -> Map<String, Value> {
    stamp_document(&mut document, now);
    let providers = document
        .entry("providers")
        .or_insert_with(|| Map::new().into());
    if !providers.is_object() {
        // As Hermes Agent does: nobody finds a login in anything else.
        *providers = Map::new().into();
    }
    if let Some(providers) = providers.as_object_mut() {
        providers.insert(key.to_owned(), login.clone().into_fields().into());
    }
    let pool = document
        .get_mut("credential_pool")
        .and_then(|pool| pool.get_mut(key));
    if let Some(entries) = pool.and_then(Value::as_array_mut) {
        match change {
            Change::Rotated => {
                let same = entries.iter_mut().filter_map(Value::as_object_mut);
                for entry in
                    same.filter(|entry| before.iter().any(|login| login.shares_tokens_with(entry)))
                {
                    login.write_to_row(entry);
                }
            }
            Change::Quarantined => entries.retain(|entry| {
                !entry
                    .as_object()
                    .is_some_and(|entry| before.iter().any(|login| login.shares_tokens_with(entry)))
            }),
        }
    }
    document
}

/// The provider's block of a store.
pub(super) fn block(
    document: &mut Map<String, Value>,
    layout: &'static dyn Layout,
) -> Option<Login> {
    let providers = document.get_mut("providers")?;
    match providers.get_mut(layout.key())?.take() {
        Value::Object(fields) => Some(Login::new(fields, layout)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            None
        }
    }
}

/// Reads a JSON object. `None` only when there is no file.
pub(super) fn read_object(file: &Path) -> Result<Option<Map<String, Value>>, StoreError> {
    let fault = |source| StoreError::Read {
        file: file.to_owned(),
        source,
    };
    let opened = Spot::of(file).and_then(|place| Ok((place.open()?, place)));
    let (handle, place) = match opened {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return files::there_or_missing(file).map(|()| None).map_err(fault);
        }
        Err(error) => return Err(fault(error)),
    };
    match place.flaw(&handle, &handle.metadata().map_err(fault)?) {
        Some(Flaw::Foreign { owner, ours }) => {
            return Err(StoreError::Foreign {
                file: file.to_owned(),
                owner,
                ours,
            });
        }
        Some(Flaw::Writable { mode }) => {
            return Err(StoreError::Writable {
                file: file.to_owned(),
                mode,
            });
        }
        None => {}
    }
    let broken = |reason: String| StoreError::Parse {
        file: file.to_owned(),
        reason,
    };
    let bytes = match files::read_opened(handle, LARGEST) {
        Err(error) if error.kind() == ErrorKind::FileTooLarge => {
            return Err(broken(format!("it is larger than {LARGEST} bytes")));
        }
        bytes => bytes.map_err(fault)?,
    };
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    match serde_json::from_slice(text) {
        Ok(Value::Object(document)) => Ok(Some(document)),
        Ok(_) => Err(broken("it is not a JSON object".to_owned())),
        Err(error) => {
            let at = format!(
                "not JSON at line {} column {}",
                error.line(),
                error.column()
            );
            Err(broken(at))
        }
    }
}

fn stamp(file: &Path) -> Stamp {
    let metadata = fs::metadata(file).ok()?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let inode = 0;
    // A change of owner or mode shows there alone.
    #[cfg(unix)]
    let changed = std::os::unix::fs::MetadataExt::ctime(&metadata)
        .saturating_mul(1_000_000_000)
        .saturating_add(std::os::unix::fs::MetadataExt::ctime_nsec(&metadata));
    #[cfg(not(unix))]
    let changed = 0;
    Some((metadata.modified().ok()?, metadata.len(), inode, changed))
}
