//! What all Unix systems do the same way.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};

use rustix::fs::OFlags;
use rustix::process::geteuid;

use super::flaw::FileFlaw;
use super::mounts::{hides_owners, keeps_modes};

/// Who owns a file whose owner has no number here.
const NOBODY: u32 = 65534;

pub(in crate::files) fn private_folder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// Opening a pipe would wait for its writer.
pub(in crate::files) fn never_wait(options: &mut OpenOptions, not_through_links: bool) {
    let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    if not_through_links {
        flags |= OFlags::NOFOLLOW;
    }
    options.custom_flags(flags.bits().cast_signed());
}

/// A file that was opened without waiting is written with it.
pub(in crate::files) fn waiting(file: File) -> io::Result<File> {
    let flags = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    Ok(file)
}

pub(in crate::files) fn flaw(
    file: &File,
    metadata: &Metadata,
    at_home: impl Fn(u32) -> bool,
) -> Option<FileFlaw> {
    let (ours, owner) = (geteuid().as_raw(), metadata.uid());
    let known = owner == ours || owner == 0 || (ours == 0 && at_home(owner));
    let is_hidden = owner == NOBODY && hides_owners(file);
    if !known && !is_hidden {
        return Some(FileFlaw::Foreign { owner, ours });
    }
    let mode = metadata.mode() & 0o7777;
    (mode & 0o002 != 0 && keeps_modes(file)).then_some(FileFlaw::Writable { mode })
}
