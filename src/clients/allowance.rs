//! A key's limits in a minute and in a day, and what remains of them. A key without such limits has none of this.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

/// A minute, in seconds.
const MINUTE: i64 = 60;
/// A day that has no hour more or less.
const DAY: i64 = 24 * 60 * MINUTE;
/// So many days are kept.
const MOST_DAYS: usize = 4;
/// 2026-01-01: a clock that says less has not been set.
const EARLIEST: i64 = 1_767_225_600;

/// How much a key may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientRates {
    /// Requests within a minute.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Requests on a day of this machine's time zone.
    pub requests_per_day: Option<NonZeroU32>,
    /// Tokens on such a day, in and out.
    pub tokens_per_day: Option<NonZeroU64>,
}

/// What of it is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AllowanceUse {
    /// Requests of today that were sent to a provider.
    pub requests: u64,
    /// Tokens of today.
    pub tokens: u64,
    /// Those without a reported count.
    pub estimated: u64,
}

/// A day, and what was used on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Day {
    /// Its end, in seconds since 1970.
    pub(super) ends: i64,
    pub(super) used: AllowanceUse,
}

/// Which limit is reached, and how long it takes until it is not.
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
        /// As in [`AllowanceUse`].
        estimated: u64,
    },
}

/// What is used, by when. Times are seconds since 1970.
#[derive(Debug, Clone, Default)]
pub(super) struct Allowance {
    /// The minute began with its first request.
    minute_ends: i64,
    in_minute: u64,
    /// The last days, in the order of their ends. Those that have not ended are today: a clock that was wrong and is set
    /// back finds what was used while it was wrong.
    days: Vec<Day>,
    /// The end of the day that was guessed, while it is not known when this machine's day ends; 0 without one.
    guessed: i64,
    /// Since when a day is ahead of the clock's own; 0 if none is.
    ahead_since: i64,
    /// Whether the days are other ones than those in the file.
    is_changed: bool,
}

/// A time, and the day that it is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct DayMoment {
    pub(super) now: i64,
    /// The end of the day, where it is known.
    pub(super) midnight: i64,
}

impl ClientRates {
    /// Whether some are of a day.
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
    /// What an earlier run has left.
    pub(super) fn of(mut days: Vec<Day>) -> Self {
        days.sort_unstable_by_key(|day| day.ends);
        Self {
            days,
            ..Self::default()
        }
    }

    /// Takes a request's share.
    pub(super) fn take(&mut self, rates: &ClientRates, at: DayMoment) -> Result<(), ReachedLimit> {
        let DayMoment { now, midnight } = at;
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

    /// Gives back the share of a request that began then: it was not sent to a provider.
    pub(super) fn give_back(&mut self, began: i64) {
        let mut days = self.days.iter_mut();
        if let Some(day) = days.find(|day| day.ends > began) {
            day.used.requests = day.used.requests.saturating_sub(1);
            self.is_changed = true;
        }
    }

    /// Adds what was used.
    pub(super) fn add(&mut self, used: AllowanceUse, at: DayMoment) {
        self.turn(at.now, at.midnight);
        self.enter(used);
    }

    /// What is used of today.
    pub(super) fn today(&mut self, at: DayMoment) -> AllowanceUse {
        self.turn(at.now, at.midnight);
        self.sum(at.now)
    }

    /// The days, where the file has other ones.
    pub(super) fn unwritten(&self) -> Option<Vec<Day>> {
        self.is_changed.then(|| self.days.clone())
    }

    /// These are in the file now.
    pub(super) fn settle(&mut self, written: &[Day]) {
        if self.days == written {
            self.is_changed = false;
        }
    }

    /// Adds to the present day, which [`Self::turn`] has begun.
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

    /// When today's use stops counting.
    fn free_at(&self) -> i64 {
        let ends = self.days.last().map_or(0, |day| day.ends);
        if self.ahead_since == 0 {
            return ends;
        }
        ends.min(self.ahead_since.saturating_add(DAY))
    }

    /// Begins another day when one is over.
    fn turn(&mut self, now: i64, midnight: i64) {
        let is_known = midnight > now && midnight <= now.saturating_add(2 * DAY);
        let ends = if is_known {
            midnight
        } else {
            // Until it is known, that of UTC.
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
        // Before a clock is set, it may say 1970: what was used then was used today.
        let is_unset = |day: &Day| day.ends < EARLIEST && now >= EARLIEST;
        while let Some(first) = self.days.first().copied().filter(is_unset) {
            self.days.remove(0);
            self.enter(first.used);
        }
    }

    /// A day after the current one was entered by a clock that was ahead, or the present clock is behind. It counts for
    /// a day, since either may be true, and is then forgotten.
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
        // The clock is set back.
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
        // The next day has its own.
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
        // It says 1970, yesterday, tomorrow or a day in years, and is corrected; with and without a restart.
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
                // The end of the wrong day may be remembered for a moment.
                for known in [its_midnight, midnight] {
                    let full = allowance.take(&rates, at(NOON + 1, known));
                    assert!(full.is_err(), "{wrong} {restarts} {allowance:?}");
                }
                // It does not last.
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
