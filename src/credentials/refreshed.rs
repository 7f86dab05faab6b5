//! What a refresh by hand came to.

use chrono::{DateTime, Utc};

use super::status::RenewalResult;

/// What came of a refresh that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refreshed {
    /// How it ended.
    pub result: RenewalResult,
    /// Why it failed.
    pub detail: Option<String>,
    /// When the credential in use ends.
    pub expires_at: Option<DateTime<Utc>>,
}
