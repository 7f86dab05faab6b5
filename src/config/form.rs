//! The forms of values: how the value of a key is read from the file and written to it; pure.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use hyper::header::HeaderName;
use url::Url;

use super::reader::{TableReader, Wrong};
use super::units::{format_duration, format_size};
use super::writer::quoted;
use crate::paths::Environment;

/// How one kind of value is written in the file.
pub(super) trait Form<T> {
    /// The value of this key; `None` if it is absent, or wrong, which is reported.
    fn read(&self, table: &TableReader<'_>, key: &'static str) -> Option<T>;

    /// The value as TOML; `None` if the key is omitted then.
    fn write(&self, value: &T) -> Option<String>;
}

/// `true` or `false`.
pub(super) struct Flag;

/// A whole number within a range.
pub(super) struct Count(pub(super) RangeInclusive<u64>);

/// A number of bytes within a range.
pub(super) struct Size(pub(super) RangeInclusive<u64>);

/// A duration within a range.
pub(super) struct Wait(pub(super) RangeInclusive<Duration>);

/// A duration within a range, or zero for never.
pub(super) struct WaitOrNever(pub(super) RangeInclusive<Duration>);

/// One of a few words.
pub(super) struct Word<T: 'static>(pub(super) &'static [(&'static str, T)]);

/// Some of a few words.
pub(super) struct Words<T: 'static>(pub(super) &'static [(&'static str, T)]);

/// A path such as the first, which the function understands.
pub(super) struct Path(
    pub(super) &'static str,
    pub(super) fn(&str, &Environment) -> Result<PathBuf, Wrong>,
);

/// A string such as the first, which the function understands.
pub(super) struct Text<T>(
    pub(super) &'static str,
    pub(super) fn(&str) -> Result<T, Wrong>,
);

/// Strings such as the first, each of which the function understands.
pub(super) struct Texts<T>(
    pub(super) &'static str,
    pub(super) fn(&str) -> Result<T, Wrong>,
);

/// Lines such as the first, each of which the function understands.
pub(super) struct NamedTexts(
    pub(super) &'static str,
    pub(super) fn(&str, &str) -> Result<String, Wrong>,
);

/// A value that may be absent, and is not written then.
pub(super) struct Optional<F>(pub(super) F);

/// A list that is not written without an item.
pub(super) struct UnlessEmpty<F>(pub(super) F);

/// A value that is one string in the file.
pub(super) trait AsText {
    /// The string.
    fn as_text(&self) -> String;
}

impl Form<bool> for Flag {
    fn read(&self, table: &TableReader<'_>, key: &'static str) -> Option<bool> {
        table.flag(key)
    }

    fn write(&self, value: &bool) -> Option<String> {
        Some(value.to_string())
    }
}

impl<T: TryFrom<u64> + Display> Form<T> for Count {
    fn read(&self, table: &TableReader<'_>, key: &'static str) -> Option<T> {
        table.count(key, self.0.clone())
    }

    fn write(&self, value: &T) -> Option<String> {
        Some(value.to_string())
    }
}

impl<T: TryFrom<u64> + TryInto<u64> + Copy> Form<T> for Size {
    fn read(&self, table: &TableReader<'_>, key: &'static str) -> Option<T> {
        table.size(key, self.0.clone())
    }

    fn write(&self, value: &T) -> Option<String> {
        let bytes = (*value).try_into().unwrap_or(u64::MAX);
        Some(quoted(&format_size(bytes)))
    }
}

impl Form<Duration> for Wait {
    fn read(&self, table: &TableReader<'_>, key: &'static str) -> Option<Duration> {
        table.duration(key, self.0.clone())
    }

    fn write(&self, value: &Duration) -> Option<String> {
        Some(quoted(&format_duration(*value)))
    }
}

impl Form<Duration> for WaitOrNever {
    fn read(&self, table: &TableReader<'_>, key: &'static str) -> Option<Duration> {
        table.duration_or_never(key, self.0.clone())
    }

    fn write(&self, value: &Duration) -> Option<String> {
        Some(quoted(&format_duration(*value)))
    }
}

impl<T: Copy + PartialEq> Form<T> for Word<T> {
    fn read(&self, table: &TableReader<'_>, key: &'static str) -> Option<T> {
        table.choice(key, self.0)
    }

    fn write(&self, value: &T) -> Option<String> {
        Some(quoted(word(self.0, value)))
    }
}

impl<T: AsText> Form<T> for Text<T> {
    fn read(&self, table: &TableReader<'_>, key: &'static str) -> Option<T> {
        table.text(key, self.0, self.1)
    }

    fn write(&self, value: &T) -> Option<String> {
        Some(quoted(&value.as_text()))
    }
}

impl<T: AsText> Form<Vec<T>> for Texts<T> {
    fn read(&self, table: &TableReader<'_>, key: &'static str) -> Option<Vec<T>> {
        table.list(key, self.0, self.1)
    }

    fn write(&self, value: &Vec<T>) -> Option<String> {
        Some(list(value.iter().map(AsText::as_text)))
    }
}

impl<T: Copy + PartialEq> Form<Vec<T>> for Words<T> {
    fn read(&self, table: &TableReader<'_>, key: &'static str) -> Option<Vec<T>> {
        table.choices(key, self.0)
    }

    fn write(&self, value: &Vec<T>) -> Option<String> {
        Some(list(value.iter().map(|item| word(self.0, item).to_owned())))
    }
}

impl Form<PathBuf> for Path {
    fn read(&self, table: &TableReader<'_>, key: &'static str) -> Option<PathBuf> {
        table.text(key, self.0, |text| (self.1)(text, table.env()))
    }

    fn write(&self, value: &PathBuf) -> Option<String> {
        Some(quoted(&value.to_string_lossy()))
    }
}

impl Form<BTreeMap<String, String>> for NamedTexts {
    fn read(&self, table: &TableReader<'_>, key: &'static str) -> Option<BTreeMap<String, String>> {
        let lines = table.named_texts(key, self.0, self.1)?;
        Some(lines.into_iter().collect())
    }

    fn write(&self, value: &BTreeMap<String, String>) -> Option<String> {
        let lines = value.iter();
        let lines: Vec<_> = lines
            .map(|(name, text)| format!("{} = {}", quoted(name), quoted(text)))
            .collect();
        Some(match lines.as_slice() {
            [] => "{}".to_owned(),
            lines => format!("{{ {} }}", lines.join(", ")),
        })
    }
}

impl<T, F: Form<T>> Form<Option<T>> for Optional<F> {
    fn read(&self, table: &TableReader<'_>, key: &'static str) -> Option<Option<T>> {
        self.0.read(table, key).map(Some)
    }

    fn write(&self, value: &Option<T>) -> Option<String> {
        self.0.write(value.as_ref()?)
    }
}

impl<T, F: Form<Vec<T>>> Form<Vec<T>> for UnlessEmpty<F> {
    fn read(&self, table: &TableReader<'_>, key: &'static str) -> Option<Vec<T>> {
        self.0.read(table, key)
    }

    fn write(&self, value: &Vec<T>) -> Option<String> {
        self.0.write(value).filter(|_| !value.is_empty())
    }
}

impl AsText for String {
    fn as_text(&self) -> String {
        self.clone()
    }
}

impl AsText for Url {
    fn as_text(&self) -> String {
        self.to_string()
    }
}

impl AsText for HeaderName {
    fn as_text(&self) -> String {
        self.to_string()
    }
}

fn list(texts: impl Iterator<Item = String>) -> String {
    let texts: Vec<_> = texts.map(|text| quoted(&text)).collect();
    format!("[{}]", texts.join(", "))
}

/// The word that the file has for a value.
fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    let found = words.iter().find(|(_, known)| known == value);
    found.map_or("", |(word, _)| word)
}
