//! The output for a chat: chunks of a stream, or one message.

use std::io::Write as _;

use serde_json::{Map, Value};

use super::super::json::escaped;
use super::super::{EchoedFields, WholeTranslation};

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextKind {
    Text,
    Refusal,
    Reasoning,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChatToolCall {
    Function,
    Custom,
}

/// A call, and its number among the answer's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexedCall {
    pub(super) index: usize,
    pub(super) kind: ChatToolCall,
}

/// What is known of an answer at its beginning; texts are as between the quotes of a JSON string, here and below.
#[derive(Debug, Default)]
pub(super) struct ChatHead<'h> {
    pub(super) id: Option<&'h [u8]>,
    pub(super) model: Option<&'h [u8]>,
    pub(super) tier: Option<&'h [u8]>,
    pub(super) created: Option<u64>,
}

/// What takes an answer.
pub(super) trait ChatSink {
    fn begins(&mut self, head: &ChatHead<'_>, out: &mut Vec<u8>);
    fn says(&mut self, kind: TextKind, text: &[u8], out: &mut Vec<u8>);
    /// A call begins.
    fn calls(&mut self, call: IndexedCall, id: &[u8], name: &[u8], out: &mut Vec<u8>);
    fn arguments(&mut self, call: IndexedCall, text: &[u8], out: &mut Vec<u8>);
    /// A citation, as JSON.
    fn annotates(&mut self, note: &str, out: &mut Vec<u8>);
    fn ends(&mut self, reason: &str, usage: Option<Value>, out: &mut Vec<u8>);
    fn fails(&mut self, error: &Map<String, Value>, out: &mut Vec<u8>);
    /// The bytes that it holds.
    fn held(&self) -> usize;
}

/// An answer's own members, up to its choices.
fn head_of(head: &ChatHead<'_>, asked: &EchoedFields, object: &str) -> Vec<u8> {
    let model = escaped(&asked.model);
    let mut text = Vec::with_capacity(192);
    text.extend_from_slice(b"{\"id\":\"");
    text.extend_from_slice(head.id.unwrap_or(b"chatcmpl-translated"));
    let created = head.created.unwrap_or(asked.now);
    put(
        &mut text,
        format_args!("\",\"object\":\"{object}\",\"created\":{created},\"model\":\""),
    );
    text.extend_from_slice(head.model.unwrap_or(&model));
    text.push(b'"');
    if let Some(tier) = head.tier {
        text.extend_from_slice(b",\"service_tier\":\"");
        text.extend_from_slice(tier);
        text.push(b'"');
    }
    text
}

/// Writing to memory does not fail.
fn put(text: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).ok();
}

impl ChatToolCall {
    /// Its kind, and what its text is called.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Function => ("function", "arguments"),
            Self::Custom => ("custom", "input"),
        }
    }
}

/// Chunks of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunks {
    asked: EchoedFields,
    /// What each chunk begins with, up to its delta.
    head: Vec<u8>,
    notes: usize,
}

impl Chunks {
    pub(super) fn new(asked: &EchoedFields) -> Self {
        Self {
            asked: asked.clone(),
            head: Vec::new(),
            notes: 0,
        }
    }

    fn end_chunk(&self, reason: Option<&str>, out: &mut Vec<u8>) {
        match reason {
            None => out.extend_from_slice(b",\"finish_reason\":null}]"),
            Some(reason) => put(out, format_args!(",\"finish_reason\":\"{reason}\"}}]")),
        }
        let tail: &[u8] = if self.asked.includes_usage {
            b",\"usage\":null}\n\n"
        } else {
            b"}\n\n"
        };
        out.extend_from_slice(tail);
    }

    /// A chunk whose delta is in these pieces.
    fn chunk(&self, pieces: [&[u8]; 3], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        for piece in pieces {
            out.extend_from_slice(piece);
        }
        self.end_chunk(None, out);
    }
}

