//! What is wrong with a file, which keys it may have, and which it has; pure.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use toml::de::DeValue;

use super::error::Problem;
use super::takes::{ConfigKey, Takes};
use super::wrong::Wrong;

/// Where a value is.
#[derive(Debug, Clone)]
pub(super) struct KeyLocation {
    pub(super) line: usize,
    pub(super) key: String,
}

/// The problems of one file, the keys that its reader knows, and those that the file has.
#[derive(Debug)]
pub(super) struct ConfigReport {
    line_ends: Vec<usize>,
    broken_lines: BTreeSet<usize>,
    problems: RefCell<Vec<Problem>>,
    known: RefCell<Vec<ConfigKey>>,
    lines: RefCell<BTreeMap<String, usize>>,
}

impl fmt::Display for KeyLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

/// What is wrong with a line whose value is a text without quotes, which the parser reports as a malformed
/// number. The value itself is in no message.
fn without_quotes(line: &str) -> Option<&'static str> {
    let (key, value) = line.split_once('=')?;
    let value = value.split('#').next().unwrap_or_default().trim();
    let is_key = key
        .chars()
        .all(|c| c.is_alphanumeric() || " \t._-\"'".contains(c));
    let is_text = value
        .chars()
        .all(|c| c.is_alphanumeric() || "./:~@%+_-".contains(c))
        && value.chars().any(char::is_alphabetic);
    if !is_key || !is_text {
        return None;
    }
    Some(match &*value.to_ascii_lowercase() {
        "true" | "false" => "write true and false in lower case",
        _ => "the value is a text: put \" before and after it",
    })
}

impl ConfigReport {
    /// The report on a file with this text, which has these syntax errors.
    pub(super) fn new(text: &str, syntax: &[toml::de::Error]) -> Self {
        let line_ends = text.match_indices('\n').map(|(at, _)| at).collect();
        let mut report = Self {
            line_ends,
            broken_lines: BTreeSet::new(),
            problems: RefCell::default(),
            known: RefCell::default(),
            lines: RefCell::default(),
        };
        for error in syntax {
            let line = report.line(&error.span().unwrap_or_default());
            if report.broken_lines.insert(line) {
                let message = error.message().trim();
                let is_twice = message.contains("duplicate key");
                let unquoted = text.lines().nth(line - 1).filter(|_| !is_twice);
                let message = unquoted.and_then(without_quotes).unwrap_or(message);
                let advice = if is_twice {
                    "; it appears earlier in the file: keep one of the two, and the keys of both under it"
                } else {
                    ""
                };
                report.problems.borrow_mut().push(Problem {
                    line,
                    key: String::new(),
                    message: format!("this is not TOML: {message}{advice}"),
                    suggestion: None,
                });
            }
        }
        report
    }

    /// Adds a problem, unless the line is not TOML: then its value is the parser's guess.
    pub(super) fn add(&self, place: &KeyLocation, wrong: impl Into<Wrong>) {
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

    /// Whether something is wrong with this key or within it.
    pub(super) fn is_wrong(&self, place: &KeyLocation) -> bool {
        let problems = self.problems.borrow();
        let within = |key: &str| {
            let rest = key.strip_prefix(&place.key);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
        };
        let mut keys = problems.iter().map(|problem| problem.key.as_str());
        keys.any(within) || self.broken_lines.contains(&place.line)
    }

    /// Where this key of the file is.
    pub(super) fn place_of(&self, key: &str) -> Option<KeyLocation> {
        let line = self.lines.borrow().get(key).copied()?;
        let key = key.to_owned();
        Some(KeyLocation { line, key })
    }

    /// All problems in the order of their lines, all keys that were asked for, and the lines of those
    /// that were found.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<ConfigKey>, BTreeMap<String, usize>) {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        (problems, self.known.into_inner(), self.lines.into_inner())
    }

    /// This key is in the file.
    pub(super) fn found(&self, place: &KeyLocation) {
        let entry = (place.key.clone(), place.line);
        self.lines.borrow_mut().extend([entry]);
    }

    /// The file may hold this key.
    pub(super) fn know(&self, pattern: String, takes: Takes) {
        let mut known = self.known.borrow_mut();
        if !known.iter().any(|key| key.pattern == pattern) {
            known.push(ConfigKey { pattern, takes });
        }
    }

    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.line_ends.partition_point(|end| *end < span.start) + 1
    }

    pub(super) fn accept<T>(&self, place: &KeyLocation, value: Result<T, Wrong>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.add(place, wrong);
                None
            }
        }
    }

    pub(super) fn wrong_type(&self, place: &KeyLocation, expected: &str, found: &DeValue<'_>) {
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
