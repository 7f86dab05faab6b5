//! Turns the chunks of a chat into the events of a response. A chunk is read only as far as needed; texts are copied
//! as they came, escapes included, and kept, since the wire repeats them at each item's end and at the response's.

mod output;

use serde_json::{Map, Value};

use self::output::{CallPiece, ResponseOutput};
use super::super::events::{Budget, EventMachine};
use super::super::json::{self, JsonItems, JsonMembers, is_null, number, string};
use super::super::{EchoedFields, Pieces, UntranslatableAnswer, WholeTranslation, error_of, usage};
use super::items::{MessagePart, ResponseStatus};

/// A chat completion on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResponsesMachine {
    output: ResponseOutput,
    has_begun: bool,
    /// Something came that is an answer's.
    has_words: bool,
    is_over: bool,
    /// Why the model stopped.
    finish: Option<Finish>,
    usage: Option<Value>,
    whole: Option<WholeTranslation>,
    budget: Budget,
}

/// Why a model stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finish {
    Whole,
    Length,
    Filter,
}

impl Finish {
    fn status(self) -> ResponseStatus<'static> {
        match self {
            Self::Whole => ResponseStatus::Completed,
            Self::Length => ResponseStatus::Incomplete("max_output_tokens"),
            Self::Filter => ResponseStatus::Incomplete("content_filter"),
        }
    }
}

impl ResponsesMachine {
    pub(super) fn new(asked: &EchoedFields) -> Self {
        Self {
            output: ResponseOutput::new(asked),
            has_begun: false,
            has_words: false,
            is_over: false,
            finish: None,
            usage: None,
            whole: None,
            budget: Budget::of_event(),
        }
    }

