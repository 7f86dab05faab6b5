//! Whole answers there and back, and errors.

use serde_json::{Value, json};

use super::super::{
    UntranslatableAnswer, WholeTranslation, chat_on_responses, error, responses_on_chat,
};
use super::{asked, corpus, read};

fn answer(whole: WholeTranslation) -> Value {
    match whole {
        WholeTranslation::Answer(body) => read(&body),
        WholeTranslation::Failed(body) => panic!("{}", String::from_utf8_lossy(&body)),
    }
}

#[test]
fn an_answer_comes_back_whole() {
    let answers = corpus::answers();
    assert!(answers.len() >= 200, "{}", answers.len());
    let all: std::collections::BTreeSet<_> = answers.iter().map(|one| one.1.to_string()).collect();
    assert_eq!(all.len(), answers.len(), "some are the same");
    for (name, completion) in answers {
        let body = completion.to_string();
        let there = answer(responses_on_chat::answer(body.as_bytes(), &asked()).unwrap());
        assert_eq!(there["object"], "response", "{name}");
        let back = chat_on_responses::answer(there.to_string().as_bytes(), &asked()).unwrap();
        assert_eq!(answer(back), completion, "{name}: {there}");
    }
}

#[test]
fn a_response_becomes_a_completion() {
    let response = json!({"id": "resp_1", "object": "response", "created_at": 17.5, "status": "completed", "error": null,
        "incomplete_details": null, "model": "gpt", "service_tier": "default", "output": [
            {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]},
            {"type": "web_search_call", "id": "w", "status": "completed"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look. ", "annotations": []}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It", "annotations": []},
                {"type": "output_text", "text": " is.", "annotations": [{"type": "file_path", "file_id": "f"},
                    {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}]}]},
            {"type": "function_call", "id": "f", "call_id": "c1", "name": "f", "arguments": "{}", "status": "completed"}],
        "usage": {"input_tokens": 1, "input_tokens_details": {"cached_tokens": 1}, "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 3}});
    let made = chat_on_responses::answer(response.to_string().as_bytes(), &asked()).unwrap();
    assert_eq!(
        answer(made),
        json!({"id": "resp_1", "object": "chat.completion", "created": 17, "model": "gpt",
        "service_tier": "default", "choices": [{"index": 0, "message": {"role": "assistant",
            "content": "I look. \n\nIt is.", "refusal": null, "reasoning_content": "a\n\nb",
            "annotations": [{"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}],
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            "logprobs": null, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 1}, "completion_tokens_details": {"reasoning_tokens": 2}}})
    );
}

#[test]
fn a_response_that_has_not_ended_or_has_failed_is_not_an_answer() {
    let made = |more: Value| {
        let mut response = json!({"id": "r", "output": []});
        response
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        chat_on_responses::answer(response.to_string().as_bytes(), &asked())
    };
    for status in ["in_progress", "queued"] {
        assert_eq!(
            made(json!({"status": status})),
            Err(UntranslatableAnswer::Cut)
        );
    }
    for more in [
        json!({"status": "failed", "error": {"code": "server_is_overloaded", "message": "words"}}),
        json!({"status": "completed", "error": {"code": "server_is_overloaded", "message": "words"}}),
    ] {
        let Ok(WholeTranslation::Failed(body)) = made(more) else {
            panic!("it failed")
        };
        assert_eq!(
            read(&body),
            json!({"error": {"message": "words", "type": "server_is_overloaded",
            "param": null, "code": "server_is_overloaded"}})
        );
    }
    let Ok(WholeTranslation::Failed(_)) = made(json!({"status": "cancelled"})) else {
        panic!("it was cancelled")
    };
    for (reason, finish) in [
        ("max_output_tokens", "length"),
        ("content_filter", "content_filter"),
        ("of_tomorrow", "length"),
    ] {
        let whole = made(json!({"status": "incomplete", "incomplete_details": {"reason": reason}}));
        assert_eq!(
            answer(whole.unwrap())["choices"][0]["finish_reason"],
            finish
        );
    }
    for body in [
        "",
        "[]",
        "{\"output\":[",
        "{\"output\":[1]}",
        "{\"output\":[{\"type\":\"function_call\"}]}",
        r#"{"output":[{"type":"function_call","call_id":"a","name":"","arguments":"{}"}]}"#,
    ] {
        let made = chat_on_responses::answer(body.as_bytes(), &asked());
        assert_eq!(made, Err(UntranslatableAnswer::Malformed), "{body}");
        let made = responses_on_chat::answer(body.as_bytes(), &asked());
        assert_eq!(made, Err(UntranslatableAnswer::Malformed), "{body}");
    }
}

#[test]
fn a_completion_becomes_a_response() {
    let completion = json!({"id": "gen-1", "object": "chat.completion", "created": 17, "model": "hermes", "provider": "x",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "native_finish_reason": "stop", "message": {
            "role": "assistant", "content": "Well.", "reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}],
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"index": 1, "type": "function", "function": {"name": "g", "arguments": "{\"a\":1}"}}]}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2}});
    let made = responses_on_chat::answer(completion.to_string().as_bytes(), &asked()).unwrap();
    let call = |id: &str, item: &str, name: &str, said: &str| {
        json!({"id": item, "type": "function_call", "status": "completed",
        "call_id": id, "name": name, "arguments": said})
    };
    assert_eq!(
        answer(made),
        json!({"id": "gen-1", "object": "response", "created_at": 17, "status": "completed", "error": null,
        "incomplete_details": null, "instructions": null, "metadata": {}, "model": "hermes", "output": [
            {"id": "rs_gen-1_0", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": null},
            {"id": "msg_gen-1_1", "type": "message", "status": "completed", "role": "assistant", "content": [
                {"type": "output_text", "text": "Well.", "annotations": [], "logprobs": []}]},
            call("c1", "fc_gen-1_2", "f", "{}"), call("call_gen-1_1", "fc_gen-1_3", "g", "{\"a\":1}")],
        "parallel_tool_calls": true, "temperature": null, "tool_choice": "auto", "tools": [], "top_p": null,
        "usage": {"input_tokens": 1, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}, "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 3}})
    );
}

#[test]
fn an_error_in_a_success_is_an_error() {
    let body = json!({"error": {"message": "words", "code": 502}, "id": "x", "choices": null});
    let Ok(WholeTranslation::Failed(body)) =
        responses_on_chat::answer(body.to_string().as_bytes(), &asked())
    else {
        panic!("it failed")
    };
    assert_eq!(
        read(&body),
        json!({"error": {"message": "words", "type": "server_error", "param": null, "code": 502}})
    );
    let body =
        json!({"choices": [{"index": 0, "message": {"content": ""}, "finish_reason": "error"}]});
    let failed = responses_on_chat::answer(body.to_string().as_bytes(), &asked());
    assert!(matches!(failed, Ok(WholeTranslation::Failed(_))));
    let unfinished =
        json!({"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": null}]});
    let unfinished = responses_on_chat::answer(unfinished.to_string().as_bytes(), &asked());
    assert_eq!(unfinished, Err(UntranslatableAnswer::Malformed));
    let wordless = br#"{"choices":[{"index":0,"finish_reason":"stop"}]}"#;
    let wordless = responses_on_chat::answer(wordless, &asked());
    assert_eq!(wordless, Err(UntranslatableAnswer::Malformed));
}

/// An error of either wire inside of a success, whole and in a stream before and behind the first words, there and back.
#[test]
fn an_error_comes_back_whole() {
    let told = |failed: Result<WholeTranslation, UntranslatableAnswer>, of: &Value| match failed {
        Ok(WholeTranslation::Failed(body)) => read(&body)["error"].clone(),
        other => panic!("{other:?} of {of}"),
    };
    let chunk = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";
    for (body, message, code) in corpus::errors() {
        let is_it = |error: &Value| {
            assert_eq!(error["message"], message, "{body}");
            // Without a code, the kind of error takes its place on the way back.
            let is_unnamed = code.is_null() && error["code"] == "server_error";
            assert!(error["code"] == code || is_unnamed, "{error} of {body}");
        };
        let whole = responses_on_chat::answer(body.to_string().as_bytes(), &asked());
        is_it(&told(whole, &body));
        // As the body of an error's status, and once more.
        let once = error(body.to_string().as_bytes());
        assert_eq!(read(&once)["error"]["message"], message);
        assert_eq!(error(&once), once);
        for before in ["", chunk] {
            let stream = format!("{before}data: {body}\n\n");
            let (mut there, mut back) = (Vec::new(), Vec::new());
            let mut turned = responses_on_chat::ResponsesStream::new(&asked(), super::MOST);
            turned.pass(stream.as_bytes(), &mut there).unwrap();
            assert_eq!((turned.end(&mut there), turned.is_over()), (Ok(()), true));
            let mut fold = chat_on_responses::ChatFold::new(&asked(), super::MOST);
            fold.pass(&there).unwrap();
            is_it(&told(fold.end(), &body));
            let mut turned = chat_on_responses::ChatStream::new(&asked(), super::MOST);
            turned.pass(&there, &mut back).unwrap();
            let back = super::events(&back);
            is_it(&read(back.last().unwrap().as_bytes())["error"]);
            assert_eq!(
                back.len(),
                1 + usize::from(!before.is_empty()) + 1,
                "{back:?}"
            );
        }
    }
}

#[test]
fn an_error_has_the_form_that_sdks_read() {
    let right = br#"{"error": {"message": "x"}, "more": 1}"#;
    assert_eq!(error(right), right);
    for (body, message) in [
        (
            r#"{"detail":"Unsupported parameter"}"#,
            "Unsupported parameter",
        ),
        (r#"{"error":"no such model"}"#, "no such model"),
        (r#"{"message":"no"}"#, "no"),
        ("upstream timed out", "upstream timed out"),
        ("", "The provider gave no reason."),
        (r#"{"detail":""}"#, "The provider gave no reason."),
    ] {
        assert_eq!(read(&error(body.as_bytes()))["error"]["message"], message);
    }
}

/// A failure must not reach an app as an empty answer with a good end.
#[test]
fn what_is_no_response_is_an_error() {
    for (body, message) in [
        (json!({"detail": "E1 boom"}), Some("E1 boom")),
        (json!({"message": "E1 boom"}), Some("E1 boom")),
        (json!({"error": "E1 boom"}), Some("E1 boom")),
        (json!({"error": {"message": "E1 boom"}}), Some("E1 boom")),
        (
            json!({"type": "error", "code": "rate_limit_exceeded", "message": "E1 boom"}),
            Some("E1 boom"),
        ),
        (
            json!({"status": "failed"}),
            Some("failed without saying why"),
        ),
        (json!({}), None),
        (json!({"error": null}), None),
        (json!({"output": null}), None),
        (json!({"output": {"a": 1}}), None),
        (json!({"id": "c", "choices": []}), None),
    ] {
        let made = chat_on_responses::answer(body.to_string().as_bytes(), &asked());
        match (made, message) {
            (Ok(WholeTranslation::Failed(told)), Some(message)) => {
                let told = read(&told)["error"]["message"].to_string();
                assert!(told.contains(message), "{told} of {body}");
            }
            (Err(UntranslatableAnswer::Malformed), None) => {}
            (made, _) => panic!("{made:?} of {body}"),
        }
    }
}

/// Some providers send it whole although a stream was requested; SDKs then read no events in it,
/// and no error.
#[test]
fn a_whole_answer_becomes_the_stream_that_was_asked_for() {
    let asked = super::super::EchoedFields {
        includes_usage: true,
        ..asked()
    };
    for (name, completion) in corpus::answers() {
        let body = completion.to_string();
        let response = answer(responses_on_chat::answer(body.as_bytes(), &asked).unwrap());
        let text = |made: Result<WholeTranslation, UntranslatableAnswer>| match made {
            Ok(WholeTranslation::Answer(text)) => text,
            other => panic!("{name}: {other:?}"),
        };
        // The events add up to the same response, and its chunks to the same completion.
        let events = text(responses_on_chat::stream_of(body.as_bytes(), &asked));
        let mut fold = chat_on_responses::ChatFold::new(&asked, super::MOST);
        fold.pass(&events).unwrap();
        assert_eq!(answer(fold.end().unwrap()), completion, "{name}");
        let body = response.to_string();
        let chunks = text(chat_on_responses::stream_of(body.as_bytes(), &asked));
        assert!(chunks.ends_with(b"data: [DONE]\n\n"), "{name}");
        let mut fold = responses_on_chat::ResponsesFold::new(&asked, super::MOST);
        fold.pass(&chunks).unwrap();
        let back = answer(fold.end().unwrap()).to_string();
        let back = chat_on_responses::answer(back.as_bytes(), &asked).unwrap();
        assert_eq!(answer(back), completion, "{name}");
    }
    let failed = json!({"error": {"message": "no"}}).to_string();
    for made in [
        chat_on_responses::stream_of(failed.as_bytes(), &asked),
        responses_on_chat::stream_of(failed.as_bytes(), &asked),
    ] {
        assert!(matches!(made, Ok(WholeTranslation::Failed(_))), "{made:?}");
    }
}

/// An event of the other wire, as some gateways send it in a chat.
#[test]
fn an_error_event_in_a_chat_is_its_error() {
    let stream =
        b"event: error\ndata: {\"type\":\"error\",\"code\":\"c\",\"message\":\"E1 boom\"}\n\n";
    let (out, end) = super::streams::to_responses(std::str::from_utf8(stream).unwrap(), &[]);
    assert_eq!(end, Ok(()));
    let last = read(super::events(&out).last().unwrap().as_bytes());
    let error = &last["response"]["error"];
    assert_eq!(
        (&error["message"], &error["code"]),
        (&json!("E1 boom"), &json!("c"))
    );
}

#[test]
fn tokens_that_are_counted_in_fractions_are_counted() {
    let body = json!({"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5.0, "completion_tokens": 2.5, "total_tokens": 5.0}});
    let body = responses_on_chat::answer(body.to_string().as_bytes(), &asked()).unwrap();
    let usage = &answer(body)["usage"];
    let told = ["input_tokens", "output_tokens", "total_tokens"].map(|name| usage[name].as_u64());
    assert_eq!(told, [Some(5), Some(0), Some(5)]);
}
