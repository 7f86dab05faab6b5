//! Tools of a response, and which of them the model may or must use.

use serde_json::{Map, Value, json};

use super::super::Refused;
use super::super::fields::Fields;

/// The list of tools.
pub(super) fn list(tools: Vec<(String, Value)>) -> Result<Value, Refused> {
    let tools = tools.into_iter();
    tools.map(|(path, tool)| one(tool, path)).collect()
}

fn one(tool: Value, path: String) -> Result<Value, Refused> {
    let mut tool = Fields::of(tool, path)?;
    let kind = tool.needs("type")?;
    let members: &[&str] = match &*kind {
        "function" => &["name", "description", "parameters", "strict"],
        "custom" => &["name", "description"],
        _ => {
            let reason = format!(
                "is `{kind}`, a tool that only a provider of the Responses API runs; switch it off in the app"
            );
            return Err(Refused::new(tool.at("type"), reason));
        }
    };
    let mut inner = Map::new();
    for name in members {
        tool.moves(&[(name, name)], &mut inner);
    }
    if kind == "custom"
        && let Some(format) = tool.object("format")?
    {
        inner.insert("format".to_owned(), grammar(format)?);
    }
    tool.end()?;
    Ok(json!({"type": kind, kind: inner}))
}

/// The form of a custom tool's input.
fn grammar(mut format: Fields) -> Result<Value, Refused> {
    let kind = format.needs("type")?;
    let mut grammar = Map::new();
    format.moves(
        &[("definition", "definition"), ("syntax", "syntax")],
        &mut grammar,
    );
    format.end()?;
    if grammar.is_empty() {
        return Ok(json!({"type": kind}));
    }
    Ok(json!({"type": kind, "grammar": grammar}))
}

/// Which tools may be used.
pub(super) fn choice(choice: Value) -> Result<Value, Refused> {
    if choice.is_string() {
        return Ok(choice);
    }
    let mut choice = Fields::of(choice, "tool_choice")?;
    let kind = choice.needs("type")?;
    if kind != "allowed_tools" {
        return reference(choice, kind);
    }
    let mode = choice.needs("mode")?;
    let tools = choice.list("tools")?.unwrap_or_default().into_iter();
    let tools: Result<Vec<_>, _> = tools
        .map(|(path, tool)| {
            let mut tool = Fields::of(tool, path)?;
            let kind = tool.needs("type")?;
            reference(tool, kind)
        })
        .collect();
    choice.end()?;
    Ok(json!({"type": kind, kind: {"mode": mode, "tools": tools?}}))
}

fn reference(mut tool: Fields, kind: String) -> Result<Value, Refused> {
    if !matches!(&*kind, "function" | "custom") {
        return Err(Refused::lacking(tool.at("type")));
    }
    let name = tool.needs("name")?;
    tool.end()?;
    Ok(json!({"type": kind, kind: {"name": name}}))
}
