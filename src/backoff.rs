//! Delays between attempts: exponential, with full jitter, bounded.
//!
//! Twenty lines instead of a crate: the crates wrap the retried call itself, and ours must be one
//! step of a task that also listens for commands.

#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        reason = "tokens and files hold odd numbers, and an overflow would end what looks after a login"
    )
)]

use std::time::Duration;

/// The first delay's ceiling; each further one doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// No wait is shorter than this.
const SHORTEST: Duration = Duration::from_millis(500);
/// No wait is longer than this.
pub const LONGEST: Duration = Duration::from_mins(5);

/// Counts failures in a row and says how long to wait before the next attempt.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// One more failure: the wait before the next attempt. At least half a second, at most 5
    /// minutes, drawn at random below a ceiling that doubles from one second. `asked` is the
    /// server's `Retry-After`, which is never undercut and counts up to the same 5 minutes.
    pub fn failed(&mut self, asked: Option<Duration>) -> Duration {
        let ceiling = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let drawn = ceiling.mul_f64(fastrand::f64()).max(SHORTEST);
        drawn.max(asked.unwrap_or_default().min(LONGEST))
    }

    /// The first success ends it.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_five_minutes_and_no_further() {
        let mut backoff = Backoff::default();
        for failure in 0..40_u32 {
            let ceiling = Duration::from_secs(1 << failure.min(16)).min(LONGEST);
            let delay = backoff.failed(None);
            assert!(
                delay >= Duration::from_millis(500) && delay <= ceiling,
                "{failure}: {delay:?}"
            );
        }
        backoff.succeeded();
        assert!(backoff.failed(None) <= Duration::from_secs(1));
    }

    #[test]
    fn a_servers_wish_is_never_undercut_and_never_longer_than_five_minutes() {
        let mut backoff = Backoff::default();
        assert!(backoff.failed(Some(Duration::from_secs(30))) >= Duration::from_secs(30));
        assert_eq!(backoff.failed(Some(Duration::from_hours(2))), LONGEST);
    }
}
