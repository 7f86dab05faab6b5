use super::document::LONGEST;
use super::*;

fn tokens(form: AnswerFormat, pieces: &[&[u8]]) -> Option<(u64, u64)> {
    let mut scan = Scan::new(form);
    for piece in pieces {
        scan.pass(piece);
    }
    let tokens = scan.tokens()?;
    Some((tokens.prompt, tokens.completion))
}

/// The text in pieces of every size, and in two and three pieces at every place.
fn cuts(form: AnswerFormat, text: &str, expected: Option<(u64, u64)>) {
    let bytes = text.as_bytes();
    for size in 1..=bytes.len().max(1) {
        let pieces: Vec<_> = bytes.chunks(size).collect();
        assert_eq!(tokens(form, &pieces), expected, "{text:?} by {size}");
    }
    for at in 0..bytes.len() {
        let (one, two) = bytes.split_at(at);
        assert_eq!(tokens(form, &[one, two]), expected, "{text:?} at {at}");
        let (middle, end) = two.split_at(two.len().min(3));
        let found = tokens(form, &[one, middle, end]);
        assert_eq!(found, expected, "{text:?} at {at} and 3 behind it");
    }
}

const OBJECT: &str =
    r#"{"prompt_tokens":12,"completion_tokens":34,"s":"}{\"","d":{"cached_tokens":1}}"#;
/// Says something else, wherever it is.
const FALSE: &str = r#"{"prompt_tokens":999,"completion_tokens":999}"#;
const SOME: Option<(u64, u64)> = Some((12, 34));

