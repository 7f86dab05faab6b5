//! The meaning and the default of each key, put together from the reader's keys, the declared texts and the
//! defaults; pure.

use std::collections::BTreeMap;

use super::hook::Target;
use super::listen::AddressKeys;
use super::provider::kind::{KeyFields, LoginUrls};
use super::root::Top;
use super::shape::shape;
use super::table::{KeyText, Table as _};
use super::takes::{ConfigKey, Takes};
use super::{
    Guard, Hook, Limits, Listener, Log, OAuth2, Provider, RouteRule, Routing, Timeouts, Usage,
    file, provider, written,
};
use crate::paths::Environment;

/// The example with every key and its comment.
pub const EXAMPLE: &str = include_str!("../../config.example.toml");

/// The smallest file that sets every key with a default to that default.
const WITH_A_HOOK: &str = "[[hooks]]\ncommand = [\"x\"]\n";

/// A key of [`WITH_A_HOOK`], or of the built-in provider alone.
const WITHOUT_A_DEFAULT: [&str; 2] = ["hooks[].command", "providers.<name>.type"];

/// A key with its whole documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceEntry {
    /// The key, and what it takes.
    pub key: ConfigKey,
    /// Its value as TOML where the file leaves it out, if it has one then.
    pub default: Option<String>,
    /// What it means, in the words of the example.
    pub text: String,
}

/// A table of the file with its keys, for a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceTable {
    /// Which tables it is, such as `providers.<name>`; empty for the top level.
    pub pattern: String,
    /// What it is for.
    pub text: String,
    /// Its keys, in the file's order.
    pub keys: Vec<ReferenceEntry>,
}

impl ReferenceEntry {
    /// The key within its table.
    pub fn name(&self) -> &str {
        let name = self.key.pattern.rsplit_once('.');
        name.map_or(self.key.pattern.as_str(), |(_, name)| name)
    }

    /// The pattern of the table that holds it; empty at the top level.
    pub fn table(&self) -> &str {
        let table = self.key.pattern.rsplit_once('.');
        table.map_or("", |(table, _)| table)
    }

    /// The pattern of the table that it is, for the keys within.
    pub fn tables(&self) -> String {
        let pattern = &self.key.pattern;
        match self.key.takes {
            Takes::Tables => format!("{pattern}[]"),
            Takes::NamedTables => format!("{pattern}.<name>"),
            Takes::Table
            | Takes::Text(_)
            | Takes::Word(_)
            | Takes::Texts(_)
            | Takes::Words(_)
            | Takes::NamedTexts(_)
            | Takes::Flag
            | Takes::Count(_)
            | Takes::Size(_)
            | Takes::Duration(_) => pattern.clone(),
        }
    }

    /// Whether it opens a table.
    pub fn is_table(&self) -> bool {
        matches!(
            self.key.takes,
            Takes::Table | Takes::Tables | Takes::NamedTables
        )
    }
}

/// Everything that the file may hold, in the reader's order.
pub fn reference() -> Vec<ReferenceEntry> {
    let (tables, defaults) = (table_texts(), defaults());
    let declared: BTreeMap<_, _> = declared().into_iter().collect();
    let text = |pattern: &str| match declared.get(pattern) {
        Some(lines) => {
            let lines: Vec<_> = lines.iter().map(|line| line.trim()).collect();
            lines.join(" ")
        }
        None => tables.get(pattern).cloned().unwrap_or_default(),
    };
    let entry = |key: ConfigKey| ReferenceEntry {
        default: defaults.get(&key.pattern).cloned(),
        text: text(&key.pattern),
        key,
    };
    shape().into_iter().map(entry).collect()
}

/// The same by tables, in a reference's order: the top level, whose pattern is empty, then each
/// table with keys.
pub fn tables() -> Vec<ReferenceTable> {
    let entries = reference();
    let keys_of = |pattern: &str| -> Vec<ReferenceEntry> {
        let own = entries.iter().filter(|entry| entry.table() == pattern);
        own.filter(|entry| !entry.is_table()).cloned().collect()
    };
    let mut tables = vec![ReferenceTable {
        pattern: String::new(),
        text: String::new(),
        keys: keys_of(""),
    }];
    for table in entries.iter().filter(|entry| entry.is_table()) {
        let pattern = table.tables();
        let keys = keys_of(&pattern);
        if keys.is_empty() || table.name() == "<name>" {
            continue;
        }
        let about = entries.iter().find(|entry| entry.key.pattern == pattern);
        tables.push(ReferenceTable {
            text: about.unwrap_or(table).text.clone(),
            pattern,
            keys,
        });
    }
    tables
}

