//! Streams there and back, with every cut and every end.

use serde_json::{Value, json};

use super::super::{
    EchoedFields, UntranslatableAnswer, WholeTranslation, chat_on_responses, responses_on_chat,
};
use super::{MOST, asked, corpus, events, read};

/// A chat's stream as one of responses, in pieces; with what came of its end.
pub(super) fn to_responses(
    stream: &str,
    pieces: &[usize],
) -> (Vec<u8>, Result<(), UntranslatableAnswer>) {
    let (mut out, mut turned) = (
        Vec::new(),
        responses_on_chat::ResponsesStream::new(&asked(), MOST),
    );
    let mut end = Ok(());
    for piece in cut(stream, pieces) {
        end = end.and(turned.pass(piece, &mut out));
    }
    end = end.and_then(|()| turned.end(&mut out));
    (out, end)
}

pub(super) fn to_chat(
    stream: &str,
    pieces: &[usize],
    asked: &EchoedFields,
) -> (Vec<u8>, Result<(), UntranslatableAnswer>) {
    let (mut out, mut turned) = (Vec::new(), chat_on_responses::ChatStream::new(asked, MOST));
    let mut end = Ok(());
    for piece in cut(stream, pieces) {
        end = end.and(turned.pass(piece, &mut out));
    }
    (out, end.and_then(|()| turned.end()))
}

/// In pieces that end at these places.
fn cut<'s>(stream: &'s str, places: &[usize]) -> Vec<&'s [u8]> {
    let mut rest = stream.as_bytes();
    let mut pieces = Vec::new();
    let mut before = 0;
    for place in places {
        let (piece, after) = rest.split_at(place - before);
        (rest, before) = (after, *place);
        pieces.push(piece);
    }
    pieces.push(rest);
    pieces
}

pub(super) fn text(stream: Vec<u8>) -> String {
    String::from_utf8(stream).unwrap()
}

#[test]
fn a_stream_comes_back_whole() {
    for (name, answer) in corpus::answers() {
        let (there, end) = to_responses(&corpus::stream(&answer), &[]);
        assert_eq!(end, Ok(()), "{name}");
        checked(&there, &name);
        let there = text(there);
        let (back, end) = to_chat(&there, &[], &asked());
        assert_eq!(end, Ok(()), "{name}: {there}");
        assert_eq!(corpus::gathered(&events(&back)), answer, "{name}: {there}");
    }
}

/// A stream of events is as this wire's SDKs demand: each numbered, each item begun once and done once, and its text
/// that of its deltas.
fn checked(stream: &[u8], name: &str) {
    let (mut items, mut done) = (Vec::new(), Vec::new());
    let mut said = std::collections::BTreeMap::<String, String>::new();
    let events = events(stream);
    for (number, event) in events.iter().enumerate() {
        let event = read(event.as_bytes());
        assert_eq!(event["sequence_number"], number, "{name}");
        let kind = event["type"].as_str().unwrap();
        let place = event["item_id"].to_string() + &event["content_index"].to_string();
        match kind {
            "response.output_item.added" => {
                assert_eq!(event["output_index"], items.len(), "{name}");
                items.push(event["item"]["id"].clone());
            }
            "response.output_item.done" => {
                done.push((event["output_index"].as_u64(), event["item"].clone()));
            }
            _ if kind.split('.').next_back() == Some("delta") => {
                let index = usize::try_from(event["output_index"].as_u64().unwrap()).unwrap();
                assert_eq!(items[index], event["item_id"], "{name}");
                said.entry(place)
                    .or_default()
                    .push_str(event["delta"].as_str().unwrap());
            }
            "response.completed" | "response.incomplete" => {
                done.sort_by_key(|(place, _)| *place);
                let done: Vec<_> = done.iter().map(|(_, item)| item.clone()).collect();
                assert_eq!(event["response"]["output"], Value::from(done), "{name}");
                assert_eq!(number, events.len() - 1);
            }
            _ if kind.split('.').next_back() == Some("done") => {
                let names = ["text", "refusal", "arguments", "input"];
                if let Some(text) = names.iter().find_map(|name| event[name].as_str()) {
                    assert_eq!(said.get(&place).map_or("", String::as_str), text, "{name}");
                }
            }
            _ => {}
        }
    }
    assert_eq!(items.len(), done.len(), "{name}");
}

