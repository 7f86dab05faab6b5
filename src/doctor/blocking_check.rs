//! A check that reads files, on a thread that may block.

use std::sync::Arc;

use super::DoctorFinding;
use super::facts::DoctorFacts;

/// Runs a check that reads files, which may hang. Its panic is the caller's.
pub(super) async fn on_a_thread(
    facts: Arc<DoctorFacts>,
    check: impl FnOnce(&DoctorFacts) -> Vec<DoctorFinding> + Send + 'static,
) -> Vec<DoctorFinding> {
    let done = tokio::task::spawn_blocking(move || check(&facts)).await;
    match done {
        Ok(findings) => findings,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and hermesctl with it.
            Err(_) => Vec::new(),
        },
    }
}
