//! File locks that are free at once when they are released.

use std::fs::{File, TryLockError};
use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::FileWorker;

/// A locked file; dropping it unlocks it. Closing it alone would not: a child that another thread is starting holds
/// a copy of the descriptor until its program runs, and the lock with it (`flock(2)`).
#[derive(Debug)]
pub struct Locked(File);

impl Locked {
    /// Locks the file for this holder alone, without waiting.
    ///
    /// # Errors
    /// The file, and `None` where another one holds its lock, otherwise what the system says.
    pub fn now(file: File) -> Result<Self, (File, Option<io::Error>)> {
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err((file, None)),
            Err(TryLockError::Error(error)) => Err((file, Some(error))),
        }
    }
}

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // If that fails, closing it releases the lock too.
        drop(self.0.unlock());
    }
}

/// Takes an exclusive lock (`flock(2)` on Unix), retrying every `poll` for up to `limit`; `None` if another process
/// held it for that long. Each attempt runs off the serving thread, because locking on a network file system waits for
/// its server.
///
/// Dropping the future before it is ready leaves nothing locked.
///
/// # Errors
/// When locks don't work there, or the file system hangs.
pub async fn lock(
    file_work: &FileWorker,
    mut file: File,
    limit: Duration,
    poll: Duration,
) -> io::Result<Option<Locked>> {
    let deadline = Instant::now() + limit;
    loop {
        match file_work.run(move || Locked::now(file)).await? {
            Ok(locked) => return Ok(Some(locked)),
            Err((_, Some(error))) => return Err(error),
            Err((_, None)) if Instant::now() >= deadline => return Ok(None),
            Err((tried, None)) => {
                file = tried;
                sleep(poll).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_free_at_once_though_a_child_that_is_starting_has_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let locked = Locked::now(File::create(&path).unwrap()).unwrap();
        assert!(Locked::now(File::open(&path).unwrap()).is_err());
        // As fork(2) copies it.
        let copy = locked.try_clone().unwrap();
        drop(locked);
        Locked::now(File::open(&path).unwrap()).unwrap();
        drop(copy);
    }
}
