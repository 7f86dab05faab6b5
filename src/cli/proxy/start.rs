//! `hermesctl proxy start`: becomes hermes-proxyd.

use std::process::Command;

use crate::cli::args::StartFlags;
use crate::cli::output::{CommandFailure, Exit};
use crate::cli::platform;
use crate::cli::programs::{absent, program};

/// Runs the hermes-proxyd beside hermesctl, otherwise the one in `PATH`, with these flags.
pub(in crate::cli) fn start(flags: &StartFlags) -> Result<Exit, CommandFailure> {
    let program = program();
    let mut command = Command::new(&program);
    command.args(flags.to_arguments());
    let ended = platform::become_command(&mut command);
    ended
        .map(Exit::Passed)
        .map_err(|error| absent(&program, &error))
}
