//! The content of a store's file: one JSON object with a block for each provider, and their pools.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::error::StoreError;
use super::version::LARGEST;
use crate::files::{self, FileAccess, FileFlaw};
use crate::provider::{Layout, Login};

/// When a version of the store was written, by its own note.
pub(super) fn written_at(document: &Map<String, Value>) -> Option<DateTime<Utc>> {
    document.get("updated_at")?.as_str()?.parse().ok()
}

pub(super) fn stamp_document(document: &mut Map<String, Value>, now: DateTime<Utc>) {
    document.insert("version".to_owned(), 1.into());
    let time = now.to_rfc3339_opts(SecondsFormat::Micros, false);
    document.insert("updated_at".to_owned(), time.into());
}

/// Hermes Agent's name for the login of a provider's block in its list of removed ones.
const OF_BLOCK: &str = "device_code";

/// Whether the user has taken the provider's login out with Hermes Agent, which notes that until the
/// next login.
pub(super) fn is_suppressed(document: &Map<String, Value>, key: &str) -> bool {
    let sources = document
        .get("suppressed_sources")
        .and_then(|suppressed| suppressed.get(key));
    match sources {
        Some(Value::Array(sources)) => sources.iter().any(|source| source == OF_BLOCK),
        // As it was written once.
        Some(Value::Object(sources)) => sources.contains_key(OF_BLOCK),
        _ => false,
    }
}

/// Removes that note, and containers that it leaves empty.
fn unsuppress(document: &mut Map<String, Value>, key: &str) {
    let Some(Value::Object(suppressed)) = document.get_mut("suppressed_sources") else {
        return;
    };
    let is_empty = match suppressed.get_mut(key) {
        Some(Value::Array(sources)) => {
            sources.retain(|source| source != OF_BLOCK);
            sources.is_empty()
        }
        Some(Value::Object(sources)) => {
            sources.shift_remove(OF_BLOCK);
            sources.is_empty()
        }
        _ => false,
    };
    if is_empty {
        suppressed.shift_remove(key);
    }
    if suppressed.is_empty() {
        document.shift_remove("suppressed_sources");
    }
}

/// Records a login that the user has made: the provider becomes the active one if none was, and the
/// removal mark goes.
pub(super) fn note_login(document: &mut Map<String, Value>, key: &str) {
    unsuppress(document, key);
    activate(document, key);
}

/// Makes the provider the active one if none is.
pub(super) fn activate(document: &mut Map<String, Value>, key: &str) {
    let active = document.get("active_provider").and_then(Value::as_str);
    if active.is_none_or(|active| active.trim().is_empty()) {
        document.insert("active_provider".to_owned(), key.into());
    }
}

/// The logins in the pool's rows that Hermes Agent keeps in step with the block.
pub(super) fn rows(document: &Map<String, Value>, layout: &'static dyn Layout) -> Vec<Login> {
    let pool = document
        .get("credential_pool")
        .and_then(|pool| pool.get(layout.key()));
    let rows = pool.and_then(Value::as_array).into_iter().flatten();
    rows.filter_map(|row| layout.of_row(row.as_object()?))
        .collect()
}

/// The provider's block of a store.
pub(in crate::credentials) fn block(
    document: &mut Map<String, Value>,
    layout: &'static dyn Layout,
) -> Option<Login> {
    let providers = document.get_mut("providers")?;
    match providers.get_mut(layout.key())?.take() {
        Value::Object(fields) => Some(Login::new(fields, layout)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            None
        }
    }
}

/// Reads a JSON object. `None` only when there is no file.
pub(in crate::credentials) fn read_object(
    file: &Path,
) -> Result<Option<Map<String, Value>>, StoreError> {
    let bytes = read_bytes(file)?;
    bytes.map(|bytes| parse(file, &bytes)).transpose()
}

/// Reads a store's file. `None` only if it does not exist.
pub(super) fn read_bytes(file: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    let Some(handle) = open(file)? else {
        return Ok(None);
    };
    match files::read_opened(handle, LARGEST) {
        Err(error) if error.kind() == ErrorKind::FileTooLarge => {
            let reason = format!("it is larger than {LARGEST} bytes");
            Err(broken(file, reason))
        }
        Ok(bytes) => Ok(Some(bytes)),
        Err(source) => Err(StoreError::Read {
            file: file.to_owned(),
            source,
        }),
    }
}

/// Opens a store's file, if it may be trusted. `None` only if it does not exist.
pub(super) fn open(file: &Path) -> Result<Option<File>, StoreError> {
    let fault = |source| StoreError::Read {
        file: file.to_owned(),
        source,
    };
    let opened = FileAccess::of(file).and_then(|place| Ok((place.open()?, place)));
    let (handle, place) = match opened {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return files::there_or_missing(file).map(|()| None).map_err(fault);
        }
        Err(error) => return Err(fault(error)),
    };
    match place.flaw(&handle, &handle.metadata().map_err(fault)?) {
        Some(FileFlaw::Foreign { owner, ours }) => {
            return Err(StoreError::Foreign {
                file: file.to_owned(),
                owner,
                ours,
            });
        }
        Some(FileFlaw::Writable { mode }) => {
            return Err(StoreError::Writable {
                file: file.to_owned(),
                mode,
            });
        }
        None => {}
    }
    Ok(Some(handle))
}

fn broken(file: &Path, reason: String) -> StoreError {
    StoreError::Parse {
        file: file.to_owned(),
        reason,
    }
}

/// The JSON object in the bytes of this file.
pub(super) fn parse(file: &Path, bytes: &[u8]) -> Result<Map<String, Value>, StoreError> {
    let broken = |reason| broken(file, reason);
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match serde_json::from_slice(text) {
        Ok(Value::Object(document)) => Ok(document),
        Ok(_) => Err(broken("it is not a JSON object".to_owned())),
        Err(error) => {
            let at = format!(
                "not JSON at line {} column {}",
                error.line(),
                error.column()
            );
            Err(broken(at))
        }
    }
}
