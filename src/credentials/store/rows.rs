//! The rows of a provider's pool: which exist, and what is noted in them besides a rotation. All of it off the request
//! path, under Hermes Agent's locks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::contents::StoreContents;
use super::document::{self, block, read_object};
use super::error::StoreError;
use super::login_store::LoginStore;
use super::pool::{self, ChosenRow, Marking, Meant, RowRemoval};
use super::roster::{Roster, RosterSource};
use super::row::RowPlace;
use crate::credentials::journal::RefreshJournal;
use crate::credentials::spent_tokens::Spent;
use crate::credentials::write;
use crate::provider::Login;

/// How long the locks are waited for, and when it is.
#[derive(Debug, Clone, Copy)]
pub(in crate::credentials) struct Occasion {
    pub(in crate::credentials) limit: Duration,
    pub(in crate::credentials) now: DateTime<Utc>,
}

/// A row that is to be made.
#[derive(Debug, Clone)]
pub(in crate::credentials) struct NewRow {
    /// Its name for people.
    pub(in crate::credentials) label: String,
    /// The row that it replaces, with fingerprints of the tokens in it.
    pub(in crate::credentials) replaces: Option<(RowPlace, Vec<String>)>,
}

impl LoginStore {
    /// The provider's rows in all of its files. A profile that has any hides those of the root, as it does for Hermes
    /// Agent.
    ///
    /// # Errors
    /// When a file can't be read.
    pub(in crate::credentials) fn roster(&self) -> Result<Roster, StoreError> {
        let mut roster = Roster::default();
        let mut hidden = false;
        for file in self.sources() {
            if let Some(document) = read_object(file)? {
                let is_shared = !self.is_own(file);
                let source = RosterSource {
                    file,
                    takes_rows: !hidden,
                    is_shared,
                };
                roster.add(&document, source, self.layout);
                hidden |= is_shared && pool::has_rows(&document, self.layout);
            }
        }
        Ok(roster.without_twins())
    }

    /// Marks the rows that hold a bearer, under the locks; see [`Marking`].
    ///
    /// # Errors
    /// When a file can't be locked, read or written.
    pub(in crate::credentials) async fn mark(
        &self,
        markings: Vec<Marking>,
        occasion: Occasion,
    ) -> Result<(), StoreError> {
        let layout = self.layout;
        self.edit(occasion, move |document, _| {
            let mut changed = false;
            for marking in &markings {
                changed |= pool::remark(document, layout, marking);
            }
            Ok(changed)
        })
        .await
        .map(drop)
    }

    /// Takes out the marks of the login that is `meant`, or of all; whether there were any.
    ///
    /// # Errors
    /// When a file can't be locked, read or written.
    pub(in crate::credentials) async fn reset(
        &self,
        meant: Option<Meant>,
        occasion: Occasion,
    ) -> Result<bool, StoreError> {
        let layout = self.layout;
        self.edit(occasion, move |document, file| {
            Ok(pool::reset(document, file, layout, meant.as_ref()))
        })
        .await
    }

    /// Gives twins of this login in other files its tokens, each under its file's locks, if they hold a token that is
    /// known to be spent: another program would send it.
    ///
    /// # Errors
    /// When a file can't be locked, read or written.
    pub(in crate::credentials) async fn renew_twins(
        &self,
        login: Login,
        source: PathBuf,
        occasion: Occasion,
    ) -> Result<(), StoreError> {
        let twins = self.twins.load_full();
        let mut files: Vec<_> = twins.iter().map(|twin| twin.file.clone()).collect();
        files.retain(|file| *file != source);
        files.sort();
        files.dedup();
        for file in files {
            let (login, spent, twins) = (login.clone(), self.spent.clone(), twins.clone());
            let follow = move |document: &mut Map<String, Value>, file: &Path| {
                let ids = twins.iter().filter(|twin| twin.file == file);
                let ids: Vec<_> = ids.map(|twin| twin.id.as_str()).collect();
                Ok(pool::follow(document, &login, &ids, &spent))
            };
            self.edit_at(&file, occasion, follow).await?;
        }
        Ok(())
    }

    /// Removes a row, and the renewed login beside its journal; returns whether it existed. `tokens` are those that it
    /// had when it was chosen.
    ///
    /// # Errors
    /// If its file can't be locked, read or written, and [`StoreError::Moved`] if another login has
    /// replaced it.
    pub(in crate::credentials) async fn remove_row(
        &self,
        row: RowPlace,
        tokens: Vec<String>,
        occasion: Occasion,
    ) -> Result<bool, StoreError> {
        let layout = self.layout;
        let file = row.file.clone();
        let journal = self.of_row(row.clone()).journal(&file);
        let (spent, entered) = (self.spent.clone(), journal.clone());
        let removed = self
            .edit_at(&file, occasion, move |document, file| {
                let chosen = ChosenRow {
                    place: &row,
                    tokens: &tokens,
                    were_rotated: were_rotated(&tokens, &spent, &entered),
                };
                match pool::remove(document, layout, chosen) {
                    RowRemoval::Out => Ok(true),
                    RowRemoval::Gone => Ok(false),
                    RowRemoval::Another => Err(StoreError::Moved {
                        file: file.to_owned(),
                    }),
                }
            })
            .await?;
        if removed {
            self.note(move || journal.forget_kept(None)).await?;
        }
        Ok(removed)
    }

