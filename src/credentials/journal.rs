//! The journal of tokens that are being spent: one file for each login, whether a provider's block or a row of
//! its pool. It exists from just before a refresh token is sent until its successor is on disk.
//!
//! A single-use token that was sent may be spent, whether or not the answer came. A program that
//! finds an entry for the token in the store knows that a refresh was cut off, tries it at once (a
//! provider with a grace time repeats the answer), and can say what happened if the login turns out
//! to be lost. The entry holds a fingerprint, never a token.
//!
//! A renewed login that can't be written to its store is kept beside it.
//!
//! All of this is file work that may hang, so the keeper leaves it to `Store::note`. An entry is on
//! disk before its token is sent. Entries that are no longer needed are removed after the store was
//! written, or later if the folder hangs.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::spent_tokens::Spent;
use super::store::{LARGEST, StoreError};
use super::write;
use crate::files::{self, FileAccess};
use crate::provider::{Layout, Login};
use crate::secret::Secret;

/// Where a provider's entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RefreshJournal {
    file: PathBuf,
    layout: &'static dyn Layout,
}

/// A refresh that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JournalEntry {
    /// The fingerprint of the refresh token.
    pub(super) token: String,
    /// When it was about to be sent.
    pub(super) started_at: DateTime<Utc>,
}

/// What of a journal is not needed any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chore {
    /// The entry.
    End(RefreshJournal, JournalEntry),
    /// The renewed login beside it; if its tokens are named, by their fingerprints, only that of one of
    /// these.
    Forget(RefreshJournal, Option<Vec<String>>),
}

/// A renewed login that could not be written, and the fingerprints of the tokens before it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct UnsavedLogin {
    pub(super) login: Login,
    pub(super) replaces: Vec<String>,
}

impl UnsavedLogin {
    /// Whether it takes the place of a login with this token.
    pub(super) fn succeeds(&self, token: &Secret) -> bool {
        self.replaces.contains(&token.fingerprint())
    }
}

/// Removes a file of the journal, and what a killed process left of it.
fn remove(file: &Path) {
    write::clear_leftovers(file, None);
    if let Err(error) = files::remove(file) {
        // What is about a token that is no longer in the store means nothing.
        tracing::debug!(%error, "a journal file could not be removed");
    }
}

impl Chore {
    /// Removes it.
    pub(super) fn work(&self) {
        match self {
            Self::End(journal, entry) => journal.end(entry),
            Self::Forget(journal, tokens) => journal.forget_kept(tokens.as_deref()),
        }
    }

    /// Whether it comes after this token is recorded as spent: a kill before leaves one of the two. A token that is
    /// being spent does not count yet: the entry may be another keeper's.
    pub(super) fn waits_for(&self, spent: &Spent) -> bool {
        match self {
            Self::End(_, JournalEntry { token, .. }) => {
                spent.waits(token) || spent.is_claimed(token)
            }
            Self::Forget(..) => false,
        }
    }

    /// Whether a new entry in this journal replaces the file that it would remove.
    pub(super) fn ends(&self, journal: &RefreshJournal) -> bool {
        matches!(self, Self::End(its, _) if its == journal)
    }

    /// Whether another login that is kept beside this journal replaces the file that it would
    /// remove.
    pub(super) fn forgets(&self, journal: &RefreshJournal) -> bool {
        matches!(self, Self::Forget(its, _) if its == journal)
    }
}

impl JournalEntry {
    /// Whether it is about this token.
    pub(super) fn is_about(&self, token: &Secret) -> bool {
        token.fingerprint() == self.token
    }
}

impl RefreshJournal {
    /// The journal in `folder` of the provider with this layout, for the login in the block of
    /// `store`.
    pub(super) fn new(folder: &Path, layout: &'static dyn Layout, store: &Path) -> Self {
        let store = Secret::new(store.to_string_lossy().into_owned());
        Self {
            file: folder.join(format!("{}-{}.json", layout.key(), store.fingerprint())),
            layout,
        }
    }

    /// That of the login in a row of the store's pool: `nth` of those with this id.
    pub(super) fn of_row(
        folder: &Path,
        layout: &'static dyn Layout,
        store: &Path,
        id: &str,
        nth: usize,
    ) -> Self {
        let place = format!("{}\n{id}\n{nth}", store.to_string_lossy());
        Self::new(folder, layout, Path::new(&place))
    }

