//! The end of a command that goes on until it is interrupted.

#[cfg(unix)]
use tokio::signal::ctrl_c;
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};

/// Waits for Ctrl-C, for the terminal's end, or for SIGTERM.
#[cfg(unix)]
pub(super) async fn ended() {
    let other = async |kind| match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        // Then it ends hermesctl as it ends any program.
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        result = ctrl_c() => {
            if result.is_err() {
                std::future::pending::<()>().await;
            }
        }
        () = other(SignalKind::terminate()) => {}
        () = other(SignalKind::hangup()) => {}
    }
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
pub(super) async fn ended() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
