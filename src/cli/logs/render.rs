//! Texts about the log.

use std::fmt::Display;

use chrono::TimeZone;

use crate::cli::args::LogLevel;
use crate::cli::logs::LogEntry;
use crate::cli::text::{Style, TextTone, inline};

/// One line: time, level, and what happened; requests in a form of their own.
pub(in crate::cli) fn entry<Z>(entry: &LogEntry, zone: &Z, style: Style) -> String
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let time = entry.at.map(|at| {
        let local = at.0.with_timezone(zone);
        let time = local.format("%Y-%m-%d %H:%M:%S").to_string();
        style.paint(TextTone::Label, &time) + " "
    });
    let (tone, level) = match entry.level {
        LogLevel::Error => (TextTone::Bad, "error"),
        LogLevel::Warn => (TextTone::Waiting, "warn "),
        LogLevel::Info => (TextTone::Good, "info "),
        LogLevel::Debug => (TextTone::Label, "debug"),
        LogLevel::Trace => (TextTone::Label, "trace"),
    };
    let level = style.paint(tone, level);
    let what = request(entry, style).unwrap_or_else(|| event(entry, style));
    format!("{}{level} {what}\n", time.unwrap_or_default())
}

/// `POST nous /chat/completions 200 in 1280 ms, first byte 412 ms · karakeep · 49f2c0a5`
fn request(entry: &LogEntry, style: Style) -> Option<String> {
    if entry.message != "request" {
        return None;
    }
    let (id, path) = (entry.text("id")?, entry.text("path")?);
    let text = |name: &str| entry.text(name).map(inline).unwrap_or_default();
    let status = entry.number("status").unwrap_or_default();
    let tone = if entry.failed() {
        TextTone::Bad
    } else {
        TextTone::Good
    };
    let status = style.paint(tone, &status.to_string());
    let milliseconds = |name: &str| entry.number(name).map(|micros| micros / 1000);
    let took = milliseconds("duration_us").map(|time| format!(" in {time} ms"));
    let first = milliseconds("first_byte_us").map(|time| format!(", first byte {time} ms"));
    let end = entry.text("end").filter(|end| *end != "complete");
    let code = entry.text("code").filter(|code| !code.is_empty());
    let end = end.map(|end| format!(" · {} {}", inline(end), inline(code.unwrap_or_default())));
    let client = entry
        .text("client")
        .map(|name| format!(" · {}", inline(name)));
    let words = [text("method"), text("provider"), inline(path), status];
    let words = words.iter().filter(|word| !word.is_empty());
    let words: Vec<_> = words.map(String::as_str).collect();
    Some(
        [
            words.join(" "),
            took.unwrap_or_default(),
            first.unwrap_or_default(),
            end.map(|end| end.trim_end().to_owned()).unwrap_or_default(),
            client.unwrap_or_default(),
            format!(" · {}", style.paint(TextTone::Label, &inline(id))),
        ]
        .concat(),
    )
}

fn event(entry: &LogEntry, style: Style) -> String {
    let mut text = inline(&entry.message);
    for (name, value) in &entry.fields {
        let value = value
            .as_str()
            .filter(|text| !text.contains([' ', '"']))
            .map_or_else(|| value.to_string(), str::to_owned);
        let name = style.paint(TextTone::Label, &format!("{}=", inline(name)));
        text = text + " " + &name + &inline(&value);
    }
    text
}
