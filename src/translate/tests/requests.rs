//! Requests there and back.

use serde_json::{Map, Value, json};

use super::super::{chat_on_responses, responses_on_chat};
use super::{corpus, read};

/// The request as `docs/translation.md` says that it comes back.
fn with_losses(request: &Value) -> Value {
    let mut request = request.as_object().unwrap().clone();
    for name in [
        "n",
        "stop",
        "logit_bias",
        "presence_penalty",
        "frequency_penalty",
        "seed",
        "store",
        "modalities",
        "logprobs",
        "top_logprobs",
        "functions",
        "function_call",
    ] {
        request.shift_remove(name);
    }
    if let Some(mut reasoning) = request.shift_remove("reasoning") {
        request.insert("reasoning_effort".to_owned(), reasoning["effort"].take());
    }
    if let Some(limit) = request.shift_remove("max_completion_tokens") {
        request.insert("max_tokens".to_owned(), limit);
    }
    request.shift_remove("stream_options");
    if request.get("stream") == Some(&json!(true)) {
        request.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    for tool in request
        .get_mut("tools")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(tool) = tool.get_mut("function").and_then(Value::as_object_mut) {
            tool.entry("strict").or_insert(false.into());
            tool.entry("parameters")
                .or_insert(json!({"type": "object", "properties": {}}));
        }
    }
    for message in request["messages"].as_array_mut().unwrap() {
        let message = message.as_object_mut().unwrap();
        message.retain(|name, value| match name.as_str() {
            "name" | "annotations" | "reasoning" | "reasoning_content" | "reasoning_details" => {
                false
            }
            "content" => true,
            _ => !value.is_null(),
        });
        if message["role"] == "developer" {
            message["role"] = "system".into();
        }
        let content = with_parts(message.get("content").cloned().unwrap_or_default(), message);
        message.insert("content".to_owned(), content);
    }
    request.into()
}

fn with_parts(content: Value, message: &mut Map<String, Value>) -> Value {
    if content == "" && message.contains_key("tool_calls") {
        return Value::Null;
    }
    let Value::Array(mut parts) = content else {
        return content;
    };
    for part in &mut parts {
        if part["image_url"].is_string() {
            part["image_url"] = json!({"url": part["image_url"]});
        }
    }
    if let Some(at) = parts.iter().position(|part| part["type"] == "refusal") {
        let refusal = parts.remove(at)["refusal"].take();
        message.insert("refusal".to_owned(), refusal);
        if parts.is_empty() {
            return Value::Null;
        }
    }
    let is_alone = parts.len() == 1 && message["role"] != "tool";
    if is_alone && parts[0]["type"] == "text" && parts[0].as_object().unwrap().len() == 2 {
        return parts[0]["text"].clone();
    }
    parts.into()
}

#[test]
fn a_request_comes_back_but_for_what_the_docs_list() {
    let requests = corpus::requests();
    assert!(requests.len() >= 200, "{}", requests.len());
    let all: std::collections::BTreeSet<_> = requests.iter().map(|one| one.1.to_string()).collect();
    assert_eq!(all.len(), requests.len(), "some are the same");
    for (name, request) in requests {
        let there = chat_on_responses::request(request.to_string().as_bytes());
        let there = there.unwrap_or_else(|refused| panic!("{name}: {refused}"));
        assert_eq!(there.wants_stream, request["stream"] == true, "{name}");
        assert_eq!(
            there.includes_usage,
            request["stream_options"]["include_usage"] == true
        );
        assert_eq!(there.model, "gpt");
        let body = read(&there.body);
        assert!(
            body["input"].is_array() && body.get("messages").is_none(),
            "{name}: {body}"
        );
        let back = responses_on_chat::request(&there.body);
        let back = back.unwrap_or_else(|refused| panic!("{name}: {refused}: {body}"));
        let mut expected = with_losses(&request);
        if expected.get("tools").is_none() {
            expected
                .as_object_mut()
                .unwrap()
                .shift_remove("parallel_tool_calls");
        }
        assert_eq!(read(&back.body), expected, "{name}: {body}");
    }
}

