//! How much of an account's quota is used, as its provider reports it. Pure.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// From this part on a window is nearly used up, in percent.
const LOW: f64 = 80.0;
/// And at this one it is.
const SPENT: f64 = 100.0;

/// An account's quota.
#[derive(Debug, Clone, PartialEq)]
pub struct Quota {
    /// When the provider said so.
    pub at: DateTime<Utc>,
    /// Its windows, the shortest first.
    pub windows: Vec<ReportedWindow>,
}

/// One window of a quota.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportedWindow {
    /// The provider's name for it.
    pub name: &'static str,
    /// How much of it is used, in percent.
    pub used_percent: f64,
    /// Its total and what remains, if the provider says so.
    pub amounts: Option<QuotaAmounts>,
    /// How long it is, if the provider says so.
    pub length: Option<Duration>,
    /// When it begins again, if the provider says so.
    pub resets_at: Option<DateTime<Utc>>,
}

/// A window in requests or tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaAmounts {
    /// All that it has.
    pub limit: u64,
    /// What remains of it.
    pub remaining: u64,
}

/// How far a window is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaLevel {
    /// Less than 80 %.
    Free,
    /// 80 % or more.
    Low,
    /// All of it.
    Spent,
}

impl ReportedWindow {
    /// Its state at `now`: once its window has begun again, it is free, until the provider reports
    /// more.
    #[must_use]
    pub fn at(self, now: DateTime<Utc>) -> Self {
        if self.resets_at.is_none_or(|at| at > now) {
            return self;
        }
        let full = |amounts: QuotaAmounts| QuotaAmounts {
            remaining: amounts.limit,
            ..amounts
        };
        Self {
            used_percent: 0.0,
            amounts: self.amounts.map(full),
            resets_at: None,
            ..self
        }
    }
}

impl QuotaLevel {
    /// The state of a window with this much used.
    pub fn of(used_percent: f64) -> Self {
        if used_percent >= SPENT {
            Self::Spent
        } else if used_percent >= LOW {
            Self::Low
        } else {
            Self::Free
        }
    }
}

impl Quota {
    /// Whether this report differs from an earlier one in how far a window is used, or in when one that is
    /// nearly used up begins again.
    pub(super) fn is_news_after(&self, earlier: &Self) -> bool {
        let same = |one: &ReportedWindow, other: &ReportedWindow| {
            let level = QuotaLevel::of(one.used_percent);
            let apart = match (one.resets_at, other.resets_at) {
                (Some(one), Some(other)) => {
                    one.signed_duration_since(other).num_seconds().abs() > 1
                }
                (one, other) => one != other,
            };
            one.name == other.name
                && level == QuotaLevel::of(other.used_percent)
                && (level == QuotaLevel::Free || !apart)
        };
        self.windows.len() != earlier.windows.len()
            || !self
                .windows
                .iter()
                .zip(&earlier.windows)
                .all(|(one, other)| same(one, other))
    }
}
