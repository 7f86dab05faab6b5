//! The signals that control the daemon.

use std::io;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGHUP.
    #[cfg_attr(
        windows,
        expect(dead_code, reason = "no signal of Windows asks for it")
    )]
    Reload,
    /// SIGTERM, SIGINT; on Windows Ctrl-C, Ctrl-Break, a closed console, the session's end.
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

        /// The next signal. The wait can be cancelled at any time.
        pub(in crate::daemon) async fn next(&mut self) -> Signal {
            match self.0.next().await {
                Some(SIGHUP) => Signal::Reload,
                Some(_) | None => Signal::Stop,
            }
        }
    }
}

#[cfg(windows)]
mod platform {
    use std::io;

    use tokio::signal::windows::{
        CtrlBreak, CtrlC, CtrlClose, CtrlLogoff, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close,
        ctrl_logoff, ctrl_shutdown,
    };

    use super::Signal;

    /// The signals of the console and the session.
    #[derive(Debug)]
    pub(in crate::daemon) struct Signals {
        ctrl_c: CtrlC,
        ctrl_break: CtrlBreak,
        close: CtrlClose,
        logoff: CtrlLogoff,
        shutdown: CtrlShutdown,
    }

    impl Signals {
        pub(in crate::daemon) fn register() -> io::Result<Self> {
            Ok(Self {
                ctrl_c: ctrl_c()?,
                ctrl_break: ctrl_break()?,
                close: ctrl_close()?,
                logoff: ctrl_logoff()?,
                shutdown: ctrl_shutdown()?,
            })
        }

        /// The next signal. The wait can be cancelled at any time.
        pub(in crate::daemon) async fn next(&mut self) -> Signal {
            tokio::select! {
                _ = self.ctrl_c.recv() => {}
                _ = self.ctrl_break.recv() => {}
                _ = self.close.recv() => {}
                _ = self.logoff.recv() => {}
                _ = self.shutdown.recv() => {}
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
