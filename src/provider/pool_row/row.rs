//! The rows of the store's pool, which Hermes Agent lays out alike for all providers: tokens at the top,
//! and marks of the last failure beside them. Pure.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::super::stored_time::time_of;
use crate::secret::Secret;

/// The source of the row that Hermes Agent keeps in step with the provider's block.
const OF_BLOCK: &str = "device_code";
/// The source of a row that a separate login made, as `hermes auth add` names it.
pub(in super::super) const OWN: &str = "manual:device_code";
/// What Hermes Agent keeps of a failure in every row; without one these are null.
pub(super) const LAST: [&str; 6] = [
    "last_status",
    "last_status_at",
    "last_error_code",
    "last_error_reason",
    "last_error_message",
    "last_error_reset_at",
];
/// What it keeps of a failure since 0.20; without one these are absent.
const SINCE_0_20: [&str; 2] = ["failure_reason", "consecutive_failures"];

/// How a row's login failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failing {
    /// Its quota is used up for a while.
    Exhausted,
    /// Only a new login helps.
    Dead,
}

/// The reason for a failure, beyond its status (0.20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureReason {
    /// The account has nothing to pay with.
    Billing,
    /// Too many requests.
    RateLimit,
}

/// What a failed request leaves in its row.
#[derive(Debug, Clone, Copy)]
pub struct FailureMark<'m> {
    /// How it failed.
    pub failing: Failing,
    /// The answer's status.
    pub status: u16,
    /// When.
    pub at: DateTime<Utc>,
    /// The provider's code for it.
    pub code: Option<&'m str>,
    /// The provider's words, without any token.
    pub message: Option<&'m str>,
    /// When the provider says that it ends.
    pub ends_at: Option<DateTime<Utc>>,
    /// What it was about.
    pub reason: Option<FailureReason>,
}

/// A row, to be read.
#[derive(Debug, Clone, Copy)]
pub struct PoolRow<'r>(&'r Map<String, Value>);

impl<'r> PoolRow<'r> {
    /// A row with these fields.
    pub fn new(fields: &'r Map<String, Value>) -> Self {
        Self(fields)
    }

    fn text(self, key: &str) -> Option<&'r str> {
        let text = self.0.get(key)?.as_str()?.trim();
        (!text.is_empty()).then_some(text)
    }

    /// Its identity among the pool's rows.
    pub fn id(self) -> Option<&'r str> {
        self.text("id")
    }

    /// Whether Hermes Agent keeps it in step with the provider's block; every other row is a separate
    /// login.
    pub fn is_of_block(self) -> bool {
        self.text("source") == Some(OF_BLOCK)
    }

    /// Its name for people.
    pub fn label(self) -> Option<&'r str> {
        self.text("label")
    }

    /// Where it came from, in Hermes Agent's words.
    pub fn source(self) -> Option<&'r str> {
        self.text("source")
    }

    /// Its place among the pool's rows; the smallest comes first.
    pub fn priority(self) -> i64 {
        self.0
            .get("priority")
            .and_then(Value::as_i64)
            .unwrap_or_default()
    }

    /// The access token.
    pub fn access(self) -> Option<Secret> {
        self.text("access_token")
            .map(|text| Secret::new(text.to_owned()))
    }

    /// The refresh token.
    pub fn refresh(self) -> Option<Secret> {
        self.text("refresh_token")
            .map(|text| Secret::new(text.to_owned()))
    }

    /// A time in one of its fields: ISO-8601, or epoch seconds or milliseconds.
    pub fn time(self, key: &str) -> Option<DateTime<Utc>> {
        time_of(self.0.get(key)?)
    }

    /// When it was marked last, well or failing. Of two marks the later one counts.
    pub fn marked_at(self) -> Option<DateTime<Utc>> {
        self.time("last_status_at")
    }

    /// How its login failed last, unless it has worked since.
    pub fn failing(self) -> Option<Failing> {
        match self.text("last_status")? {
            "exhausted" => Some(Failing::Exhausted),
            "dead" => Some(Failing::Dead),
            _ => None,
        }
    }

    /// The status of the last failure.
    pub fn failed_with(self) -> Option<u64> {
        self.0.get("last_error_code")?.as_u64()
    }

    /// The provider's code for it.
    pub fn failed_for(self) -> Option<&'r str> {
        self.text("last_error_reason")
    }

    /// When the last failure ends, as far as that was noted.
    pub fn fails_until(self) -> Option<DateTime<Utc>> {
        self.time("last_error_reset_at")
    }

    /// How often the same status has come in a row (0.20).
    pub fn failures(self) -> u64 {
        let count = self.0.get("consecutive_failures");
        count.and_then(Value::as_u64).unwrap_or_default()
    }
}

