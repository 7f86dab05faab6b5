//! A change of a login's files, under all of their locks.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::change::{Change, Extent, LoginUpdate, Removed};
use super::contents::StoreContents;
use super::document::{read_object, stamp_document};
use super::error::StoreError;
use super::login_store::LoginStore;
use super::pool;
use super::roster::{Roster, RosterSource};
use super::rotation::rewritten;
use crate::credentials::file_lock::FileLock;
use crate::credentials::refresh_token::same;
use crate::credentials::write::{self, PreparedStore};
use crate::files;
use crate::provider::Login;
use crate::secret::Secret;

/// The locks on every file of a login, and what they held.
#[derive(Debug)]
pub(in crate::credentials) struct Transaction {
    pub(super) store: LoginStore,
    pub(super) found: Option<StoreContents>,
    /// New versions of the store, if it can be replaced, and of the mirror.
    pub(super) prepared: Option<(Option<PreparedStore>, Option<PreparedStore>)>,
    /// The mirror, if the login has one.
    pub(super) mirror: Option<PathBuf>,
    /// Fingerprints of the tokens that were refused.
    pub(super) dead: Vec<String>,
    /// Fingerprints of the current and former tokens of the login in use.
    pub(super) known: Vec<String>,
    pub(super) locks: Vec<FileLock>,
}

impl Transaction {
    /// File work with the locks, which may hang: then the locks are given back once it has ended, and
    /// the transaction holds nothing any more.
    pub(in crate::credentials) async fn work<T: Send + 'static>(
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
    pub(in crate::credentials) fn take(&mut self) -> Self {
        Self {
            store: self.store.clone(),
            found: self.found.take(),
            prepared: self.prepared.take(),
            mirror: self.mirror.clone(),
            dead: self.dead.clone(),
            known: self.known.clone(),
            locks: std::mem::take(&mut self.locks),
        }
    }

    /// What the files held.
    pub(in crate::credentials) fn found(&self) -> Option<&StoreContents> {
        self.found.as_ref()
    }

    /// What a killed process had written of a rotation and not yet renamed: logins, and mirrors. If that was for this
    /// login in another place, with this tag.
    pub(in crate::credentials) fn unfinished(
        &self,
        tag: Option<String>,
    ) -> (Vec<Login>, Vec<Login>) {
        let Some(found) = &self.found else {
            return Default::default();
        };
        let row = self.store.row();
        let tag = tag.unwrap_or_else(|| self.tag(&found.source));
        let stores = write::unfinished_of(&found.source, &tag);
        let logins = stores
            .into_iter()
            .filter_map(|mut document| pool::login_at(&mut document, self.store.layout, row))
            .collect();
        let mirrors = self.mirror.as_deref().map(write::unfinished);
        let mirrors = mirrors.unwrap_or_default().into_iter();
        let mirrors = mirrors.map(|mirror| Login::new(mirror, self.store.layout));
        (logins, mirrors.collect())
    }

    /// The tag of this login's temporary files, which distinguishes them from those of the store's others, which a
    /// killed process may have left too.
    fn tag(&self, source: &Path) -> String {
        self.store.journal(source).tag()
    }

    /// Reads the files once more, as when a grant that they hold turned out to be spent.
    ///
    /// # Errors
    /// Also when the login in use is another file's now, which these locks don't protect.
    pub(in crate::credentials) fn read_again(&mut self) -> Result<(), StoreError> {
        let source = self.found.as_ref().map(|found| found.source.clone());
        let found = self.store.peek()?;
        let moved =
            |now: &StoreContents| source.as_ref().is_some_and(|source| *source != now.source);
        if let Some(now) = found.as_ref().filter(|now| moved(now)) {
            return Err(StoreError::Restless {
                file: now.source.clone(),
            });
        }
        self.found = found;
        Ok(())
    }

    /// These tokens were refused: a place with one of them holds no login.
    pub(in crate::credentials) fn mark_dead(&mut self, tokens: &[Secret]) {
        self.dead = tokens.iter().map(Secret::fingerprint).collect();
    }

    /// The current and former tokens of the login in use: a row with none of them belongs to
    /// another login by now.
    pub(in crate::credentials) fn mark_known(&mut self, tokens: Vec<String>) {
        self.known = tokens;
    }

    /// Whether this login may replace a row's contents.
    fn is_ours(&self, stored: &Login, old: &Login, login: &Login) -> bool {
        let token = stored.refresh_token();
        let is_of = |login: &Login| same(login.refresh_token().as_ref(), token.as_ref());
        let known = |token: &Secret| self.known.contains(&token.fingerprint());
        let is_old = old.row() == login.row() && is_of(old);
        is_old || is_of(login) || token.as_ref().is_none_or(known)
    }

