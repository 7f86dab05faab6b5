//! Replacing a file durably: a private temporary file in the same folder, synced, renamed over
//! the old one, then the folder synced. The old content is there until the new one is.

use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::StoreError;
use crate::files::{self, Giving, Temporary};
pub(super) use crate::files::{clear_leftovers, leftovers};

/// A new version may be this much larger than the old one.
const GROWTH: u64 = 16 * 1024;

/// A temporary file beside a store with room for its next version, on disk.
#[derive(Debug)]
pub(super) struct Prepared(Temporary);

impl Prepared {
    /// Makes the file, filled to the old version's size and some, and syncs it.
    pub(super) fn beside(store: &Path) -> Result<Self, StoreError> {
        let fault = |source| StoreError::Write {
            file: store.to_owned(),
            source,
        };
        let prepared = Self::empty(store).map_err(fault)?;
        prepared.keep_owner(store)?;
        if is_mount_point(prepared.0.target()) {
            let writable = fs::OpenOptions::new().write(true).open(prepared.0.target());
            writable.map_err(fault)?;
        }
        let size = fs::metadata(prepared.0.target()).map_or(0, |metadata| metadata.len()) + GROWTH;
        prepared.fill(size).map_err(fault)?;
        Ok(prepared)
    }

    /// Follows a link to the real file, so that the link stays one.
    fn empty(store: &Path) -> io::Result<Self> {
        Ok(Self(Temporary::beside(store, Giving::May)?))
    }

    /// The new version belongs to whom the old one does: root writes for the user, and nobody
    /// else can.
    #[cfg(unix)]
    fn keep_owner(&self, store: &Path) -> Result<(), StoreError> {
        use std::os::unix::fs::{MetadataExt, fchown};
        let (new_file, target) = (self.0.file(), self.0.target());
        let (Ok(old), Ok(new)) = (fs::metadata(target), new_file.metadata()) else {
            Giving::May.to_folders_owner(new_file, target).ok();
            return Ok(());
        };
        if old.uid() == new.uid() {
            return Ok(());
        }
        let foreign = |_| StoreError::Foreign {
            file: store.to_owned(),
            owner: old.uid(),
            ours: new.uid(),
        };
        fchown(new_file, Some(old.uid()), Some(old.gid())).map_err(foreign)
    }

    #[cfg(not(unix))]
    #[expect(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "the same shape as on Unix"
    )]
    fn keep_owner(&self, _store: &Path) -> Result<(), StoreError> {
        Ok(())
    }

    fn fill(&self, size: u64) -> io::Result<()> {
        let zeros = io::Read::take(io::repeat(0), size);
        io::copy(&mut { zeros }, &mut self.0.file())?;
        self.0.file().sync_all()
    }

    fn persist(self, content: &[u8]) -> io::Result<()> {
        let target = self.0.target().to_owned();
        let mut file = self.0.file();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(content)?;
        file.set_len(content.len() as u64)?;
        file.sync_all()?;
        if let Err(mut failed) = self.0.persist() {
            let fixed = [io::ErrorKind::ResourceBusy, io::ErrorKind::CrossesDevices];
            if !fixed.contains(&failed.error.kind()) {
                return Err(failed.error);
            }
            // A file that is mounted by itself can't be replaced, only written. Until that is
            // done, the temporary file has it all.
            failed.temporary.outlives(true);
            write_in_place(&target, content)?;
            failed.temporary.outlives(false);
            return Ok(());
        }
        match target.parent() {
            Some(folder) => files::sync_folder(folder),
            None => Ok(()),
        }
    }
}

fn write_in_place(target: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(target)?;
    file.write_all(content)?;
    file.set_len(content.len() as u64)?;
    file.sync_all()
}

/// Whether a file is mounted by itself, as into a container.
#[cfg(target_os = "linux")]
fn is_mount_point(target: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let target = target.to_string_lossy().replace(' ', "\\040");
    mounts
        .lines()
        .any(|mount| mount.split(' ').nth(4) == Some(target.as_str()))
}

