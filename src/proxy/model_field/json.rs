//! Reads a JSON body, as far as the keys of its outermost object matter.

use std::ops::Range;

use memchr::memchr2;

use super::names::{decode, is_to_c};
use super::quotes;
use super::requested::{AmbiguousModel, LONGEST_NAME, RequestedModel};

/// The key, in the form that counts.
const KEY: &[u8] = b"model";
/// Room for the key and a NUL with each of their letters escaped (`\u006d`). Of a longer one nothing else matters.
const LONGEST_KEY: usize = 6 * (KEY.len() + 1);
/// Keys that name more models, which a provider takes where it has not the first: those of `OpenRouter` and `LiteLLM`.
const MORE: [&[u8]; 2] = [b"models", b"fallbacks"];
/// The same room for these.
const LONGEST_OF_MORE: usize = 6 * (b"fallbacks".len() + 1);
/// The deepest nesting of lists and objects within the body's own. Most servers read 128 to 1000.
const DEEPEST: u32 = 512;

/// Where in the body the last byte was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyPart {
    Start,
    /// After the object's bracket, or after a comma.
    BeforeKey {
        is_first: bool,
    },
    Key,
    BeforeColon,
    BeforeValue,
    /// In a string, within this many brackets.
    Text,
    /// In a number or a word.
    Word,
    /// Between the values of lists and objects within.
    Nested,
    AfterValue,
    /// Behind the object.
    End,
}

/// Reads a body piece by piece, to its end, since its last key could be another `model`.
#[derive(Debug)]
pub struct Scanner {
    state: BodyPart,
    /// Behind a backslash.
    escaped: bool,
    /// Open brackets within the object.
    depth: u32,
    /// What came before the present piece.
    before: u64,
    /// A key, or the value of ours, with what encloses it; not longer than matters.
    token: Vec<u8>,
    /// The value is that of our key, and begins there.
    value: Option<u64>,
    /// Behind the object's bracket.
    inside: u64,
    has_keys: bool,
    /// Whether no other key may name models.
    is_alone: bool,
    model: Option<RequestedModel>,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            state: BodyPart::Start,
            escaped: false,
            depth: 0,
            before: 0,
            token: Vec::new(),
            value: None,
            inside: 0,
            has_keys: false,
            is_alone: false,
            model: None,
        }
    }
}

impl Scanner {
    /// One that refuses a body with more models than one, in whatever key.
    pub fn alone() -> Self {
        Self {
            is_alone: true,
            ..Self::default()
        }
    }

    fn longest_key(&self) -> usize {
        if self.is_alone {
            LONGEST_OF_MORE
        } else {
            LONGEST_KEY
        }
    }

    /// Whether it refuses a body that names more models than one.
    pub(super) fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Whether nothing of the body has been read.
    pub(super) fn is_at_start(&self) -> bool {
        self.before == 0 && self.state == BodyPart::Start
    }

    /// The model, once it is certain except for a second one.
    pub fn model(&self) -> Option<&RequestedModel> {
        self.model.as_ref()
    }

    /// Reads the next piece.
    ///
    /// # Errors
    /// What makes the model uncertain.
    pub fn read(&mut self, piece: &[u8]) -> Result<(), AmbiguousModel> {
        let mut at = 0;
        while let Some(rest) = piece.get(at..).filter(|rest| !rest.is_empty()) {
            at += self.step(rest, self.before + at as u64)?;
        }
        self.before += piece.len() as u64;
        Ok(())
    }

    /// Reads the next piece until the model is known, and nothing after it.
    ///
    /// # Errors
    /// What makes the model uncertain.
    pub fn find(&mut self, piece: &[u8]) -> Result<(), AmbiguousModel> {
        let mut at = 0;
        while self.model.is_none()
            && let Some(rest) = piece.get(at..).filter(|rest| !rest.is_empty())
        {
            at += self.step(rest, self.before + at as u64)?;
        }
        self.before += at as u64;
        Ok(())
    }

    /// The body is over.
    ///
    /// # Errors
    /// Where its object is not.
    pub fn finish(&self) -> Result<&RequestedModel, AmbiguousModel> {
        match (&self.model, self.state) {
            (Some(model), _) => Ok(model),
            (None, BodyPart::Start) => Err(AmbiguousModel::NotAnObject),
            (None, _) => Err(AmbiguousModel::Incomplete),
        }
    }

