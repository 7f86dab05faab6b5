//! Finds the `usage` objects of an answer while it passes, in an event stream as in a whole answer: their name is looked
//! for at the speed of memory, and nothing but such an object is read. Pure; a piece is never copied, but for an object
//! that comes in several.
//!
//! An object of that name that holds no numbers of tokens, such as the schema of a tool, tells nothing. In a text, each of
//! the name's quotes has a backslash before it, so it is not found there.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::tokens::{Tokens, Told};

const NAME: &[u8] = b"\"usage\"";
/// A longer object is skipped.
const LONGEST: usize = 64 * 1024;

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(NAME));

/// How far an answer has been looked through.
#[derive(Debug, Clone, Default)]
pub(super) struct Scan {
    state: State,
    told: Told,
}

#[derive(Debug, Clone)]
enum State {
    /// The name is looked for; so much of it came at the end of the piece before.
    Name(usize),
    /// Behind the name.
    Colon,
    /// Behind the colon.
    Value,
    /// In the object, of which this much came in earlier pieces.
    Object { text: Vec<u8>, inside: Inside },
}

/// Where an object's text stands.
#[derive(Debug, Clone, Copy, Default)]
struct Inside {
    depth: u32,
    in_text: bool,
    escaped: bool,
}

impl Default for State {
    fn default() -> Self {
        Self::Name(0)
    }
}

impl Scan {
    /// A piece passes.
    pub(super) fn pass(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while !rest.is_empty() {
            rest = self.step(rest);
        }
    }

    /// What the answer has told; `None` where it has told nothing.
    pub(super) fn tokens(&self) -> Option<Tokens> {
        self.told.tokens()
    }

    /// Looks through the beginning of `rest`; what is left of it.
    fn step<'r>(&mut self, rest: &'r [u8]) -> &'r [u8] {
        match &mut self.state {
            State::Name(matched) => {
                let behind = find(matched, rest);
                if behind.is_some() {
                    self.state = State::Colon;
                }
                rest.get(behind.unwrap_or(rest.len())..).unwrap_or_default()
            }
            State::Colon => self.after_blanks(rest, b':', State::Value),
            State::Value => {
                let text = Vec::new();
                let inside = Inside::default();
                self.after_blanks(rest, b'{', State::Object { text, inside })
            }
            State::Object { text, inside } => {
                // Most come in one piece.
                if text.is_empty()
                    && inside.depth == 0
                    && let Some(end) = self.told.read(rest)
                {
                    self.state = State::default();
                    return rest.get(end..).unwrap_or_default();
                }
                let end = inside.end(rest);
                let part = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
                if text.len() + part.len() > LONGEST {
                    self.state = State::default();
                    return rest.get(part.len()..).unwrap_or_default();
                }
                if end.is_none() {
                    text.extend_from_slice(part);
                    return &[];
                }
                text.extend_from_slice(part);
                self.told.read(text);
                self.state = State::default();
                rest.get(part.len()..).unwrap_or_default()
            }
        }
    }

    /// Goes on behind blanks where this byte follows, and else looks for the name again. The bracket of an object is
    /// left, since it belongs to it.
    fn after_blanks<'r>(&mut self, rest: &'r [u8], wanted: u8, next: State) -> &'r [u8] {
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let Some(at) = rest.iter().position(|byte| !is_blank(byte)) else {
            return &[];
        };
        if rest.get(at) == Some(&wanted) {
            self.state = next;
            return rest
                .get(at + usize::from(wanted == b':')..)
                .unwrap_or_default();
        }
        self.state = State::default();
        rest.get(at..).unwrap_or_default()
    }
}

/// The place in `piece` behind the first name, of which so much came before; where there is none, how much of one the
/// piece ends with. No part of the name but the whole begins as it does, so one that is not gone on with is over.
fn find(matched: &mut usize, piece: &[u8]) -> Option<usize> {
    let begun = std::mem::take(matched);
    if begun > 0 {
        let left = NAME.get(begun..).unwrap_or_default();
        if piece.starts_with(left) {
            return Some(left.len());
        }
        if left.starts_with(piece) {
            *matched = begun + piece.len();
            return None;
        }
    }
    if let Some(at) = FINDER.find(piece) {
        return Some(at + NAME.len());
    }
    let most = piece.len().min(NAME.len() - 1);
    let end = piece.get(piece.len() - most..).unwrap_or_default();
    let quote = end.iter().rposition(|byte| *byte == b'"');
    let start = quote.and_then(|quote| end.get(quote..)).unwrap_or_default();
    if NAME.starts_with(start) {
        *matched = start.len();
    }
    None
}

