//! Estimates the tokens of a request whose answer does not report them: by the text that has
//! passed. Pure.
//!
//! A token is about four bytes of text. In an event stream, most events have one token and much text around it; the
//! shortest event shows how much.

use super::decode::Encoding;
use super::scan::AnswerFormat;
use crate::sse::{Tap, Tokenizer};

/// Bytes of text that make a token.
const BYTES: u64 = 4;
/// The most bytes around the text of an event.
const MOST_AROUND: u64 = 512;

/// What a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EstimatedBody {
    /// JSON.
    Text,
    /// The same, compressed.
    Packed,
    /// A form or a file, which has no tokens.
    Other,
}

/// What has passed of a request and its answer.
#[derive(Debug)]
pub(super) struct Estimate {
    body: EstimatedBody,
    answer: AnswerKind,
}

#[derive(Debug)]
enum AnswerKind {
    /// There is none, or it has no tokens.
    Nothing,
    /// So many bytes of a document, or of something compressed.
    Bytes {
        passed: u64,
        is_packed: bool,
    },
    Events(Tokenizer, Box<EstimatedEvents>),
}

/// The events that have passed.
#[derive(Debug, Default)]
struct EstimatedEvents {
    count: u64,
    /// Bytes of their data.
    bytes: u64,
    /// Those of the shortest.
    least: Option<u64>,
    /// Those of the present one.
    present: u64,
    /// What its data begins with.
    first: Option<u8>,
    /// The `[DONE]` at the end has passed.
    is_over: bool,
}

impl Estimate {
    pub(super) fn new(body: EstimatedBody) -> Self {
        Self {
            body,
            answer: AnswerKind::Nothing,
        }
    }

    /// The answer begins.
    pub(super) fn answered(&mut self, form: AnswerFormat, encoding: Encoding) {
        let is_packed = encoding != Encoding::Plain;
        self.answer = match form {
            AnswerFormat::Events if !is_packed => {
                AnswerKind::Events(Tokenizer::default(), Box::default())
            }
            AnswerFormat::Events | AnswerFormat::Whole => AnswerKind::Bytes {
                passed: 0,
                is_packed,
            },
        };
    }

    /// A piece of it passes.
    pub(super) fn pass(&mut self, piece: &[u8]) {
        match &mut self.answer {
            AnswerKind::Nothing => {}
            AnswerKind::Bytes { passed, .. } => *passed = passed.saturating_add(piece.len() as u64),
            AnswerKind::Events(lines, events) => lines.pass(piece, &mut **events),
        }
    }

    /// Whether a stream has said that it is over. Some clients read no further.
    pub(super) fn is_over(&self) -> bool {
        matches!(&self.answer, AnswerKind::Events(_, events) if events.is_over)
    }

    /// The tokens of the request, whose body has this many bytes.
    pub(super) fn prompt(&self, bytes: u64) -> u64 {
        match self.body {
            EstimatedBody::Text => bytes.div_ceil(BYTES),
            EstimatedBody::Packed => bytes,
            EstimatedBody::Other => 0,
        }
    }

    /// Of the answer. A whole document without a token count is not generated text, such as a list of embeddings.
    pub(super) fn completion(&self, is_whole: bool) -> u64 {
        match &self.answer {
            AnswerKind::Nothing => 0,
            AnswerKind::Bytes {
                is_packed: false, ..
            } if is_whole => 0,
            AnswerKind::Bytes { passed, .. } => passed.div_ceil(BYTES),
            AnswerKind::Events(_, events) => events.tokens(),
        }
    }
}

impl EstimatedEvents {
    fn tokens(&self) -> u64 {
        let around = self.least.unwrap_or_default().min(MOST_AROUND);
        let text = self.bytes.saturating_sub(around.saturating_mul(self.count));
        // One that was cut is not counted yet.
        let text = text.saturating_add(self.present.saturating_sub(around));
        self.count.max(text.div_ceil(BYTES))
    }
}

impl Tap for EstimatedEvents {
    fn data(&mut self, piece: &[u8]) {
        if self.first.is_none() {
            let mut bytes = piece.iter().copied();
            self.first = bytes.find(|byte| !byte.is_ascii_whitespace());
        }
        self.present = self.present.saturating_add(piece.len() as u64);
    }

    fn end_data(&mut self) {}

    fn end_event(&mut self) {
        let bytes = std::mem::take(&mut self.present);
        match self.first.take() {
            Some(b'{') => {
                self.count += 1;
                self.bytes = self.bytes.saturating_add(bytes);
                self.least = Some(self.least.map_or(bytes, |least| least.min(bytes)));
            }
            Some(b'[') => self.is_over = true,
            Some(_) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> String {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\
             \"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"
        )
    }

    fn streamed(pieces: &[&str]) -> u64 {
        let mut estimate = Estimate::new(EstimatedBody::Text);
        estimate.answered(AnswerFormat::Events, Encoding::Plain);
        for piece in pieces {
            estimate.pass(piece.as_bytes());
        }
        estimate.completion(true)
    }

    #[test]
    fn an_event_is_a_token_or_as_many_as_its_text_has() {
        let small: String = (0..100).map(|_| event("word")).collect();
        assert_eq!(streamed(&[&small, "data: [DONE]\n\n"]), 100);
        let long = event(&"word".repeat(50));
        let large = [&event(""), &*long.repeat(10), ": a comment\n\n"].concat();
        assert_eq!(streamed(&[&large]), 500);
        let bytes = large.as_bytes().iter();
        let pieces: Vec<_> = bytes.map(|byte| char::from(*byte).to_string()).collect();
        let pieces: Vec<_> = pieces.iter().map(String::as_str).collect();
        assert_eq!(streamed(&pieces), 500);
        // All in one, and cut in the middle.
        let whole = streamed(&[&event(&"word".repeat(1000))]);
        assert!((800..1200).contains(&whole), "{whole}");
        let cut = streamed(&[&event(""), event(&"word".repeat(100)).get(..300).unwrap()]);
        assert!((30..100).contains(&cut), "{cut}");
        assert_eq!(streamed(&[]), 0);
    }

    #[test]
    fn a_document_counts_where_it_was_cut_or_can_not_be_read() {
        for (encoding, is_whole, tokens) in [
            (Encoding::Plain, true, 0),
            (Encoding::Plain, false, 25),
            (Encoding::Unknown, true, 25),
        ] {
            let mut estimate = Estimate::new(EstimatedBody::Text);
            estimate.answered(AnswerFormat::Whole, encoding);
            estimate.pass(&[b'x'; 99]);
            assert_eq!(estimate.completion(is_whole), tokens, "{encoding:?}");
        }
    }

    #[test]
    fn a_body_counts_as_what_it_is() {
        for (body, tokens) in [
            (EstimatedBody::Text, 25),
            (EstimatedBody::Packed, 98),
            (EstimatedBody::Other, 0),
        ] {
            assert_eq!(Estimate::new(body).prompt(98), tokens, "{body:?}");
        }
    }
}
