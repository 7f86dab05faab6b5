//! The daemon's side of the control protocol: accept, greet, answer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, info, info_span, warn};

use super::client::ControlClient;
use super::codec::{CodecError, LineStream, MAX_REQUEST};
use super::endpoint::{BindError, ControlListener, Endpoint, Stream};
use super::in_flight::{InFlightQuery, InFlightReport};
use super::pools::{LoginChoice, LoginList, LoginResetReport};
use super::protocol::calls::{self, Call};
use super::protocol::{
    CallOutcome, ClientAdd, ClientChange, ClientChanged, ClientChoice, ClientImport,
    ClientImportReport, ClientList, ClientRevoked, ControlError, ControlRequest, DaemonHello,
    ErrorCode, Greeting, LogFrom, LogTail, LoginBegin, LoginBegun, LoginCancelled, LoginPaste,
    LoginPasteTaken, LoginProgress, LoginSession, LogoutReport, NewKey, Operation, OwnMarkValue,
    ProviderChoice, Providers, RefreshOutcome, ReloadReport, Reply, Status, StopNotice, VERSION,
    Welcome,
};
use super::usage::{UsageQuery, UsageReport};
use crate::files::FileWorker;

/// How many clients may be connected at once.
pub const MAX_CLIENTS: usize = 16;

/// How long a client may take to send a line, and to read a reply.
const LINE_LIMIT: Duration = Duration::from_secs(5);

/// How long a client of the socket may stay silent between two requests.
const IDLE: Duration = Duration::from_mins(1);

/// How long a rejected client may take to read the reason.
const REJECTION_LIMIT: Duration = Duration::from_secs(1);

/// How long work continues after its client has closed its sending side.
const LINGER: Duration = Duration::from_millis(100);

/// Pause after a failed accept, for example when file descriptors have run out.
const REST: Duration = Duration::from_millis(200);

/// How often to check that the socket still exists.
const WATCH: Duration = Duration::from_secs(3);

const PACKAGE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The daemon's implementation of the calls. Several clients may call it at once.
#[async_trait]
pub trait Handler: Send + Sync {
    /// The state of the daemon and its providers.
    async fn status(&self) -> Status;

    /// The configured providers.
    async fn providers(&self) -> Providers;

    /// The configured providers, with lists of models that first have to be fetched.
    async fn models(&self) -> Providers {
        self.providers().await
    }

    /// The mark of the caller's own requests on the port.
    async fn own_mark(&self) -> Result<OwnMarkValue, ControlError> {
        Err(ControlError::new(
            ErrorCode::UnknownOperation,
            "There is no port here.",
        ))
    }

    /// The last lines of the log, as far as they are kept.
    async fn log(&self, _from: LogFrom) -> Result<LogTail, ControlError> {
        Err(ControlError::new(
            ErrorCode::UnknownOperation,
            "There is no log here.",
        ))
    }

    /// Stops the daemon after this reply.
    async fn stop(&self) -> Result<StopNotice, ControlError> {
        Err(ControlError::new(
            ErrorCode::UnknownOperation,
            "This process can't be stopped this way.",
        ))
    }

    /// Restarts the daemon after this reply.
    async fn restart(&self) -> Result<StopNotice, ControlError> {
        Err(ControlError::new(
            ErrorCode::UnknownOperation,
            "This process can't be restarted.",
        ))
    }

    /// Reads the configuration and the logins again. Runs to its end even if the client leaves.
    async fn reload(&self) -> Result<ReloadReport, ControlError>;

    /// Asks the provider to begin a login, unless one exists. The login continues independently of the connection until
    /// it ends, is cancelled or expires.
    async fn login_begin(&self, login: LoginBegin) -> Result<LoginBegun, ControlError>;

    /// Waits up to two seconds for a login. Later calls also receive its outcome.
    async fn login_wait(&self, login: LoginSession) -> Result<LoginProgress, ControlError>;

    /// Cancels a login.
    async fn login_cancel(&self, login: LoginSession) -> Result<LoginCancelled, ControlError>;

