//! The parts that tests share: the real daemon as a process, against the mock cloud, in a scratch
//! home.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test's helper may fail loudly, and tells why a test is skipped"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "real time, and threads of its own"
)]
#![expect(
    missing_docs,
    missing_debug_implementations,
    reason = "names that read as sentences in a test"
)]

pub mod app_wire;
pub mod environment;
pub mod hermes;
mod namespaces;
pub mod several;
pub mod wire;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use environment::program;
use mock_cloud::{Family, Login, MockCloud, Options};
pub use namespaces::is_inside;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything that works takes, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the daemon gives a renewal that a person asked for.
#[cfg(unix)]
const RENEWAL: Duration = Duration::from_secs(90);

/// How long the last lines of a daemon that has ended may take through the pipe.
const LAST_LINES: Duration = Duration::from_secs(2);

/// A cloud, a home with a login, and what a daemon needs to start there.
pub struct World {
    pub cloud: MockCloud,
    pub login: Login,
    pub home: TempDir,
}

/// A running daemon. Dropping it kills it.
pub struct Daemon {
    child: Child,
    log: Arc<Log>,
    pub home: PathBuf,
    pub base: String,
}

#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

impl World {
    pub async fn new(options: Options) -> Self {
        let cloud = MockCloud::start(options).await;
        let login = cloud.login();
        let home = scratch();
        cloud
            .write_hermes_home(&home.path().join(".hermes"), &login)
            .expect("a home");
        Self { cloud, login, home }
    }

    /// A world without a login.
    pub async fn without_a_login() -> Self {
        let world = Self::new(Options::default()).await;
        std::fs::remove_dir_all(world.home.path().join(".hermes")).expect("a home of Hermes");
        world
    }

    /// A login whose token lives for a minute, but was obtained so long ago that a refresh is due at
    /// once; later tokens live for an hour.
    pub async fn with_a_refresh_due(options: Options) -> Self {
        let world = Self::new(options.access_ttl(Duration::from_mins(1))).await;
        world.cloud.set_access_ttl(Duration::from_hours(1));
        let mut store = world.store();
        store["providers"]["nous"]["obtained_at"] = "2020-01-01T00:00:00+00:00".into();
        std::fs::write(world.store_file(), store.to_string()).expect("a store");
        world
    }

    pub fn mirror_file(&self) -> PathBuf {
        self.home.path().join(".hermes/shared/nous_auth.json")
    }

