//! `hermesctl logs` on a file.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod common;

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};

use common::{ctl, program, scratch};
use serde_json::Value;

const FIRST: &str =
    "2026-11-23T19:44:00.000000Z  INFO listening url=\"http://127.0.0.1:8645/v1\"\n";
const SECOND: &str = "2026-11-23T19:44:01.000000Z  INFO request id=\"49f2c0a5\" path=\"/models\" \
                      status=502 end=\"refused\"\n";
const THIRD: &str = "2026-11-23T19:44:02.000000Z  WARN a login ends soon provider=\"nous\"\n";

/// Ends with its test, however that ends.
struct Follower(Child);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn append(file: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(file);
    file.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_line_that_is_being_written_is_one_entry() {
    let home = scratch();
    let file = home.path().join("log");
    let (half, rest) = SECOND.split_at(40);
    append(&file, &(FIRST.to_owned() + half));
    let follower = program(env!("CARGO_BIN_EXE_hermesctl"), home.path())
        .args(["logs", "--json", "-f", "--file"])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut follower = Follower(follower);
    let mut lines = BufReader::new(follower.0.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["message"], "listening");
    append(&file, rest);
    append(&file, THIRD);
    let request = next();
    assert_eq!(request["message"], "request");
    assert_eq!(request["fields"]["end"], "refused", "{request}");
    assert_eq!(next()["level"], "warn");
}

#[test]
fn a_file_is_read_to_its_end_with_what_is_asked_for() {
    let home = scratch();
    let file = home.path().join("log");
    append(&file, &[FIRST, SECOND, THIRD.trim_end()].concat());
    let file = file.to_str().unwrap();
    let messages = |flags: &[&str]| -> Vec<String> {
        let line = ["logs", "--json", "--file", file];
        let output = ctl(home.path(), &[&line, flags].concat());
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let entries = text
            .lines()
            .map(|line| -> Value { serde_json::from_str(line).unwrap() });
        let messages = entries.map(|entry| entry["message"].as_str().unwrap().to_owned());
        messages.collect()
    };
    assert_eq!(messages(&[]), ["listening", "request", "a login ends soon"]);
    assert_eq!(messages(&["-n", "1"]), ["a login ends soon"]);
    assert_eq!(messages(&["--errors"]), ["request", "a login ends soon"]);
    assert_eq!(messages(&["--level", "warn"]), ["a login ends soon"]);
    assert_eq!(messages(&["--request", "49f2c0a5"]), ["request"]);
    let since = ["--since", "2026-11-23T19:44:01Z"];
    assert_eq!(messages(&since), ["request", "a login ends soon"]);
    assert_eq!(messages(&["--since", "2099-01-01"]), [""; 0]);
}