    /// One that makes no events, but a whole answer.
    pub(super) fn quiet(asked: &EchoedFields) -> Self {
        let mut machine = Self::new(asked);
        machine.output.is_quiet = true;
        machine
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn into_whole(self) -> Option<WholeTranslation> {
        self.whole
    }

    /// A completion that comes whole, without events.
    pub(super) fn whole(
        &mut self,
        completion: &[u8],
        out: &mut Pieces,
    ) -> Result<(), UntranslatableAnswer> {
        // What is skipped may hold anything.
        serde_json::from_slice::<serde::de::IgnoredAny>(completion)
            .map_err(|_| UntranslatableAnswer::Malformed)?;
        self.chunk(completion, out)?;
        // It must not become an empty answer.
        let is_answer = self.finish.is_some() && self.has_words;
        if !is_answer && !self.is_over {
            return Err(UntranslatableAnswer::Malformed);
        }
        self.end(out)
    }

    /// The stream has ended.
    pub(super) fn end(&mut self, out: &mut Pieces) -> Result<(), UntranslatableAnswer> {
        if self.is_over {
            return Ok(());
        }
        let finish = self.finish.ok_or(UntranslatableAnswer::Cut)?;
        self.finishes(finish, out)
    }

    fn finishes(&mut self, finish: Finish, out: &mut Pieces) -> Result<(), UntranslatableAnswer> {
        if self.output.has_nameless() {
            return Err(UntranslatableAnswer::Malformed);
        }
        self.is_over = true;
        self.output.needs_message(out);
        self.output.closes(finish == Finish::Whole, out);
        let whole = self.output.ends(finish.status(), self.usage.as_ref(), out);
        self.whole = whole.map(|whole| WholeTranslation::Answer(whole.into_text()));
        Ok(())
    }

    fn chunk(&mut self, data: &[u8], out: &mut Pieces) -> Result<(), UntranslatableAnswer> {
        let (mut choices, mut used, mut fails) = (None, None, false);
        let mut members = JsonMembers::of(data)?;
        while let Some((name, value)) = members.next()? {
            match name {
                b"choices" => choices = Some(value),
                b"usage" if !is_null(value) => used = Some(value),
                b"error" => fails |= !is_null(value),
                b"type" => fails |= string(value) == Some(b"error"),
                b"id" if !self.has_begun => self.output.named(string(value)),
                b"model" if !self.has_begun => self.output.of_model(string(value)),
                b"service_tier" if !self.has_begun => self.output.of_tier(string(value)),
                b"created" if !self.has_begun => self.output.created(number(value)),
                _ => {}
            }
        }
        if fails {
            self.fails(data, out);
            return Ok(());
        }
        if let Some(used) = used {
            self.usage = json::value(used).as_ref().map(usage::of_response);
        }
        if !std::mem::replace(&mut self.has_begun, true) {
            self.output.begins(out);
        }
        let mut choices = choices
            .filter(|choices| !is_null(choices))
            .map(JsonItems::of)
            .transpose()?;
        if let Some(choices) = &mut choices {
            while let Some(mut choice) = choices.enter()? {
                self.budget.takes()?;
                self.choice(&mut choice, out)?;
                choices.leave(choice)?;
            }
        }
        Ok(())
    }

    fn choice(
        &mut self,
        choice: &mut JsonMembers<'_>,
        out: &mut Pieces,
    ) -> Result<(), UntranslatableAnswer> {
        let (mut delta, mut finish) = (None, None);
        while let Some((name, value)) = choice.next()? {
            match name {
                // More than one is not asked for.
                b"index" if number(value).is_some_and(|index| index > 0) => return Ok(()),
                b"delta" | b"message" if value.starts_with(b"{") => delta = Some(value),
                b"finish_reason" => finish = string(value).filter(|reason| !reason.is_empty()),
                _ => {}
            }
        }
        if let Some(delta) = delta {
            self.has_words = true;
            self.delta(delta, out)?;
        }
        if let Some(finish) = finish {
            let finish = match finish {
                b"length" => Finish::Length,
                b"content_filter" => Finish::Filter,
                b"error" => {
                    self.fails(b"{}", out);
                    return Ok(());
                }
                _ => Finish::Whole,
            };
            self.finish = Some(finish);
            self.output.closes(finish == Finish::Whole, out);
        }
        Ok(())
    }

    fn delta(&mut self, delta: &[u8], out: &mut Pieces) -> Result<(), UntranslatableAnswer> {
        let (mut text, mut refusal, mut calls, mut notes) = (None, None, None, None);
        let (mut reasoning, mut thinking, mut parts) = (None, None, None);
        let said = |value: &[u8]| -> Result<bool, UntranslatableAnswer> {
            let is_said = !is_null(value) && value != b"\"\"";
            if is_said && string(value).is_none() {
                return Err(UntranslatableAnswer::Malformed);
            }
            Ok(is_said)
        };
        let mut members = JsonMembers::of(delta)?;
        while let Some((name, value)) = members.next()? {
            match name {
                b"content" if value.starts_with(b"[") => parts = Some(value),
                b"content" if said(value)? => text = string(value),
                b"refusal" if said(value)? => refusal = string(value),
                b"reasoning_content" if said(value)? => reasoning = string(value),
                b"reasoning" if value.starts_with(b"\"") && said(value)? => {
                    thinking = string(value);
                }
                b"tool_calls" if !is_null(value) => calls = Some(value),
                b"annotations" if value.starts_with(b"[") => notes = Some(value),
                _ => {}
            }
        }
        // The same under two names, if a provider has both.
        if let Some(said) = reasoning.or(thinking) {
            self.output.thinks(said, out);
        }
        if let Some(said) = text {
            self.output.says(MessagePart::Text, said, out);
        }
        if let Some(parts) = parts {
            self.parts(parts, out)?;
        }
        if let Some(said) = refusal {
            self.output.says(MessagePart::Refusal, said, out);
        }
        if let Some(notes) = notes {
            self.annotates(notes, out)?;
        }
        let mut calls = calls.map(JsonItems::of).transpose()?;
        while let Some(call) = calls.as_mut().map(JsonItems::next).transpose()?.flatten() {
            self.budget.takes()?;
            self.call(call, out)?;
        }
        Ok(())
    }

    /// A content in parts, as some providers send it. Of parts that no request asks for, this wire knows nothing.
    fn parts(&mut self, parts: &[u8], out: &mut Pieces) -> Result<(), UntranslatableAnswer> {
        let mut parts = JsonItems::of(parts)?;
        while let Some(part) = parts.next()? {
            self.budget.takes()?;
            let (mut kind, mut said, mut refusal, mut thinking) = (None, None, None, None);
            let mut members = JsonMembers::of(part)?;
            while let Some((name, value)) = members.next()? {
                match name {
                    b"type" => kind = string(value),
                    b"text" => said = string(value),
                    b"refusal" => refusal = string(value),
                    b"thinking" => thinking = Some(value),
                    _ => {}
                }
            }
            let is_said = |said: &[u8]| !said.is_empty();
            match kind {
                Some(b"text" | b"output_text") => {
                    let said = said.ok_or(UntranslatableAnswer::Malformed)?;
                    if is_said(said) {
                        self.output.says(MessagePart::Text, said, out);
                    }
                }
                Some(b"refusal") => {
                    let said = refusal.ok_or(UntranslatableAnswer::Malformed)?;
                    if is_said(said) {
                        self.output.says(MessagePart::Refusal, said, out);
                    }
                }
                Some(b"thinking") => self.thinks(thinking.unwrap_or_default(), out)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// What a part of a content thinks: a text, or a list of parts with texts.
    fn thinks(&mut self, thinking: &[u8], out: &mut Pieces) -> Result<(), UntranslatableAnswer> {
        if let Some(said) = string(thinking).filter(|said| !said.is_empty()) {
            self.output.thinks(said, out);
        }
        if !thinking.starts_with(b"[") {
            return Ok(());
        }
        let mut parts = JsonItems::of(thinking)?;
        while let Some(part) = parts.next()? {
            self.budget.takes()?;
            let said = json::member(part, b"text").and_then(string);
            if let Some(said) = said.filter(|said| !said.is_empty()) {
                self.output.thinks(said, out);
            }
        }
        Ok(())
    }

    /// A piece of a call.
    fn call(&mut self, call: &[u8], out: &mut Pieces) -> Result<(), UntranslatableAnswer> {
        let (mut index, mut id, mut inner, mut kind) = (None, None, None, None);
        let mut members = JsonMembers::of(call)?;
        while let Some((name, value)) = members.next()? {
            match name {
                b"index" => index = number(value),
                b"id" => id = string(value).filter(|id| !id.is_empty()),
                b"function" | b"custom" if value.starts_with(b"{") => {
                    inner = Some(value);
                    kind = Some(name == b"custom");
                }
                _ => {}
            }
        }
        let (mut name, mut said) = (None, None);
        let mut members = inner.map(JsonMembers::of).transpose()?;
        while let Some((member, value)) = members
            .as_mut()
            .map(JsonMembers::next)
            .transpose()?
            .flatten()
        {
            match member {
                b"name" => name = string(value).filter(|name| !name.is_empty()),
                b"arguments" | b"input" if !is_null(value) => {
                    said = Some(string(value).ok_or(UntranslatableAnswer::Malformed)?);
                }
                _ => {}
            }
        }
        let piece = CallPiece {
            index,
            is_custom: kind.unwrap_or_default(),
            id,
            name,
        };
        let at = self.output.calls(&piece, out)?;
        if let Some(said) = said.filter(|said| !said.is_empty()) {
            self.output.argues(at, said, out);
        }
        Ok(())
    }

    fn annotates(&mut self, notes: &[u8], out: &mut Pieces) -> Result<(), UntranslatableAnswer> {
        let mut notes = JsonItems::of(notes)?;
        while let Some(note) = notes.next()? {
            self.budget.takes()?;
            let cited = json::member(note, b"url_citation").and_then(json::value);
            if let Some(Value::Object(mut cited)) = cited {
                cited.insert("type".to_owned(), "url_citation".into());
                let cited = Value::Object(cited).to_string();
                self.output.annotates(cited, out);
            }
        }
        Ok(())
    }

    fn fails(&mut self, event: &[u8], out: &mut Pieces) {
        let error = error_of(event);
        self.fails_with(&error, out);
        let whole = serde_json::json!({"error": error});
        self.whole = Some(WholeTranslation::Failed(whole.to_string().into_bytes()));
    }
}

impl ResponsesMachine {
    /// The answer ends with this error.
    pub(super) fn fails_with(&mut self, error: &Map<String, Value>, out: &mut Pieces) {
        self.is_over = true;
        self.output.fails(error, self.has_begun, out);
    }
}

impl EventMachine for ResponsesMachine {
    type Out = Pieces;

    fn event(&mut self, data: &[u8], out: &mut Pieces) -> Result<(), UntranslatableAnswer> {
        if self.is_over {
            return Ok(());
        }
        self.budget = Budget::of_event();
        if data.trim_ascii() == b"[DONE]" {
            // The provider says that it is whole. Of a call that nothing has finished, half may be missing.
            let finish = self
                .finish
                .or((!self.output.has_calls()).then_some(Finish::Whole));
            return self.finishes(finish.ok_or(UntranslatableAnswer::Cut)?, out);
        }
        self.chunk(data, out)
    }

    fn held(&self) -> usize {
        self.output.held()
    }
}
