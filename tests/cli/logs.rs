//! `hermesctl logs` on a file, and on a journal from a fake `journalctl`; and a daemon whose log is
//! not read.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, and take real time"
)]

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, PipeWriter, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use mock_cloud::Options;
use rustix::fs::OFlags;
use rustix::process::Signal;
use rustix::termios::{Action, tcflow};
use serde_json::Value;
#[cfg(target_os = "linux")]
use support::mount_namespace;
use support::{Daemon, PATIENCE, World, ctl, fake_program, program, scratch, wrapped};

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
        // All of it, except its end.
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
    // What a year has left there, up to the limit minus one line. Long lines: reading a hundred thousand takes an
    // unoptimized program half a minute.
    let long = FIRST.replace('\n', &format!(" note=\"{}\"\n", "x".repeat(2000)));
    let most = LARGEST - SECOND.len();
    let mut old = long.repeat(most / long.len());
    old += &FIRST.repeat((most - old.len()) / FIRST.len());
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

/// A file that is cut in place, as by `logrotate` with `copytruncate`, is followed too.
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

/// One entry in journalctl's form.
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
        assert!(said.contains("printed nothing for 20 seconds"), "{said}");
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

/// A daemon whose log is the test's own business. Dropping it kills it.
struct Unread {
    child: Child,
    home: PathBuf,
    address: String,
}

impl Unread {
    /// Starts it and waits until it answers hermesctl.
    fn start(mut command: Command, home: &Path) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut daemon = Self {
            child: command.spawn().unwrap(),
            home: home.to_owned(),
            address: String::new(),
        };
        let status = by(|| {
            let output = ctl(home, &["proxy", "status", "--json"]);
            let status: Value = serde_json::from_slice(&output.stdout).ok()?;
            status["listeners"][0]["url"].as_str().map(str::to_owned)
        });
        let address = status.strip_prefix("http://").unwrap();
        address
            .strip_suffix("/v1")
            .unwrap()
            .clone_into(&mut daemon.address);
        daemon
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// So many requests, each with its line in the log; then it must serve as ever.
    fn asked(&self, requests: usize) {
        let mut stream = self.connect();
        for _ in 0..requests {
            ask_live(&mut stream);
        }
        ask_live(&mut self.connect());
        let reload = ctl(&self.home, &["proxy", "reload"]);
        assert!(reload.status.success(), "{reload:?}");
    }

    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS"));
        line.unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap()
    }

    fn stop(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        by(|| self.child.try_wait().unwrap())
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The outcome, in time.
#[track_caller]
fn by<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn ask_live(stream: &mut TcpStream) {
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nalive\n") {
        let mut bytes = [0; 1024];
        let read = stream.read(&mut bytes).expect("an answer in time");
        assert!(read > 0, "no answer");
        answer.extend_from_slice(&bytes[..read]);
    }
}

/// More lines than any buffer on the way holds.
const FLOOD: usize = 6000;

/// The lines of a log from now on.
fn lines(log: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            sender.send(line).ok();
        }
    });
    lines
}

