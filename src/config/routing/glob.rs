//! A pattern of models' names: `*` stands for any text, every other character for itself; pure.

use std::fmt;

use super::super::form::AsText;

/// `grok-*`, `*-mini`, or a whole name. Compared exactly, as providers compare names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelGlob(String);

impl ModelGlob {
    /// The pattern of this text.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is one name only.
    pub fn is_name(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether it takes this name. Takes no longer than the product of both lengths.
    pub fn matches(&self, name: &str) -> bool {
        let (mut rest, mut is_first) = (name, true);
        let mut parts = self.0.split('*').peekable();
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            let found = match (is_first, is_last) {
                (true, true) => return name == part,
                (true, false) => rest.strip_prefix(part),
                (false, true) => return rest.ends_with(part),
                // The earliest place leaves the most for the parts behind it.
                (false, false) => rest.split_once(part).map(|(_, behind)| behind),
            };
            match found {
                Some(behind) => rest = behind,
                None => return false,
            }
            is_first = false;
        }
        rest.is_empty()
    }

    /// Whether it takes every name that the other one takes. A star of the other one can only be taken by a star.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }
}

impl fmt::Display for ModelGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsText for ModelGlob {
    fn as_text(&self) -> String {
        self.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (glob, name, matches) in [
            ("grok-4", "grok-4", true),
            ("grok-4", "grok-40", false),
            ("grok-*", "grok-", true),
            ("grok-*", "grok-4/x", true),
            ("grok-*", "a-grok-4", false),
            ("*-mini", "gpt-mini", true),
            ("*-mini", "gpt-minis", false),
            ("*", "", true),
            ("*", "x", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*a*a*", "xaxax", true),
            ("**", "x", true),
            ("*/*", "a/b/c", true),
            ("?", "x", false),
        ] {
            assert_eq!(ModelGlob::new(glob).matches(name), matches, "{glob} {name}");
        }
    }
}
