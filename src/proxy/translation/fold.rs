//! Folds a stream of the Responses API into a whole answer. A tap: it keeps the finished items, and the end of the
//! response. Pure.
//!
//! A stream that ends before its response gives nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use hyper::StatusCode;
use memchr::memmem;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::super::json;
use crate::sse::Tap;

/// The words of an event that matters; most have none of them.
const WORDS: [&[u8]; 5] = [
    b"response.output_item.done",
    b"response.completed",
    b"response.incomplete",
    b"response.failed",
    b"\"error\"",
];
/// The statuses of errors that come in a stream, by their codes.
const STATUSES: [(&str, StatusCode); 12] = [
    ("server_is_overloaded", StatusCode::SERVICE_UNAVAILABLE),
    ("slow_down", StatusCode::SERVICE_UNAVAILABLE),
    ("rate_limit_exceeded", StatusCode::TOO_MANY_REQUESTS),
    ("usage_limit_reached", StatusCode::TOO_MANY_REQUESTS),
    ("insufficient_quota", StatusCode::TOO_MANY_REQUESTS),
    ("usage_not_included", StatusCode::FORBIDDEN),
    ("context_length_exceeded", StatusCode::BAD_REQUEST),
    ("invalid_prompt", StatusCode::BAD_REQUEST),
    ("invalid_request_error", StatusCode::BAD_REQUEST),
    ("invalid_image", StatusCode::BAD_REQUEST),
    ("cyber_policy", StatusCode::BAD_REQUEST),
    ("server_error", StatusCode::INTERNAL_SERVER_ERROR),
];

/// A longer event has no quota usage.
const LONGEST: usize = 4 * 1024;
/// A kept item's size in addition to its bytes.
const ITEM: usize = 64;

/// What the stream came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FoldOutcome {
    /// The response's JSON.
    Response(Vec<u8>),
    /// An error: its status, and its JSON in OpenAI's form.
    Failed(StatusCode, Vec<u8>),
}

/// An item's place in the answer: by its `output_index`, and after those the ones without it, in their order.
type ItemPosition = (u64, u64);

/// A stream on its way to one answer.
#[derive(Debug, Default)]
pub(super) struct AnswerFold {
    /// The present event's data.
    event: Vec<u8>,
    items: BTreeMap<ItemPosition, Vec<u8>>,
    items_bytes: usize,
    /// The indexes of items of which pieces came, and not their ends.
    open: BTreeSet<u64>,
    lacks_items: bool,
    /// Where the last one is.
    place: ItemPosition,
    outcome: Option<FoldOutcome>,
    /// The event that an error came in.
    error: Option<Vec<u8>>,
    /// The mark of an event with quota usage, and the last such event.
    quota: (Option<&'static str>, Option<Vec<u8>>),
}

impl AnswerFold {
    /// A stream at its start; `quota` is the mark of an event with quota usage.
    pub(super) fn new(quota: Option<&'static str>) -> Self {
        Self {
            quota: (quota, None),
            ..Self::default()
        }
    }

    /// The last event with quota usage.
    pub(super) fn told(&mut self) -> Option<Vec<u8>> {
        self.quota.1.take()
    }

    /// The bytes that it holds.
    pub(super) fn size(&self) -> usize {
        self.event.len() + self.items_bytes + self.open.len() * ITEM
    }

    /// Whether the response has ended.
    pub(super) fn is_over(&self) -> bool {
        self.outcome.is_some()
    }

    /// The event that an error came in.
    pub(super) fn error(&self) -> Option<&[u8]> {
        self.error.as_deref()
    }

    /// Whether the answer has ended without items of which pieces had come.
    pub(super) fn lacks_items(&self) -> bool {
        self.lacks_items
    }

    /// What the stream came to; `None` while its response has not ended.
    pub(super) fn outcome(self) -> Option<FoldOutcome> {
        self.outcome
    }