/// How values are written: the last words before the example's first key.
pub fn notation() -> String {
    let lines = EXAMPLE.lines().take_while(|line| line.starts_with('#'));
    let lines: Vec<_> = lines
        .map(|line| line.trim_start_matches('#').trim())
        .collect();
    let last = lines.rsplit(|line| line.is_empty()).next();
    last.unwrap_or_default().join(" ")
}

/// The defaults as TOML, by the keys' patterns.
pub(super) fn defaults() -> BTreeMap<String, String> {
    let read = file::read(WITH_A_HOOK, "".as_ref(), &Environment::default());
    let settings = read.config.map(|config| written::settings(&config));
    let settings = settings.into_iter().flatten();
    let patterns = settings.map(|setting| {
        let table = match setting.place.rsplit_once('.') {
            Some((table, _)) if table.starts_with("providers.") => "providers.<name>".to_owned(),
            Some((table, _)) => table.replace("[0]", "[]"),
            None => String::new(),
        };
        (joined(&table, setting.key), setting.value)
    });
    patterns
        .filter(|(pattern, _)| !WITHOUT_A_DEFAULT.contains(&pattern.as_str()))
        .collect()
}

/// The lines of a declared key's text.
pub(super) type Declared = &'static [&'static str];

/// The declared keys with their texts.
pub(super) fn declared() -> Vec<(String, Declared)> {
    let tables: [(&str, &[KeyText]); 17] = [
        ("", Top::KEYS),
        ("", Routing::KEYS),
        ("listen[]", AddressKeys::KEYS),
        ("listen[]", Listener::KEYS),
        ("guard", Guard::KEYS),
        ("limits", Limits::KEYS),
        ("timeouts", Timeouts::KEYS),
        ("log", Log::KEYS),
        ("usage", Usage::KEYS),
        ("hooks[]", Target::KEYS),
        ("hooks[]", Hook::KEYS),
        ("route[]", RouteRule::KEYS),
        ("providers.<name>", &provider::HEAD),
        ("providers.<name>", LoginUrls::KEYS),
        ("providers.<name>", OAuth2::KEYS),
        ("providers.<name>", KeyFields::KEYS),
        ("providers.<name>", Provider::KEYS),
    ];
    let keys = tables.into_iter().flat_map(|(table, keys)| {
        keys.iter()
            .map(move |(key, text)| (joined(table, key), *text))
    });
    keys.collect()
}

/// The example's comments by the tables that start below them, each at its first occurrence.
fn table_texts() -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    let mut comment = Vec::new();
    for line in EXAMPLE.lines() {
        let code = line.strip_prefix('#').unwrap_or(line);
        if let Some(words) = line.strip_prefix("# ") {
            comment.push(words);
            continue;
        }
        if let Some(opened) = code.strip_prefix('[') {
            let table = opened_table(opened);
            let table = table.trim_end_matches("[]").to_owned();
            texts.entry(table).or_insert_with(|| comment.join(" "));
        }
        comment.clear();
    }
    texts
}

/// The pattern of `[[listen]]`, `[limits]` or `[providers.nous]`, without its first bracket.
pub(super) fn opened_table(header: &str) -> String {
    let name = header.trim_matches(['[', ']']);
    match name.split_once('.') {
        Some((tables, _)) => format!("{tables}.<name>"),
        None if header.starts_with('[') => format!("{name}[]"),
        None => name.to_owned(),
    }
}

/// A key's pattern.
pub(super) fn joined(table: &str, key: &str) -> String {
    if table.is_empty() {
        key.to_owned()
    } else {
        format!("{table}.{key}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_explained() {
        for entry in reference() {
            let pattern = &entry.key.pattern;
            let silent = pattern == "providers";
            assert!(
                silent || entry.text.len() > 20,
                "{pattern}: {:?}",
                entry.text
            );
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_example() {
        let entries = reference();
        let default = |pattern: &str| {
            let mut entries = entries.iter();
            let entry = entries.find(|entry| entry.key.pattern == pattern);
            entry.unwrap().default.clone()
        };
        for (pattern, value) in [
            ("default_provider", "\"nous\""),
            ("listen[].address", "\"127.0.0.1:8645\""),
            ("limits.connections", "1024"),
            ("providers.<name>.append_done", "true"),
            ("hooks[].timeout", "\"10s\""),
        ] {
            assert_eq!(default(pattern).as_deref(), Some(value), "{pattern}");
        }
        for pattern in ["hermes_home", "hooks[].command", "providers.<name>.type"] {
            assert_eq!(default(pattern), None, "{pattern}");
        }
    }
}
