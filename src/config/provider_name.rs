//! The names of providers; pure.

use std::fmt;

use super::form::AsText;

/// The provider that is served where nothing else is said.
pub const DEFAULT_PROVIDER: &str = "nous";

/// A provider's name as used in paths, on the command line and in the file: lower-case
/// letters, digits, `-` and `_`, starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderName(String);

impl ProviderName {
    /// The name in its normal form: trimmed and in lower case. `None` if a character is not
    /// allowed.
    pub fn new(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        let mut bytes = name.bytes();
        let first = bytes.next()?;
        let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        let valid = first.is_ascii_lowercase() || first.is_ascii_digit();
        (valid && bytes.all(rest)).then_some(Self(name))
    }

    /// The name `nous`.
    pub fn nous() -> Self {
        Self(DEFAULT_PROVIDER.to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsText for ProviderName {
    fn as_text(&self) -> String {
        self.to_string()
    }
}
