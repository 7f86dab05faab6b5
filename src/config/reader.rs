//! Reads values out of a TOML table, and collects what is wrong with it.
//!
//! A [`TableReader`] remembers which keys were asked for, so the code that reads a table is also the
//! only list of its keys: every other key is a problem. Reading continues after a mistake, so that
//! all of them are reported together.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(super) use super::report::{ConfigReport, KeyLocation};
use super::takes::{Takes, words};
use super::units;
pub(super) use super::wrong::Wrong;
use crate::paths::Environment;
use crate::suggest::did_you_mean;

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

/// One table of the file; an absent table reads as an empty one.
#[derive(Debug)]
pub(super) struct TableReader<'a> {
    report: &'a ConfigReport,
    table: Option<&'a DeTable<'a>>,
    place: KeyLocation,
    /// The table's key without what differs between files: `listen[]`, `providers.<name>`.
    pattern: String,
    asked: RefCell<Vec<&'static str>>,
    env: &'a Environment,
}

impl<'a> TableReader<'a> {
    /// Reads the file's top level.
    pub(super) fn read_root<T>(
        report: &'a ConfigReport,
        table: &'a DeTable<'a>,
        env: &'a Environment,
        read: impl FnOnce(&Self) -> T,
    ) -> T {
        let root = Self {
            report,
            table: Some(table),
            place: KeyLocation {
                line: 1,
                key: String::new(),
            },
            pattern: String::new(),
            asked: RefCell::default(),
            env,
        };
        root.read(read)
    }

