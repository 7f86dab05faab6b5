//! Streams as providers send them: with events, members, comments and line ends that we don't make.

#![expect(clippy::needless_pass_by_value, reason = "so that tables read as JSON")]

use serde_json::{Value, json};

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Whole,
    Failed,
    Cut,
}

/// A stream: its provider, its bytes, and the words and the end that an app gets.
pub(crate) type Stream = (&'static str, String, &'static str, End);

fn events(events: &[Value]) -> String {
    let events = events.iter().enumerate().map(|(number, event)| {
        let mut event = event.clone();
        event["sequence_number"] = number.into();
        let kind = event["type"].as_str().unwrap();
        format!("event: {kind}\ndata: {event}\n\n")
    });
    events.collect()
}

fn begun() -> Value {
    json!({"type": "response.created", "response": {"id": "resp_0a", "object": "response", "created_at": 1_764_000_000, "status": "in_progress",
        "background": false, "error": null, "incomplete_details": null, "model": "gpt-6", "output": [], "service_tier": "auto", "usage": null}})
}

fn ended(status: &str, more: Value) -> Value {
    let mut event = begun();
    event["type"] = format!("response.{status}").into();
    event["response"]["status"] = status.into();
    event["response"]["usage"] = json!({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 12});
    let response = event["response"].as_object_mut().unwrap();
    response.extend(more.as_object().unwrap().clone());
    event
}

fn delta(place: u64, text: &str) -> Value {
    json!({"type": "response.output_text.delta", "content_index": 0, "delta": text, "item_id": "msg_0b", "logprobs": [],
        "obfuscation": "k3Xq", "output_index": place})
}

fn item(of: &str, place: u64, item: Value) -> Value {
    json!({"type": format!("response.output_item.{of}"), "output_index": place, "item": item})
}

