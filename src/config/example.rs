//! `config.example.toml`, made from the declared keys and the prose between them; pure.

use std::collections::{BTreeMap, BTreeSet};

use super::reference::{Declared, declared, defaults, joined, opened_table};

/// The prose of the example, its tables, and values for the keys without a default. A key's text comes before its
/// first line. `key = *` is a key at its default, and `*` stands for all keys of a table that have a default and no
/// line of their own.
const TEMPLATE: &str = include_str!("example.template.toml");

/// The example.
pub(super) fn example() -> String {
    let (declared, defaults) = (declared(), defaults());
    let named: BTreeSet<_> = lines().into_iter().filter_map(|(_, key)| key).collect();
    let mut example = Example {
        text: String::new(),
        texts: declared.iter().cloned().collect(),
    };
    for (line, key) in lines() {
        let Some(pattern) = key else {
            example.text.extend([line, "\n"]);
            continue;
        };
        let Some(table) = pattern.strip_suffix('*') else {
            let default = defaults.get(&pattern).map_or("", String::as_str);
            example.key(&pattern, &line.replace(" = *", &format!(" = {default}")));
            continue;
        };
        let others = declared.iter().map(|(pattern, _)| pattern);
        let others = others.filter(|pattern| is_in(pattern, table) && !named.contains(*pattern));
        for (pattern, default) in
            others.filter_map(|pattern| Some((pattern, defaults.get(pattern)?)))
        {
            let key = pattern.strip_prefix(table).unwrap_or(pattern);
            example.key(pattern, &format!("{key} = {default}"));
        }
    }
    example.text
}

/// What is written, and the texts that are not yet.
struct Example {
    text: String,
    texts: BTreeMap<String, Declared>,
}

impl Example {
    fn key(&mut self, pattern: &str, line: &str) {
        for text in self.texts.remove(pattern).into_iter().flatten() {
            self.text.extend(["#", text, "\n"]);
        }
        self.text.extend([line, "\n"]);
    }
}

/// The template's lines, those with a key with its pattern; that of a `*` ends with it.
fn lines() -> Vec<(&'static str, Option<String>)> {
    let mut table = String::new();
    let lines = TEMPLATE.lines().map(|line| {
        let code = line.strip_prefix('#').unwrap_or(line);
        if let Some(opened) = code.strip_prefix('[') {
            table = opened_table(opened);
            return (line, None);
        }
        let key = code.split_once(" = ").map_or(code, |(key, _)| key);
        let is_key = !key.is_empty() && !key.contains(' ');
        (line, is_key.then(|| joined(&table, key)))
    });
    lines.collect()
}

/// Whether a pattern is that of a key right within a table, which ends with a dot.
fn is_in(pattern: &str, table: &str) -> bool {
    let key = pattern.strip_prefix(table);
    key.is_some_and(|key| !key.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EXAMPLE;

    /// `UPDATE_GOLDEN=1` writes the file.
    #[test]
    fn the_example_is_made_from_the_declared_keys() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml");
        let example = example();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(file, example).unwrap();
            return;
        }
        assert!(example == EXAMPLE, "run the test with UPDATE_GOLDEN=1");
    }

    /// A new key without a default would be missing in the example otherwise.
    #[test]
    fn every_declared_key_is_in_the_example() {
        let keys = example();
        for (pattern, lines) in declared() {
            for line in lines {
                assert!(
                    keys.contains(line),
                    "{pattern} needs a line in the template"
                );
            }
        }
    }
}
