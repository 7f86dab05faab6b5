//! Paths that a provider refuses with any token.
//!
//! A request that is refused with a token that was just granted was not refused for its token: the
//! model or organisation may not be open to this user. Each rotation for such a request would waste
//! a refresh token, so its path causes none for a while.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::clock;

/// How long a path whose replay was refused causes no rotation; twice as long each further time.
const FIRST: Duration = Duration::from_secs(30);
/// And never for longer.
const LONGEST: Duration = Duration::from_hours(1);
/// After this long without another refused replay, a path starts again.
const CALM: Duration = Duration::from_hours(2);
/// After this many consecutive refusals, the token itself is in doubt.
const IN_A_ROW: u32 = 3;
/// The same: from the first of the row to now.
const ROW: Duration = FIRST;
/// So many paths are remembered; no provider has more.
const PATHS: usize = 256;

/// What is known of a provider's paths.
#[derive(Debug, Default)]
pub(super) struct PathRetries(Mutex<BTreeMap<Box<str>, PathRetry>>);

/// What is known of one.
#[derive(Debug, Clone, Copy, Default)]
struct PathRetry {
    /// No rotation from here to here.
    closed: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// Refused replays, each with another token.
    refused: u32,
    /// The last of them: when, and the token's generation.
    last: Option<(DateTime<Utc>, u64)>,
}

/// Refusals of one credential since it was last taken.
#[derive(Debug, Default)]
pub(super) struct RefusalStreak {
    /// Whether there is any, so that a credential that works costs one look at this.
    any: AtomicBool,
    /// Whether requests wait for another credential instead of being refused with this one.
    given_up: AtomicBool,
    /// The first of them, and how many.
    refusals: Mutex<Option<(DateTime<Utc>, u32)>>,
}

impl RefusalStreak {
    /// The provider refused the credential once more.
    pub(super) fn refused(&self, now: DateTime<Utc>) {
        let mut row = lock(&self.refusals);
        let (since, count) = row.unwrap_or((now, 0));
        *row = Some((since, count.saturating_add(1)));
        self.any.store(true, Ordering::Relaxed);
    }

    /// The provider took the credential.
    pub(super) fn taken(&self) {
        if self.any.load(Ordering::Relaxed) {
            let mut row = lock(&self.refusals);
            *row = None;
            self.any.store(false, Ordering::Relaxed);
            self.given_up.store(false, Ordering::Relaxed);
        }
    }

    /// A request was refused twice with the credential: until it is replaced, or taken after all, further
    /// requests need not try it, unless what was refused may have been that request alone.
    pub(super) fn give_up(&self) {
        let row = lock(&self.refusals);
        if row.is_some_and(|(_, count)| count >= IN_A_ROW) {
            self.given_up.store(true, Ordering::Relaxed);
        }
    }

    /// Whether requests should wait for another credential.
    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Whether the credential is refused by all that is asked with it.
    pub(super) fn is_long(&self, now: DateTime<Utc>) -> bool {
        lock(&self.refusals)
            .is_some_and(|(since, count)| count >= IN_A_ROW && now >= clock::after(since, ROW))
    }
}

impl PathRetries {
    /// Whether a 401 on this path causes no rotation now.
    pub(super) fn is_closed(&self, path: &str, now: DateTime<Utc>) -> bool {
        let closed = lock(&self.0).get(path).and_then(|trial| trial.closed);
        // A clock that was put back ends it too.
        closed.is_some_and(|(from, to)| from <= now && now < to)
    }

    /// A request of this path is about to be sent again with another token.
    pub(super) fn begin(&self, path: &str, now: DateTime<Utc>) {
        self.edit(path, |trial| {
            let end = clock::after(now, FIRST);
            let end = trial.closed.map_or(end, |(_, to)| to.max(end));
            trial.closed = Some((now, end));
        });
    }

    /// The provider accepted the replay: the token was the reason.
    pub(super) fn taken(&self, path: &str, generation: u64) {
        self.edit(path, |trial| {
            // Where the same token was refused too, that was the other request's own fault.
            if trial.last.is_none_or(|(_, last)| last != generation) {
                trial.closed = None;
            }
        });
    }

