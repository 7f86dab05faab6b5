//! Hermes Agent's credential store: its files, how they are read, and what a rotation changes.
//!
//! One login can be in several files: the profile's `auth.json`, the global one that a profile
//! without its own block reads, and the mirror of the tokens that all profiles share. A
//! [`Transaction`] holds the locks of all of them, in Hermes Agent's order, from the reading to the
//! last write. A separate login is in our own store, which only we know, and takes precedence over
//! all of these.

mod cache;
mod document;
mod error;
mod pool;
mod rows;
#[cfg(test)]
mod tests;
mod transaction;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use serde_json::{Map, Value};

use self::cache::StoreCache;
use self::document::block;
pub(super) use self::document::read_object;
pub use self::error::StoreError;
#[cfg(test)]
pub(super) use self::pool::TokenOrigin;
pub(super) use self::pool::{
    Marked, Marking, Meant, Remark, Roster, RowFacts, RowPlace, RowSeen, Twin, login,
};
pub(super) use self::rows::{NewRow, Occasion, first_login};
pub(super) use self::transaction::{Change, LoginUpdate, Transaction};
use super::file_lock::{self, FileLock};
use super::journal::RefreshJournal;
use super::spent_tokens::Spent;
use super::write::{self, PreparedStore};
use crate::files::{self, Desk};
use crate::paths::Environment;
use crate::provider::{Layout, Login};

/// A larger file is not accepted as a store.
pub(super) const LARGEST: u64 = 16 * 1024 * 1024;
/// How many times a login that moves from file to file is followed.
const TRIES: usize = 5;

/// The paths of the files: Hermes Agent's, and ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFiles {
    /// The store of logins that are not shared with Hermes Agent.
    pub own: PathBuf,
    /// The folder of the journal of tokens that are being spent.
    pub journal: PathBuf,
    /// The store of the profile in use.
    pub active: PathBuf,
    /// The store that a profile without its own block reads; the same as `active` without a
    /// profile.
    pub global: PathBuf,
    /// The folder of the mirrors.
    pub shared: PathBuf,
}

/// A provider's place in the store.
#[derive(Debug, Clone)]
pub struct LoginStore {
    files: StoreFiles,
    layout: &'static dyn Layout,
    mirror: Option<PathBuf>,
    /// The row of the pool that holds the login; `None` if that is the provider's block.
    row: Option<Arc<RowPlace>>,
    /// All work on the files.
    desk: Desk,
    /// The same on the journal's: all providers and all followers of a keeper have them in one folder.
    notes: Desk,
    /// The refresh tokens that are spent.
    spent: Spent,
    /// When it was read last, the login was one that the user has taken out.
    was_suppressed: Arc<AtomicBool>,
    /// Rows that once had the same token: a rotation of one of them alone belongs to this login.
    twins: Twins,
    /// What the rows' keepers have read last.
    shelf: Arc<StoreCache>,
}

/// Rows that belong to a login in another place.
pub(super) type Twins = Arc<ArcSwap<Vec<RowPlace>>>;

/// What the files held when they were read.
#[derive(Debug, Clone)]
pub(super) struct StoreContents {
    /// The provider's block, or the login of a row of the pool.
    pub(super) login: Login,
    /// The mirror's tokens.
    pub(super) mirror: Option<Login>,
    /// What Hermes Agent's pool holds of the same login.
    pub(super) rows: Vec<Login>,
    /// The file that holds the block.
    pub(super) source: PathBuf,
    /// Why that file can't be read: then the login is the mirror's, and the file stays unchanged.
    pub(super) broken: Option<Arc<StoreError>>,
}

/// Where a new login is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginDestination {
    /// In Hermes Agent's store, for both programs.
    Shared,
    /// In our own store.
    Own,
}

/// A login that was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// The file that holds it.
    pub file: PathBuf,
    /// Its name, if another login got its label first.
    pub label: Option<String>,
    /// What another login of the same account is called.
    pub same_account_as: Option<String>,
}

/// How much a logout removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All logins of the provider.
    All,
    /// The provider's own login alone, with the rows that hold it too.
    Main,
}

/// What a logout removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many logins there were.
    pub logins: usize,
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
pub(super) type StoreStamp = Option<(SystemTime, u64, u64, i64)>;

