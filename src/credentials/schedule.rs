//! When a credential is renewed. Pure.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::clock;

/// A credential is renewed this part of its life before its end, when that is less than the
/// configured lead: after 80 %.
const PART_OF_LIFE: u32 = 5;
/// So many rotations may follow one another at once.
const AT_ONCE: u32 = 6;
/// Then one in this time.
const PACE: Duration = Duration::from_secs(30);
/// Up to this part of the lead is drawn at random, so that many daemons don't ask at once.
const JITTER: f64 = 0.1;

/// The span of a credential's life in which it is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// From here on it counts as due.
    pub opens: DateTime<Utc>,
    /// From this time on it is due, whatever the jitter.
    pub closes: DateTime<Utc>,
}

impl Window {
    /// The window of a credential that was issued at `issued` (unknown: long ago) and ends at
    /// `expires`, with a lead of at most `lead`.
    pub fn new(issued: Option<DateTime<Utc>>, expires: DateTime<Utc>, lead: Duration) -> Self {
        let life = issued.map_or(Duration::MAX, |issued| clock::until(expires, issued));
        let lead = lead.min(life.checked_div(PART_OF_LIFE).unwrap_or_default());
        let closes = clock::before(expires, lead);
        Self {
            opens: clock::before(closes, lead.mul_f64(JITTER)),
            closes,
        }
    }

    /// Whether a credential counts as due at `now`.
    pub fn is_open(&self, now: DateTime<Utc>) -> bool {
        now >= self.opens
    }

    /// The moment in the window that `dice`, a number from 0 to 1, draws.
    pub fn draw(&self, dice: f64) -> DateTime<Utc> {
        let width = clock::until(self.closes, self.opens);
        clock::after(self.opens, width.mul_f64(dice.clamp(0.0, 1.0)))
    }
}

/// The floor between rotations, whatever causes them: a few at once, then one every thirty seconds.
/// Otherwise a token that lives for a second, or a provider that refuses at random, would cause an
/// endless series, and each rotation spends a refresh token.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RotationPace {
    /// When all rotations so far are paid for.
    paid: Option<DateTime<Utc>>,
}

impl RotationPace {
    /// Records a rotation. One that exceeds the floor delays the next as if it were the last of them.
    pub(super) fn rotated(&mut self, now: DateTime<Utc>) {
        let paid = clock::after(self.paid(now), PACE);
        self.paid = Some(paid.min(most(now)));
    }

    /// The time of the next possible one; `None` means now.
    pub(super) fn next(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let credit = PACE.saturating_mul(AT_ONCE.saturating_sub(1));
        let next = clock::before(self.paid(now), credit);
        (next > now).then_some(next)
    }

    /// A budget further ahead than possible was set before the clock was put back.
    fn paid(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.paid
            .filter(|paid| *paid <= most(now))
            .map_or(now, |paid| paid.max(now))
    }
}

/// The budget of immediate rotations.
fn most(now: DateTime<Utc>) -> DateTime<Utc> {
    clock::after(now, PACE.saturating_mul(AT_ONCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_rotations_may_follow_at_once_and_then_one_every_thirty_seconds() {
        let mut pace = RotationPace::default();
        let start: DateTime<Utc> = "2026-11-29T12:00:00Z".parse().unwrap();
        for _ in 0..AT_ONCE {
            assert_eq!(pace.next(start), None);
            pace.rotated(start);
        }
        let next = clock::after(start, PACE);
        assert_eq!(pace.next(start), Some(next));
        assert_eq!(pace.next(next), None);
        pace.rotated(next);
        assert_eq!(pace.next(next), Some(clock::after(next, PACE)));
        // One that could not wait.
        pace.rotated(next);
        assert_eq!(pace.next(next), Some(clock::after(next, PACE)));
        let later = clock::after(start, Duration::from_hours(1));
        assert_eq!(pace.next(later), None);
        // A clock that is put back holds nothing up.
        assert_eq!(
            pace.next(clock::before(start, Duration::from_hours(1))),
            None
        );
    }

    const LEAD: Duration = Duration::from_mins(5);

    fn window(life: Duration) -> (DateTime<Utc>, Window) {
        let issued: DateTime<Utc> = "2026-11-23T12:00:00Z".parse().unwrap();
        (
            issued,
            Window::new(Some(issued), clock::after(issued, life), LEAD),
        )
    }

    #[test]
    fn an_hours_token_is_due_about_five_minutes_before_its_end_and_not_sooner() {
        let (issued, window) = window(Duration::from_hours(1));
        assert_eq!(window.closes, clock::after(issued, Duration::from_mins(55)));
        assert_eq!(
            window.opens,
            clock::after(issued, Duration::from_mins(54) + LEAD / 10)
        );
        assert!(!window.is_open(clock::after(issued, Duration::from_mins(54))));
        assert!(window.is_open(window.draw(0.0)) && window.draw(1.0) == window.closes);
    }

    #[test]
    fn a_short_token_is_due_after_four_fifths_of_its_life() {
        let (issued, window) = window(Duration::from_secs(10));
        assert_eq!(window.closes, clock::after(issued, Duration::from_secs(8)));
        assert!(!window.is_open(issued));
    }

    #[test]
    fn a_token_without_a_life_is_due_at_once() {
        let (issued, window) = window(Duration::ZERO);
        assert!(window.is_open(issued));
    }

    #[test]
    fn a_token_of_unknown_age_has_the_whole_lead() {
        let end: DateTime<Utc> = "2026-11-23T12:00:00Z".parse().unwrap();
        assert_eq!(
            Window::new(None, end, LEAD).closes,
            clock::before(end, LEAD)
        );
    }
}