impl ChatSink for Chunks {
    fn begins(&mut self, head: &ChatHead<'_>, out: &mut Vec<u8>) {
        let own = head_of(head, &self.asked, "chat.completion.chunk");
        self.head = [
            b"data: ".as_slice(),
            &own,
            b",\"choices\":[{\"index\":0,\"delta\":",
        ]
        .concat();
        self.chunk(
            [b"{\"role\":\"assistant\",\"content\":\"\"}", b"", b""],
            out,
        );
    }

    fn says(&mut self, kind: TextKind, text: &[u8], out: &mut Vec<u8>) {
        let open: &[u8] = match kind {
            TextKind::Text => b"{\"content\":\"",
            TextKind::Refusal => b"{\"refusal\":\"",
            TextKind::Reasoning => b"{\"reasoning_content\":\"",
        };
        self.chunk([open, text, b"\"}"], out);
    }

    fn calls(&mut self, call: IndexedCall, id: &[u8], name: &[u8], out: &mut Vec<u8>) {
        let (index, (kind, text)) = (call.index, call.kind.names());
        let mut delta = Vec::with_capacity(128);
        put(
            &mut delta,
            format_args!("{{\"tool_calls\":[{{\"index\":{index},\"id\":\""),
        );
        delta.extend_from_slice(id);
        put(
            &mut delta,
            format_args!("\",\"type\":\"{kind}\",\"{kind}\":{{\"name\":\""),
        );
        delta.extend_from_slice(name);
        put(&mut delta, format_args!("\",\"{text}\":\"\"}}}}]}}"));
        self.chunk([&delta, b"", b""], out);
    }

    fn arguments(&mut self, call: IndexedCall, text: &[u8], out: &mut Vec<u8>) {
        let (index, (kind, name)) = (call.index, call.kind.names());
        out.extend_from_slice(&self.head);
        put(
            out,
            format_args!("{{\"tool_calls\":[{{\"index\":{index},\"{kind}\":{{\"{name}\":\""),
        );
        out.extend_from_slice(text);
        out.extend_from_slice(b"\"}}]}");
        self.end_chunk(None, out);
    }

    fn annotates(&mut self, note: &str, out: &mut Vec<u8>) {
        // OpenAI's Python SDK puts a list together by the places of its items.
        let open = format!("{{\"annotations\":[{{\"index\":{},", self.notes);
        self.notes += 1;
        let members = note.strip_prefix('{').unwrap_or(note);
        self.chunk([open.as_bytes(), members.as_bytes(), b"]}"], out);
    }

    fn ends(&mut self, reason: &str, usage: Option<Value>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"{}");
        self.end_chunk(Some(reason), out);
        if let Some(usage) = usage.filter(|_| self.asked.includes_usage) {
            const DELTA: &[u8] = b"{\"index\":0,\"delta\":";
            out.extend_from_slice(self.head.strip_suffix(DELTA).unwrap_or_default());
            put(out, format_args!("],\"usage\":{usage}}}\n\n"));
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn fails(&mut self, error: &Map<String, Value>, out: &mut Vec<u8>) {
        let error = Value::Object(error.clone());
        put(out, format_args!("data: {{\"error\":{error}}}\n\n"));
    }

    fn held(&self) -> usize {
        self.head.len()
    }
}

#[derive(Debug)]
pub(super) struct ChatMessage {
    asked: EchoedFields,
    head: Vec<u8>,
    text: Option<Vec<u8>>,
    refusal: Option<Vec<u8>>,
    reasoning: Option<Vec<u8>>,
    /// Each call up to its text, and its text.
    calls: Vec<(Vec<u8>, Vec<u8>)>,
    notes: Vec<String>,
    held: usize,
    whole: Option<WholeTranslation>,
}

impl ChatMessage {
    pub(super) fn new(asked: &EchoedFields) -> Self {
        Self {
            asked: asked.clone(),
            head: Vec::new(),
            text: None,
            refusal: None,
            reasoning: None,
            calls: Vec::new(),
            notes: Vec::new(),
            held: 0,
            whole: None,
        }
    }

