//! Wall time behind a trait, and waits that notice a suspended machine.

#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        reason = "tokens and files hold odd numbers, and an overflow would end what looks after a login"
    )
)]

use std::fmt::Debug;
use std::time::Duration;

use chrono::{DateTime, Datelike, Utc};

/// A wait against the wall clock is a loop of naps no longer than this, because a timer stops while
/// the machine is suspended and the wall clock does not.
pub const LONGEST_NAP: Duration = Duration::from_secs(15);

/// The wall clock. A value, so that a test can set it.
pub trait Clock: Debug + Send + Sync {
    /// The time now, in UTC.
    fn now(&self) -> DateTime<Utc>;

    /// The seconds since 1970. Costs less.
    fn seconds(&self) -> i64 {
        self.now().timestamp()
    }

    /// The time since 1970. Costs less.
    fn since_1970(&self) -> Duration {
        let micros = u64::try_from(self.now().timestamp_micros());
        Duration::from_micros(micros.unwrap_or_default())
    }
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    fn since_1970(&self) -> Duration {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.unwrap_or_default()
    }

    fn seconds(&self) -> i64 {
        i64::try_from(self.since_1970().as_secs()).unwrap_or(i64::MAX)
    }
}

/// The time from `now` to `deadline`; zero when it has passed.
pub fn until(deadline: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    deadline
        .signed_duration_since(now)
        .to_std()
        .unwrap_or_default()
}

/// A plausible time: from 1970 to 9999, the range of ISO 8601 that other programs read. Anything
/// else in a token or a file is a mistake.
pub fn plausible(time: DateTime<Utc>) -> Option<DateTime<Utc>> {
    (1970..=9999).contains(&time.year()).then_some(time)
}

/// `time` moved by `duration`, or the last representable time.
pub fn after(time: DateTime<Utc>, duration: Duration) -> DateTime<Utc> {
    chrono::Duration::from_std(duration)
        .ok()
        .and_then(|duration| time.checked_add_signed(duration))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// `time` moved back by `duration`, or the first representable time.
pub fn before(time: DateTime<Utc>, duration: Duration) -> DateTime<Utc> {
    chrono::Duration::from_std(duration)
        .ok()
        .and_then(|duration| time.checked_sub_signed(duration))
        .unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// One nap of a wait that ends at `deadline`: sleeps until then or for `longest`, whichever is
/// sooner. Returns whether the deadline has come by the wall clock.
pub async fn nap(clock: &dyn Clock, deadline: DateTime<Utc>, longest: Duration) -> bool {
    let left = until(deadline, clock.now());
    // A timer counts whole milliseconds; one more keeps the wake-up behind the deadline.
    let nap = left.saturating_add(Duration::from_millis(1));
    tokio::time::sleep(nap.min(longest)).await;
    clock.now() >= deadline
}

/// The time now as HTTP writes it (RFC 9110 §5.6.7), 29 letters, and for how long it is so.
pub fn http_date(clock: &dyn Clock) -> (String, Duration) {
    let now = clock.now();
    let since = Duration::from_nanos(u64::from(now.timestamp_subsec_nanos()));
    let text = now.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    (text, Duration::from_secs(1).saturating_sub(since))
}

/// A second after 1970 as ISO 8601 has it, without its zone: `2026-11-23T19:44:00`.
pub fn iso_second(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or_default();
    let time = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%S").to_string()
}

/// Clocks for tests.
#[cfg(test)]
pub mod fake {
    use std::sync::Mutex;

    use super::{Clock, DateTime, Duration, Utc};

    /// A clock that moves only on request.
    #[derive(Debug)]
    pub struct JumpingClock(Mutex<DateTime<Utc>>);

    impl JumpingClock {
        /// A clock at `start`.
        pub fn at(start: &str) -> Self {
            Self(Mutex::new(start.parse().unwrap()))
        }

        /// Is put back.
        pub fn jump_back(&self, by: Duration) {
            let mut now = self.0.lock().unwrap();
            *now = super::before(*now, by);
        }

        /// Jumps ahead.
        pub fn jump(&self, by: Duration) {
            let mut now = self.0.lock().unwrap();
            *now = super::after(*now, by);
        }
    }

    impl Clock for JumpingClock {
        fn now(&self) -> DateTime<Utc> {
            *self.0.lock().unwrap()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_date_is_written_as_http_wants_it() {
        let clock = fake::JumpingClock::at("1994-11-06T08:49:37.250Z");
        let (text, left) = http_date(&clock);
        assert_eq!(text, "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(left, Duration::from_millis(750));
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspended_machine_is_noticed_within_one_nap() {
        let clock = Arc::new(fake::JumpingClock::at("2026-11-23T12:00:00Z"));
        let deadline = after(clock.now(), Duration::from_hours(1));
        let started = tokio::time::Instant::now();
        assert!(!nap(&*clock, deadline, LONGEST_NAP).await);
        clock.jump(Duration::from_hours(8));
        while !nap(&*clock, deadline, LONGEST_NAP).await {}
        assert!(started.elapsed() <= LONGEST_NAP + Duration::from_millis(2));
    }

    #[test]
    fn a_year_that_nobody_means_is_no_time() {
        for (seconds, plausible) in [
            (0, true),
            (1_778_820_201, true),
            (253_402_300_799, true),
            (253_402_300_800, false),
            (-1, false),
            (8_000_000_000_000, false),
            (-8_000_000_000_000, false),
        ] {
            let time = DateTime::from_timestamp(seconds, 0).unwrap();
            assert_eq!(super::plausible(time).is_some(), plausible, "{seconds}");
        }
    }

    #[test]
    fn times_that_can_not_be_told_end_at_the_last_one() {
        let now = fake::JumpingClock::at("2026-11-23T12:00:00Z").now();
        assert_eq!(after(now, Duration::MAX), DateTime::<Utc>::MAX_UTC);
        assert_eq!(
            until(now, after(now, Duration::from_secs(1))),
            Duration::ZERO
        );
    }
}
