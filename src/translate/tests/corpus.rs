//! Requests for chat completions, and answers to them: tables, and what follows from all their combinations.

use serde_json::{Map, Value, json};

/// Texts that JSON, UTF-8 or an event stream may trip over.
pub(super) const TEXTS: [&str; 9] = [
    "Hi",
    "",
    "a \"quote\", a \\ and a / and a\ttab",
    "zwei\nZeilen\r\n\r\ndata: [DONE]\n\n",
    "grüße, 你好, 🙂👩‍👩‍👧, \u{301}\u{feff}\u{2028}",
    "{\"type\":\"response.completed\",\"error\":1}",
    "\u{0}\u{1f}\u{7f}",
    "</s> event: error ``` ",
    "end",
];

/// Conversations.
#[expect(clippy::too_many_lines, reason = "a table")]
fn conversations() -> Vec<(&'static str, Value)> {
    let call = |id: &str, name: &str, said: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": said}});
    let result =
        |id: &str, said: Value| json!({"role": "tool", "tool_call_id": id, "content": said});
    let mut all = vec![
        ("one text", json!([{"role": "user", "content": "Hi"}])),
        (
            "a system's words",
            json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]),
        ),
        (
            "a developer's words",
            json!([{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]),
        ),
        (
            "a name",
            json!([{"role": "user", "name": "bob", "content": "Hi"}]),
        ),
        (
            "parts",
            json!([{"role": "user", "content": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]}]),
        ),
        (
            "a single part",
            json!([{"role": "user", "content": [{"type": "text", "text": "One."}]}]),
        ),
        (
            "an image",
            json!([{"role": "user", "content": [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}]}]),
        ),
        (
            "images",
            json!([{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/b.png", "detail": "high"}}]}]),
        ),
        (
            "an image's address alone",
            json!([{"role": "user", "content": [
            {"type": "image_url", "image_url": "https://example.com/a.png"}]}]),
        ),
        (
            "a file",
            json!([{"role": "user", "content": [
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}]}]),
        ),
        (
            "a cache's mark",
            json!([{"role": "user", "content": [
            {"type": "text", "text": "Long.", "prompt_cache_breakpoint": {"mode": "explicit"}}, {"type": "text", "text": "Short."}]}]),
        ),
        (
            "turns",
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]),
        ),
        (
            "an answer as an SDK sends it back",
            json!([{"role": "user", "content": "a"},
            {"role": "assistant", "content": "b", "refusal": null, "annotations": [], "audio": null, "function_call": null, "tool_calls": null},
            {"role": "user", "content": "c"}]),
        ),
        (
            "what was thought",
            json!([{"role": "user", "content": "a"},
            {"role": "assistant", "content": "b", "reasoning_content": "hm", "reasoning": "hm", "reasoning_details": [{"text": "hm"}]},
            {"role": "user", "content": "c"}]),
        ),
        (
            "a refusal",
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": null, "refusal": "No."}, {"role": "user", "content": "c"}]),
        ),
        (
            "a refusal in parts",
            json!([{"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, {"role": "user", "content": "c"}]),
        ),
        (
            "a call",
            json!([{"role": "user", "content": "a"},
            {"role": "assistant", "content": null, "tool_calls": [call("c1", "f", "{}")]}, result("c1", "done".into())]),
        ),
        (
            "a call beside no words",
            json!([{"role": "user", "content": "a"},
            {"role": "assistant", "content": "", "tool_calls": [call("c1", "f", "{\"x\":\"\\u00fc\"}")]}, result("c1", "".into())]),
        ),
        (
            "parallel calls",
            json!([{"role": "user", "content": "a"},
            {"role": "assistant", "content": "Let me see.", "tool_calls": [call("c1", "f", "{}"), call("c2", "g", "{\"a\":1.0}"), call("c3", "f", "")]},
            result("c2", "two".into()), result("c1", "one".into()),
            result("c3", json!([{"type": "text", "text": "three"}, {"type": "text", "text": "four"}])),
            {"role": "assistant", "content": "Done."}, {"role": "user", "content": "more"}]),
        ),
        (
            "calls one after the other",
            json!([{"role": "user", "content": "a"},
            {"role": "assistant", "content": null, "tool_calls": [call("c1", "f", "{}")]}, result("c1", "one".into()),
            {"role": "assistant", "content": null, "tool_calls": [call("c2", "f", "{}")]}, result("c2", "two".into())]),
        ),
        (
            "a custom call",
            json!([{"role": "user", "content": "a"},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "custom", "custom": {"name": "sh", "input": "ls\n"}}]},
            result("c1", "a.txt".into())]),
        ),
    ];
    all.extend(TEXTS.map(|text| ("words", json!([{"role": "system", "content": text}, {"role": "user", "content": text},
        {"role": "assistant", "content": format!("{text}.")}, {"role": "user", "content": [{"type": "text", "text": text}]}]))));
    all
}