    /// The tag of its login's temporary files, which distinguishes them from those of a store's
    /// others.
    pub(super) fn tag(&self) -> String {
        tag_of(&self.file)
    }

    /// Keeps a renewed login that can't be saved, with the fingerprints of the tokens that it
    /// `replaces`.
    pub(super) fn keep(&self, kept: UnsavedLogin) -> Result<(), StoreError> {
        let mut document = Map::new();
        document.insert("replaces".to_owned(), kept.replaces.into());
        document.insert("login".to_owned(), kept.login.into_fields().into());
        write::replace_small(&self.kept_file(), document)
    }

    /// The renewed login that could not be written.
    ///
    /// # Errors
    /// If there may be one that can't be read.
    pub(super) fn kept(&self) -> Result<Option<UnsavedLogin>, StoreError> {
        self.kept_in(&self.kept_file())
    }

    /// The one that replaces a login with this token, in any of the provider's journals: the login may have changed
    /// its place since.
    ///
    /// # Errors
    /// If there may be one in this journal that can't be read.
    pub(super) fn kept_for(&self, token: &Secret) -> Result<Option<UnsavedLogin>, StoreError> {
        let own = self.kept()?.filter(|kept| kept.succeeds(token));
        let of_another = || {
            let mut others = self.others("login").into_iter();
            others.find_map(|file| {
                let kept = self.kept_in(&file).ok()?;
                kept.filter(|kept| kept.succeeds(token))
            })
        };
        Ok(own.or_else(of_another))
    }

    fn kept_in(&self, file: &Path) -> Result<Option<UnsavedLogin>, StoreError> {
        read(file, |mut document| {
            let replaces = document.get("replaces")?.as_array()?;
            let replaces = replaces.iter().filter_map(Value::as_str);
            let replaces = replaces.map(str::to_owned).collect();
            let Value::Object(login) = document.get_mut("login")?.take() else {
                return None;
            };
            let login = Login::new(login, self.layout);
            Some(UnsavedLogin { login, replaces })
        })
    }

    /// The renewed login was saved, or another program's login has replaced it. A file that can't be read may be
    /// neither, and one with a token that is not among `tokens` is another process's. If tokens are named, a
    /// renewed login with such a token beside another journal is removed too.
    pub(super) fn forget_kept(&self, tokens: Option<&[String]>) {
        let is_meant = |kept: &UnsavedLogin| {
            let token = kept.login.refresh_token().map(|token| token.fingerprint());
            tokens
                .zip(token)
                .is_none_or(|(tokens, token)| tokens.contains(&token))
        };
        match self.kept() {
            Ok(Some(kept)) if !is_meant(&kept) => {}
            Ok(_) => remove(&self.kept_file()),
            Err(error) => tracing::warn!(%error, "a renewed login beside the journal stays there"),
        }
        for file in self.others("login").iter().filter(|_| tokens.is_some()) {
            if let Ok(Some(kept)) = self.kept_in(file)
                && is_meant(&kept)
            {
                remove(file);
            }
        }
    }

    /// The files of the provider's other journals with this suffix. The names of two providers may begin alike, but
    /// the files' contents are found by token.
    fn others(&self, ending: &str) -> Vec<PathBuf> {
        let prefix = format!("{}-", self.layout.key());
        let Ok(place) = FileAccess::of(&self.file) else {
            return Vec::new();
        };
        let entries = place.act(|path| {
            let entries = path.parent().map(std::fs::read_dir).transpose()?;
            let entries = entries.into_iter().flatten().flatten();
            Ok(entries.map(|entry| entry.file_name()).collect::<Vec<_>>())
        });
        let names = entries.unwrap_or_default().into_iter();
        let files = names.filter_map(|name| {
            let text = name.to_str()?;
            let ours = text.starts_with(&prefix) && text.rsplit_once('.')?.1 == ending;
            ours.then(|| self.file.with_file_name(name))
        });
        let own = self.file.with_extension(ending);
        files.filter(|file| *file != own).collect()
    }

    fn kept_file(&self) -> PathBuf {
        self.file.with_extension("login")
    }

