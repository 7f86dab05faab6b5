//! Texts and numbers in table cells. Whatever a name contains, it takes exactly the columns that it appears to take.
//! Pure.

use std::fmt::Write;

use ratatui::style::Style;
use ratatui::text::Span;

use crate::cli::text::{inline, width};
use crate::control::human::count;

/// How many characters of a name are examined: more than any screen has columns.
const LONGEST: usize = 1000;
/// Replaces characters that a terminal might act on, or draw wider or narrower than expected.
const ODD: char = '\u{fffd}';

/// Cuts a text to this many columns, marking the cut with an ellipsis. Each character takes one or two columns on every
/// terminal: characters that join with others, which terminals draw in different ways, are replaced.
pub(in crate::cli) fn cut(text: &str, columns: usize) -> String {
    let start: String = text.chars().take(LONGEST).collect();
    let mut shown = String::new();
    let mut taken = 0;
    let mut last = None;
    let mut is_cut = text.len() > start.len();
    for letter in inline(&start).chars() {
        let letter = match width(letter.encode_utf8(&mut [0; 4])) {
            0 => continue,
            _ if last.is_some_and(|last| joins(last, letter)) => ODD,
            _ => letter,
        };
        let columns_of_it = width(letter.encode_utf8(&mut [0; 4]));
        if taken + columns_of_it > columns {
            is_cut = true;
            break;
        }
        shown.push(letter);
        taken += columns_of_it;
        last = Some(letter);
    }
    if !is_cut || columns == 0 {
        return shown;
    }
    while taken > columns - 1
        && let Some(letter) = shown.pop()
    {
        taken -= width(letter.encode_utf8(&mut [0; 4]));
    }
    shown + "…"
}

/// Whether two characters are drawn as one.
fn joins(one: char, next: char) -> bool {
    if one.is_ascii() && next.is_ascii() {
        return false;
    }
    let both = String::from_iter([one, next]);
    Span::raw(both).styled_graphemes(Style::new()).count() < 2
}

/// A request's age: `0:07`, `12:31`, `1:02:31`.
pub(super) fn age(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let seconds = seconds % 60;
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// A short time: `412 ms`, `1.2 s`, `93 s`.
pub(super) fn time(milliseconds: u64) -> String {
    match milliseconds {
        0..=999 => format!("{milliseconds} ms"),
        1000..=9_999 => format!("{}.{} s", milliseconds / 1000, milliseconds / 100 % 10),
        10_000.. => format!("{} s", milliseconds / 1000),
    }
}

/// A rate in tenths: `0.4`, `41`, `412`, `1.2k`.
pub(super) fn rate(tenths: u64) -> String {
    match tenths {
        0..100 => format!("{}.{}", tenths / 10, tenths % 10),
        100..9_995 => ((tenths + 5) / 10).to_string(),
        9_995..99_500 => format!(
            "{}.{}k",
            (tenths + 500) / 10_000,
            (tenths + 500) / 1000 % 10
        ),
        99_500.. => count((tenths + 5_000) / 10_000) + "k",
    }
}

/// A size: `812 B`, `20 kB`, `1.2 MB`.
pub(super) fn bytes(bytes: u64) -> String {
    let (size, unit) = match bytes {
        0..=999 => return format!("{bytes} B"),
        1000..=999_999 => (1000, "kB"),
        1_000_000..=999_999_999 => (1_000_000, "MB"),
        1_000_000_000.. => (1_000_000_000, "GB"),
    };
    let whole = bytes / size;
    let mut text = count(whole);
    if whole < 10 {
        // Writing to a string can't fail.
        write!(text, ".{}", bytes / (size / 10) % 10).ok();
    }
    text + " " + unit
}

/// A count: `1 request`, `12 requests`, `no request`.
pub(super) fn several(number: u64, thing: &str) -> String {
    match number {
        0 => format!("no {thing}"),
        1 => format!("1 {thing}"),
        _ => format!("{} {thing}s", count(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_takes_the_columns_that_it_seems_to_take() {
        let long = "x".repeat(10_000);
        for (name, columns, shown) in [
            ("Hermes-4-405B", 20, "Hermes-4-405B"),
            ("Hermes-4-405B", 13, "Hermes-4-405B"),
            ("Hermes-4-405B", 12, "Hermes-4-40…"),
            ("Hermes-4-405B", 1, "…"),
            ("Hermes-4-405B", 0, ""),
            ("größe", 5, "größe"),
            // a letter and its accent
            ("gro\u{308}ße", 5, "große"),
            ("\u{1b}[31mred\u{7}\n", 20, "\u{fffd}[31mred\u{fffd} "),
            ("a\u{202e}b\u{2066}c", 9, "a\u{fffd}b\u{fffd}c"),
            ("模型名字", 8, "模型名字"),
            ("模型名字", 7, "模型名…"),
            ("模型名字", 6, "模型…"),
            ("模型名字", 2, "…"),
            // A family, a flag and a hand with a skin tone: each would be drawn as one.
            ("👨\u{200d}👩\u{200d}👧", 6, "👨👩👧"),
            ("🇩🇪", 9, "🇩\u{fffd}"),
            ("👍🏽", 9, "👍\u{fffd}"),
            // Korean syllables in their parts.
            ("\u{1112}\u{1161}\u{11ab}", 9, "\u{1112}"),
            ("\u{200b}\u{feff}\u{ad}", 9, ""),
            ("", 3, ""),
            (&long, 5, "xxxx…"),
        ] {
            let text = cut(name, columns);
            assert!(width(&text) <= columns, "{name:?}: {text:?}");
            assert_eq!(text, shown, "{name:?}");
        }
        let accents = "a".to_owned() + &"\u{301}".repeat(100_000);
        assert_eq!(cut(&accents, 9), "a…");
    }

    #[test]
    fn numbers_are_short() {
        let ages = [0, 7_999, 61_000, 3_599_000, 3_751_000].map(age);
        assert_eq!(ages, ["0:00", "0:07", "1:01", "59:59", "1:02:31"]);
        let times = [0, 412, 1_249, 9_999, 93_417].map(time);
        assert_eq!(times, ["0 ms", "412 ms", "1.2 s", "9.9 s", "93 s"]);
        let sizes = [0, 999, 1_204, 20_144, 1_204_117, 12_000_000_000].map(bytes);
        assert_eq!(
            sizes,
            ["0 B", "999 B", "1.2 kB", "20 kB", "1.2 MB", "12 GB"]
        );
        let rates = [0, 4, 99, 100, 414, 9_994, 9_995, 12_043, 99_499, 99_500].map(rate);
        assert_eq!(
            rates,
            [
                "0.0", "0.4", "9.9", "10", "41", "999", "1.0k", "1.2k", "9.9k", "10k"
            ]
        );
        let several = [0, 1, 1204].map(|number| several(number, "request"));
        assert_eq!(several, ["no request", "1 request", "1,204 requests"]);
    }
}
