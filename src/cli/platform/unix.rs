//! Linux and macOS.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Signal as SystemSignal, geteuid, getpid, kill_process};
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::files::quoted;

/// Keeps Ctrl-C for hermesctl, which then tells the process what to do.
pub(in crate::cli) fn keep_from_ctrl_c(command: &mut tokio::process::Command) {
    command.process_group(0);
}

/// Replaces this process, so that signals and the service manager reach the program.
pub(in crate::cli) fn become_command(command: &mut Command) -> io::Result<u8> {
    Err(command.exec())
}

/// A new file for its user alone.
pub(in crate::cli) fn create_private(file: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(file)
}

/// Whose a file or folder is, and who may use it.
pub(in crate::cli) fn access(path: &Path) -> String {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return "can't be checked".to_owned();
    };
    let ours = metadata.uid() == geteuid().as_raw();
    let kind = if metadata.is_symlink() { "link, " } else { "" };
    let owner = if ours { "ours" } else { "of another user" };
    format!("{kind}mode {:04o}, {owner}", metadata.mode() & 0o7777)
}

/// Whether these are two files.
pub(in crate::cli) fn are_two(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) != (other.dev(), other.ino())
}

/// The machine's name.
pub(in crate::cli) fn host() -> Option<String> {
    let uname = rustix::system::uname();
    uname.nodename().to_str().ok().map(str::to_owned)
}

/// The system and its kernel.
pub(in crate::cli) fn system() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let mut lines = release.lines();
    let name = lines.find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let uname = rustix::system::uname();
    let parts = [uname.sysname(), uname.release(), uname.machine()];
    let parts = parts.map(|part| part.to_string_lossy().into_owned());
    format!("{} {}", name.unwrap_or("?"), parts.join(" "))
}

/// Connects to a Unix socket.
pub(in crate::cli) async fn connect_to_socket(path: &str) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

/// Ends with Ctrl-C, with the terminal, or with SIGTERM. It hears them from this call on, not only once it is polled.
pub(in crate::cli) fn interrupted() -> impl Future<Output = ()> {
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

async fn told(signal: io::Result<Signal>) {
    match signal {
        Ok(mut signal) => {
            signal.recv().await;
        }
        // Then it ends hermesctl as it ends any program.
        Err(_) => std::future::pending().await,
    }
}

/// Suspends hermesctl, as Ctrl-Z does, until it is resumed.
pub(in crate::cli) fn stop_here() {
    kill_process(getpid(), SystemSignal::TSTP).ok();
}

/// Waits for a signal.
pub(in crate::cli) struct HeardSignal(Option<Signal>);

impl HeardSignal {
    /// hermesctl was stopped and resumed.
    pub(in crate::cli) fn resumed() -> Self {
        let kind = SignalKind::from_raw(SystemSignal::CONT.as_raw());
        Self(signal(kind).ok())
    }

    /// Handled here because the default would leave the alternate screen on.
    pub(in crate::cli) fn quit() -> Self {
        Self(signal(SignalKind::quit()).ok())
    }

    pub(in crate::cli) async fn next(&mut self) {
        if let Some(signal) = &mut self.0
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

/// The permissions of a file that others may use, too. What root has given to our group to read is for us:
/// that is how Kubernetes mounts a Secret for a pod (`fsGroup`).
pub(in crate::cli) fn open_to_others(metadata: &Metadata) -> Option<u32> {
    let mode = metadata.mode() & 0o7777;
    let is_given = metadata.uid() == 0 && !geteuid().is_root();
    (!is_closed(mode, is_given)).then_some(mode)
}

fn is_closed(mode: u32, is_given: bool) -> bool {
    let others = if is_given { 0o037 } else { 0o077 };
    mode & others == 0
}

/// What lets us read a file that we may not read.
pub(in crate::cli) fn mend_reading(file: &Path) -> Option<String> {
    let metadata = std::fs::metadata(file).ok()?;
    let name = quoted(file);
    if metadata.uid() == geteuid().as_raw() {
        return Some(format!("chmod u+r {name}"));
    }
    Some(format!("sudo chown \"$USER\" {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_roots_may_be_our_groups_to_read_and_no_more() {
        for (mode, ours, given) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o440, false, true),
            (0o640, false, true),
            (0o660, false, false),
            (0o444, false, false),
            (0o644, false, false),
            (0o450, false, false),
        ] {
            assert_eq!(is_closed(mode, false), ours, "{mode:o}");
            assert_eq!(is_closed(mode, true), given, "{mode:o}");
        }
    }
}