/// Streams of Responses.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn responses() -> Vec<Stream> {
    let quota = json!({"type": "backend.rate_limits", "plan_type": "plus", "rate_limits": {"allowed": true, "limit_reached": false,
        "primary": {"used_percent": 34, "window_minutes": 300, "reset_after_seconds": 900, "reset_at": 4_000_000_000_u64}, "secondary": null},
        "credits": null, "promo": null});
    let message = |status: &str, content: Value| json!({"id": "msg_0b", "type": "message", "status": status, "role": "assistant", "content": content});
    let part = |text: &str| json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text});
    let call = |id: &str, said: &str| json!({"id": format!("fc_{id}"), "type": "function_call", "status": "completed", "arguments": said, "call_id": id, "name": "shell"});
    let say = |place: u64, text: &str| {
        vec![
            item("added", place, message("in_progress", json!([]))),
            json!({"type": "response.content_part.added", "content_index": 0, "item_id": "msg_0b", "output_index": place, "part": part("")}),
            delta(place, text),
            json!({"type": "response.output_text.done", "content_index": 0, "item_id": "msg_0b", "output_index": place, "text": text, "logprobs": []}),
            json!({"type": "response.content_part.done", "content_index": 0, "item_id": "msg_0b", "output_index": place, "part": part(text)}),
            item("done", place, message("completed", json!([part(text)]))),
        ]
    };
    let all = |parts: &[&[Value]]| events(&parts.concat());
    let progress = json!({"type": "response.in_progress", "response": begun()["response"]});
    let thought = [
        item(
            "added",
            0,
            json!({"id": "rs_0c", "type": "reasoning", "encrypted_content": "gAAAAA==", "summary": []}),
        ),
        json!({"type": "response.reasoning_summary_part.added", "item_id": "rs_0c", "output_index": 0, "summary_index": 0, "part": {"type": "summary_text", "text": ""}}),
        json!({"type": "response.reasoning_summary_text.delta", "item_id": "rs_0c", "output_index": 0, "summary_index": 0, "delta": "**Looking**", "obfuscation": "x"}),
        json!({"type": "response.reasoning_summary_text.done", "item_id": "rs_0c", "output_index": 0, "summary_index": 0, "text": "**Looking**"}),
        json!({"type": "response.reasoning_summary_part.done", "item_id": "rs_0c", "output_index": 0, "summary_index": 0, "part": {"type": "summary_text", "text": "**Looking**"}}),
        item(
            "done",
            0,
            json!({"id": "rs_0c", "type": "reasoning", "encrypted_content": "gAAAAA==", "summary": [{"type": "summary_text", "text": "**Looking**"}]}),
        ),
    ];
    let search = json!({"id": "ws_0d", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "x"}});
    let plain = all(&[
        &[begun(), progress.clone()],
        &say(0, "Hi ü"),
        &[ended("completed", json!({}))],
    ]);
    vec![
        ("a plain answer", plain.clone(), "Hi ü", End::Whole),
        ("CRLF", plain.replace('\n', "\r\n"), "Hi ü", End::Whole),
        ("CR", plain.replace('\n', "\r"), "Hi ü", End::Whole),
        (
            "data without a space",
            plain.replace("data: ", "data:"),
            "Hi ü",
            End::Whole,
        ),
        (
            "comments and other fields",
            plain.replace("event: ", ": ping\nid: 7\nretry: 100\nevent:"),
            "Hi ü",
            End::Whole,
        ),
        (
            "data alone",
            plain
                .lines()
                .filter(|line| !line.starts_with("event"))
                .collect::<Vec<_>>()
                .join("\n")
                + "\n\n",
            "Hi ü",
            End::Whole,
        ),
        (
            "data on two lines",
            plain.replace(",\"sequence_number\"", ",\ndata: \"sequence_number\""),
            "Hi ü",
            End::Whole,
        ),
        (
            "an end mark of the other wire",
            format!("{plain}data: [DONE]\n\n"),
            "Hi ü",
            End::Whole,
        ),
        (
            "thinking, quotas and an empty output",
            all(&[
                &[begun(), quota.clone(), progress.clone()],
                &thought,
                &say(1, "4"),
                std::slice::from_ref(&quota),
                &[ended("completed", json!({}))],
            ]),
            "4",
            End::Whole,
        ),
        (
            "parallel calls",
            all(&[&[
                begun(),
                item("added", 0, call("a", "")),
                item("added", 1, call("b", "")),
                json!({"type": "response.function_call_arguments.delta", "item_id": "fc_b", "output_index": 1, "delta": "{\"b\""}),
                json!({"type": "response.function_call_arguments.delta", "item_id": "fc_a", "output_index": 0, "delta": "{}"}),
                json!({"type": "response.function_call_arguments.delta", "item_id": "fc_b", "output_index": 1, "delta": ":2}"}),
                json!({"type": "response.function_call_arguments.done", "item_id": "fc_a", "output_index": 0, "arguments": "{}"}),
                item("done", 0, call("a", "{}")),
                item("done", 1, call("b", "{\"b\":2}")),
                ended("completed", json!({})),
            ]]),
            "",
            End::Whole,
        ),
        (
            "calls that are not streamed",
            all(&[&[
                begun(),
                item("done", 0, call("a", "{}")),
                item("done", 1, call("b", "{}")),
                ended("completed", json!({})),
            ]]),
            "",
            End::Whole,
        ),
        (
            "a custom call",
            all(&[&[
                begun(),
                item(
                    "added",
                    0,
                    json!({"id": "ctc_1", "type": "custom_tool_call", "call_id": "c", "name": "apply_patch", "input": ""}),
                ),
                json!({"type": "response.custom_tool_call_input.delta", "item_id": "ctc_1", "output_index": 0, "delta": "*** Begin"}),
                json!({"type": "response.custom_tool_call_input.done", "item_id": "ctc_1", "output_index": 0, "input": "*** Begin"}),
                ended("completed", json!({})),
            ]]),
            "",
            End::Whole,
        ),
        (
            "a search, an image and a citation",
            all(&[
                &[
                    begun(),
                    item("added", 0, search.clone()),
                    json!({"type": "response.web_search_call.searching", "output_index": 0, "item_id": "ws_0d"}),
                    item("done", 0, search),
                    json!({"type": "response.image_generation_call.partial_image", "output_index": 1, "partial_image_b64": "iVBORw0KGgo=", "partial_image_index": 0}),
                ],
                &say(2, "See."),
                &[
                    json!({"type": "response.output_text.annotation.added", "output_index": 2, "content_index": 0, "annotation_index": 0, "item_id": "msg_0b",
                    "annotation": {"type": "url_citation", "url": "https://example.com", "title": "T", "start_index": 0, "end_index": 4}}),
                    ended("completed", json!({})),
                ],
            ]),
            "See.",
            End::Whole,
        ),
        (
            "a refusal",
            all(&[&[
                begun(),
                item("added", 0, message("in_progress", json!([]))),
                json!({"type": "response.refusal.delta", "output_index": 0, "content_index": 0, "item_id": "msg_0b", "delta": "No."}),
                item(
                    "done",
                    0,
                    message("completed", json!([{"type": "refusal", "refusal": "No."}])),
                ),
                ended("completed", json!({})),
            ]]),
            "",
            End::Whole,
        ),
        (
            "two messages",
            all(&[
                &[begun()],
                &say(0, "I look."),
                &say(1, "It is."),
                &[ended("completed", json!({}))],
            ]),
            "I look.\n\nIt is.",
            End::Whole,
        ),
        (
            "an answer in its end alone",
            all(&[&[ended(
                "completed",
                json!({"output": [message("completed", json!([part("All.")]))]}),
            )]]),
            "All.",
            End::Whole,
        ),
        (
            "items that are not streamed",
            all(&[&[
                begun(),
                item("done", 0, message("completed", json!([part("One.")]))),
                ended("completed", json!({})),
            ]]),
            "One.",
            End::Whole,
        ),
        (
            "too long",
            all(&[
                &[begun(), delta(0, "and")],
                &[ended(
                    "incomplete",
                    json!({"incomplete_details": {"reason": "max_output_tokens"}}),
                )],
            ]),
            "and",
            End::Whole,
        ),
        (
            "filtered",
            all(&[
                &[begun(), delta(0, "and")],
                &[ended(
                    "incomplete",
                    json!({"incomplete_details": {"reason": "content_filter"}}),
                )],
            ]),
            "and",
            End::Whole,
        ),
        (
            "overloaded at once",
            all(&[&[
                begun(),
                ended(
                    "failed",
                    json!({"error": {"code": "server_is_overloaded", "message": "Overloaded"}}),
                ),
            ]]),
            "",
            End::Failed,
        ),
        (
            "overloaded in the middle",
            all(&[&[
                begun(),
                delta(0, "Hi"),
                ended(
                    "failed",
                    json!({"error": {"code": "server_is_overloaded", "message": "Overloaded"}}),
                ),
            ]]),
            "Hi",
            End::Failed,
        ),
        (
            "an error before anything",
            all(&[&[
                json!({"type": "error", "code": "rate_limit_exceeded", "message": "Slow down", "param": null}),
            ]]),
            "",
            End::Failed,
        ),
        (
            "an error in an object",
            all(&[&[
                begun(),
                quota,
                json!({"type": "error", "error": {"type": "usage_limit_reached", "message": "The usage limit has been reached", "resets_in_seconds": 10}, "status_code": 429}),
            ]]),
            "",
            End::Failed,
        ),
        (
            "cut behind words",
            all(&[&[begun(), progress, delta(0, "Hi")]]),
            "Hi",
            End::Cut,
        ),
        (
            "cut in an event",
            all(&[&[begun(), delta(0, "Hi"), ended("completed", json!({}))]])
                .trim_end()
                .to_owned(),
            "Hi",
            End::Cut,
        ),
    ]
}

