//! How fast answers come, by what one look after the other says. Pure.

use std::collections::{HashMap, VecDeque};

use crate::control::flights::{InFlightReport, RequestInFlight};

/// A rate is that of the last so many milliseconds, so that it neither jumps nor lags.
const WINDOW: u64 = 5_000;
/// Over less than this nothing can be told.
const LEAST: u64 = 200;

/// What an answer comes at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rate {
    /// It has not begun, or only just.
    Unknown,
    /// Events of its stream, in tenths a second.
    Events(u64),
    /// Bytes a second, where it has no events, or none that can be seen.
    Bytes(u64),
}

/// What was seen of the requests in flight.
#[derive(Debug, Default)]
pub(super) struct Rates(HashMap<String, VecDeque<Sample>>);

/// An answer at an age of its request, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Sample {
    age: u64,
    events: u64,
    bytes: u64,
}

impl Sample {
    fn of(request: &RequestInFlight) -> Self {
        Self {
            age: request.age_ms,
            events: request.events,
            bytes: request.bytes_out,
        }
    }
}

impl Rates {
    /// Takes another look, and forgets what has ended.
    pub(super) fn learn(&mut self, report: &InFlightReport) {
        let mut before = std::mem::take(&mut self.0);
        for request in &report.requests {
            let mut samples = before.remove(&request.id).unwrap_or_default();
            let now = Sample::of(request);
            // One that is young enough for the window is the first.
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

    /// What the request's answer comes at. At the first look, that is since it began.
    pub(super) fn of(&self, request: &RequestInFlight) -> Rate {
        let Some(begun) = request.first_byte_ms else {
            return Rate::Unknown;
        };
        let begin = Sample {
            age: begun,
            events: 0,
            bytes: 0,
        };
        let now = Sample::of(request);
        let first = self.0.get(&request.id).and_then(VecDeque::front);
        let is_of_the_answer = |first: &&Sample| now.age.saturating_sub(first.age) >= LEAST;
        let first = first.filter(is_of_the_answer).copied();
        let first = first.filter(|first| first.age >= begun).unwrap_or(begin);
        let time = now.age.saturating_sub(first.age);
        if time < LEAST {
            return Rate::Unknown;
        }
        let rate = |now: u64, before: u64, unit: u64| {
            (now.saturating_sub(before).saturating_mul(unit) + time / 2) / time
        };
        if now.events > 0 {
            Rate::Events(rate(now.events, first.events, 10_000))
        } else {
            Rate::Bytes(rate(now.bytes, first.bytes, 1000))
        }
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
        let mut rates = Rates::default();
        let mut next = |age, events, bytes| {
            let report = look(age, events, bytes);
            rates.learn(&report);
            rates.of(&report.requests[0])
        };
        assert_eq!(next(900, 0, 0), Rate::Unknown);
        assert_eq!(next(1100, 3, 300), Rate::Unknown);
        // Since it began.
        assert_eq!(next(2000, 40, 4000), Rate::Events(400));
        for second in 3..=10 {
            let rate = next(second * 1000, second * 20, 100);
            assert!(matches!(rate, Rate::Events(150..=400)), "{rate:?}");
        }
        assert_eq!(next(11_000, 220, 100), Rate::Events(200));
        // Nothing comes for a while.
        assert_eq!(next(16_000, 220, 100), Rate::Events(0));
        assert_eq!(next(16_000, 220, 100), Rate::Events(0));
        assert_eq!(next(61_000, 270, 100), Rate::Events(11));
    }

    #[test]
    fn a_stream_without_events_has_bytes_and_what_has_ended_is_forgotten() {
        let mut rates = Rates::default();
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
