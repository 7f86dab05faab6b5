//! A chat's messages become the items of an input.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::super::body::UnreadList;
use super::super::fields::{ListWriter, RequestFields, object, placed};
use super::super::{StillWanted, UntranslatableRequest, goes_on};

/// What an app may send back of an answer, and of which the provider has no use. `docs/translation.md` lists it.
const OF_ANSWERS: &[&str] = &[
    "name",
    "annotations",
    "parsed",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
];

/// The items of all messages, as JSON with commas between.
pub(super) fn input(
    messages: UnreadList<'_>,
    wanted: StillWanted<'_>,
) -> Result<Vec<u8>, UntranslatableRequest> {
    let mut items = ListWriter::default();
    let mut custom = BTreeSet::new();
    messages.each(|path, message| {
        let mut message = RequestFields::of(message, path)?;
        let role = message.needs("role")?;
        match &*role {
            "system" | "developer" | "user" => {
                message.drops(&["name"]);
                let content = message.take("content");
                let content = content.ok_or_else(|| {
                    UntranslatableRequest::new(message.at("content"), "is missing")
                })?;
                let content = parts(content, &message.at("content"), "input_text", wanted)?;
                items.push(json!({"type": "message", "role": role, "content": content}));
            }
            "assistant" => assistant(&mut message, &mut items, &mut custom, wanted)?,
            "tool" => items.push(result(&mut message, &custom, wanted)?),
            _ => return Err(UntranslatableRequest::lacking(message.at("role"))),
        }
        message.end()
    })?;
    Ok(items.end())
}

fn assistant(
    message: &mut RequestFields,
    items: &mut ListWriter,
    custom: &mut BTreeSet<String>,
    wanted: StillWanted<'_>,
) -> Result<(), UntranslatableRequest> {
    message.drops(OF_ANSWERS);
    let calls = message.list("tool_calls")?.unwrap_or_default();
    let at = message.at("content");
    let mut content = match message.take("content") {
        // Beside calls, an empty text is what some apps have for none.
        Some(Value::String(text)) if text.is_empty() && !calls.is_empty() => Vec::new(),
        Some(content) => parts(content, &at, "output_text", wanted)?,
        None => Vec::new(),
    };
    if let Some(refusal) = message.text("refusal")? {
        content.push(json!({"type": "refusal", "refusal": refusal}));
    }
    if !content.is_empty() {
        items.push(json!({"type": "message", "role": "assistant", "content": content}));
    }
    for (path, call) in calls {
        goes_on(wanted)?;
        let mut call = RequestFields::of(call, path)?;
        call.drops(&["index"]);
        let id = call.needs("id")?;
        let kind = call.text("type")?.unwrap_or_else(|| "function".to_owned());
        let (kind, of) = match &*kind {
            "function" => ("function_call", ("function", "arguments")),
            "custom" => ("custom_tool_call", ("custom", "input")),
            _ => return Err(UntranslatableRequest::lacking(call.at("type"))),
        };
        let (of, text) = of;
        let inner = call.object(of)?;
        let mut inner =
            inner.ok_or_else(|| UntranslatableRequest::new(call.at(of), "is missing"))?;
        let (name, said) = (inner.needs("name")?, inner.text(text)?.unwrap_or_default());
        // OpenAI's SDKs add it to what they have parsed, and send it.
        inner.drops(&["parsed_arguments"]);
        inner.end()?;
        call.end()?;
        if kind == "custom_tool_call" {
            custom.insert(id.clone());
        }
        items.push(json!({"type": kind, "call_id": id, "name": name, text: said}));
    }
    Ok(())
}

/// What a tool gave.
fn result(
    message: &mut RequestFields,
    custom: &BTreeSet<String>,
    wanted: StillWanted<'_>,
) -> Result<Value, UntranslatableRequest> {
    message.drops(&["name"]);
    let id = message.needs("tool_call_id")?;
    let kind = if custom.contains(&id) {
        "custom_tool_call_output"
    } else {
        "function_call_output"
    };
    let at = message.at("content");
    let output = match message.take("content") {
        None => Value::from(""),
        Some(Value::String(text)) => Value::String(text),
        Some(content) => parts(content, &at, "input_text", wanted)?.into(),
    };
    Ok(json!({"type": kind, "call_id": id, "output": output}))
}

/// Content, in parts.
fn parts(
    content: Value,
    path: &str,
    text: &str,
    wanted: StillWanted<'_>,
) -> Result<Vec<Value>, UntranslatableRequest> {
    let items = match content {
        Value::String(said) => return Ok(vec![json!({"type": text, "text": said})]),
        Value::Array(items) => items,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            return Err(UntranslatableRequest::new(path, "must be a text or a list"));
        }
    };
    let items = placed(items, path).into_iter();
    let parts = items.map(|(path, item)| {
        goes_on(wanted)?;
        part(item, path, text)
    });
    parts.collect()
}

fn part(item: Value, path: String, text: &str) -> Result<Value, UntranslatableRequest> {
    let mut item = RequestFields::of(item, path)?;
    let kind = item.needs("type")?;
    let mut made = Map::new();
    let is_input = text == "input_text";
    match &*kind {
        "text" => {
            made.insert("type".to_owned(), text.into());
            made.insert("text".to_owned(), item.needs("text")?.into());
        }
        "refusal" if !is_input => {
            made.insert("type".to_owned(), kind.into());
            made.insert("refusal".to_owned(), item.needs("refusal")?.into());
        }
        "image_url" if is_input => {
            made.insert("type".to_owned(), "input_image".into());
            let (url, detail) = image(&mut item)?;
            made.insert("image_url".to_owned(), url);
            if let Some(detail) = detail {
                made.insert("detail".to_owned(), detail);
            }
        }
        "file" if is_input => {
            made.insert("type".to_owned(), "input_file".into());
            let file = item.object("file")?;
            let mut file =
                file.ok_or_else(|| UntranslatableRequest::new(item.at("file"), "is missing"))?;
            let names = ["file_data", "file_id", "filename"].map(|name| (name, name));
            file.moves(&names, &mut made);
            file.end()?;
        }
        _ => return Err(UntranslatableRequest::lacking(item.at("type"))),
    }
    item.moves(
        &[("prompt_cache_breakpoint", "prompt_cache_breakpoint")],
        &mut made,
    );
    item.end()?;
    Ok(Value::Object(made))
}

/// An image's address, and its detail. Some apps send the address alone.
fn image(item: &mut RequestFields) -> Result<(Value, Option<Value>), UntranslatableRequest> {
    let at = item.at("image_url");
    match item.take("image_url") {
        Some(Value::String(url)) => Ok((url.into(), None)),
        Some(image) => {
            let mut image = RequestFields::of(image, at)?;
            let found = (image.needs("url")?.into(), image.take("detail"));
            image.end()?;
            Ok(found)
        }
        None => Err(UntranslatableRequest::new(at, "is missing")),
    }
}

/// A tool's call in the form of `tool_choice` and of lists of allowed tools.
pub(super) fn reference(mut tool: RequestFields) -> Result<Value, UntranslatableRequest> {
    let kind = tool.needs("type")?;
    if !matches!(&*kind, "function" | "custom") {
        return Err(UntranslatableRequest::lacking(tool.at("type")));
    }
    let inner = tool.object(&kind)?;
    let mut inner =
        inner.ok_or_else(|| UntranslatableRequest::new(tool.at(&kind), "is missing"))?;
    let name = inner.needs("name")?;
    inner.end()?;
    tool.end()?;
    Ok(object([
        ("type", Some(kind.into())),
        ("name", Some(name.into())),
    ]))
}
