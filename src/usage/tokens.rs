//! What a `usage` object of an answer says, on each wire of OpenAI's API and on Anthropic's Messages. Pure.

use std::ops::AddAssign;

/// No answer has more tokens of a kind; a larger number counts as this one.
const MOST: u64 = 1 << 40;

/// Tokens of one answer or of many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// What was sent, with what the provider had cached of it.
    pub prompt: u64,
    /// What was made.
    pub completion: u64,
    /// The part of `prompt` that was cached.
    pub cached: u64,
    /// Tokens of reasoning, which most providers count in `completion`, too.
    pub reasoning: u64,
    /// The provider's own sum, or that of `prompt` and `completion` where it has none.
    pub total: u64,
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        let pairs = [
            (&mut self.prompt, other.prompt),
            (&mut self.completion, other.completion),
            (&mut self.cached, other.cached),
            (&mut self.reasoning, other.reasoning),
            (&mut self.total, other.total),
        ];
        for (sum, more) in pairs {
            *sum = sum.saturating_add(more);
        }
    }
}

/// What the `usage` objects of one answer have said so far. Each number replaces an earlier one: streams that tell
/// usage more than once tell sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Told {
    prompt: Option<u64>,
    input: Option<u64>,
    completion: Option<u64>,
    cached: Option<u64>,
    reasoning: Option<u64>,
    total: Option<u64>,
    /// Messages counts what was read from a cache and what was written to one beside its input.
    cache_read: Option<u64>,
    cache_written: Option<u64>,
}

