//! What can't be carried over is refused by name.

use serde_json::{Value, json};

use super::super::{
    TranslatedRequest, UntranslatableRequest, chat_on_responses, responses_on_chat,
};

fn refused(turned: Result<TranslatedRequest, UntranslatableRequest>, of: &Value) -> String {
    match turned {
        Err(refused) => {
            assert!(refused.to_string().contains(&refused.field));
            refused.field
        }
        Ok(turned) => panic!("{of} became {}", String::from_utf8_lossy(&turned.body)),
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_chat_is_refused_by_the_member_that_responses_lack() {
    let user = |content: Value| json!([{"role": "user", "content": content}]);
    for (field, more) in [
        ("n", json!({"n": 2})),
        ("stop", json!({"stop": ["x"]})),
        ("stop", json!({"stop": "x"})),
        ("logprobs", json!({"logprobs": true})),
        ("top_logprobs", json!({"top_logprobs": 2})),
        ("logit_bias", json!({"logit_bias": {"1": 5}})),
        ("frequency_penalty", json!({"frequency_penalty": 0.5})),
        ("presence_penalty", json!({"presence_penalty": -1})),
        ("functions", json!({"functions": [{"name": "f"}]})),
        ("modalities", json!({"modalities": ["text", "audio"]})),
        ("audio", json!({"audio": {"voice": "x"}})),
        ("prediction", json!({"prediction": {"type": "content"}})),
        ("web_search_options", json!({"web_search_options": {}})),
        ("moderation", json!({"moderation": {"model": "m"}})),
        ("of_tomorrow", json!({"of_tomorrow": false})),
        ("messages", json!({"messages": null})),
        ("messages", json!({"messages": "Hi"})),
        ("messages[0]", json!({"messages": ["Hi"]})),
        ("messages[0].role", json!({"messages": [{"content": "Hi"}]})),
        (
            "messages[0].role",
            json!({"messages": [{"role": "function", "name": "f", "content": "x"}]}),
        ),
        (
            "messages[0].content",
            json!({"messages": [{"role": "user"}]}),
        ),
        ("messages[0].content", json!({"messages": user(json!(1))})),
        (
            "messages[0].content[1].type",
            json!({"messages": user(json!([{"type": "text", "text": ""}, {"type": "input_audio", "input_audio": {}}]))}),
        ),
        (
            "messages[0].content[0].text",
            json!({"messages": user(json!([{"type": "text"}]))}),
        ),
        (
            "messages[0].content[0].odd",
            json!({"messages": user(json!([{"type": "text", "text": "", "odd": 1}]))}),
        ),
        (
            "messages[0].content[0].image_url.odd",
            json!({"messages": user(json!([{"type": "image_url", "image_url": {"url": "u", "odd": 1}}]))}),
        ),
        (
            "messages[0].function_call",
            json!({"messages": [{"role": "assistant", "function_call": {"name": "f", "arguments": ""}}]}),
        ),
        (
            "messages[0].audio",
            json!({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}),
        ),
        (
            "messages[0].content[0].type",
            json!({"messages": [{"role": "assistant", "content": [{"type": "image_url", "image_url": "u"}]}]}),
        ),
        (
            "messages[0].tool_calls[0].id",
            json!({"messages": [{"role": "assistant", "tool_calls": [{"type": "function"}]}]}),
        ),
        (
            "messages[0].tool_call_id",
            json!({"messages": [{"role": "tool", "content": ""}]}),
        ),
        ("tools[0].type", json!({"tools": [{"type": "web_search"}]})),
        (
            "tools[0].function.name.",
            json!({"tools": [{"type": "function", "function": {"name": "f", "name.": 1}}]}),
        ),
        (
            "tools[0].function",
            json!({"tools": [{"type": "function"}]}),
        ),
        (
            "tool_choice.type",
            json!({"tool_choice": {"type": "web_search"}}),
        ),
        (
            "response_format.type",
            json!({"response_format": {"type": "grammar"}}),
        ),
        (
            "response_format.json_schema",
            json!({"response_format": {"type": "json_schema"}}),
        ),
        ("reasoning", json!({"reasoning": true})),
    ] {
        let mut request = json!({"model": "m", "messages": user("Hi".into())});
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let body = request.to_string();
        assert_eq!(
            refused(chat_on_responses::request(body.as_bytes()), &request),
            field
        );
    }
    for body in ["", "[]", "{", "null", "\u{0}"] {
        assert_eq!(
            refused(chat_on_responses::request(body.as_bytes()), &body.into()),
            ""
        );
        assert_eq!(
            refused(responses_on_chat::request(body.as_bytes()), &body.into()),
            ""
        );
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_response_is_refused_by_the_member_that_chats_lack() {
    let item = |item: Value| json!({"input": [item]});
    let part = |role: &str, part: Value| item(json!({"role": role, "content": [part]}));
    for (field, more) in [
        ("previous_response_id", json!({"previous_response_id": "r"})),
        ("conversation", json!({"conversation": "c"})),
        ("prompt", json!({"prompt": {"id": "p"}})),
        ("background", json!({"background": true})),
        (
            "include[1]",
            json!({"include": ["reasoning.encrypted_content", "message.output_text.logprobs"]}),
        ),
        ("top_logprobs", json!({"top_logprobs": 3})),
        ("max_tool_calls", json!({"max_tool_calls": 3})),
        (
            "context_management",
            json!({"context_management": [{"type": "compaction"}]}),
        ),
        ("of_tomorrow", json!({"of_tomorrow": 0})),
        ("input", json!({"input": null})),
        ("input", json!({"input": 1})),
        (
            "input[0].type",
            item(json!({"type": "item_reference", "id": "i"})),
        ),
        (
            "input[0].type",
            item(json!({"type": "compaction", "encrypted_content": "x"})),
        ),
        (
            "input[0].call_id",
            item(json!({"type": "function_call_output", "call_id": "c", "output": ""})),
        ),
        (
            "input[0].name",
            item(json!({"type": "function_call", "call_id": "c"})),
        ),
        (
            "input[0].role",
            item(json!({"role": "critic", "content": "x"})),
        ),
        ("input[0].content", item(json!({"role": "user"}))),
        (
            "input[0].content[0].type",
            part("user", json!({"type": "input_audio"})),
        ),
        (
            "input[0].content[0].file_id",
            part(
                "user",
                json!({"type": "input_image", "image_url": "u", "file_id": "f"}),
            ),
        ),
        (
            "input[0].content[0].file_id",
            part("user", json!({"type": "input_image", "file_id": "f"})),
        ),
        (
            "input[0].content[0].file_url",
            part("user", json!({"type": "input_file", "file_url": "u"})),
        ),
        (
            "input[0].content[0].type",
            part(
                "assistant",
                json!({"type": "input_image", "image_url": "u"}),
            ),
        ),
        ("tools[0].type", json!({"tools": [{"type": "web_search"}]})),
        (
            "tools[0].defer_loading",
            json!({"tools": [{"type": "function", "name": "f", "defer_loading": true}]}),
        ),
        (
            "tool_choice.type",
            json!({"tool_choice": {"type": "mcp", "server_label": "s"}}),
        ),
        (
            "text.format.type",
            json!({"text": {"format": {"type": "grammar"}}}),
        ),
        ("text.odd", json!({"text": {"odd": 1}})),
        ("reasoning.mode", json!({"reasoning": {"mode": "pro"}})),
    ] {
        let mut request = json!({"model": "m", "input": "Hi"});
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let body = request.to_string();
        assert_eq!(
            refused(responses_on_chat::request(body.as_bytes()), &request),
            field
        );
    }
}
