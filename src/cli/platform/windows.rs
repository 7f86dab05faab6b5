//! Windows.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::Path;
use std::process::Command;

use tokio::net::TcpStream;

/// `CREATE_NEW_PROCESS_GROUP`: keeps Ctrl-C for hermesctl, which then tells the process what to do.
pub(in crate::cli) fn keep_from_ctrl_c(command: &mut tokio::process::Command) {
    command.creation_flags(0x200);
}

/// Waits for the command and ends as it does.
pub(in crate::cli) fn become_command(command: &mut Command) -> io::Result<u8> {
    let status = command.status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.unwrap_or(1))
}

/// A new file; the folder's own permissions guard it.
pub(in crate::cli) fn create_private(file: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(file)
}

/// Files are in the user's profile.
pub(in crate::cli) fn access(_path: &Path) -> String {
    "in the profile".to_owned()
}

/// The size has to tell.
pub(in crate::cli) fn are_two(_: &Metadata, _: &Metadata) -> bool {
    false
}

/// The machine's name.
pub(in crate::cli) fn host() -> Option<String> {
    std::env::var("COMPUTERNAME").ok()
}

/// The system.
pub(in crate::cli) fn system() -> String {
    std::env::var("OS").unwrap_or_else(|_| std::env::consts::OS.to_owned())
}

/// There are no Unix sockets.
#[expect(clippy::unused_async, reason = "the same interface as on Unix")]
pub(in crate::cli) async fn connect_to_socket(_path: &str) -> io::Result<TcpStream> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Waits for Ctrl-C.
pub(in crate::cli) async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Windows has no background jobs.
pub(in crate::cli) fn stop_here() {}

/// Windows has no such signals.
pub(in crate::cli) struct HeardSignal;

impl HeardSignal {
    pub(in crate::cli) fn resumed() -> Self {
        Self
    }

    pub(in crate::cli) fn quit() -> Self {
        Self
    }

    pub(in crate::cli) async fn next(&mut self) {
        std::future::pending::<()>().await;
    }
}

/// Files lie in the user's profile, which is private.
pub(in crate::cli) fn open_to_others(_metadata: &Metadata) -> Option<u32> {
    None
}

pub(in crate::cli) fn mend_reading(_file: &Path) -> Option<String> {
    None
}