impl Told {
    /// Reads the object that `text` begins with; its length, or `None` where it does not end in this text, of which then
    /// nothing is kept.
    pub(super) fn read(&mut self, text: &[u8]) -> Option<usize> {
        let mut told = *self;
        let (mut at, mut depth) = (0, 0_u32);
        loop {
            let byte = text.get(at)?;
            at += 1;
            match byte {
                b'{' | b'[' => depth = depth.saturating_add(1),
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        *self = told;
                        return Some(at);
                    }
                }
                b'"' => {
                    let end = string_end(text, at)?;
                    let name = text.get(at..end).unwrap_or_default();
                    at = blank(text, end + 1);
                    if text.get(at) == Some(&b':') {
                        at = blank(text, at + 1);
                        let rest = text.get(at..).unwrap_or_default();
                        if rest.first().is_some_and(u8::is_ascii_digit) {
                            let (value, length) = number(rest);
                            at += length;
                            if let Some(value) = value {
                                told.set(name, value, depth);
                            }
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn set(&mut self, name: &[u8], value: u64, depth: u32) {
        let place = match (name, depth) {
            (b"prompt_tokens", 1) => &mut self.prompt,
            (b"input_tokens", 1) => &mut self.input,
            (b"completion_tokens" | b"output_tokens", 1) => &mut self.completion,
            (b"total_tokens", 1) => &mut self.total,
            (b"cache_read_input_tokens", 1) => &mut self.cache_read,
            (b"cache_creation_input_tokens", 1) => &mut self.cache_written,
            // In `prompt_tokens_details` and its like.
            (b"cached_tokens", 1 | 2) => &mut self.cached,
            (b"reasoning_tokens", 1 | 2) => &mut self.reasoning,
            _ => return,
        };
        *place = Some(value.min(MOST));
    }

    /// The sums; `None` where nothing was told.
    pub(super) fn tokens(&self) -> Option<Tokens> {
        if *self == Self::default() {
            return None;
        }
        let beside = match (self.prompt, self.cached) {
            (None, None) => {
                self.cache_read.unwrap_or_default() + self.cache_written.unwrap_or_default()
            }
            _ => 0,
        };
        let prompt = self.prompt.or(self.input).unwrap_or_default() + beside;
        let completion = self.completion.unwrap_or_default();
        Some(Tokens {
            prompt,
            completion,
            cached: self.cached.or(self.cache_read).unwrap_or_default(),
            reasoning: self.reasoning.unwrap_or_default(),
            total: self.total.unwrap_or(prompt + completion),
        })
    }
}

/// The place of the quote that ends the text which begins at `at`. Names are short.
fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\');
    loop {
        at += text.get(at..)?.iter().position(ends)?;
        if text.get(at) == Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

fn blank(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}

/// The number that a text begins with, and its length. Too many digits are a large number.
fn number(text: &[u8]) -> (Option<u64>, usize) {
    let (mut sum, mut at) = (0_u64, 0);
    while let Some(digit @ b'0'..=b'9') = text.get(at) {
        let digit = u64::from(digit - b'0');
        sum = sum.saturating_mul(10).saturating_add(digit);
        at += 1;
    }
    match text.get(at) {
        Some(b'.' | b'e' | b'E') => fraction(text),
        Some(_) | None => (Some(sum), at),
    }
}

/// The same of one that is written as a fraction, where it is whole.
fn fraction(text: &[u8]) -> (Option<u64>, usize) {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    let length = text.iter().position(|byte| !is_part(byte));
    let length = length.unwrap_or(text.len());
    let number = std::str::from_utf8(text.get(..length).unwrap_or_default());
    let number = number.ok().and_then(|number| number.parse::<f64>().ok());
    let number = number.filter(|number| number.fract() == 0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it saturates, and has no sign"
    )]
    let whole = number.map(|number| number as u64);
    (whole, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Option<Tokens> {
        let mut told = Told::default();
        told.read(text.as_bytes());
        told.tokens()
    }

    fn of(prompt: u64, completion: u64, cached: u64, reasoning: u64, total: u64) -> Tokens {
        Tokens {
            prompt,
            completion,
            cached,
            reasoning,
            total,
        }
    }

    #[test]
    fn each_wires_usage_is_read() {
        let chat = r#"{"prompt_tokens": 9, "completion_tokens" :5,"total_tokens":14,"prompt_tokens_details":
            {"cached_tokens":4,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":3}}"#;
        assert_eq!(tokens(chat), Some(of(9, 5, 4, 3, 14)));
        let responses = r#"{"input_tokens":10,"input_tokens_details":{"cached_tokens":2},"output_tokens":6,
            "output_tokens_details":{"reasoning_tokens":1},"total_tokens":16}"#;
        assert_eq!(tokens(responses), Some(of(10, 6, 2, 1, 16)));
        let embeddings = r#"{"prompt_tokens":8,"total_tokens":8}"#;
        assert_eq!(tokens(embeddings), Some(of(8, 0, 0, 0, 8)));
        let messages = r#"{"input_tokens":10,"cache_creation_input_tokens":3,"cache_read_input_tokens":4,
            "cache_creation":{"ephemeral_5m_input_tokens":3,"input_tokens":99},"output_tokens":5,
            "iterations":[{"input_tokens":1,"cached_tokens":77}],"service_tier":"standard"}"#;
        assert_eq!(tokens(messages), Some(of(17, 5, 4, 0, 22)));
    }

    #[test]
    fn odd_objects_tell_what_can_be_read_of_them() {
        for (text, expected) in [
            ("{}", None),
            ("", None),
            ("null", None),
            (r#"{"type":"string","description":"prompt_tokens"}"#, None),
            (r#"{"prompt_tokens":"7"}"#, None),
            (r#"{"prompt_tokens":null,"total_tokens":-3}"#, None),
            (r#"{"prompt_tokens":{"type":"integer"}}"#, None),
            (
                r#"{"a\"prompt_tokens":1,"prompt_tokens":2}"#,
                Some(of(2, 0, 0, 0, 2)),
            ),
            (
                r#"{"prompt_tokens":7.0,"completion_tokens":1e2}"#,
                Some(of(7, 100, 0, 0, 107)),
            ),
            (
                r#"{"prompt_tokens":7.5,"completion_tokens":1}"#,
                Some(of(0, 1, 0, 0, 1)),
            ),
            (
                r#"{"prompt_tokens":99999999999999999999999999,"completion_tokens":1}"#,
                Some(of(MOST, 1, 0, 0, MOST + 1)),
            ),
            (r#"{"prompt_tokens":1,"cut":"off"#, None),
            (r#"{"prompt_tokens":1,"cut":{"#, None),
        ] {
            assert_eq!(tokens(text), expected, "{text}");
        }
    }

    #[test]
    fn a_later_object_replaces_what_an_earlier_one_said() {
        let mut told = Told::default();
        told.read(br#"{"input_tokens":25,"output_tokens":1}"#);
        told.read(br#"{"output_tokens":15}"#);
        assert_eq!(told.tokens(), Some(of(25, 15, 0, 0, 40)));
    }
}
