//! A stream on its way back to the app of a translated path: each piece of the provider's becomes events of the other wire.
//! Long ones are read off the serving thread, and go out in pieces, between which others have their turn.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use serde_json::{Map, Value};

use super::super::blocking::{is_long, run_blocking};
use super::super::error::{ErrorKind, ProxyError};
use super::memory::{MemoryReservation, RESERVE};
use crate::translate::{self, Pieces, chat_on_responses as chat, responses_on_chat as responses};

/// How much of an event's output is sent at a time.
const MOST_AT_ONCE: usize = 64 * 1024;

/// A stream on its way back to the app.
#[derive(Debug)]
pub(in crate::proxy) struct TranslatedStream {
    /// Not here while a piece is being read elsewhere.
    translation: Option<StreamTranslation>,
    reading: Option<Elsewhere>,
    /// What has been made and has not gone out.
    made: VecDeque<Bytes>,
}

#[derive(Debug)]
struct StreamTranslation {
    stream: StreamTranslator,
    held: MemoryReservation,
}

#[derive(Debug)]
pub(super) enum StreamTranslator {
    Chat(Box<chat::ChatStream>),
    Responses(Box<responses::ResponsesStream>),
}

/// What a piece became, and why it goes no further.
type Passed = (Pieces, Option<ProxyError>);

/// A long event, which is read off the serving thread.
struct Elsewhere(Pin<Box<dyn Future<Output = (StreamTranslation, Passed)> + Send>>);

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Elsewhere")
    }
}

impl StreamTranslator {
    fn held(&self) -> usize {
        match self {
            Self::Chat(stream) => stream.held(),
            Self::Responses(stream) => stream.held(),
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Chat(stream) => stream.is_over(),
            Self::Responses(stream) => stream.is_over(),
        }
    }
}

impl StreamTranslation {
    fn pass(&mut self, piece: &[u8]) -> Passed {
        let (passed, made) = match &mut self.stream {
            StreamTranslator::Chat(stream) => {
                let mut made = Vec::with_capacity(2 * piece.len().min(MOST_AT_ONCE));
                (stream.pass(piece, &mut made), Pieces::of(made))
            }
            StreamTranslator::Responses(stream) => {
                // An event of this wire has more around its text.
                let mut made = Pieces::with_room(2 * piece.len().min(MOST_AT_ONCE));
                (stream.pass_in_pieces(piece, &mut made), made)
            }
        };
        let failure = passed.err().map(unreadable);
        let failure = failure.or_else(|| self.held.takes(self.stream.held()).err());
        (made, failure)
    }

    /// Whether a piece makes long work: an event is read where its end comes.
    fn is_long_with(&self, piece: &[u8]) -> bool {
        let pending = match &self.stream {
            StreamTranslator::Chat(stream) => stream.pending(),
            StreamTranslator::Responses(stream) => stream.pending(),
        };
        is_long(pending + piece.len()) && memchr::memchr2(b'\n', b'\r', piece).is_some()
    }

    /// The provider's stream has ended.
    fn end(&mut self, made: &mut Pieces) -> Result<(), translate::UntranslatableAnswer> {
        match &mut self.stream {
            StreamTranslator::Chat(stream) => stream.end(),
            StreamTranslator::Responses(stream) => stream.end_in_pieces(made),
        }
    }
}

impl TranslatedStream {
    pub(super) fn new(stream: StreamTranslator, held: MemoryReservation) -> Self {
        Self {
            translation: Some(StreamTranslation { stream, held }),
            reading: None,
            made: VecDeque::new(),
        }
    }

    /// A piece comes: why the answer goes no further, if it does not. Where that takes longer, [`Self::poll_read`] has
    /// it, and no other piece may come before.
    pub(in crate::proxy) fn pass(&mut self, piece: &Bytes) -> Option<ProxyError> {
        let translation = self.translation.as_mut()?;
        if !translation.is_long_with(piece) {
            let (made, failure) = translation.pass(piece);
            made.each(|piece| self.made.push_back(piece));
            return failure;
        }
        let (mut translation, piece) = (self.translation.take()?, piece.clone());
        // What is held stays counted also when the client leaves meanwhile.
        let work = move || {
            let passed = translation.pass(&piece);
            (translation, passed)
        };
        self.reading = Some(Elsewhere(Box::pin(run_blocking(usize::MAX, work))));
        None
    }

    /// Whether a piece is being read.
    pub(in crate::proxy) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Why the answer goes no further with the piece that is being read, if it does not.
    pub(in crate::proxy) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<ProxyError>> {
        let Some(Elsewhere(reading)) = &mut self.reading else {
            return Poll::Ready(None);
        };
        let (mut translation, (made, failure)) = ready!(reading.as_mut().poll(cx));
        let length = made.length();
        // What waits is a long event once more.
        let waits = (length > RESERVE).then(|| {
            translation
                .held
                .takes(translation.stream.held() + length)
                .err()
        });
        made.each(|piece| self.made.push_back(piece));
        self.translation = Some(translation);
        self.reading = None;
        Poll::Ready(failure.or_else(|| waits.flatten()))
    }

