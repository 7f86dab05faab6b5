//! A row of a provider's pool, as a store had it.

use std::path::PathBuf;

use chrono::{DateTime, Utc};

use crate::provider::Login;
use crate::provider::pool_row::{Failing, PoolRow};

/// The store and row of a separate login.
#[derive(Debug, Clone, Eq)]
pub(in crate::credentials) struct RowPlace {
    /// The store.
    pub(in crate::credentials) file: PathBuf,
    /// The row's id.
    pub(in crate::credentials) id: String,
    /// The how manieth of the rows with this id, of which there should be one.
    pub(in crate::credentials) nth: usize,
}

impl PartialEq for RowPlace {
    /// Nearly all rows differ in their ids, and paths are dear to compare.
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.nth == other.nth && self.file == other.file
    }
}

/// A row's fields besides its tokens.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::credentials) struct RowFacts {
    /// The row's id, if it has one.
    pub(in crate::credentials) id: Option<String>,
    /// Its name for people.
    pub(in crate::credentials) label: String,
    /// Where it came from, in Hermes Agent's words.
    pub(in crate::credentials) source: String,
    /// The smallest comes first.
    pub(in crate::credentials) priority: i64,
    /// The last mark.
    pub(in crate::credentials) mark: Marked,
}

impl RowFacts {
    pub(super) fn of(entry: PoolRow<'_>) -> Self {
        let label = entry.label().or(entry.id()).unwrap_or_default();
        Self {
            id: entry.id().map(str::to_owned),
            label: label.to_owned(),
            source: entry.source().unwrap_or_default().to_owned(),
            priority: entry.priority(),
            mark: Marked {
                failing: entry.failing(),
                at: entry.marked_at(),
                status: entry
                    .failed_with()
                    .and_then(|status| status.try_into().ok()),
                reason: entry.failed_for().map(str::to_owned),
                ends_at: entry.fails_until(),
                failures: entry.failures(),
            },
        }
    }
}

/// The mark of a row, as it was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::credentials) struct Marked {
    pub(in crate::credentials) failing: Option<Failing>,
    pub(in crate::credentials) at: Option<DateTime<Utc>>,
    pub(in crate::credentials) status: Option<u16>,
    pub(in crate::credentials) reason: Option<String>,
    pub(in crate::credentials) ends_at: Option<DateTime<Utc>>,
    pub(in crate::credentials) failures: u64,
}

/// A row that is a separate login.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::credentials) struct RowSeen {
    pub(in crate::credentials) place: RowPlace,
    pub(in crate::credentials) facts: RowFacts,
    /// Fingerprints of its tokens; none if it has ended.
    pub(in crate::credentials) tokens: Vec<String>,
    /// Fingerprints of the tokens that stay there.
    pub(in crate::credentials) held: Vec<String>,
    pub(in crate::credentials) origin: TokenOrigin,
}

/// The origin of the tokens, if they say so.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::credentials) struct TokenOrigin {
    /// Whose they are.
    pub(in crate::credentials) account: Option<String>,
    /// When they were issued, by the provider's clock.
    pub(in crate::credentials) issued_at: Option<DateTime<Utc>>,
}

impl TokenOrigin {
    pub(super) fn of(login: &Login) -> Self {
        Self {
            account: login.account(),
            issued_at: login.issued_at(),
        }
    }

    /// Whether both are one account's, and these are the older ones.
    pub(in crate::credentials) fn is_before(&self, other: &Self) -> bool {
        let is_same = self.account.is_some() && self.account == other.account;
        let times = self.issued_at.zip(other.issued_at);
        is_same && times.is_some_and(|(ours, theirs)| ours < theirs)
    }
}

/// A row with a token of another login.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::credentials) struct Twin {
    pub(in crate::credentials) row: RowSeen,
    /// That login's row; `None` for the block.
    pub(in crate::credentials) owner: Option<RowPlace>,
}
