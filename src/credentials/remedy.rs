//! The shell command that makes a store usable again.

use std::io::ErrorKind;
use std::path::Path;

use super::StoreError;
use crate::files::{chmod_private, chown_to, quoted};

/// The command that makes a store usable again, if one does. After a file was moved aside, `login`
/// adopts the login from the mirror, or makes a new one. Asks for the files' owners, so it waits for
/// as long as their file system does.
pub fn remedy(error: &StoreError, login: Option<String>) -> Option<String> {
    match error {
        StoreError::Parse { file, .. } => Some(aside(file, login)),
        StoreError::Read { file, source } => uncover(file, source.kind(), login),
        StoreError::Lock { file, source } => free(file, source.kind()),
        StoreError::Write { file, source } => make_room(file, source.kind()),
        StoreError::Foreign { file, ours, .. } => give(file, *ours),
        StoreError::Writable { file, .. } => Some(chmod_private(file)),
        StoreError::LockHeld { .. }
        | StoreError::Restless { .. }
        | StoreError::RowGone { .. }
        | StoreError::Moved { .. }
        | StoreError::Waiting
        | StoreError::Stopping => None,
    }
}

fn uncover(file: &Path, kind: ErrorKind, login: Option<String>) -> Option<String> {
    if kind == ErrorKind::IsADirectory {
        Some(aside(file, login))
    } else if kind == ErrorKind::NotFound && file.is_symlink() {
        Some(then(format!("rm {}", quoted(file)), login))
    } else if kind == ErrorKind::PermissionDenied {
        permit(file)
    } else {
        None
    }
}

/// Its contents may still be useful.
fn aside(file: &Path, login: Option<String>) -> String {
    let mut corrupt = file.as_os_str().to_owned();
    corrupt.push(".corrupt");
    let moved = format!("mv {} {}", quoted(file), quoted(corrupt.as_ref()));
    then(moved, login)
}

fn then(command: String, login: Option<String>) -> String {
    match login {
        Some(login) => format!("{command} && {login}"),
        None => command,
    }
}

/// A lock's file is empty, so anything in its place that is not a file can go. A link to a file stays,
/// since other programs take the lock there.
fn free(file: &Path, kind: ErrorKind) -> Option<String> {
    let shown = quoted(file);
    match (file.symlink_metadata(), file.metadata()) {
        (Ok(there), _) if there.is_dir() => Some(format!("mv {shown} {}", quoted(&old(file)))),
        (Ok(_), Ok(target)) if !target.is_file() => Some(format!("rm {shown}")),
        (Ok(there), Err(error)) if there.is_symlink() && error.kind() == ErrorKind::NotFound => {
            Some(format!("rm {shown}"))
        }
        (Ok(there), _) if there.is_symlink() => {
            let target = file.canonicalize().ok()?;
            if kind == ErrorKind::PermissionDenied {
                permit_ours(&target)
            } else {
                make_room(&target, kind)
            }
        }
        _ if kind == ErrorKind::PermissionDenied => permit(file),
        _ => make_room(file, kind),
    }
}

/// A link's target may belong to any user; the link itself is ours and is opened.
#[cfg(unix)]
fn permit_ours(target: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let owner = target.metadata().ok()?.uid();
    permit(target).filter(|_| owner == rustix::process::geteuid().as_raw())
}

#[cfg(not(unix))]
fn permit_ours(_target: &Path) -> Option<String> {
    None
}

fn old(file: &Path) -> std::path::PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".old");
    name.into()
}

/// What keeps a file from being made is its folder's.
fn make_room(file: &Path, kind: ErrorKind) -> Option<String> {
    let folder = file.parent()?;
    if [ErrorKind::StorageFull, ErrorKind::QuotaExceeded].contains(&kind) {
        Some(format!("df -h {}", quoted(folder)))
    } else if kind == ErrorKind::ReadOnlyFilesystem {
        Some(format!("findmnt -T {}", quoted(folder)))
    } else if kind == ErrorKind::NotFound && file.is_symlink() {
        Some(format!("rm {}", quoted(file)))
    } else if kind == ErrorKind::PermissionDenied {
        permit(folder)
    } else {
        None
    }
}