    fn read(&mut self) {
        let has = |word: &&[u8]| memmem::find(&self.event, word).is_some();
        if self.event.len() <= LONGEST && self.quota.0.is_some_and(|word| has(&word.as_bytes())) {
            self.quota.1 = Some(std::mem::take(&mut self.event));
            return;
        }
        if !WORDS.iter().any(has) {
            // A quote within a text has a backslash before it.
            if has(&b".delta\"".as_slice()) {
                self.open.extend(index_of(&self.event));
            }
            return;
        }
        let event = &*self.event;
        // What is skipped as JSON may hold any byte.
        let text = std::str::from_utf8(event).unwrap_or_default();
        if serde_json::from_str::<IgnoredAny>(text).is_err() {
            return;
        }
        let Some(members) = json::members(event, json::start(event)) else {
            return;
        };
        let names = ["type", "item", "output_index", "response", "error"];
        let member = |at: Range<usize>| event.get(at);
        let [kind, item, index, response, error] =
            json::last(members, names).map(|at| at.and_then(member));
        let is = |name: &str| json::is(kind, name);
        if is("\"response.output_item.done\"") {
            if let Some(item) = item.map(<[u8]>::to_vec) {
                self.keep(index.and_then(number), item);
            }
        } else if is("\"response.completed\"") || is("\"response.incomplete\"") {
            // A value that is not an object is not a response, and so not an end.
            let response = response.filter(|response| response.starts_with(b"{"));
            let items: Vec<_> = self.items.values().map(Vec::as_slice).collect();
            // What came in pieces alone is missing.
            self.lacks_items = !self.open.is_empty()
                && is("\"response.completed\"")
                && !response.is_some_and(has_items);
            self.outcome =
                response.map(|response| FoldOutcome::Response(with_items(response, &items)));
        } else if is("\"response.failed\"")
            || is("\"error\"")
            || kind.is_none() && error.is_some_and(|error| error != b"null")
        {
            self.outcome = Some(failed(event));
            self.error = Some(event.to_vec());
        }
    }

