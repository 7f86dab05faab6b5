//! What a file system does with owners and modes.

use std::fs::File;

/// Whether a file's mode can be changed there. On these file systems it is the mount's, and
/// usually lets all users in.
pub(super) fn keeps_modes(file: &File) -> bool {
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

/// On NFS, all files show as `nobody`'s if the two machines have different names for their users.
/// The server still knows the owners.
pub(super) fn hides_owners(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|stat| stat.f_type == rustix::fs::NFS_SUPER_MAGIC)
}
