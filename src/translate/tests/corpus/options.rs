//! Options of a request besides its conversation.

use serde_json::{Value, json};

/// The request besides its conversation.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn options() -> Vec<(&'static str, Value)> {
    let schema = json!({"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"], "additionalProperties": false});
    let tools = json!([{"type": "function", "function": {"name": "f", "description": "does", "parameters": schema, "strict": true}},
        {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}},
        {"type": "function", "function": {"name": "h"}}]);
    vec![
        ("nothing", json!({})),
        (
            "a stream",
            json!({"stream": true, "stream_options": {"include_usage": true}}),
        ),
        ("a stream without usage", json!({"stream": true})),
        (
            "no stream",
            json!({"stream": false, "n": 1, "stop": null, "logit_bias": {}, "presence_penalty": 0.0, "frequency_penalty": 0}),
        ),
        (
            "limits",
            json!({"max_tokens": 100, "temperature": 0.7, "top_p": 1, "seed": 7, "user": "u", "metadata": {"a": "b"}}),
        ),
        (
            "a younger limit",
            json!({"max_completion_tokens": 100, "store": false, "service_tier": "priority", "safety_identifier": "s"}),
        ),
        (
            "caches",
            json!({"prompt_cache_key": "k", "prompt_cache_retention": "24h"}),
        ),
        (
            "a schema",
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": schema, "strict": true}}}),
        ),
        (
            "JSON",
            json!({"response_format": {"type": "json_object"}, "verbosity": "low"}),
        ),
        (
            "a text",
            json!({"response_format": {"type": "text"}, "modalities": ["text"]}),
        ),
        ("thinking", json!({"reasoning_effort": "high"})),
        ("no thinking", json!({"reasoning_effort": "none"})),
        (
            "tools",
            json!({"tools": tools, "tool_choice": "auto", "parallel_tool_calls": true}),
        ),
        (
            "one tool",
            json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false}),
        ),
        (
            "some tools",
            json!({"tools": tools, "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required",
            "tools": [{"type": "function", "function": {"name": "f"}}]}}}),
        ),
        (
            "custom tools",
            json!({"tools": [
            {"type": "custom", "custom": {"name": "sh", "description": "runs"}},
            {"type": "custom", "custom": {"name": "re", "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}}}},
            {"type": "custom", "custom": {"name": "tx", "format": {"type": "text"}}}],
            "tool_choice": {"type": "custom", "custom": {"name": "sh"}}}),
        ),
        (
            "what asks for nothing",
            json!({"logprobs": false, "top_logprobs": 0, "stop": [], "functions": [], "function_call": "auto", "n": 1}),
        ),
        (
            "no use of tools",
            json!({"tools": tools, "tool_choice": "none"}),
        ),
        (
            "use of a tool",
            json!({"tools": tools, "tool_choice": "required", "stream": true}),
        ),
        (
            "a choice without tools",
            json!({"parallel_tool_calls": false}),
        ),
        (
            "many tools",
            json!({"tools": (0..20).map(|number| json!({"type": "function", "function": {"name": format!("tool_{number}"), "description": "Wählt \"eins\".",
                "parameters": schema, "strict": number % 2 == 0}})).collect::<Vec<_>>()}),
        ),
        (
            "either of two tools",
            json!({"tools": tools, "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto",
            "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}]}}}),
        ),
        (
            "a grammar",
            json!({"tools": [{"type": "custom", "custom": {"name": "sql", "description": "asks",
            "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: \"SELECT\" /[a-z]+/\n%ignore \" \""}}}}, tools[0]]}),
        ),
        (
            "a deep schema",
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "tree", "strict": true, "schema": {
            "$defs": {"node": {"type": "object", "properties": {"größe": {"type": ["number", "null"]}, "kind": {"enum": ["a", "b\n", null]},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}, "required": ["größe"], "additionalProperties": false}},
            "anyOf": [{"$ref": "#/$defs/node"}, {"type": "string", "pattern": "^\\d+$"}]}}}}),
        ),
        (
            "a schema without rules",
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}, "verbosity": "high"}),
        ),
        (
            "an object for thinking",
            json!({"reasoning": {"effort": "low", "summary": "detailed"}, "verbosity": "medium"}),
        ),
        (
            "little thinking",
            json!({"reasoning_effort": "minimal", "max_completion_tokens": 4096}),
        ),
        (
            "deep thinking",
            json!({"reasoning_effort": "xhigh", "stream": true, "stream_options": {"include_usage": false}}),
        ),
        (
            "exact numbers",
            json!({"temperature": 0, "top_p": 0.123_456_789_012_345_6, "max_tokens": 1}),
        ),
        (
            "metadata",
            json!({"store": true, "metadata": {"chat_id": "ü-1", "empty": "", "\"q\"": "\\"}, "user": "ann@example.com"}),
        ),
        (
            "a cheap tier",
            json!({"service_tier": "flex", "prompt_cache_options": {"mode": "explicit"}, "seed": 0}),
        ),
        (
            "a stream without padding",
            json!({"stream": true, "stream_options": {"include_usage": true, "include_obfuscation": false}, "temperature": 1.5}),
        ),
    ]
}
