//! Finds the model that a request's body names, and where it stands. Pure, with little memory.
//!
//! The body is read as it comes, as far as an object's own keys matter: what is within a value is skipped at the speed
//! of memory. Providers read JSON with many parsers, which differ where it is not quite JSON or says one thing twice;
//! what two of them could read in two ways is refused.

mod form;
mod quotes;

use std::ops::Range;

use memchr::memchr2;

pub use self::form::{Boundary, Form};

/// The key, in the form that counts.
const KEY: &[u8] = b"model";
/// Room for the key and a NUL with each of their letters escaped (`\u006d`). Of a longer one nothing else matters.
const LONGEST_KEY: usize = 6 * (KEY.len() + 1);
/// The longest name of a model as it stands in a body, in bytes.
const LONGEST_NAME: usize = 4096;
/// The deepest nesting of lists and objects within the body's own. Most servers read 128 to 1000.
const DEEPEST: u32 = 512;

/// The model of a body, with the place of its value in bytes from the body's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Model {
    /// It names this one.
    Named(String, Range<u64>),
    /// Its value is `null` or an empty text.
    Empty(Range<u64>),
    /// There is no such key. Its object begins before this place.
    Missing {
        /// Behind the object's bracket.
        at: u64,
        /// Whether the object has other keys.
        has_others: bool,
    },
}

/// Why a body's model can't be told for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It begins with something else.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// Parsers differ about these.
    #[error("it is not UTF-8 text, or begins with a byte order mark")]
    Encoding,
    /// It is not what its type says.
    #[error("it is not a form in the shape that all servers read")]
    NotAForm,
    /// It breaks JSON's grammar.
    #[error("it is not valid JSON")]
    NotJson,
    /// `Model` is the same key to some parsers.
    #[error("it has the key `model` in another spelling, such as `Model`")]
    Spelling,
    /// Parsers differ about which one counts.
    #[error("it has the key `model` twice")]
    Twice,
    /// A number, a list or an object.
    #[error("its `model` is not a string")]
    NotText,
    /// No model has such a name.
    #[error("its `model` is longer than 4096 bytes")]
    TooLong,
    /// Servers refuse it, and each level costs time.
    #[error("it is nested deeper than 512 levels")]
    TooDeep,
    /// It ends within the object.
    #[error("it ends too early")]
    Incomplete,
}

/// What reads a body.
#[derive(Debug)]
pub enum Search {
    /// A JSON object.
    Json(Scanner),
    /// A form.
    Form(Form),
}

impl Search {
    /// The model, once it is certain but for a second one.
    pub fn model(&self) -> Option<&Model> {
        match self {
            Self::Json(scanner) => scanner.model(),
            Self::Form(form) => form.model(),
        }
    }

    /// Reads the next piece.
    ///
    /// # Errors
    /// What makes the model uncertain.
    pub fn read(&mut self, piece: &[u8]) -> Result<(), Flaw> {
        match self {
            Self::Json(scanner) => scanner.read(piece),
            Self::Form(form) => form.read(piece),
        }
    }

    /// Whether it is a JSON body of which nothing has been read.
    pub fn is_at_start(&self) -> bool {
        matches!(self, Self::Json(scanner) if scanner.before == 0 && scanner.state == State::Start)
    }

    /// Reads the next piece until the model is known; nothing behind it matters.
    ///
    /// # Errors
    /// What makes the model uncertain.
    pub fn find(&mut self, piece: &[u8]) -> Result<(), Flaw> {
        match self {
            Self::Json(scanner) => scanner.find(piece),
            Self::Form(form) => form.read(piece),
        }
    }

    /// The body is over.
    ///
    /// # Errors
    /// Where its object or form is not.
    pub fn finish(&self) -> Result<&Model, Flaw> {
        match self {
            Self::Json(scanner) => scanner.finish(),
            Self::Form(form) => form.finish(),
        }
    }
}

