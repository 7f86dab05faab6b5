//! What is in a user's profile is the user's alone already.

#![expect(clippy::unnecessary_wraps, reason = "the same shape as on Unix")]

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::flaw::FileFlaw;
use super::lookup::{Missing, SymlinkState};
pub(in crate::files) use super::no_reach::FileReach;

pub(super) fn reach(
    _file: &Path,
    _missing: Missing,
    _link: SymlinkState,
) -> io::Result<Option<(PathBuf, FileReach)>> {
    Ok(None)
}

pub(super) fn is_home_of(_target: &Path, _owner: u32) -> bool {
    false
}

pub(super) fn is_closed(_target: &Path) -> bool {
    false
}

pub(super) fn private_folder() -> DirBuilder {
    DirBuilder::new()
}

pub(super) fn never_wait(_options: &mut OpenOptions, _not_through_links: bool) {}

pub(super) fn waiting(file: File) -> io::Result<File> {
    Ok(file)
}

pub(super) fn flaw(
    _file: &File,
    _metadata: &Metadata,
    _at_home: impl Fn(u32) -> bool,
) -> Option<FileFlaw> {
    None
}

pub(super) fn give(_made: &File, _path: &Path) -> io::Result<()> {
    Ok(())
}

pub(super) fn give_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}
