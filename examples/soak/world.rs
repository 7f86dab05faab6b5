//! The clouds, the daemon as a process of its own, and hermesctl.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use memchr::memmem;
use mock_cloud::{Login, MockCloud, Options, Tls};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::Result;
use super::broken::Broken;
use super::wire::Door;

/// Tokens live so long that they are renewed on schedule when nothing else renews them.
const TOKEN_LIFE: Duration = Duration::from_secs(50);
/// Longer than anything that works takes, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// Stands in every body and in every app's key, and nowhere in the log.
pub(crate) const PRIVATE: &str = "nobody-else-may-read-this";

/// Everything but the load.
pub(crate) struct World {
    /// The default provider: Nous Portal over HTTP/1.1.
    pub(crate) nous: MockCloud,
    pub(crate) login: Login,
    /// `/h2/v1`, over TLS and HTTP/2.
    pub(crate) second: MockCloud,
    /// `/broken/v1`.
    pub(crate) broken: Broken,
    pub(crate) main: Door,
    /// Wants a client key.
    pub(crate) keyed: Door,
    pub(crate) unix: Door,
    home: TempDir,
    second_key: String,
}

/// A part of the configuration that each reload changes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Variant {
    pub(crate) number: u64,
    /// So that silence lasts; else it ends after some seconds.
    pub(crate) patient: bool,
    /// Without the address that wants a client key, for as long as there is none.
    pub(crate) keyless: bool,
    /// All memory for replays, in KiB.
    pub(crate) replay_kib: Option<u64>,
}

/// The running daemon.
pub(crate) struct Daemon {
    process: Child,
    pub(crate) pid: u32,
    log: Arc<Mutex<Log>>,
}

/// What was found in the log, which is not kept.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
    /// Since the last look.
    unread: Vec<u8>,
    /// The last ones, to look at after a death.
    last: VecDeque<String>,
    pub(crate) secrets: u64,
    pub(crate) panics: u64,
    /// So often it said that it renews no more for now.
    pub(crate) paced: u64,
}

impl World {
    pub(crate) async fn new(tasks: &TaskTracker) -> Result<Self> {
        let options = Options::default().record(false).access_ttl(TOKEN_LIFE);
        let nous = MockCloud::start(options).await;
        let options = Options::default()
            .record(false)
            .access_ttl(Duration::from_hours(24));
        let second = MockCloud::start(options.inference_tls(Tls::On).http2(true)).await;
        let home = tempfile::Builder::new().prefix("hp").tempdir()?;
        std::fs::create_dir(home.path().join("run"))?;
        let login = nous.login();
        nous.write_hermes_home(&home.path().join(".hermes"), &login)?;
        second.write_ca(&home.path().join("ca.pem"))?;
        let second_key = second.login().access_token;
        private(&home.path().join("second.key"), &second_key)?;
        private(&home.path().join("broken.key"), PRIVATE)?;
        Ok(Self {
            nous,
            login,
            second,
            broken: Broken::start(tasks).await?,
            main: Door::Tcp(free_address()?),
            keyed: Door::Tcp(free_address()?),
            unix: Door::Unix(home.path().join("apps.sock")),
            home,
            second_key,
        })
    }

