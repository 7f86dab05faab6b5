//! The content of an answer's `usage` object, on each wire of OpenAI's API and on Anthropic's
//! Messages. Pure.

use std::num::NonZeroU64;
use std::ops::AddAssign;

use memchr::memchr2;

/// No answer has more tokens of a kind; a larger number counts as this one.
const MOST: u64 = 1 << 40;

/// Tokens of one answer or of many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenCounts {
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

impl AddAssign for TokenCounts {
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

/// One more than a reported number.
type ReportedNumber = Option<NonZeroU64>;

fn told(seen: ReportedNumber) -> Option<u64> {
    seen.map(|more| more.get() - 1)
}

/// What the `usage` objects of one answer have said so far. Each number replaces an earlier one: streams that tell
/// usage more than once tell sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ReportedTokens {
    prompt: ReportedNumber,
    input: ReportedNumber,
    completion: ReportedNumber,
    cached: ReportedNumber,
    reasoning: ReportedNumber,
    total: ReportedNumber,
    /// Messages counts tokens read from a cache and written to one in addition to its input.
    cache_read: ReportedNumber,
    cache_written: ReportedNumber,
}

/// A name that matters.
#[derive(Debug, Clone, Copy)]
enum UsageField {
    Prompt,
    Input,
    Completion,
    Total,
    Cached,
    CacheRead,
    CacheWritten,
    Reasoning,
}

impl ReportedTokens {
    /// Reads the object that `text` begins with; its length, or `None` where it does not end in this text, of which then
    /// nothing is kept.
    pub(super) fn read(&mut self, text: &[u8]) -> Option<usize> {
        let mut told = *self;
        let (mut rest, mut depth) = (text, 0_u32);
        while let [byte, after @ ..] = rest {
            rest = after;
            match byte {
                b'{' | b'[' => depth = depth.saturating_add(1),
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        *self = told;
                        return Some(text.len() - rest.len());
                    }
                }
                b'"' => {
                    let (name, after) = string(rest)?;
                    rest = after;
                    if let Some(name) = name
                        && let Some(after) = blank(rest).strip_prefix(b":")
                    {
                        rest = blank(after);
                        if let [b'0'..=b'9', ..] = rest {
                            let (value, after) = number(rest);
                            rest = after;
                            if let Some(value) = value {
                                told.set(name, value, depth);
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn set(&mut self, name: UsageField, value: u64, depth: u32) {
        let place = match (name, depth) {
            (UsageField::Prompt, 1) => &mut self.prompt,
            (UsageField::Input, 1) => &mut self.input,
            (UsageField::Completion, 1) => &mut self.completion,
            (UsageField::Total, 1) => &mut self.total,
            (UsageField::CacheRead, 1) => &mut self.cache_read,
            (UsageField::CacheWritten, 1) => &mut self.cache_written,
            // In `prompt_tokens_details` and its like.
            (UsageField::Cached, 1 | 2) => &mut self.cached,
            (UsageField::Reasoning, 1 | 2) => &mut self.reasoning,
            _ => return,
        };
        *place = NonZeroU64::new(value.min(MOST) + 1);
    }

    /// The sums; `None` without a report.
    pub(super) fn tokens(&self) -> Option<TokenCounts> {
        if *self == Self::default() {
            return None;
        }
        let beside = match (self.prompt, self.cached) {
            (None, None) => {
                told(self.cache_read).unwrap_or_default()
                    + told(self.cache_written).unwrap_or_default()
            }
            _ => 0,
        };
        let prompt = told(self.prompt.or(self.input)).unwrap_or_default() + beside;
        let completion = told(self.completion).unwrap_or_default();
        Some(TokenCounts {
            prompt,
            completion,
            cached: told(self.cached.or(self.cache_read)).unwrap_or_default(),
            reasoning: told(self.reasoning).unwrap_or_default(),
            total: told(self.total).unwrap_or(prompt + completion),
        })
    }
}

/// The text up to the first quote, if its name matters, and the rest after it.
fn string(text: &[u8]) -> Option<(Option<UsageField>, &[u8])> {
    // Found without a look for its end.
    let known = match text {
        [b'p', ..] => (UsageField::Prompt, text.strip_prefix(b"prompt_tokens\"")),
        [b'i', ..] => (UsageField::Input, text.strip_prefix(b"input_tokens\"")),
        [b't', ..] => (UsageField::Total, text.strip_prefix(b"total_tokens\"")),
        [b'o', ..] => (
            UsageField::Completion,
            text.strip_prefix(b"output_tokens\""),
        ),
        [b'r', ..] => (
            UsageField::Reasoning,
            text.strip_prefix(b"reasoning_tokens\""),
        ),
        [b'c', b'o', ..] => (
            UsageField::Completion,
            text.strip_prefix(b"completion_tokens\""),
        ),
        [b'c', _, _, _, _, b'd', ..] => (UsageField::Cached, text.strip_prefix(b"cached_tokens\"")),
        [b'c', _, _, _, _, _, b'r', ..] => {
            let rest = text.strip_prefix(b"cache_read_input_tokens\"");
            (UsageField::CacheRead, rest)
        }
        [b'c', ..] => {
            let rest = text.strip_prefix(b"cache_creation_input_tokens\"");
            (UsageField::CacheWritten, rest)
        }
        _ => (UsageField::Total, None),
    };
    if let (name, Some(rest)) = known {
        return Some((Some(name), rest));
    }
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text.get(at) == Some(&b'"') {
            return Some((None, text.get(at + 1..)?));
        }
        at += 2;
    }
}

fn blank(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\n' | b'\r', after @ ..] = text {
        text = after;
    }
    text
}

/// The number at the start of a text, and the rest after it. Too many digits are a large number.
fn number(text: &[u8]) -> (Option<u64>, &[u8]) {
    let (mut sum, mut rest) = (0_u64, text);
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        let digit = u64::from(digit - b'0');
        sum = sum.saturating_mul(10).saturating_add(digit);
        rest = after;
    }
    match rest {
        [b'.' | b'e' | b'E', ..] => fraction(text),
        _ => (Some(sum), rest),
    }
}

/// The same of one that is written as a fraction, where it is whole.
fn fraction(text: &[u8]) -> (Option<u64>, &[u8]) {
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
    (whole, text.get(length..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Option<TokenCounts> {
        let mut told = ReportedTokens::default();
        told.read(text.as_bytes());
        told.tokens()
    }

    fn of(prompt: u64, completion: u64, cached: u64, reasoning: u64, total: u64) -> TokenCounts {
        TokenCounts {
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
        let mut told = ReportedTokens::default();
        told.read(br#"{"input_tokens":25,"output_tokens":1}"#);
        told.read(br#"{"output_tokens":15}"#);
        assert_eq!(told.tokens(), Some(of(25, 15, 0, 0, 40)));
    }
}
