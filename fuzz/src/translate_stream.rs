//! A stream becomes the same events however it is cut, each of them is JSON, and what is held is bounded. A stream that
//! ends too soon has no end on the other wire, and an error in it is an error there.

use hermes_proxy::translate::{
    EchoedFields, UntranslatableAnswer, WholeTranslation, chat_on_responses as chat,
    responses_on_chat as responses,
};
use serde::de::IgnoredAny;
use serde_json::Value;

/// Small, so that inputs reach it.
const MOST: usize = 4096;

/// What a stream came to.
#[derive(Debug, PartialEq, Eq)]
struct HeadOutcome {
    out: Vec<u8>,
    end: Result<(), UntranslatableAnswer>,
    is_over: bool,
}

type Direction = fn(&[u8], usize, &EchoedFields) -> HeadOutcome;

/// One input: which wire it is of, how large its pieces are, and a stream.
pub fn run(bytes: &[u8]) {
    let [wire, size, stream @ ..] = bytes else {
        return;
    };
    let is_of_responses = wire % 2 == 0;
    let of: Direction = if is_of_responses {
        to_chat
    } else {
        to_responses
    };
    let asked = EchoedFields {
        includes_usage: wire & 2 != 0,
        namespaces: vec!["f".to_owned(); usize::from(wire & 4 != 0)],
        ..EchoedFields::default()
    };
    let whole = of(stream, stream.len().max(1), &asked);
    assert_eq!(of(stream, usize::from(*size) + 1, &asked), whole);
    assert_eq!(of(stream, 1, &asked), whole);
    let has_end = has_end(&whole.out);
    assert!(!has_end || whole.is_over && whole.end.is_ok());
    if has_first_a_failure(is_of_responses, stream) && whole.end.is_ok() {
        let text = String::from_utf8_lossy(&whole.out);
        let word = if is_of_responses {
            "data: {\"error\":{"
        } else {
            "event: response.failed\n"
        };
        assert!(!has_end && text.contains(word), "{text}");
    }
    // What says that the answer has ended, on the one wire and on the other.
    let ends: &[&[u8]] = if is_of_responses {
        &[b"response.completed", b"response.incomplete"]
    } else {
        &[b"DONE]", b"finish_reason"]
    };
    let find = |word: &&[u8]| stream.windows(word.len()).position(|part| part == *word);
    if let Some(first) = ends.iter().filter_map(find).min() {
        let cut = of(&stream[..first], stream.len(), &asked);
        let failed = String::from_utf8_lossy(&cut.out).contains("\"error\":{");
        assert!(!self::has_end(&cut.out) && (cut.end.is_err() || failed));
    } else {
        assert!(!has_end);
    }
    folds(is_of_responses, stream, &whole);
}

/// Whether these events, each of which is JSON, have an end among them.
fn has_end(out: &[u8]) -> bool {
    let text = std::str::from_utf8(out).expect("UTF-8");
    let mut has_end = false;
    for event in text.split_terminator("\n\n") {
        let data = event
            .lines()
            .last()
            .and_then(|line| line.strip_prefix("data: "));
        let data = data.expect("data");
        has_end |= data == "[DONE]"
            || event.starts_with("event: response.completed\n")
            || event.starts_with("event: response.incomplete\n");
        if data != "[DONE]" {
            serde_json::from_str::<IgnoredAny>(data)
                .unwrap_or_else(|error| panic!("{error}: {data}"));
        }
    }
    assert!(text.is_empty() || text.ends_with("\n\n"));
    has_end
}

/// Whether the first event that says how the answer ended is an error. `false` where that takes a closer look.
fn has_first_a_failure(is_of_responses: bool, stream: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(stream) else {
        return false;
    };
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    for event in text.split_inclusive("\n\n") {
        let lines = event.strip_suffix("\n\n").unwrap_or_default().split('\n');
        let data: Vec<_> = lines
            .filter_map(|line| line.strip_prefix("data:"))
            .collect();
        let data = data.join("\n");
        if data.is_empty() {
            continue;
        }
        // A name may be escaped.
        let Ok(Value::Object(event)) = serde_json::from_str(&data) else {
            return false;
        };
        if data.contains("\\u") {
            return false;
        }
        let fails = event.get("error").is_some_and(|error| !error.is_null());
        match event.get("type") {
            _ if !is_of_responses && fails => return true,
            _ if !is_of_responses => {}
            Some(Value::String(kind)) => match &**kind {
                "error" | "response.failed" => return true,
                "response.completed" | "response.incomplete" => return false,
                _ => {}
            },
            _ if fails => return true,
            _ => {}
        }
        if !is_of_responses && data.contains("\"finish_reason\"") {
            return false;
        }
    }
    false
}

/// A whole answer out of the same stream ends as it does.
fn folds(is_of_responses: bool, stream: &[u8], came: &HeadOutcome) {
    let asked = EchoedFields::default();
    let folded = if is_of_responses {
        let mut fold = chat::ChatFold::new(&asked, MOST);
        fold.pass(stream).and_then(|()| fold.end())
    } else {
        let mut fold = responses::ResponsesFold::new(&asked, MOST);
        fold.pass(stream).and_then(|()| fold.end())
    };
    match folded {
        Ok(WholeTranslation::Answer(made) | WholeTranslation::Failed(made)) => {
            let made = std::str::from_utf8(&made).expect("UTF-8");
            serde_json::from_str::<IgnoredAny>(made)
                .unwrap_or_else(|error| panic!("{error}: {made}"));
            assert_eq!(came.end, Ok(()));
        }
        // What a fold keeps may be too much, and a chat keeps nothing.
        Err(UntranslatableAnswer::TooLarge) => {}
        Err(failure) => assert_eq!(came.end, Err(failure)),
    }
}

fn to_chat(stream: &[u8], size: usize, asked: &EchoedFields) -> HeadOutcome {
    let (mut out, mut end) = (Vec::new(), Ok(()));
    let mut turned = chat::ChatStream::new(asked, MOST);
    for piece in stream.chunks(size.max(1)) {
        end = end.and(turned.pass(piece, &mut out));
        assert!(turned.held() <= 2 * MOST);
    }
    end = end.and_then(|()| turned.end());
    let is_over = turned.is_over();
    HeadOutcome { out, end, is_over }
}

fn to_responses(stream: &[u8], size: usize, asked: &EchoedFields) -> HeadOutcome {
    let (mut out, mut end) = (Vec::new(), Ok(()));
    let mut turned = responses::ResponsesStream::new(asked, MOST);
    for piece in stream.chunks(size.max(1)) {
        end = end.and(turned.pass(piece, &mut out));
        assert!(turned.held() <= 4 * MOST);
    }
    end = end.and_then(|()| turned.end(&mut out));
    let is_over = turned.is_over();
    HeadOutcome { out, end, is_over }
}
