//! `hermesctl auth` as a user runs it, against a daemon with made-up answers.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper's failure is the test's"
)]

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hermes_proxy::control::endpoint::Endpoint;
use hermes_proxy::control::protocol::*;
use hermes_proxy::control::server::{self, Handler};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use support::environment::program;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const HERMESCTL: &str = env!("CARGO_BIN_EXE_hermesctl");

type Progress = Result<LoginProgress, ControlError>;

/// Answers as the golden files do, and remembers what it was asked.
#[derive(Default)]
struct Fake {
    begun: Option<Result<LoginBegun, ControlError>>,
    /// What each wait is answered with; pending when there is no more.
    progress: Mutex<VecDeque<Progress>>,
    login: Option<LoginStatus>,
    state: Option<ProviderState>,
    result: Option<RefreshResult>,
    /// Whether the user enters the code just before a login is cancelled.
    just_done: bool,
    asked: Mutex<Vec<Value>>,
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

impl Fake {
    fn remember(&self, operation: &Operation) {
        let operation = serde_json::to_value(operation).unwrap();
        self.asked.lock().unwrap().push(operation);
    }
}

#[async_trait]
impl Handler for Fake {
    async fn status(&self) -> Status {
        let mut status: Status = golden("reply_status_login.json");
        if let Some(login) = &self.login {
            status.providers[0].login = Some(login.clone());
        }
        if let Some(state) = &self.state {
            status.providers[0].state = state.clone();
        }
        status
    }

    async fn providers(&self) -> Providers {
        golden("reply_providers.json")
    }

    async fn reload(&self) -> Result<ReloadReport, ControlError> {
        Ok(golden("reply_reload.json"))
    }

    async fn login_begin(&self, login: LoginBegin) -> Result<LoginBegun, ControlError> {
        self.remember(&Operation::LoginBegin(login));
        let begun = self.begun.clone();
        begun.unwrap_or_else(|| Ok(golden("reply_login_code.json")))
    }

