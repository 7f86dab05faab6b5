//! What is asked of the counts, and what they say. Pure.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use tokio::sync::oneshot;

use super::tokens::Tokens;

/// What requests are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The app that asked.
    Client,
    /// The model that the provider was asked for.
    Model,
    /// The provider.
    Provider,
    /// The login that they went with, where a provider has several.
    Login,
    /// What they asked for.
    Path,
    /// The day in the machine's time zone.
    Day,
}

/// From when requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// The last days, with today.
    Days(u32),
    /// This day.
    Day(NaiveDate),
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// What a row is about.
    pub by: By,
    /// Which days are counted.
    pub since: Since,
}

/// Requests of one name, or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    /// All of them.
    pub requests: u64,
    /// Those without a whole answer of success.
    pub failed: u64,
    /// Successes that should have told of tokens, and did not.
    pub untold: u64,
    /// Bytes of their bodies.
    pub bytes_in: u64,
    /// Bytes of their answers' bodies.
    pub bytes_out: u64,
    /// What their answers told.
    pub tokens: Tokens,
    /// Failures by their kinds.
    pub errors: BTreeMap<String, u64>,
}

/// What the counts say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The first day that was asked for.
    pub from: NaiveDate,
    /// Today.
    pub to: NaiveDate,
    /// Names with their sums: days in their order, all else by its tokens.
    pub rows: Vec<(String, Sums)>,
    /// Names that are not listed, since there are too many.
    pub unlisted: u64,
    /// All together.
    pub total: Sums,
    /// Why the last requests are not saved, if they are not.
    pub fault: Option<String>,
    /// Requests since the start that could not be counted.
    pub dropped: u64,
}

/// A query with the way back.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) query: Query,
    pub(super) answer: oneshot::Sender<Result<Report, String>>,
}