    /// What goes out next of all that has been made.
    pub(in crate::proxy) fn next(&mut self) -> Option<Bytes> {
        let first = self.made.front_mut()?;
        if first.len() > MOST_AT_ONCE {
            return Some(first.split_to(MOST_AT_ONCE));
        }
        let last = self.made.pop_front();
        if self.made.is_empty()
            && let Some(translation) = &mut self.translation
        {
            translation.held.gives_back(translation.stream.held());
        }
        last
    }

    /// Whether something has been made and has not gone out.
    pub(in crate::proxy) fn has_more(&self) -> bool {
        !self.made.is_empty()
    }

    /// Whether the answer has ended, or its error. What was made of it may not have gone out.
    pub(in crate::proxy) fn is_over(&self) -> bool {
        self.translation
            .as_ref()
            .is_some_and(|translation| translation.stream.is_over())
    }

    /// The provider's stream has ended: the rest of the answer goes out.
    ///
    /// # Errors
    /// When the answer is not whole.
    pub(in crate::proxy) fn end(&mut self) -> Result<(), ProxyError> {
        let mut made = Pieces::default();
        let end = self
            .translation
            .as_mut()
            .map(|translation| translation.end(&mut made));
        made.each(|piece| self.made.push_back(piece));
        end.unwrap_or(Err(translate::UntranslatableAnswer::Cut))
            .map_err(unreadable)
    }

    /// An error of ours ends the answer. On a wire that has an end for answers that fail, that goes out; `false` on the
    /// others, and where the answer has ended already.
    pub(in crate::proxy) fn fails(&mut self, error: &ProxyError) -> bool {
        let stream = self
            .translation
            .as_mut()
            .map(|translation| &mut translation.stream);
        let Some(StreamTranslator::Responses(stream)) = stream else {
            return false;
        };
        if stream.is_over() {
            return false;
        }
        let code = error.kind.code();
        let members = [
            ("message", error.message.as_str().into()),
            ("type", code.into()),
            ("param", Value::Null),
            ("code", code.into()),
        ];
        let members = members.map(|(name, value): (_, Value)| (name.to_owned(), value));
        let mut made = Pieces::default();
        stream.fails(&Map::from_iter(members), &mut made);
        made.each(|piece| self.made.push_back(piece));
        true
    }
}

pub(super) fn unreadable(failure: translate::UntranslatableAnswer) -> ProxyError {
    let kind = match failure {
        translate::UntranslatableAnswer::TooLarge => ErrorKind::AnswerTooLarge,
        translate::UntranslatableAnswer::Malformed | translate::UntranslatableAnswer::Cut => {
            ErrorKind::UpstreamUnreachable
        }
    };
    ProxyError::new(kind, format!("hermes-proxyd: {failure}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::memory::{BodyMemory, Side};
    use super::*;
    use crate::translate::EchoedFields;

    fn translated(memory: &BodyMemory) -> TranslatedStream {
        let stream = responses::ResponsesStream::new(&EchoedFields::default(), 16 * 1024 * 1024);
        let held = MemoryReservation::new(memory, Side::Answer);
        TranslatedStream::new(StreamTranslator::Responses(Box::new(stream)), held)
    }

    fn memory() -> BodyMemory {
        BodyMemory {
            total: 16 * 1024 * 1024,
            used: Arc::default(),
        }
    }

    #[test]
    fn a_long_end_goes_out_in_short_pieces() {
        let memory = memory();
        let mut translated = translated(&memory);
        let text = "x".repeat(200 * 1024);
        let say = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
        for piece in [&*say, "data: [DONE]\n\n"] {
            assert_eq!(translated.pass(&Bytes::from(piece.to_owned())), None);
        }
        assert!(translated.is_over() && translated.has_more());
        let mut all = Vec::new();
        while let Some(piece) = translated.next() {
            assert!((1..=MOST_AT_ONCE).contains(&piece.len()));
            all.extend_from_slice(&piece);
        }
        assert!(!translated.has_more());
        let all = String::from_utf8(all).unwrap();
        assert_eq!(all.matches(&text).count(), 5);
        assert!(all.ends_with("\n\n") && all.contains("event: response.completed\n"));
    }

    #[test]
    fn an_error_of_ours_ends_an_answer_once() {
        let memory = memory();
        let mut translated = translated(&memory);
        let error = ProxyError::new(ErrorKind::UpstreamTimeout, "say \"why\"");
        assert!(translated.fails(&error));
        assert!(translated.is_over() && !translated.fails(&error));
        let all: Vec<_> = std::iter::from_fn(|| translated.next()).collect();
        let all = String::from_utf8(all.concat()).unwrap();
        assert!(all.starts_with("event: response.created\n"), "{all}");
        assert_eq!(all.matches("event: response.failed\n").count(), 1, "{all}");
        assert!(all.contains("\"message\":\"say \\\"why\\\"\""), "{all}");
    }
}
