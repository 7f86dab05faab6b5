//! Both directions, over a corpus: a round trip loses what `docs/translation.md` lists and no more.

mod answers;
mod corpus;
mod limits;
mod odd;
mod refusals;
mod requests;
mod splits;
mod streams;

use serde_json::Value;

use super::EchoedFields;

/// No test needs more.
const MOST: usize = 1024 * 1024;

fn asked() -> EchoedFields {
    EchoedFields {
        model: "asked".to_owned(),
        now: 1_700_000_000,
        includes_usage: true,
        namespaces: Vec::new(),
    }
}

fn read(body: &[u8]) -> Value {
    let text = std::str::from_utf8(body).unwrap();
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The data of a stream's events.
fn events(stream: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(stream).unwrap();
    assert!(text.is_empty() || text.ends_with("\n\n"), "{text}");
    let events = text.split("\n\n").filter(|event| !event.is_empty());
    let data = events.map(|event| {
        event
            .lines()
            .last()
            .unwrap()
            .strip_prefix("data: ")
            .unwrap()
    });
    data.map(str::to_owned).collect()
}
