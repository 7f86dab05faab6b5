//! `hermesctl logs` on a file, and on a journal that a fake `journalctl` tells.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and take real time"
)]

mod common;

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use common::{Daemon, PATIENCE, World, ctl, fake_program, program, scratch, wrapped};
use mock_cloud::Options;
use serde_json::Value;

/// Longer than four times the pause between two looks of hermesctl at a file, 250 ms.
const SOME_LOOKS: Duration = Duration::from_millis(1100);

const FIRST: &str =
    "2026-11-23T19:44:00.000000Z  INFO listening url=\"http://127.0.0.1:8645/v1\"\n";
const SECOND: &str = "2026-11-23T19:44:01.000000Z  INFO request id=\"49f2c0a5\" path=\"/models\" \
                      status=502 end=\"refused\"\n";
const THIRD: &str = "2026-11-23T19:44:02.000000Z  WARN a login ends soon provider=\"nous\"\n";

/// `hermesctl logs -f --json`; it ends with its test, however that ends.
struct Follower {
    child: Child,
    lines: Receiver<String>,
}

impl Follower {
    fn of(home: &Path, file: &Path) -> Self {
        let mut child = program(env!("CARGO_BIN_EXE_hermesctl"), home)
            .args(["logs", "--json", "-f", "--file"])
            .arg(file)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                sender.send(line).ok();
            }
        });
        Self { child, lines }
    }

    /// What it shows next; it must show something.
    #[track_caller]
    fn next(&self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE);
        serde_json::from_str(&line.expect("an entry")).unwrap()
    }

    /// It shows nothing while it looks at the file some times more.
    #[track_caller]
    fn assert_shows_nothing(&self) {
        let shown = self.lines.recv_timeout(SOME_LOOKS);
        assert_eq!(shown, Err(RecvTimeoutError::Timeout), "half an entry");
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn mode(file: &Path) -> u32 {
    std::fs::metadata(file).unwrap().permissions().mode() & 0o777
}

fn append(file: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(file);
    file.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
}

/// Whether its first part is there when hermesctl begins, or comes while it follows.
#[test]
fn a_line_that_is_being_written_is_one_entry() {
    for begun_before in [true, false] {
        let home = scratch();
        let file = home.path().join("log");
        let (head, rest) = SECOND.split_at(40);
        let (middle, tail) = rest.split_at(rest.len() - 1);
        append(&file, FIRST);
        if begun_before {
            append(&file, head);
        }
        let follower = Follower::of(home.path(), &file);
        assert_eq!(follower.next()["message"], "listening");
        if !begun_before {
            append(&file, head);
        }
        follower.assert_shows_nothing();
        // All of it, but for its end.
        append(&file, middle);
        follower.assert_shows_nothing();
        append(&file, tail);
        let request = follower.next();
        assert_eq!(request["message"], "request");
        assert_eq!(request["fields"]["id"], "49f2c0a5", "{request}");
        assert_eq!(request["fields"]["end"], "refused", "{request}");
        append(&file, THIRD);
        assert_eq!(follower.next()["level"], "warn");
        follower.assert_shows_nothing();
    }
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

/// hermes-proxyd as launchd starts it: what it says beside its log goes to the same file.
fn agent(world: &World, log: &Path) -> Daemon {
    let mut command = program("sh", world.home.path());
    command
        .args(["-c", "log=$1; shift; exec \"$@\" 2>> \"$log\"", "sh"])
        .arg(log);
    let mut inner = program(env!("CARGO_BIN_EXE_hermes-proxyd"), world.home.path());
    inner
        .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
        .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url())
        .args(["--port", "0", "--log-file"])
        .arg(log);
    Daemon::launch(wrapped(command, &inner), world.home.path())
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_file_makes_way_at_its_limit_and_is_followed_and_shown_on() {
    const LARGEST: usize = 10 * 1024 * 1024;
    let world = World::new(Options::default()).await;
    let log = world.home.path().join("Library/Logs/hermes-proxyd.log");
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    // What a year has left there, up to the limit but for less than a line.
    let old = FIRST.repeat((LARGEST - SECOND.len()) / FIRST.len());
    std::fs::write(&log, &old).unwrap();
    append(&log, SECOND);
    let follower = Follower::of(world.home.path(), &log);
    for _ in 0..49 {
        assert_eq!(follower.next()["message"], "listening");
    }
    assert_eq!(follower.next()["message"], "request");

    let mut daemon = agent(&world, &log);
    while follower.next()["message"] != "listening" {}
    daemon.stop();
    let older = log.with_extension("log.1");
    let (before, now) = (read(&older), read(&log));
    assert!(before.starts_with(&(old + SECOND)), "{}", before.len());
    assert!(before.len() <= LARGEST && now.len() < 10_000);
    assert!(now.contains("listening"), "{now}");
    for text in [&before, &now] {
        assert!(text.ends_with('\n'));
        world.assert_no_secret_in("the log", text);
    }
    assert_eq!(mode(&log), 0o600);

    // Where there is no journal, both are read, without a file that is named.
    let output = program(env!("CARGO_BIN_EXE_hermesctl"), world.home.path())
        .env("PATH", world.home.path())
        .args(["logs", "--json", "-n", "1000000", "--request", "49f2c0a5"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches("\"end\":\"refused\"").count(), 1, "{text}");
    let output = program(env!("CARGO_BIN_EXE_hermesctl"), world.home.path())
        .env("PATH", world.home.path())
        .args(["logs", "--json", "-n", "1000000"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = before.lines().count() + now.lines().count();
    assert_eq!(text.lines().count(), lines);

    // A second start goes on in the new file.
    let mut daemon = agent(&world, &log);
    while follower.next()["message"] != "listening" {}
    daemon.stop();
    assert!(read(&log).starts_with(&now));
    assert_eq!(read(&older), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_file_that_can_not_be_written_keeps_nobody_from_serving() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("", &["--log-file", "/proc/nothing/is.log"]);
    let warning = daemon.wait_for_log("--log-file");
    assert!(warning.contains("WARN"), "{warning}");
    assert!(warning.contains("No such file"), "{warning}");
}

/// Whoever cuts a file in place, as `logrotate` does with `copytruncate`, is followed too.
#[test]
fn a_file_that_is_emptied_or_replaced_is_followed_on() {
    let home = scratch();
    let file = home.path().join("log");
    append(&file, FIRST);
    let follower = Follower::of(home.path(), &file);
    assert_eq!(follower.next()["message"], "listening");
    OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&file)
        .unwrap();
    follower.assert_shows_nothing();
    append(&file, SECOND);
    assert_eq!(follower.next()["message"], "request");
    // What came last before it had to make way is shown, though it has no end.
    append(&file, THIRD.trim_end());
    std::fs::rename(&file, home.path().join("aside")).unwrap();
    follower.assert_shows_nothing();
    append(&file, FIRST);
    assert_eq!(follower.next()["level"], "warn");
    assert_eq!(follower.next()["message"], "listening");
}

/// hermesctl with this as `journalctl`.
fn with_journalctl(home: &Path, script: &str, args: &[&str]) -> Command {
    let bin = home.join("bin");
    fake_program(&bin.join("journalctl"), script);
    let mut command = program(env!("CARGO_BIN_EXE_hermesctl"), home);
    let path = std::env::var("PATH").unwrap();
    command
        .env("PATH", format!("{}:{path}", bin.display()))
        .args(args);
    command
}

/// One entry, as journalctl tells it.
const ENTRY: &str = r#"echo '{"__REALTIME_TIMESTAMP":"1795463040000000","PRIORITY":"5",\
"MESSAGE":"from the journal","SYSLOG_IDENTIFIER":"hermes-proxyd","__CURSOR":"c1"}' | tr -d '\\\n'
echo
"#;

#[test]
fn a_journal_that_says_nothing_is_not_waited_for_without_end() {
    let homes = [scratch(), scratch()];
    let begun = Instant::now();
    let flags = [["logs"].as_slice(), &["logs", "-f"]];
    let runs = [0, 1].map(|run| {
        let mut command = with_journalctl(homes[run].path(), "exec sleep 300", flags[run]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    });
    for run in runs {
        let output = run.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let line = "`journalctl --no-pager --quiet --output=json --all _UID=";
        assert!(said.contains(line), "{said}");
        assert!(said.contains("said nothing for 20 seconds"), "{said}");
        assert!(said.contains("to see what it waits for"), "{said}");
    }
    assert!(begun.elapsed() < Duration::from_mins(1));
}

#[test]
fn a_journal_that_can_not_be_read_or_followed_is_a_failure() {
    let home = scratch();
    let fails = "echo 'No permission.' >&2; exit 5";
    let follows = format!("case \"$*\" in *--follow*) {fails};; esac\n{ENTRY}");
    for (script, flags, shown) in [
        (fails, ["logs"].as_slice(), ""),
        (&follows, &["logs", "-f", "--json"], "from the journal"),
    ] {
        let output = with_journalctl(home.path(), script, flags)
            .output()
            .unwrap();
        let (text, said) = (output.stdout, String::from_utf8(output.stderr).unwrap());
        let text = String::from_utf8(text).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}{said}");
        assert!(text.contains(shown), "{text}");
        assert!(said.contains("No permission."), "{said}");
        assert!(said.contains("failed (exit status: 5)"), "{said}");
        assert!(said.contains("Run `journalctl "), "{said}");
    }
}

#[test]
fn a_journal_is_followed_from_where_it_was_read_to() {
    let home = scratch();
    let follows = format!(
        "case \"$*\" in *--follow*--after-cursor=c1*) sleep 1;; *--follow*) exit 6;; esac\n{ENTRY}"
    );
    let output = with_journalctl(home.path(), &follows, &["logs", "-f", "--json"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(text.matches("from the journal").count(), 2, "{text}");
}
