//! The items of an input as the messages of a chat. There, calls are members of the message before them, and the
//! tools' outputs have to follow at once: items between them are moved behind.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::super::body::UnreadList;
use super::super::fields::{ListWriter, RequestFields, placed};
use super::super::{StillWanted, UntranslatableRequest, goes_on};
use super::tools::OF;

/// Fields of items without a meaning in a chat: their ids and states, and what OpenAI's SDKs have
/// parsed.
const OWN: &[&str] = &["id", "status", "phase", "parsed_arguments"];

/// The messages so far.
#[derive(Debug, Default)]
struct Chat {
    messages: ListWriter,
    /// Calls whose result has not come.
    open: BTreeSet<String>,
    /// All calls.
    known: BTreeSet<String>,
    /// What waits for results.
    waiting: ListWriter,
    /// The last message is the assistant's, and may get calls.
    takes_calls: bool,
}

/// What a request says.
pub(super) enum Input<'i> {
    Items(UnreadList<'i>),
    Whole(Option<Value>),
}

/// The messages of a request, as JSON with commas between.
pub(super) fn messages(
    instructions: Option<String>,
    input: Input<'_>,
    wanted: StillWanted<'_>,
) -> Result<Vec<u8>, UntranslatableRequest> {
    let mut chat = Chat::default();
    if let Some(text) = instructions.filter(|text| !text.is_empty()) {
        chat.adds(json!({"role": "system", "content": text}));
    }
    match input {
        Input::Items(items) => {
            items.each(|path, item| chat.reads(RequestFields::of(item, path)?, wanted))?;
        }
        Input::Whole(None) => return Err(UntranslatableRequest::new("input", "is missing")),
        Input::Whole(Some(Value::String(text))) => {
            chat.adds(json!({"role": "user", "content": text}));
        }
        Input::Whole(Some(_)) => {
            return Err(UntranslatableRequest::new(
                "input",
                "must be a text or a list",
            ));
        }
    }
    chat.ends_waiting();
    Ok(chat.messages.end())
}

impl Chat {
    fn ends_waiting(&mut self) {
        self.messages.append(std::mem::take(&mut self.waiting));
    }

    fn reads(
        &mut self,
        mut item: RequestFields,
        wanted: StillWanted<'_>,
    ) -> Result<(), UntranslatableRequest> {
        item.drops(OWN);
        let kind = item.text("type")?.unwrap_or_else(|| "message".to_owned());
        match &*kind {
            "message" => {
                let message = message(&mut item, wanted)?;
                self.adds(message);
            }
            "function_call" => self.calls(&mut item, "function", "arguments")?,
            "custom_tool_call" => self.calls(&mut item, "custom", "input")?,
            "function_call_output" | "custom_tool_call_output" => self.result(&mut item, wanted)?,
            // The provider thinks again; earlier reasoning has no place on this wire.
            "reasoning" => return Ok(()),
            _ => return Err(UntranslatableRequest::lacking(item.at("type"))),
        }
        item.end()
    }

    fn adds(&mut self, message: Value) {
        self.takes_calls = message.get("role") == Some(&"assistant".into());
        if self.open.is_empty() {
            self.messages.push(message);
        } else {
            self.waiting.push(message);
        }
    }

    /// A call: of the assistant's preceding message, otherwise of a new one.
    fn calls(
        &mut self,
        item: &mut RequestFields,
        kind: &str,
        text: &str,
    ) -> Result<(), UntranslatableRequest> {
        let id = item.needs("call_id")?;
        let (mut name, said) = (item.needs("name")?, item.text(text)?.unwrap_or_default());
        if let Some(namespace) = item.text("namespace")? {
            name = format!("{namespace}{OF}{name}");
        }
        let call = json!({"id": id, "type": kind, kind: {"name": name, text: said}});
        if !self.takes_calls || !self.waiting.is_empty() {
            self.adds(json!({"role": "assistant", "content": null}));
        }
        let waits = !self.waiting.is_empty();
        let last = if waits {
            self.waiting.last_mut()
        } else {
            self.messages.last_mut()
        };
        if let Some(Value::Object(message)) = last {
            let calls = message.entry("tool_calls").or_insert_with(|| json!([]));
            if let Value::Array(calls) = calls {
                calls.push(call);
            }
        }
        self.takes_calls = true;
        if !waits {
            self.open.insert(id.clone());
        }
        self.known.insert(id);
        Ok(())
    }

