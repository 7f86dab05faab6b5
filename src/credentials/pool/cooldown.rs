//! How long a login cools down after its quota is used up, and how that is recorded.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::super::store::{Marked, Remark};
use crate::clock;
use crate::provider::pool_row::{Failing, FailureReason};

/// The cooldown after a refused token: the cause may be over soon.
const AFTER_401: Duration = Duration::from_mins(5);
/// The cooldown after anything else, if the provider gives no time.
const UNTOLD: Duration = Duration::from_hours(1);
/// The cooldown of an only login, unless its account has no means to pay.
const ONLY_ONE: Duration = Duration::from_mins(1);
/// The cooldown of a login that may have used up its quota, if the request may be the cause as well.
const A_MOMENT: Duration = Duration::from_mins(1);
/// The longest cooldown, because a time given by a provider may be a mistake. Repeated refusals of the same kind lead
/// to it as well.
const LONGEST: Duration = Duration::from_hours(24);
/// This many equal refusals of an account are not an accident.
const NO_ACCIDENT: u64 = 3;
/// If several requests in flight give different ends, a later end counts only if it is later by more than this.
const LATER: Duration = Duration::from_mins(1);

/// Why a login cools down.
#[derive(Debug, Clone, Copy)]
pub(super) struct CooldownReason {
    /// The answer's status.
    pub(super) status: u16,
    /// How long, if the provider says so.
    pub(super) told: Option<Duration>,
    /// The provider's code for it, if it says more than the status.
    pub(super) code: Option<&'static str>,
    /// Whether no other login could take its place.
    pub(super) is_only: bool,
}

/// Until when a login cools down. One atomic load tells whether it does.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// In seconds since 1970; 0 while nothing is known against it.
    until: AtomicI64,
    known: Mutex<KnownFailure>,
}

/// What is known of the failure.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownFailure {
    /// When it was marked, here or by another program.
    pub(super) at: Option<DateTime<Utc>>,
    pub(super) status: Option<u16>,
    pub(super) code: Option<String>,
    /// How often the same status has come in a row.
    pub(super) failures: u64,
    /// The mark was written to the store or read there, so it is over when it is not there any more.
    noted: Arc<AtomicBool>,
}

/// How long a login cools down.
fn cooldown(failure: &CooldownReason, failures: u64) -> Duration {
    let status = failure.status;
    let untold = match status {
        402..=404 if failures >= NO_ACCIDENT => LONGEST,
        402 => UNTOLD,
        _ if failure.is_only => ONLY_ONE,
        401 => AFTER_401,
        _ => UNTOLD,
    };
    failure.told.unwrap_or(untold).min(LONGEST)
}

/// The cause, as far as the status tells.
fn reason(status: u16) -> Option<FailureReason> {
    match status {
        402 => Some(FailureReason::Billing),
        429 => Some(FailureReason::RateLimit),
        _ => None,
    }
}

impl Rest {
    /// Whether anything is recorded against it, even if it is over.
    pub(super) fn is_known(&self) -> bool {
        self.until.load(Ordering::Relaxed) != 0
    }

