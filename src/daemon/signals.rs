//! The signals that steer the daemon.

use std::io;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGHUP.
    Reload,
    /// SIGTERM, SIGINT.
    Stop,
}

#[cfg(unix)]
mod platform {
    use std::io;

    use futures_util::StreamExt;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    use super::Signal;

    /// The signals as they come.
    pub(in crate::daemon) struct Signals(signal_hook_tokio::Signals);

    impl Signals {
        pub(in crate::daemon) fn register() -> io::Result<Self> {
            signal_hook_tokio::Signals::new([SIGHUP, SIGINT, SIGTERM]).map(Self)
        }

        /// The next signal. Waiting can be given up at any time.
        pub(in crate::daemon) async fn next(&mut self) -> Signal {
            match self.0.next().await {
                Some(SIGHUP) => Signal::Reload,
                Some(_) | None => Signal::Stop,
            }
        }
    }
}

#[cfg(not(unix))]
mod platform {
    use std::io;

    use super::Signal;

    /// Ctrl-C is the only one here.
    #[derive(Debug)]
    pub(in crate::daemon) struct Signals;

    impl Signals {
        pub(in crate::daemon) fn register() -> io::Result<Self> {
            Ok(Self)
        }

        pub(in crate::daemon) async fn next(&mut self) -> Signal {
            if let Err(error) = tokio::signal::ctrl_c().await {
                tracing::error!(%error, "Ctrl-C can't be heard");
                std::future::pending::<()>().await;
            }
            Signal::Stop
        }
    }
}

pub(super) use platform::Signals;

/// Listens for signals from now on.
///
/// # Errors
/// The system's.
pub(super) fn register() -> io::Result<Signals> {
    Signals::register()
}
