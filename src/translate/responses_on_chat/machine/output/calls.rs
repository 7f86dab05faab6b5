//! The calls of a response while they are written: which pieces belong to one call, and when it has
//! a name.

use std::collections::BTreeMap;

/// A piece of a call, as far as it says of which one it is. Texts are as between the quotes of a JSON string.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct CallPiece<'p> {
    pub(in super::super) index: Option<u64>,
    pub(in super::super) is_custom: bool,
    pub(in super::super) id: Option<&'p [u8]>,
    pub(in super::super) name: Option<&'p [u8]>,
}

/// All calls, in the order in which they were heard of.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Calls {
    pub(super) list: Vec<OpenCall>,
    /// Where the last one is of each index that the provider has given.
    pub(super) by_index: BTreeMap<u64, usize>,
}

/// A call, which is open until the end: others may come between its pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenCall {
    pub(super) is_custom: bool,
    /// Once its name is known.
    pub(super) place: Option<usize>,
    pub(super) id: Vec<u8>,
    pub(super) name: Vec<u8>,
    pub(super) said: Vec<u8>,
    pub(super) is_done: bool,
}

impl OpenCall {
    /// Its type, what its text is called, and the events of its text.
    pub(super) fn names(&self) -> (&'static str, &'static str, &'static str) {
        if self.is_custom {
            ("custom_tool_call", "input", "custom_tool_call_input")
        } else {
            ("function_call", "arguments", "function_call_arguments")
        }
    }
}

impl Calls {
    /// Which known call a piece is of.
    pub(super) fn of(&self, piece: &CallPiece<'_>) -> Option<usize> {
        let known = match piece.index {
            Some(index) => *self.by_index.get(&index)?,
            None => self.list.len().checked_sub(1)?,
        };
        let call = self.list.get(known)?;
        let is_another = match (piece.index, piece.id, piece.name) {
            // Some providers have one index for all.
            (Some(_), Some(id), Some(_)) => *id != *call.id,
            // Without an index, an id begins a call, unless each piece has it.
            (None, Some(id), name) => name.is_some() || *id != *call.id,
            (_, None, _) | (Some(_), _, None) => false,
        };
        (!is_another).then_some(known)
    }
}