fn chunk(delta: Value, reason: Option<&str>) -> Value {
    json!({"id": "chatcmpl-0a", "object": "chat.completion.chunk", "created": 1_764_000_000, "model": "hermes", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
}

fn chunks(chunks: &[Value]) -> String {
    let chunks = chunks.iter().map(|chunk| format!("data: {chunk}\n\n"));
    chunks.collect()
}

/// Streams of Chat Completions.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn chats() -> Vec<Stream> {
    const DONE: &str = "data: [DONE]\n\n";
    let with = |mut chunk: Value, more: Value| {
        let members = chunk.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        chunk
    };
    let choice = |mut chunk: Value, more: Value| {
        let members = chunk["choices"][0].as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        chunk
    };
    let say = |text: &str| chunk(json!({"content": text}), None);
    let first = || chunk(json!({"role": "assistant", "content": ""}), None);
    let stop = || chunk(json!({}), Some("stop"));
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12});
    let plain = chunks(&[first(), say("Hi"), say(" ü"), stop()]);
    let call = |more: Value| chunk(json!({"tool_calls": [more]}), None);
    let called = || chunk(json!({}), Some("tool_calls"));
    vec![
        ("a plain answer", plain.clone() + DONE, "Hi ü", End::Whole),
        (
            "CRLF",
            (plain.clone() + DONE).replace('\n', "\r\n"),
            "Hi ü",
            End::Whole,
        ),
        (
            "CR",
            (plain.clone() + DONE).replace('\n', "\r"),
            "Hi ü",
            End::Whole,
        ),
        (
            "data without a space",
            (plain.clone() + DONE).replace("data: ", "data:"),
            "Hi ü",
            End::Whole,
        ),
        (
            "comments",
            format!(
                ": PROCESSING\n\n: PROCESSING\n\n{}{DONE}",
                plain.replace("data: ", ": ping\ndata: ")
            ),
            "Hi ü",
            End::Whole,
        ),
        (
            "data on two lines",
            plain.replace(",\"choices\"", ",\ndata:\"choices\"") + DONE,
            "Hi ü",
            End::Whole,
        ),
        ("without an end mark", plain.clone(), "Hi ü", End::Whole),
        (
            "a last frame of its own",
            plain.clone() + "data: {\"choices\":[],\"lastOne\":true}\n\n",
            "Hi ü",
            End::Whole,
        ),
        (
            "fingerprints, padding and usage",
            chunks(&[
                with(
                    first(),
                    json!({"system_fingerprint": "fp", "obfuscation": "a", "usage": null}),
                ),
                with(say("Hi"), json!({"obfuscation": "", "usage": null})),
                stop(),
                json!({"id": "chatcmpl-0a", "object": "chat.completion.chunk", "choices": [], "usage": usage}),
            ]) + DONE,
            "Hi",
            End::Whole,
        ),
        (
            "reasoning with details",
            chunks(&[
                chunk(
                    json!({"role": "assistant", "content": "", "reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm", "index": 0}]}),
                    None,
                ),
                chunk(
                    json!({"role": "assistant", "content": "", "reasoning": null, "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}),
                    None,
                ),
                with(say("4"), json!({"provider": "x"})),
                choice(
                    stop(),
                    json!({"native_finish_reason": "stop", "logprobs": null}),
                ),
                with(
                    chunk(json!({"content": ""}), None),
                    json!({"usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "cost": 0.001, "cost_details": {"x": null}}}),
                ),
            ]) + DONE,
            "4",
            End::Whole,
        ),
        (
            "a content in parts",
            chunks(&[
                first(),
                chunk(
                    json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": true}]}),
                    None,
                ),
                chunk(
                    json!({"content": [{"type": "thinking", "thinking": ", so"}]}),
                    None,
                ),
                chunk(
                    json!({"content": [{"type": "text", "text": "Hi"}, {"type": "reference", "reference_ids": [1]}, {"type": "text", "text": ""}]}),
                    None,
                ),
                say(" ü"),
                stop(),
            ]) + DONE,
            "Hi ü",
            End::Whole,
        ),
        (
            "thinking beside null",
            chunks(&[
                chunk(
                    json!({"role": "assistant", "content": null, "reasoning_content": ""}),
                    None,
                ),
                chunk(json!({"content": null, "reasoning_content": "hm"}), None),
                chunk(json!({"content": "4", "reasoning_content": null}), None),
                with(stop(), json!({"usage": usage})),
            ]) + DONE,
            "4",
            End::Whole,
        ),
        (
            "whole calls in one chunk",
            chunks(&[
                first(),
                chunk(
                    json!({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{\"x\": \"ü\"}"}}]}),
                    None,
                ),
                choice(called(), json!({"stop_reason": 128_008})),
            ]) + DONE,
            "",
            End::Whole,
        ),
        (
            "calls without an index",
            chunks(&[
                call(
                    json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}),
                ),
                call(
                    json!({"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}),
                ),
                called(),
            ]) + DONE,
            "",
            End::Whole,
        ),
        (
            "calls piece by piece",
            chunks(&[
                first(),
                say("I look."),
                call(
                    json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}),
                ),
                call(
                    json!({"index": 0, "id": null, "function": {"name": null, "arguments": "{\"x\""}}),
                ),
                call(json!({"index": 0, "function": {"arguments": ":1}"}})),
                called(),
            ]) + DONE,
            "I look.",
            End::Whole,
        ),
        (
            "a filter's results",
            chunks(&[
                json!({"id": "", "model": "", "object": "", "created": 0, "choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": false}}}]}),
                choice(
                    say("and"),
                    json!({"content_filter_results": {"hate": {"filtered": false, "severity": "safe"}}}),
                ),
                chunk(json!({}), Some("content_filter")),
            ]) + DONE,
            "and",
            End::Whole,
        ),
        (
            "usage in an extension",
            chunks(&[
                with(first(), json!({"x_groq": {"id": "req"}})),
                say("Hi"),
                with(stop(), json!({"x_groq": {"usage": usage}})),
            ]) + DONE,
            "Hi",
            End::Whole,
        ),
        (
            "timings",
            chunks(&[
                say("Hi"),
                with(
                    stop(),
                    json!({"timings": {"predicted_per_second": 12.5}, "usage": usage}),
                ),
            ]) + DONE,
            "Hi",
            End::Whole,
        ),
        (
            "usage in each chunk",
            chunks(&[
                with(first(), json!({"usage": usage})),
                with(say("Hi"), json!({"usage": usage})),
                with(stop(), json!({"usage": usage})),
            ]) + DONE,
            "Hi",
            End::Whole,
        ),
        (
            "a second choice",
            chunks(&[
                say("Hi"),
                choice(say("no"), json!({"index": 1})),
                choice(stop(), json!({"index": 1})),
                stop(),
            ]) + DONE,
            "Hi",
            End::Whole,
        ),
        (
            "empty reasons",
            chunks(&[choice(say("Hi"), json!({"finish_reason": ""})), stop()]) + DONE,
            "Hi",
            End::Whole,
        ),
        (
            "too long",
            chunks(&[say("and"), chunk(json!({}), Some("length"))]) + DONE,
            "and",
            End::Whole,
        ),
        (
            "a reason of tomorrow",
            chunks(&[say("Hi"), chunk(json!({}), Some("eos_token"))]) + DONE,
            "Hi",
            End::Whole,
        ),
        (
            "a refusal",
            chunks(&[chunk(json!({"refusal": "No."}), None), stop()]) + DONE,
            "",
            End::Whole,
        ),
        (
            "an end mark alone",
            chunks(&[say("Hi")]) + DONE,
            "Hi",
            End::Whole,
        ),
        (
            "an error at once",
            "data: {\"error\":{\"message\":\"Overloaded\",\"code\":503}}\n\n".to_owned(),
            "",
            End::Failed,
        ),
        (
            "an error in the middle",
            chunks(&[
                say("Hi"),
                with(
                    choice(chunk(json!({"content": ""}), Some("error")), json!({})),
                    json!({"error": {"code": 502, "message": "Provider disconnected"}}),
                ),
            ]) + DONE,
            "Hi",
            End::Failed,
        ),
        (
            "an error for a reason",
            chunks(&[say("Hi"), chunk(json!({}), Some("error"))]) + DONE,
            "Hi",
            End::Failed,
        ),
        (
            "cut behind words",
            chunks(&[first(), say("Hi")]),
            "Hi",
            End::Cut,
        ),
        (
            "cut in an event",
            plain.trim_end().to_owned(),
            "Hi ü",
            End::Cut,
        ),
    ]
}