#[cfg(not(target_os = "linux"))]
fn is_mount_point(_target: &Path) -> bool {
    false
}

/// The objects in the temporary files beside `store` that were written whole, and then not
/// renamed.
pub(super) fn unfinished(store: &Path) -> Vec<Map<String, Value>> {
    let target = store.canonicalize().unwrap_or_else(|_| store.to_owned());
    let read = |file: PathBuf| {
        let bytes = Zeroizing::new(fs::read(file).ok()?);
        // What was there to make room comes after the content.
        let end = bytes.iter().rposition(|byte| *byte != 0)? + 1;
        serde_json::from_slice(bytes.get(..end)?).ok()
    };
    leftovers(&target).into_iter().filter_map(read).collect()
}

/// Replaces `store` by this object, indented as Hermes Agent does.
pub(super) fn replace(
    store: &Path,
    prepared: Option<Prepared>,
    document: Map<String, Value>,
) -> Result<(), StoreError> {
    let prepared = match prepared {
        Some(prepared) => prepared,
        None => Prepared::beside(store)?,
    };
    let write = || {
        let mut content = Zeroizing::new(serde_json::to_vec_pretty(&Value::Object(document))?);
        content.push(b'\n');
        prepared.persist(&content)
    };
    write().map_err(|source| StoreError::Write {
        file: store.to_owned(),
        source,
    })
}

/// Replaces a small file of ours by this object.
pub(super) fn replace_small(file: &Path, document: Map<String, Value>) -> Result<(), StoreError> {
    let write = || Prepared::empty(file)?.persist(Value::Object(document).to_string().as_bytes());
    write().map_err(|source| StoreError::Write {
        file: file.to_owned(),
        source,
    })
}

/// Makes a private folder when it is missing.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    files::make_folder(folder, Giving::May)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use serde_json::json;

    use super::*;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn a_replaced_store_is_private_whole_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("auth.json");
        let prepared = Prepared::beside(&store).unwrap();
        replace(&store, Some(prepared), object(&json!({"b": 1, "a": [2]}))).unwrap();
        let text = fs::read_to_string(&store).unwrap();
        assert_eq!(text, "{\n  \"b\": 1,\n  \"a\": [\n    2\n  ]\n}\n");
        assert_eq!(
            fs::metadata(&store).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_process_wrote_is_found_and_the_next_one_clears_it_away() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("auth.json");
        let mut written = Prepared::beside(&store).unwrap().0;
        written.file().seek(SeekFrom::Start(0)).unwrap();
        written.file().write_all(b"{\"a\": 1}\n").unwrap();
        written.outlives(true);
        drop(written);
        fs::write(dir.path().join("auth.json.hermes-proxyd.torn"), "{\"a\": ").unwrap();
        fs::write(dir.path().join("auth.json.tmp.theirs"), "{}").unwrap();
        assert_eq!(unfinished(&store), [object(&json!({"a": 1}))]);
        replace(&store, None, object(&json!({"b": 1}))).unwrap();
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(
            (left, unfinished(&store).len()),
            (2, 0),
            "ours are gone, theirs is not"
        );
    }

    #[test]
    fn a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real.json");
        fs::write(&real, "{}").unwrap();
        let link = dir.path().join("auth.json");
        symlink(&real, &link).unwrap();
        replace(&link, None, object(&json!({"a": 1}))).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(&real).unwrap().contains("\"a\": 1"));
    }

    #[test]
    fn a_folder_that_can_not_be_written_is_noticed_before() {
        let dir = tempfile::tempdir().unwrap();
        let not_a_folder = dir.path().join("file");
        fs::write(&not_a_folder, "").unwrap();
        let error = Prepared::beside(&not_a_folder.join("auth.json")).unwrap_err();
        assert!(matches!(error, StoreError::Write { .. }), "{error}");
    }
}
