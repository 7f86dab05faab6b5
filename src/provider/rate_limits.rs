//! The `x-ratelimit-…` headers of OpenAI's API and its like: what is left of a limit. Pure.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::HeaderMap;

use super::quota::{Quota, QuotaAmounts, ReportedWindow};
use crate::clock;

/// A limit's name, its fields' suffix, and its length if that is a part of its name.
const BUCKETS: [(&str, [&str; 3], Option<Duration>); 4] = [
    (
        "requests",
        [
            "x-ratelimit-limit-requests",
            "x-ratelimit-remaining-requests",
            "x-ratelimit-reset-requests",
        ],
        None,
    ),
    (
        "tokens",
        [
            "x-ratelimit-limit-tokens",
            "x-ratelimit-remaining-tokens",
            "x-ratelimit-reset-tokens",
        ],
        None,
    ),
    (
        "requests_1h",
        [
            "x-ratelimit-limit-requests-1h",
            "x-ratelimit-remaining-requests-1h",
            "x-ratelimit-reset-requests-1h",
        ],
        Some(HOUR),
    ),
    (
        "tokens_1h",
        [
            "x-ratelimit-limit-tokens-1h",
            "x-ratelimit-remaining-tokens-1h",
            "x-ratelimit-reset-tokens-1h",
        ],
        Some(HOUR),
    ),
];

const HOUR: Duration = Duration::from_hours(1);
/// A limit that begins again later is not plausible.
const LONGEST: Duration = Duration::from_hours(24 * 366);

/// The quotas in an answer's headers. `short` is the length of limits whose names have none, if the provider has
/// such.
pub(super) fn of_fields(
    fields: &HeaderMap,
    at: DateTime<Utc>,
    short: Option<Duration>,
) -> Option<Quota> {
    if !are_in(fields) {
        return None;
    }
    let windows = BUCKETS.into_iter().filter_map(|(name, names, length)| {
        let [limit, remaining, reset] = names;
        let limit = count(text(fields, limit)?)?;
        let remaining = count(text(fields, remaining)?)?.min(limit);
        let left = text(fields, reset).and_then(span);
        Some(ReportedWindow {
            name,
            used_percent: used_percent(limit, remaining)?,
            amounts: Some(QuotaAmounts { limit, remaining }),
            length: length.or(short),
            resets_at: left.map(|left| clock::after(at, left)),
        })
    });
    let windows: Vec<_> = windows.collect();
    (!windows.is_empty()).then_some(Quota { at, windows })
}

/// Whether there are any such fields. Most answers have none, and this costs less than to look for each.
pub(super) fn are_in(fields: &HeaderMap) -> bool {
    let mut names = fields.keys();
    names.any(|name| name.as_str().starts_with("x-ratelimit-"))
}

fn text<'f>(fields: &'f HeaderMap, name: &str) -> Option<&'f str> {
    Some(fields.get(name)?.to_str().ok()?.trim())
}

/// A whole number; a fraction of a token counts as none.
fn count(text: &str) -> Option<u64> {
    text.split('.').next()?.parse().ok()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a percentage of large numbers is exact enough"
)]
fn used_percent(limit: u64, remaining: u64) -> Option<f64> {
    let used = limit.checked_sub(remaining)?;
    (limit > 0).then(|| used as f64 / limit as f64 * 100.0)
}

/// The time until a limit begins again: a number of seconds, or as Go writes it, such as `6m0s` and `20ms`.
fn span(text: &str) -> Option<Duration> {
    let seconds = match text.parse::<f64>() {
        Ok(seconds) => seconds,
        Err(_) => go_seconds(text)?,
    };
    let span = Duration::try_from_secs_f64(seconds).ok()?;
    (span <= LONGEST).then_some(span)
}

fn go_seconds(mut text: &str) -> Option<f64> {
    let mut seconds = 0.0;
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, rest) = text.split_at_checked(end)?;
        let number: f64 = number.parse().ok()?;
        let end = rest.find(|c: char| c.is_ascii_digit());
        let (unit, rest) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
        seconds += number
            * match unit {
                "d" => 86_400.0,
                "h" => 3_600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                _ => return None,
            };
        text = rest;
    }
    Some(seconds)
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn told(fields: &[(&'static str, &'static str)], short: Option<Duration>) -> Option<Quota> {
        let fields = fields.iter().map(|(name, value)| {
            let name = HeaderName::try_from(format!("x-ratelimit-{name}")).unwrap();
            (name, HeaderValue::from_static(value))
        });
        let at = "2026-11-29T12:00:00Z".parse().unwrap();
        of_fields(&fields.collect(), at, short)
    }

    #[test]
    fn a_limit_and_what_is_left_of_it_make_a_window() {
        let quota = told(
            &[
                ("limit-requests", "200"),
                ("remaining-requests", "50"),
                ("reset-requests", "30"),
                ("limit-tokens-1h", "1000000"),
                ("remaining-tokens-1h", "0.0"),
                ("reset-tokens-1h", "1h1m1.5s"),
            ],
            Some(Duration::from_mins(1)),
        );
        let quota = quota.unwrap();
        let [requests, tokens] = quota.windows.as_slice() else {
            panic!("{quota:?}");
        };
        assert_eq!((requests.name, tokens.name), ("requests", "tokens_1h"));
        assert!((requests.used_percent - 75.0).abs() < 1e-9);
        assert_eq!(requests.length, Some(Duration::from_mins(1)));
        assert_eq!(
            requests.resets_at,
            Some(clock::after(quota.at, Duration::from_secs(30)))
        );
        let amounts = tokens.amounts.unwrap();
        assert_eq!((amounts.limit, amounts.remaining), (1_000_000, 0));
        assert!((tokens.used_percent - 100.0).abs() < 1e-9);
        assert_eq!(tokens.length, Some(HOUR));
        let span = Duration::from_millis(3_661_500);
        assert_eq!(tokens.resets_at, Some(clock::after(quota.at, span)));
        let later = clock::after(quota.at, span);
        assert_eq!(&tokens.clone().at(quota.at), tokens);
        let again = tokens.clone().at(later);
        assert!(again.used_percent.abs() < 1e-9);
        assert_eq!(again.amounts.unwrap().remaining, 1_000_000);
        assert_eq!(again.resets_at, None);
    }

    #[test]
    fn what_makes_no_sense_is_no_window() {
        for fields in [
            &[][..],
            &[("remaining-requests", "3")],
            &[("limit-requests", "3")],
            &[("limit-requests", "0"), ("remaining-requests", "0")],
            &[("limit-requests", "-5"), ("remaining-requests", "1")],
            &[("limit-requests", "many"), ("remaining-requests", "1")],
        ] {
            assert_eq!(told(fields, None), None, "{fields:?}");
        }
        for reset in ["soon", "1e300", "-1", "NaN", "5x", "1m2"] {
            let fields = [
                ("limit-requests", "3"),
                ("remaining-requests", "9"),
                ("reset-requests", reset),
            ];
            let window = told(&fields, None).unwrap().windows.remove(0);
            assert_eq!((window.resets_at, window.length), (None, None), "{reset}");
            assert!(window.used_percent.abs() < 1e-9);
        }
    }
}
