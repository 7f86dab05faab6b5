//! How far this machine's clock is ahead of a provider's, by the `Date` of its answers (RFC 9110 §6.6.1),
//! to requests and of its token endpoint. An answer costs one look at a counter, and one in some seconds
//! is read.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};
use hyper::header::{AGE, DATE, HeaderMap};

/// No answer within this many seconds of the previous one is read.
const PAUSE: i64 = 10;
/// A report that is this many seconds old is outdated. A clock that was set since then shows as
/// well.
const NEWS: i64 = 86_400;
/// Nothing was heard yet.
const NEVER: i64 = i64::MIN;

/// The machine's clock by a provider's answers.
#[derive(Debug)]
pub struct Skew {
    /// When an answer was read last, by this machine's clock, in seconds.
    heard: AtomicI64,
    /// How far this machine's clock was ahead, in seconds.
    ahead: AtomicI64,
}

impl Default for Skew {
    fn default() -> Self {
        Self {
            heard: NEVER.into(),
            ahead: 0.into(),
        }
    }
}

impl Skew {
    /// An answer with these fields has come.
    pub fn hear(&self, fields: &HeaderMap, now: DateTime<Utc>) {
        let now = now.timestamp();
        if now.abs_diff(self.heard.load(Ordering::Relaxed)) < PAUSE.unsigned_abs() {
            return;
        }
        let Some(theirs) = sent(fields) else { return };
        let ahead = now.saturating_sub(theirs);
        self.ahead.store(ahead, Ordering::Relaxed);
        self.heard.store(now, Ordering::Relaxed);
    }

    /// How far this machine's clock is ahead, in seconds; negative if it is behind, `None` without
    /// a recent answer.
    pub fn ahead(&self, now: DateTime<Utc>) -> Option<i64> {
        Some(self.told(now)?.1)
    }

    /// The last answer of several hosts, as [`Skew::ahead`].
    pub fn latest<'s>(
        skews: impl IntoIterator<Item = &'s Self>,
        now: DateTime<Utc>,
    ) -> Option<i64> {
        let told = skews.into_iter().filter_map(|skew| skew.told(now));
        told.max_by_key(|(heard, _)| *heard).map(|(_, ahead)| ahead)
    }

    /// The time of an answer, and the difference.
    fn told(&self, now: DateTime<Utc>) -> Option<(i64, i64)> {
        let heard = self.heard.load(Ordering::Relaxed);
        let age = now.timestamp().checked_sub(heard)?;
        let ahead = self.ahead.load(Ordering::Relaxed);
        (0..=NEWS).contains(&age).then_some((heard, ahead))
    }
}

/// When an answer was sent by its sender's clock, in seconds; a cache says how long it kept it.
pub(super) fn sent(fields: &HeaderMap) -> Option<i64> {
    let date = fields.get(DATE)?.to_str().ok()?;
    let date = DateTime::parse_from_rfc2822(date).ok()?.timestamp();
    let age = fields
        .get(AGE)
        .and_then(|age| age.to_str().ok()?.parse().ok());
    Some(date.saturating_add(age.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn fields(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
        let fields = fields.iter().cloned();
        fields
            .map(|(name, value)| (name, HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn an_answer_tells_the_clock_and_only_for_a_while() {
        let skew = Skew::default();
        let now = at("2026-11-26T12:00:00Z");
        assert_eq!(skew.ahead(now), None);
        for strange in [&[][..], &[(DATE, "tomorrow")], &[(DATE, "")]] {
            skew.hear(&fields(strange), now);
            assert_eq!(skew.ahead(now), None, "{strange:?}");
        }
        let theirs = fields(&[(DATE, "Thu, 26 Nov 2026 11:50:00 GMT")]);
        skew.hear(&theirs, now);
        assert_eq!(skew.ahead(now), Some(600));
        // Another one a moment later is not read, and one that a cache kept is of now.
        let cached = fields(&[(DATE, "Thu, 26 Nov 2026 11:00:11 GMT"), (AGE, "3600")]);
        skew.hear(&cached, at("2026-11-26T12:00:09Z"));
        assert_eq!(skew.ahead(now), Some(600));
        let later = at("2026-11-26T12:00:10Z");
        skew.hear(&cached, later);
        assert_eq!(skew.ahead(later), Some(-1));
        assert_eq!(skew.ahead(at("2026-11-27T12:00:11Z")), None);
        // The clock was set.
        assert_eq!(skew.ahead(at("2016-11-26T12:00:00Z")), None);
        skew.hear(&theirs, at("2016-11-26T11:50:00Z"));
        let ahead = skew.ahead(at("2016-11-26T11:50:00Z")).unwrap();
        assert_eq!(ahead, -3652 * 86_400);
    }

    #[test]
    fn of_two_hosts_the_one_that_answered_last_tells() {
        let (portal, api) = (Skew::default(), Skew::default());
        let both = |now| Skew::latest([&portal, &api], now);
        let now = at("2026-11-26T12:00:00Z");
        assert_eq!(both(now), None);
        portal.hear(&fields(&[(DATE, "Thu, 26 Nov 2026 11:00:00 GMT")]), now);
        assert_eq!(both(now), Some(3600));
        let later = at("2026-11-26T13:00:00Z");
        api.hear(&fields(&[(DATE, "Thu, 26 Nov 2026 13:00:00 GMT")]), later);
        assert_eq!(both(later), Some(0));
    }
}
