//! The file of client keys on disk: read only where nobody else can, changed under a lock, and
//! replaced as a whole: a private temporary file in the same folder, synced, renamed over the old
//! one, then the folder synced.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};

use super::ClientsError;

/// No file of client keys is larger; a larger file is none.
const LARGEST: u64 = 4 * 1024 * 1024;
/// How often a held lock is tried again: often enough to find the moment between two changes of a
/// program that makes many.
const POLL: Duration = Duration::from_millis(5);

/// A file's identity, time and size, to notice that someone wrote it.
pub(super) type Stamp = Option<(SystemTime, u64, u64)>;

/// What the file is now.
pub(super) fn stamp(file: &Path) -> Stamp {
    of_metadata(&fs::metadata(file).ok()?)
}

fn of_metadata(metadata: &fs::Metadata) -> Stamp {
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Some((metadata.modified().ok()?, inode, metadata.len()))
}

/// The file's content and stamp; `None` when there is no file.
pub(super) fn read(file: &Path) -> Result<Option<(Vec<u8>, Stamp)>, ClientsError> {
    let fault = |source| ClientsError::Read {
        file: file.to_owned(),
        source,
    };
    // Opening something else, such as a pipe, could take for ever.
    let metadata = match fs::metadata(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        metadata => metadata.map_err(fault)?,
    };
    if !metadata.is_file() {
        return Err(fault(io::Error::other("it is not a regular file")));
    }
    // Whose it is tells more than that it can't be opened.
    private(file, &metadata)?;
    let opened = File::open(file).map_err(fault)?;
    let metadata = opened.metadata().map_err(fault)?;
    private(file, &metadata)?;
    if metadata.len() > LARGEST {
        return Err(fault(ErrorKind::FileTooLarge.into()));
    }
    let mut content = Vec::new();
    opened
        .take(LARGEST)
        .read_to_end(&mut content)
        .map_err(fault)?;
    Ok(Some((content, of_metadata(&metadata))))
}

/// Whether the file is ours alone. Root may use the file of a folder's owner for them.
#[cfg(unix)]
fn private(file: &Path, metadata: &fs::Metadata) -> Result<(), ClientsError> {
    use std::os::unix::fs::MetadataExt;
    let ours = rustix::process::geteuid().as_raw();
    let owner = metadata.uid();
    let folders = || {
        let folder = fs::metadata(file.parent()?).ok()?;
        Some(folder.uid())
    };
    if owner != ours && !(ours == 0 && folders() == Some(owner)) {
        return Err(ClientsError::Foreign {
            file: file.to_owned(),
            owner,
            ours,
        });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(ClientsError::Exposed {
            file: file.to_owned(),
            mode,
        });
    }
    Ok(())
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same shape as on Unix")]
fn private(_file: &Path, _metadata: &fs::Metadata) -> Result<(), ClientsError> {
    Ok(())
}

/// A whole new version beside the file, synced and not yet in its place.
#[derive(Debug)]
pub(super) struct Prepared {
    temporary: NamedTempFile,
    target: PathBuf,
}

impl Prepared {
    /// Writes it. The caller holds the lock. A link is followed, so that it stays one.
    pub(super) fn beside(file: &Path, content: &[u8]) -> io::Result<Self> {
        let target = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let missing = || io::Error::new(ErrorKind::NotFound, "it has no folder");
        let folder = target.parent().ok_or_else(missing)?;
        make_folder(folder)?;
        let prefix = temporary_prefix(&target).ok_or_else(missing)?;
        clear_leftovers(folder, &prefix);
        // Made with mode 0600, under a name that nobody had.
        let mut temporary = tempfile::Builder::new()
            .prefix(&prefix)
            .tempfile_in(folder)?;
        keep_owner(temporary.as_file(), &target)?;
        temporary.write_all(content)?;
        temporary.as_file().sync_all()?;
        Ok(Self { temporary, target })
    }

    /// Puts it into its place, and gives its stamp. It outlives a crash once [`sync_folder`] is done.
    pub(super) fn persist(self) -> io::Result<Stamp> {
        let file = self.temporary.persist(&self.target)?;
        Ok(of_metadata(&file.metadata()?))
    }
}

/// Makes sure that the file's new version is found after a crash.
pub(super) fn sync_folder(file: &Path) -> io::Result<()> {
    let target = file.canonicalize()?;
    match target.parent() {
        #[cfg(unix)]
        Some(folder) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

/// What our temporary files beside `target` are called.
fn temporary_prefix(target: &Path) -> Option<OsString> {
    let mut prefix = target.file_name()?.to_owned();
    prefix.push(".hermes-proxyd.");
    Some(prefix)
}

/// Removes the temporary files that a killed process left. The caller holds the lock, so nobody
/// else is using them.
fn clear_leftovers(folder: &Path, prefix: &OsString) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name
            .as_encoded_bytes()
            .starts_with(prefix.as_encoded_bytes())
        {
            // One that can't be removed is in nobody's way.
            fs::remove_file(entry.path()).ok();
        }
    }
}

/// A held lock; dropping it releases it. The file stays.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits up to `limit` for the lock beside `file`: `clients.json` has `clients.lock`.
    ///
    /// Dropping the future before it is ready leaves nothing locked.
    pub(super) async fn acquire(file: &Path, limit: Duration) -> Result<Self, ClientsError> {
        let path = file.with_extension("lock");
        let fault = |source| ClientsError::Lock {
            file: path.clone(),
            source,
        };
        let file = open_lock(&path).map_err(fault)?;
        let deadline = Instant::now() + limit;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(error)) => return Err(fault(error)),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(ClientsError::LockHeld { file: path, limit });
                }
                Err(TryLockError::WouldBlock) => sleep(POLL).await,
            }
        }
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let missing = !path.exists();
    let file = options.open(path)?;
    if missing {
        give_to_folders_owner(&file, path)?;
    }
    Ok(file)
}

/// Makes a private folder when it is missing.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        make_folder(parent)?;
    }
    match private_folder().create(folder) {
        // Somebody else was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => return Ok(()),
        made => made?,
    }
    #[cfg(unix)]
    give_to_folders_owner(&File::open(folder)?, folder)?;
    Ok(())
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

/// The new version belongs to whom the old one does, and a first one to its folder's owner. Only
/// root has anything to do here.
#[cfg(unix)]
fn keep_owner(new: &File, target: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let Ok(old) = fs::metadata(target) else {
        return give_to_folders_owner(new, target);
    };
    if old.uid() == new.metadata()?.uid() {
        return Ok(());
    }
    fchown(new, Some(old.uid()), Some(old.gid()))
}

/// What root makes in a user's folder is the user's.
#[cfg(unix)]
fn give_to_folders_owner(made: &File, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let Some(folder) = path.parent().and_then(|folder| fs::metadata(folder).ok()) else {
        return Ok(());
    };
    if !rustix::process::geteuid().is_root() || folder.uid() == made.metadata()?.uid() {
        return Ok(());
    }
    fchown(made, Some(folder.uid()), Some(folder.gid()))
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same shape as on Unix")]
fn keep_owner(_new: &File, _target: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same shape as on Unix")]
fn give_to_folders_owner(_made: &File, _path: &Path) -> io::Result<()> {
    Ok(())
}
