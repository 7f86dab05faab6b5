//! Whether a daemon lives that uses this state folder, even if its control socket is gone: a lock
//! that it holds while it runs.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use crate::files::{FileAccess, Locked};

/// A process that only checks holds the lock for less than this.
const GLIMPSE: Duration = Duration::from_millis(20);

/// The lock, held until this is dropped.
#[derive(Debug)]
pub struct DaemonLock {
    _lock: Locked,
}

/// What the lock of a state folder says.
#[derive(Debug)]
pub enum DaemonLockState {
    /// The lock is ours now.
    Ours(DaemonLock),
    /// A daemon of this process has it, where that is known.
    ByAnother(Option<u32>),
}

/// Says that this process is the daemon of the state folder.
///
/// # Errors
/// When the folder or the lock can't be made.
pub async fn hold(state: &Path) -> io::Result<DaemonLockState> {
    let mut lock = FileAccess::made(&file(state))?.open_lock()?;
    for _ in 0..10 {
        match Locked::now(lock) {
            Ok(mut locked) => {
                locked.set_len(0)?;
                writeln!(*locked, "{}", std::process::id())?;
                return Ok(DaemonLockState::Ours(DaemonLock { _lock: locked }));
            }
            Err((tried, None)) => {
                lock = tried;
                sleep(GLIMPSE).await;
            }
            Err((_, Some(error))) => return Err(error),
        }
    }
    Ok(DaemonLockState::ByAnother(signed(&mut lock)))
}

/// The daemon of the state folder; `None` if none lives, or it is unknown.
pub fn daemon(state: &Path) -> Option<u32> {
    let mut lock = FileAccess::of(&file(state)).ok()?.open().ok()?;
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => signed(&mut lock),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

fn file(state: &Path) -> PathBuf {
    state.join("daemon.lock")
}

fn signed(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.rewind().ok()?;
    lock.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_daemon_is_known_for_as_long_as_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        assert_eq!(daemon(&state), None);
        let Ok(DaemonLockState::Ours(life)) = hold(&state).await else {
            panic!("nobody has it");
        };
        assert_eq!(daemon(&state), Some(std::process::id()));
        let second = hold(&state).await.unwrap();
        assert!(
            matches!(second, DaemonLockState::ByAnother(Some(_))),
            "{second:?}"
        );
        drop(life);
        assert_eq!(daemon(&state), None);
    }
}