/// What is asked for beside the conversation.
fn options() -> Vec<(&'static str, Value)> {
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
    ]
}

/// Each conversation with some options, each option with some conversations.
pub(super) fn requests() -> Vec<(String, Value)> {
    let (conversations, options) = (conversations(), options());
    let mut all = Vec::new();
    for (at, (of, messages)) in conversations.iter().enumerate() {
        for (number, (with, option)) in options.iter().enumerate() {
            if (at + number) % 4 != 0 {
                continue;
            }
            let mut request = option.as_object().unwrap().clone();
            request.insert("model".to_owned(), "gpt".into());
            request.insert("messages".to_owned(), messages.clone());
            all.push((format!("{of}, with {with}"), request.into()));
        }
    }
    all
}

/// Whole chat completions.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn answers() -> Vec<(String, Value)> {
    let call = |id: &str, said: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": said}});
    let messages: Vec<(&str, Value, &str)> = vec![
        ("nothing", json!({"content": ""}), "stop"),
        (
            "a refusal",
            json!({"content": null, "refusal": "I can't."}),
            "stop",
        ),
        ("half a text", json!({"content": "and then"}), "length"),
        (
            "a filtered text",
            json!({"content": "and"}),
            "content_filter",
        ),
        ("JSON", json!({"content": "{\"a\": 1.0}"}), "stop"),
        (
            "a thought",
            json!({"content": "4", "reasoning_content": "2 + 2\n= 4"}),
            "stop",
        ),
        (
            "only a thought",
            json!({"content": "", "reasoning_content": "hm"}),
            "length",
        ),
        (
            "a call",
            json!({"content": null, "tool_calls": [call("c1", "{}")]}),
            "tool_calls",
        ),
        (
            "a silent call",
            json!({"content": null, "tool_calls": [call("c1", "")]}),
            "tool_calls",
        ),
        (
            "parallel calls",
            json!({"content": null, "tool_calls": [call("c1", "{\"a\":\"ü\\n\"}"), call("c2", "{\"b\": [1, 2]}"), call("c3", "{}")]}),
            "tool_calls",
        ),
        (
            "words and calls",
            json!({"content": "Let me see.", "reasoning_content": "a tool", "tool_calls": [call("c1", "{}"), call("c2", "{}")]}),
            "tool_calls",
        ),
        (
            "half a call",
            json!({"content": null, "tool_calls": [call("c1", "{\"a\":")]}),
            "length",
        ),
        (
            "a custom call",
            json!({"content": null, "tool_calls": [{"id": "c1", "type": "custom", "custom": {"name": "sh", "input": "ls \"x\"\n"}}]}),
            "tool_calls",
        ),
        (
            "a citation",
            json!({"content": "See.", "annotations": [{"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 4, "url": "https://example.com", "title": "T"}}]}),
            "stop",
        ),
    ];
    let texts = TEXTS.map(|text| ("words", json!({"content": text}), "stop"));
    let thoughts = TEXTS.map(|text| {
        (
            "thoughts",
            json!({"content": "x", "reasoning_content": format!("{text}!")}),
            "stop",
        )
    });
    let said = TEXTS.map(|text| {
        (
            "what is called",
            json!({"content": null, "tool_calls": [call("c", text)]}),
            "tool_calls",
        )
    });
    let usages = [
        None,
        Some(
            json!({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}),
        ),
        Some(
            json!({"prompt_tokens": 1000, "completion_tokens": 70, "total_tokens": 1070,
            "prompt_tokens_details": {"cached_tokens": 900, "cache_write_tokens": 1}, "completion_tokens_details": {"reasoning_tokens": 64}}),
        ),
    ];
    let mut all = Vec::new();
    for (name, message, reason) in messages
        .into_iter()
        .chain(texts)
        .chain(thoughts)
        .chain(said)
    {
        for (number, usage) in usages.iter().enumerate() {
            let mut own = Map::new();
            own.insert("role".to_owned(), "assistant".into());
            own.insert("content".to_owned(), Value::Null);
            own.insert("refusal".to_owned(), Value::Null);
            own.extend(message.as_object().unwrap().clone());
            let mut answer = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1_699_999_999, "model": "gpt",
                "choices": [{"index": 0, "message": own, "logprobs": null, "finish_reason": reason}]});
            if let Some(usage) = usage {
                answer["usage"] = usage.clone();
            }
            if number == 2 {
                answer["service_tier"] = "priority".into();
            }
            all.push((format!("{name} ({reason}, usage {number})"), answer));
        }
    }
    all
}

/// A text in pieces of some characters.
fn pieces(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    letters
        .chunks(3)
        .map(|piece| piece.iter().collect())
        .collect()
}

/// An answer as a stream of chunks. Calls come piece by piece in turns, as they do where they are parallel.
pub(super) fn stream(answer: &Value) -> String {
    let message = &answer["choices"][0]["message"];
    let mut deltas = vec![json!({"role": "assistant", "content": ""})];
    for name in ["reasoning_content", "content", "refusal"] {
        let text = message[name].as_str().unwrap_or_default();
        deltas.extend(pieces(text).into_iter().map(|piece| json!({name: piece})));
    }
    if let Some(notes) = message.get("annotations") {
        deltas.push(json!({"annotations": notes}));
    }
    let calls = message["tool_calls"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut said = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let kind = call["type"].as_str().unwrap();
        let text = if kind == "custom" {
            "input"
        } else {
            "arguments"
        };
        deltas.push(json!({"tool_calls": [{"index": index, "id": call["id"], "type": kind, kind: {"name": call[kind]["name"], text: ""}}]}));
        for (at, piece) in pieces(call[kind][text].as_str().unwrap())
            .into_iter()
            .enumerate()
        {
            said.push((
                at,
                index,
                json!({"tool_calls": [{"index": index, kind: {text: piece}}]}),
            ));
        }
    }
    said.sort_by_key(|(at, index, _)| (*at, *index));
    deltas.extend(said.into_iter().map(|(_, _, delta)| delta));
    let chunk = |choices: Value| {
        let mut chunk = json!({"id": answer["id"], "object": "chat.completion.chunk", "created": answer["created"], "model": answer["model"], "choices": choices, "usage": null});
        if let Some(tier) = answer.get("service_tier") {
            chunk["service_tier"] = tier.clone();
        }
        chunk
    };
    let mut chunks: Vec<Value> = deltas
        .into_iter()
        .map(|delta| {
            chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]))
        })
        .collect();
    let reason = &answer["choices"][0]["finish_reason"];
    chunks.push(chunk(
        json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": reason}]),
    ));
    if let Some(usage) = answer.get("usage") {
        let mut last = chunk(json!([]));
        last["usage"] = usage.clone();
        chunks.push(last);
    }
    let events = chunks.into_iter().map(|chunk| format!("data: {chunk}\n\n"));
    events.collect::<String>() + "data: [DONE]\n\n"
}

