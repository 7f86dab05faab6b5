//! Whether a folder can take a file, as far as that shows without making one.

use std::io;

use super::FileAccess;

/// Whether a file of this many bytes can be made at `place`. What this does not see, such as a
/// quota, shows when the file is made.
///
/// # Errors
/// When the folder can't be written, or its disk is full.
pub fn has_room(place: &FileAccess, bytes: u64) -> io::Result<()> {
    place.act(|path| {
        let folder = path.parent().filter(|folder| folder.is_dir());
        // A folder that is missing is made.
        folder.map_or(Ok(()), |folder| platform::has_room(folder, bytes))
    })
}

#[cfg(unix)]
mod platform {
    use std::io;
    use std::path::Path;

    use rustix::fs::{Access, access, statvfs};
    use rustix::io::Errno;

    pub(super) fn has_room(folder: &Path, bytes: u64) -> io::Result<()> {
        access(folder, Access::WRITE_OK | Access::EXEC_OK)?;
        let Ok(disk) = statvfs(folder) else {
            return Ok(());
        };
        // Root may use the reserved blocks.
        let blocks = if rustix::process::geteuid().is_root() {
            disk.f_bfree
        } else {
            disk.f_bavail
        };
        // Some file systems have no limit, and say 0 of 0.
        let is_full = disk.f_blocks > 0 && blocks.saturating_mul(disk.f_frsize) < bytes;
        let has_no_names = disk.f_files > 0 && disk.f_ffree == 0;
        if is_full || has_no_names {
            return Err(Errno::NOSPC.into());
        }
        Ok(())
    }
}

#[cfg(not(unix))]
mod platform {
    use std::io;
    use std::path::Path;

    #[expect(clippy::unnecessary_wraps, reason = "the same shape as on Unix")]
    pub(super) fn has_room(_folder: &Path, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
}