/// Where in the body the last byte was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    /// Behind the object's bracket, or behind a comma.
    BeforeKey {
        is_first: bool,
    },
    Key,
    BeforeColon,
    BeforeValue,
    /// In a text, within so many brackets.
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
    state: State,
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
    model: Option<Model>,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            state: State::Start,
            escaped: false,
            depth: 0,
            before: 0,
            token: Vec::new(),
            value: None,
            inside: 0,
            has_keys: false,
            model: None,
        }
    }
}

impl Scanner {
    /// The model, once it is certain but for a second one.
    pub fn model(&self) -> Option<&Model> {
        self.model.as_ref()
    }

    /// Reads the next piece.
    ///
    /// # Errors
    /// What makes the model uncertain.
    pub fn read(&mut self, piece: &[u8]) -> Result<(), Flaw> {
        let mut at = 0;
        while let Some(rest) = piece.get(at..).filter(|rest| !rest.is_empty()) {
            at += self.step(rest, self.before + at as u64)?;
        }
        self.before += piece.len() as u64;
        Ok(())
    }

    /// Reads the next piece until the model is known, and nothing behind it.
    ///
    /// # Errors
    /// What makes the model uncertain.
    pub fn find(&mut self, piece: &[u8]) -> Result<(), Flaw> {
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
    pub fn finish(&self) -> Result<&Model, Flaw> {
        match (&self.model, self.state) {
            (Some(model), _) => Ok(model),
            (None, State::Start) => Err(Flaw::NotAnObject),
            (None, _) => Err(Flaw::Incomplete),
        }
    }

    /// Reads some bytes of `rest`, which begins at `at`; how many.
    fn step(&mut self, rest: &[u8], at: u64) -> Result<usize, Flaw> {
        match self.state {
            State::Key | State::Text => return self.text(rest, at),
            State::Nested => return self.nested(rest),
            State::Word => return self.word(rest, at),
            State::Start
            | State::BeforeKey { .. }
            | State::BeforeColon
            | State::BeforeValue
            | State::AfterValue
            | State::End => {}
        }
        let byte = first(rest);
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            let blanks = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
            return Ok(rest.iter().take_while(blanks).count());
        }
        self.state = match (self.state, byte) {
            (State::Start, b'{') => {
                self.inside = at + 1;
                State::BeforeKey { is_first: true }
            }
            (State::Start, 0 | 0x80..) => return Err(Flaw::Encoding),
            (State::Start, _) => return Err(Flaw::NotAnObject),
            (State::BeforeKey { .. }, b'"') => {
                self.has_keys = true;
                self.token.clear();
                State::Key
            }
            (State::BeforeKey { is_first: true } | State::AfterValue, b'}') => {
                self.over();
                State::End
            }
            (State::BeforeColon, b':') => State::BeforeValue,
            (State::AfterValue, b',') => State::BeforeKey { is_first: false },
            (State::BeforeValue, _) => return self.value(byte, at),
            _ => return Err(Flaw::NotJson),
        };
        Ok(1)
    }

    /// The first byte of a value of the object.
    fn value(&mut self, byte: u8, at: u64) -> Result<usize, Flaw> {
        self.state = match byte {
            b'"' => State::Text,
            b'{' | b'[' if self.value.is_some() => return Err(Flaw::NotText),
            b'{' | b'[' => {
                self.depth = 1;
                State::Nested
            }
            b'0'..=b'9' | b'-' | b'a'..=b'z' | b'A'..=b'Z' => {
                self.token.clear();
                self.state = State::Word;
                self.value = self.value.map(|_| at);
                // It is a part of the word.
                return Ok(0);
            }
            _ => return Err(Flaw::NotJson),
        };
        self.token.clear();
        self.value = self.value.map(|_| at);
        Ok(1)
    }