    /// Writes the mirror that Hermes Agent leaves beside the store.
    pub fn write_mirror(&self) {
        let mut mirror = self.store()["providers"]["nous"].clone();
        mirror["_schema"] = 1.into();
        let file = self.mirror_file();
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, mirror.to_string()).expect("a mirror");
    }

    pub fn family(&self) -> Family {
        self.login.family
    }

    /// Starts the daemon with the cloud's URLs in its environment.
    pub fn daemon(&self) -> Daemon {
        self.daemon_with("", &[])
    }

    /// The same with a configuration file and more flags. `{base}` and `{portal}` in the text
    /// stand for the cloud's URLs.
    pub fn daemon_with(&self, config: &str, flags: &[&str]) -> Daemon {
        self.write_config(config);
        Daemon::start(self.command(flags), self.home.path())
    }

    pub fn write_config(&self, config: &str) {
        let folder = self.home.path().join(".config/hermes-proxyd");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("config.toml"), self.filled(config)).expect("a file");
    }

    /// The same at once, as editors do it: a daemon that reads the file meanwhile sees the old text or the new one, and
    /// never an empty file, which is a configuration too.
    pub fn replace_config(&self, config: &str) {
        let file = self.home.path().join(".config/hermes-proxyd/config.toml");
        let new = file.with_extension("new");
        std::fs::write(&new, self.filled(config)).expect("a file");
        std::fs::rename(new, file).expect("the same folder");
    }

    fn filled(&self, config: &str) -> String {
        config
            .replace("{base}", &self.cloud.inference_base_url())
            .replace("{portal}", &self.cloud.portal_url())
    }

    pub fn command(&self, flags: &[&str]) -> Command {
        let mut command = program(built("hermes-proxyd"), self.home.path());
        command
            .env("NOUS_INFERENCE_BASE_URL", self.cloud.inference_base_url())
            .env("HERMES_PORTAL_BASE_URL", self.cloud.portal_url())
            .args(["--port", "0", "--log-format", "json"])
            .args(flags);
        command
    }

    pub fn ctl(&self, args: &[&str]) -> Output {
        ctl(self.home.path(), args)
    }

    /// hermesctl in a shell that knows the cloud, for where no daemon does.
    pub fn hermesctl(&self, args: &[&str]) -> Command {
        let mut command = program(built("hermesctl"), self.home.path());
        command
            .env("NOUS_INFERENCE_BASE_URL", self.cloud.inference_base_url())
            .env("HERMES_PORTAL_BASE_URL", self.cloud.portal_url())
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// `hermesctl auth login` from its code to its end, with a user who says yes. It must be a real one.
    pub fn log_in(&self) -> Value {
        self.log_in_to("nous")
    }

    /// The same at this provider.
    pub fn log_in_to(&self, provider: &str) -> Value {
        self.log_in_with(&[provider])
    }

    /// The same with these arguments.
    pub fn log_in_with(&self, args: &[&str]) -> Value {
        let args = ["auth", "login", "--json"].iter().chain(args).copied();
        let mut command = self.hermesctl(&args.collect::<Vec<_>>());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("hermesctl");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut line = || -> Value {
            let line = lines.next().expect("a line").expect("text");
            serde_json::from_str(&line).expect("JSON")
        };
        let first = line();
        let Some(code) = first["code"]["user_code"].as_str() else {
            panic!("no code: {first}")
        };
        self.cloud.approve(code);
        let end = line();
        assert!(child.wait().expect("its end").success(), "{end}");
        end["done"].clone()
    }

    pub fn store_file(&self) -> PathBuf {
        self.home.path().join(".hermes/auth.json")
    }

    pub fn store(&self) -> Value {
        let text = std::fs::read_to_string(self.store_file()).expect("a store");
        serde_json::from_str(&text).expect("a whole store")
    }

    /// Fails if the text holds any secret that the cloud ever issued.
    pub fn assert_no_secret_in(&self, what: &str, text: &str) {
        for secret in self.cloud.issued_secrets() {
            assert!(
                !text.contains(&secret),
                "{what} holds the secret {secret}:\n{text}"
            );
        }
    }
}

/// The project's folder.
pub fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        own.ancestors().nth(2).expect("tests/support").to_owned()
    });
    &ROOT
}

/// A program of ours, which cargo has put beside the folder of the test's own.
pub fn built(name: &str) -> PathBuf {
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let program = profile_folder().join(name);
    assert!(program.is_file(), "{} is not built", program.display());
    program
}

/// A folder for what tests leave to each other: the same as `CARGO_TARGET_TMPDIR`, which only the tests have.
pub(crate) fn target_tmpdir() -> PathBuf {
    let target = profile_folder().parent().expect("a folder above");
    target.join("tmp")
}

/// `target/debug`, or where else the tests are built.
fn profile_folder() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let test = std::env::current_exe().expect("a test's own path");
        test.ancestors()
            .nth(2)
            .expect("target/debug/deps")
            .to_owned()
    });
    &FOLDER
}

/// A place for a test that shares the machine with few others.
pub struct Turn(());

/// So many places there are for each processor: a test that measures waits, too, for processes and answers.
const TURNS_EACH: usize = 2;

/// Waits for a place, which it keeps until it is dropped; who waits longest gets it. A test takes one only, or two could
/// wait for each other.
pub fn turn() -> Turn {
    let (queue, given_back) = &TURNS;
    let places = std::thread::available_parallelism().map_or(1, usize::from) * TURNS_EACH;
    let mut waiting = queue.lock().unwrap_or_else(PoisonError::into_inner);
    let ours = waiting.next;
    waiting.next += 1;
    let is_full = |queue: &mut Queue| ours >= queue.given_back + places;
    drop(
        given_back
            .wait_while(waiting, is_full)
            .unwrap_or_else(PoisonError::into_inner),
    );
    Turn(())
}

/// Turns come in the order of the requests.
struct Queue {
    next: usize,
    given_back: usize,
}

static TURNS: (Mutex<Queue>, Condvar) = (
    Mutex::new(Queue {
        next: 0,
        given_back: 0,
    }),
    Condvar::new(),
);

impl Drop for Turn {
    fn drop(&mut self) {
        let (queue, changed) = &TURNS;
        queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .given_back += 1;
        changed.notify_all();
    }
}

/// A test as `--exact` wants it: its name and that of its module, which `module_path!()` tells with the crate's before it.
pub fn exact(module: &str, test: &str) -> String {
    let module = module.split_once("::").map_or("", |(_, inside)| inside);
    format!("{module}::{test}")
}

