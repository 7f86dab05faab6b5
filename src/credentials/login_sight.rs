//! What a keeper has seen of its login's files.

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::store::StoreStamp;

/// What the keeper has seen of the login's files.
#[derive(Debug, Default)]
pub(super) struct LoginSight {
    pub(super) stamps: Vec<StoreStamp>,
    /// It has looked at the store since its last start.
    pub(super) looked: bool,
    /// When its row got another token.
    pub(super) renewed: Option<Instant>,
    /// The store could not be read at the last look, and since when.
    pub(super) unread: Option<DateTime<Utc>>,
    /// What keeps a renewed login from being saved.
    pub(super) hindered: Hindered,
    /// The store's stamps with a login that this keeper fails over.
    pub(super) distrusted: Option<Vec<StoreStamp>>,
}

/// What prevents a renewal, as far as this keeper knows.
#[derive(Debug, Default)]
pub(super) struct Hindered {
    /// Found at least once.
    pub(super) once: bool,
    /// A renewal has failed for this reason and will be tried again, so only a successful one shows
    /// that it is over.
    pub(super) by_renewal: bool,
}
