//! Turns the events of a response into those of a chat. An event is read only as far as needed; texts are copied as
//! they came, escapes included. An item that a provider does not stream is taken whole from its end.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::events::{Budget, EventMachine};
use super::super::json::{self, JsonItems, JsonMembers, inner, is_null, number, string};
use super::super::{LONGEST_NAME, MOST_CALLS, UntranslatableAnswer, error_of, usage};
use super::sink::{ChatHead, ChatSink, ChatToolCall, IndexedCall, TextKind};

/// Between what are separate texts on one wire and one text on the other.
const GAP: &[u8] = b"\\n\\n";

/// A response on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChatMachine<S> {
    sink: S,
    /// By their places in the output.
    items: BTreeMap<u64, OutputItem>,
    calls: usize,
    has_begun: bool,
    is_over: bool,
    /// Where the last piece of text, and of reasoning, came from.
    text: Option<PartPlace>,
    reasoning: Option<PartPlace>,
    budget: Budget,
}

/// The place of an item in the output, and of a part in the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PartPlace {
    item: u64,
    part: u64,
}

/// An item that has been heard of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OutputItem {
    call: Option<IndexedCall>,
    /// A part of it continues.
    is_told: bool,
    /// Its end came.
    is_done: bool,
    has_notes: bool,
}

/// The members of an event that count, as they came.
#[derive(Debug, Default)]
struct ResponseEvent<'e> {
    kind: &'e [u8],
    delta: &'e [u8],
    /// What a call says, whole.
    said: &'e [u8],
    place: u64,
    part: u64,
    item: &'e [u8],
    response: &'e [u8],
    annotation: &'e [u8],
    has_error: bool,
}

