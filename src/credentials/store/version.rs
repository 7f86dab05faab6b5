//! The versions of a store's file: how large one may be, and how one is told from the next.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// A larger file is not accepted as a store.
pub(in crate::credentials) const LARGEST: u64 = 16 * 1024 * 1024;

/// A file's identity and time, to notice that someone wrote it.
pub(in crate::credentials) type StoreStamp = Option<(SystemTime, u64, u64, i64)>;

/// The identity of a file's version.
pub(in crate::credentials) fn stamp(file: &Path) -> StoreStamp {
    let metadata = fs::metadata(file).ok()?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let inode = 0;
    // A change of owner or mode shows only there.
    #[cfg(unix)]
    let changed = std::os::unix::fs::MetadataExt::ctime(&metadata)
        .saturating_mul(1_000_000_000)
        .saturating_add(std::os::unix::fs::MetadataExt::ctime_nsec(&metadata));
    #[cfg(not(unix))]
    let changed = 0;
    Some((metadata.modified().ok()?, metadata.len(), inode, changed))
}