/// A folder for a home; short, because a socket's path must be.
pub fn scratch() -> TempDir {
    let dir = tempfile::Builder::new()
        .prefix("hp")
        .tempdir_in("/tmp")
        .expect("a folder");
    std::fs::create_dir(dir.path().join("run")).expect("a folder");
    dir
}

/// Writes a program for `sh`. Another process does it: a program that this process has written could
/// not be executed while a child of another test, just forked, holds the file open.
#[cfg(unix)]
pub fn fake_program(path: &Path, script: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let written = environment::tool("sh")
        .args([
            "-c",
            "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\"",
        ])
        .arg(path)
        .arg(script)
        .status();
    assert!(written.is_ok_and(|status| status.success()), "no program");
}

/// Copies a program. Another process does it, for the same reason.
pub fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let (from, to) = (from.as_ref(), to.as_ref());
    let copied = environment::tool("cp").args([from, to]).status();
    assert!(copied.is_ok_and(|status| status.success()), "no program");
}

/// How a mount namespace is made here, if it can be.
pub fn mount_namespace() -> Option<&'static [&'static str]> {
    if !environment::has("unshare") {
        return None;
    }
    let ways: [&[&str]; 2] = [&["-m", "--propagation", "private"], &["-Ur", "-m"]];
    let mount = ["sh", "-c", "mount -t tmpfs none /mnt"];
    let works = |way: &&[&str]| {
        let mut probe = program("unshare", "/".as_ref());
        probe
            .args(*way)
            .args(mount)
            .stderr(std::process::Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    };
    let way = ways.into_iter().find(works);
    if way.is_none() {
        environment::skipped("no mount namespace can be made here");
    }
    way
}

/// `outer`, which is given `inner` with its variables to run.
pub fn wrapped(mut outer: Command, inner: &Command) -> Command {
    outer.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            outer.env(name, value);
        }
    }
    outer
}

/// Runs hermesctl to its end, as the user whose the runtime folder is.
pub fn ctl(home: &Path, args: &[&str]) -> Output {
    let mut command = program(built("hermesctl"), home);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        use std::os::unix::process::CommandExt;

        let owner = std::fs::metadata(home.join("run")).map(|folder| folder.uid());
        if let Ok(owner @ 1..) = owner
            && rustix::process::geteuid().is_root()
        {
            command.uid(owner);
        }
    }
    command.args(args).output().expect("hermesctl runs")
}

impl Daemon {
    /// Starts it and waits until it listens.
    pub fn start(command: Command, home: &Path) -> Self {
        let mut daemon = Self::launch(command, home);
        let line = daemon.wait_for_log("\"listening\"");
        let line: Value = serde_json::from_str(&line).expect("a JSON line");
        line["url"]
            .as_str()
            .expect("a URL")
            .clone_into(&mut daemon.base);
        daemon
    }

