//! Follows a JSON document while it passes, as far as needed to know the owner of a `usage` object. Pure; a piece is
//! never copied, except for a `usage` object that comes in several.

use memchr::memchr2;

use super::super::tokens::{ReportedTokens, TokenCounts};

/// A longer object is skipped.
pub(super) const LONGEST: usize = 64 * 1024;
/// The longest name that says something, `response`.
const LONGEST_NAME: usize = 8;

/// How far a document has passed.
#[derive(Debug, Clone)]
pub(in crate::usage) struct DocumentScan {
    origin: ScanOrigin,
    /// Brackets that are open; below zero where they were opened before this began.
    depth: i32,
    at: DocumentPosition,
    name: NamePrefix,
    /// The last name in the outermost object.
    parent: Parent,
    /// A `usage` object that comes in several pieces: the depth around it, and what came of it.
    object: Option<(i32, Vec<u8>)>,
    told: ReportedTokens,
}

/// Where it began to be followed.
#[derive(Debug, Clone, Copy)]
enum ScanOrigin {
    /// At its beginning.
    Start,
    /// After a `usage` of any depth. Its end shows its owner; this is the depth of the outermost so
    /// far.
    Middle(i32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DocumentPosition {
    Plain,
    Text,
    /// Behind a backslash.
    Escape,
    /// Behind a text, which is a name if a colon follows.
    Named,
    /// Behind the name `usage` and its colon.
    Value,
}

/// The beginning of a text, as far as it may be a name.
#[derive(Debug, Clone, Copy, Default)]
struct NamePrefix {
    bytes: [u8; LONGEST_NAME],
    /// More than there is room for says that it is longer.
    length: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parent {
    /// `message`, of a stream of Messages, or `response`, of one of Responses.
    Answer,
    Other,
}

impl Default for DocumentScan {
    fn default() -> Self {
        Self::new(ScanOrigin::Start, DocumentPosition::Plain)
    }
}

impl DocumentScan {
    /// Of which the name `usage` and its colon have just passed, at any depth.
    pub(super) fn behind_a_usage() -> Self {
        Self::new(ScanOrigin::Middle(0), DocumentPosition::Value)
    }

    fn new(origin: ScanOrigin, at: DocumentPosition) -> Self {
        Self {
            origin,
            depth: 0,
            at,
            name: NamePrefix::default(),
            parent: Parent::Other,
            object: None,
            told: ReportedTokens::default(),
        }
    }

    /// It has ended, and another begins. Its usage stays.
    pub(super) fn begins(&mut self) {
        let told = self.told;
        *self = Self {
            told,
            ..Self::default()
        };
    }

    /// Its own `usage`; `None` if there is none, or if the end that proves its owner is missing.
    pub(super) fn tokens(&self) -> Option<TokenCounts> {
        match self.origin {
            ScanOrigin::Middle(outermost) if outermost.saturating_sub(self.depth) != 1 => None,
            ScanOrigin::Middle(_) | ScanOrigin::Start => self.told.tokens(),
        }
    }

    /// A piece passes.
    pub(super) fn pass(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while !rest.is_empty() {
            let length = self.step(rest).clamp(1, rest.len());
            let (passed, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            self.keep(passed);
            rest = after;
        }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.object.as_ref().map_or(0, |(_, text)| text.capacity())
    }

    /// Goes a step; how many bytes it took.
    fn step(&mut self, rest: &[u8]) -> usize {
        match self.at {
            DocumentPosition::Plain => self.plain(rest),
            DocumentPosition::Text => self.text(rest),
            DocumentPosition::Escape => {
                self.at = DocumentPosition::Text;
                1
            }
            DocumentPosition::Named | DocumentPosition::Value => {
                let blanks = rest.iter().position(|byte| !byte.is_ascii_whitespace());
                match blanks {
                    None => rest.len(),
                    Some(0) => self.behind(rest),
                    Some(blanks) => blanks,
                }
            }
        }
    }

    fn plain(&mut self, rest: &[u8]) -> usize {
        for (at, byte) in rest.iter().enumerate() {
            match byte {
                b'"' => {
                    self.at = DocumentPosition::Text;
                    self.name.length = 0;
                    return at + 1;
                }
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.object.is_some() {
                        return at + 1;
                    }
                }
                _ => {}
            }
        }
        rest.len()
    }

    fn text(&mut self, rest: &[u8]) -> usize {
        let end = memchr2(b'"', b'\\', rest);
        let text = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        self.name.extend(text);
        let Some(end) = end else {
            return rest.len();
        };
        if rest.get(end) == Some(&b'"') {
            self.at = DocumentPosition::Named;
        } else {
            self.at = DocumentPosition::Escape;
            // None of the names has an escape.
            self.name.length = LONGEST_NAME + 1;
        }
        end + 1
    }

    /// After a text or after the colon of a `usage`.
    fn behind(&mut self, rest: &[u8]) -> usize {
        let wanted = if self.at == DocumentPosition::Named {
            b':'
        } else {
            b'{'
        };
        let was = std::mem::replace(&mut self.at, DocumentPosition::Plain);
        if rest.first() != Some(&wanted) {
            // It may be anything.
            return self.plain(rest);
        }
        if was == DocumentPosition::Named {
            if self.depth == 1 {
                self.parent = match self.name.get() {
                    b"message" | b"response" => Parent::Answer,
                    _ => Parent::Other,
                };
            }
            if self.object.is_none() && self.name.get() == b"usage" && self.is_its_own() {
                self.at = DocumentPosition::Value;
            }
            return 1;
        }
        if let ScanOrigin::Middle(outermost) = &mut self.origin {
            *outermost = self.depth;
            self.told = ReportedTokens::default();
        }
        // Most come in one piece.
        if let Some(length) = self.told.read(rest) {
            return length;
        }
        self.object = Some((self.depth, Vec::new()));
        self.depth = self.depth.saturating_add(1);
        1
    }

    /// Whether a `usage` here is the answer's, as far as is known.
    fn is_its_own(&self) -> bool {
        match (self.origin, self.depth) {
            (ScanOrigin::Start, depth) => {
                depth == 1 || (depth == 2 && self.parent == Parent::Answer)
            }
            (ScanOrigin::Middle(outermost), depth) => depth <= outermost,
        }
    }

    /// Keeps what is of a `usage` object that comes in several pieces, and reads it when it has ended.
    fn keep(&mut self, passed: &[u8]) {
        let Some((depth, text)) = &mut self.object else {
            return;
        };
        if text.len().saturating_add(passed.len()) > LONGEST {
            self.object = None;
            return;
        }
        text.extend_from_slice(passed);
        if self.depth == *depth {
            self.told.read(text);
            self.object = None;
        }
    }
}

impl NamePrefix {
    fn extend(&mut self, text: &[u8]) {
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        for (place, byte) in room.iter_mut().zip(text) {
            *place = *byte;
        }
        self.length = self.length.saturating_add(text.len());
    }

    /// Nothing where it is longer.
    fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}