impl StoreFiles {
    /// The home of the profile in use.
    pub fn home(&self) -> &Path {
        self.active.parent().unwrap_or(&self.active)
    }

    /// The folder of the ledgers of spent refresh tokens, beside the journal's.
    pub fn spent(&self) -> PathBuf {
        self.journal.with_file_name("spent")
    }

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

/// The existing CA file that a login names for its provider. Read without a lock, before the
/// provider's TLS is set up.
pub fn stored_ca_bundle(files: &StoreFiles, layout: &'static dyn Layout) -> Option<PathBuf> {
    let store = LoginStore {
        mirror: None,
        ..LoginStore::new(files.clone(), layout)
    };
    let file = layout.ca_file(&store.peek().ok()??.login)?;
    file.is_file().then_some(file)
}

impl LoginStore {
    /// The login of this layout in these files.
    pub fn new(mut files: StoreFiles, layout: &'static dyn Layout) -> Self {
        if layout.is_in_root_only() {
            files.active.clone_from(&files.global);
        }
        if layout.is_ours_alone() {
            files.active.clone_from(&files.own);
            files.global.clone_from(&files.own);
        }
        let mirror = layout.mirror_file().map(|name| files.shared.join(name));
        let notes = Desk::of(&files.journal);
        let spent = Spent::of(&files.spent(), layout.key());
        Self {
            files,
            layout,
            mirror,
            row: None,
            desk: Desk::default(),
            notes,
            spent,
            was_suppressed: Arc::default(),
            twins: Twins::default(),
            shelf: Arc::default(),
        }
    }

    /// The login in a row of these files' pool.
    pub(super) fn of_row(&self, row: RowPlace) -> Self {
        Self {
            mirror: None,
            row: Some(Arc::new(row)),
            desk: Desk::default(),
            was_suppressed: Arc::default(),
            twins: Twins::default(),
            ..self.clone()
        }
    }

    /// The rows that belong to this login.
    pub(super) fn twins(&self) -> &Twins {
        &self.twins
    }

    pub(super) fn has_twins(&self) -> bool {
        !self.twins.load().is_empty()
    }

    /// The tokens in them.
    fn twin_logins(&self) -> Vec<Login> {
        let twins = self.twins.load();
        let logins = twins.iter().filter_map(|twin| {
            let mut document = read_object(&twin.file).ok()??;
            pool::login_at(&mut document, self.layout, Some(twin))
        });
        logins.filter(|login| login.tokens().whole()).collect()
    }