/// What a stream of chunks comes to, as an SDK puts it together.
pub(super) fn gathered(chunks: &[String]) -> Value {
    let (last, chunks) = chunks.split_last().unwrap();
    assert_eq!(last, "[DONE]");
    let mut answer = json!({});
    let mut message = json!({"role": "assistant", "content": null, "refusal": null});
    let mut reason = Value::Null;
    for chunk in chunks {
        let chunk: Value =
            serde_json::from_str(chunk).unwrap_or_else(|error| panic!("{error}: {chunk}"));
        for name in ["id", "created", "model", "service_tier"] {
            if let Some(value) = chunk.get(name) {
                answer[name] = value.clone();
            }
        }
        assert_eq!(chunk["object"], "chat.completion.chunk");
        if chunk["usage"].is_object() {
            answer["usage"] = chunk["usage"].clone();
        }
        let Some(choice) = chunk["choices"].get(0) else {
            continue;
        };
        assert!(reason.is_null(), "it goes on behind its end");
        reason = choice["finish_reason"].clone();
        for (name, value) in choice["delta"].as_object().unwrap() {
            match name.as_str() {
                "tool_calls" => value
                    .as_array()
                    .unwrap()
                    .iter()
                    .for_each(|call| adds(&mut message, call)),
                "annotations" => message["annotations"] = value.clone(),
                "role" => {}
                _ => {
                    let text = message[name].as_str().unwrap_or_default().to_owned();
                    message[name] = (text + value.as_str().unwrap()).into();
                }
            }
        }
    }
    let has_words = !message["content"].as_str().unwrap_or_default().is_empty();
    if !has_words && (message["refusal"].is_string() || message.get("tool_calls").is_some()) {
        message["content"] = Value::Null;
    }
    answer["object"] = "chat.completion".into();
    answer["choices"] =
        json!([{"index": 0, "message": message, "logprobs": null, "finish_reason": reason}]);
    answer
}

fn adds(message: &mut Value, call: &Value) {
    if message.get("tool_calls").is_none() {
        message["tool_calls"] = json!([]);
    }
    let calls = message["tool_calls"].as_array_mut().unwrap();
    let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
    if index == calls.len() {
        let mut call = call.clone();
        call.as_object_mut().unwrap().remove("index");
        calls.push(call);
        return;
    }
    let known = &mut calls[index];
    let kind = known["type"].as_str().unwrap().to_owned();
    let text = if kind == "custom" {
        "input"
    } else {
        "arguments"
    };
    let said = known[&kind][text].as_str().unwrap().to_owned();
    known[&kind][text] = (said + call[&kind][text].as_str().unwrap()).into();
}
