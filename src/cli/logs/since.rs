//! The times of `--since`. Pure.

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, TimeDelta, TimeZone};

use crate::cli::output::{CommandFailure, Exit};

/// The time that is meant: a distance from now, a day, or a time of the reader's zone.
pub(super) fn since<Z: TimeZone>(
    text: &str,
    now: &DateTime<Z>,
) -> Result<DateTime<Z>, CommandFailure> {
    let text = text.trim();
    let zone = now.timezone();
    let today = now.date_naive();
    let midnight = |day: NaiveDate| day.and_hms_opt(0, 0, 0);
    let local = match text {
        "today" => midnight(today),
        "yesterday" => today.checked_sub_days(Days::new(1)).and_then(midnight),
        _ => moment(text).or_else(|| text.parse().ok().and_then(midnight)),
    };
    let at = local.and_then(|local| zone.from_local_datetime(&local).earliest());
    let at = at.or_else(|| now.clone().checked_sub_signed(distance(text)?));
    let whole = DateTime::parse_from_rfc3339(text).ok();
    let at = at.or_else(|| whole.map(|at| at.with_timezone(&zone)));
    at.ok_or_else(|| {
        CommandFailure::new(format!("{text:?} is not a time."))
            .with_code(Exit::Passed(2), "invalid_time")
            .with_hint("Write 15m, 2h, 3d, today, yesterday, 2026-11-23 or \"2026-11-23 19:30\".")
    })
}

fn moment(text: &str) -> Option<NaiveDateTime> {
    let forms = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"];
    let mut moments = forms
        .iter()
        .map(|form| NaiveDateTime::parse_from_str(text, form));
    moments.find_map(Result::ok)
}

/// `90s`, `15m`, `15 min`, `2h`, `3d`.
fn distance(text: &str) -> Option<TimeDelta> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let number: i64 = number.parse().ok()?;
    match unit.trim().trim_end_matches(" ago") {
        "s" | "sec" => TimeDelta::try_seconds(number),
        "m" | "min" => TimeDelta::try_minutes(number),
        "h" => TimeDelta::try_hours(number),
        "d" => TimeDelta::try_days(number),
        _ => None,
    }
}
