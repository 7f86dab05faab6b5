//! The limits of one event, one answer and one call.

use std::cell::Cell;
use std::collections::HashMap;

use bytes::Bytes;
use serde_json::json;

use super::super::{
    Pieces, StillWanted, TranslatedRequest, UntranslatableAnswer, UntranslatableRequest,
    WholeTranslation, chat_on_responses, responses_on_chat,
};
use super::streams::{to_chat, to_responses};
use super::{MOST, asked, events, read};

const CALLS: usize = 1024;

fn chunk(delta: &serde_json::Value) -> String {
    format!(
        "data: {}\n\n",
        json!({"choices": [{"index": 0, "delta": delta}]})
    )
}

fn call(index: Option<u64>, id: Option<&str>, name: Option<&str>, said: &str) -> serde_json::Value {
    let mut call = json!({"function": {"arguments": said}});
    if let Some(index) = index {
        call["index"] = index.into();
    }
    if let Some(id) = id {
        call["id"] = id.into();
    }
    if let Some(name) = name {
        call["function"]["name"] = name.into();
    }
    call
}

/// The ids, names and arguments of the calls in these pieces.
fn calls(pieces: &[serde_json::Value]) -> Result<Vec<[String; 3]>, UntranslatableAnswer> {
    let mut stream: String = pieces
        .iter()
        .map(|piece| chunk(&json!({"tool_calls": [piece]})))
        .collect();
    stream += "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n";
    let (out, end) = to_responses(&stream, &[]);
    end?;
    let last = read(events(&out).last().unwrap().as_bytes());
    let made = last["response"]["output"].as_array().unwrap().iter();
    Ok(made
        .map(|call| {
            ["call_id", "name", "arguments"].map(|name| call[name].as_str().unwrap().to_owned())
        })
        .collect())
}

#[test]
fn pieces_are_of_the_call_that_they_name() {
    let whole =
        [["a", "f", "{\"x\":1}"], ["b", "g", "{\"y\":2}"]].map(|call| call.map(str::to_owned));
    let (a, b) = ((Some("a"), Some("f")), (Some("b"), Some("g")));
    for [first, second] in [
        // One index for all, and the rest of each right behind its beginning.
        [Some(0), Some(0)],
        // The largest that there is, and indices with gaps.
        [Some(u64::MAX), Some(7)],
        [None, None],
    ] {
        let pieces = [
            call(first, a.0, a.1, "{\"x\""),
            call(first, None, None, ":1}"),
            call(second, b.0, b.1, "{\"y\""),
            call(second, None, None, ":2}"),
        ];
        assert_eq!(calls(&pieces).unwrap(), whole, "{pieces:?}");
    }
    // Each piece has the id, and none an index.
    let pieces = [
        call(None, a.0, a.1, "{\"x\""),
        call(None, a.0, None, ":1}"),
        call(None, b.0, b.1, "{\"y\""),
        call(None, b.0, None, ":2}"),
    ];
    assert_eq!(calls(&pieces).unwrap(), whole);
}

#[test]
fn an_answer_with_more_calls_than_any_is_too_large() {
    let pieces = |count: usize| -> Vec<_> {
        (0..count)
            .map(|at| call(Some(at as u64), Some(&format!("c{at}")), Some("f"), "{}"))
            .collect()
    };
    assert_eq!(calls(&pieces(CALLS)).unwrap().len(), CALLS);
    assert_eq!(
        calls(&pieces(CALLS + 1)),
        Err(UntranslatableAnswer::TooLarge)
    );
    let items = |count: usize| {
        let items = (0..count).map(|at| {
            let item = json!({"type": "function_call", "call_id": format!("c{at}"), "name": "f", "arguments": "{}"});
            format!("data: {}\n\n", json!({"type": "response.output_item.done", "output_index": at, "item": item}))
        });
        items.collect::<String>() + "data: {\"type\":\"response.completed\",\"response\":{}}\n\n"
    };
    assert_eq!(to_chat(&items(CALLS), &[], &asked()).1, Ok(()));
    assert_eq!(
        to_chat(&items(CALLS + 1), &[], &asked()).1,
        Err(UntranslatableAnswer::TooLarge)
    );
}

