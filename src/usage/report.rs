//! A query of the counts, and its answer. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use chrono::NaiveDate;
use tokio::sync::oneshot;

use super::key::UsageKey;
use super::rows::{RowCounts, UsageRows, first_kept};
use super::tokens::TokenCounts;

/// So many names are listed.
const MOST_LISTED: usize = 500;

/// What requests are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupBy {
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
pub enum CountedSince {
    /// The last days, with today.
    Days(u32),
    /// This day.
    Day(NaiveDate),
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// What a row is about.
    pub by: GroupBy,
    /// Which days are counted.
    pub since: CountedSince,
}

/// Requests of one name, or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CountsSums {
    /// All of them.
    pub requests: u64,
    /// Those without a whole answer of success.
    pub failed: u64,
    /// Successes that should have had a token count.
    pub untold: u64,
    /// Bytes of their bodies.
    pub bytes_in: u64,
    /// Bytes of their answers' bodies.
    pub bytes_out: u64,
    /// The usage in their answers.
    pub tokens: TokenCounts,
    /// Failures by their kinds.
    pub errors: BTreeMap<String, u64>,
}

/// What the counts say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountsReport {
    /// The first day that was asked for.
    pub from: NaiveDate,
    /// Today.
    pub to: NaiveDate,
    /// Names with their sums: days in their order, all else by its tokens.
    pub rows: Vec<(String, CountsSums)>,
    /// Names that are not listed, since there are too many.
    pub unlisted: u64,
    /// All together.
    pub total: CountsSums,
    /// Why the last requests are not saved, if they are not.
    pub fault: Option<String>,
    /// Requests since the start that could not be counted.
    pub dropped: u64,
}

impl CountsReport {
    /// Of no requests at all.
    pub(super) fn empty(query: Query, today: NaiveDate) -> Self {
        Self {
            from: match query.since {
                CountedSince::Days(days) => first_kept(today, days),
                CountedSince::Day(day) => day,
            },
            to: today,
            rows: Vec::new(),
            unlisted: 0,
            total: CountsSums::default(),
            fault: None,
            dropped: 0,
        }
    }

    /// With rows that are not in the file, in its order, and not too long.
    pub(super) fn with(mut self, by: GroupBy, unsaved: &UsageRows<NaiveDate>) -> Self {
        let mut places: HashMap<String, usize> = HashMap::new();
        if !unsaved.is_empty() {
            let names = self.rows.iter().enumerate();
            places.extend(names.map(|(place, (name, _))| (name.clone(), place)));
        }
        for (key, counts) in unsaved {
            if !(self.from..=self.to).contains(&key.when) {
                continue;
            }
            let sums = CountsSums::of(counts);
            self.total.add(&sums);
            let name = by.name(key);
            let place = *places.entry(name).or_insert_with_key(|name| {
                self.rows.push((name.clone(), CountsSums::default()));
                self.rows.len() - 1
            });
            if let Some((_, row)) = self.rows.get_mut(place) {
                row.add(&sums);
            }
        }
        let weight = |sums: &CountsSums| Reverse((sums.tokens.total, sums.requests));
        if by == GroupBy::Day {
            self.rows.sort_by(|(one, _), (other, _)| one.cmp(other));
        } else {
            self.rows.sort_by(|(one, sums), (other, others)| {
                let order = weight(sums).cmp(&weight(others));
                order.then_with(|| one.cmp(other))
            });
        }
        let unlisted = self.rows.len().saturating_sub(MOST_LISTED);
        self.unlisted = unlisted as u64;
        if by == GroupBy::Day {
            // The last days.
            self.rows.drain(..unlisted);
        } else {
            self.rows.truncate(MOST_LISTED);
        }
        self
    }
}

impl GroupBy {
    fn name(self, key: &UsageKey<NaiveDate>) -> String {
        match self {
            Self::Client => key.client.to_string(),
            Self::Model => key.model.to_string(),
            Self::Provider => key.provider.to_string(),
            Self::Login => key.login.to_string(),
            Self::Path => key.path.to_string(),
            Self::Day => key.when.to_string(),
        }
    }
}

impl CountsSums {
    fn of(counts: &RowCounts) -> Self {
        let errors = counts.errors.iter();
        Self {
            requests: counts.requests,
            failed: counts.failed,
            untold: counts.untold,
            bytes_in: counts.bytes_in,
            bytes_out: counts.bytes_out,
            tokens: counts.tokens,
            errors: errors
                .map(|(kind, more)| (kind.to_string(), *more))
                .collect(),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.requests, other.requests),
            (&mut self.failed, other.failed),
            (&mut self.untold, other.untold),
            (&mut self.bytes_in, other.bytes_in),
            (&mut self.bytes_out, other.bytes_out),
        ];
        for (sum, more) in pairs {
            *sum = sum.saturating_add(more);
        }
        self.tokens += other.tokens;
        for (kind, more) in &other.errors {
            let sum = self.errors.entry(kind.clone()).or_default();
            *sum = sum.saturating_add(*more);
        }
    }
}

/// A query with the way back.
#[derive(Debug)]
pub(super) struct CountsQuery {
    pub(super) query: Query,
    pub(super) answer: oneshot::Sender<Result<CountsReport, String>>,
}
