//! The answering process, for commands that don't need a daemon: the running one, otherwise a
//! temporary one that speaks the same protocol on its standard input and output.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::output::{CommandFailure, Exit};
use super::{platform, programs};
use crate::control::client::{ClientError, ControlClient};
use crate::control::daemon_lock;
use crate::control::endpoint::Endpoint;
use crate::paths::Environment;

/// Who we are, for the daemon's log.
pub(super) const NAME: &str = concat!("hermesctl ", env!("CARGO_PKG_VERSION"));

/// A daemon whose socket was removed makes it again within this time.
const AGAIN: Duration = Duration::from_secs(5);

/// How long our process may take to end once it was left.
const FAREWELL: Duration = Duration::from_secs(5);

/// How much of what our process says is kept, in bytes: the end.
const MEMORY: usize = 16 * 1024;

/// A connection to this user's daemon.
pub(super) async fn connect() -> Result<ControlClient, CommandFailure> {
    let folders = Environment::from_process().runtime_dirs();
    let mut nobody = None;
    for folder in folders {
        let endpoint = Endpoint::new(folder);
        match ControlClient::connect(&endpoint, NAME).await {
            Err(error @ ClientError::NotRunning { .. }) => {
                nobody.get_or_insert((endpoint, error));
            }
            client => return client.map_err(CommandFailure::from),
        }
    }
    match nobody {
        Some((endpoint, error)) => connect_to_the_living(&endpoint, error).await,
        None => Err(
            CommandFailure::new("The folder of the control socket is unknown.")
                .with_hint("Set XDG_RUNTIME_DIR or HOME."),
        ),
    }
}

/// Nothing listens, and yet a daemon of this user lives: a second one would use the same logins.
async fn connect_to_the_living(
    endpoint: &Endpoint,
    error: ClientError,
) -> Result<ControlClient, CommandFailure> {
    let state = Environment::from_process().state_dir();
    let Some(pid) = state.and_then(|state| daemon_lock::daemon(&state)) else {
        return Err(error.into());
    };
    let deadline = Instant::now() + AGAIN;
    while Instant::now() < deadline {
        sleep(Duration::from_millis(100)).await;
        match ControlClient::connect(endpoint, NAME).await {
            Err(ClientError::NotRunning { .. }) => {}
            client => return client.map_err(CommandFailure::from),
        }
    }
    Err(CommandFailure::unreachable(&endpoint.address(), pid))
}

/// A process that answers.
#[derive(Debug)]
pub(super) struct DaemonConnection {
    pub(super) client: ControlClient,
    process: Option<DaemonProcess>,
}

impl DaemonConnection {
    /// Connects to the running daemon, else starts a process with this configuration.
    pub(super) async fn open(config: Option<&Path>) -> Result<Self, CommandFailure> {
        match connect().await {
            Ok(client) => Ok(Self {
                client,
                process: None,
            }),
            // The files have locks, so a login does not need the daemon that can't be asked.
            Err(failure) if failure.exit == Exit::NotRunning || failure.is_unreachable() => {
                Self::start(config).await
            }
            Err(failure) => Err(failure),
        }
    }

    async fn start(config: Option<&Path>) -> Result<Self, CommandFailure> {
        let program = programs::program();
        let mut command = Command::new(&program);
        command.arg("--control-stdio");
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        platform::keep_from_ctrl_c(&mut command);
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.map_err(|error| programs::absent(&program, &error))?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(CommandFailure::new(
                "hermes-proxyd was started without pipes.",
            ));
        };
        let process = DaemonProcess {
            child,
            said: TaskTracker::new().spawn(hear(stderr)),
        };
        match ControlClient::over(tokio::io::join(stdout, stdin), NAME).await {
            Ok(client) => Ok(Self {
                client,
                process: Some(process),
            }),
            Err(error) => Err(process.explain(error).await),
        }
    }

    /// Whether a daemon runs.
    pub(super) fn is_to_daemon(&self) -> bool {
        self.process.is_none()
    }

    /// Leaves, and waits for our process to end.
    pub(super) async fn close(self) {
        let Self { client, process } = self;
        drop(client);
        if let Some(mut process) = process {
            timeout(FAREWELL, process.child.wait()).await.ok();
        }
    }

    /// Leaves after a failure. What our process said before it died tells more than that it did.
    pub(super) async fn explain(self, error: ClientError) -> CommandFailure {
        let Self { client, process } = self;
        drop(client);
        match process {
            Some(process) => process.explain(error).await,
            None => error.into(),
        }
    }
}

/// Asks one thing.
pub(super) async fn ask<T>(
    config: Option<&Path>,
    question: impl AsyncFnOnce(&mut ControlClient) -> Result<T, ClientError>,
) -> Result<T, CommandFailure> {
    finish(DaemonConnection::open(config).await?, question).await
}

/// Asks one thing more, and leaves.
pub(super) async fn finish<T>(
    mut connection: DaemonConnection,
    question: impl AsyncFnOnce(&mut ControlClient) -> Result<T, ClientError>,
) -> Result<T, CommandFailure> {
    match question(&mut connection.client).await {
        Ok(answer) => {
            connection.close().await;
            Ok(answer)
        }
        Err(error) => Err(connection.explain(error).await),
    }
}

/// hermes-proxyd, started by us.
#[derive(Debug)]
struct DaemonProcess {
    child: Child,
    said: JoinHandle<String>,
}

impl DaemonProcess {
    async fn explain(mut self, error: ClientError) -> CommandFailure {
        let status = timeout(FAREWELL, self.child.wait()).await;
        let broke = matches!(error, ClientError::Broken(_) | ClientError::Confused(_));
        let (true, Ok(Ok(status))) = (broke, status) else {
            return error.into();
        };
        let said = timeout(FAREWELL, self.said).await;
        let said = said.ok().and_then(Result::ok).unwrap_or_default();
        let said = said.trim();
        let said = said.strip_prefix("hermes-proxyd: ").unwrap_or(said);
        if said.is_empty() {
            return error.into();
        }
        CommandFailure::of_daemon(status.code(), said)
    }
}

/// The end of what the process says, once it says no more.
async fn hear(mut stderr: ChildStderr) -> String {
    let mut heard = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
        heard.extend(chunk.iter().take(count));
        let excess = heard.len().saturating_sub(MEMORY);
        heard.drain(..excess);
    }
    String::from_utf8_lossy(&heard).into_owned()
}
