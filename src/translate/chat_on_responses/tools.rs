//! The tools of a chat, and which of them the model may or must use.

use serde_json::{Map, Value, json};

use super::super::fields::RequestFields;
use super::super::{StillWanted, UntranslatableRequest, goes_on};
use super::messages::reference;

/// The list of tools.
pub(super) fn list(
    tools: Vec<(String, Value)>,
    wanted: StillWanted<'_>,
) -> Result<Value, UntranslatableRequest> {
    let tools = tools.into_iter();
    let tools = tools.map(|(path, tool)| {
        goes_on(wanted)?;
        one(tool, path)
    });
    tools.collect()
}

fn one(tool: Value, path: String) -> Result<Value, UntranslatableRequest> {
    let mut tool = RequestFields::of(tool, path)?;
    let kind = tool.needs("type")?;
    let members: &[&str] = match &*kind {
        "function" => &["name", "description", "parameters", "strict"],
        "custom" => &["name", "description"],
        _ => return Err(UntranslatableRequest::lacking(tool.at("type"))),
    };
    let inner = tool.object(&kind)?;
    let mut inner =
        inner.ok_or_else(|| UntranslatableRequest::new(tool.at(&kind), "is missing"))?;
    let mut made = Map::new();
    made.insert("type".to_owned(), kind.as_str().into());
    for name in members {
        inner.moves(&[(name, name)], &mut made);
    }
    if kind == "function" {
        // What is not said means false on this wire, and true on the other.
        made.entry("strict").or_insert(Value::Bool(false));
        made.entry("parameters")
            .or_insert_with(|| json!({"type": "object", "properties": {}}));
    } else if let Some(format) = inner.object("format")? {
        made.insert("format".to_owned(), grammar(format)?);
    }
    inner.end()?;
    tool.end()?;
    Ok(Value::Object(made))
}

/// The form of a custom tool's input.
fn grammar(mut format: RequestFields) -> Result<Value, UntranslatableRequest> {
    let kind = format.needs("type")?;
    let mut made = Map::new();
    if let Some(mut grammar) = format.object("grammar")? {
        grammar.moves(
            &[("definition", "definition"), ("syntax", "syntax")],
            &mut made,
        );
        grammar.end()?;
    }
    made.insert("type".to_owned(), kind.into());
    format.end()?;
    Ok(Value::Object(made))
}

/// Which tools may be used.
pub(super) fn choice(choice: Value) -> Result<Value, UntranslatableRequest> {
    if choice.is_string() {
        return Ok(choice);
    }
    let mut choice = RequestFields::of(choice, "tool_choice")?;
    let kind = choice.needs("type")?;
    if kind == "allowed_tools" {
        let allowed = choice.object("allowed_tools")?;
        let at = choice.at("allowed_tools");
        let mut allowed = allowed.ok_or_else(|| UntranslatableRequest::new(at, "is missing"))?;
        let mode = allowed.needs("mode")?;
        let tools = allowed.list("tools")?.unwrap_or_default().into_iter();
        let tools: Result<Vec<_>, _> = tools
            .map(|(path, tool)| reference(RequestFields::of(tool, path)?))
            .collect();
        allowed.end()?;
        choice.end()?;
        return Ok(json!({"type": kind, "mode": mode, "tools": tools?}));
    }
    let mut again = Map::new();
    again.insert("type".to_owned(), kind.as_str().into());
    if let Some(inner) = choice.take(&kind) {
        again.insert(kind, inner);
    }
    choice.end()?;
    reference(RequestFields::of(again.into(), "tool_choice")?)
}
