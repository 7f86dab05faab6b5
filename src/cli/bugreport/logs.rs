//! The end of the service's log, from wherever the system keeps it.

use serde_json::Value;

use crate::doctor::QUESTION;
use crate::paths::{Environment, older_log};
use crate::tools::Call;

/// So many lines are in the report.
const LINES: usize = 200;
/// Our fields in the journal.
const FIELDS: &str = "HERMES_";

/// The last lines, and of which kind they are.
pub(super) async fn last_lines(environment: &Environment) -> String {
    let file = environment.service_log();
    let files = file.iter().flat_map(|file| [older_log(file), file.clone()]);
    let texts: Vec<_> = files
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .collect();
    if !texts.is_empty() {
        return tail(texts.concat().lines().map(str::to_owned));
    }
    let lines = format!("--lines={LINES}");
    let arguments = [
        "--user",
        "--unit=hermes-proxyd",
        "--output=json",
        "--quiet",
        "--no-pager",
        &lines,
    ];
    let call = Call::new("journalctl", arguments).within(QUESTION);
    let text = call.words().await;
    if text.trim().is_empty() {
        return "no log entries in the journal\n".to_owned();
    }
    tail(
        text.lines()
            .map(|line| entry(line).unwrap_or_else(|| line.to_owned())),
    )
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
