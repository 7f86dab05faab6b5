//! What all Unix systems do the same way.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};

use rustix::fs::OFlags;
use rustix::process::geteuid;

use super::flaw::FileFlaw;

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

/// Whether a file's mode can be changed there. On these file systems it is the mount's, and
/// usually lets all users in.
#[cfg(target_os = "linux")]
fn keeps_modes(file: &File) -> bool {
    /// `vfat`, `exfat`, `ntfs`, `ntfs3`, `cifs`, `smb2`, `9p`, `vboxsf`, `fuse`.
    const WITHOUT: [u32; 9] = [
        0x4d44,
        0x2011_bab0,
        0x5346_544e,
        0x7366_746e,
        0xff53_4d42,
        0xfe53_4d42,
        0x0102_1997,
        0x786f_4256,
        0x6573_5546,
    ];
    let kind = rustix::fs::fstatfs(file).map(|stat| stat.f_type);
    // The kernel's ids have 32 bits, whatever the field's type.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "see above"
    )]
    kind.map_or(true, |kind| !WITHOUT.contains(&(kind as u32)))
}

#[cfg(not(target_os = "linux"))]
fn keeps_modes(_file: &File) -> bool {
    true
}

/// On NFS, all files show as `nobody`'s if the two machines have different names for their users.
/// The server still knows the owners.
#[cfg(target_os = "linux")]
fn hides_owners(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|stat| stat.f_type == rustix::fs::NFS_SUPER_MAGIC)
}

#[cfg(not(target_os = "linux"))]
fn hides_owners(_file: &File) -> bool {
    false
}