/// Epoch seconds, as Python's `time.time()` gives them.
#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds of this age fit into a float"
)]
fn seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp_micros() as f64 / 1e6
}

/// Marks a row as failing, in Hermes Agent's form. The same status in a row is counted.
pub fn mark(row: &mut Map<String, Value>, mark: &FailureMark<'_>) {
    let before = PoolRow::new(row);
    let again = before.failed_with() == Some(u64::from(mark.status));
    let failures = if again { before.failures() } else { 0 };
    let text = |text: Option<&str>| text.map_or(Value::Null, Value::from);
    let failing = match mark.failing {
        Failing::Exhausted => "exhausted",
        Failing::Dead => "dead",
    };
    let reason = mark.reason.map(|reason| match reason {
        FailureReason::Billing => "billing",
        FailureReason::RateLimit => "rate_limit",
    });
    for (key, value) in [
        ("last_status", failing.into()),
        ("last_status_at", seconds(mark.at).into()),
        ("last_error_code", mark.status.into()),
        ("last_error_reason", text(mark.code)),
        ("last_error_message", text(mark.message)),
        (
            "last_error_reset_at",
            mark.ends_at.map_or(Value::Null, |at| seconds(at).into()),
        ),
    ] {
        row.insert(key.to_owned(), value);
    }
    if mark.failing == Failing::Exhausted {
        let failures = failures.saturating_add(1);
        row.insert("consecutive_failures".to_owned(), failures.into());
    }
    match reason {
        Some(reason) => drop(row.insert("failure_reason".to_owned(), reason.into())),
        None => drop(row.shift_remove("failure_reason")),
    }
}

/// Marks a row as working, as Hermes Agent does when a failure is over.
pub fn mark_well(row: &mut Map<String, Value>) {
    unmark(row);
    row.insert("last_status".to_owned(), "ok".into());
}

/// Takes the marks of the last failure out of a row: it works again, or holds other tokens.
pub fn unmark(row: &mut Map<String, Value>) {
    for key in LAST {
        if let Some(value) = row.get_mut(key) {
            *value = Value::Null;
        }
    }
    for key in SINCE_0_20 {
        row.shift_remove(key);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(value: Value) -> Map<String, Value> {
        let Value::Object(row) = value else {
            panic!("not an object")
        };
        row
    }

    #[test]
    fn a_failure_is_marked_and_counted_as_hermes_agent_does_and_cleared() {
        let at: DateTime<Utc> = "2026-11-29T12:00:00.5Z".parse().unwrap();
        let failed = |status, failing| FailureMark {
            failing,
            status,
            at,
            code: Some("quota"),
            message: None,
            ends_at: Some(at),
            reason: (status == 429).then_some(FailureReason::RateLimit),
        };
        let before = row(json!({"id": "a", "last_status": null, "last_status_at": null}));
        let mut one = before.clone();
        mark(&mut one, &failed(429, Failing::Exhausted));
        mark(&mut one, &failed(429, Failing::Exhausted));
        assert_eq!(
            Value::Object(one.clone()),
            json!({
                "id": "a", "last_status": "exhausted", "last_status_at": 1_795_953_600.5,
                "last_error_code": 429, "last_error_reason": "quota", "last_error_message": null,
                "last_error_reset_at": 1_795_953_600.5, "consecutive_failures": 2,
                "failure_reason": "rate_limit",
            })
        );
        assert_eq!(PoolRow::new(&one).marked_at(), Some(at));
        assert_eq!(PoolRow::new(&one).failing(), Some(Failing::Exhausted));
        // Another status starts a new count, and a missing reason does not inherit the old one.
        mark(&mut one, &failed(402, Failing::Exhausted));
        assert_eq!(PoolRow::new(&one).failures(), 1);
        assert!(!one.contains_key("failure_reason"));
        mark(&mut one, &failed(401, Failing::Dead));
        assert_eq!(PoolRow::new(&one).failing(), Some(Failing::Dead));
        unmark(&mut one);
        assert_eq!(
            (PoolRow::new(&one).failing(), PoolRow::new(&one).failures()),
            (None, 0)
        );
        assert!(SINCE_0_20.iter().all(|key| !one.contains_key(*key)));
        assert!(LAST.iter().all(|key| one[*key].is_null()));
    }
}
