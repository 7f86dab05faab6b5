//! The file of client keys on disk: read only where nobody else can, changed under a lock, and
//! replaced as a whole.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::ClientsError;
use crate::files::{self, Giving, Temporary};

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
pub(super) struct Prepared(Temporary);

impl Prepared {
    /// Writes it. The caller holds the lock. A link is followed, so that it stays one.
    pub(super) fn beside(file: &Path, content: &[u8]) -> io::Result<Self> {
        let temporary = Temporary::beside(file, Giving::Must)?;
        keep_owner(temporary.file(), temporary.target())?;
        temporary.file().write_all(content)?;
        temporary.file().sync_all()?;
        Ok(Self(temporary))
    }

    /// Puts it into its place, and gives its stamp. It outlives a crash once [`sync_folder`] is done.
    pub(super) fn persist(self) -> io::Result<Stamp> {
        let file = self.0.persist().map_err(|failed| failed.error)?;
        Ok(of_metadata(&file.metadata()?))
    }
}

/// Makes sure that the file's new version is found after a crash.
pub(super) fn sync_folder(file: &Path) -> io::Result<()> {
    let target = file.canonicalize()?;
    match target.parent() {
        Some(folder) => files::sync_folder(folder),
        None => Ok(()),
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
        let opened = path.parent().map_or(Ok(()), make_folder);
        let file = opened.and_then(|()| files::open_lock(&path, Giving::Must));
        let file = file.map_err(fault)?;
        match files::lock(&file, limit, POLL).await {
            Ok(true) => Ok(Self { _file: file }),
            Ok(false) => Err(ClientsError::LockHeld { file: path, limit }),
            Err(error) => Err(fault(error)),
        }
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    files::make_folder(folder, Giving::Must)
}

/// The new version belongs to whom the old one does, and a first one to its folder's owner. Only
/// root has anything to do here.
#[cfg(unix)]
fn keep_owner(new: &File, target: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let Ok(old) = fs::metadata(target) else {
        return Giving::Must.to_folders_owner(new, target);
    };
    if old.uid() == new.metadata()?.uid() {
        return Ok(());
    }
    fchown(new, Some(old.uid()), Some(old.gid()))
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same shape as on Unix")]
fn keep_owner(_new: &File, _target: &Path) -> io::Result<()> {
    Ok(())
}
