//! The events of a stream that concern the account: a refusal in the middle of a 200, and the used part of its quota. A
//! tap, with bounded memory: it keeps a copy of the current event's beginning while the bytes pass.

use memchr::memmem;
use serde_json::Value;

use crate::provider::ReadError;
use crate::sse::Tap;

/// A longer event never explains why an account is refused.
const LONGEST: usize = 4 * 1024;

/// The marks of an account's refusal.
#[derive(Debug, Clone)]
pub(super) struct ErrorEvents {
    reads: ReadError,
    /// The mark of an event with quota usage.
    quota: Option<&'static str>,
    /// The present event's data.
    event: Vec<u8>,
    code: Option<&'static str>,
    told: Option<Vec<u8>>,
}

impl ErrorEvents {
    /// Of a stream at its start.
    pub(super) fn new(reads: ReadError, quota: Option<&'static str>) -> Self {
        Self {
            reads,
            quota,
            event: Vec::new(),
            code: None,
            told: None,
        }
    }

    /// The last event with quota usage, once.
    pub(super) fn told(&mut self) -> Option<Vec<u8>> {
        self.told.take()
    }

    /// Why the account is refused, once an event has said so.
    pub(super) fn code(&self) -> Option<&'static str> {
        self.code
    }

    fn keep(&mut self, piece: &[u8]) {
        // One byte more tells a longer event.
        let room = (LONGEST + 1).saturating_sub(self.event.len());
        let piece = piece.get(..room).unwrap_or(piece);
        self.event.extend_from_slice(piece);
    }
}

/// Whether this is an error in one of the forms that OpenAI's streams have: `{"error": …}` instead of a chunk, the event
/// `error` of the Responses API, and a response that failed. A model's words are in none of these places.
fn is_error(event: &[u8]) -> bool {
    // Hardly any event is parsed: most hold none of these words.
    let has = |word: &[u8]| memmem::find(event, word).is_some();
    if !has(b"\"error\"") && !has(b"\"response.failed\"") {
        return false;
    }
    let Ok(Value::Object(event)) = serde_json::from_slice(event) else {
        return false;
    };
    let kind = event.get("type").and_then(Value::as_str);
    let tells = event.get("error").is_some_and(|error| !error.is_null());
    tells || matches!(kind, Some("error" | "response.failed"))
}

impl Tap for ErrorEvents {
    fn data(&mut self, piece: &[u8]) {
        if self.code.is_none() {
            self.keep(piece);
        }
    }

    fn end_data(&mut self) {
        // Lines of one event are joined (WHATWG HTML §9.2.6).
        if !self.event.is_empty() {
            self.keep(b"\n");
        }
    }

    fn end_event(&mut self) {
        if self.event.len() <= LONGEST {
            if is_error(&self.event) {
                self.code = (self.reads)(&self.event);
            } else if self
                .quota
                .is_some_and(|word| memmem::find(&self.event, word.as_bytes()).is_some())
            {
                self.told = Some(std::mem::take(&mut self.event));
            }
        }
        self.event.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::Tokenizer;

    fn told(stream: &str, size: usize) -> Option<&'static str> {
        let reads: ReadError = |error| {
            let error = String::from_utf8_lossy(error);
            error.contains("no plan").then_some("no_plan")
        };
        let (mut lines, mut errors) = (Tokenizer::default(), ErrorEvents::new(reads, None));
        for piece in stream.as_bytes().chunks(size) {
            lines.pass(piece, &mut errors);
        }
        assert!(errors.event.capacity() <= 2 * LONGEST + 2);
        errors.code()
    }

    #[test]
    fn an_error_event_is_read_in_each_form_however_the_stream_is_cut() {
        let chunk = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
        for error in [
            "data: {\"error\":{\"message\":\"no plan\"}}\n\n",
            "data: {\"code\":\"denied\",\"error\":\"no plan\"}\n\n",
            "event: error\r\ndata: {\"type\":\"error\",\"message\":\"no plan\"}\r\n\r\n",
            "event: error\ndata: {\"sequence_number\":1,\ndata: \"type\": \"error\", \"message\":\"no plan\"}\n\n",
            "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"message\":\"no plan\"}}}\n\n",
        ] {
            for stream in [error.to_owned(), format!("{chunk}{error}{chunk}")] {
                for size in [1, 7, stream.len()] {
                    assert_eq!(told(&stream, size), Some("no_plan"), "{stream}");
                }
            }
        }
    }

    #[test]
    fn an_event_that_tells_of_the_quota_is_told_once() {
        let mut errors = ErrorEvents::new(|_| None, Some("\"limits\""));
        let mut lines = Tokenizer::default();
        let words = "data: {\"delta\":\"say \\\"limits\\\"\"}\n\n";
        for (stream, told) in [
            (words, None),
            (
                "data: {\"type\":\"limits\",\"n\":1}\n\n",
                Some("{\"type\":\"limits\",\"n\":1}"),
            ),
            (words, None),
        ] {
            lines.pass(stream.as_bytes(), &mut errors);
            let found = errors.told().map(|event| String::from_utf8(event).unwrap());
            assert_eq!(found.as_deref().map(str::trim), told, "{stream}");
        }
    }

    #[test]
    fn a_models_words_and_other_errors_say_nothing_of_the_account() {
        for stream in [
            "data: {\"choices\":[{\"delta\":{\"content\":\"no plan \\\"error\\\"\"}}]}\n\n",
            "data: {\"type\":\"response.output_text.delta\",\"delta\":\"no plan\",\"error\":null}\n\n",
            "data: {\"type\":\"response.completed\",\"response\":{\"error\":null,\"text\":\"no plan\"}}\n\n",
            "data: {\"error\":{\"message\":\"overloaded\"}}\n\n",
            "data: \"error\" no plan\n\n",
            // Cut off before its end.
            "data: {\"error\":{\"message\":\"no plan\"}}\n",
            ": \"error\" no plan\n\n",
        ] {
            assert_eq!(told(stream, 5), None, "{stream}");
        }
        let long = "x".repeat(LONGEST);
        let stream = format!("data: {{\"error\":\"no plan\",\"more\":\"{long}\"}}\n\n");
        assert_eq!(told(&stream, 64), None, "too long to be kept");
    }
}