    /// Adds a row with this login beside the provider's rows, or in place of the one that it replaces, and returns that
    /// file.
    ///
    /// # Errors
    /// When the file can't be locked, read or written.
    pub(in crate::credentials) async fn add_row(
        &self,
        login: Login,
        NewRow { label, replaces }: NewRow,
        occasion: Occasion,
    ) -> Result<PathBuf, StoreError> {
        let file = match &replaces {
            Some((row, _)) => row.file.clone(),
            None => self.work(Self::home_of_rows).await?,
        };
        let former = replaces.as_ref().map(|(row, _)| row.clone());
        let former = former.map(|row| self.of_row(row).journal(&file));
        let layout = self.layout;
        let is_own = self.is_own(&file);
        let (spent, entered) = (self.spent.clone(), former.clone());
        self.edit_at(&file, occasion, move |document, _| {
            let is_first =
                !pool::has_rows(document, layout) && block(&mut document.clone(), layout).is_none();
            let replaces = replaces.as_ref().zip(entered.as_ref());
            let replaces = replaces.map(|((place, tokens), entered)| ChosenRow {
                place,
                tokens,
                were_rotated: were_rotated(tokens, &spent, entered),
            });
            let added = pool::add(document, &login, &label, replaces);
            if added && is_first && !is_own {
                document::activate(document, layout.key());
            }
            Ok(added)
        })
        .await?;
        if let Some(journal) = former {
            self.note(move || journal.forget_kept(None)).await?;
        }
        Ok(file)
    }

    /// What another login of the same account as the one in the block is called.
    ///
    /// # Errors
    /// When a file can't be read.
    pub(in crate::credentials) fn same_account_as_block(
        &self,
    ) -> Result<Option<String>, StoreError> {
        let Some(found) = self.peek()? else {
            return Ok(None);
        };
        let tokens = found.login.tokens().fingerprints();
        let account = found.login.account();
        Ok(self.roster()?.of_account(account.as_deref(), &tokens))
    }

    /// The store for a new row: that of the provider's rows, otherwise the profile's.
    fn home_of_rows(&self) -> Result<PathBuf, StoreError> {
        for file in [&self.files.active, &self.files.global] {
            let document = read_object(file)?.unwrap_or_default();
            if pool::has_rows(&document, self.layout) {
                return Ok(file.clone());
            }
        }
        Ok(self.files.active.clone())
    }

    /// Changes what the files hold of the provider's pool, each under its locks; whether anything has changed.
    async fn edit(
        &self,
        occasion: Occasion,
        change: impl FnMut(&mut Map<String, Value>, &Path) -> Result<bool, StoreError>
        + Clone
        + Send
        + 'static,
    ) -> Result<bool, StoreError> {
        let mut changed = false;
        let files: Vec<_> = self.sources().cloned().collect();
        for file in files {
            changed |= self.edit_at(&file, occasion, change.clone()).await?;
        }
        Ok(changed)
    }

    async fn edit_at(
        &self,
        file: &Path,
        occasion: Occasion,
        mut change: impl FnMut(&mut Map<String, Value>, &Path) -> Result<bool, StoreError>
        + Clone
        + Send
        + 'static,
    ) -> Result<bool, StoreError> {
        let path = file.to_owned();
        let mut trial = change.clone();
        // Without work, no lock is taken.
        let look = move |_: &Self| trial(&mut read_object(&path)?.unwrap_or_default(), &path);
        if !self.work(look).await? {
            return Ok(false);
        }
        let mut transaction = self.open_at(file, occasion.limit).await?;
        let path = file.to_owned();
        transaction
            .work(move |_| {
                let mut document = read_object(&path)?.unwrap_or_default();
                let changed = change(&mut document, &path)?;
                if changed {
                    document::stamp_document(&mut document, occasion.now);
                    write::replace(&path, None, document)?;
                }
                Ok(changed)
            })
            .await
    }
}

/// Whether one of these tokens was spent, so that their row now holds its successor: a renewal may have been under way
/// when they were read.
fn were_rotated(tokens: &[String], spent: &Spent, journal: &RefreshJournal) -> bool {
    // Another process may have spent it. Its journal's entry exists until the token is in the
    // ledger.
    spent.read().ok();
    let pending = journal.pending().ok().flatten();
    let is_spent = |token: &String| {
        spent.holds_mark(token) || pending.as_ref().is_some_and(|one| one.token == *token)
    };
    tokens.iter().any(is_spent)
}

/// The login to inspect if one is enough: the block's, otherwise that of the first row, with its
/// place.
pub(in crate::credentials) fn first_login(
    store: &LoginStore,
) -> Option<(LoginStore, StoreContents)> {
    let in_block = store.peek().ok().flatten();
    if let Some(found) = in_block.as_ref().filter(|found| found.login.tokens().any()) {
        return Some((store.clone(), found.clone()));
    }
    let mut rows = store.roster().map(|roster| roster.rows).unwrap_or_default();
    rows.sort_by_key(|row| row.facts.priority);
    let mut rows = rows.into_iter().filter_map(|row| {
        let store = store.of_row(row.place);
        let found = store.peek().ok().flatten()?;
        Some((store, found))
    });
    let mut ended = None;
    let living = rows.find(|(store, found)| {
        let lives = found.login.tokens().any();
        if !lives && ended.is_none() {
            ended = Some((store.clone(), found.clone()));
        }
        lives
    });
    let block = in_block.map(|found| (store.clone(), found));
    living.or(block).or(ended)
}