    /// The row that holds the login; `None` if that is the provider's block.
    pub(super) fn row(&self) -> Option<&RowPlace> {
        self.row.as_deref()
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

    /// The refresh tokens of this provider that are spent: asked before one is sent, adopted or given a keeper.
    pub(super) fn spent(&self) -> &Spent {
        &self.spent
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
    pub(super) fn peek(&self) -> Result<Option<StoreContents>, StoreError> {
        if let Some(row) = &self.row {
            return self.peek_at_row(row);
        }
        let mut found = None;
        let mut rows = Vec::new();
        let mut taken_out = false;
        for file in self.sources() {
            let document = match read_object(file) {
                Err(error) => return self.mirrored(file, error).map(Some),
                Ok(document) => document,
            };
            let Some(mut document) = document else {
                continue;
            };
            let is_own = self.is_own(file);
            if !is_own {
                rows.extend(document::rows(&document, self.layout));
            }
            let suppressed = !is_own && document::is_suppressed(&document, self.layout.key());
            let Some(login) = block(&mut document, self.layout) else {
                // What was taken out comes back by a login alone, not from another place.
                if suppressed {
                    taken_out = true;
                    break;
                }
                continue;
            };
            // A separate login that has ended yields to a living one.
            let has_tokens = login.tokens().any();
            let ended = is_own && !has_tokens;
            if found.is_none() || has_tokens {
                found = Some((login, file.clone(), suppressed));
            }
            if !ended {
                break;
            }
        }
        self.was_suppressed.store(taken_out, Ordering::Relaxed);
        let Some((login, source, suppressed)) = found else {
            return Ok(None);
        };
        let comes_back = !suppressed || login.tokens().any();
        if self.is_own(&source) || !comes_back {
            rows.clear();
        } else {
            rows.extend(self.twin_logins());
        }
        let mirror = if comes_back {
            self.read_mirror(&source)?
        } else {
            None
        };
        Ok(Some(StoreContents {
            login,
            mirror,
            rows,
            source,
            broken: None,
        }))
    }

    fn peek_at_row(&self, row: &RowPlace) -> Result<Option<StoreContents>, StoreError> {
        let Some(document) = self.shelf.read(&row.file)? else {
            return Ok(None);
        };
        let logins = pool::logins_at(&document, self.layout, Some(&row.id));
        let login = logins.into_iter().nth(row.nth);
        Ok(login.map(|login| StoreContents {
            login,
            mirror: None,
            rows: self.twin_logins(),
            source: row.file.clone(),
            broken: None,
        }))
    }

    /// Whether the user has taken the login out with Hermes Agent, and has not made one with it since.
    pub(super) fn is_suppressed(&self) -> bool {
        if self.row.is_some() {
            return false;
        }
        for file in [&self.files.active, &self.files.global] {
            let Ok(Some(mut document)) = read_object(file) else {
                continue;
            };
            if document::is_suppressed(&document, self.layout.key()) {
                return true;
            }
            if block(&mut document, self.layout).is_some() {
                return false;
            }
        }
        false
    }

    /// The login of a file that can't be read, if the mirror has all of it.
    fn mirrored(&self, file: &Path, error: StoreError) -> Result<StoreContents, StoreError> {
        let mirror = self.read_mirror(file).ok().flatten();
        let serves = |mirror: &Login| {
            // What was taken out does not come back because the note of it can't be read.
            mirror.tokens().whole() && !self.was_suppressed.load(Ordering::Relaxed)
        };
        let Some(mirror) = mirror.filter(serves) else {
            return Err(error);
        };
        Ok(StoreContents {
            login: self.layout.of_mirror(&mirror),
            mirror: Some(mirror),
            rows: Vec::new(),
            source: file.to_owned(),
            broken: Some(Arc::new(error)),
        })
    }

    fn read_mirror(&self, source: &Path) -> Result<Option<Login>, StoreError> {
        match self.mirror_of(source).map(read_object) {
            Some(Ok(mirror)) => Ok(mirror.map(|mirror| Login::new(mirror, self.layout))),
            // Its link is dangling; a renewal reports that before it spends anything.
            Some(Err(StoreError::Read { source, .. })) if source.kind() == ErrorKind::NotFound => {
                Ok(None)
            }
            // A torn mirror is useless; a new one replaces it. One that belongs to another user, or
            // that all users may write, could hold a stranger's login.
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
            // Contents that were read before the locks were held may be old.
            let moved = transaction.found.as_ref().map(|found| &found.source) != Some(&source);
            if transaction.found.is_none() || !moved {
                return Ok(transaction);
            }
        }
        Err(StoreError::Restless {
            file: self.files.active.clone(),
        })
    }

    /// Takes the locks of a new login's place, and reads its contents.
    pub(super) async fn open_for(
        &self,
        place: LoginDestination,
        limit: Duration,
    ) -> Result<Transaction, StoreError> {
        let source = match place {
            LoginDestination::Own => self.files.own.clone(),
            LoginDestination::Shared => self.work(Self::shared_source).await?,
        };
        let mut transaction = self.open_at(&source, limit).await?;
        let read = move |store: &Self| {
            let mut document = read_object(&source)?.unwrap_or_default();
            let key = store.layout.key();
            let suppressed = !store.is_own(&source) && document::is_suppressed(&document, key);
            let mirror = if suppressed {
                None
            } else {
                store.read_mirror(&source)?
            };
            let login = block(&mut document, store.layout);
            Ok(StoreContents {
                login: login.unwrap_or_else(|| Login::empty(store.layout)),
                mirror,
                rows: Vec::new(),
                source,
                broken: None,
            })
        };
        transaction.found = Some(self.work(read).await?);
        Ok(transaction)
    }

    /// Takes the locks of a login at `source` and reads. In Hermes Agent's order: profile, global,
    /// shared. Our own store has one lock, and its holder never waits for another.
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
                // A profile's folder may be missing; its lock is still the first to take.
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
            known: Vec::new(),
            locks,
        })
    }

