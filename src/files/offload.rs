//! File work off the serving thread, with a time limit: a file system may hang for as long as its
//! server is away.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

/// A file system that takes longer for one piece of work hangs.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Does one piece of file work at a time. While one hangs, no other is begun, so that a hung file system
/// takes one thread and not all of them. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct FileWorker(Arc<FileWorkerState>);

#[derive(Debug)]
struct FileWorkerState {
    turn: Arc<Semaphore>,
    /// The piece that has the turn took too long.
    late: AtomicBool,
}

impl Default for FileWorker {
    fn default() -> Self {
        Self(Arc::new(FileWorkerState {
            turn: Arc::new(Semaphore::new(1)),
            late: AtomicBool::new(false),
        }))
    }
}

/// The queues of folders that several parts of the program use.
static SHARED: Mutex<BTreeMap<PathBuf, Weak<FileWorkerState>>> = Mutex::new(BTreeMap::new());

impl FileWorker {
    /// The queue of this folder, shared by the whole process: if the folder hangs, it blocks one thread.
    pub fn of(folder: &Path) -> Self {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|_, state| state.strong_count() > 0);
        if let Some(state) = shared.get(folder).and_then(Weak::upgrade) {
            return Self(state);
        }
        let desk = Self::default();
        shared.insert(folder.to_owned(), Arc::downgrade(&desk.0));
        desk
    }

    /// Does the work on a separate thread, and waits for it.
    ///
    /// # Errors
    /// `TimedOut` when it takes longer than [`LIMIT`], or an earlier piece still does. The work then
    /// continues, and its result is dropped.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        self.run_within(LIMIT, work).await
    }

    async fn run_within<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let place = Arc::new(Mutex::new(None));
        let given = place.clone();
        let work = Box::new(move || {
            let value = work();
            *given.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        });
        self.do_within(limit, work).await?;
        let value = place.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.ok_or_else(|| io::Error::other("the work gave nothing"))
    }

    /// Compiled once, and not for each kind of work.
    async fn do_within(&self, limit: Duration, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        if self.hangs() {
            return Err(hung(limit));
        }
        let done = async {
            // The semaphore is never closed.
            let turn = self.0.turn.clone().acquire_owned().await.ok();
            self.0.late.store(false, Ordering::Relaxed);
            let work = tokio::task::spawn_blocking(move || {
                work();
                drop(turn);
            });
            work.await
        };
        match timeout(limit, done).await {
            Ok(Ok(())) => Ok(()),
            // The runtime never cancels blocking work, so this is the work's own panic.
            Ok(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {
                self.0.late.store(true, Ordering::Relaxed);
                Err(hung(limit))
            }
        }
    }

    /// Whether a piece of work that took too long is still not done.
    pub fn hangs(&self) -> bool {
        self.0.late.load(Ordering::Relaxed) && self.0.turn.available_permits() == 0
    }
}

fn hung(limit: Duration) -> io::Error {
    let message = format!("the file system has not answered for {} s", limit.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, message)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn work_that_hangs_is_given_up_and_takes_one_thread_however_often_it_is_asked_for() {
        let desk = FileWorker::default();
        let (release, wait) = mpsc::channel::<()>();
        let limit = Duration::from_millis(50);
        let hung = desk.run_within(limit, move || wait.recv().ok()).await;
        assert_eq!(hung.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(desk.hangs());
        for _ in 0..100 {
            let refused: io::Result<()> = desk.run(|| panic!("it is begun")).await;
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        release.send(()).unwrap();
        let deadline = tokio::time::Instant::now() + LIMIT;
        while desk.hangs() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(desk.run(|| 7).await.unwrap(), 7);
    }
}
