//! The end of a command that goes on until it is interrupted.

#[cfg(unix)]
use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ends with Ctrl-C, with the terminal, or with SIGTERM. It hears them from this call on, not only once it is polled.
#[cfg(unix)]
pub(super) fn ended() -> impl Future<Output = ()> {
    let [interrupt, terminate, hangup] = [
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ];
    async move {
        tokio::select! {
            () = told(interrupt) => {}
            () = told(terminate) => {}
            () = told(hangup) => {}
        }
    }
}

#[cfg(unix)]
async fn told(signal: io::Result<Signal>) {
    match signal {
        Ok(mut signal) => {
            signal.recv().await;
        }
        // Then it ends hermesctl as it ends any program.
        Err(_) => std::future::pending().await,
    }
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
pub(super) async fn ended() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
