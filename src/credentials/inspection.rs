//! Inspects the files of a login without a lock, a change, or a token in its output.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::login_name::MAIN;
use super::store::{self, LoginStore, StoreContents, StoreFiles, read_object};
use super::{StoreError, file_lock, grant, remedy, write};
use crate::clock;
use crate::files::{self, FileAccess};
use crate::provider::{Adapter, Assessment, Login, Merge, Renewal};

/// Everything that the files show about one provider's login.
#[derive(Debug)]
pub struct Inspection {
    /// The files that may hold it, in the order in which they are read.
    pub files: Vec<FileLook>,
    /// The mirror's file, if the provider has one.
    pub mirror: Option<FileLook>,
    /// The login in use, if there is one.
    pub login: Option<LoginLook>,
    /// Whether the user has taken it out with Hermes Agent, and made none with it since.
    pub suppressed: bool,
}

/// One file.
#[derive(Debug)]
pub struct FileLook {
    /// The file.
    pub path: PathBuf,
    /// What it holds.
    pub content: InspectedContent,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InspectedContent {
    /// There is no file.
    Missing,
    /// It can't be read, or is not a store; in words, without any of its content, and the command
    /// that helps.
    Unusable(String, Option<String>),
    /// It is not used because of its owner or mode, whatever it holds; in the same form.
    Untrusted(String, Option<String>),
    /// No login of this provider.
    Nothing,
    /// A login, with its refresh token's fingerprint if it has one.
    Login(Option<String>),
}

/// The login in use.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a finding of its own"
)]
pub struct LoginLook {
    /// The file that holds it.
    pub store: PathBuf,
    /// Whether it is ours alone.
    pub own: bool,
    /// The login itself.
    pub login: Login,
    /// What it allows now.
    pub assessment: Assessment,
    /// When the grant ends, as far as that is known.
    pub ends_at: Option<DateTime<Utc>>,
    /// Whether that is near enough to warn of.
    pub ends_soon: bool,
    /// Which of it and the mirror is newer; `None` without a mirror.
    pub merge: Option<Merge>,
    /// Whether its refresh token is known to be spent, so that it is an older copy.
    pub is_older_copy: bool,
    /// When a refresh began that was cut off.
    pub cut_off_at: Option<DateTime<Utc>>,
    /// Whether a renewed login waits to be saved.
    pub waits_to_be_saved: bool,
    /// What can't be read of its journal, and the command that helps. Until then it is unknown which
    /// token is spent, and whether a renewed login waits.
    pub journal_fault: Option<(String, Option<String>)>,
}

/// Looks at the login of this provider; `None` if it keeps none in a store.
pub fn inspect(
    files: &StoreFiles,
    adapter: &dyn Adapter,
    now: DateTime<Utc>,
) -> Option<Inspection> {
    let layout = adapter.layout()?;
    let store = LoginStore::new(files.clone(), layout);
    let files = store.files();
    let global = (files.global != files.active).then_some(&files.global);
    let sources = [&files.own, &files.active].into_iter().chain(global);
    let mirror = layout.mirror_file().map(|name| {
        look(&files.shared.join(name), |document| {
            Some(Login::new(std::mem::take(document), layout))
        })
    });
    Some(Inspection {
        files: sources
            .map(|file| look(file, |document| store::login(document, layout)))
            .collect(),
        mirror,
        suppressed: store.is_suppressed(),
        // The fault of a file is listed above.
        login: store::first_login(&store).map(|(store, mut found)| {
            for row in &found.rows {
                found.login.merge_row(row, now);
            }
            // Unreadable files are reported with the journal.
            store.spent().read().ok();
            let token = found.login.refresh_token();
            let mut look = login_look(adapter, &store, found, now);
            look.is_older_copy = token.is_some_and(|token| store.spent().holds(&token));
            look
        }),
    })
}

