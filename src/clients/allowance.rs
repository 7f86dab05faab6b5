//! How much a key may be used in a minute and in a day, and how much of that is left. A key without such limits has none
//! of this.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

/// A minute, in seconds.
const MINUTE: i64 = 60;
/// A day that has no hour more or less.
const DAY: i64 = 24 * 60 * MINUTE;

/// How much a key may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Requests within a minute.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Requests on a day of this machine's time zone.
    pub requests_per_day: Option<NonZeroU32>,
    /// Tokens on such a day, in and out.
    pub tokens_per_day: Option<NonZeroU64>,
}

/// What of it is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Requests of today.
    pub requests: u64,
    /// Tokens of today.
    pub tokens: u64,
}

/// Which limit is reached, and how long it takes until it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) limit: Which,
    pub(super) wait: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Minute(u32),
    Day(u32),
    Tokens(u64),
}

/// What is used, by when. Times are seconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Allowance {
    /// The minute began with its first request.
    minute_ends: i64,
    in_minute: u64,
    /// 0 where nothing was used yet.
    day_ends: i64,
    today: Used,
}

impl Rates {
    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether some are of a day.
    pub fn has_days(&self) -> bool {
        self.requests_per_day.is_some() || self.tokens_per_day.is_some()
    }
}

impl Allowance {
    /// Takes a request's share. `midnight` is the end of the day, where it is known.
    pub(super) fn take(
        &mut self,
        rates: &Rates,
        (now, midnight): (i64, i64),
    ) -> Result<(), Reached> {
        self.turn(now, midnight);
        // A clock that was set back has no minute of an hour.
        if !(now..=now.saturating_add(MINUTE)).contains(&self.minute_ends)
            || now == self.minute_ends
        {
            self.minute_ends = now.saturating_add(MINUTE);
            self.in_minute = 0;
        }
        let reached = |limit, ends: i64| {
            let wait = u64::try_from(ends.saturating_sub(now)).unwrap_or_default();
            let wait = Duration::from_secs(wait.max(1));
            Err(Reached { limit, wait })
        };
        if let Some(most) = rates.tokens_per_day.map(NonZeroU64::get)
            && self.today.tokens >= most
        {
            return reached(Which::Tokens(most), self.day_ends);
        }
        if let Some(most) = rates.requests_per_day.map(NonZeroU32::get)
            && self.today.requests >= u64::from(most)
        {
            return reached(Which::Day(most), self.day_ends);
        }
        if let Some(most) = rates.requests_per_minute.map(NonZeroU32::get)
            && self.in_minute >= u64::from(most)
        {
            return reached(Which::Minute(most), self.minute_ends);
        }
        self.in_minute = self.in_minute.saturating_add(1);
        self.today.requests = self.today.requests.saturating_add(1);
        Ok(())
    }

    /// Adds what was used.
    pub(super) fn add(&mut self, used: Used, (now, midnight): (i64, i64)) {
        self.turn(now, midnight);
        self.today.requests = self.today.requests.saturating_add(used.requests);
        self.today.tokens = self.today.tokens.saturating_add(used.tokens);
    }

    /// What is used of today.
    pub(super) fn today(&mut self, (now, midnight): (i64, i64)) -> Used {
        self.turn(now, midnight);
        self.today
    }

    /// Begins another day when one is over.
    fn turn(&mut self, now: i64, midnight: i64) {
        if now >= self.day_ends && self.day_ends != 0 {
            self.today = Used::default();
        }
        let is_known = midnight > now && midnight <= now.saturating_add(2 * DAY);
        if is_known {
            self.day_ends = midnight;
        } else if now >= self.day_ends || self.day_ends > now.saturating_add(2 * DAY) {
            // Until it is known, that of UTC.
            self.day_ends = now.div_euclid(DAY).saturating_add(1).saturating_mul(DAY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-30 12:00 UTC.
    const NOON: i64 = 1_796_040_000;

    fn rates(minute: u32, day: u32, tokens: u64) -> Rates {
        Rates {
            requests_per_minute: NonZeroU32::new(minute),
            requests_per_day: NonZeroU32::new(day),
            tokens_per_day: NonZeroU64::new(tokens),
        }
    }

    fn reached(limit: Which, wait: u64) -> Result<(), Reached> {
        let wait = Duration::from_secs(wait);
        Err(Reached { limit, wait })
    }

    #[test]
    fn a_minute_begins_with_its_first_request() {
        let (rates, mut allowance) = (rates(2, 0, 0), Allowance::default());
        let mut at = |second: i64| allowance.take(&rates, (NOON + second, 0));
        assert_eq!(at(0), Ok(()));
        assert_eq!(at(30), Ok(()));
        assert_eq!(at(45), reached(Which::Minute(2), 15));
        assert_eq!(at(59), reached(Which::Minute(2), 1));
        assert_eq!(at(60), Ok(()));
        assert_eq!(at(61), Ok(()));
        assert_eq!(at(62), reached(Which::Minute(2), 58));
        // The clock is set back.
        assert_eq!(at(-4000), Ok(()));
    }

    #[test]
    fn a_day_ends_at_midnight() {
        let midnight = NOON + 7200;
        let (rates, mut allowance) = (rates(0, 2, 100), Allowance::default());
        for _ in 0..2 {
            assert_eq!(allowance.take(&rates, (NOON, midnight)), Ok(()));
        }
        let spent = allowance.take(&rates, (NOON + 60, midnight));
        assert_eq!(spent, reached(Which::Day(2), 7140));
        assert_eq!(allowance.take(&rates, (midnight, midnight)), Ok(()));
        let tokens = Used {
            requests: 0,
            tokens: 100,
        };
        allowance.add(tokens, (midnight + 1, midnight + DAY));
        let spent = allowance.take(&rates, (midnight + 1, midnight + DAY));
        assert_eq!(spent, reached(Which::Tokens(100), 86_399));
        let used = allowance.today((midnight + 1, midnight + DAY));
        assert_eq!((used.requests, used.tokens), (1, 100));
        let used = allowance.today((midnight + DAY, midnight + DAY));
        assert_eq!(used, Used::default());
    }

    #[test]
    fn a_midnight_that_is_known_late_keeps_what_was_used() {
        let (rates, mut allowance) = (rates(0, 1, 0), Allowance::default());
        assert_eq!(allowance.take(&rates, (NOON, 0)), Ok(()));
        let spent = allowance.take(&rates, (NOON, 0));
        assert_eq!(spent, reached(Which::Day(1), 43_200));
        let spent = allowance.take(&rates, (NOON, NOON + 100));
        assert_eq!(spent, reached(Which::Day(1), 100));
        assert_eq!(allowance.take(&rates, (NOON + 100, NOON + 100)), Ok(()));
    }
}
