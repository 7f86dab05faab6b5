//! One login as `auth list` shows it.

use chrono::{DateTime, Utc};

use super::super::status::KeeperStatus;

/// One login, for `auth list`. Holds no secret.
#[derive(Debug, Clone)]
pub struct PoolEntry {
    /// Its place among the provider's.
    pub place: usize,
    /// Its name: the label of its row, if it has one.
    pub label: Option<String>,
    /// Its row's id; `None` for the provider's block.
    pub row: Option<String>,
    /// Its name on the command line: its label, or its row's id if others have that label too; `None` for the
    /// provider's block.
    pub called: Option<String>,
    /// Where it came from, in Hermes Agent's words.
    pub source: Option<String>,
    /// How it is.
    pub status: KeeperStatus,
    /// Until when its quota is used up.
    pub rests_until: Option<DateTime<Utc>>,
    /// The status of the answer that said so.
    pub rests_for: Option<u16>,
    /// The provider's code for it.
    pub rest_code: Option<String>,
    /// How often the same came in a row.
    pub failures: u64,
    /// Whether the next request goes with it, as far as is known.
    pub is_next: bool,
}
