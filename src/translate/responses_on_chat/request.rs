//! A request to Responses becomes one to Chat Completions.

use serde_json::{Map, Value, json};

use super::super::body::{UnreadList, through};
use super::super::chat_on_responses::turned;
use super::super::fields::{RequestFields, object};
use super::super::weight::of_request;
use super::super::{StillWanted, TranslatedRequest, UntranslatableRequest};
use super::input::{self, Input};
use super::tools;

/// Members of both wires, by both names.
const SAME: &[(&str, &str)] = &[
    ("model", "model"),
    ("stream", "stream"),
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("max_output_tokens", "max_tokens"),
    ("user", "user"),
    ("metadata", "metadata"),
    ("safety_identifier", "safety_identifier"),
    ("service_tier", "service_tier"),
    ("parallel_tool_calls", "parallel_tool_calls"),
    ("prompt_cache_key", "prompt_cache_key"),
    ("prompt_cache_retention", "prompt_cache_retention"),
    ("prompt_cache_options", "prompt_cache_options"),
];
/// Members that make no difference to the answer: nothing is stored or truncated there, and each stream reports its
/// usage. `docs/translation.md` lists them.
const DROPPED: &[&str] = &["store", "truncation", "stream_options", "client_metadata"];

/// The member whose items are read one by one.
const LIST: &str = "input";

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
    through(body, LIST, wanted, |asked, input| {
        turn(asked, input, wanted)
    })
}

fn turn(
    mut asked: RequestFields,
    input: Option<UnreadList<'_>>,
    wanted: StillWanted<'_>,
) -> Result<TranslatedRequest, UntranslatableRequest> {
    let mut made = Map::new();
    asked.moves(SAME, &mut made);
    asked.drops(DROPPED);
    for (name, at) in [
        ("background", vec![json!(false)]),
        ("top_logprobs", vec![json!(0)]),
    ] {
        asked.says_nothing(name, &at)?;
    }
    for (place, more) in asked.list("include")?.unwrap_or_default() {
        if more != "reasoning.encrypted_content" {
            return Err(UntranslatableRequest::lacking(place));
        }
    }
    let instructions = asked.text("instructions")?;
    let input = match input {
        Some(items) => Input::Items(items),
        None => Input::Whole(asked.take("input")),
    };
    let messages = input::messages(instructions, input, wanted)?;
    let tools = asked.list("tools")?.unwrap_or_default();
    let (tools, namespaces) = tools::list(tools, wanted)?;
    if tools.is_empty() {
        // Without tools, some providers refuse these members.
        made.remove("parallel_tool_calls");
    } else {
        made.insert("tools".to_owned(), tools.into());
    }
    if let Some(choice) = asked.take("tool_choice") {
        let choice = tools::choice(choice)?;
        if made.contains_key("tools") {
            made.insert("tool_choice".to_owned(), choice);
        }
    }
    if let Some(mut text) = asked.object("text")? {
        text.moves(&[("verbosity", "verbosity")], &mut made);
        if let Some(format) = text.object("format")? {
            made.insert("response_format".to_owned(), form(format)?);
        }
        text.end()?;
    }
    if let Some(mut reasoning) = asked.object("reasoning")? {
        reasoning.moves(&[("effort", "reasoning_effort")], &mut made);
        reasoning.drops(&["summary", "generate_summary", "context"]);
        reasoning.end()?;
    }
    asked.end()?;
    if made.get("stream") == Some(&Value::Bool(true)) {
        made.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    Ok(TranslatedRequest {
        namespaces,
        ..turned(made, "messages", &messages, true)
    })
}

/// The form of the answer's text.
fn form(mut format: RequestFields) -> Result<Value, UntranslatableRequest> {
    let kind = format.needs("type")?;
    let made = match &*kind {
        "text" | "json_object" => json!({"type": kind}),
        "json_schema" => {
            let mut schema = Map::new();
            let names = ["name", "description", "schema", "strict"].map(|name| (name, name));
            format.moves(&names, &mut schema);
            object([
                ("type", Some(kind.into())),
                ("json_schema", Some(schema.into())),
            ])
        }
        _ => return Err(UntranslatableRequest::lacking(format.at("type"))),
    };
    format.end()?;
    Ok(made)
}
