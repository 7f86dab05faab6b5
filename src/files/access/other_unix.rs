//! Rights are per process there: root refuses a user's link, and gives new files away.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::lookup::{Missing, SymlinkState};
pub(in crate::files) use super::no_reach::FileReach;
pub(in crate::files) use super::unix::{flaw, never_wait, private_folder, waiting};

pub(super) fn reach(
    file: &Path,
    _missing: Missing,
    _link: SymlinkState,
) -> io::Result<Option<(PathBuf, FileReach)>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    for part in file.ancestors() {
        let theirs = |there: std::fs::Metadata| there.is_symlink() && there.uid() != 0;
        if part.symlink_metadata().is_ok_and(theirs) {
            let message = format!("{} is another user's link", part.display());
            return Err(io::Error::new(ErrorKind::PermissionDenied, message));
        }
    }
    Ok(None)
}

pub(super) fn is_home_of(target: &Path, owner: u32) -> bool {
    let folder = target
        .parent()
        .and_then(|folder| std::fs::metadata(folder).ok());
    folder.is_some_and(|folder| folder.uid() == owner || folder.mode() & 0o002 == 0)
}

pub(super) fn is_closed(_target: &Path) -> bool {
    false
}

pub(super) fn give(made: &File, path: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let Some(folder) = path
        .parent()
        .and_then(|folder| std::fs::metadata(folder).ok())
    else {
        return Ok(());
    };
    if folder.uid() == made.metadata()?.uid() {
        return Ok(());
    }
    fchown(made, Some(folder.uid()), Some(folder.gid()))
}

pub(super) fn give_folder(folder: &Path) -> io::Result<()> {
    give(&File::open(folder)?, folder)
}
