//! The asynchronous runtime of a command.

use std::pin::Pin;

use super::output::CommandFailure;

/// Runs a command to its end.
pub(super) fn block_on<T>(
    work: impl Future<Output = Result<T, CommandFailure>>,
) -> Result<T, CommandFailure> {
    run_to_its_end(Box::pin(work))
}

/// A runtime's loop is compiled once for each kind of result, and not for each command.
fn run_to_its_end<T>(
    work: Pin<Box<dyn Future<Output = Result<T, CommandFailure>> + '_>>,
) -> Result<T, CommandFailure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            CommandFailure::new(format!("The asynchronous runtime didn't start: {error}."))
        })?;
    let result = runtime.block_on(work);
    // What a thread still waits for, such as a name server, does not matter any more.
    runtime.shutdown_background();
    result
}
