//! A login whose file is there and can't be read: told to the user within seconds, with the command
//! that helps, and again when it is over.
//!
//! The file may have been emptied, cut, or given to another user, as `sudo hermes` does. It is never
//! written over. Where the mirror holds the login whole, that serves and is kept fresh.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::UNREADABLE;
use super::handle::Standing;
use super::keeper::Keeper;
use super::notice::NoticeKind;
use super::status::{Event, Fault, Unreadable};
use super::store::StoreError;

impl Keeper {
    /// The file could not be read at this look. A program that writes in place is done by the next
    /// one, so the user is told at the second.
    pub(super) async fn unreadable(&mut self, error: Arc<StoreError>, mirrored: bool) {
        let reason = error.to_string();
        let again = self.unread.is_some();
        let at = self.unread.unwrap_or_else(|| self.clock.now());
        self.unread = Some(at);
        if !again {
            let provider = self.adapter.name().as_str();
            tracing::error!(
                provider,
                code = UNREADABLE,
                error = reason,
                mirrored,
                "a login can't be read"
            );
        }
        // Whose the file is, is asked of a file system that may hang.
        let login = self.adapter.remedy().command(self.is_own());
        let asked = self.desk.run(move || remedy(&error, login)).await;
        let command = asked.ok().flatten();
        let told = Unreadable {
            at,
            reason: reason.clone(),
            command: command.clone(),
            mirrored,
        };
        self.status(|status| status.unreadable = Some(told));
        if again && !std::mem::replace(&mut self.told.unreadable, true) {
            self.tell(NoticeKind::Unreadable {
                reason: reason.clone(),
                command,
                mirrored,
            });
        }
        let now = self.clock.now();
        let served = matches!(
            &self.shared.snapshot.load().standing,
            Standing::Credential(credential) if credential.expires_at.is_none_or(|end| end > now)
        );
        if !mirrored && !served {
            self.publish(Standing::Unreadable(reason.into()));
        }
    }

    /// The file can be read, or is gone.
    pub(super) fn readable(&mut self) {
        if self.unread.take().is_none() {
            return;
        }
        self.status(|status| {
            status.unreadable = None;
            // A renewal that failed over the same file fails no more.
            let of_file = |event: &Event<Fault>| event.what.code == "store";
            if !status.unsaved && status.last_error.as_ref().is_some_and(of_file) {
                status.last_error = None;
            }
        });
        let told = std::mem::take(&mut self.told.unreadable);
        let standing = self.shared.snapshot.load().standing.clone();
        let serves = matches!(standing, Standing::Credential(_) | Standing::Pending);
        if told && serves {
            self.tell(NoticeKind::Restored);
        }
    }
}

/// The command that makes a store usable again, where one does. After a file was moved aside, `login`
/// takes the login over from the mirror, or makes another one.
fn remedy(error: &StoreError, login: Option<String>) -> Option<String> {
    match error {
        StoreError::Parse { file, .. } => Some(aside(file, login)),
        StoreError::Read { file, source } if source.kind() == ErrorKind::IsADirectory => {
            Some(aside(file, login))
        }
        StoreError::Read { file, source } if source.kind() == ErrorKind::PermissionDenied => {
            permit(file)
        }
        StoreError::Foreign { file, ours, .. } => {
            Some(format!("sudo chown {ours} {}", quoted(file)))
        }
        StoreError::Writable { file, .. } => Some(format!("chmod 600 {}", quoted(file))),
        StoreError::Read { .. }
        | StoreError::Lock { .. }
        | StoreError::LockHeld { .. }
        | StoreError::Restless { .. }
        | StoreError::Moved { .. }
        | StoreError::Waiting
        | StoreError::Stopping
        | StoreError::Write { .. } => None,
    }
}

/// What it held may still be of use to somebody.
fn aside(file: &Path, login: Option<String>) -> String {
    let mut corrupt = file.as_os_str().to_owned();
    corrupt.push(".corrupt");
    let moved = format!("mv {} {}", quoted(file), quoted(corrupt.as_ref()));
    match login {
        Some(login) => format!("{moved} && {login}"),
        None => moved,
    }
}

/// The file is another user's, or its mode keeps its owner out.
#[cfg(unix)]
fn permit(file: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let ours = rustix::process::geteuid().as_raw();
    // Where even that can't be seen, the folder is what is in the way.
    let (path, owner) = if let Ok(metadata) = std::fs::metadata(file) {
        (file, metadata.uid())
    } else {
        let folder = file.parent()?;
        (folder, std::fs::metadata(folder).ok()?.uid())
    };
    let shown = quoted(path);
    Some(if owner == ours {
        format!("chmod u+rwX {shown}")
    } else {
        format!("sudo chown {ours} {shown}")
    })
}

#[cfg(not(unix))]
fn permit(_file: &Path) -> Option<String> {
    None
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_the_file_as_a_shell_takes_it() {
        let parse = |file: &str| StoreError::Parse {
            file: file.into(),
            reason: "it is empty".to_owned(),
        };
        for (file, command) in [
            (
                "/h/auth.json",
                "mv /h/auth.json /h/auth.json.corrupt && hermesctl auth login nous",
            ),
            (
                "/my home/o'k/auth.json",
                r"mv '/my home/o'\''k/auth.json' '/my home/o'\''k/auth.json.corrupt' && hermesctl auth login nous",
            ),
        ] {
            let login = Some("hermesctl auth login nous".to_owned());
            assert_eq!(remedy(&parse(file), login).as_deref(), Some(command));
        }
        assert_eq!(remedy(&StoreError::Waiting, None), None);
    }

    #[cfg(unix)]
    #[test]
    fn another_users_file_is_given_back_and_a_closed_one_is_opened() {
        use std::os::unix::fs::chown;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("auth.json");
        std::fs::write(&file, "{}").unwrap();
        let denied = StoreError::Read {
            file: file.clone(),
            source: ErrorKind::PermissionDenied.into(),
        };
        let opened = format!("chmod u+rwX {}", file.display());
        assert_eq!(remedy(&denied, None), Some(opened));
        if chown(&file, Some(12_345), None).is_ok() {
            let ours = rustix::process::geteuid().as_raw();
            let given = format!("sudo chown {ours} {}", file.display());
            assert_eq!(remedy(&denied, None), Some(given));
        }
    }
}
