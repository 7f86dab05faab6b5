//! A short text without an allocation, since each request has some.

use std::fmt;

/// A longer one does.
const SHORT: usize = 46;

/// A name of a request: its app's, its model's.
#[derive(Clone)]
pub struct Label(LabelText);

#[derive(Clone)]
enum LabelText {
    Short([u8; SHORT], u8),
    Long(Box<str>),
}

impl Label {
    /// The parts, one after the other.
    pub fn of(parts: &[&str]) -> Self {
        let mut bytes = [0; SHORT];
        let mut length = 0;
        for part in parts {
            let end = length + part.len();
            let Some(room) = bytes.get_mut(length..end) else {
                return Self(LabelText::Long(parts.concat().into()));
            };
            room.copy_from_slice(part.as_bytes());
            length = end;
        }
        // No text of this length is longer.
        Self(LabelText::Short(
            bytes,
            u8::try_from(length).unwrap_or_default(),
        ))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            LabelText::Short(bytes, length) => {
                let text = bytes.get(..usize::from(*length)).unwrap_or_default();
                // Whole texts were put there.
                std::str::from_utf8(text).unwrap_or_default()
            }
            LabelText::Long(text) => text,
        }
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_its_parts_whatever_their_length() {
        for length in 0..2 * SHORT {
            let text = "ä".repeat(length);
            assert_eq!(Label::of(&[&text, "", "!"]).as_str(), format!("{text}!"));
        }
    }
}
