//! Numbers and times as people read them, and the characters that mislead them.

use std::fmt::Write;

/// The two largest units: `3 h 12 min`, `47 min`, `2 d`, `12 s`.
pub fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let (large, small) = if days > 0 {
        ((days, "d"), (hours % 24, "h"))
    } else if hours > 0 {
        ((hours, "h"), (minutes % 60, "min"))
    } else if minutes > 0 {
        ((minutes, "min"), (0, "s"))
    } else {
        ((seconds, "s"), (0, "s"))
    };
    match small {
        (0, _) => format!("{} {}", large.0, large.1),
        (count, unit) => format!("{} {} {count} {unit}", large.0, large.1),
    }
}

/// A time by its distance from now: `in 47 min`, `13 min ago`, `now`.
pub fn distance(seconds: i64) -> String {
    let text = duration(seconds.unsigned_abs());
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {text}"),
        ..0 => format!("{text} ago"),
    }
}

/// With a comma between thousands: `1,204`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Whether a character is not seen, or changes how a terminal or a viewer shows others: controls (also U+0080 to U+009F,
/// which some terminals obey), and marks of direction (Unicode TR 9).
pub fn misleads(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        )
}

/// The same JSON value, with such characters in its strings as `\u009b`. The JSON has no raw ones outside of strings but
/// line feeds.
pub fn spelled_json(json: String) -> String {
    let is_raw = |letter: char| letter != '\n' && misleads(letter);
    if !json.contains(is_raw) {
        return json;
    }
    let mut spelled = String::with_capacity(json.len() + 64);
    for letter in json.chars() {
        if is_raw(letter) {
            // Nothing can go wrong when a text is written to.
            write!(spelled, "\\u{:04x}", u32::from(letter)).ok();
        } else {
            spelled.push(letter);
        }
    }
    spelled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_at_most_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (3600, "1 h"),
            (11_520, "3 h 12 min"),
            (86_400, "1 d"),
            (90_061, "1 d 1 h"),
            (u64::MAX, "213503982334601 d 7 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn distances_look_both_ways() {
        assert_eq!(distance(2820), "in 47 min");
        assert_eq!(distance(-780), "13 min ago");
        assert_eq!(distance(0), "now");
        assert!(distance(i64::MIN).ends_with("ago"));
    }

    #[test]
    fn json_means_the_same_and_misleads_nobody() {
        let every: String = ('\0'..='\u{10ffff}').collect();
        for value in [
            "plain",
            "\u{9b}31m \u{202e}\u{7f}\n\"\\\u{e9}\u{1f600}",
            &every,
        ] {
            let json = serde_json::to_string_pretty(&[value]).unwrap();
            let spelled = spelled_json(json);
            let read: [String; 1] = serde_json::from_str(&spelled).unwrap();
            assert!(read[0] == value);
            assert!(!spelled.contains(|letter| letter != '\n' && misleads(letter)));
        }
        assert_eq!(
            spelled_json("\"\u{9b}\u{202e}\"".into()),
            r#""\u009b\u202e""#
        );
    }

    #[test]
    fn counts_have_commas() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1204, "1,204"),
            (1_000_000, "1,000,000"),
        ] {
            assert_eq!(count(number), text);
        }
    }
}
