//! Whether an event stream has its end mark, and whether it lacks one. A tap, with constant memory.

use super::finish_reasons::Choices;
use crate::sse::Tap;

/// What OpenAI's streams end with.
const DONE: &[u8] = b"[DONE]";
/// This much of a line's data shows whether it is the end mark: a space may precede it.
const HEAD: usize = DONE.len() + 1;

/// What is known of a stream's end.
#[derive(Debug, Clone)]
pub(super) struct StreamEnding {
    /// The start of the present line's data.
    head: [u8; HEAD],
    head_len: usize,
    done: bool,
    /// Unless the completeness of the stream does not matter.
    choices: Option<Choices>,
}

impl StreamEnding {
    /// A stream at its start. `looks`: whether to look for its end.
    pub(super) fn new(looks: bool) -> Self {
        Self {
            head: [0; HEAD],
            head_len: 0,
            done: false,
            choices: looks.then(Choices::default),
        }
    }

    /// The end mark has passed.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// All choices that began have finished, and the end mark has not passed.
    pub(super) fn lacks_mark(&self) -> bool {
        !self.done && self.choices.as_ref().is_some_and(Choices::are_finished)
    }
}

impl Tap for StreamEnding {
    fn data(&mut self, piece: &[u8]) {
        let room = self.head.get_mut(self.head_len..).unwrap_or_default();
        for (place, byte) in room.iter_mut().zip(piece) {
            *place = *byte;
            self.head_len += 1;
        }
        if let Some(choices) = &mut self.choices {
            choices.pass(piece);
        }
    }

    fn end_data(&mut self) {
        let head = self.head.get(..self.head_len).unwrap_or_default();
        let head = head.strip_prefix(b" ").unwrap_or(head);
        self.done |= head.starts_with(DONE);
        self.head_len = 0;
    }

    fn end_event(&mut self) {
        if let Some(choices) = &mut self.choices {
            choices.end_event();
        }
    }
}
