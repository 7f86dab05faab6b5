//! The ledger of spent refresh tokens: a fingerprint of each one that was replaced or that its provider has
//! reported as reused, in a small file per provider, so that a restart knows them too.
//!
//! A store can come to hold an older version of a login: a restored backup, a twin row of the pool, a program that
//! writes back its memory. Sending such a token once more makes its provider revoke the whole login, so everything that
//! sends, adopts or starts to keep a refresh token asks here first ([`Spent::holds`], which reads memory alone). A
//! token is durable here before its journal entry ends: a kill at any point leaves one of the two.
//!
//! All keepers of a provider in this process share one ledger. Its file work is the journal's (`Store::note`).

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::store::{StoreError, StoreStamp, stamp};
use super::write;
use crate::files;
use crate::secret::Secret;

/// So many are remembered, the newest: over a month of them at four an hour.
const REMEMBERED: usize = 4096;
/// A larger file is damaged.
const LARGEST: u64 = 1024 * 1024;
/// The file's first line.
const HEAD: &str =
    "# Fingerprints of spent refresh tokens, oldest first. hermes-proxyd never sends these again.";

/// The spent refresh tokens of one provider. Cheap to clone; all clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Spent(Arc<SpentLedger>);

#[derive(Debug, Default)]
struct SpentLedger {
    /// `None` for one in memory alone.
    file: Option<PathBuf>,
    memory: Mutex<SpentMemory>,
}

/// What is known, on disk or not yet.
#[derive(Debug, Default)]
struct SpentMemory {
    /// The oldest first.
    known: VecDeque<TokenFingerprint>,
    /// What of that the file does not have yet.
    added: VecDeque<TokenFingerprint>,
    /// Tokens that the file still lists, though the provider has granted them again.
    removed: Vec<TokenFingerprint>,
    /// The file as it was read last.
    read: Option<StoreStamp>,
    /// Tokens that may be spent, as far as this process can tell. Never written.
    doubted: Vec<TokenFingerprint>,
    /// What is being spent.
    claimed: Vec<TokenFingerprint>,
    /// It was said that the file can't be written.
    told: bool,
}

/// A refresh token that is being spent, until its successor is saved or the attempt has failed. Two keepers may hold
/// one token under the locks of different files; one of them sends it.
#[derive(Debug)]
pub(super) struct Claim {
    spent: Spent,
    mark: TokenFingerprint,
}

impl Claim {
    /// Whether it is this token's.
    pub(super) fn is_of(&self, token: &Secret) -> bool {
        TokenFingerprint::of(&token.fingerprint()) == Some(self.mark)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut memory = self.spent.memory();
        memory.claimed.retain(|claimed| *claimed != self.mark);
    }
}

/// A token's fingerprint.
#[derive(Clone, Copy, PartialEq, Eq)]
struct TokenFingerprint(u64);

impl TokenFingerprint {
    fn of(fingerprint: &str) -> Option<Self> {
        let plain =
            fingerprint.len() == 12 && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(fingerprint, 16).ok();
        number.filter(|_| plain).map(Self)
    }
}

impl fmt::Display for TokenFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

impl fmt::Debug for TokenFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The ledgers in use.
static SHARED: Mutex<BTreeMap<PathBuf, Weak<SpentLedger>>> = Mutex::new(BTreeMap::new());

