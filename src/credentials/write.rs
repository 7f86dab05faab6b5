//! Replaces a file durably: a private temporary file in the same folder, synced, renamed over the
//! old one, then the folder synced. The old content exists until the new one does.

use std::ffi::OsString;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::StoreError;
use super::store::LARGEST;
use crate::files::{self, FileAccess, Temporary};

/// A new version may be this much larger than the old one.
const GROWTH: u64 = 16 * 1024;

/// A temporary file beside a store with room for its next version, on disk.
#[derive(Debug)]
pub(super) struct PreparedStore(Temporary);

impl PreparedStore {
    /// Makes the file, filled to the old version's size and some, and syncs it.
    pub(super) fn beside(store: &Path) -> Result<Self, StoreError> {
        Self::tagged(store, None)
    }

    /// The same for one of several logins in a store; see [`Temporary::tagged`].
    pub(super) fn tagged(store: &Path, tag: Option<&str>) -> Result<Self, StoreError> {
        let fault = |source| StoreError::Write {
            file: store.to_owned(),
            source,
        };
        let prepared = Self(Temporary::tagged(store, tag).map_err(fault)?);
        let foreign = |(owner, ours)| StoreError::Foreign {
            file: store.to_owned(),
            owner,
            ours,
        };
        prepared.0.keep_owner().map_err(foreign)?;
        let place = prepared.0.place();
        if is_mount_point(place.target()) {
            place.open_to_write().map_err(fault)?;
        }
        let size = next_size(place);
        prepared.fill(size).map_err(fault)?;
        Ok(prepared)
    }

    /// Whether one could be made, as far as a look shows.
    ///
    /// # Errors
    /// When the folder takes no file of that size.
    pub(super) fn look(store: &Path) -> Result<(), StoreError> {
        let room = match FileAccess::of(store) {
            Ok(place) => files::has_room(&place, next_size(&place)),
            // A folder that is missing is made.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        let found = room.and_then(|()| files::there_or_missing(store));
        found.map_err(|source| StoreError::Write {
            file: store.to_owned(),
            source,
        })
    }

    fn fill(&self, size: u64) -> io::Result<()> {
        let zeros = io::Read::take(io::repeat(0), size);
        io::copy(&mut { zeros }, &mut self.0.file())?;
        files::sync(self.0.file())
    }

    fn persist(self, content: &[u8]) -> io::Result<()> {
        let place = self.0.place().clone();
        let mut file = self.0.file();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(content)?;
        file.set_len(content.len() as u64)?;
        files::sync(file)?;
        if let Err(failed) = self.0.persist() {
            let fixed = [io::ErrorKind::ResourceBusy, io::ErrorKind::CrossesDevices];
            let Some(mut temporary) = failed.temporary else {
                return Err(failed.error);
            };
            if !fixed.contains(&failed.error.kind()) {
                return Err(failed.error);
            }
            // A bind-mounted file can't be replaced, only written. Until that is done, the
            // temporary file has all of it.
            temporary.outlives(true);
            write_in_place(&place, content)?;
            temporary.outlives(false);
            return Ok(());
        }
        files::sync_folder_of(&place)
    }
}

/// How large the next version of a file may get, in bytes.
fn next_size(place: &FileAccess) -> u64 {
    let old = place.act(Path::metadata);
    let size = old.map_or(0, |metadata| metadata.len());
    size.saturating_add(GROWTH)
}

fn write_in_place(place: &FileAccess, content: &[u8]) -> io::Result<()> {
    let mut file = place.open_to_write()?;
    file.write_all(content)?;
    file.set_len(content.len() as u64)?;
    files::sync(&file)
}

/// Whether a file is mounted by itself, as into a container.
#[cfg(target_os = "linux")]
fn is_mount_point(target: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let target = target.to_string_lossy().replace(' ', "\\040");
    mounts
        .lines()
        .any(|mount| mount.split(' ').nth(4) == Some(target.as_str()))
}

#[cfg(not(target_os = "linux"))]
fn is_mount_point(_target: &Path) -> bool {
    false
}

/// The objects in the temporary files beside `store` that were written completely, and then not
/// renamed.
pub(super) fn unfinished(store: &Path) -> Vec<Map<String, Value>> {
    FileAccess::of(store).map_or_else(|_| Vec::new(), |place| whole(files::leftovers(&place)))
}

/// The same of those that were written for the login with this tag, or for no login in particular.
pub(super) fn unfinished_of(store: &Path, tag: &str) -> Vec<Map<String, Value>> {
    let tag = Some(tag);
    FileAccess::of(store).map_or_else(
        |_| Vec::new(),
        |place| whole(files::leftovers_of(&place, tag)),
    )
}

fn whole(leftovers: Vec<FileAccess>) -> Vec<Map<String, Value>> {
    let read = |place: FileAccess| {
        let bytes = files::read_opened(place.open().ok()?, LARGEST + GROWTH).ok()?;
        // What was there to make room comes after the content.
        let last = bytes.iter().rposition(|byte| *byte != 0)?;
        serde_json::from_slice(bytes.get(..=last)?).ok()
    };
    leftovers.into_iter().filter_map(read).collect()
}

/// Copies of a broken store that Hermes Agent has made, or the user on our advice: `auth.json.corrupt` and
/// what begins so.
pub(super) fn copies(store: &Path) -> Vec<PathBuf> {
    let (Some(name), Some(folder)) = (store.file_name(), store.parent()) else {
        return Vec::new();
    };
    let mut prefix = name.to_owned();
    prefix.push(".corrupt");
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name());
    let ours = |name: &OsString| {
        name.as_encoded_bytes()
            .starts_with(prefix.as_encoded_bytes())
    };
    let mut copies: Vec<_> = names.filter(ours).map(|name| folder.join(name)).collect();
    copies.sort();
    copies
}

/// Removes our temporary files beside a file: those with this tag, and those without any.
pub(super) fn clear_leftovers(file: &Path, tag: Option<&str>) {
    if let Ok(place) = FileAccess::of(file) {
        files::clear_leftovers(&place, tag);
    }
}

/// Replaces `store` by this object, indented as Hermes Agent does.
pub(super) fn replace(
    store: &Path,
    prepared: Option<PreparedStore>,
    document: Map<String, Value>,
) -> Result<(), StoreError> {
    let prepared = match prepared {
        Some(prepared) => prepared,
        None => PreparedStore::beside(store)?,
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
    replace_text(file, Value::Object(document).to_string().as_bytes())
}

/// The same by this text.
pub(super) fn replace_text(file: &Path, text: &[u8]) -> Result<(), StoreError> {
    let write = || PreparedStore(Temporary::beside(file)?).persist(text);
    write().map_err(|source| StoreError::Write {
        file: file.to_owned(),
        source,
    })
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
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
        let prepared = PreparedStore::beside(&store).unwrap();
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
        let mut written = PreparedStore::beside(&store).unwrap().0;
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
        let error = PreparedStore::beside(&not_a_folder.join("auth.json")).unwrap_err();
        assert!(matches!(error, StoreError::Write { .. }), "{error}");
    }
}
