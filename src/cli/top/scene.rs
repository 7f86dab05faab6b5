//! What is to be seen: the last look at the daemon, and how the look after it goes.

use std::time::Duration;

use tokio::time::Instant;

use super::TopOutput;
use super::rates::StreamRates;
use crate::control::in_flight::{InFlightQuery, MOST};

/// A look that takes longer than this beyond its interval is told.
const LATE: Duration = Duration::from_secs(2);

/// What is to be seen.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) now: TopOutput,
    pub(super) rates: StreamRates,
    pub(super) link: DaemonLink,
    /// Whether the requests that began last come first.
    pub(super) is_newest_first: bool,
    /// Requests that are scrolled past.
    pub(super) passed: usize,
    /// So many are to be scrolled past, once they are listed.
    wanted: usize,
    /// Requests that there is room for.
    rows: usize,
    pub(super) is_coloured: bool,
    /// `None` where it is looked once.
    pub(super) interval: Option<Duration>,
    /// The time that is shown.
    pub(super) clock: String,
    looked_at: Instant,
}

/// How the looks go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DaemonLink {
    /// The last one was answered.
    Alive,
    /// The last one failed.
    Lost {
        /// When the first one failed.
        since: Instant,
        why: String,
        /// No daemon runs.
        is_gone: bool,
    },
}

impl Scene {
    /// The one look that there is.
    pub(super) fn once(now: TopOutput, clock: String) -> Self {
        Self {
            interval: None,
            clock,
            ..Self::new(now, (false, Duration::ZERO), true)
        }
    }

    /// The first look of many.
    pub(super) fn new(
        now: TopOutput,
        (is_newest_first, interval): (bool, Duration),
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

    /// Another look.
    pub(super) fn see(&mut self, now: TopOutput) {
        self.rates.learn(&now.flights);
        self.now = now;
        self.link = DaemonLink::Alive;
        self.looked_at = Instant::now();
    }

    /// A look has failed; since when they do.
    pub(super) fn misses(&mut self, why: &str, is_gone: bool) -> Instant {
        let since = match &self.link {
            // One that answered no more and has gone since then is waited for from now on.
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

    /// For how long the daemon has not answered, where that is longer than it should be.
    pub(super) fn lateness(&self) -> Option<Duration> {
        let age = self.looked_at.elapsed();
        self.interval.filter(|interval| age > *interval + LATE)?;
        Some(age)
    }

    /// The other order.
    pub(super) fn turn(&mut self) {
        self.is_newest_first = !self.is_newest_first;
        self.wanted = 0;
    }

    /// So many rows further. How far there are any is known when they are painted.
    pub(super) fn scroll(&mut self, rows: isize) {
        self.wanted = self.passed.saturating_add_signed(rows);
    }

    /// There is room for so many requests.
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

    /// What is to be asked for: the requests that are shown, and as many behind them, which may be scrolled to.
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
