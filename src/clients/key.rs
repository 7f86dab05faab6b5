//! A key and its hash. The key itself is shown once and never stored.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::ClientsError;
use crate::secret::Secret;

/// The prefix of every key made here, so that secret scanners recognise it.
pub const KEY_PREFIX: &str = "hpx-";
/// The length of a key in characters: the prefix, and 256 bits in base64.
pub const KEY_LENGTH: usize = KEY_PREFIX.len() + 43;

/// The SHA-256 of a key. A key has 256 random bits, so a slow hash would add no protection.
#[derive(Clone, Copy)]
pub(super) struct Hash([u8; 32]);

impl Hash {
    /// Hashes what an app presents, or a key.
    pub(super) fn of(presented: &[u8]) -> Self {
        Self(Sha256::digest(presented).into())
    }

    /// Hashes a key of ours.
    pub(super) fn of_secret(key: &Secret) -> Self {
        Self::of(key.expose().as_bytes())
    }

    /// Parses 64 lower-case hexadecimal digits.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            for digit in pair {
                let value = match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    _ => return None,
                };
                *byte = *byte << 4 | value;
            }
        }
        Some(Self(bytes))
    }

    /// The form in the file.
    pub(super) fn to_hex(self) -> String {
        let nibbles = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        nibbles
            .map(|nibble| char::from_digit(nibble.into(), 16).unwrap_or('?'))
            .collect()
    }

    /// The raw digest, for comparisons whose timing can't be measured: between entries of the user's own files.
    pub(super) fn digest(self) -> [u8; 32] {
        self.0
    }

    /// The first eight bytes.
    pub(super) fn head(&self) -> u64 {
        let first = self.0.first_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(first)
    }

    /// Compares in constant time.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hash]")
    }
}

/// Makes a key from 256 random bits of the operating system.
pub(super) fn make() -> Result<Secret, ClientsError> {
    let mut bits = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bits).map_err(|error| ClientsError::Random(error.to_string()))?;
    let mut key = String::with_capacity(KEY_LENGTH);
    key.push_str(KEY_PREFIX);
    URL_SAFE_NO_PAD.encode_string(bits.as_slice(), &mut key);
    Ok(Secret::new(key))
}

/// The mark of hermesctl's own requests, which keeps them out of an app's counts. Drawn at each start and sent only
/// over the control socket: an app that knew it could keep its requests out of the counts.
#[derive(Debug)]
pub struct OwnMark(Secret);

impl OwnMark {
    /// Draws a new mark; `None` if the system has no random bytes.
    pub fn draw() -> Option<Self> {
        let key = make().ok()?;
        let random = key.expose().get(KEY_PREFIX.len()..)?;
        Some(Self(Secret::new(random.to_owned())))
    }

    /// The mark in the clear, for hermesctl only.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Whether `shown` is the mark, compared in constant time.
    pub fn is(&self, shown: &[u8]) -> bool {
        self.expose().as_bytes().ct_eq(shown).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_form_and_differ() {
        let (one, other) = (make().unwrap(), make().unwrap());
        let text = one.expose();
        assert!(!one.same(&other));
        let random = text.strip_prefix("hpx-").unwrap();
        assert_eq!(random.len(), 43);
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(random.chars().all(allowed), "{random}");
        assert_eq!(URL_SAFE_NO_PAD.decode(random).unwrap().len(), 32);
    }

    #[test]
    fn a_mark_is_itself_alone_and_is_not_shown() {
        let (one, other) = (OwnMark::draw().unwrap(), OwnMark::draw().unwrap());
        assert!(one.is(one.expose().as_bytes()));
        assert!(!one.is(other.expose().as_bytes()) && !one.is(b""));
        assert!(!format!("{one:?}").contains(one.expose()));
    }

    #[test]
    fn a_hash_is_the_sha256_in_hex() {
        // printf abc | sha256sum
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let hash = Hash::of(b"abc");
        assert_eq!(hash.to_hex(), hex);
        assert!(Hash::from_hex(hex).unwrap().is(&hash));
        assert_eq!(format!("{hash:?}"), "[hash]");
        for wrong in [
            "",
            "abc",
            hex.get(1..).unwrap(),
            &hex.to_uppercase(),
            &hex.replace('b', "g"),
        ] {
            assert!(Hash::from_hex(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn every_bit_of_a_hash_counts() {
        let hash = Hash::of(b"abc");
        for position in 0..256 {
            let mut other = hash;
            other.0[position / 8] ^= 1 << (position % 8);
            assert!(!hash.is(&other), "bit {position}");
        }
    }
}