    async fn login_wait(&self, login: LoginSession) -> Result<LoginProgress, ControlError> {
        self.remember(&Operation::LoginWait(login));
        let next = self.progress.lock().unwrap().pop_front();
        if let Some(progress) = next {
            return progress;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        pending(898, None)
    }

    async fn login_cancel(&self, login: LoginSession) -> Result<LoginCancelled, ControlError> {
        self.remember(&Operation::LoginCancel(login));
        if self.just_done {
            self.progress.lock().unwrap().push_back(done());
            return Err(ControlError::new(ErrorCode::NoSuchSession, "Too late."));
        }
        Ok(LoginCancelled {})
    }

    async fn login_paste(&self, paste: LoginPaste) -> Result<LoginPasteTaken, ControlError> {
        let is_good = paste
            .text
            .expose()
            .starts_with("http://127.0.0.1:4711/callback?");
        self.remember(&Operation::LoginPaste(paste));
        if is_good {
            self.progress.lock().unwrap().push_back(done());
            return Ok(LoginPasteTaken {});
        }
        let message = "What you pasted can't be used: it has no code.";
        Err(ControlError::new(ErrorCode::LoginPasteRefused, message))
    }

    async fn logout(&self, choice: ProviderChoice) -> Result<LogoutReport, ControlError> {
        self.remember(&Operation::Logout(choice));
        Ok(golden("reply_logout.json"))
    }

    async fn refresh(&self, choice: ProviderChoice) -> Result<RefreshOutcome, ControlError> {
        self.remember(&Operation::Refresh(choice));
        let outcome: RefreshOutcome = golden("reply_refresh.json");
        let result = self.result.clone().unwrap_or(outcome.result);
        Ok(RefreshOutcome { result, ..outcome })
    }

    async fn clients(&self) -> Result<ClientList, ControlError> {
        panic!("not asked here")
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

#[expect(clippy::unnecessary_wraps, reason = "stands in a list with failures")]
fn pending(seconds: u64, note: Option<&str>) -> Progress {
    Ok(LoginProgress::Pending(LoginPending {
        expires_in_seconds: seconds,
        note: note.map(str::to_owned),
    }))
}

fn failed(code: ErrorCode, message: &str) -> Progress {
    Err(ControlError::new(code, message).with_hint("Run `hermesctl auth login` again."))
}

#[expect(clippy::unnecessary_wraps, reason = "stands in a list with failures")]
fn done() -> Progress {
    Ok(golden("reply_login_done.json"))
}

/// A runtime folder with a daemon in it.
struct Session {
    folder: TempDir,
    fake: Arc<Fake>,
    shutdown: CancellationToken,
}

impl Session {
    fn with(fake: Fake) -> Self {
        let session = Self {
            folder: tempfile::tempdir_in("/tmp").unwrap(),
            fake: Arc::new(fake),
            shutdown: CancellationToken::new(),
        };
        let listener = Endpoint::new(session.folder.path().join("hermes-proxyd")).bind();
        let (handler, shutdown) = (Arc::clone(&session.fake), session.shutdown.clone());
        let tracker = TaskTracker::new();
        tracker.clone().spawn(async move {
            server::serve(listener.unwrap(), handler, shutdown, &tracker).await;
        });
        session
    }

    fn waiting_for(progress: impl IntoIterator<Item = Progress>) -> Self {
        Self::with(Fake {
            progress: Mutex::new(progress.into_iter().collect()),
            ..Fake::default()
        })
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::from(program(HERMESCTL, self.folder.path()));
        command
            .args(line.split_whitespace())
            .env("TZ", "UTC")
            .env("TERM", "xterm-256color")
            .env("COLUMNS", "200")
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    async fn run(&self, line: &str) -> Run {
        Run::of(&self.command(line).output().await.unwrap())
    }

    fn asked(&self) -> Vec<Value> {
        self.fake.asked.lock().unwrap().clone()
    }

    fn was_asked(&self, operation: &Value) -> bool {
        self.asked().contains(operation)
    }

    /// Waits until the login is waited for.
    async fn until_waited_for(&self) {
        while !self.was_asked(&json!({"login_wait": {"session": 7}})) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

#[derive(Debug)]
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Run {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout.clone()).unwrap(),
            stderr: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
}

#[tokio::test]
async fn a_login_tells_where_to_go_and_where_it_was_saved() {
    let session = Session::waiting_for([
        pending(898, None),
        pending(896, Some("the portal is busy; still trying")),
        pending(894, Some("the portal is busy; still trying")),
        done(),
    ]);
    let run = session.run("auth login").await;
    assert_eq!(
        run.stdout,
        "Logged in to Nous Portal. Saved in /home/u/.hermes/auth.json.\n\
         Hermes Agent uses this login too.\n\
         The login ends at 2026-12-23 19:44.\n"
    );
    assert_eq!(run.code, Some(0));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let plain = std::fs::read_to_string(root.join("tests/golden/cli/login_piped.txt")).unwrap();
    assert_eq!(run.stderr, plain + "the portal is busy; still trying.\n");
    let begin =
        json!({"login_begin": {"provider": null, "separate": false, "force": false, "way": "any"}});
    assert_eq!(session.asked()[0], begin);
}

#[tokio::test]
async fn the_flags_of_a_login_reach_the_daemon() {
    let session = Session::waiting_for([done()]);
    let run = session
        .run("auth login nous --separate --force --no-browser")
        .await;
    assert_eq!(run.code, Some(0));
    let begin =
        json!({"login_begin": {"provider": "nous", "separate": true, "force": true, "way": "any"}});
    assert_eq!(session.asked()[0], begin);
}

#[tokio::test]
async fn a_login_for_programs_is_one_json_value_per_line() {
    let session = Session::waiting_for([pending(898, None), done()]);
    let run = session.run("auth login --json").await;
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let lines = run.lines();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["code"]["user_code"], "WDJB-MJHT");
    assert_eq!(lines[1]["done"]["store"], "/home/u/.hermes/auth.json");

    let session = Session::waiting_for([failed(ErrorCode::LoginDenied, "You said no.")]);
    let run = session.run("auth login --json").await;
    assert_eq!(run.code, Some(1));
    let lines = run.lines();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["error"]["code"], "login_denied");
}

/// A login that waits for the browser.
fn on_a_page() -> Session {
    Session::with(Fake {
        begun: Some(Ok(golden("reply_login_page.json"))),
        ..Fake::default()
    })
}

/// What is typed or piped in, line by line.
async fn with_pastes(session: &Session, line: &str, pastes: &str) -> Run {
    use tokio::io::AsyncWriteExt;
    let mut child = session.command(line).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(pastes.as_bytes()).await.unwrap();
    // It stays open, as a terminal's does.
    let run = Run::of(&child.wait_with_output().await.unwrap());
    drop(stdin);
    run
}

#[tokio::test]
async fn what_is_pasted_goes_to_the_daemon_and_what_is_no_answer_is_told() {
    let session = on_a_page();
    let pastes = "\nwhat?\nhttp://127.0.0.1:4711/callback?code=c&state=s\n";
    let run = with_pastes(&session, "auth login --browser", pastes).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("tests/golden/cli/login_page.txt")).unwrap();
    let told = "What you pasted can't be used: it has no code.\nGot it. Logging in …\n";
    assert_eq!(run.stderr, page + told);
    assert!(
        run.stdout.starts_with("Logged in to Nous Portal."),
        "{run:?}"
    );
    let begin = json!({"login_begin": {"provider": null, "separate": false, "force": false, "way": "browser"}});
    assert_eq!(session.asked()[0], begin);
    let paste = |text: &str| json!({"login_paste": {"session": 7, "text": text}});
    let asked = session.asked();
    let pasted: Vec<_> = asked
        .iter()
        .filter(|one| one.get("login_paste").is_some())
        .collect();
    let expected = [
        paste("what?"),
        paste("http://127.0.0.1:4711/callback?code=c&state=s"),
    ];
    assert_eq!(pasted, expected.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_login_on_a_page_for_programs_is_one_json_value_per_line_and_takes_a_paste() {
    let session = on_a_page();
    let pastes = "http://127.0.0.1:4711/callback?code=c&state=s\n";
    let run = with_pastes(&session, "auth login --json", pastes).await;
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let lines = run.lines();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        lines[0]["page"]["redirect_uri"],
        "http://127.0.0.1:4711/callback"
    );
    assert_eq!(lines[1]["done"]["store"], "/home/u/.hermes/auth.json");
}

#[tokio::test]
async fn a_login_that_is_there_is_enough() {
    let session = Session::with(Fake {
        begun: Some(Ok(golden("reply_login_existing.json"))),
        ..Fake::default()
    });
    let run = session.run("auth login").await;
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let told = "the login of Hermes Agent in /home/u/.hermes/auth.json is used";
    assert!(run.stdout.contains(told), "{}", run.stdout);
    assert!(run.stdout.contains("--force"), "{}", run.stdout);
    let run = session.run("auth login --json").await;
    assert_eq!(run.lines()[0]["existing"]["separate"], false);
}

#[tokio::test]
async fn a_login_that_fails_says_how() {
    for (code, message) in [
        (ErrorCode::LoginDenied, "You refused the login."),
        (ErrorCode::LoginExpired, "The code was not entered in time."),
        (
            ErrorCode::StoreUnusable,
            "The store can't be \u{1b}[2Jwritten.",
        ),
    ] {
        let session = Session::waiting_for([pending(1, None), failed(code, message)]);
        let run = session.run("auth login").await;
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
        let message = message.replace('\u{1b}', "\u{fffd}");
        let told = format!("hermesctl: {message}\nRun `hermesctl auth login` again.\n");
        assert!(run.stderr.ends_with(&told), "{}", run.stderr);
    }
    let session = Session::with(Fake {
        begun: Some(Err(ControlError::new(
            ErrorCode::NotSupported,
            "local has a fixed key.",
        ))),
        ..Fake::default()
    });
    let run = session.run("auth login local").await;
    assert_eq!(run.stderr, "hermesctl: local has a fixed key.\n");
}

#[tokio::test]
async fn ctrl_c_cancels_the_login() {
    for (line, told) in [
        (
            "auth login",
            "The login was cancelled; nothing has changed.\n",
        ),
        ("auth login --json", "{\"cancelled\":{}}\n"),
    ] {
        let session = Session::waiting_for([]);
        let child = session.command(line).spawn().unwrap();
        session.until_waited_for().await;
        interrupt(&child);
        let run = Run::of(&child.wait_with_output().await.unwrap());
        assert_eq!(run.code, Some(130), "{run:?}");
        assert!(run.stdout.ends_with(told), "{run:?}");
        assert!(session.was_asked(&json!({"login_cancel": {"session": 7}})));
    }
}

#[tokio::test]
async fn ctrl_c_that_comes_too_late_does_not_hide_the_login() {
    let session = Session::with(Fake {
        just_done: true,
        ..Fake::default()
    });
    let child = session.command("auth login").spawn().unwrap();
    session.until_waited_for().await;
    interrupt(&child);
    let run = Run::of(&child.wait_with_output().await.unwrap());
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.starts_with("Logged in"), "{run:?}");
}

#[tokio::test]
async fn the_users_code_is_never_changed() {
    for user_code in ["wdjb-mjht", "0O1I-8B5S", "A B", "ÄÖ-日本"] {
        let LoginBegun::Code(code) = golden("reply_login_code.json") else {
            panic!("no code");
        };
        let code = LoginCode {
            user_code: user_code.into(),
            ..code
        };
        let session = Session::with(Fake {
            begun: Some(Ok(LoginBegun::Code(code))),
            progress: Mutex::new([done(), done()].into()),
            ..Fake::default()
        });
        let run = session.run("auth login").await;
        let alone = run
            .stderr
            .lines()
            .any(|line| line == format!("  {user_code}"));
        assert!(alone, "{}", run.stderr);
        let run = session.run("auth login --json").await;
        assert_eq!(run.lines()[0]["code"]["user_code"], user_code);
    }
}

/// hermesctl before a terminal: what it wrote there, and its exit code.
async fn before_terminal(
    mut command: Command,
    (columns, rows): (u16, u16),
    answer: &'static str,
) -> (String, Option<i32>) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let size = rustix::termios::Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&master, size).unwrap();
    let slave = || File::options().read(true).write(true).open(&name).unwrap();
    command.stdin(slave()).stdout(slave()).stderr(slave());
    let mut child = command.spawn().unwrap();
    drop(command);
    rustix::io::write(&master, answer.as_bytes()).unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let (mut master, mut text) = (File::from(master), Vec::new());
        // Ends with an error when the last slave is closed.
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = master.read(&mut chunk) {
            text.extend_from_slice(&chunk[..count]);
        }
        String::from_utf8(text).unwrap()
    });
    let code = child.wait().await.unwrap().code();
    (read.await.unwrap(), code)
}