/// A provider's logins that have ended, besides the living ones.
#[derive(Debug)]
pub struct EndedLogins {
    /// What they are called.
    pub labels: Vec<String>,
    /// How many logins there are in all.
    pub of: usize,
    /// The ended one's name on the command line, if it is in a row; the main login has no name
    /// there.
    pub called: Option<String>,
}

/// Which logins of this provider have ended, by their files; `None` if none has, or it has only
/// one.
pub fn ended_logins(files: &StoreFiles, adapter: &dyn Adapter) -> Option<EndedLogins> {
    let store = LoginStore::new(files.clone(), adapter.layout()?);
    let roster = store.roster().ok()?;
    let block = store.peek().ok().flatten();
    let block = block.map(|found| found.login.tokens().any());
    let main = roster.of_block.as_ref().map(|facts| facts.label.clone());
    let main = (block == Some(false)).then(|| main.unwrap_or_else(|| MAIN.to_owned()));
    let rows = roster.rows.iter().filter(|row| row.tokens.is_empty());
    let rows: Vec<_> = rows.collect();
    let of = roster.rows.len().saturating_add(block.map_or(0, |_| 1));
    let only = rows.first().filter(|_| rows.len() == 1 && main.is_none());
    let called = only.map(|row| {
        let label = &row.facts.label;
        let mut same = roster.rows.iter().filter(|one| one.facts.label == *label);
        let is_unique =
            same.nth(1).is_none() && roster.of_block.as_ref().is_none_or(|of| of.label != *label);
        if is_unique { label } else { &row.place.id }.clone()
    });
    let labels = rows.iter().map(|row| row.facts.label.clone());
    let labels: Vec<_> = main.into_iter().chain(labels).collect();
    (!labels.is_empty() && of > 1).then_some(EndedLogins { labels, of, called })
}

/// The keys of the logins in our own store, whether or not their providers are configured.
pub fn own_keys(files: &StoreFiles) -> Vec<String> {
    let Ok(Some(document)) = read_object(&files.own) else {
        return Vec::new();
    };
    let providers = document.get("providers").and_then(Value::as_object);
    let providers = providers.into_iter().flatten();
    providers.map(|(key, _)| key.clone()).collect()
}

/// Renewed logins that wait beside the journal to be saved, with the keys of their providers, configured or not.
pub fn kept_logins(files: &StoreFiles) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(&files.journal).into_iter().flatten();
    let kept = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let (key, _) = name.strip_suffix(".login")?.rsplit_once('-')?;
        Some((key.to_owned(), entry.path()))
    });
    kept.collect()
}

/// The fingerprint of the refresh token that a store at `file` holds of this provider.
pub fn refresh_fingerprint(file: &Path, adapter: &dyn Adapter) -> Option<String> {
    let layout = adapter.layout()?;
    match look(file, |document| store::login(document, layout)).content {
        InspectedContent::Login(fingerprint) => fingerprint,
        InspectedContent::Missing
        | InspectedContent::Unusable(..)
        | InspectedContent::Untrusted(..)
        | InspectedContent::Nothing => None,
    }
}

/// The same of another program's file, which has the login at its top.
pub fn fingerprint_at_top(file: &Path, adapter: &dyn Adapter) -> Option<String> {
    let layout = adapter.layout()?;
    let look = look(file, |document| {
        Some(Login::new(std::mem::take(document), layout))
    });
    match look.content {
        InspectedContent::Login(fingerprint) => fingerprint,
        InspectedContent::Missing
        | InspectedContent::Unusable(..)
        | InspectedContent::Untrusted(..)
        | InspectedContent::Nothing => None,
    }
}

/// The file whose lock guards `store`.
pub fn lock_of(store: &Path) -> PathBuf {
    file_lock::beside(store)
}

/// The temporary files that a killed process left beside `store`; during a write, one.
pub fn temporaries(store: &Path) -> Vec<PathBuf> {
    let Ok(place) = FileAccess::of(store) else {
        return Vec::new();
    };
    let leftovers = files::leftovers(&place).into_iter();
    leftovers.map(|place| place.target().to_owned()).collect()
}

