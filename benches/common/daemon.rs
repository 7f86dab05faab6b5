//! The daemon as a process of its own, with the cloud's login, as it is by default.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::cloud::Cloud;
use super::process::{PATIENCE, Process, free_port};

/// Another program than the one that cargo has built for the bench, to measure it.
const OTHER: &str = "HERMES_BENCH_DAEMON";

/// What a daemon is started with.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) program: PathBuf,
    /// A program that runs it, with its arguments.
    pub(crate) wrapper: Vec<OsString>,
    pub(crate) home: PathBuf,
    pub(crate) portal_url: String,
    pub(crate) base_url: String,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) config: Option<String>,
    /// How many client keys there are. An app presents one of them, as OpenAI Codex wants.
    pub(crate) client_keys: usize,
    /// Its log goes to a file. Otherwise it is written as always, but goes nowhere.
    pub(crate) log_file: bool,
}

/// The daemon in a process of its own.
pub(crate) struct Daemon {
    pub(crate) process: Process,
    pub(crate) port: u16,
    /// What apps present to it.
    pub(crate) key: String,
    _folder: TempDir,
}

/// The daemon that is measured.
pub(crate) fn program() -> PathBuf {
    let other = std::env::var_os(OTHER).map(PathBuf::from);
    other.unwrap_or_else(|| env!("CARGO_BIN_EXE_hermes-proxyd").into())
}

impl Setting {
    /// Before this cloud.
    pub(crate) fn before(cloud: &Cloud) -> Self {
        Self {
            program: program(),
            wrapper: Vec::new(),
            home: cloud.home.path().to_owned(),
            portal_url: cloud.portal_url.clone(),
            base_url: cloud.base_url.clone(),
            ca_file: None,
            config: None,
            client_keys: 0,
            log_file: false,
        }
    }

    fn command(&self, folder: &Path, port: u16) -> Command {
        let mut words = self.wrapper.clone();
        words.push(self.program.clone().into());
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        self.at_home(&mut command, folder);
        command
            .env("NOUS_INFERENCE_BASE_URL", &self.base_url)
            .env("HERMES_PORTAL_BASE_URL", &self.portal_url)
            .args(["--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // Its log is written as always, but not read.
            .stderr(Stdio::null());
        if self.log_file {
            command.arg("--log-file").arg(folder.join("log"));
        }
        if let Some(config) = &self.config {
            let file = folder.join("config.toml");
            std::fs::write(&file, config).expect("a file");
            command.arg("--config").arg(file);
        }
        command
    }
}

impl Setting {
    /// One of our programs, in this home.
    fn at_home(&self, command: &mut Command, folder: &Path) {
        command.env_clear();
        if let Some(root) = std::env::var_os("SystemRoot") {
            command.env("SystemRoot", root);
        }
        for name in ["HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA"] {
            command.env(name, &self.home);
        }
        if let Some(file) = &self.ca_file {
            command.env("HERMES_CA_BUNDLE", file);
        }
        command
            .env("XDG_RUNTIME_DIR", folder)
            // A daemon that finds another one with its state folder waits for that one's lock.
            .env("XDG_STATE_HOME", folder.join("state"));
    }

    /// Makes the clients; the key of the last one.
    fn add_clients(&self, folder: &Path) -> String {
        let keys = folder.join("keys");
        std::fs::create_dir(&keys).expect("a folder");
        let key = |number: usize| format!("a-key-of-the-bench-{number:03}");
        for number in 1..=self.client_keys {
            // A temporary file is its user's alone, as keys have to be.
            let file = tempfile::NamedTempFile::new_in(&keys).expect("a file");
            std::fs::write(&file, key(number)).expect("a file");
            let name = keys.join(format!("bench-{number}"));
            file.persist(name).expect("a file");
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_hermesctl"));
        self.at_home(&mut command, folder);
        command.args(["clients", "import"]).arg(keys);
        let output = command.output().expect("hermesctl runs");
        assert!(output.status.success(), "{output:?}");
        key(self.client_keys)
    }
}

impl Daemon {
    /// Starts it, and waits for its first answer.
    pub(crate) async fn start(setting: &Setting) -> Self {
        let port = free_port();
        let folder = tempfile::Builder::new().prefix("hp").tempdir();
        let folder = folder.expect("a folder");
        let key = if setting.client_keys > 0 {
            setting.add_clients(folder.path())
        } else {
            "anything".to_owned()
        };
        let mut command = setting.command(folder.path(), port);
        let started = Instant::now();
        let mut process = Process::start(&mut command);
        while !is_ready(port).await {
            let runs = matches!(process.child().try_wait(), Ok(None));
            let waits = runs && started.elapsed() < PATIENCE;
            assert!(waits, "it is not ready: {command:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Self {
            process,
            port,
            key,
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
