//! The file of client keys on disk. It is read only if other users can't read it, changed under a lock and replaced
//! atomically.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::ClientsError;
use crate::files::{self, FileAccess, FileWorker, Locked, Temporary};

/// In bytes; a larger file is refused.
const LARGEST: u64 = 4 * 1024 * 1024;
/// Pause between attempts to take the lock: short enough to get in between two changes of a program that makes many.
const POLL: Duration = Duration::from_millis(5);

/// A file's modification time, size and inode, to detect that another program wrote it.
pub(super) type ClientsStamp = Option<(SystemTime, u64, u64)>;

/// The file's current stamp.
pub(super) fn stamp(file: &Path) -> ClientsStamp {
    of_metadata(&fs::metadata(file).ok()?)
}

fn of_metadata(metadata: &fs::Metadata) -> ClientsStamp {
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Some((metadata.modified().ok()?, inode, metadata.len()))
}

/// The file's content and stamp, or `None` if it does not exist.
pub(super) fn read(file: &Path) -> Result<Option<(Vec<u8>, ClientsStamp)>, ClientsError> {
    let fault = |source| ClientsError::Read {
        file: file.to_owned(),
        source,
    };
    let found = FileAccess::of(file).and_then(|spot| Ok((spot.act(Path::metadata)?, spot)));
    let (metadata, spot) = match found {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return files::there_or_missing(file).map(|()| None).map_err(fault);
        }
        found => found.map_err(fault)?,
    };
    // Report a wrong owner first: it explains more than a failed open.
    if metadata.is_file() {
        private(file, &spot, &metadata)?;
    }
    let opened = spot.open().map_err(fault)?;
    let metadata = opened.metadata().map_err(fault)?;
    private(file, &spot, &metadata)?;
    let mut content = files::read_opened(opened, LARGEST).map_err(fault)?;
    Ok(Some((
        std::mem::take(&mut *content),
        of_metadata(&metadata),
    )))
}

/// Checks that the file is private to this user. Root may act for the owner of the folder.
#[cfg(unix)]
fn private(file: &Path, spot: &FileAccess, metadata: &fs::Metadata) -> Result<(), ClientsError> {
    use std::os::unix::fs::MetadataExt;
    let ours = rustix::process::geteuid().as_raw();
    let owner = metadata.uid();
    if owner != ours && !(ours == 0 && spot.is_home_of(owner)) {
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
fn private(_file: &Path, _spot: &FileAccess, _metadata: &fs::Metadata) -> Result<(), ClientsError> {
    Ok(())
}

/// A complete new version beside the file: synced, but not yet renamed over it.
#[derive(Debug)]
pub(super) struct PreparedClients(Temporary);

impl PreparedClients {
    /// Writes and syncs it. The caller holds the lock. A symbolic link is followed and stays a link.
    pub(super) fn beside(file: &Path, content: &[u8]) -> io::Result<Self> {
        let temporary = Temporary::beside(file)?;
        let foreign = |(owner, _)| {
            let message = format!("it can't be given to uid {owner}, who owns the old one");
            io::Error::new(ErrorKind::PermissionDenied, message)
        };
        temporary.keep_owner().map_err(foreign)?;
        temporary.file().write_all(content)?;
        files::sync(temporary.file())?;
        Ok(Self(temporary))
    }

    /// Renames it over the file and returns its stamp. Durable once [`sync_folder`] has returned.
    pub(super) fn persist(self) -> io::Result<ClientsStamp> {
        let file = self.0.persist().map_err(|failed| failed.error)?;
        Ok(of_metadata(&file.metadata()?))
    }
}

/// Makes the rename durable.
pub(super) fn sync_folder(file: &Path) -> io::Result<()> {
    files::sync_folder_of(&FileAccess::of(file)?)
}

/// A held lock; dropping it releases it. The lock file stays.
#[derive(Debug)]
pub(super) struct Lock {
    _file: Locked,
}

impl Lock {
    /// Waits up to `limit` for the lock of `file`: `clients.json` has `clients.lock`.
    ///
    /// Dropping the future early leaves the lock free.
    pub(super) async fn acquire(
        file_work: &FileWorker,
        file: &Path,
        limit: Duration,
    ) -> Result<Self, ClientsError> {
        let path = file.with_extension("lock");
        let fault = |source| ClientsError::Lock {
            file: path.clone(),
            source,
        };
        let opening = {
            let path = path.clone();
            move || FileAccess::made(&path)?.open_lock()
        };
        let opened = file_work.run(opening).await.and_then(|opened| opened);
        let file = opened.map_err(fault)?;
        match files::lock(file_work, file, limit, POLL).await {
            Ok(Some(locked)) => Ok(Self { _file: locked }),
            Ok(None) => Err(ClientsError::LockHeld { file: path, limit }),
            Err(error) => Err(fault(error)),
        }
    }
}
