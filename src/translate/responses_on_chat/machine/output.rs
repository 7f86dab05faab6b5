//! The output of a response while it is written: the open item, its content so far, and their
//! events.

mod call_events;
mod calls;

use serde_json::{Map, Value};

pub(super) use self::calls::CallPiece;
use self::calls::Calls;
use super::super::super::json::escaped;
use super::super::super::{EchoedFields, LONGEST_NAME, Pieces};
use super::super::items::{self, MessagePart, ResponseHead, ResponseStatus, put, put_number};

/// The items, and the response around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResponseOutput {
    head: ResponseHead,
    /// Nothing is written until the end.
    pub(super) is_quiet: bool,
    sequence: u64,
    /// Each item that is done, at its place.
    items: Vec<Pieces>,
    open: Option<OpenItem>,
    calls: Calls,
    /// What the names of calls may begin with, as in JSON.
    namespaces: Vec<Vec<u8>>,
    held: usize,
}

/// An item that is open, and its part.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OpenItem {
    place: usize,
    id: Vec<u8>,
    /// `None` for what the model thinks.
    part: Option<MessagePart>,
    /// Parts that are done.
    parts: Vec<Pieces>,
    said: Vec<u8>,
    notes: Vec<String>,
    /// A delta between its number and its text.
    delta: Vec<u8>,
}

/// What an event says besides its type and number.
#[derive(Debug, Clone, Copy)]
struct EventBody<'b> {
    before: &'b [&'b [u8]],
    /// What may be long.
    long: &'b Pieces,
    behind: &'b [u8],
}

impl<'b> EventBody<'b> {
    /// One that ends with what may be long.
    fn ending(before: &'b [&'b [u8]], long: &'b Pieces) -> Self {
        let behind = b"";
        Self {
            before,
            long,
            behind,
        }
    }
}

/// What an answer is called until the provider has named it.
fn unnamed(asked: &EchoedFields) -> (Vec<u8>, Vec<u8>) {
    (b"resp_translated".to_vec(), escaped(&asked.model))
}

impl ResponseOutput {
    pub(super) fn new(asked: &EchoedFields) -> Self {
        let (id, model) = unnamed(asked);
        Self {
            head: ResponseHead {
                id,
                model,
                tier: None,
                created: asked.now,
            },
            is_quiet: false,
            sequence: 0,
            items: Vec::new(),
            open: None,
            calls: Calls::default(),
            namespaces: asked.namespaces.iter().map(|name| escaped(name)).collect(),
            held: 0,
        }
    }

    pub(super) fn named(&mut self, id: Option<&[u8]>) {
        if let Some(id) = id.filter(|id| is_name(id)) {
            self.head.id = id.to_vec();
        }
    }

    pub(super) fn of_model(&mut self, model: Option<&[u8]>) {
        if let Some(model) = model.filter(|model| is_name(model)) {
            self.head.model = model.to_vec();
        }
    }

    pub(super) fn of_tier(&mut self, tier: Option<&[u8]>) {
        let tier = tier.filter(|tier| tier.len() <= LONGEST_NAME);
        self.head.tier = tier.map(<[u8]>::to_vec);
    }

    pub(super) fn created(&mut self, created: Option<u64>) {
        self.head.created = created.unwrap_or(self.head.created);
    }

    /// The bytes that it holds.
    pub(super) fn held(&self) -> usize {
        self.held + self.head.id.len() + self.head.model.len()
    }

    pub(super) fn begins(&mut self, out: &mut Pieces) {
        if self.is_quiet {
            return;
        }
        let response = items::response(&self.head, ResponseStatus::InProgress, &[], None);
        for kind in ["response.created", "response.in_progress"] {
            self.event_with(
                kind,
                EventBody::ending(&[b",\"response\":"], &response),
                out,
            );
        }
    }

    /// An event of these pieces.
    fn event(&mut self, kind: &str, pieces: &[&[u8]], out: &mut Pieces) {
        if !self.is_quiet {
            self.begins_event(kind, pieces, out);
            out.put(&[b"}\n\n"]);
        }
    }

    /// An event with one piece that may be long.
    fn event_with(&mut self, kind: &str, body: EventBody<'_>, out: &mut Pieces) {
        if !self.is_quiet {
            self.begins_event(kind, body.before, out);
            out.add(body.long);
            out.put(&[body.behind, b"}\n\n"]);
        }
    }

    fn begins_event(&mut self, kind: &str, pieces: &[&[u8]], out: &mut Pieces) {
        let number = self.sequence;
        self.sequence += 1;
        let kind = kind.as_bytes();
        out.put(&[b"event: ", kind, b"\ndata: {\"type\":\"", kind]);
        out.put(&[b"\",\"sequence_number\":"]);
        put_number(out.text(), number);
        out.put(pieces);
    }

