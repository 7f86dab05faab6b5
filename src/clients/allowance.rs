//! A key's limits per minute and per day, and what is left of them. A key without such limits carries no state here.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

const MINUTE: i64 = 60;
/// A UTC day, without daylight-saving changes.
const DAY: i64 = 24 * 60 * MINUTE;
/// Days kept per key. More than one, because a wrong clock may have entered use under another day.
const MOST_DAYS: usize = 4;
/// 2026-01-01. A clock that shows an earlier time has not been set yet.
const EARLIEST: i64 = 1_767_225_600;

/// How much a key may be used in a minute and in a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientRates {
    /// Requests within a minute.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Requests per day in this machine's time zone.
    pub requests_per_day: Option<NonZeroU32>,
    /// Tokens per day, input and output.
    pub tokens_per_day: Option<NonZeroU64>,
}

/// How much of the limits is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AllowanceUse {
    /// Requests sent to a provider today.
    pub requests: u64,
    /// Tokens used today.
    pub tokens: u64,
    /// How many of those tokens are estimated, because the answer reported no count.
    pub estimated: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Day {
    /// In seconds since 1970.
    pub(super) ends: i64,
    pub(super) used: AllowanceUse,
}

/// The limit that was reached, and the time until it is free again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReachedLimit {
    pub(super) limit: Which,
    pub(super) wait: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Minute(u32),
    Day(u32),
    Tokens {
        limit: u64,
        /// As in [`AllowanceUse`]
        estimated: u64,
    },
}

/// The use so far. Times are in seconds since 1970.
#[derive(Debug, Clone, Default)]
pub(super) struct Allowance {
    /// The minute starts with its first request.
    minute_ends: i64,
    in_minute: u64,
    /// The latest days, ordered by end. Every day that has not ended counts as today: use that was entered under a
    /// wrong clock still counts after the clock is set back.
    days: Vec<Day>,
    /// The provisional end of the day while this machine's midnight is unknown; 0 if there is none.
    guessed: i64,
    /// When a day ahead of the clock was first seen; 0 if there is none.
    ahead_since: i64,
    /// Whether the days differ from those in the file.
    is_changed: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct DayMoment {
    pub(super) now: i64,
    /// The end of the day; 0 while unknown.
    pub(super) midnight: i64,
}

impl ClientRates {
    /// Whether any limit is per day.
    pub fn has_days(&self) -> bool {
        self.requests_per_day.is_some() || self.tokens_per_day.is_some()
    }
}

impl AllowanceUse {
    pub(super) fn add(&mut self, more: Self) {
        self.requests = self.requests.saturating_add(more.requests);
        self.tokens = self.tokens.saturating_add(more.tokens);
        self.estimated = self.estimated.saturating_add(more.estimated);
    }
}

impl Allowance {
    /// Restores the days that an earlier run saved.
    pub(super) fn of(mut days: Vec<Day>) -> Self {
        days.sort_unstable_by_key(|day| day.ends);
        Self {
            days,
            ..Self::default()
        }
    }

    /// Counts one request, or says which limit refuses it.
    pub(super) fn take(&mut self, rates: &ClientRates, at: DayMoment) -> Result<(), ReachedLimit> {
        let DayMoment { now, midnight } = at;
        self.turn(now, midnight);
        // After the clock was set back, the old minute could last for hours.
        if !(now..=now.saturating_add(MINUTE)).contains(&self.minute_ends)
            || now == self.minute_ends
        {
            self.minute_ends = now.saturating_add(MINUTE);
            self.in_minute = 0;
        }
        let reached = |limit, ends: i64| {
            let wait = u64::try_from(ends.saturating_sub(now)).unwrap_or_default();
            let wait = Duration::from_secs(wait.max(1));
            Err(ReachedLimit { limit, wait })
        };
        let today = self.sum(now);
        if let Some(limit) = rates.tokens_per_day.map(NonZeroU64::get)
            && today.tokens >= limit
        {
            let estimated = today.estimated;
            return reached(Which::Tokens { limit, estimated }, self.free_at());
        }
        if let Some(most) = rates.requests_per_day.map(NonZeroU32::get)
            && today.requests >= u64::from(most)
        {
            return reached(Which::Day(most), self.free_at());
        }
        if let Some(most) = rates.requests_per_minute.map(NonZeroU32::get)
            && self.in_minute >= u64::from(most)
        {
            return reached(Which::Minute(most), self.minute_ends);
        }
        self.in_minute = self.in_minute.saturating_add(1);
        let one = AllowanceUse {
            requests: 1,
            ..AllowanceUse::default()
        };
        self.enter(one);
        Ok(())
    }

    /// Returns a request that started at `began`, because it was never sent to a provider.
    pub(super) fn give_back(&mut self, began: i64) {
        let mut days = self.days.iter_mut();
        if let Some(day) = days.find(|day| day.ends > began) {
            day.used.requests = day.used.requests.saturating_sub(1);
            self.is_changed = true;
        }
    }