    /// Notes durably that this token is about to be sent.
    pub(super) fn begin(&self, token: &Secret, now: DateTime<Utc>) -> Result<(), StoreError> {
        let entry = json!({
            "version": 1,
            "refresh_token_fingerprint": token.fingerprint(),
            "started_at": now.to_rfc3339_opts(SecondsFormat::Micros, true),
            "pid": std::process::id(),
        });
        let entry = entry.as_object().cloned().unwrap_or_default();
        write::replace_small(&self.file, entry)
    }

    /// The successor of this token is on disk, or the token was never sent. An entry about another
    /// one stays: it is another process's.
    pub(super) fn end(&self, entry: &JournalEntry) {
        match self.pending() {
            Ok(Some(now)) if now.token != entry.token => {}
            Ok(Some(_)) => remove(&self.file),
            // It was begun in the login's place at that time.
            Ok(None) => {
                write::clear_leftovers(&self.file, None);
                if let Some((_, file)) = self.elsewhere(&entry.token) {
                    remove(&file);
                }
            }
            Err(error) => tracing::debug!(%error, "a journal entry stays"),
        }
    }

    /// The entry about the token with this fingerprint in another of the provider's journals, and what its temporary
    /// files are tagged with: the login has changed its place since, such as from a row to the block.
    pub(super) fn begun_elsewhere(&self, token: &Secret) -> Option<(JournalEntry, String)> {
        let (entry, file) = self.elsewhere(&token.fingerprint())?;
        Some((entry, tag_of(&file)))
    }

    fn elsewhere(&self, fingerprint: &str) -> Option<(JournalEntry, PathBuf)> {
        let mut files = self.others("json").into_iter();
        files.find_map(|file| {
            let entry = entry_in(&file).ok().flatten()?;
            (entry.token == fingerprint).then_some((entry, file))
        })
    }

    /// What was begun and not ended.
    ///
    /// # Errors
    /// If there may be an entry that can't be read.
    pub(super) fn pending(&self) -> Result<Option<JournalEntry>, StoreError> {
        entry_in(&self.file)
    }
}

fn entry_in(file: &Path) -> Result<Option<JournalEntry>, StoreError> {
    read(file, |entry| {
        let started_at = entry.get("started_at")?.as_str()?.parse().ok()?;
        let token = entry.get("refresh_token_fingerprint")?.as_str()?.to_owned();
        Some(JournalEntry { token, started_at })
    })
}

fn tag_of(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default();
    Secret::new(name.to_string_lossy().into_owned()).fingerprint()
}

