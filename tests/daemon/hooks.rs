//! Hooks with real programs and a real HTTP server: they are called, and a dead one does no harm.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use hermes_proxy::config;
use hermes_proxy::hooks::{self, HookEvent, HookNotice, HookSettings, HooksHandle};
use hermes_proxy::paths::Environment;
use rustix::process::{Pid, test_kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Level};

/// Longer than anything that works takes, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Running hooks, what they log, and a folder.
struct World {
    handle: Option<HooksHandle>,
    tasks: TaskTracker,
    stop: CancellationToken,
    log: Log,
    folder: TempDir,
    _log_guard: DefaultGuard,
}

/// What was logged on this thread, which runs all tasks of a test.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl World {
    /// Starts these hooks; `{dir}` in the text is the folder.
    fn new(text: &str) -> Self {
        Self::with_level(text, Level::INFO)
    }

    fn with_level(text: &str, level: Level) -> Self {
        // With a single subscriber, another test's thread that comes to a line first could silence it for all.
        static ALL: LazyLock<Dispatch> =
            LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        LazyLock::force(&ALL);
        let guard = tracing::subscriber::set_default(subscriber);
        let folder = tempfile::tempdir().unwrap();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let handle = hooks::start(settings(text, folder.path()), &tasks, stop.clone());
        Self {
            handle: Some(handle),
            tasks,
            stop,
            log,
            folder,
            _log_guard: guard,
        }
    }

    fn logged(&self) -> String {
        String::from_utf8(self.log.0.lock().unwrap().clone()).unwrap()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// The notices that a hook appended to this file.
    fn told(&self, name: &str) -> Vec<Value> {
        let text = self.read(name);
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }

    fn send(&self, notice: HookNotice) {
        self.handle.as_ref().unwrap().send(notice);
    }

    /// Waits until everything was told, without a shutdown's limit.
    async fn finish(&mut self) {
        self.handle = None;
        self.tasks.close();
        timeout(PATIENCE, self.tasks.wait()).await.unwrap();
    }

    /// Ends the hooks; how long that took.
    async fn end(&self) -> Duration {
        let start = Instant::now();
        self.stop.cancel();
        self.tasks.close();
        timeout(PATIENCE, self.tasks.wait()).await.unwrap();
        start.elapsed()
    }
}

fn settings(text: &str, folder: &Path) -> HookSettings {
    let text = text.replace("{dir}", folder.to_str().unwrap());
    let parsed = config::parse(&text, "config.toml".as_ref(), &Environment::default());
    HookSettings::new(&parsed.unwrap())
}

/// A hook that appends what it is told to `file`.
fn appends(file: &str) -> String {
    format!("[[hooks]]\ncommand = [\"sh\", \"-c\", \"cat >> {{dir}}/{file}\"]\n")
}

/// A hook that runs a line of shell.
fn shell(line: &str) -> String {
    format!("[[hooks]]\ncommand = [\"sh\", \"-c\", \"{line}\"]\n")
}

fn notice(event: HookEvent) -> HookNotice {
    HookNotice {
        event,
        provider: "nous".into(),
        display_name: "Nous Portal".into(),
        message: "Nous Portal's login has ended. Log in again.".into(),
        command: Some("hermesctl auth login nous".into()),
        ends_at: None,
        at: "2026-11-23T12:00:00Z".parse().unwrap(),
        quota: None,
    }
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(PATIENCE, wait).await.is_ok(), "never: {what}");
}

fn lives(pid: &str) -> bool {
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    // A dead process that has not been reaped yet counts as dead.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    test_kill_process(pid).is_ok() && !stat.contains(") Z ")
}

/// A server that gives these answers, one a connection, then hangs; what it was sent.
async fn server(answers: &[&str]) -> (u16, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = mpsc::unbounded_channel();
    let answers: Vec<_> = answers.iter().map(|answer| (*answer).to_owned()).collect();
    let serve = async move {
        let mut open = Vec::new();
        let mut answers = answers.into_iter();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                if stream.read_buf(&mut request).await.unwrap() == 0 {
                    break;
                }
            }
            sender.send(String::from_utf8(request).unwrap()).unwrap();
            match answers.next() {
                Some(answer) => {
                    let head = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
                    stream.write_all(head.as_bytes()).await.unwrap();
                }
                None => open.push(stream),
            }
        }
    };
    TaskTracker::new().spawn(serve);
    (port, receiver)
}