    /// Accepts the address that the user has pasted from the browser. Text that does not answer the login is an error,
    /// and the login continues.
    async fn login_paste(&self, paste: LoginPaste) -> Result<LoginPasteTaken, ControlError> {
        let message = format!("Login number {} waits for no page.", paste.session);
        Err(ControlError::new(ErrorCode::NoSuchSession, message))
    }

    /// Removes a login from its files. Dropped when the client leaves: work that has not started then never starts, and
    /// work in progress runs to its end.
    async fn logout(&self, choice: ProviderChoice) -> Result<LogoutReport, ControlError>;

    /// Renews a credential now. Runs to its end even if the client leaves.
    async fn refresh(&self, choice: ProviderChoice) -> Result<RefreshOutcome, ControlError>;

    /// Usage counts, with everything that has ended so far.
    async fn usage(&self, _query: UsageQuery) -> Result<UsageReport, ControlError> {
        Err(ControlError::new(
            ErrorCode::UnknownOperation,
            "Usage is not counted here.",
        ))
    }

    /// The requests in flight.
    async fn in_flight(&self, _query: InFlightQuery) -> Result<InFlightReport, ControlError> {
        Err(ControlError::new(
            ErrorCode::UnknownOperation,
            "There is no port here.",
        ))
    }

    /// Every login of every provider.
    async fn logins(&self) -> Result<LoginList, ControlError> {
        Err(no_pools())
    }

    /// Ends the cooldown of logins.
    async fn login_reset(&self, _choice: LoginChoice) -> Result<LoginResetReport, ControlError> {
        Err(no_pools())
    }

    /// Removes one of several logins from its file.
    async fn login_remove(&self, _choice: LoginChoice) -> Result<LogoutReport, ControlError> {
        Err(no_pools())
    }

    /// The apps that have a key.
    async fn clients(&self) -> Result<ClientList, ControlError>;

    /// Makes a key for an app.
    async fn client_add(&self, client: ClientAdd) -> Result<NewKey, ControlError>;

    /// Revokes an app's key, from the next request on.
    async fn client_revoke(&self, client: ClientChoice) -> Result<ClientRevoked, ControlError>;

    /// Replaces an app's key, from the next request on.
    async fn client_rotate(&self, client: ClientChoice) -> Result<NewKey, ControlError>;

    /// Changes an app's limits, from the next request on.
    async fn client_change(&self, client: ClientChange) -> Result<ClientChanged, ControlError>;

    /// Imports the tokens of another proxy's apps.
    async fn client_import(&self, tokens: ClientImport)
    -> Result<ClientImportReport, ControlError>;
}

fn no_pools() -> ControlError {
    let message = "There are no several logins here.";
    ControlError::new(ErrorCode::UnknownOperation, message)
}

/// Calls [`Endpoint::bind`]. If another daemon is running there, adds its version to the error.
pub async fn bind(endpoint: &Endpoint) -> Result<ControlListener, BindError> {
    let error = match endpoint.bind() {
        Ok(listener) => return Ok(listener),
        Err(error) => error,
    };
    let BindError::AlreadyRunning { pid, .. } = error else {
        return Err(error);
    };
    let name = format!("hermes-proxyd {PACKAGE_VERSION}");
    let other = ControlClient::connect(endpoint, &name).await.ok();
    let other = other.as_ref().map(ControlClient::daemon);
    Err(BindError::AlreadyRunning {
        pid: pid.or(other.map(|daemon| daemon.pid)),
        version: other.map(|daemon| daemon.version.clone()),
    })
}

