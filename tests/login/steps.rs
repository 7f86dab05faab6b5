//! Steps that several of these tests share: hermesctl, the files and the hooks.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::{Daemon, PATIENCE, World, chat, client, post};

pub(crate) fn run(world: &World, args: &[&str]) -> Output {
    world.hermesctl(args).output().unwrap()
}

pub(crate) fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

pub(crate) fn own_store(world: &World) -> PathBuf {
    let state = world.home.path().join(".local/state/hermes-proxyd");
    state.join("auth.json")
}

pub(crate) fn block(file: &std::path::Path) -> Value {
    let text = std::fs::read_to_string(file).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    document["providers"]["nous"].clone()
}

/// `hermesctl auth login --json` while it waits.
pub(crate) struct Login {
    pub(crate) child: Child,
    pub(crate) lines: BufReader<ChildStdout>,
    pub(crate) code: Value,
}

impl Drop for Login {
    /// A test that is over leaves nothing that waits.
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Login {
    pub(crate) fn begin(world: &World, flags: &[&str]) -> Self {
        let mut command = world.hermesctl(&["auth", "login", "nous", "--json"]);
        let mut child = command
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut login = Self {
            child,
            lines,
            code: Value::Null,
        };
        login.code = login.line()["code"].clone();
        login
    }

    pub(crate) fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| {
            let mut errors = String::new();
            let stderr = self.child.stderr.take().unwrap();
            std::io::Read::read_to_string(&mut { stderr }, &mut errors).unwrap();
            panic!("{error}: {line:?} {errors}")
        })
    }

    pub(crate) fn user_code(&self) -> &str {
        self.code["user_code"].as_str().unwrap()
    }

    pub(crate) fn end(mut self) -> (Value, ExitStatus) {
        let line = self.line();
        (line, self.child.wait().unwrap())
    }
}

/// Logs in and says yes.
pub(crate) fn log_in(world: &World, flags: &[&str]) -> Value {
    let login = Login::begin(world, flags);
    world.cloud.approve(login.user_code());
    let (end, status) = login.end();
    assert!(status.success(), "{end}");
    end["done"].clone()
}

pub(crate) async fn assert_serves(daemon: &Daemon) {
    let answer = post(daemon, &chat("x")).await;
    assert_eq!(answer.status(), 200, "{}", daemon.logged());
}

/// What hooks are told, one JSON object a line.
pub(crate) fn told(world: &World) -> Vec<Value> {
    let text = std::fs::read_to_string(world.home.path().join("told")).unwrap_or_default();
    let lines = text.lines();
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

pub(crate) fn a_hook(world: &World) -> String {
    let file = world.home.path().join("told");
    format!(
        "[[hooks]]\ncommand = [\"sh\", \"-c\", \"cat >> {}\"]\n",
        file.display()
    )
}

pub(crate) async fn until_told(world: &World, daemon: &Daemon, event: &str) -> Value {
    let waiting = async {
        loop {
            if let Some(told) = told(world).into_iter().find(|told| told["event"] == event) {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let told = tokio::time::timeout(PATIENCE, waiting).await;
    told.unwrap_or_else(|_| panic!("no {event}:\n{}", daemon.logged()))
}

pub(crate) async fn ready(daemon: &Daemon) -> (u16, String) {
    let request = client().get(format!("{}/readyz", daemon.origin()));
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Whom root's tests run the programs as; an ordinary user's run them as they are.
pub(crate) const SOMEBODY: u32 = 65_534;