#[tokio::test]
async fn a_program_gets_one_line_of_json_and_no_providers_key() {
    // A variable that every test has stands for the key.
    let mut world = World::new(
        "[[hooks]]\ncommand = [\"sh\", \"-c\", \"cat > $1; env > $1.env; pwd > $1.pwd\", \"sh\", \
         \"{dir}/a b\"]\n[providers.x]\ntype = \"static\"\nbase_url = \"https://x.example\"\n\
         api_key_env = \"CARGO_MANIFEST_DIR\"\n"
            .replace("$1", "\\\"$1\\\"")
            .as_str(),
    );
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    world.send(notice(HookEvent::LoginEnded));
    world.finish().await;
    let text = world.read("a b");
    assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
    let told = &world.told("a b")[0];
    assert_eq!(told["event"], "login_ended");
    assert_eq!(told["provider_name"], "Nous Portal");
    assert_eq!(told["command"], "hermesctl auth login nous");
    assert_eq!(told["at"], "2026-11-23T12:00:00Z");
    let env = world.read("a b.env");
    assert!(env.contains("PATH="), "{env}");
    assert!(!env.contains("CARGO_MANIFEST_DIR="), "{env}");
    let home = std::env::home_dir().unwrap();
    assert_eq!(Path::new(world.read("a b.pwd").trim()), home);
    assert_eq!(world.logged(), "");
}