    /// A place for an item, and its id.
    fn place(&mut self, kind: &str) -> (usize, Vec<u8>) {
        let place = self.items.len();
        self.items.push(Pieces::default());
        let mut id = [kind.as_bytes(), b"_", &self.head.id].concat();
        put(&mut id, format_args!("_{place}"));
        self.held += size_of::<Pieces>() + 2 * id.len();
        (place, id)
    }

    /// An item begins or is done.
    fn item(&mut self, kind: &str, place: usize, item: &Pieces, out: &mut Pieces) {
        let at = format!(",\"output_index\":{place},\"item\":");
        self.event_with(kind, EventBody::ending(&[at.as_bytes()], item), out);
    }

    fn is_done(&mut self, place: usize, item: Pieces, out: &mut Pieces) {
        self.item("response.output_item.done", place, &item, out);
        self.held += item.length();
        if let Some(done) = self.items.get_mut(place) {
            *done = item;
        }
    }

    /// The model thinks.
    pub(super) fn thinks(&mut self, said: &[u8], out: &mut Pieces) {
        if self.open.as_ref().is_none_or(|open| open.part.is_some()) {
            self.shuts("completed", out);
            let (place, id) = self.place("rs");
            let item = items::reasoning(&id, None);
            self.item("response.output_item.added", place, &item, out);
            let mut delta = [b",\"item_id\":\"".as_slice(), &id].concat();
            put(
                &mut delta,
                format_args!("\",\"output_index\":{place},\"summary_index\":0"),
            );
            let part = items::summary(&Pieces::default());
            self.event_with(
                "response.reasoning_summary_part.added",
                EventBody::ending(&[&delta, b",\"part\":"], &part),
                out,
            );
            self.open = Some(OpenItem::new(place, id, None, delta));
        }
        self.goes_on("response.reasoning_summary_text.delta", said, out);
    }

    /// The model says something.
    pub(super) fn says(&mut self, part: MessagePart, said: &[u8], out: &mut Pieces) {
        let open = self.open.as_ref().and_then(|open| open.part);
        if open != Some(part) {
            self.opens(part, out);
        }
        let kind = match part {
            MessagePart::Text => "response.output_text.delta",
            MessagePart::Refusal => "response.refusal.delta",
        };
        self.goes_on(kind, said, out);
    }

    fn goes_on(&mut self, kind: &str, said: &[u8], out: &mut Pieces) {
        let Some(open) = &mut self.open else {
            return;
        };
        open.said.extend_from_slice(said);
        self.held += said.len();
        if self.is_quiet {
            return;
        }
        let delta = std::mem::take(&mut open.delta);
        let tail: &[u8] = if open.part == Some(MessagePart::Text) {
            b"\",\"logprobs\":[]"
        } else {
            b"\""
        };
        self.event(kind, &[&delta, b",\"delta\":\"", said, tail], out);
        if let Some(open) = &mut self.open {
            open.delta = delta;
        }
    }

    /// A part of a message begins, and its message, if none is open.
    fn opens(&mut self, part: MessagePart, out: &mut Pieces) {
        let is_message = self.open.as_ref().is_some_and(|open| open.part.is_some());
        let (place, id, parts) = if is_message {
            self.ends_part(out);
            let open = self.open.take();
            open.map_or_else(Default::default, |open| (open.place, open.id, open.parts))
        } else {
            self.shuts("completed", out);
            let (place, id) = self.place("msg");
            let item = items::message(&id, "in_progress", &[]);
            self.item("response.output_item.added", place, &item, out);
            (place, id, Vec::new())
        };
        let mut delta = [b",\"item_id\":\"".as_slice(), &id].concat();
        let number = parts.len();
        put(
            &mut delta,
            format_args!("\",\"output_index\":{place},\"content_index\":{number}"),
        );
        let json = part.json(&Pieces::default(), &[]);
        self.event_with(
            "response.content_part.added",
            EventBody::ending(&[&delta, b",\"part\":"], &json),
            out,
        );
        self.open = Some(OpenItem {
            parts,
            ..OpenItem::new(place, id, Some(part), delta)
        });
    }

    /// A citation, as JSON.
    pub(super) fn annotates(&mut self, note: String, out: &mut Pieces) {
        if self.open.as_ref().and_then(|open| open.part) != Some(MessagePart::Text) {
            self.opens(MessagePart::Text, out);
        }
        let Some(open) = &mut self.open else {
            return;
        };
        self.held += note.len() + size_of::<String>();
        let at = format!(
            ",\"annotation_index\":{},\"annotation\":{note}",
            open.notes.len()
        );
        open.notes.push(note);
        let delta = open.delta.clone();
        self.event(
            "response.output_text.annotation.added",
            &[&delta, at.as_bytes()],
            out,
        );
    }

