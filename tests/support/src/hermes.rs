//! Hermes Agent itself, on the store that it shares with the daemon. See `tests/clients/README.md`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::environment::installer;
use crate::{World, program, root};

/// The folder with the real clients, in which `part` is installed as it is pinned.
pub fn test_env(part: &str) -> PathBuf {
    static READY: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let folder = test_folder();
    let mut ready = READY.lock().unwrap_or_else(PoisonError::into_inner);
    if !ready.contains(part) {
        // What it says of its progress goes to the terminal at once; libtest would keep it.
        let output = installer(&clients().join("setup"))
            .arg(part)
            .env("HERMES_TEST_ENV", &folder)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(output.success(), "tests/clients/setup {part} failed");
        ready.insert(part.to_owned());
    }
    folder.canonicalize().unwrap()
}

/// The folder that clients are installed below.
fn test_folder() -> PathBuf {
    let folder = std::env::var_os("HERMES_TEST_ENV").filter(|value| !value.is_empty());
    folder.map_or_else(|| root().join("target/test-env"), PathBuf::from)
}

/// Traefik, which `tests/clients/traefik/setup` installs.
pub fn traefik() -> PathBuf {
    let folder = test_folder();
    let setup = installer(&clients().join("traefik/setup"))
        .env("HERMES_TEST_ENV", &folder)
        .status();
    assert!(
        setup.unwrap().success(),
        "tests/clients/traefik/setup failed"
    );
    folder.canonicalize().unwrap().join("traefik/bin/traefik")
}

pub fn clients() -> PathBuf {
    root().join("tests/clients")
}

pub fn hermes_home(world: &World) -> PathBuf {
    world.home.path().join(".hermes")
}

pub fn hermes_command(path: &Path, world: &World, home: &Path) -> Command {
    let mut command = program(path, world.home.path());
    command
        .env("HERMES_HOME", home)
        .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url());
    command
}

/// Hermes Agent, doing the steps that it is given. Dropping it kills it.
pub struct Hermes {
    child: Child,
    steps: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// What a step came to: fingerprints of the tokens.
#[derive(Debug)]
pub struct Taken {
    pub access_token: String,
    pub refresh_token: String,
}

impl Hermes {
    pub fn start(world: &World, home: &Path) -> Self {
        let python = test_env("hermes").join("hermes/bin/python");
        let mut child = hermes_command(&python, world, home)
            .arg(clients().join("hermes/hermes_refresh.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            steps: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// One step, to its end, which must be good.
    pub fn step(&mut self, step: &str) -> Taken {
        Taken::parse(&self.answer(step))
    }

    /// One step, to whatever end.
    pub fn answer(&mut self, step: &str) -> Value {
        writeln!(self.steps.as_ref().unwrap(), "{step}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        json_line(&line)
    }

    /// The last steps, without waiting for any.
    pub fn give(&mut self, steps: &[&str]) {
        let text = steps.join("\n") + "\n";
        let mut pipe = self.steps.take().unwrap();
        pipe.write_all(text.as_bytes()).unwrap();
    }

    pub fn is_at_work(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What the last steps came to.
    pub fn rest(&mut self) -> Vec<Taken> {
        let lines = self.answers.by_ref().lines();
        lines
            .map(|line| Taken::parse(&json_line(&line.unwrap())))
            .collect()
    }
}

impl Drop for Hermes {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Taken {
    fn parse(answer: &Value) -> Self {
        assert_eq!(answer["ok"], true, "{answer}");
        let text = |key: &str| answer[key].as_str().unwrap().to_owned();
        Self {
            access_token: text("access_token_fp"),
            refresh_token: text("refresh_token_fp"),
        }
    }
}

pub fn json_line(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// The first 12 digits of SHA-256.
pub fn fingerprint(token: &str) -> String {
    let mut digits = String::new();
    for byte in &Sha256::digest(token)[..6] {
        write!(digits, "{byte:02x}").unwrap();
    }
    digits
}