/// Serves clients until `shutdown`, then removes the socket. A socket that disappears is created again.
///
/// Each connection is a task of `tracker`. At shutdown a connection ends after the reply in progress; the caller waits
/// for that on the tracker.
pub async fn serve(
    mut listener: ControlListener,
    handler: Arc<dyn Handler>,
    shutdown: CancellationToken,
    tracker: &TaskTracker,
) {
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    let mut lost = false;
    let mut loss = Box::pin(loss_of(&listener));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
            () = &mut loss => {
                restore(&mut listener, &mut lost);
                loss = Box::pin(loss_of(&listener));
                continue;
            }
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                warn!(%error, "a control client could not be accepted");
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = sleep(REST) => continue,
                }
            }
        };
        let lines = LineStream::new(stream, MAX_REQUEST);
        let span = info_span!("control");
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => {
                let connection = ControlConnection {
                    lines,
                    handler: Arc::clone(&handler),
                    shutdown: shutdown.clone(),
                    idle: IDLE,
                    _place: Some(place),
                };
                tracker.spawn(connection.run().instrument(span));
            }
            Err(_) => {
                tracker.spawn(turn_away(lines).instrument(span));
            }
        }
    }
}

/// Waits until the socket is gone. The check runs off the serving thread, because its folder may be on a file system
/// that hangs; a hang does not count as gone.
fn loss_of(listener: &ControlListener) -> impl Future<Output = ()> + use<> {
    let (prod, mark, file_work) = (listener.prod(), listener.mark(), FileWorker::default());
    async move {
        loop {
            tokio::select! {
                () = prod.notified() => {}
                () = sleep(WATCH) => {}
            }
            let mark = mark.clone();
            if let Ok(false) = file_work.run(move || mark.is_found()).await {
                return;
            }
        }
    }
}

/// Creates the socket again. `lost` is set once a failure has been logged.
fn restore(listener: &mut ControlListener, lost: &mut bool) {
    match listener.again() {
        Ok(made) => {
            *listener = made;
            *lost = false;
            info!("the control socket was removed and has been restored");
        }
        Err(error) => {
            if !std::mem::replace(lost, true) {
                let error: &dyn std::error::Error = &error;
                warn!(
                    error,
                    "the control socket was removed and can't be restored yet"
                );
            }
        }
    }
}

/// Serves the one client on `stream`, such as our standard input and output, until it closes or `shutdown`. It may stay
/// silent between two requests for any time.
pub async fn serve_one(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    handler: Arc<dyn Handler>,
    shutdown: CancellationToken,
) {
    let connection = ControlConnection {
        lines: LineStream::new(stream, MAX_REQUEST),
        handler,
        shutdown,
        idle: Duration::MAX,
        _place: None,
    };
    connection.run().instrument(info_span!("control")).await;
}

struct ControlConnection<S> {
    lines: LineStream<S>,
    handler: Arc<dyn Handler>,
    shutdown: CancellationToken,
    /// How long the client may stay silent between two requests.
    idle: Duration,
    _place: Option<OwnedSemaphorePermit>,
}

/// Why the daemon closes a connection before the client does.
type CloseReason = CodecError;

impl<S: AsyncRead + AsyncWrite + Unpin> ControlConnection<S> {
    async fn run(mut self) {
        match self.converse().await {
            Ok(()) => debug!("the control client disconnected"),
            Err(error) => debug!(%error, "the control connection ended"),
        }
    }

