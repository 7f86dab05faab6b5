//! The client's side: connect, greet, ask.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::codec::{CodecError, Lines, MAX_REPLY};
use super::endpoint::{Endpoint, Stream};
use super::protocol::{
    ClientHello, ControlError, DaemonHello, ErrorCode, Greeting, Operation, Outcome, Providers,
    ReloadReport, Reply, Request, Status, VERSION, Welcome,
};

/// How long the daemon may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A greeted connection to the daemon.
#[derive(Debug)]
pub struct Client {
    lines: Lines<Stream>,
    daemon: DaemonHello,
    last_id: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon listens.
    #[error("hermes-proxyd is not running: nothing listens at {}", address.display())]
    NotRunning {
        /// The socket or pipe.
        address: PathBuf,
    },
    /// The daemon is not this user's.
    #[error("{} can't be used: it belongs to another user", address.display())]
    NoPermission {
        /// The socket or pipe.
        address: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The daemon speaks another version of the protocol.
    #[error("hermesctl and the running hermes-proxyd are of different versions: {message}")]
    ProtocolMismatch {
        /// Which versions meet.
        message: String,
    },
    /// The daemon answered with an error.
    #[error("{0}")]
    Daemon(ControlError),
    /// The daemon did not answer in time.
    #[error("hermes-proxyd did not answer within {} seconds", PATIENCE.as_secs())]
    Timeout,
    /// The connection broke.
    #[error("the connection to hermes-proxyd broke")]
    Broken(#[source] CodecError),
    /// The daemon closed the connection, or answered something else than what was asked.
    #[error("hermes-proxyd {0}")]
    Confused(&'static str),
}

impl Client {
    /// Connects and greets; `name` is the caller's name and version for the daemon's log.
    pub async fn connect(endpoint: &Endpoint, name: &str) -> Result<Self, ClientError> {
        within_patience(Self::greet(endpoint, name)).await
    }

    /// Who answers.
    pub fn daemon(&self) -> &DaemonHello {
        &self.daemon
    }

    /// Asks how the daemon and its providers are.
    pub async fn status(&mut self) -> Result<Status, ClientError> {
        self.call(Operation::Status).await
    }

    /// Asks which providers are served.
    pub async fn providers(&mut self) -> Result<Providers, ClientError> {
        self.call(Operation::Providers).await
    }

    /// Has the configuration and the logins read again.
    pub async fn reload(&mut self) -> Result<ReloadReport, ClientError> {
        self.call(Operation::Reload).await
    }

    async fn greet(endpoint: &Endpoint, name: &str) -> Result<Self, ClientError> {
        let stream = endpoint.connect().await;
        let stream = stream.map_err(|error| unreachable_daemon(endpoint, error))?;
        let mut lines = Lines::new(stream, MAX_REPLY);
        let greeting = Greeting {
            hello: ClientHello {
                protocol: VERSION,
                client: name.to_owned(),
            },
        };
        match exchange(&mut lines, &greeting).await? {
            Welcome::Hello(daemon) if daemon.protocol == VERSION => Ok(Self {
                lines,
                daemon,
                last_id: 0,
            }),
            Welcome::Hello(daemon) => Err(ClientError::ProtocolMismatch {
                message: format!(
                    "hermes-proxyd {} speaks protocol {}, hermesctl {VERSION}",
                    daemon.version, daemon.protocol
                ),
            }),
            Welcome::Error(error) if error.code == ErrorCode::ProtocolMismatch => {
                Err(ClientError::ProtocolMismatch {
                    message: error.message,
                })
            }
            Welcome::Error(error) => Err(ClientError::Daemon(error)),
        }
    }

    async fn call<T: DeserializeOwned>(&mut self, op: Operation) -> Result<T, ClientError> {
        self.last_id += 1;
        let id = self.last_id;
        let request = Request { id, op };
        let reply: Reply<T> = within_patience(exchange(&mut self.lines, &request)).await?;
        match reply.outcome {
            Outcome::Error(error) => Err(ClientError::Daemon(error)),
            Outcome::Ok(answer) if reply.id == Some(id) => Ok(answer),
            Outcome::Ok(_) => Err(ClientError::Confused("answered another request")),
        }
    }
}

async fn exchange<T: DeserializeOwned>(
    lines: &mut Lines<Stream>,
    message: &(impl serde::Serialize + Sync),
) -> Result<T, ClientError> {
    // A daemon that turns us away answers without reading; its answer says more than the
    // failure to write does.
    let sent = lines.send(message).await;
    let received = lines.receive().await;
    match (received, sent) {
        (Ok(Some(answer)), _) => Ok(answer),
        (_, Err(error)) | (Err(error), Ok(())) => Err(ClientError::Broken(error)),
        (Ok(None), Ok(())) => Err(ClientError::Confused("closed the connection")),
    }
}

async fn within_patience<T>(
    answer: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let answer = timeout(PATIENCE, answer).await;
    answer.unwrap_or(Err(ClientError::Timeout))
}

fn unreachable_daemon(endpoint: &Endpoint, error: std::io::Error) -> ClientError {
    use std::io::ErrorKind;
    let address = endpoint.address();
    let kind = error.kind();
    if kind == ErrorKind::PermissionDenied {
        return ClientError::NoPermission {
            address,
            source: error,
        };
    }
    let absent = [
        ErrorKind::NotFound,
        ErrorKind::NotADirectory,
        ErrorKind::ConnectionRefused,
    ];
    if absent.contains(&kind) {
        return ClientError::NotRunning { address };
    }
    ClientError::Broken(CodecError::Io(error))
}
