//! How many connections were in use at once recently, which is how many are kept.

use std::time::Duration;

use tokio::time::Instant;

/// The peak is remembered for this long, up to twice as long.
const SPAN: Duration = Duration::from_secs(4);

/// The most connections in use at once.
#[derive(Debug)]
pub(super) struct Demand {
    /// In the current span, and in the one before.
    most: usize,
    before: usize,
    since: Instant,
}

impl Demand {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            most: 0,
            before: 0,
            since: now,
        }
    }

    /// Records how many are in use now.
    pub(super) fn uses(&mut self, count: usize, now: Instant) {
        self.turn(now);
        self.most = self.most.max(count);
    }

    /// The recent peak.
    pub(super) fn most(&mut self, now: Instant) -> usize {
        self.turn(now);
        self.most.max(self.before)
    }

    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        if age >= SPAN {
            let is_recent = age < 2 * SPAN;
            self.before = if is_recent { self.most } else { 0 };
            self.most = 0;
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_remembered_for_some_seconds() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut demand = Demand::new(begin);
        demand.uses(3, at(0));
        demand.uses(200, at(1));
        demand.uses(5, at(2));
        assert_eq!(demand.most(at(3)), 200);
        demand.uses(7, at(5));
        assert_eq!(demand.most(at(8)), 200);
        demand.uses(2, at(10));
        assert_eq!(demand.most(at(10)), 7);
        assert_eq!(demand.most(at(100)), 0);
    }
}
