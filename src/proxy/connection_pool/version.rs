//! Chooses between HTTP/1.1 and HTTP/2 where a provider supports both. Pure.
//!
//! Over TLS, with the bench's 32 clients at once, a request takes 31.3 µs of processor time over HTTP/1.1 and 35.5 µs
//! over HTTP/2, and its first byte comes 0.1 ms sooner. With 256 clients both take 37 µs, and an open stream takes 15
//! KiB over HTTP/1.1 and 7 KiB over HTTP/2. A TLS handshake takes two round trips, 80 ms to a provider that is 40 ms
//! away.
//!
//! So a request never waits for a handshake while an HTTP/2 connection can take it: HTTP/2 is dialled first and takes
//! any number of requests. HTTP/1.1 connections are opened beside it, with no request waiting for them, once enough
//! requests arrive for them to pay off, and they serve while few requests are in flight. The duration of an answer is
//! unknown in advance, but many requests in flight usually mean long answers.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::HttpVersion;

/// Above this many requests in flight, new ones go over HTTP/2; below half of it, over HTTP/1.1 again. The gap keeps
/// them from alternating, and bounds the connections over HTTP/1.1.
const CROWD: usize = 64;
/// How many requests pay for an HTTP/1.1 connection: each saves 4 µs, and a handshake is counted as a millisecond of
/// processor time, a generous estimate.
const PAYS: usize = 250;
/// Requests count towards a connection for this long, up to twice as long.
const SPAN: Duration = Duration::from_secs(4);

/// The facts about a provider's host that decide the choice.
#[derive(Debug)]
pub(super) struct ProtocolChoice {
    setting: HttpVersion,
    is_crowded: bool,
    /// Requests in the current span and the one before that have not paid for a connection yet.
    requests: usize,
    before: usize,
    since: Instant,
    /// HTTP/1.1 connections being opened beside HTTP/2.
    dials: usize,
    /// Whether the host has refused HTTP/1.1, so that none is tried.
    is_refused: bool,
}

impl ProtocolChoice {
    pub(super) fn new(setting: HttpVersion, now: Instant) -> Self {
        Self {
            setting,
            is_crowded: false,
            requests: 0,
            before: 0,
            since: now,
            dials: 0,
            is_refused: false,
        }
    }

    /// Whether the next request should use HTTP/1.1, with `under_way` others in flight. A waiting request asks
    /// repeatedly.
    pub(super) fn prefers_http1(&mut self, under_way: usize, now: Instant) -> bool {
        self.turn(now);
        let most = if self.is_crowded { CROWD / 2 } else { CROWD };
        self.is_crowded = under_way >= most;
        !self.is_crowded && self.is_auto()
    }

    /// Counts a request that has got a connection.
    pub(super) fn serves(&mut self) {
        self.requests += 1;
    }

    /// Whether another HTTP/1.1 connection pays off, with `open` usable ones and `under_way` requests in flight.
    pub(super) fn wants_http1(&self, under_way: usize, open: usize) -> bool {
        self.is_auto()
            && !self.is_refused
            && !self.is_crowded
            && open + self.dials < under_way
            && self.requests + self.before >= PAYS
    }

    /// Notes that one is being opened.
    pub(super) fn dials(&mut self) {
        self.dials += 1;
        let price = PAYS - PAYS.min(self.before);
        self.before = self.before.saturating_sub(PAYS);
        self.requests = self.requests.saturating_sub(price);
    }

    /// Notes that a dial has ended, successfully or not.
    pub(super) fn dialled(&mut self) {
        self.dials = self.dials.saturating_sub(1);
    }

    /// Notes that the host has refused HTTP/1.1 and must not be asked again.
    pub(super) fn refused(&mut self) {
        self.is_refused = true;
    }

    fn is_auto(&self) -> bool {
        self.setting == HttpVersion::Auto
    }

    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        if age >= SPAN {
            let is_recent = age < 2 * SPAN;
            self.before = if is_recent { self.requests } else { 0 };
            self.requests = 0;
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(setting: HttpVersion, requests: usize) -> ProtocolChoice {
        let now = Instant::now();
        let mut choice = ProtocolChoice::new(setting, now);
        for _ in 0..requests {
            choice.prefers_http1(0, now);
            choice.serves();
        }
        choice
    }

    #[test]
    fn a_request_that_asks_often_pays_once() {
        let mut choice = busy(HttpVersion::Auto, 249);
        for _ in 0..1000 {
            choice.prefers_http1(0, choice.since);
        }
        assert!(!choice.wants_http1(1, 0));
        choice.serves();
        assert!(choice.wants_http1(1, 0));
    }

    #[test]
    fn many_at_once_go_over_http2_until_few_are_left() {
        let now = Instant::now();
        let mut choice = ProtocolChoice::new(HttpVersion::Auto, now);
        for (under_way, http1) in [
            (0, true),
            (63, true),
            (64, false),
            (63, false),
            (32, false),
            (31, true),
            (63, true),
            (500, false),
            (0, true),
        ] {
            assert_eq!(choice.prefers_http1(under_way, now), http1, "{under_way}");
        }
    }

    #[test]
    fn http1_is_opened_for_those_under_way_as_far_as_it_pays() {
        assert!(!busy(HttpVersion::Auto, 249).wants_http1(1, 0));
        let mut choice = busy(HttpVersion::Auto, 1100);
        assert!(choice.wants_http1(1, 0) && choice.wants_http1(2, 1));
        assert!(!choice.wants_http1(1, 1), "nothing would use it");
        choice.dials();
        choice.dials();
        assert!(!choice.wants_http1(2, 0), "two are being opened");
        choice.dialled();
        assert!(choice.wants_http1(2, 0));
        choice.dials();
        choice.dials();
        choice.dialled();
        assert!(!choice.wants_http1(9, 0), "no more would pay");
        let mut choice = busy(HttpVersion::Auto, 1100);
        choice.dials();
        choice.dialled();
        choice.refused();
        assert!(!choice.wants_http1(9, 0), "the host refuses");
    }

    #[test]
    fn what_came_long_ago_does_not_pay_now() {
        let mut choice = busy(HttpVersion::Auto, 1000);
        let begin = choice.since;
        choice.prefers_http1(0, begin + Duration::from_secs(7));
        assert!(choice.wants_http1(1, 0));
        choice.prefers_http1(0, begin + Duration::from_secs(20));
        assert!(!choice.wants_http1(1, 0));
    }

    #[test]
    fn the_other_settings_leave_nothing_to_choose() {
        for setting in [HttpVersion::Http1, HttpVersion::Http2] {
            let mut choice = busy(setting, 1000);
            assert!(!choice.prefers_http1(0, choice.since));
            assert!(!choice.wants_http1(1, 0));
        }
    }
}
