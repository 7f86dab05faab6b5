//! Reads values out of a TOML table, and collects what is wrong with it.
//!
//! A [`Section`] remembers which keys were asked for, so the code that reads a table is also the
//! only list of the keys that the table may hold: every other key is a problem. Reading goes on
//! after a mistake, so that all of them are reported together.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Problem, did_you_mean};
use super::units;

/// Names under which people try to put a secret into the file.
const SECRETS: [&str; 16] = [
    "access_token",
    "apikey",
    "api_key",
    "api_token",
    "auth_token",
    "authorization",
    "bearer",
    "bearer_token",
    "client_secret",
    "key",
    "passwd",
    "password",
    "refresh_token",
    "secret",
    "secret_key",
    "token",
];

/// What is wrong with one value.
#[derive(Debug)]
pub(super) struct Wrong {
    /// What is wrong, and what would be right.
    pub(super) message: String,
    /// The text that was probably meant.
    pub(super) suggestion: Option<String>,
}

/// Where a value stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    line: usize,
    key: String,
}

/// A value, and where it stands.
#[derive(Debug)]
pub(super) struct Field<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// The problems of one file, and the keys that its reader knows.
#[derive(Debug)]
pub(super) struct Report {
    line_ends: Vec<usize>,
    broken_lines: BTreeSet<usize>,
    problems: RefCell<Vec<Problem>>,
    known: RefCell<BTreeSet<String>>,
}

/// One table of the file; an absent table reads as an empty one.
#[derive(Debug)]
pub(super) struct Section<'a> {
    report: &'a Report,
    table: Option<&'a DeTable<'a>>,
    place: Place,
    /// The table's key without what differs between files: `listen[]`, `providers.<name>`.
    pattern: String,
    asked: RefCell<Vec<&'static str>>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

impl From<String> for Wrong {
    fn from(message: String) -> Self {
        Self {
            message,
            suggestion: None,
        }
    }
}

impl From<&str> for Wrong {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}

impl Report {
    /// The report on a file with this text, which has these syntax errors.
    pub(super) fn new(text: &str, syntax: &[toml::de::Error]) -> Self {
        let line_ends = text.match_indices('\n').map(|(at, _)| at).collect();
        let mut report = Self {
            line_ends,
            broken_lines: BTreeSet::new(),
            problems: RefCell::default(),
            known: RefCell::default(),
        };
        for error in syntax {
            let line = report.line(&error.span().unwrap_or_default());
            if report.broken_lines.insert(line) {
                report.problems.borrow_mut().push(Problem {
                    line,
                    key: String::new(),
                    message: format!("this is not TOML: {}", error.message().trim()),
                    suggestion: None,
                });
            }
        }
        report
    }

    /// Adds a problem, unless the line is not TOML: then its value is the parser's guess.
    pub(super) fn add(&self, place: &Place, wrong: impl Into<Wrong>) {
        if self.broken_lines.contains(&place.line) {
            return;
        }
        let Wrong {
            message,
            suggestion,
        } = wrong.into();
        self.problems.borrow_mut().push(Problem {
            line: place.line,
            key: place.key.clone(),
            message,
            suggestion,
        });
    }

    /// All problems in the order of their lines, and the patterns of all keys that were asked for.
    pub(super) fn finish(self) -> (Vec<Problem>, BTreeSet<String>) {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        (problems, self.known.into_inner())
    }

    fn line(&self, span: &Range<usize>) -> usize {
        self.line_ends.partition_point(|end| *end < span.start) + 1
    }

    fn accept<T>(&self, place: Place, value: Result<T, Wrong>) -> Option<Field<T>> {
        match value {
            Ok(value) => Some(Field { value, place }),
            Err(wrong) => {
                self.add(&place, wrong);
                None
            }
        }
    }

    fn wrong_type(&self, place: &Place, expected: &str, found: &DeValue<'_>) {
        let found = match found {
            DeValue::Integer(_) => "an integer",
            DeValue::Array(_) => "an array",
            DeValue::String(_) => "a string",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Table(_) => "a table",
        };
        self.add(place, format!("expected {expected}, found {found}"));
    }
}

impl<'a> Section<'a> {
    /// Reads the file's top level.
    pub(super) fn read_root<T>(
        report: &'a Report,
        table: &'a DeTable<'a>,
        read: impl FnOnce(&Self) -> T,
    ) -> T {
        let root = Self {
            report,
            table: Some(table),
            place: Place {
                line: 1,
                key: String::new(),
            },
            pattern: String::new(),
            asked: RefCell::default(),
        };
        root.read(read)
    }

