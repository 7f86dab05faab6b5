//! Times in the forms that stores have.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::clock;

/// A time in one of the forms that stores have.
pub(super) fn time_of(value: &Value) -> Option<DateTime<Utc>> {
    told(value).and_then(clock::plausible)
}

fn told(value: &Value) -> Option<DateTime<Utc>> {
    if let Some(text) = value.as_str() {
        return DateTime::parse_from_rfc3339(text.trim())
            .ok()
            .map(|time| time.to_utc());
    }
    let number = value.as_f64().filter(|number| number.is_finite())?;
    let millis = if number > 1e12 { number } else { number * 1e3 };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float casts to the nearest i64"
    )]
    DateTime::from_timestamp_millis(millis as i64)
}
