//! Private files that are replaced as a whole, and the locks beside them: a temporary file with mode
//! 0600 in the same folder, renamed over the old one, then the folder synced. What root makes in a
//! user's folder is given to that user.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};

/// What root makes in a user's folder is to be the user's; nobody else can give it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Giving {
    /// It is an error when it can't be given.
    Must,
    /// It is used all the same.
    May,
}

/// A temporary file beside the one that it is to replace. Dropping it removes it.
#[derive(Debug)]
pub struct Temporary {
    file: NamedTempFile,
    target: PathBuf,
}

/// A temporary file that could not be renamed, and why.
#[derive(Debug)]
pub struct NotRenamed {
    /// What the system says.
    pub error: io::Error,
    /// It is there as before.
    pub temporary: Temporary,
}

impl Temporary {
    /// Makes one, empty and with mode 0600. A link is followed, so that it stays one. The caller holds
    /// the file's lock: what a killed process left is removed before.
    ///
    /// # Errors
    /// When the folder is missing and can't be made or given, or takes no file.
    pub fn beside(file: &Path, giving: Giving) -> io::Result<Self> {
        let target = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let missing = || io::Error::new(ErrorKind::NotFound, "it has no folder");
        let folder = target.parent().ok_or_else(missing)?;
        make_folder(folder, giving)?;
        let prefix = temporary_prefix(&target).ok_or_else(missing)?;
        clear_leftovers(&target);
        // Made with mode 0600, under a name that nobody had.
        let file = tempfile::Builder::new()
            .prefix(&prefix)
            .tempfile_in(folder)?;
        Ok(Self { file, target })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        self.file.as_file()
    }

    /// What it is to replace, which is no link.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Whether it outlives its own drop.
    pub fn outlives(&mut self, outlives: bool) {
        self.file.disable_cleanup(outlives);
    }

    /// Puts it into its place. It outlives a crash of the machine once it was synced before, and its
    /// folder is after.
    ///
    /// # Errors
    /// When it can't be renamed; the old file is as it was.
    pub fn persist(self) -> Result<File, NotRenamed> {
        let Self { file, target } = self;
        file.persist(&target).map_err(|failed| NotRenamed {
            error: failed.error,
            temporary: Self {
                file: failed.file,
                target,
            },
        })
    }
}

/// What our temporary files beside `target` are called.
fn temporary_prefix(target: &Path) -> Option<OsString> {
    let mut prefix = target.file_name()?.to_owned();
    prefix.push(".hermes-proxyd.");
    Some(prefix)
}

/// Removes our temporary files beside `target` that a killed process left. The caller holds the lock,
/// so nobody else is using them.
pub fn clear_leftovers(target: &Path) {
    for leftover in leftovers(target) {
        // One that can't be removed is in nobody's way.
        fs::remove_file(leftover).ok();
    }
}

/// Our temporary files beside `target`.
pub fn leftovers(target: &Path) -> Vec<PathBuf> {
    let Some((folder, prefix)) = target.parent().zip(temporary_prefix(target)) else {
        return Vec::new();
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let name = entry.file_name();
            name.as_encoded_bytes()
                .starts_with(prefix.as_encoded_bytes())
        })
        .map(|entry| entry.path())
        .collect()
}

/// Makes a private folder when it is missing, with those above it.
///
/// # Errors
/// When one can't be made or given.
pub fn make_folder(folder: &Path, giving: Giving) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        make_folder(parent, giving)?;
    }
    match private_folder().create(folder) {
        // Somebody else was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
        made => made?,
    }
    giving.settle(giving.give_folder(folder))
}

#[cfg(unix)]
fn private_folder() -> fs::DirBuilder {
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// What lies in the user's profile is the user's alone already.
#[cfg(not(unix))]
fn private_folder() -> fs::DirBuilder {
    fs::DirBuilder::new()
}

/// Makes sure that what was renamed in a folder is found after a crash.
///
/// # Errors
/// When the folder can't be opened or synced.
#[cfg(unix)]
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder can't be synced.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

impl Giving {
    /// Gives what lies at `path`, open as `made`, to its folder's owner, if that is somebody else.
    ///
    /// # Errors
    /// When it must be given and the system does not let us.
    pub fn to_folders_owner(self, made: &File, path: &Path) -> io::Result<()> {
        self.settle(self.give(made, path))
    }

    #[cfg(unix)]
    fn give(self, made: &File, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::{MetadataExt, fchown};
        if self == Self::Must && !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let Some(folder) = path.parent().and_then(|folder| fs::metadata(folder).ok()) else {
            return Ok(());
        };
        if folder.uid() == made.metadata()?.uid() {
            return Ok(());
        }
        fchown(made, Some(folder.uid()), Some(folder.gid()))
    }

    #[cfg(unix)]
    fn give_folder(self, folder: &Path) -> io::Result<()> {
        self.give(&File::open(folder)?, folder)
    }

    /// A folder can't be opened there.
    #[cfg(not(unix))]
    #[expect(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "the same shape as on Unix"
    )]
    fn give_folder(self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Elsewhere whose a file is follows from where it lies.
    #[cfg(not(unix))]
    #[expect(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "the same shape as on Unix"
    )]
    fn give(self, _made: &File, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn settle(self, given: io::Result<()>) -> io::Result<()> {
        match (self, given) {
            (Self::May, Err(error)) => {
                tracing::debug!(%error, "a new file does not belong to its folder's owner");
                Ok(())
            }
            (Self::Must | Self::May, given) => given,
        }
    }
}

/// Opens a lock's file, which is made when it is missing, with mode 0600.
///
/// # Errors
/// When it can't be opened, made or given.
pub fn open_lock(path: &Path, giving: Giving) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let missing = !path.exists();
    let file = options.open(path)?;
    if missing {
        giving.to_folders_owner(&file, path)?;
    }
    Ok(file)
}

/// Takes an exclusive lock, `flock(2)` on Unix, trying again every `poll` for up to `limit`. Whether it
/// was had.
///
/// Dropping the future before it is ready leaves nothing locked, once `file` is dropped too.
///
/// # Errors
/// When locks don't work there.
pub async fn lock(file: &File, limit: Duration, poll: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Ok(false),
            Err(TryLockError::WouldBlock) => sleep(poll).await,
        }
    }
}
