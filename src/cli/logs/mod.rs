//! `hermesctl logs`: the log of hermes-proxyd, from the journal, from a file, or from the daemon's
//! memory if it logs to a terminal.

mod entry;
mod file;
pub(in crate::cli) mod render;
mod since;
mod source;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::pin::pin;

use chrono::{Local, Utc};
use tokio::signal::ctrl_c;

use super::args::{LogLevel, Logs};
use super::output::{CommandFailure, CommandOutput, Exit};
use source::LogSource;

pub(super) use entry::LogEntry;
#[cfg(test)]
pub(super) use source::nowhere;

/// How many lines are shown by default.
const USUAL: usize = 50;

/// Shows them.
pub(super) async fn logs(flags: Logs, output: &mut CommandOutput) -> Result<Exit, CommandFailure> {
    let since = flags.since.as_deref();
    let since = since.map(|text| since::since(text, &Local::now()));
    let since = since.transpose()?.map(|time| time.with_timezone(&Utc));
    let lines = match (flags.lines, since) {
        (Some(lines), _) => lines,
        (None, Some(_)) => usize::MAX,
        (None, None) => USUAL,
    };
    output.in_lines();
    let mut source = LogSource::open(&flags, since).await?;
    let mut last = VecDeque::new();
    let mut any = false;
    while let Some(entry) = source.next_old().await? {
        any = true;
        let recent = since.is_none_or(|since| entry.at.is_none_or(|at| at.0 >= since));
        if !recent || !is_meant(&entry, &flags) {
            continue;
        }
        last.push_back(entry);
        if last.len() > lines {
            last.pop_front();
        }
    }
    if last.is_empty() && !flags.follow {
        io::stderr()
            .lock()
            .write_all(nothing(any, &source.place()).as_bytes())?;
    }
    for entry in &last {
        show(entry, output)?;
    }
    if !flags.follow {
        return Ok(Exit::Ok);
    }
    let mut ended = pin!(ctrl_c());
    loop {
        let entry = tokio::select! {
            entry = source.next_new() => entry?,
            _ = &mut ended => return Ok(Exit::Interrupted),
        };
        let Some(entry) = entry else {
            return Ok(Exit::Ok);
        };
        if is_meant(&entry, &flags) {
            show(&entry, output)?;
        }
    }
}

fn show(entry: &LogEntry, output: &mut CommandOutput) -> io::Result<()> {
    output.answer(entry, |entry, style| render::entry(entry, &Local, style))
}

/// Whether the flags ask for it.
fn is_meant(entry: &LogEntry, flags: &Logs) -> bool {
    let is = |name: &str, wanted: &Option<String>| {
        let wanted = wanted.as_deref();
        wanted.is_none_or(|wanted| entry.text(name) == Some(wanted))
    };
    flags.level.is_none_or(|level| entry.level <= level)
        && is("provider", &flags.provider)
        && is("client", &flags.client)
        && is("id", &flags.request)
        && (!flags.errors || entry.level <= LogLevel::Warn || entry.failed())
}

/// Why nothing is shown of this place, which has other lines of ours or has none.
pub(super) fn nothing(any: bool, place: &str) -> String {
    if any {
        return format!("No matching log entries in {place}.\n");
    }
    format!(
        "No log entries in {place}. In the foreground hermes-proxyd logs to standard error; as a \
         service, to the journal or to the service's file: `hermesctl service status` names it.\n"
    )
}

#[cfg(test)]
mod tests;