impl<S: ChatSink> ChatMachine<S> {
    pub(super) fn new(sink: S) -> Self {
        Self {
            sink,
            items: BTreeMap::new(),
            calls: 0,
            has_begun: false,
            is_over: false,
            text: None,
            reasoning: None,
            budget: Budget::of_event(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn into_sink(self) -> S {
        self.sink
    }

    /// A response that comes whole, without events.
    pub(super) fn whole(
        &mut self,
        response: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), UntranslatableAnswer> {
        // What is skipped may hold anything.
        serde_json::from_slice::<serde::de::IgnoredAny>(response)
            .map_err(|_| UntranslatableAnswer::Malformed)?;
        let (mut is_response, mut is_error) = (false, false);
        let mut members = JsonMembers::of(response)?;
        while let Some((member, value)) = members.next()? {
            match member {
                b"output" => is_response = value.starts_with(b"["),
                b"status" => is_response |= string(value) == Some(b"failed"),
                b"error" => is_error |= !is_null(value),
                b"type" => is_error |= string(value) == Some(b"error"),
                b"detail" | b"message" => is_error |= string(value).is_some(),
                _ => {}
            }
        }
        if is_response {
            return self.ends(response, out);
        }
        // Anything else is not an answer, and must not become an empty one.
        if !is_error {
            return Err(UntranslatableAnswer::Malformed);
        }
        self.fails(response, out);
        Ok(())
    }

    fn delta(
        &mut self,
        kind: TextKind,
        event: &ResponseEvent<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), UntranslatableAnswer> {
        let said = string(event.delta).ok_or(UntranslatableAnswer::Malformed)?;
        self.begin(&[], out)?;
        self.item(event.place).is_told = true;
        let from = PartPlace {
            item: event.place,
            part: event.part,
        };
        self.says(kind, from, said, out);
        Ok(())
    }

    fn says(&mut self, kind: TextKind, from: PartPlace, said: &[u8], out: &mut Vec<u8>) {
        if said.is_empty() {
            return;
        }
        let last = match kind {
            TextKind::Text => Some(self.text.replace(PartPlace { part: 0, ..from })),
            TextKind::Reasoning => Some(self.reasoning.replace(from)),
            TextKind::Refusal => None,
        };
        let is_next = last.flatten().is_some_and(|last| match kind {
            TextKind::Text => last.item != from.item,
            TextKind::Reasoning | TextKind::Refusal => last != from,
        });
        if is_next {
            self.sink.says(kind, GAP, out);
        }
        self.sink.says(kind, said, out);
    }

    fn arguments(
        &mut self,
        event: &ResponseEvent<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), UntranslatableAnswer> {
        let said = string(event.delta).ok_or(UntranslatableAnswer::Malformed)?;
        let item = self.item(event.place);
        // A call can't be announced before its item; its end has all of it.
        if let Some(call) = item.call {
            item.is_told = true;
            self.sink.arguments(call, said, out);
        }
        Ok(())
    }

    /// A call is complete: the rest of it is sent now.
    fn said(&mut self, event: &ResponseEvent<'_>, out: &mut Vec<u8>) {
        let item = self.item(event.place);
        let Some(call) = item.call else {
            return;
        };
        item.is_done = true;
        let said = string(event.said).unwrap_or_default();
        if !std::mem::replace(&mut item.is_told, true) && !said.is_empty() {
            self.sink.arguments(call, said, out);
        }
    }

    fn annotates(
        &mut self,
        place: u64,
        annotation: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), UntranslatableAnswer> {
        self.budget.takes()?;
        if let Some(note) = json::value(annotation).and_then(cited) {
            self.sink.annotates(&note, out);
        }
        self.item(place).has_notes = true;
        Ok(())
    }

    /// The item at a place.
    fn item(&mut self, place: u64) -> &mut OutputItem {
        self.items.entry(place).or_default()
    }

    /// An item begins: a call's name is sent at once.
    fn adds(
        &mut self,
        place: u64,
        item: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), UntranslatableAnswer> {
        self.begin(&[], out)?;
        let (mut kind, mut id, mut name) = (None, None, None);
        let mut members = JsonMembers::of(item)?;
        while let Some((member, value)) = members.next()? {
            match member {
                b"type" => kind = string(value),
                b"call_id" => id = string(value),
                b"name" => name = string(value),
                _ => {}
            }
        }
        let kind = match kind {
            Some(b"function_call") => ChatToolCall::Function,
            Some(b"custom_tool_call") => ChatToolCall::Custom,
            _ => return Ok(()),
        };
        if self.item(place).call.is_none() {
            // No app can answer a call that is for no tool.
            let name = name.filter(|name| !name.is_empty());
            let (Some(id), Some(name)) = (id, name) else {
                return Err(UntranslatableAnswer::Malformed);
            };
            let index = self.calls;
            if index == MOST_CALLS {
                return Err(UntranslatableAnswer::TooLarge);
            }
            self.calls += 1;
            let call = IndexedCall { index, kind };
            self.item(place).call = Some(call);
            self.sink.calls(call, id, name, out);
        }
        Ok(())
    }

    /// An item is done: the rest of it is sent now.
    fn is_done(
        &mut self,
        place: u64,
        item: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), UntranslatableAnswer> {
        self.adds(place, item, out)?;
        let done = self.item(place);
        let before = done.clone();
        done.is_done = true;
        done.is_told = true;
        if before.is_told && before.call.is_some() {
            return Ok(());
        }
        let mut members = JsonMembers::of(item)?;
        while let Some((member, value)) = members.next()? {
            match member {
                b"arguments" | b"input" => {
                    let said = string(value).unwrap_or_default();
                    if let Some(call) = before.call.filter(|_| !said.is_empty()) {
                        self.sink.arguments(call, said, out);
                    }
                }
                b"summary" | b"content" if value.starts_with(b"[") => {
                    let mut parts = JsonItems::of(value)?;
                    let mut number = 0;
                    while let Some(part) = parts.next()? {
                        self.budget.takes()?;
                        let from = PartPlace {
                            item: place,
                            part: number,
                        };
                        self.part(from, part, &before, out)?;
                        number += 1;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A part of an item that is done, with what was heard of the item `before`.
    fn part(
        &mut self,
        from: PartPlace,
        part: &[u8],
        before: &OutputItem,
        out: &mut Vec<u8>,
    ) -> Result<(), UntranslatableAnswer> {
        let (mut kind, mut said, mut notes) = (None, None, None);
        let mut members = JsonMembers::of(part)?;
        while let Some((member, value)) = members.next()? {
            match member {
                b"type" => kind = string(value),
                b"text" | b"refusal" => said = string(value),
                b"annotations" if value.starts_with(b"[") => notes = Some(value),
                _ => {}
            }
        }
        let kind = match kind {
            Some(b"output_text") => TextKind::Text,
            Some(b"refusal") => TextKind::Refusal,
            Some(b"summary_text" | b"reasoning_text") => TextKind::Reasoning,
            _ => return Ok(()),
        };
        if let Some(said) = said.filter(|_| !before.is_told) {
            self.says(kind, from, said, out);
        }
        if let Some(notes) = notes.filter(|_| !before.has_notes) {
            let mut notes = JsonItems::of(notes)?;
            while let Some(note) = notes.next()? {
                self.annotates(from.item, note, out)?;
            }
        }
        Ok(())
    }

    /// The answer begins, if it has not.
    fn begin(&mut self, response: &[u8], out: &mut Vec<u8>) -> Result<(), UntranslatableAnswer> {
        if std::mem::replace(&mut self.has_begun, true) {
            return Ok(());
        }
        let mut head = ChatHead::default();
        let short = |value| string(value).filter(|name| name.len() <= LONGEST_NAME);
        if !response.is_empty() {
            let mut members = JsonMembers::of(response)?;
            while let Some((member, value)) = members.next()? {
                match member {
                    b"id" => head.id = short(value),
                    b"model" => head.model = short(value),
                    b"service_tier" => head.tier = short(value),
                    b"created_at" => head.created = seconds(value),
                    _ => {}
                }
            }
        }
        self.sink.begins(&head, out);
        Ok(())
    }

    /// The response has ended.
    fn ends(&mut self, response: &[u8], out: &mut Vec<u8>) -> Result<(), UntranslatableAnswer> {
        self.begin(response, out)?;
        let (mut status, mut reason, mut used, mut output) = (None, None, None, None);
        let mut has_error = false;
        let mut members = JsonMembers::of(response)?;
        while let Some((member, value)) = members.next()? {
            match member {
                b"status" => status = string(value),
                b"incomplete_details" if !is_null(value) => reason = Some(value),
                b"usage" => used = json::value(value).filter(|used| !used.is_null()),
                b"output" if value.starts_with(b"[") => output = Some(value),
                b"error" => has_error = !is_null(value),
                _ => {}
            }
        }
        match status {
            Some(b"queued" | b"in_progress") if !has_error => {
                return Err(UntranslatableAnswer::Cut);
            }
            Some(b"failed" | b"cancelled") => has_error = true,
            _ => {}
        }
        if has_error {
            self.fails(response, out);
            return Ok(());
        }
        let mut items = output.map(JsonItems::of).transpose()?;
        let mut place = 0;
        while let Some(item) = items.as_mut().map(JsonItems::next).transpose()?.flatten() {
            self.budget.takes()?;
            self.is_done(place, item, out)?;
            place += 1;
        }
        let is_incomplete = reason.is_some() || status == Some(b"incomplete");
        // Half a call must not look complete.
        let mut items = self.items.values();
        if !is_incomplete && items.any(|item| item.call.is_some() && !item.is_done) {
            return Err(UntranslatableAnswer::Cut);
        }
        let reason = match reason.map(why).transpose()?.flatten() {
            Some(b"content_filter") => "content_filter",
            // Whatever else ended it, it is incomplete.
            _ if is_incomplete => "length",
            _ if self.calls > 0 => "tool_calls",
            _ => "stop",
        };
        self.is_over = true;
        self.sink
            .ends(reason, used.as_ref().map(usage::of_chat), out);
        Ok(())
    }

    fn fails(&mut self, event: &[u8], out: &mut Vec<u8>) {
        self.is_over = true;
        self.sink.fails(&error_of(event), out);
    }
}

impl<S: ChatSink> EventMachine for ChatMachine<S> {
    type Out = Vec<u8>;

    fn event(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), UntranslatableAnswer> {
        if self.is_over || data.trim_ascii() == b"[DONE]" {
            return Ok(());
        }
        self.budget = Budget::of_event();
        let event = ResponseEvent::read(data)?;
        match event.kind {
            b"response.output_text.delta" => self.delta(TextKind::Text, &event, out),
            b"response.function_call_arguments.delta"
            | b"response.custom_tool_call_input.delta" => self.arguments(&event, out),
            b"response.function_call_arguments.done" | b"response.custom_tool_call_input.done" => {
                self.said(&event, out);
                Ok(())
            }
            b"response.reasoning_summary_text.delta" | b"response.reasoning_text.delta" => {
                self.delta(TextKind::Reasoning, &event, out)
            }
            b"response.refusal.delta" => self.delta(TextKind::Refusal, &event, out),
            b"response.output_text.annotation.added" => {
                self.annotates(event.place, event.annotation, out)
            }
            b"response.created" | b"response.in_progress" | b"response.queued" => {
                self.begin(event.response, out)
            }
            b"response.output_item.added" => self.adds(event.place, event.item, out),
            b"response.output_item.done" => self.is_done(event.place, event.item, out),
            b"response.completed" | b"response.incomplete" => self.ends(event.response, out),
            b"response.failed" | b"error" => {
                self.fails(data, out);
                Ok(())
            }
            b"" if event.has_error => {
                self.fails(data, out);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn held(&self) -> usize {
        self.sink.held() + self.items.len() * size_of::<OutputItem>()
    }
}

impl<'e> ResponseEvent<'e> {
    fn read(data: &'e [u8]) -> Result<Self, UntranslatableAnswer> {
        let mut event = Self::default();
        let mut members = JsonMembers::of(data)?;
        while let Some((name, value)) = members.next()? {
            match name {
                b"type" => event.kind = inner(value).unwrap_or_default(),
                b"delta" => event.delta = value,
                b"arguments" | b"input" => event.said = value,
                b"output_index" => event.place = number(value).unwrap_or_default(),
                b"content_index" | b"summary_index" => {
                    event.part = number(value).unwrap_or_default();
                }
                b"item" => event.item = value,
                b"response" => event.response = value,
                b"annotation" => event.annotation = value,
                b"error" => event.has_error = !is_null(value),
                _ => {}
            }
        }
        Ok(event)
    }
}

/// A citation in the form of a chat; other notes have none there.
fn cited(mut note: Value) -> Option<String> {
    if note.as_object_mut()?.remove("type")? != "url_citation" {
        return None;
    }
    let note = serde_json::json!({"type": "url_citation", "url_citation": note});
    Some(note.to_string())
}

/// Why a response is incomplete.
fn why(details: &[u8]) -> Result<Option<&[u8]>, UntranslatableAnswer> {
    let mut members = JsonMembers::of(details)?;
    while let Some((name, value)) = members.next()? {
        if name == b"reason" {
            return Ok(string(value));
        }
    }
    Ok(None)
}

/// Seconds, of which some providers send fractions.
fn seconds(value: &[u8]) -> Option<u64> {
    let whole = value.split(|byte| *byte == b'.').next()?;
    number(whole)
}