/// The content of a journal file: nothing if it does not exist, or is not ours.
///
/// # Errors
/// If it exists, or may exist, and can't be read.
fn read<T>(
    file: &Path,
    understand: impl FnOnce(Map<String, Value>) -> Option<T>,
) -> Result<Option<T>, StoreError> {
    let fault = |source| StoreError::Read {
        file: file.to_owned(),
        source,
    };
    let text = match files::read(file, LARGEST) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return files::there_or_missing(file).map(|()| None).map_err(fault);
        }
        text => text.map_err(fault)?,
    };
    let document = serde_json::from_slice(&text).ok();
    let understood = document.and_then(understand);
    if understood.is_none() {
        tracing::warn!(file = %file.display(), "a file of the journal is not whole; it is ignored");
    }
    Ok(understood)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::credentials::tests::layout;

    #[test]
    fn an_entry_is_there_until_it_is_ended_and_holds_no_token() {
        let dir = tempfile::tempdir().unwrap();
        let store = Path::new("/home/u/.hermes/auth.json");
        let journal = RefreshJournal::new(&dir.path().join("journal"), layout(), store);
        assert_eq!(journal.pending().unwrap(), None);
        let token = Secret::new("the-refresh-token".to_owned());
        let now = "2026-11-23T12:00:00.5Z".parse().unwrap();
        journal.begin(&token, now).unwrap();
        let text = fs::read_to_string(&journal.file).unwrap();
        assert!(!text.contains("the-refresh-token"), "{text}");
        let entry = journal.pending().unwrap().unwrap();
        assert!(
            entry.is_about(&token) && entry.started_at == now,
            "{entry:?}"
        );
        assert!(!entry.is_about(&Secret::new("another".to_owned())));
        let another = JournalEntry {
            token: "another".to_owned(),
            ..entry.clone()
        };
        journal.end(&another);
        assert_eq!(journal.pending().unwrap(), Some(entry.clone()));
        let login = json!({"refresh_token": "next"});
        let kept = UnsavedLogin {
            login: Login::new(login.as_object().cloned().unwrap(), layout()),
            replaces: vec![token.fingerprint()],
        };
        journal.keep(kept.clone()).unwrap();
        assert_eq!(journal.kept().unwrap(), Some(kept.clone()));
        assert!(kept.succeeds(&token) && !kept.succeeds(&Secret::new("another".to_owned())));
        journal.end(&entry);
        assert_eq!(journal.pending().unwrap(), None);
        assert_eq!(journal.kept().unwrap(), Some(kept.clone()));
        journal.forget_kept(Some(&[token.fingerprint()]));
        assert!(journal.kept().unwrap().is_some(), "another process's");
        let next = Secret::new("next".to_owned());
        journal.forget_kept(Some(&[token.fingerprint(), next.fingerprint()]));
        assert_eq!(journal.kept().unwrap(), None);
        journal.keep(kept).unwrap();
        journal.forget_kept(None);
        assert_eq!(journal.kept().unwrap(), None);
    }

    #[test]
    fn what_is_known_of_a_token_follows_a_login_that_changes_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let before = RefreshJournal::new(dir.path(), layout(), Path::new("/auth.json"));
        let after = RefreshJournal::new(dir.path(), layout(), Path::new("/profile/auth.json"));
        let (token, other) = (Secret::new("r0".to_owned()), Secret::new("x".to_owned()));
        let now = "2026-11-23T12:00:00Z".parse().unwrap();
        before.begin(&token, now).unwrap();
        let (entry, tag) = after.begun_elsewhere(&token).unwrap();
        assert!(entry.is_about(&token) && tag == before.tag());
        assert!(
            after.begun_elsewhere(&other).is_none() && before.begun_elsewhere(&token).is_none()
        );
        let login = json!({"refresh_token": "r1"});
        let kept = UnsavedLogin {
            login: Login::new(login.as_object().cloned().unwrap(), layout()),
            replaces: vec![token.fingerprint()],
        };
        before.keep(kept.clone()).unwrap();
        assert_eq!(after.kept_for(&token).unwrap(), Some(kept.clone()));
        assert_eq!(before.kept_for(&token).unwrap(), Some(kept));
        assert_eq!(after.kept_for(&other).unwrap(), None);
        after.forget_kept(None);
        after.forget_kept(Some(&[other.fingerprint()]));
        assert!(before.kept().unwrap().is_some());
        after.forget_kept(Some(&[Secret::new("r1".to_owned()).fingerprint()]));
        after.end(&entry);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_entry_that_was_cut_in_half_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let journal = RefreshJournal::new(dir.path(), layout(), Path::new("/auth.json"));
        fs::write(&journal.file, "{\"refresh_token_fing").unwrap();
        assert_eq!(journal.pending().unwrap(), None);
    }

    #[test]
    fn what_may_be_there_and_can_not_be_read_is_said_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let journal = RefreshJournal::new(dir.path(), layout(), Path::new("/auth.json"));
        let entry = JournalEntry {
            token: "another".to_owned(),
            started_at: "2026-11-23T12:00:00Z".parse().unwrap(),
        };
        for file in [journal.file.clone(), journal.kept_file()] {
            fs::create_dir(&file).unwrap();
        }
        assert!(journal.pending().is_err() && journal.kept().is_err());
        journal.end(&entry);
        journal.forget_kept(None);
        assert!(journal.file.exists() && journal.kept_file().exists());
    }

    /// As a state folder on a disk that is not mounted.
    #[cfg(unix)]
    #[test]
    fn a_folder_that_is_a_link_to_nothing_is_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("journal");
        std::os::unix::fs::symlink(dir.path().join("unmounted"), &folder).unwrap();
        let journal = RefreshJournal::new(&folder, layout(), Path::new("/auth.json"));
        assert!(journal.pending().is_err() && journal.kept().is_err());
    }
}
