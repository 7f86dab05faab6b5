//! hermesctl as a user runs it, against a daemon with made-up answers.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper's failure is the test's"
)]

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;

use async_trait::async_trait;
use hermes_proxy::control::endpoint::Endpoint;
use hermes_proxy::control::protocol::{
    CallOutcome, ClientAdd, ClientChange, ClientChanged, ClientChoice, ClientImport,
    ClientImportReport, ClientList, ClientRevoked, ControlError, ErrorCode, LoginBegin, LoginBegun,
    LoginCancelled, LoginProgress, LoginSession, LogoutReport, NewKey, ProviderChoice,
    ProviderState, Providers, RefreshOutcome, ReloadReport, Reply, Status,
};
use hermes_proxy::control::server::{self, Handler};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use support::environment::{program, tool};
use tempfile::TempDir;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const HERMESCTL: &str = env!("CARGO_BIN_EXE_hermesctl");

/// Answers as the golden files do.
struct Fake {
    state: ProviderState,
    config: Result<(), &'static str>,
}

fn golden<T: DeserializeOwned>(name: &str) -> T {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read(root.join("tests/golden/control").join(name)).unwrap();
    let reply: Reply<T> = serde_json::from_slice(&file).unwrap();
    let CallOutcome::Ok(answer) = reply.outcome else {
        panic!("{name} holds an error");
    };
    answer
}

#[async_trait]
impl Handler for Fake {
    async fn status(&self) -> Status {
        let mut status: Status = golden("reply_status.json");
        status.providers[0].state = self.state.clone();
        status
    }

    async fn providers(&self) -> Providers {
        golden("reply_providers.json")
    }

    async fn reload(&self) -> Result<ReloadReport, ControlError> {
        match self.config {
            Ok(()) => Ok(golden("reply_reload.json")),
            Err(problems) => Err(ControlError::new(ErrorCode::ConfigInvalid, problems)),
        }
    }

    async fn login_begin(&self, _: LoginBegin) -> Result<LoginBegun, ControlError> {
        panic!("not asked here")
    }

    async fn login_wait(&self, _: LoginSession) -> Result<LoginProgress, ControlError> {
        panic!("not asked here")
    }

    async fn login_cancel(&self, _: LoginSession) -> Result<LoginCancelled, ControlError> {
        panic!("not asked here")
    }

    async fn logout(&self, _: ProviderChoice) -> Result<LogoutReport, ControlError> {
        panic!("not asked here")
    }

    async fn refresh(&self, _: ProviderChoice) -> Result<RefreshOutcome, ControlError> {
        panic!("not asked here")
    }

    async fn clients(&self) -> Result<ClientList, ControlError> {
        Ok(golden("reply_clients.json"))
    }

    async fn client_add(&self, _: ClientAdd) -> Result<NewKey, ControlError> {
        panic!("not asked here")
    }

    async fn client_revoke(&self, _: ClientChoice) -> Result<ClientRevoked, ControlError> {
        panic!("not asked here")
    }

    async fn client_rotate(&self, _: ClientChoice) -> Result<NewKey, ControlError> {
        panic!("not asked here")
    }

    async fn client_change(&self, _: ClientChange) -> Result<ClientChanged, ControlError> {
        panic!("not asked here")
    }

    async fn client_import(&self, _: ClientImport) -> Result<ClientImportReport, ControlError> {
        panic!("not asked here")
    }
}

/// A runtime folder, with or without a daemon in it.
struct Session {
    folder: TempDir,
    shutdown: CancellationToken,
}

impl Session {
    fn without_daemon() -> Self {
        Self {
            folder: tempfile::tempdir_in("/tmp").unwrap(),
            shutdown: CancellationToken::new(),
        }
    }

    fn with(state: ProviderState, config: Result<(), &'static str>) -> Self {
        let session = Self::without_daemon();
        let endpoint = Endpoint::new(session.folder.path().join("hermes-proxyd"));
        let listener = endpoint.bind().unwrap();
        let tracker = TaskTracker::new();
        let shutdown = session.shutdown.clone();
        tracker.clone().spawn(async move {
            let handler = Arc::new(Fake { state, config });
            server::serve(listener, handler, shutdown, &tracker).await;
        });
        session
    }

    fn ready() -> Self {
        Self::with(ProviderState::Ready, Ok(()))
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::from(program(HERMESCTL, self.folder.path()));
        command
            .args(line.split_whitespace())
            .env_remove("COLUMNS")
            .env("TZ", "UTC")
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .stdin(Stdio::null());
        command
    }

