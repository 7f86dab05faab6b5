//! For an app that speaks Responses, on a provider that serves Chat Completions.

mod input;
mod items;
mod machine;
mod request;
mod tools;

pub use self::request::{request, request_while, weight};

use serde_json::{Map, Value};

use super::events::TranslatedEvents;
use super::{EchoedFields, Pieces, UntranslatableAnswer, WholeTranslation};
use machine::ResponsesMachine;

/// A stream of chat completions on its way to one of the Responses API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponsesStream {
    events: TranslatedEvents<ResponsesMachine>,
}

impl ResponsesStream {
    /// `most`: the bytes that it may hold.
    pub fn new(asked: &EchoedFields, most: usize) -> Self {
        let events = TranslatedEvents::new(ResponsesMachine::new(asked), most);
        Self { events }
    }

    /// A piece comes; the events that follow from it go to `out`.
    ///
    /// # Errors
    /// When the stream can't be read, or takes too much memory: it is over then, and `out` holds what came before.
    pub fn pass(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), UntranslatableAnswer> {
        let mut pieces = Pieces::default();
        let passed = self.pass_in_pieces(piece, &mut pieces);
        out.extend(pieces.into_text());
        passed
    }

    /// The same, without copying long texts.
    ///
    /// # Errors
    /// As [`Self::pass`].
    pub fn pass_in_pieces(
        &mut self,
        piece: &[u8],
        out: &mut Pieces,
    ) -> Result<(), UntranslatableAnswer> {
        self.events.pass(piece, out)
    }

    /// Whether the answer, or its error, is complete.
    pub fn is_over(&self) -> bool {
        self.events.machine.is_over()
    }

    /// The provider's stream has ended. Where only its end mark is missing, the answer is whole.
    ///
    /// # Errors
    /// When the answer is not: nothing may make it look complete.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), UntranslatableAnswer> {
        let mut pieces = Pieces::default();
        let end = self.end_in_pieces(&mut pieces);
        out.extend(pieces.into_text());
        end
    }

    /// The same, without copying long texts.
    ///
    /// # Errors
    /// As [`Self::end`].
    pub fn end_in_pieces(&mut self, out: &mut Pieces) -> Result<(), UntranslatableAnswer> {
        self.events.machine.end(out)
    }

    /// The answer ends with an error that the provider did not send: `message`, `type`, `param` and `code`.
    pub fn fails(&mut self, error: &Map<String, Value>, out: &mut Pieces) {
        self.events.machine.fails_with(error, out);
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

/// A stream of chat completions on its way to one whole response.
#[derive(Debug)]
pub struct ResponsesFold {
    events: TranslatedEvents<ResponsesMachine>,
}

impl ResponsesFold {
    /// `most`: the bytes that it may hold.
    pub fn new(asked: &EchoedFields, most: usize) -> Self {
        let events = TranslatedEvents::new(ResponsesMachine::quiet(asked), most);
        Self { events }
    }

    /// A piece comes.
    ///
    /// # Errors
    /// When the stream can't be read, or takes too much memory.
    pub fn pass(&mut self, piece: &[u8]) -> Result<(), UntranslatableAnswer> {
        self.events.pass(piece, &mut Pieces::default())
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
    pub fn end(mut self) -> Result<WholeTranslation, UntranslatableAnswer> {
        self.events.machine.end(&mut Pieces::default())?;
        self.events
            .machine
            .into_whole()
            .ok_or(UntranslatableAnswer::Cut)
    }
}

/// A whole response out of a whole chat completion.
///
/// # Errors
/// When it can't be read.
pub fn answer(body: &[u8], asked: &EchoedFields) -> Result<WholeTranslation, UntranslatableAnswer> {
    let mut machine = ResponsesMachine::quiet(asked);
    machine.whole(body, &mut Pieces::default())?;
    machine.into_whole().ok_or(UntranslatableAnswer::Malformed)
}

/// A stream of events out of a whole chat completion, for an app that asked for a stream. With an error inside of a 200,
/// that.
///
/// # Errors
/// When it can't be read.
pub fn stream_of(
    body: &[u8],
    asked: &EchoedFields,
) -> Result<WholeTranslation, UntranslatableAnswer> {
    if let failed @ WholeTranslation::Failed(_) = answer(body, asked)? {
        return Ok(failed);
    }
    let (mut machine, mut made) = (ResponsesMachine::new(asked), Pieces::default());
    machine.whole(body, &mut made)?;
    Ok(WholeTranslation::Answer(made.into_text()))
}