    /// What it came to; `None` before its end.
    pub(super) fn whole(self) -> Option<WholeTranslation> {
        self.whole
    }
}

/// A member that is a text, or null.
fn put_text(out: &mut Vec<u8>, name: &str, text: Option<&[u8]>) {
    match text {
        None => put(out, format_args!(",\"{name}\":null")),
        Some(text) => {
            put(out, format_args!(",\"{name}\":\""));
            out.extend_from_slice(text);
            out.push(b'"');
        }
    }
}

impl ChatSink for ChatMessage {
    fn begins(&mut self, head: &ChatHead<'_>, _: &mut Vec<u8>) {
        self.head = head_of(head, &self.asked, "chat.completion");
    }

    fn says(&mut self, kind: TextKind, text: &[u8], _: &mut Vec<u8>) {
        let place = match kind {
            TextKind::Text => &mut self.text,
            TextKind::Refusal => &mut self.refusal,
            TextKind::Reasoning => &mut self.reasoning,
        };
        place.get_or_insert_default().extend_from_slice(text);
        self.held += text.len();
    }

    fn calls(&mut self, call: IndexedCall, id: &[u8], name: &[u8], _: &mut Vec<u8>) {
        let (kind, text) = call.kind.names();
        let mut open = b"{\"id\":\"".to_vec();
        open.extend_from_slice(id);
        put(
            &mut open,
            format_args!("\",\"type\":\"{kind}\",\"{kind}\":{{\"name\":\""),
        );
        open.extend_from_slice(name);
        put(&mut open, format_args!("\",\"{text}\":\""));
        self.held += open.len() + size_of::<(Vec<u8>, Vec<u8>)>();
        self.calls.push((open, Vec::new()));
    }

    fn arguments(&mut self, call: IndexedCall, text: &[u8], _: &mut Vec<u8>) {
        if let Some((_, said)) = self.calls.get_mut(call.index) {
            said.extend_from_slice(text);
            self.held += text.len();
        }
    }

    fn annotates(&mut self, note: &str, _: &mut Vec<u8>) {
        self.held += note.len() + size_of::<String>();
        self.notes.push(note.to_owned());
    }

    fn ends(&mut self, reason: &str, usage: Option<Value>, _: &mut Vec<u8>) {
        let mut made = std::mem::take(&mut self.head);
        made.extend_from_slice(b",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\"");
        let has_words = self.text.is_some() || self.refusal.is_some() || !self.calls.is_empty();
        let nothing: Option<&[u8]> = if has_words { None } else { Some(b"") };
        put_text(&mut made, "content", self.text.as_deref().or(nothing));
        put_text(&mut made, "refusal", self.refusal.as_deref());
        if let Some(reasoning) = &self.reasoning {
            put_text(&mut made, "reasoning_content", Some(reasoning));
        }
        if !self.notes.is_empty() {
            let notes = self.notes.join(",");
            put(&mut made, format_args!(",\"annotations\":[{notes}]"));
        }
        for (number, (open, said)) in self.calls.iter().enumerate() {
            let before: &[u8] = if number == 0 {
                b",\"tool_calls\":["
            } else {
                b","
            };
            made.extend_from_slice(before);
            made.extend_from_slice(open);
            made.extend_from_slice(said);
            made.extend_from_slice(b"\"}}");
        }
        if !self.calls.is_empty() {
            made.push(b']');
        }
        put(
            &mut made,
            format_args!("}},\"logprobs\":null,\"finish_reason\":\"{reason}\"}}]"),
        );
        if let Some(usage) = usage {
            put(&mut made, format_args!(",\"usage\":{usage}"));
        }
        made.push(b'}');
        self.whole = Some(WholeTranslation::Answer(made));
    }

    fn fails(&mut self, error: &Map<String, Value>, _: &mut Vec<u8>) {
        let error = serde_json::json!({"error": error});
        self.whole = Some(WholeTranslation::Failed(error.to_string().into_bytes()));
    }

    fn held(&self) -> usize {
        self.held + self.head.len()
    }
}
