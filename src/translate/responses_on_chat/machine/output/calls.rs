//! The calls of a response while they are written: which pieces are of the same one, and when it has a name.

use super::super::super::items;
use super::super::super::tools::OF;
use super::Output;

/// A call, which is open until the end: others may come between its pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    number: u64,
    is_custom: bool,
    /// Once its name is known.
    place: Option<usize>,
    id: Vec<u8>,
    name: Vec<u8>,
    said: Vec<u8>,
    is_done: bool,
}

impl Call {
    /// Its type, what its text is called, and the events of its text.
    fn names(&self) -> (&'static str, &'static str, &'static str) {
        if self.is_custom {
            ("custom_tool_call", "input", "custom_tool_call_input")
        } else {
            ("function_call", "arguments", "function_call_arguments")
        }
    }
}

impl Output {
    /// Which call a piece is of. `at`: its place in the list.
    pub(in super::super) fn number(
        &self,
        index: Option<u64>,
        at: u64,
        (id, name): (Option<&[u8]>, Option<&[u8]>),
    ) -> u64 {
        let next = || {
            self.calls
                .iter()
                .map(|call| call.number + 1)
                .max()
                .unwrap_or(0)
        };
        let Some(index) = index else {
            let last = self.calls.last().map_or(at, |call| call.number);
            // Without an index, an id begins a call.
            return if id.is_some() { next() } else { last };
        };
        let is_another = self.calls.iter().any(|call| {
            let differs = id.is_some_and(|id| *id != *call.id);
            call.number == index && differs && name.is_some()
        });
        if is_another { next() } else { index }
    }

    /// A call is heard of; it begins when its name is known.
    pub(in super::super) fn calls(
        &mut self,
        (number, is_custom): (u64, bool),
        (id, name): (Option<&[u8]>, Option<&[u8]>),
        out: &mut Vec<u8>,
    ) {
        if !self.calls.iter().any(|call| call.number == number) {
            let id = id.map_or_else(
                || {
                    [
                        b"call_".as_slice(),
                        &self.head.id,
                        format!("_{number}").as_bytes(),
                    ]
                    .concat()
                },
                <[u8]>::to_vec,
            );
            self.held += size_of::<Call>() + id.len();
            self.calls.push(Call {
                number,
                is_custom,
                place: None,
                id,
                name: Vec::new(),
                said: Vec::new(),
                is_done: false,
            });
        }
        let (Some(at), Some(name)) = (self.at(number), name) else {
            return;
        };
        if self.calls.get(at).is_none_or(|call| call.place.is_some()) {
            return;
        }
        self.shuts("completed", out);
        let (place, id) = self.place("fc");
        let Some(call) = self.calls.get_mut(at) else {
            return;
        };
        call.place = Some(place);
        let name = in_namespace(name, &self.namespaces);
        self.held += name.len();
        call.name.clone_from(&name);
        let (kind, text, _) = call.names();
        let item = items::call(&id, (kind, text), (&call.id, &name), ("in_progress", b""));
        let said = std::mem::take(&mut call.said);
        self.item("response.output_item.added", place, &item, out);
        if !said.is_empty() {
            self.held = self.held.saturating_sub(said.len());
            self.argues(number, &said, out);
        }
    }

    /// Whether a call was heard of.
    pub(in super::super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Whether a call was heard of and its name was not.
    pub(in super::super) fn has_nameless(&self) -> bool {
        self.calls.iter().any(|call| call.place.is_none())
    }

    fn at(&self, number: u64) -> Option<usize> {
        self.calls.iter().position(|call| call.number == number)
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
    pub(in super::super) fn argues(&mut self, number: u64, said: &[u8], out: &mut Vec<u8>) {
        let Some(call) = self.at(number).and_then(|at| self.calls.get_mut(at)) else {
            return;
        };
        if call.is_done {
            return;
        }
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
    pub(super) fn ends_calls(&mut self, status: &str, out: &mut Vec<u8>) {
        let mut calls = std::mem::take(&mut self.calls);
        for call in calls.iter_mut().filter(|call| !call.is_done) {
            let Some(place) = call.place else {
                continue;
            };
            call.is_done = true;
            let (kind, text, events) = call.names();
            let id = self.id_of(place);
            let at = format!("\",\"output_index\":{place},\"{text}\":\"");
            let pieces = [b",\"item_id\":\"", &*id, at.as_bytes(), &call.said, b"\""];
            self.event(&format!("response.{events}.done"), &pieces, out);
            let of = (&*call.id, &*call.name);
            let item = items::call(&id, (kind, text), of, (status, &call.said));
            self.held = self.held.saturating_sub(call.said.len());
            call.said = Vec::new();
            self.is_done(place, item, out);
        }
        self.calls = calls;
    }
}

/// A call's name as it stands in its item; that of a tool in a namespace has the namespace behind it.
fn in_namespace(name: &[u8], namespaces: &[Vec<u8>]) -> Vec<u8> {
    let split = namespaces.iter().find_map(|namespace| {
        let own = name
            .strip_prefix(&**namespace)?
            .strip_prefix(OF.as_bytes())?;
        Some([own, b"\",\"namespace\":\"", namespace].concat())
    });
    split.unwrap_or_else(|| name.to_vec())
}