/// An event of a few letters for each part became one of hundreds.
#[test]
fn an_event_with_more_parts_than_any_is_too_large() {
    let many = |one: &str, count: usize| vec![one; count].join(",");
    for count in [1_000, 17_000] {
        let end = if count == 1_000 {
            Ok(())
        } else {
            Err(UntranslatableAnswer::TooLarge)
        };
        let choices = many("{\"delta\":{\"content\":\"x\"}}", count);
        let notes = many("{\"url_citation\":{}}", count);
        let parts = many("{\"type\":\"text\",\"text\":\"x\"}", count);
        let done = "data: [DONE]\n\n";
        for chunk in [
            format!("{{\"choices\":[{choices}]}}"),
            format!("{{\"choices\":[{{\"delta\":{{\"annotations\":[{notes}]}}}}]}}"),
            format!("{{\"choices\":[{{\"delta\":{{\"content\":[{parts}]}}}}]}}"),
        ] {
            let mut turned = responses_on_chat::ResponsesStream::new(&asked(), 64 * MOST);
            let mut out = Vec::new();
            let stream = format!("data: {chunk}\n\n{done}");
            assert_eq!(turned.pass(stream.as_bytes(), &mut out), end, "{count}");
            assert!(out.len() < 8 * MOST, "{}", out.len());
        }
        let parts = many("{\"type\":\"output_text\",\"text\":\"x\"}", count);
        let items = many("{\"type\":\"message\",\"content\":[]}", count);
        for output in [
            format!("{{\"type\":\"message\",\"content\":[{parts}]}}"),
            items,
        ] {
            let response = format!("{{\"output\":[{output}]}}");
            let event =
                format!("data: {{\"type\":\"response.completed\",\"response\":{response}}}\n\n");
            let mut turned = chat_on_responses::ChatStream::new(&asked(), 64 * MOST);
            let mut out = Vec::new();
            assert_eq!(turned.pass(event.as_bytes(), &mut out), end, "{count}");
            assert!(out.len() < 8 * MOST, "{}", out.len());
            let whole = chat_on_responses::answer(response.as_bytes(), &asked());
            assert_eq!(whole.map(|_| ()), end, "{count}");
        }
    }
}

/// What is read as values takes many times its text, so that long ones are not.
#[test]
fn what_an_answer_has_beside_its_words_is_read_only_if_it_is_short() {
    let long = format!("{{\"a\":[{}1]}}", "[],".repeat(100_000));
    let usage = format!("data: {{\"choices\":[],\"usage\":{long}}}\n\n");
    let end = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let (out, came) = to_responses(&(usage + end), &[]);
    let last = read(events(&out).last().unwrap().as_bytes());
    assert_eq!((came, last["response"]["usage"].is_null()), (Ok(()), true));
    // A response that failed repeats all that was asked.
    let failed = format!(
        "{{\"type\":\"response.failed\",\"response\":{{\"instructions\":{long},\"error\":{{\"code\":\"slow_down\",\"message\":\"words\"}}}}}}"
    );
    let (out, came) = to_chat(&format!("data: {failed}\n\n"), &[], &asked());
    let told = read(events(&out).last().unwrap().as_bytes());
    assert_eq!(came, Ok(()));
    assert_eq!(
        told["error"],
        json!({"message": "words", "type": "slow_down", "param": null, "code": "slow_down"})
    );
    let long = format!("{{\"error\":{{\"message\":{long},\"code\":\"x\"}}}}");
    let Ok(WholeTranslation::Failed(body)) = responses_on_chat::answer(long.as_bytes(), &asked())
    else {
        panic!("it failed")
    };
    assert_eq!(read(&body)["error"]["code"], "x");
}

/// An answer's id is in each of its events.
#[test]
fn a_name_that_is_longer_than_any_is_none() {
    let long = "x".repeat(2000);
    let chunk = format!(
        "data: {{\"id\":\"{long}\",\"model\":\"{long}\",\"service_tier\":\"{long}\",\"choices\":[{{\"delta\":{{\"content\":\"a\"}}}}]}}\n\n"
    );
    let (out, _) = to_responses(&chunk, &[]);
    assert!(out.len() < 3000, "{}", out.len());
    let created = format!(
        "data: {{\"type\":\"response.created\",\"response\":{{\"id\":\"{long}\",\"model\":\"{long}\",\"service_tier\":\"{long}\"}}}}\n\n"
    );
    let (out, _) = to_chat(&created, &[], &asked());
    assert!(out.len() < 1000, "{}", out.len());
}