    pub(super) fn add(&mut self, used: AllowanceUse, at: DayMoment) {
        self.turn(at.now, at.midnight);
        self.enter(used);
    }

    pub(super) fn today(&mut self, at: DayMoment) -> AllowanceUse {
        self.turn(at.now, at.midnight);
        self.sum(at.now)
    }

    /// The days, if they differ from those in the file.
    pub(super) fn unwritten(&self) -> Option<Vec<Day>> {
        self.is_changed.then(|| self.days.clone())
    }

    /// Marks these days as saved.
    pub(super) fn settle(&mut self, written: &[Day]) {
        if self.days == written {
            self.is_changed = false;
        }
    }

    /// Adds to the current day, which [`Self::turn`] has started.
    fn enter(&mut self, used: AllowanceUse) {
        self.is_changed = true;
        if let Some(day) = self.days.last_mut() {
            day.used.add(used);
        }
    }

    fn sum(&self, now: i64) -> AllowanceUse {
        let mut sum = AllowanceUse::default();
        let days = self.days.iter();
        for day in days.filter(|day| day.ends > now) {
            sum.add(day.used);
        }
        sum
    }

    /// When today's use expires.
    fn free_at(&self) -> i64 {
        let ends = self.days.last().map_or(0, |day| day.ends);
        if self.ahead_since == 0 {
            return ends;
        }
        ends.min(self.ahead_since.saturating_add(DAY))
    }

    /// Starts a new day once the last one has ended.
    fn turn(&mut self, now: i64, midnight: i64) {
        let is_known = midnight > now && midnight <= now.saturating_add(2 * DAY);
        let ends = if is_known {
            midnight
        } else {
            // UTC's midnight until the local one is known.
            now.div_euclid(DAY).saturating_add(1).saturating_mul(DAY)
        };
        if is_known && self.guessed != 0 {
            let guessed = std::mem::take(&mut self.guessed);
            let mut days = self.days.iter_mut();
            if let Some(day) = days.find(|day| day.ends == guessed && day.ends > now) {
                day.ends = midnight;
                self.days.sort_unstable_by_key(|day| day.ends);
                self.is_changed = true;
            }
        }
        self.look_ahead(
            now,
            if is_known {
                ends
            } else {
                now.saturating_add(2 * DAY)
            },
        );
        if self.days.last().is_none_or(|day| day.ends <= now) {
            let used = AllowanceUse::default();
            self.days.push(Day { ends, used });
            if !is_known {
                self.guessed = ends;
            }
            if self.days.len() > MOST_DAYS {
                self.days.remove(0);
            }
        }
        // A clock that is not set yet may show 1970. Use entered then belongs to today.
        let is_unset = |day: &Day| day.ends < EARLIEST && now >= EARLIEST;
        while let Some(first) = self.days.first().copied().filter(is_unset) {
            self.days.remove(0);
            self.enter(first.used);
        }
    }

