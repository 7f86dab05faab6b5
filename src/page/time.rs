//! A time as the page shows it. Pure.

use chrono::{DateTime, Utc};

use super::markup::{Html, put};
use crate::control::human;
use crate::control::protocol::Timestamp;

/// A time: how far it is from now, and when it is. The script shows it in the reader's time zone.
pub(super) fn time(page: &mut Html, at: DateTime<Utc>, now: DateTime<Utc>) {
    let distance = human::distance((at - now).num_seconds());
    put!(
        page,
        distance,
        " <time datetime=\"",
        Timestamp(at),
        "\">",
        at.format("%Y-%m-%d %H:%M UTC").to_string(),
        "</time>"
    );
}