#[test]
fn a_fold_is_what_the_whole_answer_is() {
    for (name, answer) in corpus::answers() {
        let stream = corpus::stream(&answer);
        let mut fold = responses_on_chat::ResponsesFold::new(&asked(), MOST);
        fold.pass(stream.as_bytes()).unwrap();
        let Ok(WholeTranslation::Answer(folded)) = fold.end() else {
            panic!("{name}")
        };
        let whole = responses_on_chat::answer(answer.to_string().as_bytes(), &asked());
        let Ok(WholeTranslation::Answer(whole)) = whole else {
            panic!("{name}")
        };
        assert_eq!(read(&folded), read(&whole), "{name}");
        let there = text(to_responses(&stream, &[]).0);
        let mut fold = chat_on_responses::ChatFold::new(&asked(), MOST);
        fold.pass(there.as_bytes()).unwrap();
        let Ok(WholeTranslation::Answer(folded)) = fold.end() else {
            panic!("{name}")
        };
        assert_eq!(read(&folded), answer, "{name}: {there}");
    }
}

/// At every byte before the end that its wire marks.
#[test]
fn a_stream_that_is_cut_has_no_end() {
    for (name, answer) in corpus::answers().into_iter().step_by(8) {
        let chat = corpus::stream(&answer);
        let there = text(to_responses(&chat, &[]).0);
        let (mut turned, mut out) = (
            responses_on_chat::ResponsesStream::new(&asked(), MOST),
            Vec::new(),
        );
        // All that precedes the event which ends the answer.
        let last = chat.find("\"finish_reason\":\"").unwrap();
        for (place, byte) in chat.bytes().take(last).enumerate() {
            turned.pass(&[byte], &mut out).unwrap();
            if place % 7 == 0 || byte == b'\n' {
                let end = turned.clone().end(&mut out);
                assert_eq!(end, Err(UntranslatableAnswer::Cut), "{name} at {place}");
            }
        }
        let out = text(out);
        let is_ended = |kind: &str| out.contains(&format!("event: response.{kind}"));
        assert!(!is_ended("completed") && !is_ended("incomplete"), "{name}");
        let (mut turned, mut out) = (
            chat_on_responses::ChatStream::new(&asked(), MOST),
            Vec::new(),
        );
        for (place, byte) in there.bytes().take(there.len() - 1).enumerate() {
            turned.pass(&[byte], &mut out).unwrap();
            assert_eq!(
                turned.end(),
                Err(UntranslatableAnswer::Cut),
                "{name} at {place}"
            );
        }
        assert!(!text(out).contains("[DONE]\n\n"), "{name}");
    }
}

#[test]
fn the_end_mark_alone_may_be_missing() {
    let chat = corpus::stream(&corpus::answers()[4].1);
    let (without, end) = to_responses(chat.strip_suffix("data: [DONE]\n\n").unwrap(), &[]);
    assert_eq!((without, end), to_responses(&chat, &[]));
    let frame = "data: {\"choices\":[],\"lastOne\":true}\n\n";
    let (without, end) = to_responses(&chat.replace("data: [DONE]\n\n", frame), &[]);
    assert_eq!((without, end), to_responses(&chat, &[]));
}

/// As the backend of a subscription sends them.
const RESPONSE: &str = "event: response.created
data: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",\"created_at\":17,\"model\":\"gpt-x\",\"output\":[],\"status\":\"in_progress\",\"usage\":null}}

