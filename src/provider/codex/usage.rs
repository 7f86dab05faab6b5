//! How much of the account's quota is used: by the headers of an answer, by an event of its stream, or by the usage
//! document. Pure.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::HeaderMap;
use serde_json::{Map, Value};

use crate::clock;
use crate::provider::{BaseUrl, Quota, ReportedWindow};

/// The windows, as the fields of an answer call them, and as the document does.
const WINDOWS: [(&str, &str); 2] = [
    ("primary", "primary_window"),
    ("secondary", "secondary_window"),
];

/// The event's type, as it appears in one.
pub(super) const EVENT: &str = "\"codex.rate_limits\"";
/// The name of the plan's own limit there; models may have others besides.
const PLAN: &str = "codex";

/// The document's address: beside the backend, below the same root. `None` if requests go to an address of
/// another form.
pub(super) fn url(base: &BaseUrl) -> Option<String> {
    let base = base.to_string();
    Some(format!("{}/wham/usage", base.strip_suffix("/codex")?))
}

/// The usage in an answer's headers.
pub(super) fn of_fields(fields: &HeaderMap, at: DateTime<Utc>) -> Option<Quota> {
    let windows = WINDOWS.into_iter().filter_map(|(name, _)| {
        let number = |what: &str| -> Option<f64> {
            let value = fields.get(format!("x-codex-{name}-{what}"))?;
            value.to_str().ok()?.trim().parse().ok()
        };
        // Hardly any other answer has the first one.
        let used_percent = percent(number("used-percent")?)?;
        Some(ReportedWindow {
            name,
            used_percent,
            amounts: None,
            length: number("window-minutes").and_then(|minutes| span(minutes * 60.0)),
            resets_at: number("reset-at").and_then(time).or_else(|| {
                let left = span(number("reset-after-seconds")?)?;
                Some(clock::after(at, left))
            }),
        })
    });
    quota(windows.collect(), at)
}

/// The usage in an event's data.
pub(super) fn of_event(event: &[u8], at: DateTime<Utc>) -> Option<Quota> {
    let event: Value = serde_json::from_slice(event).ok()?;
    let is = |key: &str, value: &str| event.get(key).and_then(Value::as_str) == Some(value);
    let limit = event.get("metered_limit_name");
    let is_plans = limit.is_none_or(Value::is_null) || is("metered_limit_name", PLAN);
    if !is("type", EVENT.trim_matches('"')) || !is_plans {
        return None;
    }
    let limits = event.get("rate_limits")?;
    let windows = WINDOWS.into_iter().filter_map(|(name, _)| {
        let window = limits.get(name)?;
        let number = |key: &str| window.get(key)?.as_f64();
        Some(ReportedWindow {
            name,
            used_percent: percent(number("used_percent")?)?,
            amounts: None,
            length: number("window_minutes").and_then(|minutes| span(minutes * 60.0)),
            resets_at: number("reset_at").and_then(time).or_else(|| {
                let left = span(number("reset_after_seconds")?)?;
                Some(clock::after(at, left))
            }),
        })
    });
    quota(windows.collect(), at)
}

/// The usage in the document.
pub(super) fn of_body(body: &Map<String, Value>, at: DateTime<Utc>) -> Option<Quota> {
    let limits = body
        .get("rate_limit")
        .and_then(Value::as_object)
        .unwrap_or(body);
    let windows = WINDOWS.into_iter().filter_map(|(name, key)| {
        let window = limits.get(key)?;
        let number = |key: &str| window.get(key)?.as_f64();
        Some(ReportedWindow {
            name,
            used_percent: percent(number("used_percent")?)?,
            amounts: None,
            length: number("limit_window_seconds").and_then(span),
            resets_at: number("reset_at").and_then(time).or_else(|| {
                let left = span(number("reset_after_seconds")?)?;
                Some(clock::after(at, left))
            }),
        })
    });
    quota(windows.collect(), at)
}

fn quota(windows: Vec<ReportedWindow>, at: DateTime<Utc>) -> Option<Quota> {
    (!windows.is_empty()).then_some(Quota { at, windows })
}

fn percent(number: f64) -> Option<f64> {
    number.is_finite().then(|| number.clamp(0.0, 999.0))
}

