//! The events of a response's calls.

use super::super::super::items::CallItem;
use super::super::super::tools::OF;
use super::calls::{CallPiece, OpenCall};
use super::{EventBody, ResponseOutput};
use crate::translate::{MOST_CALLS, Pieces, UntranslatableAnswer};

impl ResponseOutput {
    /// A piece of a call, which begins when its name is known; returns the call's place among all.
    pub(in super::super) fn calls(
        &mut self,
        piece: &CallPiece<'_>,
        out: &mut Pieces,
    ) -> Result<usize, UntranslatableAnswer> {
        let at = match self.calls.of(piece) {
            Some(at) => at,
            None => self.hears_of(piece)?,
        };
        let (Some(call), Some(name)) = (self.calls.list.get(at), piece.name) else {
            return Ok(at);
        };
        if call.place.is_some() {
            return Ok(at);
        }
        self.shuts("completed", out);
        let (place, id) = self.place("fc");
        let Some(call) = self.calls.list.get_mut(at) else {
            return Ok(at);
        };
        call.place = Some(place);
        call.name = in_namespace(name, &self.namespaces);
        self.held += call.name.len();
        let (kind, text, _) = call.names();
        let item = CallItem {
            id: &id,
            kind,
            call_id: &call.id,
            name: &call.name,
            status: "in_progress",
            member: text,
            said: &Pieces::default(),
        };
        let item = item.json();
        let said = std::mem::take(&mut call.said);
        self.item("response.output_item.added", place, &item, out);
        if !said.is_empty() {
            self.held = self.held.saturating_sub(said.len());
            self.argues(at, &said, out);
        }
        Ok(at)
    }

    /// A new call.
    fn hears_of(&mut self, piece: &CallPiece<'_>) -> Result<usize, UntranslatableAnswer> {
        let at = self.calls.list.len();
        if at == MOST_CALLS {
            return Err(UntranslatableAnswer::TooLarge);
        }
        if let Some(index) = piece.index {
            self.calls.by_index.insert(index, at);
        }
        let unnamed = || {
            let number = format!("_{at}");
            [b"call_".as_slice(), &self.head.id, number.as_bytes()].concat()
        };
        let id = piece.id.map_or_else(unnamed, <[u8]>::to_vec);
        self.held += size_of::<OpenCall>() + id.len();
        self.calls.list.push(OpenCall {
            is_custom: piece.is_custom,
            place: None,
            id,
            name: Vec::new(),
            said: Vec::new(),
            is_done: false,
        });
        Ok(at)
    }

    /// Whether a call was heard of.
    pub(in super::super) fn has_calls(&self) -> bool {
        !self.calls.list.is_empty()
    }

    /// Whether a call was heard of and its name was not.
    pub(in super::super) fn has_nameless(&self) -> bool {
        self.calls.list.iter().any(|call| call.place.is_none())
    }

    /// The id of a call's item.
    fn id_of(&self, place: usize) -> Vec<u8> {
        [
            b"fc_".as_slice(),
            &self.head.id,
            format!("_{place}").as_bytes(),
        ]
        .concat()
    }

    /// A piece of what a call says.
    pub(in super::super) fn argues(&mut self, at: usize, said: &[u8], out: &mut Pieces) {
        let Some(call) = self.calls.list.get_mut(at).filter(|call| !call.is_done) else {
            return;
        };
        call.said.extend_from_slice(said);
        self.held += said.len();
        let (Some(place), (_, _, events)) = (call.place, call.names()) else {
            return;
        };
        if !self.is_quiet {
            let id = self.id_of(place);
            let at = format!("\",\"output_index\":{place},\"delta\":\"");
            let pieces = [b",\"item_id\":\"", &*id, at.as_bytes(), said, b"\""];
            self.event(&format!("response.{events}.delta"), &pieces, out);
        }
    }

    /// All calls are done.
    pub(super) fn ends_calls(&mut self, status: &str, out: &mut Pieces) {
        let mut calls = std::mem::take(&mut self.calls);
        for call in calls.list.iter_mut().filter(|call| !call.is_done) {
            let Some(place) = call.place else {
                continue;
            };
            call.is_done = true;
            let (kind, text, events) = call.names();
            let id = self.id_of(place);
            let at = format!("\",\"output_index\":{place},\"{text}\":\"");
            let said = Pieces::of(std::mem::take(&mut call.said));
            let pieces = [b",\"item_id\":\"", &*id, at.as_bytes()];
            let done = format!("response.{events}.done");
            let body = EventBody {
                before: &pieces,
                long: &said,
                behind: b"\"",
            };
            self.event_with(&done, body, out);
            let item = CallItem {
                id: &id,
                kind,
                call_id: &call.id,
                name: &call.name,
                status,
                member: text,
                said: &said,
            };
            let item = item.json();
            self.held = self.held.saturating_sub(said.length());
            self.is_done(place, item, out);
        }
        self.calls = calls;
    }
}

/// A call's name as its item has it; that of a tool in a namespace is followed by the namespace.
fn in_namespace(name: &[u8], namespaces: &[Vec<u8>]) -> Vec<u8> {
    let split = namespaces.iter().find_map(|namespace| {
        let own = name
            .strip_prefix(&**namespace)?
            .strip_prefix(OF.as_bytes())?;
        Some([own, b"\",\"namespace\":\"", namespace].concat())
    });
    split.unwrap_or_else(|| name.to_vec())
}
