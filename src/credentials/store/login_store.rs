//! A provider's place in the store, and how its login is read.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::{Map, Value};

use super::super::file_lock::{self, FileLock};
use super::super::journal::RefreshJournal;
use super::super::spent_tokens::Spent;
use super::super::write::{self, PreparedStore};
use super::cache::StoreCache;
use super::contents::StoreContents;
use super::document::{self, block, read_object};
use super::error::StoreError;
use super::paths::StoreFiles;
use super::pool;
use super::row::RowPlace;
use super::version::{StoreStamp, stamp};
use crate::files::FileWorker;
use crate::provider::{Layout, Login};

/// A provider's place in the store.
#[derive(Debug, Clone)]
pub struct LoginStore {
    pub(super) files: StoreFiles,
    pub(super) layout: &'static dyn Layout,
    mirror: Option<PathBuf>,
    /// The row of the pool that holds the login; `None` if that is the provider's block.
    row: Option<Arc<RowPlace>>,
    /// All work on the files.
    pub(super) desk: FileWorker,
    /// The same on the journal's: all providers and all followers of a keeper have them in one folder.
    notes: FileWorker,
    /// The refresh tokens that are spent.
    pub(super) spent: Spent,
    /// When it was read last, the login was one that the user has taken out.
    was_suppressed: Arc<AtomicBool>,
    /// Rows that once had the same token: a rotation of one of them alone belongs to this login.
    pub(super) twins: Twins,
    /// What the rows' keepers have read last.
    shelf: Arc<StoreCache>,
}

/// Rows that belong to a login in another place.
pub(in crate::credentials) type Twins = Arc<ArcSwap<Vec<RowPlace>>>;

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
        let notes = FileWorker::of(&files.journal);
        let spent = Spent::of(&files.spent(), layout.key());
        Self {
            files,
            layout,
            mirror,
            row: None,
            desk: FileWorker::default(),
            notes,
            spent,
            was_suppressed: Arc::default(),
            twins: Twins::default(),
            shelf: Arc::default(),
        }
    }

    /// The login in a row of these files' pool.
    pub(in crate::credentials) fn of_row(&self, row: RowPlace) -> Self {
        Self {
            mirror: None,
            row: Some(Arc::new(row)),
            desk: FileWorker::default(),
            was_suppressed: Arc::default(),
            twins: Twins::default(),
            ..self.clone()
        }
    }

    /// The rows that belong to this login.
    pub(in crate::credentials) fn twins(&self) -> &Twins {
        &self.twins
    }

    pub(in crate::credentials) fn has_twins(&self) -> bool {
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
    pub(in crate::credentials) fn row(&self) -> Option<&RowPlace> {
        self.row.as_deref()
    }

    /// File work, which may hang.
    pub(in crate::credentials) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        let done = self.desk.run(move || work(&store)).await;
        done.unwrap_or_else(|source| Err(self.hung(source)))
    }

    /// The refresh tokens of this provider that are spent: asked before one is sent, adopted or given a keeper.
    pub(in crate::credentials) fn spent(&self) -> &Spent {
        &self.spent
    }

    /// Work on the journal's files, one piece after the other in the order in which they are asked for.
    ///
    /// # Errors
    /// When the file system hangs.
    pub(in crate::credentials) async fn note<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = self.notes.run(work).await;
        done.map_err(|source| StoreError::Read {
            file: self.files.journal.clone(),
            source,
        })
    }

    pub(super) fn hung(&self, source: std::io::Error) -> StoreError {
        StoreError::Read {
            file: self.files.active.clone(),
            source,
        }
    }

    /// Reads without any lock, for a look that writes nothing. `None` without a login.
    pub(in crate::credentials) fn peek(&self) -> Result<Option<StoreContents>, StoreError> {
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
    pub(in crate::credentials) fn is_suppressed(&self) -> bool {
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

    pub(super) fn read_mirror(&self, source: &Path) -> Result<Option<Login>, StoreError> {
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

    /// The place of Hermes Agent's block, existing or future. A profile's store from which the login was
    /// removed reads no other.
    pub(super) fn shared_source(&self) -> Result<PathBuf, StoreError> {
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
    pub(in crate::credentials) fn files(&self) -> &StoreFiles {
        &self.files
    }

    /// Whether our own store, which other providers share, has a login.
    ///
    /// # Errors
    /// If that is unknown.
    pub(in crate::credentials) fn has_own(&self) -> Result<bool, StoreError> {
        let document = read_object(&self.files.own)?.unwrap_or_default();
        let holds = |table: &str| {
            let table = document.get(table);
            table.is_some_and(|table| table.get(self.layout.key()).is_some())
        };
        Ok(holds("providers") || holds("credential_pool"))
    }

    /// Whether a login at `source` is ours alone.
    pub(in crate::credentials) fn is_own(&self, source: &Path) -> bool {
        source == self.files.own
    }

    /// The mirror of a login at `source`.
    pub(super) fn mirror_of(&self, source: &Path) -> Option<&Path> {
        self.mirror.as_deref().filter(|_| !self.is_own(source))
    }

    /// Finishes an interrupted write of a store that had to be written in place, if the temporary
    /// file still has all of it. Returns whether it did.
    pub(in crate::credentials) async fn repair(
        &self,
        file: &Path,
        limit: Duration,
    ) -> Result<bool, StoreError> {
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
    pub(in crate::credentials) fn is_missing(&self) -> bool {
        !self.sources().any(|file| file.exists())
    }

    /// The journal of the refreshes of this login in `source`.
    pub(in crate::credentials) fn journal(&self, source: &Path) -> RefreshJournal {
        match &self.row {
            None => RefreshJournal::new(&self.files.journal, self.layout, source),
            Some(row) => {
                RefreshJournal::of_row(&self.files.journal, self.layout, source, &row.id, row.nth)
            }
        }
    }

    /// Copies of the login's files that were moved aside because they were broken.
    pub(super) fn copies(&self) -> Vec<PathBuf> {
        let files = self.sources().chain(&self.mirror);
        files.flat_map(|file| write::copies(file)).collect()
    }

    /// What would keep a renewal of the login at `source` from being saved, as far as a look shows
    /// without making a file or taking a lock.
    pub(in crate::credentials) fn hindrance(&self, source: &Path) -> Option<StoreError> {
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
    pub(in crate::credentials) fn stamps(&self) -> Vec<StoreStamp> {
        self.sources()
            .chain(&self.mirror)
            .map(|file| stamp(file))
            .collect()
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = &PathBuf> {
        let active = (self.files.active != self.files.own).then_some(&self.files.active);
        let global = (self.files.global != self.files.active).then_some(&self.files.global);
        let files = match &self.row {
            Some(row) => [Some(&row.file), None, None],
            None => [Some(&self.files.own), active, global],
        };
        files.into_iter().flatten()
    }
}
