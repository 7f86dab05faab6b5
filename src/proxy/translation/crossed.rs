//! A stream on its way back to the app over a bridge: each piece of the provider's becomes events of the other wire.
//! Long ones are read off the serving thread, and go out in pieces, between which others have their turn.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use serde_json::{Map, Value};

use super::super::aside::{aside, is_long};
use super::super::error::{ErrorKind, ProxyError};
use super::memory::{MemoryReservation, RESERVE};
use crate::translate::{self, Pieces, chat_on_responses as chat, responses_on_chat as responses};

/// How much of an event's output is sent at a time.
const MOST_AT_ONCE: usize = 64 * 1024;

/// A stream on its way back to the app.
#[derive(Debug)]
pub(in crate::proxy) struct Crossed {
    /// Not here while a piece is being read elsewhere.
    over: Option<CrossedEnd>,
    reading: Option<Elsewhere>,
    /// What has been made and has not gone out.
    made: VecDeque<Bytes>,
}

#[derive(Debug)]
struct CrossedEnd {
    stream: CrossedStream,
    held: MemoryReservation,
}

#[derive(Debug)]
pub(super) enum CrossedStream {
    Chat(Box<chat::ChatStream>),
    Responses(Box<responses::ResponsesStream>),
}

/// What a piece became, and why it goes no further.
type Passed = (Pieces, Option<ProxyError>);

/// A long event, which is read off the serving thread.
struct Elsewhere(Pin<Box<dyn Future<Output = (CrossedEnd, Passed)> + Send>>);

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Elsewhere")
    }
}

impl CrossedStream {
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

impl CrossedEnd {
    fn pass(&mut self, piece: &[u8]) -> Passed {
        let (passed, made) = match &mut self.stream {
            CrossedStream::Chat(stream) => {
                let mut made = Vec::with_capacity(2 * piece.len().min(MOST_AT_ONCE));
                (stream.pass(piece, &mut made), Pieces::of(made))
            }
            CrossedStream::Responses(stream) => {
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
            CrossedStream::Chat(stream) => stream.pending(),
            CrossedStream::Responses(stream) => stream.pending(),
        };
        is_long(pending + piece.len()) && memchr::memchr2(b'\n', b'\r', piece).is_some()
    }

    /// The provider's stream has ended.
    fn end(&mut self, made: &mut Pieces) -> Result<(), translate::UntranslatableAnswer> {
        match &mut self.stream {
            CrossedStream::Chat(stream) => stream.end(),
            CrossedStream::Responses(stream) => stream.end_in_pieces(made),
        }
    }
}

impl Crossed {
    pub(super) fn new(stream: CrossedStream, held: MemoryReservation) -> Self {
        Self {
            over: Some(CrossedEnd { stream, held }),
            reading: None,
            made: VecDeque::new(),
        }
    }

    /// A piece comes: why the answer goes no further, if it does not. Where that takes longer, [`Self::poll_read`] has
    /// it, and no other piece may come before.
    pub(in crate::proxy) fn pass(&mut self, piece: &Bytes) -> Option<ProxyError> {
        let over = self.over.as_mut()?;
        if !over.is_long_with(piece) {
            let (made, failure) = over.pass(piece);
            made.each(|piece| self.made.push_back(piece));
            return failure;
        }
        let (mut over, piece) = (self.over.take()?, piece.clone());
        // What is held stays counted also when the client leaves meanwhile.
        let work = move || {
            let passed = over.pass(&piece);
            (over, passed)
        };
        self.reading = Some(Elsewhere(Box::pin(aside(usize::MAX, work))));
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
        let (mut over, (made, failure)) = ready!(reading.as_mut().poll(cx));
        let length = made.length();
        // What waits is a long event once more.
        let waits = (length > RESERVE).then(|| over.held.takes(over.stream.held() + length).err());
        made.each(|piece| self.made.push_back(piece));
        self.over = Some(over);
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
            && let Some(over) = &mut self.over
        {
            over.held.gives_back(over.stream.held());
        }
        last
    }

    /// Whether something has been made and has not gone out.
    pub(in crate::proxy) fn has_more(&self) -> bool {
        !self.made.is_empty()
    }

    /// Whether the answer has ended, or its error. What was made of it may not have gone out.
    pub(in crate::proxy) fn is_over(&self) -> bool {
        self.over.as_ref().is_some_and(|over| over.stream.is_over())
    }

    /// The provider's stream has ended: the rest of the answer goes out.
    ///
    /// # Errors
    /// When the answer is not whole.
    pub(in crate::proxy) fn end(&mut self) -> Result<(), ProxyError> {
        let mut made = Pieces::default();
        let end = self.over.as_mut().map(|over| over.end(&mut made));
        made.each(|piece| self.made.push_back(piece));
        end.unwrap_or(Err(translate::UntranslatableAnswer::Cut))
            .map_err(unreadable)
    }

    /// An error of ours ends the answer. On a wire that has an end for answers that fail, that goes out; `false` on the
    /// others, and where the answer has ended already.
    pub(in crate::proxy) fn fails(&mut self, error: &ProxyError) -> bool {
        let stream = self.over.as_mut().map(|over| &mut over.stream);
        let Some(CrossedStream::Responses(stream)) = stream else {
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

    fn crossed(memory: &BodyMemory) -> Crossed {
        let stream = responses::ResponsesStream::new(&EchoedFields::default(), 16 * 1024 * 1024);
        let held = MemoryReservation::new(memory, Side::Answer);
        Crossed::new(CrossedStream::Responses(Box::new(stream)), held)
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
        let mut crossed = crossed(&memory);
        let text = "x".repeat(200 * 1024);
        let say = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
        for piece in [&*say, "data: [DONE]\n\n"] {
            assert_eq!(crossed.pass(&Bytes::from(piece.to_owned())), None);
        }
        assert!(crossed.is_over() && crossed.has_more());
        let mut all = Vec::new();
        while let Some(piece) = crossed.next() {
            assert!((1..=MOST_AT_ONCE).contains(&piece.len()));
            all.extend_from_slice(&piece);
        }
        assert!(!crossed.has_more());
        let all = String::from_utf8(all).unwrap();
        assert_eq!(all.matches(&text).count(), 5);
        assert!(all.ends_with("\n\n") && all.contains("event: response.completed\n"));
    }

    #[test]
    fn an_error_of_ours_ends_an_answer_once() {
        let memory = memory();
        let mut crossed = crossed(&memory);
        let error = ProxyError::new(ErrorKind::UpstreamTimeout, "say \"why\"");
        assert!(crossed.fails(&error));
        assert!(crossed.is_over() && !crossed.fails(&error));
        let all: Vec<_> = std::iter::from_fn(|| crossed.next()).collect();
        let all = String::from_utf8(all.concat()).unwrap();
        assert!(all.starts_with("event: response.created\n"), "{all}");
        assert_eq!(all.matches("event: response.failed\n").count(), 1, "{all}");
        assert!(all.contains("\"message\":\"say \\\"why\\\"\""), "{all}");
    }
}