impl Spent {
    /// The ledger in `folder` of the provider with this key, shared by the whole process. Nothing
    /// is read yet.
    pub(super) fn of(folder: &Path, key: &str) -> Self {
        let file = folder.join(format!("{key}.txt"));
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|_, ledger| ledger.strong_count() > 0);
        if let Some(ledger) = shared.get(&file).and_then(Weak::upgrade) {
            return Self(ledger);
        }
        let ledger = Arc::new(SpentLedger {
            file: Some(file.clone()),
            memory: Mutex::default(),
        });
        shared.insert(file, Arc::downgrade(&ledger));
        Self(ledger)
    }

    fn memory(&self) -> MutexGuard<'_, SpentMemory> {
        let memory = self.0.memory.lock();
        memory.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this refresh token is known to be spent: then it is neither sent nor adopted as a
    /// newer one.
    pub(super) fn holds(&self, token: &Secret) -> bool {
        let memory = self.memory();
        let is_empty = memory.known.is_empty() && memory.doubted.is_empty();
        drop(memory);
        !is_empty && self.holds_mark(&token.fingerprint())
    }

    /// The same of a token by its fingerprint.
    pub(super) fn holds_mark(&self, fingerprint: &str) -> bool {
        let is_there = |mark: TokenFingerprint| {
            let memory = self.memory();
            memory.known.contains(&mark) || memory.doubted.contains(&mark)
        };
        TokenFingerprint::of(fingerprint).is_some_and(is_there)
    }

    /// This token may be spent, as far as this process can tell: it counts as spent until it ends.
    pub(super) fn doubt(&self, fingerprint: &str) {
        if let Some(mark) = TokenFingerprint::of(fingerprint) {
            self.memory().doubted.push(mark);
        }
    }

    /// The sole right in this process to send this token; `None` if another keeper has it.
    pub(super) fn claim(&self, token: &Secret) -> Option<Claim> {
        let mark = TokenFingerprint::of(&token.fingerprint())?;
        let mut memory = self.memory();
        if memory.claimed.contains(&mark) {
            return None;
        }
        memory.claimed.push(mark);
        Some(Claim {
            spent: self.clone(),
            mark,
        })
    }

    /// Whether the token with this fingerprint is being spent.
    pub(super) fn is_claimed(&self, fingerprint: &str) -> bool {
        TokenFingerprint::of(fingerprint).is_some_and(|mark| self.memory().claimed.contains(&mark))
    }

    /// Notes that the token with this fingerprint is spent. It is known at once, and durable after the next
    /// [`Spent::write`].
    pub(super) fn note(&self, fingerprint: &str) {
        if let Some(mark) = TokenFingerprint::of(fingerprint) {
            self.memory().add(mark);
        }
    }

    /// This token was granted just now, so it is good, whatever was known about it.
    pub(super) fn forget(&self, token: &Secret) {
        if let Some(mark) = TokenFingerprint::of(&token.fingerprint()) {
            self.memory().remove(mark);
        }
    }

    /// Whether the file has all that is known.
    pub(super) fn is_written(&self) -> bool {
        let memory = self.memory();
        memory.added.is_empty() && memory.removed.is_empty()
    }

    /// Whether this fingerprint is known, and not in the file yet.
    pub(super) fn waits(&self, fingerprint: &str) -> bool {
        let mark = TokenFingerprint::of(fingerprint);
        mark.is_some_and(|mark| self.memory().added.contains(&mark))
    }

    /// Reads the file if it has changed. File work.
    ///
    /// # Errors
    /// If the ledger exists, or may exist, and can't be read: then spent tokens are unknown. A damaged one is reported,
    /// and what can be read of it counts.
    pub(super) fn read(&self) -> Result<(), StoreError> {
        let Some(file) = &self.0.file else {
            return Ok(());
        };
        // One that is replaced meanwhile has another stamp than this.
        let now = stamp(file);
        if self.memory().read == Some(now) {
            return Ok(());
        }
        let marks = load(file).map_err(|source| StoreError::Read {
            file: file.clone(),
            source,
        })?;
        self.memory().take(marks, now);
        Ok(())
    }

    /// Makes the ledger durable: one small file is replaced if there is news. File work.
    ///
    /// # Errors
    /// When it can't be written. The news waits for the next time.
    pub(super) fn write(&self) -> Result<(), StoreError> {
        let Some(file) = &self.0.file else {
            return Ok(());
        };
        if self.is_written() {
            return Ok(());
        }
        // Another process may have noted more.
        self.read()?;
        let (text, added, removed) = {
            let memory = self.memory();
            let lines = memory.known.iter().map(|mark| format!("{mark}\n"));
            let text = format!("{HEAD}\n{}", lines.collect::<String>());
            (text, memory.added.clone(), memory.removed.clone())
        };
        write::replace_text(file, text.as_bytes())?;
        let mut memory = self.memory();
        memory.added.retain(|mark| !added.contains(mark));
        memory.removed.retain(|mark| !removed.contains(mark));
        (memory.read, memory.told) = (None, false);
        Ok(())
    }

    /// Reports once that it can't be written: a restart would not know the spent tokens.
    pub(super) fn tell(&self, error: &StoreError) {
        if !std::mem::replace(&mut self.memory().told, true) {
            tracing::warn!(
                %error,
                "spent refresh tokens can't be recorded on disk; a restart before that succeeds would not know them"
            );
        }
    }
}