    /// Where problems go.
    pub(super) fn report(&self) -> &'a ConfigReport {
        self.report
    }

    /// What a leading `~` or `%t` of a path stands for.
    pub(super) fn env(&self) -> &'a Environment {
        self.env
    }

    /// Whether the key is present, with a right or a wrong value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Whether the key is an array with nothing in it.
    pub(super) fn is_empty_list(&self, key: &str) -> bool {
        let value = self.table.and_then(|table| table.get(key));
        let items = value.and_then(|value| value.get_ref().as_array());
        items.is_some_and(|items| items.iter().next().is_none())
    }

    /// Where the key is, or would be.
    pub(super) fn place(&self, key: &str) -> KeyLocation {
        let name = self.table.and_then(|table| table.get_key_value(key));
        KeyLocation {
            line: name.map_or(self.place.line, |(name, _)| self.report.line(&name.span())),
            key: dotted(&self.place.key, key),
        }
    }

    /// Where the key is, if it is present with a right value.
    pub(super) fn right(&self, key: &str) -> Option<KeyLocation> {
        let place = self.place(key);
        (self.has(key) && !self.report.is_wrong(&place)).then_some(place)
    }

    /// The places of an array's items; empty if one of them is wrong.
    pub(super) fn right_items(&self, key: &str) -> Vec<KeyLocation> {
        let value = self.table.and_then(|table| table.get(key));
        let items = value.and_then(|value| value.get_ref().as_array());
        let (Some(items), Some(array)) = (items, self.right(key)) else {
            return Vec::new();
        };
        let place = |(index, item): (usize, &Spanned<DeValue<'_>>)| KeyLocation {
            line: self.report.line(&item.span()),
            key: format!("{}[{index}]", array.key),
        };
        items.iter().enumerate().map(place).collect()
    }

    /// A string that `convert` understands.
    pub(super) fn text<T>(
        &self,
        key: &'static str,
        example: &str,
        convert: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.text_of(key, Takes::Text(example.to_owned()), example, convert)
    }

    fn text_of<T>(
        &self,
        key: &'static str,
        takes: Takes,
        example: &str,
        convert: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let (place, value) = self.value(key, takes)?;
        let Some(text) = value.as_str() else {
            let expected = format!("a string such as {key} = {example:?}");
            self.report.wrong_type(&place, &expected, value);
            return None;
        };
        self.report.accept(&place, convert(text))
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, choice: &[(&str, T)]) -> Option<T> {
        let example = choice.first().map_or("", |(word, _)| word);
        let takes = Takes::Word(words(choice));
        self.text_of(key, takes, example, |text| choose(text, choice))
    }

    /// Some of a few words; `None` when the key is absent.
    pub(super) fn choices<T: Copy>(
        &self,
        key: &'static str,
        choice: &[(&str, T)],
    ) -> Option<Vec<T>> {
        let example = choice.first().map_or("", |(word, _)| word);
        let takes = Takes::Words(words(choice));
        self.list_of(key, takes, example, |text| choose(text, choice))
    }

    /// Strings that `convert` understands; `None` when the key is absent.
    pub(super) fn list<T>(
        &self,
        key: &'static str,
        example: &str,
        convert: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<Vec<T>> {
        self.list_of(key, Takes::Texts(example.to_owned()), example, convert)
    }

    fn list_of<T>(
        &self,
        key: &'static str,
        takes: Takes,
        example: &str,
        convert: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<Vec<T>> {
        let (place, value) = self.value(key, takes)?;
        let expected = format!("an array of strings such as {key} = [{example:?}]");
        let Some(items) = value.as_array() else {
            self.report.wrong_type(&place, &expected, value);
            return None;
        };
        let item = |(index, item): (usize, &Spanned<DeValue<'_>>)| {
            let place = KeyLocation {
                line: self.report.line(&item.span()),
                key: format!("{}[{index}]", place.key),
            };
            let Some(text) = item.get_ref().as_str() else {
                self.report.wrong_type(&place, &expected, item.get_ref());
                return None;
            };
            self.report.accept(&place, convert(text))
        };
        Some(items.iter().enumerate().filter_map(item).collect())
    }

    /// Strings by names that the user gives, such as the example, both of which `convert` understands; `None` when the key is absent.
    pub(super) fn named_texts<T>(
        &self,
        key: &'static str,
        example: &str,
        convert: impl Fn(&str, &str) -> Result<T, Wrong>,
    ) -> Option<Vec<(String, T)>> {
        let (place, value) = self.value(key, Takes::NamedTexts(example.to_owned()))?;
        let expected = format!("lines such as {example} under [{key}]");
        let Some(table) = value.as_table() else {
            self.report.wrong_type(&place, &expected, value);
            return None;
        };
        let entry = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let name: &std::borrow::Cow<'_, str> = name.get_ref();
            let place = KeyLocation {
                line: self.report.line(&value.span()),
                key: dotted(&place.key, name),
            };
            self.report.found(&place);
            let Some(text) = value.get_ref().as_str() else {
                // `gpt-4.1 = "x"` is a table `gpt-4` to TOML.
                let expected = if value.get_ref().as_table().is_some() {
                    "a string; a name with a dot in it needs quotes"
                } else {
                    "a string"
                };
                self.report.wrong_type(&place, expected, value.get_ref());
                return None;
            };
            let value = self.report.accept(&place, convert(name, text))?;
            Some((name.to_string(), value))
        };
        Some(table.iter().filter_map(entry).collect())
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        let (place, value) = self.value(key, Takes::Flag)?;
        let Some(flag) = value.as_bool() else {
            let expected = format!("{key} = true or {key} = false");
            self.report.wrong_type(&place, &expected, value);
            return None;
        };
        Some(flag)
    }

    /// A whole number within a range.
    pub(super) fn count<T: TryFrom<u64>>(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<T> {
        let (place, value) = self.value(key, Takes::Count(range.clone()))?;
        let Some(count) = integer(value) else {
            let expected = format!("a whole number such as {key} = {}", range.start());
            self.report.wrong_type(&place, &expected, value);
            return None;
        };
        let count = count.and_then(|count| within(count, &range, u64::to_string));
        self.report.accept(&place, count.and_then(narrow))
    }

    /// A size in bytes within a range.
    pub(super) fn size<T: TryFrom<u64>>(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<T> {
        let (place, value) = self.value(key, Takes::Size(range.clone()))?;
        let size = value.as_str().map(units::parse_size);
        let Some(size) = size.or_else(|| integer(value)) else {
            let expected = format!("a size such as {key} = \"64MiB\" or a number of bytes");
            self.report.wrong_type(&place, &expected, value);
            return None;
        };
        let size = size.and_then(|size| within(size, &range, |n| units::format_size(*n)));
        self.report.accept(&place, size.and_then(narrow))
    }

    /// A duration within a range.
    pub(super) fn duration(
        &self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let takes = Takes::Duration(range.clone());
        self.text_of(key, takes, "10s", |text| {
            let duration = units::parse_duration(text)?;
            within(duration, &range, |d| units::format_duration(*d))
        })
    }

    /// A duration within a range, or 0 for never.
    pub(super) fn duration_or_never(
        &self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let takes = Takes::Duration(Duration::ZERO..=*range.end());
        self.text_of(key, takes, "10s", |text| {
            let duration = units::parse_duration(text)?;
            if duration.is_zero() {
                return Ok(duration);
            }
            let least = units::format_duration(*range.start());
            if duration < *range.start() {
                return Err(format!("must be at least {least}, or 0s for never").into());
            }
            within(duration, &range, |d| units::format_duration(*d))
        })
    }

    /// A table within this one.
    pub(super) fn section<T>(&self, key: &'static str, read: impl FnOnce(&Self) -> T) -> T {
        let table = self.table(key, Takes::Table);
        let pattern = dotted(&self.pattern, key);
        self.child(self.place(key), pattern, table).read(read)
    }

    /// The tables of an array, with their places; `None` when the key is absent.
    pub(super) fn sections<T>(
        &self,
        key: &'static str,
        read: impl Fn(&Self) -> T,
    ) -> Option<Vec<T>> {
        let (place, value) = self.value(key, Takes::Tables)?;
        let expected = format!("tables that start with [[{}]]", place.key);
        let Some(items) = value.as_array() else {
            self.report.wrong_type(&place, &expected, value);
            return None;
        };
        let item = |(index, item): (usize, &'a Spanned<DeValue<'a>>)| {
            let place = KeyLocation {
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
        let table = self.table(key, Takes::NamedTables);
        let names = self.child(self.place(key), pattern.clone(), table);
        self.report.know(pattern.clone(), Takes::Table);
        for (name, value) in names.table.into_iter().flatten() {
            let place = names.place(name.get_ref());
            let Some(table) = value.get_ref().as_table() else {
                let expected = format!("a table that starts with [{}]", place.key);
                self.report.wrong_type(&place, &expected, value.get_ref());
                continue;
            };
            // `[providers.my.server]` is a table `server` within `my` to TOML.
            let mut values = table.iter();
            if let Some((first, _)) = values.next().filter(|(_, value)| is_table(value))
                && values.all(|(_, value)| is_table(value))
            {
                let message = format!(
                    "a name has no dots: write [{}-{}] instead of [{}.{}]",
                    place.key,
                    first.get_ref(),
                    place.key,
                    first.get_ref()
                );
                self.report.add(&place, message);
                continue;
            }
            let child = self.child(place, pattern.clone(), Some(table));
            child.read(|section| read(name.get_ref(), section));
        }
    }

    /// This table's own place.
    pub(super) fn here(&self) -> &KeyLocation {
        &self.place
    }

    fn value(&self, key: &'static str, takes: Takes) -> Option<(KeyLocation, &'a DeValue<'a>)> {
        self.asked.borrow_mut().push(key);
        self.report.know(dotted(&self.pattern, key), takes);
        let value = self.table?.get(key)?;
        let place = self.place(key);
        self.report.found(&place);
        Some((place, value.get_ref()))
    }

    fn table(&self, key: &'static str, takes: Takes) -> Option<&'a DeTable<'a>> {
        let name = if matches!(takes, Takes::NamedTables) {
            ".NAME"
        } else {
            ""
        };
        let (place, value) = self.value(key, takes)?;
        let table = value.as_table();
        if table.is_none() {
            let expected = format!("a table that starts with [{}{name}]", place.key);
            self.report.wrong_type(&place, &expected, value);
        }
        table
    }

    fn child(&self, place: KeyLocation, pattern: String, table: Option<&'a DeTable<'a>>) -> Self {
        Self {
            report: self.report,
            table,
            place,
            pattern,
            asked: RefCell::default(),
            env: self.env,
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
            let wrong = if let Some(message) = misplaced(&plain, &self.place.key) {
                message.into()
            } else if plain == "client_secret" && asked.contains(&"client_secret_file") {
                "secrets don't belong in this file: put the secret in a separate file and name it \
                 with `client_secret_file`"
                    .into()
            } else if SECRETS.contains(&plain.as_str()) {
                "secrets don't belong in this file: put the key of a provider of type \"static\" \
                 in a separate file and name it with `api_key_file`, or name an environment \
                 variable with `api_key_env`, or systemd's credential with `api_key_credential`"
                    .into()
            } else {
                Wrong {
                    message: "unknown key".to_owned(),
                    suggestion: did_you_mean(name, asked.iter().copied()),
                }
            };
            self.report.add(&self.place(name), wrong);
        }
    }
}

/// The keys of the file's top level: below a table's line TOML takes them for keys of that table.
pub(super) const TOP: [&str; 4] = [
    "default_provider",
    "default_model",
    "hermes_home",
    "models_cache",
];

/// Whether this is one of them.
pub(super) fn is_top(key: &str) -> bool {
    TOP.contains(&key)
}

pub(super) const TOP_ADVICE: &str =
    "write this at the top of the file, above its first [table]: it belongs to no table";

/// What is said of a key that other programs have, and that ours has under another name.
fn misplaced(name: &str, table: &str) -> Option<&'static str> {
    let listens = table.is_empty() || table.starts_with("listen");
    match name {
        "port" | "listen_port" if listens => Some(
            "the port is part of the address: write address = \"127.0.0.1:8645\" under [[listen]]",
        ),
        "host" | "bind" | "listen_address" | "bind_address" if listens => {
            Some("write it with the port as address = \"127.0.0.1:8645\" under [[listen]]")
        }
        "address" if table.is_empty() => Some("write this under [[listen]]"),
        "provider" if table.is_empty() => Some(
            "the provider of requests that name none is default_provider = \"NAME\"; that of one address is \
             written under its [[listen]]",
        ),
        name if !table.is_empty() && is_top(name) => Some(TOP_ADVICE),
        "model" if table.is_empty() || table.starts_with("providers") => Some(
            "apps name their models; the model of those that name none is default_model = \"NAME\", at the \
             top of the file, above its first [table]",
        ),
        _ => None,
    }
}

fn is_table(value: &Spanned<DeValue<'_>>) -> bool {
    value.get_ref().as_table().is_some()
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
pub(super) fn dotted(table: &str, key: &str) -> String {
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
