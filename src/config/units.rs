//! Sizes (`64MiB`) and durations (`1m30s`), as the file writes them.

use std::time::Duration;

use super::wrong::Wrong;

const SIZES: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

const DURATIONS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a whole number with one of the units B, KiB, MiB, GiB and TiB, or without: bytes.
pub(super) fn parse_size(text: &str) -> Result<u64, Wrong> {
    let (number, unit) = split_number(text.trim());
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is not a size: write a whole number and a unit"))?;
    let unit = unit.trim();
    let factor = SIZES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .map(|&(_, factor)| factor)
        .or_else(|| unit.is_empty().then_some(1));
    let Some(factor) = factor else {
        let binary = SIZES.iter().find(|(name, _)| {
            let same = |(a, b): (u8, u8)| a.eq_ignore_ascii_case(&b);
            matches!(unit.len(), 1 | 2) && name.bytes().zip(unit.bytes()).take(1).all(same)
        });
        return Err(Wrong {
            message: format!("the unit {unit:?} is not one of B, KiB, MiB, GiB, TiB"),
            suggestion: binary.map(|(name, _)| format!("{number}{name}")),
        });
    };
    number
        .checked_mul(factor)
        .ok_or_else(|| format!("{text:?} is too large").into())
}

/// The size in the largest unit that leaves no rest.
pub(super) fn format_size(bytes: u64) -> String {
    SIZES
        .iter()
        .find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor))
        .map_or_else(
            || format!("{bytes}B"),
            |(name, factor)| format!("{}{name}", bytes / factor),
        )
}

/// Reads numbers with the units h, m, s and ms, from the largest to the smallest, each once.
pub(super) fn parse_duration(text: &str) -> Result<Duration, Wrong> {
    let unusable = || {
        Wrong::from(format!(
            "{text:?} is not a duration: write a whole number and a unit, from h, m, s and ms, such as \"90s\" or \"1m30s\""
        ))
    };
    let mut rest = text.trim();
    let mut units = DURATIONS.iter();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(unusable());
    }
    while !rest.is_empty() {
        let (number, after) = split_number(rest);
        let after = after.trim_start();
        let end = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at_checked(end).ok_or_else(unusable)?;
        let number: u64 = number.parse().map_err(|_| unusable())?;
        let (_, factor) = units.find(|(name, _)| *name == unit).ok_or_else(unusable)?;
        total = number
            .checked_mul(*factor)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| format!("{text:?} is too long"))?;
        rest = next.trim_start();
    }
    Ok(Duration::from_millis(total))
}

/// The duration in whole milliseconds, with every unit that is not zero.
pub(super) fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, factor) in DURATIONS {
        if rest >= factor {
            text.extend([(rest / factor).to_string().as_str(), name]);
            rest %= factor;
        }
    }
    text
}

/// What [`parse_size`] takes, as a regular expression of every kind.
pub(super) fn size_pattern() -> String {
    let either = |letter: char| match (letter.to_ascii_uppercase(), letter.to_ascii_lowercase()) {
        (upper, lower) if upper == lower => letter.to_string(),
        (upper, lower) => format!("[{upper}{lower}]"),
    };
    let units = SIZES.map(|(name, _)| name.chars().map(either).collect::<String>());
    format!("^\\s*[0-9]+\\s*({})?\\s*$", units.join("|"))
}

/// What [`parse_duration`] takes, as a regular expression of every kind.
pub(super) fn duration_pattern() -> String {
    let units = DURATIONS.map(|(name, _)| format!("([0-9]+\\s*{name}\\s*)?"));
    format!("^\\s*(?=[0-9]){}$", units.concat())
}

/// The leading digits, and what follows.
fn split_number(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of every magnitude.
    fn numbers() -> impl Iterator<Item = u64> {
        let mut random = fastrand::Rng::with_seed(8645);
        let near = (0..50).flat_map(|bit| {
            let power = 1_u64 << bit;
            [power - 1, power, power + 1]
        });
        near.chain((0..2_000).map(move |_| random.u64(..) >> random.u32(14..64)))
    }

    #[test]
    fn every_size_is_read_back_as_it_was_written() {
        for bytes in numbers() {
            let text = format_size(bytes);
            assert_eq!(parse_size(&text).unwrap(), bytes, "{text}");
            assert_eq!(parse_size(&bytes.to_string()).unwrap(), bytes);
        }
    }

    #[test]
    fn every_duration_is_read_back_as_it_was_written() {
        for millis in numbers() {
            let duration = Duration::from_millis(millis);
            let text = format_duration(duration);
            assert_eq!(parse_duration(&text).unwrap(), duration, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            (" 64 KiB ", 64 << 10),
            ("1gib", 1 << 30),
            ("10b", 10),
            ("0", 0),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        for text in [
            "",
            "MiB",
            "-1",
            "1.5MiB",
            "1 2",
            "16777216TiB",
            "1é",
            "1KiBs",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_decimal_unit_suggests_the_binary_one() {
        for (text, meant) in [("64MB", "64MiB"), ("8k", "8KiB"), ("2 G", "2GiB")] {
            let wrong = parse_size(text).unwrap_err();
            assert_eq!(wrong.suggestion.as_deref(), Some(meant));
        }
        assert_eq!(parse_size("3 apples").unwrap_err().suggestion, None);
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("15m", 900_000),
            ("1h", 3_600_000),
            ("1m30s", 90_000),
            ("1h 30 m", 5_400_000),
            ("0s", 0),
        ] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(text).unwrap(), duration, "{text}");
        }
        for text in [
            "",
            "10",
            "s",
            "30s1m",
            "1s1s",
            "1.5h",
            "-1s",
            "1d",
            "9999999999999999h",
            "1é",
            "1m30",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
