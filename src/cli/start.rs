//! `hermesctl proxy start`: becomes hermes-proxyd.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::args::StartFlags;
use super::output::{Exit, Failure};
use crate::doctor;
use crate::paths::Environment;

/// Runs the hermes-proxyd beside hermesctl, otherwise the one in `PATH`, with these flags.
pub(super) fn start(flags: &StartFlags) -> Result<Exit, Failure> {
    let program = program();
    let mut command = Command::new(&program);
    command.args(flags.to_arguments());
    let ended = platform::become_command(&mut command);
    ended
        .map(Exit::Passed)
        .map_err(|error| absent(&program, &error))
}

/// The commands after which a hermes-proxyd runs with the configuration as it is now; `pid` is the
/// running one, which keeps the flags that it was started with.
pub(super) async fn commands(environment: &Environment, pid: Option<u32>) -> String {
    match pid {
        Some(_) => "hermesctl proxy restart".to_owned(),
        None => doctor::restart(environment, None).await.join(", then: "),
    }
}

/// hermes-proxyd can't be started.
pub(super) fn absent(program: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{} can't be started: {error}.", program.display()))
        .with_hint("Install hermes-proxyd beside hermesctl, or in a folder of PATH.")
}

/// The hermes-proxyd beside hermesctl, otherwise the one in `PATH`.
pub(super) fn program() -> PathBuf {
    let name = format!("hermes-proxyd{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe().ok();
    let beside = beside.map(|ours| ours.with_file_name(&name));
    beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from(name))
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
