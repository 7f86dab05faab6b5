//! Whole chat completions, and errors.

use serde_json::{Map, Value, json};

use super::TEXTS;

/// Whole chat completions.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn answers() -> Vec<(String, Value)> {
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
        (
            "a table",
            json!({"content": "| a | b |\n|---|:-:|\n| `x\\|y` | **ü** |"}),
            "stop",
        ),
        (
            "code",
            json!({"content": "```c\nprintf(\"%s\\n\", s); /* \\u{0} */\n```"}),
            "stop",
        ),
        (
            "a page",
            json!({"content": "<!DOCTYPE html>\n<p title='a\"b'>&amp;</p>\r\n"}),
            "stop",
        ),
        (
            "a formula",
            json!({"content": "\\[\\frac{a}{b}\\] und $\\alpha$"}),
            "stop",
        ),
        (
            "a long text",
            json!({"content": "It was a bright cold day in April. ".repeat(40)}),
            "stop",
        ),
        (
            "a long half",
            json!({"content": "Langer Text, ümlaut. ".repeat(60)}),
            "length",
        ),
        (
            "Arabic",
            json!({"content": "القاهرة \u{202b}مصر\u{202c}"}),
            "stop",
        ),
        (
            "Chinese and a supplementary plane",
            json!({"content": "你好，𠮷野家。"}),
            "stop",
        ),
        ("emoji", json!({"content": "👩🏽‍🚀🏳️‍🌈🇩🇪#️⃣"}), "stop"),
        (
            "a list of JSON",
            json!({"content": "[{\"größe\":1.50,\"x\":null},{}]"}),
            "stop",
        ),
        ("a number", json!({"content": "0"}), "stop"),
        ("null in words", json!({"content": "null"}), "stop"),
        ("a space", json!({"content": " "}), "stop"),
        ("a line", json!({"content": "\n"}), "stop"),
        (
            "nothing that is filtered",
            json!({"content": ""}),
            "content_filter",
        ),
        ("nothing in time", json!({"content": ""}), "length"),
        (
            "a refusal in Chinese",
            json!({"content": null, "refusal": "抱歉，我不能。\n"}),
            "stop",
        ),
        (
            "a filtered refusal",
            json!({"content": null, "refusal": "No, \"never\"."}),
            "content_filter",
        ),
        (
            "half a refusal",
            json!({"content": null, "refusal": "I can"}),
            "length",
        ),
        (
            "words and a refusal",
            json!({"content": "Well, ", "refusal": "no."}),
            "stop",
        ),
        (
            "a thought and a refusal",
            json!({"content": null, "refusal": "No.", "reasoning_content": "**Policy**\n\nIt says no."}),
            "stop",
        ),
        (
            "a thought and a call",
            json!({"content": null, "reasoning_content": "**Calling**", "tool_calls": [call("c1", "{\"x\":1}")]}),
            "tool_calls",
        ),
        (
            "a thought and half a text",
            json!({"content": "So", "reasoning_content": "… 🙂"}),
            "length",
        ),
        (
            "a thought and a filter",
            json!({"content": "", "reasoning_content": "hm"}),
            "content_filter",
        ),
        (
            "eight calls",
            json!({"content": null, "tool_calls": (0..8).map(|number| call(&format!("call_{number}"), &format!("{{\"n\":{number}}}"))).collect::<Vec<_>>()}),
            "tool_calls",
        ),
        (
            "a long call",
            json!({"content": null, "tool_calls": [call("c1", &json!({"path": "a.py", "text": "x = \"ü\\n\"\n".repeat(20)}).to_string())]}),
            "tool_calls",
        ),
        (
            "odd names",
            json!({"content": null, "tool_calls": [{"id": "toolu_01|\"ü\"", "type": "function", "function": {"name": "mcp__files__read-file", "arguments": "{}"}}]}),
            "tool_calls",
        ),
        (
            "arguments that are not JSON",
            json!({"content": null, "tool_calls": [call("c1", "city: Bonn"), call("c2", " ")]}),
            "tool_calls",
        ),
        (
            "numbers in arguments",
            json!({"content": null, "tool_calls": [call("c1", "{\"a\":9007199254740993,\"b\":1e400,\"c\":-0.0}")]}),
            "tool_calls",
        ),
        (
            "a call without words in time",
            json!({"content": "Let me", "tool_calls": [call("c1", "")]}),
            "length",
        ),
        (
            "both kinds of calls",
            json!({"content": null, "tool_calls": [call("c1", "{}"), {"id": "c2", "type": "custom", "custom": {"name": "patch", "input": "*** Begin Patch\n+\"ü\"\n*** End Patch"}}, call("c3", "{}")]}),
            "tool_calls",
        ),
        (
            "a silent custom call",
            json!({"content": "Running.", "tool_calls": [{"id": "c1", "type": "custom", "custom": {"name": "sh", "input": ""}}]}),
            "tool_calls",
        ),
        (
            "two citations",
            json!({"content": "Ä and b.", "annotations": [{"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 1, "url": "https://example.com/ä?a=1&b=2", "title": "T \"q\""}},
                {"type": "url_citation", "url_citation": {"start_index": 6, "end_index": 7, "url": "https://example.org", "title": ""}}]}),
            "stop",
        ),
        (
            "a citation and a call",
            json!({"content": "See.", "annotations": [{"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 3, "url": "https://example.com", "title": "T"}}], "tool_calls": [call("c1", "{}")]}),
            "tool_calls",
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
    let used = |[prompt, said, cached, written, thought]: [u64; 5]| {
        json!({"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said,
            "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
            "completion_tokens_details": {"reasoning_tokens": thought}})
    };
    let mut detailed = used([1000, 70, 900, 0, 64]);
    detailed["prompt_tokens_details"]["audio_tokens"] = 0.into();
    detailed["completion_tokens_details"]["accepted_prediction_tokens"] = 3.into();
    let usages = [
        None,
        Some(used([5, 7, 0, 0, 0])),
        Some(used([1000, 70, 900, 1, 64])),
        Some(used([0, 0, 0, 0, 0])),
        Some(detailed),
        Some(used([400_000, 128_000, 399_999, 1, 127_999])),
    ];
    let mut all = Vec::new();
    let messages = messages
        .into_iter()
        .chain(texts)
        .chain(thoughts)
        .chain(said);
    for (at, (name, message, reason)) in messages.enumerate() {
        let usages = usages.iter().enumerate();
        for (number, usage) in usages.filter(|(number, _)| (number + at) % 2 == 0) {
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

/// Errors as providers send them in a body, the app's error, and the code.
pub(crate) fn errors() -> Vec<(Value, &'static str, Value)> {
    let of = |message: &str, kind: Value, code: Value| json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    vec![
        (
            of(
                "Rate limit reached",
                "requests".into(),
                "rate_limit_exceeded".into(),
            ),
            "Rate limit reached",
            "rate_limit_exceeded".into(),
        ),
        (
            of(
                "Overloaded",
                "service_unavailable_error".into(),
                "server_is_overloaded".into(),
            ),
            "Overloaded",
            "server_is_overloaded".into(),
        ),
        (
            of("Try again", "server_error".into(), Value::Null),
            "Try again",
            "server_error".into(),
        ),
        (
            of(
                "Zu groß: \"ü\"\n",
                "invalid_request_error".into(),
                "context_length_exceeded".into(),
            ),
            "Zu groß: \"ü\"\n",
            "context_length_exceeded".into(),
        ),
        (
            of(
                "No money",
                "insufficient_quota".into(),
                "insufficient_quota".into(),
            ),
            "No money",
            "insufficient_quota".into(),
        ),
        (
            of("Provider returned error", Value::Null, 502.into()),
            "Provider returned error",
            502.into(),
        ),
        (
            of("data: [DONE]\n\n", "server_error".into(), "x".into()),
            "data: [DONE]\n\n",
            "x".into(),
        ),
        (
            json!({"error": {"message": "额度不足"}}),
            "额度不足",
            Value::Null,
        ),
        (
            json!({"error": {"code": 429, "message": "Slow down", "metadata": {"raw": {"a": 1}, "provider_name": "x"}}, "user_id": "u"}),
            "Slow down",
            429.into(),
        ),
        (
            json!({"error": "no such model"}),
            "no such model",
            Value::Null,
        ),
        (
            json!({"error": {"type": "overloaded_error", "message": "Overloaded"}}),
            "Overloaded",
            "overloaded_error".into(),
        ),
        (
            json!({"error": {"message": "", "code": "empty"}}),
            "",
            "empty".into(),
        ),
    ]
}