/// The wire repeats a text three or four times at its end.
#[test]
fn the_end_of_a_long_answer_shares_its_texts_instead_of_copying_them() {
    const LONG: usize = 512 * 1024;
    let text = |letter: &str| letter.repeat(LONG);
    let mut turned = responses_on_chat::ResponsesStream::new(&asked(), 4 * MOST);
    let mut made = Pieces::default();
    for delta in [
        json!({"reasoning_content": text("r")}),
        json!({"content": text("t")}),
        json!({"refusal": text("n")}),
        json!({"tool_calls": [call(Some(0), Some("a"), Some("f"), &text("c"))]}),
    ] {
        turned
            .pass_in_pieces(chunk(&delta).as_bytes(), &mut made)
            .unwrap();
    }
    let end =
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n";
    turned.pass_in_pieces(end.as_bytes(), &mut made).unwrap();
    let list = made.into_list();
    let all: usize = list.iter().map(Bytes::len).sum();
    let apart: HashMap<_, _> = list
        .iter()
        .map(|piece| (piece.as_ptr(), piece.len()))
        .collect();
    let apart: usize = apart.values().sum();
    // Each text once as its delta, and once more for all that repeats it.
    assert!(apart < 4 * 2 * LONG + 64 * 1024, "{apart} of {all}");
    assert!(all > 18 * LONG, "{all}");
    let last = list.concat();
    let last = read(events(&last).last().unwrap().as_bytes());
    let output = &last["response"]["output"];
    assert!(output[0]["summary"][0]["text"] == text("r"));
    assert!(output[1]["content"][0]["text"] == text("t"));
    assert!(output[1]["content"][1]["refusal"] == text("n"));
    assert!(output[2]["arguments"] == text("c"));
}

type Turn = fn(&[u8], StillWanted<'_>) -> Result<TranslatedRequest, UntranslatableRequest>;

/// The translation of a large body continued for seconds after its client had left.
#[test]
fn a_request_is_turned_only_while_somebody_waits_for_it() {
    const MANY: usize = 3_000;
    let to_responses: Turn = chat_on_responses::request_while;
    let to_chat: Turn = responses_on_chat::request_while;
    let many = |one: &str| vec![one; MANY].join(",");
    let message = "{\"role\":\"user\",\"content\":\"x\"}";
    let part = many("{\"type\":\"text\",\"text\":\"x\"}");
    let calls = many("{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}");
    let tools = many("{\"type\":\"function\",\"function\":{\"name\":\"f\"}}");
    let flat = many("{\"type\":\"function\",\"name\":\"f\"}");
    for (turn, body) in [
        (
            to_responses,
            format!("{{\"messages\":[{}]}}", many(message)),
        ),
        (
            to_responses,
            format!("{{\"messages\":[{{\"role\":\"user\",\"content\":[{part}]}}]}}"),
        ),
        (
            to_responses,
            format!("{{\"messages\":[{{\"role\":\"assistant\",\"tool_calls\":[{calls}]}}]}}"),
        ),
        (
            to_responses,
            format!("{{\"messages\":[],\"tools\":[{tools}]}}"),
        ),
        (to_chat, format!("{{\"input\":[{}]}}", many(message))),
        (
            to_chat,
            format!("{{\"input\":[{{\"role\":\"user\",\"content\":[{part}]}}]}}"),
        ),
        (to_chat, format!("{{\"input\":\"\",\"tools\":[{flat}]}}")),
        (
            to_chat,
            format!(
                "{{\"input\":\"\",\"tools\":[{{\"type\":\"namespace\",\"name\":\"n\",\"tools\":[{flat}]}}]}}"
            ),
        ),
    ] {
        let looks = Cell::new(0);
        let turned = |most: usize| {
            looks.set(0);
            let wanted = || {
                looks.set(looks.get() + 1);
                looks.get() <= most
            };
            turn(body.as_bytes(), &wanted)
        };
        let start = body.get(..60).unwrap();
        assert!(turned(usize::MAX).is_ok(), "{start}");
        let all = looks.get();
        // One for each of the many at least.
        assert!(all >= MANY, "{all} for {start}");
        for stop in [0, 5, all / 2, all - 1] {
            let refused = turned(stop).unwrap_err();
            assert_eq!(refused.reason, "the client has left", "{start}");
            assert!(looks.get() <= stop + 2, "{} after {stop}", looks.get());
        }
    }
}

/// A parsed request takes many times its text, so no more than one message of it is parsed at once.
#[test]
fn messages_are_read_one_by_one() {
    let many = vec!["{\"role\":\"user\",\"content\":\"x\"}"; 5_000].join(",");
    for (turn, body) in [
        (
            chat_on_responses::request_while as Turn,
            format!("{{\"messages\":[{{\"role\":\"critic\"}},{many}]}}"),
        ),
        (
            responses_on_chat::request_while,
            format!("{{\"input\":[{{\"role\":\"critic\"}},{many}]}}"),
        ),
    ] {
        let looks = Cell::new(0);
        let wanted = || {
            looks.set(looks.get() + 1);
            true
        };
        let refused = turn(body.as_bytes(), &wanted).unwrap_err();
        assert!(refused.field.ends_with("[0].role"), "{refused}");
        assert!(looks.get() < 5, "{}", looks.get());
    }
}