#[tokio::test]
async fn each_hook_is_told_what_it_wants_in_order() {
    let some = appends("some") + "events = [\"login_restored\"]\n";
    let mut world = World::new(&(appends("all") + &some));
    let kinds = [
        HookEvent::LoginEndsSoon,
        HookEvent::LoginEnded,
        HookEvent::LoginRestored,
        HookEvent::LoginNotSaved,
        HookEvent::LoginUnreadable,
    ];
    for kind in kinds {
        world.send(notice(kind));
    }
    world.finish().await;
    let events = |name| -> Vec<String> {
        let told = world.told(name).into_iter();
        told.map(|told| told["event"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(events("all"), kinds.map(HookEvent::as_str));
    assert_eq!(events("some"), ["login_restored"]);
    assert_eq!(world.logged(), "");
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_all_it_started_and_keeps_nobody_waiting() {
    let hangs =
        shell("trap '' TERM HUP; sleep 300 & echo $! > {dir}/pid; cat >> {dir}/hangs; wait")
            + "timeout = \"2s\"\n";
    let world = World::new(&(hangs + &appends("told")));
    let start = Instant::now();
    world.send(notice(HookEvent::LoginEnded));
    until("the other one is told", || !world.told("told").is_empty()).await;
    assert!(!world.logged().contains("was killed"), "it waited");
    until("the pid", || !world.read("pid").is_empty()).await;
    let pid = world.read("pid");
    assert!(lives(&pid));
    until("it is killed", || world.logged().contains("was killed")).await;
    until("its child too", || !lives(&pid)).await;
    assert!(start.elapsed() < Duration::from_secs(8));
    world.send(notice(HookEvent::LoginRestored));
    until("the next one", || world.told("told").len() == 2).await;
    let log = world.logged();
    assert!(
        log.contains("hooks[0].command") && log.contains("`timeout`"),
        "{log}"
    );
    world.end().await;
}

#[tokio::test]
async fn a_program_that_is_missing_or_fails_is_named_with_its_key() {
    let missing = "[[hooks]]\ncommand = [\"/nowhere/tell\"]\n".to_owned();
    let folder = "[[hooks]]\ncommand = [\"/\"]\n".to_owned();
    let mut world = World::new(&(missing + &folder + &shell("exit 3") + &appends("told")));
    world.send(notice(HookEvent::LoginEnded));
    world.finish().await;
    let log = world.logged();
    for (key, words) in [
        (
            "hooks[0].command",
            "the program \"/nowhere/tell\" was not found",
        ),
        ("hooks[1].command", "can't be run"),
        ("hooks[2].command", "exit status: 3"),
    ] {
        let line = log.lines().find(|line| line.contains(key)).unwrap();
        assert!(line.contains("WARN") && line.contains(words), "{line}");
    }
    assert_eq!(log.lines().count(), 3, "{log}");
    assert_eq!(world.told("told").len(), 1);
}

#[tokio::test]
async fn a_program_need_not_read_and_its_words_are_in_the_debug_log_only() {
    let closes = shell("exec <&-; sleep 0.2");
    let speaks = shell("echo in vain; yes hunter2 | head -c 100000 >&2; (sleep 15 &)");
    let world = World::with_level(&(closes.clone() + &speaks), Level::DEBUG);
    let mut long = notice(HookEvent::LoginEnded);
    long.message = "x".repeat(1 << 20);
    world.send(long.clone());
    until("both", || {
        world.logged().matches("a hook was notified").count() == 2
    })
    .await;
    let log = world.logged();
    let heard = log.matches("hunter2").count();
    assert!((20..=25).contains(&heard), "{heard} times");
    assert!(!log.contains("WARN") && !log.contains("vain"), "{log}");
    drop(world);

    let mut quiet = World::new(&(closes + &speaks));
    quiet.send(long);
    quiet.finish().await;
    assert_eq!(quiet.logged(), "");
}

#[tokio::test]
async fn a_web_address_is_posted_to() {
    let (port, mut requests) = server(&["204 No Content"]).await;
    let mut world = World::new(&format!(
        "[[hooks]]\nurl = \"http://127.0.0.1:{port}/t?k=hunter2\""
    ));
    world.send(notice(HookEvent::LoginNotSaved));
    world.finish().await;
    let request = requests.recv().await.unwrap();
    assert!(
        request.starts_with("POST /t?k=hunter2 HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains("content-type: application/json\r\n"),
        "{request}"
    );
    let body = request.split("\r\n\r\n").nth(1).unwrap();
    let told: Value = serde_json::from_str(body).unwrap();
    assert_eq!(told["event"], "login_not_saved");
    assert_eq!(world.logged(), "");
}

#[tokio::test]
async fn a_web_address_is_tried_three_times_and_only_where_that_may_help() {
    let moved = "302 Found\r\nlocation: /elsewhere";
    for (answers, attempts, said) in [
        (vec!["500 Oops", "200 OK"], 2, None),
        (vec!["503 No", "429 Slowly", "200 OK"], 3, None),
        (vec!["500 Oops"; 4], 3, Some("answered 500")),
        (vec!["404 Gone", "200 OK"], 1, Some("answered 404")),
        (vec![moved, "200 OK"], 1, Some("answered 302")),
    ] {
        let (port, mut requests) = server(&answers).await;
        let mut world = World::new(&format!(
            "[[hooks]]\nurl = \"http://127.0.0.1:{port}/hunter2\""
        ));
        world.send(notice(HookEvent::LoginEnded));
        world.finish().await;
        let mut count = 0;
        while requests.try_recv().is_ok() {
            count += 1;
        }
        assert_eq!(count, attempts, "{answers:?}");
        let log = world.logged();
        match said {
            Some(said) => {
                assert!(log.contains(said) && log.contains("hooks[0].url"), "{log}");
                assert!(
                    log.contains("127.0.0.1") && !log.contains("hunter2"),
                    "{log}"
                );
                assert_eq!(log.lines().count(), 1, "{log}");
            }
            None => assert_eq!(log, ""),
        }
    }
}

#[tokio::test]
async fn a_web_address_that_is_dead_or_hangs_is_given_up() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = free.local_addr().unwrap().port();
    drop(free);
    let (hangs, _requests) = server(&[]).await;
    let mut world = World::with_level(
        &format!(
            "[[hooks]]\nurl = \"http://127.0.0.1:{dead}/hunter2\"\n[[hooks]]\nurl = \
             \"http://127.0.0.1:{hangs}/hunter2\"\ntimeout = \"1s\"\n{}",
            appends("told")
        ),
        Level::DEBUG,
    );
    world.send(notice(HookEvent::LoginEnded));
    until("both are given up", || {
        world.logged().matches("a hook failed").count() == 2
    })
    .await;
    let log = world.logged();
    assert!(
        log.contains("can't be reached") && log.contains("refused"),
        "{log}"
    );
    assert!(log.contains("did not answer within 1s"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
    world.send(notice(HookEvent::LoginRestored));
    until("the next one", || world.told("told").len() == 2).await;
    world.finish().await;
}

#[tokio::test]
async fn sending_never_waits_and_what_is_too_much_is_told_once() {
    let world = World::new(&shell("echo >> {dir}/runs; sleep 300"));
    let start = Instant::now();
    for _ in 0..1_000 {
        world.send(notice(HookEvent::LoginEnded));
    }
    assert!(start.elapsed() < Duration::from_secs(1));
    until("the first", || !world.read("runs").is_empty()).await;
    assert_eq!(world.logged().matches("too slow").count(), 1);
    let took = world.end().await;
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(8),
        "{took:?}"
    );
    assert_eq!(world.read("runs").lines().count(), 1);
    assert!(world.logged().contains("still running are cut"));
}

#[tokio::test]
async fn at_the_end_what_was_sent_is_told_and_what_hangs_is_killed() {
    let quick = World::new(&appends("told"));
    quick.send(notice(HookEvent::LoginNotSaved));
    quick.send(notice(HookEvent::LoginEnded));
    quick.end().await;
    assert_eq!(quick.told("told").len(), 2);
    quick.send(notice(HookEvent::LoginEnded));
    assert!(quick.logged().contains("stopping"));

    let hangs = World::new(&shell("sleep 300 & echo $! > {dir}/pid; wait"));
    hangs.send(notice(HookEvent::LoginEnded));
    until("the pid", || !hangs.read("pid").is_empty()).await;
    hangs.end().await;
    let pid = hangs.read("pid");
    until("it is killed", || !lives(&pid)).await;
}

#[tokio::test]
async fn a_reload_replaces_the_hooks() {
    let mut world = World::new("");
    world.send(notice(HookEvent::LoginEnded));
    world
        .handle
        .as_ref()
        .unwrap()
        .replace(settings(&appends("told"), world.folder.path()));
    world.send(notice(HookEvent::LoginRestored));
    world.finish().await;
    assert_eq!(world.told("told").len(), 1);
    assert_eq!(world.told("told")[0]["event"], "login_restored");
}
