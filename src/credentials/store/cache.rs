//! The last parsed version of the store, shared by the keepers of its rows: a store with many rows is parsed once for
//! all of them. Each look reads the file again, so the parsed version is used only for the very same bytes.

use std::fmt;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::document::{open, parse, read_bytes};
use super::error::StoreError;

/// A smaller file is parsed quickly, and is not kept.
const WORTHWHILE: usize = 32 * 1024;

/// So much is compared at a time.
const BUFFER: usize = 16 * 1024;

/// What was parsed last.
#[derive(Default)]
pub(super) struct StoreCache(Mutex<Option<Parsed>>);

struct Parsed {
    file: PathBuf,
    bytes: Zeroizing<Vec<u8>>,
    document: Arc<Map<String, Value>>,
}

/// The contents of a store are never printed.
impl fmt::Debug for StoreCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").finish_non_exhaustive()
    }
}

impl StoreCache {
    /// What the file holds now; `None` only when there is no file.
    ///
    /// # Errors
    /// If it can't be read, or is not a JSON object.
    pub(super) fn read(&self, file: &Path) -> Result<Option<Arc<Map<String, Value>>>, StoreError> {
        // A look that comes meanwhile waits for this one's parse.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.file == file)
            && let Some(handle) = open(file)?
            && is_same(handle, &kept.bytes)
        {
            return Ok(Some(kept.document.clone()));
        }
        *kept = None;
        let Some(bytes) = read_bytes(file)? else {
            return Ok(None);
        };
        let document = Arc::new(parse(file, &bytes)?);
        if bytes.len() >= WORTHWHILE {
            *kept = Some(Parsed {
                file: file.to_owned(),
                bytes,
                document: document.clone(),
            });
        }
        Ok(Some(document))
    }
}

/// Whether the file holds exactly these bytes. A small buffer is wiped quickly.
fn is_same(mut file: impl Read, mut bytes: &[u8]) -> bool {
    let mut buffer = Zeroizing::new([0; BUFFER]);
    loop {
        match file.read(&mut *buffer) {
            Ok(0) => return bytes.is_empty(),
            Ok(read) => {
                let piece = buffer.get(..read);
                match piece.and_then(|piece| bytes.strip_prefix(piece)) {
                    Some(rest) => bytes = rest,
                    None => return false,
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_store_is_parsed_once_until_a_byte_of_it_changes() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("auth.json");
        let shelf = StoreCache::default();
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            shelf.read(&file).unwrap().unwrap()
        };
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(WORTHWHILE));
        let first = read(&large);
        assert!(Arc::ptr_eq(&first, &read(&large)));
        assert!(!format!("{shelf:?}").contains("xxx"));
        let other = read(&large.replace("\"a\"", "\"b\""));
        assert!(other.contains_key("b") && first.contains_key("a"));
        let longer = read(&large.replace("\"a\"", "\"b\"").replace('}', ",\"c\":1}"));
        assert!(longer.contains_key("c") && !other.contains_key("c"));
        assert!(read(&large).contains_key("a"), "shorter again");
        let small = read("{\"a\":1}");
        assert!(!Arc::ptr_eq(&small, &read("{\"a\":1}")), "not kept");
        std::fs::write(&file, "{").unwrap();
        assert!(matches!(shelf.read(&file), Err(StoreError::Parse { .. })));
        std::fs::remove_file(&file).unwrap();
        assert!(shelf.read(&file).unwrap().is_none());
    }
}
