//! The age of a login, and the end of its grant, which rotations don't move. Pure.
//!
//! The store has no field for it: every rotation overwrites `obtained_at`. So we keep a note in the
//! login's block, which Hermes Agent keeps at a rotation and drops at a new login.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};

use crate::clock;
use crate::provider::Login;

/// Our table in a login's block.
const NOTES: &str = "hermes_proxyd";
/// When the user logged in; for a login of another program, when it was first seen.
const LOGIN_AT: &str = "login_at";
/// The user is warned this long before the end, and once more at the second time.
const WARNINGS: [Duration; 2] = [Duration::from_hours(5 * 24), Duration::from_hours(24)];

/// When the user logged in, as noted in the block.
pub(super) fn login_at(login: &Login) -> Option<DateTime<Utc>> {
    let text = login.fields().get(NOTES)?.get(LOGIN_AT)?.as_str()?;
    text.parse().ok().and_then(clock::plausible)
}

/// Notes when the user logged in.
pub(super) fn note_login_at(login: &mut Login, at: DateTime<Utc>) {
    let notes = login.fields().get(NOTES).and_then(Value::as_object);
    let mut notes: Map<String, Value> = notes.cloned().unwrap_or_default();
    let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    notes.insert(LOGIN_AT.to_owned(), at.into());
    login.set(NOTES, notes);
}

/// How many of the warnings before `ends_at` are due at `now`.
pub(super) fn warnings_due(ends_at: DateTime<Utc>, now: DateTime<Utc>) -> usize {
    let due = |before: &&Duration| now >= clock::before(ends_at, **before);
    WARNINGS.iter().filter(due).count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::credentials::tests::layout;

    #[test]
    fn the_note_is_kept_beside_others() {
        let fields = json!({"a": 1, "hermes_proxyd": {"x": 2}});
        let mut login = Login::new(fields.as_object().cloned().unwrap(), layout());
        assert_eq!(login_at(&login), None);
        let at = "2026-11-23T12:00:00Z".parse().unwrap();
        note_login_at(&mut login, at);
        assert_eq!(login_at(&login), Some(at));
        assert_eq!(login.fields()["hermes_proxyd"]["x"], 2);
    }

    #[test]
    fn warnings_come_five_days_and_one_day_before_the_end() {
        let end: DateTime<Utc> = "2026-12-23T12:00:00Z".parse().unwrap();
        for (days_before, due) in [(30, 0), (6, 0), (5, 1), (2, 1), (1, 2), (0, 2), (-3, 2)] {
            let now = end - chrono::Duration::days(days_before);
            assert_eq!(warnings_due(end, now), due, "{days_before} days before");
        }
    }
}
