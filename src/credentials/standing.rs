//! What a keeper publishes to requests.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use chrono::{DateTime, Utc};

use super::refused_paths::RefusalStreak;
use crate::provider::{Credential, Login};

/// The keeper's last snapshot, immutable except for the proof.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Counts credentials: a refusal names the generation that it is about.
    pub(super) generation: u64,
    pub(super) standing: Availability,
    /// The terms by which it was made.
    pub(super) revision: u64,
    /// The login behind a credential, for readers with other terms; `None` if it is in no store.
    pub(super) login: Option<Arc<Login>>,
    /// No attempt is made before this time.
    pub(super) retry_at: Option<DateTime<Utc>>,
    /// Whether the provider has taken this credential at least once.
    pub(super) proven: Arc<AtomicBool>,
    /// When it was granted, if it was granted to this process.
    pub(super) granted_at: Option<DateTime<Utc>>,
    /// Consecutive refusals of it.
    pub(super) row: Arc<RefusalStreak>,
}

/// Whether there is something to send upstream.
#[derive(Debug, Clone)]
pub(super) enum Availability {
    Starting,
    /// Valid until its `expires_at`, which the reader compares with the clock.
    Credential(Arc<Credential>),
    /// There is a login, but no bearer yet.
    Pending,
    LoginNeeded(Arc<str>),
    Unreadable(Arc<str>),
}
