//! The rate at which answers arrive, derived from successive polls. Pure.

use std::collections::{HashMap, VecDeque};

use crate::control::in_flight::{InFlightReport, RequestInFlight};

/// A rate covers the last so many milliseconds, so that it neither jumps nor lags.
const WINDOW: u64 = 5_000;
/// Over a shorter time, no rate is shown.
const LEAST: u64 = 200;

/// Endings of the paths whose streams carry generated text; there, most providers send an event per token.
const OF_TEXT: [&str; 3] = ["/completions", "/responses", "/messages"];

/// The rate of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rate {
    /// The answer has not begun, or only just.
    Unknown,
    /// Tokens that the provider reports during the stream, in tenths per second.
    Tokens(u64),
    /// Tokens estimated from the stream's events, in tenths per second.
    About(u64),
    /// Events of any other stream, in tenths per second.
    Events(u64),
    /// Bytes per second, for an answer without visible events.
    Bytes(u64),
}

/// The samples of the requests in flight.
#[derive(Debug, Default)]
pub(super) struct StreamRates(HashMap<String, VecDeque<Sample>>);

/// An answer's progress at an age of its request in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Sample {
    age: u64,
    events: u64,
    bytes: u64,
    /// 0 if none were reported.
    tokens: u64,
}

impl Sample {
    fn of(request: &RequestInFlight) -> Self {
        Self {
            age: request.age_ms,
            events: request.events,
            bytes: request.bytes_out,
            tokens: request.tokens_out.unwrap_or_default(),
        }
    }

    /// The rate from `first` on, in tenths or whole numbers per second by `unit`.
    fn rate_since(self, first: Self, number: fn(&Self) -> u64, unit: u64) -> u64 {
        let time = self.age.saturating_sub(first.age).max(1);
        let more = number(&self).saturating_sub(number(&first));
        (more.saturating_mul(unit) + time / 2) / time
    }
}

impl StreamRates {
    /// Adds a poll's samples, and drops requests that have ended.
    pub(super) fn learn(&mut self, report: &InFlightReport) {
        let mut before = std::mem::take(&mut self.0);
        for request in &report.requests {
            let mut samples = before.remove(&request.id).unwrap_or_default();
            let now = Sample::of(request);
            // The first sample within the window stays first.
            while samples
                .get(1)
                .is_some_and(|next| now.age.saturating_sub(next.age) >= WINDOW)
            {
                samples.pop_front();
            }
            samples.push_back(now);
            self.0.insert(request.id.clone(), samples);
        }
    }

    /// The rate of the request's answer. On the first poll, it covers the time since the answer began.
    pub(super) fn of(&self, request: &RequestInFlight) -> Rate {
        let Some(begun) = request.first_byte_ms else {
            return Rate::Unknown;
        };
        let begin = Sample {
            age: begun,
            events: 0,
            bytes: 0,
            tokens: 0,
        };
        let now = Sample::of(request);
        if let Some(rate) = self.told(request, now) {
            return Rate::Tokens(rate);
        }
        let first = self.0.get(&request.id).and_then(VecDeque::front);
        let is_of_the_answer = |first: &&Sample| now.age.saturating_sub(first.age) >= LEAST;
        let first = first.filter(is_of_the_answer).copied();
        let first = first.filter(|first| first.age >= begun).unwrap_or(begin);
        if now.age.saturating_sub(first.age) < LEAST {
            return Rate::Unknown;
        }
        if now.events == 0 {
            return Rate::Bytes(now.rate_since(first, |one| one.bytes, 1000));
        }
        let events = now.rate_since(first, |one| one.events, 10_000);
        if OF_TEXT.iter().any(|end| request.path.ends_with(end)) {
            Rate::About(events)
        } else {
            Rate::Events(events)
        }
    }