#[test]
fn a_chat_becomes_items() {
    let request = json!({"model": "gpt", "stream": true, "reasoning_effort": "low", "verbosity": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
        "max_completion_tokens": 9, "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "messages": [{"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "u", "detail": "low"}}]},
            {"role": "assistant", "content": "Well", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]}]});
    let turned = chat_on_responses::request(request.to_string().as_bytes()).unwrap();
    assert_eq!(
        read(&turned.body),
        json!({"model": "gpt", "stream": true, "max_output_tokens": 9,
        "input": [
            {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Be brief."}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"},
                {"type": "input_image", "image_url": "u", "detail": "low"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Well"}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x"},
            {"type": "function_call_output", "call_id": "c1", "output": "one"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]}],
        "tools": [{"type": "function", "name": "f", "strict": false, "parameters": {"type": "object", "properties": {}}}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"}})
    );
}

#[test]
fn items_become_a_chat_in_the_order_that_it_demands() {
    let request = json!({"model": "hermes", "stream": true, "store": false, "instructions": "Be brief.",
        "include": ["reasoning.encrypted_content"], "reasoning": {"effort": "high", "summary": "auto"},
        "truncation": "disabled", "max_output_tokens": 5, "text": {"format": {"type": "text"}},
        "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": false}],
        "input": [
            {"role": "developer", "content": "House rules."},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "x"},
            {"type": "message", "id": "m", "status": "completed", "role": "assistant", "phase": "commentary", "content": [
                {"type": "output_text", "text": "Well", "annotations": [], "logprobs": []}]},
            {"type": "function_call", "id": "i", "call_id": "c1", "name": "f", "arguments": "{}", "status": "completed"},
            {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "one"},
            {"role": "user", "content": "meanwhile"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
            {"type": "function_call", "call_id": "c3", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c3", "output": "three"}]});
    let turned = responses_on_chat::request(request.to_string().as_bytes()).unwrap();
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    assert_eq!(
        read(&turned.body),
        json!({"model": "hermes", "stream": true, "max_tokens": 5,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "system", "content": "House rules."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Well", "tool_calls": [call("c1"), call("c2")]},
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
            {"role": "user", "content": "meanwhile"},
            {"role": "assistant", "content": null, "tool_calls": [call("c3")]},
            {"role": "tool", "tool_call_id": "c3", "content": "three"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}, "strict": false}}],
        "response_format": {"type": "text"}, "reasoning_effort": "high",
        "stream_options": {"include_usage": true}})
    );
    let text = br#"{"model":"m","input":"Hi"}"#;
    let turned = responses_on_chat::request(text).unwrap();
    assert_eq!(
        read(&turned.body),
        json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
    );
}

#[test]
fn tools_in_a_namespace_have_it_in_their_names_and_back() {
    let tool =
        |name: &str| json!({"type": "function", "name": name, "parameters": {}, "strict": false});
    let request = json!({"model": "m", "tools": [tool("f"),
            {"type": "namespace", "name": "agents", "description": "d", "tools": [tool("spawn")]},
            {"type": "web_search", "external_web_access": false}],
        "input": [{"role": "user", "content": "Hi"},
            {"type": "function_call", "call_id": "c", "namespace": "agents", "name": "spawn", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "done"}]});
    let turned = responses_on_chat::request(request.to_string().as_bytes()).unwrap();
    let body = read(&turned.body);
    let names: Vec<_> = body["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| &tool["function"]["name"])
        .collect();
    assert_eq!(names, ["f", "agents__spawn"]);
    assert_eq!(
        body["messages"][1]["tool_calls"][0]["function"]["name"],
        "agents__spawn"
    );
    let asked = super::super::EchoedFields {
        namespaces: turned.namespaces,
        ..super::asked()
    };
    let call = |id: &str, name: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}});
    let completion = json!({"id": "1", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "tool_calls": [call("a", "agents__spawn"), call("b", "f")]}}]});
    let answer = responses_on_chat::answer(completion.to_string().as_bytes(), &asked).unwrap();
    let super::super::WholeTranslation::Answer(answer) = answer else {
        panic!("{answer:?}")
    };
    let output = read(&answer)["output"].clone();
    assert_eq!(
        (&output[0]["name"], &output[0]["namespace"]),
        (&json!("spawn"), &json!("agents"))
    );
    assert_eq!(
        (&output[1]["name"], &output[1].get("namespace")),
        (&json!("f"), &None)
    );
}

/// OpenAI's SDKs add what they have parsed to an answer, and send it with the next request.
#[test]
fn what_sdks_have_parsed_is_dropped() {
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}",
        "parsed_arguments": {"a": 1}}});
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": "x"},
        {"role": "assistant", "content": "{}", "parsed": {}, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "y"}]});
    let there = chat_on_responses::request(chat.to_string().as_bytes()).unwrap();
    let mut there = read(&there.body);
    let text = there.to_string();
    assert!(!text.contains("parsed"), "{text}");
    for item in there["input"].as_array_mut().unwrap() {
        if item["type"] == "function_call" {
            item["parsed_arguments"] = json!({"a": 1});
        }
        if item["role"] == "assistant" {
            item["content"][0]["parsed"] = json!({});
        }
    }
    let back = responses_on_chat::request(there.to_string().as_bytes()).unwrap();
    let text = String::from_utf8(back.body).unwrap();
    assert!(
        !text.contains("parsed") && text.contains("{\\\"a\\\":1}"),
        "{text}"
    );
}
