//! `hermesctl proxy start`: becomes hermes-proxyd.

use std::process::Command;

use crate::cli::args::StartFlags;
use crate::cli::output::{Exit, Failure};
use crate::cli::programs::{absent, program};

/// Runs the hermes-proxyd beside hermesctl, otherwise the one in `PATH`, with these flags.
pub(in crate::cli) fn start(flags: &StartFlags) -> Result<Exit, Failure> {
    let program = program();
    let mut command = Command::new(&program);
    command.args(flags.to_arguments());
    let ended = platform::become_command(&mut command);
    ended
        .map(Exit::Passed)
        .map_err(|error| absent(&program, &error))
}

#[cfg(unix)]
mod platform {
    use std::io;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    /// Replaces this process, so that signals and the service manager reach the daemon.
    pub(super) fn become_command(command: &mut Command) -> io::Result<u8> {
        Err(command.exec())
    }
}

#[cfg(not(unix))]
mod platform {
    use std::io;
    use std::process::Command;

    /// Waits for the command and ends as it does.
    pub(super) fn become_command(command: &mut Command) -> io::Result<u8> {
        let status = command.status()?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(code.unwrap_or(1))
    }
}