    /// In a key, or in a text.
    fn text(&mut self, rest: &[u8], at: u64) -> Result<usize, Flaw> {
        let is_kept = self.state == State::Key || (self.depth == 0 && self.value.is_some());
        if !is_kept {
            let Some(end) = quotes::end(rest, &mut self.escaped) else {
                return Ok(rest.len());
            };
            self.state = if self.depth > 0 {
                State::Nested
            } else {
                State::AfterValue
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
        if self.state == State::Key {
            self.key()?;
            self.state = State::BeforeColon;
        } else if self.depth > 0 {
            self.state = State::Nested;
        } else {
            if let Some(start) = self.value.take() {
                self.named(start..at + end as u64 + 1)?;
            }
            self.state = State::AfterValue;
        }
        Ok(end + 1)
    }

    fn keep(&mut self, bytes: Option<&[u8]>, is_kept: bool) -> Result<(), Flaw> {
        if !is_kept {
            return Ok(());
        }
        let is_key = self.state == State::Key;
        let room = if is_key { LONGEST_KEY } else { LONGEST_NAME };
        let bytes = bytes.unwrap_or_default();
        // A byte more tells that it is longer.
        let left = (room + 1).saturating_sub(self.token.len());
        self.token.extend(bytes.iter().take(left));
        if !is_key && self.token.len() > room {
            return Err(Flaw::TooLong);
        }
        Ok(())
    }

    /// A key of the object has been read.
    fn key(&mut self) -> Result<(), Flaw> {
        self.value = None;
        if is_ours_to_c(&self.token) {
            return Err(Flaw::Spelling);
        }
        if self.token.len() > LONGEST_KEY {
            return Ok(());
        }
        // Some parsers leave out what is no text, or put something else in its place.
        if std::str::from_utf8(&self.token).is_err() {
            return Err(Flaw::Encoding);
        }
        let decoded;
        let key = if self.token.contains(&b'\\') {
            decoded = decode(&self.token).ok_or(Flaw::NotJson)?;
            decoded.as_bytes()
        } else {
            &self.token
        };
        if !key.eq_ignore_ascii_case(KEY) {
            return Ok(());
        }
        if key != KEY {
            return Err(Flaw::Spelling);
        }
        if self.model.is_some() {
            return Err(Flaw::Twice);
        }
        // Where it begins is not known yet.
        self.value = Some(0);
        Ok(())
    }

    /// The text of our key has been read; its place has the quotes in it.
    fn named(&mut self, place: Range<u64>) -> Result<(), Flaw> {
        let name = decode(&self.token).ok_or(Flaw::NotText)?;
        self.model = Some(if name.is_empty() {
            Model::Empty(place)
        } else {
            Model::Named(name, place)
        });
        Ok(())
    }

    /// In a number or a word of the object.
    fn word(&mut self, rest: &[u8], at: u64) -> Result<usize, Flaw> {
        let in_word = |byte: &&u8| is_of_word(**byte);
        let length = rest.iter().take_while(in_word).count();
        if let Some(start) = self.value {
            let room = b"null".len() + 1;
            let left = room.saturating_sub(self.token.len());
            self.token.extend(rest.iter().take(length.min(left)));
            if length < rest.len() {
                if self.token != b"null" {
                    return Err(Flaw::NotText);
                }
                self.value = None;
                self.model = Some(Model::Empty(start..at + length as u64));
            }
        }
        if length < rest.len() {
            self.state = State::AfterValue;
        }
        Ok(length)
    }

    /// Outside of texts, within a list or an object within ours.
    fn nested(&mut self, rest: &[u8]) -> Result<usize, Flaw> {
        for (index, byte) in rest.iter().enumerate() {
            match byte {
                b'"' => {
                    self.state = State::Text;
                    return Ok(index + 1);
                }
                b'{' | b'[' if self.depth == DEEPEST => return Err(Flaw::TooDeep),
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.state = State::AfterValue;
                        return Ok(index + 1);
                    }
                }
                b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' => {}
                byte if is_of_word(*byte) => {}
                _ => return Err(Flaw::NotJson),
            }
        }
        Ok(rest.len())
    }

    /// The object is over.
    fn over(&mut self) {
        self.model.get_or_insert(Model::Missing {
            at: self.inside,
            has_others: self.has_keys,
        });
    }
}

/// Whether a key ends with ours for a parser that takes a NUL for its end.
fn is_ours_to_c(raw: &[u8]) -> bool {
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
    KEY.iter().all(|letter| is(letter, next())) && next() == Some(0)
}

/// A number's or a word's; comments and single quotes, which some parsers know, are not.
fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