impl Inside {
    /// The place behind the bracket that ends the object, where it is in this piece.
    fn end(&mut self, piece: &[u8]) -> Option<usize> {
        for (at, byte) in piece.iter().enumerate() {
            if self.in_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_text = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_text = true,
                b'{' => self.depth = self.depth.saturating_add(1),
                b'}' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &[u8], pieces: &[&[u8]]) -> Option<(u64, u64)> {
        let mut scan = Scan::default();
        assert_eq!(pieces.concat(), text);
        for piece in pieces {
            scan.pass(piece);
        }
        let tokens = scan.tokens()?;
        Some((tokens.prompt, tokens.completion))
    }

    /// The text in pieces of every size, and in two and three pieces at every place.
    fn cuts(text: &str, expected: Option<(u64, u64)>) {
        let bytes = text.as_bytes();
        for size in 1..=bytes.len().max(1) {
            let pieces: Vec<_> = bytes.chunks(size).collect();
            assert_eq!(tokens(bytes, &pieces), expected, "{text:?} by {size}");
        }
        for at in 0..bytes.len() {
            let (one, two) = bytes.split_at(at);
            assert_eq!(tokens(bytes, &[one, two]), expected, "{text:?} at {at}");
            let (middle, end) = two.split_at(two.len().min(3));
            let found = tokens(bytes, &[one, middle, end]);
            assert_eq!(found, expected, "{text:?} at {at} and 3 behind it");
        }
    }

    const OBJECT: &str =
        r#"{"prompt_tokens":12,"completion_tokens":34,"s":"}{\"","d":{"cached_tokens":1}}"#;

    #[test]
    fn an_answers_usage_is_found_however_it_is_cut() {
        let some = Some((12, 34));
        for (text, expected) in [
            (format!(r#"{{"choices":[],"usage":{OBJECT}}}"#), some),
            (format!(r#"{{"usage" : {OBJECT} ,"choices":[]}}"#), some),
            (format!("{{\n  \"usage\"\n:\n\t{OBJECT}\n}}"), some),
            (
                format!(
                    "data: {{\"choices\":[],\"usage\":null}}\n\ndata: {{\"usage\":{OBJECT}}}\n\ndata: [DONE]\n\n"
                ),
                some,
            ),
            (
                format!(
                    "event: response.completed\r\ndata: {{\"response\":{{\"usage\":{OBJECT}}}}}\r\n\r\n"
                ),
                some,
            ),
            (
                "data: {\"usage\":{\ndata: \"prompt_tokens\":12,\ndata:\"completion_tokens\":34}}\n\n"
                    .to_owned(),
                some,
            ),
            // The model's own words, a value, a schema.
            (
                r#"{"content":"{\"usage\":{\"prompt_tokens\":5}}"}"#.to_owned(),
                None,
            ),
            (r#"{"type":"usage","prompt_tokens":5}"#.to_owned(), None),
            (r#"{"usage":[{"prompt_tokens":5}]}"#.to_owned(), None),
            (r#"{"usage":"x","usages":{"prompt_tokens":5}}"#.to_owned(), None),
            (
                format!(r#"{{"usage":{{"type":"object"}},"""usage":{OBJECT}}}"#),
                some,
            ),
            (format!(r#"{{"usage":"usage":{OBJECT}}}"#), some),
            (r#"{"usage":{"prompt_tokens":5"#.to_owned(), None),
        ] {
            cuts(&text, expected);
        }
    }

    #[test]
    fn an_object_that_is_too_long_is_skipped_and_takes_no_more_memory() {
        let filler = "x".repeat(LONGEST);
        let long = format!(r#"{{"usage":{{"x":"{filler}","prompt_tokens":5}}}}"#);
        let mut scan = Scan::default();
        for piece in long.as_bytes().chunks(1000) {
            scan.pass(piece);
            if let State::Object { text, .. } = &scan.state {
                assert!(text.capacity() <= 2 * LONGEST);
            }
        }
        assert_eq!(scan.tokens(), None);
        scan.pass(format!("{{\"usage\":{OBJECT}}}").as_bytes());
        assert_eq!(scan.tokens().map(|tokens| tokens.prompt), Some(12));
    }
}
