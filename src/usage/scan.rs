//! Finds the `usage` of an answer while it passes: its name is searched for at the speed of memory, and only there its
//! owner is read. Pure; a piece is never copied, except for an object that comes in several.
//!
//! An object of that name anywhere else, such as in a tool's arguments, is not the answer's own and does not count.
//! In a string, each of the name's quotes has a backslash before it, so it is not found there.

mod document;

use std::sync::LazyLock;

use memchr::memmem::Finder;
use memchr::{memchr, memrchr};

use self::document::DocumentScan;
use super::tokens::TokenCounts;
use crate::sse::{StreamPosition, Tap, Tokenizer};

const NAME: &[u8] = b"\"usage\"";

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(NAME));

/// What an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerFormat {
    /// One JSON document, whose outermost object has the `usage`.
    Whole,
    /// An event stream. In each event, the outermost object has the `usage`, or the `message` or `response` in it.
    Events,
}

/// How far an answer has been looked through.
#[derive(Debug, Clone)]
pub(super) enum Scan {
    Whole(WholeScan),
    Events(EventScan),
}

/// How far a whole answer has been read. Most have their `usage` at the end: there is little to read
/// after it, and its end shows its owner.
#[derive(Debug, Clone)]
pub(super) enum WholeScan {
    /// The name is being searched for; this much of it came at the end of the previous piece.
    Name(usize),
    /// Behind the name.
    Colon,
    /// Behind the colon.
    Value,
    /// Behind a `usage`.
    Rest(DocumentScan),
}

/// How far an event stream has been looked through. Events that come whole are read only where the name is in them.
#[derive(Debug, Clone, Default)]
pub(super) struct EventScan {
    lines: Tokenizer,
    /// What its events tell.
    event: DocumentScan,
}

impl AnswerFormat {
    /// What a `Content-Type` says; `None` for all that has no `usage` of its own, such as a file.
    pub(super) fn of(kind: &[u8]) -> Option<Self> {
        // As most have it.
        if kind == b"application/json" {
            return Some(Self::Whole);
        }
        let end = kind.iter().position(|byte| matches!(byte, b';' | b','));
        let kind = kind.get(..end.unwrap_or(kind.len()))?.trim_ascii();
        let ends_with = |ending: &[u8]| {
            let at = kind.len().checked_sub(ending.len());
            at.and_then(|at| kind.get(at..))
                .is_some_and(|end| end.eq_ignore_ascii_case(ending))
        };
        if kind.eq_ignore_ascii_case(b"text/event-stream") {
            Some(Self::Events)
        } else if kind.eq_ignore_ascii_case(b"application/json") || ends_with(b"+json") {
            Some(Self::Whole)
        } else {
            None
        }
    }
}

impl Scan {
    pub(super) fn new(form: AnswerFormat) -> Self {
        match form {
            AnswerFormat::Whole => Self::Whole(WholeScan::Name(0)),
            AnswerFormat::Events => Self::Events(EventScan::default()),
        }
    }

    /// A piece passes.
    pub(super) fn pass(&mut self, piece: &[u8]) {
        match self {
            Self::Whole(whole) => whole.pass(piece),
            Self::Events(events) => events.pass(piece),
        }
    }

    /// The usage in the answer; `None` without one.
    pub(super) fn tokens(&self) -> Option<TokenCounts> {
        match self {
            Self::Whole(WholeScan::Rest(document)) => document.tokens(),
            Self::Whole(_) => None,
            Self::Events(events) => events.event.tokens(),
        }
    }
}

#[cfg(test)]
impl Scan {
    /// Bytes that are held of what has passed.
    fn held(&self) -> usize {
        match self {
            Self::Whole(WholeScan::Rest(document)) => document.held(),
            Self::Whole(_) => 0,
            Self::Events(events) => events.event.held(),
        }
    }
}

impl WholeScan {
    fn pass(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while !rest.is_empty() {
            rest = self.step(rest);
        }
    }

