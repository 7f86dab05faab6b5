//! How much of an account's quota is used, as its provider tells.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// An account's quota.
#[derive(Debug, Clone, PartialEq)]
pub struct Quota {
    /// When the provider said so.
    pub at: DateTime<Utc>,
    /// Its windows, the shortest first.
    pub windows: Vec<QuotaWindow>,
}

/// One window of a quota.
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaWindow {
    /// The provider's name for it.
    pub name: &'static str,
    /// How much of it is used, in percent.
    pub used_percent: f64,
    /// How long it is, if the provider says so.
    pub length: Option<Duration>,
    /// When it begins anew, if the provider says so.
    pub resets_at: Option<DateTime<Utc>>,
}