    /// The rate of tokens that are reported during the stream: their number has grown in two polls. If all are reported
    /// at the end, it grows only once, whatever was reported at the beginning.
    fn told(&self, request: &RequestInFlight, now: Sample) -> Option<u64> {
        let samples = self.0.get(&request.id)?;
        let first = samples.iter().find(|one| one.tokens > 0)?;
        let pairs = samples.iter().zip(samples.iter().skip(1));
        let grown = pairs.filter(|(one, next)| one.tokens > 0 && next.tokens > one.tokens);
        let is_told = grown.count() >= 2 && now.age.saturating_sub(first.age) >= LEAST;
        is_told.then(|| now.rate_since(*first, |one| one.tokens, 10_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::shown::samples;

    fn look(age: u64, events: u64, bytes: u64) -> InFlightReport {
        let mut report: InFlightReport = samples::answer("reply_in_flight.json");
        report.requests.truncate(1);
        for request in &mut report.requests {
            request.first_byte_ms = Some(1000).filter(|begun| *begun <= age);
            request.age_ms = age;
            request.events = events;
            request.bytes_out = bytes;
        }
        report
    }

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let mut rates = StreamRates::default();
        let mut next = |age, events, bytes| {
            let report = look(age, events, bytes);
            rates.learn(&report);
            rates.of(&report.requests[0])
        };
        assert_eq!(next(900, 0, 0), Rate::Unknown);
        assert_eq!(next(1100, 3, 300), Rate::Unknown);
        // since the answer began
        assert_eq!(next(2000, 40, 4000), Rate::About(400));
        for second in 3..=10 {
            let rate = next(second * 1000, second * 20, 100);
            assert!(matches!(rate, Rate::About(150..=400)), "{rate:?}");
        }
        assert_eq!(next(11_000, 220, 100), Rate::About(200));
        // A pause in the answer.
        assert_eq!(next(16_000, 220, 100), Rate::About(0));
        assert_eq!(next(16_000, 220, 100), Rate::About(0));
        assert_eq!(next(61_000, 270, 100), Rate::About(11));
    }

    #[test]
    fn only_streams_of_text_have_tokens() {
        for (path, rate) in [
            ("/chat/completions", Rate::About(200)),
            ("/responses", Rate::About(200)),
            ("/messages", Rate::About(200)),
            ("/images/generations", Rate::Events(200)),
        ] {
            let mut report = look(3000, 40, 100);
            report.requests[0].path = path.to_owned();
            assert_eq!(
                StreamRates::default().of(&report.requests[0]),
                rate,
                "{path}"
            );
        }
    }

    #[test]
    fn tokens_that_are_told_while_they_are_made_are_no_estimate() {
        let mut rates = StreamRates::default();
        let mut next = |age, events, tokens| {
            let mut report = look(age, events, 0);
            report.requests[0].tokens_out = tokens;
            rates.learn(&report);
            rates.of(&report.requests[0])
        };
        // four tokens per event
        assert_eq!(next(2000, 10, Some(40)), Rate::About(100));
        assert_eq!(next(3000, 20, Some(80)), Rate::About(100));
        assert_eq!(next(4000, 30, Some(120)), Rate::Tokens(400));
        assert_eq!(next(5000, 40, Some(180)), Rate::Tokens(467));
        for second in 6..=20 {
            let rate = next(second * 1000, second * 10, Some(180 + (second - 5) * 40));
            assert!(matches!(rate, Rate::Tokens(400..=467)), "{rate:?}");
        }
        // A pause longer than the window.
        for second in 21..=40 {
            next(second * 1000, 200, Some(780));
        }
        assert_eq!(next(41_000, 200, Some(780)), Rate::About(0));

        // One token reported at the beginning and all at the end, as in Messages.
        let mut rates = StreamRates::default();
        let mut next = |age, events, tokens| {
            let mut report = look(age, events, 0);
            report.requests[0].tokens_out = tokens;
            rates.learn(&report);
            rates.of(&report.requests[0])
        };
        for second in 2..=30 {
            let rate = next(second * 1000, (second - 1) * 20, Some(1));
            assert_eq!(rate, Rate::About(200));
        }
        assert_eq!(next(31_000, 600, Some(2500)), Rate::About(200));
    }

    #[test]
    fn a_stream_without_events_has_bytes_and_what_has_ended_is_forgotten() {
        let mut rates = StreamRates::default();
        let report = look(3000, 0, 5000);
        assert_eq!(rates.of(&report.requests[0]), Rate::Bytes(2500));
        rates.learn(&report);
        assert_eq!(rates.0.len(), 1);
        let later = look(4000, 0, 5010);
        rates.learn(&later);
        assert_eq!(rates.of(&later.requests[0]), Rate::Bytes(10));
        rates.learn(&InFlightReport {
            requests: Vec::new(),
            ..report
        });
        assert!(rates.0.is_empty());
    }
}