event: backend.rate_limits
data: {\"type\":\"backend.rate_limits\",\"rate_limits\":{\"error\":1}}

event: response.output_item.added
data: {\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"id\":\"rs_1\",\"type\":\"reasoning\",\"summary\":[]}}

event: response.reasoning_summary_text.delta
data: {\"type\":\"response.reasoning_summary_text.delta\",\"item_id\":\"rs_1\",\"output_index\":0,\"summary_index\":0,\"delta\":\"**A**\"}

event: response.reasoning_summary_text.delta
data: {\"type\":\"response.reasoning_summary_text.delta\",\"item_id\":\"rs_1\",\"output_index\":0,\"summary_index\":1,\"delta\":\"**B**\"}

event: response.output_item.done
data: {\"type\":\"response.output_item.done\",\"output_index\":0,\"item\":{\"id\":\"rs_1\",\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"**A**\"},{\"type\":\"summary_text\",\"text\":\"**B**\"}]}}

event: response.output_text.delta
data: {\"type\":\"response.output_text.delta\",\"content_index\":0,\"delta\":\"H\\u00e9\\n\\ud83d\",\"item_id\":\"msg_1\",\"logprobs\":[],\"obfuscation\":\"x\",\"output_index\":1,\"sequence_number\":7}

event: response.output_text.done
data: {\"type\":\"response.output_text.done\",\"content_index\":0,\"item_id\":\"msg_1\",\"output_index\":1,\"text\":\"H\\u00e9\\n\"}

event: response.output_item.done
data: {\"type\":\"response.output_item.done\",\"output_index\":1,\"item\":{\"id\":\"msg_1\",\"type\":\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"H\\u00e9\\n\"}]}}

event: response.output_item.added
data: {\"type\":\"response.output_item.added\",\"output_index\":2,\"item\":{\"id\":\"fc_1\",\"type\":\"function_call\",\"call_id\":\"c1\",\"name\":\"f\",\"arguments\":\"\"}}

event: response.function_call_arguments.delta
data: {\"type\":\"response.function_call_arguments.delta\",\"item_id\":\"fc_1\",\"output_index\":2,\"delta\":\"{\\\"a\"}

event: response.output_item.done
data: {\"type\":\"response.output_item.done\",\"output_index\":2,\"item\":{\"id\":\"fc_1\",\"type\":\"function_call\",\"call_id\":\"c1\",\"name\":\"f\",\"arguments\":\"{\\\"a\"}}

event: response.output_item.done
data: {\"type\":\"response.output_item.done\",\"output_index\":3,\"item\":{\"id\":\"fc_2\",\"type\":\"function_call\",\"call_id\":\"c2\",\"name\":\"g\",\"arguments\":\"{}\"}}

event: response.completed
data: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"created_at\":17,\"model\":\"gpt-x\",\"status\":\"completed\",\"error\":null,\"output\":[],\"usage\":{\"input_tokens\":3,\"output_tokens\":4,\"total_tokens\":7,\"input_tokens_details\":{\"cached_tokens\":2},\"output_tokens_details\":{\"reasoning_tokens\":1}}}}

";

#[test]
fn each_event_of_a_response_becomes_a_chunk_at_once() {
    let deltas = [
        r#"{"role":"assistant","content":""}"#,
        r#"{"reasoning_content":"**A**"}"#,
        r#"{"reasoning_content":"\n\n"}"#,
        r#"{"reasoning_content":"**B**"}"#,
        r#"{"content":"H\u00e9\n\ud83d"}"#,
        r#"{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":""}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"a"}}]}"#,
        r#"{"tool_calls":[{"index":1,"id":"c2","type":"function","function":{"name":"g","arguments":""}}]}"#,
        r#"{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]}"#,
    ];
    let head = r#"{"id":"resp_1","object":"chat.completion.chunk","created":17,"model":"gpt-x","choices":["#;
    for includes_usage in [false, true] {
        let asked = EchoedFields {
            includes_usage,
            ..asked()
        };
        let tail = if includes_usage {
            ",\"usage\":null}"
        } else {
            "}"
        };
        let mut expected: Vec<_> = deltas
            .map(|delta| {
                format!("{head}{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}]{tail}")
            })
            .to_vec();
        expected.push(format!(
            "{head}{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"tool_calls\"}}]{tail}"
        ));
        if includes_usage {
            let details = r#""prompt_tokens_details":{"cached_tokens":2},"completion_tokens_details":{"reasoning_tokens":1}"#;
            let usage = format!(
                "{{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7,{details}}}"
            );
            expected.push(format!("{head}],\"usage\":{usage}}}"));
        }
        expected.push("[DONE]".to_owned());
        let (out, end) = to_chat(RESPONSE, &[], &asked);
        assert_eq!((events(&out), end), (expected, Ok(())));
    }
    // An event's output continues with the event's last byte.
    let mut turned = chat_on_responses::ChatStream::new(&asked(), MOST);
    let mut before = 0;
    for event in RESPONSE.split_inclusive("\n\n") {
        let mut out = Vec::new();
        let (most, last) = event.split_at(event.len() - 1);
        turned.pass(most.as_bytes(), &mut out).unwrap();
        assert!(out.is_empty(), "{event}");
        turned.pass(last.as_bytes(), &mut out).unwrap();
        before += usize::from(!out.is_empty());
    }
    assert_eq!(before, 8);
}

#[test]
fn an_error_in_a_stream_is_the_apps_error_and_the_end() {
    let delta =
        "data: {\"type\":\"response.output_text.delta\",\"output_index\":0,\"delta\":\"x\"}\n\n";
    for (event, code) in [
        (
            "{\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"server_is_overloaded\",\"message\":\"words\"}}}",
            "server_is_overloaded",
        ),
        (
            "{\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"words\",\"param\":null}",
            "rate_limit_exceeded",
        ),
        (
            "{\"type\":\"error\",\"error\":{\"type\":\"server_error\",\"message\":\"words\",\"code\":null}}",
            "server_error",
        ),
        (
            "{\"error\":{\"message\":\"words\",\"type\":\"odd\"}}",
            "odd",
        ),
    ] {
        let stream = format!("{delta}data: {event}\n\n{delta}");
        let (out, end) = to_chat(&stream, &[], &asked());
        let told = events(&out);
        assert_eq!((told.len(), end), (3, Ok(())), "{told:?}");
        let error = read(told[2].as_bytes());
        assert_eq!(
            (&error["error"]["code"], &error["error"]["message"]),
            (&json!(code), &json!("words"))
        );
    }
    let chunk =
        "data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";
    for stream in [
        format!(
            "{chunk}data: {{\"error\":{{\"message\":\"words\",\"code\":429}}}}\n\n{chunk}data: [DONE]\n\n"
        ),
        "data: {\"error\":{\"message\":\"words\",\"code\":\"overloaded\"}}\n\n".to_owned(),
    ] {
        let (out, end) = to_responses(&stream, &[]);
        let told: Vec<_> = events(&out)
            .iter()
            .map(|event| read(event.as_bytes()))
            .collect();
        let [.., error, failed] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert_eq!(end, Ok(()));
        assert_eq!(
            (&error["type"], &error["message"]),
            (&json!("error"), &json!("words"))
        );
        assert_eq!(error["error"]["message"], "words");
        assert_eq!(
            (&failed["type"], &failed["response"]["status"]),
            (&json!("response.failed"), &json!("failed"))
        );
        assert_eq!(failed["response"]["error"]["message"], "words");
        assert_eq!(told[0]["type"], "response.created");
    }
}

#[test]
fn calls_are_told_apart_however_a_provider_numbers_them() {
    let stream = |calls: &[Value]| {
        let chunks = calls.iter().map(|call| {
            format!(
                "data: {}\n\n",
                json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})
            )
        });
        chunks.collect::<String>()
            + "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n"
    };
    let first = json!({"id": "a", "function": {"name": "f", "arguments": "{\"x\""}});
    let rest = json!({"function": {"arguments": ":1}"}});
    let second = json!({"id": "b", "function": {"name": "g", "arguments": "{}"}});
    let at = |call: &Value, index: u64| {
        let mut call = call.clone();
        call["index"] = index.into();
        call
    };
    let nameless = json!({"index": 0, "id": "a", "function": {"arguments": "{\"x\""}});
    let named = json!({"index": 0, "function": {"name": "f"}});
    for calls in [
        vec![at(&first, 0), at(&rest, 0), at(&second, 1)],
        vec![at(&first, 0), at(&second, 1), at(&rest, 0)],
        // Without numbers, and all with the same one.
        vec![first.clone(), rest.clone(), second.clone()],
        vec![at(&first, 0), at(&rest, 0), at(&second, 0)],
        // The name comes late; the whole call again with each piece's id.
        vec![nameless, named, at(&rest, 0), at(&second, 1)],
    ] {
        let (out, end) = to_responses(&stream(&calls), &[]);
        assert_eq!(end, Ok(()));
        checked(&out, "calls");
        let last = read(events(&out).last().unwrap().as_bytes());
        let made = last["response"]["output"].as_array().unwrap().iter();
        let made: Vec<_> = made
            .map(|call| {
                [&call["call_id"], &call["name"], &call["arguments"]]
                    .map(|one| one.as_str().unwrap())
            })
            .collect();
        assert_eq!(
            made,
            [["a", "f", "{\"x\":1}"], ["b", "g", "{}"]],
            "{calls:?}"
        );
    }
    let unfinished = stream(&[at(&first, 0)])
        .replace("\"finish_reason\":\"tool_calls\"", "\"finish_reason\":null");
    let (out, end) = to_responses(&unfinished, &[]);
    assert_eq!(
        end,
        Err(UntranslatableAnswer::Cut),
        "half a call and [DONE]"
    );
    assert!(
        !String::from_utf8(out)
            .unwrap()
            .contains("response.completed")
    );
    let (_, end) = to_responses(&stream(&[json!({"index": 0, "id": "a"})]), &[]);
    assert_eq!(
        end,
        Err(UntranslatableAnswer::Malformed),
        "a call without a name"
    );
}

#[test]
fn what_can_not_be_read_or_held_ends_the_stream() {
    for event in [
        "{",
        "data",
        "[]",
        "{\"type\":\"response.output_text.delta\",\"delta\":\"\\x\"}",
        "{\"type\":\"response.completed\"}",
    ] {
        let (_, end) = to_chat(&format!("data: {event}\n\n"), &[], &asked());
        assert_eq!(end, Err(UntranslatableAnswer::Malformed), "{event}");
    }
    for event in [
        "{",
        "data",
        "[]",
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":1}}]}",
    ] {
        let (_, end) = to_responses(&format!("data: {event}\n\n"), &[]);
        assert_eq!(end, Err(UntranslatableAnswer::Malformed), "{event}");
    }
    let mut turned = responses_on_chat::ResponsesStream::new(&asked(), 2000);
    let chunk = format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n",
        "x".repeat(100)
    );
    let passes = |count: usize| (0..count).map(|_| chunk.as_bytes());
    assert!(passes(15).all(|piece| turned.pass(piece, &mut Vec::new()).is_ok()));
    assert!(
        turned.held() > 1500 && turned.held() < 2000,
        "{}",
        turned.held()
    );
    assert!(!passes(5).all(|piece| turned.pass(piece, &mut Vec::new()).is_ok()));
    assert_eq!(
        turned.pass(b"", &mut Vec::new()),
        Err(UntranslatableAnswer::TooLarge)
    );
    // Nothing of the output is kept, and no event is longer than the limit.
    let mut turned = chat_on_responses::ChatStream::new(&asked(), 1000);
    for _ in 0..100 {
        let delta = "data: {\"type\":\"response.output_text.delta\",\"output_index\":0,\"delta\":\"x\"}\n\n";
        turned.pass(delta.as_bytes(), &mut Vec::new()).unwrap();
    }
    assert!(turned.held() < 500, "{}", turned.held());
    let long = "x".repeat(1001);
    assert_eq!(
        turned.pass(format!("data: {long}").as_bytes(), &mut Vec::new()),
        Err(UntranslatableAnswer::TooLarge)
    );
}

/// A call that was begun, of which half may be missing, must not look whole.
#[test]
fn a_call_whose_end_did_not_come_makes_the_answer_cut() {
    let event = |event: Value| format!("data: {event}\n\n");
    let item = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": ""});
    let begun = event(
        json!({"type": "response.output_item.added", "output_index": 0, "item": item}),
    ) + &event(
        json!({"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{\"a\":9"}),
    );
    let whole =
        json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{\"a\":9}"});
    let done = json!({"type": "response.output_item.done", "output_index": 0, "item": whole});
    let ends = |kind: &str, output: Value| {
        event(
            json!({"type": format!("response.{kind}"), "response": {"status": kind, "output": output}}),
        )
    };
    let told = json!({"type": "response.function_call_arguments.done", "output_index": 0, "arguments": "{\"a\":9}"});
    let of_pieces = to_chat(
        &(begun.clone() + &event(told.clone()) + &ends("completed", json!([]))),
        &[],
        &asked(),
    );
    assert_eq!(of_pieces.1, Ok(()));
    // Only their end has the whole arguments.
    let (first, _) = begun.split_at(begun.find("\n\n").unwrap() + 2);
    let alone = to_chat(
        &(first.to_owned() + &event(told) + &ends("completed", json!([]))),
        &[],
        &asked(),
    );
    assert_eq!(alone.1, Ok(()));
    assert!(text(alone.0).contains("{\\\"a\\\":9}"));
    for (rest, end) in [
        (ends("completed", json!([])), Err(UntranslatableAnswer::Cut)),
        (event(done) + &ends("completed", json!([])), Ok(())),
        (ends("completed", json!([whole])), Ok(())),
        (ends("incomplete", json!([])), Ok(())),
    ] {
        let (made, came) = to_chat(&(begun.clone() + &rest), &[], &asked());
        assert_eq!(came, end, "{rest}");
        assert_eq!(text(made).contains("[DONE]"), end.is_ok(), "{rest}");
    }
}
