//! What a key takes; pure.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::units;

/// A key that the file may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigKey {
    /// The key with its tables, without what differs between files: `limits.body`,
    /// `listen[].address`, `providers.<name>.type`.
    pub pattern: String,
    /// What it takes.
    pub takes: Takes,
}

/// What a key takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Takes {
    /// A string such as this one.
    Text(String),
    /// One of these words.
    Word(Vec<String>),
    /// Strings such as this one.
    Texts(String),
    /// Some of these words.
    Words(Vec<String>),
    /// Strings by names that the user gives, such as this line.
    NamedTexts(String),
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Count(RangeInclusive<u64>),
    /// A number of bytes, with a unit or without.
    Size(RangeInclusive<u64>),
    /// A time with its units.
    Duration(RangeInclusive<Duration>),
    /// A table.
    Table,
    /// A table that may be repeated.
    Tables,
    /// Tables with names that the user gives.
    NamedTables,
}

impl Takes {
    /// The same in words: `a duration from 1ms to 720h`.
    pub fn describe(&self) -> String {
        let one_of = |words: &[String]| {
            let words: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            words.join(", ")
        };
        match self {
            Self::Text(example) => format!("a string, such as `{example:?}`"),
            Self::Word(words) => format!("one of {}", one_of(words)),
            Self::Texts(example) => format!("an array of strings, such as `[{example:?}]`"),
            Self::Words(words) => format!("an array of {}", one_of(words)),
            Self::NamedTexts(example) => format!("a table of strings, such as `{example}`"),
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Count(range) => {
                format!("a whole number from {} to {}", range.start(), range.end())
            }
            Self::Size(range) => {
                let size = |bytes: &u64| units::format_size(*bytes);
                let (least, most) = (size(range.start()), size(range.end()));
                format!("a size from {least} to {most}")
            }
            Self::Duration(range) => {
                let time = |duration: &Duration| units::format_duration(*duration);
                let (least, most) = (time(range.start()), time(range.end()));
                format!("a duration from {least} to {most}")
            }
            Self::Table => "a table".to_owned(),
            Self::Tables => "a table that may be repeated".to_owned(),
            Self::NamedTables => "tables with names of your choice".to_owned(),
        }
    }
}

/// The words of a choice.
pub(super) fn words<T>(choice: &[(&str, T)]) -> Vec<String> {
    choice.iter().map(|(word, _)| (*word).to_owned()).collect()
}