    pub(crate) fn configure(&self, variant: Variant) -> Result<()> {
        let [main, keyed, unix] = [&self.main, &self.keyed, &self.unix].map(Door::to_string);
        let Variant {
            number,
            patient,
            keyless,
            replay_kib,
        } = variant;
        let keyed = if keyless {
            String::new()
        } else {
            format!("[[listen]]\naddress = \"{keyed}\"\nauth = \"keys\"\n")
        };
        let silence = if patient { "12h" } else { "15s" };
        let agent = if number.is_multiple_of(2) {
            "own"
        } else {
            "client"
        };
        let body = 48 + number % 3;
        let replay = replay_kib.unwrap_or(32 * 1024 + number % 5);
        let extra = if number.is_multiple_of(3) {
            "[providers.passing]\ntype = \"static\"\nbase_url = \"http://127.0.0.1:9/v1\"\n\
             api_key_file = \"~/broken.key\"\n"
        } else {
            ""
        };
        let paths = r#"extra_paths = ["/echo", "GET /bytes", "GET /sse"]"#;
        let (base, broken) = (self.second.inference_base_url(), self.broken.address);
        let text = format!(
            "[[listen]]\naddress = \"{main}\"\n{keyed}\
             [[listen]]\nunix = \"{unix}\"\n\
             [guard]\nallowed_hosts = [\"app-{number}.example\"]\n\
             [limits]\nbody = \"{body}MiB\"\nreplay_total = \"{replay}KiB\"\n\
             [timeouts]\nidle = \"{silence}\"\nresponse_head = \"{silence}\"\n\
             [providers.nous]\nuser_agent = \"{agent}\"\n{paths}\n\
             [providers.h2]\ntype = \"static\"\nbase_url = \"{base}\"\nca_file = \"~/ca.pem\"\n\
             api_key_file = \"~/second.key\"\nuser_agent = \"{agent}\"\n{paths}\n\
             [providers.broken]\ntype = \"static\"\nbase_url = \"http://{broken}/v1\"\n\
             api_key_file = \"~/broken.key\"\nappend_done = true\n{extra}"
        );
        let folder = self.home.path().join(".config/hermes-proxyd");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("config.toml.new"), text)?;
        std::fs::rename(folder.join("config.toml.new"), folder.join("config.toml"))?;
        Ok(())
    }

    pub(crate) async fn start(&self) -> Result<Daemon> {
        let mut command = self.program("hermes-proxyd")?;
        command
            .args(["--log-level", "debug", "--log-format", "json"])
            .env("NOUS_INFERENCE_BASE_URL", self.nous.inference_base_url())
            .env("HERMES_PORTAL_BASE_URL", self.nous.portal_url())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            // A group of its own: the terminal's Ctrl-C ends us, and so the daemon.
            .process_group(0);
        let mut process = command.spawn()?;
        let log: Arc<Mutex<Log>> = Arc::default();
        let stderr = process.stderr.take().ok_or("no log")?.into_owned_fd()?;
        let writer = log.clone();
        std::thread::spawn(move || read_log(std::fs::File::from(stderr), &writer));
        let pid = process.id().ok_or("it is gone")?;
        let daemon = Daemon { process, pid, log };
        let end = Instant::now() + PATIENCE;
        while self.status().await.is_err() {
            if Instant::now() > end {
                return Err(format!("the daemon did not start:\n{}", daemon.last_lines()).into());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(daemon)
    }

    /// What hermesctl says on its standard output.
    pub(crate) async fn ctl(&self, line: &str) -> Result<String> {
        let output = self.run(line).await?;
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout)?);
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("hermesctl {line}: {}: {}", output.status, said.trim()).into())
    }

    async fn run(&self, line: &str) -> Result<std::process::Output> {
        let mut command = self.program("hermesctl")?;
        command.args(line.split(' ')).stdin(Stdio::null());
        Ok(tokio::time::timeout(PATIENCE, command.output()).await??)
    }

    /// The status, whatever hermesctl thinks of it: several of the failures that are meant to be may come
    /// in a row.
    pub(crate) async fn status(&self) -> Result<Value> {
        let output = self.run("proxy status --json").await?;
        let status: Value = serde_json::from_slice(&output.stdout)?;
        if !status["providers"].is_array() {
            return Err(format!("hermesctl proxy status: {}", output.status).into());
        }
        Ok(status)
    }

    /// Whether the next refresh works, and does it.
    pub(crate) async fn refresh(&self) -> Result<()> {
        self.ctl("auth refresh").await.map(drop)
    }

    /// This program as another one, in the scratch home, with nothing of the environment.
    fn program(&self, role: &str) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg(role)
            .env_clear()
            .env("HOME", self.home.path())
            .env("XDG_RUNTIME_DIR", self.home.path().join("run"))
            .kill_on_drop(true);
        Ok(command)
    }

    /// Looks for secrets in what was logged since the last time, and forgets it.
    pub(crate) fn search_log(&self, daemon: &Daemon) {
        let mut secrets = self.nous.issued_secrets();
        secrets.extend([self.second_key.clone(), PRIVATE.to_owned()]);
        let unread = std::mem::take(&mut daemon.log().unread);
        let found = secrets
            .iter()
            .filter(|secret| memmem::find(&unread, secret.as_bytes()).is_some());
        let found = found.count() as u64;
        daemon.log().secrets += found;
    }
}

impl std::fmt::Display for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Daemon {
    pub(crate) fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn last_lines(&self) -> String {
        let log = self.log();
        log.last.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// The memory that it has in RAM, in KiB.
    pub(crate) fn resident(&self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    }

    /// What each of its descriptors is open on. The file of the usage counts isn't told: it is opened once, when counts
    /// are first saved.
    pub(crate) fn descriptors(&self) -> Option<Vec<String>> {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", self.pid)).ok()?;
        let links = folder.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        let mut open: Vec<String> = links
            .map(|link| link.display().to_string())
            .filter(|link| !link.contains("/usage.db"))
            .collect();
        open.sort();
        Some(open)
    }

    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The name in parentheses may hold spaces; utime and stime are fields 14 and 15, in
        // hundredths of a second on every Linux.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok();
        Some(f64::from(ticks(11)? + ticks(12)?) / 100.0)
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let pid = i32::try_from(self.pid).ok();
        let pid = pid.and_then(rustix::process::Pid::from_raw);
        Ok(rustix::process::kill_process(
            pid.ok_or("no process")?,
            signal,
        )?)
    }

    /// SIGTERM, and its end.
    pub(crate) async fn stop(mut self) -> Result<std::process::ExitStatus> {
        self.signal(rustix::process::Signal::TERM)?;
        Ok(tokio::time::timeout(PATIENCE, self.process.wait()).await??)
    }
}

/// Reads at the speed at which the daemon writes, which waits for no reader.
fn read_log(stderr: impl Read, log: &Mutex<Log>) {
    let mut reader = BufReader::with_capacity(256 * 1024, stderr);
    let mut line = Vec::new();
    while reader
        .read_until(b'\n', &mut line)
        .is_ok_and(|read| read > 0)
    {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.lines += 1;
        log.bytes += line.len() as u64;
        log.panics += u64::from(memmem::find(&line, b"panicked at").is_some());
        log.paced += u64::from(memmem::find(&line, b"renewals_paced").is_some());
        log.unread.extend_from_slice(&line);
        if log.last.len() == 40 {
            log.last.pop_front();
        }
        log.last
            .push_back(String::from_utf8_lossy(&line).trim().to_owned());
        line.clear();
    }
}

fn private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    Ok(writeln!(file, "{text}")?)
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