    /// Handles a day that ends after the current one: either it was entered while the clock was ahead, or the clock is
    /// behind now. Since both are possible, that day counts for 24 hours and is then dropped.
    fn look_ahead(&mut self, now: i64, ends: i64) {
        if self.days.last().is_none_or(|day| day.ends <= ends) {
            self.ahead_since = 0;
        } else if self.ahead_since == 0 || self.ahead_since > now {
            self.ahead_since = now;
        } else if now.saturating_sub(self.ahead_since) >= DAY {
            self.days.retain(|day| day.ends <= ends);
            self.ahead_since = 0;
            self.is_changed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-30 12:00 UTC.
    const NOON: i64 = 1_796_040_000;

    fn rates(minute: u32, day: u32, tokens: u64) -> ClientRates {
        ClientRates {
            requests_per_minute: NonZeroU32::new(minute),
            requests_per_day: NonZeroU32::new(day),
            tokens_per_day: NonZeroU64::new(tokens),
        }
    }

    fn reached(limit: Which, wait: u64) -> Result<(), ReachedLimit> {
        let wait = Duration::from_secs(wait);
        Err(ReachedLimit { limit, wait })
    }

    fn at(now: i64, midnight: i64) -> DayMoment {
        DayMoment { now, midnight }
    }

    fn tokens(tokens: u64) -> AllowanceUse {
        AllowanceUse {
            tokens,
            ..AllowanceUse::default()
        }
    }

    fn spent(limit: u64, wait: u64) -> Result<(), ReachedLimit> {
        let estimated = 0;
        reached(Which::Tokens { limit, estimated }, wait)
    }

    #[test]
    fn a_minute_begins_with_its_first_request() {
        let (rates, mut allowance) = (rates(2, 0, 0), Allowance::default());
        let mut at = |second: i64| allowance.take(&rates, at(NOON + second, 0));
        assert_eq!(at(0), Ok(()));
        assert_eq!(at(30), Ok(()));
        assert_eq!(at(45), reached(Which::Minute(2), 15));
        assert_eq!(at(59), reached(Which::Minute(2), 1));
        assert_eq!(at(60), Ok(()));
        assert_eq!(at(61), Ok(()));
        assert_eq!(at(62), reached(Which::Minute(2), 58));
        // the clock is set back
        assert_eq!(at(-4000), Ok(()));
    }

    #[test]
    fn a_day_ends_at_midnight() {
        let midnight = NOON + 7200;
        let (rates, mut allowance) = (rates(0, 2, 100), Allowance::default());
        for _ in 0..2 {
            assert_eq!(allowance.take(&rates, at(NOON, midnight)), Ok(()));
        }
        let full = allowance.take(&rates, at(NOON + 60, midnight));
        assert_eq!(full, reached(Which::Day(2), 7140));
        assert_eq!(allowance.take(&rates, at(midnight, midnight)), Ok(()));
        allowance.add(tokens(100), at(midnight + 1, midnight + DAY));
        let full = allowance.take(&rates, at(midnight + 1, midnight + DAY));
        assert_eq!(full, spent(100, 86_399));
        let used = allowance.today(at(midnight + 1, midnight + DAY));
        assert_eq!((used.requests, used.tokens), (1, 100));
        let used = allowance.today(at(midnight + DAY, midnight + DAY));
        assert_eq!(used, AllowanceUse::default());
    }

    #[test]
    fn a_midnight_that_is_known_late_keeps_what_was_used() {
        let (rates, mut allowance) = (rates(0, 1, 0), Allowance::default());
        let mut take = |now: i64, midnight: i64| allowance.take(&rates, at(now, midnight));
        assert_eq!(take(NOON, 0), Ok(()));
        assert_eq!(take(NOON, 0), reached(Which::Day(1), 43_200));
        assert_eq!(take(NOON, NOON + 100), reached(Which::Day(1), 100));
        assert_eq!(take(NOON + 100, NOON + 100), Ok(()));
    }

    #[test]
    fn a_share_goes_back_to_the_day_that_it_was_of() {
        let (midnight, rates) = (NOON + 100, rates(0, 1, 0));
        let mut allowance = Allowance::default();
        allowance.take(&rates, at(NOON, midnight)).unwrap();
        allowance.give_back(NOON);
        allowance.take(&rates, at(NOON, midnight)).unwrap();
        // The next day starts fresh.
        let next = at(midnight, midnight + DAY);
        assert_eq!(allowance.take(&rates, next), Ok(()));
        allowance.give_back(NOON);
        assert!(allowance.take(&rates, next).is_err());
    }

    #[test]
    fn a_clock_that_is_wrong_for_a_while_gives_no_day_twice() {
        let midnight = NOON + DAY / 2;
        let first = Day {
            ends: midnight,
            used: tokens(60),
        };
        // The clock shows 1970, yesterday, tomorrow or a day years ahead, and is then corrected, with and without a
        // restart.
        for (wrong, its_midnight) in [
            (5, DAY),
            (NOON - DAY, midnight - DAY),
            (NOON + DAY, midnight + DAY),
            (NOON + 1000 * DAY, midnight + 1000 * DAY),
        ] {
            for restarts in [false, true] {
                let mut allowance = Allowance::of(vec![first]);
                allowance.add(tokens(40), at(wrong, its_midnight));
                if restarts {
                    allowance = Allowance::of(allowance.unwritten().unwrap());
                }
                let rates = rates(0, 0, 100);
                // The wrong day's midnight may be remembered for a moment.
                for known in [its_midnight, midnight] {
                    let full = allowance.take(&rates, at(NOON + 1, known));
                    assert!(full.is_err(), "{wrong} {restarts} {allowance:?}");
                }
                // The effect wears off.
                let later = at(NOON + 2 * DAY, midnight + 2 * DAY);
                assert_eq!(allowance.take(&rates, later), Ok(()), "{wrong}");
            }
        }
    }

    #[test]
    fn what_was_used_before_a_clock_was_set_was_used_today() {
        let (rates, mut allowance) = (rates(0, 1, 0), Allowance::default());
        assert_eq!(allowance.take(&rates, at(5, 0)), Ok(()));
        let full = allowance.take(&rates, at(NOON, NOON + 100));
        assert_eq!(full, reached(Which::Day(1), 100));
    }

    #[test]
    fn days_that_a_wandering_clock_makes_are_few() {
        let mut allowance = Allowance::default();
        for day in 0..100 {
            allowance.add(tokens(1), at(NOON + day * DAY, NOON + day * DAY + 9));
        }
        assert_eq!(allowance.days.len(), MOST_DAYS);
    }
}