impl SpentMemory {
    fn add(&mut self, mark: TokenFingerprint) {
        self.removed.retain(|removed| *removed != mark);
        if !self.known.contains(&mark) {
            self.known.push_back(mark);
            self.added.push_back(mark);
            self.bound();
        }
    }

    fn remove(&mut self, mark: TokenFingerprint) {
        self.doubted.retain(|doubted| *doubted != mark);
        let before = self.known.len();
        self.known.retain(|known| *known != mark);
        if self.known.len() < before {
            self.added.retain(|added| *added != mark);
            self.removed.push(mark);
        }
    }

    /// The file has these.
    fn take(&mut self, marks: VecDeque<TokenFingerprint>, at: StoreStamp) {
        self.known = marks;
        self.known.retain(|mark| !self.removed.contains(mark));
        for mark in &self.added {
            if !self.known.contains(mark) {
                self.known.push_back(*mark);
            }
        }
        self.read = Some(at);
        self.bound();
    }

    fn bound(&mut self) {
        for marks in [&mut self.known, &mut self.added] {
            let surplus = marks.len().saturating_sub(REMEMBERED);
            marks.drain(..surplus);
        }
    }
}

/// The fingerprints in a file; none if it does not exist.
fn load(file: &Path) -> std::io::Result<VecDeque<TokenFingerprint>> {
    let text = match files::read(file, LARGEST) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return files::there_or_missing(file).map(|()| VecDeque::new());
        }
        Err(error) if error.kind() == ErrorKind::FileTooLarge => {
            told_damaged(file);
            return Ok(VecDeque::new());
        }
        text => text?,
    };
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let marks: Vec<_> = lines.map(TokenFingerprint::of).collect();
    let whole = text.starts_with('#') && text.ends_with('\n');
    if !whole || marks.contains(&None) {
        told_damaged(file);
    }
    Ok(marks.into_iter().flatten().collect())
}

fn told_damaged(file: &Path) {
    tracing::warn!(
        file = %file.display(),
        "the list of spent refresh tokens is damaged; what can be read of it counts, and the file is replaced"
    );
}

#[cfg(test)]
impl Spent {
    /// One in memory that knows these.
    pub(super) fn knowing(fingerprints: &[String]) -> Self {
        let spent = Self::default();
        for fingerprint in fingerprints {
            spent.note(fingerprint);
        }
        spent.written();
        spent
    }