/// The file is another user's, or its mode keeps its owner out.
#[cfg(unix)]
fn permit(file: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let ours = rustix::process::geteuid().as_raw();
    // If even that can't be seen, a folder above is the obstacle.
    let seen = |path: &Path| Some((path.to_owned(), std::fs::symlink_metadata(path).ok()?));
    let (path, there) = file.ancestors().find_map(seen)?;
    if there.uid() != ours {
        return give(&path, ours);
    }
    Some(format!("chmod u+rwX {}", quoted(&path))).filter(|_| !there.is_symlink())
}

#[cfg(not(unix))]
fn permit(_file: &Path) -> Option<String> {
    None
}

/// Makes us the owner of a file or a folder, but not of a link's target, which may belong to any
/// user.
fn give(path: &Path, ours: u32) -> Option<String> {
    Some(chown_to(ours, path)).filter(|_| !path.is_symlink())
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
        use std::os::unix::fs::{chown, symlink};
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("auth.json");
        std::fs::write(&file, "{}").unwrap();
        let denied = |file: &Path| StoreError::Read {
            file: file.to_owned(),
            source: ErrorKind::PermissionDenied.into(),
        };
        let opened = format!("chmod u+rwX {}", file.display());
        assert_eq!(remedy(&denied(&file), None), Some(opened));
        // Its target may belong to any user.
        let link = folder.path().join("link.json");
        symlink("/etc/shadow", &link).unwrap();
        assert_eq!(remedy(&denied(&link), None), None);
        if chown(&file, Some(12_345), None).is_ok() {
            let ours = rustix::process::geteuid().as_raw();
            let given = format!("sudo chown -h {ours} {}", file.display());
            assert_eq!(remedy(&denied(&file), None), Some(given));
        }
    }

    /// Another program takes the lock at the link's target.
    #[cfg(unix)]
    #[test]
    fn a_lock_that_is_a_link_to_a_file_stays_one() {
        use std::os::unix::fs::{PermissionsExt, chown, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (lock, target) = (folder.path().join("auth.lock"), folder.path().join("there"));
        std::fs::write(&target, "").unwrap();
        std::fs::set_permissions(&target, PermissionsExt::from_mode(0o000)).unwrap();
        symlink(&target, &lock).unwrap();
        let advice = |kind: ErrorKind| {
            let error = StoreError::Lock {
                file: lock.clone(),
                source: kind.into(),
            };
            remedy(&error, None)
        };
        let target = target.canonicalize().unwrap();
        let opened = format!("chmod u+rwX {}", target.display());
        assert_eq!(advice(ErrorKind::PermissionDenied), Some(opened));
        let room = format!("df -h {}", target.parent().unwrap().display());
        assert_eq!(advice(ErrorKind::StorageFull), Some(room));
        assert_eq!(advice(ErrorKind::TimedOut), None);
        if chown(&target, Some(12_345), None).is_ok() {
            assert_eq!(advice(ErrorKind::PermissionDenied), None);
        }
    }

    /// Each command is run unchanged, and then the lock can be acquired.
    #[cfg(unix)]
    #[test]
    fn whatever_is_in_a_locks_place_is_put_out_of_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("auth.lock");
        let run = |command: &str| {
            let done = std::process::Command::new("sh")
                .args(["-c", command])
                .status();
            assert!(done.unwrap().success(), "{command}");
        };
        for make in ["mkdir", "mkfifo", "ln -s gone/folder/lock"] {
            run(&format!("{make} {}", file.display()));
            let open = || crate::files::FileAccess::of(&file)?.open_lock();
            let source = open().unwrap_err();
            let error = StoreError::Lock {
                file: file.clone(),
                source,
            };
            run(&remedy(&error, None).unwrap());
            open().unwrap();
            std::fs::remove_file(&file).unwrap();
        }
    }
}