    fn result(
        &mut self,
        item: &mut RequestFields,
        wanted: StillWanted<'_>,
    ) -> Result<(), UntranslatableRequest> {
        let at = item.at("call_id");
        let id = item.needs("call_id")?;
        item.drops(&["name", "namespace"]);
        let path = item.at("output");
        let content: Value = match item.take("output") {
            None => "".into(),
            Some(Value::String(text)) => text.into(),
            Some(Value::Array(items)) => {
                parts(placed(items, &path), SpeakerRole::Tool, wanted)?.into()
            }
            Some(_) => return Err(UntranslatableRequest::new(path, "must be a text or a list")),
        };
        if !self.known.contains(&id) {
            return Err(UntranslatableRequest::new(
                at,
                "names a call that is not in `input`",
            ));
        }
        let message = json!({"role": "tool", "tool_call_id": id, "content": content});
        self.takes_calls = false;
        if self.open.remove(&id) {
            self.messages.push(message);
        } else {
            self.waiting.push(message);
        }
        if self.open.is_empty() {
            self.ends_waiting();
        }
        Ok(())
    }
}

/// The speaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SpeakerRole {
    System,
    User,
    Assistant,
    Tool,
}

/// Content, in parts.
fn parts(
    items: Vec<(String, Value)>,
    role: SpeakerRole,
    wanted: StillWanted<'_>,
) -> Result<Vec<Value>, UntranslatableRequest> {
    let parts = items.into_iter().map(|(path, item)| {
        goes_on(wanted)?;
        part(item, path, role)
    });
    parts.collect()
}

fn message(
    item: &mut RequestFields,
    wanted: StillWanted<'_>,
) -> Result<Value, UntranslatableRequest> {
    let at = item.at("role");
    let role = item.needs("role")?;
    let (role, name) = match &*role {
        // Few providers of chats know the younger name.
        "system" | "developer" => (SpeakerRole::System, "system"),
        "user" => (SpeakerRole::User, "user"),
        "assistant" => (SpeakerRole::Assistant, "assistant"),
        _ => return Err(UntranslatableRequest::lacking(at)),
    };
    let path = item.at("content");
    let mut parts = match item.take("content") {
        None => return Err(UntranslatableRequest::new(path, "is missing")),
        Some(Value::String(text)) => return Ok(json!({"role": name, "content": text})),
        Some(Value::Array(items)) => parts(placed(items, &path), role, wanted)?,
        Some(_) => return Err(UntranslatableRequest::new(path, "must be a text or a list")),
    };
    let refusal = parts
        .iter()
        .position(|part| part.get("type") == Some(&"refusal".into()))
        .filter(|_| role == SpeakerRole::Assistant)
        .map(|at| parts.remove(at));
    let content = match parts.as_slice() {
        [] => Value::Null,
        // Texts alone become one text, for providers without parts.
        [one]
            if one.get("type") == Some(&"text".into())
                && one.as_object().is_some_and(|one| one.len() == 2) =>
        {
            one.get("text").cloned().unwrap_or_default()
        }
        _ => parts.into(),
    };
    let mut made = Map::new();
    made.insert("role".to_owned(), name.into());
    made.insert("content".to_owned(), content);
    if let Some(refusal) = refusal.and_then(|mut part| part.get_mut("refusal").map(Value::take)) {
        made.insert("refusal".to_owned(), refusal);
    }
    Ok(made.into())
}

fn part(item: Value, path: String, role: SpeakerRole) -> Result<Value, UntranslatableRequest> {
    let mut item = RequestFields::of(item, path)?;
    let kind = item.needs("type")?;
    let mut made = match &*kind {
        "input_text" | "output_text" | "text" => {
            item.drops(&["annotations", "logprobs", "parsed"]);
            json!({"type": "text", "text": item.needs("text")?})
        }
        "refusal" if role == SpeakerRole::Assistant => {
            json!({"type": "refusal", "refusal": item.needs("refusal")?})
        }
        "input_image" if role == SpeakerRole::User => {
            if item.take("file_id").is_some() {
                return Err(UntranslatableRequest::lacking(item.at("file_id")));
            }
            let mut image = Map::new();
            image.insert("url".to_owned(), item.needs("image_url")?.into());
            item.moves(&[("detail", "detail")], &mut image);
            json!({"type": "image_url", "image_url": image})
        }
        "input_file" if role == SpeakerRole::User => {
            let mut file = Map::new();
            let names = ["file_data", "file_id", "filename"].map(|name| (name, name));
            item.moves(&names, &mut file);
            json!({"type": "file", "file": file})
        }
        _ => return Err(UntranslatableRequest::lacking(item.at("type"))),
    };
    if let Some(part) = made.as_object_mut() {
        item.moves(
            &[("prompt_cache_breakpoint", "prompt_cache_breakpoint")],
            part,
        );
    }
    item.end()?;
    Ok(made)
}
