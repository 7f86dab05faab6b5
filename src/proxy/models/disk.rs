//! A provider's list in a file, for the next start, when the provider may be unreachable.
//!
//! The file is private, holds what the provider sent and no credential, and is read once. Its list counts as stale,
//! until the provider has sent another one.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use tokio::time::timeout;
use url::Url;

use super::list::{FetchedList, LARGEST};
use crate::files::{self, FileAccess, FileWorker, Temporary};
use crate::provider::BaseUrl;

/// A file that takes longer is left alone.
const PATIENCE: Duration = Duration::from_secs(1);
/// What the first line takes at most.
const LONGEST_LINE: usize = 16 * 1024;

/// Where a list is kept.
#[derive(Debug)]
pub(super) struct Disk {
    file: PathBuf,
    desk: FileWorker,
    /// Whether there is a file, as far as is known.
    may_be_there: AtomicBool,
}

impl Disk {
    pub(super) fn new(file: PathBuf) -> Self {
        Self {
            desk: FileWorker::of(file.parent().unwrap_or(&file)),
            file,
            may_be_there: AtomicBool::new(true),
        }
    }

    /// The list that was kept, if there is one that can be trusted.
    pub(super) async fn read(&self) -> Option<FetchedList> {
        let file = self.file.clone();
        let reading = self.desk.run(move || read(&file));
        timeout(PATIENCE, reading).await.ok()?.ok()?
    }

    /// Keeps the list, unless `is_wanted` says at the last moment that it is not.
    pub(super) async fn write(
        &self,
        list: &FetchedList,
        is_wanted: impl Fn() -> bool + Send + 'static,
    ) {
        let (file, line) = (self.file.clone(), line(list));
        let body = list.body.clone();
        self.may_be_there.store(true, Ordering::Relaxed);
        let written = self.desk.run(move || {
            if is_wanted() {
                write(&file, &line, &body)
            } else {
                Ok(())
            }
        });
        if let Err(error) | Ok(Err(error)) = written.await {
            tracing::debug!(%error, "a list of models can't be kept for the next start");
        }
    }

    /// Whether there may be something to remove; from now on there is nothing.
    pub(super) fn takes_away(&self) -> bool {
        self.may_be_there.swap(false, Ordering::Relaxed)
    }

    pub(super) async fn remove(&self) {
        let file = self.file.clone();
        drop(self.desk.run(move || files::remove(&file)).await);
    }
}

/// What goes before the list.
fn line(list: &FetchedList) -> String {
    let kind = list.fields.get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok());
    json!({
        "version": 1,
        "base_url": list.base_url.to_string(),
        "came": list.came_at().to_rfc3339(),
        "content_type": kind,
    })
    .to_string()
}

fn write(file: &Path, line: &str, body: &[u8]) -> io::Result<()> {
    files::make_folder(file.parent().unwrap_or(file))?;
    let temporary = Temporary::beside(file)?;
    let mut writer = temporary.file();
    writer.write_all(line.as_bytes())?;
    writer.write_all(b"\n")?;
    writer.write_all(body)?;
    temporary.persist().map(drop).map_err(|failed| failed.error)
}

fn read(file: &Path) -> Option<FetchedList> {
    let place = FileAccess::of(file).ok()?;
    let handle = place.open().ok()?;
    let metadata = handle.metadata().ok()?;
    if place.flaw(&handle, &metadata).is_some() {
        return None;
    }
    let largest = (LARGEST + LONGEST_LINE) as u64;
    let bytes = files::read_opened(handle, largest).ok()?;
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line: Value = serde_json::from_slice(bytes.get(..end)?).ok()?;
    if line.get("version") != Some(&json!(1)) {
        return None;
    }
    let text = |key: &str| line.get(key).and_then(Value::as_str);
    let base_url = BaseUrl::new(&Url::parse(text("base_url")?).ok()?).ok()?;
    let came: DateTime<Utc> = text("came")?.parse().ok()?;
    let mut fields = HeaderMap::new();
    if let Some(Ok(kind)) = text("content_type").map(HeaderValue::from_str) {
        fields.insert(CONTENT_TYPE, kind);
    }
    let body = Bytes::copy_from_slice(bytes.get(end + 1..)?);
    FetchedList::recalled(&fields, body, base_url, came)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(body: &'static str) -> FetchedList {
        let url = "https://api.example/v1".parse().unwrap();
        let came = "2026-11-30T01:02:03Z".parse().unwrap();
        let base_url = BaseUrl::new(&url).unwrap();
        FetchedList::recalled(
            &HeaderMap::new(),
            Bytes::from_static(body.as_bytes()),
            base_url,
            came,
        )
        .unwrap()
    }

    #[tokio::test]
    async fn a_list_is_found_again_byte_for_byte_and_a_file_that_is_none_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("models/acme");
        let disk = Disk::new(file.clone());
        assert!(disk.read().await.is_none());
        let body = "{\"data\":[{\"id\":\"a\",\n \"x\":1.50}]}\n";
        disk.write(&list(body), || false).await;
        assert!(disk.read().await.is_none());
        disk.write(&list(body), || true).await;
        let found = disk.read().await.unwrap();
        assert_eq!((found.body, found.is_recalled), (Bytes::from(body), true));
        assert_eq!(found.base_url, list(body).base_url);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        for bad in ["", "{}\n{}", "no\n{}", "{\"version\":1}\n{}"] {
            std::fs::write(&file, bad).unwrap();
            assert!(disk.read().await.is_none(), "{bad}");
        }
        assert!(disk.takes_away() && !disk.takes_away());
        disk.remove().await;
        assert!(!file.exists());
    }
}