    /// Where problems go.
    pub(super) fn report(&self) -> &'a Report {
        self.report
    }

    /// Whether the key is there, with a right value or a wrong one.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Whether the key is an array with nothing in it.
    pub(super) fn is_empty_list(&self, key: &str) -> bool {
        let value = self.table.and_then(|table| table.get(key));
        let items = value.and_then(|value| value.get_ref().as_array());
        items.is_some_and(|items| items.iter().next().is_none())
    }

    /// Where the key stands, or would stand.
    pub(super) fn place(&self, key: &str) -> Place {
        let name = self.table.and_then(|table| table.get_key_value(key));
        Place {
            line: name.map_or(self.place.line, |(name, _)| self.report.line(&name.span())),
            key: dotted(&self.place.key, key),
        }
    }

    /// A string that `convert` understands.
    pub(super) fn text<T>(
        &self,
        key: &'static str,
        example: &str,
        convert: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<Field<T>> {
        let (place, value) = self.value(key)?;
        let Some(text) = value.as_str() else {
            let expected = format!("a string such as {key} = {example:?}");
            self.report.wrong_type(&place, &expected, value);
            return None;
        };
        self.report.accept(place, convert(text))
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static str,
        words: &[(&str, T)],
    ) -> Option<Field<T>> {
        let example = words.first().map_or("", |(word, _)| word);
        self.text(key, example, |text| choose(text, words))
    }

    /// Strings that `convert` understands; `None` when the key is absent.
    pub(super) fn list<T>(
        &self,
        key: &'static str,
        example: &str,
        convert: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<Vec<Field<T>>> {
        let (place, value) = self.value(key)?;
        let expected = format!("an array of strings such as {key} = [{example:?}]");
        let Some(items) = value.as_array() else {
            self.report.wrong_type(&place, &expected, value);
            return None;
        };
        let item = |(index, item): (usize, &Spanned<DeValue<'_>>)| {
            let place = Place {
                line: self.report.line(&item.span()),
                key: format!("{}[{index}]", place.key),
            };
            let Some(text) = item.get_ref().as_str() else {
                self.report.wrong_type(&place, &expected, item.get_ref());
                return None;
            };
            self.report.accept(place, convert(text))
        };
        Some(items.iter().enumerate().filter_map(item).collect())
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &'static str) -> Option<Field<bool>> {
        let (place, value) = self.value(key)?;
        let Some(flag) = value.as_bool() else {
            let expected = format!("{key} = true or {key} = false");
            self.report.wrong_type(&place, &expected, value);
            return None;
        };
        Some(Field { value: flag, place })
    }

    /// A whole number within a range.
    pub(super) fn count<T: TryFrom<u64>>(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<Field<T>> {
        let (place, value) = self.value(key)?;
        let Some(count) = integer(value) else {
            let expected = format!("a whole number such as {key} = {}", range.start());
            self.report.wrong_type(&place, &expected, value);
            return None;
        };
        let count = count.and_then(|count| within(count, &range, u64::to_string));
        self.report.accept(place, count.and_then(narrow))
    }

    /// A size in bytes within a range.
    pub(super) fn size<T: TryFrom<u64>>(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<Field<T>> {
        let (place, value) = self.value(key)?;
        let size = value.as_str().map(units::parse_size);
        let Some(size) = size.or_else(|| integer(value)) else {
            let expected = format!("a size such as {key} = \"64MiB\" or a number of bytes");
            self.report.wrong_type(&place, &expected, value);
            return None;
        };
        let size = size.and_then(|size| within(size, &range, |n| units::format_size(*n)));
        self.report.accept(place, size.and_then(narrow))
    }

    /// A duration within a range.
    pub(super) fn duration(
        &self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Field<Duration>> {
        self.text(key, "10s", |text| {
            let duration = units::parse_duration(text)?;
            within(duration, &range, |d| units::format_duration(*d))
        })
    }

    /// A table within this one.
    pub(super) fn section<T>(&self, key: &'static str, read: impl FnOnce(&Self) -> T) -> T {
        let table = self.table(key);
        let pattern = dotted(&self.pattern, key);
        self.child(self.place(key), pattern, table).read(read)
    }

    /// The tables of an array, with their places; `None` when the key is absent.
    pub(super) fn sections<T>(
        &self,
        key: &'static str,
        read: impl Fn(&Self) -> T,
    ) -> Option<Vec<T>> {
        let (place, value) = self.value(key)?;
        let expected = format!("tables that start with [[{}]]", place.key);
        let Some(items) = value.as_array() else {
            self.report.wrong_type(&place, &expected, value);
            return None;
        };
        let item = |(index, item): (usize, &'a Spanned<DeValue<'a>>)| {
            let place = Place {
                line: self.report.line(&item.span()),
                key: format!("{}[{index}]", place.key),
            };
            let Some(table) = item.get_ref().as_table() else {
                self.report.wrong_type(&place, &expected, item.get_ref());
                return None;
            };
            let pattern = format!("{}[]", dotted(&self.pattern, key));
            Some(self.child(place, pattern, Some(table)).read(&read))
        };
        Some(items.iter().enumerate().filter_map(item).collect())
    }

    /// The tables of a table whose keys are names that the user gives.
    pub(super) fn named_sections(&self, key: &'static str, mut read: impl FnMut(&str, &Self)) {
        let pattern = format!("{}.<name>", dotted(&self.pattern, key));
        let names = self.child(self.place(key), pattern.clone(), self.table(key));
        self.report.known.borrow_mut().insert(pattern.clone());
        for (name, value) in names.table.into_iter().flatten() {
            let place = names.place(name.get_ref());
            let Some(table) = value.get_ref().as_table() else {
                let expected = format!("a table that starts with [{}]", place.key);
                self.report.wrong_type(&place, &expected, value.get_ref());
                continue;
            };
            let child = self.child(place, pattern.clone(), Some(table));
            child.read(|section| read(name.get_ref(), section));
        }
    }

    /// This table's own place.
    pub(super) fn here(&self) -> &Place {
        &self.place
    }

    fn value(&self, key: &'static str) -> Option<(Place, &'a DeValue<'a>)> {
        self.asked.borrow_mut().push(key);
        let pattern = dotted(&self.pattern, key);
        self.report.known.borrow_mut().insert(pattern);
        let value = self.table?.get(key)?;
        Some((self.place(key), value.get_ref()))
    }

    fn table(&self, key: &'static str) -> Option<&'a DeTable<'a>> {
        let (place, value) = self.value(key)?;
        let table = value.as_table();
        if table.is_none() {
            let expected = format!("a table that starts with [{}]", place.key);
            self.report.wrong_type(&place, &expected, value);
        }
        table
    }

    fn child(&self, place: Place, pattern: String, table: Option<&'a DeTable<'a>>) -> Self {
        Self {
            report: self.report,
            table,
            place,
            pattern,
            asked: RefCell::default(),
        }
    }

    fn read<T>(self, read: impl FnOnce(&Self) -> T) -> T {
        let result = read(&self);
        self.report_unknown();
        result
    }

    fn report_unknown(&self) {
        let asked = self.asked.borrow();
        for name in self.table.into_iter().flat_map(DeTable::keys) {
            let name = name.get_ref().as_ref();
            if asked.contains(&name) {
                continue;
            }
            let plain = name.to_ascii_lowercase().replace('-', "_");
            let wrong = if SECRETS.contains(&plain.as_str()) {
                "a secret never stands in this file: put the key of a provider of type \"static\" \
                 into a file of its own and name that with `api_key_file`, or name an environment \
                 variable with `api_key_env`"
                    .into()
            } else {
                Wrong {
                    message: "this key is not known here".to_owned(),
                    suggestion: did_you_mean(name, asked.iter().copied()),
                }
            };
            self.report.add(&self.place(name), wrong);
        }
    }
}

/// The value of one of a few words.
pub(super) fn choose<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Wrong> {
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let all: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        Wrong {
            message: format!("{text:?} is not one of {}", all.join(", ")),
            suggestion: did_you_mean(text, words.iter().map(|(word, _)| *word)),
        }
    })
}

fn integer(value: &DeValue<'_>) -> Option<Result<u64, Wrong>> {
    let integer = value.as_integer()?;
    let number = u64::from_str_radix(integer.as_str(), integer.radix());
    Some(number.map_err(|_| format!("{integer} is negative or too large").into()))
}

fn within<T: PartialOrd>(
    value: T,
    range: &RangeInclusive<T>,
    show: impl Fn(&T) -> String,
) -> Result<T, Wrong> {
    if value < *range.start() {
        return Err(format!("must be at least {}", show(range.start())).into());
    }
    if value > *range.end() {
        return Err(format!("must be at most {}", show(range.end())).into());
    }
    Ok(value)
}

fn narrow<T: TryFrom<u64>>(value: u64) -> Result<T, Wrong> {
    T::try_from(value).map_err(|_| Wrong::from("too large for this machine"))
}

/// The key within a table, in quotes where TOML needs them.
fn dotted(table: &str, key: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    let key = if !key.is_empty() && key.bytes().all(bare) {
        key.to_owned()
    } else {
        format!("{key:?}")
    };
    if table.is_empty() {
        key
    } else {
        format!("{table}.{key}")
    }
}