    async fn converse(&mut self) -> Result<(), CloseReason> {
        if !self.greet().await? {
            return Ok(());
        }
        while self.awaits_request().await? {
            if !self.answer().await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Greets the client; `false` if it was turned away.
    async fn greet(&mut self) -> Result<bool, CloseReason> {
        let shutdown = self.shutdown.clone();
        let received = tokio::select! {
            () = shutdown.cancelled() => return Ok(false),
            received = timeout(LINE_LIMIT, self.lines.receive::<Greeting>()) => received,
        };
        let error = match received {
            Ok(Ok(None)) => return Ok(false),
            Ok(Ok(Some(Greeting { hello }))) if hello.protocol == VERSION => {
                debug!(client = ?hello.client, "a control client connected");
                let welcome = Welcome::Hello(DaemonHello {
                    protocol: VERSION,
                    version: PACKAGE_VERSION.to_owned(),
                    pid: std::process::id(),
                });
                self.send(&welcome).await?;
                return Ok(true);
            }
            Ok(Ok(Some(Greeting { hello }))) => ControlError::new(
                ErrorCode::ProtocolMismatch,
                format!(
                    "hermes-proxyd {PACKAGE_VERSION} speaks control protocol {VERSION}, the \
                     client {}.",
                    hello.protocol
                ),
            )
            .with_hint(
                "Use the hermesctl and the hermes-proxyd of one release, and restart \
                 hermes-proxyd after an update.",
            ),
            Ok(Err(error)) => broken_line(error, "a greeting")?,
            Err(_) => ControlError::new(
                ErrorCode::Timeout,
                format!(
                    "No greeting arrived within {} seconds.",
                    LINE_LIMIT.as_secs()
                ),
            ),
        };
        self.send(&Welcome::Error(error)).await?;
        Ok(false)
    }

    /// Waits for a request's first byte; `false` when none will come.
    async fn awaits_request(&mut self) -> Result<bool, CloseReason> {
        tokio::select! {
            () = self.shutdown.cancelled() => Ok(false),
            readable = timeout(self.idle, self.lines.readable()) => Ok(readable.unwrap_or(Ok(false))?),
        }
    }

    /// Reads and answers one request; `false` when the connection must be closed.
    async fn answer(&mut self) -> Result<bool, CloseReason> {
        let received = timeout(LINE_LIMIT, self.lines.receive::<ControlRequest>()).await;
        let (error, goes_on) = match received {
            Ok(Ok(Some(request))) => {
                self.perform(request).await?;
                return Ok(true);
            }
            Ok(Ok(None)) => return Ok(false),
            Ok(Err(error)) => {
                let goes_on = !matches!(error, CodecError::TooLong { .. });
                (broken_line(error, "a request")?, goes_on)
            }
            Err(_) => {
                let message = format!(
                    "The request was not complete within {} seconds.",
                    LINE_LIMIT.as_secs()
                );
                (ControlError::new(ErrorCode::Timeout, message), false)
            }
        };
        self.send_reply::<()>(None, Err(error)).await?;
        Ok(goes_on)
    }

    async fn perform(
        &mut self,
        ControlRequest { id, op }: ControlRequest,
    ) -> Result<(), CloseReason> {
        let id = Some(id);
        let handler = Arc::clone(&self.handler);
        // Ties each call to the type of its reply.
        macro_rules! reply {
            ($call:ident, $outcome:expr) => {
                self.reply::<calls::$call>(id, $outcome).await
            };
        }
        match op {
            Operation::Status => reply!(Status, Ok(handler.status().await)),
            Operation::Providers => reply!(Providers, Ok(handler.providers().await)),
            Operation::Models => reply!(Models, Ok(handler.models().await)),
            Operation::OwnMark => reply!(OwnMark, handler.own_mark().await),
            Operation::Log(from) => reply!(Log, handler.log(from).await),
            Operation::Stop => reply!(Stop, handler.stop().await),
            Operation::Restart => reply!(Restart, handler.restart().await),
            Operation::Reload => reply!(Reload, handler.reload().await),
            Operation::LoginBegin(login) => reply!(LoginBegin, handler.login_begin(login).await),
            Operation::LoginWait(login) => reply!(LoginWait, handler.login_wait(login).await),
            Operation::LoginCancel(login) => reply!(LoginCancel, handler.login_cancel(login).await),
            Operation::LoginPaste(paste) => reply!(LoginPaste, handler.login_paste(paste).await),
            Operation::Logout(choice) => {
                let outcome = self.while_there(handler.logout(choice)).await?;
                reply!(Logout, outcome)
            }
            Operation::Refresh(choice) => reply!(Refresh, handler.refresh(choice).await),
            Operation::Logins => reply!(Logins, handler.logins().await),
            Operation::LoginReset(choice) => reply!(LoginReset, handler.login_reset(choice).await),
            Operation::LoginRemove(choice) => {
                let outcome = self.while_there(handler.login_remove(choice)).await?;
                reply!(LoginRemove, outcome)
            }
            Operation::Clients => reply!(Clients, handler.clients().await),
            Operation::ClientAdd(client) => reply!(ClientAdd, handler.client_add(client).await),
            Operation::ClientRevoke(client) => {
                reply!(ClientRevoke, handler.client_revoke(client).await)
            }
            Operation::ClientRotate(client) => {
                reply!(ClientRotate, handler.client_rotate(client).await)
            }
            Operation::ClientChange(client) => {
                reply!(ClientChange, handler.client_change(client).await)
            }
            Operation::ClientImport(tokens) => {
                reply!(ClientImport, handler.client_import(tokens).await)
            }
            Operation::Usage(query) => reply!(Usage, handler.usage(query).await),
            Operation::InFlight(query) => reply!(InFlight, handler.in_flight(query).await),
            Operation::Unknown(name) => {
                let name: String = name.chars().take(40).collect();
                let message =
                    format!("hermes-proxyd {PACKAGE_VERSION} doesn't know the operation {name:?}.");
                let error = ControlError::new(ErrorCode::UnknownOperation, message).with_hint(
                    "Restart hermes-proxyd if it is older than this client, otherwise update it.",
                );
                self.send_reply::<()>(id, Err(error)).await
            }
        }
    }

    /// Drops the work when the client leaves. A client that has only closed its sending side, as a pipe does, still
    /// receives a reply that comes soon.
    async fn while_there<T>(&mut self, work: impl Future<Output = T>) -> Result<T, CloseReason> {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            more = self.lines.readable() => {
                if more? {
                    return Ok(work.await);
                }
            }
        }
        let done = timeout(LINGER, work).await;
        done.map_err(|_| std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into())
    }

    /// Sends a call's reply, which must have that call's type.
    async fn reply<C: Call>(
        &mut self,
        id: Option<u64>,
        outcome: Result<C::Reply, ControlError>,
    ) -> Result<(), CloseReason> {
        self.send_reply(id, outcome).await
    }

    async fn send_reply<T: Serialize + Sync>(
        &mut self,
        id: Option<u64>,
        outcome: Result<T, ControlError>,
    ) -> Result<(), CloseReason> {
        let outcome = match outcome {
            Ok(answer) => CallOutcome::Ok(answer),
            Err(error) => CallOutcome::Error(error),
        };
        match self.send(&Reply { id, outcome }).await {
            Err(CodecError::TooLong { .. }) => {
                let message = "The answer is too long for the control protocol.";
                let error = ControlError::new(ErrorCode::Internal, message);
                let outcome = CallOutcome::<()>::Error(error);
                self.send(&Reply { id, outcome }).await
            }
            sent => sent,
        }
    }

    async fn send<T: Serialize + Sync>(&mut self, message: &T) -> Result<(), CloseReason> {
        let sent = timeout(LINE_LIMIT, self.lines.send(message)).await;
        sent.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
    }
}

async fn turn_away(mut lines: LineStream<Stream>) {
    let message = format!("hermes-proxyd already has {MAX_CLIENTS} control clients.");
    let error = ControlError::new(ErrorCode::TooManyClients, message)
        .with_hint("Close one of them, or try again in a minute.");
    let sent = timeout(REJECTION_LIMIT, lines.send(&Welcome::Error(error))).await;
    debug!(
        told = matches!(sent, Ok(Ok(()))),
        "too many control clients"
    );
}

/// The error to send for a broken line, or the reason to close when the client is gone.
fn broken_line(error: CodecError, expected: &str) -> Result<ControlError, CloseReason> {
    match error {
        CodecError::TooLong { ceiling } => Ok(ControlError::new(
            ErrorCode::TooLong,
            format!("A line may have at most {ceiling} bytes."),
        )),
        CodecError::NotUtf8 => Ok(ControlError::new(
            ErrorCode::BadRequest,
            "The line is not UTF-8.",
        )),
        CodecError::NotTheMessage(source) => Ok(ControlError::new(
            ErrorCode::BadRequest,
            format!("The line is not {expected}: {source}."),
        )),
        CodecError::Truncated | CodecError::Io(_) => Err(error),
    }
}