fn first(bytes: &[u8]) -> u8 {
    bytes.first().copied().unwrap_or_default()
}

/// What stands between the quotes of a JSON text.
fn decode(raw: &[u8]) -> Option<String> {
    let mut quoted = Vec::with_capacity(raw.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(raw);
    quoted.push(b'"');
    serde_json::from_slice(&quoted).ok()
}

/// A model's name as it stands in a body.
fn encode(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}

impl Model {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Reads a body in pieces of this size.
    fn scan(body: &[u8], size: usize) -> Result<Model, Flaw> {
        let mut scanner = Scanner::default();
        for piece in body.chunks(size.max(1)) {
            scanner.read(piece)?;
        }
        scanner.finish().cloned()
    }

    fn replaced(body: &[u8], model: &Model, name: &str) -> Vec<u8> {
        let (place, text) = model.replacement(name);
        let at = |place: u64| usize::try_from(place).unwrap();
        let mut new = body[..at(place.start)].to_vec();
        new.extend(text.as_bytes());
        new.extend(&body[at(place.end)..]);
        new
    }

    #[test]
    fn the_model_is_found_wherever_it_stands() {
        let long = format!(
            r#"{{"messages":[{{"content":"{}"}}],"model":"m"}}"#,
            "x".repeat(1 << 20)
        );
        for (body, name) in [
            (r#"{"model":"m"}"#, Some("m")),
            (" \r\n\t{ \"model\" : \"m\" , \"a\" : 1 } \n", Some("m")),
            (r#"{"mod\u0065l":"m"}"#, Some("m")),
            (r#"{"\u006d\u006f\u0064\u0065\u006c":"m"}"#, Some("m")),
            (r#"{"model":"a\/b\u00e9\"\\"}"#, Some("a/bé\"\\")),
            (r#"{"model":"\ud83d\ude00"}"#, Some("😀")),
            (
                r#"{"a":{"model":"x","b":[{"model":"y"}]},"model":"m"}"#,
                Some("m"),
            ),
            (r#"{"a":"\"model\":\"x\"","model":"m"}"#, Some("m")),
            (r#"{"a":"\\","model":"m"}"#, Some("m")),
            (
                r#"{"models\u0000":1,"mode\u0000l":2,"model":"m"}"#,
                Some("m"),
            ),
            (r#"{"größe":1,"model":"m"}"#, Some("m")),
            (
                r#"{"a":[],"b":{},"c":-1.5e+9,"d":true,"e":null,"model":"m"}"#,
                Some("m"),
            ),
            (
                r#"{"models":"x","mode":"y","model ":"z","":"","model":"m"}"#,
                Some("m"),
            ),
            (r#"{"model":""}"#, None),
            (r#"{"model":null}"#, None),
            (r#"{"model": null ,"a":1}"#, None),
            (r#"{"a":{"model":"x"}}"#, None),
            ("{}", None),
            (" { } ", None),
            (&long, Some("m")),
        ] {
            for size in [1, 2, 3, 7, body.len()] {
                let model = scan(body.as_bytes(), size).unwrap();
                let shown = body.get(..60).unwrap_or(body);
                assert_eq!(model.name(), name, "{shown} by {size}");
                let new = replaced(body.as_bytes(), &model, "n/\"1");
                let mut expected: Value = serde_json::from_str(body).unwrap();
                expected["model"] = "n/\"1".into();
                let new: Value = serde_json::from_slice(&new).unwrap();
                assert!(new == expected, "{shown} by {size}");
            }
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (body, flaw) in [
            (&br#"{"model":"a","model":"b"}"#[..], Flaw::Twice),
            (br#"{"model":"a","x":[1],"mod\u0065l":"b"}"#, Flaw::Twice),
            (br#"{"model":null,"model":"b"}"#, Flaw::Twice),
            (br#"{"Model":"a"}"#, Flaw::Spelling),
            (br#"{"model":"a","MODEL":"b"}"#, Flaw::Spelling),
            (br#"{"\u004dodel":"a"}"#, Flaw::Spelling),
            (br#"{"model":1}"#, Flaw::NotText),
            (br#"{"model":nul}"#, Flaw::NotText),
            (br#"{"model":nulll}"#, Flaw::NotText),
            (br#"{"model":true}"#, Flaw::NotText),
            (br#"{"model":["a"]}"#, Flaw::NotText),
            (br#"{"model":{"a":1}}"#, Flaw::NotText),
            (br#"{"model":"\ud800"}"#, Flaw::NotText),
            (b"{\"model\":\"\xff\"}", Flaw::NotText),
            (b"{\"model\":\"a\nb\"}", Flaw::NotText),
            (b"\xef\xbb\xbf{\"model\":\"a\"}", Flaw::Encoding),
            (b"\xff\xfe{\0", Flaw::Encoding),
            (b"\xfe\xff\0{", Flaw::Encoding),
            (b"\0{\0\"", Flaw::Encoding),
            (b"{\0\"\0m\0", Flaw::NotJson),
            (b"[{\"model\":\"a\"}]", Flaw::NotAnObject),
            (b"\"model\"", Flaw::NotAnObject),
            (b"model=a", Flaw::NotAnObject),
            (b"--boundary\r\n", Flaw::NotAnObject),
            (b"", Flaw::NotAnObject),
            (b"  ", Flaw::NotAnObject),
            (br#"{model:"a"}"#, Flaw::NotJson),
            (br#"{'model':"a"}"#, Flaw::NotJson),
            (br#"{"a":'"',"model":"b"}"#, Flaw::NotJson),
            (br#"{/*"*/"model":"a"}"#, Flaw::NotJson),
            (br#"{"a":[1/*"*/],"model":"a"}"#, Flaw::NotJson),
            (br#"{"a":1,}"#, Flaw::NotJson),
            (br#"{,"model":"a"}"#, Flaw::NotJson),
            (br#"{"model" "a"}"#, Flaw::NotJson),
            (br#"{"model":"a"}{"model":"b"}"#, Flaw::NotJson),
            (br#"{"\x":1}"#, Flaw::NotJson),
            (b"{\"model\\u0000\":\"a\"}", Flaw::Spelling),
            (b"{\"model\0\":\"a\"}", Flaw::Spelling),
            (
                b"{\"MODEL\\u0000 and much more than matters to anyone\":1}",
                Flaw::Spelling,
            ),
            (
                br#"{"\u006d\u006f\u0064\u0065\u006c\u0000 and more":"a","model":"b"}"#,
                Flaw::Spelling,
            ),
            (b"{\"a\":1,\"model\xff\":\"b\"}", Flaw::Encoding),
            (b"{\"\xc3\":1,\"model\":\"b\"}", Flaw::Encoding),
            (br#"{"a":1"#, Flaw::Incomplete),
            (br#"{"a"#, Flaw::Incomplete),
        ] {
            for size in [1, 2, 5, 1000] {
                let shown = String::from_utf8_lossy(body);
                assert_eq!(scan(body, size), Err(flaw), "{shown} by {size}");
            }
        }
        let named = |length: usize| {
            let body = format!("{{\"model\":\"{}\"}}", "x".repeat(length));
            scan(body.as_bytes(), 1000)
        };
        assert_eq!(named(LONGEST_NAME + 1), Err(Flaw::TooLong));
        assert!(named(LONGEST_NAME).is_ok());
    }

    #[test]
    fn a_nesting_that_no_server_reads_is_refused_at_its_first_level_too_many() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nested = |levels| {
                let (open, close) = (open.repeat(levels), close.repeat(levels));
                format!("{{\"x\":{open}1{close},\"model\":\"m\"}}").into_bytes()
            };
            for size in [1, 7, 100_000] {
                assert!(scan(&nested(512), size).is_ok());
                assert_eq!(scan(&nested(513), size), Err(Flaw::TooDeep));
            }
            let mut scanner = Scanner::default();
            let endless = format!("{{\"x\":{}", open.repeat(513));
            assert_eq!(scanner.read(endless.as_bytes()), Err(Flaw::TooDeep));
        }
    }

    #[test]
    fn the_model_is_known_as_soon_as_it_has_come() {
        let mut scanner = Scanner::default();
        scanner.read(br#"{"model":"m"#).unwrap();
        assert_eq!(scanner.model(), None);
        scanner.read(br#"""#).unwrap();
        assert_eq!(scanner.model(), Some(&Model::Named("m".into(), 9..12)));
        scanner.read(br#","messages":["model"#).unwrap();
        assert_eq!(scanner.read(br#""],"model":"n"}"#), Err(Flaw::Twice));
    }

    /// JSON as serde writes it, and with more blanks and escapes than it would.
    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec((text(), inner), 0..6)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("model".to_owned()),
            "[a-z\"\\\\{}\\[\\],:/ \n]{0,12}",
            any::<String>(),
        ]
    }

    const PARTS: [&[u8]; 24] = [
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"\\",
        b"model",
        b"\"model\"",
        b"\"model\":\"a\"",
        b"\"mod\\u0065l\"",
        b"\"b\"",
        b" ",
        b"\n",
        b"null",
        b"1",
        b"'",
        b"/*",
        b"\xef\xbb\xbf",
        b"\xff",
        b"\0",
        b"\\u00",
        b"65",
    ];

    proptest! {
        /// For every body that serde reads, we read the same model, and change nothing else.
        #[test]
        fn what_serde_reads_we_read(value in json(), name in text(), size in 1_usize..40) {
            for body in [value.to_string(), format!(" {value:#}\n")] {
                let found = scan(body.as_bytes(), size);
                let Value::Object(object) = &value else {
                    prop_assert!(found.is_err());
                    continue;
                };
                let spelled = |key: &String| key != "model" && key.eq_ignore_ascii_case("model");
                match (object.get("model"), found) {
                    _ if object.keys().any(spelled) => {}
                    (None, Ok(model)) => {
                        let is_missing = matches!(model, Model::Missing { .. });
                        prop_assert!(is_missing);
                        let new = replaced(body.as_bytes(), &model, &name);
                        let new: Value = serde_json::from_slice(&new).unwrap();
                        let mut expected = value.clone();
                        expected["model"] = name.clone().into();
                        prop_assert_eq!(new, expected);
                    }
                    (Some(Value::String(text)), Ok(model)) => {
                        prop_assert_eq!(model.name().unwrap_or_default(), text);
                        let (place, _) = model.replacement("");
                        let at = |place: u64| usize::try_from(place).unwrap();
                        let place = at(place.start)..at(place.end);
                        let standing = body.as_bytes().get(place).unwrap();
                        let standing: String = serde_json::from_slice(standing).unwrap();
                        prop_assert_eq!(&standing, text);
                        let new = replaced(body.as_bytes(), &model, &name);
                        let new: Value = serde_json::from_slice(&new).unwrap();
                        let mut expected = value.clone();
                        expected["model"] = name.clone().into();
                        prop_assert_eq!(new, expected);
                    }
                    (Some(Value::Null), Ok(model)) => {
                        let is_empty = matches!(model, Model::Empty(_));
                        prop_assert!(is_empty);
                    }
                    (Some(_), found) => prop_assert_eq!(found, Err(Flaw::NotText)),
                    (None, Err(flaw)) => prop_assert!(false, "{flaw:?}: {body}"),
                }
            }
        }

        /// For any bytes: where we find a model and serde finds one object, it is the same.
        #[test]
        fn no_bytes_are_read_in_two_ways(
            parts in proptest::collection::vec(proptest::sample::select(PARTS.to_vec()), 0..14),
            size in 1_usize..9,
        ) {
            let body = parts.concat();
            let found = scan(&body, size);
            prop_assert_eq!(&found, &scan(&body, 1), "pieces make no difference");
            let by_serde = serde_json::from_slice::<serde_json::Map<String, Value>>(&body);
            if let (Ok(model), Ok(object)) = (found, by_serde) {
                let text = object.get("model").and_then(Value::as_str).unwrap_or_default();
                prop_assert_eq!(model.name().unwrap_or_default(), text);
            }
        }
    }
}
