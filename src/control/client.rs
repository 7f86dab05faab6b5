//! The client's side: connect, greet, ask.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::codec::{CodecError, LineStream, MAX_REPLY};
use super::endpoint::{Endpoint, peer};
use super::protocol::calls::{self, Call};
use super::protocol::{
    CallOutcome, ClientHello, ControlError, ControlRequest, DaemonHello, ErrorCode, Greeting,
    Operation, Providers, Reply, VERSION, Welcome,
};

/// How long the daemon may take for its greeting.
const PATIENCE: Duration = Duration::from_secs(10);

/// A greeted connection to the daemon.
pub struct ControlClient {
    lines: LineStream<Box<dyn Duplex>>,
    daemon: DaemonHello,
    /// The daemon's process; `None` for a process of our own.
    pid: Option<u32>,
    last_id: u64,
}

/// What a connection is made of: the control socket, or the pipes to a process.
trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for S {}

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
    /// The daemon is in another container, with which this one shares the folder.
    #[error("another container or pod runs hermes-proxyd on this volume: {} is its socket", address.display())]
    Elsewhere {
        /// The socket.
        address: PathBuf,
    },
    /// The daemon speaks another version of the protocol.
    #[error("hermesctl and the running hermes-proxyd have different versions: {message}")]
    ProtocolMismatch {
        /// Which versions meet.
        message: String,
    },
    /// The daemon answered with an error.
    #[error("{0}")]
    Daemon(ControlError),
    /// The daemon did not answer in time.
    #[error(
        "hermes-proxyd{} did not answer within {} seconds",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        patience.as_secs()
    )]
    Timeout {
        /// How long it had.
        patience: Duration,
        /// The daemon's process, where the system tells; `None` for a process of our own.
        pid: Option<u32>,
    },
    /// The connection broke.
    #[error("the connection to hermes-proxyd broke")]
    Broken(#[source] CodecError),
    /// The daemon closed the connection, or answered something else than what was asked.
    #[error("hermes-proxyd {0}")]
    Confused(&'static str),
}

impl ClientError {
    /// The same, about this process.
    fn of(self, pid: Option<u32>) -> Self {
        match self {
            Self::Timeout { patience, .. } => Self::Timeout { patience, pid },
            other @ (Self::NotRunning { .. }
            | Self::NoPermission { .. }
            | Self::Elsewhere { .. }
            | Self::ProtocolMismatch { .. }
            | Self::Daemon(_)
            | Self::Broken(_)
            | Self::Confused(_)) => other,
        }
    }
}

impl fmt::Debug for ControlClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("daemon", &self.daemon)
            .field("last_id", &self.last_id)
            .finish_non_exhaustive()
    }
}

impl ControlClient {
    /// Connects and greets; `name` is the caller's name and version for the daemon's log.
    pub async fn connect(endpoint: &Endpoint, name: &str) -> Result<Self, ClientError> {
        Self::connect_within(PATIENCE, endpoint, name).await
    }

    /// The same with another limit.
    pub async fn connect_within(
        patience: Duration,
        endpoint: &Endpoint,
        name: &str,
    ) -> Result<Self, ClientError> {
        let mut pid = None;
        let greeted = async {
            let stream = endpoint.connect().await;
            let stream = stream.map_err(|error| unreachable_daemon(endpoint, error))?;
            pid = peer(&stream);
            Self::greet(Box::new(stream), name).await
        };
        let greeted = within(patience, greeted).await;
        match greeted {
            Ok(client) => Ok(Self { pid, ..client }),
            Err(error) => Err(error.of(pid)),
        }
    }

    /// Greets a daemon that is connected already, such as by the pipes to its process.
    pub async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static,
        name: &str,
    ) -> Result<Self, ClientError> {
        within(PATIENCE, Self::greet(Box::new(stream), name)).await
    }

    /// Who answers.
    pub fn daemon(&self) -> &DaemonHello {
        &self.daemon
    }

    /// Asks for something and waits for the answer.
    ///
    /// # Errors
    /// The daemon's, and those of the connection.
    pub async fn call<C: Call>(&mut self, call: C) -> Result<C::Reply, ClientError> {
        self.ask(call.operation(), C::PATIENCE.limit()).await
    }

    /// Asks for [`calls::Models`]. A daemon that is older tells what it knows.
    ///
    /// # Errors
    /// As every question.
    pub async fn models(&mut self) -> Result<Providers, ClientError> {
        match self.call(calls::Models).await {
            Err(ClientError::Daemon(error)) if error.code == ErrorCode::UnknownOperation => {
                self.call(calls::Providers).await
            }
            told => told,
        }
    }

    async fn greet(stream: Box<dyn Duplex>, name: &str) -> Result<Self, ClientError> {
        let mut lines = LineStream::new(stream, MAX_REPLY);
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
                pid: None,
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

    async fn ask<T: DeserializeOwned>(
        &mut self,
        op: Operation,
        patience: Duration,
    ) -> Result<T, ClientError> {
        self.last_id += 1;
        let id = self.last_id;
        let request = ControlRequest { id, op };
        let reply: Reply<T> = within(patience, exchange(&mut self.lines, &request))
            .await
            .map_err(|error| error.of(self.pid))?;
        match reply.outcome {
            CallOutcome::Error(error) => Err(ClientError::Daemon(error)),
            CallOutcome::Ok(answer) if reply.id == Some(id) => Ok(answer),
            CallOutcome::Ok(_) => Err(ClientError::Confused("answered another request")),
        }
    }
}

async fn exchange<T: DeserializeOwned>(
    lines: &mut LineStream<Box<dyn Duplex>>,
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

async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let answer = timeout(patience, answer).await;
    answer.unwrap_or(Err(ClientError::Timeout {
        patience,
        pid: None,
    }))
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
    if kind == ErrorKind::HostUnreachable {
        return ClientError::Elsewhere { address };
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
