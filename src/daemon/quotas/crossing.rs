//! When a change of a window's usage is worth a notice: once when it comes to 80 %, once when it is used up, and once
//! when it has room again. Pure.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::clock;
use crate::provider::QuotaLevel;

/// A window that was used up counts as free below this, in percent, so that the last requests which still pass cause
/// no notices.
const ROOM: f64 = 95.0;
/// A low quota is reported again only after it was below this.
const FREE: f64 = 70.0;
/// A shorter window is full again before a user could react.
const SHORT: Duration = Duration::from_mins(10);
/// For a window without length or end, the same is reported again after this time at the earliest:
/// it may be one of seconds.
const PAUSE: Duration = Duration::from_hours(1);

/// A window as the provider last reported it.
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowUse {
    /// In percent.
    pub(super) used: f64,
    pub(super) length: Option<Duration>,
    pub(super) resets_at: Option<DateTime<Utc>>,
}

/// A report to the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QuotaReport {
    /// It has reached 80 %.
    Low,
    /// It is used up.
    Spent,
    /// It was used up, and has room again.
    Free,
}

/// The reports on a window so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ThresholdTracker {
    told: ToldThreshold,
    /// When it was last reported low, and when used up.
    low_at: Option<DateTime<Utc>>,
    spent_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ToldThreshold {
    #[default]
    Nothing,
    Low,
    Spent,
    /// It is used up, and was reported so a short while ago.
    Silenced,
}

impl ThresholdTracker {
    /// The report that is due now.
    pub(super) fn on(&mut self, window: WindowUse, now: DateTime<Utc>) -> Option<QuotaReport> {
        if window.length.is_some_and(|length| length < SHORT) {
            return None;
        }
        let is_known = window.length.is_some() || window.resets_at.is_some();
        let is_due = |last: Option<DateTime<Utc>>| {
            is_known || last.is_none_or(|last| now < last || now >= clock::after(last, PAUSE))
        };
        match (QuotaLevel::of(window.used), self.told) {
            (QuotaLevel::Spent, ToldThreshold::Nothing | ToldThreshold::Low) => {
                let is_due = is_due(self.spent_at);
                self.told = if is_due {
                    ToldThreshold::Spent
                } else {
                    ToldThreshold::Silenced
                };
                is_due.then(|| {
                    self.spent_at = Some(now);
                    QuotaReport::Spent
                })
            }
            (QuotaLevel::Low, ToldThreshold::Nothing) => {
                self.told = ToldThreshold::Low;
                is_due(self.low_at).then(|| {
                    self.low_at = Some(now);
                    QuotaReport::Low
                })
            }
            (
                QuotaLevel::Low | QuotaLevel::Free,
                ToldThreshold::Spent | ToldThreshold::Silenced,
            ) if window.used < ROOM => {
                let was_told = self.told == ToldThreshold::Spent;
                self.told = if window.used < FREE {
                    ToldThreshold::Nothing
                } else {
                    ToldThreshold::Low
                };
                was_told.then_some(QuotaReport::Free)
            }
            (QuotaLevel::Free, ToldThreshold::Low) if window.used < FREE => {
                self.told = ToldThreshold::Nothing;
                None
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: WindowUse = WindowUse {
        used: 0.0,
        length: Some(Duration::from_hours(5)),
        resets_at: None,
    };

    fn at(minutes: u64) -> DateTime<Utc> {
        let start = "2026-11-30T12:00:00Z".parse().unwrap();
        clock::after(start, Duration::from_mins(minutes))
    }

    fn told(window: WindowUse, all: &[f64]) -> Vec<Option<QuotaReport>> {
        let mut crossing = ThresholdTracker::default();
        let all = all.iter().zip(0..);
        all.map(|(used, minute)| {
            crossing.on(
                WindowUse {
                    used: *used,
                    ..window
                },
                at(minute),
            )
        })
        .collect()
    }

    #[test]
    fn each_crossing_is_told_once_and_jitter_is_none() {
        use QuotaReport::{Free, Low, Spent};
        let rows: [(&[f64], &[Option<QuotaReport>]); 6] = [
            (&[10.0, 79.9, 70.0], &[None, None, None]),
            (
                &[79.0, 80.0, 79.9, 80.1, 99.0, 75.0, 85.0],
                &[None, Some(Low), None, None, None, None, None],
            ),
            (
                &[85.0, 100.0, 99.9, 100.0, 97.0, 100.0],
                &[Some(Low), Some(Spent), None, None, None, None],
            ),
            (
                &[100.0, 0.0, 50.0, 81.0, 100.0, 90.0, 100.0],
                &[
                    Some(Spent),
                    Some(Free),
                    None,
                    Some(Low),
                    Some(Spent),
                    Some(Free),
                    Some(Spent),
                ],
            ),
            // It falls without having been used up: that causes no notice, but the next time does.
            (&[85.0, 10.0, 85.0], &[Some(Low), None, Some(Low)]),
            (&[120.0, 300.0], &[Some(Spent), None]),
        ];
        for (used, expected) in rows {
            assert_eq!(told(LONG, used), expected, "{used:?}");
        }
    }

    #[test]
    fn a_window_of_minutes_is_never_told_and_one_of_unknown_length_once_an_hour() {
        use QuotaReport::{Free, Low, Spent};
        let short = WindowUse {
            length: Some(Duration::from_mins(1)),
            ..LONG
        };
        assert_eq!(told(short, &[85.0, 100.0, 0.0]), [None, None, None]);
        let unknown = WindowUse {
            length: None,
            ..LONG
        };
        let mut crossing = ThresholdTracker::default();
        let mut found = Vec::new();
        for minute in 0..120 {
            for used in [10.0, 85.0, 100.0] {
                found.extend(crossing.on(WindowUse { used, ..unknown }, at(minute)));
            }
        }
        let once = [Low, Spent, Free];
        assert_eq!(found, [once, once].concat());
    }
}
