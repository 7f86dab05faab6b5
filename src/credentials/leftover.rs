//! Logins in our own store of providers that are not configured any more, or have another type now: no keeper looks
//! after them, and they are still logins.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::store::{Extent, LoginDestination, LoginStore, Removed, StoreError, StoreFiles};
use crate::provider::Layout;

/// How long its lock is waited for.
const LOCKS: Duration = Duration::from_secs(10);

/// Removes the login of this layout from our own store; `None` if there is none.
///
/// # Errors
/// When the store can't be locked, read or written.
pub async fn remove_leftover(
    files: &StoreFiles,
    layout: &'static dyn Layout,
    now: DateTime<Utc>,
) -> Result<Option<Removed>, StoreError> {
    let store = LoginStore::new(files.clone(), layout);
    if !store.work(LoginStore::has_own).await? {
        return Ok(None);
    }
    let mut transaction = store.open_for(LoginDestination::Own, LOCKS).await?;
    let removed = transaction.work(move |login| login.remove(Extent::All, |_| false, now));
    Ok(Some(removed.await?))
}
