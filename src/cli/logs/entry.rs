//! One line of the log, in the form of the journal, the JSON format or the format for people. Pure.

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::cli::args::LogLevel;
use crate::control::protocol::Timestamp;

/// One line. In JSON: `at`, `level`, `message`, `fields`, and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::cli) struct LogEntry {
    /// When; `null` where the line does not tell.
    pub(in crate::cli) at: Option<Timestamp>,
    #[serde(serialize_with = "level_word")]
    pub(in crate::cli) level: LogLevel,
    pub(in crate::cli) message: String,
    /// What else it tells, by the names that the README and the log have.
    pub(in crate::cli) fields: Map<String, Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn level_word<S: Serializer>(level: &LogLevel, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(word(*level))
}

/// The level's word.
pub(in crate::cli) fn word(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

impl LogEntry {
    /// A field that is text.
    pub(in crate::cli) fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    /// A field that is a number, also where it is written as text.
    pub(in crate::cli) fn number(&self, name: &str) -> Option<u64> {
        let value = self.fields.get(name)?;
        value.as_u64().or_else(|| value.as_str()?.parse().ok())
    }

    /// Whether it is of a request that did not end well.
    pub(in crate::cli) fn failed(&self) -> bool {
        let ended = self.text("end");
        let status = self.number("status").unwrap_or_default();
        ended.is_some_and(|end| end != "complete") || status >= 400
    }

    /// Of an object of `journalctl -o json`.
    pub(in crate::cli) fn of_journal(line: &str) -> Option<Self> {
        let object: Map<String, Value> = serde_json::from_str(line).ok()?;
        let text = |name: &str| object.get(name).and_then(journal_text);
        let micros = text("__REALTIME_TIMESTAMP").and_then(|micros| micros.parse().ok());
        let at = micros.and_then(DateTime::<Utc>::from_timestamp_micros);
        let ours = text("SYSLOG_IDENTIFIER").as_deref() == Some("hermes-proxyd");
        let priority = text("PRIORITY").and_then(|number| number.parse().ok());
        let fields = object.iter().filter_map(|(name, value)| {
            let name = name.strip_prefix("HERMES_")?.to_lowercase();
            Some((name, Value::String(journal_text(value)?)))
        });
        Some(Self {
            at: at.map(Timestamp),
            level: level_of(priority.unwrap_or(6), ours),
            message: text("MESSAGE").unwrap_or_default(),
            fields: fields.collect(),
        })
    }

    /// Of a line of a file: `--log-format json`, or that for people.
    pub(super) fn of_line(line: &str) -> Option<Self> {
        if line.trim().is_empty() {
            return None;
        }
        Some(Self::of_json(line).unwrap_or_else(|| Self::of_words(line)))
    }

    fn of_json(line: &str) -> Option<Self> {
        let mut fields: Map<String, Value> = serde_json::from_str(line).ok()?;
        let mut take = |name: &str| Some(fields.shift_remove(name)?.as_str()?.to_owned());
        let (at, level) = (take("timestamp")?, take("level")?);
        let message = take("message").unwrap_or_default();
        take("target");
        Some(Self {
            at: time(&at),
            level: named(&level)?,
            message,
            fields,
        })
    }

    /// `2026-11-23T19:44:00.000000Z  INFO request id="…" error=two words status=200`.
    fn of_words(line: &str) -> Self {
        let line = uncoloured(line);
        let mut words = line.split_whitespace();
        let at = words.next().and_then(time);
        let level = words.next().and_then(named);
        let (Some(at), Some(level)) = (at, level) else {
            return Self {
                at: None,
                level: LogLevel::Info,
                message: line,
                fields: Map::new(),
            };
        };
        let (message, fields) = parts(words);
        Self {
            at: Some(at),
            level,
            message,
            fields,
        }
    }
}

/// A line's message and its fields. A value in quotes ends with them, another one where the next
/// field begins.
fn parts<'l>(words: impl Iterator<Item = &'l str>) -> (String, Map<String, Value>) {
    let mut parts: Vec<(&str, String)> = vec![("", String::new())];
    for word in words {
        let is_open = parts.last().is_some_and(|(_, value)| is_in_quotes(value));
        let field = word.split_once('=').filter(|(name, _)| is_name(name));
        match (field.filter(|_| !is_open), parts.last_mut()) {
            (Some((name, value)), _) => parts.push((name, value.to_owned())),
            (None, Some((_, value))) if value.is_empty() => word.clone_into(value),
            (None, Some((_, value))) => {
                value.push(' ');
                value.push_str(word);
            }
            (None, None) => {}
        }
    }
    let mut parts = parts.into_iter();
    let message = parts.next().map(|(_, message)| message);
    let fields = parts.map(|(name, value)| (name.to_owned(), Value::String(unquoted(value))));
    (message.unwrap_or_default(), fields.collect())
}

fn is_name(word: &str) -> bool {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    !word.is_empty() && word.bytes().all(of_name)
}

fn is_in_quotes(value: &str) -> bool {
    let Some(rest) = value.strip_prefix('"') else {
        return false;
    };
    // A backslash keeps the quote after it.
    let mut escaped = false;
    let ends = |byte: u8| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    };
    !rest.bytes().any(ends)
}

/// Quoted as Rust does, which for most texts is as JSON does.
fn unquoted(value: String) -> String {
    serde_json::from_str(&value)
        .ok()
        .filter(|_| value.starts_with('"'))
        .unwrap_or(value)
}

/// A journal's value: text, or bytes as numbers if they are not UTF-8, or several.
fn journal_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let byte = |item: &Value| u8::try_from(item.as_u64()?).ok();
            let bytes: Option<Vec<u8>> = items.iter().map(byte).collect();
            match bytes {
                Some(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
                None => items.last().and_then(journal_text),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// The daemon writes info as 5 and debug as 6; systemd's own words on the unit are 6 for info.
fn level_of(priority: u8, ours: bool) -> LogLevel {
    match priority {
        0..=3 => LogLevel::Error,
        4 => LogLevel::Warn,
        6 if ours => LogLevel::Debug,
        5 | 6 => LogLevel::Info,
        _ => LogLevel::Trace,
    }
}

fn named(level: &str) -> Option<LogLevel> {
    Some(match level {
        "ERROR" => LogLevel::Error,
        "WARN" => LogLevel::Warn,
        "INFO" => LogLevel::Info,
        "DEBUG" => LogLevel::Debug,
        "TRACE" => LogLevel::Trace,
        _ => return None,
    })
}

fn time(text: &str) -> Option<Timestamp> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(Timestamp(time.to_utc()))
}

fn uncoloured(line: &str) -> String {
    let mut pieces = line.split("\u{1b}[");
    let first = pieces.next().unwrap_or_default().to_owned();
    let rest = pieces.map(|piece| piece.split_once('m').map_or(piece, |(_, rest)| rest));
    first + &rest.collect::<String>()
}
