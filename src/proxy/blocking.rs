//! Work on long bodies, away from the serving thread.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// What is shorter takes less time than other streams notice.
const LONG: usize = 256 * 1024;

/// So many bodies are worked on at a time.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Whether this many bytes are worked on elsewhere.
pub(super) fn is_long(bytes: usize) -> bool {
    bytes >= LONG
}

/// Does work on this many bytes: at once if they are few, otherwise on a separate thread.
pub(super) async fn run_blocking<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    if !is_long(bytes) {
        return work();
    }
    // It is never closed.
    let turn = TURNS.acquire().await.ok();
    let done = spawn_blocking(move || {
        // Until the work is done, even if its result is no longer awaited.
        let _turn = turn;
        work()
    });
    match done.await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => done,
        // A panic costs its own request, as elsewhere.
        Err(Ok(panic)) => resume_unwind(panic),
        // The process ends, and its waiting tasks with it.
        Err(Err(_)) => std::future::pending().await,
    }
}

/// The same, for work that asks again and again whether its result is still awaited.
pub(super) async fn run_blocking_while_wanted<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce(&dyn Fn() -> bool) -> T + Send + 'static,
) -> T {
    let wanted = Arc::new(AtomicBool::new(true));
    let _waits = Waits(wanted.clone());
    run_blocking(bytes, move || work(&|| wanted.load(Ordering::Relaxed))).await
}

/// Held by what waits for the work; dropping it tells the work that its result is not wanted.
struct Waits(Arc<AtomicBool>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn long_work_is_done_elsewhere_and_short_work_here() {
        let here = thread::current().id();
        assert_eq!(
            run_blocking(LONG - 1, || thread::current().id()).await,
            here
        );
        assert_ne!(run_blocking(LONG, || thread::current().id()).await, here);
    }

    #[tokio::test]
    async fn work_hears_that_nobody_waits_for_it_any_more() {
        let (started, has_started) = oneshot::channel();
        let (ended, has_ended) = oneshot::channel();
        let work = run_blocking_while_wanted(LONG, move |wanted| {
            assert!(wanted());
            started.send(()).unwrap();
            while wanted() {
                thread::yield_now();
            }
            ended.send(()).unwrap();
        });
        tokio::select! {
            () = work => panic!("it ends when nobody waits for it"),
            started = has_started => started.unwrap(),
        }
        has_ended.await.unwrap();
    }
}
