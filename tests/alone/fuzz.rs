//! Every fuzz target on a stable compiler: over its corpus, and over mutations of it for a second, or for as many as
//! `HERMES_FUZZ_SECONDS` says. Without coverage it finds less than `fuzz/run` does in the same time, but it always
//! runs.

#![cfg(unix)]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may fail loudly, and says what it did"
)]

// Written for libFuzzer's crate, which has no lints.
#[expect(
    clippy::pedantic,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "each failure is a finding"
)]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

const MOST_BYTES: usize = 16 * 1024;

/// Words that a change by single bytes would not find in time.
const WORDS: &[&str] = &[
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\0",
    " ",
    "\t",
    ":",
    "0",
    "-1",
    "1e400",
    "-8000000000000",
    "8000000000000",
    "18446744073709551616",
    "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "POST /v1/chat/completions HTTP/1.1\r\n",
    "HTTP/1.0",
    "HTTP/1.1",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 103 Early Hints\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n",
    "host: localhost\r\n",
    "content-length: 5\r\n",
    "transfer-encoding: chunked\r\n",
    "connection: close\r\n",
    "connection: keep-alive\r\n",
    "expect: 100-continue\r\n",
    "upgrade: h2c\r\n",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "a;b=\"c\"\r\n",
    "x-mine: 1\n",
    "authorization: Bearer hpx-\n",
    "[::1]",
    "127.0.0.1:8645",
    "localhost",
    "/v1",
    "/models",
    "%2f",
    "..",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\u0000",
    "null",
    "true",
    "\"nous\"",
    "\"model\":\"a\",",
    "\"mod\\u0065l\"",
    "\"access_token\": \"TOKEN\"",
    "\"expires_at\"",
    "\"obtained_at\": \"0000-01-01T00:00:00Z\"",
    "\"exp\": ",
    "\"iat\": ",
    "\"expires_in\": 1e300",
    "data: ",
    "data: [DONE]\n\n",
    "\"type\":\"response.completed\"",
    "\"type\":\"response.output_item.done\"",
    "\"type\":\"response.output_item.added\"",
    "\"type\":\"response.output_text.delta\"",
    "\"type\":\"response.failed\"",
    "\"type\":\"response.incomplete\"",
    "\"response\":{\"status\":\"incomplete\"}",
    "\"delta\":\"x\"",
    "\"delta\":{\"content\":\"x\"}",
    "\"refusal\":\"x\"",
    "\"reasoning\":\"x\"",
    "\"output_index\":1",
    "\"finish_reason\":\"stop\"",
    "\"tool_calls\":[{\"index\":1}]",
    "\"error\":{}",
    "\"tls\": {\"ca_bundle\": \"/etc/hosts\"}",
];

#[test]
fn answers_hyper() {
    fuzz("answers_hyper", targets::answers_hyper::run);
}

#[test]
fn clients() {
    fuzz("clients", targets::clients::run);
}

#[test]
fn control() {
    fuzz("control", targets::control::run);
}

#[test]
fn framing() {
    fuzz("framing", targets::framing::run);
}

#[test]
fn framing_hyper() {
    fuzz("framing_hyper", targets::framing_hyper::run);
}

#[test]
fn guard() {
    fuzz("guard", targets::guard::run);
}

#[test]
fn headers() {
    fuzz("headers", targets::headers::run);
}

#[test]
fn model_field() {
    fuzz("model_field", targets::model_field::run);
}

#[test]
fn route() {
    fuzz("route", targets::route::run);
}

#[test]
fn store() {
    fuzz("store", targets::store::run);
}

#[test]
fn translate_request() {
    fuzz("translate_request", targets::translate_request::run);
}

#[test]
fn translate_stream() {
    fuzz("translate_stream", targets::translate_stream::run);
}

#[test]
fn each_target_is_run_here_and_by_libfuzzer() {
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(fuzz_folder().join(folder)).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let names = paths.map(|path| {
            path.file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        });
        names.filter(|name| name != "lib").collect()
    };
    let targets = names("fuzz_targets");
    assert_eq!(targets, names("src"));
    assert_eq!(targets, names("seeds"));
    let manifest = std::fs::read_to_string(fuzz_folder().join("Cargo.toml")).expect("a manifest");
    let here =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file!())).expect("this");
    for name in targets {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        assert!(
            here.contains(&format!("fuzz(\"{name}\", targets::{name}::run);")),
            "{name}"
        );
    }
}

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// All files of the target's seeds, and of what libFuzzer has gathered here.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for kind in ["seeds", "corpus"] {
        let entries = std::fs::read_dir(fuzz_folder().join(kind).join(target));
        for entry in entries.into_iter().flatten() {
            files.push(std::fs::read(entry.expect("an entry").path()).expect("a file"));
        }
    }
    assert!(!files.is_empty(), "fuzz/seeds/{target} is empty");
    files
}

fn fuzz(target: &str, run: fn(&[u8])) {
    let _turn = support::turn();
    let seconds = std::env::var("HERMES_FUZZ_SECONDS").ok();
    let seconds = seconds.map_or(1, |seconds| seconds.parse().expect("whole seconds"));
    let corpus = corpus(target);
    let tried = |input: &[u8]| {
        if catch_unwind(AssertUnwindSafe(|| run(input))).is_err() {
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{target}"));
            std::fs::write(&file, input).expect("a file");
            panic!("a finding in {}: {}", file.display(), input.escape_ascii());
        }
    };
    for input in &corpus {
        tried(input);
    }
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut count = 0;
    while Instant::now() < until {
        let mut input = pick(&corpus).clone();
        for _ in 0..fastrand::usize(1..=6) {
            change(&mut input, &corpus);
        }
        input.truncate(MOST_BYTES);
        tried(&input);
        count += 1;
    }
    println!(
        "{target}: {} seeds and {count} changes of them in {seconds} s",
        corpus.len()
    );
}

fn pick<T>(from: &[T]) -> &T {
    &from[fastrand::usize(..from.len())]
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let at = fastrand::usize(..=input.len());
    let end = at + fastrand::usize(..=(input.len() - at).min(64));
    match fastrand::u8(..9) {
        0 => input.insert(at, fastrand::u8(..)),
        1 if at < input.len() => input[at] = fastrand::u8(..),
        2 if at < input.len() => input[at] ^= 1 << fastrand::u8(..8),
        3 => drop(input.drain(at..end)),
        4 => {
            let again = input[at..end].to_vec();
            input.splice(end..end, again);
        }
        5 => drop(input.splice(at..at, pick(WORDS).bytes())),
        6 => drop(input.splice(at..end, pick(WORDS).bytes())),
        7 => input.truncate(at),
        // The end of another one.
        _ => {
            let other = pick(corpus);
            let from = fastrand::usize(..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
    }
}
