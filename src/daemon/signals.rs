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
    use std::sync::Arc;

    use futures_util::StreamExt;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

    use super::Signal;

    /// A write beyond the limit on a file's size (`ulimit -f`) fails, and ends nothing. Programs that are started have the
    /// system's own answer to the signal, since it is caught and not ignored.
    pub(in crate::daemon) fn survive_size_limits() {
        // Where that fails, the daemon serves as before.
        signal_hook::flag::register(SIGXFSZ, Arc::default()).ok();
    }

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

    /// Here files have no such limit.
    pub(in crate::daemon) fn survive_size_limits() {}

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

pub(super) use platform::{Signals, survive_size_limits};

/// Listens for signals from now on.
///
/// # Errors
/// The system's.
pub(super) fn register() -> io::Result<Signals> {
    Signals::register()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::process::Command;

    /// SIGXFSZ in a mask of `/proc/PID/status`.
    const BIT: u64 = 1 << (signal_hook::consts::SIGXFSZ - 1);

    fn mask(status: &str, name: &str) -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
    }

    #[test]
    fn a_size_limit_ends_programs_that_are_started_as_it_always_does() {
        super::survive_size_limits();
        let ours = std::fs::read_to_string("/proc/self/status").unwrap();
        assert_ne!(mask(&ours, "SigCgt:") & BIT, 0);
        let theirs = Command::new("cat").arg("/proc/self/status").output();
        let theirs = String::from_utf8(theirs.unwrap().stdout).unwrap();
        for name in ["SigIgn:", "SigCgt:", "SigBlk:"] {
            assert_eq!(mask(&theirs, name) & BIT, 0, "{name}");
        }
    }
}