/// A number of seconds, up to a year.
fn span(seconds: f64) -> Option<Duration> {
    const YEAR: f64 = 366.0 * 86_400.0;
    let fits = seconds > 0.0 && seconds <= YEAR;
    fits.then(|| Duration::from_secs_f64(seconds))
}

fn time(seconds: f64) -> Option<DateTime<Utc>> {
    if !seconds.is_finite() || seconds <= 0.0 {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float casts to the nearest i64"
    )]
    DateTime::from_timestamp(seconds as i64, 0).and_then(clock::plausible)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at() -> DateTime<Utc> {
        "2026-11-29T12:00:00Z".parse().unwrap()
    }

    fn window(name: &'static str, used_percent: f64, minutes: u64, resets: &str) -> ReportedWindow {
        ReportedWindow {
            name,
            used_percent,
            amounts: None,
            length: Some(Duration::from_mins(minutes)),
            resets_at: Some(resets.parse().unwrap()),
        }
    }

    #[test]
    fn an_answers_fields_tell_of_both_windows_and_no_fields_of_none() {
        let mut fields = HeaderMap::new();
        assert_eq!(of_fields(&fields, at()), None);
        for (name, value) in [
            ("x-codex-primary-used-percent", "12.5"),
            ("x-codex-primary-window-minutes", "300"),
            ("x-codex-primary-reset-at", "1795957200"),
            ("x-codex-secondary-used-percent", "40"),
            ("x-codex-secondary-window-minutes", "10080"),
            ("x-codex-secondary-reset-after-seconds", "60"),
        ] {
            fields.insert(name, value.parse().unwrap());
        }
        let told = of_fields(&fields, at()).unwrap();
        assert_eq!(
            told.windows,
            [
                window("primary", 12.5, 300, "2026-11-29T13:00:00Z"),
                window("secondary", 40.0, 10080, "2026-11-29T12:01:00Z"),
            ]
        );
        fields.insert("x-codex-primary-used-percent", "NaN".parse().unwrap());
        fields.insert(
            "x-codex-secondary-reset-after-seconds",
            "1e300".parse().unwrap(),
        );
        let odd = of_fields(&fields, at()).unwrap();
        assert_eq!((odd.windows.len(), odd.windows[0].resets_at), (1, None));
    }

    #[test]
    fn the_document_tells_the_same() {
        let body = json!({"plan_type": "plus", "rate_limit": {
            "primary_window": {"used_percent": 3, "limit_window_seconds": 18000,
                               "reset_at": 1_795_957_200},
            "secondary_window": null,
        }});
        let told = of_body(body.as_object().unwrap(), at()).unwrap();
        assert_eq!(
            told.windows,
            [window("primary", 3.0, 300, "2026-11-29T13:00:00Z")]
        );
        assert_eq!(of_body(json!({}).as_object().unwrap(), at()), None);
    }

    #[test]
    fn an_event_of_a_stream_tells_the_same_of_the_plans_own_limit() {
        let event = |name: Value, kind: &str| {
            let event = json!({"type": kind, "plan_type": "plus", "metered_limit_name": name,
                "rate_limits": {"allowed": true, "primary": {
                    "used_percent": 41.5, "window_minutes": 300, "reset_at": 1_795_957_200},
                    "secondary": null}});
            of_event(event.to_string().as_bytes(), at())
        };
        let kind = EVENT.trim_matches('"');
        for name in [Value::Null, json!("codex")] {
            let told = event(name, kind).unwrap();
            let window = window("primary", 41.5, 300, "2026-11-29T13:00:00Z");
            assert_eq!(told.windows, [window]);
        }
        assert_eq!(event(json!("other"), kind), None);
        assert_eq!(event(Value::Null, "response.created"), None);
        assert_eq!(of_event(b"\"codex.rate_limits\"", at()), None);
    }

    #[test]
    fn the_document_is_beside_the_backend_and_nowhere_else() {
        let url = |base: &str| url(&BaseUrl::new(&base.parse().unwrap()).unwrap());
        let told = url("https://chatgpt.com/backend-api/codex");
        assert_eq!(
            told.as_deref(),
            Some("https://chatgpt.com/backend-api/wham/usage")
        );
        assert_eq!(url("https://proxy.example/v1"), None);
    }
}