    /// The place of Hermes Agent's block, existing or future. A profile's store from which the login was
    /// removed reads no other.
    fn shared_source(&self) -> Result<PathBuf, StoreError> {
        for file in [&self.files.active, &self.files.global] {
            let mut document = read_object(file)?.unwrap_or_default();
            let has_block = block(&mut document, self.layout).is_some();
            let suppressed = document::is_suppressed(&document, self.layout.key());
            if has_block || suppressed && *file == self.files.active {
                return Ok(file.clone());
            }
        }
        Ok(self.files.active.clone())
    }

    /// The files, as this login sees them.
    pub(super) fn files(&self) -> &StoreFiles {
        &self.files
    }

    /// Whether our own store, which other providers share, has a login.
    ///
    /// # Errors
    /// If that is unknown.
    pub(super) fn has_own(&self) -> Result<bool, StoreError> {
        let document = read_object(&self.files.own)?.unwrap_or_default();
        let holds = |table: &str| {
            let table = document.get(table);
            table.is_some_and(|table| table.get(self.layout.key()).is_some())
        };
        Ok(holds("providers") || holds("credential_pool"))
    }

    /// Whether a login at `source` is ours alone.
    pub(super) fn is_own(&self, source: &Path) -> bool {
        source == self.files.own
    }

    /// The mirror of a login at `source`.
    fn mirror_of(&self, source: &Path) -> Option<&Path> {
        self.mirror.as_deref().filter(|_| !self.is_own(source))
    }

    /// Finishes an interrupted write of a store that had to be written in place, if the temporary
    /// file still has all of it. Returns whether it did.
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
            // The caller may give up; the lock is held until the work has ended.
            let _lock = lock;
            if !matches!(read_object(&path), Err(StoreError::Parse { .. })) {
                return Ok(true);
            }
            // Each login of the store may have left one; the last one has it all.
            let left = write::unfinished(&path).into_iter().filter(whole);
            let newest = left.max_by_key(document::written_at);
            match newest {
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

    /// The journal of the refreshes of this login in `source`.
    pub(super) fn journal(&self, source: &Path) -> RefreshJournal {
        match &self.row {
            None => RefreshJournal::new(&self.files.journal, self.layout, source),
            Some(row) => {
                RefreshJournal::of_row(&self.files.journal, self.layout, source, &row.id, row.nth)
            }
        }
    }

    /// Copies of the login's files that were moved aside because they were broken.
    fn copies(&self) -> Vec<PathBuf> {
        let files = self.sources().chain(&self.mirror);
        files.flat_map(|file| write::copies(file)).collect()
    }

    /// What would keep a renewal of the login at `source` from being saved, as far as a look shows
    /// without making a file or taking a lock.
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
        lock.or_else(|| stores.find_map(|file| PreparedStore::look(file).err()))
    }

    /// Changes whenever any of the files is written, replaced or removed.
    pub(super) fn stamps(&self) -> Vec<StoreStamp> {
        self.sources()
            .chain(&self.mirror)
            .map(|file| stamp(file))
            .collect()
    }

    fn sources(&self) -> impl Iterator<Item = &PathBuf> {
        let active = (self.files.active != self.files.own).then_some(&self.files.active);
        let global = (self.files.global != self.files.active).then_some(&self.files.global);
        let files = match &self.row {
            Some(row) => [Some(&row.file), None, None],
            None => [Some(&self.files.own), active, global],
        };
        files.into_iter().flatten()
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

/// The identity of a file's version.
pub(super) fn stamp(file: &Path) -> StoreStamp {
    let metadata = fs::metadata(file).ok()?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let inode = 0;
    // A change of owner or mode shows only there.
    #[cfg(unix)]
    let changed = std::os::unix::fs::MetadataExt::ctime(&metadata)
        .saturating_mul(1_000_000_000)
        .saturating_add(std::os::unix::fs::MetadataExt::ctime_nsec(&metadata));
    #[cfg(not(unix))]
    let changed = 0;
    Some((metadata.modified().ok()?, metadata.len(), inode, changed))
}
