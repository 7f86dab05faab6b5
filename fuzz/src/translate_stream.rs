//! A stream becomes the same events however it is cut, each of them is JSON, what is held is bounded, and a stream that
//! ends too soon has no end on the other wire.

use hermes_proxy::translate::{
    Asked, Failure, Whole, chat_on_responses as chat, responses_on_chat as responses,
};
use serde::de::IgnoredAny;

/// Small, so that inputs reach it.
const MOST: usize = 4096;

/// What a stream came to.
#[derive(Debug, PartialEq, Eq)]
struct Came {
    out: Vec<u8>,
    end: Result<(), Failure>,
    is_over: bool,
}

/// One input: which wire it is of, how large its pieces are, and a stream.
pub fn run(bytes: &[u8]) {
    let [wire, size, stream @ ..] = bytes else {
        return;
    };
    let of = if wire % 2 == 0 { to_chat } else { to_responses };
    let whole = of(stream, stream.len().max(1));
    assert_eq!(of(stream, usize::from(*size) + 1), whole);
    assert_eq!(of(stream, 1), whole);
    let text = std::str::from_utf8(&whole.out).expect("UTF-8");
    let mut has_end = false;
    for event in text.split_terminator("\n\n") {
        let data = event
            .lines()
            .last()
            .and_then(|line| line.strip_prefix("data: "));
        let data = data.expect("data");
        has_end |= data == "[DONE]" || event.starts_with("event: response.completed\n");
        if data != "[DONE]" {
            serde_json::from_str::<IgnoredAny>(data)
                .unwrap_or_else(|error| panic!("{error}: {data}"));
        }
    }
    assert!(text.is_empty() || text.ends_with("\n\n"));
    assert!(!has_end || whole.is_over && whole.end.is_ok());
    folds(wire % 2 == 0, stream, &whole);
}

/// A whole answer out of the same stream ends as it does.
fn folds(is_of_responses: bool, stream: &[u8], came: &Came) {
    let asked = Asked::default();
    let folded = if is_of_responses {
        let mut fold = chat::Fold::new(&asked, MOST);
        fold.pass(stream).and_then(|()| fold.end())
    } else {
        let mut fold = responses::Fold::new(&asked, MOST);
        fold.pass(stream).and_then(|()| fold.end())
    };
    match folded {
        Ok(Whole::Answer(made) | Whole::Failed(made)) => {
            let made = std::str::from_utf8(&made).expect("UTF-8");
            serde_json::from_str::<IgnoredAny>(made)
                .unwrap_or_else(|error| panic!("{error}: {made}"));
            assert_eq!(came.end, Ok(()));
        }
        // What a fold keeps may be too much, and a chat keeps nothing.
        Err(Failure::TooLarge) => {}
        Err(failure) => assert_eq!(came.end, Err(failure)),
    }
}

fn to_chat(stream: &[u8], size: usize) -> Came {
    let (mut out, mut end) = (Vec::new(), Ok(()));
    let mut turned = chat::Stream::new(&Asked::default(), MOST);
    for piece in stream.chunks(size) {
        end = end.and(turned.pass(piece, &mut out));
        assert!(turned.held() <= 2 * MOST);
    }
    end = end.and_then(|()| turned.end());
    let is_over = turned.is_over();
    Came { out, end, is_over }
}

fn to_responses(stream: &[u8], size: usize) -> Came {
    let (mut out, mut end) = (Vec::new(), Ok(()));
    let mut turned = responses::Stream::new(&Asked::default(), MOST);
    for piece in stream.chunks(size) {
        end = end.and(turned.pass(piece, &mut out));
        assert!(turned.held() <= 4 * MOST);
    }
    end = end.and_then(|()| turned.end(&mut out));
    let is_over = turned.is_over();
    Came { out, end, is_over }
}
