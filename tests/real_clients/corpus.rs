//! OpenAI's own SDKs read every answer of the translation's corpus: chats and responses, whole and streamed.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]

#[expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "the tests of the translation itself use all of it"
)]
#[path = "../../src/translate/tests/corpus/mod.rs"]
mod known;

use std::path::Path;

use hermes_proxy::translate::{EchoedFields, WholeTranslation, responses_on_chat};
use mock_cloud::{Canned, Fault, MockCloud, Options};
use serde_json::{Value, json};
use support::hermes::{clients, test_env};
use support::{Daemon, World, program};

use self::known::End;
use super::codex::World as Codex;

/// What an SDK asks for, and what it has to read.
struct Case {
    fault: Fault,
    known: Value,
}

fn case(name: &str, (wire, stream): (&str, bool), end: End, fault: Fault) -> Case {
    let end = match end {
        End::Whole => "whole",
        End::Failed => "failed",
        End::Cut => "cut",
    };
    let known = json!({"name": name, "wire": wire, "stream": stream, "end": end,
        "text": null, "refusal": null, "calls": null});
    Case { fault, known }
}

impl Case {
    /// What a completion says is what the SDK has to read.
    fn says(mut self, completion: &Value) -> Self {
        let message = &completion["choices"][0]["message"];
        for (name, of) in [("text", "content"), ("refusal", "refusal")] {
            self.known[name] = message[of].as_str().unwrap_or_default().into();
        }
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        let calls = calls.map(|call| {
            let kind = call["type"].as_str().unwrap();
            let text = if kind == "custom" {
                "input"
            } else {
                "arguments"
            };
            json!([call[kind]["name"], call[kind][text]])
        });
        self.known["calls"] = calls.collect();
        self
    }

    fn words(mut self, words: &str) -> Self {
        self.known["text"] = words.into();
        self
    }
}

fn events(stream: impl Into<String>) -> Fault {
    let canned = Canned::status(200).header("content-type", "text/event-stream");
    Fault::Answer(canned.body(stream.into()))
}

fn whole(body: &Value) -> Fault {
    Fault::Answer(Canned::json(200, body))
}

/// Each message of the corpus once, with one usage or another.
fn completions() -> impl Iterator<Item = (String, Value)> {
    let all = known::answers().into_iter().enumerate();
    all.filter_map(|(at, answer)| (at % 3 == at / 3 % 3).then_some(answer))
}

/// A chat's stream as one of the Responses API.
fn over(stream: &str) -> String {
    let asked = EchoedFields::default();
    let mut out = Vec::new();
    let mut turned = responses_on_chat::ResponsesStream::new(&asked, 1 << 20);
    turned.pass(stream.as_bytes(), &mut out).unwrap();
    turned.end(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn failures(wire: &str, of: impl Fn(&str) -> String) -> Vec<Case> {
    let chunk =
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";
    let mut cases = Vec::new();
    for (error, message, _) in known::errors() {
        for (before, stream) in [("", false), ("", true), (chunk, false), (chunk, true)] {
            let fault = events(of(&format!("{before}data: {error}\n\n")));
            cases.push(case(message, (wire, stream), End::Failed, fault));
        }
    }
    cases
}

/// An app that speaks Responses, and a provider of chats.
fn responses() -> Vec<Case> {
    let mut cases = failures("responses", str::to_owned);
    for (name, completion) in completions() {
        let stream = events(known::stream(&completion));
        for (streams, fault) in [(false, whole(&completion)), (true, stream)] {
            let case = case(&name, ("responses", streams), End::Whole, fault);
            cases.push(case.says(&completion));
        }
    }
    for (name, stream, words, end) in known::chats() {
        for streams in [false, true] {
            let case = case(name, ("responses", streams), end, events(&*stream));
            cases.push(case.words(words));
        }
    }
    for (error, message, _) in known::errors() {
        let wire = ("responses", false);
        cases.push(case(message, wire, End::Failed, whole(&error)));
    }
    cases
}

/// An app that speaks Chat Completions, and a provider of Responses.
fn chats() -> Vec<Case> {
    let mut cases = failures("chat", over);
    for (name, completion) in completions() {
        let stream = || events(over(&known::stream(&completion)));
        let body = completion.to_string();
        let made = responses_on_chat::answer(body.as_bytes(), &EchoedFields::default());
        let Ok(WholeTranslation::Answer(made)) = made else {
            panic!("{made:?} of {name}")
        };
        let made = Canned::status(200)
            .header("content-type", "application/json")
            .body(made);
        let faults = [
            (false, Fault::Answer(made)),
            (false, stream()),
            (true, stream()),
        ];
        for (streams, fault) in faults {
            let case = case(&name, ("chat", streams), End::Whole, fault);
            cases.push(case.says(&completion));
        }
    }
    for (name, stream, words, end) in known::responses() {
        for streams in [false, true] {
            let case = case(name, ("chat", streams), end, events(&*stream));
            cases.push(case.words(words));
        }
    }
    cases
}

fn read_all(language: &str, (cloud, daemon, key): (&MockCloud, &Daemon, &str), cases: &[Case]) {
    for case in cases {
        cloud.fail_next(1, &case.fault);
    }
    let known: Vec<_> = cases.iter().map(|case| &case.known).collect();
    let file = daemon.home.join("cases.json");
    std::fs::write(&file, json!(known).to_string()).unwrap();
    let env = test_env(language);
    let (binary, script) = match language {
        "python" => ("python/bin/python", "python/corpus.py"),
        _ => ("node/bin/node", "node/corpus.mjs"),
    };
    let output = program(env.join(binary), &daemon.home)
        .env("HERMES_TEST_ENV", &env)
        .arg(clients().join(script))
        .args([&*daemon.base, key])
        .arg(Path::new(&file))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let wanted = format!("{} answers, 0 failed\n", cases.len());
    assert!(
        said == wanted,
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

async fn both_wires(language: &str) {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("[providers.nous]\ntranslate = true\n", &[]);
    read_all(language, (&world.cloud, &daemon, "any"), &responses());
    let world = Codex::new().await;
    let daemon = world.daemon();
    read_all(language, (&world.cloud, &daemon, &world.key), &chats());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_reads_every_answer_that_is_translated() {
    both_wires("python").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_reads_every_answer_that_is_translated() {
    both_wires("node").await;
}