    /// A cooldown longer than the longest one was set before the clock was set back.
    pub(super) fn until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let until = match self.until.load(Ordering::Relaxed) {
            0 => return None,
            until => DateTime::from_timestamp(until, 0)?,
        };
        let furthest = clock::after(now, LONGEST.saturating_add(LATER));
        (now < until && until <= furthest).then_some(until)
    }

    /// What is known of the last failure.
    pub(super) fn known(&self) -> KnownFailure {
        self.lock().clone()
    }

    /// Its quota is used up. Returns what to record, unless that is known already: many requests
    /// may be under way.
    pub(super) fn begin(
        &self,
        failure: &CooldownReason,
        now: DateTime<Utc>,
    ) -> Option<(Remark, Arc<AtomicBool>)> {
        let mut known = self.lock();
        let before = self.until(now);
        let again = known.status == Some(failure.status);
        let failures = match before {
            Some(_) => known.failures,
            None if again => known.failures.saturating_add(1),
            None => 1,
        };
        let ends_at = clock::after(now, cooldown(failure, failures));
        if before.is_some_and(|before| ends_at <= clock::after(before, LATER)) {
            return None;
        }
        self.set(ends_at);
        *known = KnownFailure {
            at: Some(now),
            status: Some(failure.status),
            code: failure.code.map(str::to_owned),
            failures,
            noted: Arc::default(),
        };
        let what = Remark::Exhausted {
            status: failure.status,
            code: failure.code,
            reason: reason(failure.status),
            ends_at,
        };
        Some((what, known.noted.clone()))
    }

    /// Its quota may be used up, or the request was the cause: it cools down for a minute. The failure count stays
    /// unchanged.
    pub(super) fn suspect(&self, status: u16, code: Option<&'static str>, now: DateTime<Utc>) {
        let mut known = self.lock();
        if self.until(now).is_some() {
            return;
        }
        self.set(clock::after(now, A_MOMENT));
        let failures = known.failures;
        *known = KnownFailure {
            at: Some(now),
            status: Some(status),
            code: code.map(str::to_owned),
            failures,
            noted: Arc::default(),
        };
    }

    /// It works, or a person says so.
    pub(super) fn end(&self) {
        let mut known = self.lock();
        self.until.store(0, Ordering::Relaxed);
        *known = KnownFailure::default();
    }

    /// Takes over the store's mark. Of two marks the later one counts.
    pub(super) fn read(&self, mark: &Marked, is_only: bool, now: DateTime<Utc>) {
        let mut known = self.lock();
        match (mark.failing, mark.at) {
            (Some(Failing::Exhausted), Some(at)) => {
                let is_ours = known.at.is_some_and(|known| is_same(known, at));
                if known.at.is_some_and(|known| known > at) && !is_ours {
                    return;
                }
                let failure = CooldownReason {
                    status: mark.status.unwrap_or_default(),
                    told: None,
                    code: None,
                    is_only,
                };
                let untold = || clock::after(at, cooldown(&failure, mark.failures));
                let longest = clock::after(at.max(now), LONGEST);
                let ends_at = mark.ends_at.unwrap_or_else(untold).min(longest);
                self.set(ends_at);
                *known = KnownFailure {
                    at: Some(at),
                    status: mark.status,
                    code: mark.reason.clone(),
                    failures: mark.failures,
                    noted: Arc::new(AtomicBool::new(true)),
                };
            }
            // Its keeper handles a login that has ended. A login that is marked as working, or not marked, was rotated,
            // or a person or another program has ended its cooldown.
            (_, at) => {
                let is_later = at.is_some_and(|at| known.at.is_some_and(|known| at > known));
                if known.noted.load(Ordering::Relaxed) || is_later {
                    self.until.store(0, Ordering::Relaxed);
                    *known = KnownFailure::default();
                }
            }
        }
    }

    /// To the second, and not before its time.
    fn set(&self, ends_at: DateTime<Utc>) {
        let ends_at = clock::after(ends_at, Duration::from_millis(999)).timestamp();
        self.until.store(ends_at.max(1), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, KnownFailure> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether two times are equal up to the precision of a store.
fn is_same(one: DateTime<Utc>, other: DateTime<Utc>) -> bool {
    one.timestamp_millis().abs_diff(other.timestamp_millis()) <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> DateTime<Utc> {
        format!("2026-11-29T{time}Z").parse().unwrap()
    }

    fn failed(status: u16, told: Option<u64>, is_only: bool) -> CooldownReason {
        CooldownReason {
            status,
            told: told.map(Duration::from_secs),
            code: None,
            is_only,
        }
    }

    #[test]
    fn a_cooldown_is_the_providers_else_its_statuss_and_never_longer_than_a_day() {
        let minutes = |minutes| Duration::from_mins(minutes);
        for (failure, failures, expected) in [
            (failed(429, Some(7), false), 1, Duration::from_secs(7)),
            (failed(429, Some(7), true), 1, Duration::from_secs(7)),
            (failed(429, Some(1_000_000), false), 1, LONGEST),
            (failed(401, None, false), 1, minutes(5)),
            (failed(401, None, true), 9, minutes(1)),
            (failed(429, None, false), 9, minutes(60)),
            (failed(402, None, false), 2, minutes(60)),
            (failed(500, None, false), 1, minutes(60)),
            (failed(429, None, true), 1, minutes(1)),
            (failed(403, None, true), 1, minutes(1)),
            (failed(402, None, true), 1, minutes(60)),
            (failed(402, None, false), 3, LONGEST),
            (failed(403, None, true), 3, LONGEST),
            (failed(404, None, false), 4, LONGEST),
        ] {
            assert_eq!(cooldown(&failure, failures), expected, "{failure:?}");
        }
    }

    #[test]
    fn a_rest_ends_with_its_time_and_is_over_when_the_clock_is_put_back_behind_it() {
        let (rest, now) = (Rest::default(), at("12:00:00"));
        assert_eq!(rest.until(now), None);
        rest.begin(&failed(429, None, false), now).unwrap();
        assert_eq!(rest.until(now), Some(at("13:00:00")));
        assert_eq!(rest.until(at("13:00:00")), None);
        assert_eq!(rest.until(clock::before(now, LONGEST)), None);
        // The longest one holds to its end.
        rest.end();
        rest.begin(&failed(429, Some(1_000_000), false), at("12:00:00.7"));
        assert!(rest.until(at("12:00:01")).is_some());
        rest.end();
        assert_eq!(rest.until(now), None);
    }

    #[test]
    fn many_refusals_at_once_are_one_and_three_in_a_row_are_no_accident() {
        let rest = Rest::default();
        let refused = failed(403, None, false);
        let mut now = at("08:00:00");
        for failures in 1..=3 {
            let noted = rest.begin(&refused, now);
            assert!(noted.is_some() && rest.begin(&refused, now).is_none());
            assert_eq!(rest.known().failures, failures);
            let hours = if failures == 3 { 24 } else { 1 };
            let end = clock::after(now, Duration::from_hours(hours));
            assert_eq!(rest.until(now), Some(end));
            now = end;
        }
        rest.begin(&failed(429, None, false), now).unwrap();
        assert_eq!(rest.known().failures, 1);
    }

    #[test]
    fn one_that_may_have_nothing_left_rests_for_a_minute_which_counts_as_no_failure() {
        let (rest, now) = (Rest::default(), at("12:00:00"));
        rest.suspect(402, None, now);
        assert_eq!(rest.until(now), Some(at("12:01:00")));
        assert_eq!((rest.known().status, rest.known().failures), (Some(402), 0));
        rest.end();
        rest.begin(&failed(402, None, false), now).unwrap();
        rest.suspect(402, None, at("12:30:00"));
        assert_eq!(rest.until(now), Some(at("13:00:00")), "what is known stays");
    }

    #[test]
    fn of_two_marks_the_later_one_counts_and_one_that_was_taken_out_is_over() {
        let (rest, now) = (Rest::default(), at("12:00:00.5"));
        let mark = |at: Option<DateTime<Utc>>, failing| Marked {
            failing,
            at,
            status: Some(429),
            reason: None,
            ends_at: None,
            failures: 1,
        };
        let exhausted = Some(Failing::Exhausted);
        rest.begin(&failed(429, Some(10), false), now).unwrap();
        let ours = rest.until(now);
        // Not written yet, or an older one.
        rest.read(&Marked::default(), false, now);
        rest.read(&mark(Some(at("11:59:59")), exhausted), false, now);
        assert_eq!(rest.until(now), ours);
        // Another program's.
        rest.read(&mark(Some(at("12:00:01")), exhausted), false, now);
        assert_eq!(rest.until(now), Some(at("13:00:01")));
        rest.read(&mark(Some(at("12:00:02")), exhausted), true, now);
        assert_eq!(rest.until(now), Some(at("12:01:02")));
        // Long over.
        rest.read(&mark(Some(at("12:00:03")), exhausted), true, at("12:30:00"));
        assert!(rest.is_known() && rest.until(at("12:30:00")).is_none());
        // A rotation has cleared it.
        rest.read(&Marked::default(), false, now);
        assert_eq!(rest.until(now), None);
    }
}
