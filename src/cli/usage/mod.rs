//! `hermesctl usage`: the counts, from the running daemon or from the file that it has left.

pub(in crate::cli) mod render;

use chrono::NaiveDate;

use super::args::{UsageArgs, UsageBy};
use super::connection::ask;
use super::output::{CommandFailure, CommandOutput, Exit};
use crate::control::protocol::calls;
use crate::control::usage::{UsageBy as By, UsageQuery};

/// Shows who used how much.
pub(super) async fn usage(
    flags: UsageArgs,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let query = query(&flags)?;
    let config = flags.config.as_deref();
    let report = ask(config, async |daemon| {
        daemon.call(calls::Usage(query)).await
    })
    .await?;
    if flags.csv {
        output.answer(&report, |report, _| render::csv(report))?;
    } else {
        output.answer(&report, render::report)?;
    }
    Ok(Exit::Ok)
}

fn query(flags: &UsageArgs) -> Result<UsageQuery, CommandFailure> {
    let by = match flags.by {
        UsageBy::Client => By::Client,
        UsageBy::Model => By::Model,
        UsageBy::Provider => By::Provider,
        UsageBy::Login => By::Login,
        UsageBy::Path => By::Path,
        UsageBy::Day => By::Day,
    };
    let text = flags.since.trim();
    let days = match text {
        "today" => Some(1),
        "yesterday" => Some(2),
        _ => text.strip_suffix('d').and_then(|days| days.parse().ok()),
    };
    let day = text.parse::<NaiveDate>().ok();
    if day.is_none() && days.is_none_or(|days: u32| days == 0) {
        let message = format!("{text:?} is not a day.");
        return Err(CommandFailure::new(message)
            .with_code(Exit::Usage, "invalid_time")
            .with_hint("Write 1d, 7d, today, yesterday or 2026-11-23."));
    }
    Ok(UsageQuery {
        by,
        since: day.map(|day| day.to_string()),
        days: days.filter(|_| day.is_none()),
    })
}