    /// The open part is done.
    fn ends_part(&mut self, out: &mut Pieces) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        let Some(part) = open.part else {
            return;
        };
        let (kind, name) = part.names();
        let said = Pieces::of(std::mem::take(&mut open.said));
        let json = part.json(&said, &std::mem::take(&mut open.notes));
        let tail: &[u8] = if part == MessagePart::Text {
            b"\",\"logprobs\":[]"
        } else {
            b"\""
        };
        self.event_with(
            &format!("response.{kind}.done"),
            EventBody {
                before: &[&open.delta, b",\"", name.as_bytes(), b"\":\""],
                long: &said,
                behind: tail,
            },
            out,
        );
        self.event_with(
            "response.content_part.done",
            EventBody::ending(&[&open.delta, b",\"part\":"], &json),
            out,
        );
        self.held += json.length();
        self.held = self.held.saturating_sub(said.length());
        open.parts.push(json);
        self.open = Some(open);
    }

    /// The open item is done.
    fn shuts(&mut self, status: &str, out: &mut Pieces) {
        if self.open.as_ref().is_some_and(|open| open.part.is_some()) {
            self.ends_part(out);
        }
        let Some(open) = self.open.take() else {
            return;
        };
        let item = if open.part.is_some() {
            let item = items::message(&open.id, status, &open.parts);
            self.held = self
                .held
                .saturating_sub(open.parts.iter().map(Pieces::length).sum());
            item
        } else {
            let said = Pieces::of(open.said);
            let part = items::summary(&said);
            self.event_with(
                "response.reasoning_summary_text.done",
                EventBody {
                    before: &[&open.delta, b",\"text\":\""],
                    long: &said,
                    behind: b"\"",
                },
                out,
            );
            self.event_with(
                "response.reasoning_summary_part.done",
                EventBody::ending(&[&open.delta, b",\"part\":"], &part),
                out,
            );
            self.held = self.held.saturating_sub(said.length());
            items::reasoning(&open.id, Some(&said))
        };
        self.is_done(open.place, item, out);
    }

    /// An answer without anything is a message without words.
    pub(super) fn needs_message(&mut self, out: &mut Pieces) {
        if self.items.is_empty() {
            self.opens(MessagePart::Text, out);
        }
    }

    /// All that is open is done.
    pub(super) fn closes(&mut self, is_whole: bool, out: &mut Pieces) {
        let status = if is_whole { "completed" } else { "incomplete" };
        self.shuts(status, out);
        self.ends_calls(status, out);
    }

    /// The response ends; returns the response, if there are no events for that.
    pub(super) fn ends(
        &mut self,
        status: ResponseStatus<'_>,
        usage: Option<&Value>,
        out: &mut Pieces,
    ) -> Option<Pieces> {
        let response = items::response(&self.head, status, &self.items, usage);
        let kind = if status == ResponseStatus::Completed {
            "response.completed"
        } else {
            "response.incomplete"
        };
        self.event_with(
            kind,
            EventBody::ending(&[b",\"response\":"], &response),
            out,
        );
        self.is_quiet.then_some(response)
    }

    /// The response has failed: one event for SDKs, which raise it, and one for programs that know this wire.
    pub(super) fn fails(&mut self, error: &Map<String, Value>, has_begun: bool, out: &mut Pieces) {
        if !has_begun {
            self.begins(out);
        }
        let response = items::response(&self.head, ResponseStatus::Failed(error), &[], None);
        let find = |name: &str| error.get(name).cloned().unwrap_or_default();
        let told = format!(
            ",\"code\":{},\"message\":{},\"param\":{},\"error\":{}",
            find("code"),
            find("message"),
            find("param"),
            Value::Object(error.clone())
        );
        self.event("error", &[told.as_bytes()], out);
        self.event_with(
            "response.failed",
            EventBody::ending(&[b",\"response\":"], &response),
            out,
        );
    }
}

fn is_name(text: &[u8]) -> bool {
    (1..=LONGEST_NAME).contains(&text.len())
}

impl OpenItem {
    fn new(place: usize, id: Vec<u8>, part: Option<MessagePart>, delta: Vec<u8>) -> Self {
        Self {
            place,
            id,
            part,
            parts: Vec::new(),
            said: Vec::new(),
            notes: Vec::new(),
            delta,
        }
    }
}
