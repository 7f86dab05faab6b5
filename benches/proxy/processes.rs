//! The daemon and the cloud as processes, and what the system says of them.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use mock_cloud::{MockCloud, Options, Tls};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Longer than anything that works takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A child process; dropping it ends it.
pub(crate) struct Process(Child);

impl Process {
    /// The processor time that it has used, in the kernel and out of it. `None` where the
    /// system has no `/proc`.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        let text = self.proc_file("stat")?;
        // The name in parentheses may hold spaces; utime and stime are fields 14 and 15.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok();
        // Linux counts in hundredths of a second to programs, on every machine.
        Some(Duration::from_millis(10) * (ticks(11)? + ticks(12)?))
    }

    /// The memory that it has in RAM, in bytes.
    pub(crate) fn resident(&self) -> Option<u64> {
        let text = self.proc_file("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kibibytes * 1024)
    }

    fn proc_file(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.0.id())).ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The mock cloud in a process of its own.
pub(crate) struct Cloud {
    pub(crate) process: Process,
    pub(crate) tls: bool,
    pub(crate) portal_url: String,
    pub(crate) base_url: String,
    pub(crate) token: String,
    home: TempDir,
}

impl Cloud {
    /// This program once more, as the cloud.
    pub(crate) fn start(tls: bool) -> Self {
        let home = tempfile::Builder::new().prefix("hp").tempdir();
        let home = home.expect("a folder");
        let program = std::env::current_exe().expect("this program");
        let role = format!("cloud:{}", if tls { "tls" } else { "plain" });
        let mut child = Command::new(program)
            .arg(role)
            .arg(home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the cloud starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).expect("the cloud is ready");
        let text = |key: &str| ready[key].as_str().expect("a string").to_owned();
        Self {
            process: Process(child),
            tls,
            portal_url: text("portal"),
            base_url: text("base"),
            token: text("token"),
            home,
        }
    }

    /// The authority that signed the cloud's certificate.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.home.path().join("ca.pem")
    }
}

/// The cloud's process: runs until its standard input ends, as it does when we are gone.
pub(crate) fn be_the_cloud(options: &str) -> ExitCode {
    let home = PathBuf::from(std::env::args_os().nth(2).expect("a folder"));
    let tls = if options == "tls" { Tls::On } else { Tls::Off };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let cloud = runtime.block_on(async {
        let options = Options::default().inference_tls(tls).record(false);
        let cloud = MockCloud::start(options).await;
        cloud.write_ca(&home.join("ca.pem")).expect("a file");
        let login = cloud.login();
        let folder = home.join(if cfg!(windows) { "hermes" } else { ".hermes" });
        cloud.write_hermes_home(&folder, &login).expect("a home");
        let ready = serde_json::json!({
            "portal": cloud.portal_url(),
            "base": cloud.inference_base_url(),
            "token": login.access_token,
        });
        println!("{ready}");
        cloud
    });
    let (end, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        end.send(()).ok();
    });
    runtime.block_on(ended).ok();
    drop(cloud);
    ExitCode::SUCCESS
}

/// The daemon in a process of its own, with the cloud's login, as it is by default.
pub(crate) struct Daemon {
    pub(crate) process: Process,
    pub(crate) port: u16,
    /// From its start to its first answer.
    pub(crate) ready_after: Duration,
    _folder: TempDir,
}

impl Daemon {
    pub(crate) async fn start(cloud: &Cloud) -> Self {
        Self::start_with(cloud, None).await
    }

    /// The same with a configuration.
    pub(crate) async fn start_with(cloud: &Cloud, config: Option<&str>) -> Self {
        let port = free_port();
        let folder = tempfile::Builder::new().prefix("hp").tempdir();
        let folder = folder.expect("a folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_hermes-proxyd"));
        command.env_clear();
        if let Some(root) = std::env::var_os("SystemRoot") {
            command.env("SystemRoot", root);
        }
        for name in ["HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA"] {
            command.env(name, cloud.home.path());
        }
        if cloud.tls {
            command.env("HERMES_CA_BUNDLE", cloud.ca_file());
        }
        command
            .env("XDG_RUNTIME_DIR", folder.path())
            // A daemon that finds another one with its state folder waits for that one's lock.
            .env("XDG_STATE_HOME", folder.path().join("state"))
            .env("NOUS_INFERENCE_BASE_URL", &cloud.base_url)
            .env("HERMES_PORTAL_BASE_URL", &cloud.portal_url)
            .args(["--port", &port.to_string()])
            .stdin(Stdio::null())
            // Its log is written as always, but nobody's time goes into reading it.
            .stderr(Stdio::null());
        if let Some(config) = config {
            let file = folder.path().join("config.toml");
            std::fs::write(&file, config).expect("a file");
            command.arg("--config").arg(file);
        }
        let started = Instant::now();
        let child = command.spawn().expect("hermes-proxyd starts");
        while !is_ready(port).await {
            assert!(started.elapsed() < PATIENCE, "it is not ready: {command:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Self {
            process: Process(child),
            port,
            ready_after: started.elapsed(),
            _folder: folder,
        }
    }
}

/// Whether the port answers and the login has been read.
async fn is_ready(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = "GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    ask.await
        .is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200"))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A thousand streams are two thousand sockets to the daemon, which inherits our limit.
pub(crate) fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit {
            current: Some(maximum.map_or(10_000, |maximum| maximum.min(10_000))),
            maximum,
        };
        setrlimit(Resource::Nofile, limit).ok();
    }
}
