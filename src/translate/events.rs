//! The events of a stream, each complete, and the memory limit of a call.

use super::UntranslatableAnswer;
use crate::sse::{Tap, Tokenizer};

/// An event's buffer that grew beyond this is given back.
const KEPT: usize = 64 * 1024;

/// The most that one event may contain, since each part of it becomes a separate event: choices,
/// calls, items, parts and notes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Budget(usize);

impl Budget {
    pub(super) fn of_event() -> Self {
        Self(16 * 1024)
    }

    /// One more.
    pub(super) fn takes(&mut self) -> Result<(), UntranslatableAnswer> {
        self.0 = self
            .0
            .checked_sub(1)
            .ok_or(UntranslatableAnswer::TooLarge)?;
        Ok(())
    }
}

/// What reads events and writes others.
pub(super) trait EventMachine {
    /// What it writes to.
    type Out;
    /// An event's data, its lines joined.
    fn event(&mut self, data: &[u8], out: &mut Self::Out) -> Result<(), UntranslatableAnswer>;
    /// The bytes that it holds.
    fn held(&self) -> usize;
}

/// An event stream on its way through a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TranslatedEvents<M> {
    lines: Tokenizer,
    data: Vec<u8>,
    most: usize,
    failure: Option<UntranslatableAnswer>,
    pub(super) machine: M,
}

/// The stream's ear for one piece.
struct Ear<'e, M: EventMachine> {
    data: &'e mut Vec<u8>,
    most: usize,
    failure: &'e mut Option<UntranslatableAnswer>,
    machine: &'e mut M,
    out: &'e mut M::Out,
}

impl<M: EventMachine> TranslatedEvents<M> {
    /// `most`: the bytes that the call may hold.
    pub(super) fn new(machine: M, most: usize) -> Self {
        Self {
            lines: Tokenizer::default(),
            data: Vec::new(),
            most,
            failure: None,
            machine,
        }
    }

    /// A piece comes; what can be said of it goes to `out`.
    pub(super) fn pass(
        &mut self,
        piece: &[u8],
        out: &mut M::Out,
    ) -> Result<(), UntranslatableAnswer> {
        let mut ear = Ear {
            data: &mut self.data,
            most: self.most,
            failure: &mut self.failure,
            machine: &mut self.machine,
            out,
        };
        if ear.failure.is_none() {
            self.lines.pass(piece, &mut ear);
        }
        self.failure.map_or(Ok(()), Err)
    }

    /// The bytes that it holds.
    pub(super) fn held(&self) -> usize {
        self.data.len() + self.machine.held()
    }

    /// Those of an event that is not whole yet.
    pub(super) fn pending(&self) -> usize {
        self.data.len()
    }
}

impl<M: EventMachine> Tap for Ear<'_, M> {
    fn data(&mut self, piece: &[u8]) {
        if self.failure.is_some() {
            return;
        }
        if self.data.len() + piece.len() + self.machine.held() > self.most {
            *self.failure = Some(UntranslatableAnswer::TooLarge);
        } else {
            self.data.extend_from_slice(piece);
        }
    }

    fn end_data(&mut self) {
        if self.failure.is_none() {
            self.data.push(b'\n');
        }
    }

    fn end_event(&mut self) {
        if self.failure.is_some() || self.data.is_empty() {
            return;
        }
        let event = self.machine.event(self.data, self.out);
        let held = self.machine.held();
        *self.failure = event
            .err()
            .or((held > self.most).then_some(UntranslatableAnswer::TooLarge));
        self.data.clear();
        self.data.shrink_to(KEPT);
    }
}
