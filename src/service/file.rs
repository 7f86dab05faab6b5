//! The files that an installation writes and removes.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::ServiceError;
use crate::files::FileAccess;

/// The file's content; `None` if it does not exist.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, ServiceError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed(path, source)),
    }
}

/// The same as text; a file that is not text differs from every text.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, ServiceError> {
    let bytes = read(path)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The end of a log; empty without one.
pub(super) fn last_lines(log: &Path) -> Vec<String> {
    const LINES: usize = 12;
    let text = read_text(log).ok().flatten().unwrap_or_default();
    let first = text.lines().count().saturating_sub(LINES);
    text.lines().skip(first).map(str::to_owned).collect()
}

/// Writes the file whole, with its folder. Whether that was needed.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<bool, ServiceError> {
    if read(path)?.as_deref() == Some(bytes) {
        return Ok(false);
    }
    let written = FileAccess::of_itself(path).and_then(|place| {
        place.act(|path| {
            let mut beside = path.as_os_str().to_owned();
            beside.push(".new");
            let beside = PathBuf::from(beside);
            // Left by a crash, or nothing.
            fs::remove_file(&beside).ok();
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&beside)?;
            file.write_all(bytes)?;
            fs::rename(&beside, path)
        })
    });
    written.map_err(|source| failed(path, source))?;
    Ok(true)
}

/// Removes the file. Whether it was there.
pub(super) fn remove(path: &Path) -> Result<bool, ServiceError> {
    let removed =
        FileAccess::of_itself(path).and_then(|place| place.act(|path| fs::remove_file(path)));
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(failed(path, source)),
    }
}

/// Removes the folder if nothing is in it.
pub(super) fn remove_empty(folder: &Path) {
    // What others put there stays, and so does the folder.
    fs::remove_dir(folder).ok();
}

fn failed(path: &Path, source: std::io::Error) -> ServiceError {
    ServiceError::File {
        path: path.to_owned(),
        source,
    }
}
