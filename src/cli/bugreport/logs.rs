//! The end of the log, from wherever the running daemon or the system keeps it.

use std::path::Path;

use serde_json::Value;
use tokio::time::timeout;

use crate::cli::connection::connect;
use crate::control::protocol::LogFrom;
use crate::control::protocol::calls;
use crate::control::protocol::{LogPlace, LogTail};
use crate::doctor::QUESTION;
use crate::paths::{Environment, older_log};
use crate::tools::ProgramCall;

/// How many log lines are in the report.
const LINES: usize = 200;
/// Our fields in the journal.
const FIELDS: &str = "HERMES_";

/// The last lines. What a running daemon logs comes first: a file or journal of a service may be old.
pub(super) async fn last_lines(environment: &Environment) -> String {
    let daemon = timeout(QUESTION, of_daemon()).await.ok().flatten();
    let (place, kept) = daemon.map_or((None, Vec::new()), |tail| (Some(tail.place), tail.lines));
    let file = match &place {
        Some(LogPlace::File(path)) => of_file(path),
        None => environment.service_log().and_then(|file| of_file(&file)),
        Some(LogPlace::Journal | LogPlace::StandardError | LogPlace::Other(_)) => None,
    };
    if let Some(text) = file {
        return text;
    }
    let from_memory = || tail(kept.iter().map(|line| line.trim_end().to_owned()));
    match (place, kept.is_empty()) {
        (None | Some(LogPlace::Journal), _) | (Some(_), true) => match of_journal().await {
            Ok(text) => text,
            Err(_) if !kept.is_empty() => from_memory(),
            Err(why) => format!("{why}\n"),
        },
        (Some(_), false) => from_memory(),
    }
}

async fn of_daemon() -> Option<LogTail> {
    connect()
        .await
        .ok()?
        .call(calls::Log(LogFrom { from: 0 }))
        .await
        .ok()
}

/// Of a file and the one before it; `None` where there is nothing.
fn of_file(file: &Path) -> Option<String> {
    let files = [older_log(file), file.to_owned()];
    let texts = files.map(|file| std::fs::read(file).unwrap_or_default());
    let text = texts.concat();
    let text = String::from_utf8_lossy(&text);
    (!text.is_empty()).then(|| tail(text.lines().map(str::to_owned)))
}

/// Of the unit, as the journal has it; else why it has nothing.
async fn of_journal() -> Result<String, String> {
    let lines = format!("--lines={LINES}");
    let arguments = [
        "--user",
        "--unit=hermes-proxyd",
        "--output=json",
        "--quiet",
        "--no-pager",
        &lines,
    ];
    let call = ProgramCall::new("journalctl", arguments).within(QUESTION);
    let answer = call.run().await.map_err(|error| error.to_string())?;
    let text = answer.said + &answer.complained;
    if text.trim().is_empty() {
        return Err("no log entries in the journal".to_owned());
    }
    let entries = text.lines();
    Ok(tail(entries.map(|line| {
        entry(line).unwrap_or_else(|| line.to_owned())
    })))
}

fn tail(lines: impl Iterator<Item = String>) -> String {
    let lines: Vec<_> = lines.collect();
    let last = lines.iter().skip(lines.len().saturating_sub(LINES));
    last.flat_map(|line| [line.as_str(), "\n"]).collect()
}

/// One entry of the journal on one line.
fn entry(line: &str) -> Option<String> {
    let entry: Value = serde_json::from_str(line).ok()?;
    let fields = entry.as_object()?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let micros: i64 = text("__REALTIME_TIMESTAMP")?.parse().ok()?;
    let at = chrono::DateTime::from_timestamp_micros(micros)?;
    let mut line = format!(
        "{} <{}> {}",
        at.format("%Y-%m-%dT%H:%M:%S%.3fZ"),
        text("PRIORITY").unwrap_or("?"),
        text("MESSAGE").unwrap_or("")
    );
    for (name, value) in fields {
        let Some(name) = name.strip_prefix(FIELDS) else {
            continue;
        };
        let value = value.as_str().unwrap_or("");
        line.extend([" ", &name.to_ascii_lowercase(), "=", value]);
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_line_with_our_fields() {
        let json = r#"{"__REALTIME_TIMESTAMP":"1764000000123456","PRIORITY":"6","MESSAGE":"done",
            "HERMES_STATUS":"200","_PID":"7"}"#;
        assert_eq!(
            entry(json).unwrap(),
            "2025-11-24T16:00:00.123Z <6> done status=200"
        );
    }
}
