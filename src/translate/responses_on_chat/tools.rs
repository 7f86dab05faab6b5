//! The tools of a response, and which of them the model may or must use.

use serde_json::{Map, Value, json};

use super::super::fields::RequestFields;
use super::super::{StillWanted, UntranslatableRequest, goes_on};

/// The separator between a namespace and a tool's name in a joined name.
pub(super) const OF: &str = "__";

/// The list of tools, and the namespaces that some of them are in.
pub(super) fn list(
    tools: Vec<(String, Value)>,
    wanted: StillWanted<'_>,
) -> Result<(Vec<Value>, Vec<String>), UntranslatableRequest> {
    let (mut made, mut namespaces) = (Vec::new(), Vec::new());
    for (path, tool) in tools {
        goes_on(wanted)?;
        let mut tool = RequestFields::of(tool, path)?;
        let kind = tool.needs("type")?;
        match &*kind {
            "namespace" => {
                tool.drops(&["description"]);
                let namespace = tool.needs("name")?;
                for (path, tool) in tool.list("tools")?.unwrap_or_default() {
                    goes_on(wanted)?;
                    let mut tool = RequestFields::of(tool, path)?;
                    let kind = tool.needs("type")?;
                    made.push(one(tool, &kind, Some(&namespace))?);
                }
                tool.end()?;
                namespaces.push(namespace);
            }
            // A search in the provider's stored files: the model is not told of it.
            "web_search" if tool.take("external_web_access") == Some(Value::Bool(false)) => {}
            _ => made.push(one(tool, &kind, None)?),
        }
    }
    Ok((made, namespaces))
}

fn one(
    mut tool: RequestFields,
    kind: &str,
    namespace: Option<&str>,
) -> Result<Value, UntranslatableRequest> {
    let members: &[&str] = match kind {
        "function" => &["name", "description", "parameters", "strict"],
        "custom" => &["name", "description"],
        _ => {
            let reason = format!(
                "is `{kind}`, a tool that only a provider of the Responses API runs; switch it off in the app"
            );
            return Err(UntranslatableRequest::new(tool.at("type"), reason));
        }
    };
    let mut inner = Map::new();
    for name in members {
        tool.moves(&[(name, name)], &mut inner);
    }
    if let (Some(namespace), Some(Value::String(name))) = (namespace, inner.get_mut("name")) {
        *name = format!("{namespace}{OF}{name}");
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
fn grammar(mut format: RequestFields) -> Result<Value, UntranslatableRequest> {
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
pub(super) fn choice(choice: Value) -> Result<Value, UntranslatableRequest> {
    if choice.is_string() {
        return Ok(choice);
    }
    let mut choice = RequestFields::of(choice, "tool_choice")?;
    let kind = choice.needs("type")?;
    if kind != "allowed_tools" {
        return reference(choice, kind);
    }
    let mode = choice.needs("mode")?;
    let tools = choice.list("tools")?.unwrap_or_default().into_iter();
    let tools: Result<Vec<_>, _> = tools
        .map(|(path, tool)| {
            let mut tool = RequestFields::of(tool, path)?;
            let kind = tool.needs("type")?;
            reference(tool, kind)
        })
        .collect();
    choice.end()?;
    Ok(json!({"type": kind, kind: {"mode": mode, "tools": tools?}}))
}

fn reference(mut tool: RequestFields, kind: String) -> Result<Value, UntranslatableRequest> {
    if !matches!(&*kind, "function" | "custom") {
        return Err(UntranslatableRequest::lacking(tool.at("type")));
    }
    let name = tool.needs("name")?;
    tool.end()?;
    Ok(json!({"type": kind, kind: {"name": name}}))
}