/// Copies of a broken `store` that were moved aside; they may hold tokens still.
pub fn copies(store: &Path) -> Vec<PathBuf> {
    write::copies(store)
}

/// Whether a lock's file can be used as a renewal uses it; `None` if it does not exist.
///
/// # Errors
/// If it can't be opened, or is not a regular file.
pub fn open_lock(file: &Path) -> std::io::Result<Option<std::fs::File>> {
    match FileAccess::of(file).and_then(|place| place.open_lock_there()) {
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound && !file_lock::leads_nowhere(file) =>
        {
            Ok(None)
        }
        opened => opened.map(Some),
    }
}

fn login_look(
    adapter: &dyn Adapter,
    store: &LoginStore,
    found: StoreContents,
    now: DateTime<Utc>,
) -> LoginLook {
    let journal = store.journal(&found.source);
    let own = store.is_own(&found.source);
    let mirror = found.mirror.filter(|_| !own);
    let login = found.login;
    let since = grant::login_at(&login);
    let grant = since.and_then(|since| Some(clock::after(since, adapter.grant_lifetime()?)));
    let assessment = adapter.assess(&login, now);
    // What nothing renews ends with its token.
    let token = match &assessment {
        Assessment::Login {
            credential: Some(credential),
            renewal: Renewal::Never,
        } => credential.expires_at,
        Assessment::Login { .. } | Assessment::NoLogin { .. } => None,
    };
    let ends_at = [grant, token].into_iter().flatten().min();
    let token = login.refresh_token();
    let (begun, kept) = (journal.pending(), journal.kept());
    let fault = begun.as_ref().err().or(kept.as_ref().err());
    let journal_fault = fault.map(|error| (error.to_string(), remedy(error, None)));
    let begun = begun.ok().flatten();
    let pending = begun.filter(|entry| token.as_ref().is_some_and(|token| entry.is_about(token)));
    LoginLook {
        store: found.source,
        own,
        assessment,
        ends_at,
        ends_soon: ends_at.is_some_and(|end| grant::warnings_due(end, now) > 0),
        merge: mirror.map(|mirror| login.clone().merge(&mirror, now)),
        is_older_copy: false,
        cut_off_at: pending.map(|entry| entry.started_at),
        waits_to_be_saved: kept.is_ok_and(|kept| kept.is_some()),
        journal_fault,
        login,
    }
}

fn look(file: &Path, login: impl FnOnce(&mut Map<String, Value>) -> Option<Login>) -> FileLook {
    let content = match read_object(file) {
        Ok(None) => InspectedContent::Missing,
        Ok(Some(mut document)) => login(&mut document).map_or(InspectedContent::Nothing, |login| {
            InspectedContent::Login(login.refresh_token().map(|token| token.fingerprint()))
        }),
        Err(error) => {
            let command = remedy(&error, None);
            match &error {
                StoreError::Foreign { owner, .. } => {
                    let reason = format!("belongs to another user (id {owner}), so it is not used");
                    InspectedContent::Untrusted(reason, command)
                }
                StoreError::Writable { mode, .. } => {
                    let reason = format!(
                        "can be written by everyone on this machine (mode {mode:04o}), so it is not \
                         used; check that the login in it is yours"
                    );
                    InspectedContent::Untrusted(reason, command)
                }
                StoreError::Read { source, .. } => {
                    InspectedContent::Unusable(format!("can't be read ({source})"), command)
                }
                StoreError::Parse { reason, .. } => {
                    let reason = format!("is not a credential store ({reason})");
                    InspectedContent::Unusable(reason, command)
                }
                StoreError::Lock { .. }
                | StoreError::LockHeld { .. }
                | StoreError::Restless { .. }
                | StoreError::RowGone { .. }
                | StoreError::Moved { .. }
                | StoreError::Stopping
                | StoreError::Waiting
                | StoreError::Write { .. } => {
                    InspectedContent::Unusable(error.to_string(), command)
                }
            }
        }
    };
    let path = file.to_owned();
    FileLook { path, content }
}
