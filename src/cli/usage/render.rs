//! The table of usage.

use crate::cli::text::{Style, TextTone, inline, visible};
use crate::cli::top::words::cut;
use crate::control::usage::{UsageBy, UsageReport, UsageRow, UsageSums};

/// The parts of a bar's last column, from the smallest.
const PARTS: [&str; 7] = ["▏", "▎", "▍", "▌", "▋", "▊", "▉"];
/// No bar is longer.
const LONGEST_BAR: usize = 24;
/// Names leave this much for one.
const SHORTEST_BAR: usize = 6;
/// No name takes more columns.
const LONGEST_NAME: usize = 32;

/// A table with a bar for each row.
pub(in crate::cli) fn report(report: &UsageReport, style: Style) -> String {
    let UsageReport { from, to, .. } = report;
    let days = if from == to {
        format!("on {}", inline(to))
    } else {
        format!("from {} to {}", inline(from), inline(to))
    };
    let mut text = String::new();
    if report.rows.is_empty() {
        text += &style.prose(&format!("No requests were counted {days}."));
    } else {
        text += &style.prose(&format!(
            "Usage by {} {days}, with tokens in and out:",
            word(report.by)
        ));
        text.push('\n');
        text += &table(report, style);
        text += &notes(report, style);
    }
    if !report.enabled {
        text += &style.prose(
            "Requests are not counted: set `enabled = true` under [usage], then run `hermesctl proxy restart`.",
        );
    }
    if let Some(fault) = &report.fault {
        let why = style.paint(TextTone::Bad, "not saved:");
        text += &style.prose(&format!("The last requests are {why} {}.", inline(fault)));
    }
    if report.dropped > 0 {
        let dropped = number(report.dropped);
        text += &style.prose(&format!(
            "{dropped} requests since the start could not be counted."
        ));
    }
    text
}

/// The columns after the name.
const HEADS: [&str; 4] = ["requests", "failed", "in", "out"];

fn table(report: &UsageReport, style: Style) -> String {
    let rows = report.rows.iter();
    let names: Vec<String> = rows
        .clone()
        .map(|row| cut(&name(report.by, row), LONGEST_NAME))
        .collect();
    // No name begins like it.
    let total = "(total)".to_owned();
    let cells: Vec<[String; 4]> = rows
        .map(|row| cells(&row.sums))
        .chain([cells(&report.total)])
        .collect();
    let widths: [usize; 4] = std::array::from_fn(|column| {
        let cells = cells.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| visible(cell)).max().unwrap_or_default();
        let head = HEADS.get(column).map_or(0, |head| head.len());
        widest.max(head)
    });
    let fixed: usize = widths.iter().map(|width| width + 2).sum();
    let longest = names.iter().chain([&total]).map(|name| visible(name)).max();
    let columns = style.columns();
    // The name gets what the numbers leave, the bar the rest.
    let room = columns.saturating_sub(fixed + 2 + SHORTEST_BAR).max(8);
    let width = longest.unwrap_or_default().max(5).min(room);
    let bar = columns.saturating_sub(fixed + width + 2).min(LONGEST_BAR);
    let most = report.rows.iter().map(weight).max().unwrap_or_default();
    let line = |name: &str, cells: &[String; 4], bar: &str| {
        let name = cut(name, width);
        let gap = " ".repeat(width - visible(&name));
        let mut line = name + &gap;
        for (cell, width) in cells.iter().zip(widths) {
            line += &" ".repeat(2 + width - visible(cell));
            line += cell;
        }
        line.extend(["  ", bar]);
        line.trim_end().to_owned() + "\n"
    };
    let heads = HEADS.map(str::to_owned);
    let mut text = style.paint(TextTone::Label, line("", &heads, "").trim_end()) + "\n";
    for ((row, name), cells) in report.rows.iter().zip(&names).zip(&cells) {
        let bar = self::bar(weight(row), most, bar);
        let painted = if bar.is_empty() {
            bar
        } else {
            style.paint(TextTone::Good, &bar)
        };
        text += &line(name, cells, &painted);
    }
    if let Some(cells) = cells.last() {
        text += &line(&total, cells, "");
    }
    text
}

/// What a bar shows.
fn weight(row: &UsageRow) -> u64 {
    row.sums.total_tokens
}

fn name(by: UsageBy, row: &UsageRow) -> String {
    match (by, row.name.as_str()) {
        (UsageBy::Login, "") => "(only login)".to_owned(),
        (_, "") => "(unknown)".to_owned(),
        (_, name) => inline(name),
    }
}

fn cells(sums: &UsageSums) -> [String; 4] {
    [
        number(sums.requests),
        number(sums.failed),
        short(sums.prompt_tokens),
        short(sums.completion_tokens),
    ]
}

fn bar(value: u64, most: u64, columns: usize) -> String {
    if most == 0 || columns == 0 {
        return String::new();
    }
    let eighths = u128::from(value) * (columns as u128 * 8) / u128::from(most);
    let eighths = usize::try_from(eighths).unwrap_or_default();
    let whole = "█".repeat(eighths / 8);
    let part = (eighths % 8).checked_sub(1).and_then(|at| PARTS.get(at));
    whole + part.copied().unwrap_or_default()
}

