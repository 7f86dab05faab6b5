//! A keeper's signs of life: before each step it says how long that may take.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What is known of a keeper's life.
#[derive(Debug, Clone, Copy)]
enum KeeperLife {
    /// Its current step ends by then, if that is known.
    Until(Option<Instant>),
    /// It ended on request.
    Ended,
    /// It is gone without having ended: a panic.
    Gone,
}

/// The reader's side. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Pulse(Arc<Mutex<KeeperLife>>);

/// The keeper's side. Dropping it without [`Heart::ended`] is death.
#[derive(Debug)]
pub(super) struct Heart(Pulse);

impl Heart {
    /// A heart that beats first within `limit`.
    pub(super) fn new(limit: Duration) -> Self {
        let first = KeeperLife::Until(Instant::now().checked_add(limit));
        Self(Pulse(Arc::new(Mutex::new(first))))
    }

    pub(super) fn pulse(&self) -> Pulse {
        self.0.clone()
    }

    /// Alive, and again within `limit`.
    pub(super) fn beat(&self, limit: Duration) {
        *self.0.state() = KeeperLife::Until(Instant::now().checked_add(limit));
    }

    /// Ends in order.
    pub(super) fn ended(&self) {
        *self.0.state() = KeeperLife::Ended;
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if !matches!(*state, KeeperLife::Ended) {
            *state = KeeperLife::Gone;
        }
    }
}

impl Pulse {
    /// Whether it lives, or has ended in order.
    pub(super) fn is_well(&self) -> bool {
        match *self.state() {
            KeeperLife::Until(end) => end.is_none_or(|end| Instant::now() <= end),
            KeeperLife::Ended => true,
            KeeperLife::Gone => false,
        }
    }

    fn state(&self) -> MutexGuard<'_, KeeperLife> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_heart_that_misses_its_beat_or_is_dropped_is_not_well() {
        let limit = Duration::from_secs(10);
        let heart = Heart::new(limit);
        let pulse = heart.pulse();
        tokio::time::advance(limit).await;
        assert!(pulse.is_well());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!pulse.is_well(), "stuck");
        heart.beat(limit);
        assert!(pulse.is_well());
        drop(heart);
        assert!(!pulse.is_well(), "gone");

        let heart = Heart::new(limit);
        let pulse = heart.pulse();
        heart.ended();
        drop(heart);
        tokio::time::advance(limit * 2).await;
        assert!(pulse.is_well(), "told to end");
    }
}
