//! For an app that speaks Chat Completions, on a provider that serves Responses.

mod machine;
mod messages;
mod request;
mod sink;
mod tools;

pub(super) use self::request::turned;
pub use self::request::{request, request_while, weight};

use super::events::TranslatedEvents;
use super::{EchoedFields, UntranslatableAnswer, WholeTranslation};
use machine::ChatMachine;
use sink::{ChatMessage, Chunks};

/// A stream of the Responses API on its way to one of Chat Completions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatStream {
    events: TranslatedEvents<ChatMachine<Chunks>>,
}

impl ChatStream {
    /// `most`: the bytes that it may hold.
    pub fn new(asked: &EchoedFields, most: usize) -> Self {
        let machine = ChatMachine::new(Chunks::new(asked));
        let events = TranslatedEvents::new(machine, most);
        Self { events }
    }

    /// A piece comes; the chunks that follow from it go to `out`.
    ///
    /// # Errors
    /// When the stream can't be read, or takes too much memory: it is over then, and `out` holds what came before.
    pub fn pass(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), UntranslatableAnswer> {
        self.events.pass(piece, out)
    }

    /// Whether the answer, or its error, is complete.
    pub fn is_over(&self) -> bool {
        self.events.machine.is_over()
    }

    /// The provider's stream has ended.
    ///
    /// # Errors
    /// When the answer has not: nothing may make it look complete.
    pub fn end(&self) -> Result<(), UntranslatableAnswer> {
        if self.is_over() {
            Ok(())
        } else {
            Err(UntranslatableAnswer::Cut)
        }
    }

    /// The bytes that it holds.
    pub fn held(&self) -> usize {
        self.events.held()
    }

    /// Those of an event that is not whole yet: what the next piece makes work of.
    pub fn pending(&self) -> usize {
        self.events.pending()
    }
}

/// A stream of the Responses API on its way to one whole chat completion.
#[derive(Debug)]
pub struct ChatFold {
    events: TranslatedEvents<ChatMachine<ChatMessage>>,
}

impl ChatFold {
    /// `most`: the bytes that it may hold.
    pub fn new(asked: &EchoedFields, most: usize) -> Self {
        let machine = ChatMachine::new(ChatMessage::new(asked));
        let events = TranslatedEvents::new(machine, most);
        Self { events }
    }

    /// A piece comes.
    ///
    /// # Errors
    /// When the stream can't be read, or takes too much memory.
    pub fn pass(&mut self, piece: &[u8]) -> Result<(), UntranslatableAnswer> {
        self.events.pass(piece, &mut Vec::new())
    }

    /// Whether the answer, or its error, is complete.
    pub fn is_over(&self) -> bool {
        self.events.machine.is_over()
    }

    /// The bytes that it holds.
    pub fn held(&self) -> usize {
        self.events.held()
    }

    /// What the stream came to.
    ///
    /// # Errors
    /// When it ended before its answer did.
    pub fn end(self) -> Result<WholeTranslation, UntranslatableAnswer> {
        self.events
            .machine
            .into_sink()
            .whole()
            .ok_or(UntranslatableAnswer::Cut)
    }
}

/// A whole chat completion out of a whole response.
///
/// # Errors
/// When it can't be read, or has not ended.
pub fn answer(body: &[u8], asked: &EchoedFields) -> Result<WholeTranslation, UntranslatableAnswer> {
    let mut machine = ChatMachine::new(ChatMessage::new(asked));
    machine.whole(body, &mut Vec::new())?;
    machine.into_sink().whole().ok_or(UntranslatableAnswer::Cut)
}

/// A stream of chunks out of a whole response, for an app that asked for a stream. With an error inside of a 200, that.
///
/// # Errors
/// When it can't be read, or has not ended.
pub fn stream_of(
    body: &[u8],
    asked: &EchoedFields,
) -> Result<WholeTranslation, UntranslatableAnswer> {
    if let failed @ WholeTranslation::Failed(_) = answer(body, asked)? {
        return Ok(failed);
    }
    let (mut machine, mut made) = (ChatMachine::new(Chunks::new(asked)), Vec::new());
    machine.whole(body, &mut made)?;
    Ok(WholeTranslation::Answer(made))
}