const INK: &str = "\u{1b}[38;5;16;48;5;231m";

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_shows_large_letters_a_qr_code_and_the_time_left() {
    let wait = || std::iter::repeat_with(|| pending(754, None)).take(5);
    let session = Session::waiting_for(wait().chain([done()]));
    let command = session.command("auth login --no-browser");
    let (text, code) = before_terminal(command, (80, 24), "").await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("█ ▄ █ █   █    █  █▄▄▄▀ ▄▄▄▄▄"), "{text}");
    assert_eq!(text.matches(INK).count(), 19, "{text}");
    assert!(text.contains("12:3"), "{text}");
    let told = text.rsplit("\u{1b}[2K").next().unwrap();
    assert!(told.starts_with("Logged in to Nous Portal."), "{told:?}");

    // Without colours, and where there is no room.
    let session = Session::waiting_for([done()]);
    let mut command = session.command("auth login --no-browser");
    command.env("NO_COLOR", "1");
    let (text, _) = before_terminal(command, (80, 24), "").await;
    assert!(
        text.contains("██ ▄▄▄▄▄ █") && !text.contains("[38;"),
        "{text}"
    );
    let session = Session::waiting_for([pending(754, None), done()]);
    let command = session.command("auth login --no-browser");
    let (text, _) = before_terminal(command, (0, 0), "").await;
    assert_eq!(text.matches(INK).count(), 19, "{text}");
    let session = Session::waiting_for([done()]);
    let mut command = session.command("auth login --no-browser");
    command.env("TERM", "dumb");
    let (text, _) = before_terminal(command, (80, 24), "").await;
    assert!(!text.contains('\u{1b}'), "{text}");
    let note = "the portal is busier than any line of a narrow terminal is wide";
    let busy = std::iter::repeat_with(|| pending(754, Some(note))).take(5);
    let session = Session::waiting_for(busy.chain([done()]));
    let command = session.command("auth login --no-browser");
    let (text, _) = before_terminal(command, (40, 10), "").await;
    assert!(!text.contains(INK), "{text}");
    let mut drawn = text
        .split("\u{1b}[2K")
        .filter(|line| line.contains("Waiting"));
    let line = drawn.find(|line| line.contains("12:3")).unwrap();
    assert!(
        line.trim_end_matches('\r').chars().count() <= 40,
        "{line:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_browser_opens_where_a_person_sees_it() {
    let browser = |session: &Session| {
        let folder = session.folder.path().join("bin");
        std::fs::create_dir(&folder).unwrap();
        // A link, as a file that was just written can't be executed while a fork holds it open.
        std::os::unix::fs::symlink("/bin/touch", folder.join("xdg-open")).unwrap();
        folder
    };
    let opened = async |env: &[(&str, &str)], flags: &str, trusted: bool| {
        let LoginBegun::Code(code) = golden("reply_login_code.json") else {
            panic!("no code");
        };
        let wait = std::iter::repeat_with(|| pending(754, None)).take(3);
        let session = Session::with(Fake {
            begun: Some(Ok(LoginBegun::Code(LoginCode {
                trusted_uri: trusted,
                ..code
            }))),
            progress: Mutex::new(wait.chain([done()]).collect()),
            ..Fake::default()
        });
        // `touch` makes the page's file, if its folder is there.
        let page = session.folder.path().join("https:/portal.nousresearch.com");
        std::fs::create_dir_all(&page).unwrap();
        let mut command = session.command(&format!("auth login {flags}"));
        command
            .env("PATH", browser(&session))
            .current_dir(session.folder.path())
            .envs(env.iter().copied());
        let (text, code) = before_terminal(command, (80, 24), "").await;
        assert_eq!(code, Some(0), "{text}");
        page.join("manage-subscription?code=WDJB-MJHT").exists()
    };
    let display = ("DISPLAY", ":0");
    assert!(opened(&[display], "", true).await);
    assert!(!opened(&[display], "--no-browser", true).await);
    assert!(!opened(&[display], "", false).await);
    assert!(!opened(&[display, ("SSH_TTY", "/dev/pts/1")], "", true).await);
    assert!(!opened(&[], "", true).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_that_concerns_hermes_agent_is_asked_about() {
    // The daemon is told which login the user was asked about.
    let store = "/home/u/.hermes/auth.json";
    let logout = json!({"logout": {"provider": null, "store": store}});
    let session = Session::with(Fake::default());
    let run = session.run("auth logout").await;
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    assert!(run.stderr.contains("Hermes Agent"), "{}", run.stderr);
    assert!(
        run.stderr.contains("`hermesctl auth logout nous --yes`"),
        "{}",
        run.stderr
    );
    let run = session.run("auth logout --json").await;
    assert_eq!(run.json()["error"]["code"], "confirmation_needed");
    for answer in ["n\n", "\n", "\u{4}"] {
        let command = session.command("auth logout");
        let (text, code) = before_terminal(command, (80, 24), answer).await;
        assert!(text.contains("Continue? [y/N]"), "{text}");
        assert!(text.contains("Nothing has changed."), "{text}");
        assert_eq!(code, Some(1));
    }
    assert!(!session.was_asked(&logout));
    let (text, code) = before_terminal(session.command("auth logout"), (80, 24), "y\n").await;
    assert_eq!(code, Some(0), "{text}");
    assert!(session.was_asked(&logout));
}

#[tokio::test]
async fn a_logout_tells_what_is_gone_and_what_is_left() {
    let session = Session::with(Fake::default());
    let run = session.run("auth logout nous --yes").await;
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        run.stdout,
        "Logged out of nous.\n  \
           removed from  /home/u/.hermes/auth.json\n                \
                         /home/u/.hermes/shared/nous_auth.json\n\
         Hermes Agent is logged out too.\n\
         The login in /home/u/.local/state/hermes-proxyd/auth.json is used now; \
         `hermesctl auth logout nous` removes that one too.\n\
         /home/u/.hermes/auth.json.corrupt is a copy of a broken file and may still hold tokens. To \
         remove it, run `rm '/home/u/.hermes/auth.json.corrupt'`.\n"
    );
    let run = session.run("auth logout --yes --json").await;
    assert_eq!(run.json()["shared_with_hermes"], true);
    let session = Session::with(Fake {
        login: Some(LoginStatus {
            separate: true,
            ..login()
        }),
        ..Fake::default()
    });
    assert_eq!(session.run("auth logout").await.code, Some(0));
}

fn login() -> LoginStatus {
    let status: Status = golden("reply_status_login.json");
    status.providers[0].login.clone().unwrap()
}

#[tokio::test]
async fn status_tells_where_the_login_lies_and_when_it_ends() {
    let session = Session::with(Fake::default());
    let run = session.run("auth status").await;
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    for row in [
        "  login         /home/u/.hermes/auth.json\n",
        "                shared with Hermes Agent\n",
        "  since         3 d 11 h ago (2026-11-20 08:00)\n",
        "  ends          in 26 d 12 h (2026-12-20 08:00)\n",
        "  token         expires in 47 min (2026-11-23 20:31)\n",
    ] {
        assert!(run.stdout.contains(row), "{row}\n{}", run.stdout);
    }
    assert!(!run.stdout.contains("warning"), "{}", run.stdout);
    let json = session.run("auth status --json").await.json();
    assert_eq!(json["running"], true);
    assert_eq!(json["providers"][0]["login"]["separate"], false);

    let session = Session::with(Fake {
        state: Some(ProviderState::LoginNeeded),
        ..Fake::default()
    });
    assert_eq!(session.run("auth status").await.code, Some(4));
}

#[tokio::test]
async fn what_a_login_suffers_from_stands_in_both_statuses() {
    let session = Session::with(Fake {
        login: Some(LoginStatus {
            ends_at: serde_json::from_value(json!("2026-11-26T19:44:00Z")).unwrap(),
            ends_in_seconds: Some(259_200),
            ends_soon: true,
            may_be_spent: true,
            ..login()
        }),
        ..Fake::default()
    });
    for line in ["auth status", "proxy status"] {
        let text = session.run(line).await.stdout;
        let soon = "The login of nous ends in 3 d: `hermesctl auth login nous --force`";
        assert!(text.contains(soon), "{text}");
        assert!(
            text.contains("may be lost after an interrupted renewal"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_refresh_tells_how_it_ended() {
    for (result, code, told) in [
        (RefreshResult::Refreshed, 0, "was renewed"),
        (RefreshResult::Adopted, 0, "Another program"),
        (RefreshResult::Failed, 1, "could not be renewed"),
        (RefreshResult::Rejected, 4, "`hermesctl auth login nous`"),
        (RefreshResult::NoLogin, 4, "nous has no login to renew."),
        (
            RefreshResult::NotRenewable,
            4,
            "Log in again with `hermesctl auth login nous --force`.",
        ),
        (RefreshResult::Other("late".into()), 1, "late"),
    ] {
        let session = Session::with(Fake {
            result: Some(result.clone()),
            ..Fake::default()
        });
        let run = session.run("auth refresh").await;
        assert_eq!(run.code, Some(code), "{run:?}");
        assert!(run.stdout.contains(told), "{run:?}");
        let run = session.run("auth refresh nous --json").await;
        assert_eq!(run.code, Some(code), "{run:?}");
        assert_eq!(run.json()["result"], json!(result));
        assert!(session.was_asked(&json!({"refresh": {"provider": "nous"}})));
    }
}
