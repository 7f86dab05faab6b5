//! The state of the screen: the last result, and whether polls succeed.

use std::time::Duration;

use tokio::time::Instant;

use super::look::TopOutput;
use super::rates::StreamRates;
use crate::control::in_flight::{InFlightQuery, MOST};

/// How long to wait for a daemon that is gone; most come back after a restart.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A poll that takes this much longer than its interval is reported.
const LATE: Duration = Duration::from_secs(2);

/// The state of the screen.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) now: TopOutput,
    pub(super) rates: StreamRates,
    pub(super) link: DaemonLink,
    /// Whether the newest requests come first.
    pub(super) is_newest_first: bool,
    /// How many requests are scrolled past.
    pub(super) passed: usize,
    /// How many requests to scroll past once they are listed.
    wanted: usize,
    /// How many requests fit on the screen.
    rows: usize,
    pub(super) is_coloured: bool,
    /// `None` if the screen is shown once.
    pub(super) interval: Option<Duration>,
    /// The time shown.
    pub(super) clock: String,
    looked_at: Instant,
}

/// Whether polls succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DaemonLink {
    /// The last poll was answered.
    Alive,
    /// The last poll failed.
    Lost {
        /// When the first of these failures occurred.
        since: Instant,
        why: String,
        /// Whether the daemon is not running.
        is_gone: bool,
    },
}

impl Scene {
    /// A screen with a single result.
    pub(super) fn once(now: TopOutput, clock: String) -> Self {
        Self {
            interval: None,
            clock,
            ..Self::new(now, false, Duration::ZERO, true)
        }
    }

    /// A screen that will be updated.
    pub(super) fn new(
        now: TopOutput,
        is_newest_first: bool,
        interval: Duration,
        is_coloured: bool,
    ) -> Self {
        let mut rates = StreamRates::default();
        rates.learn(&now.flights);
        Self {
            now,
            rates,
            link: DaemonLink::Alive,
            is_newest_first,
            passed: 0,
            wanted: 0,
            rows: 0,
            is_coloured,
            interval: Some(interval),
            clock: String::new(),
            looked_at: Instant::now(),
        }
    }

    /// Applies a result.
    pub(super) fn see(&mut self, now: TopOutput) {
        self.rates.learn(&now.flights);
        self.now = now;
        self.link = DaemonLink::Alive;
        self.looked_at = Instant::now();
    }

    /// Notes a failed poll; returns when the failures began.
    pub(super) fn misses(&mut self, why: &str, is_gone: bool) -> Instant {
        let since = match &self.link {
            // The daemon first stopped answering and has ended since: the wait starts now.
            DaemonLink::Lost {
                since,
                is_gone: was_gone,
                ..
            } if *was_gone || !is_gone => *since,
            DaemonLink::Alive | DaemonLink::Lost { .. } => Instant::now(),
        };
        self.link = DaemonLink::Lost {
            since,
            why: why.to_owned(),
            is_gone,
        };
        since
    }

    /// How long the daemon has not answered, if that is too long.
    pub(super) fn lateness(&self) -> Option<Duration> {
        let age = self.looked_at.elapsed();
        self.interval.filter(|interval| age > *interval + LATE)?;
        Some(age)
    }

    /// Reverses the order.
    pub(super) fn turn(&mut self) {
        self.is_newest_first = !self.is_newest_first;
        self.wanted = 0;
    }

    /// Scrolls by this many rows. The limit is known when the screen is painted.
    pub(super) fn scroll(&mut self, rows: isize) {
        self.wanted = self.passed.saturating_add_signed(rows);
    }

    /// Sets how many requests fit.
    pub(super) fn shows(&mut self, rows: usize) {
        self.rows = rows;
        self.wanted = self.wanted.min(self.listable().saturating_sub(rows));
        let listed = self.now.flights.requests.len();
        self.passed = self.wanted.min(listed.saturating_sub(rows));
    }

    /// How many requests can be listed.
    pub(super) fn listable(&self) -> usize {
        let listed = self.now.flights.requests.len();
        if self.interval.is_none() {
            return listed;
        }
        let all = usize::try_from(self.now.in_flight).unwrap_or(usize::MAX);
        let most = usize::try_from(MOST).unwrap_or(usize::MAX);
        all.min(most.max(listed))
    }

    /// The query for the next poll: the requests shown, and the next page for scrolling.
    pub(super) fn query(&self) -> InFlightQuery {
        let page = self.rows.max(1);
        let pages = self.wanted / page + 2;
        let most = pages.saturating_mul(page);
        InFlightQuery {
            most: Some(u32::try_from(most).unwrap_or(MOST).min(MOST)),
            newest: self.is_newest_first,
        }
    }
}

/// How much longer to wait for a daemon that has been gone since then.
pub(super) fn patience_left(since: Instant) -> Duration {
    PATIENCE.saturating_sub(since.elapsed())
}
