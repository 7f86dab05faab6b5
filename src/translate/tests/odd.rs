//! Requests with JSON that few programs can hold, and with invalid JSON.

use serde_json::{Value, json};

use super::super::{
    TranslatedRequest, UntranslatableRequest, chat_on_responses, responses_on_chat,
};
use super::read;

/// A chat whose user says this, and which has this tool; each as JSON.
fn chat(said: &str, parameters: &str) -> String {
    format!(
        "{{\"model\":\"gpt\",\"messages\":[{{\"role\":\"user\",\"content\":{said}}}],\"tools\":[{{\"type\":\"function\",\
         \"function\":{{\"name\":\"f\",\"strict\":true,\"parameters\":{parameters}}}}}]}}"
    )
}

fn there(body: &str) -> String {
    text(chat_on_responses::request(body.as_bytes()))
}

fn back(body: &str) -> String {
    text(responses_on_chat::request(body.as_bytes()))
}

fn text(turned: Result<TranslatedRequest, UntranslatableRequest>) -> String {
    let turned = turned.unwrap_or_else(|refused| panic!("{refused}"));
    String::from_utf8(turned.body).unwrap()
}

#[test]
fn what_json_allows_comes_back_as_it_was() {
    let deep = format!("{}1{}", "[".repeat(300), "]".repeat(300));
    let deeper = format!("{}\"\\ud83d]\"{}", "{\"a\":".repeat(200), "}".repeat(200));
    for (said, parameters) in [
        // An emoji that was cut in two, as JavaScript's `slice` does it, and its other half.
        (r#""cut \ud83d""#, "{}"),
        (r#""\uDE00 cut""#, "{}"),
        (r#""\ud83d\ud83d \ude00\\ud83d \ud83dx""#, "{}"),
        (r#""whole ü and half \udbff""#, r#"{"\udcff":"\ud800"}"#),
        (
            r#""x""#,
            r#"{"maximum":1e400,"minimum":-1E+999,"default":[1e400]}"#,
        ),
        (r#""x""#, &format!("{{\"default\":{deep},\"more\":1}}")),
        (r#""\ud83d""#, &deeper),
    ] {
        let body = chat(said, parameters);
        let there = there(&body);
        let back = back(&there);
        for part in [said, parameters] {
            assert!(there.contains(part), "{part} is not in {there}");
            assert!(back.contains(part), "{part} is not in {back}");
        }
        serde_json::from_str::<serde::de::IgnoredAny>(&there).unwrap();
        serde_json::from_str::<serde::de::IgnoredAny>(&back).unwrap();
    }
    let turned = chat_on_responses::request(br#"{"model":"a\ud83d","messages":[]}"#).unwrap();
    assert_eq!(turned.model, "a\u{fffd}");
}

#[test]
fn what_can_not_be_held_is_called_what_it_is() {
    let refused = |body: &[u8]| {
        let refused = chat_on_responses::request(body).unwrap_err();
        (refused.field.clone(), refused.to_string())
    };
    for (body, reason) in [
        (&b"{\"model\":\"\xff\"}"[..], "the body is not UTF-8: "),
        (b"{\"messages\":[}", "the body is not JSON: "),
        (b"{} {}", "the body is not JSON: "),
        (b"[1e400]", "the body must be a JSON object"),
        // Our own mark, beside a value that needs one.
        (
            "{\"a\":\"\u{10fffe}\",\"b\":\"\\ud83d\"}".as_bytes(),
            "the body can't be read: ",
        ),
        (
            br#"{"a":"\uDBFF\uDFFE","b":1e400}"#,
            "the body can't be read: number out of range",
        ),
    ] {
        let (field, said) = refused(body);
        assert_eq!(field, "");
        assert!(said.contains(reason), "{said}");
    }
    // A name that nothing can be done with is shown in the error.
    let (field, said) = refused(br#"{"messages":[],"a\ud83db":1}"#);
    assert_eq!(field, "a\u{fffd}b");
    assert!(
        said.starts_with("`a\u{fffd}b` has no counterpart"),
        "{said}"
    );
    let (field, _) = refused(br#"{"messages":[],"n":1e400}"#);
    assert_eq!(field, "n");
    // A number in a text's place can't become a part of a text.
    let body = json!({"model": "m", "input": "x", "tools": [
        {"type": "namespace", "name": "ns", "tools": [{"type": "function", "name": "NUMBER", "parameters": {}}]}]});
    let body = body.to_string().replace("\"NUMBER\"", "1e400");
    let refused = responses_on_chat::request(body.as_bytes()).unwrap_err();
    assert!(refused.reason.contains("number out of range"), "{refused}");
}

#[test]
fn a_member_that_is_there_twice_is_refused_by_its_place() {
    for (body, field) in [
        (r#"{"model":"a","messages":[],"model":"b"}"#, "model"),
        (r#"{"model":"a","messages":[],"mod\u0065l":"a"}"#, "model"),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"text"},{"type":"text","text":"a","text":"b"}]}]}"#,
            "messages[0].content[1].text",
        ),
        (r#"{"a":{"b":1,"c":[[{"d":1,"d":1}]]}}"#, "a.c[0][0].d"),
        (
            r#"{"messages":[{"role":"\ud83d","role":1}]}"#,
            "messages[0].role",
        ),
    ] {
        for refused in [
            chat_on_responses::request(body.as_bytes()),
            responses_on_chat::request(body.as_bytes()),
        ] {
            let refused = refused.unwrap_err();
            assert_eq!(refused.field, field, "{body}");
            assert!(refused.to_string().contains("appears twice"), "{refused}");
        }
    }
}

#[test]
fn a_whole_answer_with_a_content_in_parts_is_one() {
    let completion = json!({"id": "c", "model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": {
        "role": "assistant", "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
            {"type": "text", "text": "Hi"}, {"type": "text", "text": " ü"},
            {"type": "refusal", "refusal": "no"}]}}]});
    let made = responses_on_chat::answer(completion.to_string().as_bytes(), &super::asked());
    let super::super::WholeTranslation::Answer(made) = made.unwrap() else {
        panic!("it failed")
    };
    let made = read(&made);
    assert_eq!(made["output"][0]["summary"][0]["text"], "hm");
    let parts = made["output"][1]["content"].as_array().unwrap();
    let said: Vec<&Value> = parts
        .iter()
        .map(|part| part.get("text").unwrap_or(&part["refusal"]))
        .collect();
    assert_eq!(said, ["Hi ü", "no"]);
}