    /// Reads the beginning of `rest`; returns the remainder.
    fn step<'r>(&mut self, rest: &'r [u8]) -> &'r [u8] {
        match self {
            Self::Name(matched) => {
                let behind = find(matched, rest);
                if behind.is_some() {
                    *self = Self::Colon;
                }
                rest.get(behind.unwrap_or(rest.len())..).unwrap_or_default()
            }
            Self::Colon => self.after_blanks(rest, b':'),
            Self::Value => self.after_blanks(rest, b'{'),
            Self::Rest(document) => {
                document.pass(rest);
                &[]
            }
        }
    }

    /// Continues after blanks if this byte follows, and otherwise searches for the name again. The bracket of an
    /// object stays, since it belongs to it.
    fn after_blanks<'r>(&mut self, rest: &'r [u8], wanted: u8) -> &'r [u8] {
        let Some(at) = rest.iter().position(|byte| !byte.is_ascii_whitespace()) else {
            return &[];
        };
        let is_there = rest.get(at) == Some(&wanted);
        let is_colon = is_there && wanted == b':';
        *self = if is_colon {
            Self::Value
        } else if is_there {
            Self::Rest(DocumentScan::behind_a_usage())
        } else {
            Self::Name(0)
        };
        rest.get(at + usize::from(is_colon)..).unwrap_or_default()
    }
}

impl EventScan {
    fn pass(&mut self, piece: &[u8]) {
        let mut rest = piece;
        if self.lines.at() != StreamPosition::Between {
            rest = self.read(rest);
        }
        // No part of the name is at the end of an event.
        while let Some(at) = FINDER.find(rest) {
            let start = event_start(rest.get(..at).unwrap_or_default());
            rest = self.read(rest.get(start..).unwrap_or_default());
        }
        let start = event_start(rest);
        if start < rest.len() {
            self.lines
                .pass(rest.get(start..).unwrap_or_default(), &mut self.event);
        }
    }

    /// Reads to the end of the event that `rest` begins with or in; what is left.
    fn read<'r>(&mut self, rest: &'r [u8]) -> &'r [u8] {
        let mut rest = rest;
        while let Some(end) = memchr(b'\n', rest) {
            let (line, after) = rest.split_at_checked(end + 1).unwrap_or((rest, &[]));
            self.lines.pass(line, &mut self.event);
            rest = after;
            if self.lines.at() == StreamPosition::Between {
                return rest;
            }
        }
        self.lines.pass(rest, &mut self.event);
        &[]
    }
}

impl Tap for DocumentScan {
    fn data(&mut self, piece: &[u8]) {
        self.pass(piece);
    }

    fn end_data(&mut self) {}

    fn end_event(&mut self) {
        self.begins();
    }
}

/// The position after the last empty line of a text that begins between two events: there the last
/// event begins.
fn event_start(text: &[u8]) -> usize {
    let mut rest = text;
    // Most pieces end with an event.
    if text.ends_with(b"\n\n") {
        return text.len();
    }
    while let Some(at) = memrchr(b'\n', rest) {
        rest = rest.get(..at).unwrap_or_default();
        if matches!(rest, [] | [b'\r'] | [.., b'\n'] | [.., b'\n', b'\r']) {
            return at + 1;
        }
    }
    0
}

/// The position in `piece` after the first name, of which this much came before; without one, how much of a name the
/// piece ends with. No part of the name has the same beginning as the whole, so an unfinished one is over.
fn find(matched: &mut usize, piece: &[u8]) -> Option<usize> {
    let begun = std::mem::take(matched);
    if begun > 0 {
        let left = NAME.get(begun..).unwrap_or_default();
        if piece.starts_with(left) {
            return Some(left.len());
        }
        if left.starts_with(piece) {
            *matched = begun + piece.len();
            return None;
        }
    }
    if let Some(at) = FINDER.find(piece) {
        return Some(at + NAME.len());
    }
    let most = piece.len().min(NAME.len() - 1);
    let end = piece.get(piece.len() - most..).unwrap_or_default();
    let quote = end.iter().rposition(|byte| *byte == b'"');
    let start = quote.and_then(|quote| end.get(quote..)).unwrap_or_default();
    if NAME.starts_with(start) {
        *matched = start.len();
    }
    None
}

#[cfg(test)]
mod tests;
