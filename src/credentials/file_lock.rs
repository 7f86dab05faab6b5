//! Hermes Agent's lock files: an exclusive `flock(2)`, acquired by polling.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::StoreError;
use crate::files::{self, FileAccess, FileWorker, Locked};

/// How often a held lock is tried again; Hermes Agent's own interval.
const POLL: Duration = Duration::from_millis(50);

/// A held lock; dropping it releases it. The file stays.
#[derive(Debug)]
pub(super) struct FileLock {
    _file: Locked,
}

impl FileLock {
    /// Waits up to `limit` for the lock on `path`, which is created when absent.
    ///
    /// Dropping the future before it is ready leaves nothing locked.
    ///
    /// # Errors
    /// When the file can't be opened, or another process holds it for longer than `limit`.
    pub(super) async fn acquire(
        desk: &FileWorker,
        path: &Path,
        limit: Duration,
    ) -> Result<Self, StoreError> {
        let fault = |source| StoreError::Lock {
            file: path.to_owned(),
            source,
        };
        let opening = {
            let path = path.to_owned();
            move || open(&path)
        };
        let opened = desk.run(opening).await.and_then(|opened| opened);
        let file = opened.map_err(fault)?;
        match files::lock(desk, file, limit, POLL).await {
            Ok(Some(locked)) => Ok(Self { _file: locked }),
            Ok(None) => Err(StoreError::LockHeld {
                file: path.to_owned(),
                limit,
            }),
            Err(error) => Err(fault(error)),
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    let file = FileAccess::of(path)?.open_lock()?;
    // Hermes Agent locks the first byte there, and writes one into an empty file.
    #[cfg(windows)]
    if file.metadata()?.len() == 0 {
        std::io::Write::write_all(&mut &file, b" ")?;
    }
    Ok(file)
}

/// Whether the lock's file could be used. One that is missing is made when it is needed.
///
/// # Errors
/// When it can't be opened.
pub(super) fn look(path: &Path) -> Result<(), StoreError> {
    match FileAccess::of(path).and_then(|place| place.open_lock_there()) {
        Err(source) if source.kind() != ErrorKind::NotFound || leads_nowhere(path) => {
            Err(StoreError::Lock {
                file: path.to_owned(),
                source,
            })
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether it is a link that no lock can be made through.
pub(super) fn leads_nowhere(path: &Path) -> bool {
    let Ok(target) = path.read_link() else {
        return false;
    };
    // A relative one leads from its own folder.
    let target = path
        .parent()
        .map_or(target.clone(), |own| own.join(&target));
    !target.parent().is_some_and(Path::is_dir)
}

/// The lock file beside a store: `auth.json` has `auth.lock`.
pub(super) fn beside(store: &Path) -> PathBuf {
    store.with_extension("lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_holder_waits_and_then_gives_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.lock");
        let desk = FileWorker::default();
        let held = FileLock::acquire(&desk, &path, Duration::ZERO)
            .await
            .unwrap();
        let error = FileLock::acquire(&desk, &path, Duration::from_millis(60))
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::LockHeld { .. }), "{error}");
        drop(held);
        FileLock::acquire(&desk, &path, Duration::ZERO)
            .await
            .unwrap();
        assert!(path.exists());
    }
}
