//! Finds the API key of a request, in any of the places and forms that apps use. Pure.
//!
//! An app is configured with one text and decides itself where to put it: after `Bearer`, after
//! another word, in quotes, as a user's password, in a separate header. A valid client key is
//! accepted in all of them.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::fields::Fields;
use crate::clients::{ClientIdentity, KEY_PREFIX, LONGEST_KEY};
use crate::config::KEY_FIELDS;

/// The words before a key. Some apps put one before a text that begins with it already.
const SCHEMES: [&[u8]; 5] = [b"bearer", b"token", b"apikey", b"api-key", b"key"];
/// Candidates that are looked up for one request, since each costs a hash.
const MOST_CANDIDATES: u8 = 32;
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a request presents, from the least to the most telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Presented {
    /// No field for a key.
    Nothing,
    /// Such a field, without a key.
    Empty,
    /// A user name and a password, in this field.
    Password(&'static str),
    /// Any other text, in this field and with this many characters.
    Other(&'static str, usize),
    /// A text that begins like a client key and is not one, with this many characters.
    Invalid(usize),
    /// A token that was a client key once.
    Revoked,
    /// A client key.
    Valid,
}

/// The API key of a request, and its client. `identify` checks one candidate; the usual request has
/// one.
pub fn find<C>(
    headers: &Fields,
    identify: impl Fn(&[u8]) -> ClientIdentity<C>,
) -> (Presented, Option<C>) {
    let mut search = KeySearch {
        identify,
        best: Presented::Nothing,
        left: MOST_CANDIDATES,
    };
    for (name, value) in headers.iter() {
        let field = KEY_FIELDS.iter().find(|field| name == field.as_bytes());
        let Some(field) = field else {
            continue;
        };
        if let Some(client) = search.field(field, value.trim_ascii()) {
            return (Presented::Valid, Some(client));
        }
    }
    (search.best, None)
}

struct KeySearch<I> {
    identify: I,
    best: Presented,
    left: u8,
}

impl<I> KeySearch<I> {
    fn field<C>(&mut self, field: &'static str, value: &[u8]) -> Option<C>
    where
        I: Fn(&[u8]) -> ClientIdentity<C>,
    {
        if let Some(pair) = basic(value) {
            let colon = pair.iter().position(|byte| *byte == b':');
            let colon = colon.unwrap_or(pair.len());
            let (user, password) = pair.split_at_checked(colon)?;
            let password = password.strip_prefix(b":").unwrap_or_default();
            self.note(Presented::Password(field));
            return self
                .candidate(password)
                .or_else(|| self.candidate(user))
                .or_else(|| self.words(&pair));
        }
        let mut key = unquoted(without_scheme(value).unwrap_or(value));
        loop {
            if key.is_empty() {
                self.note(Presented::Empty);
                return None;
            }
            if let Some(client) = self.candidate(key) {
                return Some(client);
            }
            match without_scheme(key) {
                Some(rest) => key = unquoted(rest),
                None => break,
            }
        }
        // A word that is not known, or a token that begins with one that is.
        let behind = second_of_two(key).map(unquoted);
        self.note(Presented::Other(field, characters(behind.unwrap_or(key))));
        let is_usual = value.len() == key.len() || starts_with_word(value, b"bearer");
        behind
            .and_then(|behind| self.candidate(behind))
            .or_else(|| (!is_usual).then(|| self.candidate(unquoted(value)))?)
            .or_else(|| self.words(value))
    }

    /// Looks at every word that begins like a client key, whatever the case of its letters: a key is
    /// refused in any spelling, and let in only in its own.
    fn words<C>(&mut self, text: &[u8]) -> Option<C>
    where
        I: Fn(&[u8]) -> ClientIdentity<C>,
    {
        let in_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let mut words = text.split(|byte| !in_key(byte));
        words.find_map(|word| {
            let prefix = word.get(..KEY_PREFIX.len());
            if !prefix.is_some_and(|it| it.eq_ignore_ascii_case(KEY_PREFIX.as_bytes())) {
                return None;
            }
            self.note(Presented::Invalid(word.len()));
            self.candidate(word)
        })
    }

    fn candidate<C>(&mut self, key: &[u8]) -> Option<C>
    where
        I: Fn(&[u8]) -> ClientIdentity<C>,
    {
        if key.is_empty() || key.len() > LONGEST_KEY || self.left == 0 {
            return None;
        }
        self.left -= 1;
        match (self.identify)(key) {
            ClientIdentity::Client(client) => return Some(client),
            ClientIdentity::Revoked => self.note(Presented::Revoked),
            ClientIdentity::Unknown => {}
        }
        None
    }

    fn note(&mut self, presented: Presented) {
        self.best = self.best.max(presented);
    }
}

/// How many characters a text has.
fn characters(text: &[u8]) -> usize {
    if text.is_ascii() {
        return text.len();
    }
    String::from_utf8_lossy(text).chars().count()
}

/// User and password (RFC 7617).
fn basic(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let pair = starts_with_word(value, b"basic").then(|| value.get(5..))??;
    let pair = BASE64.decode(pair.trim_ascii()).ok()?;
    (!pair.is_empty()).then(|| Zeroizing::new(pair))
}

/// The key after a word; empty if the word is alone.
fn without_scheme(value: &[u8]) -> Option<&[u8]> {
    let scheme = SCHEMES
        .iter()
        .find(|scheme| value.eq_ignore_ascii_case(scheme) || starts_with_word(value, scheme))?;
    Some(value.get(scheme.len()..)?.trim_ascii())
}

fn starts_with_word(value: &[u8], word: &[u8]) -> bool {
    let begins = value.get(..word.len());
    begins.is_some_and(|begins| begins.eq_ignore_ascii_case(word))
        && matches!(value.get(word.len()), Some(b' ' | b'\t'))
}

fn second_of_two(value: &[u8]) -> Option<&[u8]> {
    let mut words = value
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty());
    let (_, second, third) = (words.next(), words.next(), words.next());
    second.filter(|_| third.is_none())
}

/// The text between two quotation marks of one kind.
fn unquoted(value: &[u8]) -> &[u8] {
    let inside = |mark: &u8| {
        let rest = value.strip_prefix(&[*mark])?;
        rest.strip_suffix(&[*mark])
    };
    let inside = [b'"', b'\'', b'`'].iter().find_map(inside);
    inside.map_or(value, <[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "hpx-0123456789";
    const TOKEN: &str = "key of another proxy";

    fn found(fields: &[(&'static str, &str)]) -> Presented {
        let headers = fields.iter().copied().collect();
        let (presented, client) = find(&headers, |key| match key {
            _ if key == KEY.as_bytes() || key == TOKEN.as_bytes() => ClientIdentity::Client(()),
            b"dead token" => ClientIdentity::Revoked,
            _ => ClientIdentity::Unknown,
        });
        assert_eq!(client.is_some(), presented == Presented::Valid);
        presented
    }

    #[test]
    fn a_key_is_found_wherever_apps_put_it() {
        for key in [KEY, TOKEN] {
            for form in [
                "{}",
                "Bearer {}",
                "bearer   {} ",
                "Token {}",
                "ApiKey {}",
                "Bearer \"{}\"",
                "'{}'",
                "Bearer Bearer {}",
                "token `{}`",
            ] {
                for field in KEY_FIELDS {
                    let value = form.replace("{}", key);
                    assert_eq!(found(&[(field, &value)]), Presented::Valid, "{value}");
                }
            }
            for pair in [format!("user:{key}"), format!("{key}:"), key.to_owned()] {
                let value = format!("Basic {}", BASE64.encode(pair));
                assert_eq!(found(&[("authorization", &value)]), Presented::Valid);
                let value = value.trim_end_matches('=');
                assert_eq!(found(&[("authorization", value)]), Presented::Valid);
            }
            let others = [
                ("authorization", "Bearer none"),
                ("authorization", "Basic bm9uZTpub25l"),
                ("x-api-key", ""),
                ("api-key", key),
            ];
            assert_eq!(found(&others), Presented::Valid);
        }
        for value in [
            "Digest hpx-0123456789",
            "Token token=\"hpx-0123456789\", a=b",
            "Bearer <hpx-0123456789>",
            "Bearer hpx-0123456789,",
            "Basic hpx-0123456789",
            "Bearer hpx-0123456789\thpx-dead",
        ] {
            assert_eq!(
                found(&[("authorization", value)]),
                Presented::Valid,
                "{value}"
            );
        }
    }

    #[test]
    fn what_is_no_key_is_told_by_its_kind() {
        for (fields, presented) in [
            (&[][..], Presented::Nothing),
            (&[("cookie", KEY)], Presented::Nothing),
            (&[("authorization", "")], Presented::Empty),
            (&[("authorization", "Bearer")], Presented::Empty),
            (&[("authorization", "Bearer \"\"")], Presented::Empty),
            (
                &[("authorization", "Bearer "), ("api-key", "none")],
                Presented::Other("api-key", 4),
            ),
            (
                &[("authorization", "Basic bWU6c2VjcmV0")],
                Presented::Password("authorization"),
            ),
            (
                &[("authorization", "Digest secret")],
                Presented::Other("authorization", 6),
            ),
            (&[("authorization", "Bearer hpx-")], Presented::Invalid(4)),
            (&[("x-api-key", "\"hpx-dead\"")], Presented::Invalid(8)),
            (&[("api-key", "HPX-dead")], Presented::Invalid(8)),
            (
                &[("authorization", "Bearer Hpx-0123456789")],
                Presented::Invalid(14),
            ),
            (
                &[("authorization", "Basic dTpIUFgtZGVhZA==")],
                Presented::Invalid(8),
            ),
            (
                &[("authorization", "Basic dTpocHgtZGVhZA==")],
                Presented::Invalid(8),
            ),
            (
                &[("authorization", "Bearer sk-hpx-0123456789")],
                Presented::Other("authorization", 17),
            ),
            (
                &[
                    ("authorization", "Bearer dead token"),
                    ("api-key", "hpx-dead"),
                ],
                Presented::Revoked,
            ),
        ] {
            assert_eq!(found(fields), presented, "{fields:?}");
        }
    }

    #[test]
    fn the_usual_request_costs_one_look_and_none_costs_many() {
        let looks = std::cell::Cell::new(0);
        let count = |value: &str| {
            looks.set(0);
            let headers = [("authorization", value)].into_iter().collect();
            find(&headers, |_| {
                looks.set(looks.get() + 1);
                ClientIdentity::<()>::Unknown
            });
            looks.get()
        };
        assert_eq!(count("Bearer anything"), 1);
        assert_eq!(count("anything"), 1);
        assert_eq!(count(&"hpx-a ".repeat(1000)), MOST_CANDIDATES);
        assert_eq!(count(&format!("Bearer {}", "a".repeat(LONGEST_KEY + 1))), 0);
    }
}
