//! Secrets: text that is redacted in `Debug`, wiped when dropped, and shown only on request.

use std::fmt;

use hyper::header::{HeaderValue, InvalidHeaderValue};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// A token, key or code that must not appear in any output.
///
/// There is no `Display`, no `Serialize` and no `PartialEq`: what needs the text calls
/// [`Secret::expose`], which can be searched for.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for the wire and the store only.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether a text that others may see holds it.
    pub fn is_in(&self, text: &str) -> bool {
        text.contains(self.expose())
    }

    /// Twelve hexadecimal digits of the text's SHA-256, which name it in a log without
    /// giving it away; the same form as Hermes Agent's.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.0.as_bytes());
        let mut text = String::with_capacity(12);
        for byte in digest.iter().take(6) {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(nibble.into(), 16).unwrap_or('?'));
            }
        }
        text
    }

    /// The value of an `Authorization` header with this scheme, marked sensitive so that
    /// no HTTP library prints or indexes it.
    ///
    /// # Errors
    /// When the text holds a character that a header can't carry.
    pub fn authorization(&self, scheme: &str) -> Result<HeaderValue, InvalidHeaderValue> {
        let text = Zeroizing::new(format!("{scheme} {}", self.expose()));
        let mut value = HeaderValue::from_str(&text)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The text as a sensitive header value without a scheme.
    ///
    /// # Errors
    /// When the text holds a character that a header can't carry.
    pub fn header_value(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        let mut value = HeaderValue::from_str(self.expose())?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Whether both hold the same text.
    pub fn same(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_text() {
        let secret = Secret::new("token-that-must-stay-here".into());
        assert_eq!(format!("{secret:?}"), "[redacted]");
        let header = secret.authorization("Bearer").unwrap();
        assert!(header.is_sensitive());
        assert!(!format!("{header:?}").contains("token"));
    }

    #[test]
    fn a_fingerprint_is_the_start_of_the_sha256() {
        // printf abc | sha256sum
        assert_eq!(Secret::new("abc".into()).fingerprint(), "ba7816bf8f01");
    }
}
