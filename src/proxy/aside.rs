//! Work on long bodies, away from the thread that carries all streams.

use std::panic::resume_unwind;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// What is shorter takes less time than other streams notice.
const LONG: usize = 256 * 1024;

/// So many bodies are worked on at a time.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Whether so many bytes are worked on elsewhere.
pub(super) fn is_long(bytes: usize) -> bool {
    bytes >= LONG
}

/// Does work on so many bytes: at once where they are few, else on a thread of its own.
pub(super) async fn aside<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    if !is_long(bytes) {
        return work();
    }
    // It is never closed.
    let turn = TURNS.acquire().await.ok();
    let done = spawn_blocking(move || {
        // Until the work is done, whether or not somebody still waits for it.
        let _turn = turn;
        work()
    });
    match done.await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => done,
        // A defect costs its own request, as elsewhere.
        Err(Ok(panic)) => resume_unwind(panic),
        // The process ends, and with it whoever waits.
        Err(Err(_)) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn long_work_is_done_elsewhere_and_short_work_here() {
        let here = thread::current().id();
        assert_eq!(aside(LONG - 1, || thread::current().id()).await, here);
        assert_ne!(aside(LONG, || thread::current().id()).await, here);
    }
}
