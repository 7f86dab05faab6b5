//! Takes the locks of a login's files, and reads them under these.

use std::path::Path;
use std::time::Duration;

use super::super::file_lock::{self, FileLock};
use super::change::LoginDestination;
use super::contents::StoreContents;
use super::document::{self, block, read_object};
use super::error::StoreError;
use super::login_store::LoginStore;
use super::transaction::Transaction;
use crate::files;
use crate::provider::Login;

/// How many times a login that moves from file to file is followed.
const TRIES: usize = 5;

impl LoginStore {
    /// Takes the locks of the login that is in use, each for up to `limit`, and reads it.
    pub(in crate::credentials) async fn open(
        &self,
        limit: Duration,
    ) -> Result<Transaction, StoreError> {
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
    pub(in crate::credentials) async fn open_for(
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
    pub(super) async fn open_at(
        &self,
        source: &Path,
        limit: Duration,
    ) -> Result<Transaction, StoreError> {
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

    /// The same as [`LoginStore::open`], for a logout: without a block, all rows go.
    pub(in crate::credentials) async fn open_to_remove(
        &self,
        limit: Duration,
    ) -> Result<Transaction, StoreError> {
        let transaction = self.open(limit).await?;
        if transaction.found.is_some() {
            return Ok(transaction);
        }
        let rows = self.work(|store| Ok(store.roster()?.rows)).await?;
        let Some(row) = rows.into_iter().next() else {
            return Ok(transaction);
        };
        drop(transaction);
        let mut transaction = self.open_at(&row.place.file, limit).await?;
        transaction.found = Some(StoreContents {
            login: Login::empty(self.layout),
            mirror: None,
            rows: Vec::new(),
            source: row.place.file,
            broken: None,
        });
        Ok(transaction)
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