    /// An item is done. One that comes again takes the place of its first form.
    fn keep(&mut self, index: Option<u64>, item: Vec<u8>) {
        match index {
            Some(index) => {
                self.open.remove(&index);
            }
            None => self.open.clear(),
        }
        let (last, behind) = self.place;
        self.place = index.map_or((last, behind.saturating_add(1)), |index| (index, 0));
        self.items_bytes += item.len() + ITEM;
        if let Some(former) = self.items.insert(self.place, item) {
            self.items_bytes -= former.len() + ITEM;
        }
    }
}

/// Whether the response has items itself.
fn has_items(response: &[u8]) -> bool {
    json::members(response, json::start(response)).is_some_and(|members| {
        let [output] = json::last(members, ["output"]);
        let items = output.and_then(|output| json::items(response, output.start));
        items.is_some_and(|mut items| items.next().is_some())
    })
}

/// The item that an event is about, by its first mention.
fn index_of(event: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"\"output_index\":";
    let at = memmem::find(event, NAME)? + NAME.len();
    let digits = event.get(at..)?.trim_ascii_start();
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    number(digits.get(..end)?)
}

/// The response, with the items that came before it where it has none itself.
fn with_items(response: &[u8], items: &[&[u8]]) -> Vec<u8> {
    let Some(members) = json::members(response, json::start(response)) else {
        return response.to_vec();
    };
    let end = members.clone().last().map(|member| member.value.end);
    let [output] = json::last(members, ["output"]);
    let is_empty =
        |at: usize| json::items(response, at).is_none_or(|mut items| items.next().is_none());
    let list = || [b"[".as_slice(), &items.join(&b","[..]), b"]"].concat();
    let (before, list, behind) = match output {
        _ if items.is_empty() => return response.to_vec(),
        Some(output) if !is_empty(output.start) => return response.to_vec(),
        Some(output) => (output.start, list(), output.end),
        // Behind the last member.
        None => {
            let at = end.unwrap_or_else(|| json::start(response) + 1);
            let comma: &[u8] = if end.is_some() { b"," } else { b"" };
            (at, [comma, b"\"output\":", &list()].concat(), at)
        }
    };
    let before = response.get(..before).unwrap_or_default();
    let behind = response.get(behind..).unwrap_or_default();
    [before, &list, behind].concat()
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// An error event as an answer.
fn failed(event: &[u8]) -> FoldOutcome {
    let event: Value = serde_json::from_slice(event).unwrap_or_default();
    let of_response = event
        .get("response")
        .and_then(|response| response.get("error"));
    let places = [of_response, event.get("error"), Some(&event)];
    let error = places.into_iter().flatten().find(|place| place.is_object());
    let text = |key: &str| error?.get(key)?.as_str();
    // The event's own type does not matter.
    let kind = text("type").filter(|kind| *kind != "error");
    let code = text("code").or(kind);
    let message = text("message").or_else(|| event.get("error")?.as_str());
    let known = |wanted: &&str| STATUSES.iter().find(|(code, _)| code == wanted);
    let status = [code, kind].iter().flatten().find_map(known);
    let status = status.map_or(StatusCode::BAD_GATEWAY, |(_, status)| *status);
    let body = json!({"error": {
        "message": message.unwrap_or("The response failed."),
        "type": kind.or(code),
        "code": code,
        "param": text("param"),
    }});
    FoldOutcome::Failed(status, body.to_string().into_bytes())
}

impl Tap for AnswerFold {
    fn data(&mut self, piece: &[u8]) {
        if self.outcome.is_none() {
            self.event.extend_from_slice(piece);
        }
    }

    fn end_data(&mut self) {
        // Lines of one event are joined (WHATWG HTML §9.2.6).
        if self.outcome.is_none() {
            self.event.push(b'\n');
        }
    }

    fn end_event(&mut self) {
        if self.outcome.is_none() {
            self.read();
        }
        self.event.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::Tokenizer;

    fn folded(stream: &str, size: usize) -> Option<FoldOutcome> {
        let (mut lines, mut fold) = (Tokenizer::default(), AnswerFold::default());
        for piece in stream.as_bytes().chunks(size) {
            lines.pass(piece, &mut fold);
        }
        fold.outcome()
    }

    fn all(events: &[&str]) -> String {
        let events = events
            .iter()
            .map(|event| format!("event: x\ndata: {event}\n\n"));
        events.collect()
    }

    const DELTA: &str =
        "{\"type\":\"response.output_text.delta\",\"delta\":\"response.completed \\\"error\\\"\"}";
    const ONE: &str = "{\"type\":\"response.output_item.done\",\"item\":{\"id\":\"a\",\"n\":1.0}}";
    const TWO: &str =
        "{\"output_index\":1,\"item\":{\"id\":\"b\"},\"type\":\"response.output_item.done\"}";

    #[test]
    fn an_item_that_came_in_pieces_alone_makes_the_answer_cut() {
        let piece = |index: u8| {
            format!(
                "{{\"type\":\"response.output_text.delta\",\"output_index\": {index},\"delta\":\"a\"}}"
            )
        };
        let done = "{\"type\":\"response.output_item.done\",\"output_index\":0,\"item\":{}}";
        let end = |kind: &str, output: &str| {
            format!("{{\"type\":\"response.{kind}\",\"response\":{{\"output\":[{output}]}}}}")
        };
        let lacks = |events: &[&str]| {
            let (mut lines, mut fold) = (Tokenizer::default(), AnswerFold::default());
            lines.pass(all(events).as_bytes(), &mut fold);
            assert!(fold.is_over());
            fold.lacks_items()
        };
        let (zero, one) = (piece(0), piece(1));
        assert!(lacks(&[&zero, &end("completed", "")]));
        assert!(lacks(&[&zero, done, &one, &end("completed", "")]));
        assert!(!lacks(&[&zero, done, &end("completed", "")]));
        assert!(!lacks(&[&zero, ONE, &end("completed", "")]));
        assert!(!lacks(&[&zero, &end("completed", "{}")]));
        assert!(!lacks(&[&zero, &end("incomplete", "")]));
        assert!(!lacks(&[&end("completed", "")]));
    }

    #[test]
    fn items_that_came_before_fill_an_empty_output_byte_for_byte() {
        for (response, expected) in [
            (
                "{\"id\":\"r\", \"output\":[],\"x\":1e400}",
                "{\"id\":\"r\", \"output\":[{\"id\":\"a\",\"n\":1.0},{\"id\":\"b\"}],\"x\":1e400}",
            ),
            (
                "{\"output\": null}",
                "{\"output\": [{\"id\":\"a\",\"n\":1.0},{\"id\":\"b\"}]}",
            ),
            (
                "{\"id\":\"r\"}",
                "{\"id\":\"r\",\"output\":[{\"id\":\"a\",\"n\":1.0},{\"id\":\"b\"}]}",
            ),
            (
                "{}",
                "{\"output\":[{\"id\":\"a\",\"n\":1.0},{\"id\":\"b\"}]}",
            ),
            // It has them itself.
            (
                "{\"output\":[{\"id\":\"c\"}]}",
                "{\"output\":[{\"id\":\"c\"}]}",
            ),
        ] {
            for kind in ["response.completed", "response.incomplete"] {
                let end = format!("{{\"type\":\"{kind}\",\"response\":{response}}}");
                let stream = all(&[DELTA, ONE, DELTA, TWO, &end]) + ": bye\n\n";
                let expected = Some(FoldOutcome::Response(expected.as_bytes().to_vec()));
                for size in [1, 13, stream.len()] {
                    assert_eq!(folded(&stream, size), expected, "{response}");
                }
            }
        }
        let end = "{\"type\":\"response.completed\",\"response\":{\"output\":[]}}";
        let nothing = FoldOutcome::Response(b"{\"output\":[]}".to_vec());
        assert_eq!(folded(&all(&[end]), 7), Some(nothing));
    }

    #[test]
    fn items_have_the_places_that_the_stream_gives_them_and_each_is_there_once() {
        let end = "{\"type\":\"response.completed\",\"response\":{\"output\":[]}}";
        let item = |index: &str, id: &str| {
            format!("{{\"type\":\"response.output_item.done\",{index}\"item\":\"{id}\"}}")
        };
        let at = |index: u64, id: &str| item(&format!("\"output_index\":{index},"), id);
        for (items, expected) in [
            (vec![at(1, "b"), at(0, "a")], "\"a\",\"b\""),
            (vec![at(0, "a"), at(1, "b"), at(0, "c")], "\"c\",\"b\""),
            (vec![at(7, "b"), at(2, "a")], "\"a\",\"b\""),
            (vec![item("", "b"), item("", "a")], "\"b\",\"a\""),
            (
                vec![at(0, "a"), item("", "b"), at(1, "c")],
                "\"a\",\"b\",\"c\"",
            ),
            (
                vec![
                    item("\"output_index\":\"1\",", "b"),
                    item("\"output_index\":-1,", "a"),
                ],
                "\"b\",\"a\"",
            ),
        ] {
            let mut events: Vec<_> = items.iter().map(String::as_str).collect();
            events.push(end);
            let expected = format!("{{\"output\":[{expected}]}}").into_bytes();
            let expected = Some(FoldOutcome::Response(expected));
            assert_eq!(folded(&all(&events), 11), expected, "{items:?}");
        }
    }

    #[test]
    fn a_response_that_is_no_object_is_no_end() {
        for response in ["null", "\"x\"", "1", "[]"] {
            let end = format!("{{\"type\":\"response.completed\",\"response\":{response}}}");
            assert_eq!(folded(&all(&[ONE, &end]), 9), None, "{response}");
        }
    }

    #[test]
    fn a_stream_without_its_end_gives_nothing() {
        let whole = all(&[
            DELTA,
            ONE,
            "{\"type\":\"response.completed\",\"response\":{}}",
        ]);
        for length in 0..whole.len() {
            let cut = whole.get(..length).unwrap();
            assert_eq!(folded(cut, 5), None, "{length}");
        }
        assert!(folded(&whole, 5).is_some());
    }

    #[test]
    fn an_error_in_the_stream_has_a_status_and_the_providers_words() {
        for (event, status, code) in [
            (
                "{\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"server_is_overloaded\",\
                 \"message\":\"words\"}}}",
                503,
                "server_is_overloaded",
            ),
            (
                "{\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"words\"}",
                429,
                "rate_limit_exceeded",
            ),
            (
                "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"words\",\
                 \"code\":\"context_length_exceeded\"}}",
                400,
                "context_length_exceeded",
            ),
            (
                "{\"error\":{\"message\":\"words\",\"type\":\"odd\"}}",
                502,
                "odd",
            ),
        ] {
            let Some(FoldOutcome::Failed(told, body)) = folded(&all(&[DELTA, ONE, event, TWO]), 9)
            else {
                panic!("{event}")
            };
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(
                (told.as_u16(), &body["error"]["code"]),
                (status, &json!(code))
            );
            assert_eq!(body["error"]["message"], "words", "{event}");
        }
    }

    #[test]
    fn what_it_holds_is_known() {
        let (mut lines, mut fold) = (Tokenizer::default(), AnswerFold::default());
        lines.pass(all(&[DELTA, ONE, TWO]).as_bytes(), &mut fold);
        let items = "{\"id\":\"a\",\"n\":1.0}".len() + "{\"id\":\"b\"}".len() + 2 * ITEM;
        assert_eq!(fold.size(), items);
        // The same item once more.
        lines.pass(all(&[TWO]).as_bytes(), &mut fold);
        assert_eq!(fold.size(), items);
        lines.pass(b"data: 12345", &mut fold);
        assert_eq!(fold.size(), items + 6);
    }
}
