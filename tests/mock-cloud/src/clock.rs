//! The cloud's own wall clock, which a test can move.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// Real time plus an offset.
#[derive(Debug)]
pub(crate) struct Clock {
    ahead_ms: AtomicI64,
}

impl Clock {
    pub(crate) fn new(ahead_seconds: i64) -> Self {
        Self {
            ahead_ms: AtomicI64::new(ahead_seconds.saturating_mul(1000)),
        }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        real() + TimeDelta::milliseconds(self.ahead_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.ahead_ms.fetch_add(millis(by), Ordering::Relaxed);
    }

    pub(crate) fn put_back(&self, by: Duration) {
        self.ahead_ms.fetch_sub(millis(by), Ordering::Relaxed);
    }
}

/// The time of the user's machine.
#[expect(
    clippy::disallowed_methods,
    reason = "the cloud is another machine: its time is its own"
)]
pub(crate) fn real() -> DateTime<Utc> {
    Utc::now()
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
