//! A Chat Completions request becomes one to Responses.

use serde_json::{Map, Value, json};

use super::super::body::{UnreadList, through};
use super::super::fields::{RequestFields, object};
use super::super::weight::of_request;
use super::super::{StillWanted, TranslatedRequest, UntranslatableRequest};
use super::{messages, tools};

/// Members of both wires, by both names.
const SAME: &[(&str, &str)] = &[
    ("model", "model"),
    ("stream", "stream"),
    ("store", "store"),
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("max_tokens", "max_output_tokens"),
    ("max_completion_tokens", "max_output_tokens"),
    ("user", "user"),
    ("metadata", "metadata"),
    ("safety_identifier", "safety_identifier"),
    ("service_tier", "service_tier"),
    ("parallel_tool_calls", "parallel_tool_calls"),
    ("prompt_cache_key", "prompt_cache_key"),
    ("prompt_cache_retention", "prompt_cache_retention"),
    ("prompt_cache_options", "prompt_cache_options"),
];
/// What makes no difference to an answer that can be used. `docs/translation.md` lists it.
const DROPPED: &[&str] = &["seed"];

/// The member whose items are read one by one.
const LIST: &str = "messages";

/// Bytes for parsing a request, in addition to its text.
pub fn weight(body: &[u8]) -> usize {
    of_request(body, LIST)
}

/// Turns a request.
///
/// # Errors
/// When a member can't be carried over; it is named.
pub fn request(body: &[u8]) -> Result<TranslatedRequest, UntranslatableRequest> {
    request_while(body, &|| true)
}

/// The same, while the result is still awaited.
///
/// # Errors
/// As [`request`], and `Err` once the result is no longer awaited.
pub fn request_while(
    body: &[u8],
    wanted: StillWanted<'_>,
) -> Result<TranslatedRequest, UntranslatableRequest> {
    through(body, LIST, wanted, |chat, messages| {
        turn(chat, messages, wanted)
    })
}

fn turn(
    mut chat: RequestFields,
    messages: Option<UnreadList<'_>>,
    wanted: StillWanted<'_>,
) -> Result<TranslatedRequest, UntranslatableRequest> {
    let mut made = Map::new();
    chat.moves(SAME, &mut made);
    chat.drops(DROPPED);
    says_nothing(&mut chat)?;
    let streaming = chat.object("stream_options")?;
    let includes_usage = streaming
        .is_some_and(|mut options| options.take("include_usage") == Some(Value::Bool(true)));
    chat.list("messages")?;
    let messages = messages.ok_or_else(|| UntranslatableRequest::new("messages", "is missing"))?;
    let input = messages::input(messages, wanted)?;
    if let Some(tools) = chat.list("tools")? {
        made.insert("tools".to_owned(), tools::list(tools, wanted)?);
    }
    if let Some(choice) = chat.take("tool_choice") {
        made.insert("tool_choice".to_owned(), tools::choice(choice)?);
    }
    if let Some(text) = text(&mut chat)? {
        made.insert("text".to_owned(), text);
    }
    if let Some(reasoning) = reasoning(&mut chat)? {
        made.insert("reasoning".to_owned(), reasoning);
    }
    chat.end()?;
    Ok(turned(made, "input", &input, includes_usage))
}

/// The resulting request: its members, and a list whose items are JSON already.
pub(in crate::translate) fn turned(
    made: Map<String, Value>,
    name: &str,
    items: &[u8],
    includes_usage: bool,
) -> TranslatedRequest {
    let model = made.get("model").and_then(Value::as_str);
    TranslatedRequest {
        wants_stream: made.get("stream") == Some(&Value::Bool(true)),
        includes_usage,
        namespaces: Vec::new(),
        model: model.unwrap_or_default().to_owned(),
        body: with_list(Value::Object(made).to_string(), name, items),
    }
}

/// An object with one member more.
fn with_list(object: String, name: &str, items: &[u8]) -> Vec<u8> {
    let mut made = object.into_bytes();
    made.pop();
    made.reserve_exact(items.len() + name.len() + 7);
    if made.len() > 1 {
        made.push(b',');
    }
    made.extend_from_slice(format!("\"{name}\":[").as_bytes());
    made.extend_from_slice(items);
    made.extend_from_slice(b"]}");
    made
}

/// Members that the other wire lacks, at values that ask for nothing.
fn says_nothing(chat: &mut RequestFields) -> Result<(), UntranslatableRequest> {
    let zero = || json!(0);
    for (name, at) in [
        ("n", vec![json!(1)]),
        ("logprobs", vec![json!(false)]),
        ("top_logprobs", vec![zero()]),
        ("frequency_penalty", vec![zero()]),
        ("presence_penalty", vec![zero()]),
        ("logit_bias", vec![json!({})]),
        ("stop", vec![json!([]), json!("")]),
        ("functions", vec![json!([])]),
        ("function_call", vec![json!("auto"), json!("none")]),
        ("modalities", vec![json!(["text"]), json!([])]),
    ] {
        chat.says_nothing(name, &at)?;
    }
    Ok(())
}

/// The form of the answer's text.
fn text(chat: &mut RequestFields) -> Result<Option<Value>, UntranslatableRequest> {
    let verbosity = chat.take("verbosity");
    let format = chat.object("response_format")?;
    let format = format.map(|mut format| {
        let kind = format.needs("type")?;
        let made = match &*kind {
            "text" | "json_object" => json!({"type": kind}),
            "json_schema" => {
                let schema = format.object("json_schema")?;
                let at = format.at("json_schema");
                let mut schema =
                    schema.ok_or_else(|| UntranslatableRequest::new(at, "is missing"))?;
                let mut made = Map::new();
                made.insert("type".to_owned(), kind.into());
                let names = ["name", "description", "schema", "strict"].map(|name| (name, name));
                schema.moves(&names, &mut made);
                schema.end()?;
                Value::Object(made)
            }
            _ => return Err(UntranslatableRequest::lacking(format.at("type"))),
        };
        format.end()?;
        Ok(made)
    });
    let format = format.transpose()?;
    let has_any = verbosity.is_some() || format.is_some();
    Ok(has_any.then(|| object([("format", format), ("verbosity", verbosity)])))
}

/// The reasoning effort. A request for reasoning may see a summary of it: without this, there is
/// none.
fn reasoning(chat: &mut RequestFields) -> Result<Option<Value>, UntranslatableRequest> {
    let mut reasoning = match chat.take("reasoning") {
        Some(Value::Object(members)) => members,
        Some(_) => {
            return Err(UntranslatableRequest::new(
                chat.at("reasoning"),
                "must be an object",
            ));
        }
        None => Map::new(),
    };
    if let Some(effort) = chat.take("reasoning_effort") {
        reasoning.insert("effort".to_owned(), effort);
    }
    let effort = reasoning.get("effort").and_then(Value::as_str);
    if effort.is_some_and(|effort| effort != "none") && !reasoning.contains_key("summary") {
        reasoning.insert("summary".to_owned(), "auto".into());
    }
    Ok((!reasoning.is_empty()).then_some(Value::Object(reasoning)))
}