    /// The provider refused the replay too: how long the path causes no rotation, if that is news.
    pub(super) fn refused(
        &self,
        path: &str,
        generation: u64,
        now: DateTime<Utc>,
    ) -> Option<Duration> {
        let mut pause = None;
        self.edit(path, |trial| {
            if trial.last.is_some_and(|(_, last)| last == generation) {
                return;
            }
            if trial
                .last
                .is_none_or(|(at, _)| now >= clock::after(at, CALM))
            {
                trial.refused = 0;
            }
            let doubled = 2_u32.saturating_pow(trial.refused.min(16));
            let length = FIRST.saturating_mul(doubled).min(LONGEST);
            trial.refused = trial.refused.saturating_add(1);
            trial.last = Some((now, generation));
            trial.closed = Some((now, clock::after(now, length)));
            pause = Some(length);
        });
        pause
    }

    fn edit(&self, path: &str, change: impl FnOnce(&mut PathRetry)) {
        let mut trials = lock(&self.0);
        if !trials.contains_key(path) && trials.len() >= PATHS {
            trials.clear();
        }
        change(trials.entry(path.into()).or_default());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: &str = "/chat/completions";

    fn start() -> DateTime<Utc> {
        "2026-11-29T12:00:00Z".parse().unwrap()
    }

    fn after(seconds: u64) -> DateTime<Utc> {
        clock::after(start(), Duration::from_secs(seconds))
    }

    #[test]
    fn a_path_is_closed_for_thirty_seconds_then_for_twice_as_long_up_to_an_hour() {
        let trials = PathRetries::default();
        let (mut now, mut lengths) = (start(), Vec::new());
        for generation in 0..9 {
            trials.begin(CHAT, now);
            let length = trials.refused(CHAT, generation, now).unwrap();
            // A second replay with the same token shows nothing new.
            assert_eq!(trials.refused(CHAT, generation, now), None);
            lengths.push(length.as_secs());
            assert!(trials.is_closed(CHAT, now) && !trials.is_closed("/models", now));
            now = clock::after(now, length);
            assert!(!trials.is_closed(CHAT, now));
        }
        assert_eq!(lengths, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        now = clock::after(now, CALM);
        assert_eq!(trials.refused(CHAT, 99, now), Some(FIRST));
    }

    #[test]
    fn a_replay_that_is_taken_opens_the_path_unless_the_same_token_was_refused() {
        let trials = PathRetries::default();
        trials.begin(CHAT, start());
        assert!(trials.is_closed(CHAT, after(29)) && !trials.is_closed(CHAT, after(30)));
        trials.taken(CHAT, 1);
        assert!(!trials.is_closed(CHAT, start()));
        trials.refused(CHAT, 2, start());
        trials.taken(CHAT, 2);
        assert!(trials.is_closed(CHAT, start()));
        assert!(!trials.is_closed(CHAT, clock::before(start(), FIRST)));
    }

    #[test]
    fn refusals_in_a_row_throw_doubt_on_the_token_after_a_while() {
        let row = RefusalStreak::default();
        for second in [0, 10, 20] {
            row.refused(after(second));
            assert!(!row.is_long(after(29)));
        }
        assert!(row.is_long(after(30)));
        row.taken();
        row.refused(after(31));
        row.refused(after(90));
        assert!(!row.is_long(after(99)), "two of them");
    }

    #[test]
    fn a_credential_is_given_up_after_refusals_in_a_row_until_it_is_taken() {
        let row = RefusalStreak::default();
        row.refused(start());
        row.refused(start());
        row.give_up();
        assert!(!row.is_given_up(), "one request's two refusals");
        row.refused(start());
        row.give_up();
        assert!(row.is_given_up());
        row.taken();
        assert!(!row.is_given_up());
    }

    #[test]
    fn no_more_paths_are_remembered_than_a_provider_has() {
        let trials = PathRetries::default();
        for number in 0..1000 {
            trials.begin(&format!("/{number}"), start());
        }
        assert!(lock(&trials.0).len() <= PATHS);
    }
}
