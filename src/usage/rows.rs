//! What a row counts, and for how long it is kept. Pure.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use chrono::{Datelike, NaiveDate};

use super::key::{Mixed, UsageKey};
use super::tokens::TokenCounts;

/// What all further names are called. No name that comes from outside begins like it.
pub(super) const OTHER: &str = "(other)";

/// What a row counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RowCounts {
    pub(super) requests: u64,
    /// Those without a whole answer of success.
    pub(super) failed: u64,
    /// Successes that should have had a token count.
    pub(super) untold: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) tokens: TokenCounts,
    /// Failures by their kinds.
    pub(super) errors: BTreeMap<Cow<'static, str>, u64>,
}

/// What one request counts.
#[derive(Debug)]
pub(super) struct One {
    pub(super) is_untold: bool,
    pub(super) failure: Option<Cow<'static, str>>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) tokens: TokenCounts,
}

/// Rows that wait.
pub(super) type UsageRows<When> = HashMap<UsageKey<When>, RowCounts, Mixed>;

impl RowCounts {
    pub(super) fn of(one: One) -> Self {
        let mut counts = Self::default();
        counts.count(one);
        counts
    }

    pub(super) fn count(&mut self, one: One) {
        self.requests += 1;
        self.untold += u64::from(one.is_untold);
        self.bytes_in = self.bytes_in.saturating_add(one.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(one.bytes_out);
        self.tokens += one.tokens;
        if let Some(kind) = one.failure {
            self.failed += 1;
            *self.errors.entry(kind).or_default() += 1;
        }
    }

    pub(super) fn add(&mut self, other: Self) {
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
        for (kind, more) in other.errors {
            *self.errors.entry(kind).or_default() += more;
        }
    }
}

/// The first day of which rows are kept.
pub(super) fn first_kept(today: NaiveDate, days: u32) -> NaiveDate {
    let days = i64::from(days.saturating_sub(1));
    let ordinal = i64::from(today.num_days_from_ce()) - days;
    let ordinal = i32::try_from(ordinal).unwrap_or(i32::MIN);
    NaiveDate::from_num_days_from_ce_opt(ordinal).unwrap_or(NaiveDate::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_kept_for_whole_days() {
        let today = NaiveDate::from_ymd_opt(2026, 11, 30).unwrap();
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        assert_eq!(first_kept(today, 1), today);
        assert_eq!(first_kept(today, 7), day("2026-11-24"));
        assert_eq!(first_kept(today, 400), day("2025-10-27"));
        assert!(first_kept(today, u32::MAX) < today);
    }
}