#[test]
fn a_whole_answers_usage_is_found_however_it_is_cut() {
    for (text, expected) in [
        (format!(r#"{{"choices":[],"usage":{OBJECT}}}"#), SOME),
        (
            format!(r#"{{"usage" : {OBJECT} ,"choices":[{{"x":"}}]"}}]}}"#),
            SOME,
        ),
        (format!("{{\n  \"usage\"\n:\n\t{OBJECT}\n}}\n"), SOME),
        (
            format!(r#"{{"usage":null,"a":"usage","usage":{OBJECT},"b":[]}}"#),
            SOME,
        ),
        (r#"{"type":"usage","prompt_tokens":5}"#.to_owned(), None),
        (r#"{"usage":[{"prompt_tokens":5}]}"#.to_owned(), None),
        (
            r#"{"usage":"x","usages":{"prompt_tokens":5}}"#.to_owned(),
            None,
        ),
        (
            format!(r#"{{"usage":{{"type":"object"}},"a":"","usage":{OBJECT}}}"#),
            SOME,
        ),
        (r#"{"usage":{"prompt_tokens":5"#.to_owned(), None),
        // Whose it is shows at the end alone.
        (r#"{"usage":{"prompt_tokens":5},"a":"#.to_owned(), None),
    ] {
        cuts(AnswerFormat::Whole, &text, expected);
    }
}

#[test]
fn only_the_answers_own_usage_counts() {
    // In the model's words, in what it hands to a tool, in a schema, in a list, in another's answer.
    for other in [
        r#""content":"{\"usage\":{\"prompt_tokens\":5}}\\""#.to_owned(),
        format!(r#""content":[{{"type":"tool_use","input":{{"usage":{FALSE}}}}}]"#),
        format!(r#""x_other":{{"usage":{FALSE},"more":{{"usage":{FALSE}}}}}"#),
        format!(r#""response":{{"usage":{FALSE}}},"message":{{"usage":{FALSE}}}"#),
        format!(r#""tools":[{{"parameters":{{"properties":{{"usage":{{"usage":{FALSE}}}}}}}}}]"#),
        format!(r#""list":[{{"usage":{FALSE}}},{{"usage":{FALSE}}}]"#),
    ] {
        cuts(AnswerFormat::Whole, &format!("{{{other}}}"), None);
        cuts(
            AnswerFormat::Whole,
            &format!(r#"{{{other},"usage":{OBJECT}}}"#),
            SOME,
        );
        cuts(
            AnswerFormat::Whole,
            &format!(r#"{{"usage":{OBJECT},{other}}}"#),
            SOME,
        );
    }
    cuts(
        AnswerFormat::Whole,
        &format!(r#"[{{"usage":{FALSE}}}]"#),
        None,
    );
}

#[test]
fn an_event_streams_usage_is_found_however_it_is_cut() {
    let chunk = r#"data: {"choices":[{"delta":{"content":"\"usage\":{"}}],"usage":null}"#;
    let usage = format!("data: {{\"choices\":[],\"usage\":{OBJECT}}}");
    for end in ["\n", "\r\n", "\r"] {
        let lines = |lines: &[&str]| -> String {
            let lines = lines.iter().map(|line| format!("{line}{end}"));
            lines.collect()
        };
        let chat = lines(&[chunk, "", ": comment", "", &usage, "", "data: [DONE]", ""]);
        cuts(AnswerFormat::Events, &chat, SOME);
        let response = format!(
            r#"data: {{"type":"response.completed","response":{{"output":[{{"a":1}}],"usage":{OBJECT}}}}}"#
        );
        let response = lines(&["event: response.completed", &response, ""]);
        cuts(AnswerFormat::Events, &response, SOME);
        let start = r#"data: {"type":"message_start","message":{"usage":{"input_tokens":12,"output_tokens":1}}}"#;
        let delta = r#"data: {"type":"message_delta","delta":{},"usage":{"output_tokens":34}}"#;
        let messages = lines(&[
            "event: message_start",
            start,
            "",
            "event: message_delta",
            delta,
            "",
        ]);
        cuts(AnswerFormat::Events, &messages, SOME);
        let several = lines(&[
            "data: {\"usage\":{",
            "data: \"prompt_tokens\":12,",
            "data:\"completion_tokens\":34}}",
            "",
        ]);
        cuts(AnswerFormat::Events, &several, SOME);
    }
}

#[test]
fn only_an_events_own_usage_counts() {
    for other in [
        format!(r#"data: {{"choices":[{{"delta":{{"usage":{FALSE}}}}}]}}"#),
        format!(r#"data: {{"item":{{"usage":{FALSE}}}}}"#),
        format!(r#"data: {{"message":{{}},"item":{{"usage":{FALSE}}}}}"#),
        format!(r#"data: {{"response":{{"output":[{{"usage":{FALSE}}}]}}}}"#),
        format!(r#"data: {{"response":[{{"usage":{FALSE}}}]}}"#),
        format!(r#"data: {{"x":{{"message":{{"usage":{FALSE}}}}}}}"#),
        format!("data: {{\"message\":\ndata: {{\"message\":{{\"usage\":{FALSE}}}}}}}"),
        format!("usage: {{\"usage\":{FALSE}}}"),
        format!(": {{\"usage\":{FALSE}}}"),
        "data: {\"usage\":{\"prompt_tokens\":999".to_owned(),
        r#"data: {"content":"cut off"#.to_owned(),
    ] {
        cuts(AnswerFormat::Events, &format!("{other}\n\n"), None);
        let with = format!("data: {{}}\n\n{other}\n\ndata: {{\"usage\":{OBJECT}}}\n\n{other}\n\n");
        cuts(AnswerFormat::Events, &with, SOME);
    }
}

#[test]
fn what_is_neither_json_nor_events_is_not_looked_through() {
    for (kind, form) in [
        ("application/json", Some(AnswerFormat::Whole)),
        (
            " Application/JSON ; charset=utf-8",
            Some(AnswerFormat::Whole),
        ),
        ("application/problem+json", Some(AnswerFormat::Whole)),
        (
            "text/event-stream; charset=utf-8",
            Some(AnswerFormat::Events),
        ),
        ("application/jsonl", None),
        ("application/octet-stream", None),
        ("text/plain", None),
        ("json", None),
        ("", None),
    ] {
        assert_eq!(AnswerFormat::of(kind.as_bytes()), form, "{kind}");
    }
}

#[test]
fn an_object_that_is_too_long_is_skipped_and_takes_no_more_memory() {
    let filler = "x".repeat(LONGEST);
    let long = format!(r#"{{"usage":{{"x":"{filler}","prompt_tokens":5}}}}"#);
    for (form, text, next) in [
        (AnswerFormat::Whole, long.clone(), None),
        (
            AnswerFormat::Events,
            format!("data: {long}\n\n"),
            Some(format!("data: {{\"usage\":{OBJECT}}}\n\n")),
        ),
    ] {
        let mut scan = Scan::new(form);
        for piece in text.as_bytes().chunks(1000) {
            scan.pass(piece);
            assert!(scan.held() <= 2 * LONGEST);
        }
        assert_eq!(scan.tokens(), None);
        if let Some(next) = next {
            scan.pass(next.as_bytes());
            assert_eq!(scan.tokens().map(|tokens| tokens.prompt), Some(12));
        }
    }
}

#[test]
fn any_bytes_pass_and_their_cuts_change_nothing() {
    let parts: [&[u8]; 16] = [
        b"\"usage\"",
        b":",
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b"\\",
        b"\n",
        b"\r",
        b"data: ",
        b"\"message\":",
        b"\"prompt_tokens\":7",
        b",",
        b" ",
        b"\xff",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..20_000 {
        let count = random.usize(1..24);
        let text: Vec<u8> = (0..count)
            .flat_map(|_| parts[random.usize(..16)].to_vec())
            .collect();
        for form in [AnswerFormat::Whole, AnswerFormat::Events] {
            let expected = tokens(form, &[&text]);
            let size = random.usize(1..=text.len());
            let pieces: Vec<_> = text.chunks(size).collect();
            assert_eq!(
                tokens(form, &pieces),
                expected,
                "{:?} by {size}",
                String::from_utf8_lossy(&text)
            );
        }
    }
}
