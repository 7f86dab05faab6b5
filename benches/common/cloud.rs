//! The mock cloud as a process of its own: this program once more.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use mock_cloud::{MockCloud, Options, Tls};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::Process;

/// What a program of ours is told first when it is to be the cloud.
pub(crate) const ROLE: &str = "cloud:";

/// The mock cloud in a process of its own.
pub(crate) struct Cloud {
    pub(crate) process: Process,
    pub(crate) portal_url: String,
    pub(crate) base_url: String,
    pub(crate) token: String,
    /// With its login in `.hermes`, and the authority that signed its certificate in `ca.pem`.
    pub(crate) home: TempDir,
}

/// What is different about a cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Tls,
    /// Its login is good for a minute more, and a refresh of it is due.
    Due,
    /// As OpenAI's Codex backend, which serves Responses alone.
    Codex,
}

impl Kind {
    const ALL: [(Self, &str); 4] = [
        (Self::Plain, "plain"),
        (Self::Tls, "tls"),
        (Self::Due, "due"),
        (Self::Codex, "codex"),
    ];
}

impl Cloud {
    /// This program once more, as the cloud.
    pub(crate) fn start(kind: Kind) -> Self {
        let home = tempfile::Builder::new().prefix("hp").tempdir();
        let home = home.expect("a folder");
        let name = Kind::ALL.iter().find(|(of, _)| *of == kind);
        let role = format!("{ROLE}{}", name.expect("a name").1);
        let (process, ready) = once_more(&role, &home);
        let text = |key: &str| ready[key].as_str().expect("a string").to_owned();
        Self {
            process,
            portal_url: text("portal"),
            base_url: text("base"),
            token: text("token"),
            home,
        }
    }
}

/// This program once more, in another role, and the line of JSON that it says when it is ready.
pub(crate) fn once_more(role: &str, home: &TempDir) -> (Process, Value) {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command
        .arg(role)
        .arg(home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut process = Process::start(&mut command);
    let mut line = String::new();
    let output = process.child().stdout.take().expect("a pipe");
    BufReader::new(output).read_line(&mut line).expect("a line");
    (process, serde_json::from_str(&line).expect("it is ready"))
}

/// The folder that a process in another role is given.
pub(crate) fn given_home() -> PathBuf {
    PathBuf::from(std::env::args_os().nth(2).expect("a folder"))
}

/// Says that a process in another role is ready, and runs until its standard input ends, as it does when we are gone.
#[expect(
    clippy::print_stdout,
    reason = "it is read by the process that started this one"
)]
pub(crate) async fn serve(ready: &Value) {
    println!("{ready}");
    let (end, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        end.send(()).ok();
    });
    ended.await.ok();
}

/// The cloud's process.
pub(crate) fn be_the_cloud(kind: &str) -> ExitCode {
    let home = given_home();
    let kind = Kind::ALL.iter().find(|(_, name)| *name == kind);
    let kind = kind.expect("a kind of cloud").0;
    let options = Options::default().record(false);
    let options = match kind {
        Kind::Plain => options,
        Kind::Tls => options.inference_tls(Tls::On),
        Kind::Due => options.access_ttl(Duration::from_mins(1)),
        Kind::Codex => options.codex("acc-0001", None),
    };
    runtime().block_on(async {
        let cloud = MockCloud::start(options).await;
        cloud.write_ca(&home.join("ca.pem")).expect("a file");
        let login = cloud.login();
        let folder = home.join(if cfg!(windows) { "hermes" } else { ".hermes" });
        cloud.write_hermes_home(&folder, &login).expect("a home");
        if kind == Kind::Due {
            let file = folder.join("auth.json");
            let mut store = cloud.hermes_store(&login);
            store["providers"]["nous"]["obtained_at"] = "2020-01-01T00:00:00+00:00".into();
            std::fs::write(file, store.to_string()).expect("a store");
        }
        let mut base = cloud.inference_base_url();
        if kind == Kind::Codex {
            let store = json!({"version": 1, "providers": {"openai-codex": {
                "tokens": {"access_token": login.access_token, "refresh_token": login.refresh_token},
                "last_refresh": "2026-11-29T12:00:00Z", "auth_mode": "chatgpt",
            }}});
            std::fs::write(folder.join("auth.json"), store.to_string()).expect("a store");
            base = cloud.codex_base_url();
        }
        let ready = json!({
            "portal": cloud.portal_url(),
            "base": base,
            "token": login.access_token,
        });
        serve(&ready).await;
        drop(cloud);
    });
    ExitCode::SUCCESS
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}