/// Waits until the log says how many lines were dropped, then stops the daemon. The log must have its
/// last line.
#[track_caller]
fn ends_well(mut daemon: Unread, lines: &Receiver<String>) {
    ask_live(&mut daemon.connect());
    let dropped = loop {
        let line = lines.recv_timeout(PATIENCE).expect("a line");
        let line: Value = serde_json::from_str(&line).unwrap_or_default();
        if line["message"] == "the log could not be written; lines were dropped" {
            break line["lines"].as_u64().unwrap();
        }
    };
    assert!(dropped > 1000, "{dropped}");
    assert!(daemon.stop().success());
    let last = lines.iter().last().unwrap();
    assert!(last.contains("\"stopped\""), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_is_not_read_holds_nothing_up() {
    let world = World::new(Options::default()).await;
    let mut command = world.command(&[]);
    command.stderr(Stdio::piped());
    let mut daemon = Unread::start(command, world.home.path());
    ask_live(&mut daemon.connect());
    let before = daemon.memory();
    daemon.asked(FLOOD);
    let grown = daemon.memory().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB");
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_is_read_again_tells_how_many_lines_were_dropped_and_has_the_last_one() {
    let world = World::new(Options::default()).await;
    let mut command = world.command(&[]);
    command.stderr(Stdio::piped());
    let mut daemon = Unread::start(command, world.home.path());
    daemon.asked(FLOOD);
    let log = daemon.child.stderr.take().unwrap();
    ends_well(daemon, &lines(log));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_terminal_holds_nothing_up() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    let world = World::new(Options::default()).await;
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let name = ptsname(&screen, Vec::new()).unwrap();
    let terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    tcflow(&terminal, Action::OOff).unwrap();
    let mut command = world.command(&[]);
    command.stderr(Stdio::from(terminal.try_clone().unwrap()));
    let mut daemon = Unread::start(command, world.home.path());
    daemon.asked(200);
    assert!(daemon.stop().success());

    let mut command = world.command(&[]);
    command.stderr(Stdio::from(terminal.try_clone().unwrap()));
    let daemon = Unread::start(command, world.home.path());
    daemon.asked(FLOOD);
    let lines = lines(File::from(screen));
    tcflow(&terminal, Action::OOn).unwrap();
    // With the daemon's own, so that the terminal ends.
    drop(terminal);
    ends_well(daemon, &lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifo_that_nobody_reads_holds_neither_the_start_nor_anything_else_up() {
    let world = World::new(Options::default()).await;
    let fifo = world.home.path().join("log.fifo");
    let made = support::environment::tool("mkfifo")
        .arg(&fifo)
        .status()
        .unwrap();
    assert!(made.success());
    let flags = ["--log-file", fifo.to_str().unwrap()];
    let mut command = world.command(&flags);
    command.stderr(Stdio::null());
    let mut daemon = Unread::start(command, world.home.path());
    daemon.asked(FLOOD);
    assert!(daemon.stop().success());

    let mut command = world.command(&flags);
    command.stderr(Stdio::null());
    let daemon = Unread::start(command, world.home.path());
    daemon.asked(FLOOD);
    // A reader that leaves is followed by another one.
    let mut first = String::new();
    BufReader::new(File::open(&fifo).unwrap())
        .read_line(&mut first)
        .unwrap();
    ends_well(daemon, &lines(File::open(&fifo).unwrap()));
}

/// Asks until the daemon ends its connection; the ids of the requests that it has answered.
fn asks_until_it_ends(address: &str) -> Vec<String> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut ids, mut rest) = (Vec::new(), Vec::new());
    let asks = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    while stream.write_all(asks).is_ok() {
        let mut bytes = [0; 4096];
        let Ok(read @ 1..) = stream.read(&mut bytes) else {
            break;
        };
        rest.extend_from_slice(&bytes[..read]);
        let text = String::from_utf8_lossy(&rest).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\nalive\n") {
            let id = head.split_once("x-hermes-request-id: ").unwrap().1;
            ids.push(id.chars().take(16).collect());
            rest.clear();
        }
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_under_load_loses_no_line_and_keeps_their_order() {
    let world = World::new(Options::default()).await;
    let log = world.home.path().join("x.log");
    let mut command = world.command(&["--log-file", log.to_str().unwrap()]);
    command.stderr(Stdio::null());
    let mut daemon = Unread::start(command, world.home.path());
    let apps: Vec<_> = (0..4)
        .map(|_| {
            let address = daemon.address.clone();
            std::thread::spawn(move || asks_until_it_ends(&address))
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    assert!(daemon.stop().success());
    let text = read(&log.with_extension("log.1")) + &read(&log);
    assert!(text.lines().last().unwrap().contains("\"stopped\""));
    let field = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["message"] == "request").then(|| line["id"].as_str().unwrap().to_owned())
    };
    let logged: Vec<String> = text.lines().filter_map(field).collect();
    let mut answered = 0;
    for app in apps {
        let ids = app.join().unwrap();
        assert!(ids.len() > 20, "{}", ids.len());
        answered += ids.len();
        // Each of them once, in the order in which they were answered.
        let of_this_app = logged.iter().filter(|id| ids.contains(id));
        assert!(of_this_app.eq(&ids));
    }
    println!("{answered} requests answered, {} logged", logged.len());
    // One of each app may have been under way.
    assert!((answered..=answered + 4).contains(&logged.len()));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_holds_no_request_up_and_tells_exactly_how_many_lines_were_dropped() {
    const FULL: &str = "mkdir \"$HOME/logs\" && mount -t tmpfs -o size=1m none \"$HOME/logs\" && \
                        head -c 900k /dev/zero >\"$HOME/logs/filler\" && exec \"$@\"";
    let Some(way) = mount_namespace() else {
        return;
    };
    let world = World::new(Options::default()).await;
    let log = world.home.path().join("logs/x.log");
    let mut outer = program("unshare", world.home.path());
    outer.args(way).args(["sh", "-c", FULL, "sh"]);
    let flags = ["--log-file", log.to_str().unwrap()];
    let mut daemon = Unread::start(wrapped(outer, &world.command(&flags)), world.home.path());
    let mut stream = daemon.connect();
    let mut slowest = Duration::ZERO;
    for _ in 0..FLOOD {
        let asked = Instant::now();
        ask_live(&mut stream);
        slowest = slowest.max(asked.elapsed());
    }
    let root = PathBuf::from(format!("/proc/{}/root", daemon.child.id()));
    let inside = |path: &Path| root.join(path.strip_prefix("/").unwrap());
    std::fs::remove_file(inside(&log.with_file_name("filler"))).unwrap();
    ask_live(&mut stream);
    let told = by(|| {
        let text = read(&inside(&log));
        let lines = text.lines().map(serde_json::from_str::<Value>);
        let lines: Vec<Value> = lines.filter_map(Result::ok).collect();
        let told = "the log could not be written; lines were dropped";
        let dropped = lines.iter().find(|line| line["message"] == told)?;
        Some((dropped["lines"].as_u64().unwrap(), text))
    });
    let (dropped, text) = told;
    let is_request = |line: &&str| line.contains("\"request\"") && line.ends_with('}');
    let logged = text.lines().filter(is_request).count();
    println!("{FLOOD} requests, the slowest {slowest:?}: {logged} lines, {dropped} dropped");
    assert!(dropped > 1000, "{dropped}");
    assert_eq!(logged as u64 + dropped, FLOOD as u64 + 1);
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_standard_error_holds_nothing_up() {
    let world = World::new(Options::default()).await;
    let mut outer = program("sh", world.home.path());
    outer.args(["-c", "exec \"$@\" 2>&-", "sh"]);
    let mut daemon = Unread::start(wrapped(outer, &world.command(&[])), world.home.path());
    daemon.asked(200);
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_in_its_file_at_once_or_with_those_that_follow() {
    let world = World::new(Options::default()).await;
    let log = world.home.path().join("x.log");
    let mut command = world.command(&["--log-file", log.to_str().unwrap()]);
    command.stderr(Stdio::null());
    let mut daemon = Unread::start(command, world.home.path());
    let mut stream = daemon.connect();
    let count = || read(&log).matches("/livez").count();
    let mut waits = Vec::new();
    for number in 1..=20 {
        let asked = Instant::now();
        ask_live(&mut stream);
        by(|| (count() >= number).then_some(()));
        waits.push(asked.elapsed());
    }
    waits.sort();
    println!(
        "a line was in the file after {:?} to {:?}",
        waits[0], waits[19]
    );
    // 100 ms where nothing else keeps the processors busy.
    assert!(waits[10] < Duration::from_millis(300), "{waits:?}");
    assert!(daemon.stop().success());
}

/// Binds the journal's socket and becomes the daemon, so that it is never read.
#[cfg(target_os = "linux")]
const DEAF_JOURNAL: &str = r#"
mount -t tmpfs none /run && mkdir -p /run/systemd/journal && exec python3 -c '
import os, socket, sys
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind("/run/systemd/journal/socket")
journal.set_inheritable(True)
os.execv(sys.argv[1], sys.argv[1:])
' "$@"
"#;

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_not_read_holds_nothing_up() {
    let Some(way) = mount_namespace() else {
        return;
    };
    let world = World::new(Options::default()).await;
    let mut outer = program("unshare", world.home.path());
    outer.args(way).args(["sh", "-c", DEAF_JOURNAL, "sh"]);
    let mut inner = program(env!("CARGO_BIN_EXE_hermes-proxyd"), world.home.path());
    inner
        .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
        .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url())
        .args(["--port", "0", "--log-format", "journald"]);
    let mut daemon = Unread::start(wrapped(outer, &inner), world.home.path());
    daemon.asked(FLOOD);
    assert!(daemon.stop().success());
}

/// A pipe in which there is no room.
fn full_pipe() -> (std::io::PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    rustix::fs::fcntl_setfl(&writer, OFlags::empty()).unwrap();
    (reader, writer)
}

#[test]
fn a_start_that_fails_ends_although_nobody_reads_why() {
    let home = scratch();
    let (_reader, writer) = full_pipe();
    let mut child = program(env!("CARGO_BIN_EXE_hermes-proxyd"), home.path())
        .args(["--config", "/nowhere.toml"])
        .stderr(writer)
        .spawn()
        .unwrap();
    let status = by(|| child.try_wait().unwrap());
    assert_eq!(status.code(), Some(78));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_file_that_was_moved_away_is_made_anew() {
    let world = World::new(Options::default()).await;
    let log = world.home.path().join("x.log");
    let moved = world.home.path().join("x.log.0");
    let mut command = world.command(&["--log-file", log.to_str().unwrap()]);
    command.stderr(Stdio::null());
    let mut daemon = Unread::start(command, world.home.path());
    let has = |file: &Path, text: &str| read(file).contains(text).then_some(());
    by(|| has(&log, "\"listening\""));
    std::fs::rename(&log, &moved).unwrap();
    ask_live(&mut daemon.connect());
    by(|| has(&log, "/livez"));
    // newsyslog makes the new file, then sends SIGHUP.
    std::fs::rename(&log, &moved).unwrap();
    File::create(&log).unwrap();
    let pid = rustix::process::Pid::from_child(&daemon.child);
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    by(|| has(&log, "\"reloaded\""));
    assert!(has(&moved, "\"reloaded\"").is_none());
    assert!(daemon.stop().success());
    assert!(has(&log, "\"stopped\"").is_some());
}

/// A daemon in a terminal keeps its last lines itself, read or not, so that the command that the status
/// names finds the request; one with a file says where that is.
#[tokio::test(flavor = "multi_thread")]
async fn the_running_daemons_log_is_found_wherever_it_logs() {
    let world = World::new(Options::default()).await;
    let log = world.home.path().join("x.log");
    let flags = ["--log-file", log.to_str().unwrap()];
    for (flags, place) in [(&[][..], "memory of hermes-proxyd"), (&flags, "x.log")] {
        let mut command = world.command(flags);
        command.stderr(Stdio::piped());
        let mut daemon = Unread::start(command, world.home.path());
        daemon.asked(600);
        let mut stream = daemon.connect();
        stream
            .write_all(b"GET /v1/nonsense HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = ctl(world.home.path(), &["proxy", "status", "--json"]);
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        let command = status["verdict"]["command"].as_str().unwrap();
        let words: Vec<_> = command.split(' ').skip(1).chain(["--json"]).collect();
        let entry: Value = by(|| {
            let output = ctl(world.home.path(), &words);
            serde_json::from_slice(&output.stdout).ok()
        });
        assert_eq!(entry["fields"]["path"], "/v1/nonsense", "{entry}");
        let none = ctl(world.home.path(), &["logs", "--request", "nothing"]);
        let said = String::from_utf8(none.stderr).unwrap();
        assert!(said.contains(place), "{said}");

        let mut follower = program(env!("CARGO_BIN_EXE_hermesctl"), world.home.path())
            .args(["logs", "-f", "-n", "1", "--json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let shown = lines(follower.stdout.take().unwrap());
        shown.recv_timeout(PATIENCE).unwrap();
        ask_live(&mut daemon.connect());
        let next = shown.recv_timeout(PATIENCE).unwrap();
        assert!(next.contains("/livez"), "{next}");
        follower.kill().unwrap();
        follower.wait().unwrap();
        assert!(daemon.stop().success());
    }
}

/// How large the daemon's files may become from now on: 0 as on a full disk, `None` as once there is room again.
#[cfg(target_os = "linux")]
fn limit_files(daemon: &Unread, bytes: Option<u64>) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(Some(Pid::from_child(&daemon.child)), Resource::Fsize, limit).unwrap();
}

/// A daemon that logs to this file, and its next requests, each with an id of its own in the log.
#[cfg(target_os = "linux")]
fn logging_to(world: &World, log: &Path) -> Unread {
    let mut command = world.command(&["--log-file", log.to_str().unwrap()]);
    command.stderr(Stdio::null());
    let daemon = Unread::start(command, world.home.path());
    by(|| read(log).contains("\"listening\"").then_some(()));
    daemon
}

/// As with a full disk; the limit of `ulimit -f` and of `LimitFSIZE=` sends a signal, too.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_disk_or_a_size_limit_keeps_from_the_log_comes_once_there_is_room() {
    const ASKED: usize = 300;
    let world = World::new(Options::default()).await;
    let log = world.home.path().join("x.log");
    let mut daemon = logging_to(&world, &log);
    daemon.asked(1);
    by(|| read(&log).contains("\"reloaded\"").then_some(()));
    let before = read(&log);
    // There is room for three lines and a half.
    limit_files(&daemon, Some(before.len() as u64 + 700));
    daemon.asked(ASKED);
    by(|| (read(&log).len() > before.len()).then_some(()));
    std::thread::sleep(SOME_LOOKS);
    let cut = read(&log);
    assert!(cut.len() < before.len() + 1000, "{}", cut.len());
    assert!(!cut.ends_with('\n'), "a line is cut");
    limit_files(&daemon, None);
    // No request comes meanwhile.
    let whole = by(|| Some(read(&log)).filter(|text| text.matches("\"reloaded\"").count() == 2));
    assert!(whole.starts_with(&cut));
    let lines = whole
        .lines()
        .map(|line| serde_json::from_str(line).expect(line));
    let lines: Vec<Value> = lines.collect();
    let asked = lines.iter().filter(|line| line["path"] == "/livez");
    let ids: std::collections::BTreeSet<_> =
        asked.clone().map(|line| line["id"].to_string()).collect();
    assert_eq!((asked.count(), ids.len()), (ASKED + 1 + 2, ASKED + 1 + 2));
    assert!(!whole.contains("lines were dropped"));

    // It ends in time, also while nothing can be written.
    limit_files(&daemon, Some(0));
    daemon.asked(1);
    let begun = Instant::now();
    assert!(daemon.stop().success());
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn beyond_a_mebibyte_lines_are_dropped_and_an_idle_daemon_says_how_many() {
    let world = World::new(Options::default()).await;
    let log = world.home.path().join("x.log");
    let daemon = logging_to(&world, &log);
    limit_files(&daemon, Some(0));
    daemon.asked(FLOOD);
    limit_files(&daemon, None);
    let text = by(|| Some(read(&log)).filter(|text| text.contains("lines were dropped")));
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect(line));
    let lines: Vec<Value> = lines.collect();
    let told: Vec<_> = lines
        .iter()
        .filter_map(|line| line["lines"].as_u64())
        .collect();
    let asked = lines.iter().filter(|line| line["path"] == "/livez").count();
    assert_eq!(told.len(), 1, "{told:?}");
    // The requests, and the line of the reload.
    let lost = usize::try_from(told[0]).unwrap();
    assert!(
        (FLOOD + 1..=FLOOD + 2).contains(&(asked + lost)),
        "{asked} {lost}"
    );
    assert!(asked > FLOOD / 2, "{asked} are kept");
}