    /// Reads some bytes of `rest`, which begins at `at`; how many.
    fn step(&mut self, rest: &[u8], at: u64) -> Result<usize, AmbiguousModel> {
        match self.state {
            BodyPart::Key | BodyPart::Text => return self.text(rest, at),
            BodyPart::Nested => return self.nested(rest),
            BodyPart::Word => return self.word(rest, at),
            BodyPart::Start
            | BodyPart::BeforeKey { .. }
            | BodyPart::BeforeColon
            | BodyPart::BeforeValue
            | BodyPart::AfterValue
            | BodyPart::End => {}
        }
        let byte = first(rest);
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            let blanks = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
            return Ok(rest.iter().take_while(blanks).count());
        }
        self.state = match (self.state, byte) {
            (BodyPart::Start, b'{') => {
                self.inside = at + 1;
                BodyPart::BeforeKey { is_first: true }
            }
            (BodyPart::Start, 0 | 0x80..) => return Err(AmbiguousModel::Encoding),
            (BodyPart::Start, _) => return Err(AmbiguousModel::NotAnObject),
            (BodyPart::BeforeKey { .. }, b'"') => {
                self.has_keys = true;
                self.token.clear();
                BodyPart::Key
            }
            (BodyPart::BeforeKey { is_first: true } | BodyPart::AfterValue, b'}') => {
                self.over();
                BodyPart::End
            }
            (BodyPart::BeforeColon, b':') => BodyPart::BeforeValue,
            (BodyPart::AfterValue, b',') => BodyPart::BeforeKey { is_first: false },
            (BodyPart::BeforeValue, _) => return self.value(byte, at),
            _ => return Err(AmbiguousModel::NotJson),
        };
        Ok(1)
    }

    /// The first byte of a value of the object.
    fn value(&mut self, byte: u8, at: u64) -> Result<usize, AmbiguousModel> {
        self.state = match byte {
            b'"' => BodyPart::Text,
            b'{' | b'[' if self.value.is_some() => return Err(AmbiguousModel::NotText),
            b'{' | b'[' => {
                self.depth = 1;
                BodyPart::Nested
            }
            b'0'..=b'9' | b'-' | b'a'..=b'z' | b'A'..=b'Z' => {
                self.token.clear();
                self.state = BodyPart::Word;
                self.value = self.value.map(|_| at);
                // It is a part of the word.
                return Ok(0);
            }
            _ => return Err(AmbiguousModel::NotJson),
        };
        self.token.clear();
        self.value = self.value.map(|_| at);
        Ok(1)
    }

    /// In a key, or in a text.
    fn text(&mut self, rest: &[u8], at: u64) -> Result<usize, AmbiguousModel> {
        let is_kept = self.state == BodyPart::Key || (self.depth == 0 && self.value.is_some());
        if !is_kept {
            let Some(end) = quotes::end(rest, &mut self.escaped) else {
                return Ok(rest.len());
            };
            self.state = if self.depth > 0 {
                BodyPart::Nested
            } else {
                BodyPart::AfterValue
            };
            return Ok(end + 1);
        }
        if self.escaped {
            self.escaped = false;
            self.keep(rest.get(..1), is_kept)?;
            return Ok(1);
        }
        let Some(end) = memchr2(b'"', b'\\', rest) else {
            self.keep(Some(rest), is_kept)?;
            return Ok(rest.len());
        };
        self.keep(rest.get(..end), is_kept)?;
        if rest.get(end) == Some(&b'\\') {
            self.escaped = true;
            self.keep(Some(b"\\"), is_kept)?;
            return Ok(end + 1);
        }
        if self.state == BodyPart::Key {
            self.key()?;
            self.state = BodyPart::BeforeColon;
        } else if self.depth > 0 {
            self.state = BodyPart::Nested;
        } else {
            if let Some(start) = self.value.take() {
                self.named(start..at + end as u64 + 1)?;
            }
            self.state = BodyPart::AfterValue;
        }
        Ok(end + 1)
    }

    fn keep(&mut self, bytes: Option<&[u8]>, is_kept: bool) -> Result<(), AmbiguousModel> {
        if !is_kept {
            return Ok(());
        }
        let is_key = self.state == BodyPart::Key;
        let room = if is_key {
            self.longest_key()
        } else {
            LONGEST_NAME
        };
        let bytes = bytes.unwrap_or_default();
        // A byte more tells that it is longer.
        let left = (room + 1).saturating_sub(self.token.len());
        self.token.extend(bytes.iter().take(left));
        if !is_key && self.token.len() > room {
            return Err(AmbiguousModel::TooLong);
        }
        Ok(())
    }

    /// A key of the object has been read.
    fn key(&mut self) -> Result<(), AmbiguousModel> {
        self.value = None;
        if is_to_c(KEY, &self.token) {
            return Err(AmbiguousModel::Spelling);
        }
        if self.token.len() > self.longest_key() {
            return Ok(());
        }
        // Some parsers skip values that are not text, or replace them.
        if std::str::from_utf8(&self.token).is_err() {
            return Err(AmbiguousModel::Encoding);
        }
        let decoded;
        let key = if self.token.contains(&b'\\') {
            decoded = decode(&self.token).ok_or(AmbiguousModel::NotJson)?;
            decoded.as_bytes()
        } else {
            &self.token
        };
        // As a parser reads it that takes a NUL for its end.
        let to_c = key.split(|byte| *byte == 0).next().unwrap_or_default();
        let is_more = |name: &[u8]| to_c.eq_ignore_ascii_case(name);
        if self.is_alone && MORE.into_iter().any(is_more) {
            return Err(AmbiguousModel::More);
        }
        if !key.eq_ignore_ascii_case(KEY) {
            return Ok(());
        }
        if key != KEY {
            return Err(AmbiguousModel::Spelling);
        }
        if self.model.is_some() {
            return Err(AmbiguousModel::Twice);
        }
        // Where it begins is not known yet.
        self.value = Some(0);
        Ok(())
    }

    /// The text of our key has been read; its place has the quotes in it.
    fn named(&mut self, place: Range<u64>) -> Result<(), AmbiguousModel> {
        let name = decode(&self.token).ok_or(AmbiguousModel::NotText)?;
        self.model = Some(if name.is_empty() {
            RequestedModel::Empty(place)
        } else {
            RequestedModel::Named(name, place)
        });
        Ok(())
    }

    /// In a number or a word of the object.
    fn word(&mut self, rest: &[u8], at: u64) -> Result<usize, AmbiguousModel> {
        let in_word = |byte: &&u8| is_of_word(**byte);
        let length = rest.iter().take_while(in_word).count();
        if let Some(start) = self.value {
            let room = b"null".len() + 1;
            let left = room.saturating_sub(self.token.len());
            self.token.extend(rest.iter().take(length.min(left)));
            if length < rest.len() {
                if self.token != b"null" {
                    return Err(AmbiguousModel::NotText);
                }
                self.value = None;
                self.model = Some(RequestedModel::Empty(start..at + length as u64));
            }
        }
        if length < rest.len() {
            self.state = BodyPart::AfterValue;
        }
        Ok(length)
    }

    /// Outside of texts, within a list or an object within ours.
    fn nested(&mut self, rest: &[u8]) -> Result<usize, AmbiguousModel> {
        for (index, byte) in rest.iter().enumerate() {
            match byte {
                b'"' => {
                    self.state = BodyPart::Text;
                    return Ok(index + 1);
                }
                b'{' | b'[' if self.depth == DEEPEST => return Err(AmbiguousModel::TooDeep),
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.state = BodyPart::AfterValue;
                        return Ok(index + 1);
                    }
                }
                b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' => {}
                byte if is_of_word(*byte) => {}
                _ => return Err(AmbiguousModel::NotJson),
            }
        }
        Ok(rest.len())
    }

    /// The object is over.
    fn over(&mut self) {
        self.model.get_or_insert(RequestedModel::Missing {
            at: self.inside,
            has_others: self.has_keys,
        });
    }
}

/// A number's or a word's; comments and single quotes, which some parsers know, are not.
fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

fn first(bytes: &[u8]) -> u8 {
    bytes.first().copied().unwrap_or_default()
}