    async fn run(&self, line: &str) -> Run {
        Run::of(self.command(line).output().await.unwrap())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// A page of what the home screen is with the answers of the golden files.
fn page(heading: &str) -> String {
    let name = "tests/golden/cli/shown/proxy_status__one_login_is_missing.txt";
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let pages = std::fs::read_to_string(pages).unwrap();
    let page = pages.split(&format!("── {heading} ──\n")).nth(1).unwrap();
    let page = page.split("\n── ").next().unwrap();
    page.trim_end().to_owned() + "\n"
}

#[tokio::test]
async fn status_is_a_home_screen_without_colours_in_a_pipe() {
    let session = Session::ready();
    for line in ["proxy status", "status"] {
        let run = session.run(line).await;
        assert_eq!(run.stdout, page("80 columns"));
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    }
    for columns in ["60", "120"] {
        let mut command = session.command("proxy status");
        let output = command.env("COLUMNS", columns).output().await.unwrap();
        let run = Run::of(output);
        assert_eq!(run.stdout, page(&format!("{columns} columns")));
    }
}

#[tokio::test]
async fn status_as_json_says_that_it_runs() {
    let run = Session::ready().run("--json proxy status").await;
    assert_eq!(run.code, 0);
    assert_eq!(run.json()["running"], true);
    assert_eq!(run.json()["providers"][0]["state"], "ready");
    assert_eq!(run.json()["daemon"]["started_at"], "2026-11-23T16:32:00Z");
}

#[tokio::test]
async fn status_tells_scripts_that_the_default_provider_needs_a_login() {
    let session = Session::with(ProviderState::LoginNeeded, Ok(()));
    assert_eq!(session.run("proxy status").await.code, 4);
    // The other provider of the answer needs one too, but it is not the default one.
    assert_eq!(Session::ready().run("proxy status --json").await.code, 0);
}

#[tokio::test]
async fn a_status_that_is_bad_is_no_success() {
    for state in [ProviderState::Unavailable, ProviderState::StoreUnreadable] {
        let session = Session::with(state, Ok(()));
        let run = session.run("status").await;
        assert!(run.stdout.starts_with('✗'), "{}", run.stdout);
        assert_eq!(run.code, 1, "{}", run.stdout);
    }
}

#[tokio::test]
async fn without_a_daemon_everything_says_how_to_start_it() {
    let session = Session::without_daemon();
    for line in ["proxy providers", "proxy reload"] {
        let run = session.run(line).await;
        assert_eq!((run.code, run.stdout.as_str()), (3, ""), "{line}");
        assert!(
            run.stderr.contains("hermes-proxyd is not running"),
            "{line}"
        );
        assert!(run.stderr.contains("`hermesctl proxy start`"), "{line}");
    }
    let run = session.run("proxy status").await;
    assert_eq!((run.code, run.stderr.as_str()), (3, ""));
    assert!(
        run.stdout.starts_with("✗ hermes-proxyd is not running\n"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("`hermesctl proxy start`"));
    let run = session.run("proxy status --json").await;
    assert_eq!((run.code, &run.json()["running"]), (3, &json!(false)));
    assert_eq!(run.json()["verdict"]["code"], "not_running");
    let run = session.run("proxy reload --json").await;
    assert_eq!(run.code, 3);
    assert_eq!(run.json()["error"]["code"], "not_running");
}

#[tokio::test]
async fn providers_lists_what_is_forwarded() {
    let session = Session::ready();
    let run = session.run("proxy providers").await;
    assert_eq!(run.code, 0);
    assert!(
        run.stdout.contains("POST /chat/completions"),
        "{}",
        run.stdout
    );
    let run = session.run("proxy providers --json").await;
    assert_eq!(run.json()["providers"][0]["logged_in"], true);
}

#[tokio::test]
async fn reload_reports_what_it_did() {
    let session = Session::ready();
    let run = session.run("proxy reload").await;
    assert_eq!(run.code, 0);
    assert!(run.stdout.contains("log.level"), "{}", run.stdout);
    let run = session.run("proxy reload --json").await;
    assert_eq!(run.json()["needs_restart"], json!(["listen"]));
}

#[tokio::test]
async fn reload_shows_every_mistake_of_the_configuration() {
    let session = Session::with(ProviderState::Ready, Err("first mistake\nsecond mistake"));
    let run = session.run("proxy reload").await;
    assert_eq!((run.code, run.stdout.as_str()), (78, ""));
    assert!(
        run.stderr.contains("first mistake\nsecond mistake"),
        "{}",
        run.stderr
    );
    let run = session.run("proxy reload --json").await;
    assert_eq!(run.code, 78);
    assert_eq!(run.json()["error"]["code"], "config_invalid");
}

#[tokio::test]
async fn version_shows_both_sides() {
    let run = Session::ready().run("version --json").await;
    assert_eq!(run.code, 0);
    assert_eq!(run.json()["daemon"]["pid"], std::process::id());
    let run = Session::without_daemon().run("version").await;
    assert_eq!(run.code, 0);
    assert!(run.stdout.contains("not running"), "{}", run.stdout);
}

#[tokio::test]
async fn a_wrong_command_line_is_2_and_help_is_0() {
    let session = Session::without_daemon();
    for (line, code) in [
        ("proxy dance", 2),
        ("proxy start --port 65536", 2),
        ("", 2),
        ("--help", 0),
        ("proxy status --help", 0),
        ("--version", 0),
    ] {
        assert_eq!(session.run(line).await.code, code, "{line:?}");
    }
}

#[tokio::test]
async fn a_closed_pipe_is_success() {
    let session = Session::ready();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = session.command("proxy status");
    let output = command.stdout(writer).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
}

#[test]
fn a_command_that_is_none_leads_to_the_one_that_was_meant() {
    for (line, meant) in [
        ("--json statsu", "did you mean `hermesctl status`?"),
        ("login nous", "did you mean `hermesctl auth login`?"),
        (
            "start",
            "did you mean `hermesctl proxy start` or `hermesctl service start`?",
        ),
        ("keys", "did you mean `hermesctl clients list`?"),
    ] {
        let mut command = tool(HERMESCTL);
        let output = command.args(line.split(' ')).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(said.contains(meant), "{line}: {said}");
        assert_eq!(said.matches("tip:").count(), 1, "{line}: {said}");
        let is_json = line.contains("--json");
        assert_eq!(output.stdout.is_empty(), !is_json, "{line}");
        if is_json {
            let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(answer["error"]["code"], "usage", "{line}");
        }
    }
}
