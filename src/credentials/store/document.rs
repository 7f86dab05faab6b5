//! The content of a store's file: one JSON object with a block for each provider, and their pools.

use std::io::ErrorKind;
use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};

use super::transaction::Change;
use super::{LARGEST, StoreError};
use crate::files::{self, Flaw, Spot};
use crate::provider::{Layout, Login};

pub(super) fn stamp_document(document: &mut Map<String, Value>, now: DateTime<Utc>) {
    document.insert("version".to_owned(), 1.into());
    let time = now.to_rfc3339_opts(SecondsFormat::Micros, false);
    document.insert("updated_at".to_owned(), time.into());
}

/// The store with the provider's block replaced, and its pool entries.
pub(super) fn rewritten(
    mut document: Map<String, Value>,
    key: &str,
    login: &Login,
    before: [&Login; 2],
    (change, now): (Change, DateTime<Utc>),
) -> Map<String, Value> {
    stamp_document(&mut document, now);
    let providers = document
        .entry("providers")
        .or_insert_with(|| Map::new().into());
    if !providers.is_object() {
        // As Hermes Agent does: nobody finds a login in anything else.
        *providers = Map::new().into();
    }
    if let Some(providers) = providers.as_object_mut() {
        providers.insert(key.to_owned(), login.clone().into_fields().into());
    }
    let pool = document
        .get_mut("credential_pool")
        .and_then(|pool| pool.get_mut(key));
    if let Some(entries) = pool.and_then(Value::as_array_mut) {
        match change {
            Change::Rotated => {
                let same = entries.iter_mut().filter_map(Value::as_object_mut);
                for entry in
                    same.filter(|entry| before.iter().any(|login| login.shares_tokens_with(entry)))
                {
                    login.write_to_row(entry);
                }
            }
            Change::Quarantined => entries.retain(|entry| {
                !entry
                    .as_object()
                    .is_some_and(|entry| before.iter().any(|login| login.shares_tokens_with(entry)))
            }),
        }
    }
    document
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
pub(in crate::credentials) fn read_object(file: &Path) -> Result<Option<Map<String, Value>>, StoreError> {
    let fault = |source| StoreError::Read {
        file: file.to_owned(),
        source,
    };
    let opened = Spot::of(file).and_then(|place| Ok((place.open()?, place)));
    let (handle, place) = match opened {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return files::there_or_missing(file).map(|()| None).map_err(fault);
        }
        Err(error) => return Err(fault(error)),
    };
    match place.flaw(&handle, &handle.metadata().map_err(fault)?) {
        Some(Flaw::Foreign { owner, ours }) => {
            return Err(StoreError::Foreign {
                file: file.to_owned(),
                owner,
                ours,
            });
        }
        Some(Flaw::Writable { mode }) => {
            return Err(StoreError::Writable {
                file: file.to_owned(),
                mode,
            });
        }
        None => {}
    }
    let broken = |reason: String| StoreError::Parse {
        file: file.to_owned(),
        reason,
    };
    let bytes = match files::read_opened(handle, LARGEST) {
        Err(error) if error.kind() == ErrorKind::FileTooLarge => {
            return Err(broken(format!("it is larger than {LARGEST} bytes")));
        }
        bytes => bytes.map_err(fault)?,
    };
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    match serde_json::from_slice(text) {
        Ok(Value::Object(document)) => Ok(Some(document)),
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