    /// Starts it without waiting for anything.
    pub fn launch(mut command: Command, home: &Path) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("hermes-proxyd starts");
        let log = Arc::new(Log::default());
        let stderr = child.stderr.take().expect("a pipe");
        let writer = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                writer.edit(|lines| lines.0.push(line));
            }
            writer.edit(|lines| lines.1 = true);
        });
        Self {
            child,
            log,
            home: home.to_owned(),
            base: String::new(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `http://127.0.0.1:PORT`, without `/v1`.
    pub fn origin(&self) -> &str {
        self.base.strip_suffix("/v1").expect("a base URL")
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        self.origin().strip_prefix("http://").expect("an origin")
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Waits for a log line that holds `text`, from the start of the log.
    pub fn wait_for_log(&self, text: &str) -> String {
        self.wait_for_log_count(text, 1)
    }

    /// Waits until `count` log lines hold `text`; the last of them.
    pub fn wait_for_log_count(&self, text: &str, count: usize) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self
            .log
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(line) = lines
                .0
                .iter()
                .filter(|line| line.contains(text))
                .nth(count - 1)
            {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !lines.1 && !left.is_zero(),
                "no line with {text:?} in the log:\n{}",
                lines.0.join("\n")
            );
            lines = self
                .log
                .changed
                .wait_timeout(lines, left)
                .expect("a lock")
                .0;
        }
    }

    /// All that has come of the log by now. The daemon writes it in a thread of its own, so that what a test has just
    /// caused may be missing: `wait_for_log` waits for that. This is for a failure's text, for what must not be there, and
    /// for what comes before a line that was waited for; after `wait`, `stop` and `kill`, the log is whole.
    pub fn logged(&self) -> String {
        self.log
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .join("\n")
    }

    /// The daemon's own report, asked at its socket: a hermesctl for each question would take more of the
    /// processor than all else in a test that polls.
    #[cfg(unix)]
    pub fn status(&self) -> Value {
        told(&self.home, &json!("status"), PATIENCE).unwrap_or_else(|_| self.home_screen())
    }

    #[cfg(not(unix))]
    pub fn status(&self) -> Value {
        self.home_screen()
    }

    /// What `hermesctl proxy status` makes of it, which knows the verdict, the apps' keys and the service, too.
    pub fn home_screen(&self) -> Value {
        let output = ctl(&self.home, &["proxy", "status", "--json"]);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}\n{}", self.logged()))
    }

    #[cfg(unix)]
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a pid"), signal).expect("it lives");
    }

    /// Renews the login as a person asks for it: at once, whatever was renewed a moment ago.
    #[cfg(unix)]
    pub async fn renew(&self) {
        let home = self.home.clone();
        let asked = move || told(&home, &json!({"refresh": {}}), RENEWAL);
        let renewed = tokio::task::spawn_blocking(asked).await;
        renewed.expect("it is not cancelled").expect("a renewal");
    }

    /// Waits for its end, and for that of its log.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                self.log.wait_for_its_end();
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "it does not end:\n{}",
                self.logged()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGTERM, and its end.
    #[cfg(unix)]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }

    /// SIGKILL, and its end.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.wait();
    }
}

/// One question of the control protocol, and its answer. It is spoken by hand: this crate and the tests of the library
/// compile beside the library and not after it.
#[cfg(unix)]
fn told(home: &Path, question: &Value, patience: Duration) -> std::io::Result<Value> {
    let socket = home.join("run/hermes-proxyd/control.sock");
    let stream = std::os::unix::net::UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(patience))?;
    let mut lines = BufReader::new(&stream).lines();
    let mut say = |what: Value| -> std::io::Result<Value> {
        std::io::Write::write_all(&mut &stream, format!("{what}\n").as_bytes())?;
        let line = lines.next().ok_or(std::io::ErrorKind::UnexpectedEof)??;
        Ok(serde_json::from_str(&line)?)
    };
    say(json!({"hello": {"protocol": 1, "client": "a test"}}))?;
    let mut answer = say(json!({"id": 1, "op": question}))?;
    match answer.get_mut("ok") {
        Some(told) => Ok(told.take()),
        None => Err(std::io::Error::other(answer.to_string())),
    }
}

impl Log {
    fn edit(&self, change: impl FnOnce(&mut (Vec<String>, bool))) {
        change(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// What the daemon started may hold the pipe for longer, and is not waited for.
    fn wait_for_its_end(&self) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open = |lines: &mut (Vec<String>, bool)| !lines.1;
        let waited = self.changed.wait_timeout_while(lines, LAST_LINES, is_open);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// An HTTP client that does nothing of its own accord. It trusts no certificate, since the daemon speaks plain HTTP: to
/// read those of the system takes 20 ms of CPU for each client.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client")
}

/// Sends a chat request's body to the daemon, as an app would.
pub async fn post(daemon: &Daemon, body: &Value) -> reqwest::Response {
    let request = client().post(daemon.url("/chat/completions")).json(body);
    request.send().await.expect("an answer")
}

/// Sends it and reads the whole answer; its status. A request whose answer its app does not read may count as one that
/// the app has left.
pub async fn status_of(daemon: &Daemon, body: &Value) -> u16 {
    let answer = post(daemon, body).await;
    let status = answer.status().as_u16();
    answer.bytes().await.expect("a whole answer");
    status
}

/// A chat request's body.
pub fn chat(text: &str) -> Value {
    json!({"model": "Hermes-4-405B", "messages": [{"role": "user", "content": text}]})
}

/// Waits until something holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Checks an error of ours; its message.
pub async fn error(answer: reqwest::Response, status: u16, code: &str) -> String {
    let got = answer.status();
    let header = answer.headers().get("x-hermes-error").cloned();
    let text = answer.text().await.unwrap();
    assert_eq!(got, status, "{text}");
    assert_eq!(header.unwrap(), code, "{text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["error"]["code"], code);
    body["error"]["message"].as_str().unwrap().to_owned()
}
