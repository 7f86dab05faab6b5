//! Names in JSON strings, and their replacement.

use std::ops::Range;

use super::requested::RequestedModel;

/// Whether a key ends as this one for a parser that takes a NUL for its end.
pub(super) fn is_to_c(key: &[u8], raw: &[u8]) -> bool {
    let mut rest = raw;
    let mut next = || {
        let (letter, length) = match rest {
            [b'\\', b'u', hex @ ..] => {
                let hex = std::str::from_utf8(hex.get(..4)?).ok()?;
                (u32::from_str_radix(hex, 16).ok()?, 6)
            }
            [b'\\', ..] | [] => return None,
            [letter, ..] => (u32::from(*letter), 1),
        };
        rest = rest.get(length..)?;
        Some(letter)
    };
    let is = |letter: &u8, found: Option<u32>| {
        found.is_some_and(|found| {
            u8::try_from(found).is_ok_and(|found| found.eq_ignore_ascii_case(letter))
        })
    };
    key.iter().all(|letter| is(letter, next())) && next() == Some(0)
}

/// The text between the quotes of a JSON string.
pub(super) fn decode(raw: &[u8]) -> Option<String> {
    let mut quoted = Vec::with_capacity(raw.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(raw);
    quoted.push(b'"');
    serde_json::from_slice(&quoted).ok()
}

/// A model's name, as a body has it.
fn encode(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}

impl RequestedModel {
    /// What names it; `None` where nothing does.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Named(name, _) => Some(name),
            Self::Empty(_) | Self::Missing { .. } => None,
        }
    }

    /// What to put where, so that the body names this model instead.
    pub fn replacement(&self, name: &str) -> (Range<u64>, String) {
        match self {
            Self::Named(_, place) | Self::Empty(place) => (place.clone(), encode(name)),
            Self::Missing { at, has_others } => {
                let comma = if *has_others { "," } else { "" };
                (*at..*at, format!("\"model\":{}{comma}", encode(name)))
            }
        }
    }
}
