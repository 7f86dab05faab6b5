//! Streams that are split at every byte, and streams as providers send them.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher};

use super::super::{UntranslatableAnswer, chat_on_responses, responses_on_chat};
use super::streams::{text, to_chat, to_responses};
use super::{MOST, asked, corpus, events, read};

/// What takes a stream piece by piece.
trait Turn: Clone + PartialEq + std::fmt::Debug {
    fn turn(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), UntranslatableAnswer>;
}

impl Turn for chat_on_responses::ChatStream {
    fn turn(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), UntranslatableAnswer> {
        self.pass(piece, out)
    }
}

impl Turn for responses_on_chat::ResponsesStream {
    fn turn(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), UntranslatableAnswer> {
        self.pass(piece, out)
    }
}

/// Splits a stream at every byte. The output of an event is the same wherever it is split, and so is the state after
/// it: so the rest of the stream has the same output, too. `known`: beginnings of streams that were split.
fn split(stream: &str, begun: impl Turn, known: &mut HashSet<u64>, name: &str) -> usize {
    let (mut before, mut beginning) = (begun, DefaultHasher::new());
    let mut places = 0;
    for event in stream.split_inclusive("\n\n") {
        let event = event.as_bytes();
        let (mut behind, mut out) = (before.clone(), Vec::new());
        let passed = behind.turn(event, &mut out);
        beginning.write(event);
        if known.insert(beginning.finish()) {
            for place in 1..event.len() {
                let (mut again, mut halves) = (before.clone(), Vec::new());
                let (one, other) = event.split_at(place);
                let first = again.turn(one, &mut halves);
                let end = first.and(again.turn(other, &mut halves));
                let is_same = (end, &halves) == (passed, &out) && again == behind;
                assert!(is_same, "{name} at {place} of {}", event.escape_ascii());
                places += 1;
            }
        }
        before = behind;
    }
    places
}

#[test]
fn a_stream_that_is_split_at_any_byte_is_the_same() {
    let (mut of_chats, mut of_responses) = (HashSet::new(), HashSet::new());
    let mut all = Vec::new();
    // Without optimization all of them take a minute.
    let step = if cfg!(debug_assertions) { 16 } else { 1 };
    for (name, answer) in corpus::answers().into_iter().step_by(step) {
        let chat = corpus::stream(&answer);
        let there = text(to_responses(&chat, &[]).0);
        all.push((name, Some(chat), Some(there)));
    }
    let wild = corpus::chats().into_iter();
    all.extend(wild.map(|(name, chat, ..)| (name.to_owned(), Some(chat), None)));
    let wild = corpus::responses().into_iter();
    all.extend(wild.map(|(name, there, ..)| (name.to_owned(), None, Some(there))));
    let mut places = 0;
    for (name, chat, there) in all {
        for size in [1, 64] {
            let pieces = |length: usize| (size..length).step_by(size).collect::<Vec<_>>();
            if let Some(chat) = &chat {
                let again = to_responses(chat, &pieces(chat.len()));
                assert_eq!(again, to_responses(chat, &[]), "{name} in pieces of {size}");
            }
            if let Some(there) = &there {
                let again = to_chat(there, &pieces(there.len()), &asked());
                assert_eq!(
                    again,
                    to_chat(there, &[], &asked()),
                    "{name} in pieces of {size}"
                );
            }
        }
        if let Some(chat) = chat {
            let begun = responses_on_chat::ResponsesStream::new(&asked(), MOST);
            places += split(&chat, begun, &mut of_chats, &name);
        }
        if let Some(there) = there {
            let begun = chat_on_responses::ChatStream::new(&asked(), MOST);
            places += split(&there, begun, &mut of_responses, &name);
        }
    }
    assert!(places > 50_000, "{places}");
}

#[test]
fn streams_as_providers_send_them_are_understood() {
    for (name, stream, words, end) in corpus::responses() {
        let (out, came) = to_chat(&stream, &[], &asked());
        let mut said = String::new();
        let events = events(&out);
        for event in events.iter().filter(|event| *event != "[DONE]") {
            let content = &read(event.as_bytes())["choices"][0]["delta"]["content"];
            said.push_str(content.as_str().unwrap_or_default());
        }
        assert_eq!(said, words, "{name}");
        let last = events.last().unwrap();
        let found = match came {
            Ok(()) if last == "[DONE]" => corpus::End::Whole,
            Ok(()) if last.starts_with("{\"error\":{\"message\":\"") => corpus::End::Failed,
            Ok(()) => panic!("{name}: {events:?}"),
            Err(_) => corpus::End::Cut,
        };
        assert_eq!(found, end, "{name}: {events:?}");
    }
    for (name, stream, words, end) in corpus::chats() {
        let (out, came) = to_responses(&stream, &[]);
        let mut said = String::new();
        let events: Vec<_> = events(&out)
            .iter()
            .map(|event| read(event.as_bytes()))
            .collect();
        for event in events
            .iter()
            .filter(|event| event["type"] == "response.output_text.delta")
        {
            said.push_str(event["delta"].as_str().unwrap());
        }
        assert_eq!(said, words, "{name}");
        let last = events.last().unwrap()["type"].as_str().unwrap();
        let found = match (came, last) {
            (Ok(()), "response.completed" | "response.incomplete") => corpus::End::Whole,
            (Ok(()), "response.failed") => corpus::End::Failed,
            (Ok(()), _) => panic!("{name}: {events:?}"),
            (Err(_), _) => corpus::End::Cut,
        };
        assert_eq!(found, end, "{name}: {events:?}");
    }
}