    /// All that is known, which is written from now on.
    pub(super) fn written(&self) -> Vec<String> {
        let mut memory = self.memory();
        memory.added.clear();
        memory.removed.clear();
        memory.known.iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn token(name: &str) -> Secret {
        Secret::new(name.to_owned())
    }

    fn noted(spent: &Spent, name: &str) {
        spent.note(&token(name).fingerprint());
    }

    /// As after a restart.
    fn again(folder: &Path) -> Spent {
        let spent = Spent::of(folder, "nous");
        spent.read().unwrap();
        spent
    }

    #[test]
    fn what_is_noted_is_known_at_once_and_after_a_restart_and_no_token_is_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("spent");
        let spent = again(&folder);
        noted(&spent, "the-refresh-token");
        assert!(spent.holds(&token("the-refresh-token")) && !spent.holds(&token("another")));
        assert!(spent.waits(&token("the-refresh-token").fingerprint()) && !folder.exists());
        spent.write().unwrap();
        assert!(spent.is_written() && !spent.waits(&token("the-refresh-token").fingerprint()));
        drop(spent);
        let text = fs::read_to_string(folder.join("nous.txt")).unwrap();
        assert!(!text.contains("the-refresh-token"), "{text}");
        let spent = again(&folder);
        assert!(spent.holds(&token("the-refresh-token")) && !spent.holds(&token("another")));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(
                (mode(&folder), mode(&folder.join("nous.txt"))),
                (0o700, 0o600)
            );
        }
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let spent = again(dir.path());
        for number in 0..REMEMBERED + 2 {
            noted(&spent, &number.to_string());
        }
        spent.write().unwrap();
        drop(spent);
        let spent = again(dir.path());
        assert!(!spent.holds(&token("0")) && !spent.holds(&token("1")) && spent.holds(&token("2")));
        assert!(spent.holds(&token(&(REMEMBERED + 1).to_string())));
        assert_eq!(spent.memory().known.len(), REMEMBERED);
    }

    #[test]
    fn a_damaged_file_gives_what_it_can_and_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nous.txt");
        let mark = token("r0").fingerprint();
        for damaged in [
            Vec::new(),
            b"\0\xff\xfe{}".to_vec(),
            vec![b'x'; usize::try_from(LARGEST).unwrap() + 1],
            format!("{HEAD}\n{mark}\n0123").into_bytes(),
            format!("{HEAD}\nnot a fingerprint\n{mark}\n").into_bytes(),
        ] {
            let has_it = damaged.len() < 1000 && damaged.len() > 20;
            fs::write(&file, &damaged).unwrap();
            let spent = again(dir.path());
            assert_eq!(spent.holds(&token("r0")), has_it, "{damaged:?}");
            noted(&spent, "r1");
            spent.write().unwrap();
            drop(spent);
            let spent = again(dir.path());
            assert_eq!(spent.holds(&token("r0")), has_it);
            assert!(spent.holds(&token("r1")));
            let text = fs::read_to_string(&file).unwrap();
            assert_eq!(text.lines().count(), 2 + usize::from(has_it), "{text}");
        }
    }

    #[test]
    fn one_that_can_not_be_read_is_no_empty_one_and_one_that_can_not_be_written_waits() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nous.txt");
        fs::create_dir(&file).unwrap();
        let spent = Spent::of(dir.path(), "nous");
        assert!(spent.read().is_err());
        noted(&spent, "r0");
        assert!(spent.write().is_err() && !spent.is_written() && spent.holds(&token("r0")));
        fs::remove_dir(&file).unwrap();
        spent.write().unwrap();
        drop(spent);
        assert!(again(dir.path()).holds(&token("r0")));
    }

    #[test]
    fn two_processes_lose_nothing_of_each_others() {
        let dir = tempfile::tempdir().unwrap();
        let ours = again(dir.path());
        let theirs = Spent(Arc::new(SpentLedger {
            file: Some(dir.path().join("nous.txt")),
            memory: Mutex::default(),
        }));
        noted(&ours, "r0");
        ours.write().unwrap();
        noted(&theirs, "r1");
        theirs.write().unwrap();
        noted(&ours, "r2");
        ours.write().unwrap();
        theirs.read().unwrap();
        let knows = |spent: &Spent| {
            ["r0", "r1", "r2"]
                .iter()
                .all(|name| spent.holds(&token(name)))
        };
        assert!(knows(&ours) && knows(&theirs));
    }

    #[test]
    fn one_keeper_at_a_time_may_send_a_token() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (again(dir.path()), again(dir.path()));
        let claim = ours.claim(&token("r0")).unwrap();
        assert!(theirs.claim(&token("r0")).is_none() && theirs.claim(&token("r1")).is_some());
        assert!(theirs.is_claimed(&token("r0").fingerprint()));
        drop(claim);
        assert!(theirs.claim(&token("r0")).is_some());
    }

    #[test]
    fn a_token_that_is_granted_anew_is_good() {
        let dir = tempfile::tempdir().unwrap();
        let spent = again(dir.path());
        noted(&spent, "r0");
        noted(&spent, "r1");
        spent.write().unwrap();
        spent.forget(&token("r0"));
        spent.forget(&token("never known"));
        assert!(!spent.holds(&token("r0")) && !spent.is_written());
        spent.write().unwrap();
        drop(spent);
        let spent = again(dir.path());
        assert!(!spent.holds(&token("r0")) && spent.holds(&token("r1")));
    }
}
