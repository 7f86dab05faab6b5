//! Runs hermes-proxyd without a window, and ends as it does: what the logon task of Windows starts.
//!
//! hermes-proxyd is a program for the console, and Windows opens a window for each of those that has
//! none. This is none of them, so there is no window from the beginning.

#![cfg_attr(windows, windows_subsystem = "windows")]

use std::env;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    run().unwrap_or(ExitCode::FAILURE)
}

fn run() -> std::io::Result<ExitCode> {
    let name = format!("hermes-proxyd{}", env::consts::EXE_SUFFIX);
    let mut daemon = Command::new(env::current_exe()?.with_file_name(name));
    daemon.args(env::args_os().skip(1));
    platform::hide(&mut daemon);
    let code = daemon.status()?.code();
    // A crash has a larger number.
    let code = code.and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

#[cfg(windows)]
mod platform {
    use std::os::windows::process::CommandExt;
    use std::process::Command;

    /// `CREATE_NO_WINDOW` of the Windows API.
    const NO_WINDOW: u32 = 0x0800_0000;

    pub(super) fn hide(command: &mut Command) {
        command.creation_flags(NO_WINDOW);
    }
}

#[cfg(not(windows))]
mod platform {
    pub(super) fn hide(_: &mut std::process::Command) {}
}