    fn is_dead(&self, login: &Login) -> bool {
        let token = login.refresh_token();
        token.is_none_or(|token| self.dead.contains(&token.fingerprint()))
    }

    /// Makes the new versions' files with room for their content, on disk, before a token is
    /// spent: a full disk or a read-only folder is noticed while nothing is lost yet.
    pub(in crate::credentials) fn prepare(&mut self) -> Result<(), StoreError> {
        let Some(found) = &self.found else {
            return Ok(());
        };
        if found.broken.is_some() && self.mirror.is_none() {
            return Err(StoreError::Restless {
                file: found.source.clone(),
            });
        }
        if self.prepared.is_none() {
            let mirror = self
                .mirror
                .as_deref()
                .map(PreparedStore::beside)
                .transpose()?;
            let store = match &found.broken {
                None => Some(PreparedStore::tagged(
                    &found.source,
                    Some(&self.tag(&found.source)),
                )?),
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
    /// # Errors
    /// If either file is not durably written; the other one may be.
    pub(in crate::credentials) fn commit(
        &mut self,
        update: LoginUpdate<'_>,
        mirror: Option<Login>,
    ) -> Result<(), StoreError> {
        let LoginUpdate {
            old, login, change, ..
        } = update;
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
        // The mirror alone counts as a place: the next read of the store finds it fresher.
        let written = if found.broken.is_none() && login.differs_from(&found.login) {
            let document = read_object(&found.source)?.unwrap_or_default();
            let stored = pool::logins_at(&document, self.store.layout, login.row());
            let is_meant = |stored: &Login| match change {
                Change::Quarantined => self.is_dead(stored),
                Change::Rotated | Change::LoggedIn => {
                    login.row().is_none() || self.is_ours(stored, old, login)
                }
            };
            if !stored.is_empty() && !stored.iter().any(is_meant) {
                return Err(StoreError::Restless { file: found.source });
            }
            let document = rewritten(
                document,
                self.store.layout.key(),
                update,
                &found.login,
                &self.known,
            );
            let Some(document) = document else {
                return Err(StoreError::RowGone { file: found.source });
            };
            let prepared = match prepared.flatten() {
                Some(prepared) => prepared,
                None => PreparedStore::tagged(&found.source, Some(&self.tag(&found.source)))?,
            };
            write::replace(&found.source, Some(prepared), document)
        } else {
            Ok(())
        };
        if let (Ok(()), Some(found)) = (&written, &mut self.found) {
            found.login = login.clone();
        }
        mirrored.and(written)
    }

    /// Removes the login from its file with its mirror and, if all are meant, with its pool, as Hermes Agent's logout
    /// does. A mirror with another token than the store's `goes` if it is the same login.
    ///
    /// # Errors
    /// If a file can't be written; then the login may still exist.
    pub(in crate::credentials) fn remove(
        &mut self,
        extent: Extent,
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
        let mut tags = vec![self.tag(&found.source)];
        let mut logins = usize::from(found.login.tokens().any());
        if extent == Extent::All {
            let mut roster = Roster::default();
            let source = RosterSource {
                file: &found.source,
                takes_rows: true,
                is_shared: true,
            };
            roster.add(&document, source, self.store.layout);
            logins = logins.saturating_add(roster.clone().without_twins().rows.len());
            let rows = roster.rows.into_iter();
            tags.extend(rows.map(|row| self.store.of_row(row.place).journal(&found.source).tag()));
        }
        let stays = |row: &Map<String, Value>| match extent {
            Extent::All => false,
            Extent::Main => !pool::is_of(row, &found.login),
        };
        let table = document.get_mut("providers").and_then(Value::as_object_mut);
        if let Some(table) = table {
            table.shift_remove(key);
        }
        let is_last = pool::retain(&mut document, key, stays);
        if is_last && document.get("active_provider").and_then(Value::as_str) == Some(key) {
            document.insert("active_provider".to_owned(), Value::Null);
        }
        stamp_document(&mut document, now);
        write::replace(&found.source, None, document)?;
        // What killed processes left of its logins holds tokens.
        for tag in tags {
            write::clear_leftovers(&found.source, Some(&tag));
        }
        if let Some(mirror) = &self.mirror {
            write::clear_leftovers(mirror, None);
        }
        let token = found.login.refresh_token();
        let mirror = self.remove_mirror(&found, |mirror| {
            same(mirror.refresh_token().as_ref(), token.as_ref()) || goes(mirror)
        });
        Ok(Removed {
            logins,
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
    fn remove_mirror(
        &self,
        found: &StoreContents,
        goes: impl Fn(&Login) -> bool,
    ) -> Option<PathBuf> {
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