fn notes(report: &UsageReport, style: Style) -> String {
    let total = &report.total;
    let mut notes = Vec::new();
    if total.cached_tokens > 0 || total.reasoning_tokens > 0 {
        notes.push(format!(
            "Of the tokens in, {} were cached; of those out, {} were reasoning.",
            short(total.cached_tokens),
            short(total.reasoning_tokens)
        ));
    }
    if !total.errors.is_empty() {
        let mut kinds: Vec<_> = total.errors.iter().collect();
        kinds.sort_by_key(|(_, requests)| std::cmp::Reverse(**requests));
        let kinds = kinds.into_iter().take(6);
        let kinds = kinds.map(|(kind, requests)| format!("{} {}", number(*requests), inline(kind)));
        let kinds: Vec<_> = kinds.collect();
        notes.push(format!("Failures: {}.", kinds.join(", ")));
    }
    if total.without_tokens > 0 {
        notes.push(format!(
            "{} told no tokens: a chat's stream tells them if the app asks for it (`stream_options.include_usage`).",
            several(total.without_tokens, "answer")
        ));
    }
    if report.unlisted > 0 {
        notes.push(format!(
            "{} {} not listed.",
            several(report.unlisted, "more name"),
            if report.unlisted == 1 { "is" } else { "are" }
        ));
    }
    if notes.is_empty() {
        return String::new();
    }
    format!("\n{}", style.prose(&notes.join("\n")))
}

fn word(by: UsageBy) -> &'static str {
    match by {
        UsageBy::Client => "client",
        UsageBy::Model => "model",
        UsageBy::Provider => "provider",
        UsageBy::Login => "login",
        UsageBy::Path => "path",
        UsageBy::Day => "day",
    }
}

/// `1 answer`, `2 answers`.
fn several(count: u64, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {what}{s}", number(count))
}

/// `12,345`.
fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12,345`, or `1.23 M` where that would be long.
fn short(value: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1_000_000_000_000_000, "P"),
        (1_000_000_000_000, "T"),
        (1_000_000_000, "G"),
        (1_000_000, "M"),
    ];
    let Some((unit, letter)) = UNITS.iter().find(|(unit, _)| value >= *unit) else {
        return number(value);
    };
    let hundredths = u128::from(value) * 100 / u128::from(*unit);
    format!("{}.{:02} {letter}", hundredths / 100, hundredths % 100)
}

/// The same for a spreadsheet, a line for each row (RFC 4180).
pub(in crate::cli) fn csv(report: &UsageReport) -> String {
    let mut text = format!(
        "{},requests,failed,bytes_in,bytes_out,prompt_tokens,completion_tokens,cached_tokens,reasoning_tokens,\
         total_tokens,without_tokens\r\n",
        word(report.by)
    );
    for row in &report.rows {
        let sums = &row.sums;
        let numbers = [
            sums.requests,
            sums.failed,
            sums.bytes_in,
            sums.bytes_out,
            sums.prompt_tokens,
            sums.completion_tokens,
            sums.cached_tokens,
            sums.reasoning_tokens,
            sums.total_tokens,
            sums.without_tokens,
        ];
        text += &field(&row.name);
        for number in numbers {
            text.push(',');
            text += &number.to_string();
        }
        text += "\r\n";
    }
    text
}

/// A name as a field. What a spreadsheet would take for a formula is text.
fn field(name: &str) -> String {
    let name = inline(name);
    let is_formula = name.starts_with(['=', '+', '-', '@']);
    let name = if is_formula { format!("'{name}") } else { name };
    if name.contains(['"', ',', '\'']) {
        return format!("\"{}\"", name.replace('"', "\"\""));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_bars_are_exact() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (999_999, "999,999"),
            (1_234_567, "1.23 M"),
            (45_678_901_234, "45.67 G"),
            (u64::MAX, "18446.74 P"),
        ] {
            assert_eq!(short(value), text);
        }
        assert_eq!(bar(1, 1, 4), "████");
        assert_eq!(bar(5, 16, 4), "█▎");
        assert_eq!(bar(0, 16, 4), "");
        assert_eq!(bar(1, 16, 0), "");
        assert_eq!(bar(u64::MAX, u64::MAX, 10).chars().count(), 10);
    }

    #[test]
    fn names_that_are_wide_or_joined_move_no_column() {
        let names = [
            "zed",
            "앱이름",
            "😀",
            "👩\u{200d}👩\u{200d}👧",
            "e\u{301}e\u{301}",
            "한국어한국어한국어한국어한국어한국어한국어",
        ];
        let row = |name: &&str| UsageRow {
            name: (*name).to_owned(),
            sums: UsageSums {
                requests: 7,
                ..UsageSums::default()
            },
        };
        let given = UsageReport {
            rows: names.iter().map(row).collect(),
            ..UsageReport::default()
        };
        for columns in [34, 60, 80] {
            let table = table(&given, Style::PLAIN.in_columns(columns));
            let ends = table
                .lines()
                .skip(1)
                .filter_map(|line| Some(visible(line.split_once("  7")?.0)));
            let ends: Vec<_> = ends.collect();
            assert_eq!(ends.len(), names.len(), "{table}");
            assert!(ends.iter().all(|end| *end == ends[0]), "{table}");
        }
    }

    #[test]
    fn a_name_is_no_formula_and_ends_no_field() {
        for (name, expected) in [
            ("zed", "zed"),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("=1+1", "\"'=1+1\""),
            ("@x", "\"'@x\""),
        ] {
            assert_eq!(field(name), expected);
        }
    }
}
