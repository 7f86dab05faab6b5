//! The rest of an upload, in a task of its own.

use tokio::task::AbortHandle;

/// The rest of an upload that continues next to its answer; it stops when this is dropped.
#[derive(Debug)]
pub(super) struct UploadTask(AbortHandle);

impl UploadTask {
    pub(super) fn new(task: AbortHandle) -> Self {
        Self(task)
    }
}

impl Drop for UploadTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
